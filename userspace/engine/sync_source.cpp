// SPDX-License-Identifier: Apache-2.0
// The source that is a volume of this host. It may be written to, so its moment is taken.

#include "userspace/engine/sync_source.hpp"

#include "userspace/engine/footing.hpp"
#include "userspace/engine/target_safety.hpp"
#include "userspace/vault/point_source.hpp"

namespace towline {

namespace {

class VolumeSource final : public SyncSource {
  public:
    explicit VolumeSource(std::vector<Volume> volumes) : volumes_(std::move(volumes)) {}

    std::vector<std::uint64_t> sizes() const override {
        std::vector<std::uint64_t> sizes;
        sizes.reserve(volumes_.size());
        for (const Volume& each : volumes_)
            sizes.push_back(each.size_bytes());
        return sizes;
    }
    Result<std::vector<VolumeIdentity>> identities() const override {
        std::vector<VolumeIdentity> identities;
        identities.reserve(volumes_.size());
        for (const Volume& each : volumes_)
            identities.push_back(TRY(each.identity()));
        return identities;
    }
    Result<std::unique_ptr<MomentTaker>> moment(LiveMomentOptions options) const override {
        std::vector<const Volume*> volumes;
        volumes.reserve(volumes_.size());
        for (const Volume& each : volumes_)
            volumes.push_back(&each);
        return TRY(LiveMoment::choose(volumes, std::move(options)));
    }
    // Nothing where this host does not name its boot.
    Result<Standing> standing(const Uuid& name) const override {
        const auto key = StandingKey::of_this_host(name);
        if (!key) return Standing{};
        Footing ground = TRY(footing_of(volumes_.front()));
        for (std::size_t i = 1; i < volumes_.size(); ++i)
            append(ground, TRY(footing_of(volumes_[i])));
        return key->hide(ground);
    }
    Status refuse_same(const Volume& target) const override {
        for (const Volume& each : volumes_)
            TRY_STATUS(refuse_if_same(each, target));
        return {};
    }
    Status refuse_vault(const std::filesystem::path& folder) const override {
        for (const Volume& each : volumes_)
            TRY_STATUS(refuse_vault_on(each, folder));
        return {};
    }
    // Of several there is none before their moment.
    Result<OpenSource> open(IoEngine& engine, WorkQueue&) override {
        const Volume& first = volumes_.front();
        return OpenSource{.engine = &engine,
                          .view = {.handle = TRY(engine.attach(first.fd())),
                                   .size_bytes = first.size_bytes(),
                                   .alignment_bytes = first.alignment_bytes()}};
    }

  private:
    static Status refuse_vault_on(const Volume& volume, const std::filesystem::path& folder) {
        TRY_STATUS(refuse_in_vault(folder, volume.name()));
        const bool stored = TRY(is_stored_on(folder, volume));
        if (!stored) return {};
        return fail(Code::kRefused, "the vault " + folder.string() + " is stored on the source " +
                                        volume.name() +
                                        ", and every run would write what the next one has to "
                                        "bring; put the vault on another device");
    }

    std::vector<Volume> volumes_;
};

}  // namespace

Result<std::unique_ptr<SyncSource>> open_source(const std::vector<SourceName>& names,
                                                const KeySource& keys,
                                                const std::filesystem::path& records) {
    std::vector<Volume> volumes;
    for (const SourceName& each : names) {
        auto point = TRY(VaultName::parse_any(each.path.string()));
        if (point) point->records = records;
        if (point && names.size() == 1) return PointSource::open(*point, each.volume, keys);
        if (point)
            return fail(Code::kInvalid,
                        each.path.string() + ": a point is read alone, not beside other volumes");
        volumes.push_back(TRY(Volume::open(each.path, Access::kRead)));
    }
    return std::make_unique<VolumeSource>(std::move(volumes));
}

}  // namespace towline
