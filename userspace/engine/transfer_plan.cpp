// SPDX-License-Identifier: Apache-2.0
// Cuts the marked runs at the borders of holes and at the size of a read.

#include "userspace/engine/transfer_plan.hpp"

#include <algorithm>

namespace towline {

std::optional<TransferPlan::Step> TransferPlan::next() {
    auto run = blocks_.next_run(next_block_);
    if (!run) {
        exhausted_ = true;
        return std::nullopt;
    }
    const std::uint64_t block = blocks_.block_bytes();
    const std::uint64_t begin = run->first * block;
    while (next_data_ < data_.size() && data_[next_data_].end_bytes() <= begin)
        ++next_data_;
    // A block that a data range only touches is data.
    const bool data_left = next_data_ < data_.size();
    const std::uint64_t data_first =
        data_left ? data_[next_data_].offset_bytes / block : run->end();
    const bool zeros = run->first < data_first;
    std::uint64_t count_max = blocks_max_;
    if (zeros) {
        count_max = data_first - run->first;
    } else {
        const std::uint64_t data_end = (data_[next_data_].end_bytes() + block - 1) / block;
        count_max = std::min(count_max, data_end - run->first);
    }
    run->count = std::min(run->count, count_max);
    next_block_ = run->end();
    return Step{.run = *run, .extent = blocks_.extent_of(*run), .zeros = zeros};
}

}  // namespace towline
