// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/scripted_random.hpp"
#include "tests/sim/sync_bench.hpp"
#include "tests/sim/vault_locks.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/scrub.hpp"
#include "userspace/vault/simulated_file_layer.hpp"

namespace towline::testing {

// A vault with two sources, each under its own name, and what hosts and people do with it: runs of
// every kind through both pipelines, cut off anywhere and resumed, prunings between and beside
// them, writers that sleep through another's begin, rot and its repair, deaths at any call of the
// store and power losses behind them. Sources have few contents, so that a block is often what it
// was before, or what another one is. All of it drawn from one seed. A model remembers what each
// run read: a sealed point reads as that, for good; nothing else is seen; what is of no use goes.
class VaultLife {
  public:
    explicit VaultLife(std::uint64_t seed);
    ~VaultLife();

    // Empty: everything held. Else what did not, and the history that led there.
    std::string live(int sessions);
    // How often what came about.
    const std::map<std::string, int>& events() const { return events_; }

  private:
    using Bytes = std::vector<std::byte>;
    // Behind its begin, of a run of a few blocks.
    static constexpr std::uint64_t kEventsOfARun = 40;
    // A source, and what its name must show.
    struct Host {
        std::string name;
        std::unique_ptr<SyncBench> bench;
        std::vector<Extent> unnoted{};    // changes that no begun run has noted
        std::map<Uuid, Bytes> moments{};  // of its points
        std::set<Uuid> must{};            // points that are there
        std::set<Uuid> going{};           // points whose deletion was begun
        Bytes moment{};                   // that the last run read
        std::uint64_t process = 0;        // the target's, in the run at hand
        std::uint64_t run_events = 100;   // that the last run had
        bool cut_off = false;             // as that run was
    };

    // How likely it is what befalls this life: each has a mix of its own, so that what needs
    // several rare things at once comes about in some.
    struct Mix {
        double beside;      // somebody is at the vault beside a run,
        int beside_max;     // so often,
        double begun;       // when it has begun in its log, not at any moment
        double usurp;       // it is another writer of its name,
        double lose_lease;  // or only takes its lease,
        double own;         // and deletes and prunes points of this very name,
        double newest;      // the newest among them,
        double clear;       // or all of every name but the newest
        double back;        // blocks are again what a point has, which may then be deleted
        double unique;      // or it is what no other one ever was
        double plot;        // it is one of the plots
        double lazy;        // points are deleted, and their space is not given back yet
        int changes_max;    // blocks between two runs
        double incident;    // people come between two runs
        double dies;        // a process dies at a call,
        double killed;      // or at an event of its run
    };

    void note(const std::string& what);
    static Mix draw_mix(SimulatedRandom& random);
    bool wrong(const std::string& what);
    Host make_host(std::string name, std::uint64_t first_bytes, std::uint64_t second_bytes);
    std::shared_ptr<Vault> open_vault(std::uint64_t process);
    Host& some_host() { return hosts_[random_.below(hosts_.size())]; }
    std::unique_ptr<TargetStore> start_target(Host& host);
    bool dead() const { return die_at_ != 0 && files_.calls() >= die_at_; }
    void arm();

    // ---- sources
    Extent draw_block(const VolumeLayout& layout);
    Bytes draw_contents(std::uint64_t length_bytes);
    void go_back(Host& host);
    void change(Host& host);

    // ---- what happens between two looks at the vault; and beside a run
    void session();
    void incident();
    void beside_run(Host& host);
    // What happens beside a run of this host, asked after each of its events.
    std::function<void()> draw_besides(Host& host);
    RunPlan draw_plan(Host& host);
    // Without `besides`, nobody else is at the vault. Whether it was sealed.
    bool run(Host& host, RunPlan plan, const std::function<void()>& besides = {});
    void prune(Host& host, bool with_runs_beside);
    // Each of its points as likely as `older` says, the newest as `newest` does.
    void delete_some(Host& host, double older, double newest);
    void delete_older();
    void usurp(Host& host);
    void lose_lease(Host& host);
    void rot();
    void mend();

    // ---- plots: what takes several steps in their order, and would hardly be drawn
    void plot(Host& host);
    void draw_over(Host& host, const std::vector<Extent>& blocks);
    bool bring(Host& host);
    bool cut_off(Host& host);
    void return_late(Host& host);
    void lose_base(Host& host);

    // ---- the oracle
    void judge();
    void judge(Host& host);
    void judge_point(Host& host, const Point& point);
    Result<Bytes> read(const Host& host, const Point& point);
    bool is_bad(const Host& host, const Point& point);
    ScrubReport scrub();
    void end();

    ScriptedRandom names_;
    SimulatedRandom random_;
    SimulatedFolder files_;
    VaultLocks locks_;
    std::uint64_t processes_ = 0;
    std::uint64_t die_at_ = 0;  // the call of the store at which whoever makes it dies
    bool rots_;
    Mix mix_;
    std::vector<Bytes> contents_;  // what blocks are drawn from
    std::vector<Host> hosts_;
    std::shared_ptr<Vault> vault_;  // the oracle's, and those who look after it

    std::map<std::string, int> events_;
    std::string history_;
    std::string wrong_;
};

}  // namespace towline::testing
