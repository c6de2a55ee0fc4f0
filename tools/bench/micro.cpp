// SPDX-License-Identifier: Apache-2.0
// What the pieces of the data path cost a block, each alone: the check, the codecs, the change map.
//
// Each benchmark of the check runs twice: over one block again and again, which stays in the cache
// as it does right after a small read, and over a range that no cache holds. Compare with the
// limits in docs/performance.md; an end-to-end figure is the business of `compare`.

#include <cstdint>
#include <fstream>
#include <iterator>
#include <random>
#include <span>
#include <vector>

#include <benchmark/benchmark.h>

#include "cbt/change_map.hpp"
#include "cbt/tracked_image.hpp"
#include "io/checksum.hpp"
#include "transport/codec.hpp"

namespace towline {
namespace {

constexpr std::size_t kBlockBytes = 64UL * 1024;
constexpr std::size_t kCachedBytes = kBlockBytes;
constexpr std::size_t kColdBytes = 256UL * 1024 * 1024;

std::vector<std::byte> noise(std::size_t bytes) {
    std::vector<std::byte> data(bytes);
    std::mt19937_64 random(1);
    for (std::size_t at = 0; at + 8 <= bytes; at += 8)
        store_le<std::uint64_t>(data.data() + at, random());
    return data;
}

// This program's own code and symbols: real data, and about as dense as a root filesystem.
std::vector<std::byte> real_data() {
    std::ifstream self("/proc/self/exe", std::ios::binary);
    const std::vector<char> raw{std::istreambuf_iterator<char>(self), {}};
    const ByteSpan bytes = std::as_bytes(std::span(raw));
    return {bytes.begin(),
            bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() / kBlockBytes * kBlockBytes)};
}

// Calls `work(block, offset)` over the blocks of a range, round and round.
template <typename Work>
void over_blocks(benchmark::State& state, const std::vector<std::byte>& data, Work&& work) {
    std::size_t at = 0;
    while (state.KeepRunning()) {
        work(ByteSpan(data).subspan(at, kBlockBytes), at);
        at = at + kBlockBytes == data.size() ? 0 : at + kBlockBytes;
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBlockBytes));
}

void cached_and_cold(benchmark::internal::Benchmark* benchmark) {
    benchmark->ArgName("range")->Arg(kCachedBytes)->Arg(kColdBytes);
}

void crc(benchmark::State& state) {
    over_blocks(state, noise(static_cast<std::size_t>(state.range(0))),
                [](ByteSpan block, std::size_t) { benchmark::DoNotOptimize(crc32c(block)); });
}
BENCHMARK(crc)->Apply(cached_and_cold);

// Zeros are the dear case: of anything else the first word tells.
void zero_detection(benchmark::State& state) {
    over_blocks(state, std::vector<std::byte>(static_cast<std::size_t>(state.range(0))),
                [](ByteSpan block, std::size_t) { benchmark::DoNotOptimize(is_zero(block)); });
}
BENCHMARK(zero_detection)->Apply(cached_and_cold);

void hash(benchmark::State& state) {
    const BlockHasher hasher(BlockHasher::Seed{});
    over_blocks(state, noise(static_cast<std::size_t>(state.range(0))),
                [&](ByteSpan block, std::size_t) { benchmark::DoNotOptimize(hasher.of(block)); });
}
BENCHMARK(hash)->Apply(cached_and_cold);

void whole_check(benchmark::State& state) {
    const BlockHasher hasher(BlockHasher::Seed{});
    const BlockCheck check(Uuid::random());
    over_blocks(state, noise(static_cast<std::size_t>(state.range(0))),
                [&](ByteSpan block, std::size_t offset) {
                    benchmark::DoNotOptimize(check_block(check, hasher, block, offset));
                });
}
BENCHMARK(whole_check)->Apply(cached_and_cold);

void compress(benchmark::State& state, CodecChoice choice) {
    const int level = static_cast<int>(state.range(0));
    const BlockKind kind = codec_for(choice, level);
    std::vector<std::byte> stored(kBlockBytes);
    Codec codec;
    std::uint64_t stored_bytes = 0;
    over_blocks(state, real_data(), [&](ByteSpan block, std::size_t) {
        stored_bytes += codec.compress(kind, level, block, stored).value_or(kBlockBytes);
    });
    state.counters["ratio"] =
        static_cast<double>(state.iterations()) * kBlockBytes / static_cast<double>(stored_bytes);
}
BENCHMARK_CAPTURE(compress, deflate, CodecChoice::kDeflate)->ArgName("level")->DenseRange(1, 10);
BENCHMARK_CAPTURE(compress, zstd, CodecChoice::kZstd)->ArgName("level")->DenseRange(1, 10);

void decompress(benchmark::State& state, CodecChoice choice) {
    const int level = static_cast<int>(state.range(0));
    const BlockKind kind = codec_for(choice, level);
    std::vector<std::byte> block = real_data();
    block.resize(kBlockBytes);
    std::vector<std::byte> stored(kBlockBytes);
    Codec codec;
    const auto stored_bytes = codec.compress(kind, level, block, stored);
    if (!stored_bytes) return state.SkipWithError("the block did not become smaller");
    while (state.KeepRunning())
        if (!codec.decompress(kind, ByteSpan(stored).first(*stored_bytes), block))
            return state.SkipWithError("the block did not come back");
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBlockBytes));
}
BENCHMARK_CAPTURE(decompress, deflate, CodecChoice::kDeflate)->ArgName("level")->Arg(1)->Arg(6);
BENCHMARK_CAPTURE(decompress, zstd, CodecChoice::kZstd)->ArgName("level")->Arg(1)->Arg(6);

// Maps of a 1 TiB volume: 16 Mi blocks, 2 MiB of map.
constexpr std::uint64_t kVolumeBytes = std::uint64_t{1} << 40;
constexpr std::uint64_t kBlockCount = kVolumeBytes / kBlockBytes;

enum class Marks { kDense, kRandom, kSparse };

ChangeMap make_map(Marks marks) {
    ChangeMap map(kVolumeBytes, kBlockBytes);
    if (marks == Marks::kDense) {
        map.mark_all();
        return map;
    }
    std::mt19937_64 random(1);
    const std::uint64_t count = marks == Marks::kRandom ? kBlockCount / 10 : 64;
    for (std::uint64_t i = 0; i < count; ++i)
        map.mark_blocks({random() % kBlockCount, 1});
    return map;
}

// A whole walk; 1 MiB at most a run, as the pipeline cuts them.
void map_walk(benchmark::State& state, Marks marks) {
    const ChangeMap map = make_map(marks);
    constexpr std::uint64_t kRunBlocks = 16;
    std::int64_t runs = 0;
    while (state.KeepRunning())
        for (auto run = map.next_run(0, kRunBlocks); run; ++runs)
            run = map.next_run(run->end(), kRunBlocks);
    state.SetItemsProcessed(runs);
}
BENCHMARK_CAPTURE(map_walk, dense, Marks::kDense)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(map_walk, random, Marks::kRandom)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(map_walk, sparse, Marks::kSparse)->Unit(benchmark::kMicrosecond);

void map_merge(benchmark::State& state, Marks marks) {
    const ChangeMap other = make_map(marks);
    ChangeMap map(kVolumeBytes, kBlockBytes);
    while (state.KeepRunning()) {
        map.merge(other);
        benchmark::ClobberMemory();
    }
}
BENCHMARK_CAPTURE(map_merge, dense, Marks::kDense)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(map_merge, random, Marks::kRandom)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(map_merge, sparse, Marks::kSparse)->Unit(benchmark::kMicrosecond);

void map_digest(benchmark::State& state, Marks marks) {
    const ChangeMap map = make_map(marks);
    while (state.KeepRunning())
        benchmark::DoNotOptimize(map.digest());
}
BENCHMARK_CAPTURE(map_digest, dense, Marks::kDense)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(map_digest, random, Marks::kRandom)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(map_digest, sparse, Marks::kSparse)->Unit(benchmark::kMicrosecond);

// --- what tracking adds to a write of an image
// ----------------------------------------------------

class NoImage : public ImageBackend {
  public:
    std::uint64_t size_bytes() const override { return kVolumeBytes; }
    std::uint32_t alignment_bytes() const override { return 512; }
    Result<ByteSpan> read(Extent, MutableByteSpan scratch) override { return ByteSpan(scratch); }
    Status write(std::uint64_t, ByteSpan) override { return {}; }
    Status zero(Extent, Zeroing) override { return {}; }
    Status allocate(Extent) override { return {}; }
    Status resize(std::uint64_t) override { return {}; }
    Status flush() override { return {}; }
};

class NoLog : public IntentLog {
  public:
    Status store(const TrackingRecord&) override { return {}; }
    Status invalidate() override { return {}; }
};

// Hot regions, no snapshot: as nearly every write is. Threads share the image.
void tracked_write(benchmark::State& state) {
    static NoImage backend;
    static NoLog log;
    static TrackedImage image = [] {
        TrackingRecord record;
        record.block_bytes = kBlockBytes;
        record.volume_bytes = record.resize_bytes = kVolumeBytes;
        record.hot = ChangeMap(kVolumeBytes, 64U << 20);
        return TrackedImage(backend, log, record,
                            Epochs(Epoch{.marks = ChangeMap(kVolumeBytes, kBlockBytes)}));
    }();
    const std::vector<std::byte> data(4096);
    std::mt19937_64 random(static_cast<std::uint64_t>(state.thread_index()));
    while (state.KeepRunning())
        benchmark::DoNotOptimize(
            image.write(random() % (kVolumeBytes / 4096) * 4096, data).has_value());
}
BENCHMARK(tracked_write)->Threads(1)->Threads(2);

}  // namespace
}  // namespace towline

BENCHMARK_MAIN();
