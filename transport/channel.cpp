// SPDX-License-Identifier: Apache-2.0
// Frames over one stream. Sending: whatever waits is gathered into one sendmsg, and each header but
// the last of the batch says that the next follows at once, so that the receiver may wait for
// payload and next header in one call. Receiving: a header names the sizes, then head, payload and
// (if promised) the next header are received together; payload lands in the owner's buffer and is
// never copied.

#include "transport/channel.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <climits>

#include "io/check.hpp"
#include "io/checksum.hpp"

namespace towline {

struct Channel::MessageFrame {
    OutFrame frame;
    std::vector<std::byte> bytes;
};

namespace {

iovec part_of(ByteSpan bytes) {
    return {.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()};
}

}  // namespace

Channel::Channel(IoEngine& engine, Handle socket, Owner& owner)
    : engine_(engine),
      socket_(socket),
      owner_(owner),
      taken_(engine.now()),
      heard_(engine.now()),
      piece_(engine.now()) {
    sending_.on_done([this](std::int64_t result) { on_sent(result); });
    receiving_.on_done([this](std::int64_t result) { on_received(result); });
    waiting_.on_done([this](std::int64_t) {
        if (closed_) return;
        if (batch_.empty()) return send_more();
        // While the rate held us back, the peer refused nothing.
        taken_.see(engine_.now());
        send_rest();
    });
}

Channel::~Channel() {
    CHECK(idle());
    queue_.clear();
    batch_.clear();
}

void Channel::send(OutFrame& frame) {
    queue(frame);
    send_more();
}

void Channel::queue(OutFrame& frame) {
    if (closed_) return;
    frame.run_ = sending_run_;
    frame.bytes_ = wire::kHeaderBytes + frame.head.size();
    for (const iovec& part : frame.payload)
        frame.bytes_ += part.iov_len;
    queued_bytes_ += frame.bytes_;
    queue_.push_back(frame);
}

void Channel::send_message(const Message& message) {
    if (closed_) return;
    if (free_messages_.empty()) {
        messages_.push_back(std::make_unique<MessageFrame>());
        free_messages_.push_back(messages_.back().get());
    }
    MessageFrame* carrier = free_messages_.back();
    free_messages_.pop_back();
    carrier->bytes = encode_message(message);
    carrier->frame.type = type_of(message);
    carrier->frame.head = carrier->bytes;
    carrier->frame.on_sent = [this, carrier] { free_messages_.push_back(carrier); };
    send(carrier->frame);
}

void Channel::set_busy(bool busy) {
    if (busy == busy_) return;
    if (busy) busy_since_ = engine_.now();
    if (!busy) busy_total_ += engine_.now() - busy_since_;
    busy_ = busy;
}

Duration Channel::busy_time() const {
    return busy_total_ + (busy_ ? engine_.now() - busy_since_ : Duration{});
}

Duration Channel::send_silence() const {
    return sending_.busy() ? taken_.silence(engine_.now()) : Duration{};
}

Duration Channel::silence() const {
    const Duration unheard = receiving_.busy() ? heard_.silence(engine_.now()) : Duration{};
    return std::max(unheard, send_silence());
}

void Channel::send_more() {
    if (closed_ || finishing_ || sending_.busy() || waiting_.busy()) return;
    if (queue_.empty()) return set_busy(false);
    set_busy(true);
    if (held_by_rate()) return;
    gather();
    taken_.see(engine_.now());
    start_send();
}

void Channel::send_rest() {
    if (!held_by_rate()) start_send();
}

bool Channel::held_by_rate() {
    if (!limited()) return false;
    const Instant now = engine_.now();
    const Instant ready = limiter_->ready_at(now);
    if (ready <= now) return false;
    engine_.wait_until(ready, waiting_);
    return true;
}

void Channel::gather() {
    // A limited link gets one frame at a time: a message does not wait behind several of Data.
    const std::size_t frames_max = limited() ? 1 : kBatchFrames;
    parts_.clear();
    first_part_ = 0;
    batch_rest_ = 0;
    std::size_t frames = 0;
    do {
        OutFrame& frame = queue_.front();
        queue_.pop_front();
        batch_.push_back(frame);
        ++frames;
        batch_rest_ += frame.bytes_;
        const bool next_follows = !queue_.empty() && frames < frames_max &&
                                  batch_rest_ + queue_.front().bytes_ <= kBatchBytes;
        FrameHeader header{.type = frame.type,
                           .flags = next_follows ? wire::kFlagNextFollows : std::uint16_t{0},
                           .run = frame.run_,
                           .sequence = out_sequence_++,
                           .head_bytes = static_cast<std::uint32_t>(frame.head.size()),
                           .payload_bytes = static_cast<std::uint32_t>(
                               frame.bytes_ - wire::kHeaderBytes - frame.head.size()),
                           .head_crc = crc32c(frame.head)};
        header.encode(frame.header_);
        parts_.push_back(part_of(frame.header_));
        if (!frame.head.empty()) parts_.push_back(part_of(frame.head));
        parts_.insert(parts_.end(), frame.payload.begin(), frame.payload.end());
        if (!next_follows) break;
    } while (true);
}

void Channel::start_send() {
    out_ = {};
    if (limited()) {
        take_piece();
        out_.msg_iov = piece_parts_.data();
        out_.msg_iovlen = piece_parts_.size();
    } else {
        out_.msg_iov = parts_.data() + first_part_;
        out_.msg_iovlen = std::min<std::size_t>(parts_.size() - first_part_, IOV_MAX);
    }
    engine_.send(socket_, &out_, sending_);
}

// Paid for as a whole, a frame would keep the peer without a sign of life for as long as it costs.
void Channel::take_piece() {
    std::size_t room = std::max<std::size_t>(limiter_->smooth_bytes(), Life::kBytes);
    piece_parts_.clear();
    for (std::size_t at = first_part_; at < parts_.size() && room > 0; ++at) {
        if (piece_parts_.size() == IOV_MAX) return;
        iovec part = parts_[at];
        part.iov_len = std::min(part.iov_len, room);
        room -= part.iov_len;
        piece_parts_.push_back(part);
    }
}

void Channel::on_sent(std::int64_t result) {
    if (closed_) return;
    if (result == -EINTR || result == -EAGAIN) return start_send();
    if (result <= 0) {
        return fail_with(
            {Code::kDisconnected, static_cast<int>(-result), "the connection broke while sending"});
    }
    auto taken = static_cast<std::size_t>(result);
    taken_.add(taken, engine_.now());
    if (limiter_ != nullptr) limiter_->spend(taken, engine_.now());
    sent_bytes_ += taken;
    batch_rest_ -= taken;
    if (batch_rest_ == 0) return finish_batch();
    while (taken >= parts_[first_part_].iov_len)
        taken -= parts_[first_part_++].iov_len;
    iovec& part = parts_[first_part_];
    part = {.iov_base = static_cast<std::byte*>(part.iov_base) + taken,
            .iov_len = part.iov_len - taken};
    send_rest();
}

void Channel::finish_batch() {
    // on_sent may queue new frames on this channel. Their send starts when the old batch is done
    // with: gathered now, they would be taken for sent, and their buffers read into while they
    // wait.
    finishing_ = true;
    while (!batch_.empty()) {
        OutFrame& frame = batch_.front();
        batch_.pop_front();
        queued_bytes_ -= frame.bytes_;
        frame.on_sent();
    }
    finishing_ = false;
    send_more();
    if (!closed_) owner_.on_sent_some(*this);
}

void Channel::resume() {
    if (closed_ || receiving_.busy() || dispatching_) return;
    receive_more();
}

void Channel::hold(bool held) {
    held_ = held;
    if (!held) resume();
}

// Dispatches all that is complete, then asks for what is missing.
void Channel::receive_more() {
    const bool went_on = std::exchange(listening_, false);
    const bool ended_frames = dispatch_complete();
    if (closed_ || held_ || receiving_.busy()) return;
    if (header_ && !find_room()) return;
    listening_ = true;
    // While we did not listen, the peer was not silent.
    if (!went_on || ended_frames) heard_.see(engine_.now());
    in_ = {};
    in_.msg_iovlen = parts_to_receive();
    in_.msg_iov = in_parts_.data();
    engine_.receive(socket_, &in_, header_ ? ReceiveMode::kAll : ReceiveMode::kSome, receiving_);
}

bool Channel::dispatch_complete() {
    bool any = false;
    dispatching_ = true;
    while (!closed_ && !held_ && header_ && frame_complete()) {
        dispatch();
        any = true;
    }
    dispatching_ = false;
    return any;
}

// Head, payload and, where it is promised, the next header: as much of them as a piece is.
std::size_t Channel::parts_to_receive() {
    std::size_t count = 0;
    std::size_t room = header_ ? piece_.bytes() : wire::kHeaderBytes;
    const auto add = [&](std::span<std::byte> part) {
        part = part.first(std::min(part.size(), room));
        room -= part.size();
        if (!part.empty()) in_parts_[count++] = part_of(part);
    };
    if (header_) {
        add(std::span(head_).subspan(head_have_));
        add(payload_.subspan(payload_have_));
    }
    if (!header_ || (header_->flags & wire::kFlagNextFollows) != 0)
        add(std::span(header_raw_).subspan(header_have_));
    return count;
}

bool Channel::find_room() {
    if (header_->payload_bytes == 0 || !payload_.empty()) return true;
    payload_ = owner_.payload_room(*this, *header_);
    if (payload_.empty()) return false;
    CHECK(payload_.size() >= header_->payload_bytes);
    payload_ = payload_.first(header_->payload_bytes);
    return true;
}

bool Channel::frame_complete() const {
    return head_have_ == header_->head_bytes && payload_have_ == header_->payload_bytes;
}

void Channel::on_received(std::int64_t result) {
    if (closed_) return;
    if (result == -EINTR || result == -EAGAIN) return receive_more();
    if (result == 0) return fail_with({Code::kDisconnected, 0, "the peer closed the connection"});
    if (result < 0) {
        return fail_with({Code::kDisconnected, static_cast<int>(-result), "the connection broke"});
    }
    const Instant now = engine_.now();
    const auto came_bytes = static_cast<std::size_t>(result);
    heard_.add(came_bytes, now);
    piece_.add(came_bytes, now);
    received_bytes_ += came_bytes;
    consume(static_cast<std::size_t>(result));
    if (!header_ && header_have_ == wire::kHeaderBytes && !take_header()) return;
    receive_more();
}

// Spreads what arrived over the parts that were asked for, in their order.
void Channel::consume(std::size_t bytes) {
    if (header_) {
        const std::size_t head = std::min(bytes, head_.size() - head_have_);
        head_have_ += head;
        bytes -= head;
        const std::size_t payload = std::min(bytes, payload_.size() - payload_have_);
        payload_have_ += payload;
        bytes -= payload;
    }
    header_have_ += bytes;
    CHECK(header_have_ <= wire::kHeaderBytes);
}

bool Channel::take_header() {
    auto header = FrameHeader::decode(header_raw_);
    header_have_ = 0;
    if (!header) {
        fail_with(header.error());
        return false;
    }
    if (header->sequence != in_sequence_++) {
        fail_with({Code::kProtocol, 0, "the peer's frames are out of sequence"});
        return false;
    }
    // An error or a ping may have been under way while the run began.
    const bool of_any_run =
        header->type == wire::FrameType::kError || header->type == wire::FrameType::kPing;
    if (header->run != receiving_run_ && !of_any_run) {
        fail_with({Code::kProtocol, 0, "the peer sent a frame of another run"});
        return false;
    }
    header_ = *header;
    head_.resize(header->head_bytes);
    head_have_ = 0;
    payload_ = {};
    payload_have_ = 0;
    return true;
}

void Channel::dispatch() {
    const FrameHeader header = *header_;
    const MutableByteSpan payload = payload_;
    header_.reset();
    payload_ = {};
    if (crc32c(head_) != header.head_crc) {
        return fail_with({Code::kCorrupt, 0, "a message arrived damaged (CRC mismatch)"});
    }
    if (header.type == wire::FrameType::kData) {
        owner_.on_data(*this, head_, payload);
    } else {
        auto message = decode_message(header.type, head_);
        if (!message) return fail_with(message.error());
        owner_.on_message(*this, std::move(*message));
    }
    if (!closed_ && header_have_ == wire::kHeaderBytes) static_cast<void>(take_header());
}

void Channel::fail_with(Error error) {
    if (closed_) return;
    close();
    owner_.on_closed(*this, std::move(error));
}

void Channel::close() {
    if (closed_) return;
    closed_ = true;
    set_busy(false);
    if (waiting_.busy()) engine_.cancel_wait(waiting_);
    engine_.shut_down(socket_);
}

}  // namespace towline
