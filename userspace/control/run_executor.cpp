// SPDX-License-Identifier: Apache-2.0
// What crosses between a run's thread and the others are a few atomics and one small struct under a
// lock, ten times a second: nothing on the data path.

#include "userspace/control/run_executor.hpp"

#include <atomic>
#include <thread>

#include "io/check.hpp"
#include "userspace/control/preflight.hpp"
#include "userspace/engine/sync.hpp"

namespace towline {

namespace {

using How = job_event::RunEnded::How;

// Speeds are of the last few seconds.
constexpr double kSmoothSeconds = 3;

std::uint64_t bytes_of_rate(double mbit) {
    return static_cast<std::uint64_t>(mbit * 1e6 / 8);
}

// An atomic of them: nothing (auto) is less than any.
constexpr int kLevelAuto = -1;

int number_of(std::optional<int> level) {
    return level.value_or(kLevelAuto);
}

std::optional<int> level_of(int number) {
    return number == kLevelAuto ? std::nullopt : std::optional(number);
}

RunStage stage_of(std::string_view engine_stage) {
    if (engine_stage == "Transfer") return RunStage::kTransfer;
    if (engine_stage == "Snapshot") return RunStage::kSnapshot;
    if (engine_stage == "Verify") return RunStage::kVerify;
    if (engine_stage == "Seal" || engine_stage == "Completed") return RunStage::kSeal;
    return RunStage::kPreparing;  // comparing is finding out what to send
}

std::string_view mode_text(RunMode mode) {
    switch (mode) {
        case RunMode::kFull:
            return "full";
        case RunMode::kExtents:
            return "extents";
        case RunMode::kScan:
            return "scan";
    }
    return "";
}

// The same run may do better when it is tried again as it is.
bool is_retriable(Code code) {
    switch (code) {
        case Code::kIo:
        case Code::kDisconnected:
        case Code::kTimeout:
        case Code::kNoSpace:
        case Code::kBusy:
        case Code::kCorrupt:
        case Code::kCancelled:
            return true;
        case Code::kInvalid:
        case Code::kProtocol:
        case Code::kRefused:
        case Code::kUnsupported:
            return false;
    }
    return false;
}

}  // namespace

class RunExecutor::Execution {
  public:
    explicit Execution(const job_action::StartRun& start)
        : spec_(start.spec),
          run_(start.run),
          first_(start.first),
          rate_(bytes_of_rate(spec_.transfer.rate_mbit)),
          level_(number_of(spec_.transfer.level)),
          verify_(spec_.transfer.verify) {
        live_.replica_of = start.replica_of;
    }

    std::uint64_t id() const { return run_.id; }
    const Run& run() const { return run_; }
    const JobSpec& spec() const { return spec_; }
    bool first() const { return first_; }

    SyncOptions options(const RunPlaces& places) {
        SyncOptions options;
        for (const std::string& each : spec_.volumes)
            options.sources.push_back({.path = each});
        options.target = spec_.target;
        options.keys = places.keys;
        options.state_folder = places.state_folder;
        options.places.run_folder = places.run_folder;
        options.hooks_folder = places.hooks_folder / spec_.name;
        options.resume = true;
        options.overwrite = spec_.overwrite;
        options.direct = spec_.direct;
        options.journal_folder = spec_.journal;
        // Checked when the job was made; what a later version stored may be unknown to this one.
        options.moment =
            moment_wish(spec_.moment.tracker, spec_.moment.snapshot).value_or(MomentWish{});
        options.snapshot_store_bytes = spec_.moment.snapshot_store_bytes;
        options.freeze = spec_.moment.freeze;
        options.audit_period = std::chrono::duration_cast<Duration>(
            std::chrono::duration<double, std::chrono::days::period>(spec_.moment.audit_days));
        options.verify = spec_.transfer.verify;
        options.level = spec_.transfer.level;
        options.rate_bytes_per_second = rate_;
        options.rate_now = [this] { return rate_.load(); };
        options.level_now = [this] { return level_of(level_.load()); };
        options.verify_now = [this] { return verify_.load(); };
        options.cancelled = [this] { return stopping.load(); };
        options.on_alarm = [this] { alarm = true; };
        options.on_progress = [this](const RunProgress& progress) { show(progress); };
        return options;
    }

    void change(const TransferOptions& transfer) {
        rate_ = bytes_of_rate(transfer.rate_mbit);
        level_ = number_of(transfer.level);
        verify_ = transfer.verify;
    }

    // Between the moment that the target holds and this run's, of so many bytes.
    std::optional<double> dirty_rate(std::uint64_t changed_bytes) const {
        const std::optional<WallTime> before = live().replica_of;
        const WallTime began = run_.started_at.value_or(WallTime{});
        if (!before || began <= *before) return std::nullopt;
        return 1000 * static_cast<double>(changed_bytes) /
               static_cast<double>((began - *before).count());
    }

    LiveRun live() const {
        const std::lock_guard lock(mutex_);
        return live_;
    }

    std::thread thread;
    std::atomic<bool> stopping = false;
    std::atomic<bool> ended = false;
    std::atomic<bool> alarm = false;

  private:
    void show(const RunProgress& progress) {
        // What a list brings is what was written since; a full copy says nothing of that.
        std::optional<double> dirty;
        if (progress.listed) dirty = dirty_rate(progress.total_bytes);
        const std::lock_guard lock(mutex_);
        const RunStage stage = stage_of(progress.stage);
        const double passed = seconds(progress.elapsed - shown_at_);
        const bool same = stage == live_.stage && progress.done_bytes >= live_.done_bytes;
        if (passed > 0 && same) {
            const double weight = passed / (passed + kSmoothSeconds);
            const auto done = static_cast<double>(progress.done_bytes - live_.done_bytes);
            const auto sent = static_cast<double>(progress.sent_bytes - live_.sent_bytes);
            live_.speed += weight * (done / passed - live_.speed);
            live_.wire += weight * (sent / passed - live_.wire);
        }
        shown_at_ = progress.elapsed;
        live_.stage = stage;
        live_.dirty = dirty;
        live_.volume_bytes = progress.volume_bytes;
        live_.done_bytes = progress.done_bytes;
        live_.total_bytes = progress.total_bytes;
        live_.sent_bytes = progress.sent_bytes;
        live_.durable_bytes = progress.durable_bytes;
    }

    const JobSpec spec_;
    const Run run_;
    const bool first_;
    std::atomic<std::uint64_t> rate_;
    std::atomic<int> level_;
    std::atomic<bool> verify_;
    mutable std::mutex mutex_;
    LiveRun live_;         // under mutex_
    Duration shown_at_{};  // under mutex_
};

RunExecutor::RunExecutor(RunPlaces places, Ended ended)
    : places_(std::move(places)), ended_(std::move(ended)) {}

RunExecutor::~RunExecutor() {
    close();
}

void RunExecutor::close() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
        for (const auto& each : executions_)
            each->stopping = true;
    }
    // Nothing is added any more, and what an ending run asks for is not begun.
    for (const auto& each : executions_)
        if (each->thread.joinable()) each->thread.join();
}

void RunExecutor::start(const job_action::StartRun& start) {
    const std::lock_guard lock(mutex_);
    if (closing_) return;
    executions_.push_back(std::make_unique<Execution>(start));
    Execution& execution = *executions_.back();
    execution.thread = std::thread([this, &execution] { execute(execution); });
}

// What it found is in the run's notes: the critical ones fail it.
Status RunExecutor::test(const JobSpec& spec, Run& run) const {
    const PreflightFacts facts = look_before(spec, places_, Depth::kThorough);
    const std::vector<Finding> findings = judge(facts, spec);
    run.stage = RunStage::kNone;
    run.numbers = {.total_bytes = facts.volume_bytes};
    run.moment = {.tracker = facts.tracker, .snapshot = facts.snapshot};
    for (const Finding& each : findings)
        run.moment.notes += (run.moment.notes.empty() ? "" : "; ") +
                            std::string(name_of(each.severity)) + " " + each.code + ": " +
                            each.message;
    const std::string stops = stopping_text(findings);
    if (stops.empty() || spec.ignore_critical) return {};
    return fail(Code::kRefused, "preflight: " + stops);
}

Status RunExecutor::replicate(Execution& execution, Run& run) const {
    if (execution.first() && !execution.spec().ignore_critical) {
        const PreflightFacts facts = look_before(execution.spec(), places_, Depth::kQuick);
        const std::string stops = stopping_text(judge(facts, execution.spec()));
        // Why a volume cannot be read the run says itself.
        if (facts.no_volume.empty() && !stops.empty())
            return fail(Code::kRefused,
                        "preflight: " + stops + " (or say ignore_critical, to try all the same)");
    }
    const auto report = run_sync(execution.options(places_));
    const LiveRun live = execution.live();
    run.stage = live.stage;
    run.numbers.done_bytes = live.done_bytes;
    run.numbers.sent_bytes = live.sent_bytes;
    if (!report) return std::unexpected(report.error());
    run.stage = RunStage::kNone;
    run.mode = mode_text(report->mode);
    run.cause = cause_name(report->cause);
    run.moment = {.tracker = report->moment.tracker,
                  .snapshot = report->moment.snapshot,
                  .label = std::string(label_name(report->moment.label)),
                  .notes = report->moment.notes};
    run.numbers = {.total_bytes = report->bytes_total,
                   .changed_bytes = report->bytes_changed,
                   .done_bytes = report->bytes_changed,
                   .sent_bytes = report->bytes_sent};
    if (report->mode != RunMode::kFull)
        run.numbers.dirty_bytes_per_second = execution.dirty_rate(report->bytes_changed);
    run.point = report->base.point.text();
    run.verified = report->reread;
    return {};
}

void RunExecutor::execute(Execution& execution) {
    job_event::RunEnded end{.run = execution.run()};
    const Status done = execution.run().type == RunType::kTest ? test(execution.spec(), end.run)
                                                               : replicate(execution, end.run);
    end.alarm = execution.alarm;
    if (!done && done.error().code == Code::kCancelled) {
        end.how = How::kStopped;
    } else if (!done) {
        end.how = How::kFailed;
        end.run.failure = RunFailure{.code = std::string(code_name(done.error().code)),
                                     .message = done.error().text(),
                                     .retriable = is_retriable(done.error().code)};
    }
    {
        const std::lock_guard lock(mutex_);
        execution.ended = true;
        // Stopped with the daemon: the next one goes on with it.
        if (closing_ && end.how == How::kStopped) return;
    }
    ended_(std::move(end));
}

RunExecutor::Execution* RunExecutor::find(std::uint64_t run) const {
    for (const auto& each : executions_)
        if (each->id() == run && !each->ended) return each.get();
    return nullptr;
}

void RunExecutor::stop(std::uint64_t run) {
    const std::lock_guard lock(mutex_);
    if (Execution* execution = find(run)) execution->stopping = true;
}

void RunExecutor::change(std::uint64_t run, const TransferOptions& transfer) {
    const std::lock_guard lock(mutex_);
    if (Execution* execution = find(run)) execution->change(transfer);
}

std::optional<LiveRun> RunExecutor::live(std::uint64_t run) const {
    const std::lock_guard lock(mutex_);
    const Execution* execution = find(run);
    if (execution == nullptr) return std::nullopt;
    return execution->live();
}

void RunExecutor::reap() {
    std::list<std::unique_ptr<Execution>> done;
    {
        const std::lock_guard lock(mutex_);
        for (auto each = executions_.begin(); each != executions_.end();) {
            const auto at = each++;
            if ((*at)->ended) done.splice(done.end(), executions_, at);
        }
    }
    for (const auto& each : done)
        each->thread.join();
}

}  // namespace towline
