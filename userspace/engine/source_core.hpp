// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "io/clock.hpp"
#include "userspace/engine/compression_choice.hpp"
#include "userspace/engine/run_decision.hpp"
#include "userspace/engine/volume_layout.hpp"

namespace towline {

namespace source_event {
struct Started {};
struct Received {
    Message message;
};
struct LanesJoined {};  // all further connections belong to the session
struct Planned {        // the run is decided
    RunDecision decision;
    BeginMessage begin;
};
struct Noted {};     // it is durably begun on our side
struct Compared {};  // the plan is what differs, durably noted
struct AllSent {     // every block and zero range of the plan was handed to the connections
    RunDigest digest;
    std::optional<MomentMessage> moment{};  // what all of it was read of, where that is known
    std::optional<bool> verify{};           // what is wished of the target by now; as it was begun
};
struct Committed {};
struct Tick {};
struct Failed {
    Error error;
};
}  // namespace source_event

using SourceEvent = std::variant<source_event::Started, source_event::Received,
                                 source_event::LanesJoined, source_event::Planned,
                                 source_event::Noted, source_event::Compared, source_event::AllSent,
                                 source_event::Committed, source_event::Tick, source_event::Failed>;

namespace source_action {
struct Send {
    Message message;
};
struct Join {  // further connections, with the token
    Uuid token;
};
struct Plan {  // decide, build the plan
    OpenedMessage opened;
};
struct Note {};        // durably, that the run is begun and what it is to bring
struct ReadAhead {};   // what the plan begins with; nothing of it is sent before StartTransfer
struct Acknowledged {  // a piece of what a resumed run has durably at the target
    RangesMessage ranges;
};
struct TellListed {};  // what the target is to digest of a run of listed changes
struct StartCompare {};
struct Theirs {  // digests of the target
    DigestsMessage digests;
};
struct StartTransfer {
    bool skip_zeros = false;
};
struct Commit {
    SealedMessage sealed;
};
struct NoteFlushFailed {};  // durably: only a full run makes the target whole
struct Finish {};
struct Fail {
    Error error;
    bool tell_peer = true;
};
}  // namespace source_action

using SourceAction =
    std::variant<source_action::Send, source_action::Join, source_action::Plan, source_action::Note,
                 source_action::ReadAhead, source_action::Acknowledged, source_action::TellListed,
                 source_action::StartCompare, source_action::Theirs, source_action::StartTransfer,
                 source_action::Commit, source_action::NoteFlushFailed, source_action::Finish,
                 source_action::Fail>;

// The source's decisions in the conversation, without I/O and without a clock. Invariants:
//  - nothing is sent before the run is durably begun on our side (Plan, Note, then Begin). What is
//    sure to be sent is read meanwhile;
//  - the run counts as done only when the target attested our digest (Sealed), and only then are
//  the pending
//    changes dropped (Commit).
class SourceCore {
  public:
    struct Request {
        std::string target_name;
        Uuid source;
        Standing standing;
        VolumeLayout layout;
        std::uint64_t volume_bytes = 0;
        bool dry_run = false;
        bool further_lanes = false;
        Duration ping_interval = 500ms;
        CompressionChoice compression;
    };

    explicit SourceCore(Request request) : request_(std::move(request)) {}

    void step(const SourceEvent& event, Instant now, std::vector<SourceAction>& actions);

    bool finished() const { return phase_ == Phase::kDone || phase_ == Phase::kFailed; }
    bool succeeded() const { return phase_ == Phase::kDone; }
    bool planning() const { return phase_ == Phase::kPlan; }
    bool comparing() const { return phase_ == Phase::kCompare; }
    std::string_view stage() const;
    std::uint64_t durable_bytes() const { return durable_bytes_; }
    // Once the target's Hello was heard: what it can decode of the choice.
    const CompressionChoice& compression() const { return request_.compression; }

    bool target_stages() const { return target_stages_; }

  private:
    enum class Phase {
        kIdle,
        kHello,
        kOpen,
        kJoin,
        kPlan,
        kNote,
        kBegin,
        kAcknowledged,
        kCompare,
        kTransfer,
        kSealing,
        kCommit,
        kDone,
        kFailed
    };
    using Actions = std::vector<SourceAction>;

    void on(const source_event::Started&, Actions& actions);
    void on(const source_event::Received& event, Actions& actions);
    void on(const source_event::LanesJoined&, Actions& actions);
    void on(const source_event::Planned& event, Actions& actions);
    void on(const source_event::Noted&, Actions& actions);
    void on(const source_event::Compared&, Actions& actions);
    void on(const source_event::AllSent& event, Actions& actions);
    void on(const source_event::Committed&, Actions& actions);
    void on(const source_event::Tick&, Actions& actions);
    void on(const source_event::Failed& event, Actions& actions);

    void on_message(const HelloMessage& hello, Actions& actions);
    void on_message(const OpenedMessage& opened, Actions& actions);
    void on_message(const BegunMessage& begun, Actions& actions);
    void on_message(const RangesMessage& ranges, Actions& actions);
    void on_message(const DigestsMessage& digests, Actions& actions);
    void on_message(const AckMessage& ack, Actions& actions);
    void on_message(const SealedMessage& sealed, Actions& actions);
    void on_message(const ErrorMessage& error, Actions& actions);
    void on_message(const PingMessage&, Actions&) {}
    template <typename Other>
    void on_message(const Other&, Actions& actions) {
        unexpected(actions);
    }
    void begin(Actions& actions);
    bool sends_all_of_plan() const;
    void start_transfer(Actions& actions);
    void unexpected(Actions& actions);
    void fail_with(Error error, bool tell_peer, Actions& actions);

    Request request_;
    Phase phase_ = Phase::kIdle;
    Instant now_{};
    Instant pinged_at_{};
    OpenedMessage opened_;
    RunDecision decision_;
    BeginMessage begin_;
    bool target_zeroed_ = false;
    bool target_hears_volumes_ = false;
    bool target_hears_verify_ = false;
    bool target_rereads_all_ = false;
    bool target_stages_ = false;
    RunDigest digest_;
    std::uint64_t durable_bytes_ = 0;
};

}  // namespace towline
