// SPDX-License-Identifier: Apache-2.0
#pragma once

// A peer that says what a test wants, byte by byte or frame by frame, and hears what comes back.

#include <deque>

#include "io/checksum.hpp"
#include "io/engine_simulated.hpp"
#include "io/simulated_world.hpp"
#include "transport/frame.hpp"
#include "transport/messages.hpp"

namespace towline::testing {

// The bytes of one frame, its checks right whatever it says.
inline std::vector<std::byte> frame_bytes(wire::FrameType type, std::uint64_t run,
                                          std::uint64_t sequence, ByteSpan head,
                                          ByteSpan payload = {}, std::uint16_t flags = 0) {
    std::vector<std::byte> bytes(wire::kHeaderBytes);
    const FrameHeader header{.type = type,
                             .flags = flags,
                             .run = run,
                             .sequence = sequence,
                             .head_bytes = static_cast<std::uint32_t>(head.size()),
                             .payload_bytes = static_cast<std::uint32_t>(payload.size()),
                             .head_crc = crc32c(head)};
    header.encode(bytes);
    bytes.insert(bytes.end(), head.begin(), head.end());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    return bytes;
}

// One end of a simulated connection without a Channel: sends what it is given, keeps what comes.
class RawPeer {
  public:
    RawPeer(SimulatedEngine& engine, Handle socket) : engine_(engine), socket_(socket) {
        sending_.on_done([this](std::int64_t result) { on_sent(result); });
        receiving_.on_done([this](std::int64_t result) { on_received(result); });
        receive();
    }
    void send(const std::vector<std::byte>& bytes) {
        outgoing_.insert(outgoing_.end(), bytes.begin(), bytes.end());
        if (!sending_.busy()) next();
    }
    void say(const Message& message, std::uint64_t run = 0) {
        send(frame_bytes(type_of(message), run, sequence_++, encode_message(message)));
    }
    void data(const DataHead& table, ByteSpan payload, std::uint64_t run) {
        std::vector<std::byte> head(table.encoded_bytes());
        table.encode(head);
        send(frame_bytes(wire::FrameType::kData, run, sequence_++, head, payload));
    }
    // Ends the sending direction behind what was sent so far, and hears no more.
    void close() { engine_.shut_down(socket_); }
    bool closed() const { return closed_; }
    bool all_sent() const { return outgoing_.empty() && !sending_.busy(); }
    std::uint64_t next_sequence() const { return sequence_; }
    // Every whole message that came, the last one last.
    const std::vector<Message>& heard() const { return heard_; }
    template <typename M>
    const M* last() const {
        for (auto at = heard_.rbegin(); at != heard_.rend(); ++at) {
            if (const M* found = std::get_if<M>(&*at)) return found;
        }
        return nullptr;
    }

  private:
    void next() {
        if (outgoing_.empty() || closed_) return;
        now_sending_.assign(outgoing_.begin(), outgoing_.end());
        outgoing_.clear();
        part_ = {now_sending_.data(), now_sending_.size()};
        start();
    }
    void start() {
        out_ = {};
        out_.msg_iov = &part_;
        out_.msg_iovlen = 1;
        engine_.send(socket_, &out_, sending_);
    }
    void on_sent(std::int64_t result) {
        if (result <= 0) {
            closed_ = true;
            outgoing_.clear();
            return;
        }
        const auto taken = static_cast<std::size_t>(result);
        part_ = {static_cast<std::byte*>(part_.iov_base) + taken, part_.iov_len - taken};
        part_.iov_len > 0 ? start() : next();
    }
    void receive() {
        in_part_ = {room_.data(), room_.size()};
        in_ = {};
        in_.msg_iov = &in_part_;
        in_.msg_iovlen = 1;
        engine_.receive(socket_, &in_, ReceiveMode::kSome, receiving_);
    }
    void on_received(std::int64_t result) {
        if (result <= 0) {
            closed_ = true;
            return;
        }
        incoming_.insert(incoming_.end(), room_.begin(), room_.begin() + result);
        while (take_frame()) {
        }
        receive();
    }
    bool take_frame() {
        if (incoming_.size() < wire::kHeaderBytes) return false;
        const auto header = FrameHeader::decode(incoming_);
        if (!header) return false;
        const std::size_t head_end = wire::kHeaderBytes + header->head_bytes;
        const std::size_t end = head_end + header->payload_bytes;
        if (incoming_.size() < end) return false;
        const ByteSpan head = ByteSpan(incoming_).subspan(wire::kHeaderBytes, header->head_bytes);
        if (auto message = decode_message(header->type, head)) heard_.push_back(*message);
        incoming_.erase(incoming_.begin(), incoming_.begin() + static_cast<std::ptrdiff_t>(end));
        return true;
    }

    SimulatedEngine& engine_;
    Handle socket_;
    std::deque<std::byte> outgoing_;
    std::vector<std::byte> now_sending_;
    std::vector<std::byte> incoming_;
    std::array<std::byte, 65536> room_{};
    std::vector<Message> heard_;
    std::uint64_t sequence_ = 0;
    bool closed_ = false;
    iovec part_{};
    iovec in_part_{};
    msghdr out_{};
    msghdr in_{};
    Completion sending_;
    Completion receiving_;
};

}  // namespace towline::testing
