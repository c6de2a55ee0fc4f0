// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "io/fd.hpp"
#include "io/result.hpp"

namespace towline {

struct ServiceCalls {
    std::function<void(const std::string&)> log;
    // It serves from now on; `report` is what its user is told. Once.
    std::function<void(const std::string& report)> ready;
};

// A command that serves until it is told to end.
struct Service {
    std::string command;
    bool foreground = false;
    bool json = false;
    std::function<Status(const ServiceCalls&)> run;
};

// The exit code. In the background unless the foreground is asked for: whoever calls goes on when
// it is ready, and is told what kept it from that.
int run_service(const Service& service);

// Of a service, before it makes threads: a signalfd for what asks it to end.
Result<Fd> ending_signals();

}  // namespace towline
