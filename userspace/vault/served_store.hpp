// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "userspace/engine/file_target_store.hpp"
#include "userspace/engine/staged_sink.hpp"
#include "userspace/vault/vault_target_store.hpp"

namespace towline {

// What a daemon offers under its names: "vault:NAME" is a name in its vault, any other a volume
// beneath its root. Either may be missing.
class ServedStore final : public TargetStore {
  public:
    // Refuses a source of this host on which the vault is stored.
    using Judge = std::function<Status(const Uuid& source, const Standing& standing)>;

    // `vault_folder`: where the vault is, also one without whose key it is kept here; empty: none.
    ServedStore(std::unique_ptr<TargetStore> volumes, std::shared_ptr<Vault> vault,
                std::filesystem::path vault_folder, VaultTargetStore::Claim claim, Judge judge)
        : volumes_(std::move(volumes)),
          vault_(std::move(vault)),
          vault_folder_(std::move(vault_folder)),
          claim_(std::move(claim)),
          judge_(std::move(judge)) {}

    Result<DiskSample> sample_disk(const std::string& name) override;

    void hear_standing(const Uuid& source, const Standing& standing) override {
        if (volumes_) volumes_->hear_standing(source, standing);
        source_ = source;
        standing_ = standing;
    }
    // The kind of target that the name chooses judges them.
    Status hear_volumes(const VolumeLayout& layout) override {
        layout_ = layout;
        return {};
    }
    Result<TargetFacts> look(const std::string& name, const Uuid& source, bool dry_run) override;
    Result<TargetVolume> prepare(IoEngine& engine, std::uint64_t volume_bytes,
                                 bool dry_run) override {
        return chosen_->prepare(engine, volume_bytes, dry_run);
    }
    Result<std::unique_ptr<BlockSink>> open_sink(IoEngine& engine, WorkQueue& workers,
                                                 const TargetVolume& volume,
                                                 const BeginMessage& begin) override {
        return chosen_->open_sink(engine, workers, volume, begin);
    }
    Result<StagedRun> open_stage(IoEngine& engine, const StageWish& wish) override {
        return chosen_->open_stage(engine, wish);
    }
    Result<std::vector<Extent>> data_ranges() override { return chosen_->data_ranges(); }
    Status mark(const TargetRecord& record, bool keep_journal) override {
        return chosen_->mark(record, keep_journal);
    }
    Status confirm(const TargetRecord& found) override { return chosen_->confirm(found); }
    Status journal(std::span<const Extent> extents) override { return chosen_->journal(extents); }
    Result<std::vector<Extent>> acknowledged() override { return chosen_->acknowledged(); }
    Status note_flush_failed(const TargetRecord& record) override {
        return chosen_->note_flush_failed(record);
    }
    Status fit_size() override { return chosen_->fit_size(); }
    Status seal(const TargetRecord& record, const Attestation& attestation) override {
        return chosen_->seal(record, attestation);
    }

  private:
    std::unique_ptr<TargetStore> volumes_;  // null: none are offered
    std::shared_ptr<Vault> vault_;          // the same
    std::filesystem::path vault_folder_;
    VaultTargetStore::Claim claim_;
    Judge judge_;
    std::unique_ptr<TargetStore> points_;
    Uuid source_;
    Standing standing_;
    VolumeLayout layout_;
    TargetStore* chosen_ = nullptr;  // by the look, before anything else is asked
};

}  // namespace towline
