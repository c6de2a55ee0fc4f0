// SPDX-License-Identifier: Apache-2.0
// The race that loses blocks: writers whose writes land late, and at the same time a harvester that
// ends epoch after epoch and copies what was marked. When all is quiet, and the last epoch copied,
// every block of the device must be in the copy.
//
//     bpf_race DEVICE PINS ROUNDS SEED [--without-completions | --unseen-completions]
//
// Without the completion hooks the same must lose blocks, or the test shows nothing: that is what
// the first switch is for, which no user reaches. With the second they are there and never run, as
// on a kernel that leaves them out without a word: the disk's own count must tell. Prints a line of
// JSON; exit 1 where blocks were lost.

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <iostream>
#include <memory>
#include <random>
#include <thread>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cbt/bpf/device.hpp"
#include "cbt/bpf/hooks.hpp"
#include "cbt/bpf/pin_names.hpp"
#include "io/fd.hpp"

namespace {

using namespace towline;  // NOLINT(google-build-using-namespace): a test program

constexpr std::uint32_t kBlockBytes = 4096;
constexpr std::size_t kBlockWords = kBlockBytes / sizeof(std::uint64_t);
constexpr std::uint64_t kReadBlocks = 256;
constexpr unsigned kWriters = 64;
constexpr unsigned kWritesEach = 15;         // and more, until
constexpr std::uint64_t kHarvestsLeast = 3;  // so many were beside them: a machine can be slow
constexpr std::size_t kStaleNamed = 16;

struct FreeAligned {
    void operator()(void* at) const { std::free(at); }
};
using Buffer = std::unique_ptr<std::uint64_t, FreeAligned>;

Buffer buffer(std::size_t bytes) {
    return Buffer(static_cast<std::uint64_t*>(std::aligned_alloc(kBlockBytes, bytes)));
}

struct Totals {
    std::uint64_t writes = 0;
    std::uint64_t harvests = 0;
    std::uint64_t copied_blocks = 0;
    std::uint64_t stale_blocks = 0;
    std::uint64_t untrusted = 0;
    std::vector<std::uint64_t> stale;  // the first of them: neighbours were one write
};

class Race {
  public:
    Race(Fd device, std::uint64_t bytes, BpfHooks& hooks, BpfEpochs& epochs)
        : device_(std::move(device)),
          bytes_(bytes),
          hooks_(hooks),
          epochs_(epochs),
          copy_(bytes / sizeof(std::uint64_t)) {}

    Status round(std::uint64_t seed) {
        std::atomic<unsigned> writing = kWriters;
        harvests_beside_ = 0;
        std::vector<std::jthread> writers;
        writers.reserve(kWriters);
        for (unsigned i = 0; i < kWriters; ++i)
            writers.emplace_back([this, &writing, seed, i] {
                write_some(seed * kWriters + i);
                --writing;
            });
        Status harvested;
        while (writing != 0 && harvested) {
            harvested = harvest();
            ++harvests_beside_;
        }
        if (!harvested) harvests_beside_ = kHarvestsLeast;  // nobody may wait for more
        writers.clear();
        TRY_STATUS(std::move(harvested));
        TRY_STATUS(harvest());
        return compare();
    }

    const Totals& totals() const { return totals_; }
    Status start() { return copy_range({0, bytes_ / kBlockBytes}); }

  private:
    void write_some(std::uint64_t seed) {
        std::mt19937_64 random(seed);
        const Buffer block = buffer(kBlockBytes);
        for (unsigned i = 0; i < kWritesEach || harvests_beside_ < kHarvestsLeast; ++i) {
            const std::uint64_t at = random() % (bytes_ / kBlockBytes);
            for (std::size_t word = 0; word < kBlockWords; ++word)
                block.get()[word] = random();
            if (::pwrite(device_.get(), block.get(), kBlockBytes,
                         static_cast<off_t>(at * kBlockBytes)) != kBlockBytes)
                std::abort();
            ++writes_;
        }
    }

    // Calls back with what the device holds, a block at a time, read in large pieces.
    template <typename Each>
    Status read_blocks(BlockRun run, Each each) {
        const Buffer data = buffer(kReadBlocks * kBlockBytes);
        for (std::uint64_t at = run.first; at < run.end();) {
            const std::uint64_t count = std::min<std::uint64_t>(kReadBlocks, run.end() - at);
            const auto bytes = static_cast<ssize_t>(count * kBlockBytes);
            if (::pread(device_.get(), data.get(), static_cast<std::size_t>(bytes),
                        static_cast<off_t>(at * kBlockBytes)) != bytes)
                return fail_errno("reading the device");
            for (std::uint64_t i = 0; i < count; ++i)
                each(copy_.data() + (at + i) * kBlockWords, data.get() + i * kBlockWords);
            at += count;
        }
        return {};
    }

    Status copy_range(BlockRun run) {
        totals_.copied_blocks += run.count;
        return read_blocks(run, [](std::uint64_t* copied, const std::uint64_t* read) {
            std::memcpy(copied, read, kBlockBytes);
        });
    }

    Status harvest() {
        const ChangeSet set = TRY(epochs_.freeze(hooks_.for_epochs()));
        if (set.trust != Trust::kExact) {
            // As every consumer must.
            ++totals_.untrusted;
            TRY_STATUS(copy_range({0, bytes_ / kBlockBytes}));
            ++totals_.harvests;
            return epochs_.commit(set.sequence);
        }
        std::uint64_t from = 0;
        while (const auto run = set.changes.next_run(from)) {
            TRY_STATUS(copy_range(*run));
            from = run->end();
        }
        ++totals_.harvests;
        return epochs_.commit(set.sequence);
    }

    Status compare() {
        totals_.writes = writes_;
        return read_blocks({0, bytes_ / kBlockBytes},
                           [this](std::uint64_t* copied, const std::uint64_t* read) {
                               if (std::memcmp(copied, read, kBlockBytes) == 0) return;
                               ++totals_.stale_blocks;
                               if (totals_.stale.size() < kStaleNamed)
                                   totals_.stale.push_back(static_cast<std::uint64_t>(
                                       (copied - copy_.data()) / static_cast<long>(kBlockWords)));
                               std::memcpy(copied, read, kBlockBytes);  // each is counted once
                           });
    }

    Fd device_;
    std::uint64_t bytes_;
    BpfHooks& hooks_;
    BpfEpochs& epochs_;
    std::vector<std::uint64_t> copy_;
    std::atomic<std::uint64_t> writes_ = 0;
    std::atomic<std::uint64_t> harvests_beside_ = 0;  // in this round
    Totals totals_;
};

Result<Totals> run(const std::vector<std::string>& words) {
    const Volume volume = TRY(Volume::open(words.at(0), Access::kRead));
    const std::filesystem::path pins = words.at(1);
    const std::uint64_t rounds = std::strtoull(words.at(2).c_str(), nullptr, 10);
    const std::uint64_t seed = std::strtoull(words.at(3).c_str(), nullptr, 10);
    const bool left_out = words.size() > 4 && words[4] == "--without-completions";

    const BpfRecord record{.tracker = Uuid::random(),
                           .volume = volume.name(),
                           .span = TRY(span_of(volume)),
                           .block_bytes = kBlockBytes,
                           .ids = {}};
    const HookPlace place = hook_place(record);
    BpfHooks hooks = TRY(BpfHooks::load(
        place, pins, left_out ? BpfHooks::Completions::kLeftOut : BpfHooks::Completions::kHooked));
    if (words.size() > 4 && words[4] == "--unseen-completions")
        for (const std::string& name : pin_names::completions(false))
            std::filesystem::remove(pins / name);
    BpfEpochs epochs(hooks.control(), hooks.marks(), place.geometry);
    epochs.begin(record.tracker, true, Trust::kExact, {});

    Fd device(::open(words[0].c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
    if (!device) return fail_errno("opening " + words[0]);
    Race race(std::move(device), volume.size_bytes(), hooks, epochs);
    TRY_STATUS(race.start());
    for (std::uint64_t i = 0; i < rounds; ++i)
        TRY_STATUS(race.round(seed + i));
    return race.totals();
}

}  // namespace

int main(int count, char** arguments) {
    const std::vector<std::string> words(arguments + 1, arguments + count);
    const auto totals = run(words);
    BpfHooks::unpin(words.at(1));
    if (!totals) {
        std::cout << totals.error().text() << "\n";
        return 2;
    }
    std::cout << nlohmann::json{{"writes", totals->writes},
                                {"harvests", totals->harvests},
                                {"copied_blocks", totals->copied_blocks},
                                {"untrusted", totals->untrusted},
                                {"stale", totals->stale},
                                {"stale_blocks", totals->stale_blocks}}
                     .dump()
              << "\n";
    return totals->stale_blocks == 0 ? 0 : 1;
}
