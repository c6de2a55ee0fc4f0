// SPDX-License-Identifier: Apache-2.0
// The source's side of the conversation: hello, open, join, plan, begin, (acknowledged set,
// comparison), transfer, sealing, commit. Every message is accepted in its phase alone.

#include "userspace/engine/source_core.hpp"

namespace towline {

namespace act = source_action;
namespace ev = source_event;

void SourceCore::step(const SourceEvent& event, Instant now, Actions& actions) {
    now_ = now;
    if (finished()) return;
    std::visit([&](const auto& each) { on(each, actions); }, event);
}

std::string_view SourceCore::stage() const {
    switch (phase_) {
        case Phase::kCompare:
        case Phase::kAcknowledged:
            return "Compare";
        case Phase::kTransfer:
            return "Transfer";
        case Phase::kPlan:
        case Phase::kNote:
            return "Snapshot";
        case Phase::kSealing:
            return begin_.verify ? "Verify" : "Seal";
        case Phase::kCommit:
            return "Seal";
        case Phase::kDone:
            return "Completed";
        case Phase::kFailed:
            return "Failed";
        default:
            return "Preparing";
    }
}

void SourceCore::fail_with(Error error, bool tell_peer, Actions& actions) {
    phase_ = Phase::kFailed;
    actions.push_back(act::Fail{.error = std::move(error), .tell_peer = tell_peer});
}

void SourceCore::unexpected(Actions& actions) {
    fail_with({Code::kProtocol, 0, "the target sent a message that does not belong here"}, true,
              actions);
}

void SourceCore::on(const ev::Started&, Actions& actions) {
    phase_ = Phase::kHello;
    pinged_at_ = now_;
    actions.push_back(act::Send{HelloMessage{}});
}

void SourceCore::on(const ev::Received& event, Actions& actions) {
    std::visit([&](const auto& message) { on_message(message, actions); }, event.message);
}

void SourceCore::on_message(const HelloMessage& hello, Actions& actions) {
    if (phase_ != Phase::kHello) return unexpected(actions);
    const auto version = agree_version(HelloMessage{}, hello);
    if (!version) return fail_with(version.error(), true, actions);
    auto compression = decodable(request_.compression, hello.capabilities);
    if (!compression) return fail_with(compression.error(), true, actions);
    request_.compression = std::move(*compression);
    // Cut off it would be another target's.
    if (request_.target_name.size() > wire::kNameBytesMax) {
        return fail_with(
            {Code::kInvalid, 0,
             "the target's name is longer than " + std::to_string(wire::kNameBytesMax) + " bytes"},
            true, actions);
    }
    target_hears_verify_ = (hello.capabilities & wire::kCapVerify) != 0;
    target_rereads_all_ = (hello.capabilities & wire::kCapRereadsAll) != 0;
    target_hears_volumes_ = (hello.capabilities & wire::kCapVolumes) != 0;
    const auto volumes = request_.layout.message();
    if (volumes && !target_hears_volumes_) {
        return fail_with({Code::kUnsupported, 0,
                          "the target's Towline takes one volume a run, without a name; upgrade "
                          "it, or send the volumes one by one"},
                         true, actions);
    }
    phase_ = Phase::kOpen;
    if (volumes) actions.push_back(act::Send{*volumes});
    actions.push_back(act::Send{OpenMessage{.name = request_.target_name,
                                            .source = request_.source,
                                            .source_bytes = request_.volume_bytes,
                                            .dry_run = request_.dry_run,
                                            .standing = request_.standing}});
}

void SourceCore::on_message(const OpenedMessage& opened, Actions& actions) {
    if (phase_ != Phase::kOpen) return unexpected(actions);
    opened_ = opened;
    phase_ = request_.further_lanes && !request_.dry_run ? Phase::kJoin : Phase::kPlan;
    if (phase_ == Phase::kJoin) {
        actions.push_back(act::Join{opened.join_token});
    } else {
        actions.push_back(act::Plan{opened});
    }
}

void SourceCore::on(const ev::LanesJoined&, Actions& actions) {
    if (phase_ != Phase::kJoin) return;
    phase_ = Phase::kPlan;
    actions.push_back(act::Plan{opened_});
}

void SourceCore::on(const ev::Planned& event, Actions& actions) {
    if (phase_ != Phase::kPlan) return;
    decision_ = event.decision;
    begin_ = event.begin;
    if (request_.dry_run && decision_.mode != RunMode::kScan) {
        phase_ = Phase::kDone;
        actions.push_back(act::Finish{});
        return;
    }
    if (request_.dry_run) return begin(actions);
    phase_ = Phase::kNote;
    actions.push_back(act::Note{});
    if (sends_all_of_plan()) actions.push_back(act::ReadAhead{});
}

void SourceCore::on(const ev::Noted&, Actions& actions) {
    if (phase_ == Phase::kNote) begin(actions);
}

void SourceCore::begin(Actions& actions) {
    phase_ = Phase::kBegin;
    actions.push_back(act::Send{begin_});
}

// What is compared first is sent where it differs.
bool SourceCore::sends_all_of_plan() const {
    return decision_.mode != RunMode::kScan && !begin_.compare_listed && !decision_.resume;
}

void SourceCore::on_message(const BegunMessage& begun, Actions& actions) {
    if (phase_ != Phase::kBegin) return unexpected(actions);
    target_zeroed_ = begun.zeroed;
    target_stages_ = begun.staged;
    if (decision_.mode == RunMode::kScan) {
        phase_ = Phase::kCompare;
        actions.push_back(act::StartCompare{});
    } else if (begin_.compare_listed) {
        phase_ = Phase::kCompare;
        actions.push_back(act::TellListed{});
        actions.push_back(act::StartCompare{});
    } else if (decision_.resume) {
        phase_ = Phase::kAcknowledged;
    } else {
        start_transfer(actions);
    }
}

void SourceCore::on_message(const RangesMessage& ranges, Actions& actions) {
    if (phase_ != Phase::kAcknowledged) return unexpected(actions);
    actions.push_back(act::Acknowledged{ranges});
    if (!ranges.last) return;
    phase_ = Phase::kCompare;
    actions.push_back(act::StartCompare{});
}

void SourceCore::on_message(const DigestsMessage& digests, Actions& actions) {
    if (phase_ != Phase::kCompare) return unexpected(actions);
    actions.push_back(act::Theirs{digests});
}

void SourceCore::on(const ev::Compared&, Actions& actions) {
    if (phase_ != Phase::kCompare) return;
    if (request_.dry_run) {
        phase_ = Phase::kDone;
        actions.push_back(act::Finish{});
        return;
    }
    start_transfer(actions);
}

void SourceCore::start_transfer(Actions& actions) {
    phase_ = Phase::kTransfer;
    // A new image reads as zeros already; for a resumed run that is only true of what it never
    // touched.
    actions.push_back(act::StartTransfer{.skip_zeros = target_zeroed_});
}

void SourceCore::on(const ev::AllSent& event, Actions& actions) {
    if (phase_ != Phase::kTransfer) return;
    digest_ = event.digest;
    phase_ = Phase::kSealing;
    if (event.moment && target_hears_volumes_) actions.push_back(act::Send{*event.moment});
    // A target that does not hear it does as it was told at first.
    if (target_hears_verify_ && event.verify && *event.verify != begin_.verify) {
        begin_.verify = *event.verify;
        actions.push_back(act::Send{VerifyMessage{begin_.verify}});
    }
    actions.push_back(act::Send{EndMessage{event.digest}});
}

void SourceCore::on_message(const AckMessage& ack, Actions& actions) {
    if (phase_ != Phase::kTransfer && phase_ != Phase::kSealing) return unexpected(actions);
    durable_bytes_ = ack.durable_bytes;
}

void SourceCore::on_message(const SealedMessage& sealed, Actions& actions) {
    if (phase_ != Phase::kSealing) return unexpected(actions);
    if (sealed.digest != digest_ || sealed.base != begin_.next_base) {
        return fail_with({Code::kCorrupt, 0,
                          "the target attests something else than was sent; run again with --scan"},
                         true, actions);
    }
    if (begin_.verify && !sealed.reread) {
        return fail_with({Code::kProtocol, 0,
                          "the target sealed without having read back what was written, although "
                          "it was asked to"},
                         true, actions);
    }
    phase_ = Phase::kCommit;
    SealedMessage told = sealed;
    // An older target looked only at what came in this session.
    told.reread &= !decision_.resume || target_rereads_all_;
    actions.push_back(act::Commit{told});
}

void SourceCore::on(const ev::Committed&, Actions& actions) {
    if (phase_ != Phase::kCommit) return;
    phase_ = Phase::kDone;
    actions.push_back(act::Finish{});
}

void SourceCore::on(const ev::Tick&, Actions& actions) {
    if (phase_ == Phase::kIdle || phase_ == Phase::kHello ||
        now_ - pinged_at_ < request_.ping_interval)
        return;
    pinged_at_ = now_;
    actions.push_back(act::Send{PingMessage{}});
}

void SourceCore::on_message(const ErrorMessage& error, Actions& actions) {
    if (error.flush_failed && phase_ >= Phase::kBegin) actions.push_back(act::NoteFlushFailed{});
    fail_with({error.code, static_cast<int>(error.system_errno), error.text}, false, actions);
}

void SourceCore::on(const ev::Failed& event, Actions& actions) {
    // Sealed is sealed: if only our own note of it fails, the next run finds out and catches up
    // (rule 3).
    fail_with(event.error, event.error.code != Code::kDisconnected, actions);
}

}  // namespace towline
