// SPDX-License-Identifier: Apache-2.0
#pragma once

// What a host that seals and a daemon that keeps say to each other about objects
// (docs/format-objects.md). Blocking: a thread a connection.

#include <string>
#include <vector>

#include "io/bytes.hpp"
#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline::object_wire {

constexpr std::uint32_t kMagic = 0x314f4c54;  // "TLO1"
constexpr std::uint16_t kVersion = 1;
constexpr std::size_t kHeaderBytes = 20;
constexpr std::size_t kHeadBytesMax = std::size_t{1} << 20;
constexpr std::size_t kBodyBytesMax = std::size_t{16} << 20;
constexpr std::size_t kPieceBytes = std::size_t{4} << 20;  // of an object, read or written

enum class What : std::uint8_t {
    kDone = 0,
    kFailed = 1,
    kHello = 2,
    kList = 3,
    kListFolders = 4,
    kSize = 5,
    kGet = 6,
    kBeginPut = 7,
    kWrite = 8,
    kCommit = 9,
    kDrop = 10,
    kRemove = 11,
    kHold = 12,
    kRelease = 13,
};
constexpr auto kWhatLast = What::kRelease;

struct Message {
    What what = What::kDone;
    std::vector<std::byte> head;
    std::vector<std::byte> body;
};

void put_text(ByteWriter& writer, std::string_view text);
std::string get_text(ByteReader& reader);

class Connection {
  public:
    explicit Connection(Fd socket) : socket_(std::move(socket)) {}
    int fd() const { return socket_.get(); }

    Status send(What what, ByteSpan head, ByteSpan body = {}) const;
    // kDisconnected when the other side is gone, kProtocol when it says what cannot be.
    Result<Message> receive() const;

  private:
    Fd socket_;
};

std::vector<std::byte> encode(const Error& error);
Error decode_error(ByteSpan head);

}  // namespace towline::object_wire
