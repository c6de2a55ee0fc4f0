// SPDX-License-Identifier: Apache-2.0
// Blocks through the codecs: what went in comes out, and what a hostile peer sends is refused or
// fills the destination and nothing else. ISA-L's inner loops are assembly that no sanitizer sees:
// every buffer here ends at a page that may not be touched.

#include "transport/codec.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <string>
#include <sys/mman.h>
#include <vector>

#include <gtest/gtest.h>
#include <zstd.h>

namespace towline {
namespace {

// Bytes with a page before and a page behind them that end the test when touched; at the end of
// their pages, or at the start.
class GuardedBytes {
  public:
    enum class At { kEnd, kStart };

    explicit GuardedBytes(std::size_t size, At at = At::kEnd) : size_(size) {
        const std::size_t inner = (size + kPage - 1) / kPage * kPage;
        mapped_ = inner + 2 * kPage;
        map_ = ::mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        start_ = static_cast<std::byte*>(map_) + kPage;
        if (inner > 0) ::mprotect(start_, inner, PROT_READ | PROT_WRITE);
        if (at == At::kEnd) start_ += inner - size;
    }
    explicit GuardedBytes(ByteSpan contents) : GuardedBytes(contents.size()) {
        std::ranges::copy(contents, start_);
    }
    GuardedBytes(const GuardedBytes&) = delete;
    GuardedBytes& operator=(const GuardedBytes&) = delete;
    ~GuardedBytes() { ::munmap(map_, mapped_); }

    MutableByteSpan span() { return {start_, size_}; }

  private:
    static constexpr std::size_t kPage = 4096;
    std::size_t size_;
    std::size_t mapped_ = 0;
    void* map_ = nullptr;
    std::byte* start_ = nullptr;
};

enum class Contents { kZeros, kText, kRandom, kMixed, kWords };
constexpr std::array kAllContents{Contents::kZeros, Contents::kText, Contents::kRandom,
                                  Contents::kMixed, Contents::kWords};

std::byte byte_of(Contents contents, std::size_t at, std::mt19937_64& random) {
    static constexpr std::string_view kText = "the quick brown fox jumps over the lazy dog\n";
    switch (contents) {
        case Contents::kZeros:
            return std::byte{0};
        case Contents::kText:
            return std::byte(kText[(at + at / 700 * 3) % kText.size()]);
        case Contents::kMixed:
            return at / 1024 % 2 ? std::byte(random() & 0xff) : std::byte(kText[at % kText.size()]);
        case Contents::kWords:
            return std::byte("etaoin shr"[random() % 10]);
        case Contents::kRandom:
            break;
    }
    return std::byte(random() & 0xff);
}

std::vector<std::byte> block_of(Contents contents, std::size_t size, std::uint64_t seed = 1) {
    std::mt19937_64 random(seed);
    std::vector<std::byte> block(size);
    for (std::size_t at = 0; at < size; ++at)
        block[at] = byte_of(contents, at, random);
    return block;
}

constexpr std::array kKinds{BlockKind::kDeflate, BlockKind::kZstd};

std::vector<std::byte> compressed(Codec& codec, BlockKind kind, int level, ByteSpan block) {
    std::vector<std::byte> into(block.size());
    const auto size = codec.compress(kind, level, block, into);
    EXPECT_TRUE(size);
    into.resize(size.value_or(0));
    return into;
}

void expect_round_trip(Codec& codec, BlockKind kind, int level, Contents contents,
                       std::size_t size) {
    SCOPED_TRACE(std::string(codec_name(kind)) + " level " + std::to_string(level) + " contents " +
                 std::to_string(static_cast<int>(contents)) + " size " + std::to_string(size));
    GuardedBytes block(block_of(contents, size));
    GuardedBytes into(size);
    const auto stored_bytes = codec.compress(kind, level, block.span(), into.span());
    if (!stored_bytes) return;
    ASSERT_LE(*stored_bytes, size - size / 16);
    ASSERT_NE(contents, Contents::kRandom);
    GuardedBytes stored(into.span().first(*stored_bytes));
    GuardedBytes back(size);
    const Status done = codec.decompress(kind, stored.span(), back.span());
    ASSERT_TRUE(done) << done.error().text();
    ASSERT_TRUE(std::ranges::equal(back.span(), block.span()));
}

TEST(Codec, WhatWentInComesOut) {
    Codec codec;
    for (const BlockKind kind : kKinds) {
        for (int level = 1; level <= kLevelMax; ++level) {
            for (const Contents contents : kAllContents) {
                for (const std::size_t size :
                     {1u, 15u, 16u, 17u, 511u, 512u, 4096u, 65535u, 65536u}) {
                    expect_round_trip(codec, kind, level, contents, size);
                }
            }
        }
    }
}

TEST(Codec, TakesBlocksOfAMebibyteAtEveryLevel) {
    Codec codec;
    for (const BlockKind kind : kKinds) {
        for (int level = 1; level <= kLevelMax; ++level) {
            for (const Contents contents : {Contents::kMixed, Contents::kText, Contents::kWords}) {
                expect_round_trip(codec, kind, level, contents, 1 << 20);
            }
        }
    }
}

TEST(Codec, WhatDoesNotShrinkGoesRaw) {
    Codec codec;
    for (const BlockKind kind : kKinds) {
        for (int level = 0; level <= kLevelMax; ++level) {
            for (const std::size_t size : {0u, 1u, 4u, 4096u, 65536u}) {
                GuardedBytes block(block_of(Contents::kRandom, size));
                GuardedBytes into(size);
                EXPECT_FALSE(codec.compress(kind, level, block.span(), into.span()));
            }
        }
        // A level in use before and after a block that overflowed is not disturbed by it.
        expect_round_trip(codec, kind, 3, Contents::kText, 65536);
    }
    GuardedBytes zeros(4096);
    GuardedBytes into(4096);
    EXPECT_FALSE(codec.compress(BlockKind::kRaw, 5, zeros.span(), into.span()));
    EXPECT_FALSE(codec.compress(BlockKind::kZstd, 0, zeros.span(), into.span()));
}

// Words that come back with the frequencies of a language: what the levels differ on.
std::vector<std::byte> prose(std::size_t size) {
    std::mt19937_64 random(7);
    std::vector<std::string> words(3000);
    for (std::string& word : words) {
        for (auto length = 2 + random() % 9; length > 0; --length) {
            word += "eeettaaoinshrdlucmfw"[random() % 20];
        }
    }
    std::string text;
    while (text.size() < size)
        text += words[random() % (1 + random() % words.size())] + ' ';
    const ByteSpan bytes = std::as_bytes(std::span(text)).first(size);
    return {bytes.begin(), bytes.end()};
}

TEST(Codec, TheScaleIsMonotone) {
    Codec codec;
    const auto block = prose(65536);
    for (const BlockKind kind : kKinds) {
        std::size_t before = block.size();
        for (int level = 1; level <= kLevelMax; ++level) {
            const std::size_t size = compressed(codec, kind, level, block).size();
            // The order is that of filesystem data (docs/codec.md); one block of one kind may go a
            // little against it.
            EXPECT_LE(size, before + before / 25) << codec_name(kind) << " level " << level;
            before = size;
        }
        const std::size_t fastest = compressed(codec, kind, 1, block).size();
        EXPECT_LT(before, fastest - fastest / 20) << codec_name(kind);
    }
}

TEST(Codec, ChoosesByNameAndLevel) {
    for (const CodecChoice choice :
         {CodecChoice::kAuto, CodecChoice::kDeflate, CodecChoice::kZstd}) {
        EXPECT_EQ(codec_for(choice, 0), BlockKind::kRaw);
    }
    EXPECT_EQ(codec_for(CodecChoice::kDeflate, 1), BlockKind::kDeflate);
    EXPECT_EQ(codec_for(CodecChoice::kZstd, 10), BlockKind::kZstd);
    EXPECT_NE(codec_for(CodecChoice::kAuto, 1), BlockKind::kRaw);
}

// What a peer sends as one block of `size` bytes is refused.
void expect_corrupt(Codec& codec, BlockKind kind, ByteSpan sent, std::size_t size) {
    GuardedBytes stored(sent);
    for (const auto at : {GuardedBytes::At::kEnd, GuardedBytes::At::kStart}) {
        GuardedBytes into(size, at);
        const Status done = codec.decompress(kind, stored.span(), into.span());
        ASSERT_FALSE(done);
        ASSERT_EQ(done.error().code, Code::kCorrupt);
    }
}

TEST(HostileBlock, OfAnotherLengthIsRefused) {
    Codec codec;
    const auto block = block_of(Contents::kText, 65536);
    for (const BlockKind kind : kKinds) {
        const auto stored = compressed(codec, kind, 3, block);
        for (const std::size_t size : {0u, 1u, 512u, 65535u, 65537u, 131072u}) {
            SCOPED_TRACE(std::string(codec_name(kind)) + " as " + std::to_string(size));
            expect_corrupt(codec, kind, stored, size);
        }
    }
    expect_corrupt(codec, BlockKind::kRaw, block, 65535);
    expect_corrupt(codec, BlockKind::kRaw, block, 65537);
    expect_corrupt(codec, static_cast<BlockKind>(3), block, 65536);
}

TEST(HostileBlock, CutOffOrWithSomethingBehindItIsRefused) {
    Codec codec;
    const auto block = block_of(Contents::kMixed, 4096);
    for (const BlockKind kind : kKinds) {
        auto stored = compressed(codec, kind, 3, block);
        for (std::size_t length = 0; length < stored.size(); ++length) {
            SCOPED_TRACE(std::string(codec_name(kind)) + " cut at " + std::to_string(length));
            expect_corrupt(codec, kind, ByteSpan(stored).first(length), block.size());
        }
        for (const unsigned behind : {0u, 1u, 0xffu}) {
            stored.push_back(std::byte(behind));
            expect_corrupt(codec, kind, stored, block.size());
        }
    }
}

TEST(HostileBlock, BombsFillTheirDestinationAndNoMore) {
    Codec codec;
    const std::vector<std::byte> zeros(1 << 20);
    for (const BlockKind kind : kKinds) {
        const auto bomb = compressed(codec, kind, 9, zeros);
        EXPECT_LT(bomb.size(), 8192u);
        for (const std::size_t size : {0u, 1u, 4096u, 65536u, (1u << 20) - 1}) {
            expect_corrupt(codec, kind, bomb, size);
        }
    }
}

TEST(HostileBlock, ZstdFramesOfOtherShapesAreRefused) {
    Codec codec;
    const auto block = block_of(Contents::kText, 4096);
    const auto frame = compressed(codec, BlockKind::kZstd, 3, block);
    // A skippable frame before or after the real one, two frames, one that hides its length.
    std::vector<std::byte> skippable(12);
    store_le(skippable.data(), std::uint32_t{ZSTD_MAGIC_SKIPPABLE_START});
    store_le(skippable.data() + 4, std::uint32_t{4});
    auto before = skippable;
    before.insert(before.end(), frame.begin(), frame.end());
    expect_corrupt(codec, BlockKind::kZstd, before, block.size());
    expect_corrupt(codec, BlockKind::kZstd, skippable, 0);
    auto behind = frame;
    behind.insert(behind.end(), skippable.begin(), skippable.end());
    expect_corrupt(codec, BlockKind::kZstd, behind, block.size());
    auto twice = frame;
    twice.insert(twice.end(), frame.begin(), frame.end());
    expect_corrupt(codec, BlockKind::kZstd, twice, block.size());
    expect_corrupt(codec, BlockKind::kZstd, twice, block.size() * 2);

    ZSTD_CCtx* const context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    std::vector<std::byte> unsized(8192);
    unsized.resize(ZSTD_compress2(context, unsized.data(), unsized.size(), block.data(), 4096));
    ZSTD_freeCCtx(context);
    expect_corrupt(codec, BlockKind::kZstd, unsized, block.size());
}

// Contents are the CRC's business; here a damaged block may come out wrong, but it comes out within
// its bounds, and the codec works on afterwards.
TEST(HostileBlock, EveryByteDamagedStaysWithinBounds) {
    Codec codec;
    const auto block = block_of(Contents::kMixed, 8192);
    for (const BlockKind kind : kKinds) {
        for (const int level : {1, 4, 10}) {
            const auto good = compressed(codec, kind, level, block);
            for (std::size_t at = 0; at < good.size(); ++at) {
                GuardedBytes stored(good);
                GuardedBytes into(block.size());
                stored.span()[at] ^= std::byte(1 + at * 37 % 255);
                const Status done = codec.decompress(kind, stored.span(), into.span());
                ASSERT_TRUE(done || done.error().code == Code::kCorrupt);
            }
            GuardedBytes back(block.size());
            ASSERT_TRUE(codec.decompress(kind, good, back.span()));
            ASSERT_TRUE(std::ranges::equal(back.span(), block));
        }
    }
}

TEST(HostileBlock, NoiseIsRefused) {
    Codec codec;
    for (std::uint64_t seed = 0; seed < 2000; ++seed) {
        auto noise = block_of(Contents::kRandom, 1 + seed % 300, seed);
        GuardedBytes into(4096);
        for (const BlockKind kind : kKinds) {
            GuardedBytes stored(noise);
            EXPECT_FALSE(codec.decompress(kind, stored.span(), into.span())) << "seed " << seed;
        }
    }
}

TEST(Codec, ACodecThatWasMovedWorksOn) {
    Codec first;
    Codec second = std::move(first);
    expect_round_trip(second, BlockKind::kZstd, 4, Contents::kText, 4096);
    first = std::move(second);
    expect_round_trip(first, BlockKind::kDeflate, 4, Contents::kText, 4096);
}

}  // namespace
}  // namespace towline
