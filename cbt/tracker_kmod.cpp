// SPDX-License-Identifier: Apache-2.0
// The module's epochs as ChangeSets. It keeps what matters (maps, sequences, the frozen epoch)
// itself; nothing here outlives a call. `after` is asked for once the epoch is frozen: the module
// commits only the frozen epoch, so that it can't be younger than what the set holds.

#include "cbt/tracker_kmod.hpp"

#include <algorithm>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "cbt/intent_log_file.hpp"
#include "io/block_device.hpp"

namespace towline {

namespace {

// The frozen map as the module shows it.
class MappedBits {
  public:
    static Result<MappedBits> map(int fd, std::uint64_t bytes) {
        void* at = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) return fail_errno("cannot map the module's change map");
        return MappedBits(at, bytes);
    }
    MappedBits(MappedBits&& other) noexcept
        : at_(std::exchange(other.at_, nullptr)), bytes_(other.bytes_) {}
    MappedBits& operator=(MappedBits&&) = delete;
    MappedBits(const MappedBits&) = delete;
    MappedBits& operator=(const MappedBits&) = delete;
    ~MappedBits() {
        // The analyzer takes the half of a Result that is not there for one that is.
        // NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult)
        if (at_ != nullptr) ::munmap(at_, bytes_);
    }
    ByteSpan bytes() const { return {static_cast<const std::byte*>(at_), bytes_}; }

  private:
    MappedBits(void* at, std::uint64_t bytes) : at_(at), bytes_(bytes) {}
    void* at_;
    std::size_t bytes_;
};

std::uint32_t milliseconds(Duration duration) {
    const auto count = std::chrono::duration_cast<std::chrono::milliseconds>(duration).count();
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(count, 1, TOWLINE_TIMEOUT_MS_MAX));
}

// 0, which the module takes for any, where the kernel does not tell.
std::uint64_t diskseq_of(const Volume& volume) {
    std::uint64_t diskseq = 0;
    if (::ioctl(volume.fd(), BLKGETDISKSEQ, &diskseq) != 0) return 0;
    return diskseq;
}

Trust trust_of(std::uint32_t trust) {
    switch (trust) {
        case TOWLINE_TRUST_EXACT:
            return Trust::kExact;
        case TOWLINE_TRUST_SUPERSET:
            return Trust::kSuperset;
        default:
            return Trust::kUnknown;
    }
}

ChangeReasons reasons_of(std::uint32_t bits) {
    ChangeReasons reasons;
    if ((bits & TOWLINE_REASON_FIRST) != 0) reasons.add(ChangeReason::kFirst);
    if ((bits & TOWLINE_REASON_MERGED) != 0) reasons.add(ChangeReason::kMerged);
    if ((bits & TOWLINE_REASON_GREW) != 0) reasons.add(ChangeReason::kGrew);
    if ((bits & TOWLINE_REASON_SHRANK) != 0) reasons.add(ChangeReason::kShrank);
    if ((bits & TOWLINE_REASON_HOOK_LOST) != 0) reasons.add(ChangeReason::kGap);
    if ((bits & TOWLINE_REASON_CRASHED) != 0) reasons.add(ChangeReason::kCrash);
    if ((bits & TOWLINE_REASON_GAP) != 0) reasons.add(ChangeReason::kForeign);
    if ((bits & TOWLINE_REASON_LOG_FAILED) != 0) reasons.add(ChangeReason::kGap);
    return reasons;
}

SnapshotImage image_of(const towline_epoch& epoch, const towline_snapshot& snapshot) {
    const Uuid tracker = from_kernel(epoch.uuid);
    return {.id = tracker.text(),
            .path = KmodSnapshots::image_path(snapshot.index),
            .volume_bytes = epoch.device_bytes,
            .tracker = tracker,
            .sequence = epoch.sequence};
}

}  // namespace

Result<std::unique_ptr<Tracker>> KmodTracker::open() {
    return std::make_unique<KmodTracker>(TRY(KmodControl::open()));
}

Status KmodTracker::usable_for(const Volume& volume) {
    if (volume.kind() == VolumeKind::kBlockDevice) return {};
    return fail(Code::kUnsupported,
                volume.name() +
                    " is an image file; the module tracks block devices (towline mount-image "
                    "tracks an image, and a loop device over it is one)");
}

Result<Uuid> KmodTracker::attach(const Volume& volume, const AttachRequest& request) {
    TRY_STATUS(usable_for(volume));
    const dev_t number = volume.status().st_rdev;
    towline_attach attach{.major = ::major(number), .minor = ::minor(number)};
    attach.diskseq = diskseq_of(volume);
    attach.block_size = request.block_bytes;
    attach.timeout_ms = milliseconds(request.drain_max);
    Fd log;
    if (!request.log.empty()) {
        if (!control_.has(TOWLINE_FEATURE_INTENT_LOG))
            return fail(Code::kUnsupported, "the loaded kernel module keeps no log");
        auto opened = TRY(open_intent_log(request.log, volume.size_bytes(), request.block_bytes));
        log = std::move(opened.fd);
        attach.log_fd = log.get();
        attach.log_flags = TOWLINE_LOG_USE | (opened.made ? TOWLINE_LOG_CREATE : 0);
        const std::string identity = TRY(volume.identity()).locator;
        std::memcpy(attach.identity, identity.data(),
                    std::min(identity.size(), sizeof attach.identity));
    }
    TRY_STATUS(control_.call(TOWLINE_IOC_ATTACH, attach, "attaching " + volume.name()));
    return from_kernel(attach.uuid);
}

Status KmodTracker::detach(const Uuid& tracker) {
    towline_detach detach{.uuid = to_kernel(tracker)};
    return control_.call(TOWLINE_IOC_DETACH, detach, "detaching " + tracker.text());
}

Result<towline_status> KmodTracker::kernel_status(const Uuid& tracker) const {
    towline_status status{.uuid = to_kernel(tracker)};
    TRY_STATUS(control_.call(TOWLINE_IOC_STATUS, status, "the status of " + tracker.text()));
    return status;
}

Result<TrackerStatus> KmodTracker::status(const Uuid& tracker) {
    const towline_status status = TRY(kernel_status(tracker));
    TrackerStatus answer{.tracker = tracker, .kind = TrackerKind::kKmod};
    answer.volume = "/dev/" + block_name(::makedev(status.major, status.minor));
    answer.volume_bytes = status.device_bytes;
    answer.block_bytes = status.block_size;
    answer.sequence = status.sequence;
    answer.sequence_frozen = status.sequence_frozen;
    answer.sequence_committed = status.sequence_committed;
    if ((status.flags & TOWLINE_STATUS_UNKNOWN) != 0) {
        answer.trust = Trust::kUnknown;
        answer.reasons.add(ChangeReason::kGap);
    }
    answer.gone = (status.flags & TOWLINE_STATUS_GONE) != 0;
    answer.durable =
        (status.flags & TOWLINE_STATUS_LOG) != 0 && (status.flags & TOWLINE_STATUS_LOG_FAILED) == 0;
    answer.writes_seen = status.writes_seen;
    answer.memory_bytes = status.memory_bytes;
    return answer;
}

Result<std::vector<Uuid>> KmodTracker::uuids() const {
    std::vector<towline_uuid> found(16);
    while (true) {
        towline_list list{.uuids = reinterpret_cast<std::uintptr_t>(found.data()),
                          .capacity = static_cast<std::uint32_t>(found.size())};
        TRY_STATUS(control_.call(TOWLINE_IOC_LIST, list, "listing what the module tracks"));
        const bool whole = list.count <= found.size();
        found.resize(list.count);
        if (!whole) continue;
        std::vector<Uuid> uuids(found.size());
        std::ranges::transform(found, uuids.begin(), from_kernel);
        return uuids;
    }
}

Result<std::vector<TrackerStatus>> KmodTracker::list() {
    std::vector<TrackerStatus> all;
    for (const Uuid& uuid : TRY(uuids())) {
        auto one = status(uuid);
        if (one) {
            all.push_back(std::move(*one));
        } else if (one.error().code != Code::kInvalid) {  // detached meanwhile
            return std::unexpected(one.error());
        }
    }
    return all;
}

Result<std::optional<TrackerStatus>> KmodTracker::find(const Volume& volume) {
    if (volume.kind() != VolumeKind::kBlockDevice) return std::nullopt;
    const dev_t number = volume.status().st_rdev;
    for (const Uuid& uuid : TRY(uuids())) {
        const auto kernel = kernel_status(uuid);
        if (!kernel) continue;
        const bool same = kernel->major == ::major(number) && kernel->minor == ::minor(number);
        if (same && (kernel->flags & TOWLINE_STATUS_GONE) == 0) return TRY(status(uuid));
    }
    return std::nullopt;
}

Status KmodTracker::read_map(const towline_epoch& epoch, ChangeMap& into) const {
    towline_map map{.uuid = epoch.uuid, .sequence = epoch.sequence};
    TRY_STATUS(control_.call(TOWLINE_IOC_MAP, map, "the map of a frozen epoch"));
    const Fd fd(map.fd);
    const MappedBits bits = TRY(MappedBits::map(fd.get(), map.bytes));
    if (bits.bytes().size() * 8 < into.block_count())
        return fail(Code::kCorrupt, "the module's map is shorter than the device");
    into.merge_bits(bits.bytes());
    return {};
}

// Where the device holds its own log.
Result<std::vector<Extent>> KmodTracker::log_ranges(const Uuid& tracker) const {
    if (!control_.has(TOWLINE_FEATURE_INTENT_LOG)) return std::vector<Extent>{};
    std::vector<towline_extent> ranges(64);
    while (true) {
        towline_log_status status{.uuid = to_kernel(tracker)};
        status.ranges = reinterpret_cast<std::uintptr_t>(ranges.data());
        status.capacity = static_cast<std::uint32_t>(ranges.size());
        const Status told = control_.call(TOWLINE_IOC_LOG_STATUS, status, "the log's place");
        // It has none.
        if (!told && told.error().code == Code::kInvalid) return std::vector<Extent>{};
        TRY_STATUS(told);
        const bool whole = status.count <= ranges.size();
        ranges.resize(status.count);
        if (!whole) continue;
        std::vector<Extent> extents;
        extents.reserve(ranges.size());
        for (const towline_extent& range : ranges)
            extents.push_back({range.first_sector * 512, range.sectors * 512});
        return normalized(std::move(extents));
    }
}

Result<ChangeSet> KmodTracker::change_set(const towline_epoch& epoch) const {
    ChangeSet set{.tracker = from_kernel(epoch.uuid), .sequence = epoch.sequence};
    set.after = TRY(kernel_status(set.tracker)).sequence_committed;
    set.trust = trust_of(epoch.trust);
    set.reasons = reasons_of(epoch.reasons);
    set.changes = ChangeMap(epoch.device_bytes, epoch.block_size);
    if (set.trust != Trust::kUnknown) TRY_STATUS(read_map(epoch, set.changes));
    set.excluded = TRY(log_ranges(set.tracker));
    return set;
}

Result<FrozenGroup> KmodTracker::freeze_epoch(const FreezeRequest& request) {
    std::vector<towline_epoch> epochs(request.trackers.size());
    std::vector<towline_snapshot> images(request.snapshot ? epochs.size() : 0);
    for (std::size_t at = 0; at < epochs.size(); ++at)
        epochs[at].uuid = to_kernel(request.trackers[at]);
    for (std::size_t at = 0; at < images.size(); ++at) {
        images[at].store_bytes = request.snapshot->store_bytes;
        images[at].chunk_size = request.snapshot->chunk_bytes;
        if (images[at].store_bytes == 0) {
            const auto status = TRY(kernel_status(request.trackers[at]));
            images[at].store_bytes = KmodSnapshots::default_store_bytes(status.device_bytes);
        }
    }
    towline_freeze freeze{.epochs = reinterpret_cast<std::uintptr_t>(epochs.data()),
                          .count = static_cast<std::uint32_t>(epochs.size()),
                          .epoch_size = sizeof(towline_epoch),
                          .timeout_ms = milliseconds(request.drain_max)};
    if (epochs.size() > 1) freeze.flags |= TOWLINE_FREEZE_DRAIN;
    if (request.snapshot) {
        freeze.flags |= TOWLINE_FREEZE_SNAPSHOT;
        freeze.snapshots = reinterpret_cast<std::uintptr_t>(images.data());
        freeze.snapshot_size = sizeof(towline_snapshot);
    }
    TRY_STATUS(control_.call(TOWLINE_IOC_FREEZE, freeze, "freezing an epoch"));
    FrozenGroup group{.held = std::chrono::microseconds(freeze.held_us)};
    for (std::size_t at = 0; at < images.size(); ++at)
        group.images.push_back(image_of(epochs[at], images[at]));
    for (const towline_epoch& epoch : epochs) {
        auto set = change_set(epoch);
        if (!set) {
            // The epochs stay frozen, and the next freeze holds them; images would be nobody's.
            for (const SnapshotImage& image : group.images)
                static_cast<void>(snapshots_.remove(image.id));
            return std::unexpected(set.error());
        }
        group.sets.push_back(std::move(*set));
    }
    return group;
}

Status KmodTracker::commit(const Uuid& tracker, std::uint64_t sequence) {
    towline_settle settle{.uuid = to_kernel(tracker), .sequence = sequence};
    return control_.call(TOWLINE_IOC_COMMIT, settle, "committing an epoch");
}

Status KmodTracker::give_back(const Uuid& tracker, std::uint64_t sequence) {
    towline_settle settle{.uuid = to_kernel(tracker), .sequence = sequence};
    return control_.call(TOWLINE_IOC_GIVE_BACK, settle, "giving an epoch back");
}

}  // namespace towline
