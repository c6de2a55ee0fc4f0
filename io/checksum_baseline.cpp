// SPDX-License-Identifier: Apache-2.0
// The hash for processors of any age.

#define TOWLINE_HASH_KERNEL kHashKernelBaseline
#include "io/checksum_kernel.inc"
