// SPDX-License-Identifier: Apache-2.0
// A long command ends by itself when it is asked to, and says where it was.

#include "tools/towline/interruption.hpp"

#include <atomic>
#include <csignal>

namespace towline {

namespace {

std::atomic<bool> signal_came{false};

void on_signal(int) {
    signal_came = true;
}

}  // namespace

bool interrupted() {
    return signal_came;
}

void catch_signals() {
    struct sigaction action {};
    action.sa_handler = on_signal;
    // A second one ends the process at once: whatever was sent is resumable all the same.
    action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

}  // namespace towline
