// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "cbt/bpf/marks_layout.h"
#include "cbt/change_set.hpp"
#include "io/result.hpp"

namespace towline {

// What the hooks have counted since they were attached; each is a change that nothing may have
// noted.
struct HookCounts {
    std::uint64_t misses = 0;       // runs of the submission hook that the kernel left out
    std::uint64_t passthrough = 0;  // commands from past the block layer
    std::uint64_t untraced = 0;     // no room to note where it goes
    std::uint64_t beyond = 0;       // behind the end
    std::uint64_t unseen = 0;       // sectors that the disk counts and no hook saw
};

// The part of the hooks that a switch of the epochs needs.
struct EpochHooks {
    std::function<Result<HookCounts>()> counts;
    // Returns when no program runs that began before the call.
    std::function<Status()> wait_for_programs;
    // Calls back for each write that is in flight, in bytes of the volume; only for devices whose
    // completions mark nothing themselves.
    std::function<Status(const std::function<void(Extent)>&)> each_unfinished;
    // Whether nothing that `unfinished` lacks can be in flight. Waits for a moment.
    std::function<bool()> settle;
};

// The epochs of one volume, in memory that the hooks write to and that outlives this process. A
// process can die between any two stores here; whoever comes next calls recover() and goes on. One
// at a time: the caller holds a lock.
class BpfEpochs {
  public:
    struct Geometry {
        std::uint64_t volume_bytes = 0;
        std::uint32_t block_bytes = 0;
        std::uint64_t block_count() const { return (volume_bytes + block_bytes - 1) / block_bytes; }
        // Of one epoch, in words of 64 marks, a whole number of pages.
        std::uint64_t half_words() const;
    };

    // `marks` holds two halves.
    BpfEpochs(tl_control& control, std::span<std::uint64_t> marks, Geometry geometry);

    // The first epoch. Trust is unknown from the start where writes may be in flight that no hook
    // has seen (`settled` false), or where marks were lost before (`reasons`).
    void begin(const Uuid& tracker, bool settled, Trust trust, ChangeReasons reasons);

    Uuid tracker() const;
    std::uint64_t sequence() const { return epochs_.sequence; }
    std::uint64_t sequence_frozen() const { return epochs_.sequence_frozen; }
    std::uint64_t sequence_committed() const { return epochs_.sequence_committed; }
    std::uint64_t writes_seen() const;
    // Of the present epoch, should it end now with these counts.
    Trust trust(const HookCounts& counts) const;
    ChangeReasons reasons(const HookCounts& counts) const;

    // Ends what a process that died had begun.
    Status recover(const EpochHooks& hooks);
    Result<ChangeSet> freeze(const EpochHooks& hooks);
    Status commit(std::uint64_t sequence);
    Status give_back(std::uint64_t sequence);

  private:
    enum class Step : std::uint32_t { kIdle, kSwitching, kFrozen, kDropping };

    std::span<std::uint64_t> half(std::uint32_t index) const;
    std::span<std::uint64_t> present() const;
    std::span<std::uint64_t> frozen() const;
    Step step() const;
    void enter(Step step);
    bool missed_since(const HookCounts& counts) const;
    void note_counts(const HookCounts& counts);
    Status finish_switch(const EpochHooks& hooks);
    void mark_present(Extent extent);
    void return_frozen();
    void drop_frozen();
    ChangeMap frozen_changes() const;

    tl_control& control_;
    tl_epochs& epochs_;
    std::span<std::uint64_t> marks_;
    Geometry geometry_;
};

}  // namespace towline
