// SPDX-License-Identifier: Apache-2.0
// Which entries of a log count.

#include "userspace/vault/series_log.hpp"

#include <gtest/gtest.h>

#include "vault_fixture.hpp"

namespace towline {

namespace {

using Numbers = std::vector<std::uint64_t>;

Begin begin(std::uint64_t number, Numbers points) {
    Begin entry;
    entry.number = number;
    entry.points = std::move(points);
    return entry;
}

Point point(std::uint64_t number, std::uint64_t epoch) {
    Point entry;
    entry.number = number;
    entry.begin = epoch;
    return entry;
}

Delete deleted(std::uint64_t number, Numbers points, std::uint64_t ended = 0) {
    return {.number = number, .points = std::move(points), .ended = ended};
}

// Lists everything, and does not give one of it.
class WithholdingStore final : public ObjectStore {
  public:
    explicit WithholdingStore(std::unique_ptr<ObjectStore> whole) : whole_(std::move(whole)) {}
    Result<std::unique_ptr<ObjectUpload>> begin_put(const std::string& name) override {
        return whole_->begin_put(name);
    }
    Result<std::size_t> get_range(const std::string& name, std::uint64_t offset_bytes,
                                  MutableByteSpan into) override {
        if (name == withheld) return fail_errno(ENOENT, "cannot open " + name);
        return whole_->get_range(name, offset_bytes, into);
    }
    Result<std::optional<std::uint64_t>> size(const std::string& name) override {
        if (name == withheld) return std::optional<std::uint64_t>();
        return whole_->size(name);
    }
    Result<std::vector<ObjectInfo>> list(const std::string& folder) override {
        return whole_->list(folder);
    }
    Result<std::vector<std::string>> list_folders(const std::string& folder) override {
        return whole_->list_folders(folder);
    }
    Status remove(std::span<const std::string> names) override { return whole_->remove(names); }
    Result<std::unique_ptr<ObjectHold>> hold(const std::string& name, HoldKind kind) override {
        return whole_->hold(name, kind);
    }
    Result<std::uint64_t> sweep() override { return whole_->sweep(); }

    std::string withheld;

  private:
    std::unique_ptr<ObjectStore> whole_;
};

}  // namespace

TEST(SeriesLog, PointsCountInOrder) {
    const auto state = judge_log({begin(1, {}), point(2, 1), begin(3, {2}), point(4, 3)});
    EXPECT_EQ(state.counting, (Numbers{2, 4}));
    EXPECT_EQ(state.outdated, Numbers{1});
    EXPECT_EQ(state.last_number, 4U);
    EXPECT_EQ(state.unfinished(), nullptr);
}

TEST(SeriesLog, ABeginWithoutItsPointIsUnfinished) {
    const auto state = judge_log({begin(1, {}), point(2, 1), begin(3, {2})});
    EXPECT_EQ(state.counting, Numbers{2});
    ASSERT_NE(state.unfinished(), nullptr);
    EXPECT_EQ(state.unfinished()->number, 3U);
}

TEST(SeriesLog, ALateWriterCountsNowhere) {
    // Epoch 1 slept while 2 began. Behind it, and in a number that became free before it.
    EXPECT_EQ(judge_log({begin(1, {}), begin(2, {}), point(3, 1)}).counting, Numbers{});
    EXPECT_EQ(judge_log({point(2, 1), begin(3, {}), point(4, 3)}).counting, Numbers{4});
    // Of an entry that is behind both, too.
    EXPECT_EQ(judge_log({begin(3, {}), point(4, 3), point(5, 1)}).counting, Numbers{4});
}

TEST(SeriesLog, DeletedPointsAreGoneThoughTheirEntriesAreThere) {
    const auto state =
        judge_log({begin(1, {}), point(2, 1), begin(3, {2}), point(4, 3), deleted(5, {4}, 3)});
    EXPECT_EQ(state.counting, Numbers{4});
    EXPECT_EQ(state.outdated, (Numbers{1, 2}));
    // And a begin that did not see the delete yet cannot bring them back: it was put behind it.
    EXPECT_EQ(judge_log({begin(3, {2}), point(4, 3), deleted(5, {4}), begin(6, {4})}).counting,
              Numbers{4});
}

TEST(SeriesLog, ARunWhosePointWasDeletedIsNotUnfinished) {
    EXPECT_EQ(judge_log({begin(1, {}), deleted(3, {}, 1)}).unfinished(), nullptr);
    EXPECT_NE(judge_log({begin(1, {}), deleted(3, {}, 0)}).unfinished(), nullptr);
}

TEST(SeriesLog, ALostEntryIsMissed) {
    const auto state = judge_log({begin(3, {2}), point(4, 3)});
    EXPECT_EQ(state.counting, (Numbers{2, 4}));
    EXPECT_EQ(state.points.size(), 1U);
}

// Else the point before it would pass for the latest.
TEST(SeriesLog, ALastEntryThatIsListedAndNotGivenIsDamage) {
    const testing::TemporaryFolder folder;
    ASSERT_TRUE(Vault::init(folder.path(), {}));
    const auto store = std::make_shared<WithholdingStore>(FolderStore::open(folder.path()).value());
    const auto vault = Vault::open(store).value();
    testing::VaultModel model(vault, 8 * testing::kBlock);
    ASSERT_TRUE(model.full());
    ASSERT_TRUE(model.run(RunMode::kExtents, model.change_some(2)));
    const SeriesLog log(vault, model.series);
    const SeriesState whole = log.read().value();
    ASSERT_TRUE(whole.damaged.empty());
    store->withheld = store->list("log/" + model.series + "/").value().back().name;
    const SeriesState state = log.read().value();
    EXPECT_EQ(state.last_number, whole.last_number);
    EXPECT_TRUE(state.damaged.contains(whole.last_number));
    EXPECT_FALSE(state.refuse_damaged());
}

}  // namespace towline
