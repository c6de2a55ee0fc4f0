// SPDX-License-Identifier: Apache-2.0
// The only lock of an engine; a run without workers never takes it.
//
// The eventfd is written under the lock: as soon as the loop can see the completion, its owner may
// go away together with the engine, and a poster that had yet to write would write to a descriptor
// that is no longer there, or another's.

#include "io/mailbox.hpp"

#include <cerrno>
#include <sys/eventfd.h>

namespace towline {

void Mailbox::post(Completion& completion) {
    const std::lock_guard lock(mutex_);
    completion.finish(0);
    posted_.push_back(completion);
    if (!std::exchange(loop_waits_, false)) return;
    CHECK(::eventfd_write(wake_.get(), 1) == 0);
}

std::size_t Mailbox::collect(CompletionList& into, bool about_to_wait) {
    const std::lock_guard lock(mutex_);
    const std::size_t count = posted_.size();
    into.splice(into.end(), posted_);
    loop_waits_ = about_to_wait && into.empty();
    return count;
}

}  // namespace towline
