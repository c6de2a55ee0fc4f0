// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "io/bytes.hpp"
#include "io/result.hpp"

namespace towline {

// A qcow2 image (version 3, clusters of 64 KiB, nothing compressed) that is written once, from its
// begin to its end. It is no qcow2 image until it is finished: the header comes last.
class Qcow2Writer {
  public:
    static constexpr std::uint64_t kClusterBytes = std::uint64_t{64} << 10;

    // `fd`: an empty file. The guest's disk is of whole sectors: what is left of the last is zeros.
    Qcow2Writer(int fd, std::uint64_t volume_bytes);

    // At a multiple of kClusterBytes, rising. Clusters that nobody wrote, and those that are zeros,
    // take no space.
    Status write(std::uint64_t offset_bytes, ByteSpan bytes);
    // Durable when it returns.
    Status finish();

    std::uint64_t file_bytes() const { return next_cluster_ * kClusterBytes; }

  private:
    Status put(std::uint64_t cluster, ByteSpan bytes) const;
    Status end_table();
    Status write_header(std::uint64_t l1, std::uint64_t table, std::uint64_t table_clusters);

    int fd_;
    std::uint64_t guest_bytes_;
    std::uint64_t next_cluster_ = 1;  // of the file; the header's is the first
    std::vector<std::uint64_t> l1_;   // where each table of the second level is; 0: nowhere
    std::vector<std::uint64_t> l2_;   // the table that is being filled
    std::uint64_t l2_index_ = 0;      // which one that is
    bool l2_used_ = false;
};

}  // namespace towline
