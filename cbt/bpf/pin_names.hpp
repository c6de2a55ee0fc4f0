// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the parts of a volume's tracking are called in its folder in bpffs, which takes no dots.

#include <string>
#include <vector>

namespace towline::pin_names {

inline const std::string kQueued = "queued";
inline const std::string kEnded = "ended";
inline const std::string kControl = "control";
inline const std::string kMarks = "marks";
inline const std::string kBarrier = "barrier";
inline const std::string kUnfinished = "unfinished";

inline std::vector<std::string> completions(bool bio_based) {
    if (bio_based) return {kEnded};
    return {"completed_1", "completed_2", "completed_3"};
}

inline std::vector<std::string> links(bool bio_based) {
    std::vector<std::string> names = completions(bio_based);
    names.push_back(kQueued);
    return names;
}

}  // namespace towline::pin_names
