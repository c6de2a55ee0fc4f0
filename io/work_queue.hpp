// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include <boost/intrusive/slist.hpp>

#include "io/completion.hpp"

namespace towline {

// A piece of CPU-bound work, set up once by its owner and submitted again and again. `run` executes
// off the loop thread, then `done` is delivered on it; between the two calls nobody else touches
// what `run` works on.
struct Work : boost::intrusive::slist_base_hook<> {
    std::function<void(unsigned worker_index)> run;
    Completion done;
};

// Where work is submitted, on the loop thread: a pool of threads, or a simulator.
class WorkQueue {
  public:
    virtual ~WorkQueue() = default;
    virtual void submit(Work& work) = 0;
};

}  // namespace towline
