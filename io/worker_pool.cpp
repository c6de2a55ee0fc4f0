// SPDX-License-Identifier: Apache-2.0
// A queue under one mutex and threads that wait for it. A Work is touched by the loop thread before
// submit(), by one worker until post(), and by the loop thread after its delivery; the two locks on
// the way (this queue's and the engine's mailbox) order these.

#include "io/worker_pool.hpp"

#include <csignal>
#include <ctime>
#include <pthread.h>

namespace towline {

namespace {

// Signals belong to the threads that expect them; a worker is born with all of them blocked.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

  private:
    sigset_t before_{};
};

Duration cpu_time_of(std::thread& thread) {
    clockid_t clock{};
    timespec used{};
    if (pthread_getcpuclockid(thread.native_handle(), &clock) != 0) return {};
    if (::clock_gettime(clock, &used) != 0) return {};
    return std::chrono::seconds(used.tv_sec) + Duration(used.tv_nsec);
}

}  // namespace

WorkerPool::WorkerPool(IoEngine& home, unsigned thread_count)
    : home_(home), thread_count_(thread_count) {
    CHECK(thread_count > 0);
}

WorkerPool::~WorkerPool() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    wanted_.notify_all();
    for (std::thread& thread : threads_)
        thread.join();
}

void WorkerPool::submit(Work& work) {
    home_.begin_external(work.done);
    bool all_at_work = false;
    {
        const std::lock_guard lock(mutex_);
        queue_.push_back(work);
        all_at_work = ++unfinished_ > threads_.size();
    }
    if (all_at_work && threads_.size() < thread_count_) return start_thread();
    wanted_.notify_one();
}

void WorkerPool::start_thread() {
    const SignalsBlocked blocked;
    threads_.emplace_back([this, index = static_cast<unsigned>(threads_.size())] { serve(index); });
    pthread_setname_np(threads_.back().native_handle(), "towline-worker");
}

void WorkerPool::serve(unsigned worker_index) {
    while (Work* work = next()) {
        work->run(worker_index);
        {
            const std::lock_guard lock(mutex_);
            --unfinished_;
        }
        // From here on it is its owner's again, who may already have deleted it.
        home_.post(work->done);
    }
}

Work* WorkerPool::next() {
    std::unique_lock lock(mutex_);
    wanted_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return nullptr;
    Work& work = queue_.front();
    queue_.pop_front();
    return &work;
}

Duration WorkerPool::cpu_time() const {
    Duration total{};
    for (const std::thread& thread : threads_)
        total += cpu_time_of(const_cast<std::thread&>(thread));
    return total;
}

}  // namespace towline
