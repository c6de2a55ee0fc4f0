// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "transport/channel.hpp"
#include "userspace/engine/earlier_blocks.hpp"
#include "userspace/engine/ranges_teller.hpp"
#include "userspace/engine/staged_apply.hpp"
#include "userspace/engine/staged_reread.hpp"
#include "userspace/engine/target_core.hpp"
#include "userspace/engine/target_writer.hpp"

namespace towline {

// The doing side of TargetCore: one session with a source, over an engine, from hello to sealed or
// failed. Everything here runs on the engine's loop thread, but for decompression and journal
// writes (work queue).
class TargetPipeline final : Channel::Owner, TargetWriter::Owner {
  public:
    struct Config {
        TargetCore::Limits limits;
        std::size_t buffer_count = 32;
        std::size_t buffer_bytes = wire::kPlainBytesMax;  // the most that a frame may bring
        ArenaShelf* shelf = nullptr;  // where the buffers' memory waits between sessions
        Duration silence_max = 30s;   // of a peer that should speak or listen
        Uuid join_token = Uuid::random();
        // CPU that this session used so far, for the source's report.
        std::function<Duration()> cpu_time = [] { return Duration{}; };
        std::function<std::uint64_t()> rss_max_bytes = [] { return 0; };
    };

    TargetPipeline(IoEngine& engine, WorkQueue& workers, TargetStore& store, Config config);
    ~TargetPipeline() override;

    // `first` carries the conversation; blocks may come over every connection.
    void start(Handle first);
    void join(Handle further);
    // Ends the session: no write is begun after this. Used when a newer session of the source takes
    // over.
    void cancel(Error error);

    // All operations have ended: the pipeline can be destroyed.
    bool finished() const;
    bool sealed() const { return core_.sealed(); }
    // Why it failed; nothing while it runs or when it was sealed.
    const std::optional<Error>& error() const { return error_; }
    std::uint64_t stored_bytes() const { return core_.stored_bytes(); }
    // What waits to be sent to the source.
    std::size_t queued_bytes() const;

  private:
    struct Lane;
    // A pass of hashing over the volume: for the source to compare, or to attest what was written.
    struct Compare {
        ChangeMap wanted;
        std::vector<Extent> data;
        std::optional<RunDigester> content;
        std::unique_ptr<HashPass> hasher;
    };
    // The passes that attest: over what this session brought, and over what earlier ones did.
    enum class Look { kThisSession, kEarlierAsStaged, kEarlier };

    MutableByteSpan payload_room(Channel&, const FrameHeader&) override;
    void on_data(Channel&, ByteSpan head, ByteSpan payload) override;
    Status take_table(ByteSpan head, std::size_t payload_bytes);
    void on_message(Channel&, Message) override;
    void on_closed(Channel&, Error) override;
    void on_sent_some(Channel&) override;
    bool on_arrived(std::span<const Extent>) override;
    void on_stored(std::span<const Extent>) override;
    void on_write_failed(Error) override;
    void on_room() override;

    void step(const TargetEvent& event);
    void perform(TargetAction& action);
    void perform(target_action::Send& action);
    void perform(target_action::Look& action);
    void perform(target_action::Prepare& action);
    void perform(target_action::Begin& action);
    void perform(target_action::CompareAll& action);
    void perform(target_action::CompareListed& action);
    void perform(target_action::CompareAcknowledged& action);
    void perform(target_action::Mark& action);
    void perform(target_action::Flush& action);
    void perform(target_action::Journal& action);
    void perform(target_action::Commit& action);
    void perform(target_action::Replay& action);
    void perform(target_action::Apply& action);
    void perform(target_action::Reread& action);
    void perform(target_action::RereadStaged& action);
    void perform(target_action::AnswerProbe& action);
    void perform(target_action::ProbeDisk& action);
    void perform(target_action::Seal& action);
    void perform(target_action::Fail& action);

    void add_lane(Handle socket);
    Lane& lane_of(Channel& channel);
    void on_joining(Lane& lane, const Message& message);
    Channel& talk();
    Result<TargetFacts> look_at_target();
    void on_looked();
    void tell_acknowledged();
    void start_compare(HashKind kind, ChangeMap wanted);
    void start_pass(HashKind kind, const ChangeMap& wanted, HashPass::Sink sink,
                    HashPass::Done done);
    void send_digests(const HashPass::Piece& piece);
    void on_compared(Status status);
    void look(Look which);
    void on_looked(Status status);
    void look_on();
    ChangeMap blocks_of(const std::vector<Extent>& extents) const;
    Status open_stage(const target_action::Begin& action);
    void start_apply(const Uuid& source);
    void on_applied(StagedApply::End end, std::optional<Error> error);
    void on_replay_reread(StagedReread::End end, std::optional<Error> error);
    void let_go();
    void on_flushed(Status status);
    void on_flush_failed(Error error);
    void on_sealed();
    void on_tick();
    void stop(std::optional<Error> error);

    IoEngine& engine_;
    WorkQueue& workers_;
    TargetStore& store_;
    Config config_;
    TargetCore core_;
    std::optional<Error> error_;
    bool stopped_ = false;
    bool saying_why_ = false;  // an error message is on its way; then the connection closes
    Instant close_at_{};

    std::vector<std::unique_ptr<Lane>> lanes_;
    TargetVolume volume_;
    std::optional<BlockCheck> check_;
    std::optional<BlockHasher> hasher_;
    std::unique_ptr<BlockSink> sink_;
    // Of a run that is staged, or of an earlier session's that is applied.
    std::optional<StagedRun> stage_;
    StagedSink* staging_ = nullptr;  // sink_ as such
    std::unique_ptr<StagedApply> apply_;
    std::unique_ptr<StagedReread> replay_reread_;
    std::unique_ptr<TargetWriter> writer_;
    std::unique_ptr<Compare> compare_;
    // Of a resumed run: what it brought before, as the comparison read it; of a staged one, as it
    // is staged, a part at a time of what is left.
    std::optional<EarlierBlocks> earlier_;
    ChangeMap earlier_left_;
    Look look_now_{};
    Completion next_look_;  // a pass is not replaced while it tells that it ended
    DataHead head_;         // of the frame at hand, and its ranges
    std::vector<Extent> extents_;

    target_action::Look wanted_look_;  // what the look work looks for, and finds
    std::optional<Result<TargetFacts>> facts_;
    Work look_;
    std::string probed_name_;  // whose disk the probe work measures, and what it found
    DiskProbedMessage disk_probed_;
    Work probe_disk_;
    RangesTeller acknowledged_;      // of a resumed run
    std::vector<Extent> journaled_;  // what the journal work writes
    StagedBatch staged_batch_;       // the same of a run that is staged
    Status journal_status_;
    Work journal_;
    target_action::Commit committing_;
    Status committed_;
    Work commit_;
    target_action::Seal sealing_;  // what the seal work seals, and what became of it
    Status fitted_;
    Status sealed_;
    Work seal_;
    Completion tick_;
    std::vector<TargetAction> actions_;
    bool stepping_ = false;
    std::vector<TargetEvent> events_;  // that arose while stepping
};

}  // namespace towline
