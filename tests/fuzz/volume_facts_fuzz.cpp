// SPDX-License-Identifier: Apache-2.0
// What lies on a volume is anybody's: its tables and superblocks are looked at (by libblkid, and by
// ours who follow what it says), and what comes out is of the volume, can be kept with a point, and
// can be planned with.
//
// An input is a volume: how many sectors it has (u32), then pieces of it: a sector (u32), a length
// (u16), so many bytes. All else is zeros.

#include <algorithm>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "userspace/vault/facts_json.hpp"
#include "userspace/vault/growth_plan.hpp"

namespace {

using namespace towline;

constexpr std::uint64_t kSectorBytes = 512;

struct Piece {
    std::uint64_t offset_bytes = 0;
    ByteSpan bytes;
};

class Volume {
  public:
    explicit Volume(ByteSpan input) {
        ByteReader reader(input);
        bytes_ = reader.get<std::uint32_t>() * kSectorBytes;
        while (reader.rest_bytes() > 0 && !reader.bad()) {
            const std::uint64_t offset = reader.get<std::uint32_t>() * kSectorBytes;
            const std::size_t length = reader.get<std::uint16_t>();
            pieces_.push_back({offset, reader.get_bytes(std::min(length, reader.rest_bytes()))});
        }
    }

    std::uint64_t bytes() const { return bytes_; }
    Status read(std::uint64_t offset_bytes, MutableByteSpan into) const {
        const std::uint64_t end = offset_bytes + into.size();
        if (end < offset_bytes || end > bytes_) std::abort();
        std::ranges::fill(into, std::byte{0});
        for (const Piece& each : pieces_) {
            const std::uint64_t from = std::max(each.offset_bytes, offset_bytes);
            const std::uint64_t to = std::min(each.offset_bytes + each.bytes.size(), end);
            if (from < to)
                std::ranges::copy(each.bytes.subspan(from - each.offset_bytes, to - from),
                                  into.begin() + static_cast<std::ptrdiff_t>(from - offset_bytes));
        }
        return {};
    }

  private:
    std::uint64_t bytes_ = 0;
    std::vector<Piece> pieces_;
};

bool within(std::uint64_t start, std::uint64_t bytes, std::uint64_t volume_bytes) {
    return start <= volume_bytes && bytes <= volume_bytes - start;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Volume volume(std::as_bytes(std::span(data, size)));
    const auto facts = look_at_volume(
        volume.bytes(),
        [&](std::uint64_t offset, MutableByteSpan into) { return volume.read(offset, into); });
    if (!facts) std::abort();
    for (const PartitionFacts& each : facts->partitions)
        if (each.bytes == 0 || !within(each.start_bytes, each.bytes, volume.bytes())) std::abort();
    const auto kept = nlohmann::json::parse(to_json(*facts).dump());
    if (facts_from_json(kept, volume.bytes()) != *facts) std::abort();
    const auto plan = plan_growth(*facts, {.name = "a device",
                                           .bytes = 2 * volume.bytes() + (std::uint64_t{64} << 20),
                                           .sector_bytes = facts->sector_bytes});
    if (plan && !within(plan->start_bytes, plan->bytes, volume.bytes())) std::abort();
    return 0;
}
