// SPDX-License-Identifier: Apache-2.0
// Restoring is a run like any other, whose source is a point: what a target refuses, how both sides
// are compared, how a run that was cut off goes on, and what is checked, is the engine's.

#include "userspace/vault/point_source.hpp"

#include <algorithm>

namespace towline {

namespace fs = std::filesystem;

Result<std::unique_ptr<SyncSource>> PointSource::open(const VaultName& name,
                                                      const std::string& volume,
                                                      const KeySource& keys) {
    if (name.name.empty() || name.point.empty())
        return fail(Code::kInvalid, "a point to read from: write vault:DIR/NAME@ID");
    OpenPoint point = TRY(OpenPoint::open(name, keys));
    const std::size_t place = TRY(find_volume(point.point(), volume));
    auto reader = TRY(point.volume(place));
    return std::unique_ptr<SyncSource>(new PointSource(name, std::move(point), std::move(reader)));
}

// A point is a source of its own, and of several volumes each is one: a target that was restored
// from it knows it again.
Result<std::vector<VolumeIdentity>> PointSource::identities() const {
    const bool several = point_.point().volumes.size() > 1;
    return std::vector{VolumeIdentity{.kind = "point",
                                      .locator = point_.vault()->id().text() + "/" +
                                                 point_.point().id.text() +
                                                 (several ? "/" + volume_->name() : ""),
                                      .generation = {}}};
}

MomentFacts PointSource::facts() const {
    MomentFacts facts;
    for (const Label each : {Label::kCrash, Label::kFilesystem, Label::kApplication})
        if (point_.point().label == label_name(each)) facts.label = each;
    return facts;
}

Result<std::vector<Extent>> PointSource::data() const {
    std::vector<Extent> extents;
    const std::uint64_t end = volume_->block_count();
    for (std::uint64_t block = TRY(volume_->next_data(0)); block < end;) {
        const std::uint64_t stop = TRY(volume_->next_zeros(block));
        const std::uint64_t from = block * volume_->block_bytes();
        const std::uint64_t to = std::min(stop * volume_->block_bytes(), volume_->size_bytes());
        extents.push_back({from, to - from});
        block = TRY(volume_->next_data(stop));
    }
    return extents;
}

Status PointSource::refuse_same(const Volume& target) const {
    return refuse_in_vault(name_.folder, target.name());
}

Status refuse_in_vault(const fs::path& vault, const fs::path& target) {
    if (vault.empty()) return {};
    std::error_code error;
    const fs::path folder = fs::weakly_canonical(fs::absolute(vault, error), error);
    const fs::path path = fs::weakly_canonical(fs::absolute(target, error), error);
    if (error) return fail_errno(error.value(), "cannot resolve " + target.string());
    const auto [rest, unused] = std::ranges::mismatch(folder, path);
    if (rest != folder.end()) return {};
    return fail(Code::kRefused,
                target.string() + " lies in the vault itself; name another file or device");
}

Result<OpenSource> PointSource::open(IoEngine& engine, WorkQueue& workers) {
    engine_ = std::make_unique<PointEngine>(engine, workers, volume_);
    return OpenSource{.engine = engine_.get(),
                      .view = {.handle = PointEngine::kPoint, .size_bytes = volume_->size_bytes()}};
}

std::optional<Error> PointSource::failure() const {
    return engine_ ? engine_->failure() : std::nullopt;
}

}  // namespace towline
