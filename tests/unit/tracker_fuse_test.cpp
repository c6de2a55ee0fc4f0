// SPDX-License-Identifier: Apache-2.0
// The tracker interface over real mounts, each served by threads of this process.

#include "cbt/tracker_fuse.hpp"

#include <sys/eventfd.h>
#include <thread>

#include "cbt/fuse/image_daemon.hpp"
#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

constexpr std::uint64_t kBytes = 4 << 20;

class Served {
  public:
    Served(const TemporaryFolder& folder, const std::string& name) {
        DaemonOptions options;
        options.tracking.image = testing::make_file(folder / name, kBytes);
        options.tracking.state_folder = folder / "state";
        options.mountpoint = folder / (name + ".mount");
        options.run_folder = folder / "run";
        options.thread_count = 4;
        std::filesystem::create_directory(options.mountpoint);
        mountpoint_ = options.mountpoint;
        auto started = ImageDaemon::start(options);
        EXPECT_TRUE(started) << started.error().text();
        daemon_ = std::move(*started);
        tracker = daemon_->status().tracker;
        thread_ = std::thread([this] {
            const auto ended = daemon_->run(signals_.get());
            EXPECT_TRUE(ended) << ended.error().text();
        });
    }
    Served(const Served&) = delete;
    Served& operator=(const Served&) = delete;
    ~Served() {
        EXPECT_TRUE(testing::run("umount " + mountpoint_.string()));
        thread_.join();
    }
    std::string volume() const { return (mountpoint_ / "volume").string(); }
    void write(std::uint64_t offset, char byte) const {
        const Fd file(::open(volume().c_str(), O_WRONLY | O_CLOEXEC));
        EXPECT_EQ(::pwrite(file.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    }
    static char read(const std::filesystem::path& path, std::uint64_t offset) {
        const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        char byte = '?';
        EXPECT_EQ(::pread(file.get(), &byte, 1, static_cast<off_t>(offset)), 1) << path;
        return byte;
    }

    Uuid tracker;

  private:
    std::filesystem::path mountpoint_;
    std::unique_ptr<ImageDaemon> daemon_;
    Fd signals_{::eventfd(0, EFD_CLOEXEC)};
    std::thread thread_;
};

class FuseTrackerTest : public ::testing::Test {
  protected:
    void SetUp() override {
        if (::geteuid() != 0 || ::access("/dev/fuse", W_OK) != 0)
            GTEST_SKIP() << "needs root and /dev/fuse";
        one.emplace(folder_, "one");
        two.emplace(folder_, "two");
        tracker.emplace(folder_ / "run");
    }
    Volume open(const std::string& path) { return Volume::open(path, Access::kRead).value(); }

    TemporaryFolder folder_;
    std::optional<Served> one, two;
    std::optional<FuseTracker> tracker;
};

TEST_F(FuseTrackerTest, FindsAVolumeUnderEachOfItsNames) {
    EXPECT_EQ(tracker->find(open(one->volume())).value()->tracker, one->tracker);
    EXPECT_EQ(tracker->find(open(folder_ / "two")).value()->tracker, two->tracker);
    const testing::LoopDevice loop(one->volume(), "--direct-io=on");
    if (loop.attached()) {
        EXPECT_EQ(tracker->find(open(loop.path())).value()->tracker, one->tracker);
        EXPECT_TRUE(tracker->usable_for(open(loop.path())));
        const testing::LoopDevice part(one->volume(), "--offset 4096");
        EXPECT_FALSE(tracker->find(open(part.path())).value()) << "a part is another volume";
    }
    const Volume other = open(testing::make_file(folder_ / "other", kBytes));
    EXPECT_FALSE(tracker->find(other).value());
    EXPECT_NE(error_of(tracker->usable_for(other)).context.find("towline mount-image"),
              std::string::npos);
    EXPECT_EQ(error_of(tracker->attach(other, {})).code, Code::kUnsupported);
    EXPECT_EQ(error_of(tracker->attach(open(one->volume()), {})).code, Code::kBusy);
    EXPECT_EQ(tracker->list()->size(), 2);
}

TEST_F(FuseTrackerTest, EpochsAreFrozenCommittedAndGivenBack) {
    one->write(5000, 'a');
    auto frozen = tracker->freeze_epoch({.trackers = {one->tracker}, .snapshot = {}});
    ASSERT_TRUE(frozen) << frozen.error().text();
    EXPECT_TRUE(frozen->images.empty());
    const ChangeSet& set = frozen->sets.at(0);
    EXPECT_EQ(set.sequence, 1);
    EXPECT_EQ(set.after, 0);
    EXPECT_EQ(set.trust, Trust::kExact);
    EXPECT_EQ(set.changes.marked_blocks(), 1);
    EXPECT_TRUE(set.changes.test(1));
    EXPECT_TRUE(tracker->give_back(one->tracker, 1));
    EXPECT_TRUE(tracker->give_back(one->tracker, 1));
    EXPECT_EQ(error_of(tracker->commit(one->tracker, 1)).code, Code::kRefused);
    frozen = tracker->freeze_epoch({.trackers = {one->tracker}, .snapshot = {}});
    EXPECT_TRUE(frozen->sets.at(0).changes.test(1));
    EXPECT_TRUE(frozen->sets.at(0).reasons.has(ChangeReason::kMerged));
    EXPECT_TRUE(tracker->commit(one->tracker, 2));
    EXPECT_TRUE(tracker->commit(one->tracker, 2));
    EXPECT_EQ(tracker->status(one->tracker)->sequence_committed, 2);
    EXPECT_TRUE(tracker->status(one->tracker)->durable);
    EXPECT_EQ(error_of(tracker->status(Uuid::random())).code, Code::kInvalid);
}

TEST_F(FuseTrackerTest, AGroupGetsImagesOfOneMoment) {
    one->write(0, 'a');
    two->write(0, 'b');
    SnapshotProvider& snapshots = *tracker->snapshots();
    const Volume first = open(one->volume());
    const Volume second = open(two->volume());
    const Volume* const volumes[] = {&first, &second};
    const auto images = snapshots.create(volumes, {}, std::chrono::seconds(5));
    ASSERT_TRUE(images) << images.error().text();
    one->write(0, 'A');
    two->write(0, 'B');
    EXPECT_EQ(Served::read(images->at(0).path, 0), 'a');
    EXPECT_EQ(Served::read(images->at(1).path, 0), 'b');
    EXPECT_EQ(images->at(1).tracker, two->tracker);
    EXPECT_EQ(images->at(0).volume_bytes, kBytes);
    EXPECT_EQ(snapshots.list()->size(), 2);
    EXPECT_FALSE(snapshots.status(images->at(0).id)->failed);
    // One of the group has a snapshot still: nothing is left of a second.
    EXPECT_TRUE(snapshots.remove(images->at(0).id));
    EXPECT_EQ(error_of(snapshots.create(volumes, {}, std::chrono::seconds(5))).code, Code::kBusy);
    EXPECT_EQ(snapshots.list()->size(), 1);
    EXPECT_EQ(tracker->status(one->tracker)->sequence, 2);
    EXPECT_TRUE(snapshots.remove(images->at(1).id));
    EXPECT_TRUE(snapshots.remove(images->at(1).id)) << "can be repeated";
    EXPECT_EQ(error_of(snapshots.status(images->at(1).id)).code, Code::kInvalid);
    EXPECT_EQ(error_of(snapshots.remove("nonsense")).code, Code::kInvalid);
}

}  // namespace
}  // namespace towline
