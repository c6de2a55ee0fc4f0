// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "cbt/chunk_states.hpp"
#include "cbt/snapshot_store.hpp"
#include "io/arena.hpp"

namespace towline {

// Buffers that are there before they are needed: a write that makes a copy must not wait for memory
// that only other writes can free.
class ScratchPool {
  public:
    ScratchPool(std::size_t count, std::size_t bytes);

    // One of them, until it is dropped; waits for one.
    class Loan {
      public:
        explicit Loan(ScratchPool& pool) : pool_(pool), bytes_(pool.take()) {}
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        ~Loan() { pool_.put(bytes_); }
        MutableByteSpan bytes() const { return bytes_; }

      private:
        ScratchPool& pool_;
        MutableByteSpan bytes_;
    };

  private:
    MutableByteSpan take();
    void put(MutableByteSpan bytes);

    Arena memory_;
    std::mutex mutex_;
    std::condition_variable returned_;
    std::vector<MutableByteSpan> free_;  // under mutex_
};

// A tracked image as it was at one moment. All but `store` and `scratch` is its image's to guard.
struct ImageSnapshot {
    ImageSnapshot(std::uint64_t volume_bytes, std::uint32_t chunk_bytes,
                  std::unique_ptr<SnapshotStore> difference);

    void fail(Error error);

    std::uint64_t sequence = 0;  // of the epoch that ended with it; 0: not armed yet
    ChunkStates states;
    bool failed = false;
    Error why;
    std::unique_ptr<SnapshotStore> store;
    ScratchPool scratch;
};

}  // namespace towline
