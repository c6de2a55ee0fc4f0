// SPDX-License-Identifier: Apache-2.0
#pragma once

// Which kind of run this can be, and why: pure, decided at the source from what the user asked,
// what the source remembers of this target, and what the target says it holds (rules 2, 3 and 13).

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cbt/change_set.hpp"
#include "io/result.hpp"
#include "transport/messages.hpp"
#include "userspace/engine/rolling_audit.hpp"

namespace towline {

// Why a run was what it was: a closed set (docs/cli.md has the meanings).
enum class Cause {
    kRequestedFull,
    kRequestedScan,
    kChangeList,     // --extents, upon a base that both sides agree on
    kFirstCopy,      // the target did not exist, or was empty
    kNoTracker,      // the base is right, but nothing tracks the changes
    kUnknownTarget,  // the source remembers no run to this target
    kOtherSource,    // the target was another source's replica
    kTargetDiffers,  // the target holds another moment than the source left there (rolled back, a
                     // second target)
    kTargetChanged,  // the target was replaced, or written to by others, since its last run
    kUnfinishedRun,  // an earlier run was cut off and not resumed
    kTargetFlushFailed,  // a flush of the target failed: what it reads back need not be stored
    kSourceResized,
    kSourceReformatted,  // it holds another filesystem than at the last run
    kSourceReverted,  // the source's own time went backwards: an older image was put in its place
    kTracked,         // the tracker's changes, upon a base that both sides agree on
    kHotRegions,      // the same after a crash: regions that were being written are compared
    kTrackerNew,      // the tracking began after the target's last run
    kTrackerGap,      // the tracker missed changes, or cannot tell
    kChangesTaken,    // somebody with a memory of their own took changes that this source never saw
    kSourceForeign,   // the source was written to while nothing tracked it
    kAuditFailed,     // a block that was held to be unchanged differs: the tracker is not believed
    kResumed,
    kVolumesChanged,  // a volume was added to the run, or taken out of it
};

std::string_view cause_name(Cause cause);
// One sentence for people.
std::string_view cause_text(Cause cause);

// What the tracker vouches for, all that the target still lacks taken together.
struct Tracked {
    Uuid tracker;
    std::uint64_t sequence = 0;  // of the epoch that ended at the moment of this run
    Trust trust = Trust::kUnknown;
    Cause doubt = Cause::kTrackerGap;  // kUnknown: why
};

struct RunRequest {
    enum class Kind { kAuto, kFull, kExtents, kScan };
    Kind kind = Kind::kAuto;
    bool resume = false;
    bool direct = false;  // onto the target at once, although it is whole
    bool overwrite = false;
    Uuid source;
    std::uint64_t volume_bytes = 0;
    std::int64_t modified_ns = 0;  // of an image file; 0 where there is no such time (devices)
    std::string filesystem;        // the uuid of the one on it, or empty
    std::string volumes;           // which they are, of several (VolumeLayout::text)
    std::optional<Tracked> tracked;
};

// What the source durably remembers of one target. The pending map (kept beside) holds every change
// that a run of `open_runs` was to bring; it is dropped only when the target has sealed.
struct TargetMemory {
    Uuid target;
    Base base;  // the last run that is known to be sealed there; sequence 0: none
    std::uint64_t volume_bytes = 0;
    std::int64_t modified_ns = 0;
    std::string filesystem;
    std::string volumes;
    std::vector<Uuid> open_runs;  // begun since, not known to be sealed; the newest last
    RunMode open_mode{};          // of the newest
    std::uint64_t open_plan_digest = 0;
    Base open_base;  // what the newest was to become
    std::int64_t open_modified_ns = 0;
    std::string open_filesystem;
    std::string open_volumes;
    std::uint64_t open_volume_bytes = 0;
    // The open run at which the target said that a flush had failed; nil: none. Kept here too,
    // since whatever failed there may keep the target from noting it.
    Uuid flush_failed_run;
    // Of the pending map, as far as a tracker's word is in it, and of the source; sticks until the
    // target has sealed.
    Trust pending_trust = Trust::kExact;
    Cause pending_doubt{};  // kUnknown: why
    // Free blocks were taken for zeros: there the target differs from the source. Until a full copy
    // or a comparison without that.
    bool free_left_out = false;
    bool open_free_left_out = false;  // by the open run
    // How far the audit that goes round has come; `open_audit` when the open run has been sealed.
    RollingAudit audit;
    RollingAudit open_audit;
    bool operator==(const TargetMemory&) const = default;
};

// The open run is sealed at the target: what it was to become is the base now.
void commit_open_run(TargetMemory& memory);

// Died between seal and commit (rule 3): the target says that the open run is sealed. True when
// `memory` was brought up to date; the caller makes that durable and drops the pending map.
bool commit_if_sealed(TargetMemory& memory, const OpenedMessage& opened);

// Why what the source left at the target is no base of this source any more, as far as the source
// can tell by itself; nothing: it is one. What is in `memory` already counts as well: the doubt may
// not show any more (a source that was put back, and is written to), and what it is about is still
// missing at the target.
std::optional<Cause> source_doubt(const RunRequest& request, const TargetMemory& memory);

struct RunDecision {
    RunMode mode{};
    Cause cause{};
    bool resume = false;
    bool include_pending = false;  // extents: what earlier unfinished runs were to bring goes along
    // A scan of data that nobody vouches for goes on only when it proves to be an older copy.
    bool must_resemble = false;
    // Extents: what is listed may be more than what changed; send of it what differs.
    bool compare_listed = false;
};

// The Error is kRefused, and names the remedy.
Result<RunDecision> decide_run(const RunRequest& request, const std::optional<TargetMemory>& memory,
                               const OpenedMessage& opened);

}  // namespace towline
