// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "io/clock.hpp"
#include "transport/codec.hpp"

namespace towline {

// `--compress auto`: which level the next window is compressed at. Pure: fed with what a window
// measured, answers with a level. Goal: as dense as the CPU can feed the link, and raw when the
// link is not what the run waits for.
class LevelControl {
  public:
    struct Window {
        Duration length{};
        std::uint64_t raw_bytes =
            0;  // read from the volume and handed to the link, before compression
        std::uint64_t wire_bytes = 0;  // what the link took
        Duration
            link_busy{};  // time in which at least one send was under way or held by the rate limit
        std::uint64_t compressed_in = 0;   // bytes that went through the codec
        std::uint64_t compressed_out = 0;  // what they became (raw blocks count whole)
        Duration codec_cpu{};              // worker time that took
        int level = 0;                     // the level they were compressed at
    };

    LevelControl(CodecChoice choice, unsigned workers);
    // 0 to 10 for the next window.
    int step(const Window& window);
    int level() const { return level_; }

  private:
    int level_ = 0;
};

}  // namespace towline
