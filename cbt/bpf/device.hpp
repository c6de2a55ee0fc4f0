// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cbt/bpf/record.hpp"

namespace towline {

// Whether the hooks see all that changes this device. The Error's text says what they would not.
Status hooks_fit(const Volume& volume);

HookPlace hook_place(const BpfRecord& record);

Result<VolumeSpan> span_of(const Volume& volume);
// The device of this number as it is now; nothing when there is none that can be opened.
std::optional<Volume> open_device(dev_t number);

}  // namespace towline
