// SPDX-License-Identifier: Apache-2.0
// A volume's last block is as long as the volume leaves it. Where a volume changed its size, the
// block that was its last, or is now, differs in length from what is stored. Behind its old end
// indexes may still have what lay there before it shrank.

#include "userspace/vault/parts_reader.hpp"

#include <algorithm>

#include "io/check.hpp"

namespace towline {

namespace {

std::uint64_t blocks_of(std::uint64_t bytes, std::uint64_t block_bytes) {
    return (bytes + block_bytes - 1) / block_bytes;
}

std::uint64_t length_of(std::uint64_t block, std::uint64_t bytes, std::uint64_t block_bytes) {
    return std::min(block_bytes, bytes - block * block_bytes);
}

}  // namespace

PartsReader::Stretch PartsReader::front_of(BlockRun run) const {
    const VolumePart* part = layout_.part_at(run.first * block_bytes_);
    CHECK(part != nullptr);
    const auto place = static_cast<std::size_t>(part - layout_.parts().data());
    const std::uint64_t start = part->start_bytes / block_bytes_;
    const std::uint64_t first = run.first - start;
    const std::uint64_t count = blocks_of(part->bytes, block_bytes_);
    const auto cut = [&](std::uint64_t end) {
        return BlockRun{.first = run.first, .count = std::min(run.count, end - run.first)};
    };
    if (first >= count) {
        const bool last = place + 1 == layout_.parts().size();
        return {.run = last ? run : cut(layout_.parts()[place + 1].start_bytes / block_bytes_)};
    }
    VolumeReader* reader = readers_[place].get();
    if (reader == nullptr) return {.run = cut(start + count)};
    const std::uint64_t common = std::min(count, reader->block_count());
    const bool fits = length_of(common - 1, part->bytes, block_bytes_) ==
                      length_of(common - 1, reader->size_bytes(), block_bytes_);
    const std::uint64_t end = fits ? common : common - 1;
    if (first >= end)
        return {.run = cut(start + count), .reader = reader, .first = first, .outgrown = true};
    return {.run = cut(start + end), .reader = reader, .first = first};
}

}  // namespace towline
