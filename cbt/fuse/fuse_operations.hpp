// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cbt/fuse/fuse_session.hpp"

namespace towline {

// The files of a tracked mount. The session's owner is a FuseServer.
const fuse_lowlevel_ops& fuse_operations();

}  // namespace towline
