// SPDX-License-Identifier: Apache-2.0
// The lock of the name is held from the look to the end of the session. The run begins in the log
// with its first block (mark), or at the seal when there was none.

#include "userspace/vault/vault_target_store.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "userspace/engine/root_folder.hpp"

namespace towline {

namespace {

constexpr int kHoldTries = 25;
constexpr auto kHoldPause = std::chrono::milliseconds(20);

std::string hex_digest(const RunDigest& digest) {
    char text[40];
    std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(digest.high),
                  static_cast<unsigned long long>(digest.low));
    return text;
}

}  // namespace

// Whoever compares with one point sees it alone, and keeps no writer out.
Status VaultTargetStore::take_state(bool dry_run) {
    if (!compared_.point.empty()) {
        if (!dry_run) return fail(Code::kProtocol, "a point that is sealed is not written to");
        pinned_ = TRY(OpenPoint::open(vault_, series_, compared_.point));
        Point point = pinned_->point();
        if (!compared_.volume.empty())
            point.volumes = {point.volumes[TRY(find_volume(point, compared_.volume))]};
        state_ = {.points = {std::move(point)}};
        return {};
    }
    const SeriesLog log(vault_, series_);
    auto held = log.hold();
    // A collector that asks whether the name is free has it for that moment.
    for (int tries = 0; tries < kHoldTries && !held && held.error().code == Code::kBusy; ++tries) {
        std::this_thread::sleep_for(kHoldPause);
        held = log.hold();
    }
    held_ = TRY(std::move(held));
    state_ = TRY(log.read_newest());
    return state_.refuse_damaged();
}

Result<TargetFacts> VaultTargetStore::look(const std::string& name, const Uuid& source,
                                           bool dry_run) {
    TRY_STATUS(check_volume_name(name));
    name_ = name;
    series_ = TRY(encode_series(name));
    if (claim_) TRY_STATUS(claim_("vault:" + name, source, dry_run));
    TRY_STATUS(take_state(dry_run));
    TargetFacts facts;
    const Point* point = state_.newest();
    // A list of changes stands upon what a run goes on upon, and on nothing else.
    const Begin* unfinished = state_.resumable();
    // Another source's run that was cut off has changed nothing of what is here.
    if (unfinished != nullptr && point != nullptr && unfinished->state.owner != source)
        unfinished = nullptr;
    facts.exists = point != nullptr || unfinished != nullptr;
    facts.has_data = facts.exists;
    if (point != nullptr) {
        facts.record = point->state;
        facts.size_bytes = point->state.volume_bytes;
    }
    if (unfinished != nullptr) facts.record = unfinished->state;
    if (facts.record.target.is_nil()) facts.record.target = Uuid::random();
    return facts;
}

Result<TargetVolume> VaultTargetStore::prepare(IoEngine&, std::uint64_t volume_bytes, bool) {
    TargetVolume volume;
    // What the point has not is zeros, and can be compared as such.
    volume.view.size_bytes = state_.newest() == nullptr ? 0 : volume_bytes;
    // A first run starts from nothing, and what it does not bring is zeros.
    volume.zeroed = state_.newest() == nullptr && state_.unfinished() == nullptr;
    return volume;
}

std::string VaultTargetStore::volume_name() const {
    const auto slash = name_.rfind('/');
    std::string last = slash == std::string::npos ? name_ : name_.substr(slash + 1);
    if (last.front() == '.') last.front() = '_';
    return last;
}

// The base of a list of changes must be these very volumes; the source believes so too.
Status VaultTargetStore::check_volumes(const BeginMessage& begin) const {
    const Point* point = state_.newest();
    if (begin.mode != RunMode::kExtents || point == nullptr) return {};
    const bool same = std::ranges::equal(
        layout_.parts(), point->volumes, [](const VolumePart& part, const PointVolume& volume) {
            return part.source == volume.source && part.bytes == volume.bytes;
        });
    if (same) return {};
    return fail(Code::kRefused, "the newest point of " + name_ +
                                    " has other volumes than the run; run once with --scan");
}

Result<std::shared_ptr<PartsReader>> VaultTargetStore::open_before(const Point& point,
                                                                   std::uint32_t block_bytes,
                                                                   const Begin* resumed) {
    std::vector<std::shared_ptr<VolumeReader>> readers;
    for (std::size_t place = 0; place < layout_.parts().size(); ++place) {
        const PointVolume* volume = base_of(point, layout_, place);
        if (volume != nullptr && volume->block_bytes != block_bytes) {
            return fail(Code::kRefused, "the points of " + name_ + " have blocks of " +
                                            std::to_string(volume->block_bytes) +
                                            " bytes; take the same (--block), or run once with "
                                            "--full");
        }
        readers.push_back(TRY(open_base(volume, layout_.parts()[place], block_bytes, resumed)));
    }
    return std::make_shared<PartsReader>(layout_, block_bytes, std::move(readers));
}

// What a resumed run has brought already stands above the base, and is in the point if nothing
// comes in its place: a block that is again what it was in the base must differ from it.
Result<std::shared_ptr<VolumeReader>> VaultTargetStore::open_base(const PointVolume* volume,
                                                                  const VolumePart& part,
                                                                  std::uint32_t block_bytes,
                                                                  const Begin* resumed) {
    if (resumed == nullptr && volume == nullptr) return std::shared_ptr<VolumeReader>();
    if (resumed == nullptr) return VolumeReader::open(vault_, series_, *volume);
    std::vector<Index> indexes;
    if (volume != nullptr) indexes = TRY(VolumeReader::open_indexes(vault_, series_, *volume));
    const PointVolume geometry{.name = part.name, .bytes = part.bytes, .block_bytes = block_bytes};
    return VolumeReader::over(vault_, series_, geometry,
                              TRY(layers_of(*vault_, series_, *resumed, part)), std::move(indexes));
}

Result<std::shared_ptr<PartsReader>> VaultTargetStore::open_resumed(const Begin& unfinished,
                                                                    std::uint32_t block_bytes) {
    std::vector<std::shared_ptr<VolumeReader>> readers;
    readers.reserve(layout_.parts().size());
    for (const VolumePart& part : layout_.parts()) {
        const PointVolume geometry{
            .name = part.name, .bytes = part.bytes, .block_bytes = block_bytes};
        readers.push_back(VolumeReader::over(
            vault_, series_, geometry, TRY(layers_of(*vault_, series_, unfinished, part)), {}));
    }
    return std::make_shared<PartsReader>(layout_, block_bytes, std::move(readers));
}

Status VaultTargetStore::open_readers(const BeginMessage& begin) {
    TRY_STATUS(check_volumes(begin));
    const Point* point = state_.newest();
    const bool compares = begin.mode == RunMode::kScan || begin.compare_listed;
    const Begin* resumed = begin.resume ? state_.unfinished() : nullptr;
    if (point != nullptr && compares)
        run_->before = TRY(open_before(*point, begin.block_bytes, resumed));
    if (resumed != nullptr) run_->resumed = TRY(open_resumed(*resumed, begin.block_bytes));
    return {};
}

// Who lost the lock of the name may find given back what it stands on.
Error VaultTargetStore::true_cause(const Status& failed) const {
    const Error& error = failed.error();
    if (error.code != Code::kCorrupt && error.system_errno != ENOENT) return error;
    const Status stands = run_->stands();
    return stands ? error : stands.error();
}

Result<std::unique_ptr<BlockSink>> VaultTargetStore::open_sink(IoEngine&, WorkQueue& workers,
                                                               const TargetVolume&,
                                                               const BeginMessage& begin) {
    begin_ = begin;
    run_->block_bytes = begin.block_bytes;
    // Who compares with a point that is pinned loses nothing to others.
    if (compared_.point.empty())
        run_->stands = [log = SeriesLog(vault_, series_), footing = RunWriter::Footing::of(state_),
                        run = begin.run]() -> Status {
            if (auto cause = RunWriter::fallen(log, footing, run)) return std::unexpected(*cause);
            return {};
        };
    if (Status opened = open_readers(begin); !opened) return std::unexpected(true_cause(opened));
    return std::make_unique<VaultSink>(workers, run_);
}

Status VaultTargetStore::mark(const TargetRecord& record, bool keep_journal) {
    auto writer = RunWriter::begin(vault_, series_, held_,
                                   {.state = record,
                                    .block_bytes = begin_.block_bytes,
                                    .volume_name = volume_name(),
                                    .layout = layout_,
                                    .resume = keep_journal,
                                    .footing = RunWriter::Footing::of(state_)});
    if (!writer) return std::unexpected(true_cause(std::unexpected(writer.error())));
    run_->writer = std::move(*writer);
    return {};
}

Result<std::vector<Extent>> VaultTargetStore::acknowledged() {
    const Begin* unfinished = state_.unfinished();
    if (unfinished == nullptr) return std::vector<Extent>();
    auto extents = acknowledged_extents(*vault_, series_, *unfinished, layout_);
    if (!extents) return std::unexpected(true_cause(std::unexpected(extents.error())));
    return extents;
}

Status VaultTargetStore::seal(const TargetRecord& record, const Attestation& attestation) {
    if (!run_->writer) {
        TargetRecord under_way = record;
        const Point* point = state_.newest();
        under_way.state = point == nullptr ? TargetState::kBuilding : TargetState::kApplying;
        under_way.base = point == nullptr ? Base{} : point->state.base;
        under_way.run_mode = begin_.mode;
        under_way.run_base = record.base;
        TRY_STATUS(mark(under_way, begin_.resume));
    }
    TRY_STATUS(run_->writer->seal({.state = record,
                                   .mode = begin_.mode,
                                   .reread = attestation.reread,
                                   .digest = hex_digest(attestation.digest),
                                   .moment = attestation.moment}));
    return {};
}

}  // namespace towline
