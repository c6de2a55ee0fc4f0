// SPDX-License-Identifier: Apache-2.0
// Volumes by names that a peer chose.
//
// Two walls: the form of the name is checked first (nothing that climbs, nothing of our own state
// folder), then the kernel resolves it (openat2, RESOLVE_BENEATH), so that a link or a folder
// renamed in the middle of it cannot lead out either. No path is ever put together as text and
// opened. A name is not shown to people before its bytes are known to be harmless.

#include "userspace/engine/root_folder.hpp"

#include <algorithm>
#include <cctype>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace towline {
namespace {

constexpr std::size_t kNameBytesMax = 1024;
constexpr std::size_t kComponentBytesMax = 255;
// The name of our state folder and of all that is put beside it.
constexpr std::string_view kReserved = ".towline";
// The kernel gives up when something is renamed while it walks; a busy folder must not fail a run.
constexpr int kResolveTries = 16;

bool is_control(char byte) {
    const auto value = static_cast<unsigned char>(byte);
    return value < 0x20 || value == 0x7f;
}

// A folder may be set to take upper and lower case for one.
bool is_reserved(std::string_view component) {
    if (component.size() < kReserved.size()) return false;
    return std::equal(kReserved.begin(), kReserved.end(), component.begin(), [](char a, char b) {
        return a == static_cast<char>(std::tolower(static_cast<unsigned char>(b)));
    });
}

Status check_component(std::string_view component) {
    if (component.empty())
        return fail(Code::kInvalid,
                    "a volume name has an empty part; write it without a \"/\" at "
                    "either end or two in a row");
    if (component == "." || component == "..")
        return fail(Code::kInvalid,
                    "a volume name has \".\" or \"..\" in it; write the plain way from the root");
    if (component.size() > kComponentBytesMax)
        return fail(Code::kInvalid, "a part of a volume name has more than 255 bytes; shorten it");
    if (is_reserved(component))
        return fail(Code::kRefused,
                    "names that begin with \".towline\" belong to Towline's own "
                    "state; choose another name");
    return {};
}

std::unexpected<Error> resolve_failed(int error, const std::string& shown,
                                      const std::filesystem::path& root) {
    if (error == EXDEV || error == ELOOP)
        return std::unexpected(Error{
            Code::kRefused, error,
            shown + " leads out of the root folder " + root.string() +
                " by a link; put the image file itself, or a device node (mknod), beneath it"});
    if (error == ENOSYS)
        return fail(Code::kUnsupported,
                    "this kernel cannot open files safely beneath a folder "
                    "(openat2); use Linux 5.6 or newer");
    if (error == ENOENT)
        return fail_errno(error, shown + " is not in the root folder " + root.string() +
                                     "; check the name, or create it first");
    if (error == ENOTDIR)
        return fail_errno(error, "a part of " + shown + " is not a folder; check the name");
    return fail_errno(error, "opening " + shown + " in the root folder " + root.string());
}

// Negative with errno on failure, as the call itself.
Fd open_beneath(int folder, const std::string& name, int flags, mode_t mode = 0) {
    struct open_how how {};
    how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    long fd = -1;
    for (int tries = 0; tries < kResolveTries; ++tries) {
        fd = ::syscall(SYS_openat2, folder, name.c_str(), &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
    }
    return Fd(static_cast<int>(fd));
}

struct SplitName {
    std::string folder;  // "." for the root itself
    std::string file;
};

SplitName split(std::string_view name) {
    const auto slash = name.rfind('/');
    if (slash == std::string_view::npos) return {".", std::string(name)};
    return {std::string(name.substr(0, slash)), std::string(name.substr(slash + 1))};
}

Result<Volume> fill_new(Fd file, const std::string& shown, std::uint64_t size_bytes,
                        const Fd& parent) {
    Volume volume = TRY(Volume::adopt(std::move(file), shown, Access::kReadWrite));
    TRY_STATUS(volume.resize(size_bytes));
    if (::fsync(volume.fd()) != 0) return fail_errno("making the new " + shown + " durable");
    if (::fsync(parent.get()) != 0) return fail_errno("making the folder of " + shown + " durable");
    return volume;
}

}  // namespace

Status check_volume_name(std::string_view name) {
    if (name.empty())
        return fail(Code::kInvalid, "a volume name is empty; name a file beneath the root folder");
    if (name.size() > kNameBytesMax)
        return fail(Code::kInvalid, "a volume name has more than 1024 bytes; shorten it");
    if (std::ranges::any_of(name, is_control))
        return fail(Code::kInvalid, "a volume name has control characters in it; leave them out");
    if (name.front() == '/')
        return fail(Code::kInvalid,
                    "a volume name begins with \"/\"; names are taken from the root folder on");
    for (std::size_t start = 0; start <= name.size();) {
        const std::size_t slash = std::min(name.find('/', start), name.size());
        TRY_STATUS(check_component(name.substr(start, slash - start)));
        start = slash + 1;
    }
    return {};
}

Result<RootFolder> RootFolder::open(const std::filesystem::path& path) {
    RootFolder root;
    root.path_ = path;
    root.fd_ = Fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root.fd_)
        return fail_errno("opening the root folder " + path.string() +
                          "; create it (mkdir), or name another folder");
    return root;
}

Result<Volume> RootFolder::open_volume(std::string_view name, Access access) const {
    TRY_STATUS(check_volume_name(name));
    const std::string shown(name);
    Fd named = open_beneath(fd_.get(), shown, O_PATH);
    if (!named) return resolve_failed(errno, shown, path_);
    return Volume::adopt(std::move(named), shown, access);
}

Result<Fd> RootFolder::open_parent(std::string_view name) const {
    const std::string folder = split(name).folder;
    Fd parent = open_beneath(fd_.get(), folder, O_RDONLY | O_DIRECTORY);
    if (!parent && errno == ENOENT)
        return std::unexpected(Error{Code::kRefused, ENOENT,
                                     "the folder " + folder + " is not in the root folder " +
                                         path_.string() +
                                         "; create it there (mkdir) or choose another name"});
    if (!parent) return resolve_failed(errno, folder, path_);
    return parent;
}

Result<Volume> RootFolder::create(std::string_view name, std::uint64_t size_bytes) const {
    TRY_STATUS(check_volume_name(name));
    const std::string shown(name);
    const std::string file = split(name).file;
    const Fd parent = TRY(open_parent(name));
    Fd made = open_beneath(parent.get(), file, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (!made && errno == EEXIST)
        return std::unexpected(Error{Code::kRefused, EEXIST,
                                     shown + " is already in the root folder " + path_.string() +
                                         "; remove it or choose another name"});
    if (!made) return resolve_failed(errno, shown, path_);

    auto volume = fill_new(std::move(made), shown, size_bytes, parent);
    // Half made, it would stand in the way of the next try.
    if (!volume) ::unlinkat(parent.get(), file.c_str(), 0);
    return volume;
}

Result<Fd> RootFolder::open_folder_of(std::string_view name) const {
    TRY_STATUS(check_volume_name(name));
    return open_parent(name);
}

Result<bool> RootFolder::exists(std::string_view name) const {
    TRY_STATUS(check_volume_name(name));
    const std::string shown(name);
    if (open_beneath(fd_.get(), shown, O_PATH)) return true;
    if (errno == ENOENT) return false;
    return resolve_failed(errno, shown, path_);
}

}  // namespace towline
