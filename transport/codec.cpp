// SPDX-License-Identifier: Apache-2.0
// Single blocks through ISA-L (deflate) and zstd. What is compressed is ours, what is decompressed
// is a peer's or a disk's: the length of a block is agreed before, the destination has that length,
// and whatever would fill less, more or leave something over is kCorrupt. Contents are not judged
// here but by the block's CRC. One Codec belongs to one thread.

#include "transport/codec.hpp"

#include <array>
#include <cstring>
#include <vector>

#include <isa-l/igzip_lib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "io/check.hpp"

namespace towline {
namespace {

// The scale 0-10. Measured in docs/codec.md: each step is denser and slower than the one before it;
// the libraries' own levels that are not, are left out.
constexpr std::array<int, kLevelMax + 1> kZstdLevels{0, -7, -3, -1, 1, 4, 5, 6, 9, 14, 19};
constexpr std::array<std::uint32_t, kLevelMax + 1> kDeflateLevels{0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 3};

// Room for the tokens of a whole block of 1 MiB at any level of ISA-L's.
constexpr std::size_t kDeflateBufferBytes = ISAL_DEF_LVL3_EXTRA_LARGE;
static_assert(kDeflateBufferBytes >= ISAL_DEF_LVL2_EXTRA_LARGE);
static_assert(kDeflateBufferBytes >= ISAL_DEF_LVL1_EXTRA_LARGE);

struct FreeZstd {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

// At most this long, or the block goes raw.
std::size_t worth_bytes(std::size_t block_bytes) {
    return block_bytes - (block_bytes + 15) / 16;
}

unsigned char* raw_bytes(ByteSpan bytes) {
    // ISA-L reads only, but its interface is not const.
    return reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data()));
}

std::unexpected<Error> damaged(BlockKind kind, const char* what) {
    return fail(Code::kCorrupt, "a " + std::string(codec_name(kind)) + " block " + what);
}

}  // namespace

std::string_view codec_name(BlockKind kind) {
    switch (kind) {
        case BlockKind::kRaw:
            return "raw";
        case BlockKind::kDeflate:
            return "deflate";
        case BlockKind::kZstd:
            return "zstd";
    }
    return "unknown";
}

BlockKind codec_for(CodecChoice choice, int level) {
    CHECK(level >= kLevelNone && level <= kLevelMax);
    if (level == kLevelNone) return BlockKind::kRaw;
    // On its own choice zstd: for the CPU time of both ends together it is denser at every level.
    return choice == CodecChoice::kDeflate ? BlockKind::kDeflate : BlockKind::kZstd;
}

struct Codec::Contexts {
    std::unique_ptr<ZSTD_CCtx, FreeZstd> zstd_in{ZSTD_createCCtx()};
    std::unique_ptr<ZSTD_DCtx, FreeZstd> zstd_out{ZSTD_createDCtx()};
    int zstd_level = 0;
    isal_zstream deflate{};
    inflate_state inflate{};
    std::vector<unsigned char> deflate_buffer = std::vector<unsigned char>(kDeflateBufferBytes);

    std::optional<std::size_t> compress_deflate(int level, ByteSpan block, MutableByteSpan into);
    std::optional<std::size_t> compress_zstd(int level, ByteSpan block, MutableByteSpan into);
    Status decompress_deflate(ByteSpan stored, MutableByteSpan into);
    Status decompress_zstd(ByteSpan stored, MutableByteSpan into);
};

Codec::Codec() : contexts_(std::make_unique<Contexts>()) {
    CHECK(contexts_->zstd_in && contexts_->zstd_out);
}
Codec::~Codec() = default;
Codec::Codec(Codec&&) noexcept = default;
Codec& Codec::operator=(Codec&&) noexcept = default;

std::optional<std::size_t> Codec::Contexts::compress_deflate(int level, ByteSpan block,
                                                             MutableByteSpan into) {
    isal_deflate_stateless_init(&deflate);
    deflate.level = kDeflateLevels[static_cast<std::size_t>(level)];
    deflate.level_buf = deflate_buffer.data();
    deflate.level_buf_size = static_cast<std::uint32_t>(deflate_buffer.size());
    deflate.end_of_stream = 1;
    deflate.flush = NO_FLUSH;
    deflate.next_in = raw_bytes(block);
    deflate.avail_in = static_cast<std::uint32_t>(block.size());
    deflate.next_out = raw_bytes(into);
    deflate.avail_out = static_cast<std::uint32_t>(into.size());
    const int outcome = isal_deflate_stateless(&deflate);
    if (outcome == STATELESS_OVERFLOW) return std::nullopt;
    CHECK(outcome == COMP_OK);
    return deflate.total_out;
}

std::optional<std::size_t> Codec::Contexts::compress_zstd(int level, ByteSpan block,
                                                          MutableByteSpan into) {
    if (level != zstd_level) {
        const int theirs = kZstdLevels[static_cast<std::size_t>(level)];
        ZSTD_CCtx* const context = zstd_in.get();
        CHECK(!ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, theirs)));
        zstd_level = level;
    }
    // The window and the tables are fitted to the block, whose length it knows, and the frame says
    // that length: decompress() insists on it.
    const std::size_t written =
        ZSTD_compress2(zstd_in.get(), into.data(), into.size(), block.data(), block.size());
    if (ZSTD_getErrorCode(written) == ZSTD_error_dstSize_tooSmall) return std::nullopt;
    CHECK(!ZSTD_isError(written));
    return written;
}

std::optional<std::size_t> Codec::compress(BlockKind kind, int level, ByteSpan block,
                                           MutableByteSpan into) {
    CHECK(level >= kLevelNone && level <= kLevelMax && into.size() >= block.size());
    const std::size_t room = worth_bytes(block.size());
    if (level == kLevelNone || kind == BlockKind::kRaw || room == 0) return std::nullopt;
    if (kind == BlockKind::kZstd) return contexts_->compress_zstd(level, block, into.first(room));
    return contexts_->compress_deflate(level, block, into.first(room));
}

Status Codec::Contexts::decompress_deflate(ByteSpan stored, MutableByteSpan into) {
    isal_inflate_init(&inflate);
    inflate.next_in = raw_bytes(stored);
    inflate.avail_in = static_cast<std::uint32_t>(stored.size());
    inflate.next_out = raw_bytes(into);
    inflate.avail_out = static_cast<std::uint32_t>(into.size());
    const int outcome = isal_inflate_stateless(&inflate);
    if (outcome == ISAL_OUT_OVERFLOW) return damaged(BlockKind::kDeflate, "is longer than agreed");
    // An input that ends early is an outcome of its own only in some cases; the final block's mark
    // and what was consumed and produced say it in all.
    const bool ended = outcome == ISAL_DECOMP_OK && inflate.block_state == ISAL_BLOCK_FINISH;
    if (!ended) return damaged(BlockKind::kDeflate, "is not of its form");
    if (inflate.avail_out != 0) return damaged(BlockKind::kDeflate, "is shorter than agreed");
    if (inflate.avail_in != 0) return damaged(BlockKind::kDeflate, "has bytes after its end");
    return {};
}

Status Codec::Contexts::decompress_zstd(ByteSpan stored, MutableByteSpan into) {
    // One frame of the present format, of the agreed length and with nothing behind it: neither
    // skippable frames nor those of older formats, whose decoders nobody exercises any more.
    const bool present = stored.size() > sizeof(std::uint32_t) &&
                         load_le<std::uint32_t>(stored.data()) == ZSTD_MAGICNUMBER;
    if (!present) return damaged(BlockKind::kZstd, "is not of its form");
    if (ZSTD_getFrameContentSize(stored.data(), stored.size()) != into.size()) {
        return damaged(BlockKind::kZstd, "has another length than agreed");
    }
    if (ZSTD_findFrameCompressedSize(stored.data(), stored.size()) != stored.size()) {
        return damaged(BlockKind::kZstd, "is cut off or has bytes after its end");
    }
    const std::size_t written =
        ZSTD_decompressDCtx(zstd_out.get(), into.data(), into.size(), stored.data(), stored.size());
    if (written != into.size()) return damaged(BlockKind::kZstd, "is not of its form");
    return {};
}

Status Codec::decompress(BlockKind kind, ByteSpan stored, MutableByteSpan into) {
    switch (kind) {
        case BlockKind::kRaw:
            if (stored.size() != into.size())
                return damaged(kind, "has another length than agreed");
            if (!into.empty()) std::memcpy(into.data(), stored.data(), into.size());
            return {};
        case BlockKind::kDeflate:
            return contexts_->decompress_deflate(stored, into);
        case BlockKind::kZstd:
            return contexts_->decompress_zstd(stored, into);
    }
    return fail(Code::kCorrupt, "a block of an unknown kind");
}

}  // namespace towline
