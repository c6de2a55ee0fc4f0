// SPDX-License-Identifier: Apache-2.0
// Small files that survive a crash wholly old or wholly new. The order is the point: contents
// durable under another name, then the rename, then the folder that holds the name. A temporary
// file that a crash leaves behind is written over by the next writer and read by nobody. One writer
// a path at a time: the owner of the folder holds lock_file().

#include "io/durable_file.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <tuple>

namespace towline {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) {
    return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

int open_retrying(const fs::path& path, int flags, mode_t mode = 0) {
    int fd = -1;
    do {
        fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

Status sync_folder(const fs::path& folder) {
    const Fd fd(open_retrying(folder, O_RDONLY | O_DIRECTORY));
    if (!fd) return fail_errno("cannot open the folder " + folder.string());
    if (::fsync(fd.get()) != 0) return fail_errno("cannot sync the folder " + folder.string());
    return {};
}

Status write_all(const Fd& fd, ByteSpan contents, const fs::path& path) {
    while (!contents.empty()) {
        const ssize_t written = ::write(fd.get(), contents.data(), contents.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return fail_errno("cannot write " + path.string());
        contents = contents.subspan(static_cast<std::size_t>(written));
    }
    return {};
}

Status write_durably(const fs::path& path, ByteSpan contents) {
    // Never through a link that somebody put there.
    const Fd fd(open_retrying(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
    if (!fd) return fail_errno("cannot create " + path.string());
    TRY_STATUS(write_all(fd, contents, path));
    if (::fsync(fd.get()) != 0) return fail_errno("cannot sync " + path.string());
    return {};
}

}  // namespace

Status replace_file(const fs::path& path, ByteSpan contents) {
    const fs::path beside = path.string() + ".tmp";
    if (Status written = write_durably(beside, contents); !written) {
        ::unlink(beside.c_str());  // best effort: a full disk should not keep the failed half
        return written;
    }
    if (::rename(beside.c_str(), path.c_str()) != 0) {
        return fail_errno("cannot rename " + beside.string() + " to " + path.string());
    }
    return sync_folder(folder_of(path));
}

Result<std::optional<std::vector<std::byte>>> read_file(const fs::path& path,
                                                        std::size_t bytes_max) {
    const Fd fd(open_retrying(path, O_RDONLY));
    if (!fd && errno == ENOENT) return std::optional<std::vector<std::byte>>();
    if (!fd) return fail_errno("cannot open " + path.string());
    std::vector<std::byte> contents;
    std::size_t filled = 0;
    while (true) {
        // Grown as it is read: the size that a file claims is nobody's promise.
        if (filled == contents.size()) contents.resize(std::max<std::size_t>(4096, filled * 2));
        const ssize_t got = ::read(fd.get(), contents.data() + filled, contents.size() - filled);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno("cannot read " + path.string());
        if (got == 0) break;
        filled += static_cast<std::size_t>(got);
        if (filled > bytes_max) {
            return fail(Code::kInvalid, path.string() + " is longer than the " +
                                            std::to_string(bytes_max) + " bytes it may have");
        }
    }
    contents.resize(filled);
    return std::optional(std::move(contents));
}

Status make_folder(const fs::path& path) {
    const fs::path folder = path.has_filename() ? path : path.parent_path();
    const fs::path parent = folder_of(folder);
    std::error_code error;
    if (fs::is_directory(folder, error)) {
        // Whoever made it may have died before that was durable. The parent need not be ours to
        // open.
        std::ignore = sync_folder(parent);
        return {};
    }
    if (parent != folder) TRY_STATUS(make_folder(parent));
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) {
        return fail_errno("cannot create the folder " + folder.string());
    }
    if (!fs::is_directory(folder, error)) {
        return fail_errno(ENOTDIR, "cannot create the folder " + folder.string());
    }
    return sync_folder(parent);
}

// --- locks --------------------------------------------------------------------------------------

Result<Fd> lock_file(const fs::path& path, const std::string& what,
                     std::chrono::nanoseconds patience) {
    constexpr std::chrono::milliseconds kPause{20};
    // The file stays when the lock goes: removing it would let two hold "the" lock.
    Fd fd(open_retrying(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    if (!fd) return fail_errno("cannot open the lock " + path.string());
    while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) return fail_errno("cannot lock " + path.string());
        if (patience > patience.zero()) {
            std::this_thread::sleep_for(kPause);
            patience -= kPause;
            continue;
        }
        return fail(Code::kBusy, what + " is in use by another process (" + path.string() + ")");
    }
    return fd;
}

}  // namespace towline
