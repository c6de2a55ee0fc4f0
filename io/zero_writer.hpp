// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>

#include <boost/intrusive/slist.hpp>

#include "io/completion.hpp"
#include "io/engine.hpp"

namespace towline {

class KernelEngine;

// The cheap ways to zero a range that a file is not yet known to refuse.
struct ZeroWays {
    bool punch = false;
    bool zero_range = false;
};

// Makes ranges read as zeros by the cheapest way that the file takes, and writes zeros where it
// takes none. What was refused once is not tried again on that file.
class ZeroWriter {
  public:
    explicit ZeroWriter(KernelEngine& engine) : engine_(engine) {}

    // `done` has been begun; `ways` lives as long as the file is attached.
    void start(Handle file, ZeroWays& ways, std::uint64_t offset_bytes, std::uint64_t length_bytes,
               ZeroMode mode, Completion& done);

  private:
    enum class Way { kPunch, kZeroRange, kWrite };
    struct Operation : boost::intrusive::slist_base_hook<> {
        Completion step;
        Completion* done = nullptr;
        Handle file;
        ZeroWays* ways = nullptr;
        Way way = Way::kWrite;
        ZeroMode mode = ZeroMode::kKeep;
        std::uint64_t offset_bytes = 0;
        std::uint64_t rest_bytes = 0;
    };

    void next_step(Operation& operation);
    void step_done(Operation& operation, std::int64_t result);
    bool refused(Operation& operation, std::int64_t result);
    void finish(Operation& operation, std::int64_t result);

    KernelEngine& engine_;
    std::deque<Operation> operations_;  // as many as ever ran at once; addresses are stable
    boost::intrusive::slist<Operation> free_;
};

}  // namespace towline
