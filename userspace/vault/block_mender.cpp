// SPDX-License-Identifier: Apache-2.0
// What is bad is known by its identity, which stands in its segment's table. A stored block that
// decompresses to something of this identity is the same block, wherever it lies: its bytes take
// the place of the bad ones in the segment's next generation. Points and their indexes stay as they
// are, so what is put there must be of the kind and length that they say.
//
// A mend is a compaction, with the same locks and in the same order: the next generation is durable
// before the old one goes. What is not mended is copied as it is, and stays bad for all to see; a
// segment of which something can neither be read nor mended stays as it is.

#include "userspace/vault/block_mender.hpp"

#include <algorithm>
#include <optional>
#include <set>

#include "io/checksum.hpp"
#include "transport/codec.hpp"
#include "userspace/vault/segment_pins.hpp"
#include "userspace/vault/segment_writer.hpp"
#include "userspace/vault/series_log.hpp"
#include "userspace/vault/vault_crypto.hpp"

namespace towline {

namespace format = vault_format;
using format::ObjectKind;

namespace {

using Bytes = std::vector<std::byte>;

bool has_identity(const SegmentEntry& entry) {
    return !entry.zeros() && entry.identity != BlockIdentity{};
}

class Mender {
  public:
    explicit Mender(const std::shared_ptr<Vault>& vault) : vault_(vault) {}

    Result<MendReport> mend(const BadBlocks& bad);

  private:
    struct Donor {
        ObjectId segment;
        std::uint64_t offset = 0;
        SegmentEntry entry;
        std::uint32_t plain_bytes = 0;
    };
    struct Patient {
        OpenSegment segment;
        std::set<std::uint32_t> bad;  // origins
    };

    Result<std::set<Uuid>> unfinished_writers() const;
    Result<std::optional<Patient>> open(const SegmentKey& key,
                                        const std::vector<std::uint32_t>& origins) const;
    Status find_donors();
    // What is stored there, when it is good and of this identity.
    std::optional<Bytes> plain_of(const Donor& donor, Bytes& stored);
    // The block as the indexes describe it; nothing when that cannot be had.
    std::optional<Bytes> restored(const Patient& patient, const SegmentEntry& entry);
    Result<bool> alone_with(const SegmentKey& key);
    Status rewrite(const Patient& patient);

    std::shared_ptr<Vault> vault_;
    std::map<SegmentKey, Patient> patients_;
    std::map<BlockIdentity, std::optional<Donor>> donors_;  // of what is wanted
    Codec codec_;
    std::map<std::size_t, std::unique_ptr<ObjectHold>> shards_;  // null: others have it
    std::vector<std::string> replaced_;                          // objects, still there
    MendReport report_;
};

// A run that is resumed takes what its sessions put for what it has acknowledged: zeros too, that
// later generations do not have. So those stay. Who resumes later can only resume what is
// unfinished now.
Result<std::set<Uuid>> Mender::unfinished_writers() const {
    std::set<Uuid> writers;
    for (const std::string& series : TRY(vault_->series())) {
        const SeriesState state = TRY(SeriesLog(vault_, series).read_newest());
        const Begin* begin = state.unfinished();
        if (begin == nullptr) continue;
        writers.insert(begin->writer);
        writers.insert(begin->writers.begin(), begin->writers.end());
    }
    return writers;
}

Result<std::optional<Mender::Patient>> Mender::open(
    const SegmentKey& key, const std::vector<std::uint32_t>& origins) const {
    const auto id =
        TRY(find_segment(vault_->store(), vault_->segment_series({}), key.writer, key.serial));
    if (!id) return std::optional<Patient>();
    auto opened = open_segment(vault_->store(), vault_->id(), *id);
    // What a lost table's blocks were, nothing says.
    if (!opened) return std::optional<Patient>();
    return std::optional(
        Patient{.segment = std::move(*opened), .bad = {origins.begin(), origins.end()}});
}

Status Mender::find_donors() {
    const std::string series = vault_->segment_series({});
    Bytes stored;
    for (const ObjectInfo& each :
         TRY(vault_->store().list(object_folder(ObjectKind::kSegment, series)))) {
        const auto id = parse_object_name(ObjectKind::kSegment, series, each.name);
        if (!id) continue;
        const auto opened = open_segment(vault_->store(), vault_->id(), *id);
        if (!opened) continue;
        for (std::size_t i = 0; i < opened->offsets.size(); ++i) {
            const SegmentEntry& entry = opened->table.entries[i];
            if (!has_identity(entry)) continue;
            const auto wanted = donors_.find(entry.identity);
            if (wanted == donors_.end() || wanted->second) continue;
            const Donor donor{.segment = *id,
                              .offset = opened->offsets[i],
                              .entry = entry,
                              .plain_bytes = opened->table.plain_bytes(entry.block)};
            if (plain_of(donor, stored)) wanted->second = donor;
        }
    }
    return {};
}

std::optional<Bytes> Mender::plain_of(const Donor& donor, Bytes& stored) {
    stored.resize(donor.entry.stored_bytes);
    const Status read =
        read_exactly(vault_->store(), donor.segment.object_name(), donor.offset, stored);
    if (!read || crc32c(stored) != donor.entry.stored_crc) return std::nullopt;
    Bytes plain(donor.plain_bytes);
    const auto kind = static_cast<BlockKind>(donor.entry.kind);
    if (!codec_.decompress(kind, stored, plain)) return std::nullopt;
    if (hmac_sha256(vault_->identity_key(), plain) != donor.entry.identity) return std::nullopt;
    return plain;
}

// Most often the same bytes were stored again. Else, as they came from another codec or level, they
// are packed until they have the length that the indexes say.
std::optional<Bytes> Mender::restored(const Patient& patient, const SegmentEntry& entry) {
    const auto donor = donors_.find(entry.identity);
    if (!has_identity(entry) || donor == donors_.end() || !donor->second) return std::nullopt;
    Bytes stored;
    const auto plain = plain_of(*donor->second, stored);
    const SegmentTable& table = patient.segment.table;
    if (!plain || plain->size() != table.plain_bytes(entry.block)) return std::nullopt;
    const auto check = BlockCheck::with_seed(table.seed);
    if (check.of(*plain, entry.block * table.block_bytes) != entry.check) return std::nullopt;
    if (donor->second->entry.kind == entry.kind && stored.size() == entry.stored_bytes)
        return stored;
    const auto kind = static_cast<BlockKind>(entry.kind);
    if (kind == BlockKind::kRaw) return plain->size() == entry.stored_bytes ? plain : std::nullopt;
    Bytes packed(plain->size());
    for (int level = 1; level <= kLevelMax; ++level) {
        if (codec_.compress(kind, level, *plain, packed) != entry.stored_bytes) continue;
        packed.resize(entry.stored_bytes);
        return packed;
    }
    return std::nullopt;
}

// A run that has found blocks there looks into it by a table that it has read.
Result<bool> Mender::alone_with(const SegmentKey& key) {
    const std::size_t shard = SegmentPins::shard_of(key);
    if (!shards_.contains(shard)) {
        auto held = SegmentPins::hold(*vault_, shard, HoldKind::kExclusive);
        if (!held && held.error().code != Code::kBusy) return std::unexpected(held.error());
        shards_.emplace(shard, held ? std::move(*held) : nullptr);
    }
    return shards_.at(shard) != nullptr;
}

Status Mender::rewrite(const Patient& patient) {
    ObjectStore& store = vault_->store();
    const OpenSegment& old = patient.segment;
    ObjectId next = old.id;
    ++next.generation;
    SegmentTable table = old.table;
    table.entries.clear();
    SegmentWriter writer = TRY(SegmentWriter::begin(*vault_, next, table));
    const std::string name = old.id.object_name();
    std::uint64_t mended = 0;
    Bytes stored;
    for (std::size_t i = 0; i < old.table.entries.size(); ++i) {
        SegmentEntry entry = old.table.entries[i];
        if (entry.zeros()) continue;
        auto good = patient.bad.contains(entry.origin) ? restored(patient, entry) : std::nullopt;
        if (good) {
            ++mended;
            entry.stored_crc = crc32c(*good);
            TRY_STATUS(writer.append(entry, *good));
            continue;
        }
        stored.resize(entry.stored_bytes);
        // What cannot be read now may be read another time, and cannot be copied.
        if (!read_exactly(store, name, old.offsets[i], stored)) return {};
        TRY_STATUS(writer.append(entry, stored));
    }
    if (mended == 0) return {};
    TRY_STATUS(writer.commit());
    report_.mended_blocks += mended;
    report_.left_blocks -= mended;
    replaced_.push_back(name);
    return {};
}

Result<MendReport> Mender::mend(const BadBlocks& bad) {
    const std::string series = vault_->segment_series({});
    const auto alone = vault_->store().hold("collect/" + series, HoldKind::kExclusive);
    if (!alone && alone.error().code == Code::kBusy) {
        return fail(Code::kBusy,
                    "space of the vault is being given back by another process; try again later");
    }
    if (!alone) return std::unexpected(alone.error());
    const std::set<Uuid> unfinished = TRY(unfinished_writers());
    for (const auto& [key, origins] : bad) {
        report_.left_blocks += origins.size();
        auto patient = TRY(open(key, origins));
        if (!patient) continue;
        for (const SegmentEntry& each : patient->segment.table.entries)
            if (has_identity(each) && patient->bad.contains(each.origin))
                donors_.emplace(each.identity, std::nullopt);
        patients_.emplace(key, std::move(*patient));
    }
    TRY_STATUS(find_donors());
    for (const auto& [key, patient] : patients_) {
        if (!TRY(alone_with(key)) || unfinished.contains(key.writer)) {
            report_.busy_blocks += patient.bad.size();
            report_.left_blocks -= patient.bad.size();
            continue;
        }
        TRY_STATUS(rewrite(patient));
    }
    // Only now: what is good in one may be what another one lacks.
    TRY_STATUS(vault_->store().remove(replaced_));
    return report_;
}

}  // namespace

Result<MendReport> mend_blocks(const std::shared_ptr<Vault>& vault, const BadBlocks& bad) {
    if (!vault->config().dedup) {
        return fail(
            Code::kRefused,
            "what a block of this vault was is known by its CRC alone, which proves no copy");
    }
    return Mender(vault).mend(bad);
}

}  // namespace towline
