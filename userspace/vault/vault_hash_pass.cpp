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

VaultHashPass::VaultHashPass(WorkQueue& workers, Result<std::shared_ptr<PartsReader>> volumes,
                             std::function<Status()> stands, const BlockHasher& hasher,
                             const ChangeMap& wanted, Sink sink, Done done)
    : workers_(workers),
      volumes_(std::move(volumes)),
      stands_(std::move(stands)),
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
    if (!volumes_) return finish(std::unexpected(volumes_.error()));
    CHECK(*volumes_ != nullptr || wanted_.empty());
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
    slot.pieces.clear();
    slot.status = stands_();
    if (!slot.status) return;
    // One of them is damaged: each by itself, and without that one.
    for (std::uint64_t block = slot.run.first; block < slot.run.end(); ++block) {
        Status its = read_run({.first = block, .count = 1}, slot);
        if (its || its.error().code == Code::kCorrupt) continue;
        slot.status = std::move(its);
        return;
    }
}

Status VaultHashPass::read_run(BlockRun run, Slot& slot) const {
    while (run.count > 0) {
        const PartsReader::Stretch stretch = (*volumes_)->front_of(run);
        if (stretch.reader == nullptr) {
            slot.pieces.push_back({.run = stretch.run, .hashes = {}});
        } else if (!stretch.outgrown) {
            TRY_STATUS(read_stretch(stretch, slot));
        }
        run.count -= stretch.run.count;
        run.first = stretch.run.end();
    }
    return {};
}

Status VaultHashPass::read_stretch(const PartsReader::Stretch& stretch, Slot& slot) const {
    const std::uint64_t at_once = std::max<std::uint64_t>(1, kReadBytes / wanted_.block_bytes());
    const std::uint64_t end = stretch.first + stretch.run.count;
    const auto part_of = [&](std::uint64_t from, std::uint64_t to) {
        return PartsReader::Stretch{
            .run = {.first = stretch.run.first + (from - stretch.first), .count = to - from},
            .reader = stretch.reader,
            .first = from};
    };
    for (std::uint64_t at = stretch.first; at < end;) {
        const std::uint64_t data = std::min(TRY(stretch.reader->next_data(at)), end);
        if (data > at) slot.pieces.push_back({.run = part_of(at, data).run, .hashes = {}});
        const std::uint64_t stop = std::min(data + at_once, end);
        if (stop > data) TRY_STATUS(hash(part_of(data, stop), slot));
        at = stop;
    }
    return {};
}

// Behind a volume's end are zeros, up to the end of its last block.
Status VaultHashPass::hash(const PartsReader::Stretch& stretch, Slot& slot) const {
    const std::uint64_t length = wanted_.extent_of(stretch.run).length_bytes;
    const std::uint64_t offset = stretch.first * wanted_.block_bytes();
    const std::uint64_t stored = std::min(length, stretch.reader->size_bytes() - offset);
    slot.memory.resize(length);
    TRY_STATUS(stretch.reader->read(offset, MutableByteSpan(slot.memory).first(stored)));
    std::fill(slot.memory.begin() + static_cast<std::ptrdiff_t>(stored), slot.memory.end(),
              std::byte{});
    Found found{.run = stretch.run, .hashes = {}};
    for (std::uint64_t i = 0; i < stretch.run.count; ++i) {
        const std::uint64_t begin = i * wanted_.block_bytes();
        const std::uint64_t bytes =
            std::min<std::uint64_t>(wanted_.block_bytes(), slot.memory.size() - begin);
        found.hashes.push_back(hasher_.of(ByteSpan(slot.memory).subspan(begin, bytes)));
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
