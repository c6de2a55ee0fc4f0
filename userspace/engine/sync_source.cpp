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
    explicit VolumeSource(Volume volume) : volume_(std::move(volume)) {}

    std::uint64_t size_bytes() const override { return volume_.size_bytes(); }
    Result<VolumeIdentity> identity() const override { return volume_.identity(); }
    Result<std::unique_ptr<MomentTaker>> moment(LiveMomentOptions options) const override {
        return TRY(LiveMoment::choose(volume_, std::move(options)));
    }
    // Nothing where this host does not name its boot.
    Result<Standing> standing(const Uuid& name) const override {
        const auto key = StandingKey::of_this_host(name);
        if (!key) return Standing{};
        return key->hide(TRY(footing_of(volume_)));
    }
    Status refuse_same(const Volume& target) const override {
        return refuse_if_same(volume_, target);
    }
    Status refuse_vault(const std::filesystem::path& folder) const override {
        TRY_STATUS(refuse_in_vault(folder, volume_.name()));
        const bool stored = TRY(is_stored_on(folder, volume_));
        if (!stored) return {};
        return fail(Code::kRefused, "the vault " + folder.string() + " is stored on the source " +
                                        volume_.name() +
                                        ", and every run would write what the next one has to "
                                        "bring; put the vault on another device");
    }
    Result<OpenSource> open(IoEngine& engine, WorkQueue&) override {
        return OpenSource{.engine = &engine,
                          .view = {.handle = TRY(engine.attach(volume_.fd())),
                                   .size_bytes = volume_.size_bytes(),
                                   .alignment_bytes = volume_.alignment_bytes()}};
    }

  private:
    Volume volume_;
};

}  // namespace

Result<std::unique_ptr<SyncSource>> open_source(const std::filesystem::path& name,
                                                const KeySource& keys) {
    if (const auto point = TRY(VaultName::parse(name.string())))
        return PointSource::open(*point, keys);
    return std::make_unique<VolumeSource>(TRY(Volume::open(name, Access::kRead)));
}

}  // namespace towline
