// SPDX-License-Identifier: Apache-2.0
// A vault whose process dies at any call, and whose host loses power, again and again: what was
// sealed reads as it was, and nothing else is seen. TOWLINE_SEED is the first state's seed,
// TOWLINE_COUNT how many.

#include <cstdlib>

#include "tests/unit/vault_fixture.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/scrub.hpp"
#include "userspace/vault/simulated_file_layer.hpp"

namespace towline::testing {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

class PowerLoss {
  public:
    explicit PowerLoss(std::uint64_t seed, bool syncs_lie = false)
        : random_(seed), files_(seed), syncs_lie_(syncs_lie) {
        // Every fourth is encrypted: nothing of what must hold is another then.
        EXPECT_TRUE(Vault::init(*new_store(), seed % 4 == 3 ? encrypted_config() : VaultConfig{}));
        // Of every other world the points have two volumes: both are there, or none is.
        model_.emplace(open(), 30 * kBlock + 5, seed, seed % 2 == 0 ? 11 * kBlock + 77 : 0);
    }

    // A life: some runs and deletions until the process dies, then maybe the power goes.
    void live() {
        files_.arm({.die_at = 1 + random_.below(120), .syncs_lie = syncs_lie_});
        for (int i = 0; i < 6; ++i)
            if (!step()) break;
        if (random_.chance(0.7)) files_.power_loss();
        files_.arm({.syncs_lie = syncs_lie_});
        model_->reopen(open());
    }
    // Empty when all holds.
    std::string judge() {
        const auto state = SeriesLog(model_->vault(), model_->series).read();
        if (!state) return state.error().text();
        if (!state->damaged.empty()) return state->damaged.begin()->second.text();
        std::set<Uuid> there;
        for (const Point& each : state->points) {
            there.insert(each.id);
            const auto known = model_->sealed().find(each.id);
            if (known == model_->sealed().end()) return "a point is seen that was never sealed";
            const auto bytes = model_->read(each.id);
            if (!bytes) return bytes.error().text();
            if (*bytes != known->second) return "a point reads as something else";
        }
        for (const Uuid& each : must_)
            if (!there.contains(each)) return "a sealed point is gone";
        must_ = there;  // what is seen once, stays
        for (const Uuid& each : going_)
            must_.erase(each);
        return {};
    }
    std::string end() {
        Collector collector(model_->vault(), model_->series);
        const auto collected = collector.collect();
        if (!collected) return collected.error().text();
        const auto report = Scrub(model_->vault(), {.threads = 1}).run();
        if (!report) return report.error().text();
        if (!report->sound()) return report->findings[0].object + ": " + report->findings[0].what;
        return judge();
    }

  private:
    std::shared_ptr<ObjectStore> new_store() {
        return std::make_shared<FolderStore>(
            std::make_unique<SimulatedFileLayer>(files_), [](const std::string&, HoldKind) {
                return Result<std::unique_ptr<ObjectHold>>(std::make_unique<ObjectHold>());
            });
    }
    std::shared_ptr<Vault> open() {
        auto vault = Vault::open(new_store(), test_keys());
        EXPECT_TRUE(vault) << vault.error().text();
        return vault ? *vault : nullptr;
    }
    bool step() {
        const auto state = SeriesLog(model_->vault(), model_->series).read();
        if (!state) return false;
        if (state->points.size() > 2 && random_.chance(0.25)) return delete_some(*state);
        if (random_.chance(0.2))
            return Collector(model_->vault(), model_->series, {.dead_share_max = 0})
                .collect()
                .has_value();
        return run(*state);
    }
    bool delete_some(const SeriesState& state) {
        std::vector<std::uint64_t> numbers;
        for (const Point& each : state.points) {
            if (!random_.chance(0.4)) continue;
            numbers.push_back(each.number);
            going_.insert(each.id);
            must_.erase(each.id);
        }
        return Collector(model_->vault(), model_->series).delete_points(numbers).has_value();
    }
    bool run(const SeriesState& state) {
        const bool first = state.points.empty();
        // Changes are known against the point that was sealed last, and against no other.
        const bool based = !first && state.newest()->id == base_;
        const bool full = !based || random_.chance(0.1);
        const auto blocks = model_->change_some(first ? 20 : 3);
        pending_.insert(pending_.end(), blocks.begin(), blocks.end());
        const auto writer = model_->begin(full ? RunMode::kFull : RunMode::kExtents);
        if (!writer) return false;
        std::set<std::uint64_t> wanted(pending_.begin(), pending_.end());
        if (full)
            for (std::uint64_t i = 0; i < model_->block_count(); ++i)
                if (model_->room(i) > 0) wanted.insert(i);
        for (const std::uint64_t each : wanted) {
            if (!model_->put(**writer, each)) return false;
            if (random_.chance(0.05) && !(*writer)->flush()) return false;
        }
        const Uuid point = model_->expected_point();
        if (!model_->seal(**writer)) return false;
        must_.insert(point);
        base_ = point;
        pending_.clear();
        return true;
    }

    SimulatedRandom random_;
    SimulatedFolder files_;
    bool syncs_lie_;
    std::optional<VaultModel> model_;
    std::set<Uuid> must_;
    std::set<Uuid> going_;  // whose deletion was begun
    Uuid base_;
    std::vector<std::uint64_t> pending_;  // what runs that failed were to bring
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

// The simulation can fail: a disk that lies about its syncs loses points.
TEST(VaultPower, AMissingSyncIsNoticed) {
    std::size_t noticed = 0;
    for (std::uint64_t seed = 1; seed <= 20; ++seed)
        noticed += first_wrong(seed, kLives, true).empty() ? 0 : 1;
    EXPECT_GT(noticed, 10U);
}

}  // namespace towline::testing
