// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "io/buffer_pool.hpp"
#include "io/work_queue.hpp"
#include "transport/codec.hpp"
#include "transport/frame.hpp"
#include "userspace/engine/run_digest.hpp"
#include "userspace/engine/target_store.hpp"

namespace towline {

// From a received payload to the sink: check, decompress where needed, write. Payloads of raw
// blocks are written from the very buffer into which they were received. Owned by one loop thread;
// decompression runs on the work queue.
class TargetWriter {
  public:
    class Owner {
      public:
        virtual ~Owner() = default;
        // The ranges passed their checks; they are written when this returns true.
        virtual bool on_arrived(std::span<const Extent>) = 0;
        virtual void on_stored(std::span<const Extent>) = 0;
        virtual void on_write_failed(Error) = 0;
        // A buffer is free again.
        virtual void on_room() = 0;
    };
    struct Geometry {
        std::uint64_t volume_bytes = 0;
        std::uint32_t block_bytes = 0;
        std::size_t buffer_bytes = 0;
        std::size_t buffer_count = 0;
        bool zeroed = false;  // what is not written reads as zeros
        ArenaShelf* shelf = nullptr;
    };

    TargetWriter(WorkQueue& workers, BlockSink& sink, Geometry geometry, const BlockCheck& check,
                 const BlockHasher& hasher, Owner& owner);
    ~TargetWriter();

    Buffer* take_room(std::size_t bytes) { return pool_.take(bytes); }
    void give_back(Buffer* buffer);
    BufferPool& pool() { return pool_; }

    // The payload's buffer is the writer's from here on. The table was decoded; `extents` are its
    // ranges, admitted.
    void write(const DataHead& head, std::span<const Extent> extents, Buffer* payload);
    void zero(Extent extent);
    std::size_t zeros_waiting() const { return zero_queue_.size(); }

    // Nothing new is issued; what is under way ends.
    void stop() {
        stopped_ = true;
        sink_.stop();
    }
    bool idle() const { return active_ == 0; }

    const RunDigest& digest() const { return digest_.value(); }
    // Over what must be read back, see RecordKind::kContent.
    const RunDigest& content() const { return content_.value(); }
    // For records that do not pass through the writer (comparisons).
    RunDigester& digester() { return digest_; }

  private:
    struct Frame;
    static constexpr std::size_t kZerosMax = 8;
    static constexpr std::uint64_t kZeroBytesMax = 1ULL << 30;
    static constexpr std::size_t kPlainBuffers = 16;

    Frame& take_frame();
    void release(Frame& frame);
    void release_failed(Frame& frame, Error error);
    void start_decode(Frame& frame);
    void decode(Frame& frame);
    Status decode_block(Frame& frame, std::size_t index, Codec& codec);
    void check_raw(Frame& frame);
    Status check_block_of(Frame& frame, std::size_t index);
    MutableByteSpan plain_of(const Frame& frame, std::size_t index) const;
    void on_decoded(Frame& frame);
    void store(Frame& frame);
    void store_extent(Frame& frame, std::size_t first, std::size_t end);
    void on_written(Frame& frame, Status status);
    void pump_zeros();
    void on_zeroed(Extent extent, Status status);

    WorkQueue& workers_;
    BlockSink& sink_;
    Geometry geometry_;
    const BlockCheck& check_;
    const BlockHasher& hasher_;
    Owner& owner_;
    RunDigester digest_;
    RunDigester content_;

    BufferPool pool_;
    std::unique_ptr<BufferPool> plain_;  // for decompressed blocks; made with the first
    std::vector<std::unique_ptr<Frame>> frames_;
    std::vector<Frame*> free_;
    std::deque<Frame*> waiting_for_plain_;
    std::deque<Extent> zero_queue_;
    std::size_t zeros_active_ = 0;
    std::size_t active_ = 0;
    bool stopped_ = false;
};

}  // namespace towline
