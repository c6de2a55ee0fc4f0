// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "cbt/range_hasher.hpp"
#include "transport/frame.hpp"

namespace towline {

// What a hash pass reads.
enum class HashKind {
    kBase,          // what the target held before the run, with what a resumed one has brought
    kAcknowledged,  // what an unfinished run has durably brought
    kWritten,       // what this run has brought, earlier sessions too, flushed
};

// Where the blocks of a run go once they have arrived and passed their checks: onto a volume, or
// into a vault. Owned by one loop thread.
class BlockSink {
  public:
    // Also called when the sink was stopped on the way: what is under way ends, the rest is left.
    using Done = std::function<void(Status)>;

    // Neighbouring blocks that have contents: as they came, and as they are to read.
    struct Stretch {
        Extent extent;
        const std::byte* plain = nullptr;       // the blocks one behind the other
        std::span<const StoredBlock> blocks{};  // one each
        const std::byte* stored = nullptr;      // the same, as they were sent
    };

    virtual ~BlockSink() = default;

    // What the stretch's pointers point to is borrowed until `done`, which is never called from
    // within this call; `blocks` only until this call returns.
    virtual void write(const Stretch& stretch, Done done) = 0;
    virtual void zero(Extent extent, Done done) = 0;
    // What was done before it began is durable when it is.
    virtual void flush(Done done) = 0;
    // A flush that failed may have lost what reads still show: only writing all again helps.
    virtual bool failed_flush_taints() const = 0;
    // Hashes what is there of the `wanted` blocks, in their order. `data`: ranges outside of which
    // a volume is holes. All of them outlive the pass.
    virtual std::unique_ptr<HashPass> hash(HashKind kind, BufferPool& pool,
                                           const BlockHasher& hasher, const ChangeMap& wanted,
                                           const std::vector<Extent>& data, HashPass::Sink sink,
                                           HashPass::Done done) = 0;

    virtual void stop() = 0;
    virtual bool idle() const = 0;
};

}  // namespace towline
