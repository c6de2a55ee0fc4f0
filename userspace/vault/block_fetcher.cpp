// SPDX-License-Identifier: Apache-2.0
// Reads go to where a block was at first; only when that object is gone is the segment looked for.
// A collector may put a later generation and remove the one at hand between any two calls: then the
// next try finds it.

#include "userspace/vault/block_fetcher.hpp"

#include <algorithm>

namespace towline {

namespace format = vault_format;

namespace {

constexpr int kTries = 4;

bool is_gone(const Error& error) {
    return error.system_errno == ENOENT;
}

}  // namespace

Status BlockFetcher::fetch(const SegmentRef& segment, std::span<const Wanted> blocks,
                           MutableByteSpan into) {
    const Place place{segment.writer, segment.serial};
    const ObjectId first{format::ObjectKind::kSegment, series_, segment.writer, segment.serial,
                         format::kGenerationFirst};
    for (int tries = 0; tries < kTries; ++tries) {
        std::shared_ptr<const OpenSegment> moved = known(place);
        if (!moved) {
            Status read =
                read_exactly(vault_->store(), first.object_name(), blocks.front().origin, into);
            if (read || !is_gone(read.error())) return read;
            moved = TRY(later_generation(segment));
        }
        Status read = fetch_moved(*moved, blocks, into);
        if (read || !is_gone(read.error())) return read;
        forget(place);
    }
    return fail(Code::kBusy, "the vault's segment " + first.object_name() +
                                 " is rewritten again and again while it is read");
}

std::shared_ptr<const OpenSegment> BlockFetcher::known(const Place& place) {
    const std::lock_guard lock(mutex_);
    const auto found = tables_.find(place);
    return found == tables_.end() ? nullptr : found->second;
}

void BlockFetcher::forget(const Place& place) {
    const std::lock_guard lock(mutex_);
    tables_.erase(place);
    order_.remove(place);
}

Result<std::shared_ptr<const OpenSegment>> BlockFetcher::later_generation(
    const SegmentRef& segment) {
    const auto id = TRY(find_segment(vault_->store(), series_, segment.writer, segment.serial));
    if (!id) {
        const ObjectId first{format::ObjectKind::kSegment, series_, segment.writer, segment.serial,
                             format::kGenerationFirst};
        return object_damaged(first.object_name(), "it is lost");
    }
    auto opened =
        std::make_shared<const OpenSegment>(TRY(open_segment(vault_->store(), vault_->id(), *id)));
    const std::lock_guard lock(mutex_);
    const Place place{segment.writer, segment.serial};
    if (tables_.emplace(place, opened).second) order_.push_back(place);
    if (order_.size() > kTablesMax) {
        tables_.erase(order_.front());
        order_.pop_front();
    }
    return opened;
}

Status BlockFetcher::fetch_moved(const OpenSegment& moved, std::span<const Wanted> blocks,
                                 MutableByteSpan into) {
    const std::string name = moved.id.object_name();
    std::size_t done = 0;
    for (const Wanted& block : blocks) {
        const auto& entries = moved.table.entries;
        const auto entry =
            std::ranges::lower_bound(entries, block.origin, {}, &SegmentEntry::origin);
        if (entry == entries.end() || entry->origin != block.origin ||
            entry->stored_bytes != block.stored_bytes)
            return object_damaged(name, "a block that is in use is not in it");
        const std::uint64_t offset =
            moved.offsets[static_cast<std::size_t>(entry - entries.begin())];
        TRY_STATUS(
            read_exactly(vault_->store(), name, offset, into.subspan(done, block.stored_bytes)));
        done += block.stored_bytes;
    }
    return {};
}

}  // namespace towline
