// SPDX-License-Identifier: Apache-2.0
// Jobs are gathered while a worker is at the store, and handed to the next one together: few blocks
// wait for little, many cost few hand-overs. A failure is final: what would come behind it is not
// written, and no flush can say that all is well.

#include "userspace/vault/vault_sink.hpp"

#include <algorithm>

#include "io/check.hpp"
#include "userspace/vault/vault_hash_pass.hpp"

namespace towline {

VaultSink::VaultSink(WorkQueue& workers, std::shared_ptr<VaultRun> run)
    : workers_(workers), run_(std::move(run)) {
    work_.run = [this](unsigned) {
        for (Job& job : batch_)
            job.status = perform(job);
    };
    work_.done.on_done([this](std::int64_t) { on_worked(); });
}

VaultSink::~VaultSink() {
    CHECK(idle());
}

void VaultSink::write(const Stretch& stretch, Done done) {
    Job job{.kind = Job::Kind::kWrite, .stretch = stretch, .done = std::move(done)};
    job.blocks.assign(stretch.blocks.begin(), stretch.blocks.end());
    job.stretch.blocks = {};
    add(std::move(job));
}

void VaultSink::zero(Extent extent, Done done) {
    add({.kind = Job::Kind::kZero, .stretch = {.extent = extent}, .done = std::move(done)});
}

void VaultSink::flush(Done done) {
    add({.kind = Job::Kind::kFlush, .done = std::move(done)});
}

void VaultSink::add(Job job) {
    waiting_.push_back(std::move(job));
    if (!working_) work_on();
}

void VaultSink::work_on() {
    batch_.clear();
    std::ranges::move(waiting_, std::back_inserter(batch_));
    waiting_.clear();
    working_ = true;
    workers_.submit(work_);
}

// Worker thread.
Status VaultSink::perform(const Job& job) {
    if (failed_) return std::unexpected(*failed_);
    const std::uint64_t block_bytes = run_->block_bytes;
    const Extent extent = job.stretch.extent;
    Status status;
    switch (job.kind) {
        case Job::Kind::kWrite:
            status = append(job);
            break;
        case Job::Kind::kZero:
            status = run_->writer->zeros(extent.offset_bytes / block_bytes,
                                         (extent.length_bytes + block_bytes - 1) / block_bytes);
            break;
        case Job::Kind::kFlush:
            // A run that brought nothing was never marked, and has nothing to flush.
            if (run_->writer) status = run_->writer->flush();
            break;
    }
    if (!status) failed_ = status.error();
    return status;
}

Status VaultSink::append(const Job& job) {
    const std::byte* stored = job.stretch.stored;
    std::uint64_t block = job.stretch.extent.offset_bytes / run_->block_bytes;
    ByteSpan plain{job.stretch.plain, job.stretch.extent.length_bytes};
    for (const StoredBlock& each : job.blocks) {
        const ByteSpan its = plain.first(std::min<std::size_t>(plain.size(), run_->block_bytes));
        plain = plain.subspan(its.size());
        TRY_STATUS(run_->writer->append(
            {.block = block++, .kind = each.kind, .check = each.crc, .plain = its},
            {stored, each.stored_bytes}));
        stored += each.stored_bytes;
    }
    return {};
}

void VaultSink::on_worked() {
    std::vector<Job> done;
    done.swap(batch_);
    // What their owners add now waits for the next hand-over.
    for (Job& job : done)
        job.done(std::move(job.status));
    if (waiting_.empty()) {
        working_ = false;
    } else {
        work_on();
    }
}

std::unique_ptr<HashPass> VaultSink::hash(HashKind kind, BufferPool&, const BlockHasher& hasher,
                                          const ChangeMap& wanted, const std::vector<Extent>&,
                                          HashPass::Sink sink, HashPass::Done done) {
    const auto volumes = [&]() -> Result<std::shared_ptr<PartsReader>> {
        if (kind == HashKind::kBase) return run_->before;
        // A resumed run that brought nothing more has no writer yet.
        if (kind == HashKind::kWritten && run_->writer) return run_->writer->written();
        return run_->resumed;
    };
    // What is written stands on blocks that were found, too.
    const auto stands = [run = run_, kind]() -> Status {
        TRY_STATUS(run->stands());
        return kind == HashKind::kWritten && run->writer ? run->writer->found_stands() : Status{};
    };
    return std::make_unique<VaultHashPass>(workers_, volumes(), stands, hasher, wanted,
                                           std::move(sink), std::move(done));
}

}  // namespace towline
