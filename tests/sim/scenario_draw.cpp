// SPDX-License-Identifier: Apache-2.0
// What a scenario draws: shapes, contents, kinds of run, and what goes wrong. One fault or two a
// run: many at once only ever show the first.

#include <algorithm>

#include "io/align.hpp"
#include "tests/sim/scenario.hpp"

namespace towline {

namespace {

// Small numbers as often as large ones.
std::uint64_t draw_scale(SimulatedRandom& random, std::uint64_t max) {
    std::uint64_t bits = 1;
    while ((max >> bits) != 0)
        ++bits;
    return random.below(std::min(max, std::uint64_t{1} << random.between(1, bits)));
}

}  // namespace

BenchShape Scenario::draw_shape(SimulatedRandom& random) {
    BenchShape shape;
    const std::uint64_t scale = std::min(random.below(7), random.below(7));
    shape.source_bytes = (std::uint64_t{64} << 10) << scale;
    shape.source_bytes += random.below(shape.source_bytes);
    if (random.chance(0.6))
        shape.source_bytes = align_down<std::uint64_t>(shape.source_bytes, 4096);
    shape.source_alignment = random.chance(0.3) ? 4096 : 512;
    shape.target_alignment = random.chance(0.3) ? 4096 : 512;
    shape.target_is_image = random.chance(0.6);
    shape.target_exists = !shape.target_is_image || random.chance(0.3);
    if (shape.target_is_image) {
        shape.target_bytes = shape.target_exists ? random.below(2 * shape.source_bytes) : 0;
    } else {
        shape.target_bytes = align_up<std::uint64_t>(shape.source_bytes, 4096) +
                             4096 * random.below(random.chance(0.5) ? 2 : 64);
    }
    return shape;
}

void Scenario::fill_volumes() {
    const std::uint64_t size = bench_.shape.source_bytes;
    for (std::uint64_t at = 0; at < size;) {
        const std::uint64_t length = std::min(size - at, 1 + draw_scale(random_, 256 << 10));
        if (random_.chance(0.7)) write_source({at, length});
        at += length;
    }
    const std::uint64_t there = std::min(bench_.shape.target_bytes, size);
    if (there == 0 || random_.chance(0.3)) return;
    fill_random_data(bench_.target, bench_.random, 0, there);
    // An older copy, in part.
    const auto contents = bench_.source.contents(0, there);
    if (random_.chance(0.5)) bench_.target.fill(0, ByteSpan(contents).first(there / 2));
}

ConnectionPlan Scenario::draw_link() {
    ConnectionPlan link;
    for (StreamPlan* stream : {&link.first_to_second, &link.second_to_first}) {
        stream->buffer_bytes = std::size_t{16} << (10 + random_.below(5));
        stream->partial_rate = random_.chance(0.5) ? 0.25 : 0.02;
        if (random_.chance(0.2)) stream->latency_max = std::chrono::milliseconds(20);
    }
    return link;
}

RunPlan Scenario::draw_plan(bool faulty) {
    RunPlan plan;
    plan.block_bytes = random_.chance(0.9) ? block_bytes_ : std::uint32_t{4096} << random_.below(6);
    plan.verify = random_.chance(0.2);
    plan.direct = random_.chance(0.25);
    plan.links.clear();
    const std::uint64_t links = random_.chance(0.5) ? 1 : random_.between(2, 4);
    while (plan.links.size() < links)
        plan.links.push_back(draw_link());
    if (random_.chance(0.6)) plan.level = static_cast<int>(random_.below(level_max_ + 1));
    if (random_.chance(0.3)) plan.level.reset();
    plan.codec = static_cast<CodecChoice>(random_.below(3));
    plan.buffer_count = random_.between(2, 8);
    plan.checkpoint_bytes = std::uint64_t{16} << (10 + random_.below(6));
    for (SimulatedDisk* disk : {&bench_.source, &bench_.target, &bench_.staged}) {
        disk->plan().short_read_rate = random_.chance(0.5) ? 0.1 : 0;
        disk->plan().short_write_rate = random_.chance(0.5) ? 0.1 : 0;
    }
    if (random_.chance(0.15)) draw_edits(plan);
    draw_kind(plan);
    if (!faulty) return plan;
    draw_fault(plan);
    if (random_.chance(0.2)) draw_fault(plan);
    // One that dies in the moment between a flush's failure and its note: docs/reliability.md.
    if (std::exchange(flush_fault_, false) && plan.kill && plan.kill->side == Side::kTarget)
        plan.kill.reset();
    return plan;
}

// Somebody edits the job while it runs, which takes a run of several ticks: what was read for one
// level waits when the next is set.
void Scenario::draw_edits(RunPlan& plan) {
    plan.rate_bytes_per_second = 1 + bench_.shape.source_bytes / random_.between(1, 3);
    plan.level_now = [random = SimulatedRandom(random_.next()),
                      max = level_max_]() mutable -> std::optional<int> {
        if (random.chance(0.2)) return std::nullopt;
        return random.chance(0.4) ? kLevelNone : static_cast<int>(random.below(max + 1));
    };
}

void Scenario::draw_kind(RunPlan& plan) {
    using Kind = RunRequest::Kind;
    const TargetRecord& record = bench_.target_shelf.record;
    plan.overwrite = record.state == TargetState::kUnclaimed;
    const bool can_list =
        record.state == TargetState::kSealed || record.state == TargetState::kApplying;
    const Kind kinds[] = {Kind::kAuto, Kind::kFull, Kind::kScan, Kind::kExtents, Kind::kExtents};
    plan.kind = kinds[random_.below(can_list ? 5 : 3)];
    plan.resume = record.unfinished() && random_.chance(0.6);
    // A resumed run of listed changes brings no others: the new ones must be listed.
    if (plan.resume) plan.kind = unnoted_.empty() ? Kind::kAuto : Kind::kExtents;
    if (plan.kind == Kind::kExtents) plan.extents = unnoted_;
}

void Scenario::draw_fault(RunPlan& plan) {
    switch (random_.below(10)) {
        case 0:
        case 1:
        case 2:
            return draw_kill(plan);
        case 3:
            draw_kill(plan);
            plan.kill->side = Side::kTarget;
            power_loss_ = true;
            return;
        case 4:
        case 5:
        case 6:
            return draw_link_fault(plan);
        case 7:
            return draw_disk_fault();
        case 8:
            plan.target_fault = {random_.between(1, 6), random_.chance(0.5) ? EIO : ENOSPC,
                                 random_.chance(0.5)};
            return;
        default:
            plan.source_fault = {random_.between(1, 5), random_.chance(0.5) ? EIO : ENOSPC,
                                 random_.chance(0.5)};
            return;
    }
}

void Scenario::draw_kill(RunPlan& plan) {
    plan.kill = Kill{.side = random_.chance(0.5) ? Side::kSource : Side::kTarget,
                     .event = draw_scale(random_, bench_.shape.source_bytes / 128),
                     .style = static_cast<KillStyle>(random_.below(3))};
}

void Scenario::draw_link_fault(RunPlan& plan) {
    ConnectionPlan& link = plan.links[random_.below(plan.links.size())];
    const bool forward = random_.chance(0.7);
    StreamPlan& stream = forward ? link.first_to_second : link.second_to_first;
    const std::uint64_t most = forward ? bench_.shape.source_bytes / plan.links.size() : 4096;
    const std::uint64_t at = draw_scale(random_, most);
    switch (random_.below(5)) {
        case 0:
            stream.close_at = at;
            return;
        case 1:
            stream.reset_at = at;
            return;
        case 2:
            stream.stall_at = at;
            return;
        default:
            stream.corrupt_at.push_back(at);
            std::ranges::sort(stream.corrupt_at);
    }
}

void Scenario::draw_disk_fault() {
    const bool sticky = random_.chance(0.5);
    const std::uint64_t nth = 1 + draw_scale(random_, 40);
    if (random_.chance(0.25)) {
        bench_.source.add_fault({DiskOperation::kRead, nth, EIO, sticky});
        return;
    }
    if (random_.chance(0.3)) {
        flush_fault_ = true;
        bench_.target.add_fault({DiskOperation::kFlush, random_.between(1, 4), EIO, sticky});
        return;
    }
    if (random_.chance(0.3)) {
        const DiskOperation staging[] = {DiskOperation::kWrite, DiskOperation::kFlush,
                                         DiskOperation::kRead};
        bench_.staged.add_fault(
            {staging[random_.below(3)], nth, random_.chance(0.5) ? EIO : ENOSPC, sticky});
        return;
    }
    const DiskOperation operations[] = {DiskOperation::kWrite, DiskOperation::kWrite,
                                        DiskOperation::kZero, DiskOperation::kRead};
    bench_.target.add_fault(
        {operations[random_.below(4)], nth, random_.chance(0.5) ? EIO : ENOSPC, sticky});
}

}  // namespace towline
