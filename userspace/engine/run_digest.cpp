// SPDX-License-Identifier: Apache-2.0
// A multiset hash: the sum modulo 2^128 of the hashes of all records.

#include "userspace/engine/run_digest.hpp"

#include <array>

namespace towline {

void RunDigester::add(RecordKind kind, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                      Hash128 hash) {
    std::array<std::byte, 40> record{};
    store_le(&record[0], offset_bytes);
    store_le(&record[8], length_bytes);
    store_le(&record[16], static_cast<std::uint64_t>(kind));
    store_le(&record[24], hash.low);
    store_le(&record[32], hash.high);
    const Hash128 term = hasher_.of(record);
    const std::uint64_t low = digest_.low + term.low;
    digest_.high += term.high + (low < term.low ? 1 : 0);
    digest_.low = low;
    ++digest_.records;
}

void add_compared(RunDigester& digester, const DigestsMessage& message, Extent extent) {
    if (message.hashes.empty())
        digester.add(RecordKind::kCompared, extent.offset_bytes, extent.length_bytes);
    for (std::size_t i = 0; i < message.hashes.size(); ++i) {
        digester.add(RecordKind::kCompared, message.first_block + i, 1, message.hashes[i]);
    }
}

void add_content(RunDigester& digester, const ChangeMap& map, const HashPass::Piece& piece) {
    for (std::size_t i = 0; i < piece.hashes.size(); ++i) {
        if (piece.hashes[i].is_zero_block()) continue;
        const Extent block = map.extent_of({.first = piece.run.first + i, .count = 1});
        digester.add(RecordKind::kContent, block.offset_bytes, block.length_bytes, piece.hashes[i]);
    }
}

}  // namespace towline
