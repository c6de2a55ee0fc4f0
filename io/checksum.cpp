// SPDX-License-Identifier: Apache-2.0
// ISA-L does the CRC and the zero test, XXH3 the hash. ISA-L picks its code for this processor by
// itself; XXH3 does not (built for any x86-64 it makes 5 GB/s, with AVX2 32), so that is done here.

#include "io/checksum.hpp"

#include <isa-l/crc.h>
#include <isa-l/mem_routines.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "io/checksum_kernel.hpp"

namespace towline {

namespace {

const HashKernel& choose_kernel() {
#if defined(__x86_64__)
    // Processors that have AVX-512 but not VBMI2 (before Ice Lake) slow their clock down for it.
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vbmi2"))
        return kHashKernelAvx512;
    if (__builtin_cpu_supports("avx2")) return kHashKernelAvx2;
#endif
    return kHashKernelBaseline;
}

const HashKernel& kernel() {
    static const HashKernel& chosen = choose_kernel();
    return chosen;
}

// {0, 0} is kept for zero blocks; a real block that hashes to it is told from zeros all the same.
Hash128 of_data(HashKernel::Words words) {
    if (words.low == 0 && words.high == 0) return {1, 0};
    return {words.low, words.high};
}

}  // namespace

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

BlockCheck::BlockCheck(std::span<const Part> parts) : BlockCheck(parts.front().volume) {
    for (const Part& each : parts.subspan(1))
        further_parts_.push_back({each.start_bytes, BlockCheck(each.volume).seed()});
}

std::uint32_t BlockCheck::start_at(std::uint64_t offset_bytes) const {
    std::uint64_t seed = volume_seed_;
    std::uint64_t start_bytes = 0;
    for (const SeededPart& each : further_parts_) {
        if (each.start_bytes > offset_bytes) break;
        seed = each.seed;
        start_bytes = each.start_bytes;
    }
    const std::uint64_t mixed = (seed ^ (offset_bytes - start_bytes)) * 0x9e3779b97f4a7c15ULL;
    return static_cast<std::uint32_t>(mixed >> 32);
}

std::uint32_t BlockCheck::of(ByteSpan block, std::uint64_t offset_bytes) const {
    return crc32c(block, start_at(offset_bytes));
}

BlockHasher::BlockHasher(const Seed& seed) {
    XXH3_generateSecret(secret_.data(), secret_.size(), seed.data(), seed.size());
}

Hash128 BlockHasher::of(ByteSpan block) const {
    if (is_zero(block)) return {};
    return of_data(kernel().hash(block.data(), block.size(), secret_.data(), secret_.size()));
}

CheckedBlock check_block(const BlockCheck& check, const BlockHasher& hasher, ByteSpan block,
                         std::uint64_t offset_bytes) {
    if (is_zero(block)) return {.crc = 0, .hash = {}, .zero = true};
    std::uint32_t crc = check.start_at(offset_bytes);
    const auto words = kernel().hash_and_crc(block.data(), block.size(), hasher.secret_.data(),
                                             hasher.secret_.size(), &crc);
    return {.crc = crc, .hash = of_data(words), .zero = false};
}

}  // namespace towline
