// SPDX-License-Identifier: Apache-2.0
// ISA-L does the CRC and the zero test, XXH3 (inlined, for this machine's vectors) the hash.

#include "io/checksum.hpp"

#include <isa-l/crc.h>
#include <isa-l/mem_routines.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace towline {

bool is_zero(ByteSpan bytes) {
    // The first word settles it for nearly all data, without a call.
    if (bytes.size() >= 8 && load_le<std::uint64_t>(bytes.data()) != 0) return false;
    return isal_zero_detect(const_cast<std::byte*>(bytes.data()), bytes.size()) == 0;
}

std::uint32_t crc32c(ByteSpan bytes, std::uint32_t start) {
    auto* raw = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
    return ~crc32_iscsi(raw, static_cast<int>(bytes.size()), ~start);
}

BlockCheck::BlockCheck(const Uuid& volume)
    : volume_seed_(XXH3_64bits(volume.bytes.data(), volume.bytes.size())) {}

std::uint32_t BlockCheck::of(ByteSpan block, std::uint64_t offset_bytes) const {
    const std::uint64_t mixed = (volume_seed_ ^ offset_bytes) * 0x9e3779b97f4a7c15ULL;
    return crc32c(block, static_cast<std::uint32_t>(mixed >> 32));
}

BlockHasher::BlockHasher(const Seed& seed) {
    XXH3_generateSecret(secret_.data(), secret_.size(), seed.data(), seed.size());
}

Hash128 BlockHasher::of(ByteSpan block) const {
    if (is_zero(block)) return {};
    const XXH128_hash_t hash =
        XXH3_128bits_withSecret(block.data(), block.size(), secret_.data(), secret_.size());
    // {0, 0} is kept for zero blocks; a real block that hashes to it is told from zeros all the
    // same.
    if (hash.low64 == 0 && hash.high64 == 0) return {1, 0};
    return {hash.low64, hash.high64};
}

CheckedBlock check_block(const BlockCheck& check, const BlockHasher& hasher, ByteSpan block,
                         std::uint64_t offset_bytes) {
    if (is_zero(block)) return {.crc = 0, .hash = {}, .zero = true};
    return {.crc = check.of(block, offset_bytes), .hash = hasher.of(block), .zero = false};
}

}  // namespace towline
