// SPDX-License-Identifier: Apache-2.0
// A run finds blocks, and is sealed, in between any two calls that a collection makes to the store:
// what it found is there, whatever of it nobody else shows any more.

#include <algorithm>

#include <gtest/gtest.h>

#include "simulated_holds.hpp"
#include "userspace/vault/collector.hpp"
#include "userspace/vault/folder_store.hpp"
#include "userspace/vault/scrub.hpp"
#include "userspace/vault/simulated_file_layer.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {
namespace {

constexpr std::uint64_t kBlocks = 12;

// Sanitizers make it some thirty times as slow: with them every seventh call, without them each.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TOWLINE_SLOW_RACE
#endif
#endif
#ifdef TOWLINE_SLOW_RACE
constexpr std::uint64_t kStep = 7;
#else
constexpr std::uint64_t kStep = 1;
#endif

// Somebody else's turn comes before the nth call.
class InterruptedStore final : public ObjectStore {
  public:
    InterruptedStore(std::shared_ptr<ObjectStore> beneath, std::uint64_t nth,
                     std::function<void()> turn)
        : beneath_(std::move(beneath)), nth_(nth), turn_(std::move(turn)) {}
    std::uint64_t calls() const { return calls_; }

    Result<std::unique_ptr<ObjectUpload>> begin_put(const std::string& name) override {
        return call().begin_put(name);
    }
    Result<std::size_t> get_range(const std::string& name, std::uint64_t offset_bytes,
                                  MutableByteSpan into) override {
        return call().get_range(name, offset_bytes, into);
    }
    Result<std::optional<std::uint64_t>> size(const std::string& name) override {
        return call().size(name);
    }
    Result<std::vector<ObjectInfo>> list(const std::string& folder) override {
        return call().list(folder);
    }
    Result<std::vector<std::string>> list_folders(const std::string& folder) override {
        return call().list_folders(folder);
    }
    Status remove(std::span<const std::string> names) override { return call().remove(names); }
    Result<std::unique_ptr<ObjectHold>> hold(const std::string& name, HoldKind kind) override {
        return call().hold(name, kind);
    }
    Result<std::uint64_t> sweep() override { return call().sweep(); }

  private:
    ObjectStore& call() {
        if (++calls_ == nth_) turn_();
        return *beneath_;
    }

    std::shared_ptr<ObjectStore> beneath_;
    std::uint64_t nth_;
    std::function<void()> turn_;
    std::uint64_t calls_ = 0;
};

// One vault, a volume whose points are deleted and collected, and another one that has what it had.
struct Race {
    SimulatedFolder files{7};
    SimulatedHolds holds;
    std::shared_ptr<ObjectStore> store = std::make_shared<FolderStore>(
        std::make_unique<SimulatedFileLayer>(files),
        [this](const std::string& name, HoldKind kind) { return holds.take(name, kind); });
    std::shared_ptr<Vault> vault = made();
    VaultModel first{vault, kBlocks* kBlock};
    VaultModel second{vault, kBlocks* kBlock};
    std::unique_ptr<RunWriter> writer;
    std::uint64_t shared_bytes = 0;

    Race() {
        second.series = "disk1";
        second.source = Uuid::parse("99999999-2222-3333-4444-555555555555").value();
        std::vector<std::uint64_t> all;
        for (std::uint64_t i = 0; i < kBlocks; ++i) {
            std::ranges::generate(first.block(i),
                                  [&] { return static_cast<std::byte>(first.random()() % 7); });
            second.take(first, i, kBlocks - 1 - i);
            all.push_back(i);
        }
        // Some of the first one's blocks stay in use, in a segment of which others do not.
        EXPECT_TRUE(first.run(RunMode::kFull, all));
        first.change(0);
        EXPECT_TRUE(first.run(RunMode::kExtents, {0}));
        for (const std::uint64_t each : {3U, 4U, 5U, 6U})
            std::ranges::fill(first.block(each), std::byte{0});
        EXPECT_TRUE(first.run(RunMode::kExtents, {3, 4, 5, 6}));
    }

    std::shared_ptr<Vault> made() const {
        EXPECT_TRUE(Vault::init(*store, with_dedup()));
        return Vault::open(store, test_keys()).value();
    }
    void begin() {
        auto begun = second.begin(RunMode::kFull);
        ASSERT_TRUE(begun) << begun.error().text();
        writer = std::move(*begun);
    }
    void put(std::uint64_t from, std::uint64_t to) {
        for (std::uint64_t i = from; i < to; ++i)
            ASSERT_TRUE(second.put(*writer, i));
    }
    void seal() {
        const auto point = second.seal(*writer);
        ASSERT_TRUE(point) << point.error().text();
        shared_bytes = point->volumes[0].shared_bytes;
        writer.reset();
    }

    // All points but the newest go. How many calls that was.
    std::uint64_t collect(std::uint64_t nth, const std::function<void()>& turn) {
        const auto state = SeriesLog(vault, first.series).read();
        const std::vector<std::uint64_t> old(state->counting.begin(), state->counting.end() - 1);
        EXPECT_TRUE(Collector(vault, first.series).delete_points(old));
        const auto interrupted = std::make_shared<InterruptedStore>(store, nth, turn);
        const auto opened = Vault::open(std::shared_ptr<ObjectStore>(interrupted), test_keys());
        const auto report = Collector(*opened, first.series, {.dead_share_max = 0}).collect();
        EXPECT_TRUE(report) << report.error().text();
        if (interrupted->calls() < nth) turn();  // it was over sooner than the time before
        return interrupted->calls();
    }
    void judge() const {
        EXPECT_EQ(first.check_all(), 1U);
        EXPECT_EQ(second.check_all(), 1U);
        // What was spared for the run is of no use to anybody by now, or in use.
        EXPECT_TRUE(Collector(vault, first.series, {.dead_share_max = 0}).collect());
        const auto report = Scrub(vault, {.threads = 1}).run();
        ASSERT_TRUE(report) << report.error().text();
        for (const auto& each : report->findings)
            ADD_FAILURE() << each.object << ": " << each.what;
        EXPECT_EQ(report->garbage_bytes, 0U);
        EXPECT_EQ(second.check_all(), 1U);
    }
};

// Runs `before`, the collection with `turn` at each of its calls in turn, and `after`; what was
// found in all of them.
using Step = void (*)(Race&);
std::uint64_t at_every_call(Step before, Step turn, Step after) {
    std::uint64_t shared_bytes = 0;
    for (std::uint64_t nth = 1, calls = 1; nth <= calls; nth += kStep) {
        SCOPED_TRACE("call " + std::to_string(nth));
        Race race;
        before(race);
        calls = race.collect(nth, [&] { turn(race); });
        after(race);
        race.judge();
        shared_bytes += race.shared_bytes;
        if (::testing::Test::HasFailure()) break;
    }
    return shared_bytes;
}

void nothing(Race&) {}
void begin(Race& race) {
    race.begin();
}
void find_half(Race& race) {
    race.begin();
    race.put(0, kBlocks / 2);
}
void find_and_seal(Race& race) {
    if (!race.writer) race.begin();
    race.put(0, kBlocks);
    race.seal();
}
void find_rest_and_seal(Race& race) {
    race.put(kBlocks / 2, kBlocks);
    race.seal();
}

}  // namespace

TEST(VaultDedupRace, ARunComesAndGoes) {
    EXPECT_GT(at_every_call(nothing, find_and_seal, nothing), 1000U);
}

TEST(VaultDedupRace, ARunThatHadBegunFindsAndIsSealed) {
    EXPECT_GT(at_every_call(begin, find_and_seal, nothing), 1000U);
}

TEST(VaultDedupRace, ARunThatHadFoundSomeIsSealed) {
    EXPECT_GT(at_every_call(find_half, find_rest_and_seal, nothing), 1000U);
}

TEST(VaultDedupRace, ARunFindsSomeAndIsSealedLater) {
    EXPECT_GT(at_every_call(nothing, find_half, find_rest_and_seal), 1000U);
}

// The other way round: points are deleted and all that is of no use is taken, in between any two
// calls of the run.
TEST(VaultDedupRace, ACollectionComesAndGoes) {
    std::uint64_t shared_bytes = 0;
    for (std::uint64_t nth = 1, calls = 1; nth <= calls; nth += kStep) {
        SCOPED_TRACE("call " + std::to_string(nth));
        Race race;
        const auto interrupted = std::make_shared<InterruptedStore>(
            race.store, nth, [&] { race.collect(~std::uint64_t{0}, [] {}); });
        race.second.reopen(
            Vault::open(std::shared_ptr<ObjectStore>(interrupted), test_keys()).value());
        find_and_seal(race);
        calls = interrupted->calls();
        race.second.reopen(race.vault);
        race.judge();
        shared_bytes += race.shared_bytes;
        if (HasFailure()) break;
    }
    EXPECT_GT(shared_bytes, 1000U);
}

TEST(VaultDedupRace, ARunThatDiesKeepsNothing) {
    for (std::uint64_t nth = 1, calls = 1; nth <= calls; nth += kStep) {
        Race race;
        calls = race.collect(nth, [&] {
            find_half(race);
            race.writer.reset();
        });
        EXPECT_EQ(race.first.check_all(), 1U);
        ASSERT_TRUE(Collector(race.vault, race.first.series, {.dead_share_max = 0}).collect());
        EXPECT_EQ(race.first.check_all(), 1U);
    }
}

}  // namespace towline::testing
