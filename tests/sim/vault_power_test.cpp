// SPDX-License-Identifier: Apache-2.0
// A vault whose process dies at any call, and whose host loses power, again and again: what was
// sealed reads as it was, and nothing else is seen. TOWLINE_SEED is the first state's seed,
// TOWLINE_COUNT how many.

#include "tests/environment.hpp"
#include "tests/unit/simulated_holds.hpp"
#include "tests/unit/vault_fixture.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/scrub.hpp"
#include "userspace/vault/simulated_file_layer.hpp"

namespace towline::testing {
namespace {

// What a volume's points must read as, and which of them must be there.
struct Volume {
    VaultModel model;
    std::set<Uuid> must{};
    std::set<Uuid> going{};  // whose deletion was begun
    Uuid base{};
    std::vector<std::uint64_t> pending{};  // what runs that failed were to bring

    SeriesLog log() const { return {model.vault(), model.series}; }

    // Empty when all holds.
    std::string judge() {
        const auto state = log().read();
        if (!state) return state.error().text();
        if (!state->damaged.empty()) return state->damaged.begin()->second.text();
        std::set<Uuid> there;
        for (const Point& each : state->points) {
            there.insert(each.id);
            const auto known = model.sealed().find(each.id);
            if (known == model.sealed().end()) return "a point is seen that was never sealed";
            const auto bytes = model.read(each.id);
            if (!bytes) return bytes.error().text();
            if (*bytes != known->second) return "a point reads as something else";
        }
        for (const Uuid& each : must)
            if (!there.contains(each)) return "a sealed point is gone";
        must = there;  // what is seen once, stays
        for (const Uuid& each : going)
            must.erase(each);
        return {};
    }
};

class PowerLoss {
  public:
    explicit PowerLoss(std::uint64_t seed, bool syncs_lie = false)
        : random_(seed), files_(seed), syncs_lie_(syncs_lie), dedup_(seed % 3 == 1) {
        // Every fourth is encrypted: nothing of what must hold is another then.
        VaultConfig config = seed % 4 == 3 ? encrypted_config() : VaultConfig{};
        if (dedup_) config = with_dedup(std::move(config));
        EXPECT_TRUE(Vault::init(*new_store(), config));
        // Of every other world the points have two volumes: both are there, or none is.
        volumes_.push_back(
            {VaultModel(open(), 30 * kBlock + 5, seed, seed % 2 == 0 ? 11 * kBlock + 77 : 0)});
        if (!dedup_) return;
        // Equal blocks are kept once: another name has some of the first one's.
        volumes_.push_back({VaultModel(volumes_[0].model.vault(), 25 * kBlock, seed + 1)});
        volumes_[1].model.series = "disk1";
        volumes_[1].model.source = Uuid::parse("99999999-2222-3333-4444-555555555555").value();
    }

    // A life: some runs and deletions until the process dies, then maybe the power goes.
    void live() {
        files_.arm({.die_at = 1 + random_.below(dedup_ ? 200 : 120), .syncs_lie = syncs_lie_});
        for (int i = 0; i < (dedup_ ? 10 : 6); ++i)
            if (!step(some_volume())) break;
        if (random_.chance(0.7)) files_.power_loss();
        files_.arm({.syncs_lie = syncs_lie_});
        const auto vault = open();
        for (Volume& each : volumes_)
            each.model.reopen(vault);
    }
    std::string judge() {
        for (Volume& each : volumes_) {
            std::string wrong = each.judge();
            if (!wrong.empty()) return wrong;
        }
        return {};
    }
    std::string end() {
        for (const Volume& each : volumes_) {
            const auto collected = collect(each);
            if (!collected) return collected.error().text();
        }
        const auto report = Scrub(volumes_[0].model.vault(), {.threads = 1}).run();
        if (!report) return report.error().text();
        if (!report->sound()) return report->findings[0].object + ": " + report->findings[0].what;
        return judge();
    }
    std::uint64_t shared_bytes() const { return shared_bytes_; }

  private:
    std::shared_ptr<ObjectStore> new_store() {
        return std::make_shared<FolderStore>(
            std::make_unique<SimulatedFileLayer>(files_),
            [this](const std::string& name, HoldKind kind) -> Result<std::unique_ptr<ObjectHold>> {
                if (name.starts_with("collect/")) return holds_.take(name, kind);
                return std::make_unique<ObjectHold>();
            });
    }
    std::shared_ptr<Vault> open() {
        auto vault = Vault::open(new_store(), test_keys());
        EXPECT_TRUE(vault) << vault.error().text();
        return vault ? *vault : nullptr;
    }
    Volume& some_volume() {
        return volumes_.size() == 1 || random_.chance(0.5) ? volumes_[0] : volumes_[1];
    }
    static Result<CollectReport> collect(const Volume& volume) {
        return Collector(volume.model.vault(), volume.model.series, {.dead_share_max = 0})
            .collect();
    }
    bool step(Volume& volume) {
        const auto state = volume.log().read();
        if (!state) return false;
        if (state->points.size() > 2 && random_.chance(0.25)) return delete_some(volume, *state);
        if (random_.chance(0.2)) return collect(volume).has_value();
        return run(volume, *state);
    }
    bool delete_some(Volume& volume, const SeriesState& state) {
        std::vector<std::uint64_t> numbers;
        for (const Point& each : state.points) {
            if (!random_.chance(0.4)) continue;
            numbers.push_back(each.number);
            volume.going.insert(each.id);
            volume.must.erase(each.id);
        }
        return Collector(volume.model.vault(), volume.model.series)
            .delete_points(numbers)
            .has_value();
    }
    std::vector<std::uint64_t> change_some(Volume& volume, std::size_t count) {
        const auto blocks = volume.model.change_some(count);
        if (!dedup_) return blocks;
        const Volume& other = &volume == volumes_.data() ? volumes_[1] : volumes_[0];
        for (const std::uint64_t each : blocks)
            if (random_.chance(0.6)) volume.model.take(other.model, random_.below(25), each);
        return blocks;
    }
    // While a run of this one goes on, the other name is pruned: what the run has found must stay.
    bool prune_other(Volume& volume) {
        Volume& other = &volume == volumes_.data() ? volumes_[1] : volumes_[0];
        const auto state = other.log().read();
        if (!state || !delete_some(other, *state)) return false;
        return collect(other).has_value();
    }
    bool run(Volume& volume, const SeriesState& state) {
        VaultModel& model = volume.model;
        const bool first = state.points.empty();
        // Changes are known against the point that was sealed last, and against no other.
        const bool based = !first && state.newest()->id == volume.base;
        const bool full = !based || random_.chance(0.1);
        const auto blocks = change_some(volume, first ? 20 : 3);
        volume.pending.insert(volume.pending.end(), blocks.begin(), blocks.end());
        const auto writer = model.begin(full ? RunMode::kFull : RunMode::kExtents);
        if (!writer) return false;
        std::set<std::uint64_t> wanted(volume.pending.begin(), volume.pending.end());
        if (full)
            for (std::uint64_t i = 0; i < model.block_count(); ++i)
                if (model.room(i) > 0) wanted.insert(i);
        for (const std::uint64_t each : wanted) {
            if (!model.put(**writer, each)) return false;
            if (random_.chance(0.05) && !(*writer)->flush()) return false;
        }
        if (dedup_ && random_.chance(0.2) && !prune_other(volume)) return false;
        const Uuid id = model.expected_point();
        const auto point = model.seal(**writer);
        if (!point) return false;
        for (const PointVolume& each : point->volumes)
            shared_bytes_ += each.shared_bytes;
        volume.must.insert(id);
        volume.base = id;
        volume.pending.clear();
        return true;
    }

    SimulatedRandom random_;
    SimulatedFolder files_;
    bool syncs_lie_;
    bool dedup_;
    SimulatedHolds holds_;
    std::vector<Volume> volumes_;
    std::uint64_t shared_bytes_ = 0;  // that were found, and not stored again
};

std::string first_wrong(std::uint64_t seed, int lives, bool syncs_lie = false) {
    PowerLoss world(seed, syncs_lie);
    for (int life = 0; life < lives; ++life) {
        world.live();
        const std::string wrong = world.judge();
        if (!wrong.empty()) return "life " + std::to_string(life) + ": " + wrong;
    }
    return world.end();
}

constexpr int kLives = 5;  // a state each

}  // namespace

TEST(VaultPower, WhatWasSealedIsThere) {
    const std::uint64_t first = from_environment("TOWLINE_SEED", 1);
    const std::uint64_t count = from_environment("TOWLINE_COUNT", 400) / kLives;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        const std::string wrong = first_wrong(seed, kLives);
        if (!wrong.empty()) {
            ADD_FAILURE() << wrong << "; replay: TOWLINE_SEED=" << seed
                          << " TOWLINE_COUNT=" << kLives;
        }
    }
}

// A writer that died between naming an object and syncing its folder: whoever is told of the object
// may stand upon it.
TEST(VaultPower, WhatIsListedIsThereAfterwards) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        SimulatedFolder files(seed);
        SimulatedFileLayer writer(files);
        ASSERT_TRUE(writer.make_folder("log/data/"));
        const auto file = std::move(*writer.create());
        ASSERT_TRUE(file->write(0, std::as_bytes(std::span("entry"))));
        ASSERT_TRUE(file->finish(5));
        ASSERT_TRUE(file->publish("log/data/1").value());
        FolderStore store(
            std::make_unique<SimulatedFileLayer>(files), [](const std::string&, HoldKind) {
                return Result<std::unique_ptr<ObjectHold>>(std::make_unique<ObjectHold>());
            });
        ASSERT_EQ(store.list("log/data/").value().size(), 1U);
        files.power_loss();
        EXPECT_EQ(store.list("log/data/").value().size(), 1U) << "seed " << seed;
    }
}

// A disk that is full at any write costs no point, and once there is room the next run is one.
TEST(VaultPower, AFullDiskCostsNoPoint) {
    for (std::uint64_t nth = 1; nth < 40; ++nth) {
        SimulatedFolder files(nth);
        const auto store = std::make_shared<FolderStore>(
            std::make_unique<SimulatedFileLayer>(files), [](const std::string&, HoldKind) {
                return Result<std::unique_ptr<ObjectHold>>(std::make_unique<ObjectHold>());
            });
        ASSERT_TRUE(Vault::init(*store, {}));
        VaultModel model(*Vault::open(store), 20 * kBlock);
        model.change_some(20);
        ASSERT_TRUE(model.full());
        const auto blocks = model.change_some(5);
        files.arm({.no_space_at = nth});
        const auto point = model.run(RunMode::kExtents, blocks);
        if (!point) {
            EXPECT_EQ(point.error().code, Code::kNoSpace) << point.error().text();
        }
        EXPECT_EQ(model.check_all(), point ? 2U : 1U) << "write " << nth;
        files.arm({});
        ASSERT_TRUE(model.run(RunMode::kExtents, blocks));
        EXPECT_EQ(model.check_all(), point ? 3U : 2U) << "write " << nth;
    }
}

// It is about what it says: of the worlds that keep equal blocks once, runs do find some.
TEST(VaultPower, EqualBlocksAreFound) {
    std::uint64_t shared = 0;
    for (const std::uint64_t seed : {1U, 4U, 7U, 10U, 13U}) {
        PowerLoss world(seed);
        for (int life = 0; life < kLives; ++life)
            world.live();
        EXPECT_EQ(world.end(), "");
        shared += world.shared_bytes();
    }
    EXPECT_GT(shared, 10'000U);
}

// The simulation can fail: a disk that lies about its syncs loses points.
TEST(VaultPower, AMissingSyncIsNoticed) {
    std::size_t noticed = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed)
        noticed += first_wrong(seed, kLives, true).empty() ? 0 : 1;
    EXPECT_GT(noticed, 10U);
}

}  // namespace towline::testing
