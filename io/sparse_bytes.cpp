// SPDX-License-Identifier: Apache-2.0
// Chunks in an ordered map: absent means zeros. Zeroing walks the chunks that exist, never the
// range, so that zeroing a terabyte costs nothing.

#include "io/sparse_bytes.hpp"

#include <algorithm>
#include <cstring>

namespace towline {

void SparseBytes::write(std::uint64_t offset_bytes, ByteSpan from) {
    while (!from.empty()) {
        const std::uint64_t within = offset_bytes % kChunkBytes;
        const std::size_t count = std::min<std::size_t>(from.size(), kChunkBytes - within);
        std::vector<std::byte>& chunk = chunks_[offset_bytes / kChunkBytes];
        chunk.resize(kChunkBytes);
        std::memcpy(chunk.data() + within, from.data(), count);
        offset_bytes += count;
        from = from.subspan(count);
    }
}

void SparseBytes::zero(std::uint64_t offset_bytes, std::uint64_t length_bytes) {
    if (length_bytes == 0) return;
    const std::uint64_t end = offset_bytes + length_bytes;
    auto chunk = chunks_.lower_bound(offset_bytes / kChunkBytes);
    while (chunk != chunks_.end() && chunk->first * kChunkBytes < end) {
        const std::uint64_t start = chunk->first * kChunkBytes;
        const std::uint64_t from = std::max(offset_bytes, start) - start;
        const std::uint64_t to = std::min(end, start + kChunkBytes) - start;
        if (to - from == kChunkBytes) {
            chunk = chunks_.erase(chunk);
            continue;
        }
        std::memset(chunk->second.data() + from, 0, to - from);
        ++chunk;
    }
}

void SparseBytes::read(std::uint64_t offset_bytes, MutableByteSpan into) const {
    while (!into.empty()) {
        const std::uint64_t within = offset_bytes % kChunkBytes;
        const std::size_t count = std::min<std::size_t>(into.size(), kChunkBytes - within);
        const auto chunk = chunks_.find(offset_bytes / kChunkBytes);
        if (chunk == chunks_.end()) {
            std::memset(into.data(), 0, count);
        } else {
            std::memcpy(into.data(), chunk->second.data() + within, count);
        }
        offset_bytes += count;
        into = into.subspan(count);
    }
}

}  // namespace towline
