// SPDX-License-Identifier: Apache-2.0
// Compares two images without the page cache: wherever either has data, both are read, two slots a
// piece. Not part of any measurement, but the comparisons between runs would otherwise take longer
// than the runs, and leave the cache full.

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "floor_ring.hpp"

namespace floor_bench {
namespace {

using towline::Fd;

constexpr std::uint64_t kPieceBytes = 512UL * 1024;

// A piece of both files on its way into two neighbouring slots.
struct Pair {
    Run run;
    unsigned arrived = 0;
};

class Comparer {
  public:
    Comparer(std::vector<Run> runs, int first, int second, unsigned depth)
        : runs_(std::move(runs)), pairs_(depth), ring_(depth * 2, kPieceBytes, first) {
        ring_.use_second(second);
        for (unsigned pair = 0; pair < depth; ++pair)
            free_.push_back(pair);
    }

    void run() {
        while (finished_ < runs_.size()) {
            for (; next_ < runs_.size() && !free_.empty(); ++next_)
                start(free_.back(), runs_[next_]);
            ring_.wait([this](Op, std::uint32_t slot, int result) { arrived(slot, result); });
        }
    }

  private:
    void start(unsigned pair, Run run) {
        free_.pop_back();
        pairs_[pair] = {run, 0};
        ring_.read_file(pair * 2, run);
        ring_.read_second(pair * 2 + 1, run);
    }

    void arrived(std::uint32_t slot, int result) {
        Pair& pair = pairs_[slot / 2];
        if (static_cast<std::uint64_t>(result) != pair.run.length_bytes) die("a short read");
        if (++pair.arrived < 2) return;
        const std::uint32_t even = slot / 2 * 2;
        if (std::memcmp(ring_.at(even), ring_.at(even + 1), pair.run.length_bytes) != 0)
            die("the files differ at or after byte " + std::to_string(pair.run.offset_bytes));
        free_.push_back(slot / 2);
        ++finished_;
    }

    std::vector<Run> runs_;
    std::vector<Pair> pairs_;
    std::vector<unsigned> free_;
    std::size_t next_ = 0;
    std::size_t finished_ = 0;
    Ring ring_;
};

std::uint64_t size_of(const Fd& file) {
    struct stat about {};
    must(fstat(file.get(), &about), "looking at a file");
    return static_cast<std::uint64_t>(about.st_size);
}

}  // namespace

int run_equal(const std::string& first_path, const std::string& second_path,
              const FloorOptions& options) {
    const Fd first(must(open(first_path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC), first_path));
    const Fd second(must(open(second_path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC), second_path));
    if (size_of(first) != size_of(second)) die("the files differ in size");
    std::vector<Run> runs = runs_of_data(first.get(), kPieceBytes);
    const std::vector<Run> more = runs_of_data(second.get(), kPieceBytes);
    runs.insert(runs.end(), more.begin(), more.end());
    Comparer comparer(joined(std::move(runs), kPieceBytes), first.get(), second.get(),
                      options.depth);
    comparer.run();
    return 0;
}

}  // namespace floor_bench
