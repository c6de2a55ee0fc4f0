// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "io/clock.hpp"
#include "io/volume.hpp"

namespace towline {

// How fast the volumes are read, one after another; nothing: they could not be measured.
std::optional<double> read_speed(const std::vector<Volume>& volumes);

// How much is written to the volumes by whoever uses them: from when it was made until it is asked,
// or since this host began, if that is more. A block that is written twice counts twice. Of devices
// alone: nobody counts what is written to a file.
class WriteMeter {
  public:
    explicit WriteMeter(const std::vector<Volume>& volumes);
    std::optional<double> bytes_per_second() const;

  private:
    std::optional<std::uint64_t> written_bytes() const;

    std::vector<dev_t> devices_;
    std::optional<std::uint64_t> began_bytes_;
    Instant began_;
};

}  // namespace towline
