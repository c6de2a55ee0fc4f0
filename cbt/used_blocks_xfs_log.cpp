// SPDX-License-Identifier: Apache-2.0
// What a log of XFS holds between its tail and its head. A record says of the tail that whatever
// was logged before it is written in place (and flushed), so a mount replays from there on, and
// from there on alone. To freeze, XFS writes back all that is logged and then "covers" the log: the
// superblock is logged, so that a mount recovers the files that were deleted while they were open.
// Thus the log of a frozen filesystem is dirty, and holds the superblock's block and nothing else.
// It is not who froze it that is believed here, but what the records hold.
//
// A record is a header of one sector (for every 32 KiB that a log buffer may have, one more) and
// the body; the first word of each sector is the cycle, what belongs there is in the header. In the
// body are operations: START, the transaction's header, of each item a description and the regions
// that it counts, COMMIT.

#include "cbt/used_blocks_xfs_log.hpp"

#include <algorithm>
#include <vector>

#include "io/checksum.hpp"

namespace towline {
namespace {

constexpr std::size_t kSector = 512;
constexpr std::uint32_t kMagic = 0xFEEDBABE;
constexpr std::uint32_t kVersion = 2;
constexpr std::uint32_t kLittleEndian = 1;       // what an item's description is in
constexpr std::size_t kHeaderBytes = 328;        // of it what the checksum covers
constexpr std::size_t kBodyBytesMax = 32 << 10;  // what one header sector has words for
constexpr std::size_t kHeaderSectorsMax = 8;     // of the largest log buffer, 256 KiB
constexpr std::size_t kOperationBytes = 12;
constexpr std::uint8_t kTransaction = 0x69;  // who wrote an operation
constexpr std::uint8_t kStart = 0x01;
constexpr std::uint8_t kCommit = 0x02;
constexpr std::uint32_t kTransactionMagic = 0x5452414E;
constexpr std::size_t kTransactionBytes = 16;
constexpr std::uint16_t kBuffer = 0x123C;  // an item: parts of a buffer
constexpr std::uint16_t kCancelled = 0x2;
constexpr std::size_t kBufferBytes = 24;  // its description, with one word of its map

template <typename T>
T big(ByteSpan bytes, std::size_t at) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value = static_cast<T>(value << 8 | std::to_integer<T>(bytes[at + i]));
    return value;
}

template <typename T>
T little(ByteSpan bytes, std::size_t at) {
    T value = 0;
    for (std::size_t i = sizeof(T); i-- > 0;)
        value = static_cast<T>(value << 8 | std::to_integer<T>(bytes[at + i]));
    return value;
}

// One record after the other, with the transaction that is open between two operations.
class Replay {
  public:
    explicit Replay(std::uint32_t cycle) : cycle_(cycle) {}

    // How many bytes the record has that begins with `rest`; 0: it holds something else.
    std::size_t record(ByteSpan rest, std::uint64_t sector) {
        if (rest.size() < kSector || big<std::uint32_t>(rest, 0) != kMagic ||
            big<std::uint32_t>(rest, 4) != cycle_ || big<std::uint32_t>(rest, 8) != kVersion ||
            big<std::uint64_t>(rest, 16) != (std::uint64_t{cycle_} << 32 | sector) ||
            big<std::uint32_t>(rest, 300) != kLittleEndian)
            return 0;
        const std::size_t bytes = big<std::uint32_t>(rest, 12);
        const std::size_t headers = std::max<std::size_t>(
            1, (std::size_t{big<std::uint32_t>(rest, 320)} + kBodyBytesMax - 1) / kBodyBytesMax);
        if (bytes == 0 || bytes > kBodyBytesMax || headers > kHeaderSectorsMax) return 0;
        const std::size_t sectors = headers + (bytes + kSector - 1) / kSector;
        if (sectors * kSector > rest.size()) return 0;
        const ByteSpan body = rest.subspan(headers * kSector, (sectors - headers) * kSector);
        if (!checksum_fits(rest.first(kHeaderBytes), body.first(bytes))) return 0;
        std::vector<std::byte> words(body.begin(), body.end());
        for (std::size_t at = 0; at < words.size(); at += kSector) {
            if (big<std::uint32_t>(words, at) != cycle_) return 0;
            std::copy_n(rest.begin() + static_cast<std::ptrdiff_t>(44 + at / kSector * 4), 4,
                        words.begin() + static_cast<std::ptrdiff_t>(at));
        }
        const bool known = operations(ByteSpan(words).first(bytes), big<std::uint32_t>(rest, 40));
        return known ? sectors * kSector : 0;
    }

    bool is_closed() const { return !open_; }

  private:
    static bool checksum_fits(ByteSpan header, ByteSpan body) {
        std::vector<std::byte> covered(header.begin(), header.end());
        std::fill_n(covered.begin() + 32, 4, std::byte{0});
        covered.insert(covered.end(), body.begin(), body.end());
        return crc32c(covered) == little<std::uint32_t>(header, 32);
    }

    bool operations(ByteSpan body, std::uint32_t count) {
        std::size_t at = 0;
        for (std::uint32_t i = 0; i < count; ++i) {
            if (body.size() - at < kOperationBytes) return false;
            const ByteSpan head = body.subspan(at, kOperationBytes);
            at += kOperationBytes;
            const std::size_t bytes = big<std::uint32_t>(head, 4);
            if (bytes > body.size() - at || !operation(head, body.subspan(at, bytes))) return false;
            at += bytes;
        }
        return true;
    }

    bool operation(ByteSpan head, ByteSpan region) {
        const auto transaction = big<std::uint32_t>(head, 0);
        const auto flags = std::to_integer<std::uint8_t>(head[9]);
        if (std::to_integer<std::uint8_t>(head[8]) != kTransaction) return false;
        if (flags == kStart) {
            if (open_ || !region.empty()) return false;
            open_ = true;
            headed_ = false;
            transaction_ = transaction;
            return true;
        }
        if (!open_ || transaction != transaction_) return false;
        if (flags == kCommit) {
            open_ = false;
            return region.empty() && headed_ && regions_left_ == 0;
        }
        if (flags != 0) return false;
        if (!headed_) {
            headed_ = region.size() == kTransactionBytes &&
                      little<std::uint32_t>(region, 0) == kTransactionMagic;
            return headed_;
        }
        return regions_left_ > 0 ? regions_left_-- > 0 : describes_superblock(region);
    }

    bool describes_superblock(ByteSpan region) {
        if (region.size() < kBufferBytes || little<std::uint16_t>(region, 0) != kBuffer)
            return false;
        const auto regions = little<std::uint16_t>(region, 2);
        if (regions < 2 || (little<std::uint16_t>(region, 4) & kCancelled) != 0 ||
            little<std::uint64_t>(region, 8) != 0)
            return false;
        regions_left_ = regions - 1U;
        return true;
    }

    std::uint32_t cycle_;
    bool open_ = false;
    bool headed_ = false;
    std::uint32_t transaction_ = 0;
    unsigned regions_left_ = 0;
};

}  // namespace

bool xfs_log_holds_superblock_only(ByteSpan records, std::uint32_t cycle,
                                   std::uint64_t first_sector) {
    Replay replay(cycle);
    for (std::size_t at = 0; at < records.size();) {
        const std::size_t bytes = replay.record(records.subspan(at), first_sector + at / kSector);
        if (bytes == 0) return false;
        at += bytes;
    }
    return replay.is_closed();
}

}  // namespace towline
