// SPDX-License-Identifier: Apache-2.0
// Who forgets one mark of n leaves changed blocks among the clean ones; k of them in b blocks are
// found by a run that looks at s with a chance of 1 - (1 - k/b)^s. So the draw has to be fair: each
// clean block as likely as the next, whatever lies beside it.

#include "userspace/engine/audit_sample.hpp"

namespace towline {

ChangeMap audit_sample(const ChangeMap& plan, const std::vector<Extent>& excluded,
                       std::uint64_t count, const std::function<std::uint64_t()>& draw) {
    ChangeMap taken = plan;
    for (const Extent& extent : excluded)
        taken.mark(extent);
    ChangeMap sample(plan.volume_bytes(), plan.block_bytes());
    const std::uint64_t clean = taken.block_count() - taken.marked_blocks();
    if (clean <= count) {
        sample.mark_all();
        sample.subtract(taken);
        return sample;
    }
    // At most as many draws in vain as there are others: a volume that is nearly all plan is not
    // worth more.
    for (std::uint64_t draws = 0; draws < 16 * count && sample.marked_blocks() < count; ++draws) {
        const std::uint64_t block = draw() % plan.block_count();
        if (!taken.test(block)) sample.mark_blocks({.first = block, .count = 1});
    }
    return sample;
}

ChangeMap common(const ChangeMap& one, const ChangeMap& other) {
    ChangeMap rest = one;
    rest.subtract(other);
    ChangeMap both = one;
    both.subtract(rest);
    return both;
}

}  // namespace towline
