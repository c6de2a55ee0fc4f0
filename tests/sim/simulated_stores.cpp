// SPDX-License-Identifier: Apache-2.0
// Stores in memory whose calls are durable when they return, as those in files promise to be, but
// for a run that was noted as sealed: a power cut may open it again. A call is atomic (a file
// replaced whole), except that the journal is appended to: a side that dies within an append leaves
// nothing, a torn entry, or a whole one that nobody was told of.

#include "tests/sim/simulated_stores.hpp"

#include <algorithm>

#include "io/align.hpp"
#include "userspace/engine/staged_format.hpp"

namespace towline {

Uuid draw_uuid(SimulatedRandom& random) {
    Uuid uuid;
    store_le(uuid.bytes.data(), random.next());
    store_le(uuid.bytes.data() + 8, random.next() | 1);
    return uuid;
}

std::vector<Extent> data_ranges_of(const std::vector<std::byte>& contents) {
    constexpr std::size_t kPiece = 4096;
    std::vector<Extent> ranges;
    for (std::size_t at = 0; at < contents.size(); at += kPiece) {
        const ByteSpan piece =
            ByteSpan(contents).subspan(at, std::min(kPiece, contents.size() - at));
        if (std::ranges::all_of(piece, [](std::byte byte) { return byte == std::byte{0}; }))
            continue;
        ranges.push_back({at, piece.size()});
    }
    return normalized(std::move(ranges));
}

std::vector<Extent> TargetShelf::acknowledged() const {
    std::vector<Extent> extents;
    for (const Entry& entry : journal) {
        if (!entry.whole) break;
        extents.insert(extents.end(), entry.extents.begin(), entry.extents.end());
    }
    return normalized(std::move(extents));
}

void ShelfAccess::tell(StoreCall call, StoreMoment moment) {
    if (hook_) hook_(call, moment);
}

Status ShelfAccess::change(StoreCall call, const std::function<void()>& effect,
                           const std::function<void()>& torn) {
    const auto died = [] { return fail(Code::kCancelled, "the process is dead"); };
    if (dead()) return died();
    tell(call, StoreMoment::kBefore);
    if (dead()) return died();
    ++calls_;
    const bool fails =
        fault_.nth != 0 && (calls_ == fault_.nth || (fault_.sticky && calls_ > fault_.nth));
    unsynced_ = fails && fault_.unsynced;
    if (fails && !fault_.late) return fail_errno(fault_.system_errno, "the state folder fails");
    tell(call, StoreMoment::kWithin);
    if (dead()) {
        torn();
        return died();
    }
    effect();
    tell(call, StoreMoment::kAfter);
    if (fails) return fail_errno(fault_.system_errno, "the state folder fails late");
    return {};
}

// ---- target

namespace {

// A batch is durable when the call returns; a side that dies within it leaves any part of it.
class SimulatedStagedFile final : public StagedFile {
  public:
    SimulatedStagedFile(std::vector<std::byte>& bytes, ShelfAccess* access, SimulatedRandom* random)
        : bytes_(bytes), access_(access), random_(random) {}

    Result<std::uint64_t> size_bytes() const override { return bytes_.size(); }
    Result<std::vector<std::byte>> read(std::uint64_t offset_bytes,
                                        std::size_t length_bytes) const override {
        const std::size_t begin = std::min<std::size_t>(offset_bytes, bytes_.size());
        const std::size_t length = std::min(length_bytes, bytes_.size() - begin);
        const auto from = bytes_.begin() + static_cast<std::ptrdiff_t>(begin);
        return std::vector<std::byte>(from, from + static_cast<std::ptrdiff_t>(length));
    }
    Status write(std::uint64_t offset_bytes, ByteSpan bytes) override {
        return access_->change(
            StoreCall::kJournal, [&] { put(offset_bytes, bytes); },
            [&] { put(offset_bytes, bytes.first(random_->below(bytes.size() + 1))); });
    }
    Status empty() override {
        return access_->change(StoreCall::kStage, [&] { bytes_.clear(); });
    }

  private:
    void put(std::uint64_t offset_bytes, ByteSpan bytes) {
        bytes_.resize(std::max<std::size_t>(bytes_.size(), offset_bytes + bytes.size()));
        std::ranges::copy(bytes, bytes_.begin() + static_cast<std::ptrdiff_t>(offset_bytes));
    }

    std::vector<std::byte>& bytes_;
    ShelfAccess* access_;  // null: only read
    SimulatedRandom* random_;
};

}  // namespace

std::optional<StagedIndex> staged_index_of(TargetShelf& shelf) {
    auto index = StagedIndex::open(
        std::make_unique<SimulatedStagedFile>(shelf.staged_index, nullptr, nullptr),
        shelf.record.run);
    if (!index) return std::nullopt;
    return std::move(*index);
}

SimulatedTargetStore::SimulatedTargetStore(TargetShelf& shelf, SimulatedDisk& disk,
                                           SimulatedDisk& staged_blocks, SimulatedEngine& engine,
                                           SimulatedRandom& random, StoreFault fault,
                                           StoreHook hook)
    : shelf_(shelf),
      disk_(disk),
      staged_blocks_(staged_blocks),
      engine_(engine),
      random_(random),
      access_(engine, fault, std::move(hook)) {}

bool SimulatedTargetStore::reads_as_zeros() const {
    return data_ranges_of(disk_.contents()).empty();
}

Result<TargetFacts> SimulatedTargetStore::look(const std::string&, const Uuid&, bool) {
    TargetFacts facts{.exists = shelf_.exists,
                      .is_device = !shelf_.exact_size,
                      .empty = shelf_.exact_size && reads_as_zeros(),
                      .has_data = !reads_as_zeros(),
                      .can_stage = shelf_.stages,
                      .size_bytes = disk_.size_bytes(),
                      .record = shelf_.record};
    facts.changed = shelf_.replaced;
    facts.staged_left = !shelf_.staged_index.empty();
    if (facts.changed) facts.record = {};
    facts.has_data |= facts.record.state != TargetState::kUnclaimed;
    if (facts.record.target.is_nil()) facts.record.target = draw_uuid(random_);
    TRY_STATUS(access_.change(StoreCall::kLook, [] {}));
    return facts;
}

Result<TargetVolume> SimulatedTargetStore::prepare(IoEngine&, std::uint64_t volume_bytes,
                                                   bool dry_run) {
    if (access_.dead()) return fail(Code::kCancelled, "the process is dead");
    volume_bytes_ = volume_bytes;
    const bool zeroed = shelf_.exact_size && reads_as_zeros();
    if (!dry_run) shelf_.exists = true;
    return TargetVolume{.view = {.handle = engine_.attach_disk(disk_),
                                 .size_bytes = disk_.size_bytes(),
                                 .alignment_bytes = disk_.plan().alignment_bytes},
                        .zero_mode = shelf_.exact_size ? ZeroMode::kFree : ZeroMode::kKeep,
                        .zeroed = zeroed,
                        .exact_size = shelf_.exact_size};
}

Result<StagedRun> SimulatedTargetStore::open_stage(IoEngine&, const StageWish& wish) {
    if (access_.dead()) return fail(Code::kCancelled, "the process is dead");
    auto file = std::make_unique<SimulatedStagedFile>(shelf_.staged_index, &access_, &random_);
    auto index = wish.anew ? TRY(StagedIndex::create(std::move(file), wish.run))
                           : TRY(StagedIndex::open(std::move(file), wish.run));
    if (wish.anew) {
        staged_blocks_.resize(0);
        staged_blocks_.resize(staged_format::kHoleBytes);
    }
    return StagedRun{.blocks = {.view = {.handle = engine_.attach_disk(staged_blocks_),
                                         .size_bytes = staged_blocks_.size_bytes(),
                                         .alignment_bytes = staged_blocks_.plan().alignment_bytes},
                                .zero_mode = ZeroMode::kFree,
                                .exact_size = true},
                     .index = std::make_shared<StagedIndex>(std::move(index)),
                     .shown = "memory"};
}

// Not every filesystem tells its holes.
Result<std::vector<Extent>> SimulatedTargetStore::data_ranges() {
    if (shelf_.exact_size && random_.chance(0.5)) return data_ranges_of(disk_.contents());
    return std::vector<Extent>{{0, disk_.size_bytes()}};
}

Status SimulatedTargetStore::mark(const TargetRecord& record, bool keep_journal) {
    return access_.change(
        StoreCall::kMark,
        [&] {
            if (!keep_journal) shelf_.journal.clear();
            put(record);
            // What could not be synced is as far as it comes.
            if (record.stage != TargetRecord::Stage::kStaging && !access_.unsynced()) fit();
        },
        // Between the steps: the journal is gone, or the record is the new one and the size is not.
        [&] {
            const std::uint64_t choice = random_.below(3);
            if (choice >= 1 && !keep_journal) shelf_.journal.clear();
            if (choice == 2) put(record);
        });
}

void SimulatedTargetStore::put(const TargetRecord& record) {
    const std::optional<TargetRecord> kept = shelf_.on_disk.value_or(shelf_.record);
    shelf_.on_disk = access_.unsynced() ? kept : std::nullopt;
    shelf_.record = record;
    // What the power cut brings back is still void.
    shelf_.replaced &= access_.unsynced();
}

void SimulatedTargetStore::fit() {
    if (shelf_.exact_size && disk_.size_bytes() != volume_bytes_) disk_.resize(volume_bytes_);
}

Status SimulatedTargetStore::confirm(const TargetRecord& found) {
    return access_.change(StoreCall::kMark, [&] { put(found); });
}

Status SimulatedTargetStore::journal(std::span<const Extent> acknowledged) {
    const auto append = [&](bool whole) {
        // A torn entry is overwritten by the next append.
        std::erase_if(shelf_.journal, [](const auto& entry) { return !entry.whole; });
        shelf_.journal.push_back({{acknowledged.begin(), acknowledged.end()}, whole});
    };
    return access_.change(
        StoreCall::kJournal, [&] { append(true); },
        [&] {
            const std::uint64_t choice = random_.below(3);
            if (choice != 0) append(choice == 2);
        });
}

Result<std::vector<Extent>> SimulatedTargetStore::acknowledged() {
    return shelf_.acknowledged();
}

Status SimulatedTargetStore::note_flush_failed(const TargetRecord& record) {
    return access_.change(StoreCall::kNote, [&] { put(record); });
}

Status SimulatedTargetStore::fit_size() {
    return access_.change(StoreCall::kFit, [&] { fit(); });
}

// The record first, then the journal; a crash between leaves what is still right.
Status SimulatedTargetStore::seal(const TargetRecord& record, const Attestation&) {
    return access_.change(
        StoreCall::kSeal,
        [&] {
            put(record);
            if (access_.unsynced()) return;
            shelf_.journal.clear();
            shelf_.staged_index.clear();
        },
        [&] {
            if (random_.chance(0.5)) put(record);
        });
}

// ---- source

bool SourceShelf::lose_power(SimulatedRandom& random) {
    bool back = false;
    for (auto& [target, before] : undoable) {
        if (random.chance(0.5)) continue;
        memories.erase(target);
        pending.erase(target);
        if (before.memory) memories.insert_or_assign(target, *before.memory);
        if (before.pending) pending.insert_or_assign(target, *before.pending);
        back = true;
    }
    undoable.clear();
    return back;
}

namespace {

std::unexpected<Error> damaged() {
    return fail(Code::kCorrupt, "a state file is damaged");
}

}  // namespace

SimulatedSourceStore::SimulatedSourceStore(SourceShelf& shelf, SimulatedEngine& engine,
                                           StoreFault fault, StoreHook hook)
    : shelf_(shelf), access_(engine, fault, std::move(hook)) {}

Result<std::optional<TargetMemory>> SimulatedSourceStore::load(const Uuid& target) {
    if (shelf_.damaged.contains(target)) return damaged();
    const auto found = shelf_.memories.find(target);
    if (found == shelf_.memories.end()) return std::nullopt;
    return found->second;
}

Result<std::optional<ChangeMap>> SimulatedSourceStore::pending(const Uuid& target) {
    if (shelf_.damaged.contains(target) || shelf_.damaged_maps.contains(target)) return damaged();
    const auto found = shelf_.pending.find(target);
    if (found == shelf_.pending.end()) return std::nullopt;
    return found->second;
}

Status SimulatedSourceStore::save(const TargetMemory& memory) {
    return access_.change(StoreCall::kSave, [&] {
        shelf_.memories[memory.target] = memory;
        // As files do: what was pending in a damaged one is not known any more.
        if (shelf_.damaged.erase(memory.target) > 0) shelf_.damaged_maps.insert(memory.target);
        shelf_.undoable.erase(memory.target);
    });
}

Status SimulatedSourceStore::save_begun(const TargetMemory& memory, const ChangeMap& pending) {
    Status saved = access_.change(StoreCall::kSaveBegun, [&] {
        shelf_.memories[memory.target] = memory;
        shelf_.pending[memory.target] = pending;
        shelf_.damaged.erase(memory.target);
        shelf_.damaged_maps.erase(memory.target);
        shelf_.undoable.erase(memory.target);
    });
    noted_ |= saved.has_value();
    return saved;
}

Status SimulatedSourceStore::save_sealed(const TargetMemory& memory) {
    return access_.change(StoreCall::kSaveSealed, [&] {
        SourceShelf::Begun before;
        if (const auto found = shelf_.memories.find(memory.target); found != shelf_.memories.end())
            before.memory = found->second;
        auto gone = shelf_.pending.extract(memory.target);
        if (!gone.empty()) before.pending = std::move(gone.mapped());
        shelf_.damaged.erase(memory.target);
        shelf_.damaged_maps.erase(memory.target);
        // What was durable is what was there before the first of several.
        shelf_.undoable.try_emplace(memory.target, std::move(before));
        shelf_.memories[memory.target] = memory;
    });
}

Result<std::vector<Harvest>> SimulatedSourceStore::harvests() {
    std::vector<Harvest> all;
    all.reserve(shelf_.harvests.size());
    for (const auto& [target, harvest] : shelf_.harvests)
        all.push_back(harvest);
    return all;
}

Status SimulatedSourceStore::save_harvest(const Harvest& harvest) {
    return access_.change(StoreCall::kSaveHarvest,
                          [&] { shelf_.harvests[harvest.target] = harvest; });
}

}  // namespace towline
