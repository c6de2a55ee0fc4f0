// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the tests of the simulated world share: memory aligned as a disk wants it, an operation
// whose result can be asked for, and two ends of a connection that pump.

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

#include "io/engine_simulated.hpp"
#include "io/simulated_world.hpp"

namespace towline {

constexpr Duration kLongEnough = std::chrono::minutes(10);
constexpr std::uint64_t kSeedCount = 64;

struct FreeMemory {
    void operator()(std::byte* memory) const { std::free(memory); }
};

class Block {
  public:
    Block(std::size_t size_bytes, int fill)
        : memory_(static_cast<std::byte*>(std::aligned_alloc(512, size_bytes))),
          bytes_(memory_.get(), size_bytes) {
        std::fill(bytes_.begin(), bytes_.end(), static_cast<std::byte>(fill));
    }
    MutableByteSpan bytes() { return bytes_; }
    int at(std::size_t index) const { return std::to_integer<int>(bytes_[index]); }

  private:
    std::unique_ptr<std::byte, FreeMemory> memory_;
    MutableByteSpan bytes_;
};

// Destroy it only when it was delivered or its engine killed, as any completion.
struct Awaited {
    std::optional<std::int64_t> result;
    Completion completion{[this](std::int64_t value) { result = value; }};
};

inline std::int64_t await(SimulatedWorld& world, Awaited& awaited) {
    EXPECT_EQ(world.run([&] { return awaited.result.has_value(); }, kLongEnough), RunEnd::kDone);
    return awaited.result.value_or(INT64_MIN);
}

// One side on one disk, one operation after the other.
struct DiskBench {
    DiskBench(std::uint64_t seed, DiskPlan plan) : world(seed), disk(world, plan) {}

    std::int64_t write(std::uint64_t offset, ByteSpan from) {
        Awaited done;
        engine.write(handle, from, offset, done.completion);
        return await(world, done);
    }
    std::int64_t write(std::uint64_t offset, std::size_t size_bytes, int fill) {
        Block block(size_bytes, fill);
        return write(offset, block.bytes());
    }
    std::int64_t read(std::uint64_t offset, MutableByteSpan into) {
        Awaited done;
        engine.read(handle, into, offset, done.completion);
        return await(world, done);
    }
    std::int64_t flush() {
        Awaited done;
        engine.flush(handle, done.completion);
        return await(world, done);
    }
    std::int64_t zero(std::uint64_t offset, std::uint64_t length) {
        Awaited done;
        engine.zero(handle, offset, length, ZeroMode::kKeep, done.completion);
        return await(world, done);
    }
    int byte_at(std::uint64_t offset) const {
        return std::to_integer<int>(disk.contents(offset, 1)[0]);
    }

    SimulatedWorld world;
    SimulatedDisk disk;
    SimulatedEngine engine{world, "side"};
    Handle handle = engine.attach_disk(disk);
};

// Sends all of `bytes`, whatever it takes; `error` is what ended it before.
class Sender {
  public:
    Sender(IoEngine& engine, Handle socket, std::vector<std::byte> bytes)
        : engine_(engine), socket_(socket), bytes_(std::move(bytes)) {
        completion_.on_done([this](std::int64_t result) { on_sent(result); });
        next();
    }
    std::size_t sent_bytes() const { return sent_; }
    bool done() const { return sent_ == bytes_.size() || error != 0; }
    std::int64_t error = 0;

  private:
    void next() {
        part_ = {bytes_.data() + sent_, bytes_.size() - sent_};
        message_ = {};
        message_.msg_iov = &part_;
        message_.msg_iovlen = 1;
        engine_.send(socket_, &message_, completion_);
    }
    void on_sent(std::int64_t result) {
        if (result < 0) {
            error = result;
            return;
        }
        sent_ += static_cast<std::size_t>(result);
        if (!done()) next();
    }

    IoEngine& engine_;
    Handle socket_;
    std::vector<std::byte> bytes_;
    std::size_t sent_ = 0;
    iovec part_{};
    msghdr message_{};
    Completion completion_;
};

// Receives until the end or an error, into two pieces of memory at a time.
class Receiver {
  public:
    Receiver(IoEngine& engine, Handle socket, ReceiveMode mode = ReceiveMode::kSome)
        : engine_(engine), socket_(socket), mode_(mode) {
        completion_.on_done([this](std::int64_t result) { on_received(result); });
        next();
    }
    const std::vector<std::byte>& bytes() const { return bytes_; }
    bool done() const { return end.has_value(); }
    std::optional<std::int64_t> end;  // 0: end of file
    int short_count = 0;

  private:
    void next() {
        message_ = {};
        message_.msg_iov = parts_;
        message_.msg_iovlen = 2;
        engine_.receive(socket_, &message_, mode_, completion_);
    }
    void on_received(std::int64_t result) {
        if (result <= 0) {
            end = result;
            return;
        }
        const auto count = static_cast<std::size_t>(result);
        if (count < sizeof head_ + sizeof body_) ++short_count;
        const std::size_t first = std::min(count, sizeof head_);
        bytes_.insert(bytes_.end(), head_, head_ + first);
        bytes_.insert(bytes_.end(), body_, body_ + (count - first));
        next();
    }

    IoEngine& engine_;
    Handle socket_;
    ReceiveMode mode_;
    std::byte head_[40];
    std::byte body_[5000];
    iovec parts_[2] = {{head_, sizeof head_}, {body_, sizeof body_}};
    msghdr message_{};
    std::vector<std::byte> bytes_;
    Completion completion_;
};

// Two sides and a connection between them.
struct LinkBench {
    explicit LinkBench(std::uint64_t seed, ConnectionPlan plan = {})
        : world(seed), connection(world.add_connection(std::move(plan))) {}
    // Whatever a test leaves waiting dies before the objects that wait.
    void end() {
        if (!source.killed()) source.kill(KillStyle::kClose);
        if (!target.killed()) target.kill(KillStyle::kClose);
    }
    RunEnd run_to_idle() {
        return world.run([] { return false; }, kLongEnough);
    }

    SimulatedWorld world;
    SimulatedConnection& connection;
    SimulatedEngine source{world, "source"};
    SimulatedEngine target{world, "target"};
    Handle source_socket = source.attach_socket(connection, ConnectionSide::kFirst);
    Handle target_socket = target.attach_socket(connection, ConnectionSide::kSecond);
};

inline std::vector<std::byte> numbered_bytes(std::size_t count) {
    std::vector<std::byte> bytes(count);
    SimulatedRandom random(1);
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random.below(256));
    return bytes;
}

}  // namespace towline
