// SPDX-License-Identifier: Apache-2.0
// By LVM's own programs, since its metadata is nobody else's to write: lvcreate suspends the
// origin, which freezes the filesystem on it, and resumes it under the snapshot. Whoever froze that
// filesystem before would make it fail. An image is known by tags, which a death of ours leaves;
// nothing without them is ever removed.

#include "cbt/snapshot_lvm.hpp"

#include <algorithm>

#include "cbt/lvm_watch.hpp"
#include "io/block_device.hpp"
#include "io/program.hpp"

namespace towline {

namespace {

// LVM is not cut short: this only bounds how long a run waits for others that hold its locks.
constexpr Duration kProgramTime = std::chrono::minutes(5);
constexpr std::string_view kTag = "towline";
constexpr std::string_view kOwnerTag = "towline.owner.";
constexpr std::string_view kRemedy = "install lvm2";

constexpr std::uint64_t kThickBytesMin = std::uint64_t{16} << 20;
constexpr std::uint64_t kThickBytesWanted = std::uint64_t{64} << 20;
constexpr std::uint64_t kThickShare = 10;   // of the volume
constexpr std::uint64_t kTablesShare = 64;  // what LVM keeps beside what is overwritten, at most

std::uint64_t thick_bytes_max(std::uint64_t volume_bytes) {
    return volume_bytes + volume_bytes / kTablesShare + kThickBytesMin;
}

std::string mebibytes(std::uint64_t bytes) {
    return std::to_string(bytes >> 20) + " MiB";
}

Result<std::vector<LogicalVolume>> ask_lvs(const std::string& what) {
    std::vector<std::string> words{
        "lvs", "--reportformat", "json", "--units",
        "b",   "--nosuffix",     "-o",   std::string(logical_volume_fields())};
    if (!what.empty()) words.push_back(what);
    const auto end = run_program(words, kProgramTime);
    if (!end && end.error().code == Code::kUnsupported)
        return fail(Code::kUnsupported, "LVM's programs are missing: " + std::string(kRemedy));
    if (!end) return std::unexpected(end.error());
    auto volumes = parse_logical_volumes(end->output);
    // It complains of groups that lack a disk, and tells of the others all the same.
    if (end->exit_code != 0 && (!volumes || volumes->empty()))
        return fail(Code::kIo, "LVM tells nothing of " + (what.empty() ? "any volume" : what) +
                                   ": " + end->complaint);
    return volumes;
}

Result<LogicalVolume> volume_of(const Volume& source) {
    const auto refused = [&source](const std::string& why) {
        return fail(Code::kRefused, source.name() + why);
    };
    if (source.kind() != VolumeKind::kBlockDevice) return refused(" is no logical volume");
    const auto mapped = block_folder(source.status().st_rdev) / "dm";
    if (!read_attribute(mapped / "uuid").starts_with("LVM-"))
        return refused(" is no logical volume");
    const auto found = TRY(ask_lvs("/dev/mapper/" + read_attribute(mapped / "name")));
    if (found.size() != 1) return refused(" is an inner part of a logical volume");
    return found.front();
}

// Nothing: there is none of this name that is one of ours.
Result<std::optional<LogicalVolume>> image_of(const std::string& id) {
    const std::size_t slash = id.find('/');
    if (slash == std::string::npos || id.starts_with('-'))
        return fail(Code::kInvalid, "\"" + id + "\" names no snapshot of LVM");
    for (LogicalVolume& each : TRY(ask_lvs(id.substr(0, slash)))) {
        if (each.full_name() == id && each.has_tag(kTag)) return std::move(each);
    }
    return std::nullopt;
}

std::string pool_path(const LogicalVolume& pool) {
    return pool.path + "-tpool";
}

Result<LogicalVolume> pool_of(const LogicalVolume& volume) {
    const auto found = TRY(ask_lvs(volume.group + "/" + volume.pool));
    if (found.size() == 1) return found.front();
    return fail(Code::kIo, "LVM tells nothing of the pool " + volume.pool);
}

Status has_room(const LogicalVolume& volume) {
    if (!volume.is_thin()) {
        if (!volume.origin.empty())
            return fail(Code::kRefused, volume.full_name() + " is itself a snapshot");
        if (volume.group_free_bytes >= std::min(kThickBytesMin, volume.bytes)) return {};
        return fail(Code::kRefused, "the volume group " + volume.group + " has only " +
                                        mebibytes(volume.group_free_bytes) +
                                        " left for a snapshot (vgextend, or lvreduce another)");
    }
    const LogicalVolume pool = TRY(pool_of(volume));
    // Nothing is made whose room cannot be watched.
    const auto room = TRY(lvm_room(pool_path(pool)));
    if (!room || room->lost)
        return fail(Code::kRefused, "the thin pool " + pool.full_name() + " takes no writes");
    if (room->share() < kPoolShareBegin) return {};
    return fail(Code::kRefused, "the thin pool " + pool.full_name() +
                                    " is nearly full, and a snapshot would take what its volumes "
                                    "need (lvextend " +
                                    pool.full_name() + ")");
}

std::uint64_t thick_bytes(const LogicalVolume& volume, const SnapshotRequest& request) {
    if (request.store_bytes > 0) return request.store_bytes;
    return lvm_store_bytes(volume.bytes, volume.group_free_bytes);
}

std::vector<std::string> creation(const LogicalVolume& volume, const std::string& name,
                                  const SnapshotRequest& request) {
    std::vector<std::string> words{"lvcreate", "--quiet", "--snapshot", "--permission",   "r",
                                   "--name",   name,      "--addtag",   std::string(kTag)};
    const auto add = [&words](std::initializer_list<std::string> more) {
        words.insert(words.end(), more);
    };
    if (!request.owner.empty()) add({"--addtag", std::string(kOwnerTag) + request.owner});
    if (volume.is_thin()) {
        // One that is left over is not made active again by the next boot.
        add({"--setactivationskip", "y", "--ignoreactivationskip"});
    } else {
        add({"--monitor", "n", "--size", std::to_string(thick_bytes(volume, request)) + "b"});
        if (request.chunk_bytes > 0)
            add({"--chunksize", std::to_string(request.chunk_bytes) + "b"});
    }
    add({volume.full_name()});
    return words;
}

SnapshotImage image(const LogicalVolume& made) {
    return {.id = made.full_name(), .path = made.path, .volume_bytes = made.bytes};
}

bool is_lost(const LogicalVolume& image) {
    const auto room = lvm_room(image.path);
    return room && *room && (*room)->lost;
}

Status in_use(const std::string& id) {
    return fail(Code::kBusy, "the snapshot " + id + " is in use");
}

bool is_open(const LogicalVolume& volume) {
    const auto told = run_program(
        {"dmsetup", "info", "--columns", "--noheadings", "-o", "open", volume.path}, kProgramTime);
    return told && told->exit_code == 0 && std::strtoul(told->output.c_str(), nullptr, 10) > 0;
}

}  // namespace

std::uint64_t lvm_store_bytes(std::uint64_t volume_bytes, std::uint64_t group_free_bytes) {
    const std::uint64_t wanted = std::max(kThickBytesWanted, volume_bytes / kThickShare);
    return std::min({wanted, thick_bytes_max(volume_bytes), group_free_bytes});
}

LvmSnapshots::LvmSnapshots() = default;
LvmSnapshots::~LvmSnapshots() = default;

Status LvmSnapshots::usable_for(const Volume& volume) {
    const LogicalVolume found = TRY(volume_of(volume));
    return has_room(found);
}

// A pool that fills up makes its origin's writes wait, if only until the image is given up; and one
// that a killed run left is looked after by nobody.
std::string LvmSnapshots::only_by_name(const Volume& volume) {
    const auto found = volume_of(volume);
    if (!found || !found->is_thin()) return {};
    return "a snapshot in a thin pool has to be asked for: --snapshot lvm";
}

Result<std::vector<SnapshotImage>> LvmSnapshots::create(std::span<const Volume* const> volumes,
                                                        const SnapshotRequest& request, Duration) {
    if (volumes.size() != 1)
        return fail(Code::kUnsupported, "LVM makes no images of several volumes at one moment");
    const LogicalVolume origin = TRY(volume_of(*volumes.front()));
    TRY_STATUS(has_room(origin));
    const std::string name = "towline-" + Uuid::random().text();
    const std::string id = origin.group + "/" + name;
    const ProgramEnd end = TRY(run_program(creation(origin, name, request), kProgramTime));
    if (end.exit_code != 0)
        return fail(Code::kIo, "lvcreate of a snapshot of " + origin.full_name() +
                                   " failed: " + end.complaint);
    const auto made = image_of(id);
    if (!made || !*made || !(*made)->active) {
        static_cast<void>(remove(id));
        return fail(Code::kIo, "the snapshot " + id + " did not come up");
    }
    LvmWatch::Subject subject{.name = id, .path = (*made)->path};
    if (origin.is_thin()) {
        subject.pool_path = pool_path(TRY(pool_of(origin)));
        subject.thin_id = (*made)->thin_id;
    } else if (request.store_bytes == 0) {
        subject.step_bytes = thick_bytes(origin, request);
    }
    made_[id] = {.volume = **made, .watch = std::make_unique<LvmWatch>(std::move(subject))};
    return std::vector{image(**made)};
}

// A run asks for its own image on its loop: device-mapper answers at once, LVM waits for its locks.
Result<SnapshotStatus> LvmSnapshots::status(const std::string& id) {
    const auto mine = made_.find(id);
    const auto found = mine != made_.end() ? std::optional(mine->second.volume) : TRY(image_of(id));
    if (!found) return fail(Code::kInvalid, "there is no snapshot " + id + " any more");
    SnapshotStatus status{.image = image(*found),
                          .owner = found->tag_rest(kOwnerTag),
                          .volume = found->group + "/" + found->origin};
    if (!found->active) {
        status.failed = true;
        status.why = "it is not active";
        return status;
    }
    const auto room = TRY(lvm_room(found->path));
    if (!room) return status;
    status.stored_bytes = room->used * room->unit_bytes;
    status.store_bytes = room->all * room->unit_bytes;
    status.failed = room->lost;
    if (!room->lost) return status;
    status.why = "its store is full";
    if (found->is_thin()) {
        const std::string pool = found->group + "/" + found->pool;
        status.why = "its thin pool " + pool + " was nearly full";
        status.remedy = "lvextend " + pool;
    }
    return status;
}

Status LvmSnapshots::remove(const std::string& id) {
    made_.erase(id);
    const auto found = TRY(image_of(id));
    if (!found) return {};
    if (found->active && found->is_thin() && is_lost(*found)) {
        // LVM would take what has an error's table for the last user of its pool, and stop there.
        const auto gone = run_program({"dmsetup", "remove", found->path}, kProgramTime);
        if ((!gone || gone->exit_code != 0) && is_open(*found)) return in_use(id);
    }
    const ProgramEnd end = TRY(run_program({"lvremove", "--quiet", "--yes", id}, kProgramTime));
    if (end.exit_code == 0) return {};
    if (is_open(*found)) return in_use(id);
    return fail(Code::kIo, "lvremove of " + id + " failed: " + end.complaint);
}

Result<std::vector<SnapshotStatus>> LvmSnapshots::list() {
    std::vector<SnapshotStatus> all;
    for (const LogicalVolume& each : TRY(ask_lvs(""))) {
        if (!each.has_tag(kTag)) continue;
        auto one = status(each.full_name());
        if (one)
            all.push_back(std::move(*one));
        else if (one.error().code != Code::kInvalid)
            return std::unexpected(one.error());
    }
    return all;
}

}  // namespace towline
