// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>

namespace towline {

template <std::unsigned_integral T>
constexpr T align_down(T value, T alignment) {
    return value / alignment * alignment;
}

template <std::unsigned_integral T>
constexpr T align_up(T value, T alignment) {
    return align_down(value + alignment - 1, alignment);
}

}  // namespace towline
