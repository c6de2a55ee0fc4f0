// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "io/clock.hpp"
#include "io/engine.hpp"
#include "io/work_queue.hpp"

namespace towline {

// The threads that compress and hash for one loop. Each starts when those that there are have work,
// so that a run without such work has none. The queue has no bound of its own: every Work is owned
// by a block in flight, and those are bounded by the buffer pool.
class WorkerPool final : public WorkQueue {
  public:
    WorkerPool(IoEngine& home, unsigned thread_count);
    // Finishes what is queued; the loop still has to deliver it.
    ~WorkerPool() override;
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;

    void submit(Work& work) override;

    unsigned thread_count() const { return thread_count_; }
    // What all workers consumed so far. Loop thread; one system call a worker.
    Duration cpu_time() const;

  private:
    using Queue = boost::intrusive::slist<Work, boost::intrusive::cache_last<true>>;

    void start_thread();
    void serve(unsigned worker_index);
    Work* next();

    IoEngine& home_;
    const unsigned thread_count_;
    std::vector<std::thread> threads_;  // loop thread only

    std::mutex mutex_;
    std::condition_variable wanted_;
    Queue queue_;                 // under mutex_
    std::size_t unfinished_ = 0;  // queued or under way; under mutex_
    bool stopping_ = false;       // under mutex_
};

}  // namespace towline
