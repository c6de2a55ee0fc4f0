// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace towline::testing {

// While it lives, what this program draws from the kernel follows from a seed: names of writers,
// points and runs, and so the order in which objects are listed. Thus a simulated vault replays.
// One at a time, and one thread.
class ScriptedRandom {
  public:
    explicit ScriptedRandom(std::uint64_t seed);
    ~ScriptedRandom();
    ScriptedRandom(const ScriptedRandom&) = delete;
    ScriptedRandom& operator=(const ScriptedRandom&) = delete;
};

}  // namespace towline::testing
