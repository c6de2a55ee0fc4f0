// SPDX-License-Identifier: Apache-2.0
// What a dead run left is applied by hand or by a server that starts, and read back where that run
// asked for it: nobody is told that a target is whole which gives back something else.

#include "userspace/engine/target_finish.hpp"

#include <fstream>

#include "io/engine.hpp"
#include "tests/unit/memory_stores.hpp"
#include "tests/unit/storage_fixture.hpp"
#include "userspace/engine/file_target_store.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::TemporaryFolder;
using testing::uuid_of;

constexpr std::uint64_t kBytes = 1 << 20;
constexpr Extent kZeroed{8192, 4096};

// Behind the last flush of applying a medium makes something else of what was written.
class LyingStore final : public TargetStore {
  public:
    LyingStore(TargetStore& store, std::function<void()> lie)
        : store_(store), lie_(std::move(lie)) {}

    Result<TargetFacts> look(const std::string& name, const Uuid& source, bool dry_run) override {
        return store_.look(name, source, dry_run);
    }
    Result<TargetVolume> prepare(IoEngine& engine, std::uint64_t bytes, bool dry_run) override {
        return store_.prepare(engine, bytes, dry_run);
    }
    Result<StagedRun> open_stage(IoEngine& engine, const StageWish& wish) override {
        return store_.open_stage(engine, wish);
    }
    Result<std::vector<Extent>> data_ranges() override { return store_.data_ranges(); }
    Status mark(const TargetRecord& record, bool keep) override {
        return store_.mark(record, keep);
    }
    Status journal(std::span<const Extent> extents) override { return store_.journal(extents); }
    Result<std::vector<Extent>> acknowledged() override { return store_.acknowledged(); }
    Status note_flush_failed(const TargetRecord& record) override {
        return store_.note_flush_failed(record);
    }
    Status fit_size() override {
        lie_();
        return store_.fit_size();
    }
    Status seal(const TargetRecord& record, const Attestation& attestation) override {
        return store_.seal(record, attestation);
    }

  private:
    TargetStore& store_;
    std::function<void()> lie_;
};

class TargetFinishTest : public ::testing::Test {
  protected:
    TargetFinishTest() : place_(local_place([](const Volume&) { return Status(); })) {
        fs::create_directory(folder_ / "state");
        image_ = folder_ / "disk";
        std::ofstream(image_) << std::string(kBytes, 'd');
        leave_staged();
    }
    std::unique_ptr<FileTargetStore> open() {
        return std::make_unique<FileTargetStore>(folder_ / "state", *place_);
    }
    // Zeros are staged whole, and to be read back; none of them is on the volume.
    void leave_staged() {
        const auto engine = std::move(make_engine(EngineKind::kAuto).value());
        TargetRecord record{.state = TargetState::kApplying,
                            .target = uuid_of(7),
                            .owner = uuid_of(1),
                            .run = uuid_of(9),
                            .run_mode = RunMode::kExtents,
                            .run_base = {.source = uuid_of(1), .sequence = 4, .point = uuid_of(3)},
                            .volume_bytes = kBytes};
        auto store = open();
        ASSERT_TRUE(store->look(image_, uuid_of(1), false));
        ASSERT_TRUE(store->prepare(*engine, kBytes, false));
        // The files have the replica's name.
        ASSERT_TRUE(store->mark(record, false));
        store = open();
        ASSERT_TRUE(store->look(image_, uuid_of(1), false));
        ASSERT_TRUE(store->prepare(*engine, kBytes, false));
        const auto stage = store->open_stage(*engine, {.run = record.run, .anew = true});
        ASSERT_TRUE(stage) << stage.error().text();
        StagedBatch batch{.block_bytes = 4096};
        batch.add_zeros(kZeroed);
        ASSERT_TRUE(stage->index->append(batch));
        ASSERT_TRUE(stage->index->finish());
        record.stage = TargetRecord::Stage::kCommitted;
        record.verify = true;
        ASSERT_TRUE(store->mark(record, true));
    }
    Result<bool> finish(const std::function<void()>& lie) {
        const auto store = open();
        LyingStore lying(*store, lie);
        return finish_target(lying, image_, EngineKind::kAuto);
    }
    TargetRecord record() { return open()->look(image_, uuid_of(1), false).value().record; }
    void write_byte(std::uint64_t at) {
        std::fstream file(image_, std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(at));
        file.put('x');
    }

    const TemporaryFolder folder_;
    std::unique_ptr<TargetPlace> place_;
    std::string image_;
};

TEST_F(TargetFinishTest, WhatReadsBackRightIsSealed) {
    EXPECT_EQ(finish([] {}).value(), true);
    EXPECT_EQ(record().state, TargetState::kSealed);
    EXPECT_EQ(record().base.point, uuid_of(3));
    std::ifstream file(image_, std::ios::binary);
    std::string all((std::istreambuf_iterator<char>(file)), {});
    std::string wanted(kBytes, 'd');
    wanted.replace(kZeroed.offset_bytes, kZeroed.length_bytes, kZeroed.length_bytes, '\0');
    EXPECT_EQ(all, wanted);
}

TEST_F(TargetFinishTest, WhatReadsBackOtherwiseIsNotSealed) {
    const Error error = error_of(finish([this] { write_byte(kZeroed.end_bytes() - 1); }));
    EXPECT_EQ(error.code, Code::kCorrupt);
    EXPECT_NE(error.context.find("byte 12287"), std::string::npos) << error.context;
    EXPECT_EQ(record().state, TargetState::kApplying);
    EXPECT_EQ(record().stage, TargetRecord::Stage::kNone);
    // Not by anybody who tries it once more, either.
    EXPECT_EQ(error_of(finish([] {})).code, Code::kRefused);
}

// What was not brought is not this run's to look at.
TEST_F(TargetFinishTest, WhatIsBesideIsNotReadBack) {
    EXPECT_EQ(finish([this] { write_byte(kZeroed.end_bytes()); }).value(), true);
}

}  // namespace
}  // namespace towline
