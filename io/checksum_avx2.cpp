// SPDX-License-Identifier: Apache-2.0
// The hash for 256-bit vectors.

#define TOWLINE_HASH_KERNEL kHashKernelAvx2
#include "io/checksum_kernel.inc"
