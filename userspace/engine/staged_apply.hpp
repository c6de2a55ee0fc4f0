// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "io/buffer_pool.hpp"
#include "io/checksum.hpp"
#include "userspace/engine/staged_sink.hpp"

namespace towline {

// Writes what is staged onto the volume and flushes it, as often as it takes: the same entries in
// the same order give the same volume. Every block is checked against the CRC that it left its
// source with. Owned by one loop thread.
class StagedApply {
  public:
    enum class End {
        kDone,
        kLost,    // the journal is not whole: the error says where
        kFailed,  // it can be applied again
        kStopped,
    };
    using Done = std::function<void(End, std::optional<Error>)>;

    // `source`: whose blocks they are; their CRCs are seeded with it.
    StagedApply(IoEngine& engine, const TargetVolume& volume, StagedRun run, const Uuid& source,
                Done done);
    ~StagedApply();
    StagedApply(const StagedApply&) = delete;
    StagedApply& operator=(const StagedApply&) = delete;

    void start();
    // Nothing new begins; `done` follows when what is under way has ended.
    void stop();
    bool idle() const { return active_ == 0 && writer_.idle(); }

  private:
    struct Item;
    static constexpr std::size_t kItemsMax = 16;
    static constexpr std::uint64_t kZeroBytesMax = std::uint64_t{1} << 30;

    void pump();
    bool next_entry();
    bool overlaps(const Extent& extent) const;
    void begin(const StagedEntry& entry);
    void on_read(Item& item, std::int64_t result);
    Status check(const Item& item);
    Result<bool> comes_again(const Item& item, Extent block);
    void on_written(Item& item, Status status);
    void fail_with(End end, Error error);
    void release(Item& item);
    void finish();

    IoEngine& engine_;
    const StagedRun run_;
    BlockCheck check_;
    BlockHasher hasher_{BlockHasher::Seed{}};
    Done done_;
    VolumeWriter writer_;
    BufferPool pool_;
    std::uint64_t cursor_ = 0;
    std::shared_ptr<const StagedBatch> batch_;
    std::size_t next_ = 0;              // of the batch
    std::optional<StagedEntry> entry_;  // that waits to be begun
    std::uint64_t later_from_ = 0;      // what stands in the index from there on is in later_
    std::vector<Extent> later_;
    bool exhausted_ = false;
    bool flushing_ = false;
    bool pumping_ = false;
    bool ended_ = false;
    std::size_t active_ = 0;
    std::list<std::unique_ptr<Item>> items_;
    End end_ = End::kDone;
    std::optional<Error> error_;
};

}  // namespace towline
