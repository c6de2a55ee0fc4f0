// SPDX-License-Identifier: Apache-2.0
// Both pipelines as they are, over simulated engines, disks, connections and stores. A side that
// was killed leaves objects that still believe in operations under way: like the memory of a dead
// process they are never looked at again, and are kept (reachable) until the test program ends.

#include "tests/sim/sync_bench.hpp"

#include <algorithm>

#include "io/align.hpp"
#include "userspace/engine/staged_format.hpp"

namespace towline {

namespace {

constexpr Duration kRunLimit = std::chrono::minutes(30);

void bury(std::shared_ptr<void> dead) {
    static auto* graves = new std::vector<std::shared_ptr<void>>;
    graves->push_back(std::move(dead));
}

std::vector<std::byte> first_bytes(std::vector<std::byte> contents, std::uint64_t count) {
    contents.resize(count);
    return contents;
}

}  // namespace

struct SyncBench::SourceProcess {
    SourceProcess(SyncBench& bench, const RunPlan& plan)
        : engine(bench.world, "source"),
          workers(bench.world, engine, 2),
          store(bench.source_shelf, engine, plan.source_fault, plan.source_hook) {}
    bool over() const { return engine.killed() || pipeline->finished(); }

    SimulatedEngine engine;
    SimulatedWorkQueue workers;
    SimulatedSourceStore store;
    std::unique_ptr<SourcePipeline> pipeline;
};

struct SyncBench::TargetProcess {
    TargetProcess(SyncBench& bench, const RunPlan& plan)
        : engine(bench.world, "target"),
          workers(bench.world, engine, 2),
          store(bench.make_target_store
                    ? bench.make_target_store()
                    : std::make_unique<SimulatedTargetStore>(bench.target_shelf, bench.target,
                                                             bench.staged, engine, bench.random,
                                                             plan.target_fault, plan.target_hook)) {
    }
    bool over() const { return engine.killed() || pipeline->finished(); }

    SimulatedEngine engine;
    SimulatedWorkQueue workers;
    std::unique_ptr<TargetStore> store;
    std::unique_ptr<TargetPipeline> pipeline;
};

SyncBench::SyncBench(std::uint64_t seed, BenchShape with)
    : shape(with),
      world(seed),
      random(SimulatedRandom::mix(seed ^ 0x70776c)),
      source(world, {.size_bytes = shape.source_bytes, .alignment_bytes = shape.source_alignment}),
      target(world, {.size_bytes = shape.target_bytes,
                     .grows = shape.target_is_image,
                     .alignment_bytes = shape.target_alignment}),
      staged(world, {.size_bytes = staged_format::kHoleBytes,
                     .grows = true,
                     .alignment_bytes = shape.target_alignment}),
      target_shelf({.exact_size = shape.target_is_image, .exists = shape.target_exists}),
      source_name(draw_uuid(random)),
      rest([&] {
          if (shape.target_is_image || shape.target_bytes <= shape.source_bytes)
              return std::vector<std::byte>{};
          fill_random_data(target, random, shape.source_bytes, shape.target_bytes);
          return target.contents(shape.source_bytes, shape.target_bytes - shape.source_bytes);
      }()) {}

SyncBench::~SyncBench() = default;

void fill_random_data(SimulatedDisk& disk, SimulatedRandom& random, std::uint64_t begin,
                      std::uint64_t end) {
    std::vector<std::byte> bytes(end - begin);
    for (std::byte& byte : bytes)
        byte = static_cast<std::byte>(random.next());
    disk.fill(begin, bytes);
}

void SyncBench::kill(Side side, KillStyle style) {
    SimulatedEngine& engine =
        side == Side::kSource ? source_process_->engine : target_process_->engine;
    if (!engine.killed()) engine.kill(style);
}

std::unique_ptr<SyncBench::TargetProcess> SyncBench::start_target(const RunPlan& plan) {
    auto process = std::make_unique<TargetProcess>(*this, plan);
    process->pipeline = std::make_unique<TargetPipeline>(
        process->engine, process->workers, *process->store,
        TargetPipeline::Config{.limits = {.checkpoint_bytes = plan.checkpoint_bytes,
                                          .checkpoint_interval = std::chrono::milliseconds(300),
                                          .ping_interval = std::chrono::seconds(1)},
                               .buffer_count = plan.buffer_count,
                               .buffer_bytes = plan.buffer_bytes,
                               .silence_max = kSilenceMax,
                               .join_token = draw_uuid(random)});
    return process;
}

SourcePipeline::Config SyncBench::source_config(const RunPlan& plan, Handle volume) {
    SourcePipeline::Config config;
    config.request.run = {.kind = plan.kind,
                          .resume = plan.resume,
                          .overwrite = plan.overwrite,
                          .source = source_name,
                          .volume_bytes = source.size_bytes(),
                          .modified_ns = plan.modified_ns,
                          .volumes = layout.text()};
    config.request.layout = layout;
    config.request.extents = plan.extents;
    config.request.block_bytes = plan.block_bytes;
    config.request.verify = plan.verify;
    config.request.run.direct = plan.direct;
    config.request.draw = [this] { return draw_uuid(random); };
    config.moment = plan.moment;
    config.request.audit_blocks = plan.audit_blocks;
    config.target_name = target_name;
    config.volume = {.handle = volume,
                     .size_bytes = source.size_bytes(),
                     .alignment_bytes = shape.source_alignment};
    config.data = random.chance(0.5) ? data_ranges_of(source.contents())
                                     : std::vector<Extent>{{0, source.size_bytes()}};
    config.compression = {.codec = plan.codec,
                          .level = plan.level,
                          .workers = 2,
                          // Chosen levels must not depend on how fast this machine is.
                          .worker_time = [this] { return Duration(codec_time_ += 100'000); }};
    config.rate_bytes_per_second = plan.rate_bytes_per_second;
    config.level_now = plan.level_now;
    config.buffer_count = plan.buffer_count;
    config.buffer_bytes = config.frame_bytes = plan.buffer_bytes;
    config.silence_max = kSilenceMax;
    config.ping_interval = std::chrono::seconds(1);
    config.further_lanes = plan.links.size() - 1;
    config.connect = [this, &plan] { return connect(plan.links[links_made_]); };
    return config;
}

std::unique_ptr<SyncBench::SourceProcess> SyncBench::start_source(const RunPlan& plan) {
    auto process = std::make_unique<SourceProcess>(*this, plan);
    const Handle volume = process->engine.attach_disk(source);
    process->pipeline = std::make_unique<SourcePipeline>(
        process->engine, process->workers, process->store, source_config(plan, volume));
    return process;
}

// The first connection starts the target's session, a further one is handed to it a little later,
// as the server's threads do.
Result<Handle> SyncBench::connect(const ConnectionPlan& plan) {
    SimulatedConnection& link = world.add_connection(plan);
    const bool first = links_made_++ == 0;
    TargetProcess& process = *target_process_;
    if (!process.engine.killed()) {
        const Handle theirs = process.engine.attach_socket(link, ConnectionSide::kSecond);
        const Duration wait = random.between(Duration(0), std::chrono::milliseconds(1));
        world.at(world.now() + wait, &process.engine, [&process, theirs, first] {
            first ? process.pipeline->start(theirs) : process.pipeline->join(theirs);
        });
    } else {
        link.close();
    }
    return source_process_->engine.attach_socket(link, ConnectionSide::kFirst);
}

bool SyncBench::over(const RunPlan& plan) {
    if (plan.kill && events_++ == plan.kill->event) kill(plan.kill->side, plan.kill->style);
    if (plan.after_event) plan.after_event();
    return source_process_->over() && target_process_->over();
}

RunResult SyncBench::run(const RunPlan& plan) {
    links_made_ = 0;
    events_ = 0;
    auto target_side = start_target(plan);
    target_process_ = target_side.get();
    auto source_side = start_source(plan);
    source_process_ = source_side.get();
    const Instant began = world.now();
    const std::uint64_t events_began = world.event_count();
    source_side->pipeline->start(*connect(plan.links.front()));
    RunResult result;
    result.end = world.run([&] { return over(plan); }, kRunLimit);
    result.elapsed = world.now() - began;
    result.events = world.event_count() - events_began;
    result.source_killed = source_side->engine.killed();
    result.target_killed = target_side->engine.killed();
    result.source_error = source_side->pipeline->error();
    result.target_error = target_side->pipeline->error();
    result.noted = source_side->store.noted();
    result.sealed = target_side->pipeline->sealed();
    result.stored_bytes = target_side->pipeline->stored_bytes();
    result.report = source_side->pipeline->report();
    // A run that hangs is a failure; its processes must not outlive it all the same.
    if (!source_side->over()) kill(Side::kSource);
    if (!target_side->over()) kill(Side::kTarget);
    if (source_side->engine.killed()) bury(std::move(source_side));
    if (target_side->engine.killed()) bury(std::move(target_side));
    return result;
}

void SyncBench::put_target(const TargetCopy& copy) {
    target_shelf = copy.shelf;
    target.resize(0);
    target.resize(copy.contents.size());
    target.fill(0, copy.contents);
    staged.resize(0);
    staged.resize(copy.staged.size());
    staged.fill(0, copy.staged);
}

void SyncBench::cut_power(CrashStyle style) {
    if (target_shelf.on_disk) target_shelf.record = *std::exchange(target_shelf.on_disk, {});
    target.crash(style);
    staged.crash(style);
}

std::vector<std::byte> SyncBench::taken_over() {
    auto volume = target.durable_contents();
    if (target_shelf.record.stage != TargetRecord::Stage::kCommitted) return volume;
    if (shape.target_is_image) volume.resize(target_shelf.record.volume_bytes);
    const auto blocks = staged.durable_contents();
    const auto index = staged_index_of(target_shelf);
    if (!index || !index->finished()) return {};
    std::uint64_t cursor = 0;
    for (;;) {
        const auto batch = index->read(cursor);
        if (!batch) return {};
        if (!*batch) return volume;
        for (const StagedEntry& entry : (*batch)->entries) {
            const auto to = volume.begin() + static_cast<std::ptrdiff_t>(entry.extent.offset_bytes);
            const auto length = static_cast<std::ptrdiff_t>(entry.extent.length_bytes);
            if (entry.zeros()) {
                std::fill(to, to + length, std::byte{0});
            } else {
                const auto from = blocks.begin() + static_cast<std::ptrdiff_t>(entry.place_bytes);
                std::copy(from, from + length, to);
            }
        }
    }
}

bool SyncBench::staged_is_durable() {
    const auto blocks = staged.durable_contents();
    const auto index = staged_index_of(target_shelf);
    if (!index) return true;
    const BlockCheck check(source_name);
    std::uint64_t cursor = 0;
    for (;;) {
        const auto batch = index->read(cursor);
        if (!batch) return false;
        if (!*batch) return true;
        for (const StagedEntry& entry : (*batch)->entries) {
            if (entry.zeros()) continue;
            ByteSpan left = ByteSpan(blocks).subspan(entry.place_bytes, entry.extent.length_bytes);
            std::uint64_t offset = entry.extent.offset_bytes;
            for (std::size_t crc = entry.first_crc; !left.empty(); ++crc) {
                const auto block =
                    left.first(std::min<std::size_t>(left.size(), (*batch)->block_bytes));
                if (check.of(block, offset) != (*batch)->crcs[crc]) return false;
                left = left.subspan(block.size());
                offset += block.size();
            }
        }
    }
}

bool SyncBench::equal(bool durable) const {
    return difference(durable).empty();
}

std::string SyncBench::difference(bool durable) const {
    const auto ours = source.contents();
    const auto all = durable ? target.durable_contents() : target.contents();
    if (shape.target_is_image && all.size() != ours.size()) {
        return "the target is " + std::to_string(all.size()) + " bytes long, the source " +
               std::to_string(ours.size());
    }
    const auto theirs = first_bytes(all, ours.size());
    const auto [mine, other] = std::ranges::mismatch(ours, theirs);
    if (mine == ours.end()) return {};
    return std::string(durable ? "durable" : "visible") + " contents differ from byte " +
           std::to_string(mine - ours.begin());
}

bool SyncBench::rest_untouched() const {
    if (rest.empty()) return true;
    const auto durable = target.durable_contents();
    return target.contents(shape.source_bytes, rest.size()) == rest &&
           std::equal(rest.begin(), rest.end(),
                      durable.begin() + static_cast<std::ptrdiff_t>(shape.source_bytes));
}

// What was journaled by the last run (later entries than `entries_before`) is on stable storage.
bool SyncBench::acknowledged_is_durable(std::size_t entries_before) const {
    const auto ours = source.contents();
    const auto theirs = first_bytes(target.durable_contents(), ours.size());
    for (std::size_t i = entries_before; i < target_shelf.journal.size(); ++i) {
        if (!target_shelf.journal[i].whole) continue;
        for (const Extent& extent : target_shelf.journal[i].extents) {
            const auto begin = static_cast<std::ptrdiff_t>(extent.offset_bytes);
            const auto end = static_cast<std::ptrdiff_t>(extent.end_bytes());
            if (!std::equal(ours.begin() + begin, ours.begin() + end, theirs.begin() + begin))
                return false;
        }
    }
    return true;
}

}  // namespace towline
