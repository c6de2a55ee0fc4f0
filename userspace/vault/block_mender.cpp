// SPDX-License-Identifier: Apache-2.0
// What was stored is known by the segment's table, apart from the blocks. Where equal blocks are
// kept once it has the identity of each: whatever decompresses to something of that identity is the
// block. Elsewhere it has a proof of each group of stored blocks: when candidates for all that are
// bad in a group make it right again, then they are the very bytes that were there. CRCs only say
// what is worth trying. Points and their indexes stay as they are, so what is put there is of the
// kind and length that they say.
//
// A mend is a compaction, with the same locks and in the same order: the next generation is durable
// before the old one goes. What is not mended is copied as it is, with its group's old proof, and
// stays bad for all to see; a segment of which something can neither be read nor mended stays as it
// is.

#include "userspace/vault/block_mender.hpp"

#include <algorithm>
#include <optional>
#include <set>

#include "io/checksum.hpp"
#include "userspace/vault/block_donors.hpp"
#include "userspace/vault/segment_pins.hpp"
#include "userspace/vault/segment_writer.hpp"
#include "userspace/vault/series_log.hpp"
#include "userspace/vault/stored_group.hpp"

namespace towline {

namespace format = vault_format;
using format::ObjectKind;

namespace {

using Bytes = std::vector<std::byte>;
using Origins = std::vector<std::uint32_t>;

// Of one name, or of the segments that all names share.
class Mender {
  public:
    Mender(const std::shared_ptr<Vault>& vault, std::string series)
        : vault_(vault), series_(std::move(series)), donors_(vault) {}

    // What of `bad` is in this name's segments.
    Result<MendReport> mend(const BadBlocks& bad);

  private:
    struct Patient {
        OpenSegment segment;
        std::vector<std::string> older{};  // generations that a death has left
        const Origins* bad = nullptr;
    };
    // Of a group, by place, with what may take their place.
    using Sick = std::vector<std::pair<std::size_t, std::vector<Bytes>>>;

    Result<std::set<Uuid>> unfinished_writers() const;
    Status look(const BadBlocks& bad);
    Result<bool> alone_with(const SegmentKey& key);
    std::uint64_t heal(const Patient& patient, StoredGroup& group);
    static std::uint64_t identify(StoredGroup& group, const Sick& sick);
    std::uint64_t prove(StoredGroup& group, const Sick& sick) const;
    Status rewrite(const Patient& patient);

    std::shared_ptr<Vault> vault_;
    std::string series_;
    BlockDonors donors_;
    std::map<SegmentKey, Patient> patients_;
    std::map<std::size_t, std::unique_ptr<ObjectHold>> shards_;  // null: others have it
    std::vector<std::string> replaced_;                          // objects, still there
    MendReport report_;
};

bool is_bad(const Origins& bad, const SegmentEntry& entry) {
    return !entry.zeros() && std::ranges::binary_search(bad, entry.origin);
}

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

// What is to be mended, and then where there is something to mend it with. Of a segment whose table
// is lost nothing says what its blocks were.
Status Mender::look(const BadBlocks& bad) {
    std::map<SegmentKey, std::map<std::uint32_t, ObjectId>> segments;  // by generation
    for (const ObjectInfo& each :
         TRY(vault_->store().list(object_folder(ObjectKind::kSegment, series_)))) {
        const auto id = parse_object_name(ObjectKind::kSegment, series_, each.name);
        if (id) segments[{id->writer, id->number}].emplace(id->generation, *id);
    }
    for (const auto& [key, origins] : bad) {
        const auto generations = segments.find(key);
        if (generations == segments.end()) continue;
        const ObjectId& newest = generations->second.rbegin()->second;
        auto opened = open_segment(vault_->store(), vault_->id(), newest);
        if (!opened) continue;
        for (const SegmentEntry& each : opened->table.entries)
            if (is_bad(origins, each)) donors_.want(opened->table, each);
        Patient patient{.segment = std::move(*opened), .bad = &origins};
        for (const auto& [generation, id] : generations->second)
            if (id != newest) patient.older.push_back(id.object_name());
        patients_.emplace(key, std::move(patient));
    }
    if (patients_.empty()) return {};
    for (const auto& [key, generations] : segments) {
        const auto its_bad = bad.find(key);
        const auto opened =
            open_segment(vault_->store(), vault_->id(), generations.rbegin()->second);
        if (opened) donors_.look_into(*opened, its_bad == bad.end() ? Origins{} : its_bad->second);
    }
    return {};
}

// A run that has found blocks there looks into it by a table that it has read.
Result<bool> Mender::alone_with(const SegmentKey& key) {
    if (!vault_->config().dedup) return true;
    const std::size_t shard = SegmentPins::shard_of(key);
    if (!shards_.contains(shard)) {
        auto held = SegmentPins::hold(*vault_, shard, HoldKind::kExclusive);
        if (!held && held.error().code != Code::kBusy) return std::unexpected(held.error());
        shards_.emplace(shard, held ? std::move(*held) : nullptr);
    }
    return shards_.at(shard) != nullptr;
}

void replace(StoredGroup::Block& block, const Bytes& good) {
    block.stored = good;
    block.read = {};
    block.entry.stored_crc = crc32c(good);
}

// How many blocks of it are again what they were.
std::uint64_t Mender::heal(const Patient& patient, StoredGroup& group) {
    const SegmentTable& table = patient.segment.table;
    Sick sick;
    for (std::size_t i = 0; i < group.blocks().size(); ++i) {
        const StoredGroup::Block& block = group.blocks()[i];
        if (!is_bad(*patient.bad, block.entry)) continue;
        auto candidates = donors_.candidates(table, block.entry);
        // It may be an older generation's that is bad, or have been unreadable for a moment.
        if (block.sound && !table.identities) candidates.insert(candidates.begin(), block.stored);
        sick.emplace_back(i, std::move(candidates));
    }
    if (sick.empty()) return 0;
    return table.identities ? identify(group, sick) : prove(group, sick);
}

std::uint64_t Mender::identify(StoredGroup& group, const Sick& sick) {
    std::uint64_t healed = 0;
    for (const auto& [place, candidates] : sick) {
        if (candidates.empty()) continue;
        replace(group.blocks()[place], candidates.front());
        ++healed;
    }
    return healed;
}

// All of the sick ones at once, as the proof is of the group. Candidates have the CRC that was
// stored, so there is hardly ever a second one; what may be tried is bounded by kCandidatesMax for
// each of kGroupBlocks.
std::uint64_t Mender::prove(StoredGroup& group, const Sick& sick) const {
    if (std::ranges::any_of(sick, [](const auto& each) { return each.second.empty(); })) return 0;
    const StoredGroup before = group;
    std::vector<std::size_t> choice(sick.size(), 0);
    for (;;) {
        for (std::size_t i = 0; i < sick.size(); ++i)
            replace(group.blocks()[sick[i].first], sick[i].second[choice[i]]);
        if (group.proven(vault_->proof_key())) break;
        std::size_t digit = 0;
        while (digit < choice.size() && ++choice[digit] == sick[digit].second.size())
            choice[digit++] = 0;
        if (digit == choice.size()) {
            group = before;
            return 0;
        }
    }
    return sick.size();
}

Status Mender::rewrite(const Patient& patient) {
    const OpenSegment& old = patient.segment;
    ObjectId next = old.id;
    ++next.generation;
    SegmentTable table = old.table;
    table.entries.clear();
    SegmentWriter writer = TRY(SegmentWriter::begin(*vault_, next, std::move(table)));
    std::uint64_t mended = 0;
    bool changed = false;
    std::size_t number = 0;
    for (const SegmentTable::Group& places : old.table.groups()) {
        StoredGroup group = StoredGroup::read(vault_->store(), old, number++, places);
        const StoredGroup found = group;
        mended += heal(patient, group);
        for (std::size_t i = 0; i < group.blocks().size(); ++i) {
            const StoredGroup::Block& block = group.blocks()[i];
            // What cannot be read now may be read another time, and cannot be copied.
            if (!block.read) return {};
            changed |= !found.blocks()[i].read || found.blocks()[i].stored != block.stored;
            TRY_STATUS(writer.append(block.entry, block.stored));
        }
    }
    report_.mended_blocks += mended;
    if (changed) {
        TRY_STATUS(writer.commit());
        replaced_.push_back(old.id.object_name());
    }
    if (mended == patient.bad->size())
        replaced_.insert(replaced_.end(), patient.older.begin(), patient.older.end());
    return {};
}

Result<MendReport> Mender::mend(const BadBlocks& bad) {
    const auto alone = vault_->store().hold("collect/" + series_, HoldKind::kExclusive);
    if (!alone && alone.error().code == Code::kBusy) {
        return fail(Code::kBusy,
                    "space of the vault is being given back by another process; try again later");
    }
    if (!alone) return std::unexpected(alone.error());
    const std::set<Uuid> unfinished = TRY(unfinished_writers());
    TRY_STATUS(look(bad));
    for (const auto& [key, patient] : patients_) {
        if (!TRY(alone_with(key)) || unfinished.contains(key.writer)) {
            report_.busy_blocks += patient.bad->size();
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
    std::set<std::string> names;
    for (const std::string& each : TRY(vault->series()))
        names.insert(vault->segment_series(each));
    MendReport all;
    for (const auto& [key, origins] : bad)
        all.left_blocks += origins.size();
    for (const std::string& each : names) {
        const MendReport its = TRY(Mender(vault, each).mend(bad));
        all.mended_blocks += its.mended_blocks;
        all.busy_blocks += its.busy_blocks;
    }
    all.left_blocks -= all.mended_blocks + all.busy_blocks;
    return all;
}

}  // namespace towline
