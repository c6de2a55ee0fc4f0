// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a fuzzer's input becomes what a hostile peer sends: steps of an opcode byte each. Frames get
// right checks, run and sequence unless the step says otherwise, so that what is behind those
// checks is reached. The seeds are made by wire_seeds.cpp.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "io/bytes.hpp"
#include "tests/unit/hostile_peer.hpp"
#include "transport/codec.hpp"

namespace towline::fuzz {

enum class Step : std::uint8_t {
    kMessage,  // type, 16-bit length, head
    kBlocks,   // first block, count, kind: a Data frame whose checks are right; kTwoExtents
    kTable,    // 16-bit length, head, 16-bit length of a payload of x
    kZero,     // first block, count
    kRaw,      // 16-bit length, bytes
    kWait,     // tenths of a second
    kClose,
    kCount,
};

// In a step's first byte: its blocks are two extents with a gap of one block.
constexpr std::uint8_t kTwoExtents = 0x10;

constexpr std::uint32_t kBlockBytes = 4096;
constexpr std::uint64_t kVolumeBytes = 40 * kBlockBytes + 700;

class Script {
  public:
    explicit Script(ByteSpan bytes) : bytes_(bytes) {}
    bool more() const { return !bytes_.empty(); }
    std::uint8_t byte() {
        if (bytes_.empty()) return 0;
        const auto value = std::to_integer<std::uint8_t>(bytes_.front());
        bytes_ = bytes_.subspan(1);
        return value;
    }
    std::uint16_t word() {
        const std::uint8_t low = byte();
        return static_cast<std::uint16_t>(low | byte() << 8);
    }
    ByteSpan some(std::size_t count) {
        const ByteSpan taken = bytes_.first(std::min(count, bytes_.size()));
        bytes_ = bytes_.subspan(taken.size());
        return taken;
    }

  private:
    ByteSpan bytes_;
};

// Blocks of one letter each, stored as `kind` says, checked for the volume that the seeds name.
inline std::vector<std::byte> block_payload(DataHead& table, std::uint8_t kind,
                                            const Uuid& volume) {
    static Codec codec;
    const BlockCheck check(volume);
    std::vector<std::byte> payload;
    std::vector<std::byte> packed(kBlockBytes);
    std::vector<std::uint64_t> offsets;
    for (const DataExtent& extent : std::span(table.extents).first(table.extent_count)) {
        for (std::uint64_t i = 0; i < extent.count; ++i)
            offsets.push_back(extent.offset_bytes + i * kBlockBytes);
    }
    for (std::size_t i = 0; i < offsets.size(); ++i) {
        const std::uint64_t offset = offsets[i];
        const std::uint64_t left = offset < kVolumeBytes ? kVolumeBytes - offset : kBlockBytes;
        const std::vector<std::byte> plain(std::min<std::uint64_t>(left, kBlockBytes),
                                           static_cast<std::byte>('a' + i % 26));
        StoredBlock& block = table.blocks[i];
        block = {.kind = kind, .stored_bytes = 0, .crc = 0};
        if (kind == wire::kStoredZero) continue;
        block.crc = check.of(plain, offset);
        const auto size = kind == 0
                              ? std::nullopt
                              : codec.compress(static_cast<BlockKind>(kind), 1, plain, packed);
        const ByteSpan stored = size ? ByteSpan(packed).first(*size) : ByteSpan(plain);
        if (!size) block.kind = 0;
        block.stored_bytes = static_cast<std::uint32_t>(stored.size());
        payload.insert(payload.end(), stored.begin(), stored.end());
    }
    return payload;
}

// Plays the script to whoever is at the other end; `settle` lets the world go on for a while.
template <typename Settle>
void play(Script script, testing::RawPeer& peer, std::uint64_t run, const Uuid& volume,
          Settle settle) {
    std::uint64_t sequence = 0;
    const auto frame = [&](wire::FrameType type, std::uint8_t how, ByteSpan head,
                           ByteSpan payload) {
        const std::uint64_t number = (how & 0x40) != 0 ? run : 0;
        peer.send(testing::frame_bytes(type, number, sequence++, head, payload, how >> 7));
        if ((how & 0x20) != 0) settle(1ms);
    };
    for (int steps = 0; script.more() && steps < 200; ++steps) {
        const std::uint8_t how = script.byte();
        switch (static_cast<Step>((how & 0x0f) % static_cast<int>(Step::kCount))) {
            case Step::kMessage: {
                const auto type = static_cast<wire::FrameType>(script.byte() % 17);
                const std::uint16_t length = script.word();
                frame(type, how, script.some(length), {});
                break;
            }
            case Step::kBlocks: {
                static DataHead table;
                table.block_bytes = kBlockBytes;
                table.extent_count = table.block_count = 0;
                const std::uint64_t first = script.byte();
                const std::uint32_t count = script.byte();
                const std::uint32_t apart = (how & kTwoExtents) != 0 ? count / 2 : 0;
                if (apart > 0) table.add_extent(first * kBlockBytes, apart);
                const std::uint64_t rest = apart > 0 ? first + apart + 1 : first;
                table.add_extent(rest * kBlockBytes, count - apart);
                const std::uint8_t kind = script.byte();
                const auto payload = block_payload(table, kind == 255 ? kind : kind % 3, volume);
                std::vector<std::byte> head(table.encoded_bytes());
                table.encode(head);
                frame(wire::FrameType::kData, how, head, payload);
                break;
            }
            case Step::kTable: {
                const std::uint16_t length = script.word();
                const ByteSpan head = script.some(length);
                const std::vector<std::byte> payload(script.word(), std::byte{'x'});
                frame(wire::FrameType::kData, how, head, payload);
                break;
            }
            case Step::kZero: {
                ByteWriter head;
                head.put(std::uint64_t{script.byte()} * kBlockBytes);
                head.put(std::uint64_t{script.byte()} * kBlockBytes);
                frame(wire::FrameType::kZero, how, head.bytes(), {});
                break;
            }
            case Step::kRaw: {
                const std::uint16_t length = script.word();
                const ByteSpan raw = script.some(length);
                peer.send({raw.begin(), raw.end()});
                break;
            }
            case Step::kWait:
                settle(script.byte() * 100ms);
                break;
            default:
                peer.close();
                return;
        }
    }
}

}  // namespace towline::fuzz
