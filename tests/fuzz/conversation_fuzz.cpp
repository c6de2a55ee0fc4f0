// SPDX-License-Identifier: Apache-2.0
// A hostile source against a target's pipeline, or a hostile target against a source's (the first
// byte says which, the second how the victim stands), over the simulated world. The victim must
// come to an end in bounded time, have sealed only what it was sent, and leave nothing behind.

#include <optional>

#include "io/align.hpp"
#include "io/check.hpp"
#include "tests/fuzz/conversation_script.hpp"
#include "tests/unit/memory_stores.hpp"
#include "userspace/engine/source_pipeline.hpp"
#include "userspace/engine/target_pipeline.hpp"

namespace {

using namespace towline;
using namespace towline::fuzz;
using namespace towline::testing;

constexpr std::uint64_t kDiskBytes = align_up<std::uint64_t>(kVolumeBytes, 512);
const Uuid kSource = uuid_of(1);
const Uuid kTarget = uuid_of(7);
const Uuid kRun = uuid_of(3);
const Base kBase{.source = kSource, .sequence = 5, .point = uuid_of(4)};

// What both kinds of victim stand in.
struct Scene {
    SimulatedWorld world{1};
    SimulatedDisk disk{world, {.size_bytes = kDiskBytes}};
    SimulatedConnection& connection = world.add_connection({});
    SimulatedEngine engine{world, "victim"};
    SimulatedEngine peer_engine{world, "hostile"};
    SimulatedWorkQueue work{world, engine, 1};
    RawPeer peer{peer_engine, peer_engine.attach_socket(connection, ConnectionSide::kFirst)};
    Handle socket = engine.attach_socket(connection, ConnectionSide::kSecond);

    template <typename Pipeline>
    void play_to_the_end(Script script, Pipeline& pipeline, const Uuid& run) {
        play(script, peer, run_number_of(run), kSource,
             [&](Duration time) { world.run([&] { return pipeline.finished(); }, time); });
        // The peer falls silent, or has closed: either way this ends.
        const RunEnd end = world.run([&] { return pipeline.finished(); }, std::chrono::minutes(5));
        CHECK(end == RunEnd::kDone);
        peer_engine.kill(KillStyle::kClose);
    }
};

void attack_target(std::uint8_t how, Script script) {
    Scene scene;
    MemoryTargetStore store(scene.engine, scene.disk);
    store.zeroed = (how & 1) != 0;
    store.facts = {
        .exists = true, .is_device = true, .size_bytes = kDiskBytes, .record = {.target = kTarget}};
    if ((how & 2) != 0) {
        store.facts.record = {
            .state = (how & 4) != 0 ? TargetState::kApplying : TargetState::kSealed,
            .target = kTarget,
            .base = kBase,
            .owner = kSource,
            .run = kRun,
            .run_mode = RunMode::kFull,
            .volume_bytes = kVolumeBytes};
        store.entries = {{0, 8 * kBlockBytes}, {16 * kBlockBytes, kBlockBytes}};
    }
    const TargetRecord before = store.facts.record;
    TargetPipeline::Config config;
    config.buffer_bytes = 4 * kBlockBytes;
    config.buffer_count = 4;
    config.join_token = uuid_of(9);
    config.limits.checkpoint_bytes = 4 * kBlockBytes;
    TargetPipeline pipeline(scene.engine, scene.work, store, config);
    pipeline.start(scene.socket);
    scene.play_to_the_end(script, pipeline, kRun);
    const TargetRecord& after = store.facts.record;
    CHECK(pipeline.sealed() || after == before || after.unfinished());
    const bool written = scene.disk.started_count(DiskOperation::kWrite) > 0 ||
                         scene.disk.started_count(DiskOperation::kZero) > 0;
    CHECK(!written ||
          std::find(store.calls.begin(), store.calls.end(), "mark") != store.calls.end());
}

SourceRequest request_for(std::uint8_t how) {
    SourceRequest request;
    request.run = {.kind = static_cast<RunRequest::Kind>(how & 3),
                   .resume = (how & 4) != 0,
                   .overwrite = (how & 8) != 0,
                   .source = kSource,
                   .volume_bytes = kVolumeBytes};
    request.extents = {{3 * kBlockBytes, 5 * kBlockBytes}};
    request.block_bytes = kBlockBytes;
    request.verify = (how & 16) != 0;
    request.dry_run = (how & 32) != 0;
    request.draw = [next = 3]() mutable { return uuid_of(next++); };
    return request;
}

void attack_source(std::uint8_t how, Script script) {
    Scene scene;
    std::vector<std::byte> contents(20 * kBlockBytes, std::byte{'s'});
    scene.disk.fill(0, contents);
    MemorySourceStore store;
    store.memories[kTarget] = {.target = kTarget,
                               .base = kBase,
                               .volume_bytes = kVolumeBytes,
                               .open_runs = {kRun},
                               .open_mode = RunMode::kFull,
                               .open_base = kBase,
                               .open_volume_bytes = kVolumeBytes};
    SourcePipeline::Config config;
    config.request = request_for(how);
    config.target_name = "disk0";
    config.volume = {.handle = scene.engine.attach_disk(scene.disk), .size_bytes = kDiskBytes};
    config.data = {{0, 20 * kBlockBytes}};
    config.compression.level = (how & 64) != 0 ? 1 : 0;
    config.compression.worker_time = [] { return Duration{}; };
    config.buffer_bytes = 4 * kBlockBytes;
    config.buffer_count = 4;
    SourcePipeline pipeline(scene.engine, scene.work, store, std::move(config));
    pipeline.start(scene.socket);
    scene.play_to_the_end(script, pipeline, kRun);
    // Only what was attested is taken for done.
    const bool forgot = store.memories[kTarget].open_runs.empty();
    CHECK(!forgot || store.maps.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 2 || size > 8192) return 0;
    const Script script(ByteSpan(reinterpret_cast<const std::byte*>(data) + 2, size - 2));
    (data[0] & 1) != 0 ? attack_source(data[1], script) : attack_target(data[1], script);
    return 0;
}
