// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "transport/channel.hpp"
#include "userspace/engine/moment.hpp"
#include "userspace/engine/ranges_teller.hpp"
#include "userspace/engine/run_preparation.hpp"
#include "userspace/engine/run_report.hpp"
#include "userspace/engine/scan_compare.hpp"
#include "userspace/engine/source_core.hpp"
#include "userspace/engine/source_sender.hpp"

namespace towline {

// The doing side of SourceCore: one run to one target, over an engine. Everything here runs on the
// engine's loop thread, but for compression (work queue).
class SourcePipeline final : Channel::Owner, SourceSender::Owner {
  public:
    struct Config {
        SourceRequest request;
        std::string target_name;
        VolumeView volume;
        std::vector<Extent> data;  // ranges outside of which the source is holes
        // What `volume`, `data` and the request's changes are to be taken from once the target is
        // known; nullptr: they are given. Outlives the pipeline.
        MomentTaker* moment = nullptr;
        Standing standing;  // what the source stands on; for a target that may be on this host
        CompressionChoice compression;
        std::uint64_t rate_bytes_per_second = 0;
        // Asked at every tick; unset: the rate stays.
        std::function<std::uint64_t()> rate_now;
        // Likewise; a target that decodes nothing is sent raw blocks all the same.
        std::function<std::optional<int>()> level_now;
        // Asked when all was sent; unset: as it was begun.
        std::function<bool()> verify_now;
        std::size_t buffer_count = 64;
        std::size_t buffer_bytes = std::size_t{256} * 1024;
        std::size_t frame_bytes = wire::kPlainBytesMax;
        Duration silence_max = 30s;
        Duration ping_interval = 500ms;
        // Makes a further connection to the same target; nothing: one connection is all.
        std::size_t further_lanes = 0;
        std::function<Result<Handle>()> connect;
        // Asked at every tick: true ends the run, resumable.
        std::function<bool()> cancelled = [] { return false; };
        std::function<void(const RunProgress&)> on_progress = [](const RunProgress&) {};
        std::function<void()> on_alarm = [] {};  // the audit found a block that differs
    };

    SourcePipeline(IoEngine& engine, WorkQueue& workers, SourceStore& store, Config config);
    ~SourcePipeline() override;

    void start(Handle first);
    void cancel(Error error);

    bool finished() const;
    // Nothing: the run was sealed (or, for a dry run, found out what it would send).
    const std::optional<Error>& error() const { return error_; }
    const RunReport& report() const { return report_; }

  private:
    struct Lane;

    MutableByteSpan payload_room(Channel&, const FrameHeader&) override;
    void on_data(Channel&, ByteSpan head, ByteSpan payload) override;
    void on_message(Channel&, Message) override;
    void on_closed(Channel&, Error) override;
    void on_sent_some(Channel&) override;
    void on_all_read() override;
    void on_all_sent(const RunDigest&) override;
    void on_read_failed(Error) override;

    void step(const SourceEvent& event);
    void perform(SourceAction& action);
    void perform(source_action::Send& action);
    void perform(source_action::Join& action);
    void perform(source_action::Plan& action);
    void take_moment();
    void on_moment_taken();
    void begin_plan();
    void on_all_checked();
    void finish_sending();
    Status adopt_moment();
    Status note_epochs();
    void plan();
    void perform(source_action::Note& action);
    void on_noted();
    void perform(source_action::ReadAhead& action);
    void make_sender();
    void perform(source_action::Acknowledged& action);
    void perform(source_action::TellListed& action);
    void tell_listed();
    void perform(source_action::StartCompare& action);
    void perform(source_action::Theirs& action);
    void perform(source_action::StartTransfer& action);
    void perform(source_action::Commit& action);
    void perform(source_action::NoteFlushFailed& action);
    void perform(source_action::Finish& action);
    void perform(source_action::Fail& action);

    Lane& lane_of(Channel& channel);
    Channel& talk();
    void on_joined(Lane& lane, const Message& message);
    void on_our_hashes(const RangeHasher::Piece& piece);
    void on_our_hashes_done(Status status);
    void after_compare();
    void balance_compare();
    Status settle_plan();
    Status settle_scan();
    Status settle_listed();
    Status judge_audit();
    void report_progress();
    void report_volumes();
    void on_tick();
    void stop(std::optional<Error> error);

    IoEngine& engine_;
    WorkQueue& workers_;
    SourceStore& store_;
    Config config_;
    SourceCore core_;
    RateLimiter limiter_;
    BufferPool pool_;
    OpenedMessage opened_;
    Work taking_;  // of the moment
    std::optional<Status> taken_;
    Work checking_;  // whether what was read is that moment
    std::optional<Status> checked_;
    std::optional<RunDigest> sent_;  // all
    Work noting_;  // that the run is begun; until it is done the store and `run_` but for its plan
                   // are the worker's
    Status noted_;
    std::optional<Error> error_;
    RunReport report_;
    bool stopped_ = false;
    bool saying_why_ = false;
    Instant started_at_{};
    Instant close_at_{};

    std::vector<std::unique_ptr<Lane>> lanes_;
    std::size_t joined_ = 0;
    PreparedRun run_;
    std::optional<BlockCheck> check_;
    std::optional<BlockHasher> hasher_;
    std::optional<RunDigester> digester_;
    std::unique_ptr<SourceSender> sender_;

    RangesTeller listed_;
    ChangeMap wanted_;  // what is compared
    ChangeMap differing_;
    std::optional<ScanCompare> compare_;
    std::unique_ptr<RangeHasher> ours_;
    bool ours_done_ = false;
    bool theirs_done_ = false;

    Completion tick_;
    bool stepping_ = false;
    std::vector<SourceEvent> events_;
    std::vector<SourceAction> actions_;
};

}  // namespace towline
