// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tests/sim/sync_bench.hpp"

namespace towline {

// The life of one replica, all of it drawn from one seed: rounds of changes to the source, each
// brought over by runs in which things go wrong, the last of them without. After every run the
// oracle looks at what a user would lose.
class Scenario {
  public:
    explicit Scenario(std::uint64_t seed);

    // Empty: everything held. Else what did not, and the history that led there.
    std::string run();
    std::uint64_t trace_digest() const { return bench_.world.trace_digest(); }

  private:
    static BenchShape draw_shape(SimulatedRandom& random);
    void fill_volumes();
    void change_source();
    void write_source(Extent extent);
    bool bring_over();
    RunPlan draw_plan(bool faulty);
    void draw_edits(RunPlan& plan);
    void draw_kind(RunPlan& plan);
    ConnectionPlan draw_link();
    void draw_fault(RunPlan& plan);
    void draw_link_fault(RunPlan& plan);
    void draw_disk_fault();
    void draw_kill(RunPlan& plan);
    bool one_run(const RunPlan& plan, bool must_succeed);

    // The oracle.
    bool check_success(const RunPlan& plan, const RunResult& result);
    bool check_failure(const RunPlan& plan, const RunResult& result);
    bool check_staged();
    bool check_resumed(const RunPlan& plan, const RunResult& result);
    bool wrong(std::string what);

    SimulatedRandom random_;
    SyncBench bench_;
    std::uint32_t block_bytes_;
    int level_max_;
    bool flush_fault_ = false;             // of the target, in the run at hand
    bool power_loss_ = false;              // of the target, at the end of the run at hand
    std::vector<Extent> unnoted_;          // changes that no begun run has durably noted
    std::uint32_t block_bytes_begun_ = 0;  // of the unfinished run; 0: of several sizes
    bool changed_since_begun_ = true;      // the source, since the unfinished run began

    // As they were before the run at hand.
    TargetRecord record_before_;
    std::vector<std::byte> target_before_;
    std::vector<std::byte> committed_before_;  // what an earlier run has staged whole
    std::size_t entries_before_ = 0;
    std::uint64_t acknowledged_before_ = 0;

    std::string history_;
    std::string wrong_;
};

}  // namespace towline
