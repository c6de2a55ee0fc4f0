// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

#include "cbt/bpf/epochs.hpp"
#include "cbt/bpf/marks_layout.h"
#include "cbt/bpf/tally.hpp"
#include "io/clock.hpp"
#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

// Where on which disk a volume lies, and how its requests come to their end.
struct HookPlace {
    dev_t disk = 0;
    std::uint64_t first_sector = 0;  // of 512 bytes
    bool whole_disk = false;
    bool bio_based = false;  // no request queue: dm, md, zram
    BpfEpochs::Geometry geometry;
};

// The kernel's numbers of every link, program and map, which it does not soon give again: other
// numbers under the same pins, and somebody took the hooks away and put others there.
using HookIds = std::map<std::string, std::uint32_t>;

// The eBPF programs and maps of one volume. They live by their pins in bpffs, with or without a
// process; this object is a look at them.
class BpfHooks {
  public:
    // Takes the completion hooks away: what the tests show the need for them by.
    enum class Completions { kHooked, kLeftOut };

    // Loads, attaches and pins into `pins`, a folder of their own that is not there yet.
    static Result<BpfHooks> load(const HookPlace& place, const std::filesystem::path& pins,
                                 Completions completions = Completions::kHooked);
    // What is pinned there. Any part that is missing is an error.
    static Result<BpfHooks> open(const HookPlace& place, const std::filesystem::path& pins);
    // Tracking ends with the pins. Can be repeated.
    static void unpin(const std::filesystem::path& pins);

    BpfHooks(BpfHooks&&) noexcept = default;
    BpfHooks& operator=(BpfHooks&&) noexcept = default;

    const HookIds& ids() const { return ids_; }
    tl_control& control() const { return *control_; }
    std::span<std::uint64_t> marks() const { return {marks_, marks_words_}; }
    std::uint64_t memory_bytes() const;

    // As they are now; what the programs did not see is found and noted by for_epochs()'s alone.
    Result<HookCounts> counts() const;
    // Sends a read through the device behind `device_fd`, and looks whether both hooks saw it.
    Status check_alive(int device_fd, const std::string& name) const;
    // Whether every write that began before the hooks were there has ended, waiting for `max`.
    bool settle(Duration max) const;
    EpochHooks for_epochs() const;

  private:
    class Mapping {
      public:
        Mapping() = default;
        Mapping(void* at, std::size_t bytes) : at_(at), bytes_(bytes) {}
        Mapping(Mapping&& other) noexcept
            : at_(std::exchange(other.at_, nullptr)), bytes_(other.bytes_) {}
        Mapping& operator=(Mapping&& other) noexcept {
            std::swap(at_, other.at_);
            std::swap(bytes_, other.bytes_);
            return *this;
        }
        ~Mapping();
        void* at() const { return at_; }

      private:
        void* at_ = nullptr;
        std::size_t bytes_ = 0;
    };

    BpfHooks() = default;
    static Result<BpfHooks> open_links(const HookPlace& place, const std::filesystem::path& pins,
                                       const std::vector<std::string>& links);
    static Result<Mapping> map_shared(int fd, std::size_t bytes, const std::string& what);
    Result<TallyReading> read_tally() const;
    Status agree_with_disk();
    Status take_link(const std::string& name, const std::filesystem::path& pins);
    Result<Fd> take_map(const std::string& name, const std::filesystem::path& pins);
    Status wait_for_programs() const;
    Status each_unfinished(const std::function<void(Extent)>& found) const;

    HookPlace place_;
    HookIds ids_;
    std::map<std::string, Fd> programs_;
    Fd barrier_;
    Fd unfinished_;
    Mapping control_mapping_;
    Mapping marks_mapping_;
    tl_control* control_ = nullptr;
    std::uint64_t* marks_ = nullptr;
    std::size_t marks_words_ = 0;
};

}  // namespace towline
