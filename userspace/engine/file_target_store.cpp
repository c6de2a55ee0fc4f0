// SPDX-License-Identifier: Apache-2.0
// The record is the truth about a replica only as long as the volume is the one it was written for.
// Order that must hold: journal emptied before a new run is marked; volume flushed before it is
// sealed; record sealed before the journal is emptied.

#include "userspace/engine/file_target_store.hpp"

#include <algorithm>
#include <sys/file.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "io/checksum.hpp"
#include "io/document.hpp"
#include "io/durable_file.hpp"
#include "userspace/engine/target_safety.hpp"

namespace towline {

namespace {

// Covers the superblocks of ext4, xfs and btrfs: whoever mounts a replica for writing changes it.
constexpr std::uint64_t kGuardBytes = std::uint64_t{128} * 1024;

std::string hex(std::uint64_t value) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
    return text;
}

std::string key_of(const std::string& name) {
    const BlockHasher hasher(BlockHasher::Seed{});
    const Hash128 hash = hasher.of(std::as_bytes(std::span(name)));
    return hex(hash.high) + hex(hash.low);
}

std::int64_t modified_ns(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) < 0) return 0;
    return std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
}

Result<std::string> guard_hash(const Volume& volume) {
    std::vector<std::byte> first(std::min(kGuardBytes, volume.size_bytes()));
    TRY_STATUS(volume.read_at(0, first));
    const BlockHasher hasher(BlockHasher::Seed{});
    const Hash128 hash = hasher.of(first);
    return hex(hash.high) + hex(hash.low);
}

}  // namespace

FileTargetStore::FileTargetStore(std::filesystem::path state_folder, const TargetPlace& place,
                                 Claim claim, std::filesystem::path journal_folder)
    : state_folder_(std::move(state_folder)),
      journal_folder_(std::move(journal_folder)),
      place_(place),
      claim_(std::move(claim)) {}

// An end in order: nothing is in flight, and the ring's own hold on the lock goes some time later.
FileTargetStore::~FileTargetStore() {
    if (lock_) ::flock(lock_.get(), LOCK_UN);
}

std::filesystem::path FileTargetStore::file(const char* ending) const {
    return state_folder_ / (key_ + ending);
}

// A device is its user's: it is read and nothing else.
Result<DiskSample> FileTargetStore::sample_disk(const std::string& name) {
    if (TRY(place_.exists(name))) {
        const Volume volume = TRY(place_.open(name, Access::kRead));
        if (volume.kind() == VolumeKind::kBlockDevice) return sample_reading(volume);
    }
    const Fd folder = TRY(place_.open_folder(name));
    return sample_writing(folder.get(), "the folder of " + name);
}

Result<TargetFacts> FileTargetStore::look(const std::string& name, const Uuid& source,
                                          bool dry_run) {
    name_ = name;
    key_ = key_of(name);
    TargetFacts facts;
    // The name is judged before anything is made for it.
    facts.exists = TRY(place_.exists(name));
    if (claim_) TRY_STATUS(claim_(name, source, dry_run));
    lock_ = TRY(lock_file(file(".lock"), "the target " + name, kHolderDies));
    if (facts.exists) TRY_STATUS(inspect(facts));
    if (facts.record.target.is_nil()) facts.record.target = Uuid::random();
    target_ = facts.record.target;
    facts.can_stage = true;
    facts.staged_left = staged_files().left();
    return facts;
}

Status FileTargetStore::inspect(TargetFacts& facts) {
    volume_ = TRY(place_.open(name_, Access::kRead));
    TRY_STATUS(place_.refuse_same(*volume_, source_, standing_));
    TRY_STATUS(refuse_if_in_use(*volume_));
    facts.is_device = volume_->kind() == VolumeKind::kBlockDevice;
    facts.size_bytes = volume_->size_bytes();
    facts.empty = TRY(volume_->known_empty());
    TRY_STATUS(load_record(facts));
    facts.has_data = facts.record.state != TargetState::kUnclaimed || TRY(volume_->has_data());
    return {};
}

Status FileTargetStore::load_record(TargetFacts& facts) {
    auto document = load_document(file(".record"));
    if (!document && document.error().code == Code::kCorrupt) {
        facts.changed = true;
        return {};
    }
    if (!document) return std::unexpected(document.error());
    if (!*document) return {};
    const nlohmann::json& json = **document;
    auto record = record_from_json(json.value("record", nlohmann::json{}));
    if (!record || json.value("name", "") != name_ ||
        json.value("tie", nlohmann::json{}) != TRY(tie(*record))) {
        facts.changed = true;
        return {};
    }
    facts.record = *record;
    // The run is where it was begun, whatever is asked for now.
    if (record->stage != TargetRecord::Stage::kNone) journal_folder_ = json.value("journal", "");
    return {};
}

// An unfinished run changes the volume's size, time and first bytes itself, unless it is still
// being staged: there the identity alone ties.
Result<nlohmann::json> FileTargetStore::tie(const TargetRecord& record) const {
    const VolumeIdentity identity = TRY(volume_->identity());
    nlohmann::json json{{"kind", identity.kind},
                        {"locator", identity.locator},
                        {"generation", identity.generation}};
    if (record.unfinished() && record.stage != TargetRecord::Stage::kStaging) return json;
    json["size_bytes"] = volume_->size_bytes();
    if (volume_->kind() == VolumeKind::kImageFile) json["modified_ns"] = modified_ns(volume_->fd());
    json["guard"] = TRY(guard_hash(*volume_));
    return json;
}

Result<TargetVolume> FileTargetStore::prepare(IoEngine& engine, std::uint64_t volume_bytes,
                                              bool dry_run) {
    volume_bytes_ = volume_bytes;
    bool created = false;
    if (!volume_) {
        if (dry_run) return fail(Code::kProtocol, "the source compares what is not there");
        volume_ = TRY(place_.create(name_, volume_bytes));
        TRY_STATUS(place_.refuse_same(*volume_, source_, standing_));
        created = true;
    } else if (!dry_run) {
        volume_.reset();
        volume_ = TRY(place_.open(name_, Access::kReadWrite));
    }
    const bool image = volume_->kind() == VolumeKind::kImageFile;
    const bool empty = created || TRY(volume_->known_empty());
    // An image keeps its size until the run writes or is sealed: a scan may yet find that the image
    // is no older copy, and refuse.
    if (!image && volume_->size_bytes() < volume_bytes) {
        return fail(Code::kRefused,
                    "the target is smaller than the source; use a device of at least its size");
    }
    const Handle handle = TRY(engine.attach(volume_->fd()));
    return TargetVolume{.view = {.handle = handle,
                                 .size_bytes = volume_->size_bytes(),
                                 .alignment_bytes = volume_->alignment_bytes()},
                        .zero_mode = image ? ZeroMode::kFree : ZeroMode::kKeep,
                        .zeroed = empty && image,
                        .exact_size = image,
                        .lock = TRY(engine.attach(lock_.get()))};
}

Result<std::vector<Extent>> FileTargetStore::data_ranges() {
    const auto ranges = TRY(volume_->data_ranges());
    std::vector<Extent> extents;
    extents.reserve(ranges.size());
    for (const DataRange& range : ranges)
        extents.push_back({range.offset_bytes, range.length_bytes});
    return extents;
}

Status FileTargetStore::save(const TargetRecord& record) {
    const nlohmann::json tied = TRY(tie(record));
    nlohmann::json document{{"name", name_}, {"tie", tied}, {"record", to_json(record)}};
    if (record.stage != TargetRecord::Stage::kNone)
        document["journal"] = staged_files().folder().string();
    return save_document(file(".record"), document);
}

StagedFiles FileTargetStore::staged_files() const {
    if (!journal_folder_.empty()) return {journal_folder_, target_};
    return {(volume_ ? place_.beside(*volume_) : std::nullopt).value_or(state_folder_), target_};
}

Result<StagedRun> FileTargetStore::open_stage(IoEngine& engine, const StageWish& wish) {
    const StagedFiles files = staged_files();
    if (wish.anew) TRY_STATUS(files.refuse_if_full(wish.plan_bytes));
    // What an older run acknowledged is forgotten before the blocks that it stands for are: until
    // the record is this run's, that one may be resumed.
    auto file = TRY(files.open_index(wish.anew));
    auto index = wish.anew ? TRY(StagedIndex::create(std::move(file), wish.run))
                           : TRY(StagedIndex::open(std::move(file), wish.run));
    staged_blocks_ = TRY(files.open_blocks(wish.anew));
    const Status apart = place_.refuse_same(*staged_blocks_, source_, standing_);
    if (!apart) {
        // What an earlier session left may be all that makes the replica whole.
        if (wish.anew) files.remove();
        Error error = apart.error();
        error.context = "the run would be staged in " + files.folder().string() +
                        ", on the source itself (--journal names another folder, --direct writes "
                        "at once): " +
                        error.context;
        return std::unexpected(std::move(error));
    }
    return StagedRun{.blocks = {.view = {.handle = TRY(engine.attach(staged_blocks_->fd())),
                                         .size_bytes = staged_blocks_->size_bytes(),
                                         .alignment_bytes = staged_blocks_->alignment_bytes()},
                                .zero_mode = ZeroMode::kFree,
                                .exact_size = true},
                     .index = std::make_shared<StagedIndex>(std::move(index)),
                     .shown = files.folder().string()};
}

Status FileTargetStore::mark(const TargetRecord& record, bool keep_journal) {
    using Stage = TargetRecord::Stage;
    if (record.stage == Stage::kNone) {
        journal_.emplace(TRY(AcknowledgedJournal::open(file(".acknowledged"))));
        if (!keep_journal) TRY_STATUS(journal_->clear());
    }
    TRY_STATUS(save(record));
    if (record.stage == Stage::kStaging) return {};
    if (record.stage == Stage::kNone) staged_files().remove();
    if (volume_->kind() != VolumeKind::kImageFile || volume_->size_bytes() == volume_bytes_)
        return {};
    return volume_->resize(volume_bytes_);
}

Status FileTargetStore::confirm(const TargetRecord& found) {
    return save(found);
}

Status FileTargetStore::journal(std::span<const Extent> acknowledged) {
    return journal_->append(acknowledged);
}

Result<std::vector<Extent>> FileTargetStore::acknowledged() {
    const AcknowledgedJournal journal = TRY(AcknowledgedJournal::open(file(".acknowledged")));
    return journal.load();
}

Status FileTargetStore::note_flush_failed(const TargetRecord& record) {
    return save(record);
}

Status FileTargetStore::fit_size() {
    struct stat status {};
    const bool image = volume_->kind() == VolumeKind::kImageFile;
    if (!image || ::fstat(volume_->fd(), &status) < 0 ||
        static_cast<std::uint64_t>(status.st_size) == volume_bytes_)
        return {};
    TRY_STATUS(volume_->resize(volume_bytes_));
    return volume_->flush();
}

Status FileTargetStore::seal(const TargetRecord& record, const Attestation&) {
    TRY_STATUS(save(record));
    if (journal_) TRY_STATUS(journal_->clear());
    staged_files().remove();
    return {};
}

Result<std::vector<std::string>> FileTargetStore::unapplied(
    const std::filesystem::path& state_folder) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& each : std::filesystem::directory_iterator(state_folder, error)) {
        if (each.path().extension() != ".record") continue;
        const auto document = load_document(each.path());
        if (!document || !*document) continue;
        const auto record = record_from_json((*document)->value("record", nlohmann::json{}));
        if (record && record->stage == TargetRecord::Stage::kCommitted)
            names.push_back((*document)->value("name", ""));
    }
    if (error && error != std::errc::no_such_file_or_directory)
        return fail_errno(error.value(), "cannot look through " + state_folder.string());
    return names;
}

}  // namespace towline
