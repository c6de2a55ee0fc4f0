// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace towline {

// Bytes a second that the link takes, judged only while it holds sends back.
class LinkEstimate {
  public:
    // One window: what the link took, how long it was, how much of that a send was under way.
    void add(double wire_bytes, double window_seconds, double busy_seconds);

    bool known() const { return bytes_per_second_ > 0; }
    double bytes_per_second() const { return bytes_per_second_; }
    // In the last window the run waited for the link.
    bool held() const { return held_windows_ > 0; }
    // The last window completed a judgement.
    bool judged() const { return judged_; }

    // Supposes that the link is faster than it last showed, until it shows otherwise.
    void suppose(double bytes_per_second) { bytes_per_second_ = bytes_per_second; }

  private:
    void add_held(double wire_bytes, double window_seconds);

    double bytes_per_second_ = 0;
    bool judged_ = false;
    unsigned held_windows_ = 0;
    double held_bytes_ = 0;
    double held_seconds_ = 0;
};

}  // namespace towline
