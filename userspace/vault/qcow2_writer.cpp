// SPDX-License-Identifier: Apache-2.0
// The format is QEMU's docs/interop/qcow2.txt. Numbers are big-endian. Clusters are taken one after
// the other and each is used once, so that every reference count is 1, and the counts are known
// when all else is written: they come last but for the header.

#include "userspace/vault/qcow2_writer.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unistd.h>

#include "io/checksum.hpp"

namespace towline {

namespace {

constexpr unsigned kClusterBits = 16;
constexpr std::uint64_t kEntries = Qcow2Writer::kClusterBytes / 8;          // of a table
constexpr std::uint64_t kRefcountsABlock = Qcow2Writer::kClusterBytes / 2;  // of 16 bits each
constexpr std::uint64_t kCopied = std::uint64_t{1} << 63;  // its reference count is 1
constexpr std::uint32_t kMagic = 0x514649fb;               // "QFI\xfb"
constexpr std::uint32_t kHeaderBytes = 104;
constexpr std::uint32_t kRefcountOrder = 4;  // 16 bits
constexpr std::uint64_t kSectorBytes = 512;

std::uint64_t clusters_for(std::uint64_t count, std::uint64_t a_cluster) {
    return (count + a_cluster - 1) / a_cluster;
}

class BigEndian {
  public:
    explicit BigEndian(std::size_t bytes) : bytes_(bytes) {}
    template <typename Number>
    void put(std::size_t at, Number number) {
        const Number swapped = std::byteswap(number);
        std::memcpy(bytes_.data() + at, &swapped, sizeof swapped);
    }
    ByteSpan bytes() const { return bytes_; }

  private:
    std::vector<std::byte> bytes_;
};

ByteSpan table_bytes(BigEndian& into, const std::vector<std::uint64_t>& entries) {
    for (std::size_t i = 0; i < entries.size(); ++i)
        into.put(i * 8, entries[i]);
    return into.bytes();
}

}  // namespace

Qcow2Writer::Qcow2Writer(int fd, std::uint64_t volume_bytes)
    : fd_(fd),
      guest_bytes_((volume_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes),
      l1_(clusters_for(clusters_for(guest_bytes_, kClusterBytes), kEntries)),
      l2_(kEntries) {}

Status Qcow2Writer::put(std::uint64_t cluster, ByteSpan bytes) const {
    std::uint64_t offset = cluster * kClusterBytes;
    while (!bytes.empty()) {
        const ssize_t put = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_errno("writing the image");
        bytes = bytes.subspan(static_cast<std::size_t>(put));
        offset += static_cast<std::uint64_t>(put);
    }
    return {};
}

Status Qcow2Writer::write(std::uint64_t offset_bytes, ByteSpan bytes) {
    while (!bytes.empty()) {
        const ByteSpan some = bytes.first(std::min<std::uint64_t>(bytes.size(), kClusterBytes));
        const std::uint64_t cluster = offset_bytes / kClusterBytes;
        if (!is_zero(some)) {
            if (cluster / kEntries != l2_index_) TRY_STATUS(end_table());
            l2_index_ = cluster / kEntries;
            l2_used_ = true;
            l2_[cluster % kEntries] = next_cluster_ * kClusterBytes | kCopied;
            TRY_STATUS(put(next_cluster_++, some));
        }
        offset_bytes += some.size();
        bytes = bytes.subspan(some.size());
    }
    return {};
}

Status Qcow2Writer::end_table() {
    if (!l2_used_) return {};
    BigEndian table(kClusterBytes);
    l1_[l2_index_] = next_cluster_ * kClusterBytes | kCopied;
    TRY_STATUS(put(next_cluster_++, table_bytes(table, l2_)));
    std::ranges::fill(l2_, 0);
    l2_used_ = false;
    return {};
}

Status Qcow2Writer::finish() {
    TRY_STATUS(end_table());
    const std::uint64_t l1 = next_cluster_;
    BigEndian first(clusters_for(l1_.size(), kEntries) * kClusterBytes);
    TRY_STATUS(put(l1, table_bytes(first, l1_)));
    next_cluster_ += clusters_for(l1_.size(), kEntries);

    // The counts count their own clusters too.
    const std::uint64_t counted = next_cluster_;
    std::uint64_t blocks = 1;
    std::uint64_t tables = 1;
    for (;;) {
        const std::uint64_t all = counted + blocks + tables;
        const std::uint64_t wanted_blocks = clusters_for(all, kRefcountsABlock);
        const std::uint64_t wanted_tables = clusters_for(wanted_blocks, kEntries);
        if (wanted_blocks == blocks && wanted_tables == tables) break;
        blocks = wanted_blocks;
        tables = wanted_tables;
    }
    const std::uint64_t all = counted + blocks + tables;
    std::vector<std::uint64_t> where(tables * kEntries);
    for (std::uint64_t i = 0; i < blocks; ++i) {
        BigEndian block(kClusterBytes);
        const std::uint64_t used = std::min(kRefcountsABlock, all - i * kRefcountsABlock);
        for (std::uint64_t each = 0; each < used; ++each)
            block.put<std::uint16_t>(each * 2, 1);
        where[i] = (counted + i) * kClusterBytes;
        TRY_STATUS(put(counted + i, block.bytes()));
    }
    BigEndian table(tables * kClusterBytes);
    TRY_STATUS(put(counted + blocks, table_bytes(table, where)));
    next_cluster_ = all;
    if (::ftruncate(fd_, static_cast<off_t>(all * kClusterBytes)) != 0)
        return fail_errno("giving the image its length");
    if (::fdatasync(fd_) != 0) return fail_errno("flushing the image");
    TRY_STATUS(write_header(l1, counted + blocks, tables));
    if (::fsync(fd_) != 0) return fail_errno("flushing the image");
    return {};
}

Status Qcow2Writer::write_header(std::uint64_t l1, std::uint64_t table,
                                 std::uint64_t table_clusters) {
    // No backing file, no encryption, no snapshots, no extensions.
    BigEndian header(kClusterBytes);
    header.put<std::uint32_t>(0, kMagic);
    header.put<std::uint32_t>(4, 3);
    header.put<std::uint32_t>(20, kClusterBits);
    header.put<std::uint64_t>(24, guest_bytes_);
    header.put<std::uint32_t>(36, static_cast<std::uint32_t>(l1_.size()));
    header.put<std::uint64_t>(40, l1 * kClusterBytes);
    header.put<std::uint64_t>(48, table * kClusterBytes);
    header.put<std::uint32_t>(56, static_cast<std::uint32_t>(table_clusters));
    header.put<std::uint32_t>(96, kRefcountOrder);
    header.put<std::uint32_t>(100, kHeaderBytes);
    return put(0, header.bytes());
}

}  // namespace towline
