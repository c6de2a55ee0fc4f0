// SPDX-License-Identifier: Apache-2.0
// The target's passes of hashing for the source to compare: everything, named blocks, what a
// resumed run has acknowledged.

#include "userspace/engine/target_pipeline.hpp"

namespace towline {

namespace act = target_action;
namespace ev = target_event;

namespace {

constexpr std::size_t kQueuedBytesMax = 1 << 20;

}  // namespace

void TargetPipeline::perform(act::CompareAll&) {
    const BeginMessage& begin = core_.begin();
    if (sink_ && begin.resume && !begin.dry_run && staging_ == nullptr) {
        const auto extents = store_.acknowledged();
        if (!extents) return step(ev::Failed{extents.error()});
        earlier_.emplace(blocks_of(*extents));
    }
    act::CompareListed all{ChangeMap(core_.volume_bytes(), core_.begin().block_bytes)};
    all.wanted.mark_all();
    perform(all);
}

// An image still has its own size here: what it lacks is not hashed, and differs.
void TargetPipeline::perform(act::CompareListed& action) {
    ChangeMap& wanted = action.wanted;
    if (volume_.view.size_bytes < wanted.volume_bytes()) {
        const std::uint64_t there = volume_.view.size_bytes / wanted.block_bytes();
        wanted.clear_blocks({.first = there, .count = wanted.block_count() - there});
    }
    start_compare(HashKind::kBase, std::move(wanted));
}

void TargetPipeline::perform(act::CompareAcknowledged&) {
    if (!sink_) return;  // could not be opened: the failure is on its way
    if (staging_ != nullptr) {
        acknowledged_.start(staging_->resumed_extents());
        return tell_acknowledged();
    }
    auto extents = store_.acknowledged();
    if (!extents) return step(ev::Failed{extents.error()});
    acknowledged_.start(std::move(*extents));
    tell_acknowledged();
}

void TargetPipeline::tell_acknowledged() {
    if (saying_why_ || !acknowledged_.tell(talk(), kQueuedBytesMax)) return;
    ChangeMap wanted = blocks_of(acknowledged_.extents());
    acknowledged_ = {};
    if (staging_ == nullptr) earlier_.emplace(wanted);
    start_compare(HashKind::kAcknowledged, std::move(wanted));
}

ChangeMap TargetPipeline::blocks_of(const std::vector<Extent>& extents) const {
    ChangeMap blocks(core_.volume_bytes(), core_.begin().block_bytes);
    for (const Extent& extent : extents) {
        if (extent.end_bytes() <= blocks.volume_bytes()) blocks.mark(extent);
    }
    return blocks;
}

void TargetPipeline::start_compare(HashKind kind, ChangeMap wanted) {
    if (!sink_) return;  // could not be opened: the failure is on its way
    compare_ = std::make_unique<Compare>();
    compare_->wanted = std::move(wanted);
    start_pass(
        kind, compare_->wanted, [this](const HashPass::Piece& piece) { send_digests(piece); },
        [this](Status status) { on_compared(std::move(status)); });
}

// Of compare_, which was made for it.
void TargetPipeline::start_pass(HashKind kind, const ChangeMap& wanted, HashPass::Sink sink,
                                HashPass::Done done) {
    auto data = store_.data_ranges();
    if (!data) return step(ev::Failed{data.error()});
    compare_->data = std::move(*data);
    compare_->hasher = sink_->hash(kind, writer_->pool(), *hasher_, wanted, compare_->data,
                                   std::move(sink), std::move(done));
    compare_->hasher->start();
}

void TargetPipeline::send_digests(const HashPass::Piece& piece) {
    if (stopped_) return;
    if (earlier_) earlier_->note(piece);
    const Extent extent = compare_->wanted.extent_of(piece.run);
    DigestsMessage message{.first_block = piece.run.first};
    if (piece.hashes.empty()) message.zero_count = piece.run.count;
    message.hashes.assign(piece.hashes.begin(), piece.hashes.end());
    add_compared(writer_->digester(), message, extent);
    talk().send_message(message);
    if (talk().queued_bytes() > kQueuedBytesMax) compare_->hasher->hold(true);
}

void TargetPipeline::on_sent_some(Channel& channel) {
    if (acknowledged_.telling() && !stopped_ && &channel == &talk()) return tell_acknowledged();
    const bool resumable =
        compare_ && compare_->hasher && channel.queued_bytes() < kQueuedBytesMax / 2;
    if (resumable && !stopped_) compare_->hasher->hold(false);
}

void TargetPipeline::on_compared(Status status) {
    if (stopped_) return;
    if (!status) return step(ev::Failed{status.error()});
    talk().send_message(DigestsMessage{.last = true});
    step(ev::CompareSent{});
}

}  // namespace towline
