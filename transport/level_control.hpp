// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "io/clock.hpp"
#include "transport/codec.hpp"
#include "transport/codec_model.hpp"
#include "transport/link_estimate.hpp"

namespace towline {

// `--compress auto`: which level the next window is compressed at. Pure: fed with what a window
// measured, answers with a level. Goal: as dense as the CPU can feed the link, and raw when the
// link is not what the run waits for.
class LevelControl {
  public:
    struct Window {
        Duration length{};
        // Read from the volume and handed to the link, before compression.
        std::uint64_t raw_bytes = 0;
        std::uint64_t wire_bytes = 0;  // what the link took
        // Time in which at least one send was under way or held by the rate limit.
        Duration link_busy{};
        std::uint64_t compressed_in = 0;   // bytes that went through the codec
        std::uint64_t compressed_out = 0;  // what they became (raw blocks count whole)
        // Worker time that took, by the clock on the wall: a worker that waits for a core counts,
        // so that all workers busy is `length` times their number.
        Duration codec_cpu{};
        int level = 0;  // the level they were compressed at
    };

    LevelControl(CodecChoice choice, unsigned workers);
    // What is known of the link before the first window: the run's rate limit, or what the last run
    // over it found. Spares the raw windows that it takes to find out.
    void expect_link(std::uint64_t bytes_per_second);
    // 0 to 10 for the next window.
    int step(const Window& window);
    int level() const { return level_; }

  private:
    // Something that turned out not to pay is not done again for a while, longer each time.
    class Patience {
      public:
        Patience(std::uint64_t first, std::uint64_t longest)
            : first_(first), longest_(longest), next_(first) {}
        bool over(std::uint64_t now) const { return now >= until_; }
        void lose(std::uint64_t now);
        void reset();

      private:
        std::uint64_t first_;
        std::uint64_t longest_;
        std::uint64_t next_;
        std::uint64_t until_ = 0;
    };

    void judge_supply(const Window& window);
    void suppose_faster_link();
    bool futile(const Window& window);
    void forgive_trial();
    double rate(const CodecModel& model, int level) const;
    int densest_of_fastest(const CodecModel& model) const;
    int wanted(const CodecModel& model) const;
    int decide();
    void change_to(int level);

    unsigned workers_;
    CodecModel model_;
    LinkEstimate link_;
    int level_ = 0;
    std::uint64_t now_ = 0;         // windows so far
    std::uint64_t changed_at_ = 0;  // the window after which the level last changed

    bool cpu_bound_ = false;  // in the last window the run waited for the workers
    double supply_ = 0;       // bytes a second, when the run waited for neither; 0 is unknown

    // Compressing is on trial from the moment it starts: what the run did before, and did since.
    double raw_rate_before_ = 0;
    double trial_wire_bytes_ = 0;
    double trial_raw_bytes_ = 0;
    double trial_seconds_ = 0;
    bool on_trial_ = false;
    Patience trial_patience_{50, 800};

    // The densest level allowed, since a denser one was too slow when tried.
    int ceiling_ = kLevelMax;
    double ceiling_link_ = 0;
    Patience ceiling_patience_{20, 640};

    double supposed_from_ =
        0;  // the link's speed before it was supposed to be faster; 0: it is not
    Patience suppose_patience_{5, 160};

    std::uint64_t probe_at_ = 0;
};

}  // namespace towline
