// SPDX-License-Identifier: Apache-2.0
#include "io/volume.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <sys/stat.h>

#include "tests/unit/storage_fixture.hpp"

namespace towline {
namespace {

using testing::error_of;
using testing::LoopDevice;
using testing::make_file;
using testing::TemporaryFolder;

constexpr std::uint64_t kMiB = 1 << 20;

std::vector<std::byte> pattern(std::size_t length, unsigned seed) {
    std::vector<std::byte> bytes(length);
    for (std::size_t i = 0; i < length; ++i)
        bytes[i] = static_cast<std::byte>((i * 131 + i / 251 + seed) | 1);
    return bytes;
}

Volume must_open(const std::string& path, Access access = Access::kReadWrite) {
    auto volume = Volume::open(path, access);
    // Thrown, not aborted, so that what the test has set up is taken down.
    if (!volume) throw std::runtime_error(volume.error().text());
    return std::move(*volume);
}

std::vector<std::byte> read_back(const Volume& volume, std::uint64_t offset, std::size_t length) {
    std::vector<std::byte> bytes(length);
    const Status read = volume.read_at(offset, bytes);
    EXPECT_TRUE(read) << read.error().text();
    return bytes;
}

std::vector<std::byte> file_bytes(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::vector<std::byte> bytes(std::filesystem::file_size(path));
    EXPECT_EQ(::pread(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    return bytes;
}

// Writes over a volume at many odd places and holds a copy in memory against it.
void expect_bytes_kept(Volume& volume) {
    const std::uint64_t size = volume.size_bytes();
    std::vector<std::byte> model = pattern(size, 0);
    ASSERT_TRUE(volume.write_at(0, model));
    unsigned seed = 1;
    for (const std::uint64_t length :
         {1ULL, 7ULL, 511ULL, 512ULL, 513ULL, 4096ULL, 5000ULL, 70000ULL})
        for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, size / 2,
                                           size - std::min<std::uint64_t>(length, size)}) {
            if (offset > size || length > size - offset) continue;
            const auto bytes = pattern(length, ++seed);
            const Status written = volume.write_at(offset, bytes);
            ASSERT_TRUE(written) << written.error().text();
            std::memcpy(model.data() + offset, bytes.data(), bytes.size());
            ASSERT_EQ(read_back(volume, offset, length), bytes);
        }
    ASSERT_TRUE(volume.flush());
    EXPECT_EQ(read_back(volume, 0, size), model);
}

class VolumeOfOddSize : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(VolumeOfOddSize, KeepsEveryByteAndItsSize) {
    const TemporaryFolder folder;
    const std::string path = make_file(folder / "image", GetParam());
    Volume volume = must_open(path);
    EXPECT_EQ(volume.size_bytes(), GetParam());
    EXPECT_GE(volume.alignment_bytes(), 512U);
    EXPECT_TRUE(volume.direct()) << "the test's folder has no O_DIRECT";
    expect_bytes_kept(volume);
    EXPECT_EQ(std::filesystem::file_size(path), GetParam()) << "a tail made the file longer";
    EXPECT_EQ(file_bytes(path), read_back(volume, 0, GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Sizes, VolumeOfOddSize,
                         ::testing::Values(1, 511, 513, 4096, 4097, 65536 * 3 + 777,
                                           3 * kMiB + 4095));

TEST(Volume, RefusesBytesBeyondItsEnd) {
    const TemporaryFolder folder;
    Volume volume = must_open(make_file(folder / "image", 1000));
    std::vector<std::byte> bytes(10);
    EXPECT_EQ(error_of(volume.read_at(991, bytes)).code, Code::kInvalid);
    EXPECT_EQ(error_of(volume.write_at(~0ULL, bytes)).code, Code::kInvalid);
    EXPECT_EQ(error_of(volume.write_at(1000, bytes)).code, Code::kInvalid);
    EXPECT_TRUE(volume.read_at(990, bytes));
}

TEST(Volume, OfAFileThatShrankMeanwhileSaysSo) {
    const TemporaryFolder folder;
    const std::string path = make_file(folder / "image", 8192);
    const Volume volume = must_open(path, Access::kRead);
    ASSERT_EQ(::truncate(path.c_str(), 100), 0);
    std::vector<std::byte> bytes(200);
    const Status read = volume.read_at(0, bytes);
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().text().find("open it again"), std::string::npos);
}

TEST(Volume, OpenedForReadingTakesNoWrite) {
    const TemporaryFolder folder;
    const std::string path = make_file(folder / "image", 4096);
    Volume volume = must_open(path, Access::kRead);
    EXPECT_EQ(error_of(volume.write_at(0, pattern(1, 1))).code, Code::kInvalid);
    EXPECT_EQ(error_of(volume.resize(0)).code, Code::kInvalid);
    EXPECT_EQ(::fcntl(volume.fd(), F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_NE(::fcntl(volume.fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Volume, FindsDataBetweenHoles) {
    const TemporaryFolder folder;
    Volume volume = must_open(make_file(folder / "image", 16 * kMiB + 100));
    EXPECT_TRUE(volume.known_empty().value());
    EXPECT_FALSE(volume.has_data().value());
    EXPECT_TRUE(volume.data_ranges()->empty());

    ASSERT_TRUE(volume.write_at(4 * kMiB, pattern(4096, 1)));
    ASSERT_TRUE(volume.write_at(16 * kMiB + 99, pattern(1, 2)));
    const auto ranges = volume.data_ranges().value();
    ASSERT_EQ(ranges.size(), 2U);
    EXPECT_EQ(ranges[0].offset_bytes, 4 * kMiB);
    EXPECT_GE(ranges[0].length_bytes, 4096U);
    EXPECT_EQ(ranges[1].offset_bytes + ranges[1].length_bytes, volume.size_bytes());
    EXPECT_FALSE(volume.known_empty().value());
    EXPECT_TRUE(volume.has_data().value());
}

// Joined or not, a byte of data that is in no range is a byte that is never copied.
TEST(Volume, RangesJoinedToAFewStillCoverAllData) {
    const TemporaryFolder folder;
    Volume volume = must_open(make_file(folder / "image", 8 * kMiB));
    for (std::uint64_t at = 0; at < 8 * kMiB; at += 128 << 10)
        ASSERT_TRUE(volume.write_at(at, pattern(4096, 3)));
    ASSERT_EQ(volume.data_ranges()->size(), 64U);
    for (const std::size_t ranges_max : {1U, 2U, 3U, 7U, 63U}) {
        const auto ranges = volume.data_ranges(ranges_max).value();
        EXPECT_LE(ranges.size(), ranges_max);
        for (std::uint64_t at = 0; at < 8 * kMiB; at += 128 << 10)
            EXPECT_TRUE(std::ranges::any_of(ranges,
                                            [at](const DataRange& range) {
                                                return range.offset_bytes <= at &&
                                                       at + 4096 <=
                                                           range.offset_bytes + range.length_bytes;
                                            }))
                << at << " of " << ranges_max;
    }
}

TEST(Volume, WrittenZerosAreNoData) {
    const TemporaryFolder folder;
    Volume volume = must_open(make_file(folder / "image", 20 * kMiB));
    ASSERT_TRUE(volume.write_at(0, std::vector<std::byte>(12 * kMiB)));
    EXPECT_FALSE(volume.known_empty().value());
    EXPECT_FALSE(volume.has_data().value());
    ASSERT_TRUE(volume.write_at(12 * kMiB - 1, pattern(1, 1)));
    EXPECT_TRUE(volume.has_data().value());
}

TEST(Volume, ResizesAndForgetsWhatItCutOff) {
    const TemporaryFolder folder;
    Volume volume = must_open(make_file(folder / "image", 10000));
    ASSERT_TRUE(volume.write_at(0, pattern(10000, 1)));
    ASSERT_TRUE(volume.resize(5001));
    EXPECT_EQ(volume.size_bytes(), 5001U);
    ASSERT_TRUE(volume.resize(20003));
    EXPECT_EQ(must_open(folder / "image").size_bytes(), 20003U);
    EXPECT_EQ(read_back(volume, 5001, 15002), std::vector<std::byte>(15002));
    EXPECT_EQ(error_of(volume.resize(~0ULL)).code, Code::kInvalid);
}

TEST(Volume, IdentityStaysWithTheFileAndNotWithItsName) {
    const TemporaryFolder folder;
    const std::string path = make_file(folder / "image", 4 * kMiB);
    const VolumeIdentity first = must_open(path).identity().value();
    EXPECT_EQ(first.kind, "file");
    ASSERT_TRUE(must_open(path).resize(8 * kMiB));
    EXPECT_TRUE(first.same_volume(must_open(path).identity().value()));
    std::filesystem::rename(path, folder / "renamed");
    EXPECT_TRUE(first.same_volume(must_open(folder / "renamed").identity().value()));

    std::filesystem::rename(make_file(folder / "other", 4 * kMiB), folder / "renamed");
    EXPECT_FALSE(first.same_volume(must_open(folder / "renamed").identity().value()));
    EXPECT_FALSE(VolumeIdentity{}.same_volume(VolumeIdentity{}));
}

// The inode number is often the very same: only the birth time tells.
TEST(Volume, IdentityDiffersForAFileMadeAnewInPlace) {
    const TemporaryFolder folder;
    const VolumeIdentity first = must_open(make_file(folder / "image", 4096)).identity().value();
    std::filesystem::remove(folder / "image");
    ::usleep(20000);
    const VolumeIdentity second = must_open(make_file(folder / "image", 4096)).identity().value();
    EXPECT_FALSE(first.same_volume(second)) << first.locator << " and " << second.locator;
}

TEST(Volume, IdentityNamesTheFilesystem) {
    const TemporaryFolder folder;
    const std::string path = make_file(folder / "image", 16 * kMiB + 511);
    if (!testing::run("mkfs.ext4 -q -U 0c8f3ce5-2f7f-4b5e-9d9c-0d3f6c1f0a11 " + path))
        GTEST_SKIP() << "needs mkfs.ext4";
    EXPECT_EQ(*must_open(path, Access::kRead).filesystem_uuid(),
              "0c8f3ce5-2f7f-4b5e-9d9c-0d3f6c1f0a11");
}

TEST(Volume, OnTmpfsIsBufferedAndKeepsItsBytes) {
    const TemporaryFolder folder("/dev/shm");
    Volume volume = must_open(make_file(folder / "image", 65536 * 3 + 777));
    EXPECT_FALSE(volume.direct());
    expect_bytes_kept(volume);
    EXPECT_TRUE(volume.identity());
}

TEST(Volume, RefusesWhatIsNoVolumeWithoutTouchingIt) {
    const TemporaryFolder folder;
    ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
    for (const std::string& path : {folder.path(), folder / "fifo", std::string("/dev/null")}) {
        const auto volume = Volume::open(path, Access::kReadWrite);
        ASSERT_FALSE(volume) << path;
        EXPECT_EQ(volume.error().code, Code::kRefused);
        EXPECT_NE(volume.error().text().find("; name a block device"), std::string::npos);
    }
    EXPECT_EQ(error_of(Volume::open(folder / "none", Access::kRead)).system_errno, ENOENT);
}

TEST(Volume, AdoptsOpenAndNamedDescriptors) {
    const TemporaryFolder folder;
    const std::string path = make_file(folder / "image", 9000);
    const int flags = O_CLOEXEC | O_APPEND | O_RDWR;
    auto open = Volume::adopt(Fd(::open(path.c_str(), flags)), "shown", Access::kReadWrite);
    ASSERT_TRUE(open) << open.error().text();
    EXPECT_TRUE(open->direct());
    EXPECT_EQ(open->name(), "shown");
    expect_bytes_kept(*open);
    auto named = Volume::adopt(Fd(::open(path.c_str(), O_PATH)), "shown", Access::kReadWrite);
    ASSERT_TRUE(named) << named.error().text();
    expect_bytes_kept(*named);
    const auto narrow =
        Volume::adopt(Fd(::open(path.c_str(), O_RDONLY)), "shown", Access::kReadWrite);
    EXPECT_EQ(narrow.error().code, Code::kInvalid);
}

class VolumeOnLoop : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(VolumeOnLoop, KeepsEveryByte) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string file = make_file(folder / "image", 3 * kMiB);
    const LoopDevice loop(file, "--sector-size " + std::to_string(GetParam()));
    ASSERT_TRUE(loop.attached());
    // As /dev/disk/by-id has them.
    std::filesystem::create_symlink(loop.path(), folder / "link");
    Volume volume = must_open(folder / "link");
    EXPECT_EQ(volume.kind(), VolumeKind::kBlockDevice);
    EXPECT_EQ(volume.size_bytes(), 3 * kMiB);
    EXPECT_GE(volume.alignment_bytes(), GetParam());
    EXPECT_TRUE(volume.direct());
    expect_bytes_kept(volume);
    EXPECT_EQ(volume.data_ranges()->size(), 1U);
    EXPECT_FALSE(volume.known_empty().value());
    EXPECT_EQ(error_of(volume.resize(kMiB)).code, Code::kRefused);
}

INSTANTIATE_TEST_SUITE_P(SectorSizes, VolumeOnLoop, ::testing::Values(512, 4096));

TEST(VolumeOnLoop, IsOpenedForWritingByOneOnly) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const LoopDevice loop(make_file(folder / "image", kMiB));
    const Volume first = must_open(loop.path());
    const auto second = Volume::open(loop.path(), Access::kReadWrite);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kRefused);
    EXPECT_NE(second.error().text().find("; release it"), std::string::npos);
    EXPECT_TRUE(Volume::open(loop.path(), Access::kRead));
}

TEST(VolumeOnLoop, MountedIsOpenedForReadingOnly) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const LoopDevice loop(make_file(folder / "image", 16 * kMiB));
    if (!testing::run("mkfs.ext4 -q " + loop.path())) GTEST_SKIP() << "needs mkfs.ext4";
    const testing::Mount mount(loop.path(), folder / "mounted");
    ASSERT_TRUE(mount.mounted());
    EXPECT_EQ(error_of(Volume::open(loop.path(), Access::kReadWrite)).code, Code::kRefused);
    EXPECT_TRUE(Volume::open(loop.path(), Access::kRead));
}

// A loop number is handed to the next file that comes: the name alone would pass.
TEST(VolumeOnLoop, IdentityFollowsTheBackingFileAndTheAttachment) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string file = make_file(folder / "image", kMiB);
    LoopDevice loop(file);
    const VolumeIdentity first = must_open(loop.path()).identity().value();
    EXPECT_EQ(first.kind, "device");
    EXPECT_TRUE(first.locator.starts_with("loop:")) << first.locator;
    EXPECT_FALSE(first.generation.empty());
    EXPECT_EQ(must_open(loop.path()).identity().value(), first);
    const LoopDevice other(make_file(folder / "other", kMiB));
    EXPECT_NE(must_open(other.path()).identity()->locator, first.locator);

    loop.detach();
    const LoopDevice again(file);
    const VolumeIdentity later = must_open(again.path()).identity().value();
    EXPECT_EQ(later.locator, first.locator);
    EXPECT_FALSE(later.same_volume(first));
}

TEST(VolumeOnLoop, WithoutAFileIsRefused) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string path = testing::output_of("losetup --find");
    if (path.empty()) GTEST_SKIP() << "no free loop device";
    EXPECT_FALSE(Volume::open(path, Access::kRead));
}

TEST(VolumeOnLoop, PartitionsAreToldApart) {
    NEEDS_LOOP_DEVICES();
    const TemporaryFolder folder;
    const std::string file = make_file(folder / "image", 16 * kMiB);
    if (!testing::run("printf 'label: gpt\\nsize=4MiB\\nsize=4MiB\\n' | sfdisk " + file))
        GTEST_SKIP() << "needs sfdisk (package fdisk)";
    const LoopDevice loop(file, "--partscan");
    ASSERT_TRUE(loop.show_partitions());
    const std::string one = loop.path() + "p1";
    const std::string two = loop.path() + "p2";
    const VolumeIdentity first = must_open(one).identity().value();
    const VolumeIdentity second = must_open(two).identity().value();
    EXPECT_NE(first.locator.find("/partition:"), std::string::npos) << first.locator;
    EXPECT_EQ(first.locator.find("/partition:@"), std::string::npos) << "no uuid in it";
    EXPECT_NE(first.locator, second.locator);
    EXPECT_EQ(must_open(one).identity().value(), first);
}

}  // namespace
}  // namespace towline
