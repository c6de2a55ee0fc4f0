// SPDX-License-Identifier: Apache-2.0
// libmicrohttpd reads and writes; here is what it calls. Its own timeout is of silence, which a
// client that sends a byte every so often never reaches: how long a request may take from its first
// byte on is watched here.

#include "userspace/control/http_server.hpp"

#include <algorithm>
#include <list>
#include <microhttpd.h>
#include <mutex>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "io/clock.hpp"
#include "io/fd.hpp"

namespace towline {

namespace {

constexpr std::size_t kBodyMax = std::size_t{64} * 1024;
constexpr unsigned kConnectionsMax = 256;
constexpr unsigned kSilenceSecondsMax = 40;  // more than a stream's heartbeat and a wait
constexpr Duration kRequestTimeMax = std::chrono::seconds(60);
constexpr Duration kLastAnswersTime = std::chrono::seconds(2);
constexpr std::size_t kHeaderBytesMax = std::size_t{32} * 1024;
constexpr std::size_t kStreamPieceBytes = std::size_t{16} * 1024;
constexpr std::size_t kStackBytes = std::size_t{1} << 20;

std::string lower(std::string_view text) {
    std::string result(text);
    for (char& letter : result)
        if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    return result;
}

// What is known of a connection, from its begin to its end.
struct Connection {
    int socket = -1;
    Instant request_began{};
    bool waiting = true;  // for a request to be whole
};

struct PendingStream {
    HttpStream stream;
    std::string pending;
};

ssize_t read_stream(void* context, std::uint64_t, char* into, std::size_t room) {
    auto& stream = *static_cast<PendingStream*>(context);
    if (stream.pending.empty()) stream.pending = stream.stream();
    if (stream.pending.empty()) return MHD_CONTENT_READER_END_OF_STREAM;
    const std::size_t count = std::min(room, stream.pending.size());
    std::copy_n(stream.pending.begin(), count, into);
    stream.pending.erase(0, count);
    return static_cast<ssize_t>(count);
}

void free_stream(void* context) {
    delete static_cast<PendingStream*>(context);
}

MHD_Result add_header(void* context, MHD_ValueKind, const char* name, const char* value) {
    auto& request = *static_cast<HttpRequest*>(context);
    request.headers[lower(name)] = value == nullptr ? "" : value;
    return MHD_YES;
}

MHD_Result add_query(void* context, MHD_ValueKind, const char* name, const char* value) {
    auto& request = *static_cast<HttpRequest*>(context);
    request.query.emplace_back(name, value == nullptr ? "" : value);
    return MHD_YES;
}

}  // namespace

class HttpServer::Impl {
  public:
    Impl(std::optional<Roles> roles, Handler handler)
        : roles_(std::move(roles)), handler_(std::move(handler)) {}
    ~Impl() {
        if (daemon_ == nullptr) return;
        // Nobody new; who is being answered gets the answer's end.
        const Fd listening(MHD_quiesce_daemon(daemon_));
        const Instant until = monotonic_now() + kLastAnswersTime;
        while (is_answering() && monotonic_now() < until)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        MHD_stop_daemon(daemon_);
    }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    Status start(int socket) {
        // The library closes the socket that it is given.
        Fd copy(::dup(socket));
        if (!copy) return fail_errno("cannot take the control socket");
        // By poll: select, the default, cannot wait for a descriptor of 1024 or more, which a
        // daemon with many runs has, and the connection would be reset.
        daemon_ = MHD_start_daemon(
            MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL_INTERNAL_THREAD, 0, nullptr, nullptr,
            &Impl::on_request, this, MHD_OPTION_LISTEN_SOCKET, copy.get(),
            MHD_OPTION_CONNECTION_LIMIT, kConnectionsMax, MHD_OPTION_CONNECTION_TIMEOUT,
            kSilenceSecondsMax, MHD_OPTION_CONNECTION_MEMORY_LIMIT, kHeaderBytesMax,
            MHD_OPTION_THREAD_STACK_SIZE, kStackBytes, MHD_OPTION_NOTIFY_COMPLETED,
            &Impl::on_completed, this, MHD_OPTION_NOTIFY_CONNECTION, &Impl::on_connection, this,
            MHD_OPTION_END);
        if (daemon_ == nullptr) return fail_errno("cannot serve the control socket");
        static_cast<void>(copy.release());
        return {};
    }

    void cut_off_slow() {
        const Instant now = monotonic_now();
        const std::lock_guard lock(mutex_);
        for (const Connection& each : connections_)
            if (each.waiting && now - each.request_began > kRequestTimeMax)
                ::shutdown(each.socket, SHUT_RDWR);
    }

  private:
    bool is_answering() {
        const std::lock_guard lock(mutex_);
        return std::any_of(connections_.begin(), connections_.end(),
                           [](const Connection& each) { return !each.waiting; });
    }

    static void on_connection(void* self, MHD_Connection* connection, void** context,
                              MHD_ConnectionNotificationCode what) {
        auto& server = *static_cast<Impl*>(self);
        const std::lock_guard lock(server.mutex_);
        if (what == MHD_CONNECTION_NOTIFY_STARTED) {
            server.connections_.push_back(
                {.socket = socket_of(connection), .request_began = monotonic_now()});
            *context = &server.connections_.back();
        } else {
            server.connections_.remove_if(
                [&](const Connection& each) { return &each == *context; });
        }
    }

    static int socket_of(MHD_Connection* connection) {
        return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    }

    void set_waiting(MHD_Connection* connection, bool waiting) {
        const auto* info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        const std::lock_guard lock(mutex_);
        auto* known = static_cast<Connection*>(info->socket_context);
        if (known == nullptr) return;
        known->waiting = waiting;
        known->request_began = monotonic_now();
    }

    static MHD_Result on_request(void* self, MHD_Connection* connection, const char* path,
                                 const char* method, const char*, const char* data,
                                 std::size_t* data_bytes, void** context) {
        auto& server = *static_cast<Impl*>(self);
        auto* request = static_cast<HttpRequest*>(*context);
        if (request == nullptr) {
            *context = server.begin(connection, path, method).release();
            return *context == nullptr ? MHD_NO : MHD_YES;
        }
        if (*data_bytes > 0) {
            take_body(*request, {data, *data_bytes});
            *data_bytes = 0;
            return MHD_YES;
        }
        server.set_waiting(connection, false);
        return reply(connection, server.handler_(*request));
    }

    std::unique_ptr<HttpRequest> begin(MHD_Connection* connection, const char* path,
                                       const char* method) {
        auto request = std::make_unique<HttpRequest>();
        request->method = method;
        request->path = path;
        if (roles_) {
            auto peer = peer_of(socket_of(connection), *roles_);
            if (!peer) return nullptr;
            request->peer = *peer;
        }
        MHD_get_connection_values(connection, MHD_HEADER_KIND, &add_header, request.get());
        MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, &add_query, request.get());
        return request;
    }

    // What is too much is read and forgotten, so that the client hears why.
    static void take_body(HttpRequest& request, std::string_view piece) {
        if (request.body.size() + piece.size() > kBodyMax) {
            request.body_too_large = true;
            request.body.clear();
        }
        if (!request.body_too_large) request.body += piece;
    }

    static MHD_Result reply(MHD_Connection* connection, const HttpAnswer& answer) {
        MHD_Response* response = nullptr;
        if (answer.stream) {
            auto* stream = new PendingStream{answer.stream, ""};
            response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, kStreamPieceBytes,
                                                         &read_stream, stream, &free_stream);
            if (response == nullptr) delete stream;
        } else {
            // The library copies, and changes nothing.
            response = MHD_create_response_from_buffer(
                answer.body.size(), const_cast<char*>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
        }
        if (response == nullptr) return MHD_NO;
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.type.c_str());
        for (const auto& [name, value] : answer.headers)
            MHD_add_response_header(response, name.c_str(), value.c_str());
        const MHD_Result queued =
            MHD_queue_response(connection, static_cast<unsigned>(answer.status), response);
        MHD_destroy_response(response);
        return queued;
    }

    static void on_completed(void* self, MHD_Connection* connection, void** context,
                             MHD_RequestTerminationCode) {
        auto* request = static_cast<HttpRequest*>(*context);
        if (request == nullptr) return;
        delete request;
        *context = nullptr;
        static_cast<Impl*>(self)->set_waiting(connection, true);
    }

    const std::optional<Roles> roles_;
    const Handler handler_;
    MHD_Daemon* daemon_ = nullptr;
    std::mutex mutex_;
    std::list<Connection> connections_;  // under mutex_
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

Result<std::unique_ptr<HttpServer>> HttpServer::start(int socket, std::optional<Roles> roles,
                                                      Handler handler) {
    auto impl = std::make_unique<Impl>(std::move(roles), std::move(handler));
    TRY_STATUS(impl->start(socket));
    return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

void HttpServer::cut_off_slow() {
    impl_->cut_off_slow();
}

}  // namespace towline
