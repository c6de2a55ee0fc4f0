// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <optional>

#include "io/clock.hpp"
#include "userspace/vault/object_store.hpp"
#include "userspace/vault/object_wire.hpp"

namespace towline {

// A host's end of the objects' wire: questions and their answers, one at a time. Who only reads is
// connected again when the connection was lost; who writes never is. Safe to use from several
// threads.
class ObjectLink {
  public:
    using Dial = std::function<Result<Fd>()>;

    // `dial` makes the connection, and makes it again.
    static Result<std::shared_ptr<ObjectLink>> open(Dial dial);
    // Over a connection that is there, and that nobody can make again.
    static Result<std::shared_ptr<ObjectLink>> over(Fd socket);

    Result<object_wire::Message> ask(object_wire::What what, const ByteWriter& head,
                                     ByteSpan body = {});
    // Several of a kind without waiting for each answer: they take one round trip. `heard` is
    // called for those that were answered well, with their place.
    using Heard = std::function<void(std::size_t place, object_wire::Message answer)>;
    Status ask_all(object_wire::What what, std::span<const ByteWriter> heads, const Heard& heard);

    // A number for release(). Held again over the next connection, if it is shared.
    Result<std::uint32_t> hold(const std::string& name, HoldKind kind);
    void release(std::uint32_t number);

    static constexpr std::size_t kQuestionsAhead = 32;

  private:
    struct Held {
        std::string name;
        std::uint32_t id = 0;  // over this connection
    };

    explicit ObjectLink(Dial dial) : dial_(std::move(dial)) {}
    Status start(Fd socket);
    Result<object_wire::Message> ask_locked(object_wire::What what, const ByteWriter& head,
                                            ByteSpan body);
    Result<object_wire::Message> exchange(object_wire::What what, const ByteWriter& head,
                                          ByteSpan body);
    Result<object_wire::Message> hear() const;
    Result<std::uint32_t> take_hold(const std::string& name, HoldKind kind);
    Status connect_again();
    Status try_again();
    Status hold_again();
    void lose(const Error& error);

    std::mutex mutex_;  // over all below
    Dial dial_;         // null: what is lost is lost
    std::optional<object_wire::Connection> connection_;
    std::optional<Error> lost_;     // why there is none
    std::optional<Instant> tried_;  // when it was last made again, in vain
    // Something is under way, or held for writing, that another connection would not have.
    bool bound_ = false;
    std::uint32_t next_hold_ = 1;
    std::map<std::uint32_t, Held> held_;
};

}  // namespace towline
