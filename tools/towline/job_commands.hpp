// SPDX-License-Identifier: Apache-2.0
#pragma once

// Of the group `towline job`, in files of their own.

#include <functional>

#include <CLI/CLI.hpp>

namespace towline {

void add_job_delete(CLI::App& group, std::function<int()>& run);

}  // namespace towline
