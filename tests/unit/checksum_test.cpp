// SPDX-License-Identifier: Apache-2.0
// The checks must be the same on every machine: a block is checked elsewhere, or years later.

#include "io/checksum.hpp"

#include <algorithm>
#include <cstdio>
#include <random>
#include <string_view>

#include <gtest/gtest.h>

#include "io/checksum_kernel.hpp"

namespace towline {
namespace {

std::vector<std::byte> noise(std::size_t size, unsigned seed = 1) {
    std::mt19937 generator(seed);
    std::vector<std::byte> bytes(size);
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(generator());
    return bytes;
}

ByteSpan bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

Uuid uuid_of(unsigned char fill) {
    Uuid uuid;
    uuid.bytes.fill(std::byte{fill});
    return uuid;
}

BlockHasher hasher_of(unsigned char fill) {
    BlockHasher::Seed seed;
    seed.fill(std::byte{fill});
    return BlockHasher(seed);
}

TEST(ChecksumTest, CrcIsCastagnolis) {
    EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283U);
    EXPECT_EQ(crc32c({}), 0U);
}

TEST(ChecksumTest, CrcContinues) {
    const auto whole = noise(1000);
    for (const std::size_t cut : {0, 1, 7, 500, 999, 1000}) {
        const std::uint32_t first = crc32c(ByteSpan(whole).first(cut));
        EXPECT_EQ(crc32c(ByteSpan(whole).subspan(cut), first), crc32c(whole));
    }
}

TEST(ChecksumTest, ZeroMeansEveryByte) {
    for (const std::size_t size : {1, 7, 8, 9, 64, 512, 4096, 65536}) {
        std::vector<std::byte> block(size);
        EXPECT_TRUE(is_zero(block));
        for (const std::size_t at : {std::size_t{0}, size / 2, size - 1}) {
            block[at] = std::byte{1};
            EXPECT_FALSE(is_zero(block)) << size << " at " << at;
            block[at] = std::byte{0};
        }
    }
}

// Written down, since they are on disks: computed by this code, CRC and XXH3 being fixed by others.
TEST(ChecksumTest, ValuesNeverChange) {
    const BlockCheck check(uuid_of(0x42));
    EXPECT_EQ(check.of(bytes_of("towline"), 65536), 0xdc1138c3U);
    const Hash128 hash = hasher_of(0x17).of(bytes_of("towline"));
    EXPECT_EQ(hash.low, 0xaa2cd7af614311cU);
    EXPECT_EQ(hash.high, 0xc245a8a5deaec5a9U);
}

TEST(ChecksumTest, ABlockElsewhereFailsItsCheck) {
    const auto block = noise(4096);
    const BlockCheck check(uuid_of(1));
    EXPECT_EQ(check.of(block, 0), BlockCheck(uuid_of(1)).of(block, 0));
    EXPECT_NE(check.of(block, 0), check.of(block, 4096));
    EXPECT_NE(check.of(block, 0), BlockCheck(uuid_of(2)).of(block, 0));
}

TEST(ChecksumTest, HashesOfAnotherRunDoNotCompare) {
    const auto block = noise(4096);
    EXPECT_EQ(hasher_of(1).of(block), hasher_of(1).of(block));
    EXPECT_NE(hasher_of(1).of(block), hasher_of(2).of(block));
}

TEST(ChecksumTest, ZerosHashToZero) {
    const std::vector<std::byte> block(65536);
    EXPECT_TRUE(hasher_of(1).of(block).is_zero_block());
    const CheckedBlock checked = check_block(BlockCheck(uuid_of(1)), hasher_of(1), block, 0);
    EXPECT_TRUE(checked.zero);
    EXPECT_TRUE(checked.hash.is_zero_block());
}

TEST(ChecksumTest, OnePassGivesTheSameAsSeparateOnes) {
    const BlockCheck check(uuid_of(3));
    const BlockHasher hasher = hasher_of(4);
    for (const std::size_t size : {1, 16, 240, 241, 512, 4095, 4096, 4097, 12288, 65536, 1 << 20}) {
        const auto block = noise(size);
        const CheckedBlock checked = check_block(check, hasher, block, 8192);
        EXPECT_FALSE(checked.zero);
        EXPECT_EQ(checked.crc, check.of(block, 8192)) << size;
        EXPECT_EQ(checked.hash, hasher.of(block)) << size;
    }
}

struct NamedKernel {
    const char* name;
    const HashKernel* kernel;
    bool runs_here;
};

// Both ends may have other processors.
TEST(ChecksumTest, AllVectorWidthsAgree) {
    const NamedKernel kernels[] = {
        {"AVX2", &kHashKernelAvx2, __builtin_cpu_supports("avx2") != 0},
        {"AVX-512", &kHashKernelAvx512, __builtin_cpu_supports("avx512f") != 0},
    };
    const auto secret = noise(BlockHasher::kSecretBytes, 2);
    for (const NamedKernel& tried : kernels) {
        if (!tried.runs_here) {
            std::printf("not tried: this processor has no %s\n", tried.name);
            continue;
        }
        for (const std::size_t size : {0, 1, 17, 129, 241, 1024, 4097, 65536}) {
            const auto block = noise(size);
            const auto expected =
                kHashKernelBaseline.hash(block.data(), size, secret.data(), secret.size());
            std::uint32_t crc = 5;
            for (const auto& words :
                 {tried.kernel->hash(block.data(), size, secret.data(), secret.size()),
                  tried.kernel->hash_and_crc(block.data(), size, secret.data(), secret.size(),
                                             &crc)}) {
                EXPECT_EQ(words.low, expected.low) << tried.name << " " << size;
                EXPECT_EQ(words.high, expected.high) << tried.name << " " << size;
            }
            EXPECT_EQ(crc, crc32c(block, 5)) << tried.name << " " << size;
        }
    }
}

}  // namespace
}  // namespace towline
