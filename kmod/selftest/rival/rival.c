// SPDX-License-Identifier: GPL-2.0-only
/*
 * Another module that hooks the block layer in the way that towline.ko and livepatches do. It changes
 * nothing; but the kernel admits one such user of a function.
 */
#include <linux/ftrace.h>
#include <linux/module.h>

static void notrace seen(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			 struct ftrace_regs *fregs)
{
}

static struct ftrace_ops rival = {
	.func = seen,
	.flags = FTRACE_OPS_FL_IPMODIFY,
};

static int __init rival_init(void)
{
	char name[] = "submit_bio_noacct";
	int error = ftrace_set_filter(&rival, name, sizeof(name) - 1, 0);

	error = error ?: register_ftrace_function(&rival);
	if (error)
		ftrace_free_filter(&rival);
	return error;
}

static void __exit rival_exit(void)
{
	unregister_ftrace_function(&rival);
	ftrace_free_filter(&rival);
}

module_init(rival_init);
module_exit(rival_exit);
MODULE_DESCRIPTION("A rival for submit_bio_noacct, for tests");
MODULE_LICENSE("GPL");
