// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "io/engine.hpp"
#include "io/mailbox.hpp"
#include "io/timer_queue.hpp"
#include "io/zero_writer.hpp"

namespace towline {

// What is known of an attached descriptor.
struct FileSlot {
    int fd = -1;
    ZeroWays zero_ways;
};

// Private to io/: what the engines over the real system have in common. A backend starts operations
// and, in submit_and_gather(), hands those to complete() that the kernel has finished; waits,
// posts, zeroing and the delivery are here.
class KernelEngine : public IoEngine {
  public:
    std::string notes() const override { return notes_; }

    Result<Handle> attach(int fd) override;
    void detach(Handle handle) override;

    void zero(Handle file, std::uint64_t offset_bytes, std::uint64_t length_bytes, ZeroMode mode,
              Completion& completion) override;
    void shut_down(Handle socket) override;

    Instant now() const override { return monotonic_now(); }
    void wait_until(Instant due, Completion& completion) override;
    void cancel_wait(Completion& completion) override;

    void post(Completion& completion) override { mailbox_.post(completion); }
    void begin_external(Completion& completion) override;
    std::size_t in_flight() const override { return in_flight_; }
    Status run_once() override;

    // fallocate(2). For the zero writer, as is finish_now().
    virtual void allocate(Handle file, int mode, std::uint64_t offset_bytes,
                          std::uint64_t length_bytes, Completion& completion) = 0;
    // Delivers at once. Only from within a callback, where no operation is being started.
    void finish_now(Completion& completion, std::int64_t result);

  protected:
    explicit KernelEngine(Fd wake) : mailbox_(std::move(wake)) {}
    ~KernelEngine() override { CHECK(in_flight_ == 0); }

    // For Duration::max() waits without a limit, for 0 it does not wait.
    virtual Status submit_and_gather(Duration wait_max) = 0;
    // The backend's side of a slot that was just filled, or is about to be emptied.
    virtual Status attach_slot(int index) = 0;
    virtual void detach_slot(int index) = 0;

    void begin(Completion& completion) {
        completion.begin();
        ++in_flight_;
    }
    void complete(Completion& completion, std::int64_t result) {
        completion.finish(result);
        ready_.push_back(completion);
    }

    const FileSlot& slot(Handle handle) const {
        return slots_[static_cast<std::size_t>(handle.index)];
    }
    FileSlot& slot(Handle handle) { return slots_[static_cast<std::size_t>(handle.index)]; }
    int wake_fd() const { return mailbox_.wake_fd(); }
    bool anything_ready() const { return !ready_.empty(); }
    void add_note(const std::string& note);

  private:
    Duration wait_max() const;
    void collect_due();
    void deliver();

    std::deque<FileSlot> slots_;  // a deque: operations keep references to their slot
    std::vector<int> free_slots_;
    CompletionList ready_;  // finished, their callbacks still to run
    std::size_t in_flight_ = 0;
    std::size_t external_count_ = 0;  // begun for post() and not yet taken from the mailbox
    TimerQueue timers_;
    Mailbox mailbox_;
    ZeroWriter zero_writer_{*this};
    std::string notes_;
};

}  // namespace towline
