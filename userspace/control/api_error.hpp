// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "userspace/control/http.hpp"

namespace towline {

// Everything that a request can be told to be wrong with (docs/api.md). Only ever added to.
enum class ApiCode {
    kInvalidRequest,
    kUnknownField,
    kBodyTooLarge,
    kUnsupportedMediaType,
    kForbidden,
    kNotFound,
    kMethodNotAllowed,
    kRunActive,
    kRunEnded,
    kJobPaused,
    kJobEnded,
    kJobDeleting,
    kQuotaExceeded,
    kLimitReached,
    kRevisionMismatch,
    kKeyReused,
    kStateNotSaved,
    kPointsElsewhere,
    kVaultUnreadable,
};

struct ApiError {
    ApiCode code = ApiCode::kInvalidRequest;
    std::string message;  // what is wrong, and what to do
    std::string field;    // empty: none
    std::string cause;    // empty: none
    std::string allow;    // of a path that takes other methods: which
};

std::string_view name_of(ApiCode code);
int status_of(ApiCode code);
nlohmann::json json_of(const ApiError& error);
HttpAnswer answer_of(const ApiError& error);

}  // namespace towline
