// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "io/bytes.hpp"

#define FUSE_USE_VERSION 314
#include <fuse3/fuse_lowlevel.h>

namespace towline {

constexpr std::size_t kFusePageBytes = 4096;
// What one request carries at most.
constexpr std::size_t kFuseDataBytesMax = 1 << 20;

// The files of a tracked mount. A session's userdata is its FuseServer.
const fuse_lowlevel_ops& fuse_operations();

// Memory of the calling thread, page-aligned, two pages longer than kFuseDataBytesMax: the bytes of
// a write stand in it, those of a read are put there.
void set_operation_scratch(MutableByteSpan scratch);

}  // namespace towline
