// SPDX-License-Identifier: Apache-2.0
// Looks at a job's two sides as they are now. Nothing is made, attached or held, and nothing but a
// nameless file written, that measures the target's disk: what was seen may be over when the run
// begins, and the engine looks again.

#include <fcntl.h>
#include <linux/capability.h>
#include <set>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <unistd.h>

#include "io/block_device.hpp"
#include "transport/socket.hpp"
#include "userspace/control/preflight.hpp"
#include "userspace/control/volume_speed.hpp"
#include "userspace/engine/disk_sample.hpp"
#include "userspace/engine/footing.hpp"
#include "userspace/engine/live_moment.hpp"
#include "userspace/engine/live_use.hpp"
#include "userspace/engine/system_use.hpp"
#include "userspace/engine/target_safety.hpp"
#include "userspace/vault/vault_name.hpp"

namespace towline {

namespace {

namespace fs = std::filesystem;

constexpr Duration kConnectTime = std::chrono::seconds(5);

std::string text_of(const Status& status) {
    return status ? "" : status.error().text();
}

// Whole disks that bytes of the volume may lie on.
void add_disks(const SystemUse& system, dev_t number, std::set<dev_t>& disks) {
    for (const std::string& element : footing_of_device(number).elements) {
        const auto device = element_device(element);
        if (!device || disk_of(*device) || !slaves_of(*device).empty()) continue;
        const auto backing = loop_backing(*device);
        const Fd file(backing ? ::open(backing->path.c_str(), O_PATH | O_CLOEXEC) : -1);
        if (!backing || !file) {
            disks.insert(*device);
            continue;
        }
        for (const dev_t under : system.devices_under(file.get()))
            if (under != number) add_disks(system, under, disks);
    }
}

void add_disks_of(const Volume& volume, std::set<dev_t>& disks) {
    const auto system = SystemUse::now();
    if (!system) return;
    if (volume.kind() == VolumeKind::kBlockDevice) {
        add_disks(*system, volume.status().st_rdev, disks);
    } else {
        for (const dev_t under : system->devices_under(volume.fd()))
            add_disks(*system, under, disks);
    }
}

void look_at_moment(const std::vector<Volume>& volumes, const JobSpec& spec,
                    const RunPlaces& places, PreflightFacts& facts) {
    std::vector<const Volume*> all;
    for (const Volume& each : volumes) {
        all.push_back(&each);
        const auto live = live_use(each);
        if (live && *live && !facts.live) facts.live = *live;
    }
    const auto wish = moment_wish(spec.moment.tracker, spec.moment.snapshot);
    const bool vault = spec.target.starts_with("vault:");
    const auto choice = LiveMoment::foresee(
        all, {.wish = wish.value_or(MomentWish{}),
              .places = {.run_folder = places.run_folder},
              .why_no_rounds = vault ? "a vault would keep each round as a point" : ""});
    if (!choice) {
        facts.no_moment = choice.error().text();
        return;
    }
    facts.moment_notes = choice->notes;
    if (choice->tracker) facts.tracker = tracker_kind_name(*choice->tracker);
    if (choice->snapshot) facts.snapshot = snapshot_kind_name(*choice->snapshot);
    if (choice->converge) facts.snapshot = "converge";
}

std::optional<std::uint64_t> free_at(const fs::path& folder) {
    struct statvfs status {};
    if (::statvfs(folder.c_str(), &status) != 0) return std::nullopt;
    return std::uint64_t{status.f_bavail} * status.f_frsize;
}

void look_at_vault(const VaultName& name, const std::vector<Volume>& volumes, const KeySource& keys,
                   PreflightFacts& facts) {
    facts.target = PreflightFacts::Target::kVault;
    if (const auto vault = Vault::open(name.folder, keys); !vault) {
        facts.no_target = vault.error().text();
        return;
    }
    facts.free_bytes = free_at(name.folder);
    for (const Volume& each : volumes) {
        const auto stored = is_stored_on(name.folder, each);
        if (!stored || !*stored) continue;
        facts.target_is_source = "the vault " + name.folder.string() +
                                 " lies on the volume that it is to hold, and would grow by its "
                                 "own changes, and be lost with it; put it on another device";
    }
}

void look_at_path(const fs::path& path, const Volume* volume, PreflightFacts& facts) {
    std::error_code error;
    if (!fs::exists(path, error)) {
        facts.target_new = true;
        facts.free_bytes = free_at(path.parent_path());
        if (::access(path.parent_path().c_str(), W_OK | X_OK) != 0)
            facts.no_target = "the target's folder " + path.parent_path().string() +
                              " is not there, or may not be written to: make it, or choose another";
        if (volume == nullptr) return;
        const auto stored = is_stored_on(path.parent_path(), *volume);
        if (stored && *stored)
            facts.target_is_source = "the target " + path.string() +
                                     " would lie on a filesystem of the volume that it is to hold; "
                                     "put it on another device";
        return;
    }
    const auto target = Volume::open(path, Access::kRead);
    if (!target) {
        facts.no_target = target.error().text();
        return;
    }
    facts.no_target = text_of(refuse_if_in_use(*target));
    if (volume == nullptr) return;
    facts.target_is_source = text_of(refuse_if_same(*volume, *target));
    const bool device = target->kind() == VolumeKind::kBlockDevice;
    if (device && target->size_bytes() < volume->size_bytes())
        facts.no_target = "the target " + path.string() + " has " +
                          std::to_string(target->size_bytes()) + " bytes, and the volume " +
                          std::to_string(volume->size_bytes()) + "; choose a larger one";
    if (device) return;
    constexpr std::uint64_t kBlockBytes = 512;  // of st_blocks
    if (const auto room = free_at(path.parent_path()))
        facts.free_bytes =
            *room + static_cast<std::uint64_t>(target->status().st_blocks) * kBlockBytes;
}

void note_disk(Result<DiskSample> sample, PreflightFacts& facts) {
    if (sample) {
        facts.target_disk = *sample;
    } else {
        facts.no_target_disk = sample.error().text();
    }
}

void look_at_remote(const RemoteTarget& remote, Depth depth, PreflightFacts& facts) {
    facts.target = PreflightFacts::Target::kRemote;
    if (depth == Depth::kQuick) return;  // a target that is away for now is no reason to give up
    const Instant began = monotonic_now();
    const auto connection = connect_to(remote.address, kConnectTime);
    if (!connection) {
        facts.no_target = connection.error().text();
        return;
    }
    facts.connect_seconds = seconds(monotonic_now() - began);
    const auto link = probe_link(connection->get());
    if (link) {
        facts.link = *link;
    } else {
        facts.no_link = link.error().text();
    }
    const auto another = connect_to(remote.address, kConnectTime);
    note_disk(another ? probe_disk(another->get(), remote.name) : std::unexpected(another.error()),
              facts);
}

// A target on this host, that may be used. A device is its user's, and is only read.
void measure_target(const JobSpec& spec, PreflightFacts& facts) {
    if (!facts.no_target.empty() || !facts.target_is_source.empty()) return;
    if (facts.target == PreflightFacts::Target::kRemote) return;
    if (facts.target == PreflightFacts::Target::kVault) {
        const auto vault = VaultName::parse(spec.target);
        if (vault && *vault) note_disk(sample_folder((*vault)->folder), facts);
        return;
    }
    const fs::path path = spec.target;
    if (!facts.target_new) {
        const auto target = Volume::open(path, Access::kRead);
        if (target && target->kind() == VolumeKind::kBlockDevice)
            return note_disk(sample_reading(*target), facts);
    }
    note_disk(sample_folder(path.parent_path()), facts);
}

void look_at_target(const JobSpec& spec, const std::vector<Volume>& volumes, Depth depth,
                    const KeySource& keys, PreflightFacts& facts) {
    if (const auto vault = VaultName::parse(spec.target); vault && *vault)
        return look_at_vault(**vault, volumes, keys, facts);
    if (const auto remote = RemoteTarget::parse(spec.target); remote && *remote)
        return look_at_remote(**remote, depth, facts);
    look_at_path(spec.target, volumes.empty() ? nullptr : &volumes.front(), facts);
}

bool may_lock_all_memory() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[2]{};
    if (::syscall(SYS_capget, &header, data) != 0) return false;
    return (data[0].effective & (1U << CAP_IPC_LOCK)) != 0;
}

void look_at_host(PreflightFacts& facts) {
    rlimit limit{};
    const bool limited =
        ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    if (limited && !may_lock_all_memory()) facts.memlock_bytes = limit.rlim_cur;
    timex clock{};
    facts.clock_synchronised = ::adjtimex(&clock) != TIME_ERROR;
}

// Where a replica on this host has its runs staged (docs/format-staged.md).
void look_at_journal(const JobSpec& spec, const Volume& volume, const RunPlaces& places,
                     PreflightFacts& facts) {
    if (spec.direct || !spec.target.starts_with('/') || !facts.target_is_source.empty()) return;
    std::error_code error;
    fs::path folder = spec.journal;
    if (folder.empty())
        folder = fs::is_block_file(spec.target, error) ? places.state_folder
                                                       : fs::path(spec.target).parent_path();
    const auto stored = is_stored_on(folder, volume);
    if (stored && *stored) facts.journal_on_volume = folder.string();
}

std::vector<Volume> open_volumes(const JobSpec& spec, PreflightFacts& facts) {
    std::vector<Volume> volumes;
    volumes.reserve(spec.volumes.size());
    for (const std::string& path : spec.volumes) {
        auto volume = Volume::open(path, Access::kRead);
        if (!volume || volume->size_bytes() == 0) {
            facts.no_volume =
                volume ? volume->name() + " is empty (0 bytes)" : volume.error().text();
            return {};
        }
        volumes.push_back(std::move(*volume));
    }
    return volumes;
}

void look_at_volume(const Volume& volume, PreflightFacts& facts) {
    facts.volume_bytes += volume.size_bytes();
    const auto ranges = volume.data_ranges();
    if (!ranges) {
        facts.data_bytes += volume.size_bytes();
        return;
    }
    for (const DataRange& each : *ranges)
        facts.data_bytes += each.length_bytes;
}

}  // namespace

PreflightFacts look_before(const JobSpec& spec, const RunPlaces& places, Depth depth) {
    PreflightFacts facts;
    look_at_host(facts);
    const std::vector<Volume> volumes = open_volumes(spec, facts);
    if (!facts.no_volume.empty()) {
        look_at_target(spec, {}, depth, places.keys, facts);
        return facts;
    }
    const WriteMeter meter(volumes);
    std::set<dev_t> disks;
    for (const Volume& each : volumes) {
        look_at_volume(each, facts);
        add_disks_of(each, disks);
        const auto stored = is_stored_on(places.state_folder, each);
        facts.state_on_volume |= stored && *stored;
    }
    facts.disk_count = disks.size();
    look_at_moment(volumes, spec, places, facts);
    look_at_target(spec, volumes, depth, places.keys, facts);
    look_at_journal(spec, volumes.front(), places, facts);
    if (depth == Depth::kQuick) return facts;
    facts.read_bytes_per_second = read_speed(volumes);
    measure_target(spec, facts);
    facts.written_bytes_per_second = meter.bytes_per_second();
    return facts;
}

}  // namespace towline
