// SPDX-License-Identifier: Apache-2.0
// A short print only says where to look. A block is a twin when the table there says the whole of
// its identity, and what is stored there was read, passes its check and decompresses to this very
// block: so neither rot nor a table that lies is inherited, and a block that is sent again because
// what is stored cannot be used is stored again. A print that is stale, or one of two that are
// equal, costs space alone.
//
// The pin is what makes it last. It is taken before the segment's table is looked at, and held
// until the run's point is published or given up. A host that slept, or whose share was away, may
// have lost it without a word, and a collector may have been there: so it is taken once more before
// the point is put, and what was looked into has to lie there as it did.

#include "userspace/vault/twin_finder.hpp"

#include <algorithm>
#include <cstring>

#include "userspace/vault/vault_crypto.hpp"

namespace towline {

namespace format = vault_format;
using format::ObjectKind;

namespace {

std::uint64_t print_of(const BlockIdentity& identity) {
    std::uint64_t print = 0;
    std::memcpy(&print, identity.data(), sizeof print);
    return print;
}

}  // namespace

BlockIdentity TwinFinder::identity_of(ByteSpan plain) const {
    return hmac_sha256(vault_->identity_key(), plain);
}

// What cannot be read is not found; a scrub says why.
void TwinFinder::load() {
    loaded_ = true;
    const std::string series = vault_->segment_series({});
    // What is listed is durable, whoever put it: a point can hang on it.
    const auto objects = vault_->store().list(object_folder(ObjectKind::kSegment, series));
    if (!objects) return;
    for (const ObjectInfo& each : *objects) {
        const auto id = parse_object_name(ObjectKind::kSegment, series, each.name);
        if (!id) continue;
        const auto opened = open_segment(vault_->store(), vault_->id(), *id);
        if (opened) add({id->writer, id->number}, opened->table);
        if (table_.full()) return;
    }
}

void TwinFinder::add(const SegmentKey& segment, const SegmentTable& table) {
    if (!table.identities) return;
    const auto number = static_cast<std::uint32_t>(segments_.size());
    segments_.push_back(segment);
    for (const SegmentEntry& each : table.entries) {
        const std::uint64_t print = print_of(each.identity);
        if (print != 0 && !each.zeros())
            table_.add(print, {.segment = number, .origin = each.origin});
    }
}

Result<std::shared_ptr<const OpenSegment>> TwinFinder::open(const SegmentKey& segment) {
    const auto known = open_.find(segment);
    if (known != open_.end()) return known->second;
    const auto id = TRY(
        find_segment(vault_->store(), vault_->segment_series({}), segment.writer, segment.serial));
    if (!id) return fail(Code::kRefused, "the segment was given back");
    const OpenSegment read = TRY(open_segment(vault_->store(), vault_->id(), *id));
    auto opened =
        std::make_shared<OpenSegment>(OpenSegment{.id = read.id, .table = {}, .offsets = {}});
    for (std::size_t i = 0; i < read.offsets.size(); ++i) {
        if (read.table.entries[i].zeros()) continue;
        opened->table.entries.push_back(read.table.entries[i]);
        opened->offsets.push_back(read.offsets[i]);
    }
    open_.emplace(segment, opened);
    order_.push_back(segment);
    open_entries_ += opened->offsets.size();
    while (open_entries_ > kOpenEntriesMax && order_.size() > 1) {
        const auto oldest = open_.find(order_.front());
        open_entries_ -= oldest->second->offsets.size();
        open_.erase(oldest);
        order_.pop_front();
    }
    return std::shared_ptr<const OpenSegment>(std::move(opened));
}

bool TwinFinder::gives(const OpenSegment& segment, std::size_t entry, ByteSpan plain) {
    plain_.resize(plain.size());
    return read_plain(vault_->store(), segment, entry, codec_, stored_, plain_) &&
           std::memcmp(plain_.data(), plain.data(), plain.size()) == 0;
}

std::optional<TwinFinder::Twin> TwinFinder::find(const BlockIdentity& identity, ByteSpan plain) {
    if (!loaded_) load();
    const auto place = table_.find(print_of(identity));
    if (!place) return std::nullopt;
    const SegmentKey& key = segments_[place->segment];
    // A collector that is at work on it may be taking it away.
    if (!pins_.take(key)) return std::nullopt;
    const auto segment = open(key);
    if (!segment) return std::nullopt;
    const auto& entries = (*segment)->table.entries;
    const auto entry = std::ranges::lower_bound(entries, place->origin, {}, &SegmentEntry::origin);
    if (entry == entries.end() || entry->origin != place->origin || entry->identity != identity)
        return std::nullopt;
    if (!gives(**segment, static_cast<std::size_t>(entry - entries.begin()), plain))
        return std::nullopt;
    found_in_.emplace(key, (*segment)->id.generation);
    return Twin{.segment = key,
                .origin = entry->origin,
                .kind = entry->kind,
                .stored_bytes = entry->stored_bytes};
}

Result<SegmentPins> TwinFinder::take_again() const {
    const auto lost = [] {
        return fail(Code::kBusy,
                    "blocks that this run had found in the vault were given back while it had lost "
                    "its hold of them; nothing of the run counts: run it again");
    };
    SegmentPins pins(vault_);
    if (found_in_.empty()) return pins;
    for (const auto& each : found_in_)
        if (!pins.take(each.first)) return lost();
    std::map<SegmentKey, std::uint32_t> newest;
    const std::string series = vault_->segment_series({});
    const std::string folder = object_folder(ObjectKind::kSegment, series);
    for (const ObjectInfo& each : TRY(vault_->store().list(folder))) {
        const auto id = parse_object_name(ObjectKind::kSegment, series, each.name);
        if (!id || !found_in_.contains({id->writer, id->number})) continue;
        std::uint32_t& generation = newest[{id->writer, id->number}];
        generation = std::max(generation, id->generation);
    }
    if (newest != found_in_) return lost();
    return pins;
}

Status TwinFinder::hold_again() {
    pins_ = TRY(take_again());
    return {};
}

Status TwinFinder::stands() const {
    TRY_STATUS(take_again());
    return {};
}

}  // namespace towline
