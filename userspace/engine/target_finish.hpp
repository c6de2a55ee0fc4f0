// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "userspace/engine/target_store.hpp"

namespace towline {

// Applies what an earlier session staged whole of a run to the replica `name` and did not live to
// apply: a replica is used without its source. True when there was something to be done. Blocks.
Result<bool> finish_target(TargetStore& store, const std::string& name, EngineKind kind);

}  // namespace towline
