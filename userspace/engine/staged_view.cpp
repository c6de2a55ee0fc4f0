// SPDX-License-Identifier: Apache-2.0
// Pieces are found newest first, so that each byte is of the entry that stands above the others;
// then sorted. What is staged as zeros is read where the file of blocks has its hole. Memory: 24
// bytes a staged stretch, for as long as a resumed run compares.

#include "userspace/engine/staged_view.hpp"

#include <algorithm>

#include "io/align.hpp"
#include "userspace/engine/staged_format.hpp"

namespace towline {

namespace format = staged_format;

StagedView::StagedView(IoEngine& engine, const VolumeView& volume, const VolumeView& blocks)
    : ForwardingEngine(engine), volume_(volume), blocks_(blocks) {}

Status StagedView::load(const StagedIndex& index) {
    std::vector<Piece> all;
    std::uint64_t cursor = 0;
    for (;;) {
        const auto batch = TRY(index.read(cursor));
        if (!batch) break;
        for (const StagedEntry& entry : batch->entries)
            all.push_back({entry.extent, entry.place_bytes});
    }
    extents_.clear();
    for (const Piece& piece : all)
        extents_.push_back(piece.extent);
    extents_ = normalized(std::move(extents_));
    // Stable: among pieces that begin at the same byte the newest stays the last.
    std::vector<std::size_t> order(all.size());
    for (std::size_t i = 0; i < order.size(); ++i)
        order[i] = i;
    std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
        return std::pair(all[a].extent.offset_bytes, a) < std::pair(all[b].extent.offset_bytes, b);
    });
    pieces_.clear();
    // Swept from the front; what reaches over the next one's begin waits among the open ones.
    std::vector<std::size_t> open;
    std::uint64_t at = 0;
    for (std::size_t next = 0; next < order.size() || !open.empty();) {
        if (open.empty()) at = all[order[next]].extent.offset_bytes;
        while (next < order.size() && all[order[next]].extent.offset_bytes <= at)
            open.push_back(order[next++]);
        std::erase_if(open, [&](std::size_t each) { return all[each].extent.end_bytes() <= at; });
        if (open.empty()) continue;
        const Piece& top = all[*std::ranges::max_element(open)];
        std::uint64_t end = top.extent.end_bytes();
        if (next < order.size()) end = std::min(end, all[order[next]].extent.offset_bytes);
        const std::uint64_t place = top.place_bytes == format::kZeros
                                        ? format::kZeros
                                        : top.place_bytes + (at - top.extent.offset_bytes);
        pieces_.push_back({{at, end - at}, place});
        at = end;
    }
    return {};
}

VolumeView StagedView::view() const {
    const std::uint64_t staged_end = pieces_.empty() ? 0 : pieces_.back().extent.end_bytes();
    return {.handle = kView,
            .size_bytes = std::max(volume_.size_bytes, staged_end),
            .alignment_bytes = std::max(volume_.alignment_bytes, blocks_.alignment_bytes)};
}

std::vector<Extent> StagedView::data(const std::vector<Extent>& of_volume) const {
    std::vector<Extent> ranges = of_volume;
    ranges.insert(ranges.end(), extents_.begin(), extents_.end());
    return normalized(std::move(ranges));
}

void StagedView::read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
                      Completion& done) {
    if (file != kView) return ForwardingEngine::read(file, into, offset_bytes, done);
    const std::uint64_t alignment = view().alignment_bytes;
    const auto next = std::ranges::upper_bound(
        pieces_, offset_bytes, {}, [](const Piece& piece) { return piece.extent.offset_bytes; });
    const std::uint64_t next_begins =
        next == pieces_.end() ? UINT64_MAX : next->extent.offset_bytes;
    const Piece* piece = next == pieces_.begin() ? nullptr : &*std::prev(next);
    // The volume's odd end is read with the sector that it lies in.
    const std::uint64_t end = piece == nullptr ? 0 : align_up(piece->extent.end_bytes(), alignment);
    if (piece == nullptr || offset_bytes >= end) {
        const auto length = std::min<std::uint64_t>(into.size(), next_begins - offset_bytes);
        return ForwardingEngine::read(volume_.handle, into.first(length), offset_bytes, done);
    }
    std::uint64_t length = std::min<std::uint64_t>(into.size(), end - offset_bytes);
    std::uint64_t place = piece->place_bytes + (offset_bytes - piece->extent.offset_bytes);
    if (piece->place_bytes == format::kZeros) {
        length = std::min(length, format::kHoleBytes);
        place = 0;
    }
    ForwardingEngine::read(blocks_.handle, into.first(length), place, done);
}

}  // namespace towline
