// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "userspace/engine/target_store.hpp"
#include "userspace/vault/vault_sink.hpp"

namespace towline {

// A name in a vault as a session's target. Its record is the log: what the newest point holds, and
// what an unfinished run was to become. Nothing that a session does is seen before it is sealed.
class VaultTargetStore final : public TargetStore {
  public:
    using Claim = std::function<Status(const std::string& name, const Uuid& source, bool dry_run)>;

    // With a point: dry runs alone, that compare with it in place of the newest.
    struct Compared {
        std::string point;
        std::string volume;  // of it; empty: all
    };
    explicit VaultTargetStore(std::shared_ptr<Vault> vault, Claim claim = {},
                              Compared compared = {})
        : vault_(std::move(vault)), claim_(std::move(claim)), compared_(std::move(compared)) {}

    Status hear_volumes(const VolumeLayout& layout) override {
        layout_ = layout;
        return {};
    }
    Result<TargetFacts> look(const std::string& name, const Uuid& source, bool dry_run) override;
    Result<TargetVolume> prepare(IoEngine& engine, std::uint64_t volume_bytes,
                                 bool dry_run) override;
    Result<std::unique_ptr<BlockSink>> open_sink(IoEngine& engine, WorkQueue& workers,
                                                 const TargetVolume& volume,
                                                 const BeginMessage& begin) override;
    Result<std::vector<Extent>> data_ranges() override { return std::vector<Extent>(); }
    Status mark(const TargetRecord& record, bool keep_journal) override;
    // A flush makes a segment of what came, and the segment says what is in it.
    Status journal(std::span<const Extent>) override { return {}; }
    Result<std::vector<Extent>> acknowledged() override;
    // A segment that cannot be flushed is never seen; what was flushed before it is whole.
    Status note_flush_failed(const TargetRecord&) override { return {}; }
    Status fit_size() override { return {}; }
    Status seal(const TargetRecord& record, const Attestation& attestation) override;

  private:
    Status take_state(bool dry_run);
    Status open_readers(const BeginMessage& begin);
    Error true_cause(const Status& failed) const;
    Status check_volumes(const BeginMessage& begin) const;
    Result<std::shared_ptr<PartsReader>> open_before(const Point& point, std::uint32_t block_bytes,
                                                     const Begin* resumed);
    Result<std::shared_ptr<VolumeReader>> open_base(const PointVolume* volume,
                                                    const VolumePart& part,
                                                    std::uint32_t block_bytes,
                                                    const Begin* resumed);
    Result<std::shared_ptr<PartsReader>> open_resumed(const Begin& unfinished,
                                                      std::uint32_t block_bytes);
    std::string volume_name() const;

    std::shared_ptr<Vault> vault_;
    Claim claim_;
    Compared compared_;
    std::optional<OpenPoint> pinned_;  // what is compared
    VolumeLayout layout_;
    std::string name_;
    std::string series_;
    std::shared_ptr<ObjectHold> held_;
    SeriesState state_;
    BeginMessage begin_;
    std::shared_ptr<VaultRun> run_ = std::make_shared<VaultRun>();
};

}  // namespace towline
