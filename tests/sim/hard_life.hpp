// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/simulated_tracker.hpp"
#include "tests/sim/sync_bench.hpp"

namespace towline {

// A source with two replicas, and what hosts and people do between its runs: sizes that change,
// replicas and state folders that are lost, damaged or put back from an older copy, sources that
// are put back, power cuts of both sides, folders that fill up, and runs of every kind in any
// order. All of it drawn from one seed. Whatever is called sealed is the source at the moment of
// the run that says so; a replica that was whole stays so while it is staged; a run without faults
// that may choose succeeds.
class HardLife {
  public:
    explicit HardLife(std::uint64_t seed);
    ~HardLife();

    // Empty: everything held. Else what did not, and the history that led there.
    std::string live();
    int sealed() const { return sealed_; }
    int upon_base() const { return upon_base_; }
    // Of each incident, how often it came.
    const std::map<std::string, int>& incidents() const { return incidents_; }

  private:
    using Contents = std::vector<std::byte>;
    struct Replica {
        SyncBench::TargetCopy now;
        std::vector<SyncBench::TargetCopy> older;
        std::vector<Extent> unnoted;  // changes that no begun run to it has noted
        bool lost = false;  // what is staged was tampered with, which is found when it is applied
        bool unlooked = false;  // the source was put back, and no run to it knows
    };

    static BenchShape draw_shape(SimulatedRandom& random);
    void note(const std::string& what);
    bool wrong(std::string what);

    // ---- between runs
    void incident();
    void at_source();
    void at_replica(Replica& replica);
    void at_source_state(Replica& replica);
    void resize_source();
    void put_source_back();
    void roll_back(Replica& replica);
    void lose_staged(Replica& replica);
    void write_some(std::uint64_t count);
    void wrote(Extent extent);

    // ---- a run
    RunPlan draw_plan(Replica& replica, bool faulty);
    void draw_fault(RunPlan& plan);
    void draw_lie(const Replica& replica, RunPlan& plan);
    bool run_to(Replica& replica, bool faulty);
    bool check(const RunPlan& plan, const RunResult& result, const Contents& moment);
    bool is(const Contents& contents, const Base& base, const char* what);

    SimulatedRandom random_;
    SyncBench bench_;
    std::unique_ptr<SimulatedTracker> tracker_;  // not every life has one
    std::array<Replica, 2> replicas_;
    Contents tail_;  // of the source, where a volume was cut off that may grow again
    std::vector<SourceShelf> older_memories_;
    struct OlderSource {
        Contents contents;
        std::int64_t modified_ns;
    };
    std::vector<OlderSource> older_sources_;
    std::int64_t clock_ns_ = 1;
    std::int64_t modified_ns_ = 1;
    // What the source was when the run to this point read it, by the point's name.
    std::map<Uuid, Contents> moments_;
    std::vector<std::unique_ptr<SimulatedMoment>> taken_;  // dead runs' engines know the disks
    std::vector<Extent> meanwhile_;                        // written while the run at hand went on
    bool lost_ = false;                                    // of the replica at hand
    bool power_loss_ = false;  // of both sides, at the end of the run at hand

    std::map<std::string, int> incidents_;
    int sealed_ = 0;
    int upon_base_ = 0;
    std::string history_;
    std::string wrong_;
};

}  // namespace towline
