// SPDX-License-Identifier: Apache-2.0
// The C library's getrandom is taken over by a function of the same name in this program, so that
// no code of the product has to know that its chance may be scripted.

#include "tests/sim/scripted_random.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/check.hpp"
#include "io/simulated_random.hpp"

namespace towline::testing {
namespace {

thread_local std::optional<SimulatedRandom> script;

}  // namespace

ScriptedRandom::ScriptedRandom(std::uint64_t seed) {
    CHECK(!script);
    script.emplace(SimulatedRandom::mix(seed ^ 0x75756964));
}

ScriptedRandom::~ScriptedRandom() {
    script.reset();
}

}  // namespace towline::testing

extern "C" ssize_t getrandom(void* into, size_t bytes, unsigned flags) {
    auto& script = towline::testing::script;
    if (!script) return ::syscall(SYS_getrandom, into, bytes, flags);
    for (std::size_t at = 0; at < bytes; at += sizeof(std::uint64_t)) {
        const std::uint64_t drawn = script->next();
        std::memcpy(static_cast<std::byte*>(into) + at, &drawn, std::min(sizeof drawn, bytes - at));
    }
    return static_cast<ssize_t>(bytes);
}
