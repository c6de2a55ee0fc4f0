// SPDX-License-Identifier: Apache-2.0
// The hash for 512-bit vectors.

#define TOWLINE_HASH_KERNEL kHashKernelAvx512
#include "io/checksum_kernel.inc"
