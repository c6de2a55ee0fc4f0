// SPDX-License-Identifier: Apache-2.0
// The tracker interface over the daemons of tracked mounts, one an image. A group is frozen from
// here: every gate is closed and drained before the first epoch is ended. A hold that runs out
// between two of them does no harm to the moment: the others still stand as they were when the
// first was frozen, and a hold that ran out before its own freeze fails the whole.

#include "cbt/tracker_fuse.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "io/block_device.hpp"

namespace towline {

using fuse_control::Command;
using fuse_control::Reply;
using fuse_control::Request;

namespace {

// What a release may take to come, beside the draining.
constexpr auto kLease = std::chrono::milliseconds(3000);
constexpr std::size_t kMapBytesMax = 1ULL << 31;

std::uint32_t milliseconds_of(Duration duration, std::uint32_t most) {
    const auto count = std::chrono::ceil<std::chrono::milliseconds>(duration).count();
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(count, 0, most));
}

TrackerStatus status_of(const Reply& reply) {
    TrackerStatus status;
    status.tracker = reply.status.tracker;
    status.kind = TrackerKind::kFuse;
    status.volume = reply.image;
    status.volume_bytes = reply.status.volume_bytes;
    status.block_bytes = reply.status.block_bytes;
    status.sequence = reply.status.sequence;
    status.sequence_frozen = reply.status.sequence_frozen;
    status.sequence_committed = reply.status.sequence_committed;
    status.trust = reply.status.trust;
    status.reasons = reply.status.reasons;
    status.durable = !reply.status.log_void;
    status.writes_seen = reply.status.writes_seen;
    status.memory_bytes = reply.status.memory_bytes;
    return status;
}

struct FileNumber {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const FileNumber&) const = default;
};

std::optional<FileNumber> number_of(const std::filesystem::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return std::nullopt;
    return FileNumber{status.st_dev, status.st_ino};
}

// The file that the bytes of a volume are in: itself, or what is behind a loop device that shows
// all of it.
std::optional<FileNumber> file_behind(const Volume& volume) {
    if (volume.kind() == VolumeKind::kImageFile)
        return FileNumber{volume.status().st_dev, volume.status().st_ino};
    const auto backing = loop_backing(volume.status().st_rdev);
    if (!backing || !backing->known || backing->inode == 0 || backing->offset_bytes != 0)
        return std::nullopt;
    return FileNumber{backing->device, backing->inode};
}

Result<ChangeMap> map_in(const Fd& file) {
    std::vector<std::byte> saved;
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) return fail_errno("looking at a map");
    if (static_cast<std::uint64_t>(status.st_size) > kMapBytesMax)
        return fail(Code::kProtocol, "the daemon of a tracked mount gave a map that is too long");
    saved.resize(static_cast<std::size_t>(status.st_size));
    std::size_t filled = 0;
    while (filled < saved.size()) {
        const ssize_t got = ::pread(file.get(), saved.data() + filled, saved.size() - filled,
                                    static_cast<off_t>(filled));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return fail_errno(got == 0 ? EIO : errno, "reading a map");
        filled += static_cast<std::size_t>(got);
    }
    return ChangeMap::load(saved);
}

}  // namespace

// A volume of a group, from its prepare to its release, which is the end of its connection.
struct FuseTracker::Member {
    Uuid tracker;
    FuseControl control;
    std::optional<Reply> frozen;
    ChangeMap changes;
};

Result<FuseControl> FuseTracker::connect(const Uuid& tracker) const {
    const std::filesystem::path socket = sockets_ / (tracker.text() + ".sock");
    if (::access(socket.c_str(), F_OK) != 0)
        return fail(Code::kInvalid, "no tracked mount has the tracker " + tracker.text());
    auto connected = FuseControl::connect(socket);
    if (!connected && connected.error().code == Code::kDisconnected)
        return std::unexpected(Error{Code::kIo, ENODEV, connected.error().context});
    return connected;
}

Result<FuseControl::Answer> FuseTracker::ask(const Uuid& tracker, const Request& request) const {
    FuseControl control = TRY(connect(tracker));
    return control.call(request);
}

Result<std::vector<Reply>> FuseTracker::ask_all() const {
    std::vector<Reply> replies;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(sockets_, error)) {
        if (entry.path().extension() != ".sock") continue;
        auto control = FuseControl::connect(entry.path());
        // What a dead daemon left.
        if (!control && control.error().code == Code::kDisconnected) continue;
        if (!control) return std::unexpected(control.error());
        auto answer = control->call({.command = Command::kStatus});
        if (answer) replies.push_back(std::move(answer->reply));
    }
    if (error && error != std::errc::no_such_file_or_directory)
        return fail_errno(error.value(), "reading the folder " + sockets_.string());
    return replies;
}

Result<std::optional<Reply>> FuseTracker::reply_for(const Volume& volume) const {
    const auto file = file_behind(volume);
    if (!file) return std::optional<Reply>();
    for (Reply& reply : TRY(ask_all())) {
        if (file != number_of(std::filesystem::path(reply.mountpoint) / "volume") &&
            file != number_of(reply.image))
            continue;
        // A loop device over a part of it is another volume.
        if (volume.size_bytes() != reply.status.volume_bytes) continue;
        return std::optional(std::move(reply));
    }
    return std::optional<Reply>();
}

Status FuseTracker::usable_for(const Volume& volume) {
    const auto reply = TRY(reply_for(volume));
    if (reply) return {};
    if (volume.kind() == VolumeKind::kBlockDevice)
        return fail(Code::kUnsupported,
                    volume.name() + " is a device and no loop device over a tracked mount");
    return fail(Code::kUnsupported, volume.name() +
                                        " is not served by a tracked mount; let its user open the "
                                        "file that `towline mount-image " +
                                        volume.name() + " FOLDER` serves");
}

Result<Uuid> FuseTracker::attach(const Volume& volume, const AttachRequest&) {
    const auto reply = TRY(reply_for(volume));
    if (reply)
        return fail(Code::kBusy, volume.name() + " is served by the tracked mount " +
                                     reply->mountpoint + " already");
    return fail(Code::kUnsupported, "an image is tracked by serving it: towline mount-image " +
                                        volume.name() +
                                        " FOLDER; a device by another tracker (kmod, bpf)");
}

Status FuseTracker::detach(const Uuid& tracker) {
    const FuseControl::Answer answer = TRY(ask(tracker, {}));
    return fail(Code::kUnsupported,
                "the tracking ends with its mount: umount " + answer.reply.mountpoint);
}

Result<std::optional<TrackerStatus>> FuseTracker::find(const Volume& volume) {
    const auto reply = TRY(reply_for(volume));
    if (!reply) return std::optional<TrackerStatus>();
    return std::optional(status_of(*reply));
}

Result<TrackerStatus> FuseTracker::status(const Uuid& tracker) {
    const FuseControl::Answer answer = TRY(ask(tracker, {}));
    return status_of(answer.reply);
}

Result<std::vector<TrackerStatus>> FuseTracker::list() {
    std::vector<TrackerStatus> all;
    for (const Reply& reply : TRY(ask_all()))
        all.push_back(status_of(reply));
    return all;
}

Status FuseTracker::freeze_all(std::vector<Member>& members, const FreezeRequest& request) {
    Request prepare{.command = Command::kPrepare};
    if (request.snapshot) {
        prepare.flags = fuse_control::kWithSnapshot;
        prepare.store_bytes = request.snapshot->store_bytes;
        prepare.chunk_bytes = request.snapshot->chunk_bytes;
    }
    for (Member& member : members)
        (void)TRY(member.control.call(prepare));
    const bool holds = request.snapshot || members.size() > 1;
    const Instant end = monotonic_now() + request.drain_max;
    for (Member& member : members) {
        if (!holds) break;
        const Request hold{
            .command = Command::kHold,
            .drain_ms = milliseconds_of(end - monotonic_now(), fuse_control::kDrainMsMax),
            .lease_ms = milliseconds_of(request.drain_max + kLease, fuse_control::kLeaseMsMax)};
        (void)TRY(member.control.call(hold));
    }
    for (Member& member : members) {
        FuseControl::Answer answer = TRY(member.control.call({.command = Command::kFreeze}));
        member.frozen = std::move(answer.reply);
        if (!answer.fd) return fail(Code::kProtocol, "the daemon of a tracked mount gave no map");
        member.changes = TRY(map_in(answer.fd));
    }
    return {};
}

Result<FrozenGroup> FuseTracker::freeze_epoch(const FreezeRequest& request) {
    if (request.snapshot && !request.snapshot->store.empty())
        return fail(Code::kUnsupported,
                    "where a tracked mount keeps its snapshots is chosen when it is mounted "
                    "(--store)");
    std::vector<Member> members;
    members.reserve(request.trackers.size());
    for (const Uuid& tracker : request.trackers)
        members.push_back({tracker, TRY(connect(tracker)), std::nullopt, ChangeMap()});
    const Status frozen = freeze_all(members, request);
    for (Member& member : members)
        (void)member.control.call({.command = Command::kRelease});
    if (!frozen) {
        for (Member& member : members) {
            if (!member.frozen) continue;
            (void)give_back(member.tracker, member.frozen->frozen_sequence);
            if (member.frozen->frozen_snapshot)
                (void)ask(member.tracker, {.command = Command::kRemoveSnapshot,
                                           .sequence = member.frozen->frozen_sequence});
        }
        return std::unexpected(frozen.error());
    }
    FrozenGroup group;
    for (Member& member : members) {
        const Reply& reply = *member.frozen;
        group.held = std::max<Duration>(group.held, std::chrono::microseconds(reply.held_us));
        if (request.snapshot)
            group.images.push_back(FuseSnapshots::image_of(member.tracker, reply.frozen_sequence,
                                                           member.changes.volume_bytes(),
                                                           reply.mountpoint));
        group.sets.push_back({.tracker = member.tracker,
                              .sequence = reply.frozen_sequence,
                              .after = reply.frozen_after,
                              .trust = reply.frozen_trust,
                              .reasons = reply.frozen_reasons,
                              .changes = std::move(member.changes),
                              .excluded = {}});
    }
    return group;
}

Status FuseTracker::commit(const Uuid& tracker, std::uint64_t sequence) {
    (void)TRY(ask(tracker, {.command = Command::kCommit, .sequence = sequence}));
    return {};
}

Status FuseTracker::give_back(const Uuid& tracker, std::uint64_t sequence) {
    (void)TRY(ask(tracker, {.command = Command::kGiveBack, .sequence = sequence}));
    return {};
}

}  // namespace towline
