// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/crowd_run.hpp"

namespace towline {

// Two sources and a server with two names, and runs that go on at the same time: of one source to
// both, of both to one, and of one source to one while an earlier run's host sleeps, its link is
// stalled or its process is dead; what slept wakes up and goes on. Whatever is called sealed is the
// source at the moment of the run that says so, at each seal and behind all of it; a session has
// its name alone, and one without changes nothing; a run alone, without faults, succeeds.
class Crowd final : CrowdEyes {
  public:
    explicit Crowd(std::uint64_t seed);
    ~Crowd() override;

    // Empty: everything held. Else what did not, and the history that led there.
    std::string live();
    const std::map<std::string, int>& events() const { return events_; }

  private:
    using Contents = std::vector<std::byte>;

    void granted(CrowdRun& run) override;
    void to_end(NameClaims::Session session) override;
    void sealed(CrowdRun& run) override;
    void wrong(std::string what) override;
    bool may_freeze(const CrowdRun& run) override;

    void write_some(CrowdSource& source, std::uint64_t count);
    // With this fate and no other fault; by default with what is drawn.
    void add_run(CrowdSource& source, CrowdTarget& target, const std::optional<Fate>& fate = {});
    RunPlan draw_plan(const CrowdSource& source, const CrowdTarget& target, bool faulty);
    void draw_fault(RunPlan& plan);
    Fate draw_fate();
    void draw_late_commit();
    void draw_round();
    void start_later();
    void run_round();
    void after_event();
    void kill_server();
    void finish_round();
    void run_alone(CrowdTarget& target);
    void check_target(const CrowdTarget& target);
    void is(Contents contents, const CrowdTarget& target, const Base& base, const char* what);
    const Contents* moment_of(const Uuid& point);

    SimulatedWorld world_;
    SimulatedRandom random_;
    std::array<std::unique_ptr<CrowdSource>, 2> sources_;
    std::array<std::unique_ptr<CrowdTarget>, 2> targets_;
    std::unique_ptr<NameClaims> server_;
    std::vector<std::unique_ptr<CrowdRun>> runs_;
    std::vector<std::unique_ptr<NameClaims>> dead_servers_;  // whom killed sessions still know
    std::map<Uuid, Contents> moments_;
    std::optional<std::uint64_t> server_dies_at_;
    std::uint64_t round_events_ = 0;
    std::map<std::string, int> events_;
    std::string history_;
    std::string wrong_;
};

}  // namespace towline
