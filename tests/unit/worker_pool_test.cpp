// SPDX-License-Identifier: Apache-2.0
// Work goes out and comes back, on the right thread, without being lost when the pool goes away.

#include "io/worker_pool.hpp"

#include <atomic>
#include <ctime>

#include "engine_fixture.hpp"

namespace towline {
namespace {

class WorkerPoolTest : public EngineTest {};

std::size_t threads_of_this_process() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

TEST_P(WorkerPoolTest, RunsEachWorkOnceOffTheLoopAndDeliversOnIt) {
    WorkerPool pool(*engine_, 3);
    const std::thread::id loop = std::this_thread::get_id();
    std::vector<Work> works(2000);
    std::vector<int> squares(works.size());  // written by a worker, read by the loop
    std::size_t delivered = 0;
    for (std::size_t i = 0; i < works.size(); ++i) {
        works[i].run = [&, i](unsigned worker) {
            EXPECT_NE(std::this_thread::get_id(), loop);
            EXPECT_LT(worker, 3U);
            squares[i] += static_cast<int>(i * i);
        };
        works[i].done.on_done([&, i](std::int64_t result) {
            EXPECT_EQ(result, 0);
            EXPECT_EQ(std::this_thread::get_id(), loop);
            EXPECT_EQ(squares[i], static_cast<int>(i * i));
            ++delivered;
        });
        pool.submit(works[i]);
    }
    drain();
    EXPECT_EQ(delivered, works.size());
}

TEST_P(WorkerPoolTest, WorkIsSubmittedAgainFromItsCallback) {
    WorkerPool pool(*engine_, 2);
    int runs = 0;
    Work work;
    work.run = [&](unsigned) { ++runs; };
    work.done.on_done([&](std::int64_t) {
        if (runs < 1000) pool.submit(work);
    });
    pool.submit(work);
    drain();
    EXPECT_EQ(runs, 1000);
}

TEST_P(WorkerPoolTest, HasNoThreadsBeforeTheFirstWork) {
    const std::size_t before = threads_of_this_process();
    WorkerPool pool(*engine_, 4);
    EXPECT_EQ(threads_of_this_process(), before);
    EXPECT_EQ(pool.cpu_time(), Duration::zero());
}

TEST_P(WorkerPoolTest, FinishesWhatIsQueuedWhenItGoesAway) {
    std::atomic<int> runs = 0;
    std::vector<Work> works(100);
    int delivered = 0;
    {
        WorkerPool pool(*engine_, 2);
        for (Work& work : works) {
            work.run = [&](unsigned) { ++runs; };
            work.done.on_done([&](std::int64_t) { ++delivered; });
            pool.submit(work);
        }
    }
    EXPECT_EQ(runs, 100);
    drain();
    EXPECT_EQ(delivered, 100);
}

TEST_P(WorkerPoolTest, CountsTheTimeOfItsWorkers) {
    WorkerPool pool(*engine_, 2);
    std::vector<Work> works(2);
    for (Work& work : works) {
        work.run = [](unsigned) {
            timespec used{};
            do {
                clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
            } while (used.tv_nsec < 20'000'000);
        };
        work.done.on_done([](std::int64_t) {});
        pool.submit(work);
    }
    drain();
    EXPECT_GE(pool.cpu_time(), 20ms);
}

TOWLINE_OVER_ENGINES(WorkerPoolTest);

}  // namespace
}  // namespace towline
