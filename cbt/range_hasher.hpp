// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "cbt/change_map.hpp"
#include "io/buffer_pool.hpp"
#include "io/checksum.hpp"
#include "io/engine.hpp"
#include "io/whole_read.hpp"

namespace towline {

// Hashes blocks and hands the results on in the order of the blocks. One loop thread.
class HashPass {
  public:
    struct Piece {
        BlockRun run;
        std::span<const Hash128>
            hashes;  // empty: the whole run reads as zeros, without having been read
    };
    using Sink = std::function<void(const Piece&)>;
    using Done = std::function<void(Status)>;

    virtual ~HashPass() = default;
    virtual void start() = 0;
    // While held nothing is handed on and no new read begins: back pressure from the sink.
    virtual void hold(bool held) = 0;
    // No new reads, nothing more is handed on; done() follows with kCancelled unless it was called
    // before.
    virtual void stop() = 0;
    virtual bool idle() const = 0;
};

// Hashes blocks of a volume, many reads at a time, and hands the results on in the order of the
// blocks. Both sides of a scan run one, and so does whatever must attest by rereading. Holes are
// known zeros and not read.
class RangeHasher final : public HashPass {
  public:
    // `wanted`: the blocks to hash. `data`: sorted ranges outside of which the volume is holes.
    RangeHasher(IoEngine& engine, BufferPool& pool, VolumeView volume, const BlockHasher& hasher,
                const ChangeMap& wanted, const std::vector<Extent>& data, Sink sink, Done done);
    ~RangeHasher() override;

    void start() override { pump(); }
    void hold(bool held) override;
    void stop() override;
    bool idle() const override { return reading_ == 0; }
    std::uint64_t read_bytes() const { return read_bytes_; }

  private:
    struct Slot;
    static constexpr std::size_t kReadsMax = 32;
    static constexpr std::uint64_t kZeroRunBlocks = 1 << 20;

    void pump();
    bool start_next();
    void start_read(Slot& slot);
    void on_read(Slot& slot, std::int64_t result);
    void deliver_ready();
    void hash(Slot& slot);
    void finish(Status status);
    BlockRun clip_to_data(BlockRun run, bool& zeros);

    IoEngine& engine_;
    BufferPool& pool_;
    VolumeView volume_;
    const BlockHasher& hasher_;
    const ChangeMap& wanted_;
    const std::vector<Extent>& data_;
    Sink sink_;
    Done done_;

    std::uint64_t next_block_ = 0;
    std::size_t next_data_ = 0;
    bool exhausted_ = false;
    bool held_ = false;
    bool finished_ = false;
    bool pumping_ = false;
    std::size_t reading_ = 0;
    std::uint64_t read_bytes_ = 0;
    std::deque<Slot*> order_;  // in block order, reads and zero runs alike
    std::vector<std::unique_ptr<Slot>> slots_;
    std::vector<Slot*> free_;
    std::vector<Hash128> hashes_;
};

}  // namespace towline
