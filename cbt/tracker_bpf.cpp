// SPDX-License-Identifier: Apache-2.0
// Change tracking by eBPF: no module, and it works on a kernel that is locked down.
//
// What tracks is in the kernel and pinned (cbt/bpf/hooks.hpp), with the epochs beside it
// (cbt/bpf/epochs.hpp); what proves that it was there all the time is a record in the state folder
// (cbt/bpf/record.hpp). This is the order of things between the three. Every call takes the lock,
// finds out anew how a tracking stands, and believes nothing from the call before.
//
// A freeze of a volume whose hooks were touched, or which was resized, does not fail: it puts new
// hooks in place, under a new uuid, before it answers "unknown". What the answer makes the caller
// compare is then read under hooks that see every write.

#include "cbt/tracker_bpf.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <utility>

#include <nlohmann/json.hpp>

#include "cbt/bpf/device.hpp"
#include "cbt/bpf/epochs.hpp"
#include "cbt/bpf/hooks.hpp"
#include "cbt/bpf/record.hpp"
#include "cbt/change_map_format.hpp"

namespace towline {
namespace {

namespace fs = std::filesystem;

constexpr const char* kBtf = "/sys/kernel/btf/vmlinux";
constexpr const char* kBpffs = "/sys/fs/bpf";
constexpr std::uint32_t kBlockBytesMin = 4 << 10;
constexpr std::uint32_t kBlockBytesMax = 1 << 20;
constexpr std::uint32_t kBlockBytesDefault = 64 << 10;
constexpr std::uint64_t kBlocksWanted = std::uint64_t{1} << 28;  // a map of 32 MiB

std::uint32_t block_bytes_for(std::uint64_t volume_bytes) {
    std::uint32_t block_bytes = kBlockBytesDefault;
    while (block_bytes < kBlockBytesMax && volume_bytes / block_bytes > kBlocksWanted)
        block_bytes *= 2;
    return block_bytes;
}

// A tracking whose hooks are in place, ready to be asked.
struct Live {
    BpfRecord record;
    BpfHooks hooks;
    BpfEpochs epochs;

    Live(BpfRecord its_record, BpfHooks its_hooks)
        : record(std::move(its_record)),
          hooks(std::move(its_hooks)),
          epochs(hooks.control(), hooks.marks(), hook_place(record).geometry) {}
};

struct Seen {
    BpfRecord record;
    BpfStanding standing;
    std::optional<Volume> volume;
    std::unique_ptr<Live> live;  // where the standing is intact, or only the volume is gone
};

std::unexpected<Error> not_tracked(const Uuid& tracker) {
    return fail(Code::kInvalid,
                "no volume is tracked by eBPF as " + tracker.text() + " (any more); attach it");
}

std::unexpected<Error> volume_gone(const BpfRecord& record) {
    return fail_errno(ENODEV, record.volume + " is not there any more, or is another device");
}

class BpfTracker final : public Tracker {
  public:
    BpfTracker(const fs::path& state_folder, fs::path pins)
        : records_(state_folder / "bpf"), pins_(std::move(pins)) {}

    TrackerKind kind() const override { return TrackerKind::kBpf; }
    Status usable_for(const Volume& volume) override { return hooks_fit(volume); }
    Result<Uuid> attach(const Volume& volume, const AttachRequest& request) override;
    Status detach(const Uuid& tracker) override;
    Result<std::optional<TrackerStatus>> find(const Volume& volume) override;
    Result<TrackerStatus> status(const Uuid& tracker) override;
    Result<std::vector<TrackerStatus>> list() override;
    Result<FrozenGroup> freeze_epoch(const FreezeRequest& request) override;
    Status commit(const Uuid& tracker, std::uint64_t sequence) override;
    Status give_back(const Uuid& tracker, std::uint64_t sequence) override;
    SnapshotProvider* snapshots() override { return nullptr; }

  private:
    fs::path pins_of(const Uuid& tracker) const { return pins_ / tracker.text(); }
    Seen look(BpfRecord record, std::optional<Volume> volume) const;
    Result<std::optional<BpfRecord>> record_of(const Volume& volume) const;
    Result<Seen> look_at(const Uuid& tracker) const;
    Result<TrackerStatus> status_of(const Seen& seen) const;
    Status remove(const Uuid& tracker) const;
    Result<std::unique_ptr<Live>> put_in_place(const Volume& volume, std::string name,
                                               std::uint32_t block_bytes, Duration drain_max,
                                               Trust trust, ChangeReasons reasons) const;
    Result<std::unique_ptr<Live>> ready(Seen seen) const;

    BpfRecords records_;
    fs::path pins_;
};

// How a tracking stands now. What cannot be opened counts as not there.
Seen BpfTracker::look(BpfRecord record, std::optional<Volume> volume) const {
    Seen seen;
    std::optional<VolumeSpan> span;
    if (volume) {
        auto found = span_of(*volume);
        if (found) span = std::move(*found);
    }
    std::optional<HookIds> ids;
    auto hooks = BpfHooks::open(hook_place(record), pins_of(record.tracker));
    if (hooks) ids = hooks->ids();
    seen.standing = judge(record, span, ids);
    if (hooks && *ids == record.ids && (seen.standing.intact || seen.standing.gone))
        seen.live = std::make_unique<Live>(record, std::move(*hooks));
    if (seen.live && seen.live->epochs.tracker() != record.tracker) {
        seen.live.reset();
        seen.standing.intact = false;
        seen.standing.reasons.add(ChangeReason::kGap);
    }
    seen.record = std::move(record);
    seen.volume = std::move(volume);
    return seen;
}

Result<Seen> BpfTracker::look_at(const Uuid& tracker) const {
    auto record = TRY(records_.load(tracker));
    if (!record) return not_tracked(tracker);
    const dev_t device = record->span.device;
    return look(std::move(*record), open_device(device));
}

// The record that this very device has; an older life's only where no other is left.
Result<std::optional<BpfRecord>> BpfTracker::record_of(const Volume& volume) const {
    if (volume.kind() != VolumeKind::kBlockDevice) return std::nullopt;
    const VolumeSpan span = TRY(span_of(volume));
    std::optional<BpfRecord> found;
    for (BpfRecord& record : TRY(records_.all())) {
        if (!record.span.identity.same_volume(span.identity)) continue;
        const bool same_life =
            record.span.boot == span.boot && record.span.disk_sequence == span.disk_sequence;
        if (same_life || !found) found = std::move(record);
        if (same_life) break;
    }
    return found;
}

Result<TrackerStatus> BpfTracker::status_of(const Seen& seen) const {
    TrackerStatus status;
    status.tracker = seen.record.tracker;
    status.kind = TrackerKind::kBpf;
    status.volume = seen.record.volume;
    status.volume_bytes = seen.record.span.volume_bytes;
    status.block_bytes = seen.record.block_bytes;
    status.gone = seen.standing.gone;
    status.trust = Trust::kUnknown;
    status.reasons = seen.standing.reasons;
    if (!seen.live) return status;
    const BpfEpochs& epochs = seen.live->epochs;
    const HookCounts counts = TRY(seen.live->hooks.counts());
    status.sequence = epochs.sequence();
    status.sequence_frozen = epochs.sequence_frozen();
    status.sequence_committed = epochs.sequence_committed();
    status.writes_seen = epochs.writes_seen();
    status.memory_bytes = seen.live->hooks.memory_bytes();
    if (!seen.standing.intact) return status;
    status.trust = epochs.trust(counts);
    status.reasons.add(epochs.reasons(counts));
    return status;
}

Status BpfTracker::remove(const Uuid& tracker) const {
    BpfHooks::unpin(pins_of(tracker));
    return records_.remove(tracker);
}

// The record is there before the first pin, so that nothing is ever pinned that nobody can find.
Result<std::unique_ptr<Live>> BpfTracker::put_in_place(const Volume& volume, std::string name,
                                                       std::uint32_t block_bytes,
                                                       Duration drain_max, Trust trust,
                                                       ChangeReasons reasons) const {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    BpfRecord record{.tracker = Uuid::random(),
                     .volume = std::move(name),
                     .span = TRY(span_of(volume)),
                     .block_bytes = block_bytes,
                     .attached_at = std::chrono::duration_cast<std::chrono::seconds>(now).count(),
                     .ids = {}};
    TRY_STATUS(records_.save(record));
    const auto finish = [&]() -> Result<std::unique_ptr<Live>> {
        BpfHooks hooks = TRY(BpfHooks::load(hook_place(record), pins_of(record.tracker)));
        const bool settled = hooks.settle(drain_max);
        TRY_STATUS(hooks.check_alive(volume.fd(), record.volume));
        record.ids = hooks.ids();
        auto live = std::make_unique<Live>(record, std::move(hooks));
        live->epochs.begin(record.tracker, settled, trust, reasons);
        TRY_STATUS(records_.save(record));
        return live;
    };
    auto live = finish();
    if (!live) (void)remove(record.tracker);
    return live;
}

Result<Uuid> BpfTracker::attach(const Volume& volume, const AttachRequest& request) {
    TRY_STATUS(hooks_fit(volume));
    const std::uint32_t block_bytes =
        request.block_bytes != 0 ? request.block_bytes : block_bytes_for(volume.size_bytes());
    if (block_bytes < kBlockBytesMin || block_bytes > kBlockBytesMax ||
        !change_map_format::geometry_allowed(volume.size_bytes(), block_bytes))
        return fail(Code::kInvalid, "blocks of " + std::to_string(block_bytes) + " bytes for " +
                                        volume.name() +
                                        ": take a power of two from 4 KiB to 1 MiB");
    const Fd lock = TRY(records_.lock());
    if (auto record = TRY(record_of(volume)); record) {
        const Seen seen = look(*record, open_device(volume.status().st_rdev));
        if (seen.standing.intact)
            return fail(Code::kBusy, volume.name() + " is tracked already, as " +
                                         record->tracker.text() + "; detach that first");
        TRY_STATUS(remove(record->tracker));
    }
    const auto live =
        TRY(put_in_place(volume, volume.name(), block_bytes, request.drain_max, Trust::kExact, {}));
    return live->record.tracker;
}

Status BpfTracker::detach(const Uuid& tracker) {
    const Fd lock = TRY(records_.lock());
    if (!TRY(records_.load(tracker))) return not_tracked(tracker);
    return remove(tracker);
}

Result<std::optional<TrackerStatus>> BpfTracker::find(const Volume& volume) {
    const Fd lock = TRY(records_.lock());
    auto record = TRY(record_of(volume));
    if (!record) return std::nullopt;
    return TRY(status_of(look(std::move(*record), open_device(volume.status().st_rdev))));
}

Result<TrackerStatus> BpfTracker::status(const Uuid& tracker) {
    const Fd lock = TRY(records_.lock());
    return status_of(TRY(look_at(tracker)));
}

Result<std::vector<TrackerStatus>> BpfTracker::list() {
    const Fd lock = TRY(records_.lock());
    std::vector<TrackerStatus> statuses;
    for (BpfRecord& record : TRY(records_.all())) {
        const dev_t device = record.span.device;
        statuses.push_back(TRY(status_of(look(std::move(record), open_device(device)))));
    }
    return statuses;
}

// New hooks where the old ones cannot be believed. The old ones stay until the new ones see.
Result<std::unique_ptr<Live>> BpfTracker::ready(Seen seen) const {
    if (seen.standing.gone || !seen.volume) return volume_gone(seen.record);
    ChangeReasons reasons = seen.standing.reasons;
    if (seen.standing.intact) {
        const Status alive = seen.live->hooks.check_alive(seen.volume->fd(), seen.record.volume);
        if (alive) return std::move(seen.live);
        reasons.add(ChangeReason::kGap);
    }
    TRY_STATUS(hooks_fit(*seen.volume));
    auto live = TRY(put_in_place(*seen.volume, seen.record.volume, seen.record.block_bytes,
                                 AttachRequest{}.drain_max, Trust::kUnknown, reasons));
    TRY_STATUS(remove(seen.record.tracker));
    return live;
}

// No write is held back: each volume's set is complete in itself, and what is in flight is in both
// epochs. All that can fail without a trace is done for all before the first is switched.
Result<FrozenGroup> BpfTracker::freeze_epoch(const FreezeRequest& request) {
    if (request.snapshot)
        return fail(Code::kUnsupported,
                    "eBPF takes no snapshots: freeze first, and make the image "
                    "by LVM, or copy until it converges");
    const Fd lock = TRY(records_.lock());
    std::vector<std::unique_ptr<Live>> group;
    for (const Uuid& tracker : request.trackers) {
        auto seen = TRY(look_at(tracker));
        group.push_back(TRY(ready(std::move(seen))));
    }
    FrozenGroup frozen;
    for (const auto& live : group) {
        auto set = live->epochs.freeze(live->hooks.for_epochs());
        if (!set) {
            for (const ChangeSet& done : frozen.sets)
                (void)group[static_cast<std::size_t>(&done - frozen.sets.data())]->epochs.give_back(
                    done.sequence);
            return std::unexpected(std::move(set.error()));
        }
        frozen.sets.push_back(std::move(*set));
    }
    return frozen;
}

Status BpfTracker::commit(const Uuid& tracker, std::uint64_t sequence) {
    const Fd lock = TRY(records_.lock());
    const Seen seen = TRY(look_at(tracker));
    if (!seen.live) return not_tracked(tracker);
    TRY_STATUS(seen.live->epochs.recover(seen.live->hooks.for_epochs()));
    return seen.live->epochs.commit(sequence);
}

Status BpfTracker::give_back(const Uuid& tracker, std::uint64_t sequence) {
    const Fd lock = TRY(records_.lock());
    const Seen seen = TRY(look_at(tracker));
    if (!seen.live) return not_tracked(tracker);
    TRY_STATUS(seen.live->epochs.recover(seen.live->hooks.for_epochs()));
    return seen.live->epochs.give_back(sequence);
}

bool is_bpffs(const fs::path& path) {
    struct statfs filesystem {};
    return ::statfs(path.c_str(), &filesystem) == 0 && filesystem.f_type == BPF_FS_MAGIC;
}

// An init system mounts bpffs at its place; a small one may not have.
Status make_pin_folder(const fs::path& folder) {
    if (folder.parent_path() == kBpffs && !is_bpffs(kBpffs))
        (void)::mount("bpf", kBpffs, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700");
    if (!is_bpffs(folder.parent_path()))
        return fail(Code::kUnsupported, folder.parent_path().string() +
                                            " is no bpf filesystem, where tracking would outlive "
                                            "this process: mount -t bpf bpf " +
                                            kBpffs + " (as root)");
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
        return fail_errno("making " + folder.string());
    return {};
}

}  // namespace

Result<std::unique_ptr<Tracker>> open_bpf_tracker(const TrackerPlaces& places) {
    std::error_code ignored;
    if (!fs::exists(kBtf, ignored))
        return fail(Code::kUnsupported,
                    std::string("this kernel does not describe its structures (") + kBtf +
                        " is missing), which eBPF tracking needs; a "
                        "kernel with CONFIG_DEBUG_INFO_BTF has it");
    TRY_STATUS(make_pin_folder(places.bpf_folder));
    return std::make_unique<BpfTracker>(places.state_folder, places.bpf_folder);
}

}  // namespace towline
