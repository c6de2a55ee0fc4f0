// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "cbt/extent.hpp"
#include "transport/channel.hpp"

namespace towline {

// Tells the other side ranges as the connection drains (what a target has of a resumed run, what a
// source wants compared): there may be more than memory should hold as messages.
class RangesTeller {
  public:
    void start(std::vector<Extent> extents) {
        extents_ = std::move(extents);
        telling_ = true;
    }
    bool telling() const { return telling_; }
    const std::vector<Extent>& extents() const { return extents_; }

    // As much as there is room for; true when that was the last of it.
    bool tell(Channel& channel, std::size_t queued_bytes_max) {
        while (telling_ && channel.queued_bytes() < queued_bytes_max) {
            RangesMessage message;
            const auto rest = std::span(extents_).subspan(told_);
            for (const Extent& extent : rest.first(std::min(rest.size(), wire::kRangesPerFrameMax)))
                message.ranges.push_back({extent.offset_bytes, extent.length_bytes});
            told_ += message.ranges.size();
            message.last = told_ == extents_.size();
            telling_ = !message.last;
            channel.send_message(message);
        }
        return !telling_;
    }

  private:
    std::vector<Extent> extents_;
    std::size_t told_ = 0;
    bool telling_ = false;
};

}  // namespace towline
