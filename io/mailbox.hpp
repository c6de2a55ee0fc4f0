// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <mutex>

#include "io/completion.hpp"
#include "io/fd.hpp"

namespace towline {

// Where other threads leave completions for a loop. The loop watches wake_fd(), an eventfd, which
// is written only when the loop said that it is about to wait: a busy loop costs the poster no
// system call.
class Mailbox {
  public:
    explicit Mailbox(Fd wake) : wake_(std::move(wake)) {}

    int wake_fd() const { return wake_.get(); }

    // Any thread.
    void post(Completion& completion);

    // Loop thread: appends what was posted to `into` and says how many. With `about_to_wait`, and
    // nothing in `into` after that, the next post writes to wake_fd().
    std::size_t collect(CompletionList& into, bool about_to_wait);

  private:
    const Fd wake_;
    std::mutex mutex_;
    CompletionList posted_;    // under mutex_
    bool loop_waits_ = false;  // under mutex_
};

}  // namespace towline
