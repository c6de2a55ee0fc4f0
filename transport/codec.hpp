// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "io/bytes.hpp"
#include "io/result.hpp"

namespace towline {

// How a block is stored in a frame. The numbers are on the wire.
enum class BlockKind : std::uint8_t { kRaw = 0, kDeflate = 1, kZstd = 2 };

enum class CodecChoice { kAuto, kDeflate, kZstd };

std::string_view codec_name(BlockKind kind);

constexpr int kLevelNone = 0;
constexpr int kLevelMax = 10;

// What one point of the scale 0-10 means to the library behind it; documented in docs/codec.md.
BlockKind codec_for(CodecChoice choice, int level);

// Compresses and decompresses single blocks. One a thread: it owns the libraries' contexts,
// allocated once.
class Codec {
  public:
    Codec();
    ~Codec();
    Codec(Codec&&) noexcept;
    Codec& operator=(Codec&&) noexcept;

    // The bytes written into `into`, or nothing when the block would not become smaller by at least
    // 1/16 (then it goes raw). `into` is at least as long as `block`.
    std::optional<std::size_t> compress(BlockKind kind, int level, ByteSpan block,
                                        MutableByteSpan into);

    // Fills `into` exactly; anything else, trailing bytes included, is kCorrupt. Never writes past
    // `into`.
    Status decompress(BlockKind kind, ByteSpan stored, MutableByteSpan into);

  private:
    struct Contexts;
    std::unique_ptr<Contexts> contexts_;
};

}  // namespace towline
