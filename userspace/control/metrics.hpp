// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "userspace/control/job_service.hpp"

namespace towline {

// The text form of Prometheus, made anew at each question from what there is: no counter to be
// forgotten.
std::string metrics_text(JobService& service, const std::string& version);

}  // namespace towline
