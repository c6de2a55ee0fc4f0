// SPDX-License-Identifier: Apache-2.0
// The table of a segment. What is taken says the same when it is written again.

#include <algorithm>
#include <cstdlib>

#include "userspace/vault/segment.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace towline;
    if (size < 9) return 0;
    const ByteSpan raw = std::as_bytes(std::span(data, size));
    const std::uint32_t generation = data[0] % 2 + 1;
    const auto contents_bytes = load_le<std::uint64_t>(raw.data() + 1);
    const ByteSpan table = raw.subspan(9);
    const auto decoded = SegmentTable::decode(table, contents_bytes, generation, "a segment");
    if (!decoded) return 0;
    for (const SegmentEntry& each : decoded->entries)
        if (decoded->plain_bytes(each.block) > decoded->block_bytes) std::abort();
    if (!decoded->identities && decoded->groups().size() != decoded->proofs.size()) std::abort();
    const auto encoded = decoded->encode(generation);
    if (!std::ranges::equal(encoded, table)) std::abort();
    return 0;
}
