// SPDX-License-Identifier: Apache-2.0
#pragma once

// A tracked image in memory whose writes take their time, and fail when they are told to. The
// backend itself holds the rules that a write must have been seen to before it is made.

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "cbt/tracked_image.hpp"
#include "io/align.hpp"
#include "io/arena.hpp"

namespace towline::testing {

constexpr std::uint32_t kBlock = 4096;
constexpr std::uint32_t kRegion = 64U << 10;
constexpr std::uint32_t kChunk = 16U << 10;

// What a crash would leave of the log.
class MemoryLog : public IntentLog {
  public:
    Status store(const TrackingRecord& record) override {
        if (slow) std::this_thread::sleep_for(std::chrono::microseconds(200));
        const std::lock_guard lock(mutex_);
        if (failing) return fail_errno(EIO, "the log");
        record_ = record;
        valid_ = true;
        ++stores_;
        return {};
    }
    Status invalidate() override {
        const std::lock_guard lock(mutex_);
        if (lost) return fail_errno(EIO, "the seal");
        valid_ = false;
        return {};
    }
    bool valid() const {
        const std::lock_guard lock(mutex_);
        return valid_;
    }
    TrackingRecord record() const {
        const std::lock_guard lock(mutex_);
        return record_;
    }
    int stores() const {
        const std::lock_guard lock(mutex_);
        return stores_;
    }
    bool covers(Extent extent) const {
        const std::lock_guard lock(mutex_);
        const ChangeMap& hot = record_.hot;
        for (std::uint64_t at = align_down<std::uint64_t>(extent.offset_bytes, kRegion);
             at < std::min(extent.end_bytes(), hot.volume_bytes()); at += kRegion) {
            if (!hot.test(at / kRegion)) return false;
        }
        return extent.end_bytes() <= hot.volume_bytes();
    }

    std::atomic<bool> failing{false};
    std::atomic<bool> lost{false};
    std::atomic<bool> slow{false};

  private:
    mutable std::mutex mutex_;
    TrackingRecord record_;
    bool valid_ = false;
    int stores_ = 0;
};

class MemoryImage : public ImageBackend {
  public:
    MemoryImage(std::uint64_t size_bytes, const MemoryLog& log) : bytes_(size_bytes), log_(log) {}

    std::uint64_t size_bytes() const override { return bytes_.size(); }
    std::uint32_t alignment_bytes() const override { return 512; }
    Result<ByteSpan> read(Extent range, MutableByteSpan scratch) override {
        if (reads_fail) return fail_errno(EIO, "the image");
        const std::lock_guard lock(mutex_);
        const std::uint64_t end = std::min<std::uint64_t>(range.end_bytes(), bytes_.size());
        if (range.offset_bytes >= end) return ByteSpan();
        const std::uint64_t length = end - range.offset_bytes;
        const std::uint64_t skipped = range.offset_bytes % 512;
        std::ranges::copy(std::span(bytes_).subspan(range.offset_bytes, length),
                          scratch.begin() + static_cast<std::ptrdiff_t>(skipped));
        return ByteSpan(scratch).subspan(skipped, length);
    }
    Status write(std::uint64_t offset, ByteSpan from) override {
        const Extent extent{offset, from.size()};
        enter(extent);
        delay(offset);
        {
            const std::lock_guard lock(mutex_);
            EXPECT_LE(extent.end_bytes(), bytes_.size()) << "a write made the image longer";
            std::ranges::copy(from, bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
        }
        // The bytes are there, and whoever wrote them does not know yet.
        delay(offset + 1);
        leave(extent);
        return {};
    }
    Status zero(Extent range, Zeroing) override {
        return write(range.offset_bytes, std::vector<std::byte>(range.length_bytes));
    }
    Status allocate(Extent) override { return {}; }
    Status resize(std::uint64_t size_bytes) override {
        const std::lock_guard lock(mutex_);
        EXPECT_TRUE(running_.empty()) << "a resize beside a write";
        bytes_.resize(size_bytes);
        return {};
    }
    Status flush() override { return {}; }

    std::vector<std::byte> contents() const {
        const std::lock_guard lock(mutex_);
        return bytes_;
    }

    std::atomic<bool> delayed{false};
    std::atomic<bool> reads_fail{false};
    std::function<void(Extent)> on_write = [](Extent) {};

  private:
    void enter(Extent extent) {
        on_write(extent);
        EXPECT_TRUE(!log_.valid() || log_.lost || log_.covers(extent))
            << "rule 6: a write to a region that the log has not got, at " << extent.offset_bytes;
        const std::lock_guard lock(mutex_);
        for (const Extent& other : running_) {
            const bool whole = is_whole(extent) && is_whole(other);
            const bool apart =
                page_end(other) <= page_begin(extent) || page_end(extent) <= page_begin(other);
            EXPECT_TRUE(whole || apart) << "two writes in one page, one of them in a part of it";
        }
        running_.push_back(extent);
    }
    void leave(Extent extent) {
        const std::lock_guard lock(mutex_);
        running_.erase(std::ranges::find(running_, extent));
    }
    void delay(std::uint64_t salt) const {
        if (!delayed) return;
        const std::uint64_t drawn =
            (salt * 0x9e3779b97f4a7c15ULL + ++draws_ * 0xbf58476d1ce4e5b9ULL) >> 40;
        if (drawn % 16 == 0)
            std::this_thread::sleep_for(std::chrono::microseconds(drawn % 300));
        else if (drawn % 3 == 0)
            std::this_thread::yield();
    }
    static bool is_whole(Extent extent) {
        return extent.offset_bytes % 4096 == 0 && extent.length_bytes % 4096 == 0;
    }
    static std::uint64_t page_begin(Extent extent) {
        return align_down<std::uint64_t>(extent.offset_bytes, 4096);
    }
    static std::uint64_t page_end(Extent extent) {
        return align_up<std::uint64_t>(extent.end_bytes(), 4096);
    }

    mutable std::mutex mutex_;
    std::vector<std::byte> bytes_;
    std::vector<Extent> running_;
    const MemoryLog& log_;
    mutable std::atomic<std::uint64_t> draws_{0};
};

class MemoryStore : public SnapshotStore {
  public:
    explicit MemoryStore(std::uint64_t slots) : slots_(slots) {}
    std::uint64_t slot_count() const override { return slots_.size(); }
    Status put(std::uint64_t slot, ByteSpan chunk) override {
        if (failing) return fail_errno(EIO, "the store");
        slots_[slot].assign(chunk.begin(), chunk.end());
        return {};
    }
    Status get(std::uint64_t slot, std::uint64_t offset, MutableByteSpan into) override {
        std::ranges::copy(std::span(slots_[slot]).subspan(offset, into.size()), into.begin());
        return {};
    }
    bool failing = false;

  private:
    std::vector<std::vector<std::byte>> slots_;
};

class TrackedImageTest : public ::testing::Test {
  protected:
    static constexpr std::uint64_t kSize = (1U << 20) + 512 * 3;

    void begin(std::uint64_t size_bytes = kSize) {
        backend = std::make_unique<MemoryImage>(size_bytes, log);
        TrackingRecord record;
        record.tracker = Uuid::random();
        record.block_bytes = kBlock;
        record.volume_bytes = record.resize_bytes = size_bytes;
        record.hot = ChangeMap(size_bytes, kRegion);
        Epoch present{.marks = ChangeMap(size_bytes, kBlock)};
        image = std::make_unique<TrackedImage>(*backend, log, record, Epochs(std::move(present)));
        ASSERT_TRUE(image->start());
    }
    Status write(std::uint64_t offset, std::size_t length, int value = 1) {
        return image->write(offset, std::vector<std::byte>(length, static_cast<std::byte>(value)));
    }
    Result<FrozenEpoch> freeze_undrained() {
        TRY_STATUS(image->prepare(nullptr, 0));
        auto frozen = image->freeze();
        image->release();
        return frozen;
    }
    // With a snapshot; `moment` is called while the gate is held.
    Result<FrozenEpoch> snapshot(
        std::uint64_t slots = 1000, const std::function<void()>& moment = [] {}) {
        auto made = std::make_unique<MemoryStore>(slots);
        store = made.get();
        TRY_STATUS(image->prepare(std::move(made), kChunk));
        Status held = image->hold(5s, 5s);
        if (held) moment();
        auto frozen = held ? image->freeze() : std::unexpected(held.error());
        image->release();
        return frozen;
    }
    Result<std::vector<std::byte>> snapshot_bytes(std::uint64_t sequence,
                                                  std::uint64_t piece = 100'000) {
        const Arena scratch(1 << 20);
        std::vector<std::byte> all;
        for (;;) {
            const ByteSpan got =
                TRY(image->read_snapshot(sequence, {all.size(), piece}, scratch.bytes()));
            if (got.empty()) return all;
            all.insert(all.end(), got.begin(), got.end());
        }
    }

    MemoryLog log;
    std::unique_ptr<MemoryImage> backend;
    std::unique_ptr<TrackedImage> image;
    MemoryStore* store = nullptr;
};

}  // namespace towline::testing
