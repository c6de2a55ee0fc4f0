// SPDX-License-Identifier: Apache-2.0
// Zeroing on a block device: never by a discard, whatever mode is asked for. A loop device shows
// the difference, as a discard there punches a hole into its file.

#include <algorithm>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "engine_fixture.hpp"

namespace towline {
namespace {

constexpr std::size_t kBlock = 65536;
constexpr std::size_t kDeviceBytes = 64 * kBlock;

// A free loop device over the file, which it lets go when it is closed; or nothing, and errno.
Fd loop_over(const Fd& file) {
    const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control) return {};
    // Somebody else may be faster to take the free one.
    for (int attempt = 0; attempt < 20; ++attempt) {
        const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0) return {};
        Fd device(
            ::open(("/dev/loop" + std::to_string(number)).c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
        if (!device) return {};
        loop_config config{};
        config.fd = static_cast<__u32>(file.get());
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) return device;
    }
    return {};
}

class EngineDeviceTest : public EngineTest {
  protected:
    void SetUp() override {
        EngineTest::SetUp();
        file_ = open_file("device", O_RDWR | O_CREAT);
        noise_.resize(kDeviceBytes);
        fill_noise(noise_, 1);
        CHECK(::pwrite(file_.get(), noise_.data(), noise_.size(), 0) == kDeviceBytes);
        CHECK(::fsync(file_.get()) == 0);
        device_ = loop_over(file_);
        if (!device_) GTEST_SKIP() << "no loop device here: " << std::strerror(errno);
    }
    blkcnt_t sectors() {
        struct stat status {};
        CHECK(::fsync(file_.get()) == 0 && ::fstat(file_.get(), &status) == 0);
        return status.st_blocks;
    }

    Fd file_;
    Fd device_;
    std::vector<std::byte> noise_;
};

TEST_P(EngineDeviceTest, ZeroesWithoutGivingSpaceBack) {
    const Handle device = attach(device_);
    BufferPool pool(1, kDeviceBytes);
    Buffer* in = pool.take();
    const blkcnt_t before = sectors();
    std::uint64_t offset_bytes = 3 * kBlock;
    for (const ZeroMode mode : {ZeroMode::kFree, ZeroMode::kKeep}) {
        Outcome zeroed, read;
        engine_->zero(device, offset_bytes, 5 * kBlock, mode, zeroed.done);
        ASSERT_EQ(result_of(zeroed), 0);
        std::fill_n(noise_.begin() + static_cast<std::ptrdiff_t>(offset_bytes), 5 * kBlock,
                    std::byte{0});
        engine_->read(device, in->bytes(), 0, read.done);
        ASSERT_EQ(result_of(read), kDeviceBytes);
        EXPECT_TRUE(std::ranges::equal(in->bytes(), noise_));
        EXPECT_GE(sectors(), before);
        offset_bytes += 20 * kBlock;
    }
    pool.give(in);
}

TEST_P(EngineDeviceTest, WritesAndFlushesReachTheFile) {
    const Handle device = attach(device_);
    BufferPool pool(1, kBlock);
    engine_->register_buffers(pool);
    Buffer* out = pool.take();
    fill_noise(out->bytes(), 2);
    Outcome written, flushed;
    engine_->write(device, out->bytes(), 7 * kBlock, written.done);
    ASSERT_EQ(result_of(written), kBlock);
    engine_->flush(device, flushed.done);
    ASSERT_EQ(result_of(flushed), 0);
    std::vector<std::byte> back(kBlock);
    ASSERT_EQ(::pread(file_.get(), back.data(), kBlock, 7 * kBlock), static_cast<ssize_t>(kBlock));
    EXPECT_TRUE(std::ranges::equal(out->bytes(), back));
    pool.give(out);
}

TOWLINE_OVER_ENGINES(EngineDeviceTest);

}  // namespace
}  // namespace towline
