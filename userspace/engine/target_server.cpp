// SPDX-License-Identifier: Apache-2.0
// Accepting and telling apart. A connection's hello is only peeked at, with a time limit and on its
// own thread, so that a silent peer holds up nobody; then either a session is made of it or it is
// handed to one.

#include "userspace/engine/target_server.hpp"

#include <array>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "transport/frame.hpp"
#include "userspace/vault/object_wire.hpp"

namespace towline {

struct TargetServer::Session {
    Session(EngineKind kind, const TargetPipeline::Config& config) : session(kind, config) {}
    TargetSession session;
    std::thread thread;
    NameClaims::Session number = 0;
    // Under the server's mutex:
    std::string name;      // that it has
    bool running = false;  // it is a session, not (yet) a connection on its way to one
    bool told_to_end = false;
    bool ended = false;
    int objects = -1;  // the socket of one that asks for objects
};

namespace {

constexpr int kHelloSeconds = 10;
constexpr Duration kFenceTime = 30s;
// Runs that come one after another find their memory warm; an idle server holds no more.
constexpr std::size_t kArenasKept = 1;

// What a connection begins with, left in the socket for whoever takes it.
Status peek(int fd, MutableByteSpan into) {
    timeval limit{.tv_sec = kHelloSeconds, .tv_usec = 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const ssize_t got = ::recv(fd, into.data(), into.size(), MSG_PEEK | MSG_WAITALL);
    limit.tv_sec = 0;
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (got != static_cast<ssize_t>(into.size())) return fail(Code::kTimeout, "no hello came");
    return {};
}

bool asks_for_objects(int fd) {
    std::array<std::byte, 4> magic{};
    return peek(fd, magic) && load_le<std::uint32_t>(magic.data()) == object_wire::kMagic;
}

// A host that vanished while it holds a name of the vault keeps nobody from it for long.
void notice_vanished(int fd) {
    static constexpr std::array<std::pair<int, int>, 3> kProbes{
        {{TCP_KEEPIDLE, 15}, {TCP_KEEPINTVL, 5}, {TCP_KEEPCNT, 4}}};
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    for (const auto& [option, value] : kProbes)
        ::setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value);
}

Result<HelloMessage> peek_hello(int fd) {
    std::array<std::byte, wire::kHeaderBytes + wire::kHelloHeadBytes> raw{};
    TRY_STATUS(peek(fd, raw));
    const FrameHeader header = TRY(FrameHeader::decode(raw));
    if (header.type != wire::FrameType::kHello || header.head_bytes != wire::kHelloHeadBytes) {
        return fail(Code::kProtocol, "the connection did not begin with a hello");
    }
    const Message message =
        TRY(decode_message(header.type, ByteSpan(raw).subspan(wire::kHeaderBytes)));
    return std::get<HelloMessage>(message);
}

}  // namespace

TargetServer::TargetServer(Config config) : config_(std::move(config)), shelf_(kArenasKept) {
    config_.pipeline.shelf = &shelf_;
}

TargetServer::~TargetServer() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
        for (const auto& each : sessions_) {
            each->session.cancel({Code::kCancelled, 0, "the target is shutting down"});
            if (each->objects >= 0) ::shutdown(each->objects, SHUT_RDWR);
        }
    }
    for (const auto& each : sessions_)
        each->thread.join();
}

void TargetServer::reap() {
    std::list<std::unique_ptr<Session>> done;
    const std::lock_guard lock(mutex_);
    for (auto each = sessions_.begin(); each != sessions_.end();) {
        const auto next = std::next(each);
        if ((*each)->ended) done.splice(done.end(), sessions_, each);
        each = next;
    }
    for (const auto& each : done)
        each->thread.join();
}

Status TargetServer::serve(Listener& listener) {
    for (;;) {
        auto socket = listener.accept();
        if (!socket && socket.error().code == Code::kCancelled) return {};
        if (!socket) return std::unexpected(socket.error());
        reap();
        const std::lock_guard lock(mutex_);
        // More peers than that: the newest is turned away; it may come again.
        if (sessions_.size() >= config_.sessions_max) continue;
        sessions_.push_back(std::make_unique<Session>(config_.engine, config_.pipeline));
        Session* session = sessions_.back().get();
        session->number = claims_.arrive();
        session->thread = std::thread([this, session, taken = std::move(*socket)]() mutable {
            serve_connection(*session, std::move(taken));
        });
    }
}

void TargetServer::serve_connection(Session& session, Fd socket) {
    if (asks_for_objects(socket.get())) {
        run_objects(session, std::move(socket));
    } else {
        greet(session, std::move(socket));
    }
    const std::lock_guard lock(mutex_);
    session.ended = true;
    claims_.leave(session.number);
    claims_changed_.notify_all();
}

void TargetServer::greet(Session& session, Fd socket) {
    const auto hello = peek_hello(socket.get());
    if (!hello) return;
    if (hello->join_token.is_nil()) {
        run_session(session, std::move(socket));
    } else {
        hand_over(hello->join_token, socket);
    }
}

void TargetServer::run_objects(Session& session, Fd socket) {
    if (!config_.serve_objects) {
        const Error none{Code::kRefused, 0,
                         "this daemon keeps no encrypted vault (towline serve --vault DIR)"};
        const object_wire::Connection connection(std::move(socket));
        // Heard first: what is closed with something unheard may lose what was said.
        static_cast<void>(connection.receive());
        static_cast<void>(connection.send(object_wire::What::kFailed, object_wire::encode(none)));
        return;
    }
    notice_vanished(socket.get());
    // Shut down by its other name: that one is no other file's until it is forgotten here.
    const Fd shut(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
    {
        const std::lock_guard lock(mutex_);
        if (closing_) return;
        session.objects = shut.get();
    }
    const Status served = config_.serve_objects(std::move(socket));
    {
        const std::lock_guard lock(mutex_);
        session.objects = -1;
    }
    config_.log(served ? "objects of the vault: done"
                       : "objects of the vault: " + served.error().text());
}

bool TargetServer::hand_over(const Uuid& token, Fd& socket) {
    const std::lock_guard lock(mutex_);
    for (const auto& each : sessions_) {
        if (!each->running || each->ended || each->session.join_token() != token) continue;
        each->session.join(std::move(socket));
        return true;
    }
    return false;
}

void TargetServer::run_session(Session& session, Fd socket) {
    {
        const std::lock_guard lock(mutex_);
        session.running = true;
    }
    const auto store =
        config_.open_store([&](const std::string& name, const Uuid& source, bool dry_run) {
            return claim(session, name, source, dry_run);
        });
    const Status done = session.session.run(std::move(socket), *store);
    const std::string who = session.name.empty() ? "a session" : session.name;
    config_.log(done ? who + ": sealed" : who + ": " + done.error().text());
}

// One session a target. An earlier one of the same source is ended, and waited for, before anything
// else is touched.
Status TargetServer::claim(Session& session, const std::string& name, const Uuid& source,
                           bool dry_run) {
    using Verdict = NameClaims::Verdict;
    std::unique_lock lock(mutex_);
    const auto until = std::chrono::steady_clock::now() + kFenceTime;
    for (bool patient = true;;) {
        const auto [verdict, other] = claims_.ask(session.number, name, source, dry_run);
        switch (verdict) {
            case Verdict::kYours:
                session.name = name;
                return {};
            case Verdict::kBusy:
                return fail(Code::kBusy, "the target " + name +
                                             " is being written by another run; try again later");
            case Verdict::kFenced:
                return fail(Code::kBusy, "a newer session of the same source took over");
            case Verdict::kWait:
                break;
        }
        if (!patient) {
            claims_.leave(session.number);
            return fail(Code::kBusy,
                        "an earlier session of this source does not end; try again later");
        }
        end_session(*other);
        patient = claims_changed_.wait_until(lock, until) == std::cv_status::no_timeout;
    }
}

// Under the mutex.
void TargetServer::end_session(NameClaims::Session number) {
    for (const auto& each : sessions_) {
        if (each->number != number || each->told_to_end) continue;
        each->told_to_end = true;
        each->session.cancel({Code::kCancelled, 0, "a newer session of the same source took over"});
    }
}

}  // namespace towline
