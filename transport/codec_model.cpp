// SPDX-License-Identifier: Apache-2.0
// The table of docs/codec.md with two corrections, one for the data and one for the machine. Both
// are measured at one level and believed of all: data that shrinks better at one level does at the
// others, and a machine that is slow at one is slow at all, nearly enough to choose by.

#include "transport/codec_model.hpp"

#include <algorithm>
#include <array>

#include "io/check.hpp"

namespace towline {
namespace {

struct Measured {
    double ratio;
    double compress;    // bytes a second and core
    double decompress;  // the same, of what comes out
};

using Table = std::array<Measured, kLevelMax + 1>;

constexpr Table kZstd{{{1, 1e12, 1e12},
                       {1.903, 815e6, 2483e6},
                       {2.209, 683e6, 2187e6},
                       {2.456, 613e6, 2084e6},
                       {2.670, 510e6, 1619e6},
                       {2.788, 369e6, 1488e6},
                       {2.846, 211e6, 1495e6},
                       {2.891, 149e6, 1553e6},
                       {2.912, 93e6, 1546e6},
                       {3.009, 16e6, 1107e6},
                       {3.040, 5e6, 1084e6}}};

constexpr Table kDeflate{{{1, 1e12, 1e12},
                          {2.322, 762e6, 919e6},
                          {2.562, 636e6, 879e6},
                          {2.562, 635e6, 879e6},
                          {2.562, 630e6, 871e6},
                          {2.582, 595e6, 867e6},
                          {2.582, 589e6, 858e6},
                          {2.613, 380e6, 894e6},
                          {2.613, 380e6, 894e6},
                          {2.613, 380e6, 894e6},
                          {2.613, 380e6, 894e6}}};

// Reading, checking and sending a byte costs this much whether it is compressed or not.
constexpr double kMoveSecondsPerByte = 0.3e-9;

// A window's worth of blocks this large is believed by half against all that came before.
constexpr double kFullWeightBytes = 512 << 10;

const Measured& measured(CodecChoice choice, int level) {
    CHECK(level >= kLevelNone && level <= kLevelMax);
    const auto index = static_cast<std::size_t>(level);
    return choice == CodecChoice::kDeflate ? kDeflate[index] : kZstd[index];
}

}  // namespace

void CodecModel::learn(int level, double bytes_in, double bytes_out, double worker_seconds) {
    if (level == kLevelNone || bytes_in <= 0 || bytes_out <= 0 || worker_seconds <= 0) return;
    const Measured& table = measured(choice_, level);
    const double weight = 0.5 * std::min(1.0, bytes_in / kFullWeightBytes);
    const double gain = (bytes_in / bytes_out - 1) / (table.ratio - 1);
    const double speed = bytes_in / worker_seconds / table.compress;
    gain_scale_ += weight * (std::clamp(gain, 0.0, 50.0) - gain_scale_);
    measured_ += weight * (1 - measured_);
    speed_scale_ += weight * (std::clamp(speed, 0.02, 3.0) - speed_scale_);
}

double CodecModel::ratio(int level) const {
    return 1 + (measured(choice_, level).ratio - 1) * gain_scale_;
}

double CodecModel::capacity(int level) const {
    const Measured& table = measured(choice_, level);
    if (level == kLevelNone) return table.compress;
    // Before anything was measured, as if both ends shared these cores. After that, what the
    // workers lose to others is in their speed: it was taken by the clock on the wall.
    const double others = (1 - measured_) * (1 / table.decompress + kMoveSecondsPerByte);
    return workers_ / (1 / (speed_scale_ * table.compress) + others);
}

CodecModel CodecModel::with_ordinary_data() const {
    CodecModel model = *this;
    model.gain_scale_ = std::max(gain_scale_, 1.0);
    return model;
}

}  // namespace towline
