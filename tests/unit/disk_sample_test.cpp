// SPDX-License-Identifier: Apache-2.0
// A disk is measured without a trace of it: no file is left, nothing that was there is changed, and
// where there is no room nothing is taken.

#include "userspace/engine/disk_sample.hpp"

#include <atomic>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

constexpr std::uint64_t kMib = std::uint64_t{1} << 20;

using testing::error_of;
using testing::make_file;
using testing::TemporaryFolder;

std::size_t files_in(const std::string& folder) {
    const std::filesystem::directory_iterator all(folder);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

TEST(DiskSample, AFolderIsWrittenToAndReadBackWithoutATrace) {
    const TemporaryFolder folder;
    const auto sample = sample_folder(folder.path());
    ASSERT_TRUE(sample) << sample.error().text();
    EXPECT_GT(*sample->write_bytes_per_second(), 0);
    EXPECT_GT(*sample->read_bytes_per_second(), 0);
    EXPECT_LE(sample->written_bytes, 64 * kMib);
    EXPECT_LE(sample->read_bytes, sample->written_bytes);
    EXPECT_EQ(files_in(folder.path()), 0U);
    EXPECT_FALSE(sample_folder(folder / "none"));
}

TEST(DiskSample, WhereRoomIsShortNothingIsTaken) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    for (const auto& [size_mib, fits] : {std::pair{24, false}, std::pair{128, true}}) {
        const std::string image =
            make_file(folder / std::to_string(size_mib), static_cast<unsigned>(size_mib) * kMib);
        ASSERT_TRUE(testing::run("mkfs.ext4 -q -F -m 0 " + image));
        const testing::LoopDevice loop(image);
        const testing::Mount mount(loop.path(), folder / "mount");
        ASSERT_TRUE(mount.mounted());
        const auto sample = sample_folder(mount / ".");
        if (fits) {
            ASSERT_TRUE(sample) << sample.error().text();
            EXPECT_LE(sample->written_bytes, static_cast<unsigned>(size_mib) * kMib / 8);
        } else {
            EXPECT_EQ(error_of(sample).code, Code::kNoSpace);
        }
        EXPECT_EQ(files_in(mount / "."), 1U) << "lost+found";
    }
}

TEST(DiskSample, AVolumeIsReadAndStaysAsItIs) {
    const TemporaryFolder folder;
    const std::string path = folder / "image";
    std::ofstream(path, std::ios::binary) << std::string(3 * kMib + 17, 'v');
    std::filesystem::resize_file(path, 512 * kMib);
    const auto before = std::filesystem::last_write_time(path);
    const auto volume = Volume::open(path, Access::kRead);
    ASSERT_TRUE(volume);
    if (!volume->direct()) GTEST_SKIP() << "the folder for tests has no O_DIRECT";
    const auto sample = sample_reading(*volume, std::chrono::minutes(1));
    ASSERT_TRUE(sample) << sample.error().text();
    EXPECT_GE(sample->read_bytes, 3 * kMib);
    EXPECT_LE(sample->read_bytes, 4 * kMib) << "holes are no data";
    EXPECT_FALSE(sample->write_bytes_per_second());
    EXPECT_EQ(std::filesystem::last_write_time(path), before);
    const auto tiny = Volume::open(make_file(folder / "tiny", 4096), Access::kRead);
    EXPECT_EQ(error_of(sample_reading(*tiny)).code, Code::kUnsupported);
}

TEST(DiskSample, NoMoreThanTheMostIsRead) {
    const TemporaryFolder folder;
    const auto volume =
        Volume::open(make_file(folder / "image", 4 * kDiskSampleBytesMax), Access::kRead);
    ASSERT_TRUE(volume);
    if (!volume->direct()) GTEST_SKIP() << "the folder for tests has no O_DIRECT";
    const auto sample = sample_reading(*volume, std::chrono::minutes(2));
    ASSERT_TRUE(sample);
    EXPECT_EQ(sample->read_bytes, kDiskSampleBytesMax);
}

// Each of them is measured alone, or told that another one is.
TEST(DiskSample, TwoDoNotMeasureEachOther) {
    const TemporaryFolder folder;
    std::atomic<int> measured = 0, busy = 0;
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            const auto sample = sample_folder(folder.path());
            if (sample) {
                ++measured;
            } else {
                EXPECT_EQ(sample.error().code, Code::kBusy);
                ++busy;
            }
        });
    }
    for (std::thread& each : threads)
        each.join();
    EXPECT_GE(measured, 1);
    EXPECT_EQ(measured + busy, 4);
}

}  // namespace
}  // namespace towline
