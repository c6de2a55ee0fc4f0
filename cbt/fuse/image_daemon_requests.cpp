// SPDX-License-Identifier: Apache-2.0
// What the control requests of a tracked mount do.

#include <algorithm>
#include <bit>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cbt/fuse/image_daemon.hpp"

namespace towline {

namespace {

using fuse_control::Command;
using fuse_control::Reply;
using fuse_control::Request;

constexpr std::uint32_t kChunkBytes = 64U << 10;
constexpr std::uint64_t kStoreBytesMin = 64ULL << 20;
constexpr std::uint64_t kStoreShare = 10;

// The map in its saved form, in memory that nobody can change any more.
Result<Fd> memory_file(ByteSpan contents) {
    Fd file(::memfd_create("towline-map", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!file) return fail_errno("memfd_create");
    while (!contents.empty()) {
        const ssize_t put = ::write(file.get(), contents.data(), contents.size());
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return fail_errno("writing a map to memory");
        contents = contents.subspan(static_cast<std::size_t>(put));
    }
    if (::fcntl(file.get(), F_ADD_SEALS,
                F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        return fail_errno("sealing a map in memory");
    return file;
}

}  // namespace

void ImageDaemon::fill_in(Reply& reply) const {
    reply.image = options_.tracking.image.string();
    reply.mountpoint = options_.mountpoint.string();
    if (!tracking_) return;
    reply.status = tracking_->image().status();
    reply.snapshot = tracking_->image().snapshot_status();
}

ControlServer::Answer ImageDaemon::answer(ControlServer::Client client, const Request& request) {
    auto carried_out = carry_out(client, request);
    ControlServer::Answer answer;
    if (carried_out)
        answer = std::move(*carried_out);
    else
        answer.reply.error = carried_out.error();
    fill_in(answer.reply);
    return answer;
}

Result<ControlServer::Answer> ImageDaemon::carry_out(ControlServer::Client client,
                                                     const Request& request) {
    if (successor_) {
        // The image is another daemon's already, or will be.
        if (request.command != Command::kReady || successor_ != client)
            return fail(Code::kBusy, "the mount is being handed over; try again");
        handed_over_ = true;
        return ControlServer::Answer{};
    }
    const bool of_freezer = request.command == Command::kHold ||
                            request.command == Command::kFreeze ||
                            request.command == Command::kRelease;
    if (of_freezer && freezer_ != client)
        return fail(Code::kInvalid, "this connection has prepared no freeze");
    TrackedImage& image = tracking_->image();
    switch (request.command) {
        case Command::kStatus:
            break;
        case Command::kPrepare:
            TRY_STATUS(prepare(client, request));
            break;
        case Command::kHold:
            TRY_STATUS(image.hold(std::chrono::milliseconds(request.drain_ms),
                                  std::chrono::milliseconds(request.lease_ms)));
            break;
        case Command::kFreeze:
            return freeze();
        case Command::kRelease:
            client_gone(client);
            break;
        case Command::kCommit:
        case Command::kGiveBack:
            TRY_STATUS(settle(request));
            break;
        case Command::kRemoveSnapshot:
            TRY_STATUS(server_->remove_snapshot(request.sequence));
            break;
        case Command::kHandOver:
            return hand_over(client);
        case Command::kReady:
            return fail(Code::kInvalid, "nothing is being handed over");
    }
    return ControlServer::Answer{};
}

Status ImageDaemon::prepare(ControlServer::Client client, const Request& request) {
    if (freezer_) return fail(Code::kBusy, "another freeze of this image is going on; try again");
    std::unique_ptr<SnapshotStore> store;
    const std::uint32_t chunk = request.chunk_bytes != 0 ? request.chunk_bytes : kChunkBytes;
    if ((request.flags & fuse_control::kWithSnapshot) != 0) {
        if (!std::has_single_bit(chunk) || chunk < (4U << 10) || chunk > (1U << 20))
            return fail(Code::kInvalid, "chunks of a snapshot are 4 KiB to 1 MiB, a power of two");
        const std::uint64_t size = tracking_->image().size_bytes();
        std::uint64_t bytes = request.store_bytes != 0 ? request.store_bytes : options_.store_bytes;
        if (bytes == 0) bytes = std::max(size / kStoreShare, std::min(size, kStoreBytesMin));
        const auto& folder =
            options_.store_folder.empty() ? options_.tracking.state_folder : options_.store_folder;
        store = std::make_unique<FileSnapshotStore>(
            TRY(FileSnapshotStore::create(folder, std::min(bytes, size + chunk), chunk)));
    }
    TRY_STATUS(tracking_->image().prepare(std::move(store), chunk));
    freezer_ = client;
    return {};
}

Result<ControlServer::Answer> ImageDaemon::freeze() {
    const FrozenEpoch frozen = TRY(tracking_->image().freeze());
    ControlServer::Answer answer;
    answer.fd = TRY(memory_file(frozen.epoch.marks.save()));
    answer.reply.frozen_sequence = frozen.epoch.sequence;
    answer.reply.frozen_after = frozen.after;
    answer.reply.frozen_trust = frozen.epoch.trust;
    answer.reply.frozen_reasons = frozen.epoch.reasons;
    answer.reply.frozen_snapshot = frozen.snapshot;
    answer.reply.held_us = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::microseconds>(frozen.held).count());
    return answer;
}

Status ImageDaemon::settle(const Request& request) {
    const bool commits = request.command == Command::kCommit;
    TrackedImage& image = tracking_->image();
    const std::string epoch = "epoch " + std::to_string(request.sequence);
    switch (commits ? image.commit(request.sequence) : image.give_back(request.sequence)) {
        case Settled::kDone:
        case Settled::kRepeated:
            return {};
        case Settled::kOpposite:
            return fail(Code::kRefused, epoch + " was " + (commits ? "given back" : "committed") +
                                            ", or became a part of a later one");
        case Settled::kNever:
            break;
    }
    return fail(Code::kInvalid, epoch + " was never frozen");
}

void ImageDaemon::client_gone(ControlServer::Client client) {
    if (freezer_ == client) {
        tracking_->image().release();
        freezer_.reset();
    }
    if (successor_ != client || handed_over_) return;
    successor_.reset();
    goes_back_ = true;
}

Result<ControlServer::Answer> ImageDaemon::hand_over(ControlServer::Client client) {
    if (freezer_) return fail(Code::kBusy, "a freeze of this image is going on; try again");
    if (const auto snapshot = tracking_->image().snapshot_status())
        return fail(Code::kBusy, "snapshot-" + std::to_string(snapshot->sequence) +
                                     " stands, and would be lost; remove it first");
    ControlServer::Answer answer;
    const int device = ::fcntl(server_->device().get(), F_DUPFD_CLOEXEC, 0);
    if (device < 0) return fail_errno("duplicating the FUSE device");
    answer.fd = Fd(device);
    server_->stop();
    const Status closed = tracking_->close();
    if (!closed) {
        TRY_STATUS(begin_serving());
        return std::unexpected(closed.error());
    }
    answer.reply.init = server_->init_request();
    fill_in(answer.reply);
    successor_ = client;
    tracking_.reset();  // its locks are the successor's
    return answer;
}

}  // namespace towline
