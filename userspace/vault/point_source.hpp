// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/engine/sync_source.hpp"
#include "userspace/vault/point_engine.hpp"

namespace towline {

// A point that is restored: a run's source. It is held meanwhile.
class PointSource final : public SyncSource {
  public:
    // `volume`: which of several; empty: there is one.
    static Result<std::unique_ptr<SyncSource>> open(const VaultName& name,
                                                    const std::string& volume,
                                                    const KeySource& keys);

    std::vector<std::uint64_t> sizes() const override { return {volume_->size_bytes()}; }
    Result<std::vector<VolumeIdentity>> identities() const override;
    Result<std::vector<Extent>> data() const override;
    std::optional<std::uint32_t> block_bytes() const override { return volume_->block_bytes(); }
    Result<std::unique_ptr<MomentTaker>> moment(LiveMomentOptions) const override {
        return std::unique_ptr<MomentTaker>();
    }
    MomentFacts facts() const override;
    Result<Standing> standing(const Uuid&) const override { return Standing{}; }
    Status refuse_same(const Volume& target) const override;
    // From a vault into a vault: what is read never changes.
    Status refuse_vault(const std::filesystem::path&) const override { return {}; }
    Result<OpenSource> open(IoEngine& engine, WorkQueue& workers) override;
    std::optional<Error> failure() const override;

  private:
    PointSource(VaultName name, OpenPoint point, std::shared_ptr<VolumeReader> volume)
        : name_(std::move(name)), point_(std::move(point)), volume_(std::move(volume)) {}

    VaultName name_;
    OpenPoint point_;
    std::shared_ptr<VolumeReader> volume_;
    std::unique_ptr<PointEngine> engine_;
};

// A file of the vault's own is no target. An empty name: a vault that another host keeps.
Status refuse_in_vault(const std::filesystem::path& vault, const std::filesystem::path& target);

}  // namespace towline
