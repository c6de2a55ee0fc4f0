// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "io/slot_file.hpp"
#include "userspace/engine/run_decision.hpp"

namespace towline {

// As what is pending: no map, so that it counts as a full one.
inline const std::vector<std::byte> kDamagedMap = {std::byte{0}};

struct KeptMemory {
    TargetMemory memory;
    std::vector<std::byte> pending;  // a saved change map; empty: nothing is pending
};

// What a source durably remembers of one target, with the changes of the runs that are open, in one
// file: a run is open if and only if what it is to bring is pending. docs/format-state.md.
class TargetMemoryFile {
  public:
    // `stem`.memory
    explicit TargetMemoryFile(const std::filesystem::path& stem);

    // Nothing: there is none; kCorrupt: there is, and it cannot be told what it was.
    Result<std::optional<KeptMemory>> load() const;
    Status save(const TargetMemory& memory, const std::vector<std::byte>& pending,
                SlotSync sync = SlotSync::kNow) const;

  private:
    Result<std::optional<KeptMemory>> load_before() const;

    std::filesystem::path path_;
    std::filesystem::path pending_path_;  // of older ones
};

}  // namespace towline
