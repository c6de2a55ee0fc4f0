// SPDX-License-Identifier: Apache-2.0
// The engine over io_uring: one system call a turn of the loop hands over what was started and
// waits. The user data of an entry is its Completion; kWakeTag marks the read of the mailbox's
// eventfd that is always under way.
//
// The ring belongs to the loop thread alone (SINGLE_ISSUER) and runs its task work only when that
// thread asks (DEFER_TASKRUN). It is made disabled and enabled at the first submission, so that the
// thread that builds an engine need not be the one that runs it.

#include <algorithm>
#include <array>
#include <optional>
#include <sys/eventfd.h>

#include <climits>
#include <liburing.h>

#include "io/buffer_pool.hpp"
#include "io/engine_backends.hpp"
#include "io/kernel_engine.hpp"
#include "io/uring_arena.hpp"

namespace towline {

namespace {

constexpr unsigned kSubmissionEntries = 256;
// More may be in flight: the kernel keeps what does not fit (NODROP) until it is fetched.
constexpr unsigned kCompletionEntries = 1024;
constexpr int kRegisteredFiles = 256;
constexpr std::uint64_t kWakeTag = 1;

class UringEngine final : public KernelEngine {
  public:
    UringEngine(const io_uring& ring, int registered_file_count, Fd wake);
    ~UringEngine() override;

    std::string_view name() const override { return "io_uring"; }
    void register_buffers(const BufferPool& pool) override;

    void read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
              Completion& completion) override;
    void write(Handle file, ByteSpan from, std::uint64_t offset_bytes,
               Completion& completion) override;
    void flush(Handle file, Completion& completion) override;
    void allocate(Handle file, int mode, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                  Completion& completion) override;
    void send(Handle socket, const msghdr* message, Completion& completion) override;
    void receive(Handle socket, msghdr* message, ReceiveMode mode, Completion& completion) override;

  private:
    Status submit_and_gather(Duration wait_max) override;
    Status attach_slot(int index) override;
    void detach_slot(int index) override;

    io_uring_sqe* next_entry();
    void launch(io_uring_sqe* entry, Handle handle, Completion& completion);
    void arm_wake();
    void enable();
    int enter(Duration wait_max);
    void submit_all();
    void gather();
    bool registered_file(int index) const { return index < registered_file_count_; }
    int descriptor(Handle handle) const {
        return registered_file(handle.index) ? handle.index : slot(handle).fd;
    }
    std::optional<unsigned> registered_memory(ByteSpan bytes);

    io_uring ring_;
    const int registered_file_count_;
    UringArena arena_{ring_};
    bool enabled_ = false;
    bool wake_armed_ = false;
    std::uint64_t wake_count_ = 0;  // the kernel writes it
};

UringEngine::UringEngine(const io_uring& ring, int registered_file_count, Fd wake)
    : KernelEngine(std::move(wake)),
      ring_(ring),
      registered_file_count_(registered_file_count),
      enabled_((ring.flags & IORING_SETUP_R_DISABLED) == 0) {}

// A ring that goes away lets go of its files some time later, for whoever wants to unmount what
// they lie on; asked to, it does so before the call returns. Only the loop thread may ask.
UringEngine::~UringEngine() {
    if (registered_file_count_ > 0) io_uring_unregister_files(&ring_);
    io_uring_queue_exit(&ring_);
}

Status UringEngine::attach_slot(int index) {
    if (!registered_file(index)) return {};
    submit_all();
    const int fd = slot({index}).fd;
    const int result = io_uring_register_files_update(&ring_, static_cast<unsigned>(index), &fd, 1);
    if (result < 0) return fail_errno(-result, "registering a file with io_uring");
    return {};
}

// What was started before must be handed over first: an entry finds its file when it is submitted.
void UringEngine::detach_slot(int index) {
    submit_all();
    if (!registered_file(index)) return;
    const int none = -1;
    CHECK(io_uring_register_files_update(&ring_, static_cast<unsigned>(index), &none, 1) >= 0);
}

void UringEngine::register_buffers(const BufferPool& pool) {
    CHECK(!arena_.covers_any());
    arena_.cover(pool.arena());
    add_note(arena_.note());
}

std::optional<unsigned> UringEngine::registered_memory(ByteSpan bytes) {
    const bool told = !arena_.note().empty();
    const auto index = arena_.index_of(bytes);
    if (!told) add_note(arena_.note());
    return index;
}

void UringEngine::read(Handle file, MutableByteSpan into, std::uint64_t offset_bytes,
                       Completion& completion) {
    const auto registered = registered_memory(into);
    io_uring_sqe* entry = next_entry();
    const auto length = static_cast<unsigned>(into.size());
    if (registered)
        io_uring_prep_read_fixed(entry, descriptor(file), into.data(), length, offset_bytes,
                                 static_cast<int>(*registered));
    else
        io_uring_prep_read(entry, descriptor(file), into.data(), length, offset_bytes);
    launch(entry, file, completion);
}

void UringEngine::write(Handle file, ByteSpan from, std::uint64_t offset_bytes,
                        Completion& completion) {
    const auto registered = registered_memory(from);
    io_uring_sqe* entry = next_entry();
    const auto length = static_cast<unsigned>(from.size());
    if (registered)
        io_uring_prep_write_fixed(entry, descriptor(file), from.data(), length, offset_bytes,
                                  static_cast<int>(*registered));
    else
        io_uring_prep_write(entry, descriptor(file), from.data(), length, offset_bytes);
    launch(entry, file, completion);
}

void UringEngine::flush(Handle file, Completion& completion) {
    io_uring_sqe* entry = next_entry();
    io_uring_prep_fsync(entry, descriptor(file), IORING_FSYNC_DATASYNC);
    launch(entry, file, completion);
}

void UringEngine::allocate(Handle file, int mode, std::uint64_t offset_bytes,
                           std::uint64_t length_bytes, Completion& completion) {
    io_uring_sqe* entry = next_entry();
    io_uring_prep_fallocate(entry, descriptor(file), mode, static_cast<off_t>(offset_bytes),
                            static_cast<off_t>(length_bytes));
    launch(entry, file, completion);
}

void UringEngine::send(Handle socket, const msghdr* message, Completion& completion) {
    io_uring_sqe* entry = next_entry();
    io_uring_prep_sendmsg(entry, descriptor(socket), message, MSG_NOSIGNAL);
    launch(entry, socket, completion);
}

void UringEngine::receive(Handle socket, msghdr* message, ReceiveMode mode,
                          Completion& completion) {
    io_uring_sqe* entry = next_entry();
    io_uring_prep_recvmsg(entry, descriptor(socket), message,
                          mode == ReceiveMode::kAll ? MSG_WAITALL : 0);
    launch(entry, socket, completion);
}

// When the queue is full it is handed over at once; what completes by that is delivered in the next
// turn like everything else.
io_uring_sqe* UringEngine::next_entry() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    while (entry == nullptr) {
        submit_all();
        entry = io_uring_get_sqe(&ring_);
    }
    return entry;
}

void UringEngine::launch(io_uring_sqe* entry, Handle handle, Completion& completion) {
    begin(completion);
    if (registered_file(handle.index)) entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(entry, &completion);
}

// Not done where the wake-up arrives: taking an entry may submit, which may gather.
void UringEngine::arm_wake() {
    if (wake_armed_) return;
    io_uring_sqe* entry = next_entry();
    io_uring_prep_read(entry, wake_fd(), &wake_count_, sizeof wake_count_, 0);
    io_uring_sqe_set_data64(entry, kWakeTag);
    wake_armed_ = true;
}

void UringEngine::enable() {
    if (std::exchange(enabled_, true)) return;
    // By number: liburing 2.3 declares io_uring_enable_rings() but does not export it.
    const auto ring_fd = static_cast<unsigned>(ring_.ring_fd);
    CHECK(io_uring_register(ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0);
}

Status UringEngine::submit_and_gather(Duration wait_max) {
    enable();
    arm_wake();
    const int result = enter(wait_max);
    CHECK(result != -EEXIST);  // called on another thread than the loop's
    gather();
    // EAGAIN and EBUSY: the kernel is short of memory for more operations; later turns hand them
    // over, when some of those under way are done.
    const bool passing =
        result == -EINTR || result == -ETIME || result == -EAGAIN || result == -EBUSY;
    if (result < 0 && !passing) return fail_errno(-result, "waiting for io_uring");
    return {};
}

int UringEngine::enter(Duration wait_max) {
    if (wait_max == Duration::zero() || io_uring_cq_ready(&ring_) > 0)
        return io_uring_submit_and_get_events(&ring_);
    if (wait_max == Duration::max()) return io_uring_submit_and_wait(&ring_, 1);
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(wait_max);
    __kernel_timespec limit{whole.count(), (wait_max - whole).count()};
    io_uring_cqe* first = nullptr;
    return io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
}

void UringEngine::submit_all() {
    if (io_uring_sq_ready(&ring_) == 0) return;
    enable();
    const int result = io_uring_submit_and_get_events(&ring_);
    CHECK(result != -EEXIST && result != -EBADF);
    gather();
}

void UringEngine::gather() {
    io_uring_cqe* entry = nullptr;
    unsigned head = 0;
    unsigned count = 0;
    io_uring_for_each_cqe(&ring_, head, entry) {
        ++count;
        if (entry->user_data == kWakeTag)
            wake_armed_ = false;
        else
            complete(*static_cast<Completion*>(io_uring_cqe_get_data(entry)), entry->res);
    }
    io_uring_cq_advance(&ring_, count);
}

int open_ring(io_uring& ring) {
    static constexpr std::array kFlagSets = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED |
            IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
        IORING_SETUP_CQSIZE,
    };
    int result = -EINVAL;
    for (const unsigned flags : kFlagSets) {
        io_uring_params params{};
        params.flags = flags;
        params.cq_entries = kCompletionEntries;
        result = io_uring_queue_init_params(kSubmissionEntries, &ring, &params);
        if (result != -EINVAL) return result;
    }
    return result;
}

// How many files are registered, or why the ring is of no use to us (a negative errno).
int usable(io_uring& ring) {
    // Without these (Linux before 5.11) completions can be lost, and a wait costs an entry.
    constexpr unsigned kNeeded = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG;
    if ((ring.features & kNeeded) != kNeeded) return -EINVAL;
    const int result = io_uring_register_files_sparse(&ring, kRegisteredFiles);
    if (result == 0) return kRegisteredFiles;
    // A seccomp filter that knows only the other two calls: the ring could not be enabled either.
    if (result == -EPERM || result == -ENOSYS) return result;
    return 0;
}

Error refusal(int error) {
    const char* cause = "the kernel refused it";
    if (error == EPERM || error == EACCES)
        cause = "it is switched off (kernel.io_uring_disabled) or forbidden (seccomp)";
    if (error == ENOSYS) cause = "the kernel has none, or it is forbidden (seccomp)";
    if (error == EINVAL) cause = "the kernel's is too old";
    if (error == ENOMEM) cause = "it got no memory (memlock limit?)";
    return {Code::kUnsupported, error, std::string("io_uring cannot be used: ") + cause};
}

}  // namespace

Result<std::unique_ptr<IoEngine>> make_uring_engine() {
    Fd wake(::eventfd(0, EFD_CLOEXEC));
    if (!wake) return fail_errno("making an eventfd");
    io_uring ring{};
    if (const int result = open_ring(ring); result < 0) return std::unexpected(refusal(-result));
    const int file_count = usable(ring);
    if (file_count >= 0) return std::make_unique<UringEngine>(ring, file_count, std::move(wake));
    io_uring_queue_exit(&ring);
    return std::unexpected(refusal(-file_count));
}

}  // namespace towline
