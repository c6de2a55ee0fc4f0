// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include "io/clock.hpp"

namespace towline {

// What counts as life of a peer, in one direction: a frame that ends, or this many bytes of one
// that goes on. Less is no life, or a peer that dribbles would keep a session for ever.
class Life {
  public:
    static constexpr std::size_t kBytes = 4096;

    explicit Life(Instant now) : seen_at_(now) {}
    void see(Instant now) {
        seen_at_ = now;
        bytes_ = 0;
    }
    void add(std::size_t bytes, Instant now) {
        bytes_ += bytes;
        if (bytes_ >= kBytes) see(now);
    }
    Duration silence(Instant now) const { return now - seen_at_; }

  private:
    Instant seen_at_;
    std::size_t bytes_ = 0;
};

// How much of a frame is asked for in one receive that waits for all of it. Nobody hears of its
// bytes before the last is there: so never more than the link brings in a moment, by what it
// brought lately. A fast link is soon asked for whole frames.
class PieceSize {
  public:
    static constexpr std::size_t kMin = Life::kBytes;
    static constexpr std::size_t kMax = std::size_t{2} << 20;

    explicit PieceSize(Instant now) : window_began_(now) {}
    // Over a whole second and not over single receives: a link may bring its bytes in bursts.
    void add(std::size_t bytes, Instant now) {
        window_bytes_ += bytes;
        const Duration length = now - window_began_;
        if (length < kWindow) return;
        piece_parts_ = kPiecesPerWindow;
        bytes_per_window_ = static_cast<std::size_t>(static_cast<double>(window_bytes_) *
                                                     seconds(kWindow) / seconds(length));
        window_bytes_ = 0;
        window_began_ = now;
    }
    std::size_t bytes() const {
        return std::clamp(std::max(bytes_per_window_, window_bytes_) / piece_parts_, kMin, kMax);
    }

  private:
    static constexpr Duration kWindow = 1s;
    static constexpr std::size_t kPiecesPerWindow = 8;
    // Until a window is known: short runs are over by then, and each piece costs a receive.
    static constexpr std::size_t kPiecesAtFirst = 2;
    Instant window_began_;
    std::size_t window_bytes_ = 0;
    std::size_t bytes_per_window_ = 0;  // in the last one
    std::size_t piece_parts_ = kPiecesAtFirst;
};

}  // namespace towline
