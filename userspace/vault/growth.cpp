// SPDX-License-Identifier: Apache-2.0
// Growing is left to the programs that know how: sfdisk the table, and each filesystem's own. They
// get the filesystem's place as a loop device, so that nothing hangs on whether and when the kernel
// and udev take notice of new partitions; the kernel reads the table when all is done. After the
// table was written it is read again by libblkid: the partition must be the one it was, and longer.

#include "userspace/vault/growth.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "io/loop_device.hpp"
#include "io/program.hpp"
#include "io/volume.hpp"

namespace towline {

namespace {

namespace fs = std::filesystem;

// For the programs: hours, as a check of a large filesystem may take, and not for ever.
constexpr Duration kProgramLimit = std::chrono::hours(12);
// What a table may leave free behind the last partition: the other GPT, and alignment.
constexpr std::uint64_t kUnusedBytesMax = std::uint64_t{4} << 20;

Status run(const std::vector<std::string>& words, int exit_code_max = 0,
           const std::string& input = {}) {
    const ProgramEnd end = TRY(run_program(words, kProgramLimit, input));
    if (end.exit_code <= exit_code_max) return {};
    return fail(Code::kIo, words.front() + " ended with " + std::to_string(end.exit_code) + ": " +
                               (end.complaint.empty() ? end.output : end.complaint));
}

Result<VolumeFacts> facts_of(const fs::path& target) {
    const Volume volume = TRY(Volume::open(target, Access::kRead));
    return look_at_volume(volume.size_bytes(),
                          [&](std::uint64_t offset, MutableByteSpan into) -> Status {
                              std::vector<std::byte> bytes(into.size());
                              TRY_STATUS(volume.read_at(offset, bytes));
                              std::ranges::copy(bytes, into.begin());
                              return {};
                          });
}

// --- the partition ------------------------------------------------------------------------------

Status grow_table(const fs::path& target, const GrowthPlan& plan) {
    const std::string path = target.string();
    // The backup of a GPT lies at the device's end.
    if (plan.table == "gpt")
        TRY_STATUS(run({"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--relocate",
                        "gpt-bak-std", path}));
    return run({"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never",
                "--partno", std::to_string(plan.partition), path},
               0, ", +\n");
}

Result<std::uint64_t> grown_bytes(const fs::path& target, const GrowthPlan& plan) {
    const VolumeFacts facts = TRY(facts_of(target));
    const auto found = std::ranges::find(facts.partitions, plan.partition, &PartitionFacts::number);
    const bool good = facts.table == plan.table && found != facts.partitions.end() &&
                      found->start_bytes == plan.start_bytes && found->bytes > plan.bytes &&
                      found->end_bytes() + kUnusedBytesMax >= facts.bytes &&
                      found->filesystem.uuid == plan.filesystem_uuid;
    if (good) return found->bytes;
    return fail(Code::kIo, "sfdisk did not make the last partition of " + target.string() +
                               " what it was to be; look at it with: sfdisk --list");
}

// --- the filesystem -----------------------------------------------------------------------------

// A mount that nobody else sees, and that goes with us.
class PrivateMount {
  public:
    static Result<PrivateMount> make(const fs::path& device, const char* type, const char* options);
    ~PrivateMount() {
        if (folder_.empty()) return;
        (void)::umount2(folder_.c_str(), 0);
        (void)::rmdir(folder_.c_str());
    }
    PrivateMount(PrivateMount&& other) noexcept : folder_(std::exchange(other.folder_, {})) {}
    PrivateMount& operator=(PrivateMount&&) = delete;

    const std::string& folder() const { return folder_; }
    Status unmount() {
        if (::umount2(folder_.c_str(), 0) != 0) return fail_errno("unmounting " + folder_);
        (void)::rmdir(folder_.c_str());
        folder_.clear();
        return {};
    }

  private:
    explicit PrivateMount(std::string folder) : folder_(std::move(folder)) {}
    std::string folder_;
};

Result<PrivateMount> PrivateMount::make(const fs::path& device, const char* type,
                                        const char* options) {
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
        return fail_errno("making a mount namespace");
    std::string folder = (fs::temp_directory_path() / "towline-grow.XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr) return fail_errno("making a folder to mount in");
    PrivateMount mount(folder);
    if (::mount(device.c_str(), folder.c_str(), type, MS_NODEV | MS_NOSUID | MS_NOEXEC, options) !=
        0)
        return fail_errno("mounting the restored filesystem (" + std::string(type) + ")");
    return mount;
}

// ext4 is not grown before it was checked, and its journal replayed. 1: something was put right.
Status grow_ext(const fs::path& device) {
    TRY_STATUS(run({"e2fsck", "-f", "-p", device.string()}, 1));
    return run({"resize2fs", device.string()});
}

Status grow_filesystem(const fs::path& device, GrownKind kind) {
    if (kind == GrownKind::kExt) return grow_ext(device);
    const bool xfs = kind == GrownKind::kXfs;
    // The one that was replicated may be mounted here, with the same uuid.
    auto mount = TRY(PrivateMount::make(device, xfs ? "xfs" : "btrfs", xfs ? "nouuid" : ""));
    if (xfs) {
        TRY_STATUS(run({"xfs_growfs", mount.folder()}));
    } else {
        TRY_STATUS(run({"btrfs", "filesystem", "resize", "max", mount.folder()}));
    }
    return mount.unmount();
}

Status check_btrfs(const GrowthPlan& plan, const ReadVolume& read) {
    static constexpr std::uint64_t kDeviceCountAt = 0x10000 + 0x88;
    std::array<std::byte, 8> count{};
    TRY_STATUS(read(plan.start_bytes + kDeviceCountAt, count));
    if (load_le<std::uint64_t>(count.data()) != 1) {
        return fail(Code::kRefused,
                    "the btrfs on the volume lies on several devices; restore all of them without "
                    "--grow, then grow it (btrfs filesystem resize)");
    }
    std::error_code error;
    if (!fs::exists("/sys/fs/btrfs/" + plan.filesystem_uuid, error)) return {};
    return fail(Code::kRefused,
                "the btrfs " + plan.filesystem_uuid +
                    " is mounted on this host, and btrfs would take the restored one for it; "
                    "unmount it, or restore without --grow and grow it on another host");
}

Result<Growth> grow_all(const fs::path& target, const GrowthPlan& plan) {
    Growth growth{.filesystem = plan.filesystem,
                  .partition = plan.partition,
                  .bytes_before = plan.bytes,
                  .bytes_after = 0};
    if (!plan.table.empty()) {
        TRY_STATUS(grow_table(target, plan));
        growth.bytes_after = TRY(grown_bytes(target, plan));
    }
    const Fd file(::open(target.c_str(), O_RDWR | O_CLOEXEC));
    if (!file) return fail_errno("opening " + target.string());
    if (plan.table.empty()) {
        const off_t end = ::lseek(file.get(), 0, SEEK_END);
        if (end < 0) return fail_errno("looking at " + target.string());
        growth.bytes_after = static_cast<std::uint64_t>(end);
    }
    {
        const LoopDevice loop =
            TRY(LoopDevice::attach(file.get(), plan.start_bytes, growth.bytes_after));
        TRY_STATUS(grow_filesystem(loop.path(), plan.kind));
        TRY_STATUS(loop.flush());
    }
    if (::fsync(file.get()) != 0) return fail_errno("flushing " + target.string());
    // Of a device; where the kernel knows no partitions of it (a file, most loops) it says no.
    (void)::ioctl(file.get(), BLKRRPART);
    return growth;
}

}  // namespace

Status check_growth(const GrowthPlan& plan, const ReadVolume& read) {
    for (const GrowthPlan::Program& each : plan.programs()) {
        auto found = find_program(each.name);
        if (found) continue;
        found.error().context += ", and --grow needs it; apt-get install " + each.package;
        return std::unexpected(found.error());
    }
    if (::access("/dev/loop-control", R_OK | W_OK) != 0)
        return fail(Code::kUnsupported,
                    "--grow needs a loop device, and /dev/loop-control cannot "
                    "be used; as root, after: modprobe loop");
    return plan.kind == GrownKind::kBtrfs ? check_btrfs(plan, read) : Status();
}

Result<Growth> grow(const fs::path& target, const GrowthPlan& plan) {
    auto grown = grow_all(target, plan);
    if (grown) return grown;
    grown.error().context =
        "the point is restored, and was verified; growing it failed: " + grown.error().context;
    return grown;
}

}  // namespace towline
