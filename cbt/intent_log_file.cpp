// SPDX-License-Identifier: Apache-2.0
// The module writes to the blocks of this file behind the filesystem's back, so that they must be
// there and must not move: docs/kmod.md has the conditions, and the module checks them again. One
// that was cut off while it was made has another name, and is made anew.

#include "cbt/intent_log_file.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <vector>

#include "kmod/uapi/towline.h"

namespace towline {

namespace {

constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

Status write_zeros(const Fd& file, std::uint64_t bytes, const std::string& name) {
    const std::vector<char> zeros(kPieceBytes);
    while (bytes > 0) {
        const ssize_t written =
            ::write(file.get(), zeros.data(), std::min<std::uint64_t>(bytes, zeros.size()));
        if (written <= 0) return fail_errno("cannot write the log " + name);
        bytes -= static_cast<std::uint64_t>(written);
    }
    if (::fsync(file.get()) != 0) return fail_errno("cannot sync the log " + name);
    return {};
}

Status make(const std::filesystem::path& path, std::uint64_t bytes) {
    const std::string name = path.string() + ".new";
    const Fd file(::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!file) return fail_errno("cannot make the log " + name);
    TRY_STATUS(write_zeros(file, bytes, name));
    std::error_code error;
    std::filesystem::rename(name, path, error);
    if (error) return fail_errno(error.value(), "cannot rename the log to " + path.string());
    int flags = 0;
    if (::ioctl(file.get(), FS_IOC_GETFLAGS, &flags) != 0)
        return fail_errno("the filesystem of " + path.string() +
                          " cannot keep the log's blocks in place");
    flags |= FS_IMMUTABLE_FL;
    if (::ioctl(file.get(), FS_IOC_SETFLAGS, &flags) != 0)
        return fail_errno("cannot make the log " + path.string() + " immutable");
    return {};
}

// One that was made, and died with the process before the module began its log in it.
bool reads_as_zeros(const Fd& file) {
    std::vector<char> first(4096);
    return ::pread(file.get(), first.data(), first.size(), 0) == 4096 &&
           std::ranges::all_of(first, [](char byte) { return byte == 0; });
}

}  // namespace

Result<IntentLogFile> open_intent_log(const std::filesystem::path& path, std::uint64_t volume_bytes,
                                      std::uint32_t block_bytes) {
    IntentLogFile log;
    log.fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!log.fd && errno == ENOENT) {
        // The finest map of those that the module may choose.
        const std::uint32_t block = block_bytes != 0 ? block_bytes : TOWLINE_BLOCK_SIZE_MIN;
        TRY_STATUS(make(path, towline_log_bytes(volume_bytes, block, TOWLINE_REGION_SIZE_DEFAULT)));
        log.fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    }
    if (!log.fd) return fail_errno("cannot open the log " + path.string());
    log.made = reads_as_zeros(log.fd);
    return log;
}

}  // namespace towline
