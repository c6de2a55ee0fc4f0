// SPDX-License-Identifier: Apache-2.0
#pragma once

// Numbers of the wire format; its grammar is docs/format-wire.md. All fields are little-endian.

#include <cstddef>
#include <cstdint>

namespace towline::wire {

constexpr std::uint32_t kMagic = 0x31574c54;  // "TLW1"
constexpr std::uint16_t kVersionMin = 1;
constexpr std::uint16_t kVersionMax = 1;

constexpr std::size_t kHeaderBytes = 40;
constexpr std::size_t kHelloHeadBytes = 28;
constexpr std::size_t kHeadBytesMax = std::size_t{128} * 1024;
constexpr std::size_t kPayloadBytesMax = std::size_t{1024} * 1024;
constexpr std::size_t kNameBytesMax = 1024;
constexpr std::size_t kTextBytesMax = 2048;

// Blocks are powers of two in between; a frame carries at most kPayloadBytesMax of them,
// uncompressed.
constexpr std::uint32_t kBlockBytesMin = 4096;
constexpr std::uint32_t kBlockBytesMax = 1024 * 1024;
constexpr std::size_t kBlocksPerFrameMax = kPayloadBytesMax / kBlockBytesMin;
constexpr std::size_t kExtentsPerFrameMax = 64;
// What a target takes in a frame, and a source sends; one block where that is larger.
constexpr std::size_t kPlainBytesMax = std::size_t{512} * 1024;

constexpr std::size_t kRangesPerFrameMax = 4096;
constexpr std::size_t kHashesPerFrameMax = 4096;
constexpr std::size_t kStandingMax = 512;
constexpr std::size_t kProbeWordsMax = 4096;
constexpr std::size_t kProbesMax = 1024;  // of one connection
constexpr std::uint64_t kDiskSampleBytesMax = std::uint64_t{256} << 20;
// Volumes of one run. Side by side each begins at a multiple of the largest block, with at least
// one such block between two of them.
constexpr std::size_t kVolumesMax = 64;
constexpr std::size_t kVolumeNameBytesMax = 255;

enum class FrameType : std::uint16_t {
    kHello = 1,
    kOpen = 2,
    kOpened = 3,
    kBegin = 4,
    kBegun = 5,
    kRanges = 6,
    kDigests = 7,
    kData = 8,
    kZero = 9,
    kAck = 10,
    kEnd = 11,
    kSealed = 12,
    kError = 13,
    kPing = 14,
    kJoined = 15,
    kVolumes = 16,
    kMoment = 17,
    kVerify = 18,
    kProbe = 19,
    kProbed = 20,
    kProbeDisk = 21,
    kDiskProbed = 22,
};
constexpr std::uint16_t kFrameTypeMax = 22;

// Frame flags.
// The sender hands the next frame's header to the same system call: a receiver may wait for it
// together with this frame's payload without risk of waiting for ever.
constexpr std::uint16_t kFlagNextFollows = 1;
constexpr std::uint16_t kFlagsKnown = kFlagNextFollows;

// Capabilities, offered in Hello; a run uses what both sides have.
constexpr std::uint64_t kCapDeflate = 1;
constexpr std::uint64_t kCapZstd = 2;
// Hears Volumes and Moment: a target that does not say so is sent neither.
constexpr std::uint64_t kCapVolumes = 4;
// Hears Verify, and answers Probe.
constexpr std::uint64_t kCapVerify = 8;
constexpr std::uint64_t kCapProbe = 16;
// Answers ProbeDisk.
constexpr std::uint64_t kCapProbeDisk = 32;
// What it reads back with verify is all that a run brought, also before it was resumed.
constexpr std::uint64_t kCapRereadsAll = 64;

// How a block of a Data frame is stored. 0-2 are BlockKind of transport/codec.hpp.
constexpr std::uint8_t kStoredZero = 255;

}  // namespace towline::wire
