// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "cbt/bpf/hooks.hpp"
#include "cbt/change_set.hpp"
#include "io/uuid.hpp"
#include "io/volume.hpp"

namespace towline {

// What tells one span of a volume's life from another: within it, hooks that were in place all the
// time have seen every write.
struct VolumeSpan {
    std::string boot;  // of the host
    dev_t device = 0;
    dev_t disk = 0;             // the same, or the one that it is a partition of
    bool bio_based = false;     // the disk has no request queue
    std::string disk_sequence;  // the kernel's, new whenever the disk is another
    VolumeIdentity identity;
    std::uint64_t first_sector = 0;
    std::uint64_t volume_bytes = 0;
    bool operator==(const VolumeSpan&) const = default;
};

// What the state folder knows of one volume's tracking by eBPF: all that must still be so for the
// marks to be believed.
struct BpfRecord {
    Uuid tracker;
    std::string volume;  // as it was named when it was attached
    VolumeSpan span;
    std::uint32_t block_bytes = 0;
    std::int64_t attached_at = 0;  // seconds since 1970
    HookIds ids;                   // empty: attaching it was never finished
};

// How a volume's tracking stands, as far as can be seen from outside of the marks.
struct BpfStanding {
    bool gone = false;    // the volume is not there, or is another one
    bool intact = false;  // the very hooks, on the very span
    ChangeReasons reasons;
};
// `now`: nothing when there is no such device. `ids`: nothing when not all hooks could be opened.
BpfStanding judge(const BpfRecord& record, const std::optional<VolumeSpan>& now,
                  const std::optional<HookIds>& ids);

// The records of a state folder. A damaged one is an error of its own, not of the others.
class BpfRecords {
  public:
    explicit BpfRecords(std::filesystem::path folder) : folder_(std::move(folder)) {}

    // One process at a time comes to the records, pins and maps; waits for it, for a while.
    Result<Fd> lock() const;
    Status save(const BpfRecord& record) const;
    Result<std::optional<BpfRecord>> load(const Uuid& tracker) const;
    Result<std::vector<BpfRecord>> all() const;
    Status remove(const Uuid& tracker) const;

  private:
    std::filesystem::path path_of(const Uuid& tracker) const;
    std::filesystem::path folder_;
};

}  // namespace towline
