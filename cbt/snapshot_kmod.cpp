// SPDX-License-Identifier: Apache-2.0
// What is overwritten while an image stands is kept in memory that is set aside before; when that
// is used up the image is lost and the origin goes on. So the default is generous, and bounded by
// what the host has.

#include "cbt/snapshot_kmod.hpp"

#include <algorithm>
#include <unistd.h>

#include "cbt/tracker.hpp"

namespace towline {

namespace {

constexpr std::uint64_t kStoreBytesMin = std::uint64_t{64} << 20;
// Of what a device holds; and of the host's memory, for one device.
constexpr std::uint64_t kStoreShare = 20;
constexpr std::uint64_t kMemoryShare = 16;

std::uint64_t memory_bytes() {
    return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
           static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

Result<Uuid> device_of(const std::string& id) {
    const auto uuid = Uuid::parse(id);
    if (!uuid) return fail(Code::kInvalid, "a snapshot of the module is named by a uuid");
    return *uuid;
}

}  // namespace

std::uint64_t KmodSnapshots::default_store_bytes(std::uint64_t volume_bytes) {
    const std::uint64_t wanted = std::max(kStoreBytesMin, volume_bytes / kStoreShare);
    return std::min(
        {volume_bytes, wanted, std::max(kStoreBytesMin, memory_bytes() / kMemoryShare)});
}

std::filesystem::path KmodSnapshots::image_path(std::uint32_t index) {
    return "/dev/towline/" + std::to_string(index);
}

Status KmodSnapshots::usable_for(const Volume& volume) {
    if (!control_.has(TOWLINE_FEATURE_SNAPSHOT))
        return fail(Code::kUnsupported, "the loaded kernel module makes no snapshots");
    if (TRY(tracker_.find(volume))) return {};
    return fail(Code::kRefused, volume.name() +
                                    " is not attached to the module (towline track attach " +
                                    volume.name() + " --tracker kmod)");
}

Result<std::vector<SnapshotImage>> KmodSnapshots::create(std::span<const Volume* const> volumes,
                                                         const SnapshotRequest& request,
                                                         Duration drain_max) {
    FreezeRequest freeze{.snapshot = request, .drain_max = drain_max};
    for (const Volume* volume : volumes) {
        TRY_STATUS(usable_for(*volume));
        freeze.trackers.push_back(TRY(tracker_.find(*volume))->tracker);
    }
    return TRY(tracker_.freeze_epoch(freeze)).images;
}

Result<SnapshotStatus> KmodSnapshots::status(const std::string& id) {
    const Uuid device = TRY(device_of(id));
    const TrackerStatus tracked = TRY(tracker_.status(device));
    towline_snapshot_status status{.uuid = to_kernel(device)};
    TRY_STATUS(
        control_.call(TOWLINE_IOC_SNAPSHOT_STATUS, status, "the snapshot of " + tracked.volume));
    SnapshotStatus answer;
    answer.image = {.id = id,
                    .path = image_path(status.index),
                    .volume_bytes = tracked.volume_bytes,
                    .tracker = device,
                    .sequence = status.sequence};
    answer.volume = tracked.volume;
    answer.stored_bytes = status.chunks_stored * status.chunk_size;
    answer.store_bytes = status.chunks_max * status.chunk_size;
    answer.failed = (status.flags & TOWLINE_SNAPSHOT_FAILED) != 0;
    if (answer.failed) {
        answer.why = status.error == -ENOSPC ? "its store is full"
                                             : system_error(-status.error, "given up").text();
    }
    return answer;
}

Status KmodSnapshots::remove(const std::string& id) {
    towline_snapshot_delete request{.uuid = to_kernel(TRY(device_of(id)))};
    Status removed = control_.call(TOWLINE_IOC_SNAPSHOT_DELETE, request, "deleting " + id);
    if (!removed && removed.error().code == Code::kInvalid) return {};
    return removed;
}

Result<std::vector<SnapshotStatus>> KmodSnapshots::list() {
    std::vector<SnapshotStatus> all;
    for (const TrackerStatus& tracked : TRY(tracker_.list())) {
        auto one = status(tracked.tracker.text());
        if (one)
            all.push_back(std::move(*one));
        else if (one.error().code != Code::kInvalid)
            return std::unexpected(one.error());
    }
    return all;
}

}  // namespace towline
