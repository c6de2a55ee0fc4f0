// SPDX-License-Identifier: Apache-2.0
// The record of a replica is believed only of the very volume it was written for, as it was then.
// Each way in which the volume may have become another one voids it.

#include "userspace/engine/file_target_store.hpp"

#include <fstream>
#include <sys/stat.h>

#include "io/engine.hpp"
#include "tests/unit/memory_stores.hpp"
#include "tests/unit/storage_fixture.hpp"
#include "userspace/engine/target_safety.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::TemporaryFolder;
using testing::uuid_of;

constexpr std::uint64_t kBytes = 1 << 20;

class FileTargetStoreTest : public ::testing::Test {
  protected:
    FileTargetStoreTest()
        : place_(local_place([this](const Volume& target) {
              const auto source = Volume::open(folder_ / "source", Access::kRead);
              return source ? refuse_if_same(*source, target) : std::unexpected(source.error());
          })) {
        fs::create_directory(folder_ / "state");
        std::ofstream(folder_ / "source") << "source";
        std::filesystem::create_directory(folder_ / "state");
        image_ = folder_ / "disk";
        std::ofstream(image_) << std::string(kBytes, 'd');
        engine_ = std::move(make_engine(EngineKind::kAuto).value());
    }
    std::unique_ptr<FileTargetStore> open() {
        return std::make_unique<FileTargetStore>(folder_ / "state", *place_);
    }
    TargetFacts look() {
        auto facts = open()->look(image_, uuid_of(1), false);
        EXPECT_TRUE(facts) << facts.error().text();
        return facts.value_or(TargetFacts{});
    }
    TargetRecord record(TargetState state) const {
        return {.state = state,
                .target = uuid_of(7),
                .base = {.source = uuid_of(1), .sequence = 3, .point = uuid_of(2)},
                .owner = uuid_of(1),
                .run = uuid_of(9),
                .volume_bytes = kBytes};
    }
    // A whole session; in the end the record is as wanted.
    void leave(TargetState state) {
        auto store = open();
        ASSERT_TRUE(store->look(image_, uuid_of(1), false));
        ASSERT_TRUE(store->prepare(*engine_, kBytes, false));
        ASSERT_TRUE(store->mark(record(TargetState::kApplying), false));
        ASSERT_TRUE(store->journal(std::vector<Extent>{{0, 4096}}));
        ASSERT_TRUE(state != TargetState::kSealed || store->seal(record(state), {}));
    }
    void write_byte(std::uint64_t at) {
        std::fstream file(image_, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(at));
        file.put('x');
    }
    void keep_time(const std::function<void()>& change) {
        struct stat before {};
        ASSERT_EQ(::stat(image_.c_str(), &before), 0);
        change();
        const timespec times[2] = {before.st_atim, before.st_mtim};
        ASSERT_EQ(::utimensat(AT_FDCWD, image_.c_str(), times, 0), 0);
    }
    void expect_void() {
        const TargetFacts facts = look();
        EXPECT_TRUE(facts.changed);
        EXPECT_EQ(facts.record.state, TargetState::kUnclaimed);
        EXPECT_NE(facts.record.target, uuid_of(7));
        EXPECT_TRUE(facts.has_data);
    }

    const TemporaryFolder folder_;
    std::unique_ptr<TargetPlace> place_;
    std::string image_;
    std::unique_ptr<IoEngine> engine_;
};

TEST_F(FileTargetStoreTest, ASealedRecordComesBack) {
    EXPECT_EQ(look().record.state, TargetState::kUnclaimed);
    leave(TargetState::kSealed);
    const TargetFacts facts = look();
    EXPECT_EQ(facts.record, record(TargetState::kSealed));
    EXPECT_FALSE(facts.changed);
    EXPECT_EQ(facts.size_bytes, kBytes);
    EXPECT_TRUE(open()->look(image_, uuid_of(1), false));
}

TEST_F(FileTargetStoreTest, WhateverChangesASealedVolumeVoidsItsRecord) {
    const std::function<void()> changes[] = {
        [&] { write_byte(700'000); },                   // its time
        [&] { keep_time([&] { write_byte(1024); }); },  // its first bytes
        [&] { fs::resize_file(image_, kBytes / 2); },
        [&] {  // another file in its place, the same bytes and time
            keep_time([&] {
                fs::copy_file(image_, folder_ / "copy");
                fs::rename(folder_ / "copy", image_);
            });
        }};
    for (const auto& change : changes) {
        leave(TargetState::kSealed);
        change();
        expect_void();
        fs::resize_file(image_, kBytes);
    }
}

TEST_F(FileTargetStoreTest, AnUnfinishedRunChangesTheVolumeItself) {
    leave(TargetState::kApplying);
    write_byte(10);
    const TargetFacts facts = look();
    EXPECT_EQ(facts.record.state, TargetState::kApplying);
    EXPECT_FALSE(facts.changed);
    auto store = open();
    EXPECT_EQ(store->look(image_, uuid_of(1), false)->record.run, uuid_of(9));
    EXPECT_EQ(store->acknowledged().value(), (std::vector<Extent>{{0, 4096}}));
    store.reset();
    fs::copy_file(image_, folder_ / "copy");
    fs::rename(folder_ / "copy", image_);
    expect_void();
}

TEST_F(FileTargetStoreTest, ADamagedRecordVouchesForNothing) {
    leave(TargetState::kSealed);
    for (const auto& entry : fs::directory_iterator(folder_ / "state")) {
        if (entry.path().extension() != ".record") continue;
        const auto size = fs::file_size(entry.path());
        std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(size / 2));
        file.put('\x01');
    }
    expect_void();
}

TEST_F(FileTargetStoreTest, ANewRunEmptiesTheJournalAResumedOneKeepsIt) {
    leave(TargetState::kApplying);
    for (const bool keep : {true, false}) {
        auto store = open();
        ASSERT_TRUE(store->look(image_, uuid_of(1), false));
        ASSERT_TRUE(store->prepare(*engine_, kBytes, false));
        ASSERT_TRUE(store->mark(record(TargetState::kApplying), keep));
        EXPECT_EQ(store->acknowledged()->size(), keep ? 1U : 0U);
    }
}

// Until the record is the new run's the old one may be resumed, and would believe its index.
TEST_F(FileTargetStoreTest, AnOlderStagedRunIsForgottenBeforeItsBlocksAre) {
    auto store = open();
    ASSERT_TRUE(store->look(image_, uuid_of(1), false));
    ASSERT_TRUE(store->prepare(*engine_, kBytes, false));
    auto older = store->open_stage(*engine_, {.run = uuid_of(9), .anew = true});
    ASSERT_TRUE(older) << older.error().text();
    StagedBatch batch{.block_bytes = 4096};
    batch.add_zeros({0, 4096});
    ASSERT_TRUE(older->index->append(batch));
    ASSERT_TRUE(store->open_stage(*engine_, {.run = uuid_of(9)}));
    fs::path blocks;
    for (const auto& each : fs::recursive_directory_iterator(folder_.path()))
        if (each.path().extension() == ".blocks") blocks = each.path();
    // No link is followed: whoever takes the place of the older run fails at its blocks.
    fs::rename(blocks, folder_ / "aside");
    fs::create_symlink(folder_ / "aside", blocks);
    EXPECT_FALSE(store->open_stage(*engine_, {.run = uuid_of(10), .anew = true}));
    fs::rename(folder_ / "aside", blocks);
    EXPECT_EQ(error_of(store->open_stage(*engine_, {.run = uuid_of(9)})).code, Code::kCorrupt);
}

// Who may not stage there takes nothing away with him: what is staged whole is half of the replica.
TEST_F(FileTargetStoreTest, ARefusedSessionLeavesWhatAnEarlierOneStaged) {
    auto store = open();
    ASSERT_TRUE(store->look(image_, uuid_of(1), false));
    ASSERT_TRUE(store->prepare(*engine_, kBytes, false));
    ASSERT_TRUE(store->open_stage(*engine_, {.run = uuid_of(9), .anew = true}));
    fs::rename(folder_ / "source", folder_ / "elsewhere");
    EXPECT_FALSE(store->open_stage(*engine_, {.run = uuid_of(9)}));
    fs::rename(folder_ / "elsewhere", folder_ / "source");
    EXPECT_TRUE(store->open_stage(*engine_, {.run = uuid_of(9)}));
}

// A record that is on no disk yet may be all that tells what they are for.
TEST_F(FileTargetStoreTest, FilesOfAStagedRunThatAreLeftAreTold) {
    leave(TargetState::kSealed);
    EXPECT_FALSE(look().staged_left);
    auto store = open();
    ASSERT_TRUE(store->look(image_, uuid_of(1), false));
    ASSERT_TRUE(store->prepare(*engine_, kBytes, false));
    ASSERT_TRUE(store->open_stage(*engine_, {.run = uuid_of(9), .anew = true}));
    store.reset();
    const TargetFacts facts = look();
    EXPECT_TRUE(facts.staged_left);
    store = open();
    ASSERT_TRUE(store->look(image_, uuid_of(1), false));
    EXPECT_TRUE(store->confirm(facts.record));
    store.reset();
    EXPECT_EQ(look().record, facts.record);
    leave(TargetState::kSealed);
    EXPECT_FALSE(look().staged_left);
}

TEST_F(FileTargetStoreTest, OneSessionATarget) {
    auto store = open();
    ASSERT_TRUE(store->look(image_, uuid_of(1), false));
    EXPECT_EQ(error_of(open()->look(image_, uuid_of(2), false)).code, Code::kBusy);
    store.reset();
    EXPECT_TRUE(open()->look(image_, uuid_of(2), false));
}

TEST_F(FileTargetStoreTest, TheSourceItselfIsRefused) {
    fs::create_hard_link(folder_ / "source", folder_ / "other-name");
    EXPECT_EQ(error_of(open()->look(folder_ / "other-name", uuid_of(1), false)).code,
              Code::kRefused);
}

TEST_F(FileTargetStoreTest, WhatIsNotThereIsMadeAndEmpty) {
    image_ = folder_ / "new";
    EXPECT_FALSE(look().exists);
    auto store = open();
    ASSERT_TRUE(store->look(image_, uuid_of(1), false));
    const auto volume = store->prepare(*engine_, 70001, false);
    ASSERT_TRUE(volume) << volume.error().text();
    EXPECT_TRUE(volume->zeroed);
    EXPECT_EQ(fs::file_size(image_), 70001U);
}

}  // namespace
}  // namespace towline
