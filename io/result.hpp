// SPDX-License-Identifier: Apache-2.0
#pragma once

// How functions fail. An Error is forwarded untouched until somebody can act on it or tell a
// person; a *domain outcome* (a run refused, a target full) is an enum of its own, handled by the
// next caller. Nothing parses the text of an Error.

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace towline {

enum class Code {
    kIo,            // the system refused or failed a call; `system_errno` says how
    kInvalid,       // what a user or a file gave is not of its form
    kCorrupt,       // a check over stored or received data failed
    kProtocol,      // the peer broke the protocol
    kDisconnected,  // the peer or the link went away
    kTimeout,       // the peer stayed silent for longer than agreed
    kNoSpace,       // a target or state folder is full
    kRefused,       // a safety rule forbids it; the text names the remedy
    kBusy,          // somebody else holds it
    kUnsupported,   // this machine or build cannot
    kCancelled,     // asked to stop
};

std::string_view code_name(Code code);

struct Error {
    Code code = Code::kIo;
    int system_errno = 0;
    std::string
        context;  // a sentence for a person: what failed, on what, and the remedy if there is one

    std::string text() const;
};

template <typename T>
struct [[nodiscard]] Result : std::expected<T, Error> {
    using std::expected<T, Error>::expected;
};

using Status = Result<void>;

inline std::unexpected<Error> fail(Code code, std::string context) {
    return std::unexpected(Error{code, 0, std::move(context)});
}

// ENOSPC and its kin become kNoSpace, so that callers need not know the errnos of a full disk.
Error system_error(int system_errno, std::string context);

inline std::unexpected<Error> fail_errno(int system_errno, std::string context) {
    return std::unexpected(system_error(system_errno, std::move(context)));
}

inline std::unexpected<Error> fail_errno(std::string context) {
    return fail_errno(errno, std::move(context));
}

}  // namespace towline

// TRY(x) is the whole initialiser of a variable, once a statement; TRY_STATUS is its form without a
// value. A statement expression: the one GNU extension of the house.
#define TRY(expression)                                                           \
    __extension__({                                                               \
        auto try_result_ = (expression);                                          \
        if (!try_result_) return std::unexpected(std::move(try_result_.error())); \
        std::move(*try_result_);                                                  \
    })

#define TRY_STATUS(expression)                                                    \
    do {                                                                          \
        auto try_result_ = (expression);                                          \
        if (!try_result_) return std::unexpected(std::move(try_result_.error())); \
    } while (false)
