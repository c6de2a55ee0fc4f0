// SPDX-License-Identifier: Apache-2.0
// The difference store of a snapshot. It lives as long as the process that serves the snapshot, so
// nothing in it need be durable.

#include "cbt/snapshot_store.hpp"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

namespace towline {

namespace {

// Direct, so that what is stored for a full disk's sake does not fill memory first.
Fd open_nameless(const std::filesystem::path& folder) {
    Fd fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600));
    if (!fd && errno == EINVAL)
        fd = Fd(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    return fd;
}

}  // namespace

Result<FileSnapshotStore> FileSnapshotStore::create(const std::filesystem::path& folder,
                                                    std::uint64_t store_bytes,
                                                    std::uint32_t chunk_bytes) {
    FileSnapshotStore store;
    store.chunk_bytes_ = chunk_bytes;
    store.slot_count_ = std::max<std::uint64_t>(store_bytes / chunk_bytes, 1);
    store.fd_ = open_nameless(folder);
    if (!store.fd_)
        return fail_errno("cannot make a snapshot's store in " + folder.string() +
                          "; choose another folder (--store)");
    const auto bytes = static_cast<off_t>(store.slot_count_ * chunk_bytes);
    if (::fallocate(store.fd_.get(), 0, 0, bytes) != 0)
        return fail_errno("cannot set " + std::to_string(bytes) + " bytes aside in " +
                          folder.string() +
                          " for a snapshot; make room, ask for a smaller store, or choose another "
                          "folder (--store)");
    return store;
}

Status FileSnapshotStore::put(std::uint64_t slot, ByteSpan chunk) {
    std::uint64_t at = slot * chunk_bytes_;
    while (!chunk.empty()) {
        const ssize_t put = ::pwrite(fd_.get(), chunk.data(), chunk.size(), static_cast<off_t>(at));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return fail_errno(put == 0 ? EIO : errno, "writing a snapshot's store");
        chunk = chunk.subspan(static_cast<std::size_t>(put));
        at += static_cast<std::uint64_t>(put);
    }
    return {};
}

Status FileSnapshotStore::get(std::uint64_t slot, std::uint64_t offset_bytes,
                              MutableByteSpan into) {
    std::uint64_t at = slot * chunk_bytes_ + offset_bytes;
    while (!into.empty()) {
        const ssize_t got = ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(at));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return fail_errno(got == 0 ? EIO : errno, "reading a snapshot's store");
        into = into.subspan(static_cast<std::size_t>(got));
        at += static_cast<std::uint64_t>(got);
    }
    return {};
}

}  // namespace towline
