// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "userspace/engine/run_report.hpp"

namespace towline {

// "12.3 MiB", "1.10 GiB"; for people only.
std::string human_bytes(double bytes);

// One line on a terminal that is drawn again and again: stage, bar, speed before compression, speed
// on the wire, time left. Not a terminal: nothing is drawn.
class ProgressBar {
  public:
    explicit ProgressBar(bool wanted);
    ~ProgressBar() { clear(); }

    void show(const RunProgress& progress);
    void clear();

  private:
    bool active_;
    bool drawn_ = false;
    std::string stage_;
    Duration stage_began_{};
    std::uint64_t stage_sent_began_ = 0;
};

}  // namespace towline
