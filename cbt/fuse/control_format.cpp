// SPDX-License-Identifier: Apache-2.0
// Messages of the control socket. Both sides are of one host and mostly of one build, but neither
// believes the other: lengths are bounded, enums checked, and nothing may be left over.

#include "cbt/fuse/control_format.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <utility>

namespace towline::fuse_control {

namespace {

constexpr std::size_t kInitBytesMax = 1024;
constexpr std::size_t kTextBytesMax = 2048;

std::unexpected<Error> strange(const char* what) {
    return fail(Code::kProtocol, std::string("the control socket of a tracked mount: ") + what +
                                     "; are both sides of one version?");
}

bool starts_well(ByteReader& reader) {
    const bool known = reader.get<std::uint32_t>() == kMagic;
    return reader.get<std::uint16_t>() == kVersion && known;
}

std::uint32_t bits_of(ChangeReasons reasons) {
    std::uint32_t bits = 0;
    for (std::uint32_t bit = 1; bit != 0; bit <<= 1) {
        if (reasons.has(static_cast<ChangeReason>(bit))) bits |= bit;
    }
    return bits;
}

ChangeReasons reasons_of(std::uint32_t bits) {
    ChangeReasons reasons;
    for (std::uint32_t bit = 1; bit != 0; bit <<= 1) {
        if ((bits & bit) != 0) reasons.add(static_cast<ChangeReason>(bit));
    }
    return reasons;
}

Trust trust_of(std::uint32_t number) {
    return number >= 1 && number <= 3 ? static_cast<Trust>(number) : Trust::kUnknown;
}

std::string cut(const std::string& text) {
    return text.substr(0, kTextBytesMax);
}

void put_status(ByteWriter& writer, const ImageStatus& status) {
    writer.put_bytes(status.tracker.bytes).put(status.volume_bytes).put(status.block_bytes);
    writer.put(status.sequence).put(status.sequence_frozen).put(status.sequence_committed);
    writer.put(std::uint32_t{std::to_underlying(status.trust)}).put(bits_of(status.reasons));
    writer.put(static_cast<std::uint32_t>((status.log_void ? 1 : 0) | (status.log_lost ? 2 : 0)));
    writer.put(status.writes_seen).put(status.memory_bytes).put(status.snapshot_sequence);
}

ImageStatus get_status(ByteReader& reader) {
    ImageStatus status;
    const ByteSpan uuid = reader.get_bytes(16);
    if (uuid.size() == 16) std::memcpy(status.tracker.bytes.data(), uuid.data(), 16);
    status.volume_bytes = reader.get<std::uint64_t>();
    status.block_bytes = reader.get<std::uint32_t>();
    status.sequence = reader.get<std::uint64_t>();
    status.sequence_frozen = reader.get<std::uint64_t>();
    status.sequence_committed = reader.get<std::uint64_t>();
    status.trust = trust_of(reader.get<std::uint32_t>());
    status.reasons = reasons_of(reader.get<std::uint32_t>());
    const auto log = reader.get<std::uint32_t>();
    status.log_void = (log & 1) != 0;
    status.log_lost = (log & 2) != 0;
    status.writes_seen = reader.get<std::uint64_t>();
    status.memory_bytes = reader.get<std::uint64_t>();
    status.snapshot_sequence = reader.get<std::uint64_t>();
    return status;
}

void put_snapshot(ByteWriter& writer, const std::optional<ImageSnapshotStatus>& given) {
    const ImageSnapshotStatus snapshot = given.value_or(ImageSnapshotStatus{});
    writer.put(static_cast<std::uint32_t>((given ? 1 : 0) | (snapshot.failed ? 2 : 0)));
    writer.put(snapshot.sequence).put(snapshot.volume_bytes).put(snapshot.chunk_bytes);
    writer.put(snapshot.slots_used).put(snapshot.slot_count).put_string(cut(snapshot.why));
}

std::optional<ImageSnapshotStatus> get_snapshot(ByteReader& reader) {
    ImageSnapshotStatus snapshot;
    const auto flags = reader.get<std::uint32_t>();
    snapshot.failed = (flags & 2) != 0;
    snapshot.sequence = reader.get<std::uint64_t>();
    snapshot.volume_bytes = reader.get<std::uint64_t>();
    snapshot.chunk_bytes = reader.get<std::uint32_t>();
    snapshot.slots_used = reader.get<std::uint64_t>();
    snapshot.slot_count = reader.get<std::uint64_t>();
    snapshot.why = reader.get_string(kTextBytesMax);
    if ((flags & 1) == 0) return std::nullopt;
    return snapshot;
}

}  // namespace

std::vector<std::byte> encode(const Request& request) {
    ByteWriter writer;
    writer.put(kMagic).put(kVersion).put(std::to_underlying(request.command));
    writer.put(request.flags).put(request.sequence).put(request.drain_ms).put(request.lease_ms);
    writer.put(request.store_bytes).put(request.chunk_bytes);
    return writer.take();
}

Result<Request> decode_request(ByteSpan message) {
    ByteReader reader(message);
    if (!starts_well(reader)) return strange("no request of version 1");
    Request request;
    const auto command = reader.get<std::uint16_t>();
    request.flags = reader.get<std::uint32_t>();
    request.sequence = reader.get<std::uint64_t>();
    request.drain_ms = reader.get<std::uint32_t>();
    request.lease_ms = reader.get<std::uint32_t>();
    request.store_bytes = reader.get<std::uint64_t>();
    request.chunk_bytes = reader.get<std::uint32_t>();
    if (!reader.finished()) return strange("a request of a strange length");
    if (command < std::to_underlying(Command::kStatus) ||
        command > std::to_underlying(Command::kReady) || (request.flags & ~kWithSnapshot) != 0)
        return strange("an unknown request");
    if (request.drain_ms > kDrainMsMax || request.lease_ms > kLeaseMsMax)
        return fail(Code::kInvalid, "writes may not be held back for that long");
    request.command = static_cast<Command>(command);
    return request;
}

std::vector<std::byte> encode(const Reply& reply) {
    ByteWriter writer;
    writer.put(kMagic).put(kVersion);
    writer.put(
        static_cast<std::uint16_t>(reply.error ? 1 + static_cast<int>(reply.error->code) : 0));
    writer.put(static_cast<std::uint32_t>(reply.error ? reply.error->system_errno : 0));
    writer.put_string(reply.error ? cut(reply.error->context) : "");
    put_status(writer, reply.status);
    put_snapshot(writer, reply.snapshot);
    writer.put_string(cut(reply.image)).put_string(cut(reply.mountpoint));
    writer.put(reply.frozen_sequence).put(reply.frozen_after);
    writer.put(std::uint32_t{std::to_underlying(reply.frozen_trust)});
    writer.put(bits_of(reply.frozen_reasons)).put(reply.held_us);
    writer.put(std::uint32_t{reply.frozen_snapshot ? 1U : 0U});
    writer.put(static_cast<std::uint32_t>(reply.init.size())).put_bytes(reply.init);
    return writer.take();
}

Result<Reply> decode_reply(ByteSpan message) {
    ByteReader reader(message);
    if (!starts_well(reader)) return strange("no reply of version 1");
    Reply reply;
    const auto code = reader.get<std::uint16_t>();
    const auto system_errno = reader.get<std::uint32_t>();
    std::string text = reader.get_string(kTextBytesMax);
    if (code > 1 + static_cast<int>(Code::kCancelled)) return strange("an unknown error");
    if (code != 0)
        reply.error = Error{static_cast<Code>(code - 1), static_cast<int>(system_errno), text};
    reply.status = get_status(reader);
    reply.snapshot = get_snapshot(reader);
    reply.image = reader.get_string(kTextBytesMax);
    reply.mountpoint = reader.get_string(kTextBytesMax);
    reply.frozen_sequence = reader.get<std::uint64_t>();
    reply.frozen_after = reader.get<std::uint64_t>();
    reply.frozen_trust = trust_of(reader.get<std::uint32_t>());
    reply.frozen_reasons = reasons_of(reader.get<std::uint32_t>());
    reply.held_us = reader.get<std::uint64_t>();
    reply.frozen_snapshot = reader.get<std::uint32_t>() != 0;
    const auto init_bytes = reader.get<std::uint32_t>();
    if (init_bytes > kInitBytesMax) return strange("an INIT request that is too long");
    const ByteSpan init = reader.get_bytes(init_bytes);
    reply.init.assign(init.begin(), init.end());
    if (!reader.finished()) return strange("a reply of a strange length");
    return reply;
}

Status send_message(int socket, ByteSpan message, int fd) {
    struct iovec piece {
        const_cast<std::byte*>(message.data()), message.size()
    };
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    struct msghdr header {};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    if (fd >= 0) {
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        struct cmsghdr* first = CMSG_FIRSTHDR(&header);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(first), &fd, sizeof fd);
    }
    // Never waits: a client that does not read its replies is not worth waiting for.
    while (::sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        if (errno != EINTR) return fail_errno("sending to a control socket");
    }
    return {};
}

Result<std::optional<Received>> receive_message(int socket, Duration timeout) {
    struct pollfd waited {
        socket, POLLIN, 0
    };
    const Instant end = monotonic_now() + timeout;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - monotonic_now());
        const int ready = ::poll(&waited, 1, std::max(0, static_cast<int>(left.count())));
        if (ready > 0) break;
        if (ready == 0)
            return fail(Code::kTimeout, "the daemon of a tracked mount does not answer");
        if (errno != EINTR) return fail_errno("waiting for a control socket");
    }
    Received received;
    received.bytes.resize(kMessageBytesMax);
    struct iovec piece {
        received.bytes.data(), received.bytes.size()
    };
    constexpr std::size_t kFdsMax = 4;
    alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * kFdsMax)] = {};
    struct msghdr header {};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && errno != ECONNRESET) return fail_errno("reading from a control socket");
    for (struct cmsghdr* part = got < 0 ? nullptr : CMSG_FIRSTHDR(&header); part != nullptr;
         part = CMSG_NXTHDR(&header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int raw = -1;
            std::memcpy(&raw, CMSG_DATA(part) + i * sizeof raw, sizeof raw);
            Fd owned(raw);
            if (!received.fd) received.fd = std::move(owned);
        }
    }
    if (got <= 0) return std::optional<Received>();
    if ((header.msg_flags & MSG_TRUNC) != 0) return strange("a message that is too long");
    received.bytes.resize(static_cast<std::size_t>(got));
    return std::optional(std::move(received));
}

}  // namespace towline::fuse_control
