// SPDX-License-Identifier: Apache-2.0
// Snapshots by the daemons of tracked mounts. A snapshot is named by its tracker and the epoch that
// ended with it: "UUID/SEQUENCE".

#include "cbt/snapshot_fuse.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <thread>

#include "cbt/tracker_fuse.hpp"

namespace towline {

using fuse_control::Command;
using fuse_control::Reply;

namespace {

// The kernel tells the daemon of a close after close(2) has returned.
constexpr int kRemoveTries = 50;
constexpr auto kRemovePause = std::chrono::milliseconds(20);

struct Name {
    Uuid tracker;
    std::uint64_t sequence = 0;
};

Result<Name> name_of(const std::string& id) {
    const std::size_t slash = std::min(id.find('/'), id.size());
    const auto tracker = Uuid::parse(id.substr(0, slash));
    const std::string_view number = std::string_view(id).substr(std::min(slash + 1, id.size()));
    const char* const end = number.data() + number.size();
    Name name;
    if (!tracker || std::from_chars(number.data(), end, name.sequence).ptr != end || number.empty())
        return fail(Code::kInvalid, "\"" + id + "\" names no snapshot of a tracked mount");
    name.tracker = *tracker;
    return name;
}

SnapshotStatus status_of(const Reply& reply) {
    const ImageSnapshotStatus& snapshot = *reply.snapshot;
    return {.image = FuseSnapshots::image_of(reply.status.tracker, snapshot.sequence,
                                             snapshot.volume_bytes, reply.mountpoint),
            .volume = reply.image,
            .stored_bytes = snapshot.slots_used * snapshot.chunk_bytes,
            .store_bytes = snapshot.slot_count * snapshot.chunk_bytes,
            .failed = snapshot.failed,
            .why = snapshot.why};
}

}  // namespace

SnapshotImage FuseSnapshots::image_of(const Uuid& tracker, std::uint64_t sequence,
                                      std::uint64_t volume_bytes,
                                      const std::filesystem::path& mountpoint) {
    return {.id = tracker.text() + "/" + std::to_string(sequence),
            .path = mountpoint / ("snapshot-" + std::to_string(sequence)),
            .volume_bytes = volume_bytes,
            .tracker = tracker,
            .sequence = sequence};
}

Status FuseSnapshots::usable_for(const Volume& volume) {
    return tracker_.usable_for(volume);
}

Result<std::vector<SnapshotImage>> FuseSnapshots::create(std::span<const Volume* const> volumes,
                                                         const SnapshotRequest& request,
                                                         Duration drain_max) {
    FreezeRequest freeze{.trackers = {}, .snapshot = request, .drain_max = drain_max};
    for (const Volume* volume : volumes) {
        TRY_STATUS(tracker_.usable_for(*volume));
        const auto status = TRY(tracker_.find(*volume));
        if (!status) return fail(Code::kIo, volume->name() + " is not served any more");
        freeze.trackers.push_back(status->tracker);
    }
    FrozenGroup group = TRY(tracker_.freeze_epoch(freeze));
    return std::move(group.images);
}

Result<SnapshotStatus> FuseSnapshots::status(const std::string& id) {
    const Name name = TRY(name_of(id));
    const FuseControl::Answer answer = TRY(tracker_.ask(name.tracker, {}));
    if (!answer.reply.snapshot || answer.reply.snapshot->sequence != name.sequence)
        return fail(Code::kInvalid, "there is no snapshot " + id + " any more");
    return status_of(answer.reply);
}

Status FuseSnapshots::remove(const std::string& id) {
    const Name name = TRY(name_of(id));
    for (int attempt = 1;; ++attempt) {
        const auto removed = tracker_.ask(
            name.tracker, {.command = Command::kRemoveSnapshot, .sequence = name.sequence});
        // Removed before, or gone with its daemon.
        if (removed || removed.error().code == Code::kInvalid) return {};
        if (removed.error().system_errno == ENODEV) return {};
        if (removed.error().code != Code::kBusy || attempt == kRemoveTries)
            return std::unexpected(removed.error());
        std::this_thread::sleep_for(kRemovePause);
    }
}

Result<std::vector<SnapshotStatus>> FuseSnapshots::list() {
    std::vector<SnapshotStatus> all;
    for (const Reply& reply : TRY(tracker_.ask_all())) {
        if (reply.snapshot) all.push_back(status_of(reply));
    }
    return all;
}

}  // namespace towline
