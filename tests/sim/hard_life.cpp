// SPDX-License-Identifier: Apache-2.0
// The runs of a hard life, and the oracle over them. What comes between runs is drawn in
// hard_life_incidents.cpp.

#include "tests/sim/hard_life.hpp"

#include <algorithm>

#include "io/align.hpp"

namespace towline {

namespace {

using Kind = RunRequest::Kind;
using Stage = TargetRecord::Stage;

constexpr std::uint32_t kTrackedBlock = 4096;
constexpr std::size_t kOlderMax = 4;

std::string describe(const RunPlan& plan, const RunResult& result) {
    static constexpr std::string_view kKinds[] = {"auto", "full", "extents", "scan"};
    std::string text(kKinds[static_cast<int>(plan.kind)]);
    if (plan.moment != nullptr) text += " tracked";
    if (plan.resume) text += " resume";
    if (plan.direct) text += " direct";
    text += " block=" + std::to_string(plan.block_bytes) + ": ";
    if (result.source_killed) text += "source killed; ";
    if (result.target_killed) text += "target killed; ";
    text += result.source_error ? result.source_error->text() : std::string("no error");
    if (result.target_error) text += " | target: " + result.target_error->text();
    return text + " | " + std::string(cause_name(result.report.cause)) +
           (result.report.resumed ? " | resumed" : "") + (result.sealed ? " | sealed" : "");
}

}  // namespace

BenchShape HardLife::draw_shape(SimulatedRandom& random) {
    BenchShape shape;
    shape.source_bytes = random.between(64 << 10, 320 << 10);
    if (random.chance(0.5))
        shape.source_bytes = align_down<std::uint64_t>(shape.source_bytes, 4096);
    shape.target_is_image = random.chance(0.6);
    shape.target_exists = !shape.target_is_image;
    // Room for a source that grows.
    shape.target_bytes = shape.target_is_image ? 0 : 512 << 10;
    return shape;
}

HardLife::HardLife(std::uint64_t seed)
    : random_(SimulatedRandom::mix(seed ^ 0x68617264)), bench_(seed, draw_shape(random_)) {
    const std::uint64_t size = bench_.shape.source_bytes;
    fill_random_data(bench_.source, random_, 0, size);
    if (random_.chance(0.5)) bench_.source.fill(0, Contents(size / 3));
    if (random_.chance(0.6))
        tracker_ = std::make_unique<SimulatedTracker>(size, kTrackedBlock, random_);
    for (Replica& each : replicas_) {
        each.now = bench_.copy_target();
        each.unnoted = {{0, size}};
    }
}

HardLife::~HardLife() = default;

void HardLife::note(const std::string& what) {
    ++incidents_[what];
    history_ += what + "\n";
}

bool HardLife::wrong(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
    return false;
}

std::string HardLife::live() {
    const std::uint64_t rounds = random_.between(4, 12);
    for (std::uint64_t round = 0; round < rounds && wrong_.empty(); ++round) {
        write_some(random_.below(4));
        if (random_.chance(0.5)) incident();
        Replica& replica = replicas_[random_.chance(0.7) ? 0 : 1];
        run_to(replica, random_.chance(0.6));
        if (replica.now.shelf.record.stage != Stage::kNone && random_.chance(0.3))
            lose_staged(replica);
        const Uuid target = replica.now.shelf.record.target;
        if (bench_.source_shelf.pending.contains(target) && random_.chance(0.3)) {
            note("what is pending for a replica is damaged");
            bench_.source_shelf.damaged_maps.insert(target);
        }
    }
    for (Replica& each : replicas_) {
        if (!wrong_.empty()) break;
        write_some(1);
        if (!run_to(each, false)) wrong("a run without faults failed");
    }
    return wrong_.empty() ? std::string() : wrong_ + "\nhistory:\n" + history_;
}

RunPlan HardLife::draw_plan(Replica& replica, bool faulty) {
    RunPlan plan;
    plan.source_hook = [&replica](StoreCall call, StoreMoment when) {
        const bool saved = call == StoreCall::kSave || call == StoreCall::kSaveBegun;
        if (saved && when == StoreMoment::kAfter) replica.unlooked = false;
    };
    plan.block_bytes = std::uint32_t{4096} << random_.below(3);
    plan.buffer_bytes = 32 << 10;
    plan.checkpoint_bytes = std::uint64_t{16} << (10 + random_.below(3));
    plan.links.resize(random_.chance(0.8) ? 1 : 2);
    plan.resume = random_.chance(0.5);
    plan.direct = random_.chance(0.3);
    plan.verify = random_.chance(0.2);
    plan.modified_ns = modified_ns_;
    const TargetShelf& shelf = replica.now.shelf;
    plan.overwrite = shelf.replaced || shelf.record.state == TargetState::kUnclaimed ||
                     shelf.record.owner != bench_.source_name;
    if (faulty) {
        const Kind kinds[] = {Kind::kAuto, Kind::kAuto, Kind::kFull, Kind::kScan, Kind::kExtents};
        plan.kind = kinds[random_.below(5)];
    }
    // A resumed run of listed changes brings no others: the new ones must be listed.
    if (!tracker_ && plan.kind == Kind::kAuto && !replica.unnoted.empty()) plan.resume = false;
    if (plan.kind == Kind::kExtents) {
        plan.extents = normalized(replica.unnoted);
        std::erase_if(plan.extents, [&](Extent& each) {
            const std::uint64_t size = bench_.source.size_bytes();
            each.length_bytes =
                std::min(each.end_bytes(), std::max(size, each.offset_bytes)) - each.offset_bytes;
            return each.length_bytes == 0;
        });
    }
    if (tracker_ && plan.kind != Kind::kExtents) {
        taken_.push_back(std::make_unique<SimulatedMoment>(bench_.world, *tracker_, bench_.source));
        taken_.back()->set_modified(modified_ns_);
        plan.moment = taken_.back().get();
        plan.audit_blocks = random_.chance(0.3) ? 8 : 0;
        plan.after_event = [this] {
            if (random_.chance(0.01)) write_some(1);
        };
    }
    if (faulty) draw_fault(plan);
    draw_lie(replica, plan);
    return plan;
}

// What a dead run asked to be read back is something else than what was applied.
void HardLife::draw_lie(const Replica& replica, RunPlan& plan) {
    const TargetRecord& record = bench_.target_shelf.record;
    if (record.stage != Stage::kCommitted || !record.verify) return;
    if (bench_.target_shelf.replaced || replica.lost) return;
    const auto index = staged_index_of(bench_.target_shelf);
    const auto extents = index ? index->extents() : std::vector<Extent>();
    if (!extents || extents->empty()) return;
    const Extent& extent = (*extents)[random_.below(extents->size())];
    const std::uint64_t at = extent.offset_bytes + random_.below(extent.length_bytes);
    const std::byte other = bench_.taken_over().at(at) ^ std::byte{64};
    note("a replica reads back something else than what was applied");
    plan.after_event = [this, at, other, run = record.run, before = plan.after_event] {
        if (before) before();
        const TargetRecord& now = bench_.target_shelf.record;
        if (now.run != run || at >= bench_.target.size_bytes()) return;
        if (now.stage == Stage::kCommitted) bench_.target.fill(at, std::vector{other});
        if (now.state == TargetState::kSealed && bench_.target.contents(at, 1).front() == other)
            wrong("sealed, though it reads back something else than was applied");
    };
}

void HardLife::draw_fault(RunPlan& plan) {
    const int error = random_.chance(0.5) ? ENOSPC : EIO;
    switch (random_.below(9)) {
        case 0:
            plan.source_fault = {random_.between(1, 6), error, random_.chance(0.4),
                                 random_.chance(0.4)};
            return;
        case 1:
            plan.target_fault = {random_.between(1, 8), error, random_.chance(0.4),
                                 random_.chance(0.4), random_.chance(0.5)};
            return;
        case 2: {
            ConnectionPlan& link = plan.links[random_.below(plan.links.size())];
            auto& stream = random_.chance(0.7) ? link.first_to_second : link.second_to_first;
            stream.reset_at = random_.below(bench_.source.size_bytes());
            return;
        }
        case 3:
            bench_.source.add_fault({DiskOperation::kRead, random_.between(1, 12), EIO});
            return;
        case 4:
            bench_.staged.add_fault(
                {random_.chance(0.5) ? DiskOperation::kWrite : DiskOperation::kFlush,
                 random_.between(1, 6), error, random_.chance(0.5)});
            return;
        case 5:
            // All of it is staged, and none applied.
            plan.verify |= random_.chance(0.6);
            plan.target_hook = [this](StoreCall call, StoreMoment when) {
                const bool committed = bench_.target_shelf.record.stage == Stage::kCommitted;
                if (call == StoreCall::kMark && when == StoreMoment::kAfter && committed)
                    bench_.kill(Side::kTarget);
            };
            return;
        default:
            plan.kill = Kill{.side = random_.chance(0.4) ? Side::kSource : Side::kTarget,
                             .event = random_.below(random_.chance(0.5) ? 60 : 400),
                             .style = static_cast<KillStyle>(random_.below(3))};
            power_loss_ = random_.chance(0.4);
    }
}

bool HardLife::run_to(Replica& replica, bool faulty) {
    bench_.put_target(replica.now);
    power_loss_ = false;
    meanwhile_.clear();
    RunPlan plan = draw_plan(replica, faulty);
    const Contents as_it_is = bench_.source.contents();
    const RunResult result = bench_.run(plan);
    history_ +=
        (&replica == replicas_.data() ? "first: " : "second: ") + describe(plan, result) + "\n";
    bench_.source.clear_faults();
    bench_.target.clear_faults();
    bench_.staged.clear_faults();
    const auto* moment = static_cast<SimulatedMoment*>(plan.moment);
    const bool taken = moment != nullptr && moment->taken();
    const Contents contents = taken ? moment->contents() : as_it_is;
    // A list is given once: with the run that notes it, or with none when one was sealed.
    if (result.succeeded() || (result.noted && plan.kind == Kind::kExtents))
        replica.unnoted = meanwhile_;
    if (result.source_error && result.source_error->code == Code::kRefused)
        replica.unlooked = false;
    lost_ = replica.lost;
    check(plan, result, contents);
    replica.lost &= bench_.target_shelf.record.stage == Stage::kCommitted;
    if (power_loss_ && bench_.source_shelf.lose_power(random_))
        history_ += "sealed runs are open again\n";
    bench_.cut_power();
    replica.older.push_back(replica.now);
    if (replica.older.size() > kOlderMax) replica.older.erase(replica.older.begin());
    replica.now = bench_.copy_target();
    older_memories_.push_back(bench_.source_shelf);
    if (older_memories_.size() > kOlderMax) older_memories_.erase(older_memories_.begin());
    if (!faulty && wrong_.empty() && !result.succeeded()) wrong("a run without faults failed");
    return result.succeeded();
}

bool HardLife::check(const RunPlan& plan, const RunResult& result, const Contents& moment) {
    if (result.end != RunEnd::kDone) return wrong("the run hangs");
    if (result.source_error && result.source_error->code == Code::kCorrupt)
        return wrong("a false alarm: " + result.source_error->text());
    const TargetRecord& record = bench_.target_shelf.record;
    // Points that nobody knew before are this run's.
    moments_.try_emplace(record.base.point, moment);
    if (record.unfinished()) moments_.try_emplace(record.run_base.point, moment);
    if (result.succeeded()) {
        ++sealed_;
        upon_base_ += result.report.mode == RunMode::kExtents ? 1 : 0;
        if (record.state != TargetState::kSealed || record.base != result.report.base)
            return wrong("success, but the record is not sealed with the run's base");
        if (plan.verify && !result.report.reread) return wrong("success without the reread");
        if (moments_.at(record.base.point) != moment) return wrong("success of another moment");
    }
    if (bench_.target_shelf.replaced) return true;
    if (record.state == TargetState::kSealed)
        return is(bench_.target.durable_contents(), record.base, "sealed");
    if (record.stage == Stage::kStaging)
        return is(bench_.target.durable_contents(), record.base, "staged beside");
    if (record.stage == Stage::kCommitted && !lost_)
        return is(bench_.taken_over(), record.run_base, "staged whole");
    return true;
}

bool HardLife::is(const Contents& contents, const Base& base, const char* what) {
    Contents found = contents;
    const Contents& wanted = moments_.at(base.point);
    if (!bench_.shape.target_is_image) found.resize(wanted.size());
    if (found == wanted) return true;
    const auto at = std::ranges::mismatch(found, wanted).in1 - found.begin();
    return wrong(
        std::string(what) + ", but not the moment that it says: " + std::to_string(found.size()) +
        " bytes for " + std::to_string(wanted.size()) + ", from byte " + std::to_string(at));
}

}  // namespace towline
