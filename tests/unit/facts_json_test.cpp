// SPDX-License-Identifier: Apache-2.0
// Facts come back as they went; a partition that cannot be is an error.

#include "userspace/vault/facts_json.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace towline {
namespace {

constexpr std::uint64_t kBytes = 1 << 20;

VolumeFacts full() {
    VolumeFacts facts{.bytes = kBytes, .table = "dos", .table_uuid = "id", .sector_bytes = 4096};
    facts.partitions = {
        {.number = 1,
         .start_bytes = 512,
         .bytes = 1024,
         .type = "0x83",
         .uuid = "id-01",
         .name = "one",
         .filesystem = {.type = "ext4", .uuid = "u", .label = "l"}},
        {.number = 2, .start_bytes = 2048, .bytes = kBytes - 2048, .extended = true},
        {.number = 5, .start_bytes = 4096, .bytes = 512, .logical = true}};
    return facts;
}

TEST(FactsJson, ComeBackAsTheyWent) {
    const VolumeFacts alone{.bytes = kBytes, .filesystem = {.type = "xfs", .uuid = "u"}};
    for (const VolumeFacts& each : {VolumeFacts{.bytes = kBytes}, alone, full()})
        EXPECT_EQ(facts_from_json(to_json(each), kBytes), each);
    EXPECT_EQ(to_json(VolumeFacts{.bytes = kBytes}), nlohmann::json::object());
}

TEST(FactsJson, APartitionLiesWithinTheVolume) {
    EXPECT_THROW(facts_from_json(to_json(full()), kBytes - 1), nlohmann::json::exception);
    auto json = to_json(full());
    json["partitions"][0]["bytes"] = ~std::uint64_t{0};
    EXPECT_THROW(facts_from_json(json, kBytes), nlohmann::json::exception);
    json = to_json(full());
    json["partitions"][0]["filesystem"].erase("uuid");
    EXPECT_THROW(facts_from_json(json, kBytes), nlohmann::json::exception);
}

}  // namespace
}  // namespace towline
