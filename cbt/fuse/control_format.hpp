// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a client and the daemon of a tracked mount say to each other: messages of a SOCK_SEQPACKET
// socket, one request, one reply (docs/format-control-fuse.md).

#include <optional>
#include <string>

#include "cbt/tracked_image.hpp"
#include "io/bytes.hpp"
#include "io/fd.hpp"

namespace towline::fuse_control {

constexpr std::uint32_t kMagic = 0x4346'4c54;  // "TLFC"
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kMessageBytesMax = 8192;
constexpr std::uint32_t kDrainMsMax = 60'000;
constexpr std::uint32_t kLeaseMsMax = 10'000;

enum class Command : std::uint16_t {
    kStatus = 1,
    kPrepare = 2,         // with kWithSnapshot: store_bytes, chunk_bytes
    kHold = 3,            // drain_ms, lease_ms
    kFreeze = 4,          // the answer carries a memory file with the saved map
    kRelease = 5,         // the end of prepare; so is the end of the connection
    kCommit = 6,          // sequence
    kGiveBack = 7,        // sequence
    kRemoveSnapshot = 8,  // sequence
    kHandOver = 9,        // the answer carries the FUSE device and the INIT request
    kReady = 10,          // of a successor: whoever hands over must not go on
};

constexpr std::uint32_t kWithSnapshot = 1;

struct Request {
    Command command = Command::kStatus;
    std::uint32_t flags = 0;
    std::uint64_t sequence = 0;
    std::uint32_t drain_ms = 0;
    std::uint32_t lease_ms = 0;
    std::uint64_t store_bytes = 0;
    std::uint32_t chunk_bytes = 0;
};

// Every reply has the status of the moment; freeze and hand-over have more.
struct Reply {
    std::optional<Error> error;
    ImageStatus status;
    std::optional<ImageSnapshotStatus> snapshot;
    std::string image;  // its path
    std::string mountpoint;
    // kFreeze
    std::uint64_t frozen_sequence = 0;
    std::uint64_t frozen_after = 0;
    Trust frozen_trust = Trust::kUnknown;
    ChangeReasons frozen_reasons;
    std::uint64_t held_us = 0;
    bool frozen_snapshot = false;
    // kHandOver
    std::vector<std::byte> init;
};

std::vector<std::byte> encode(const Request& request);
std::vector<std::byte> encode(const Reply& reply);
// Whatever the other side sends: kProtocol for what is no message of this version.
Result<Request> decode_request(ByteSpan message);
Result<Reply> decode_reply(ByteSpan message);

struct Received {
    std::vector<std::byte> bytes;
    Fd fd;  // of the first that came along; others are closed
};

Status send_message(int socket, ByteSpan message, int fd = -1);
// Nothing when the other side is gone. `timeout` bounds the wait.
Result<std::optional<Received>> receive_message(int socket, Duration timeout);

}  // namespace towline::fuse_control
