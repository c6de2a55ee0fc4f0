// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "cbt/range_hasher.hpp"
#include "io/work_queue.hpp"
#include "userspace/vault/parts_reader.hpp"

namespace towline {

// Hashes blocks of a point's volumes as RangeHasher does those of a volume: reads, and so checks,
// each stored block. One that is damaged is left out: for a comparison it differs, and the source
// sends it again, if the run still stands (`stands`). Owned by one loop thread; reading and hashing
// run on the work queue.
class VaultHashPass final : public HashPass {
  public:
    VaultHashPass(WorkQueue& workers, Result<std::shared_ptr<PartsReader>> volumes,
                  std::function<Status()> stands, const BlockHasher& hasher,
                  const ChangeMap& wanted, Sink sink, Done done);
    ~VaultHashPass() override;

    void start() override;
    void hold(bool held) override;
    void stop() override;
    bool idle() const override { return active_ == 0; }

  private:
    struct Found {
        BlockRun run;
        std::vector<Hash128> hashes;  // empty: zeros
    };
    struct Slot;
    static constexpr std::size_t kSlots = 4;
    static constexpr std::uint64_t kSlotBlocks = 4096;  // what a message of hashes holds
    static constexpr std::uint64_t kReadBytes = std::uint64_t{1} << 20;

    void pump();
    void read(Slot& slot) const;
    Status read_run(BlockRun run, Slot& slot) const;
    Status read_stretch(const PartsReader::Stretch& stretch, Slot& slot) const;
    Status hash(const PartsReader::Stretch& stretch, Slot& slot) const;
    void deliver();
    void finish(Status status);

    WorkQueue& workers_;
    Result<std::shared_ptr<PartsReader>> volumes_;  // or why they cannot be read
    std::function<Status()> stands_;
    const BlockHasher& hasher_;
    const ChangeMap& wanted_;
    Sink sink_;
    Done done_;
    std::uint64_t next_block_ = 0;
    bool exhausted_ = false;
    bool held_ = false;
    bool finished_ = false;
    bool delivering_ = false;
    std::size_t active_ = 0;
    std::vector<std::unique_ptr<Slot>> slots_;
    std::vector<Slot*> free_;
    std::deque<Slot*> order_;  // in the order of their blocks
};

}  // namespace towline
