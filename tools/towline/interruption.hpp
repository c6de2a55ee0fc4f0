// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace towline {

// From here on the first SIGINT or SIGTERM makes interrupted() true, the second ends the process.
void catch_signals();
bool interrupted();

}  // namespace towline
