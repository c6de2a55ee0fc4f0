// SPDX-License-Identifier: Apache-2.0
// Whatever the order in which ranges are read, by however many threads, they are the point's bytes;
// and memory is bounded.

#include "userspace/vault/volume_cache.hpp"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>

#include "vault_fixture.hpp"

namespace towline::testing {
namespace {

constexpr std::uint64_t kBytes = (std::uint64_t{4} << 20) + 777;
constexpr VolumeCache::Options kSmall{.cache_bytes = 512 * 1024, .ahead_bytes = 512 * 1024};

class VolumeCacheTest : public ::testing::Test {
  protected:
    void SetUp() override {
        model_.change_some(500);
        ASSERT_TRUE(model_.full());
        ASSERT_TRUE(model_.run(RunMode::kExtents, model_.change_some(40)));
        open_ =
            std::make_unique<OpenPoint>(OpenPoint::open(vault_, model_.series, "latest").value());
    }
    std::shared_ptr<VolumeReader> volume() const { return open_->volume(0).value(); }
    void expect_range(VolumeCache& cache, std::uint64_t offset, std::uint64_t length) const {
        Bytes bytes(length);
        const Status read = cache.read(offset, bytes);
        ASSERT_TRUE(read) << read.error().text();
        EXPECT_TRUE(std::ranges::equal(bytes, std::span(model_.contents()).subspan(offset, length)))
            << offset << " " << length;
    }

    TemporaryFolder folder_;
    std::shared_ptr<Vault> vault_ = new_vault(folder_.path() + "/vault");
    VaultModel model_{vault_, kBytes};
    std::unique_ptr<OpenPoint> open_;
};

TEST_F(VolumeCacheTest, InOrderAndAtRandom) {
    VolumeCache cache(volume(), kSmall);
    for (std::uint64_t at = 0; at < kBytes; at += 50'000)
        expect_range(cache, at, std::min<std::uint64_t>(50'000, kBytes - at));
    for (int i = 0; i < 200; ++i) {
        const std::uint64_t at = model_.random()() % kBytes;
        expect_range(cache, at, model_.random()() % std::min<std::uint64_t>(300'000, kBytes - at));
    }
    EXPECT_LE(cache.kept_bytes(), kSmall.cache_bytes);
    EXPECT_GT(cache.kept_bytes(), 0U);
}

TEST_F(VolumeCacheTest, ManyReaders) {
    VolumeCache cache(volume(), kSmall);
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (std::uint64_t i = 0; i < 4; ++i) {
        threads.emplace_back([&, i] {
            std::mt19937_64 random(i);
            std::uint64_t next = 0;
            for (int round = 0; round < 150; ++round) {
                const std::uint64_t at = i % 2 == 0 ? next : random() % kBytes;
                const std::uint64_t length = std::min<std::uint64_t>(70'001, kBytes - at);
                expect_range(cache, at, length);
                next = (at + length) % kBytes;
            }
        });
    }
    for (std::thread& each : threads)
        each.join();
    EXPECT_LE(cache.kept_bytes(), kSmall.cache_bytes);
}

TEST_F(VolumeCacheTest, BehindTheEndIsRefused) {
    VolumeCache cache(volume(), kSmall);
    Bytes two(2);
    EXPECT_FALSE(cache.read(kBytes - 1, two));
    EXPECT_FALSE(cache.read(UINT64_MAX, two));
    expect_range(cache, kBytes - 1, 1);
}

// The neighbours of a block that cannot be read are read.
TEST_F(VolumeCacheTest, DamageCostsItsOwnBlockAlone) {
    const auto located = volume()->locate(0, 1024).value();
    const auto stored = std::ranges::find_if(
        located, [](const auto& each) { return !each.zeros && each.first > 100; });
    ASSERT_NE(stored, located.end());
    const ObjectId segment{vault_format::ObjectKind::kSegment, model_.series,
                           stored->segment.writer, stored->segment.serial, 1};
    const std::string path = folder_.path() + "/vault/" + segment.object_name();
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    const Bytes wrong(stored->entry.stored_bytes, std::byte{0xa5});
    ASSERT_EQ(::pwrite(fd, wrong.data(), wrong.size(), stored->entry.origin),
              static_cast<ssize_t>(wrong.size()));
    ::close(fd);
    VolumeCache cache(volume(), kSmall);
    Bytes block(kBlock);
    for (std::uint64_t each = 0; each + 1 < model_.block_count(); ++each) {
        const Status read = cache.read(each * kBlock, block);
        EXPECT_EQ(static_cast<bool>(read), each != stored->first) << each;
        if (read) {
            EXPECT_TRUE(std::ranges::equal(block, model_.block(each))) << each;
        }
    }
}

}  // namespace
}  // namespace towline::testing
