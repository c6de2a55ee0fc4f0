// SPDX-License-Identifier: Apache-2.0
// What is to be copied: a known list, or where a file has data. Both become runs of at most
// merge_bytes, since a run is one read, one write and one slot.

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <unistd.h>

#include "floor_ring.hpp"

namespace floor_bench {
namespace {

constexpr std::uint64_t kSectorBytes = 4096;

void append_cut(std::vector<Run>& runs, Run run, std::uint64_t merge_bytes) {
    while (run.length_bytes > 0) {
        const std::uint64_t length = std::min(run.length_bytes, merge_bytes);
        runs.push_back({run.offset_bytes, length});
        run.offset_bytes += length;
        run.length_bytes -= length;
    }
}

std::vector<Run> read_list(const std::string& list_path) {
    std::ifstream list(list_path);
    if (!list) die("cannot read " + list_path);
    std::vector<Run> extents;
    for (Run run; list >> run.offset_bytes >> run.length_bytes;) {
        if ((run.offset_bytes | run.length_bytes) % kSectorBytes != 0)
            die("an extent is not a multiple of 4096 bytes");
        extents.push_back(run);
    }
    if (!list.eof()) die("a line of " + list_path + " is not OFFSET LENGTH");
    return extents;
}

}  // namespace

std::vector<Run> joined(std::vector<Run> extents, std::uint64_t merge_bytes) {
    std::ranges::sort(extents, {}, &Run::offset_bytes);
    std::vector<Run> runs;
    Run open;
    for (const Run& extent : extents) {
        const std::uint64_t end = extent.offset_bytes + extent.length_bytes;
        if (extent.offset_bytes <= open.offset_bytes + open.length_bytes) {
            open.length_bytes = std::max(open.length_bytes, end - open.offset_bytes);
            continue;
        }
        append_cut(runs, open, merge_bytes);
        open = extent;
    }
    append_cut(runs, open, merge_bytes);
    return runs;
}

std::vector<Run> runs_of_list(const std::string& list_path, std::uint64_t merge_bytes) {
    return joined(read_list(list_path), merge_bytes);
}

std::vector<Run> runs_of_data(int file, std::uint64_t merge_bytes) {
    std::vector<Run> runs;
    for (off_t at = 0;;) {
        const off_t data = lseek(file, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO) return runs;
        const off_t hole = lseek(file, data, SEEK_HOLE);
        if (data < 0 || hole < 0) die("looking for data", errno);
        const auto offset = static_cast<std::uint64_t>(data);
        append_cut(runs, {offset, static_cast<std::uint64_t>(hole) - offset}, merge_bytes);
        at = hole;
    }
}

}  // namespace floor_bench
