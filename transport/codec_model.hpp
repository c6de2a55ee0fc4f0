// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "io/clock.hpp"
#include "transport/codec.hpp"

namespace towline {

// What each level would give on the data of this run and on this machine: what was measured once
// (docs/codec.md), corrected by what the run measures at the level that it uses.
class CodecModel {
  public:
    CodecModel(CodecChoice choice, unsigned workers) : choice_(choice), workers_(workers) {}

    // What one window put through the workers at `level`.
    void learn(int level, double bytes_in, double bytes_out, double worker_seconds);

    double ratio(int level) const;
    // Bytes a second, before compression, that all workers together compress beside all else that
    // the machine has to do for them.
    double capacity(int level) const;

    // The model as if the data were ordinary: is it worth a try again?
    CodecModel with_ordinary_data() const;

  private:
    CodecChoice choice_;
    unsigned workers_;
    double gain_scale_ = 1;   // (measured ratio - 1) / (the table's - 1)
    double speed_scale_ = 1;  // measured speed / the table's
    double measured_ = 0;     // how much of the above was measured here: 0 nothing, 1 all
};

}  // namespace towline
