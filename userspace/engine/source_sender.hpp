// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "cbt/range_hasher.hpp"
#include "io/buffer_pool.hpp"
#include "io/work_queue.hpp"
#include "transport/channel.hpp"
#include "transport/codec.hpp"
#include "transport/level_control.hpp"
#include "userspace/engine/compression_choice.hpp"
#include "userspace/engine/run_digest.hpp"
#include "userspace/engine/transfer_plan.hpp"

namespace towline {

// From the plan to the connections: read, check, compress where wanted, frame, send. What is sent
// raw goes from the read buffer to the socket as it is. What becomes ready while a connection is at
// work leaves together, in one frame. The buffers are the bound on blocks in flight: with none
// free, nothing is read. Owned by one loop thread; compression runs on the work queue.
class SourceSender {
  public:
    class Owner {
      public:
        virtual ~Owner() = default;
        // Once, before on_all_sent().
        virtual void on_all_read() = 0;
        virtual void on_all_sent(const RunDigest&) = 0;
        virtual void on_read_failed(Error) = 0;
    };
    struct Counters {
        std::uint64_t read_bytes = 0;
        std::uint64_t done_bytes = 0;  // of the plan: sent, zeros included
        std::uint64_t raw_blocks = 0;
        std::uint64_t deflate_blocks = 0;
        std::uint64_t zstd_blocks = 0;
        std::uint64_t zero_bytes = 0;
    };

    // `frame_bytes`: the most that a frame carries, before compression.
    SourceSender(IoEngine& engine, WorkQueue& workers, BufferPool& pool, std::size_t frame_bytes,
                 VolumeView volume, const BlockCheck& check, const BlockHasher& hasher,
                 RunDigester& digester, const CompressionChoice& compression, Owner& owner);
    ~SourceSender();

    // Begins to read, as far as the buffers go; nothing is sent yet.
    void start(TransferPlan plan, std::uint32_t block_bytes);
    // The target is ready. `lanes` outlive the sender's activity. Zero ranges are left out when the
    // target reads as zeros anyway.
    void let_go(std::vector<Channel*> lanes, bool skip_zeros);
    // Called when frames left a lane: what is ready takes it, and zero ranges go over the first one
    // while it is not too full.
    void on_sent_some();
    // Of what is read from now on; nothing: auto.
    void set_level(std::optional<int> level);
    // Once a tick: what the last window measured decides the level of the next.
    void adapt();

    void stop() { stopped_ = true; }
    bool idle() const { return active_ == 0; }
    const Counters& counters() const { return counters_; }
    int level() const;

  private:
    struct Slot;
    struct Parcel;
    static constexpr std::size_t kPackedBuffers = 16;
    // Zero ranges that wait for the first lane.
    static constexpr std::size_t kQueuedBytesMax = 1 << 20;
    // From the begin of a read to the end of its send: 32 reads of a whole buffer, all buffers of
    // single blocks. Memory is cleared and pinned at its first use, which a short run has little
    // of its time for.
    static constexpr std::size_t kInFlightBytesMax = 8 << 20;
    static constexpr std::size_t kInFlightBytesAtFirst = kInFlightBytesMax / 2;
    static constexpr std::uint64_t kShortRunBytes = 64 << 20;

    void pump();
    bool start_step(const TransferPlan::Step& step);
    Slot* take_slot();
    void release(Slot& slot);
    void on_read(Slot& slot, std::int64_t result);
    void check(Slot& slot);
    bool held() const { return lanes_.empty(); }
    void forward(Slot& slot);
    bool send_if_zero(Slot& slot);
    void send_zeros(Extent extent);
    void start_encode(Slot& slot);
    void encode(Slot& slot);
    void compress_waiting();
    void on_encoded(Slot& slot);
    void ship();
    Parcel& pack();
    Parcel& take_parcel();
    void note_sending(const Slot& slot);
    void on_sent(Parcel& parcel);
    void tell_all_read();
    void finish_if_done();
    void begin_window();
    std::size_t in_flight_bytes_max() const;
    std::uint64_t block_length(const Slot& slot, std::size_t index) const;

    IoEngine& engine_;
    WorkQueue& workers_;
    BufferPool& pool_;
    std::size_t frame_bytes_;
    VolumeView volume_;
    const BlockCheck& check_;
    const BlockHasher& hasher_;
    RunDigester& digest_;
    CompressionChoice compression_;
    Owner& owner_;

    std::optional<TransferPlan> plan_;
    std::optional<TransferPlan::Step> held_back_;  // planned, not yet started
    std::vector<Channel*> lanes_;
    bool skip_zeros_ = false;
    std::uint32_t block_bytes_ = 0;

    std::unique_ptr<BufferPool> packed_;  // for compressed blocks; made with the first
    std::vector<std::unique_ptr<Slot>> slots_;
    std::vector<Slot*> free_;
    std::deque<Slot*> read_ahead_;  // and checked, until it is let go
    std::deque<Slot*> waiting_for_packed_;
    std::deque<Slot*> ready_;  // to be sent
    std::vector<std::unique_ptr<Parcel>> parcels_;
    std::vector<Parcel*> free_parcels_;
    DataHead head_;  // of the frame being packed
    std::size_t active_ = 0;
    std::size_t reading_ = 0;
    std::uint64_t in_flight_bytes_ = 0;
    bool pumping_ = false;
    bool stopped_ = false;
    bool all_read_ = false;
    bool all_sent_ = false;
    Counters counters_;

    LevelControl control_;
    LevelControl::Window window_;
    Instant window_began_{};
    std::uint64_t window_wire_began_ = 0;
    Duration window_busy_began_{};
};

}  // namespace towline
