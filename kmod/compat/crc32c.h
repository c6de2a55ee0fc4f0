/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CRC-32C by the library in the kernel itself, which got its name in 6.15. What was called crc32c()
 * before needs a module that an initramfs may not have.
 */
#ifndef TOWLINE_COMPAT_CRC32C_H
#define TOWLINE_COMPAT_CRC32C_H

#include <linux/crc32.h>
#include <linux/version.h>

static inline u32 tl_crc32c(u32 crc, const void *data, size_t size)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
	return crc32c(crc, data, size);
#else
	return __crc32c_le(crc, data, size);
#endif
}

#endif
