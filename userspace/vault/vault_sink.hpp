// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "io/work_queue.hpp"
#include "userspace/engine/block_sink.hpp"
#include "userspace/vault/parts_reader.hpp"
#include "userspace/vault/run_writer.hpp"

namespace towline {

// What a session of a vault has open; the store makes it, the sink uses it.
struct VaultRun {
    std::unique_ptr<RunWriter> writer;     // from the mark on
    std::shared_ptr<PartsReader> before;   // what a comparison reads: the newest point's volumes
    std::shared_ptr<PartsReader> resumed;  // what the unfinished run had brought; null: none
    std::uint32_t block_bytes = 0;
    // Whether what is not there of those was given back because the run has no ground any more:
    // that, in place of damage. From any thread.
    std::function<Status()> stands = [] { return Status{}; };
};

// Where blocks go that are to become a point: as they came over the wire, into segments. The store
// is called by one worker at a time, so that a slow one holds up neither pings nor receiving.
class VaultSink final : public BlockSink {
  public:
    VaultSink(WorkQueue& workers, std::shared_ptr<VaultRun> run);
    ~VaultSink() override;

    void write(const Stretch& stretch, Done done) override;
    void zero(Extent extent, Done done) override;
    void flush(Done done) override;
    bool failed_flush_taints() const override { return false; }
    std::unique_ptr<HashPass> hash(HashKind kind, BufferPool& pool, const BlockHasher& hasher,
                                   const ChangeMap& wanted, const std::vector<Extent>& data,
                                   HashPass::Sink sink, HashPass::Done done) override;
    void stop() override { stopped_ = true; }
    bool idle() const override { return !working_ && waiting_.empty(); }

  private:
    struct Job {
        enum class Kind { kWrite, kZero, kFlush };
        Kind kind = Kind::kFlush;
        Stretch stretch{};
        std::vector<StoredBlock> blocks;
        Done done;
        Status status;
    };

    void add(Job job);
    void work_on();
    Status perform(const Job& job);
    Status append(const Job& job);
    void on_worked();

    WorkQueue& workers_;
    std::shared_ptr<VaultRun> run_;
    std::deque<Job> waiting_;
    std::vector<Job> batch_;       // a worker's, while working_
    std::optional<Error> failed_;  // the worker's: nothing is written behind a failure
    bool working_ = false;
    bool stopped_ = false;
    Work work_;
};

}  // namespace towline
