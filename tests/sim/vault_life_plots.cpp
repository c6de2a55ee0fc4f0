// SPDX-License-Identifier: Apache-2.0
// Plots of a vault's life: sequences of which each step is drawn often, and all of them in this
// order hardly ever. What each step does is drawn as ever; what was there before and what comes
// behind it is the life's.

#include "tests/sim/vault_life.hpp"

namespace towline::testing {

void VaultLife::plot(Host& host) {
    const bool pooled = vault_->config().dedup.has_value();
    die_at_ = 0;
    files_.arm({});
    const bool late = random_.chance(0.7);
    if (pooled && late) return return_late(host);
    lose_base(host);
}

// Contents that no point has.
void VaultLife::draw_over(Host& host, const std::vector<Extent>& blocks) {
    for (const Extent& each : blocks) {
        Bytes bytes(each.length_bytes);
        for (std::byte& one : bytes)
            one = static_cast<std::byte>(random_.next());
        host.bench->source.fill(each.offset_bytes, bytes);
        host.unnoted.push_back(each);
    }
}

// A run without faults.
bool VaultLife::bring(Host& host) {
    RunPlan plan = draw_plan(host);
    plan.kill.reset();
    const bool sealed = run(host, plan);
    judge(host);
    return sealed;
}

// A run that began and got no further.
bool VaultLife::cut_off(Host& host) {
    const SeriesLog log(vault_, host.name);
    for (int tries = 0; tries < 3; ++tries) {
        RunPlan plan = draw_plan(host);
        plan.kill = Kill{.side = random_.chance(0.5) ? Side::kSource : Side::kTarget,
                         .event = random_.between(host.run_events / 2, host.run_events),
                         .style = static_cast<KillStyle>(random_.below(3))};
        run(host, plan);
        judge(host);
        const auto state = log.read_newest();
        if (state && state->unfinished() != nullptr) return true;
        change(host);
    }
    return false;
}

// What one older point alone shows comes back, and beside that very run the point goes: a run that
// finds it there stands upon what a collector is about to take.
void VaultLife::return_late(Host& host) {
    std::vector<Extent> blocks;
    for (std::uint64_t count = random_.between(1, 4); count > 0; --count)
        blocks.push_back(draw_block(host.bench->layout));
    draw_over(host, blocks);
    if (!bring(host)) return;
    const Bytes before = host.bench->source.contents();
    draw_over(host, blocks);
    if (!bring(host)) return;
    for (const Extent& each : blocks) {
        host.bench->source.fill(each.offset_bytes,
                                ByteSpan(before).subspan(each.offset_bytes, each.length_bytes));
        host.unnoted.push_back(each);
    }
    ++events_["what came back late"];
    RunPlan plan = draw_plan(host);
    if (random_.chance(0.7)) plan.kill.reset();
    // A pin is the first that is seen of a block that was found.
    const auto besides = [this, &host, wait = random_.below(8)]() mutable {
        if (!locks_.has(host.process, "collect/") || wait-- != 0 || dead()) return;
        if (random_.chance(0.8)) lose_lease(host);
        random_.chance(0.8) ? delete_older() : delete_some(host, 0.8, 0);
        prune(some_host(), false);
    };
    if (random_.chance(0.3)) arm();
    run(host, plan, besides);
}

// A base goes while a run that stands on it is cut off, or sleeps and has lost its hold. Neither it
// nor what comes next may stand on it, though the source remembers it and the log the run.
void VaultLife::lose_base(Host& host) {
    for (int i = 0; i < 2; ++i) {
        change(host);
        draw_over(host, {draw_block(host.bench->layout)});
        if (!bring(host)) return;
    }
    change(host);
    draw_over(host, {draw_block(host.bench->layout)});
    ++events_["bases lost"];
    const auto lose = [this, &host] {
        delete_some(host, 0.3, 1);
        if (random_.chance(0.5)) prune(host, false);
    };
    if (random_.chance(0.4)) {
        const SeriesLog log(vault_, host.name);
        const auto besides = [&, before = log.last_number().value_or(0), begun = false,
                              wait = random_.below(kEventsOfARun)]() mutable {
            begun = begun || log.last_number().value_or(0) > before;
            if (!begun || wait-- != 0 || dead()) return;
            lose_lease(host);
            lose();
        };
        run(host, draw_plan(host), besides);
        return;
    }
    if (!cut_off(host)) return;
    lose();
    if (random_.chance(0.5)) change(host);
    arm();
    run(host, draw_plan(host), draw_besides(host));
}

}  // namespace towline::testing
