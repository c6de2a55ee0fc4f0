// SPDX-License-Identifier: Apache-2.0
// The words for what a tracker says. They stand in reports and are a closed set: programs compare
// them.

#include "cbt/change_set.hpp"

#include <array>
#include <utility>

namespace towline {

std::string_view trust_name(Trust trust) {
    switch (trust) {
        case Trust::kExact:
            return "exact";
        case Trust::kSuperset:
            return "superset";
        case Trust::kUnknown:
            break;
    }
    return "unknown";
}

std::string ChangeReasons::text() const {
    static constexpr std::array<std::pair<ChangeReason, std::string_view>, 7> kNames{{
        {ChangeReason::kFirst, "first"},
        {ChangeReason::kMerged, "merged"},
        {ChangeReason::kGrew, "grew"},
        {ChangeReason::kShrank, "shrank"},
        {ChangeReason::kCrash, "crash"},
        {ChangeReason::kGap, "gap"},
        {ChangeReason::kForeign, "foreign"},
    }};
    std::string text;
    for (const auto& [reason, name] : kNames) {
        if (!has(reason)) continue;
        if (!text.empty()) text += ", ";
        text += name;
    }
    return text;
}

}  // namespace towline
