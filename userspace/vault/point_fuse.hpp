// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cbt/fuse/fuse_session.hpp"

namespace towline {

// Of a mounted point: the session's owner is a PointFolder.
const fuse_lowlevel_ops& point_operations();

}  // namespace towline
