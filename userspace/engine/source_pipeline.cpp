// SPDX-License-Identifier: Apache-2.0
// Turns what happens on connections and disk into events for the core, and its actions into
// operations, as the target's pipeline does on its side.

#include "userspace/engine/source_pipeline.hpp"

#include <algorithm>

#include "io/check.hpp"

namespace towline {

namespace act = source_action;
namespace ev = source_event;

namespace {

constexpr Duration kTickInterval = 100ms;
constexpr Duration kLastWordTime = 2s;

}  // namespace

struct SourcePipeline::Lane {
    Lane(IoEngine& engine, Handle socket, Channel::Owner& owner) : channel(engine, socket, owner) {}
    Channel channel;
    bool joined = false;  // further lanes: the target has let it in
};

SourcePipeline::SourcePipeline(IoEngine& engine, WorkQueue& workers, SourceStore& store,
                               Config config)
    : engine_(engine),
      workers_(workers),
      store_(store),
      config_(std::move(config)),
      core_({.target_name = config_.target_name,
             .source = config_.request.run.source,
             .standing = config_.standing,
             .layout = config_.request.layout,
             .volume_bytes = config_.request.run.volume_bytes,
             .dry_run = config_.request.dry_run,
             .further_lanes = config_.further_lanes > 0,
             .ping_interval = config_.ping_interval,
             .compression = config_.compression}),
      limiter_(config_.rate_bytes_per_second),
      pool_(config_.buffer_count * config_.buffer_bytes /
                std::max<std::size_t>(config_.buffer_bytes, config_.request.block_bytes),
            std::max<std::size_t>(config_.buffer_bytes, config_.request.block_bytes)) {
    engine_.register_buffers(pool_);
    tick_.on_done([this](std::int64_t) { on_tick(); });
    taking_.run = [this](unsigned) { taken_ = config_.moment->take(); };
    taking_.done.on_done([this](std::int64_t) { on_moment_taken(); });
    checking_.run = [this](unsigned) { checked_ = config_.moment->all_read(); };
    checking_.done.on_done([this](std::int64_t) { on_all_checked(); });
    // It waits for a disk, which may be the one that is read meanwhile.
    noting_.run = [this](unsigned) { noted_ = note_run(run_, store_); };
    noting_.done.on_done([this](std::int64_t) { on_noted(); });
}

SourcePipeline::~SourcePipeline() {
    CHECK(finished() || lanes_.empty());
    // Channels first: frames of the sender may still stand in their queues.
    lanes_.clear();
}

void SourcePipeline::start(Handle first) {
    started_at_ = engine_.now();
    Channel::Owner& owner = *this;
    lanes_.push_back(std::make_unique<Lane>(engine_, first, owner));
    talk().set_limiter(&limiter_);
    talk().start();
    step(ev::Started{});
    if (config_.moment != nullptr && config_.moment->unseen()) take_moment();
    on_tick();
}

SourcePipeline::Lane& SourcePipeline::lane_of(Channel& channel) {
    const auto lane = std::find_if(lanes_.begin(), lanes_.end(),
                                   [&](const auto& each) { return &each->channel == &channel; });
    CHECK(lane != lanes_.end());
    return **lane;
}

Channel& SourcePipeline::talk() {
    return lanes_.front()->channel;
}

void SourcePipeline::cancel(Error error) {
    if (!stopped_) step(ev::Failed{std::move(error)});
}

bool SourcePipeline::finished() const {
    if (!stopped_ || tick_.busy() || taking_.done.busy() || noting_.done.busy()) return false;
    if (checking_.done.busy()) return false;
    if (sender_ && !sender_->idle()) return false;
    if (ours_ && !ours_->idle()) return false;
    return std::all_of(lanes_.begin(), lanes_.end(),
                       [](const auto& lane) { return lane->channel.idle(); });
}

// --- events
// --------------------------------------------------------------------------------------------

void SourcePipeline::step(const SourceEvent& event) {
    if (stopped_) return;
    events_.push_back(event);
    if (stepping_) return;
    stepping_ = true;
    for (std::size_t at = 0; at < events_.size() && !stopped_; ++at) {
        const SourceEvent now = std::move(events_[at]);
        actions_.clear();
        core_.step(now, engine_.now(), actions_);
        for (SourceAction& action : actions_)
            perform(action);
    }
    events_.clear();
    stepping_ = false;
}

MutableByteSpan SourcePipeline::payload_room(Channel&, const FrameHeader&) {
    step(ev::Failed{{Code::kProtocol, 0, "the target sent blocks"}});
    return {};
}

void SourcePipeline::on_data(Channel&, ByteSpan, ByteSpan) {
    step(ev::Failed{{Code::kProtocol, 0, "the target sent blocks"}});
}

void SourcePipeline::on_message(Channel& channel, Message message) {
    if (stopped_) return;
    if (&channel == &talk()) {
        // The target's next frame is the run's already (the acknowledged set of a resumed one).
        if (std::holds_alternative<BegunMessage>(message)) {
            for (const auto& lane : lanes_)
                lane->channel.set_run(run_number_of(run_.begin.run));
        }
        return step(ev::Received{std::move(message)});
    }
    on_joined(lane_of(channel), message);
}

void SourcePipeline::on_joined(Lane& lane, const Message& message) {
    if (const auto* error = std::get_if<ErrorMessage>(&message)) {
        return step(ev::Failed{{error->code, static_cast<int>(error->system_errno), error->text}});
    }
    if (!std::holds_alternative<JoinedMessage>(message) || lane.joined) {
        return step(ev::Failed{{Code::kProtocol, 0, "the target refused a further connection"}});
    }
    lane.joined = true;
    if (++joined_ == config_.further_lanes) step(ev::LanesJoined{});
}

void SourcePipeline::on_closed(Channel&, Error error) {
    if (saying_why_) return stop(error_);
    error.context += " (target)";
    step(ev::Failed{std::move(error)});
}

void SourcePipeline::on_sent_some(Channel&) {
    if (stopped_) return;
    if (listed_.telling()) tell_listed();
    if (sender_) sender_->on_sent_some();
}

// The last of it is still to be sent meanwhile.
void SourcePipeline::on_all_read() {
    if (config_.moment != nullptr) workers_.submit(checking_);
}

void SourcePipeline::on_all_checked() {
    if (stopped_) return;
    if (!*checked_) return step(ev::Failed{checked_->error()});
    if (sent_) finish_sending();
}

void SourcePipeline::on_all_sent(const RunDigest& digest) {
    sent_ = digest;
    if (!checking_.done.busy()) finish_sending();
}

void SourcePipeline::finish_sending() {
    std::optional<MomentMessage> told;
    if (config_.moment != nullptr) {
        const MomentFacts& facts = config_.moment->facts();
        const auto frozen = std::chrono::duration_cast<std::chrono::microseconds>(facts.frozen);
        told = {.label = facts.label,
                .group = facts.group,
                .frozen_us = static_cast<std::uint64_t>(frozen.count())};
    }
    std::optional<bool> verify;
    if (config_.verify_now) verify = config_.verify_now();
    step(ev::AllSent{.digest = *sent_, .moment = told, .verify = verify});
}

void SourcePipeline::on_read_failed(Error error) {
    // An image that was given up reads as an error of the disk.
    if (config_.moment != nullptr) {
        if (const Status stands = config_.moment->stands(); !stands) error = stands.error();
    }
    step(ev::Failed{std::move(error)});
}

void SourcePipeline::on_tick() {
    if (stopped_) return;
    if (saying_why_) {
        if (talk().drained() || engine_.now() >= close_at_) return stop(error_);
    } else {
        if (config_.rate_now) limiter_.set_rate(config_.rate_now(), engine_.now());
        if (sender_ && config_.level_now) sender_->set_level(config_.level_now());
        if (sender_) sender_->adapt();
        step(ev::Tick{});
        report_progress();
        if (config_.cancelled()) {
            step(ev::Failed{
                {Code::kCancelled, 0, "the run was interrupted; --resume goes on with it"}});
        }
        const bool silent = std::any_of(lanes_.begin(), lanes_.end(), [&](const auto& lane) {
            // Once they have joined, further lanes only ever carry blocks away from us.
            const bool listens = &lane->channel == &talk() || !lane->joined;
            return (listens ? lane->channel.silence() : lane->channel.send_silence()) >
                   config_.silence_max;
        });
        if (!stopped_ && !saying_why_ && silent) {
            step(ev::Failed{{Code::kTimeout, 0, "the target stayed silent for too long"}});
        }
    }
    if (!stopped_) engine_.wait_until(engine_.now() + kTickInterval, tick_);
}

void SourcePipeline::report_progress() {
    RunProgress progress{.stage = core_.stage(),
                         .durable_bytes = core_.durable_bytes(),
                         .volume_bytes = config_.request.run.volume_bytes,
                         .elapsed = engine_.now() - started_at_};
    for (const auto& lane : lanes_)
        progress.sent_bytes += lane->channel.sent_bytes();
    if (sender_) {
        progress.done_bytes = sender_->counters().done_bytes;
        progress.total_bytes = run_.plan.marked_bytes();
        progress.listed = run_.decision.mode != RunMode::kFull;
        progress.level = sender_->level();
    } else if (compare_) {
        progress.done_bytes =
            std::min(compare_->compared_blocks() * wanted_.block_bytes(), wanted_.volume_bytes());
        progress.total_bytes = wanted_.marked_bytes();
    }
    config_.on_progress(progress);
}

// --- actions
// -------------------------------------------------------------------------------------------

void SourcePipeline::perform(SourceAction& action) {
    if (stopped_) return;
    std::visit([this](auto& each) { perform(each); }, action);
}

void SourcePipeline::perform(act::Send& action) {
    // A lane whose link stalls would else be noticed by nobody: what it swallowed seems sent to us,
    // and to the target it is a lane without work.
    if (std::holds_alternative<PingMessage>(action.message)) {
        for (const auto& lane : lanes_)
            lane->channel.send_message(action.message);
        return;
    }
    talk().send_message(action.message);
    if (const auto* begin = std::get_if<BeginMessage>(&action.message))
        talk().set_sending_run(run_number_of(begin->run));
}

void SourcePipeline::perform(act::Join& action) {
    for (std::size_t i = 0; i < config_.further_lanes; ++i) {
        auto socket = config_.connect();
        if (!socket) return step(ev::Failed{socket.error()});
        Channel::Owner& owner = *this;
        lanes_.push_back(std::make_unique<Lane>(engine_, *socket, owner));
        Channel& channel = lanes_.back()->channel;
        channel.set_limiter(&limiter_);
        channel.start();
        channel.send_message(HelloMessage{.join_token = action.token});
    }
}

void SourcePipeline::perform(act::Plan& action) {
    opened_ = action.opened;
    if (config_.moment == nullptr) return plan();
    if (taking_.done.busy()) return;  // begun before the target was known
    taken_ ? begin_plan() : take_moment();
}

// The loop goes on meanwhile: a target hears that we are there however long programs take.
void SourcePipeline::take_moment() {
    workers_.submit(taking_);
}

void SourcePipeline::on_moment_taken() {
    if (!stopped_ && core_.planning()) begin_plan();
}

void SourcePipeline::begin_plan() {
    if (!*taken_) return step(ev::Failed{taken_->error()});
    const Status adopted = adopt_moment();
    if (!adopted) return step(ev::Failed{adopted.error()});
    plan();
}

// From what the taker has to what the run reads and sends. The tracker drops its epoch only when
// every target's part of it is on stable storage.
Status SourcePipeline::adopt_moment() {
    Moment moment = TRY(config_.moment->open(engine_));
    SourceRequest& request = config_.request;
    if (moment.view.size_bytes != request.run.volume_bytes) {
        return fail(Code::kIo, "the source changed its size while the run began; run again");
    }
    config_.volume = moment.view;
    config_.data = std::move(moment.data);
    request.free_left_out = moment.free_left_out;
    request.run.filesystem = std::move(moment.filesystem);
    request.run.modified_ns = moment.modified_ns;
    request.changes = std::move(moment.changes);
    if (request.changes.empty()) return {};
    Status noted =
        request.dry_run ? Status(fail(Code::kCancelled, "a dry run notes nothing")) : note_epochs();
    Status settled = config_.moment->settle(noted.has_value());
    if (!noted && !request.dry_run) return noted;
    return settled;
}

Status SourcePipeline::note_epochs() {
    const auto& changes = config_.request.changes;
    for (std::size_t place = 0; place < changes.size(); ++place)
        TRY_STATUS(note_epoch(changes[place], opened_.target, store_.of_volume(place)));
    return {};
}

void SourcePipeline::plan() {
    auto run = plan_run(config_.request, store_, opened_);
    const bool to_be_noted = run && !config_.request.dry_run;
    if (config_.moment != nullptr && !to_be_noted) config_.moment->release();
    if (!run) return step(ev::Failed{run.error()});
    run_ = std::move(*run);
    report_.mode = run_.decision.mode;
    report_.cause = run_.decision.cause;
    report_.resumed = run_.decision.resume;
    report_.bytes_changed = run_.changed_bytes;
    report_.engine_target = opened_.engine;
    check_.emplace(layout_of(config_.request).check());
    hasher_.emplace(run_.begin.hash_seed);
    digester_.emplace(*hasher_);
    if (run_.decision.mode == RunMode::kScan || run_.decision.resume) {
        wanted_ = ChangeMap(config_.request.run.volume_bytes, config_.request.block_bytes);
    }
    if (run_.decision.mode == RunMode::kScan) wanted_.mark_all();
    if (run_.begin.compare_listed) {
        wanted_ = run_.audit;
        if (run_.decision.compare_listed) {
            wanted_ = run_.plan;
            if (!run_.audit.empty()) wanted_.merge(run_.audit);
        }
        report_.audited_blocks = run_.audit.marked_blocks();
    }
    // What is compared first is less than it seems.
    const bool known = run_.decision.mode != RunMode::kScan && !run_.decision.compare_listed;
    if (known && !run_.decision.resume)
        run_.begin.plan_bytes = std::min(run_.plan.marked_bytes(), total_bytes(config_.data));
    step(ev::Planned{.decision = run_.decision, .begin = run_.begin});
}

void SourcePipeline::perform(act::Note&) {
    workers_.submit(noting_);
}

void SourcePipeline::on_noted() {
    if (config_.moment != nullptr) config_.moment->release();
    if (stopped_) return;
    noted_ ? step(ev::Noted{}) : step(ev::Failed{noted_.error()});
}

void SourcePipeline::perform(act::ReadAhead&) {
    make_sender();
}

void SourcePipeline::make_sender() {
    SourceSender::Owner& owner = *this;
    sender_ = std::make_unique<SourceSender>(engine_, workers_, pool_, config_.frame_bytes,
                                             config_.volume, *check_, *hasher_, *digester_,
                                             core_.compression(), owner);
    const std::uint32_t block_bytes = config_.request.block_bytes;
    sender_->start(TransferPlan(run_.plan, config_.data, pool_.buffer_bytes() / block_bytes),
                   block_bytes);
}

void SourcePipeline::perform(act::StartTransfer& action) {
    wanted_ = {};  // compared; at 16 TiB each map is 32 MiB
    if (!sender_) make_sender();
    std::vector<Channel*> lanes;
    lanes.reserve(lanes_.size());
    for (const auto& lane : lanes_)
        lanes.push_back(&lane->channel);
    sender_->let_go(std::move(lanes), action.skip_zeros);
}

void SourcePipeline::perform(act::Commit& action) {
    report_.reread = action.sealed.reread;
    report_.staged = core_.target_stages();
    report_.base = action.sealed.base;
    report_.digest = action.sealed.digest;
    report_.cpu_target = std::chrono::microseconds(action.sealed.cpu_microseconds);
    report_.rss_max_target_bytes = action.sealed.rss_max_bytes;
    const Status committed = commit_run(run_, store_);
    if (!committed) return step(ev::Failed{committed.error()});
    step(ev::Committed{});
}

// That it fails changes nothing: the run has failed, and the target tries to note it too.
void SourcePipeline::perform(act::NoteFlushFailed&) {
    if (config_.request.dry_run) return;
    static_cast<void>(note_known(run_, store_, [run = run_.begin.run](TargetMemory& memory) {
        memory.flush_failed_run = run;
    }));
}

void SourcePipeline::perform(act::Finish&) {
    report_progress();
    // A dry run leaves in the middle of the conversation and says so.
    if (config_.request.dry_run) {
        talk().send_message(ErrorMessage{.code = Code::kCancelled, .text = "a dry run ends here"});
        saying_why_ = true;
        close_at_ = engine_.now() + kLastWordTime;
        return;
    }
    stop(std::nullopt);
}

void SourcePipeline::perform(act::Fail& action) {
    error_ = action.error;
    if (!action.tell_peer) return stop(error_);
    talk().send_message(
        ErrorMessage{.code = action.error.code,
                     .system_errno = static_cast<std::uint32_t>(action.error.system_errno),
                     .text = action.error.context});
    if (sender_) sender_->stop();
    saying_why_ = true;
    close_at_ = engine_.now() + kLastWordTime;
}

void SourcePipeline::report_volumes() {
    const VolumeLayout layout = layout_of(config_.request);
    report_.bytes_total = layout.data_bytes();
    report_.volumes.clear();
    for (const VolumePart& part : layout.parts()) {
        report_.volumes.push_back({.name = part.name,
                                   .path = {},
                                   .source = part.source,
                                   .bytes = part.bytes,
                                   .changed_bytes = marked_bytes(run_.plan, part)});
    }
}

void SourcePipeline::stop(std::optional<Error> error) {
    if (stopped_) return;
    error_ = std::move(error);
    stopped_ = true;
    report_.dry_run = config_.request.dry_run;
    report_volumes();
    report_.elapsed = engine_.now() - started_at_;
    for (const auto& lane : lanes_) {
        report_.bytes_sent += lane->channel.sent_bytes();
        report_.bytes_received += lane->channel.received_bytes();
        lane->channel.close();
    }
    if (sender_) {
        const SourceSender::Counters& counters = sender_->counters();
        report_.bytes_read += counters.read_bytes;
        report_.bytes_zero = counters.zero_bytes;
        if (counters.deflate_blocks + counters.zstd_blocks > 0) {
            report_.codec =
                codec_name(counters.deflate_blocks > counters.zstd_blocks ? BlockKind::kDeflate
                                                                          : BlockKind::kZstd);
        }
        sender_->stop();
    }
    if (ours_) ours_->stop();
    if (tick_.busy()) engine_.cancel_wait(tick_);
}

}  // namespace towline
