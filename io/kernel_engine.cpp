// SPDX-License-Identifier: Apache-2.0
// One turn of the loop: take what was posted, let the backend submit and wait, add the waits that
// are due, and only then run callbacks. What a callback starts, or completes, belongs to the next
// turn, which does not block when something is ready. All of it belongs to the loop thread, but
// post().

#include "io/kernel_engine.hpp"

#include <algorithm>
#include <sys/socket.h>
#include <sys/stat.h>

namespace towline {

Result<Handle> KernelEngine::attach(int fd) {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return fail_errno("attaching a descriptor to the I/O engine");
    if (free_slots_.empty()) {
        free_slots_.push_back(static_cast<int>(slots_.size()));
        slots_.emplace_back();
    }
    const Handle handle{free_slots_.back()};
    // A discard on a device may read back otherwise, whatever the device claims.
    slot(handle) = {.fd = fd, .zero_ways = {.punch = S_ISREG(status.st_mode), .zero_range = true}};
    if (Status attached = attach_slot(handle.index); !attached) {
        slot(handle) = {};
        return std::unexpected(std::move(attached.error()));
    }
    free_slots_.pop_back();
    return handle;
}

void KernelEngine::detach(Handle handle) {
    CHECK(handle && slot(handle).fd >= 0);
    detach_slot(handle.index);
    slot(handle) = {};
    free_slots_.push_back(handle.index);
}

void KernelEngine::zero(Handle file, std::uint64_t offset_bytes, std::uint64_t length_bytes,
                        ZeroMode mode, Completion& completion) {
    begin(completion);
    zero_writer_.start(file, slot(file).zero_ways, offset_bytes, length_bytes, mode, completion);
}

void KernelEngine::shut_down(Handle socket) {
    // Fails when the peer went away first: then nothing waits any more.
    ::shutdown(slot(socket).fd, SHUT_RDWR);
}

void KernelEngine::wait_until(Instant due, Completion& completion) {
    begin(completion);
    timers_.add(due, completion);
}

void KernelEngine::cancel_wait(Completion& completion) {
    if (timers_.remove(completion)) complete(completion, -ECANCELED);
}

void KernelEngine::begin_external(Completion& completion) {
    begin(completion);
    ++external_count_;
}

void KernelEngine::finish_now(Completion& completion, std::int64_t result) {
    completion.finish(result);
    --in_flight_;
    completion.deliver();
}

Status KernelEngine::run_once() {
    CHECK(in_flight_ > 0);
    if (external_count_ > 0) external_count_ -= mailbox_.collect(ready_, true);
    TRY_STATUS(submit_and_gather(wait_max()));
    if (external_count_ > 0) external_count_ -= mailbox_.collect(ready_, false);
    collect_due();
    deliver();
    return {};
}

Duration KernelEngine::wait_max() const {
    if (anything_ready()) return Duration::zero();
    if (timers_.empty()) return Duration::max();
    return std::max(Duration::zero(), timers_.next_due() - now());
}

void KernelEngine::collect_due() {
    if (timers_.empty()) return;
    const Instant at = now();
    while (Completion* due = timers_.take_due(at))
        complete(*due, 0);
}

void KernelEngine::deliver() {
    CompletionList batch;
    batch.swap(ready_);
    while (!batch.empty()) {
        Completion& completion = batch.front();
        batch.pop_front();
        --in_flight_;
        completion.deliver();
    }
}

void KernelEngine::add_note(const std::string& note) {
    if (note.empty()) return;
    if (!notes_.empty()) notes_ += "; ";
    notes_ += note;
}

}  // namespace towline
