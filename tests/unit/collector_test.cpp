// SPDX-License-Identifier: Apache-2.0
// Deleting points gives their space back, and nothing that anybody needs.

#include "userspace/vault/collector.hpp"

#include <algorithm>

#include "userspace/vault/scrub.hpp"
#include "vault_fixture.hpp"

namespace towline::testing {

namespace {

struct CollectorTest : ::testing::Test {
    TemporaryFolder folder;
    VaultModel model{new_vault(folder.path() + "/vault"), 300 * kBlock};

    std::vector<std::uint64_t> numbers() {
        return SeriesLog(model.vault(), model.series).read()->counting;
    }
    void runs(int count) {
        for (int i = 0; i < count; ++i)
            ASSERT_TRUE(model.run(RunMode::kExtents, model.change_some(20)));
    }
    void expect_sound() {
        auto report = Scrub(model.vault(), {}).run();
        ASSERT_TRUE(report) << report.error().text();
        for (const auto& each : report->findings)
            ADD_FAILURE() << each.object << ": " << each.what;
        EXPECT_EQ(report->garbage_bytes, 0U);
    }
    // Of the points that are left, from nothing.
    std::uint64_t bytes_of_one_full() {
        VaultModel fresh(new_vault(folder.path() + "/fresh"), model.contents().size());
        std::ranges::copy(model.contents(), fresh.block(0).data());
        EXPECT_TRUE(fresh.full());
        return Collector(fresh.vault(), fresh.series).collect()->bytes_before;
    }
};

}  // namespace

TEST_F(CollectorTest, WhatIsLeftReadsAndTheRestIsGivenBack) {
    model.change_some(300);
    ASSERT_TRUE(model.full());
    runs(30);
    auto all = numbers();
    const std::vector<std::uint64_t> gone(all.begin(), all.end() - 2);
    Collector collector(model.vault(), model.series);
    const auto report = collector.delete_points(gone);
    ASSERT_TRUE(report) << report.error().text();
    EXPECT_EQ(report->deleted.size(), 29U);
    EXPECT_EQ(model.check_all(), 2U);
    const auto collected = collector.collect();
    ASSERT_TRUE(collected) << collected.error().text();
    EXPECT_EQ(model.check_all(), 2U);
    expect_sound();
    // Two points differ by 20 blocks: little more than one.
    const auto again = collector.collect();
    ASSERT_TRUE(again);
    EXPECT_EQ(again->bytes_before, collected->bytes_after);
    EXPECT_LT(again->bytes_before, bytes_of_one_full() * 3 / 2);
}

TEST_F(CollectorTest, AnyPointsCanGoInAnyOrder) {
    model.change_some(100);
    ASSERT_TRUE(model.full());
    for (int round = 0; round < 25; ++round) {
        // The newest may have gone, and with it what changes stand upon.
        ASSERT_TRUE(model.full());
        runs(3);
        auto all = numbers();
        std::ranges::shuffle(all, model.random());
        all.resize(model.random()() % all.size());
        Collector collector(model.vault(), model.series);
        ASSERT_TRUE(collector.delete_points(all));
        if (round % 2 == 0) {
            ASSERT_TRUE(collector.collect());
        }
        model.check_all();
        if (HasFailure()) return;
    }
    Collector collector(model.vault(), model.series);
    ASSERT_TRUE(collector.collect());
    expect_sound();
    ASSERT_TRUE(collector.delete_points(numbers()));
    ASSERT_TRUE(collector.collect());
    EXPECT_EQ(model.check_all(), 0U);
    EXPECT_EQ(collector.collect()->bytes_before, 0U);
    // And the name goes on.
    ASSERT_TRUE(model.full());
    EXPECT_EQ(model.check_all(), 1U);
}

TEST_F(CollectorTest, AReaderKeepsItsPoint) {
    ASSERT_TRUE(model.full());
    const Uuid first = model.expected_point();
    runs(2);
    auto open = OpenPoint::open(model.vault(), model.series, first.text());
    ASSERT_TRUE(open);
    const auto all = numbers();
    Collector collector(model.vault(), model.series);
    const auto report = collector.delete_points({all[0], all[1]});
    ASSERT_TRUE(report);
    EXPECT_EQ(report->pinned, std::vector{all[0]});
    ASSERT_TRUE(collector.collect());
    EXPECT_EQ(model.check_all(), 2U);
    EXPECT_TRUE(model.read(first));
}

TEST_F(CollectorTest, AnUnfinishedRunKeepsWhatItHas) {
    model.change_some(100);
    ASSERT_TRUE(model.full());
    runs(3);
    const auto blocks = model.change_some(10);
    {
        const auto writer = model.begin(RunMode::kExtents);
        ASSERT_TRUE(writer);
        for (const std::uint64_t each : blocks)
            ASSERT_TRUE(model.put(**writer, each));
        ASSERT_TRUE((*writer)->flush());
        // Beside the writer: its base stays, older ones go.
        const auto all = numbers();
        Collector collector(model.vault(), model.series);
        EXPECT_EQ(error_of(collector.delete_points({all.back()})).code, Code::kBusy);
        ASSERT_TRUE(collector.delete_points({all[0], all[1]}));
        ASSERT_TRUE(collector.collect());
    }
    Collector collector(model.vault(), model.series);
    ASSERT_TRUE(collector.collect());
    const auto writer = model.begin(RunMode::kExtents, true);
    ASSERT_TRUE(writer) << writer.error().text();
    ASSERT_TRUE(model.seal(**writer));
    EXPECT_EQ(model.check_all(), 3U);
    ASSERT_TRUE(collector.collect());
    expect_sound();
}

TEST_F(CollectorTest, AWriterSealsBesideACollector) {
    model.change_some(100);
    ASSERT_TRUE(model.full());
    runs(3);
    const auto blocks = model.change_some(10);
    const auto writer = model.begin(RunMode::kExtents);
    ASSERT_TRUE(writer);
    for (const std::uint64_t each : blocks)
        ASSERT_TRUE(model.put(**writer, each));
    const auto all = numbers();
    Collector collector(model.vault(), model.series);
    ASSERT_TRUE(collector.delete_points({all[0]}));
    const auto point = model.seal(**writer);
    ASSERT_TRUE(point) << point.error().text();
    ASSERT_TRUE(collector.collect());
    EXPECT_EQ(model.check_all(), 4U);
    expect_sound();
}

}  // namespace towline::testing
