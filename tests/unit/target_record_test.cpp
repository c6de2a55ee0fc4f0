// SPDX-License-Identifier: Apache-2.0
// A record comes back as it was, or is corrupt: no field of it is guessed.

#include "userspace/engine/target_record.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/memory_stores.hpp"

namespace towline {
namespace {

using testing::uuid_of;

TargetRecord some_record() {
    return {.state = TargetState::kApplying,
            .target = uuid_of(1),
            .base = {.source = uuid_of(2),
                     .tracker = uuid_of(3),
                     .sequence = UINT64_MAX,
                     .point = uuid_of(4)},
            .owner = uuid_of(5),
            .run = uuid_of(6),
            .run_mode = RunMode::kScan,
            .plan_digest = UINT64_MAX - 1,
            .verify = true,
            .run_base = {.source = uuid_of(7), .sequence = 9, .point = uuid_of(8)},
            .volume_bytes = 1ULL << 60,
            .flush_failed_run = uuid_of(10)};
}

TEST(TargetRecord, RoundTripsInEveryStateAndMode) {
    for (const TargetState state : {TargetState::kUnclaimed, TargetState::kBuilding,
                                    TargetState::kSealed, TargetState::kApplying}) {
        for (const RunMode mode : {RunMode{}, RunMode::kFull, RunMode::kExtents, RunMode::kScan}) {
            TargetRecord record = some_record();
            record.state = state;
            record.run_mode = mode;
            const auto json = nlohmann::json::parse(to_json(record).dump());
            EXPECT_EQ(record_from_json(json).value(), record);
            EXPECT_EQ(record.unfinished(),
                      state == TargetState::kBuilding || state == TargetState::kApplying);
        }
    }
}

TEST(TargetRecord, AFlushThatDidNotFailIsNoField) {
    TargetRecord record = some_record();
    record.flush_failed_run = {};
    EXPECT_FALSE(to_json(record).contains("flush_failed_run"));
    EXPECT_EQ(record_from_json(to_json(record)).value(), record);
}

TEST(TargetRecord, ARecordOfBeforeThereWasVerifyDidNotAskForIt) {
    TargetRecord record = some_record();
    nlohmann::json json = to_json(record);
    json.erase("verify");
    record.verify = false;
    EXPECT_EQ(record_from_json(json).value(), record);
    EXPECT_EQ(to_json(record), json);
}

TEST(TargetRecord, AnyFieldMissingOrOfAnotherFormIsCorrupt) {
    const nlohmann::json whole = to_json(some_record());
    EXPECT_EQ(whole.size(), 12U);
    const auto expect_corrupt = [](const nlohmann::json& json) {
        const auto record = record_from_json(json);
        ASSERT_FALSE(record) << json;
        EXPECT_EQ(record.error().code, Code::kCorrupt);
    };
    for (const auto& field : whole.items()) {
        nlohmann::json json = whole;
        json.erase(field.key());
        // Records of before there was such a field are whole without it.
        if (field.key() != "flush_failed_run" && field.key() != "verify") expect_corrupt(json);
        for (const nlohmann::json& other :
             {nlohmann::json(), nlohmann::json("x"), nlohmann::json::array()}) {
            json[field.key()] = other;
            expect_corrupt(json);
        }
    }
    for (const char* key : {"source", "tracker", "sequence", "point"}) {
        nlohmann::json json = whole;
        json["base"].erase(key);
        expect_corrupt(json);
    }
    for (const nlohmann::json& other :
         {nlohmann::json(), nlohmann::json(7), nlohmann::json::array(), nlohmann::json("x")}) {
        expect_corrupt(other);
    }
    nlohmann::json newer = whole;
    newer["format"] = 2;
    expect_corrupt(newer);
}

}  // namespace
}  // namespace towline
