// SPDX-License-Identifier: Apache-2.0
// The engine for systems that give us no io_uring: libaio for files, epoll for sockets.
//
// Disk operations are queued and handed over once a turn. Socket operations are tried at once
// (MSG_DONTWAIT, whatever the descriptor's mode) and, where that would block, tried again when
// epoll reports the socket. Everything is watched edge-triggered, so that nothing is registered or
// read back per operation: a descriptor reports anew after each change, and whoever waits has seen
// it unready before that.
//
// A file that is not open with O_DIRECT works too, but the kernel then does its transfers within
// io_submit(): the loop stands still meanwhile.

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <vector>

#include <libaio.h>

#include "io/engine_backends.hpp"
#include "io/kernel_engine.hpp"

namespace towline {

namespace {

constexpr int kInKernelMax = 512;
constexpr std::size_t kBatch = 256;
constexpr std::uint64_t kNoSocket = ~std::uint64_t{0};
// When the kernel takes no more for lack of memory, nothing may be under way that would wake us.
constexpr Duration kRetry = 10ms;

class AioEngine final : public KernelEngine {
  public:
    AioEngine(io_context_t context, Fd epoll, Fd finished, Fd wake, const std::string& note)
        : KernelEngine(std::move(wake)),
          context_(context),
          epoll_(std::move(epoll)),
          finished_(std::move(finished)) {
        add_note(note);
    }
    ~AioEngine() override { io_destroy(context_); }
    Status watch_own();

    std::string_view name() const override { return "aio"; }
    // libaio has no such thing.
    void register_buffers(const BufferPool&) override {}

    void read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
              Completion& completion) override;
    void write(Handle file, ByteSpan from, std::uint64_t offset_bytes,
               Completion& completion) override;
    void flush(Handle file, Completion& completion) override;
    void allocate(Handle file, int mode, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                  Completion& completion) override;
    void send(Handle handle, const msghdr* message, Completion& completion) override;
    void receive(Handle handle, msghdr* message, ReceiveMode mode, Completion& completion) override;

  private:
    // The operations that wait for a socket; at most one each way, as two would be torn apart.
    struct Socket {
        Completion* sending = nullptr;
        const msghdr* outgoing = nullptr;
        Completion* receiving = nullptr;
        msghdr* incoming = nullptr;
    };

    Status submit_and_gather(Duration wait_max) override;
    Status attach_slot(int index) override;
    void detach_slot(int index) override;

    Status watch(int fd, std::uint32_t events, std::uint64_t mark);
    iocb& enqueue(Completion& completion);
    void submit_queued();
    void refused(const iocb& operation, int error);
    void reap();
    Status poll(Duration wait_max);
    int wait_for_events(std::span<epoll_event> events, Duration wait_max);
    void try_send(Handle handle);
    void try_receive(Handle handle);
    Socket& socket_of(Handle handle) { return sockets_[static_cast<std::size_t>(handle.index)]; }

    io_context_t context_;
    const Fd epoll_;
    const Fd finished_;              // the kernel signals finished disk operations here
    std::vector<iocb> queued_;       // not handed over yet
    std::size_t in_kernel_ = 0;      // handed over, not reaped
    std::vector<Socket> sockets_;    // by handle
    std::size_t blocked_count_ = 0;  // socket operations that wait for epoll
    bool precise_waits_ = true;      // there is epoll_pwait2
};

Status AioEngine::watch(int fd, std::uint32_t events, std::uint64_t mark) {
    epoll_event event{};
    event.events = events | EPOLLET;
    event.data.u64 = mark;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
        return fail_errno("watching a descriptor");
    return {};
}

// Neither eventfd is ever read: each signal is an edge.
Status AioEngine::watch_own() {
    TRY_STATUS(watch(finished_.get(), EPOLLIN, kNoSocket));
    return watch(wake_fd(), EPOLLIN, kNoSocket);
}

Status AioEngine::attach_slot(int index) {
    const auto place = static_cast<std::size_t>(index);
    if (sockets_.size() <= place) sockets_.resize(place + 1);
    Status watched = watch(slot({index}).fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, place);
    // Files and disks cannot be watched, nor need to be.
    if (!watched && watched.error().system_errno == EPERM) return {};
    return watched;
}

void AioEngine::detach_slot(int index) {
    const Socket& socket = socket_of({index});
    CHECK(socket.sending == nullptr && socket.receiving == nullptr);
    submit_queued();
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, slot({index}).fd, nullptr);
}

iocb& AioEngine::enqueue(Completion& completion) {
    begin(completion);
    return queued_.emplace_back();
}

namespace {

// Last, since libaio's preparation clears the whole block.
void report_to(iocb& operation, Completion& completion, const Fd& finished) {
    operation.data = &completion;
    io_set_eventfd(&operation, finished.get());
}

}  // namespace

void AioEngine::read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
                     Completion& completion) {
    iocb& operation = enqueue(completion);
    io_prep_pread(&operation, slot(file).fd, into.data(), into.size(),
                  static_cast<long long>(offset_bytes));
    report_to(operation, completion, finished_);
}

void AioEngine::write(Handle file, ByteSpan from, std::uint64_t offset_bytes,
                      Completion& completion) {
    iocb& operation = enqueue(completion);
    io_prep_pwrite(&operation, slot(file).fd, const_cast<std::byte*>(from.data()), from.size(),
                   static_cast<long long>(offset_bytes));
    report_to(operation, completion, finished_);
}

void AioEngine::flush(Handle file, Completion& completion) {
    iocb& operation = enqueue(completion);
    io_prep_fdsync(&operation, slot(file).fd);
    report_to(operation, completion, finished_);
}

// Done at once: libaio has no such operation. Callers cut ranges to at most 1 GiB, which a
// filesystem zeroes in no time; a block device that must write the zeros makes the loop wait.
void AioEngine::allocate(Handle file, int mode, std::uint64_t offset_bytes,
                         std::uint64_t length_bytes, Completion& completion) {
    begin(completion);
    const int result = ::fallocate(slot(file).fd, mode, static_cast<off_t>(offset_bytes),
                                   static_cast<off_t>(length_bytes));
    complete(completion, result == 0 ? 0 : -errno);
}

void AioEngine::send(Handle handle, const msghdr* message, Completion& completion) {
    Socket& socket = socket_of(handle);
    CHECK(socket.sending == nullptr);
    begin(completion);
    socket.sending = &completion;
    socket.outgoing = message;
    ++blocked_count_;
    try_send(handle);
}

void AioEngine::receive(Handle handle, msghdr* message, ReceiveMode, Completion& completion) {
    Socket& socket = socket_of(handle);
    CHECK(socket.receiving == nullptr);
    begin(completion);
    socket.receiving = &completion;
    socket.incoming = message;
    ++blocked_count_;
    try_receive(handle);
}

template <typename Call>
ssize_t uninterrupted(Call call) {
    ssize_t result = call();
    while (result < 0 && errno == EINTR)
        result = call();
    return result < 0 ? -errno : result;
}

void AioEngine::try_send(Handle handle) {
    Socket& socket = socket_of(handle);
    if (socket.sending == nullptr) return;
    const ssize_t result = uninterrupted(
        [&] { return ::sendmsg(slot(handle).fd, socket.outgoing, MSG_NOSIGNAL | MSG_DONTWAIT); });
    if (result == -EAGAIN) return;
    --blocked_count_;
    complete(*std::exchange(socket.sending, nullptr), result);
}

void AioEngine::try_receive(Handle handle) {
    Socket& socket = socket_of(handle);
    if (socket.receiving == nullptr) return;
    const ssize_t result =
        uninterrupted([&] { return ::recvmsg(slot(handle).fd, socket.incoming, MSG_DONTWAIT); });
    if (result == -EAGAIN) return;
    --blocked_count_;
    complete(*std::exchange(socket.receiving, nullptr), result);
}

Status AioEngine::submit_and_gather(Duration wait_max) {
    submit_queued();
    reap();
    if (!queued_.empty()) wait_max = std::min(wait_max, kRetry);
    if (anything_ready()) wait_max = Duration::zero();
    if (wait_max == Duration::zero() && blocked_count_ == 0) return {};
    TRY_STATUS(poll(wait_max));
    reap();
    return {};
}

void AioEngine::submit_queued() {
    std::size_t next = 0;
    while (next < queued_.size()) {
        std::array<iocb*, kBatch> batch{};
        const std::size_t count = std::min(kBatch, queued_.size() - next);
        for (std::size_t i = 0; i < count; ++i)
            batch[i] = &queued_[next + i];
        const int taken = io_submit(context_, static_cast<long>(count), batch.data());
        if (taken == -EAGAIN) break;  // full: the rest goes in a later turn
        if (taken < 0) {
            refused(queued_[next++], -taken);  // an error is that of the first one
            continue;
        }
        next += static_cast<std::size_t>(taken);
        in_kernel_ += static_cast<std::size_t>(taken);
    }
    queued_.erase(queued_.begin(), queued_.begin() + static_cast<std::ptrdiff_t>(next));
}

void AioEngine::refused(const iocb& operation, int error) {
    auto& completion = *static_cast<Completion*>(operation.data);
    const bool no_such_flush = operation.aio_lio_opcode == IO_CMD_FDSYNC && error == EINVAL;
    if (no_such_flush) error = ::fdatasync(operation.aio_fildes) == 0 ? 0 : errno;
    complete(completion, -error);
}

void AioEngine::reap() {
    std::array<io_event, kBatch> events{};
    while (in_kernel_ > 0) {
        // Looks into memory shared with the kernel; no system call when there is nothing.
        timespec at_once{};
        const int count =
            io_getevents(context_, 0, static_cast<long>(events.size()), events.data(), &at_once);
        if (count <= 0) return;
        in_kernel_ -= static_cast<std::size_t>(count);
        for (const io_event& event : std::span(events).first(static_cast<std::size_t>(count)))
            complete(*static_cast<Completion*>(event.data), static_cast<std::int64_t>(event.res));
    }
}

Status AioEngine::poll(Duration wait_max) {
    std::array<epoll_event, 64> events{};
    const int count = wait_for_events(events, wait_max);
    if (count < 0 && errno != EINTR) return fail_errno("waiting for events");
    for (int i = 0; i < count; ++i) {
        const std::uint64_t mark = events[static_cast<std::size_t>(i)].data.u64;
        if (mark == kNoSocket) continue;
        try_receive({static_cast<int>(mark)});
        try_send({static_cast<int>(mark)});
    }
    return {};
}

int AioEngine::wait_for_events(std::span<epoll_event> events, Duration wait_max) {
    const int events_max = static_cast<int>(events.size());
    if (wait_max == Duration::max())
        return ::epoll_wait(epoll_.get(), events.data(), events_max, -1);
    if (precise_waits_) {
        const auto whole = std::chrono::duration_cast<std::chrono::seconds>(wait_max);
        const timespec limit{whole.count(), (wait_max - whole).count()};
        const int count = ::epoll_pwait2(epoll_.get(), events.data(), events_max, &limit, nullptr);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
        precise_waits_ = false;  // before Linux 5.11, or forbidden
    }
    const auto rounded =
        std::chrono::ceil<std::chrono::milliseconds>(std::min(wait_max, Duration(60s)));
    return ::epoll_wait(epoll_.get(), events.data(), events_max, static_cast<int>(rounded.count()));
}

}  // namespace

Result<std::unique_ptr<IoEngine>> make_aio_engine(const std::string& why) {
    Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
    Fd finished(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    Fd wake(::eventfd(0, EFD_CLOEXEC));
    if (!epoll || !finished || !wake) return fail_errno("making the descriptors of an I/O engine");
    io_context_t context = nullptr;
    if (const int result = io_setup(kInKernelMax, &context); result < 0)
        return fail_errno(-result, "setting libaio up (fs.aio-max-nr may be used up); " + why);
    auto engine = std::make_unique<AioEngine>(context, std::move(epoll), std::move(finished),
                                              std::move(wake), why);
    TRY_STATUS(engine->watch_own());
    return engine;
}

}  // namespace towline
