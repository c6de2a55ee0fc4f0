// SPDX-License-Identifier: Apache-2.0
// What comes between the runs of a hard life. Only what a target or a source can come to know of:
// a device that is put back to an older state with the same first bytes, or a source that is
// written to after it was put back, before anybody looks, looks to everybody like one that was not.

#include <algorithm>

#include "tests/sim/hard_life.hpp"

namespace towline {

namespace {

using Stage = TargetRecord::Stage;

}  // namespace

void HardLife::incident() {
    Replica& replica = replicas_[random_.below(2)];
    switch (random_.below(4)) {
        case 0:
            return at_replica(replica);
        case 1:
            return at_source_state(replica);
        default:
            return at_source();
    }
}

// ---- the source

void HardLife::wrote(Extent extent) {
    for (Replica& each : replicas_)
        each.unnoted.push_back(extent);
    meanwhile_.push_back(extent);
    if (tracker_) tracker_->wrote(extent);
    modified_ns_ = ++clock_ns_;
}

// Not behind everybody's back: see the top.
void HardLife::write_some(std::uint64_t count) {
    if (std::ranges::any_of(replicas_, &Replica::unlooked)) return;
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t size = bench_.source.size_bytes();
        const std::uint64_t offset = random_.chance(0.2) ? size - 1 : random_.below(size);
        const std::uint64_t length =
            random_.between(1, std::min<std::uint64_t>(size - offset, 20000));
        if (random_.chance(0.2)) {
            bench_.source.fill(offset, Contents(length));
        } else {
            fill_random_data(bench_.source, random_, offset, offset + length);
        }
        wrote({offset, length});
    }
}

void HardLife::at_source() {
    switch (random_.below(tracker_ ? 6 : 2)) {
        case 0:
            return resize_source();
        case 1:
            return put_source_back();
        case 2:
            note("tracked anew");
            write_some(1);
            return tracker_->attach_anew();
        case 3:
            note("the tracker misses something");
            return tracker_->miss_something();
        case 4: {
            write_some(1);
            const ChangeSet set = tracker_->freeze();
            const bool taken = random_.chance(0.5);
            note(taken ? "another state folder takes an epoch" : "a stranger freezes");
            if (taken) tracker_->commit(set.sequence);
            return;
        }
        default:
            note("the source's host crashes");
            return tracker_->crash();
    }
}

// As a logical volume: what is cut off is there again when it grows.
void HardLife::resize_source() {
    const std::uint64_t before = bench_.source.size_bytes();
    Contents all = bench_.source.contents();
    all.insert(all.end(), tail_.begin(), tail_.end());
    std::uint64_t size = bench_.shape.source_bytes;
    if (random_.chance(0.5))
        size = random_.between(size / 2, std::min<std::uint64_t>(size * 3 / 2, 510 << 10));
    if (size == before) return;
    note(size < before ? "the source shrinks" : "the source grows");
    all.resize(std::max<std::uint64_t>(all.size(), size));
    bench_.source.resize(0);
    bench_.source.resize(size);
    bench_.source.fill(0, ByteSpan(all).first(size));
    tail_.assign(all.begin() + static_cast<std::ptrdiff_t>(size), all.end());
    if (tracker_) tracker_->resize(size);
    older_sources_.clear();
}

// An older copy in its place, with its times. A tracker is a new one's then.
void HardLife::put_source_back() {
    if (!older_sources_.empty() && random_.chance(0.5)) {
        const OlderSource& older = older_sources_[random_.below(older_sources_.size())];
        if (older.modified_ns == modified_ns_) return;
        note("the source is put back");
        bench_.source.fill(0, older.contents);
        modified_ns_ = older.modified_ns;
        for (Replica& each : replicas_)
            each.unlooked = true;
        return;
    }
    older_sources_.push_back({bench_.source.contents(), modified_ns_});
    write_some(1);
}

// ---- a replica

void HardLife::at_replica(Replica& replica) {
    TargetShelf& shelf = replica.now.shelf;
    switch (random_.below(5)) {
        case 0:
        case 1:
            return roll_back(replica);
        case 2:
            return lose_staged(replica);
        case 3:
            note("a replica is replaced");
            shelf.replaced = true;
            for (std::byte& byte : replica.now.contents)
                if (random_.chance(0.1)) byte = static_cast<std::byte>(random_.next());
            return;
        default:
            if (!shelf.exact_size) return;
            note("a replica is gone");
            replica.now = {.shelf = {.exists = false}, .contents = {}, .staged = {}};
    }
}

void HardLife::roll_back(Replica& replica) {
    if (replica.older.empty()) return;
    const SyncBench::TargetCopy& older = replica.older[random_.below(replica.older.size())];
    switch (random_.below(3)) {
        case 0:
            note("a replica is rolled back, with its records");
            replica.now = older;
            return;
        case 1: {
            // An unfinished run's volume is known by its name alone: what was put in its place
            // must have another.
            note("a replica's volume is rolled back, not its records");
            const bool same = older.contents == replica.now.contents;
            replica.now.contents = older.contents;
            replica.now.shelf.replaced |= !same;
            return;
        }
        default: {
            const TargetRecord record = older.shelf.record;
            const bool same = older.contents == replica.now.contents;
            // Of a run that is about to be applied nothing says to what: it may be applied in part.
            if (record.stage == Stage::kCommitted && !same) return;
            note("a replica's records are rolled back, not its volume");
            const bool tied =
                record.state == TargetState::kSealed || record.stage == Stage::kStaging;
            replica.now.shelf.record = record;
            replica.now.shelf.journal = older.shelf.journal;
            replica.now.shelf.replaced = older.shelf.replaced || (tied && !same);
            if (random_.chance(0.5)) return;
            replica.now.staged = older.staged;
            replica.now.shelf.staged_index = older.shelf.staged_index;
        }
    }
}

void HardLife::lose_staged(Replica& replica) {
    if (replica.now.shelf.staged_index.empty()) return;
    note("what is staged is lost, in part or whole");
    replica.lost = true;
    auto& index = replica.now.shelf.staged_index;
    auto& blocks = replica.now.staged;
    switch (random_.below(4)) {
        case 0:
            return index.clear();
        case 1:
            return index.resize(random_.below(index.size()));
        case 2:
            return blocks.resize(random_.below(blocks.size() + 1));
        default:
            if (!blocks.empty()) blocks[random_.below(blocks.size())] ^= std::byte{16};
    }
}

// ---- what the source remembers

void HardLife::at_source_state(Replica& replica) {
    SourceShelf& shelf = bench_.source_shelf;
    const Uuid target = replica.now.shelf.record.target;
    switch (random_.below(5)) {
        case 0:
            note("the source's memory of a replica is lost");
            shelf.memories.erase(target);
            shelf.pending.erase(target);
            shelf.undoable.erase(target);
            return;
        case 1:
            if (!shelf.memories.contains(target)) return;
            note("the source's memory of a replica is damaged");
            shelf.damaged.insert(target);
            return;
        case 2:
            note("a harvest is lost");
            shelf.harvests.erase(target);
            return;
        case 3:
            if (shelf.lose_power(random_)) note("sealed runs are open again");
            return;
        default:
            if (older_memories_.empty()) return;
            note("the source's state folder is rolled back");
            shelf = older_memories_[random_.below(older_memories_.size())];
            shelf.undoable.clear();
            // With it went what was listed once.
            for (Replica& each : replicas_)
                each.unnoted = {{0, 1 << 20}};
    }
}

}  // namespace towline
