// SPDX-License-Identifier: Apache-2.0
// Turns what happens on connections and disk into events for the core, and its actions into
// operations. The order that must hold is the core's; here it only matters that actions are
// performed in their order, and that an event which arises while actions are performed waits until
// they are.

#include "userspace/engine/target_pipeline.hpp"

#include <algorithm>

#include "io/align.hpp"
#include "io/check.hpp"

namespace towline {

namespace act = target_action;
namespace ev = target_event;

namespace {

constexpr Duration kTickInterval = 250ms;
// How long a peer may take to hear why it is refused.
constexpr Duration kLastWordTime = 3s;
constexpr std::size_t kZerosWaitingMax = 1024;
constexpr std::size_t kLanesMax = 16;
constexpr const char* kNotDue = "the source sent blocks when none were due";

DiskProbedMessage told(const DiskSample& sample) {
    return {.written_bytes = sample.written_bytes,
            .written_us = sample.written_us,
            .read_bytes = sample.read_bytes,
            .read_us = sample.read_us,
            .why_not = ""};
}

}  // namespace

// One connection, and the buffer that its present frame is received into.
struct TargetPipeline::Lane {
    Lane(IoEngine& engine, Handle socket, Channel::Owner& owner) : channel(engine, socket, owner) {}
    Channel channel;
    Buffer* buffer = nullptr;
    bool waiting = false;  // for a buffer
    bool joined = false;   // a further connection that showed the token
};

TargetPipeline::TargetPipeline(IoEngine& engine, WorkQueue& workers, TargetStore& store,
                               Config config)
    : engine_(engine),
      workers_(workers),
      store_(store),
      config_(std::move(config)),
      core_(std::string(engine.name()), config_.limits) {
    tick_.on_done([this](std::int64_t) { on_tick(); });
    next_look_.on_done([this](std::int64_t) { look_on(); });
    // It may wait for an earlier session to end, or for a disk; pings go on meanwhile.
    look_.run = [this](unsigned) {
        store_.hear_standing(wanted_look_.source, wanted_look_.standing);
        facts_ = look_at_target();
    };
    look_.done.on_done([this](std::int64_t) { on_looked(); });
    probe_disk_.run = [this](unsigned) {
        const auto sample = store_.sample_disk(probed_name_);
        disk_probed_ = sample ? told(*sample) : DiskProbedMessage{.why_not = sample.error().text()};
    };
    probe_disk_.done.on_done([this](std::int64_t) {
        if (!stopped_) step(ev::DiskProbed{disk_probed_});
    });
    journal_.run = [this](unsigned) {
        journal_status_ =
            stage_ ? stage_->index->append(staged_batch_) : store_.journal(journaled_);
    };
    journal_.done.on_done([this](std::int64_t) {
        if (stopped_) return;
        journal_status_ ? step(ev::Journaled{}) : step(ev::Failed{journal_status_.error()});
    });
    commit_.run = [this](unsigned) {
        committed_ = stage_->index->finish();
        if (committed_) committed_ = store_.mark(committing_.record, true);
    };
    commit_.done.on_done([this](std::int64_t) {
        if (stopped_) return;
        committed_ ? step(ev::Committed{}) : step(ev::Failed{committed_.error()});
    });
    // A vault merges indexes here; pings go on meanwhile.
    seal_.run = [this](unsigned) {
        fitted_ = store_.fit_size();
        sealed_ = {};
        const RunDigest digest = writer_ ? writer_->digest() : RunDigest{};
        if (fitted_)
            sealed_ = store_.seal(sealing_.record, {digest, sealing_.reread, sealing_.moment});
    };
    seal_.done.on_done([this](std::int64_t) { on_sealed(); });
}

TargetPipeline::~TargetPipeline() {
    CHECK(finished() || lanes_.empty());
    for (const auto& lane : lanes_) {
        if (lane->buffer != nullptr) writer_->pool().give(lane->buffer);
    }
    let_go();
}

// A ring that goes away lets go of its files some time later: a device would still be held when the
// next run opens it.
void TargetPipeline::let_go() {
    if (stage_) engine_.detach(stage_->blocks.view.handle);
    if (volume_.view.handle) engine_.detach(volume_.view.handle);
    if (volume_.lock) engine_.detach(volume_.lock);
    stage_.reset();
    volume_ = {};
}

void TargetPipeline::start(Handle first) {
    add_lane(first);
    on_tick();
}

void TargetPipeline::join(Handle further) {
    if (stopped_ || lanes_.size() >= kLanesMax) return engine_.shut_down(further);
    add_lane(further);
}

void TargetPipeline::add_lane(Handle socket) {
    Channel::Owner& owner = *this;
    lanes_.push_back(std::make_unique<Lane>(engine_, socket, owner));
    lanes_.back()->channel.start();
}

TargetPipeline::Lane& TargetPipeline::lane_of(Channel& channel) {
    const auto lane = std::find_if(lanes_.begin(), lanes_.end(),
                                   [&](const auto& each) { return &each->channel == &channel; });
    CHECK(lane != lanes_.end());
    return **lane;
}

Channel& TargetPipeline::talk() {
    return lanes_.front()->channel;
}

std::size_t TargetPipeline::queued_bytes() const {
    return lanes_.empty() ? 0 : lanes_.front()->channel.queued_bytes();
}

void TargetPipeline::cancel(Error error) {
    if (!stopped_) step(ev::Failed{std::move(error)});
}

bool TargetPipeline::finished() const {
    if (!stopped_ || tick_.busy() || next_look_.busy()) return false;
    if (look_.done.busy() || probe_disk_.done.busy()) return false;
    if (journal_.done.busy() || seal_.done.busy() || commit_.done.busy()) return false;
    if (apply_ && !apply_->idle()) return false;
    if (replay_reread_ && !replay_reread_->idle()) return false;
    if (writer_ && !writer_->idle()) return false;
    if (sink_ && !sink_->idle()) return false;
    if (compare_ && compare_->hasher && !compare_->hasher->idle()) return false;
    return std::all_of(lanes_.begin(), lanes_.end(),
                       [](const auto& lane) { return lane->channel.idle(); });
}

void TargetPipeline::step(const TargetEvent& event) {
    if (stopped_) return;
    if (stepping_) {
        events_.push_back(event);
        return;
    }
    stepping_ = true;
    events_.push_back(event);
    for (std::size_t at = 0; at < events_.size() && !stopped_; ++at) {
        if (writer_) core_.set_own_digest(writer_->digest());
        const TargetEvent now = std::move(events_[at]);
        actions_.clear();
        core_.step(now, engine_.now(), actions_);
        // Actions may raise events, never actions: the list stays as it is.
        for (TargetAction& action : actions_)
            perform(action);
    }
    events_.clear();
    stepping_ = false;
}

void TargetPipeline::on_message(Channel& channel, Message message) {
    if (stopped_) return;
    if (&channel != &talk()) return on_joining(lane_of(channel), message);
    if (const auto* zero = std::get_if<ZeroMessage>(&message)) {
        const Extent extent{zero->offset_bytes, zero->length_bytes};
        const Status admitted = core_.admit(extent);
        if (!admitted) return step(ev::Failed{admitted.error()});
        writer_->zero(extent);
        if (writer_->zeros_waiting() > kZerosWaitingMax) channel.hold(true);
        return;
    }
    if (const auto* why = std::get_if<ErrorMessage>(&message)) {
        if (core_.committed())
            return step(ev::Failed{{Code::kDisconnected, 0, "the source gave up: " + why->text}});
        return stop(Error{why->code, static_cast<int>(why->system_errno),
                          "the source gave up: " + why->text});
    }
    step(ev::Received{std::move(message)});
}

// A further connection says hello with the session's token, then carries blocks, and pings
// that show that it still does.
void TargetPipeline::on_joining(Lane& lane, const Message& message) {
    if (lane.joined && std::holds_alternative<PingMessage>(message)) return;
    const auto* hello = std::get_if<HelloMessage>(&message);
    if (hello == nullptr || lane.joined || hello->join_token != config_.join_token) {
        return step(ev::Failed{
            {Code::kProtocol, 0, "the source sent a message over a connection for blocks"}});
    }
    lane.joined = true;
    lane.channel.send_message(JoinedMessage{});
}

MutableByteSpan TargetPipeline::payload_room(Channel& channel, const FrameHeader& header) {
    Lane& lane = lane_of(channel);
    const bool due = core_.transferring() || saying_why_;
    if (!due || !writer_ || header.payload_bytes > writer_->pool().buffer_bytes()) {
        step(ev::Failed{{Code::kProtocol, 0, kNotDue}});
        return {};
    }
    lane.buffer = writer_->take_room(header.payload_bytes);
    lane.waiting = lane.buffer == nullptr;
    return lane.waiting ? MutableByteSpan{} : lane.buffer->bytes();
}

void TargetPipeline::on_data(Channel& channel, ByteSpan head, ByteSpan payload) {
    Buffer* buffer = std::exchange(lane_of(channel).buffer, nullptr);
    if (saying_why_) {
        if (buffer != nullptr) writer_->give_back(buffer);
        return;
    }
    const Status checked =
        stopped_ || !writer_ ? fail(Code::kProtocol, kNotDue) : take_table(head, payload.size());
    if (!checked) {
        if (buffer != nullptr) writer_->give_back(buffer);
        return step(ev::Failed{checked.error()});
    }
    writer_->write(head_, extents_, buffer);
}

// Everything a frame claims, before its blocks are looked at.
Status TargetPipeline::take_table(ByteSpan head, std::size_t payload_bytes) {
    TRY_STATUS(DataHead::decode(head, static_cast<std::uint32_t>(payload_bytes), head_));
    if (head_.block_bytes != core_.begin().block_bytes) {
        return fail(Code::kProtocol, "the source sent blocks of another size than agreed");
    }
    // Decompressed they must fit one of our buffers, however small they came.
    if (std::uint64_t{head_.block_count} * head_.block_bytes > writer_->pool().buffer_bytes()) {
        return fail(Code::kProtocol, "the source sent more blocks in a frame than fit");
    }
    const std::uint64_t volume_bytes = core_.volume_bytes();
    extents_.clear();
    for (const DataExtent& each : std::span(head_.extents).first(head_.extent_count)) {
        Extent extent{each.offset_bytes, std::uint64_t{each.count} * head_.block_bytes};
        // The last block ends where the volume does.
        if (extent.offset_bytes < volume_bytes)
            extent.length_bytes = std::min(extent.length_bytes, volume_bytes - extent.offset_bytes);
        TRY_STATUS(core_.admit(extent));
        if (align_up<std::uint64_t>(extent.length_bytes, head_.block_bytes) !=
            std::uint64_t{each.count} * head_.block_bytes)
            return fail(Code::kProtocol, "the source sent blocks behind the end of its volume");
        extents_.push_back(extent);
    }
    return {};
}

bool TargetPipeline::on_arrived(std::span<const Extent> extents) {
    // The mark must be durable when this returns, not some time later.
    CHECK(!stepping_);
    for (const Extent& extent : extents)
        step(ev::Arrived{extent});
    // Not when the mark failed: the record would go on vouching for what was overwritten.
    return !stopped_ && !core_.finished();
}

void TargetPipeline::on_stored(std::span<const Extent> extents) {
    for (const Extent& extent : extents)
        if (!stopped_) step(ev::Stored{extent});
    if (!stopped_ && writer_->zeros_waiting() <= kZerosWaitingMax / 2 && talk().is_held())
        talk().hold(false);
}

void TargetPipeline::on_write_failed(Error error) {
    step(ev::Failed{std::move(error)});
}

void TargetPipeline::on_room() {
    for (const auto& lane : lanes_) {
        if (!lane->waiting || stopped_) continue;
        lane->waiting = false;
        lane->channel.resume();
        return;
    }
}

void TargetPipeline::on_closed(Channel&, Error error) {
    if (saying_why_) return stop(error_);
    if (core_.committed()) error.code = Code::kDisconnected;
    step(ev::Failed{std::move(error)});
}

void TargetPipeline::on_flushed(Status status) {
    if (!status && sink_->failed_flush_taints()) return on_flush_failed(status.error());
    if (stopped_) return;
    status ? step(ev::Flushed{}) : step(ev::Failed{status.error()});
}

// Noted even when the session is over: the kernel says it once, and whoever opens the volume next
// would read what is not stored.
void TargetPipeline::on_flush_failed(Error error) {
    const Status noted = store_.note_flush_failed(core_.record_flush_failed());
    if (!noted) error.context += ", nor note that (" + noted.error().text() + ")";
    if (!stopped_) step(ev::FlushFailed{std::move(error)});
}

void TargetPipeline::on_tick() {
    if (stopped_) return;
    if (saying_why_) {
        // Not as soon as the last word is sent: what still comes in would be answered with a reset,
        // and the source could meet that before the word. It closes when it has heard.
        if (engine_.now() >= close_at_) return stop(error_);
    } else {
        step(ev::Tick{});
        const bool silent = std::ranges::any_of(lanes_, [&](const auto& lane) {
            return lane->channel.silence() > config_.silence_max;
        });
        if (!stopped_ && !saying_why_ && silent) {
            step(ev::Failed{{Code::kTimeout, 0, "the source stayed silent for too long"}});
        }
    }
    if (!stopped_) engine_.wait_until(engine_.now() + kTickInterval, tick_);
}

void TargetPipeline::perform(TargetAction& action) {
    if (stopped_) return;
    std::visit([this](auto& each) { perform(each); }, action);
}

void TargetPipeline::perform(act::AnswerProbe& action) {
    const auto clock = std::chrono::duration_cast<std::chrono::microseconds>(
        std::chrono::system_clock::now().time_since_epoch());
    talk().send_message(ProbedMessage{.bytes = action.bytes,
                                      .clock_us = static_cast<std::uint64_t>(clock.count())});
}

void TargetPipeline::perform(act::ProbeDisk& action) {
    probed_name_ = std::move(action.name);
    workers_.submit(probe_disk_);
}

void TargetPipeline::perform(act::Send& action) {
    const bool begun = std::holds_alternative<BegunMessage>(action.message);
    talk().send_message(action.message);
    if (!begun) return;
    for (const auto& lane : lanes_)
        lane->channel.set_run(core_.run_number());
}

void TargetPipeline::perform(act::Look& action) {
    wanted_look_ = std::move(action);
    workers_.submit(look_);
}

Result<TargetFacts> TargetPipeline::look_at_target() {
    TRY_STATUS(store_.hear_volumes(wanted_look_.layout));
    return store_.look(wanted_look_.name, wanted_look_.source, wanted_look_.dry_run);
}

void TargetPipeline::on_looked() {
    if (stopped_) return;
    if (!*facts_) return step(ev::Failed{facts_->error()});
    step(ev::Looked{.facts = **facts_, .join_token = config_.join_token});
}

void TargetPipeline::perform(act::Prepare& action) {
    // What an earlier session left was applied over the volume as it was open then.
    apply_.reset();
    replay_reread_.reset();
    let_go();
    auto volume = store_.prepare(engine_, action.volume_bytes, action.dry_run);
    if (!volume) return step(ev::Failed{volume.error()});
    volume_ = *volume;
    volume_.zeroed &= !action.rewrite;
    step(ev::Prepared{.zeroed = volume_.zeroed});
}

void TargetPipeline::perform(act::Begin& action) {
    const BeginMessage& begin = action.begin;
    check_.emplace(core_.layout().check());
    hasher_.emplace(begin.hash_seed);
    if (action.staged) {
        const Status opened = open_stage(action);
        if (!opened) return step(ev::Failed{opened.error()});
    } else {
        auto sink = store_.open_sink(engine_, workers_, volume_, begin);
        if (!sink) return step(ev::Failed{sink.error()});
        sink_ = std::move(*sink);
    }
    const TargetWriter::Geometry geometry{
        .volume_bytes = core_.volume_bytes(),
        .block_bytes = begin.block_bytes,
        .buffer_bytes = std::max<std::size_t>(config_.buffer_bytes, begin.block_bytes),
        .buffer_count = config_.buffer_count * config_.buffer_bytes /
                        std::max<std::size_t>(config_.buffer_bytes, begin.block_bytes),
        .zeroed = volume_.zeroed && !action.staged,
        .shelf = config_.shelf};
    TargetWriter::Owner& owner = *this;
    writer_ = std::make_unique<TargetWriter>(workers_, *sink_, geometry, *check_, *hasher_, owner);
    engine_.register_buffers(writer_->pool());
}

void TargetPipeline::perform(act::Mark& action) {
    const Status marked = store_.mark(action.record, action.keep_journal);
    if (!marked) step(ev::Failed{marked.error()});
}

void TargetPipeline::perform(act::Flush&) {
    sink_->flush([this](Status status) { on_flushed(std::move(status)); });
}

void TargetPipeline::perform(act::Journal& action) {
    if (staging_ != nullptr) staged_batch_ = staging_->take_flushed();
    journaled_ = std::move(action.extents);
    workers_.submit(journal_);
}

void TargetPipeline::perform(act::Seal& action) {
    sealing_ = action;
    workers_.submit(seal_);
}

void TargetPipeline::on_sealed() {
    // Noted even when the session is over, see on_flushed().
    if (!fitted_ && !core_.committed()) return on_flush_failed(fitted_.error());
    if (stopped_) return;
    // What was staged is applied again: that writes all of it anew.
    if (!fitted_) return step(ev::Failed{fitted_.error()});
    if (!sealed_) return step(ev::Failed{sealed_.error()});
    if (core_.replaying()) return step(ev::Sealed{sealing_.record});
    const auto cpu = std::chrono::duration_cast<std::chrono::microseconds>(config_.cpu_time());
    talk().send_message(SealedMessage{.digest = writer_->digest(),
                                      .reread = sealing_.reread,
                                      .base = sealing_.record.base,
                                      .cpu_microseconds = static_cast<std::uint64_t>(cpu.count()),
                                      .rss_max_bytes = config_.rss_max_bytes(),
                                      .written_bytes = core_.stored_bytes()});
    step(ev::Sealed{sealing_.record});
    // The source closes when it has heard; a vanished one is not waited for.
    saying_why_ = true;
    close_at_ = engine_.now() + kLastWordTime;
}

void TargetPipeline::perform(act::Fail& action) {
    error_ = action.error;
    if (writer_) writer_->stop();
    if (apply_) apply_->stop();
    if (replay_reread_) replay_reread_->stop();
    if (action.error.code == Code::kDisconnected) return stop(error_);
    talk().send_message(
        ErrorMessage{.code = action.error.code,
                     .system_errno = static_cast<std::uint32_t>(action.error.system_errno),
                     .flush_failed = action.flush_failed,
                     .text = action.error.context});
    saying_why_ = true;
    close_at_ = engine_.now() + kLastWordTime;
    talk().hold(false);
}

void TargetPipeline::stop(std::optional<Error> error) {
    if (stopped_) return;
    error_ = std::move(error);
    stopped_ = true;
    if (writer_) writer_->stop();
    if (apply_) apply_->stop();
    if (replay_reread_) replay_reread_->stop();
    if (compare_ && compare_->hasher) compare_->hasher->stop();
    for (const auto& lane : lanes_)
        lane->channel.close();
    if (tick_.busy()) engine_.cancel_wait(tick_);
}

}  // namespace towline
