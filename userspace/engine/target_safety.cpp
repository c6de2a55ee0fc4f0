// SPDX-License-Identifier: Apache-2.0
// The last look before anything is written to a target: is it in use, and is it the source?
//
// Names prove nothing (links, by-id paths, loop devices), so everything is compared by device and
// inode number. In doubt it refuses: a refusal costs a person a minute, a wrong target their data.
// It is a look, not a lock; between it and the first write only O_EXCL holds a block device.

#include "userspace/engine/target_safety.hpp"

#include <fcntl.h>
#include <set>
#include <sys/stat.h>

#include "io/block_device.hpp"
#include "userspace/engine/system_use.hpp"

namespace towline {
namespace {

std::unexpected<Error> refuse(const std::string& subject, const Use& use) {
    return fail(Code::kRefused,
                subject + " is " + use.how + "; " + use.remedy + " or choose another target");
}

// A part or a whole of the target is named as such, or its user looks for the cause elsewhere.
std::string subject_of(const Volume& target, dev_t device) {
    if (target.kind() == VolumeKind::kBlockDevice && target.status().st_rdev == device)
        return target.name();
    return "/dev/" + block_name(device) + ", which shares its bytes with " + target.name() + ",";
}

// `above` is the loop device of the target's own that stands on it, or 0.
Status refuse_used_device(const SystemUse& system, const Volume& target, dev_t device,
                          dev_t above) {
    const std::string subject = subject_of(target, device);
    if (const auto use = system.mount_of_device(device)) return refuse(subject, *use);
    if (const auto use = system.swap_on_device(device)) return refuse(subject, *use);
    if (const auto use = system.loop_over_device(device, above)) return refuse(subject, *use);
    return {};
}

Status refuse_used_file(const SystemUse& system, const Volume& target) {
    const dev_t filesystem = target.status().st_dev;
    const ino_t inode = target.status().st_ino;
    if (const auto use = system.loop_over_file(filesystem, inode))
        return refuse(target.name(), *use);
    if (const auto use = system.mount_of_file(filesystem, inode))
        return refuse(target.name(), *use);
    if (const auto use = system.swap_on_file(filesystem, inode)) return refuse(target.name(), *use);
    return {};
}

// A file below a loop device of the target's own.
Status refuse_used_backing(const SystemUse& system, const Volume& target, dev_t loop) {
    const auto backing = loop_backing(loop);
    if (!backing || !backing->known || backing->inode == 0) return {};
    const std::string subject = backing->path + ", which is behind " + target.name() + ",";
    if (const auto use = system.loop_over_file(backing->device, backing->inode, loop))
        return refuse(subject, *use);
    if (const auto use = system.mount_of_file(backing->device, backing->inode))
        return refuse(subject, *use);
    if (const auto use = system.swap_on_file(backing->device, backing->inode))
        return refuse(subject, *use);
    return {};
}

// Whether an element is reached by loops and partitions alone. Below dm and md its other holders
// are what is to be expected: the target itself, and its siblings.
bool plainly_below(const Footing& footing, std::size_t index) {
    for (std::size_t i = index; footing.places[i].above != i; i = footing.places[i].above) {
        const auto above = element_device(footing.elements[footing.places[i].above]);
        if (above && !slaves_of(*above).empty()) return false;
    }
    return true;
}

Status refuse_used_footing(const SystemUse& system, const Volume& target, const Footing& footing) {
    for (std::size_t i = 0; i < footing.elements.size(); ++i) {
        const auto device = element_device(footing.elements[i]);
        if (!device) continue;
        const std::size_t above_index = footing.places[i].above;
        const dev_t above = element_device(footing.elements[above_index]).value_or(0);
        TRY_STATUS(refuse_used_device(system, target, *device, above_index == i ? 0 : above));
        TRY_STATUS(refuse_used_backing(system, target, *device));
        if (!plainly_below(footing, i)) continue;
        if (const auto use = system.holder_of_device(*device))
            return refuse(subject_of(target, *device), *use);
    }
    return {};
}

Status refuse_used_partitions(const SystemUse& system, const Volume& target, dev_t disk) {
    for (const dev_t partition : partitions_of(disk)) {
        TRY_STATUS(refuse_used_device(system, target, partition, 0));
        if (const auto use = system.holder_of_device(partition))
            return refuse(subject_of(target, partition), *use);
    }
    return {};
}

// The backing file of a loop device, if its path still leads to it.
Fd open_backing(const LoopBacking& backing) {
    Fd fd(::open(backing.path.c_str(), O_PATH | O_CLOEXEC));
    struct stat status {};
    const bool right = fd && ::fstat(fd.get(), &status) == 0 && status.st_dev == backing.device &&
                       status.st_ino == backing.inode;
    if (!right) fd.reset();
    return fd;
}

// The devices below the filesystem of each file that the footing ends on.
std::vector<dev_t> filesystems_below(const SystemUse& system, const Footing& footing) {
    std::vector<dev_t> devices;
    for (const std::string& element : footing.elements) {
        const auto device = element_device(element);
        const auto backing = device ? loop_backing(*device) : std::nullopt;
        if (!backing || !backing->known || backing->inode == 0) continue;
        const Fd file = open_backing(*backing);
        const auto under = file ? system.devices_under(file.get()) : std::vector{backing->device};
        devices.insert(devices.end(), under.begin(), under.end());
    }
    return devices;
}

// Whether bytes written to these devices end on devices or files that `covers` knows: a filesystem
// may lie on a loop device, whose file lies on a filesystem, and so on down.
template <typename Covers>
bool lead_to(const SystemUse& system, std::vector<dev_t> pending, Covers covers) {
    std::set<dev_t> seen;
    while (!pending.empty()) {
        const dev_t device = pending.back();
        pending.pop_back();
        if (!seen.insert(device).second) continue;
        const Footing below = footing_of_device(device);
        if (covers(below)) return true;
        const std::vector<dev_t> further = filesystems_below(system, below);
        pending.insert(pending.end(), further.begin(), further.end());
    }
    return false;
}

template <typename Covers>
bool is_stored_on(const SystemUse& system, const Volume& volume, Covers covers) {
    if (volume.kind() == VolumeKind::kImageFile)
        return lead_to(system, system.devices_under(volume.fd()), covers);
    const Footing footing = footing_of_device(volume.status().st_rdev);
    return lead_to(system, filesystems_below(system, footing), covers);
}

Status refuse_unknown(const Volume& volume, const Footing& footing) {
    if (footing.complete) return {};
    return fail(Code::kRefused, "what " + volume.name() +
                                    " stands on cannot be told (a loop device below it does not "
                                    "name its file); run as root, or name that file instead");
}

}  // namespace

Status refuse_if_in_use(const Volume& target) {
    const SystemUse system = TRY(SystemUse::now());
    if (target.kind() == VolumeKind::kImageFile) return refuse_used_file(system, target);
    const Footing footing = TRY(footing_of(target));
    TRY_STATUS(refuse_unknown(target, footing));
    TRY_STATUS(refuse_used_footing(system, target, footing));
    return refuse_used_partitions(system, target, target.status().st_rdev);
}

Status refuse_if_same(const Volume& source, const Volume& target) {
    const Footing from = TRY(footing_of(source));
    const Footing to = TRY(footing_of(target));
    TRY_STATUS(refuse_unknown(source, from));
    TRY_STATUS(refuse_unknown(target, to));
    const std::string shared = overlap(from, to);
    if (!shared.empty())
        return fail(Code::kRefused, "the target " + target.name() + " holds bytes of the source " +
                                        source.name() + " (both reach " + shared +
                                        "); choose a target on another device or in another file");
    const SystemUse system = TRY(SystemUse::now());
    const auto covered_by = [](const Footing& footing) {
        return [&footing](const Footing& below) { return !overlap(below, footing).empty(); };
    };
    if (is_stored_on(system, target, covered_by(from)))
        return fail(Code::kRefused, "the target " + target.name() +
                                        " is stored on a filesystem of the source " +
                                        source.name() +
                                        ", which would change while it is read; put the target on "
                                        "another device");
    if (is_stored_on(system, source, covered_by(to)))
        return fail(Code::kRefused, "the source " + source.name() +
                                        " is stored on a filesystem of the target " +
                                        target.name() +
                                        ", which would be overwritten under it; choose another "
                                        "target");
    return {};
}

Status refuse_if_same(const StandingKey& key, const Standing& source, const Volume& target) {
    if (!source.complete)
        return fail(Code::kRefused,
                    "what the source stands on cannot be told (a loop device below it does not "
                    "name its file), and it is on the target's host; run towline sync as root, or "
                    "name that file instead");
    const Footing from = told_footing(source);
    const Footing to = TRY(footing_of(target));
    TRY_STATUS(refuse_unknown(target, to));
    const auto covered = [&](const Footing& mine) {
        return !overlap(key.hidden(mine), from).empty();
    };
    if (covered(to))
        return fail(Code::kRefused,
                    "the target " + target.name() +
                        " holds bytes of the source, which is on the same host; choose a target on "
                        "another device or in another file");
    if (is_stored_on(TRY(SystemUse::now()), target, covered))
        return fail(Code::kRefused, "the target " + target.name() +
                                        " is stored on a filesystem of the source, which would "
                                        "change while it is read; put the target on another "
                                        "device");
    return {};
}

Status refuse_if_stored_on(const Uuid& source, const Standing& standing,
                           const std::filesystem::path& folder) {
    const auto key = StandingKey::of_this_host(source);
    if (!key || !key->is_host_of(standing)) return {};
    const Fd fd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return fail_errno("cannot look at the folder " + folder.string());
    const SystemUse system = TRY(SystemUse::now());
    const Footing from = told_footing(standing);
    const bool stored = lead_to(system, system.devices_under(fd.get()), [&](const Footing& below) {
        return !overlap(key->hidden(below), from).empty();
    });
    if (!stored) return {};
    return fail(Code::kRefused, folder.string() +
                                    " is stored on the source, and every run would write what the "
                                    "next one has to bring; put it on another device");
}

Result<bool> is_stored_on(const std::filesystem::path& folder, const Volume& volume) {
    const Fd fd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return fail_errno("cannot look at the folder " + folder.string());
    const SystemUse system = TRY(SystemUse::now());
    const Footing on = TRY(footing_of(volume));
    return lead_to(system, system.devices_under(fd.get()),
                   [&](const Footing& below) { return !overlap(below, on).empty(); });
}

}  // namespace towline
