// SPDX-License-Identifier: Apache-2.0
// The words for what a replica is worth: a closed set that programs compare (docs/trackers.md).

#include "userspace/engine/moment.hpp"

namespace towline {

std::string_view label_name(Label label) {
    switch (label) {
        case Label::kCrash:
            return "crash";
        case Label::kFilesystem:
            return "filesystem";
        case Label::kApplication:
            return "application";
        case Label::kFuzzy:
            break;
    }
    return "fuzzy";
}

}  // namespace towline
