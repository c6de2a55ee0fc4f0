// SPDX-License-Identifier: Apache-2.0
// The rounds and the runs of a scenario, and the oracle over them. What goes wrong in a run is
// drawn in scenario_draw.cpp.

#include "tests/sim/scenario.hpp"

#include <algorithm>

#include "io/align.hpp"

namespace towline {

namespace {

constexpr int kFaultyRunsMax = 4;

std::string_view kind_name(RunRequest::Kind kind) {
    switch (kind) {
        case RunRequest::Kind::kAuto:
            return "auto";
        case RunRequest::Kind::kFull:
            return "full";
        case RunRequest::Kind::kExtents:
            return "extents";
        case RunRequest::Kind::kScan:
            return "scan";
    }
    return "?";
}

std::string describe(const RunPlan& plan, const RunResult& result) {
    std::string text = std::string(kind_name(plan.kind)) + (plan.resume ? " resume" : "") +
                       (plan.verify ? " verify" : "") +
                       " links=" + std::to_string(plan.links.size()) +
                       " events=" + std::to_string(result.events) + ": ";
    if (result.source_killed) text += "source killed; ";
    if (result.target_killed) text += "target killed; ";
    text += result.source_error ? result.source_error->text() : std::string("no error");
    if (result.target_error) text += " | target: " + result.target_error->text();
    text += " | cause " + std::string(cause_name(result.report.cause));
    return text + (result.sealed ? " | sealed\n" : "\n");
}

}  // namespace

Scenario::Scenario(std::uint64_t seed)
    : random_(SimulatedRandom::mix(seed ^ 0x7363656e)),
      bench_(seed, draw_shape(random_)),
      block_bytes_(std::uint32_t{4096} << random_.below(6)),
      level_max_(bench_.shape.source_bytes > (512 << 10) ? 5 : 10) {
    fill_volumes();
}

std::string Scenario::run() {
    const std::uint64_t rounds = random_.between(1, 3);
    for (std::uint64_t round = 0; round < rounds && wrong_.empty(); ++round) {
        if (round > 0) change_source();
        bring_over();
    }
    return wrong_.empty() ? std::string() : wrong_ + "\nhistory:\n" + history_;
}

bool Scenario::wrong(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
    return false;
}

// Runs with faults until one succeeds or patience ends; then one without any.
bool Scenario::bring_over() {
    const std::uint64_t faulty_runs = random_.below(kFaultyRunsMax + 1);
    for (std::uint64_t i = 0; i < faulty_runs; ++i) {
        const RunPlan plan = draw_plan(true);
        if (!one_run(plan, false)) return false;
        if (random_.chance(0.3)) change_source();
    }
    RunPlan plan = draw_plan(false);
    if (!one_run(plan, plan.kind != RunRequest::Kind::kExtents)) return false;
    const bool again = bench_.target_shelf.record.state != TargetState::kSealed ||
                       !bench_.equal(false) || !unnoted_.empty();
    if (!again) return true;
    plan = draw_plan(false);
    plan.kind = RunRequest::Kind::kAuto;
    plan.resume = false;
    return one_run(plan, true);
}

bool Scenario::one_run(const RunPlan& plan, bool must_succeed) {
    record_before_ = bench_.target_shelf.record;
    target_before_ = bench_.target.contents();
    committed_before_ = bench_.taken_over();
    entries_before_ = static_cast<std::size_t>(
        std::ranges::count_if(bench_.target_shelf.journal, [](const auto& e) { return e.whole; }));
    acknowledged_before_ = total_bytes(bench_.target_shelf.acknowledged());
    if (record_before_.stage == TargetRecord::Stage::kStaging) {
        const auto index = staged_index_of(bench_.target_shelf);
        acknowledged_before_ = index ? total_bytes(*index->extents()) : 0;
    }
    const RunResult result = bench_.run(plan);
    history_ += describe(plan, result);
    bench_.target.clear_faults();
    bench_.source.clear_faults();
    bench_.staged.clear_faults();
    if (result.noted && plan.kind == RunRequest::Kind::kExtents) unnoted_.clear();
    if (result.end != RunEnd::kDone) return wrong("the run hangs");
    if (!bench_.rest_untouched()) return wrong("bytes behind the source's end were changed");
    const bool held =
        result.succeeded() ? check_success(plan, result) : check_failure(plan, result);
    if (!held) return false;
    if (must_succeed && !result.succeeded()) return wrong("a run without faults failed");
    if (std::exchange(power_loss_, false) || random_.chance(0.2)) {
        bench_.cut_power();
        history_ += "power cut at the target\n";
    }
    if (result.succeeded() && !bench_.equal(false))
        return wrong("after a power cut " + bench_.difference(false));
    if (random_.chance(0.2) && bench_.source_shelf.lose_power(random_))
        history_ += "power cut at the source: sealed runs are open again\n";
    return true;
}

bool Scenario::check_success(const RunPlan& plan, const RunResult& result) {
    const TargetRecord& record = bench_.target_shelf.record;
    if (record.state != TargetState::kSealed || record.base != result.report.base ||
        record.owner != bench_.source_name)
        return wrong("success, but the record is not sealed with the run's base");
    const auto memory = bench_.source_shelf.memories.find(record.target);
    if (memory == bench_.source_shelf.memories.end() || memory->second.base != record.base ||
        !memory->second.open_runs.empty())
        return wrong("success, but the source does not remember it");
    if (bench_.source_shelf.pending.contains(record.target))
        return wrong("success, but changes are pending");
    if (!bench_.equal(false)) return wrong("success, but " + bench_.difference(false));
    if (!bench_.equal(true)) return wrong("success, but " + bench_.difference(true));
    if (plan.verify && !result.report.reread) return wrong("success without the reread asked for");
    if (!check_resumed(plan, result)) return false;
    unnoted_.clear();
    changed_since_begun_ = false;
    return true;
}

// What the target acknowledged is not sent again when nothing changed since. Stored is all that
// came, zeros included.
bool Scenario::check_resumed(const RunPlan& plan, const RunResult& result) {
    if (!result.report.resumed || changed_since_begun_) return true;
    if (record_before_.run_mode != RunMode::kFull) return true;
    // In other blocks than before, those that were brought in part come again whole.
    if (plan.block_bytes != block_bytes_begun_) return true;
    if (result.stored_bytes + acknowledged_before_ <= bench_.shape.source_bytes) return true;
    return wrong("acknowledged bytes were sent again: " + std::to_string(acknowledged_before_) +
                 " acknowledged, " + std::to_string(result.stored_bytes) + " stored of " +
                 std::to_string(bench_.shape.source_bytes));
}

bool Scenario::check_failure(const RunPlan& plan, const RunResult& result) {
    const TargetRecord& record = bench_.target_shelf.record;
    if (!result.source_killed && !result.source_error) return wrong("failed without an error");
    if (!check_staged()) return false;
    if (!record.unfinished() && record == record_before_) {
        auto now = bench_.target.contents();
        now.resize(target_before_.size());
        if (now != target_before_) return wrong("written to, but the record is the old one");
        return true;
    }
    if (record.state == TargetState::kSealed && record.run == record_before_.run &&
        record_before_.stage == TargetRecord::Stage::kCommitted) {
        // An earlier run was applied, and this one brought nothing.
        return bench_.target.durable_contents() == committed_before_ ||
               wrong("applied, but it is not what was staged");
    }
    if (record.state == TargetState::kSealed) {
        // The source does not know yet; the replica holds all the same.
        if (!bench_.equal(true)) return wrong("sealed, but " + bench_.difference(true));
        return true;
    }
    if (record.run != record_before_.run) {
        changed_since_begun_ = false;
        block_bytes_begun_ = plan.block_bytes;
    }
    // What this one acknowledged is in its blocks, and those of before may be in others.
    if (plan.block_bytes != block_bytes_begun_) block_bytes_begun_ = 0;
    if (!bench_.acknowledged_is_durable(record.run == record_before_.run ? entries_before_ : 0))
        return wrong("acknowledged, but not durable");
    return true;
}

// A target that was whole is wholly the old moment, or, as whoever takes it over finds it, wholly
// the new one.
bool Scenario::check_staged() {
    using Stage = TargetRecord::Stage;
    const Stage before = record_before_.stage;
    const Stage now = bench_.target_shelf.record.stage;
    if (now == Stage::kStaging) {
        const bool whole = record_before_.state == TargetState::kSealed || before == now;
        if (whole && bench_.target.durable_contents() != target_before_)
            return wrong("the run is staged, and the target was written to");
        if (!bench_.staged_is_durable()) return wrong("staged and acknowledged, but not durable");
    }
    if (now != Stage::kCommitted || before == Stage::kCommitted) return true;
    auto ours = bench_.source.contents();
    auto theirs = bench_.taken_over();
    if (!bench_.shape.target_is_image) theirs.resize(ours.size());
    return ours == theirs || wrong("staged whole, but what is taken over is not the source");
}

// ---- the source's side of life

void Scenario::write_source(Extent extent) {
    std::vector<std::byte> bytes(extent.length_bytes);
    const std::uint64_t kind = random_.below(4);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (kind == 0) bytes[i] = std::byte{0};
        if (kind == 1) bytes[i] = static_cast<std::byte>(random_.below(4) * (i % 7));
        if (kind >= 2) bytes[i] = static_cast<std::byte>(random_.next());
    }
    bench_.source.fill(extent.offset_bytes, bytes);
}

void Scenario::change_source() {
    const std::uint64_t count = random_.between(1, 6);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t size = bench_.shape.source_bytes;
        const std::uint64_t offset = random_.chance(0.2) ? size - 1 : random_.below(size);
        const std::uint64_t length =
            random_.between(1, std::min<std::uint64_t>(size - offset, size / 8 + 1));
        write_source({offset, length});
        unnoted_.push_back({offset, length});
    }
    unnoted_ = normalized(std::move(unnoted_));
    changed_since_begun_ = true;
    history_ += "the source changes\n";
}

}  // namespace towline
