// SPDX-License-Identifier: Apache-2.0
// What is believed of a log that was found: each doubt alone is enough to say that nothing is
// known.

#include "cbt/tracking_record.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "cbt/intent_log.hpp"
#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kBytes = 10 << 20;

TrackingRecord record() {
    TrackingRecord record;
    record.tracker = Uuid::random();
    record.sequence = 5;
    record.committed = 3;
    record.frozen = true;
    record.block_bytes = 4096;
    record.volume_bytes = kBytes;
    record.resize_bytes = kBytes;
    record.hot = ChangeMap(kBytes, 1 << 20);
    record.hot.mark_blocks({2, 3});
    record.identity = {"file", "8:1/12/34", ""};
    record.sealed = true;
    record.modified_ns = 1'000'000'000'000;
    record.reasons.add(ChangeReason::kCrash);
    return record;
}

ImageFacts facts(const TrackingRecord& of) {
    return {.identity = of.identity,
            .volume_bytes = of.volume_bytes,
            .modified_ns = of.modified_ns,
            .seal = of.tracker,
            .can_seal = true,
            .alive_ns = of.modified_ns,
            .maps_good = true};
}

TEST(TrackingRecord, ComesBackAsItWas) {
    const TrackingRecord kept = record();
    const auto read = record_of(json_of(kept));
    ASSERT_TRUE(read) << read.error().text();
    EXPECT_EQ(json_of(*read), json_of(kept));
    EXPECT_EQ(read->hot, kept.hot);
    EXPECT_TRUE(read->reasons == kept.reasons);
}

TEST(TrackingRecord, EveryFieldThatIsDamagedIsSeen) {
    const nlohmann::json whole = json_of(record());
    for (const auto& [key, value] : whole.items()) {
        for (const nlohmann::json& wrong :
             {nlohmann::json(nullptr), nlohmann::json(nlohmann::json::array())}) {
            nlohmann::json damaged = whole;
            damaged[key] = wrong;
            EXPECT_FALSE(record_of(damaged)) << key;
            damaged.erase(key);
            EXPECT_FALSE(record_of(damaged)) << "without " << key;
        }
    }
    const std::pair<const char*, nlohmann::json> values[] = {
        {"format", 2},   {"tracker", "x"}, {"trust", 4},   {"trust", 0},  {"block_bytes", 5},
        {"sequence", 0}, {"committed", 5}, {"hot", "abc"}, {"hot", "zz"}, {"volume_bytes", ~0ULL}};
    for (const auto& [key, value] : values) {
        nlohmann::json damaged = whole;
        damaged[key] = value;
        EXPECT_FALSE(record_of(damaged)) << key << " " << value;
    }
}

TEST(TrackingRecord, ACleanEndIsExactAndACutOffOneASuperset) {
    TrackingRecord kept = record();
    EXPECT_EQ(decide_resume(kept, facts(kept)), Resume::kSuperset);
    kept.clean = true;
    EXPECT_EQ(decide_resume(kept, facts(kept)), Resume::kExact);
    ImageFacts found = facts(kept);
    found.maps_good = false;
    EXPECT_EQ(decide_resume(kept, found), Resume::kSuperset);
}

TEST(TrackingRecord, AnyDoubtIsEnough) {
    for (const bool clean : {true, false}) {
        TrackingRecord kept = record();
        kept.clean = clean;
        const auto with = [&](auto change) {
            ImageFacts found = facts(kept);
            change(found);
            return decide_resume(kept, found);
        };
        EXPECT_EQ(with([](auto& f) { f.identity.locator = "8:1/12/35"; }), Resume::kReplaced);
        EXPECT_EQ(with([](auto& f) { f.volume_bytes += 512; }), Resume::kReplaced);
        EXPECT_EQ(with([](auto& f) { f.seal.reset(); }), Resume::kVoid);
        EXPECT_EQ(with([](auto& f) { f.seal = Uuid::random(); }), Resume::kVoid);
        EXPECT_EQ(with([](auto& f) { f.can_seal = false; }), Resume::kVoid);
        EXPECT_EQ(with([](auto& f) { f.modified_ns += 61'000'000'000; }), Resume::kForeign);
    }
    TrackingRecord kept = record();
    kept.clean = true;
    ImageFacts reverted = facts(kept);
    reverted.modified_ns -= 1;
    EXPECT_EQ(decide_resume(kept, reverted), Resume::kForeign) << "an older image in its place";
}

TEST(TrackingRecord, AResizeThatWasCutOffLeavesOneOfTwoSizes) {
    TrackingRecord kept = record();
    kept.resize_bytes = kBytes * 2;
    ImageFacts found = facts(kept);
    found.volume_bytes = kBytes * 2;
    EXPECT_EQ(decide_resume(kept, found), Resume::kSuperset);
    found.volume_bytes = kBytes * 3;
    EXPECT_EQ(decide_resume(kept, found), Resume::kReplaced);
}

// --- its files ----------------------------------------------------------------------------------

class IntentLogTest : public ::testing::Test {
  protected:
    testing::TemporaryFolder folder_;
    Volume image_ =
        Volume::open(testing::make_file(folder_ / "image", kBytes), Access::kReadWrite).value();
    TrackingRecord running() {
        TrackingRecord made = record();
        made.identity = image_.identity().value();
        return made;
    }
};

TEST_F(IntentLogTest, KeepsARecordAndTheMapsOfACleanEnd) {
    auto log = FileIntentLog::open(folder_ / "log", image_).value();
    EXPECT_FALSE(log.load().record);
    TrackingRecord kept = running();
    kept.sealed = log.can_seal();
    Epochs epochs(Epoch{.sequence = 5, .marks = ChangeMap(kBytes, 4096)});
    epochs.mark({4096, 1});
    epochs.freeze();
    epochs.mark({0, 1});
    kept.clean = true;
    kept.maps_digest = log.save_maps(epochs).value();
    kept.modified_ns = log.image_modified_ns().value();
    ASSERT_TRUE(log.store(kept));
    const Kept read = log.load();
    ASSERT_TRUE(read.record && read.maps);
    EXPECT_EQ(decide_resume(*read.record, log.facts(read).value()), Resume::kExact);
    EXPECT_EQ(read.maps->first.marks, epochs.present().marks);
    ASSERT_TRUE(read.maps->second);
    EXPECT_EQ(read.maps->second->marks, epochs.frozen()->marks);
    EXPECT_EQ(read.maps->second->sequence, 5);
}

TEST_F(IntentLogTest, AnInvalidatedLogIsVoidUntilItIsWrittenAgain) {
    auto log = FileIntentLog::open(folder_ / "log", image_).value();
    TrackingRecord kept = running();
    kept.sealed = log.can_seal();
    if (!kept.sealed) GTEST_SKIP() << "no extended attributes on /tmp";
    ASSERT_TRUE(log.store(kept));
    EXPECT_EQ(decide_resume(*log.load().record, log.facts(log.load()).value()), Resume::kSuperset);
    ASSERT_TRUE(log.invalidate());
    EXPECT_EQ(decide_resume(*log.load().record, log.facts(log.load()).value()), Resume::kVoid);
    ASSERT_TRUE(log.store(kept));
    EXPECT_EQ(decide_resume(*log.load().record, log.facts(log.load()).value()), Resume::kSuperset);
}

TEST_F(IntentLogTest, OneDaemonAnImage) {
    const auto log = FileIntentLog::open(folder_ / "log", image_).value();
    const auto second = FileIntentLog::open(folder_ / "log", image_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kBusy);
}

TEST_F(IntentLogTest, DamageIsSeen) {
    {
        auto log = FileIntentLog::open(folder_ / "log", image_).value();
        ASSERT_TRUE(log.store(running()));
    }
    const Fd file(::open((folder_ / "log/record").c_str(), O_RDWR | O_CLOEXEC));
    const char byte = '#';
    ASSERT_EQ(::pwrite(file.get(), &byte, 1, 100), 1);
    EXPECT_TRUE(FileIntentLog::open(folder_ / "log", image_)->load().damaged);
}

}  // namespace
}  // namespace towline
