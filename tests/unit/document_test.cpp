// SPDX-License-Identifier: Apache-2.0
// Documents come back as they were; what is none, or newer than this build, says so.

#include "io/document.hpp"

#include <nlohmann/json.hpp>

#include "io/slot_file.hpp"
#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

class Document : public ::testing::Test {
  protected:
    Status put(std::string_view text) { return write_slots(path_, std::as_bytes(std::span(text))); }
    const TemporaryFolder folder_;
    const std::filesystem::path path_ = std::filesystem::path(folder_ / "document");
};

TEST_F(Document, ComesBackAsItWas) {
    const nlohmann::json full = {
        {"name", "volume"}, {"size", UINT64_MAX}, {"list", {1, -2, 2.5, nullptr, "\n"}}};
    EXPECT_EQ(load_document(path_).value(), std::nullopt);
    for (const nlohmann::json& document :
         {full, nlohmann::json(), nlohmann::json::object(), nlohmann::json("text")}) {
        ASSERT_TRUE(save_document(path_, document));
        EXPECT_EQ(load_document(path_)->value(), document);
    }
}

TEST_F(Document, ANewerOneSaysThatItIsNewer) {
    ASSERT_TRUE(put("towline-document 2\n{}\n"));
    EXPECT_EQ(error_of(load_document(path_)).code, Code::kUnsupported);
}

TEST_F(Document, WhatIsNoneIsDamaged) {
    for (const char* text :
         {"", "{}", "towline-document 1", "towline-document 1\n", "towline-document 1\n{",
          "towline-document 0\n{}\n", "towline-document x\n{}\n", "a document 1\n{}\n"}) {
        ASSERT_TRUE(put(text));
        EXPECT_EQ(error_of(load_document(path_)).code, Code::kCorrupt) << text;
    }
}

TEST_F(Document, ATextThatIsNoUtf8IsAnErrorAndNotAThrow) {
    const auto saved = save_document(path_, {{"name", "\xff"}});
    ASSERT_FALSE(saved);
    EXPECT_EQ(saved.error().code, Code::kInvalid);
}

}  // namespace
}  // namespace towline
