// SPDX-License-Identifier: Apache-2.0
// The tracked image behind a FUSE connection, and which of its snapshots are open.

#include "cbt/fuse/fuse_server.hpp"

#include "cbt/fuse/fuse_operations.hpp"

namespace towline {

Result<std::unique_ptr<FuseServer>> FuseServer::create(Fd device, ServedImage served,
                                                       std::vector<std::byte> init) {
    std::unique_ptr<FuseServer> server(new FuseServer());
    server->served_ = std::move(served);
    server->session_ = TRY(
        FuseSession::create(std::move(device), fuse_operations(), server.get(), std::move(init)));
    return server;
}

bool FuseServer::open_snapshot(std::uint64_t sequence) {
    const std::lock_guard lock(mutex_);
    const auto status = served_.image->snapshot_status();
    if (!status || status->sequence != sequence) return false;
    ++opened_[sequence];
    return true;
}

void FuseServer::close_snapshot(std::uint64_t sequence) {
    const std::lock_guard lock(mutex_);
    if (const auto found = opened_.find(sequence); found != opened_.end() && --found->second == 0)
        opened_.erase(found);
}

Status FuseServer::remove_snapshot(std::uint64_t sequence) {
    const std::lock_guard lock(mutex_);
    if (opened_.contains(sequence))
        return fail(Code::kBusy, "snapshot-" + std::to_string(sequence) +
                                     " is open; close it (a loop device: losetup -d) first");
    return served_.image->drop_snapshot(sequence);
}

}  // namespace towline
