// SPDX-License-Identifier: Apache-2.0
// What a source remembers comes back over restarts; what is damaged is corrupt, never half
// believed; another volume under the same name is another source.

#include "userspace/engine/file_source_store.hpp"

#include <array>
#include <fstream>
#include <latch>
#include <set>
#include <thread>

#include <nlohmann/json.hpp>

#include "io/document.hpp"
#include "tests/unit/memory_stores.hpp"
#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::TemporaryFolder;
using testing::uuid_of;

class FileSourceStoreTest : public ::testing::Test {
  protected:
    FileSourceStore open(const VolumeIdentity& identity, bool read_only = false) {
        return std::move(FileSourceStore::open(folder_ / "state", identity, read_only).value());
    }
    FileSourceStore open() { return open(identity_); }
    std::string file(const std::string& ending) {
        return (folder_ / "state") + "/sources/" + open().source().text() + "/" +
               uuid_of(7).text() + ending;
    }
    static void damage(const std::string& path) {
        const auto size = fs::file_size(path);
        std::fstream stream(path, std::ios::in | std::ios::out | std::ios::binary);
        stream.seekp(static_cast<std::streamoff>(size / 2));
        stream.put('\x01');
    }

    const TemporaryFolder folder_;
    const VolumeIdentity identity_{.kind = "file", .locator = "8:1/77/9"};
    const TargetMemory memory_{
        .target = uuid_of(7),
        .base = {.source = uuid_of(1), .tracker = uuid_of(2), .sequence = 3, .point = uuid_of(4)},
        .volume_bytes = 1ULL << 60,
        .modified_ns = -5,
        .open_runs = {uuid_of(8), uuid_of(9)},
        .open_mode = RunMode::kScan,
        .open_plan_digest = UINT64_MAX,
        .open_base = {.source = uuid_of(1), .sequence = 5, .point = uuid_of(6)},
        .open_modified_ns = 6,
        .open_volume_bytes = 7};
};

TEST_F(FileSourceStoreTest, TheNameOfASourceStays) {
    const Uuid source = open().source();
    EXPECT_FALSE(source.is_nil());
    EXPECT_EQ(open().source(), source);
    for (const VolumeIdentity& other :
         {VolumeIdentity{.kind = "device", .locator = "8:1/77/9"},
          VolumeIdentity{.kind = "file", .locator = "8:1/77/10"},
          VolumeIdentity{.kind = "file", .locator = "8:1/77/9", .generation = "2"}}) {
        EXPECT_NE(open(other).source(), source);
    }
    EXPECT_EQ(open().source(), source);
}

TEST_F(FileSourceStoreTest, FirstRunsAtOnceGiveOneName) {
    for (int round = 0; round < 5; ++round) {
        const VolumeIdentity fresh{.kind = "file", .locator = "8:1/77/" + std::to_string(round)};
        std::array<Uuid, 8> names;
        std::vector<std::jthread> runs;
        runs.reserve(names.size());
        std::latch together(names.size());
        for (Uuid& name : names)
            runs.emplace_back([&] {
                together.arrive_and_wait();
                name = open(fresh).source();
            });
        runs.clear();
        EXPECT_EQ(std::set(names.begin(), names.end()).size(), 1U);
        EXPECT_EQ(open(fresh).source(), names[0]);
    }
}

TEST_F(FileSourceStoreTest, MemoryComesBackWithEveryField) {
    EXPECT_FALSE(open().load(uuid_of(7)).value());
    EXPECT_TRUE(open().save(memory_));
    EXPECT_EQ(open().load(uuid_of(7)).value(), memory_);
    EXPECT_FALSE(open().load(uuid_of(6)).value());
}

TEST_F(FileSourceStoreTest, PendingComesBackUntilTheRunIsSealed) {
    ChangeMap map(1 << 20, 4096);
    map.mark_blocks({.first = 3, .count = 9});
    EXPECT_FALSE(open().pending(uuid_of(7)).value());
    EXPECT_TRUE(open().save_begun(memory_, map));
    EXPECT_EQ(open().pending(uuid_of(7)).value(), map);
    TargetMemory other = memory_;
    other.modified_ns = 9;
    EXPECT_TRUE(open().save(other));
    EXPECT_EQ(open().load(uuid_of(7)).value(), other);
    EXPECT_EQ(open().pending(uuid_of(7)).value(), map);
    EXPECT_TRUE(open().save_sealed(memory_));
    EXPECT_EQ(open().load(uuid_of(7)).value(), memory_);
    EXPECT_FALSE(open().pending(uuid_of(7)).value());
}

TEST_F(FileSourceStoreTest, WhatIsDamagedIsCorrupt) {
    EXPECT_TRUE(open().save_begun(memory_, ChangeMap(1 << 20, 4096)));
    damage(file(".memory"));
    EXPECT_EQ(error_of(open().load(uuid_of(7))).code, Code::kCorrupt);
    EXPECT_EQ(error_of(open().pending(uuid_of(7))).code, Code::kCorrupt);
    // A run that compares all begins anew; what was pending is not known by that.
    EXPECT_TRUE(open().save(memory_));
    EXPECT_EQ(open().load(uuid_of(7)).value(), memory_);
    EXPECT_EQ(error_of(open().pending(uuid_of(7))).code, Code::kCorrupt);
}

// What was two files before, a document and a map.
class OlderFileSourceStoreTest : public FileSourceStoreTest {
  protected:
    OlderFileSourceStoreTest() {
        map_.mark_blocks({.first = 3, .count = 9});
        EXPECT_TRUE(open().save(memory_));
        const auto contents = read_slots(file(".memory"), 1 << 20).value().value();
        const std::string text(reinterpret_cast<const char*>(contents.data()), contents.size());
        nlohmann::json document = nlohmann::json::parse(text.substr(text.find('\n')));
        document["format"] = 1;
        EXPECT_TRUE(save_document(file(".memory"), document));
        EXPECT_TRUE(write_slots(file(".pending"), map_.save()));
    }
    ChangeMap map_ = ChangeMap(1 << 20, 4096);
};

TEST_F(OlderFileSourceStoreTest, IsReadAndBecomesOneFile) {
    EXPECT_EQ(open().load(uuid_of(7)).value(), memory_);
    EXPECT_EQ(open().pending(uuid_of(7)).value(), map_);
    EXPECT_TRUE(open().save(memory_));
    EXPECT_FALSE(fs::exists(file(".pending")));
    EXPECT_EQ(open().load(uuid_of(7)).value(), memory_);
    EXPECT_EQ(open().pending(uuid_of(7)).value(), map_);
}

TEST_F(OlderFileSourceStoreTest, WhatIsPendingInADamagedMapStaysUnknown) {
    damage(file(".pending"));
    EXPECT_EQ(open().load(uuid_of(7)).value(), memory_);
    EXPECT_EQ(error_of(open().pending(uuid_of(7))).code, Code::kCorrupt);
    EXPECT_TRUE(open().save(memory_));
    EXPECT_EQ(error_of(open().pending(uuid_of(7))).code, Code::kCorrupt);
}

TEST_F(OlderFileSourceStoreTest, WithoutAMapNothingIsPending) {
    fs::remove(file(".pending"));
    EXPECT_FALSE(open().pending(uuid_of(7)).value());
}

TEST_F(FileSourceStoreTest, AnothersMemoryIsCorrupt) {
    EXPECT_TRUE(open().save(memory_));
    const std::string from = file(".memory");
    fs::copy_file(from, fs::path(from).parent_path() / (uuid_of(6).text() + ".memory"));
    EXPECT_EQ(error_of(open().load(uuid_of(6))).code, Code::kCorrupt);
}

TEST_F(FileSourceStoreTest, OneRunATarget) {
    const FileSourceStore store = open();
    const auto lock = store.lock("tcp://host:1/a");
    ASSERT_TRUE(lock);
    EXPECT_EQ(error_of(store.lock("tcp://host:1/a")).code, Code::kBusy);
    EXPECT_TRUE(store.lock("tcp://host:1/b"));
}

TEST_F(FileSourceStoreTest, ADryRunLeavesNothingBehind) {
    EXPECT_FALSE(open(identity_, true).source().is_nil());
    EXPECT_FALSE(fs::exists(folder_ / "state"));
}

}  // namespace
}  // namespace towline
