// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/engine_simulated.hpp"
#include "io/simulated_world.hpp"
#include "tests/sim/simulated_stores.hpp"
#include "tests/sim/simulated_tracker.hpp"
#include "tests/sim/sync_bench.hpp"
#include "userspace/engine/name_claims.hpp"

namespace towline {

// A volume that is replicated, and what its host remembers of all its targets.
struct CrowdSource {
    CrowdSource(SimulatedWorld& world, const Uuid& called, std::uint64_t size_bytes);

    Uuid name;
    SimulatedDisk disk;
    SourceShelf shelf;
    std::unique_ptr<SimulatedTracker> tracker;  // nullptr: nothing tracks it
    std::int64_t modified_ns = 1;
};

// What a server keeps under one name.
struct CrowdTarget {
    // An image file that is not there yet, or a device with some room behind the volume.
    CrowdTarget(SimulatedWorld& world, std::string called, bool image, std::uint64_t size_bytes);

    std::string name;
    SimulatedDisk disk;
    SimulatedDisk staged;
    TargetShelf shelf;
};

// When the source's host sleeps, and for how long: what comes for it is there when it wakes. And
// behind which call at its store it dies.
struct Fate {
    std::optional<std::uint64_t> sleeps_at;  // an event
    std::optional<StoreCall> sleeps_behind;  // a call at its own store, or the target's seal
    Duration sleep{};
    std::optional<StoreCall> dies_behind;
};

class CrowdRun;

// Who looks on.
class CrowdEyes {
  public:
    virtual ~CrowdEyes() = default;
    // The session has its name from now on: whoever had it before is over.
    virtual void granted(CrowdRun& run) = 0;
    virtual void to_end(NameClaims::Session session) = 0;
    virtual void sealed(CrowdRun& run) = 0;
    virtual void wrong(std::string what) = 0;
    // No other run of this source that lives is between its freeze and its plan.
    virtual bool may_freeze(const CrowdRun& run) = 0;
};

// One run among several that go on at the same time: a source's process, and a session of a server
// that asks for its name as TargetServer does.
class CrowdRun {
  public:
    CrowdRun(SimulatedWorld& world, SimulatedRandom& random, CrowdSource& source,
             CrowdTarget& target, CrowdEyes& eyes, RunPlan plan, Fate fate);
    ~CrowdRun();

    // The server that it reaches: one process.
    void start(NameClaims& claims);
    void after_event();
    void kill_session(KillStyle style);
    // By a newer session.
    void end_session();
    void kill_all();

    bool started() const { return source_side_ != nullptr; }
    bool over() const;
    bool session_over() const;
    bool slept() const { return slept_; }
    bool granted() const { return granted_; }
    bool refused() const { return refusal_.has_value(); }
    bool ended() const { return ended_; }
    // From the freeze to the plan.
    bool freezes() const;
    bool killed() const;
    bool succeeded() const;
    const RunReport& report() const;
    std::string text() const;

    CrowdSource& source() const { return source_; }
    CrowdTarget& target() const { return target_; }
    NameClaims::Session session() const { return session_; }
    // What it read, or was to read.
    std::vector<std::byte> moment() const;
    bool drew(const Uuid& point) const;

  private:
    struct SourceSide;
    struct TargetSide;
    void connect();
    bool look_now();
    void on_target_call(StoreCall call, StoreMoment when);
    void on_source_call(StoreCall call, StoreMoment when);
    void sleep();
    SourcePipeline::Config source_config(Handle volume);

    SimulatedWorld& world_;
    SimulatedRandom& random_;
    CrowdSource& source_;
    CrowdTarget& target_;
    CrowdEyes& eyes_;
    RunPlan plan_;
    Fate fate_;
    std::unique_ptr<SourceSide> source_side_;
    std::unique_ptr<TargetSide> target_side_;
    std::unique_ptr<SimulatedMoment> moment_;
    std::vector<std::byte> as_it_was_;
    std::vector<Uuid> drawn_;
    NameClaims* claims_ = nullptr;
    NameClaims::Session session_ = 0;
    Instant asked_at_{};
    std::optional<Error> refusal_;
    std::uint64_t events_ = 0;
    bool granted_ = false;
    bool left_ = false;
    bool slept_ = false;
    bool ended_ = false;
};

}  // namespace towline
