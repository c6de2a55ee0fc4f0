// SPDX-License-Identifier: Apache-2.0
// The system's own calls. Every path is resolved by the kernel beneath the folder (openat2) and
// through no link, so that a name out of a damaged or hostile vault leads nowhere else. New files
// have no name until they are whole (O_TMPFILE); where a filesystem cannot do that they have one in
// partial/. Contents go past the page cache where that is possible: a backup should not push out
// what the host works with.

#include <algorithm>
#include <atomic>
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "io/align.hpp"
#include "io/buffer_pool.hpp"
#include "io/fd.hpp"
#include "io/uuid.hpp"
#include "userspace/vault/file_layer.hpp"

namespace towline {

namespace {

constexpr const char* kPartial = "partial";
constexpr int kResolveTries = 16;
constexpr std::size_t kAlignment = BufferPool::kAlignmentBytes;

// Negative with errno on failure, as the call itself.
Fd open_beneath(int folder, const std::string& path, int flags, mode_t mode = 0) {
    struct open_how how {};
    how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
    how.mode = mode;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    long fd = -1;
    for (int tries = 0; tries < kResolveTries; ++tries) {
        fd = ::syscall(SYS_openat2, folder, path.c_str(), &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
    }
    return Fd(static_cast<int>(fd));
}

std::pair<std::string, std::string> split(const std::string& path) {
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return {".", path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

std::string without_slash(std::string folder) {
    while (!folder.empty() && folder.back() == '/')
        folder.pop_back();
    return folder.empty() ? "." : folder;
}

Status write_all(int fd, ByteSpan bytes, std::uint64_t at) {
    while (!bytes.empty()) {
        const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return fail_errno("cannot write to the vault");
        if (written == 0) return fail_errno(ENOSPC, "cannot write to the vault");
        bytes = bytes.subspan(static_cast<std::size_t>(written));
        at += static_cast<std::uint64_t>(written);
    }
    return {};
}

class SystemFile final : public LayerFile {
  public:
    SystemFile(int root, Fd fd, std::string partial)
        : root_(root), fd_(std::move(fd)), partial_(std::move(partial)) {
        // Shows a sweep that somebody is at it.
        if (!partial_.empty()) ::flock(fd_.get(), LOCK_EX | LOCK_NB);
        const int flags = ::fcntl(fd_.get(), F_GETFL);
        direct_ = ::fcntl(fd_.get(), F_SETFL, flags | O_DIRECT) == 0;
    }
    ~SystemFile() override {
        if (!partial_.empty()) ::unlinkat(root_, partial_.c_str(), 0);
    }

    Status write(std::uint64_t offset_bytes, ByteSpan bytes) override {
        const std::size_t whole = align_down<std::size_t>(bytes.size(), kAlignment);
        const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % kAlignment == 0 &&
                             offset_bytes % kAlignment == 0;
        if (!direct_ || (aligned && whole == bytes.size()))
            return write_all(fd_.get(), bytes, offset_bytes);
        if (aligned && whole > 0)
            TRY_STATUS(write_all(fd_.get(), bytes.first(whole), offset_bytes));
        const std::size_t done = aligned ? whole : 0;
        return write_buffered(offset_bytes + done, bytes.subspan(done));
    }

    Status finish(std::uint64_t length_bytes) override {
        struct stat status {};
        if (::fstat(fd_.get(), &status) < 0) return fail_errno("cannot look at a new object");
        if (static_cast<std::uint64_t>(status.st_size) != length_bytes &&
            ::ftruncate(fd_.get(), static_cast<off_t>(length_bytes)) < 0) {
            return fail_errno("cannot give an object of the vault its length");
        }
        if (::fsync(fd_.get()) < 0) return fail_errno("cannot flush an object of the vault");
        return {};
    }

    Result<bool> publish(const std::string& path) override {
        const auto [folder, file] = split(path);
        const Fd parent = open_beneath(root_, folder, O_PATH | O_DIRECTORY);
        if (!parent) return fail_errno("cannot open the vault's folder " + folder);
        const std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
        if (::linkat(AT_FDCWD, self.c_str(), parent.get(), file.c_str(), AT_SYMLINK_FOLLOW) == 0)
            return true;
        if (errno == EEXIST) return false;
        return fail_errno("cannot give the vault's object " + path + " its name");
    }

  private:
    // What is left of the last 4096 bytes, or lies anywhere in memory. Through the page cache, that
    // finish() flushes.
    Status write_buffered(std::uint64_t offset_bytes, ByteSpan bytes) const {
        std::string self = "/proc/self/fd/" + std::to_string(fd_.get());
        const Fd buffered(::open(self.c_str(), O_WRONLY | O_CLOEXEC));
        if (!buffered) return fail_errno("cannot write to the vault");
        return write_all(buffered.get(), bytes, offset_bytes);
    }

    int root_;
    Fd fd_;
    std::string partial_;  // its name until it has one; empty: none
    bool direct_ = false;
};

class SystemFileLayer final : public FileLayer {
  public:
    explicit SystemFileLayer(Fd root) : root_(std::move(root)) {}

    Result<std::unique_ptr<LayerFile>> create() override {
        if (temporary_works_) {
            Fd fd = open_beneath(root_.get(), ".", O_RDWR | O_TMPFILE, 0600);
            if (fd) return std::make_unique<SystemFile>(root_.get(), std::move(fd), "");
            if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
                return fail_errno("cannot create an object in the vault");
            temporary_works_ = false;
        }
        TRY_STATUS(make_folder(kPartial));
        const std::string path = std::string(kPartial) + "/" + Uuid::random().text();
        Fd fd = open_beneath(root_.get(), path, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (!fd) return fail_errno("cannot create an object in the vault");
        return std::make_unique<SystemFile>(root_.get(), std::move(fd), path);
    }

    Result<std::size_t> read(const std::string& path, std::uint64_t offset_bytes,
                             MutableByteSpan into) override {
        const Fd fd = open_beneath(root_.get(), path, O_RDONLY | O_NOFOLLOW);
        if (!fd) return fail_errno("cannot open the vault's object " + path);
        std::size_t have = 0;
        while (have < into.size()) {
            const ssize_t got = ::pread(fd.get(), into.data() + have, into.size() - have,
                                        static_cast<off_t>(offset_bytes + have));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return fail_errno("cannot read the vault's object " + path);
            if (got == 0) break;
            have += static_cast<std::size_t>(got);
        }
        return have;
    }

    Result<std::optional<std::uint64_t>> size(const std::string& path) override {
        const Fd fd = open_beneath(root_.get(), path, O_PATH | O_NOFOLLOW);
        if (!fd && (errno == ENOENT || errno == ENOTDIR)) return std::optional<std::uint64_t>();
        struct stat status {};
        if (!fd || ::fstat(fd.get(), &status) < 0)
            return fail_errno("cannot look at the vault's object " + path);
        if (!S_ISREG(status.st_mode)) return std::optional<std::uint64_t>();
        return std::optional(static_cast<std::uint64_t>(status.st_size));
    }

    void forget(const std::string& path) override {
        const Fd fd = open_beneath(root_.get(), path, O_RDONLY | O_NOFOLLOW);
        if (fd) static_cast<void>(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED));
    }

    Result<std::vector<LayerEntry>> list(const std::string& folder) override {
        Fd fd = open_beneath(root_.get(), without_slash(folder), O_RDONLY | O_DIRECTORY);
        std::vector<LayerEntry> entries;
        if (!fd && (errno == ENOENT || errno == ENOTDIR)) return entries;
        if (!fd) return fail_errno("cannot open the vault's folder " + folder);
        const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), ::closedir);
        if (!stream) return fail_errno("cannot list the vault's folder " + folder);
        static_cast<void>(fd.release());
        errno = 0;
        // The stream is this call's alone.  NOLINTNEXTLINE(concurrency-mt-unsafe)
        while (const dirent* each = ::readdir(stream.get())) {
            const std::string name = each->d_name;
            struct stat status {};
            const bool there =
                name != "." && name != ".." &&
                ::fstatat(::dirfd(stream.get()), each->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0;
            if (there && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))) {
                entries.push_back(
                    {name, static_cast<std::uint64_t>(status.st_size), S_ISDIR(status.st_mode)});
            }
            errno = 0;
        }
        if (errno != 0) return fail_errno("cannot list the vault's folder " + folder);
        std::ranges::sort(entries, {}, &LayerEntry::name);
        return entries;
    }

    Status unlink(const std::string& path) override {
        const auto [folder, file] = split(path);
        const Fd parent = open_beneath(root_.get(), folder, O_PATH | O_DIRECTORY);
        if (!parent && errno == ENOENT) return {};
        if (!parent) return fail_errno("cannot open the vault's folder " + folder);
        if (::unlinkat(parent.get(), file.c_str(), 0) < 0 && errno != ENOENT)
            return fail_errno("cannot remove the vault's object " + path);
        return {};
    }

    Status make_folder(const std::string& folder) override {
        const std::string path = without_slash(folder);
        if (path == "." || open_beneath(root_.get(), path, O_PATH | O_DIRECTORY)) return {};
        const auto [above, name] = split(path);
        TRY_STATUS(make_folder(above));
        const Fd parent = open_beneath(root_.get(), above, O_RDONLY | O_DIRECTORY);
        if (!parent) return fail_errno("cannot open the vault's folder " + above);
        if (::mkdirat(parent.get(), name.c_str(), 0700) < 0 && errno != EEXIST)
            return fail_errno("cannot create the vault's folder " + path);
        if (::fsync(parent.get()) < 0) return fail_errno("cannot sync the vault's folder " + above);
        return {};
    }

    Status sync_folder(const std::string& folder) override {
        const Fd fd = open_beneath(root_.get(), without_slash(folder), O_RDONLY | O_DIRECTORY);
        if (!fd && errno == ENOENT) return {};
        if (!fd || ::fsync(fd.get()) < 0)
            return fail_errno("cannot sync the vault's folder " + folder);
        return {};
    }

    Result<std::uint64_t> sweep() override {
        std::uint64_t bytes = 0;
        for (const LayerEntry& entry : TRY(list(kPartial))) {
            const std::string path = std::string(kPartial) + "/" + entry.name;
            const Fd fd = open_beneath(root_.get(), path, O_RDONLY | O_NOFOLLOW);
            if (!fd || ::flock(fd.get(), LOCK_EX | LOCK_NB) < 0) continue;
            TRY_STATUS(unlink(path));
            bytes += entry.bytes;
        }
        return bytes;
    }

  private:
    Fd root_;
    std::atomic<bool> temporary_works_{true};
};

}  // namespace

Result<std::unique_ptr<FileLayer>> system_file_layer(const std::filesystem::path& folder) {
    Fd root(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root) return fail_errno("cannot open the vault " + folder.string());
    return std::make_unique<SystemFileLayer>(std::move(root));
}

}  // namespace towline
