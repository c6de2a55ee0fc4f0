/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_COMPAT_VMA_H
#define TOWLINE_COMPAT_VMA_H

#include <linux/mm.h>
#include <linux/version.h>

/* A mapping that was made read-only stays read-only: mprotect() has nothing to go by. */
static inline void tl_vma_forbid_writing(struct vm_area_struct *vma)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_clear(vma, VM_MAYWRITE);
#else
	vma->vm_flags &= ~VM_MAYWRITE;
#endif
}

#endif
