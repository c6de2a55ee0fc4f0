// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "io/buffer_pool.hpp"
#include "io/work_queue.hpp"
#include "transport/codec.hpp"
#include "transport/frame.hpp"
#include "userspace/engine/run_digest.hpp"
#include "userspace/engine/target_store.hpp"

namespace towline {

// From a received payload to the volume: check, decompress where needed, write. Payloads of raw
// blocks are written from the very buffer into which they were received. Owned by one loop thread;
// decompression runs on the work queue.
class TargetWriter {
  public:
    class Owner {
      public:
        virtual ~Owner() = default;
        // The range passed its checks; the write is issued when this returns true.
        virtual bool on_arrived(Extent) = 0;
        virtual void on_stored(Extent) = 0;
        virtual void on_write_failed(Error) = 0;
        // A buffer is free again.
        virtual void on_room() = 0;
    };
    struct Geometry {
        std::uint64_t volume_bytes = 0;
        std::uint32_t block_bytes = 0;
        std::size_t buffer_bytes = 0;
        std::size_t buffer_count = 0;
        ArenaShelf* shelf = nullptr;
    };

    TargetWriter(IoEngine& engine, WorkQueue& workers, const TargetVolume& volume,
                 Geometry geometry, const BlockCheck& check, const BlockHasher& hasher,
                 Owner& owner);
    ~TargetWriter();

    Buffer* take_room(std::size_t bytes) { return pool_.take(bytes); }
    void give_back(Buffer* buffer);
    BufferPool& pool() { return pool_; }

    // The payload's buffer is the writer's from here on. The table was decoded, the extent
    // admitted.
    void write(const DataHead& head, Extent extent, Buffer* payload);
    void zero(Extent extent);
    std::size_t zeros_waiting() const { return zero_queue_.size(); }

    // Nothing new is issued; what is under way ends.
    void stop() { stopped_ = true; }
    bool idle() const { return active_ == 0; }

    const RunDigest& digest() const { return digest_.value(); }
    // Over what must be read back, see RecordKind::kContent.
    const RunDigest& content() const { return content_.value(); }
    // For records that do not pass through the writer (comparisons).
    RunDigester& digester() { return digest_; }

  private:
    struct Slot;
    static constexpr std::size_t kZerosMax = 8;
    static constexpr std::uint64_t kZeroBytesMax = 1ULL << 30;
    static constexpr std::size_t kPlainBuffers = 16;

    Slot* take_slot();
    void release(Slot& slot);
    void release_failed(Slot& slot, Error error);
    void check_raw(Slot& slot);
    void decode(Slot& slot);
    Status decode_block(Slot& slot, std::size_t index, Codec& codec, ByteSpan stored);
    void on_decoded(Slot& slot);
    void start_decode(Slot& slot);
    std::uint64_t block_length(const Slot& slot, std::size_t index) const;
    std::byte* block_memory(const Slot& slot, std::size_t index) const;
    void next_stretch(Slot& slot);
    void issue(Slot& slot);
    void on_io(Slot& slot, std::int64_t result);
    void pump_zeros();

    IoEngine& engine_;
    WorkQueue& workers_;
    TargetVolume volume_;
    Geometry geometry_;
    const BlockCheck& check_;
    const BlockHasher& hasher_;
    Owner& owner_;
    RunDigester digest_;
    RunDigester content_;

    BufferPool pool_;
    std::unique_ptr<BufferPool> plain_;  // for decompressed blocks; made with the first
    BufferPool tail_pool_{1, BufferPool::kAlignmentBytes};
    Buffer* tail_;
    std::vector<std::unique_ptr<Slot>> slots_;
    std::vector<Slot*> free_;
    std::deque<Slot*> waiting_for_plain_;
    std::deque<Extent> zero_queue_;
    std::size_t zeros_active_ = 0;
    std::size_t active_ = 0;
    bool stopped_ = false;
};

}  // namespace towline
