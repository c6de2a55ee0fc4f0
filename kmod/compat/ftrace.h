/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The first argument of a function that ftrace stopped at its entry, and where it goes on.
 */
#ifndef TOWLINE_COMPAT_FTRACE_H
#define TOWLINE_COMPAT_FTRACE_H

#include <linux/ftrace.h>
#include <linux/version.h>

#if !defined(CONFIG_DYNAMIC_FTRACE_WITH_ARGS)
#error "towline needs a kernel with CONFIG_DYNAMIC_FTRACE_WITH_ARGS"
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
static __always_inline void *tl_ftrace_argument(struct ftrace_regs *fregs)
{
	return (void *)ftrace_regs_get_argument(fregs, 0);
}

static __always_inline void tl_ftrace_redirect(struct ftrace_regs *fregs, unsigned long ip)
{
	ftrace_regs_set_instruction_pointer(fregs, ip);
}
#elif defined(CONFIG_X86_64)
static __always_inline void *tl_ftrace_argument(struct ftrace_regs *fregs)
{
	return (void *)fregs->regs.di;
}

static __always_inline void tl_ftrace_redirect(struct ftrace_regs *fregs, unsigned long ip)
{
	ftrace_instruction_pointer_set(fregs, ip);
}
#else
#error "before Linux 6.3 towline is for x86-64 only"
#endif

#endif
