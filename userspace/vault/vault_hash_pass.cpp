// SPDX-License-Identifier: Apache-2.0
// A few stretches of blocks at a time, each read and hashed by a worker, handed on in their order.
// What an index says is zeros is not read.

#include "userspace/vault/vault_hash_pass.hpp"

#include <algorithm>

#include "io/check.hpp"

namespace towline {

struct VaultHashPass::Slot {
    BlockRun run;
    std::vector<Found> pieces;
    std::vector<std::byte> memory;
    Status status;
    bool done = false;
    Work work;
};

VaultHashPass::VaultHashPass(WorkQueue& workers, Result<std::shared_ptr<VolumeReader>> volume,
                             const BlockHasher& hasher, const ChangeMap& wanted, Sink sink,
                             Done done)
    : workers_(workers),
      volume_(std::move(volume)),
      hasher_(hasher),
      wanted_(wanted),
      sink_(std::move(sink)),
      done_(std::move(done)) {
    for (std::size_t i = 0; i < kSlots; ++i) {
        slots_.push_back(std::make_unique<Slot>());
        Slot* slot = slots_.back().get();
        slot->work.run = [this, slot](unsigned) { read(*slot); };
        slot->work.done.on_done([this, slot](std::int64_t) {
            --active_;
            slot->done = true;
            deliver();
            pump();
        });
        free_.push_back(slot);
    }
}

VaultHashPass::~VaultHashPass() {
    CHECK(idle());
}

void VaultHashPass::start() {
    // It is a bug to want blocks of nothing; an index that cannot be read is not.
    if (!volume_) return finish(std::unexpected(volume_.error()));
    CHECK(*volume_ != nullptr || wanted_.empty());
    pump();
}

void VaultHashPass::hold(bool held) {
    held_ = held;
    if (held_) return;
    deliver();
    pump();
}

void VaultHashPass::stop() {
    finish(fail(Code::kCancelled, "the comparison was stopped"));
}

void VaultHashPass::finish(Status status) {
    if (std::exchange(finished_, true)) return;
    done_(std::move(status));
}

void VaultHashPass::pump() {
    while (!finished_ && !held_ && !exhausted_ && !free_.empty()) {
        const auto run = wanted_.next_run(next_block_, kSlotBlocks);
        if (!run) {
            exhausted_ = true;
            break;
        }
        next_block_ = run->end();
        Slot* slot = free_.back();
        free_.pop_back();
        slot->run = *run;
        slot->done = false;
        order_.push_back(slot);
        ++active_;
        workers_.submit(slot->work);
    }
    if (exhausted_ && order_.empty()) finish({});
}

// Worker thread: touches nothing but the slot.
void VaultHashPass::read(Slot& slot) const {
    slot.pieces.clear();
    slot.status = read_run(slot.run, slot);
    if (slot.status || slot.status.error().code != Code::kCorrupt) return;
    // One of them is damaged: each by itself, and without that one.
    slot.pieces.clear();
    slot.status = {};
    for (std::uint64_t block = slot.run.first; block < slot.run.end(); ++block) {
        Status its = read_run({.first = block, .count = 1}, slot);
        if (its || its.error().code == Code::kCorrupt) continue;
        slot.status = std::move(its);
        return;
    }
}

// The volume's last block, where the point's volume went on behind it: stored whole, it is not what
// the volume will have there.
bool VaultHashPass::cut_off(std::uint64_t block) const {
    const Extent extent = wanted_.extent_of({.first = block, .count = 1});
    return extent.length_bytes < wanted_.block_bytes() &&
           extent.end_bytes() != (*volume_)->size_bytes();
}

Status VaultHashPass::read_run(BlockRun run, Slot& slot) const {
    if (cut_off(run.end() - 1)) --run.count;
    const std::uint64_t at_once = std::max<std::uint64_t>(1, kReadBytes / wanted_.block_bytes());
    for (std::uint64_t at = run.first; at < run.end();) {
        const std::uint64_t data = std::min(TRY((*volume_)->next_data(at)), run.end());
        if (data > at)
            slot.pieces.push_back({.run = {.first = at, .count = data - at}, .hashes = {}});
        const std::uint64_t end = std::min(data + at_once, run.end());
        if (end > data) TRY_STATUS(hash({.first = data, .count = end - data}, slot));
        at = end;
    }
    return {};
}

Status VaultHashPass::hash(BlockRun run, Slot& slot) const {
    const Extent extent = wanted_.extent_of(run);
    slot.memory.resize(extent.length_bytes);
    TRY_STATUS((*volume_)->read(extent.offset_bytes, slot.memory));
    Found found{.run = run, .hashes = {}};
    for (std::uint64_t i = 0; i < run.count; ++i) {
        const std::uint64_t begin = i * wanted_.block_bytes();
        const std::uint64_t length =
            std::min<std::uint64_t>(wanted_.block_bytes(), slot.memory.size() - begin);
        found.hashes.push_back(hasher_.of(ByteSpan(slot.memory).subspan(begin, length)));
    }
    slot.pieces.push_back(std::move(found));
    return {};
}

void VaultHashPass::deliver() {
    if (std::exchange(delivering_, true)) return;
    while (!finished_ && !held_ && !order_.empty() && order_.front()->done) {
        Slot* slot = order_.front();
        order_.pop_front();
        free_.push_back(slot);
        if (!slot->status) {
            finish(slot->status);
            break;
        }
        for (const Found& each : slot->pieces)
            sink_({.run = each.run, .hashes = each.hashes});
    }
    delivering_ = false;
}

}  // namespace towline
