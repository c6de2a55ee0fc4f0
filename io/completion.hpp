// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include <boost/intrusive/list.hpp>

#include "io/check.hpp"

namespace towline {

// One operation under way. It lives in the caller's object until it is delivered, so that starting
// an operation allocates nothing: the callback is set once, when the owner is built, and used again
// and again. `result` is what the system call would have returned: bytes (or 0), else a negative
// errno.
class Completion : public boost::intrusive::list_base_hook<> {
  public:
    using Callback = std::function<void(std::int64_t result)>;

    Completion() = default;
    explicit Completion(Callback callback) : callback_(std::move(callback)) {}
    Completion(const Completion&) = delete;
    Completion& operator=(const Completion&) = delete;
    ~Completion() { CHECK(!busy_); }

    void on_done(Callback callback) { callback_ = std::move(callback); }
    bool busy() const { return busy_; }

    // For engines: from the start of an operation to just before its callback the completion is
    // busy.
    void begin() {
        CHECK(!busy_);
        busy_ = true;
    }
    void finish(std::int64_t result) { result_ = result; }
    void deliver() {
        busy_ = false;
        callback_(result_);
    }
    // An operation that was never handed to the system; its callback will not run.
    void abandon() { busy_ = false; }

  private:
    Callback callback_;
    std::int64_t result_ = 0;
    bool busy_ = false;
};

using CompletionList = boost::intrusive::list<Completion>;

}  // namespace towline
