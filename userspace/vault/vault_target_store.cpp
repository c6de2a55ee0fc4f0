// SPDX-License-Identifier: Apache-2.0
// The lock of the name is held from the look to the end of the session. The run begins in the log
// with its first block (mark), or at the seal when there was none.

#include "userspace/vault/vault_target_store.hpp"

#include "userspace/engine/root_folder.hpp"

namespace towline {

namespace {

std::string hex_digest(const RunDigest& digest) {
    char text[40];
    std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(digest.high),
                  static_cast<unsigned long long>(digest.low));
    return text;
}

}  // namespace

// Whoever compares with one point sees it alone, and keeps no writer out.
Status VaultTargetStore::take_state(bool dry_run) {
    if (!compared_.empty()) {
        if (!dry_run) return fail(Code::kProtocol, "a point that is sealed is not written to");
        pinned_ = TRY(OpenPoint::open(vault_, series_, compared_));
        state_ = {.points = {pinned_->point()}};
        return {};
    }
    const SeriesLog log(vault_, series_);
    held_ = TRY(log.hold());
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
    const Begin* unfinished = state_.unfinished();
    // Another source's run that was cut off has changed nothing of what is here.
    if (unfinished != nullptr && point != nullptr && unfinished->state.owner != source)
        unfinished = nullptr;
    facts.exists = point != nullptr || unfinished != nullptr;
    facts.has_data = facts.exists;
    if (point != nullptr) {
        facts.record = point->state;
        facts.size_bytes = point->volumes.front().bytes;
    }
    if (unfinished != nullptr) facts.record = unfinished->state;
    if (facts.record.target.is_nil()) facts.record.target = Uuid::random();
    return facts;
}

Result<TargetVolume> VaultTargetStore::prepare(IoEngine&, std::uint64_t volume_bytes, bool) {
    volume_bytes_ = volume_bytes;
    TargetVolume volume;
    volume.view.size_bytes =
        state_.newest() == nullptr ? 0 : state_.newest()->volumes.front().bytes;
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

Status VaultTargetStore::open_readers(const BeginMessage& begin) {
    const Point* point = state_.newest();
    const bool compares = begin.mode == RunMode::kScan || begin.compare_listed;
    if (point != nullptr && compares) {
        if (point->volumes.front().block_bytes != begin.block_bytes) {
            return fail(Code::kRefused, "the points of " + name_ + " have blocks of " +
                                            std::to_string(point->volumes.front().block_bytes) +
                                            " bytes; take the same (--block), or run once with "
                                            "--full");
        }
        run_->before = TRY(VolumeReader::open(vault_, series_, point->volumes.front()));
    }
    const Begin* unfinished = state_.unfinished();
    if (unfinished != nullptr && begin.resume) {
        const PointVolume geometry{
            .name = volume_name(), .bytes = volume_bytes_, .block_bytes = begin.block_bytes};
        run_->resumed = VolumeReader::over(vault_, series_, geometry,
                                           TRY(layers_of(*vault_, series_, *unfinished)), {});
    }
    return {};
}

Result<std::unique_ptr<BlockSink>> VaultTargetStore::open_sink(IoEngine&, WorkQueue& workers,
                                                               const TargetVolume&,
                                                               const BeginMessage& begin) {
    begin_ = begin;
    run_->block_bytes = begin.block_bytes;
    TRY_STATUS(open_readers(begin));
    return std::make_unique<VaultSink>(workers, run_);
}

Status VaultTargetStore::mark(const TargetRecord& record, bool keep_journal) {
    run_->writer = TRY(RunWriter::begin(vault_, series_, held_,
                                        {.state = record,
                                         .block_bytes = begin_.block_bytes,
                                         .volume_name = volume_name(),
                                         .resume = keep_journal}));
    return {};
}

Result<std::vector<Extent>> VaultTargetStore::acknowledged() {
    const Begin* unfinished = state_.unfinished();
    if (unfinished == nullptr) return std::vector<Extent>();
    return acknowledged_extents(*vault_, series_, *unfinished);
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
                                   .digest = hex_digest(attestation.digest)}));
    return {};
}

}  // namespace towline
