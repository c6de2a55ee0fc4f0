// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "userspace/vault/scrub.hpp"

namespace towline {

// What can be checked of an encrypted vault by who has no key: that every stored byte is the one
// that was stored. What it decrypts to, and whether points have all they need, stays unknown.
Result<ScrubReport> scrub_outside(const VaultOutside& outside, const Scrub::Options& options);

}  // namespace towline
