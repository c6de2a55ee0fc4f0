// SPDX-License-Identifier: Apache-2.0
// A connection that broke has taken with it what was held over it. A writer must not go on as if it
// had its lock, so nothing mends his. A reader can: objects never change under their names, all
// that he reads is checked against what the point says, and what he held is held again and looked
// for before he is answered. Where it was deleted in between, he is told so for good.

#include "userspace/vault/object_link.hpp"

#include <algorithm>
#include <sys/socket.h>
#include <sys/time.h>
#include <thread>

namespace towline {

using object_wire::Message;
using object_wire::What;

namespace {

constexpr int kSilenceSeconds = 120;
// A server that is started anew is waited for so long; whoever asks later than that is told at
// once, and one of them a second looks whether it is there again.
constexpr Duration kPatience = 3s;
constexpr Duration kPause = 100ms;
constexpr Duration kRetryTime = 1s;

bool is_for_writers(What what) {
    return what == What::kBeginPut || what == What::kWrite || what == What::kCommit ||
           what == What::kRemove;
}

// Of something that ended with the connection anyway.
bool is_farewell(What what) {
    return what == What::kDrop || what == What::kRelease;
}

ByteWriter named(const std::string& name) {
    ByteWriter head;
    object_wire::put_text(head, name);
    return head;
}

std::unexpected<Error> not_of_its_form() {
    return fail(Code::kProtocol, "an answer of the vault's server is not of its form");
}

Result<Message> judged(Result<Message> answer) {
    if (answer && answer->what == What::kFailed)
        return std::unexpected(object_wire::decode_error(answer->head));
    return answer;
}

}  // namespace

Result<std::shared_ptr<ObjectLink>> ObjectLink::open(Dial dial) {
    Fd socket = TRY(dial());
    std::shared_ptr<ObjectLink> link(new ObjectLink(std::move(dial)));
    TRY_STATUS(link->start(std::move(socket)));
    return link;
}

Result<std::shared_ptr<ObjectLink>> ObjectLink::over(Fd socket) {
    std::shared_ptr<ObjectLink> link(new ObjectLink(nullptr));
    TRY_STATUS(link->start(std::move(socket)));
    return link;
}

Status ObjectLink::start(Fd socket) {
    const timeval limit{.tv_sec = kSilenceSeconds, .tv_usec = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    connection_.emplace(std::move(socket));
    ByteWriter hello;
    hello.put(object_wire::kVersion);
    TRY_STATUS(judged(exchange(What::kHello, hello, {})));
    return {};
}

// --- questions ----------------------------------------------------------------------------------

Result<Message> ObjectLink::ask(What what, const ByteWriter& head, ByteSpan body) {
    const std::lock_guard lock(mutex_);
    return judged(ask_locked(what, head, body));
}

Result<Message> ObjectLink::ask_locked(What what, const ByteWriter& head, ByteSpan body) {
    if (is_for_writers(what)) bound_ = true;
    if (connection_) {
        auto answer = exchange(what, head, body);
        if (answer) return answer;
        lose(answer.error());
    }
    if (is_farewell(what)) return std::unexpected(*lost_);
    TRY_STATUS(connect_again());
    auto answer = exchange(what, head, body);
    if (!answer) lose(answer.error());
    return answer;
}

Result<Message> ObjectLink::exchange(What what, const ByteWriter& head, ByteSpan body) {
    TRY_STATUS(connection_->send(what, head.bytes(), body));
    return hear();
}

Result<Message> ObjectLink::hear() const {
    Message answer = TRY(connection_->receive());
    if (answer.what != What::kDone && answer.what != What::kFailed) return not_of_its_form();
    return answer;
}

// So many at a time that neither side waits for the other to take what it says.
Status ObjectLink::ask_all(What what, std::span<const ByteWriter> heads, const Heard& heard) {
    const std::lock_guard lock(mutex_);
    if (!connection_) TRY_STATUS(connect_again());
    for (std::size_t first = 0; first < heads.size(); first += kQuestionsAhead) {
        const auto some = heads.subspan(first, std::min(kQuestionsAhead, heads.size() - first));
        for (const ByteWriter& head : some) {
            const Status sent = connection_->send(what, head.bytes());
            if (sent) continue;
            lose(sent.error());
            return sent;
        }
        for (std::size_t i = 0; i < some.size(); ++i) {
            auto answer = hear();
            if (!answer) {
                lose(answer.error());
                return std::unexpected(answer.error());
            }
            if (answer->what == What::kDone) heard(first + i, std::move(*answer));
        }
    }
    return {};
}

// --- holds --------------------------------------------------------------------------------------

Result<std::uint32_t> ObjectLink::take_hold(const std::string& name, HoldKind kind) {
    ByteWriter head = named(name);
    head.put(static_cast<std::uint8_t>(kind == HoldKind::kExclusive));
    const Message answer = TRY(judged(ask_locked(What::kHold, head, {})));
    if (answer.head.size() != 4) return not_of_its_form();
    return load_le<std::uint32_t>(answer.head.data());
}

Result<std::uint32_t> ObjectLink::hold(const std::string& name, HoldKind kind) {
    const std::lock_guard lock(mutex_);
    if (kind == HoldKind::kExclusive) bound_ = true;
    const std::uint32_t id = TRY(take_hold(name, kind));
    const std::uint32_t number = next_hold_++;
    held_[number] = {.name = name, .id = id};
    return number;
}

void ObjectLink::release(std::uint32_t number) {
    const std::lock_guard lock(mutex_);
    const auto found = held_.find(number);
    if (found == held_.end()) return;
    ByteWriter head;
    head.put(found->second.id);
    held_.erase(found);
    static_cast<void>(ask_locked(What::kRelease, head, {}));
}

// --- a connection that is lost ------------------------------------------------------------------

void ObjectLink::lose(const Error& error) {
    connection_.reset();
    lost_ = error;
}

Status ObjectLink::connect_again() {
    if (bound_ || !dial_) return std::unexpected(*lost_);
    const Instant began = monotonic_now();
    const bool just_lost = !tried_;
    if (!just_lost && began - *tried_ < kRetryTime) return std::unexpected(*lost_);
    for (;;) {
        const Status made = try_again();
        if (made) break;
        tried_ = monotonic_now();
        const bool patient = just_lost && dial_ && *tried_ - began < kPatience;
        if (!patient) return made;
        std::this_thread::sleep_for(kPause);
    }
    tried_.reset();
    return {};
}

Status ObjectLink::try_again() {
    auto socket = dial_();
    Status made = socket ? start(std::move(*socket)) : Status(std::unexpected(socket.error()));
    if (made) made = hold_again();
    if (!made) {
        lose(made.error());
        return made;
    }
    lost_.reset();
    return {};
}

Status ObjectLink::hold_again() {
    for (auto& [number, held] : held_) {
        ByteWriter head = named(held.name);
        head.put(std::uint8_t{0});
        const Message answer = TRY(judged(exchange(What::kHold, head, {})));
        if (answer.head.size() != 4) return not_of_its_form();
        held.id = load_le<std::uint32_t>(answer.head.data());
        const Message size = TRY(judged(exchange(What::kSize, named(held.name), {})));
        if (!size.head.empty()) continue;
        dial_ = nullptr;
        return fail(Code::kRefused,
                    "what was read from the vault was deleted while its server was not reached");
    }
    return {};
}

}  // namespace towline
