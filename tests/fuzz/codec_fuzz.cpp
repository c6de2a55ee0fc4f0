// SPDX-License-Identifier: Apache-2.0
// Two things by the first byte. A peer's block, decompressed to the length that the next bytes say:
// it fills its destination or is corrupt, and nothing behind it is touched. Or a block of ours:
// what was compressed comes back.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "io/check.hpp"
#include "transport/codec.hpp"

namespace {

using namespace towline;

constexpr std::size_t kBlockBytesMax = 1 << 20;
constexpr std::size_t kGuardBytes = 512;
constexpr std::byte kGuard{0xa5};

// ISA-L's inner loops are assembly, unseen by the sanitizers: the guard says what they wrote.
class Destination {
  public:
    explicit Destination(std::size_t size) : bytes_(size + kGuardBytes, kGuard), size_(size) {}
    MutableByteSpan span() { return MutableByteSpan(bytes_).first(size_); }
    bool intact() const {
        return std::all_of(bytes_.begin() + static_cast<std::ptrdiff_t>(size_), bytes_.end(),
                           [](std::byte byte) { return byte == kGuard; });
    }

  private:
    std::vector<std::byte> bytes_;
    std::size_t size_;
};

void decompress_any(Codec& codec, BlockKind kind, std::size_t size, ByteSpan stored) {
    Destination into(size);
    const Status done = codec.decompress(kind, stored, into.span());
    CHECK(into.intact());
    CHECK(done || done.error().code == Code::kCorrupt);
}

void round_trip(Codec& codec, BlockKind kind, int level, ByteSpan block) {
    Destination stored(block.size());
    const auto size = codec.compress(kind, level, block, stored.span());
    CHECK(stored.intact());
    if (!size) return;
    CHECK(*size <= block.size() - block.size() / 16);
    Destination back(block.size());
    CHECK(codec.decompress(kind, stored.span().first(*size), back.span()));
    CHECK(back.intact() && std::ranges::equal(back.span(), block));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Codec codec;
    constexpr std::size_t kHead = 4;
    if (size < kHead) return 0;
    const ByteSpan rest(reinterpret_cast<const std::byte*>(data) + kHead, size - kHead);
    const auto kind = static_cast<BlockKind>(data[0] % 4);
    if (data[0] < 0x80) {
        const std::size_t length = data[1] | std::size_t{data[2]} << 8 | std::size_t{data[3]} << 16;
        decompress_any(codec, kind, std::min(length, kBlockBytesMax), rest);
    } else if (kind == BlockKind::kDeflate || kind == BlockKind::kZstd) {
        round_trip(codec, kind, data[1] % (kLevelMax + 1), rest);
    }
    return 0;
}
