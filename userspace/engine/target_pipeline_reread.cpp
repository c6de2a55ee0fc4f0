// SPDX-License-Identifier: Apache-2.0
// The target's passes that attest from what is read back: what this session brought against the
// digest of what arrived, then what earlier sessions did against what the source found equal. That
// is the reading which was compared with it, or, of a staged run, the journal, which that was a
// reading of: only now it is on the volume.

#include "userspace/engine/target_pipeline.hpp"

namespace towline {

namespace act = target_action;
namespace ev = target_event;

void TargetPipeline::perform(act::Reread&) {
    look(Look::kThisSession);
}

void TargetPipeline::look(Look which) {
    look_now_ = which;
    compare_ = std::make_unique<Compare>();
    const auto done = [this](Status status) { on_looked(std::move(status)); };
    switch (which) {
        case Look::kThisSession:
            compare_->content.emplace(*hasher_);
            return start_pass(
                HashKind::kWritten, core_.arrived_map(),
                [this](const HashPass::Piece& piece) {
                    add_content(*compare_->content, core_.arrived_map(), piece);
                },
                done);
        case Look::kEarlierAsStaged:
            return start_pass(
                HashKind::kAcknowledged, earlier_->blocks(),
                [this](const HashPass::Piece& piece) { earlier_->note(piece); }, done);
        case Look::kEarlier:
            return start_pass(
                HashKind::kWritten, earlier_->blocks(),
                [this](const HashPass::Piece& piece) { earlier_->check(piece); }, done);
    }
}

void TargetPipeline::on_looked(Status status) {
    if (stopped_) return;
    if (!status) return step(ev::Failed{status.error()});
    if (look_now_ == Look::kThisSession && compare_->content->value() != writer_->content())
        return step(ev::Reread{.equal = false});
    if (look_now_ == Look::kEarlier) {
        const auto wrong = earlier_->first_wrong();
        if (wrong)
            return step(
                ev::Reread{.equal = false, .wrong_at_bytes = *wrong * core_.begin().block_bytes});
    }
    engine_.begin_external(next_look_);
    engine_.post(next_look_);
}

void TargetPipeline::look_on() {
    if (stopped_) return;
    if (look_now_ == Look::kEarlierAsStaged) return look(Look::kEarlier);
    const bool first = look_now_ == Look::kThisSession;
    if (staging_ != nullptr) {
        if (first) {
            earlier_left_ = blocks_of(staging_->resumed_extents());
            earlier_left_.subtract(core_.arrived_map());
        }
        if (earlier_left_.empty()) return step(ev::Reread{.equal = true});
        earlier_.emplace(take_front(earlier_left_, EarlierBlocks::kKeptMax));
        return look(Look::kEarlierAsStaged);
    }
    if (!first || !earlier_) return step(ev::Reread{.equal = true});
    earlier_->leave_out(core_.arrived_map());
    look(Look::kEarlier);
}

}  // namespace towline
