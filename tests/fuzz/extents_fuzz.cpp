// SPDX-License-Identifier: Apache-2.0
// A change list of a user's: refused, or extents within the volume that mean the same when they are
// put in order.

#include <cstdint>
#include <string_view>

#include "cbt/change_map.hpp"
#include "cbt/extent.hpp"
#include "io/check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace towline;
    constexpr std::uint64_t kVolumeBytes = (std::uint64_t{1} << 24) + 5;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto extents = parse_extents(text, kVolumeBytes);
    if (!extents) {
        CHECK(extents.error().code == Code::kInvalid);
        return 0;
    }
    ChangeMap as_given(kVolumeBytes, 512);
    for (const Extent& extent : *extents) {
        CHECK(extent.offset_bytes <= kVolumeBytes && extent.end_bytes() <= kVolumeBytes);
        as_given.mark(extent);
    }
    const std::vector<Extent> tidy = normalized(*extents);
    ChangeMap as_tidy(kVolumeBytes, 512);
    for (std::size_t n = 0; n < tidy.size(); ++n) {
        CHECK(tidy[n].length_bytes > 0);
        CHECK(n == 0 || tidy[n].offset_bytes > tidy[n - 1].end_bytes());
        as_tidy.mark(tidy[n]);
    }
    CHECK(as_given == as_tidy);
    CHECK(total_bytes(tidy) <= kVolumeBytes);
    return 0;
}
