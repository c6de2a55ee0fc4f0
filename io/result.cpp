// SPDX-License-Identifier: Apache-2.0
// Errors as people read them.

#include "io/result.hpp"

#include <system_error>

namespace towline {

std::string_view code_name(Code code) {
    switch (code) {
        case Code::kIo:
            return "io";
        case Code::kInvalid:
            return "invalid";
        case Code::kCorrupt:
            return "corrupt";
        case Code::kProtocol:
            return "protocol";
        case Code::kDisconnected:
            return "disconnected";
        case Code::kTimeout:
            return "timeout";
        case Code::kNoSpace:
            return "no-space";
        case Code::kRefused:
            return "refused";
        case Code::kBusy:
            return "busy";
        case Code::kUnsupported:
            return "unsupported";
        case Code::kCancelled:
            return "cancelled";
    }
    return "unknown";
}

std::string Error::text() const {
    if (system_errno == 0) return context;
    return context + ": " + std::generic_category().message(system_errno);
}

Error system_error(int system_errno, std::string context) {
    const bool full = system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG;
    return Error{full ? Code::kNoSpace : Code::kIo, system_errno, std::move(context)};
}

}  // namespace towline
