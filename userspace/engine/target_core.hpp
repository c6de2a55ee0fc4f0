// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <variant>
#include <vector>

#include "cbt/change_map.hpp"
#include "io/clock.hpp"
#include "userspace/engine/target_store.hpp"

namespace towline {

// What happens to a target's session.
namespace target_event {
struct Received {
    Message message;
};
struct Looked {
    TargetFacts facts;
    Uuid join_token;
};
struct DiskProbed {
    DiskProbedMessage found;
};
struct Prepared {
    bool zeroed = false;
};
struct CompareSent {};  // all digests of the comparison are on their way
struct Arrived {        // blocks or zeros that passed their checks; their records are in the digest
    Extent extent;
};
struct Stored {  // written, not yet flushed
    Extent extent;
};
struct Flushed {};
struct FlushFailed {  // already noted
    Error error;
};
struct Journaled {};
struct Committed {};  // the record says that all of the run is staged, durably
struct Applied {};    // all that was staged is on the volume, flushed
struct StageLost {    // what was staged is not whole any more
    Error error;
};
struct Reread {  // every block of the run was read back, of earlier sessions too; or of a replay
    bool equal = false;
    std::optional<std::uint64_t> wrong_at_bytes{};  // the first that is not, where that is known
};
struct Sealed {
    TargetRecord record;
};
struct Tick {};
struct Failed {
    Error error;
};
}  // namespace target_event

using TargetEvent =
    std::variant<target_event::Received, target_event::Looked, target_event::DiskProbed,
                 target_event::Prepared, target_event::CompareSent, target_event::Arrived,
                 target_event::Stored, target_event::Flushed, target_event::FlushFailed,
                 target_event::Journaled, target_event::Committed, target_event::Applied,
                 target_event::StageLost, target_event::Reread, target_event::Sealed,
                 target_event::Tick, target_event::Failed>;

// What the pipeline is to do about it.
namespace target_action {
struct Send {
    Message message;
};
struct Look {
    std::string name;
    Uuid source;
    bool dry_run = false;
    Standing standing;  // of the source
    VolumeLayout layout;
};
struct Prepare {
    std::uint64_t volume_bytes = 0;
    bool dry_run = false;
    // What reads as zeros need not be zeros on the medium: they are written too.
    bool rewrite = false;
};
struct Begin {  // the run's geometry and secret are known; blocks may come after this
    BeginMessage begin;
    bool staged = false;
};
struct CompareAll {};   // hash the whole volume for the source
struct CompareListed {  // what the source asked for
    ChangeMap wanted;
};
struct CompareAcknowledged {};  // tell the acknowledged set, hash it for the source
struct Mark {
    TargetRecord record;
    bool keep_journal = false;
};
struct Flush {};
struct Journal {
    std::vector<Extent> extents;
};
struct AnswerProbe {  // with the clock on the wall
    std::uint64_t bytes = 0;
};
struct ProbeDisk {
    std::string name;
};
struct Commit {  // all of the run is staged: the index gets its end, then the record says so
    TargetRecord record;
};
struct Replay {  // opens the volume and what an earlier session left of this run, and applies it
    TargetRecord record;
};
struct Apply {};  // what is staged, onto the volume
struct Reread {};
struct RereadStaged {};  // of a replay: the volume, against what was applied
struct Seal {
    TargetRecord record;
    bool reread = false;
    std::optional<MomentMessage> moment;  // that the source told of
};
struct Fail {  // tell the peer, then close
    Error error;
    bool flush_failed = false;
};
}  // namespace target_action

using TargetAction = std::variant<
    target_action::Send, target_action::Look, target_action::Prepare, target_action::Begin,
    target_action::CompareAll, target_action::CompareListed, target_action::CompareAcknowledged,
    target_action::Mark, target_action::Flush, target_action::Journal, target_action::Commit,
    target_action::Replay, target_action::Apply, target_action::Reread, target_action::RereadStaged,
    target_action::AnswerProbe, target_action::ProbeDisk, target_action::Seal, target_action::Fail>;

// All that a target decides in a session, without I/O and without a clock: `step(event, now)`
// appends what is to be done, in order. Invariants:
//  - nothing is written before the record says that a run is under way (Mark);
//  - what is acknowledged was flushed after it was stored, and is in the journal;
//  - a run is sealed only when everything that the source counted has arrived, was stored and
//  flushed, and
//    the digests agree;
//  - of a staged run nothing goes onto the volume before the record says that all of it is staged;
//    from then on it is applied whatever becomes of its source.
class TargetCore {
  public:
    struct Limits {
        std::uint64_t checkpoint_bytes = 256ULL << 20;
        Duration checkpoint_interval = 1s;
        Duration ping_interval = 500ms;
        std::uint64_t capabilities = HelloMessage{}.capabilities;
    };

    explicit TargetCore(std::string engine_name) : TargetCore(std::move(engine_name), Limits{}) {}
    TargetCore(std::string engine_name, Limits limits)
        : engine_name_(std::move(engine_name)), limits_(limits) {}

    void step(const TargetEvent& event, Instant now, std::vector<TargetAction>& actions);

    // What the pipeline has collected so far; told before every step.
    void set_own_digest(const RunDigest& digest) { own_digest_ = digest; }

    // Checks a range before its blocks are looked at: inside the volume, and not sent before in
    // this run.
    Status admit(Extent extent);
    // True from Begin until the end was said and everything has arrived.
    bool transferring() const { return phase_ == Phase::kTransfer; }
    bool finished() const { return phase_ == Phase::kSealed || phase_ == Phase::kFailed; }
    bool sealed() const { return phase_ == Phase::kSealed; }
    // An earlier session's run is being applied.
    bool replaying() const { return phase_ == Phase::kReplay; }
    // Goes on without its source.
    bool committed() const { return committed_ || replaying(); }
    const BeginMessage& begin() const { return begin_; }
    const TargetFacts& facts() const { return facts_; }
    std::uint64_t volume_bytes() const { return open_.source_bytes; }
    const VolumeLayout& layout() const { return layout_; }
    // What the record says when a flush of this run failed, whether or not the run had marked it.
    TargetRecord record_flush_failed() const;
    // What marks the run's frames.
    std::uint64_t run_number() const { return run_number_of(begin_.run); }
    const ChangeMap& arrived_map() const { return arrived_map_; }
    const Uuid& join_token() const { return join_token_; }
    std::uint64_t stored_bytes() const { return stored_bytes_; }

  private:
    enum class Phase {
        kHello,
        kOpen,
        kProbeDisk,  // then kOpen again
        kLook,
        kReplay,
        kBegin,
        kPrepare,
        kListed,
        kCompare,
        kTransfer,
        kCommit,
        kApply,
        kReread,
        kSeal,
        kSealed,
        kFailed
    };
    enum class Checkpoint { kNone, kFlushing, kJournaling };
    using Actions = std::vector<TargetAction>;

    void on(const target_event::Received& event, Actions& actions);
    void on(const target_event::Looked& event, Actions& actions);
    void on(const target_event::DiskProbed& event, Actions& actions);
    void on(const target_event::Prepared& event, Actions& actions);
    void on(const target_event::CompareSent& event, Actions& actions);
    void on(const target_event::Arrived& event, Actions& actions);
    void on(const target_event::Stored& event, Actions& actions);
    void on(const target_event::Flushed& event, Actions& actions);
    void on(const target_event::FlushFailed& event, Actions& actions);
    void on(const target_event::Journaled& event, Actions& actions);
    void on(const target_event::Committed& event, Actions& actions);
    void on(const target_event::Applied& event, Actions& actions);
    void on(const target_event::StageLost& event, Actions& actions);
    void on(const target_event::Reread& event, Actions& actions);
    void on(const target_event::Sealed& event, Actions& actions);
    void on(const target_event::Tick& event, Actions& actions);
    void on(const target_event::Failed& event, Actions& actions);

    void on_message(const HelloMessage& hello, Actions& actions);
    void on_message(const VolumesMessage& volumes, Actions& actions);
    void on_message(const OpenMessage& open, Actions& actions);
    void on_message(const BeginMessage& begin, Actions& actions);
    void on_message(const RangesMessage& ranges, Actions& actions);
    void on_message(const VerifyMessage& verify, Actions& actions);
    void on_message(const ProbeMessage& probe, Actions& actions);
    void on_message(const ProbeDiskMessage& probe, Actions& actions);
    void on_message(const MomentMessage& moment, Actions& actions);
    void on_message(const EndMessage& end, Actions& actions);
    void on_message(const ErrorMessage& error, Actions& actions);
    void on_message(const PingMessage&, Actions&) {}
    template <typename Other>
    void on_message(const Other&, Actions& actions) {
        unexpected(actions);
    }

    Status check_begin(const BeginMessage& begin) const;
    Status check_overwrite(const BeginMessage& begin) const;
    Status check_base(const BeginMessage& begin) const;
    OpenedMessage opened() const;
    bool to_be_staged(const BeginMessage& begin) const;
    TargetRecord record_under_way() const;
    TargetRecord record_staging() const;
    TargetRecord record_sealed() const;
    void open_up(Actions& actions);
    void give_replay_up(Actions& actions);
    void on_replay_reread(bool equal, Actions& actions);
    void settle(Actions& actions);
    std::string place_of(std::uint64_t offset_bytes) const;
    void mark_once(Actions& actions);
    void try_checkpoint(Actions& actions);
    void try_finish(Actions& actions);
    void unexpected(Actions& actions);
    void fail_with(Error error, Actions& actions);

    std::string engine_name_;
    Limits limits_;
    Phase phase_ = Phase::kHello;
    Instant now_{};
    VolumeLayout layout_;  // told before Open, or one volume
    OpenMessage open_;
    TargetFacts facts_;
    BeginMessage begin_;
    Uuid join_token_;
    std::uint64_t probed_bytes_ = 0;
    std::size_t probe_count_ = 0;
    bool disk_probed_ = false;

    ChangeMap listed_;        // what the source asks to compare, while it tells
    ChangeMap arrived_map_;   // what came in this run, against duplicates
    bool staged_ = false;     // this run is
    bool committed_ = false;  // all of it is, and the record says so
    bool peer_gone_ = false;
    bool marked_ = false;
    std::uint64_t under_way_ = 0;  // arrived, not yet stored
    std::uint64_t stored_bytes_ = 0;
    std::uint64_t durable_bytes_ = 0;
    std::vector<Extent> stored_;    // since the last flush began
    std::vector<Extent> flushing_;  // what the flush under way will make durable
    std::uint64_t stored_unflushed_bytes_ = 0;
    Checkpoint checkpoint_ = Checkpoint::kNone;
    Instant checkpoint_at_{};
    std::optional<MomentMessage> moment_;
    std::optional<RunDigest> end_digest_;
    RunDigest own_digest_;
    bool flushed_at_end_ = false;
    Instant pinged_at_{};
};

}  // namespace towline
