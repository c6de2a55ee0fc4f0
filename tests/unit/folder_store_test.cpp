// SPDX-License-Identifier: Apache-2.0
// Objects in a folder: whole or not there, under names that lead nowhere else.

#include "userspace/vault/folder_store.hpp"

#include <filesystem>

#include "storage_fixture.hpp"
#include "userspace/vault/object_frame.hpp"

namespace towline::testing {

namespace {

std::vector<std::byte> bytes_of(std::size_t count) {
    std::vector<std::byte> bytes(count);
    for (std::size_t i = 0; i < count; ++i)
        bytes[i] = static_cast<std::byte>(i * 7);
    return bytes;
}

struct FolderStoreTest : ::testing::Test {
    TemporaryFolder folder;
    std::unique_ptr<ObjectStore> store = std::move(*FolderStore::open(folder.path()));
};

}  // namespace

TEST_F(FolderStoreTest, PutsOnce) {
    const auto first = bytes_of(5000);
    EXPECT_TRUE(store->put_if_absent("log/a/1", first).value());
    EXPECT_FALSE(store->put_if_absent("log/a/1", bytes_of(10)).value());
    std::vector<std::byte> read(6000);
    EXPECT_EQ(store->get_range("log/a/1", 0, read).value(), 5000U);
    read.resize(5000);
    EXPECT_EQ(read, first);
    EXPECT_EQ(store->size("log/a/1").value(), 5000U);
    EXPECT_FALSE(store->size("log/a/2").value().has_value());
    EXPECT_EQ(error_of(store->get_range("log/a/2", 0, read)).system_errno, ENOENT);
}

TEST_F(FolderStoreTest, WhatIsNotCommittedIsNotThere) {
    {
        const auto upload = store->begin_put("segment/a/1");
        ASSERT_TRUE(upload);
        ASSERT_TRUE((*upload)->write(0, bytes_of(4096)));
        EXPECT_TRUE(store->list("segment/a/").value().empty());
    }
    EXPECT_TRUE(store->list("segment/a/").value().empty());
}

TEST_F(FolderStoreTest, ListsAndRemoves) {
    for (const char* name : {"log/a/2", "log/a/1", "log/b/1"})
        ASSERT_TRUE(store->put_if_absent(name, bytes_of(3)));
    const auto listed = store->list("log/a/").value();
    EXPECT_EQ(listed, (std::vector<ObjectInfo>{{"log/a/1", 3}, {"log/a/2", 3}}));
    EXPECT_EQ(store->list_folders("log/").value(), (std::vector<std::string>{"a", "b"}));
    const std::vector<std::string> gone{"log/a/1", "log/a/9"};
    ASSERT_TRUE(store->remove(gone));
    EXPECT_EQ(store->list("log/a/").value().size(), 1U);
}

TEST_F(FolderStoreTest, NamesLeadNowhereElse) {
    for (const char* name :
         {"../x", "log/../../x", "/etc/passwd", "log//x", "", ".hidden", "a/."}) {
        EXPECT_FALSE(store->put_if_absent(name, bytes_of(1))) << name;
        std::vector<std::byte> into(1);
        EXPECT_FALSE(store->get_range(name, 0, into)) << name;
        EXPECT_FALSE(store->hold(name, HoldKind::kShared)) << name;
    }
    // A link that somebody put there is not followed, inside or out.
    std::filesystem::create_directory(folder.path() + "/log");
    std::filesystem::create_symlink("/etc", folder.path() + "/log/out");
    std::vector<std::byte> into(1);
    EXPECT_FALSE(store->get_range("log/out/passwd", 0, into));
    EXPECT_FALSE(store->put_if_absent("log/out/towline-test", bytes_of(1)));
}

TEST_F(FolderStoreTest, HoldsExcludeEachOther) {
    auto shared = store->hold("log/a/1", HoldKind::kShared);
    ASSERT_TRUE(shared);
    EXPECT_TRUE(store->hold("log/a/1", HoldKind::kShared));
    EXPECT_EQ(error_of(store->hold("log/a/1", HoldKind::kExclusive)).code, Code::kBusy);
    shared->reset();
    EXPECT_TRUE(store->hold("log/a/1", HoldKind::kExclusive));
}

TEST(ObjectNames, HaveOneForm) {
    using vault_format::ObjectKind;
    const ObjectId id{ObjectKind::kSegment, "a", Uuid::random(), 0x1f, 2};
    EXPECT_EQ(parse_object_name(ObjectKind::kSegment, "a", id.object_name()), id);
    const std::string name = id.object_name();
    for (std::size_t at = 10; at < name.size(); ++at) {
        std::string other = name;
        other[at] = 'A';
        EXPECT_FALSE(parse_object_name(ObjectKind::kSegment, "a", other)) << other;
    }
    EXPECT_FALSE(parse_object_name(ObjectKind::kSegment, "a", name + "0"));
    EXPECT_FALSE(parse_object_name(ObjectKind::kLogEntry, "a", "log/a/1"));
    for (const char* text : {"disk", "hosts/a b", "..", ".x", "%2F", "\xff\x01"})
        EXPECT_EQ(decode_series(encode_series(text).value()), text);
    EXPECT_EQ(encode_series("a/../b").value(), "a%2F..%2Fb");
    EXPECT_EQ(encode_series("..").value(), "%2E.");
    EXPECT_FALSE(encode_series(""));
    EXPECT_FALSE(encode_series(std::string(300, 'a')));
}

}  // namespace towline::testing
