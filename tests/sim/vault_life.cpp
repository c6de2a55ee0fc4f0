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
    return seed % 3 == 1 ? with_dedup(std::move(config)) : config;
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
      rots_(seed % 4 != 3 && seed % 5 == 0) {
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
    die_at_ = random_.chance(0.5) ? random_.between(1, random_.chance(0.5) ? 30 : 150) : 0;
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
    const std::uint64_t drawn = random_.below(kContents + 2);
    Bytes bytes = drawn < kContents ? contents_[drawn] : Bytes(kBlock);  // else zeros
    // Now and then one that nobody else has.
    if (drawn == kContents + 1)
        for (std::byte& each : bytes)
            each = static_cast<std::byte>(random_.below(random_.chance(0.5) ? 256 : 5));
    bytes.resize(length_bytes);
    return bytes;
}

void VaultLife::change(Host& host) {
    SyncBench& bench = *host.bench;
    for (std::uint64_t count = random_.below(8); count > 0; --count) {
        const Extent block = draw_block(bench.layout);
        Bytes bytes = draw_contents(block.length_bytes);
        // Again what a point has, which the base of the next run may be.
        if (!host.moments.empty() && random_.chance(0.4)) {
            const Bytes& before =
                std::next(host.moments.begin(),
                          static_cast<std::ptrdiff_t>(random_.below(host.moments.size())))
                    ->second;
            const auto from = before.begin() + static_cast<std::ptrdiff_t>(block.offset_bytes);
            bytes.assign(from, from + static_cast<std::ptrdiff_t>(block.length_bytes));
        }
        bench.source.fill(block.offset_bytes, bytes);
        host.unnoted.push_back(block);
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
    if (random_.chance(0.4))
        plan.kill = Kill{.side = random_.chance(0.5) ? Side::kSource : Side::kTarget,
                         .event = random_.between(host.run_events / 3, host.run_events),
                         .style = static_cast<KillStyle>(random_.below(3))};
    return plan;
}

bool VaultLife::run(Host& host, RunPlan plan, bool alone) {
    const std::uint64_t beside =
        !alone && random_.chance(0.35) ? random_.below(host.run_events) : UINT64_MAX;
    plan.after_event = [this, &host, beside, event = std::uint64_t{0}]() mutable {
        // A dead process does nothing more.
        if (dead()) host.bench->kill(Side::kTarget);
        if (event++ == beside && !dead()) beside_run(host);
    };
    host.bench->make_target_store = [this, &host] { return start_target(host); };
    host.moment = host.bench->source.contents();
    host.leased = true;
    const RunResult result = host.bench->run(plan);
    locks_.end(host.process);
    note(host.name + " " + describe(plan, result));
    if (result.end != RunEnd::kDone) return wrong("the run hangs");
    // Without its lease, what it compares with may be deleted and given back.
    const bool may_miss = rots_ || !host.leased;
    if (result.source_error && result.source_error->code == Code::kCorrupt && !may_miss)
        return wrong("a false alarm: " + result.source_error->text());
    if (result.report.resumed) ++events_["resumed, " + std::string(mode_name(result.report.mode))];
    host.cut_off = !result.succeeded();
    if (result.succeeded()) host.run_events = result.events;
    if (result.succeeded() || (result.noted && plan.kind == Kind::kExtents)) host.unnoted.clear();
    if (!result.succeeded()) return false;
    ++events_["sealed"];
    host.must.insert(result.report.base.point);
    return true;
}

}  // namespace towline::testing
