// SPDX-License-Identifier: Apache-2.0
#pragma once

// Both pipelines over the simulated world, with their stores in memory: a whole run, again and
// again over the same disks.

#include "io/align.hpp"
#include "tests/unit/memory_stores.hpp"
#include "tests/unit/simulated_fixture.hpp"
#include "userspace/engine/source_pipeline.hpp"
#include "userspace/engine/target_pipeline.hpp"

namespace towline::testing {

constexpr std::uint32_t kRunBlockBytes = 4096;
constexpr std::uint64_t kRunVolumeBytes = 64 * kRunBlockBytes + 1536;

// One attempt at a run: engines, connection, pipelines.
struct Attempt {
    Attempt(SimulatedWorld& world, SimulatedDisk& source_disk, MemorySourceStore& sources,
            MemoryTargetStore& targets, SourcePipeline::Config source_config,
            TargetPipeline::Config target_config, ConnectionPlan plan)
        : world_(world), connection(world.add_connection(std::move(plan))) {
        targets.restart(target_engine);
        source_config.volume = {.handle = source_engine.attach_disk(source_disk),
                                .size_bytes = source_disk.size_bytes(),
                                .alignment_bytes = 512};
        source.emplace(source_engine, source_work, sources, std::move(source_config));
        target.emplace(target_engine, target_work, targets, std::move(target_config));
        target->start(target_engine.attach_socket(connection, ConnectionSide::kSecond));
        source->start(source_engine.attach_socket(connection, ConnectionSide::kFirst));
    }
    ~Attempt() {
        if (!source->finished()) source_engine.kill(KillStyle::kClose);
        if (!target->finished()) target_engine.kill(KillStyle::kClose);
    }
    RunEnd run() {
        return world_.run([&] { return source->finished() && target->finished(); }, kLongEnough);
    }
    bool succeeded() const { return source->finished() && !source->error() && target->sealed(); }

    SimulatedWorld& world_;
    SimulatedConnection& connection;
    SimulatedEngine source_engine{world_, "source"};
    SimulatedEngine target_engine{world_, "target"};
    SimulatedWorkQueue source_work{world_, source_engine, 2};
    SimulatedWorkQueue target_work{world_, target_engine, 2};
    std::optional<SourcePipeline> source;
    std::optional<TargetPipeline> target;
};

// What outlives attempts.
struct Replication {
    explicit Replication(std::uint64_t seed)
        : world(seed),
          source_disk(world, {.size_bytes = disk_bytes()}),
          target_disk(world, {.size_bytes = disk_bytes()}),
          targets(engine, target_disk) {
        targets.facts = {.exists = true,
                         .is_device = true,
                         .size_bytes = disk_bytes(),
                         .record = {.target = uuid_of(7)}};
        source_config.request = {.run = {.source = uuid_of(1), .volume_bytes = kRunVolumeBytes},
                                 .block_bytes = kRunBlockBytes};
        source_config.target_name = "disk0";
        source_config.data = {{0, kRunVolumeBytes}};
        source_config.buffer_bytes = target_config.buffer_bytes = 4 * kRunBlockBytes;
        source_config.frame_bytes = target_config.buffer_bytes;
        source_config.buffer_count = target_config.buffer_count = 8;
        source_config.compression.level = 0;
        target_config.limits.checkpoint_bytes = 8 * kRunBlockBytes;
    }
    static constexpr std::uint64_t disk_bytes() {
        return align_up<std::uint64_t>(kRunVolumeBytes, 512);
    }

    std::unique_ptr<Attempt> attempt(RunRequest::Kind kind, ConnectionPlan plan = {}) {
        source_config.request.run.kind = kind;
        return std::make_unique<Attempt>(world, source_disk, sources, targets, source_config,
                                         target_config, std::move(plan));
    }
    bool run(RunRequest::Kind kind) {
        const auto each = attempt(kind);
        EXPECT_EQ(each->run(), RunEnd::kDone);
        EXPECT_FALSE(each->source->error()) << each->source->error()->text();
        last = each->source->report();
        return each->succeeded();
    }
    void fill_source(std::uint64_t block, std::uint64_t count, int salt) {
        std::vector<std::byte> bytes(count * kRunBlockBytes);
        for (std::size_t i = 0; i < bytes.size(); ++i)
            bytes[i] = static_cast<std::byte>(i * 7 + i / 4096 + static_cast<std::size_t>(salt));
        source_disk.fill(block * kRunBlockBytes, bytes);
    }
    bool equal() const {
        return source_disk.contents(0, kRunVolumeBytes) == target_disk.contents(0, kRunVolumeBytes);
    }

    SimulatedWorld world;
    SimulatedDisk source_disk;
    SimulatedDisk target_disk;
    SimulatedEngine engine{world, "nobody"};
    MemorySourceStore sources;
    MemoryTargetStore targets;
    SourcePipeline::Config source_config;
    TargetPipeline::Config target_config;
    RunReport last;
};

}  // namespace towline::testing
