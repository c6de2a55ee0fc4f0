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

RunStage stage_of(std::string_view engine_stage) {
    if (engine_stage == "Transfer") return RunStage::kTransfer;
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
    Execution(JobSpec spec, Run run, bool first)
        : spec_(std::move(spec)),
          run_(std::move(run)),
          first_(first),
          rate_(bytes_of_rate(spec_.transfer.rate_mbit)) {}

    std::uint64_t id() const { return run_.id; }
    const Run& run() const { return run_; }
    const JobSpec& spec() const { return spec_; }
    bool first() const { return first_; }

    SyncOptions options(const RunPlaces& places) {
        SyncOptions options;
        options.source = spec_.volumes.front();
        options.target = spec_.target;
        options.state_folder = places.state_folder;
        options.places.run_folder = places.run_folder;
        options.hooks_folder = places.hooks_folder / spec_.name;
        options.resume = true;
        options.overwrite = spec_.overwrite;
        // Checked when the job was made; what a later version stored may be unknown to this one.
        options.moment =
            moment_wish(spec_.moment.tracker, spec_.moment.snapshot).value_or(MomentWish{});
        options.snapshot_store_bytes = spec_.moment.snapshot_store_bytes;
        options.freeze = spec_.moment.freeze;
        options.verify = spec_.transfer.verify;
        options.level = spec_.transfer.level;
        options.rate_bytes_per_second = rate_;
        options.rate_now = [this] { return rate_.load(); };
        options.cancelled = [this] { return stopping.load(); };
        options.on_progress = [this](const RunProgress& progress) { show(progress); };
        return options;
    }

    void set_rate(double mbit) { rate_ = bytes_of_rate(mbit); }

    LiveRun live() const {
        const std::lock_guard lock(mutex_);
        return live_;
    }

    std::thread thread;
    std::atomic<bool> stopping = false;
    std::atomic<bool> ended = false;

  private:
    void show(const RunProgress& progress) {
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
        live_.done_bytes = progress.done_bytes;
        live_.total_bytes = progress.total_bytes;
        live_.sent_bytes = progress.sent_bytes;
    }

    const JobSpec spec_;
    const Run run_;
    const bool first_;
    std::atomic<std::uint64_t> rate_;
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

void RunExecutor::start(const JobSpec& spec, const Run& run, bool first) {
    const std::lock_guard lock(mutex_);
    if (closing_) return;
    executions_.push_back(std::make_unique<Execution>(spec, run, first));
    Execution& execution = *executions_.back();
    execution.thread = std::thread([this, &execution] { execute(execution); });
}

Result<RunReport> RunExecutor::attempt(Execution& execution) const {
    if (execution.first() && !execution.spec().ignore_critical) {
        const PreflightFacts facts = look_before(execution.spec(), places_, Depth::kQuick);
        const std::string stops = stopping_text(judge(facts, execution.spec()));
        // Why a volume cannot be read the run says itself.
        if (facts.no_volume.empty() && !stops.empty())
            return fail(Code::kRefused,
                        "preflight: " + stops + " (or say ignore_critical, to try all the same)");
    }
    return run_sync(execution.options(places_));
}

void RunExecutor::execute(Execution& execution) {
    const auto report = attempt(execution);
    const LiveRun live = execution.live();
    job_event::RunEnded end{.run = execution.run()};
    end.run.stage = live.stage;
    end.run.numbers.done_bytes = live.done_bytes;
    end.run.numbers.sent_bytes = live.sent_bytes;
    if (report) {
        end.run.stage = RunStage::kNone;
        end.run.mode = mode_text(report->mode);
        end.run.cause = cause_name(report->cause);
        end.run.moment = {.tracker = report->moment.tracker,
                          .snapshot = report->moment.snapshot,
                          .label = std::string(label_name(report->moment.label)),
                          .notes = report->moment.notes};
        end.run.numbers = {.total_bytes = report->bytes_total,
                           .changed_bytes = report->bytes_changed,
                           .done_bytes = report->bytes_changed,
                           .sent_bytes = report->bytes_sent};
        end.run.point = report->base.point.text();
    } else if (report.error().code == Code::kCancelled) {
        end.how = How::kStopped;
    } else {
        end.how = How::kFailed;
        end.run.failure = RunFailure{.code = std::string(code_name(report.error().code)),
                                     .message = report.error().text(),
                                     .retriable = is_retriable(report.error().code)};
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
    if (Execution* execution = find(run)) execution->set_rate(transfer.rate_mbit);
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
