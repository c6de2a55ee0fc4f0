// SPDX-License-Identifier: Apache-2.0
// A saved change map whose CRC is right, so that the fuzzer gets past it: it is refused, or it is a
// map that saves to one which loads as the same.

#include <cstdint>
#include <vector>

#include "cbt/change_map.hpp"
#include "cbt/change_map_format.hpp"
#include "io/check.hpp"
#include "io/checksum.hpp"

namespace {

using namespace towline;
namespace format = change_map_format;

// Large maps are right, but each would take the fuzzer a second.
bool small(const std::vector<std::byte>& saved) {
    const auto block_bytes = load_le<std::uint32_t>(saved.data() + 16);
    const auto volume_bytes = load_le<std::uint64_t>(saved.data() + 24);
    return !format::geometry_allowed(volume_bytes, block_bytes) ||
           format::block_count_of(volume_bytes, block_bytes) <= (8u << 20);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const ByteSpan input(reinterpret_cast<const std::byte*>(data), size);
    if (!ChangeMap::load(input) && size < format::kHeaderBytes) return 0;
    std::vector<std::byte> saved(input.begin(), input.end());
    if (saved.size() < format::kHeaderBytes || !small(saved)) return 0;
    const std::uint32_t crc = crc32c(saved);
    saved.resize(saved.size() + format::kTrailerBytes);
    store_le(saved.data() + size, crc);
    const auto map = ChangeMap::load(saved);
    if (!map) {
        CHECK(map.error().code == Code::kCorrupt || map.error().code == Code::kUnsupported);
        return 0;
    }
    CHECK(map->marked_bytes() <= map->volume_bytes());
    const auto again = ChangeMap::load(map->save());
    CHECK(again && *again == *map);
    return 0;
}
