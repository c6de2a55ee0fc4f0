// SPDX-License-Identifier: Apache-2.0
// The processes of a run among others. What blocks a thread in a server (a session that waits for
// an earlier one to end) or at a source (a run that waits for another's plan) is a piece of work
// here that asks again some time later.

#include "tests/sim/crowd_run.hpp"

#include <algorithm>

#include "userspace/engine/staged_format.hpp"

namespace towline {

namespace {

constexpr Duration kAskAgain = std::chrono::milliseconds(1);
constexpr Duration kFenceTime = std::chrono::seconds(30);

// The first piece of work waits until it may run.
class PatientQueue final : public WorkQueue {
  public:
    PatientQueue(SimulatedWorld& world, SimulatedEngine& home, std::function<bool()> ready)
        : world_(world), home_(home), ready_(std::move(ready)) {}

    void submit(Work& work) override {
        if (home_.killed()) return;
        home_.begin_external(work.done);
        const SimulatedTimings& timings = world_.timings();
        run_in(world_.random().between(timings.work_min, timings.work_max), work);
    }

  private:
    void run_in(Duration delay, Work& work) {
        world_.at(world_.now() + delay, &home_, [this, &work] {
            if (ready_ && !ready_()) return run_in(kAskAgain, work);
            ready_ = nullptr;
            work.run(0);
            home_.post(work.done);
        });
    }

    SimulatedWorld& world_;
    SimulatedEngine& home_;
    std::function<bool()> ready_;
};

// A store of a server: it is asked for the name before anything is looked at.
class ClaimedStore final : public SimulatedTargetStore {
  public:
    ClaimedStore(CrowdTarget& target, SimulatedEngine& engine, SimulatedRandom& random,
                 const RunPlan& plan, StoreHook hook, const std::optional<Error>& refusal)
        : SimulatedTargetStore(target.shelf, target.disk, target.staged, engine, random,
                               plan.target_fault, std::move(hook)),
          refusal_(refusal) {}

    Result<TargetFacts> look(const std::string& name, const Uuid& source, bool dry_run) override {
        if (refusal_) return std::unexpected(*refusal_);
        return SimulatedTargetStore::look(name, source, dry_run);
    }

  private:
    const std::optional<Error>& refusal_;
};

}  // namespace

CrowdSource::CrowdSource(SimulatedWorld& world, const Uuid& called, std::uint64_t size_bytes)
    : name(called), disk(world, {.size_bytes = size_bytes}) {}

CrowdTarget::CrowdTarget(SimulatedWorld& world, std::string called, bool image,
                         std::uint64_t size_bytes)
    : name(std::move(called)),
      disk(world, {.size_bytes = image ? 0 : size_bytes + 4096, .grows = image}),
      staged(world, {.size_bytes = staged_format::kHoleBytes, .grows = true}),
      shelf({.exact_size = image, .exists = !image}) {}

struct CrowdRun::SourceSide {
    SourceSide(CrowdRun& run, StoreHook hook)
        : engine(run.world_, "source"),
          workers(run.world_, engine, [&run] { return run.eyes_.may_freeze(run); }),
          store(run.source_.shelf, engine, run.plan_.source_fault, std::move(hook)) {}

    SimulatedEngine engine;
    PatientQueue workers;
    SimulatedSourceStore store;
    std::unique_ptr<SourcePipeline> pipeline;
};

struct CrowdRun::TargetSide {
    TargetSide(CrowdRun& run, StoreHook hook)
        : engine(run.world_, "target"),
          workers(run.world_, engine, [&run] { return run.look_now(); }),
          store(run.target_, engine, run.random_, run.plan_, std::move(hook), run.refusal_) {}

    SimulatedEngine engine;
    PatientQueue workers;
    ClaimedStore store;
    std::unique_ptr<TargetPipeline> pipeline;
};

CrowdRun::CrowdRun(SimulatedWorld& world, SimulatedRandom& random, CrowdSource& source,
                   CrowdTarget& target, CrowdEyes& eyes, RunPlan plan, Fate fate)
    : world_(world),
      random_(random),
      source_(source),
      target_(target),
      eyes_(eyes),
      plan_(std::move(plan)),
      fate_(fate) {}

CrowdRun::~CrowdRun() = default;

void CrowdRun::start(NameClaims& claims) {
    claims_ = &claims;
    session_ = claims.arrive();
    as_it_was_ = source_.disk.contents();
    if (source_.tracker) {
        moment_ = std::make_unique<SimulatedMoment>(world_, *source_.tracker, source_.disk);
        moment_->set_modified(source_.modified_ns);
    }
    target_side_ = std::make_unique<TargetSide>(
        *this, [this](StoreCall call, StoreMoment when) { on_target_call(call, when); });
    target_side_->pipeline = std::make_unique<TargetPipeline>(
        target_side_->engine, target_side_->workers, target_side_->store,
        TargetPipeline::Config{.limits = {.checkpoint_bytes = plan_.checkpoint_bytes,
                                          .checkpoint_interval = std::chrono::milliseconds(300),
                                          .ping_interval = std::chrono::seconds(1)},
                               .buffer_count = plan_.buffer_count,
                               .buffer_bytes = plan_.buffer_bytes,
                               .silence_max = kSilenceMax,
                               .join_token = draw_uuid(random_)});
    source_side_ = std::make_unique<SourceSide>(
        *this, [this](StoreCall call, StoreMoment when) { on_source_call(call, when); });
    const Handle volume = source_side_->engine.attach_disk(source_.disk);
    source_side_->pipeline = std::make_unique<SourcePipeline>(
        source_side_->engine, source_side_->workers, source_side_->store, source_config(volume));
    connect();
}

void CrowdRun::connect() {
    SimulatedConnection& link = world_.add_connection(plan_.links.front());
    const Handle theirs = target_side_->engine.attach_socket(link, ConnectionSide::kSecond);
    target_side_->pipeline->start(theirs);
    const Handle ours = source_side_->engine.attach_socket(link, ConnectionSide::kFirst);
    source_side_->pipeline->start(ours);
}

SourcePipeline::Config CrowdRun::source_config(Handle volume) {
    SourcePipeline::Config config;
    SourceRequest& request = config.request;
    request.run.kind = plan_.kind;
    request.run.resume = plan_.resume;
    request.run.overwrite = plan_.overwrite;
    request.run.direct = plan_.direct;
    request.run.source = source_.name;
    request.run.volume_bytes = source_.disk.size_bytes();
    request.run.modified_ns = source_.modified_ns;
    request.block_bytes = plan_.block_bytes;
    request.verify = plan_.verify;
    request.draw = [this] {
        drawn_.push_back(draw_uuid(random_));
        return drawn_.back();
    };
    config.moment = moment_.get();
    config.target_name = target_.name;
    config.volume = {.handle = volume,
                     .size_bytes = source_.disk.size_bytes(),
                     .alignment_bytes = source_.disk.plan().alignment_bytes};
    config.data = {{0, source_.disk.size_bytes()}};
    config.compression = {.level = 0};
    config.buffer_count = plan_.buffer_count;
    config.buffer_bytes = config.frame_bytes = plan_.buffer_bytes;
    config.silence_max = kSilenceMax;
    // What wakes up reads what has come before it says anything, or says that it lives first and
    // learns that nobody listens.
    config.ping_interval = std::chrono::seconds(random_.chance(0.5) ? 1 : 10);
    return config;
}

// As TargetServer::claim, a look at a time.
bool CrowdRun::look_now() {
    using Verdict = NameClaims::Verdict;
    const auto refuse = [&](const char* why) {
        refusal_ = Error{Code::kBusy, 0, why};
        claims_->leave(session_);
        return true;
    };
    if (asked_at_ == Instant{}) asked_at_ = world_.now();
    const auto [verdict, other] = claims_->ask(session_, target_.name, source_.name, false);
    switch (verdict) {
        case Verdict::kYours:
            granted_ = true;
            eyes_.granted(*this);
            return true;
        case Verdict::kBusy:
            return refuse("another run writes to it");
        case Verdict::kFenced:
            return refuse("a newer session took over");
        case Verdict::kWait:
            break;
    }
    if (world_.now() - asked_at_ > kFenceTime) return refuse("an earlier session does not end");
    eyes_.to_end(*other);
    return false;
}

void CrowdRun::on_target_call(StoreCall call, StoreMoment when) {
    // What a flush lost is noted by whoever saw it, whatever has become of the session.
    if (call != StoreCall::kLook && (!granted_ || left_))
        eyes_.wrong("a session that has not the name changes what is under it");
    if (call != StoreCall::kSeal || when != StoreMoment::kAfter) return;
    eyes_.sealed(*this);
    if (fate_.sleeps_behind == StoreCall::kSeal) sleep();
}

void CrowdRun::on_source_call(StoreCall call, StoreMoment when) {
    if (when != StoreMoment::kAfter) return;
    if (fate_.sleeps_behind == call) sleep();
    SimulatedEngine& engine = source_side_->engine;
    if (fate_.dies_behind == call && !engine.killed()) engine.kill(KillStyle::kClose);
}

void CrowdRun::sleep() {
    if (slept_ || source_side_->engine.killed()) return;
    slept_ = true;
    world_.put_to_sleep(&source_side_->engine, world_.now() + fate_.sleep);
}

void CrowdRun::after_event() {
    if (!started()) return;
    const std::uint64_t event = events_++;
    if (fate_.sleeps_at == event) sleep();
    if (plan_.kill && plan_.kill->event == event && !source_side_->engine.killed())
        source_side_->engine.kill(plan_.kill->style);
    if (!left_ && session_over()) {
        left_ = true;
        claims_->leave(session_);
    }
}

void CrowdRun::kill_session(KillStyle style) {
    if (started() && !session_over()) target_side_->engine.kill(style);
}

void CrowdRun::end_session() {
    if (ended_ || session_over()) return;
    ended_ = true;
    target_side_->pipeline->cancel(
        {Code::kCancelled, 0, "a newer session of the same source took over"});
}

void CrowdRun::kill_all() {
    kill_session(KillStyle::kClose);
    if (started() && !source_side_->engine.killed()) source_side_->engine.kill(KillStyle::kClose);
}

bool CrowdRun::session_over() const {
    return target_side_->engine.killed() || target_side_->pipeline->finished();
}

bool CrowdRun::over() const {
    return started() && session_over() &&
           (source_side_->engine.killed() || source_side_->pipeline->finished());
}

bool CrowdRun::freezes() const {
    return moment_ && moment_->locked() && !source_side_->engine.killed() &&
           !source_side_->pipeline->finished();
}

bool CrowdRun::killed() const {
    return started() && (source_side_->engine.killed() || target_side_->engine.killed());
}

bool CrowdRun::succeeded() const {
    return !source_side_->engine.killed() && !source_side_->pipeline->error();
}

const RunReport& CrowdRun::report() const {
    return source_side_->pipeline->report();
}

std::string CrowdRun::text() const {
    static constexpr std::string_view kKinds[] = {"auto", "full", "extents", "scan"};
    std::string text(kKinds[static_cast<int>(plan_.kind)]);
    text += " to " + target_.name + ", session " + std::to_string(session_);
    if (plan_.resume) text += " resume";
    if (plan_.direct) text += " direct";
    if (slept_) text += " slept";
    if (ended_) text += " fenced";
    if (source_side_->engine.killed()) text += " source-killed";
    if (target_side_->engine.killed()) text += " target-killed";
    const auto& error = source_side_->pipeline->error();
    text += error ? ": " + error->text() : ": done";
    const auto& theirs = target_side_->pipeline->error();
    if (theirs) text += " | target: " + theirs->text();
    return text + " | " + std::string(cause_name(report().cause));
}

std::vector<std::byte> CrowdRun::moment() const {
    return moment_ && moment_->taken() ? moment_->contents() : as_it_was_;
}

bool CrowdRun::drew(const Uuid& point) const {
    return std::ranges::find(drawn_, point) != drawn_.end();
}

}  // namespace towline
