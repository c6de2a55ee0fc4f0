// SPDX-License-Identifier: Apache-2.0
// No link is followed: the folder may be one that others can write to. A file is there durably, by
// its name, before anything that stands in it counts.

#include "userspace/engine/staged_files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <tuple>
#include <unistd.h>

#include "userspace/engine/staged_format.hpp"

namespace towline {

namespace {

// For the index, and for whoever else lives there.
constexpr std::uint64_t kSpareBytes = std::uint64_t{8} << 20;

class RealStagedFile final : public StagedFile {
  public:
    explicit RealStagedFile(Fd fd) : fd_(std::move(fd)) {}

    Result<std::uint64_t> size_bytes() const override {
        struct stat status {};
        if (::fstat(fd_.get(), &status) < 0)
            return fail_errno("cannot look at the journal of a staged run");
        return static_cast<std::uint64_t>(status.st_size);
    }
    Result<std::vector<std::byte>> read(std::uint64_t offset_bytes,
                                        std::size_t length_bytes) const override {
        std::vector<std::byte> bytes(length_bytes);
        std::size_t have = 0;
        while (have < length_bytes) {
            const ssize_t got = ::pread(fd_.get(), bytes.data() + have, length_bytes - have,
                                        static_cast<off_t>(offset_bytes + have));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return fail_errno("cannot read the journal of a staged run");
            if (got == 0) break;
            have += static_cast<std::size_t>(got);
        }
        bytes.resize(have);
        return bytes;
    }
    Status write(std::uint64_t offset_bytes, ByteSpan bytes) override {
        const auto began = static_cast<off_t>(offset_bytes);
        while (!bytes.empty()) {
            const ssize_t put =
                ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset_bytes));
            if (put < 0 && errno == EINTR) continue;
            if (put <= 0) return fail_errno("cannot write the journal of a staged run");
            offset_bytes += static_cast<std::uint64_t>(put);
            bytes = bytes.subspan(static_cast<std::size_t>(put));
        }
        if (::fdatasync(fd_.get()) < 0) {
            const Status failed = fail_errno("cannot sync the journal of a staged run");
            // Reads may show it although no disk has it: nobody must build upon it.
            std::ignore = ::ftruncate(fd_.get(), began);
            return failed;
        }
        return {};
    }
    Status empty() override {
        if (::ftruncate(fd_.get(), 0) < 0 || ::fsync(fd_.get()) < 0)
            return fail_errno("cannot empty the journal of a staged run");
        return {};
    }

  private:
    Fd fd_;
};

}  // namespace

StagedFiles::StagedFiles(std::filesystem::path folder, const Uuid& target)
    : folder_(std::move(folder)),
      index_(folder_ / (".towline-" + target.text() + ".staged")),
      blocks_(folder_ / (".towline-" + target.text() + ".blocks")) {}

Status StagedFiles::refuse_if_full(std::uint64_t plan_bytes) const {
    struct statvfs there {};
    if (::statvfs(folder_.c_str(), &there) < 0)
        return fail_errno("cannot stage the run in " + folder_.string());
    const std::uint64_t free_bytes = std::uint64_t{there.f_bavail} * there.f_frsize;
    // A ramfs tells nothing.
    if (plan_bytes == 0 || there.f_blocks == 0 || free_bytes >= plan_bytes + kSpareBytes) return {};
    return std::unexpected(system_error(
        ENOSPC, "no space to stage the run: it may bring " + std::to_string(plan_bytes) +
                    " bytes, " + folder_.string() + " has " + std::to_string(free_bytes) +
                    " left (the target is untouched; --journal names another folder, --direct "
                    "writes at once)"));
}

Result<Fd> StagedFiles::open(const std::filesystem::path& path, bool anew) const {
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (anew ? O_CREAT : 0);
    Fd fd(::open(path.c_str(), flags, 0600));
    if (!fd && errno == ENOENT && !anew)
        return fail(Code::kCorrupt,
                    "the journal of the staged run, " + path.string() + ", is gone");
    if (!fd) return fail_errno("cannot open the journal " + path.string());
    if (!anew) return fd;
    const Fd folder(::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder || ::fsync(folder.get()) < 0)
        return fail_errno("cannot make the journal " + path.string() + " durable");
    return fd;
}

Result<Volume> StagedFiles::open_blocks(bool anew) const {
    Fd fd = TRY(open(blocks_, anew));
    if (anew) {
        const auto hole_bytes = static_cast<off_t>(staged_format::kHoleBytes);
        if (::ftruncate(fd.get(), 0) < 0 || ::ftruncate(fd.get(), hole_bytes) < 0 ||
            ::fsync(fd.get()) < 0)
            return fail_errno("cannot empty the journal " + blocks_.string());
    }
    return Volume::adopt(std::move(fd), blocks_.string(), Access::kReadWrite);
}

Result<std::unique_ptr<StagedFile>> StagedFiles::open_index(bool anew) const {
    Fd fd = TRY(open(index_, anew));
    return std::make_unique<RealStagedFile>(std::move(fd));
}

bool StagedFiles::left() const {
    struct stat status {};
    return ::lstat(index_.c_str(), &status) == 0;
}

void StagedFiles::remove() const {
    ::unlink(blocks_.c_str());
    ::unlink(index_.c_str());
}

}  // namespace towline
