// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <boost/intrusive/list.hpp>

#include "io/clock.hpp"
#include "io/engine.hpp"
#include "io/rate_limiter.hpp"
#include "transport/frame.hpp"
#include "transport/messages.hpp"
#include "transport/pace.hpp"

namespace towline {

// A frame on its way out. Head and payload are borrowed until on_sent; the frame can then be used
// again.
class OutFrame : public boost::intrusive::list_base_hook<> {
  public:
    wire::FrameType type{};
    ByteSpan head;
    std::vector<iovec> payload;  // capacity is kept from use to use
    std::function<void()> on_sent;

  private:
    friend class Channel;
    std::array<std::byte, wire::kHeaderBytes> header_{};
    std::size_t bytes_ = 0;
    std::uint64_t run_ = 0;
};

// One connection as frames, both ways, over an IoEngine. Sending gathers waiting frames into one
// system call; receiving puts a payload straight into the buffer that its owner names. Owned by one
// loop thread.
class Channel {
  public:
    class Owner {
      public:
        virtual ~Owner() = default;
        // Where this payload goes; empty when there is no room now: reading pauses until resume().
        virtual MutableByteSpan payload_room(Channel&, const FrameHeader&) = 0;
        virtual void on_data(Channel&, ByteSpan head, ByteSpan payload) = 0;
        virtual void on_message(Channel&, Message) = 0;
        // Once; nothing is delivered after it. The peer's orderly close is kDisconnected too.
        virtual void on_closed(Channel&, Error) = 0;
        // Frames left: whoever held back because of queued_bytes() may go on.
        virtual void on_sent_some(Channel&) {}
    };

    Channel(IoEngine& engine, Handle socket, Owner& owner);
    ~Channel();

    void start() { receive_more(); }
    void send(OutFrame& frame);
    // Several at once: queue() them, then send_queued().
    void queue(OutFrame& frame);
    void send_queued() { send_more(); }
    void send_message(const Message& message);
    void resume();
    // Stops reading for a while, at the next frame: back pressure by the connection itself.
    void hold(bool held);
    bool is_held() const { return held_; }

    // Makes every operation end; on_closed does not follow. Destroy when idle().
    void close();
    bool idle() const { return !sending_.busy() && !receiving_.busy() && !waiting_.busy(); }

    // Frames that are sent from here on belong to the run; received ones of another are a protocol
    // error. A source's frames belong to it from the one after Begin on, a target's from the one
    // after Begun on: what crosses on the way between the two must not be taken for another run's.
    void set_run(std::uint64_t run) { sending_run_ = receiving_run_ = run; }
    void set_sending_run(std::uint64_t run) { sending_run_ = run; }
    void set_limiter(RateLimiter* limiter) { limiter_ = limiter; }

    std::uint64_t sent_bytes() const { return sent_bytes_; }
    std::uint64_t received_bytes() const { return received_bytes_; }
    std::size_t queued_bytes() const { return queued_bytes_; }
    // How long the peer has not sent although we listen, or not taken although we send, by what
    // counts as life (pace.hpp).
    Duration silence() const;
    Duration send_silence() const;
    // More than this is not gathered into one call.
    static constexpr std::size_t kBatchBytes = std::size_t{1024} * 1024;
    bool drained() const { return queue_.empty() && batch_.empty(); }
    // How long, so far, something was waiting to get onto the link.
    Duration busy_time() const;

  private:
    static constexpr std::size_t kBatchFrames = 32;

    using FrameList = boost::intrusive::list<OutFrame>;

    void send_more();
    bool limited() const { return limiter_ != nullptr && !limiter_->unlimited(); }
    bool held_by_rate();
    void gather();
    void send_rest();
    void start_send();
    void take_piece();
    void on_sent(std::int64_t result);
    void finish_batch();
    void set_busy(bool busy);

    void receive_more();
    bool dispatch_complete();
    std::size_t parts_to_receive();
    void on_received(std::int64_t result);
    void consume(std::size_t bytes);
    bool take_header();
    bool find_room();
    bool frame_complete() const;
    void dispatch();
    void fail_with(Error error);

    IoEngine& engine_;
    Handle socket_;
    Owner& owner_;
    RateLimiter* limiter_ = nullptr;
    std::uint64_t sending_run_ = 0;
    std::uint64_t receiving_run_ = 0;
    bool closed_ = false;

    // Messages own their bytes; the frames are kept and used again.
    struct MessageFrame;
    std::vector<std::unique_ptr<MessageFrame>> messages_;
    std::vector<MessageFrame*> free_messages_;

    FrameList queue_;
    FrameList batch_;  // frames inside the send under way
    std::vector<iovec> parts_;
    std::size_t first_part_ = 0;
    std::size_t batch_rest_ = 0;
    std::vector<iovec> piece_parts_;  // of the batch, under a rate limit
    msghdr out_{};
    Completion sending_;
    Completion waiting_;  // for the rate limit
    std::uint64_t out_sequence_ = 0;
    std::uint64_t sent_bytes_ = 0;
    std::size_t queued_bytes_ = 0;
    Life taken_;
    bool finishing_ = false;
    bool busy_ = false;
    Instant busy_since_{};
    Duration busy_total_{};

    std::array<std::byte, wire::kHeaderBytes> header_raw_{};
    std::size_t header_have_ = 0;
    std::optional<FrameHeader> header_;
    std::vector<std::byte> head_;
    std::size_t head_have_ = 0;
    MutableByteSpan payload_;
    std::size_t payload_have_ = 0;
    bool held_ = false;
    bool dispatching_ = false;
    std::array<iovec, 3> in_parts_{};
    msghdr in_{};
    Completion receiving_;
    std::uint64_t in_sequence_ = 0;
    std::uint64_t received_bytes_ = 0;
    Life heard_;
    bool listening_ = false;  // a receive is under way, or the next one goes on where it ended
    PieceSize piece_;
};

}  // namespace towline
