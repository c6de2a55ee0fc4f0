// SPDX-License-Identifier: Apache-2.0
// Reads that come short, answered by hand: what is asked for next, and when it is given up.

#include "io/whole_read.hpp"

#include <algorithm>
#include <cerrno>
#include <vector>

#include <gtest/gtest.h>

namespace towline {
namespace {

constexpr std::size_t kSector = 512;
constexpr std::uint64_t kOffset = 10 * kSector;

struct Asked {
    std::uint64_t offset_bytes = 0;
    std::size_t length_bytes = 0;
    std::size_t at = 0;  // in the buffer
    bool operator==(const Asked&) const = default;
};

// Notes what is asked for; the test answers.
class ScriptedEngine final : public IoEngine {
  public:
    explicit ScriptedEngine(const std::byte* buffer) : buffer_(buffer) {}
    void read(Handle file, MutableByteSpan into, std::uint64_t offset, Completion&) override {
        file_asked = file;
        asked.push_back({offset, into.size(), static_cast<std::size_t>(into.data() - buffer_)});
    }
    std::string_view name() const override { return "scripted"; }
    Result<Handle> attach(int) override { return Handle{0}; }
    void detach(Handle) override {}
    void register_buffers(const BufferPool&) override {}
    void write(Handle, ByteSpan, std::uint64_t, Completion&) override {}
    void flush(Handle, Completion&) override {}
    void zero(Handle, std::uint64_t, std::uint64_t, ZeroMode, Completion&) override {}
    void send(Handle, const msghdr*, Completion&) override {}
    void receive(Handle, msghdr*, ReceiveMode, Completion&) override {}
    void shut_down(Handle) override {}
    Instant now() const override { return {}; }
    void wait_until(Instant, Completion&) override {}
    void cancel_wait(Completion&) override {}
    void post(Completion&) override {}
    std::size_t in_flight() const override { return 0; }
    Status run_once() override { return {}; }

    std::vector<Asked> asked;
    Handle file_asked;  // the last time

  private:
    const std::byte* buffer_;
};

class WholeReadTest : public ::testing::Test {
  protected:
    void start(std::size_t length_bytes) {
        read.start(engine, {.handle = {0}, .alignment_bytes = kSector}, buffer, kOffset,
                   length_bytes, done);
    }
    const Asked& last() const { return engine.asked.back(); }

    std::vector<std::byte> buffer = std::vector<std::byte>(8 * kSector);
    ScriptedEngine engine{buffer.data()};
    Completion done;
    WholeRead read;
};

using Step = WholeRead::Step;

TEST_F(WholeReadTest, OneReadIsAllWhereItComesWhole) {
    start(4 * kSector);
    EXPECT_EQ(last(), (Asked{kOffset, 4 * kSector, 0}));
    EXPECT_EQ(read.take(4 * kSector), Step::kWhole);
    EXPECT_EQ(engine.asked.size(), 1U);
}

TEST_F(WholeReadTest, AShortReadGoesOnBehindItsLastWholeSector) {
    start(4 * kSector);
    EXPECT_EQ(read.take(kSector), Step::kAgain);
    EXPECT_EQ(last(), (Asked{kOffset + kSector, 3 * kSector, kSector}));
    EXPECT_EQ(read.take(kSector + 100), Step::kAgain);
    EXPECT_EQ(last(), (Asked{kOffset + 2 * kSector, 2 * kSector, 2 * kSector}));
    EXPECT_EQ(read.take(2 * kSector), Step::kWhole);
}

// The last block ends where the volume does, in the middle of a sector.
TEST_F(WholeReadTest, ATailIsAskedForWithItsSectorAndWholeWithout) {
    start(kSector + 100);
    EXPECT_EQ(last(), (Asked{kOffset, 2 * kSector, 0}));
    EXPECT_EQ(read.take(kSector + 99), Step::kAgain);
    EXPECT_EQ(last(), (Asked{kOffset + kSector, kSector, kSector}));
    EXPECT_EQ(read.take(100), Step::kWhole);
    start(kSector + 100);
    EXPECT_EQ(read.take(2 * kSector), Step::kWhole);
}

// Of several volumes side by side each is read from its own begin; behind its end are zeros.
TEST_F(WholeReadTest, APartIsReadFromItsOwnFileAndFilledUp) {
    const VolumeView view{.size_bytes = 20 * kSector + 100,
                          .alignment_bytes = kSector,
                          .parts = {{{1}, 0, 3 * kSector + 100}, {{2}, 16 * kSector, 4 * kSector}}};
    std::ranges::fill(buffer, std::byte{7});
    read.start(engine, view, buffer, 2 * kSector, 4 * kSector, done);
    EXPECT_EQ(engine.file_asked, Handle{1});
    EXPECT_EQ(last(), (Asked{2 * kSector, 2 * kSector, 0}));
    EXPECT_EQ(read.take(kSector), Step::kAgain);
    EXPECT_EQ(last(), (Asked{3 * kSector, kSector, kSector}));
    EXPECT_EQ(read.take(100), Step::kWhole);
    EXPECT_EQ(buffer[kSector + 99], std::byte{7});
    for (std::size_t at = kSector + 100; at < 4 * kSector; ++at)
        ASSERT_EQ(buffer[at], std::byte{}) << at;
    EXPECT_EQ(buffer[4 * kSector], std::byte{7});
    read.start(engine, view, buffer, 17 * kSector, 3 * kSector, done);
    EXPECT_EQ(engine.file_asked, Handle{2});
    EXPECT_EQ(last(), (Asked{kSector, 3 * kSector, 0}));
    EXPECT_EQ(read.take(-EIO), Step::kFailed);
    EXPECT_EQ(read.offset_bytes(), 17 * kSector);
}

TEST_F(WholeReadTest, AnInterruptedReadIsAskedForAgain) {
    start(2 * kSector);
    for (int i = 0; i < 100; ++i)
        EXPECT_EQ(read.take(i % 2 == 0 ? -EINTR : -EAGAIN), Step::kAgain);
    EXPECT_EQ(last(), engine.asked.front());
    EXPECT_EQ(read.take(2 * kSector), Step::kWhole);
}

TEST_F(WholeReadTest, AFailureSaysWhyAndWhere) {
    start(4 * kSector);
    EXPECT_EQ(read.take(kSector), Step::kAgain);
    EXPECT_EQ(read.take(-EIO), Step::kFailed);
    EXPECT_EQ(read.system_errno(), EIO);
    EXPECT_EQ(read.offset_bytes(), kOffset + kSector);
    start(kSector);
    EXPECT_EQ(read.take(0), Step::kFailed);
    EXPECT_EQ(read.system_errno(), ENODATA);
}

// An image that was cut off within a sector gives those bytes again and again.
TEST_F(WholeReadTest, ReadsThatBringNothingEnd) {
    start(4 * kSector);
    Step step = Step::kAgain;
    for (int i = 0; i < 100 && step == Step::kAgain; ++i)
        step = read.take(100);
    EXPECT_EQ(step, Step::kFailed);
    EXPECT_EQ(read.system_errno(), ENODATA);
    // Progress in between is no such thing.
    start(4 * kSector);
    for (int sector = 0; sector < 3; ++sector) {
        for (int i = 0; i < 5; ++i)
            EXPECT_EQ(read.take(100), Step::kAgain);
        EXPECT_EQ(read.take(kSector), Step::kAgain);
    }
    EXPECT_EQ(read.take(kSector), Step::kWhole);
}

}  // namespace
}  // namespace towline
