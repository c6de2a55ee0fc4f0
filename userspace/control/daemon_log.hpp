// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "userspace/jobs/store.hpp"

namespace towline {

// To the journal with fields where standard error is the journal, else a line on standard error.
void log_event(const JobEventRecord& event);
void log_text(const std::string& text);

}  // namespace towline
