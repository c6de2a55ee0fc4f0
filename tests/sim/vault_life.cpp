// SPDX-License-Identifier: Apache-2.0
// The world of a vault's life, its runs, and the oracle over them. What people do to the vault is
// in vault_life_incidents.cpp.

#include "tests/sim/vault_life.hpp"

#include <algorithm>

#include "tests/unit/vault_fixture.hpp"
#include "userspace/vault/vault_target_store.hpp"

namespace towline::testing {

namespace {

using Kind = RunRequest::Kind;

constexpr std::size_t kContents = 3;

VaultConfig config_of(std::uint64_t seed) {
    VaultConfig config = seed % 4 == 3 ? encrypted_config() : VaultConfig{};
    return seed / 4 % 2 == 1 ? with_dedup(std::move(config)) : config;
}

std::string describe(const RunPlan& plan, const RunResult& result) {
    static constexpr std::string_view kKinds[] = {"auto", "full", "extents", "scan"};
    std::string text(kKinds[static_cast<int>(plan.kind)]);
    if (plan.resume) text += " resume";
    if (result.source_killed) text += ", source killed";
    if (result.target_killed) text += ", target killed";
    text += ": " + (result.source_error ? result.source_error->text() : std::string("no error"));
    if (result.target_error) text += " | target: " + result.target_error->text();
    return text + " | " + std::string(cause_name(result.report.cause)) +
           (result.report.resumed ? " | resumed" : "");
}

}  // namespace

VaultLife::VaultLife(std::uint64_t seed)
    : names_(seed),
      random_(SimulatedRandom::mix(seed ^ 0x7661756c74)),
      files_(seed),
      rots_(seed % 4 != 3 && seed % 5 == 0),
      mix_(draw_mix(random_)) {
    FolderStore store(
        std::make_unique<SimulatedFileLayer>(files_),
        [this](const std::string& name, HoldKind kind) { return locks_.take(0, name, kind); });
    EXPECT_TRUE(Vault::init(store, config_of(seed)));
    for (std::size_t i = 0; i < kContents; ++i) {
        // Text, which compresses, or noise.
        Bytes block(kBlock);
        for (std::byte& each : block)
            each = static_cast<std::byte>(i == 0 ? random_.below(256) : random_.below(7));
        contents_.push_back(std::move(block));
    }
    hosts_.push_back(make_host("disk0", 14 * kBlock + 5, seed % 2 == 0 ? 6 * kBlock + 77 : 0));
    hosts_.push_back(make_host("disk1", 12 * kBlock, 0));
    vault_ = open_vault(0);
}

VaultLife::~VaultLife() = default;

VaultLife::Mix VaultLife::draw_mix(SimulatedRandom& random) {
    const auto one_of = [&](double some, double many) { return random.chance(0.5) ? some : many; };
    return {.beside = one_of(0.35, 0.8),
            .beside_max = random.chance(0.5) ? 1 : 3,
            .begun = one_of(0.3, 0.9),
            .usurp = one_of(0.1, 0.5),
            .lose_lease = one_of(0.1, 0.7),
            .own = one_of(0.2, 0.9),
            .newest = one_of(0.1, 0.7),
            .clear = one_of(0.1, 0.6),
            .back = one_of(0.1, 0.5),
            .unique = one_of(0.2, 0.7),
            .plot = one_of(0.05, 0.3),
            .lazy = one_of(0, 0.5),
            .changes_max = random.chance(0.5) ? 3 : 8,
            .incident = one_of(0.1, 0.35),
            .dies = one_of(0.2, 0.6),
            .killed = one_of(0.1, 0.5)};
}

VaultLife::Host VaultLife::make_host(std::string name, std::uint64_t first_bytes,
                                     std::uint64_t second_bytes) {
    const Uuid source = Uuid::random();
    VolumeLayout layout = VolumeLayout::of_one(source, first_bytes);
    if (second_bytes > 0)
        layout = *VolumeLayout::of(
            {{name, source, first_bytes}, {"more", Uuid::random(), second_bytes}});
    Host host{.name = std::move(name),
              .bench = std::make_unique<SyncBench>(
                  random_.next(), BenchShape{.source_bytes = layout.size_bytes()})};
    host.bench->source_name = source;
    host.bench->target_name = host.name;
    host.bench->layout = std::move(layout);
    for (int i = 0; i < 10; ++i) {
        const Extent block = draw_block(host.bench->layout);
        host.bench->source.fill(block.offset_bytes, draw_contents(block.length_bytes));
    }
    return host;
}

void VaultLife::note(const std::string& what) {
    ++events_[what];
    history_ += what + "\n";
}

bool VaultLife::wrong(const std::string& what) {
    if (wrong_.empty()) wrong_ = what;
    return false;
}

std::shared_ptr<Vault> VaultLife::open_vault(std::uint64_t process) {
    auto store =
        std::make_shared<FolderStore>(std::make_unique<SimulatedFileLayer>(files_),
                                      [this, process](const std::string& name, HoldKind kind) {
                                          return locks_.take(process, name, kind);
                                      });
    auto vault = Vault::open(std::move(store), test_keys());
    EXPECT_TRUE(vault || dead()) << vault.error().text();
    return vault ? *vault : nullptr;
}

std::unique_ptr<TargetStore> VaultLife::start_target(Host& host) {
    host.process = ++processes_;
    if (auto vault = open_vault(host.process))
        return std::make_unique<VaultTargetStore>(std::move(vault));
    // It died over that, and will not get far.
    host.process = 0;
    return std::make_unique<VaultTargetStore>(vault_);
}

void VaultLife::arm() {
    die_at_ = random_.chance(mix_.dies) ? random_.between(1, random_.chance(0.5) ? 30 : 150) : 0;
    files_.arm({.die_at = die_at_});
}

std::string VaultLife::live(int sessions) {
    for (int i = 0; i < sessions && wrong_.empty(); ++i) {
        arm();
        session();
        if (dead()) note("died at a call");
        if (dead() && random_.chance(0.6)) {
            files_.power_loss();
            note("the power went");
        }
        die_at_ = 0;
        files_.arm({});
        judge();
    }
    if (wrong_.empty()) end();
    return wrong_.empty() ? std::string() : wrong_ + "\nhistory:\n" + history_;
}

// --- sources ------------------------------------------------------------------------------------

Extent VaultLife::draw_block(const VolumeLayout& layout) {
    const VolumePart& part = layout.parts()[random_.below(layout.parts().size())];
    const std::uint64_t offset = random_.below((part.bytes + kBlock - 1) / kBlock) * kBlock;
    return {part.start_bytes + offset, std::min<std::uint64_t>(kBlock, part.bytes - offset)};
}

VaultLife::Bytes VaultLife::draw_contents(std::uint64_t length_bytes) {
    if (random_.chance(mix_.unique)) {
        Bytes bytes(length_bytes);
        const std::uint64_t values = random_.chance(0.5) ? 256 : 5;
        for (std::byte& each : bytes)
            each = static_cast<std::byte>(random_.below(values));
        return bytes;
    }
    const std::uint64_t drawn = random_.below(kContents + 1);
    Bytes bytes = drawn < kContents ? contents_[drawn] : Bytes(kBlock);  // else zeros
    bytes.resize(length_bytes);
    return bytes;
}

void VaultLife::change(Host& host) {
    if (random_.chance(mix_.back)) go_back(host);
    for (std::uint64_t count = random_.below(mix_.changes_max); count > 0; --count) {
        const Extent block = draw_block(host.bench->layout);
        Bytes bytes = draw_contents(block.length_bytes);
        // Again what a point has, which the base of the next run may be.
        if (!host.moments.empty() && random_.chance(0.4)) {
            const auto drawn = static_cast<std::ptrdiff_t>(random_.below(host.moments.size()));
            const Bytes& before = std::next(host.moments.begin(), drawn)->second;
            const auto from = before.begin() + static_cast<std::ptrdiff_t>(block.offset_bytes);
            bytes.assign(from, from + static_cast<std::ptrdiff_t>(block.length_bytes));
        }
        host.bench->source.fill(block.offset_bytes, bytes);
        host.unnoted.push_back(block);
    }
}

// To what a point has that is there still: so an older point alone may have what comes next.
void VaultLife::go_back(Host& host) {
    if (host.must.empty()) return;
    const auto drawn = static_cast<std::ptrdiff_t>(random_.below(host.must.size()));
    const auto moment = host.moments.find(*std::next(host.must.begin(), drawn));
    if (moment == host.moments.end()) return;
    ++events_["sources that went back"];
    const Bytes now = host.bench->source.contents();
    for (const VolumePart& part : host.bench->layout.parts()) {
        for (std::uint64_t at = part.start_bytes; at < part.end_bytes(); at += kBlock) {
            const Extent block{at, std::min<std::uint64_t>(kBlock, part.end_bytes() - at)};
            const ByteSpan before =
                ByteSpan(moment->second).subspan(block.offset_bytes, block.length_bytes);
            const bool same =
                std::ranges::equal(before, ByteSpan(now).subspan(at, block.length_bytes));
            if (same || random_.chance(0.5)) continue;
            host.bench->source.fill(at, before);
            host.unnoted.push_back(block);
        }
    }
}

// --- runs ---------------------------------------------------------------------------------------

RunPlan VaultLife::draw_plan(Host& host) {
    RunPlan plan;
    const Kind kinds[] = {Kind::kExtents, Kind::kScan, Kind::kExtents, Kind::kScan,
                          Kind::kAuto,    Kind::kAuto, Kind::kFull};
    plan.kind = kinds[random_.below(host.cut_off ? 6 : 7)];
    plan.resume = random_.chance(host.cut_off ? 0.8 : 0.3);
    plan.verify = random_.chance(0.1);
    plan.block_bytes = kBlock;
    plan.buffer_bytes = 16 << 10;
    plan.buffer_count = 4;
    plan.level = random_.chance(0.5) ? 0 : 3;
    plan.checkpoint_bytes = std::uint64_t{4} << (10 + random_.below(4));
    // A resumed run of listed changes brings no others: the new ones must be listed.
    if (plan.kind == Kind::kAuto && !host.unnoted.empty()) plan.resume = false;
    if (plan.kind == Kind::kExtents) plan.extents = normalized(host.unnoted);
    if (random_.chance(mix_.killed))
        plan.kill = Kill{.side = random_.chance(0.5) ? Side::kSource : Side::kTarget,
                         .event = random_.between(host.run_events / 3, host.run_events),
                         .style = static_cast<KillStyle>(random_.below(3))};
    return plan;
}

// Some of it by the run's events; some by those behind its begin in the log.
std::function<void()> VaultLife::draw_besides(Host& host) {
    std::multiset<std::uint64_t> at;
    std::multiset<std::uint64_t> behind_begin;
    for (int i = 0; i < mix_.beside_max && random_.chance(mix_.beside); ++i) {
        if (random_.chance(mix_.begun)) {
            behind_begin.insert(random_.below(kEventsOfARun));
        } else {
            at.insert(random_.below(host.run_events));
        }
    }
    const SeriesLog log(vault_, host.name);
    return [this, &host, at, behind_begin, log, before = log.last_number().value_or(0),
            event = std::uint64_t{0}, begun = std::uint64_t{0}]() mutable {
        std::size_t times = at.count(event++);
        const bool asks = begun > 0 || !behind_begin.empty();
        if (asks && (begun > 0 || log.last_number().value_or(0) > before))
            times += behind_begin.count(begun++);
        for (; times > 0 && !dead(); --times)
            beside_run(host);
    };
}

bool VaultLife::run(Host& host, RunPlan plan, const std::function<void()>& besides) {
    plan.after_event = [this, &host, &besides] {
        // A dead process does nothing more.
        if (dead()) return host.bench->kill(Side::kTarget);
        if (besides) besides();
    };
    host.bench->make_target_store = [this, &host] { return start_target(host); };
    host.moment = host.bench->source.contents();
    const RunResult result = host.bench->run(plan);
    locks_.end(host.process);
    note(host.name + " " + describe(plan, result));
    if (result.end != RunEnd::kDone) return wrong("the run hangs");
    // Where nothing rots, what was given back under a lost lease is not said to be damaged either.
    if (result.source_error && result.source_error->code == Code::kCorrupt && !rots_)
        return wrong("a false alarm: " + result.source_error->text());
    if (result.report.resumed) ++events_["resumed, " + std::string(mode_name(result.report.mode))];
    host.cut_off = !result.succeeded();
    if (result.succeeded()) host.run_events = result.events;
    if (result.succeeded() || (result.noted && plan.kind == Kind::kExtents)) host.unnoted.clear();
    if (!result.succeeded()) return false;
    ++events_["sealed"];
    // Behind its seal, and before its source was told, it may have been deleted already.
    const Uuid& sealed = result.report.base.point;
    if (!host.going.contains(sealed)) host.must.insert(sealed);
    return true;
}

}  // namespace towline::testing
