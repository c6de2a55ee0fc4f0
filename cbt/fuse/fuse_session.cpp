// SPDX-License-Identifier: Apache-2.0
// The connection to the kernel: threads that read a request, answer it, and read the next. libfuse
// does the protocol; reading is done here, for two reasons.
//
// O_DIRECT wants the bytes of a write at an aligned address, and in a request they come behind 80
// bytes of header: so a request is read to just before a page. And a connection that is handed over
// to another process is past its INIT, without which libfuse answers nothing: the successor's
// session is given the same INIT once more, and its reply is dropped.

#include "cbt/fuse/fuse_session.hpp"

#include <csignal>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io/arena.hpp"

namespace towline {

namespace {

constexpr std::size_t kWriteHeaderBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);
constexpr int kStopSignal = SIGUSR1;

thread_local MutableByteSpan scratch_of_thread;

void wake_from_read(int) {}

ssize_t reply(int fd, struct iovec* pieces, int count, void* userdata) {
    if (static_cast<FuseSession*>(userdata)->replaying()) {
        std::size_t total = 0;
        for (int i = 0; i < count; ++i)
            total += pieces[i].iov_len;
        return static_cast<ssize_t>(total);
    }
    return ::writev(fd, pieces, count);
}

ssize_t read_request(int fd, void* into, std::size_t bytes, void*) {
    return ::read(fd, into, bytes);
}

}  // namespace

Result<std::unique_ptr<FuseSession>> FuseSession::create(Fd device,
                                                         const fuse_lowlevel_ops& operations,
                                                         void* owner, std::vector<std::byte> init) {
    std::unique_ptr<FuseSession> session(new FuseSession());
    session->device_ = std::move(device);
    session->owner_ = owner;
    session->init_ = std::move(init);

    char name[] = "towline";
    char* words[] = {name, nullptr};
    struct fuse_args args = FUSE_ARGS_INIT(1, words);
    session->session_ = fuse_session_new(&args, &operations, sizeof operations, session.get());
    fuse_opt_free_args(&args);
    if (session->session_ == nullptr) return fail(Code::kUnsupported, "libfuse makes no session");
    // The session closes its descriptor at its end; ours may be handed over.
    const int own = ::fcntl(session->device_.get(), F_DUPFD_CLOEXEC, 0);
    if (own < 0) return fail_errno("duplicating the FUSE device");
    struct fuse_custom_io io {};
    io.writev = reply;
    io.read = read_request;
    if (fuse_session_custom_io(session->session_, &io, own) != 0) {
        ::close(own);
        return fail(Code::kUnsupported, "libfuse takes no connection of ours");
    }
    if (!session->init_.empty()) {
        session->replaying_ = true;
        struct fuse_buf buffer {};
        buffer.size = session->init_.size();
        buffer.mem = session->init_.data();
        fuse_session_process_buf(session->session_, &buffer);
        session->replaying_ = false;
    }
    return session;
}

FuseSession::~FuseSession() {
    stop();
    if (session_ != nullptr) fuse_session_destroy(session_);
}

Status FuseSession::start(unsigned thread_count, std::function<void()> ended) {
    struct sigaction action {};
    action.sa_handler = wake_from_read;  // without SA_RESTART: read(2) returns
    if (::sigaction(kStopSignal, &action, nullptr) != 0) return fail_errno("sigaction");
    ended_ = std::move(ended);
    stopping_ = false;
    working_ = thread_count;
    for (unsigned i = 0; i < thread_count; ++i)
        workers_.emplace_back([this] { work(); });
    return {};
}

void FuseSession::stop() {
    stopping_ = true;
    // A signal that comes just before the read is lost, so it is sent until all have ended.
    while (working_ > 0) {
        for (std::thread& worker : workers_)
            ::pthread_kill(worker.native_handle(), kStopSignal);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    for (std::thread& worker : workers_)
        worker.join();
    workers_.clear();
}

void FuseSession::work() {
    const Arena memory(kFusePageBytes + kFuseDataBytesMax + 2 * kFusePageBytes);
    const MutableByteSpan data = memory.bytes().subspan(kFusePageBytes);
    std::byte* const request = data.data() - kWriteHeaderBytes;
    scratch_of_thread = data;
    while (!stopping_) {
        const ssize_t got =
            ::read(device_.get(), request, kWriteHeaderBytes + kFuseDataBytesMax + kFusePageBytes);
        // ENOENT: whoever asked has given up meanwhile.
        if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) continue;
        if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) {
            gone_ = true;
            break;
        }
        if (load_le<std::uint32_t>(request + offsetof(fuse_in_header, opcode)) == FUSE_INIT) {
            const std::lock_guard lock(mutex_);
            init_.assign(request, request + got);
        }
        struct fuse_buf buffer {};
        buffer.size = static_cast<std::size_t>(got);
        buffer.mem = request;
        fuse_session_process_buf(session_, &buffer);
    }
    const auto ended = ended_;
    if (--working_ == 0 && gone_ && ended) ended();
}

std::vector<std::byte> FuseSession::init_request() const {
    const std::lock_guard lock(mutex_);
    return init_;
}

MutableByteSpan FuseSession::scratch() {
    return scratch_of_thread;
}

}  // namespace towline
