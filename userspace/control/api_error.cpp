// SPDX-License-Identifier: Apache-2.0
// One table: the code's name, its status, and whether the same request may do better later.

#include "userspace/control/api_error.hpp"

#include <array>

#include <nlohmann/json.hpp>

#include "io/check.hpp"

namespace towline {

namespace {

struct Row {
    ApiCode code;
    std::string_view name;
    int status;
    bool retriable;
};

constexpr std::array kRows{
    Row{ApiCode::kInvalidRequest, "INVALID_REQUEST", 400, false},
    Row{ApiCode::kUnknownField, "UNKNOWN_FIELD", 400, false},
    Row{ApiCode::kBodyTooLarge, "BODY_TOO_LARGE", 413, false},
    Row{ApiCode::kUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE", 415, false},
    Row{ApiCode::kForbidden, "FORBIDDEN", 403, false},
    Row{ApiCode::kNotFound, "NOT_FOUND", 404, false},
    Row{ApiCode::kMethodNotAllowed, "METHOD_NOT_ALLOWED", 405, false},
    Row{ApiCode::kRunActive, "RUN_ACTIVE", 409, true},
    Row{ApiCode::kRunEnded, "RUN_ENDED", 409, false},
    Row{ApiCode::kJobPaused, "JOB_PAUSED", 409, false},
    Row{ApiCode::kJobEnded, "JOB_ENDED", 409, false},
    Row{ApiCode::kJobDeleting, "JOB_DELETING", 409, true},
    Row{ApiCode::kQuotaExceeded, "QUOTA_EXCEEDED", 429, true},
    Row{ApiCode::kLimitReached, "LIMIT_REACHED", 409, false},
    Row{ApiCode::kRevisionMismatch, "REVISION_MISMATCH", 412, false},
    Row{ApiCode::kKeyReused, "KEY_REUSED", 422, false},
    Row{ApiCode::kStateNotSaved, "STATE_NOT_SAVED", 503, true},
    Row{ApiCode::kPointsElsewhere, "POINTS_ELSEWHERE", 409, false},
    Row{ApiCode::kVaultUnreadable, "VAULT_UNREADABLE", 502, true},
};

const Row& row_of(ApiCode code) {
    for (const Row& row : kRows)
        if (row.code == code) return row;
    check_failed("an error without a row", __FILE__, __LINE__);
}

nlohmann::json text_or_null(const std::string& text) {
    return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
}

}  // namespace

std::string_view name_of(ApiCode code) {
    return row_of(code).name;
}

int status_of(ApiCode code) {
    return row_of(code).status;
}

nlohmann::json json_of(const ApiError& error) {
    const Row& row = row_of(error.code);
    return {{"code", row.name},
            {"message", error.message},
            {"field", text_or_null(error.field)},
            {"retriable", row.retriable},
            {"cause", text_or_null(error.cause)}};
}

HttpAnswer answer_of(const ApiError& error) {
    HttpAnswer answer;
    answer.status = status_of(error.code);
    answer.body =
        json_of(error).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    if (!error.allow.empty()) answer.headers["Allow"] = error.allow;
    return answer;
}

}  // namespace towline
