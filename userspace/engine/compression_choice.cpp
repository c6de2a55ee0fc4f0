// SPDX-License-Identifier: Apache-2.0
// From what the user wants to what the target understands. Bits that this version does not know are
// codecs that it would not send anyway.

#include "userspace/engine/compression_choice.hpp"

#include "transport/wire_format.hpp"

namespace towline {

Result<CompressionChoice> decodable(CompressionChoice choice, std::uint64_t capabilities) {
    const bool deflate = (capabilities & wire::kCapDeflate) != 0;
    const bool zstd = (capabilities & wire::kCapZstd) != 0;
    if (choice.codec == CodecChoice::kAuto) {
        choice.understood = deflate || zstd;
        if (!choice.understood) choice.level = kLevelNone;
        if (!deflate && zstd) choice.codec = CodecChoice::kZstd;
        if (deflate && !zstd) choice.codec = CodecChoice::kDeflate;
        return choice;
    }
    choice.understood = choice.codec == CodecChoice::kDeflate ? deflate : zstd;
    if (choice.understood || choice.level == kLevelNone) return choice;
    const auto kind =
        choice.codec == CodecChoice::kDeflate ? BlockKind::kDeflate : BlockKind::kZstd;
    return fail(Code::kUnsupported, "the target cannot decode " + std::string(codec_name(kind)) +
                                        "; say --codec auto, or --compress 0");
}

}  // namespace towline
