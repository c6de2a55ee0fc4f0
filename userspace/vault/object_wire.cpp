// SPDX-License-Identifier: Apache-2.0
// A header that is checked before memory is spent on what it announces; a CRC over all of a
// message, so that a broken link is a broken link and no damaged object.

#include "userspace/vault/object_wire.hpp"

#include <array>
#include <sys/socket.h>
#include <sys/uio.h>

#include "io/checksum.hpp"

namespace towline::object_wire {

namespace {

constexpr std::size_t kTextBytesMax = 2048;

std::unexpected<Error> gone(int system_errno) {
    if (system_errno == EAGAIN || system_errno == EWOULDBLOCK)
        return fail(Code::kTimeout, "the other side of the vault's connection stays silent");
    return fail(Code::kDisconnected, "the connection to the vault is gone");
}

Status send_all(int fd, ByteSpan bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return gone(errno);
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
    return {};
}

Status receive_all(int fd, MutableByteSpan into) {
    while (!into.empty()) {
        const ssize_t got = ::recv(fd, into.data(), into.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return gone(got < 0 ? errno : 0);
        into = into.subspan(static_cast<std::size_t>(got));
    }
    return {};
}

std::uint32_t crc_of(ByteSpan header, ByteSpan head, ByteSpan body) {
    return crc32c(body, crc32c(head, crc32c(header)));
}

}  // namespace

void put_text(ByteWriter& writer, std::string_view text) {
    writer.put_string(text);
}

std::string get_text(ByteReader& reader) {
    const ByteSpan raw = reader.get_bytes(reader.get<std::uint16_t>());
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}

Status Connection::send(What what, ByteSpan head, ByteSpan body) const {
    ByteWriter header;
    header.put(kMagic)
        .put(static_cast<std::uint32_t>(what))
        .put(static_cast<std::uint32_t>(head.size()))
        .put(static_cast<std::uint32_t>(body.size()));
    header.put(crc_of(header.bytes(), head, body));
    header.put_bytes(head);
    TRY_STATUS(send_all(fd(), header.bytes()));
    return send_all(fd(), body);
}

Result<Message> Connection::receive() const {
    std::array<std::byte, kHeaderBytes> raw{};
    TRY_STATUS(receive_all(fd(), raw));
    ByteReader reader(raw);
    const auto magic = reader.get<std::uint32_t>();
    const auto what = reader.get<std::uint32_t>();
    const auto head_bytes = reader.get<std::uint32_t>();
    const auto body_bytes = reader.get<std::uint32_t>();
    const auto crc = reader.get<std::uint32_t>();
    if (magic != kMagic || what > static_cast<std::uint32_t>(kWhatLast) ||
        head_bytes > kHeadBytesMax || body_bytes > kBodyBytesMax)
        return fail(Code::kProtocol, "what came over the vault's connection is not of its form");
    Message message{.what = static_cast<What>(what)};
    message.head.resize(head_bytes);
    message.body.resize(body_bytes);
    TRY_STATUS(receive_all(fd(), message.head));
    TRY_STATUS(receive_all(fd(), message.body));
    if (crc != crc_of(ByteSpan(raw).first(kHeaderBytes - 4), message.head, message.body))
        return fail(Code::kProtocol, "what came over the vault's connection fails its check");
    return message;
}

std::vector<std::byte> encode(const Error& error) {
    ByteWriter writer;
    writer.put(static_cast<std::uint16_t>(error.code))
        .put(static_cast<std::uint32_t>(error.system_errno))
        .put_string(std::string_view(error.context).substr(0, kTextBytesMax));
    return writer.take();
}

Error decode_error(ByteSpan head) {
    ByteReader reader(head);
    const auto code = reader.get<std::uint16_t>();
    const auto system_errno = reader.get<std::uint32_t>();
    std::string text = get_text(reader);
    if (reader.bad() || code > static_cast<std::uint16_t>(Code::kCancelled))
        return {Code::kProtocol, 0, "the vault's server failed, and did not say why"};
    return {static_cast<Code>(code), static_cast<int>(system_errno), std::move(text)};
}

}  // namespace towline::object_wire
