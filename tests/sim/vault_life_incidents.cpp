// SPDX-License-Identifier: Apache-2.0
// What is done to a vault between runs, and beside them.

#include <algorithm>

#include "tests/sim/vault_life.hpp"
#include "tests/unit/vault_fixture.hpp"
#include "userspace/vault/block_mender.hpp"

namespace towline::testing {

namespace {

// Those blocks of a source with these contents.
bool append_all(RunWriter& writer, const VolumeLayout& layout, ByteSpan contents,
                const std::set<std::uint64_t>& blocks) {
    for (const std::uint64_t each : blocks) {
        const std::uint64_t offset = each * kBlock;
        const ByteSpan plain =
            contents.subspan(offset, std::min<std::uint64_t>(kBlock, contents.size() - offset));
        if (is_zero(plain)) {
            if (!writer.zeros(each, 1)) return false;
            continue;
        }
        const RunWriter::Block head{.block = each,
                                    .kind = static_cast<std::uint8_t>(BlockKind::kRaw),
                                    .check = layout.check().of(plain, offset),
                                    .plain = plain};
        if (!writer.append(head, plain)) return false;
    }
    return true;
}

}  // namespace

void VaultLife::session() {
    if (random_.chance(mix_.incident)) {
        incident();
        return;
    }
    Host& host = some_host();
    if (random_.chance(mix_.plot)) return plot(host);
    change(host);
    run(host, draw_plan(host), draw_besides(host));
}

void VaultLife::incident() {
    Host& host = some_host();
    if (rots_ && random_.chance(0.5)) {
        random_.chance(0.5) ? rot() : mend();
        return;
    }
    if (random_.chance(0.6)) delete_some(host, 0.5, mix_.newest);
    if (!random_.chance(mix_.lazy)) prune(host, random_.chance(0.4));
}

// Another process is at the vault while a run of this host goes on.
void VaultLife::beside_run(Host& host) {
    if (random_.chance(mix_.usurp)) {
        // A second one may take away what the first one has put.
        for (std::uint64_t times = random_.between(1, 2); times > 0; --times)
            usurp(host);
        return;
    }
    Host& other = random_.chance(mix_.own) ? host : some_host();
    // Its lease may be over and nobody has taken the name yet.
    if (random_.chance(mix_.lose_lease)) lose_lease(host);
    if (random_.chance(mix_.clear)) {
        delete_older();
    } else if (random_.chance(0.7)) {
        delete_some(other, 0.5, mix_.newest);
    }
    prune(other, false);
}

void VaultLife::delete_older() {
    for (Host& each : hosts_)
        delete_some(each, 1, 0);
}

void VaultLife::delete_some(Host& host, double older, double newest) {
    const auto state = SeriesLog(vault_, host.name).read();
    if (!state) return;
    std::vector<std::uint64_t> numbers;
    for (const Point& each : state->points) {
        // The newest one goes as well, though seldom: then the next run has another base.
        if (!random_.chance(each.id == state->newest()->id ? newest : older)) continue;
        numbers.push_back(each.number);
        host.going.insert(each.id);
        host.must.erase(each.id);
    }
    const auto deleted = Collector(vault_, host.name).delete_points(numbers);
    note("deletes of " + host.name);
    if (!deleted && !dead() && deleted.error().code != Code::kBusy)
        wrong("nothing can be deleted: " + deleted.error().text());
}

// With runs of others while it looks: what they seal must not go.
void VaultLife::prune(Host& host, bool with_runs_beside) {
    std::uint64_t steps = with_runs_beside ? random_.below(6) : UINT64_MAX;
    // Room for a few blocks: where names share segments it takes several passes.
    Collector::Options options{.dead_share_max = 0, .live_blocks_max = 16};
    options.progress = [this, &steps](std::uint64_t, std::uint64_t) {
        if (steps == UINT64_MAX || steps-- != 0 || dead()) return;
        Host& other = some_host();
        change(other);
        note("beside a pruning:");
        run(other, draw_plan(other), draw_besides(other));
    };
    const auto report = Collector(vault_, host.name, options).collect();
    note("prunes " + host.name);
    if (!report && !dead() && report.error().code != Code::kBusy)
        wrong("space is not given back: " + report.error().text());
    if (report && report->segments_pinned > 0) ++events_["kept for a run"];
    if (report && report->segments_rewritten > 0) ++events_["compacted"];
    if (report && report->segments_removed > 0) ++events_["segments given back"];
}

void VaultLife::lose_lease(Host& host) {
    locks_.end(host.process);
}

// The lease of the run at hand is over, as its host sleeps; another writer takes the name, and
// seals its own point, or dies. Then the sleeper wakes up.
void VaultLife::usurp(Host& host) {
    lose_lease(host);
    const auto vault = open_vault(++processes_);
    if (!vault) return;
    const SeriesLog log(vault, host.name);
    const auto state = log.read_newest();
    auto held = log.hold();
    if (!state || !held) return;
    const Point* newest = state->newest();
    const bool upon_base =
        newest != nullptr && host.moments.contains(newest->id) && random_.chance(0.5);
    Bytes contents = upon_base ? host.moments.at(newest->id) : host.bench->source.contents();
    const VolumeLayout& layout = host.bench->layout;
    std::set<std::uint64_t> blocks;
    for (int i = 0; i < 3; ++i) {
        const Extent block = draw_block(layout);
        std::ranges::copy(draw_contents(block.length_bytes),
                          contents.begin() + static_cast<std::ptrdiff_t>(block.offset_bytes));
        blocks.insert(block.offset_bytes / kBlock);
    }
    for (const VolumePart& part : layout.parts())
        for (std::uint64_t at = part.start_bytes; !upon_base && at < part.end_bytes(); at += kBlock)
            blocks.insert(at / kBlock);
    TargetRecord record{
        .state = newest == nullptr ? TargetState::kBuilding : TargetState::kApplying,
        .target = newest == nullptr ? Uuid::random() : newest->state.target,
        .base = newest == nullptr ? Base{} : newest->state.base,
        .owner = host.bench->source_name,
        .run = Uuid::random(),
        .run_mode = upon_base ? RunMode::kExtents : RunMode::kFull,
        .run_base = {.source = host.bench->source_name,
                     .sequence = 1000 + processes_,
                     .point = Uuid::random()},
        .volume_bytes = layout.size_bytes()};
    const auto writer = RunWriter::begin(
        vault, host.name, std::shared_ptr<ObjectHold>(std::move(*held)),
        {.state = record, .block_bytes = kBlock, .volume_name = host.name, .layout = layout});
    note("another writer takes " + host.name);
    if (!writer) return;
    if (!append_all(**writer, layout, contents, blocks)) return;
    if (random_.chance(0.4)) return static_cast<void>((*writer)->flush());
    host.moments[record.run_base.point] = contents;
    record.state = TargetState::kSealed;
    record.base = record.run_base;
    const auto point = (*writer)->seal({.state = record, .mode = record.run_mode, .digest = "00"});
    if (point) host.must.insert(point->id);
    if (point) ++events_["usurped"];
}

// --- rot ----------------------------------------------------------------------------------------

// A byte of a stored block changes. A scrub finds it.
void VaultLife::rot() {
    if (dead()) return;
    const std::string folder =
        object_folder(vault_format::ObjectKind::kSegment, vault_->segment_series("disk0"));
    const auto objects = vault_->store().list(folder);
    if (!objects || objects->empty()) return;
    const std::string name = (*objects)[random_.below(objects->size())].name;
    const auto id = parse_object_name(vault_format::ObjectKind::kSegment,
                                      vault_->segment_series("disk0"), name);
    const auto segment = open_segment(vault_->store(), vault_->id(), *id);
    if (!segment) return;
    const std::size_t place = random_.below(segment->offsets.size());
    const SegmentEntry& entry = segment->table.entries[place];
    if (entry.zeros()) return;
    const std::uint64_t at = segment->offsets[place] + random_.below(entry.stored_bytes);
    files_.contents(name)[at] ^= std::byte{0x10};
    note("a block rots");
    const ScrubReport report = scrub();
    if (!dead() && !report.bad_blocks.contains({id->writer, id->number}))
        wrong("a scrub does not see it");
}

void VaultLife::mend() {
    const ScrubReport before = scrub();
    const auto report = mend_blocks(vault_, before.bad_blocks);
    if (!report && !dead() && report.error().code != Code::kBusy)
        wrong("nothing can be mended: " + report.error().text());
    if (!report || report->mended_blocks == 0) return;
    note("blocks are mended");
    const bool all = report->left_blocks + report->busy_blocks == 0;
    if (all && !dead() && !scrub().sound()) wrong("what is mended is bad");
}

}  // namespace towline::testing
