// SPDX-License-Identifier: Apache-2.0
// What is drawn for a crowd, how its runs are let go on at once, and the oracle over them.

#include "tests/sim/crowd.hpp"

#include <algorithm>

#include "io/align.hpp"

namespace towline {

namespace {

using Kind = RunRequest::Kind;
using Stage = TargetRecord::Stage;

constexpr Duration kRoundLimit = std::chrono::minutes(30);
// A target that has sealed waits 3 s for its source; nobody is silent for 4 s and heard.
constexpr Duration kOverlongSleep = std::chrono::milliseconds(3600);

void bury(std::unique_ptr<CrowdRun> dead) {
    static auto* graves = new std::vector<std::unique_ptr<CrowdRun>>;
    graves->push_back(std::move(dead));
}

}  // namespace

Crowd::Crowd(std::uint64_t seed)
    : world_(seed),
      random_(SimulatedRandom::mix(seed ^ 0x63726f7764)),
      server_(std::make_unique<NameClaims>()) {
    const std::uint64_t size =
        align_down<std::uint64_t>(random_.between(64 << 10, 256 << 10), 4096);
    for (auto& each : sources_) {
        each = std::make_unique<CrowdSource>(world_, draw_uuid(random_), size);
        if (random_.chance(0.7))
            each->tracker = std::make_unique<SimulatedTracker>(size, 4096, random_);
        fill_random_data(each->disk, random_, 0, size);
    }
    const bool image = random_.chance(0.6);
    targets_[0] = std::make_unique<CrowdTarget>(world_, "one", image, size);
    targets_[1] = std::make_unique<CrowdTarget>(world_, "two", image, size);
}

Crowd::~Crowd() = default;

void Crowd::wrong(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
}

std::string Crowd::live() {
    const std::uint64_t rounds = random_.between(3, 7);
    for (std::uint64_t round = 0; round < rounds && wrong_.empty(); ++round) {
        for (const auto& each : sources_)
            write_some(*each, random_.below(4));
        draw_round();
        run_round();
    }
    for (const auto& each : targets_)
        if (wrong_.empty()) run_alone(*each);
    return wrong_.empty() ? std::string() : wrong_ + "\nhistory:\n" + history_;
}

void Crowd::write_some(CrowdSource& source, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t size = source.disk.size_bytes();
        const std::uint64_t offset = random_.below(size);
        const std::uint64_t length =
            random_.between(1, std::min<std::uint64_t>(size - offset, 20000));
        fill_random_data(source.disk, random_, offset, offset + length);
        if (source.tracker) source.tracker->wrote({offset, length});
        ++source.modified_ns;
    }
}

// ---- what is drawn

RunPlan Crowd::draw_plan(const CrowdSource& source, const CrowdTarget& target, bool faulty) {
    RunPlan plan;
    plan.block_bytes = std::uint32_t{4096} << random_.below(3);
    plan.buffer_bytes = 32 << 10;
    plan.checkpoint_bytes = std::uint64_t{16} << (10 + random_.below(3));
    plan.resume = random_.chance(0.5);
    plan.direct = random_.chance(0.3);
    plan.verify = random_.chance(0.2);
    const TargetRecord& record = target.shelf.record;
    plan.overwrite = !faulty || record.owner != source.name || random_.chance(0.3);
    if (!faulty) return plan;
    const Kind kinds[] = {Kind::kAuto, Kind::kAuto, Kind::kAuto, Kind::kFull, Kind::kScan};
    plan.kind = kinds[random_.below(5)];
    draw_fault(plan);
    return plan;
}

void Crowd::draw_fault(RunPlan& plan) {
    const int error = random_.chance(0.5) ? ENOSPC : EIO;
    ConnectionPlan& link = plan.links.front();
    auto& stream = random_.chance(0.7) ? link.first_to_second : link.second_to_first;
    switch (random_.below(12)) {
        case 0:
            plan.source_fault = {random_.between(1, 6), error, random_.chance(0.4)};
            return;
        case 1:
            plan.target_fault = {random_.between(1, 8), error, random_.chance(0.4)};
            return;
        case 2:
            stream.reset_at = random_.below(256 << 10);
            return;
        case 3:
        case 4:
            stream.stall_at = random_.below(256 << 10);
            return;
        case 5:
        case 6:
        case 7:
            plan.kill = Kill{.event = random_.below(random_.chance(0.5) ? 80 : 500),
                             .style = static_cast<KillStyle>(random_.below(3))};
            return;
        default:
            return;
    }
}

Fate Crowd::draw_fate() {
    const StoreCall calls[] = {StoreCall::kSaveBegun, StoreCall::kSaveBegun, StoreCall::kSave,
                               StoreCall::kSaveHarvest, StoreCall::kSaveSealed};
    Fate fate;
    if (random_.chance(0.25)) fate.dies_behind = calls[random_.below(5)];
    if (random_.chance(0.4)) return fate;
    if (random_.chance(0.5)) {
        fate.sleeps_behind = random_.chance(0.5) ? StoreCall::kSeal : calls[random_.below(5)];
    } else {
        fate.sleeps_at = random_.below(random_.chance(0.5) ? 60 : 400);
    }
    const Duration lengths[] = {std::chrono::milliseconds(30), std::chrono::seconds(3),
                                kOverlongSleep, std::chrono::seconds(50)};
    fate.sleep = lengths[random_.below(4)];
    return fate;
}

// A run sleeps through the target's seal and all of the next one, which dies when it has noted what
// it was to bring.
void Crowd::draw_late_commit() {
    CrowdSource& source = *sources_[0];
    CrowdTarget& target = *targets_[random_.below(2)];
    add_run(source, target, Fate{.sleeps_behind = StoreCall::kSeal, .sleep = kOverlongSleep});
    add_run(source, target, Fate{.dies_behind = StoreCall::kSaveBegun});
}

void Crowd::draw_round() {
    server_dies_at_.reset();
    if (random_.chance(0.15)) return draw_late_commit();
    const std::uint64_t count = random_.between(1, 4);
    const std::size_t source = random_.chance(0.8) ? 0 : 1;
    const std::size_t target = random_.below(2);
    for (std::uint64_t i = 0; i < count; ++i) {
        // Most meet at one name, from one source.
        add_run(*sources_[random_.chance(0.8) ? source : random_.below(2)],
                *targets_[random_.chance(0.7) ? target : random_.below(2)]);
    }
    if (random_.chance(0.15)) server_dies_at_ = random_.below(800);
}

void Crowd::add_run(CrowdSource& source, CrowdTarget& target, const std::optional<Fate>& fate) {
    CrowdEyes& eyes = *this;
    RunPlan plan = draw_plan(source, target, !fate);
    runs_.push_back(std::make_unique<CrowdRun>(world_, random_, source, target, eyes,
                                               std::move(plan), fate ? *fate : draw_fate()));
}

// ---- a round

// The next one comes when the one before sleeps, or at any moment.
void Crowd::start_later() {
    const auto next =
        std::ranges::find_if(runs_, [](const auto& each) { return !each->started(); });
    if (next == runs_.end()) return;
    const bool before_sleeps = next != runs_.begin() && (*std::prev(next))->slept();
    if (!random_.chance(before_sleeps ? 0.05 : 0.003)) return;
    if ((*next)->source().tracker) write_some((*next)->source(), 1);
    (*next)->start(*server_);
}

void Crowd::run_round() {
    round_events_ = 0;
    runs_.front()->start(*server_);
    for (;;) {
        const auto all_over = [&] {
            after_event();
            return std::ranges::all_of(
                runs_, [](const auto& each) { return !each->started() || each->over(); });
        };
        if (world_.run(all_over, kRoundLimit) != RunEnd::kDone) {
            wrong("a run hangs");
            for (const auto& each : runs_)
                each->kill_all();
        }
        const auto next =
            std::ranges::find_if(runs_, [](const auto& each) { return !each->started(); });
        if (next == runs_.end() || !wrong_.empty()) break;
        (*next)->start(*server_);
    }
    finish_round();
}

void Crowd::after_event() {
    for (const auto& each : runs_)
        each->after_event();
    if (server_dies_at_ == round_events_++) kill_server();
    if (random_.chance(0.01)) {
        CrowdSource& source = *sources_[random_.below(2)];
        if (source.tracker) write_some(source, 1);
    }
    start_later();
}

void Crowd::kill_server() {
    ++events_["the server dies"];
    history_ += "the server dies\n";
    const auto style = static_cast<KillStyle>(random_.below(3));
    for (const auto& each : runs_)
        each->kill_session(style);
    dead_servers_.push_back(std::exchange(server_, std::make_unique<NameClaims>()));
    if (random_.chance(0.5)) return;
    for (const auto& each : targets_) {
        each->disk.crash();
        each->staged.crash();
    }
}

void Crowd::finish_round() {
    for (auto& each : runs_) {
        if (!each->started()) continue;
        history_ += each->text() + "\n";
        ++events_[each->succeeded() ? "succeeded" : "failed"];
        if (each->ended()) ++events_["fenced"];
        if (each->ended() && each->slept()) ++events_["fenced asleep"];
        if (each->refused()) ++events_["refused the name"];
        if (each->succeeded() && each->report().mode == RunMode::kExtents) ++events_["upon a base"];
        if (each->succeeded() && each->report().resumed) ++events_["resumed"];
        if (each->succeeded() && !moments_.contains(each->report().base.point))
            wrong("success, and the target never sealed it");
    }
    for (const auto& each : targets_)
        if (wrong_.empty()) check_target(*each);
    history_ += "--\n";
    for (auto& each : runs_)
        if (each->killed()) bury(std::move(each));
    runs_.clear();
}

void Crowd::run_alone(CrowdTarget& target) {
    const auto& owner = target.shelf.record.owner == sources_[1]->name ? sources_[1] : sources_[0];
    write_some(*owner, 1);
    server_dies_at_.reset();
    add_run(*owner, target, Fate{});
    const int before = events_["succeeded"];
    run_round();
    if (events_["succeeded"] == before) wrong("a run without faults failed");
}

// ---- the oracle

void Crowd::granted(CrowdRun& run) {
    for (const auto& each : runs_) {
        if (each.get() == &run || &each->target() != &run.target() || !each->granted()) continue;
        if (!each->session_over()) wrong("two sessions have one name");
    }
}

void Crowd::to_end(NameClaims::Session session) {
    for (const auto& each : runs_)
        if (each->started() && !each->killed() && each->session() == session) each->end_session();
}

bool Crowd::may_freeze(const CrowdRun& run) {
    return std::ranges::none_of(runs_, [&](const auto& each) {
        return each.get() != &run && &each->source() == &run.source() && each->started() &&
               each->freezes();
    });
}

// At once, while others go on: nobody else is to touch this one.
void Crowd::sealed(CrowdRun& run) {
    const TargetRecord& record = run.target().shelf.record;
    ++events_["sealed"];
    if (const Contents* moment = moment_of(record.base.point); moment == nullptr) {
        wrong("sealed as a point that no run drew");
    } else {
        is(run.target().disk.durable_contents(), run.target(), record.base, "sealed");
    }
}

const Crowd::Contents* Crowd::moment_of(const Uuid& point) {
    for (const auto& each : runs_)
        if (each->started() && each->drew(point)) moments_.try_emplace(point, each->moment());
    const auto found = moments_.find(point);
    return found == moments_.end() ? nullptr : &found->second;
}

void Crowd::check_target(const CrowdTarget& target) {
    const TargetRecord& record = target.shelf.record;
    if (record.unfinished()) moment_of(record.run_base.point);
    if (record.state == TargetState::kSealed)
        return is(target.disk.durable_contents(), target, record.base, "sealed behind all");
    if (record.stage == Stage::kStaging)
        return is(target.disk.durable_contents(), target, record.base, "staged beside");
}

void Crowd::is(Contents contents, const CrowdTarget& target, const Base& base, const char* what) {
    const Contents* wanted = moment_of(base.point);
    if (wanted == nullptr) return wrong(std::string(what) + " as a point that no run drew");
    if (!target.shelf.exact_size) contents.resize(wanted->size());
    if (contents == *wanted) return;
    const auto at = std::ranges::mismatch(contents, *wanted).in1 - contents.begin();
    wrong(std::string(what) + " at " + target.name +
          ", but not the moment that it says: " + std::to_string(contents.size()) + " bytes for " +
          std::to_string(wanted->size()) + ", from byte " + std::to_string(at));
}

}  // namespace towline
