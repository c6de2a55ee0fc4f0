// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "cbt/tracker_registry.hpp"

namespace towline {

// Tracks live block devices by eBPF programs, where no kernel module can be loaded
// (docs/bpf.md). kUnsupported: this kernel has no BTF, or bpffs is not mounted and cannot be.
Result<std::unique_ptr<Tracker>> open_bpf_tracker(const TrackerPlaces& places);

}  // namespace towline
