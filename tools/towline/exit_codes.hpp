// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "io/result.hpp"

namespace towline {

// What a program that calls `towline` can rely on (docs/cli.md). Never changed, only added to.
enum class Exit : int {
    kSuccess = 0,
    kFailure = 1,       // a system call failed: the message has the errno
    kUsage = 2,         // the command line or a list given to it is wrong
    kRefused = 3,       // a safety rule forbids it; the message names the remedy
    kDisconnected = 4,  // the peer or the link went away, or stayed silent: --resume
    kNoSpace = 5,
    kCorrupt = 6,   // a check over data failed
    kBusy = 7,      // another run holds the source or the target
    kProtocol = 8,  // the peer is no Towline, of another version, or broken
    kUnsupported = 9,
    kInterrupted = 10,  // by a signal: --resume
    kNotFound = 11,     // the daemon has no such job or run
    kRunFailed = 12,    // the run that was waited for failed
};

constexpr int exit_code(Code code) {
    switch (code) {
        case Code::kIo:
            return static_cast<int>(Exit::kFailure);
        case Code::kInvalid:
            return static_cast<int>(Exit::kUsage);
        case Code::kRefused:
            return static_cast<int>(Exit::kRefused);
        case Code::kDisconnected:
        case Code::kTimeout:
            return static_cast<int>(Exit::kDisconnected);
        case Code::kNoSpace:
            return static_cast<int>(Exit::kNoSpace);
        case Code::kCorrupt:
            return static_cast<int>(Exit::kCorrupt);
        case Code::kBusy:
            return static_cast<int>(Exit::kBusy);
        case Code::kProtocol:
            return static_cast<int>(Exit::kProtocol);
        case Code::kUnsupported:
            return static_cast<int>(Exit::kUnsupported);
        case Code::kCancelled:
            return static_cast<int>(Exit::kInterrupted);
    }
    return static_cast<int>(Exit::kFailure);
}

}  // namespace towline
