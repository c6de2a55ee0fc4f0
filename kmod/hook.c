// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hook: every bio of the machine passes submit_bio_noacct(), and while a device is tracked
 * ftrace calls us at its entry.
 *
 * Everything is decided in the callback. In the usual case it returns and the function goes on as
 * if it had not been there. Only when the filter has taken the bio is the function's entry replaced
 * by that of one that does nothing and returns to the caller. Nobody jumps into the middle of a
 * function, so indirect branch tracking has nothing to object to.
 *
 * FTRACE_OPS_FL_RECURSION is not set on purpose: it would have ftrace drop a call that comes while
 * another is under way in the same context, and a dropped call is a lost change. It is not needed:
 * nothing that the callback does submits a bio. For the same reason the callback sees a bio again
 * whenever it comes again, with current->bio_list set or not: those that stacked devices submit
 * always come so.
 *
 * The hook is in place only while something is tracked. FTRACE_OPS_FL_IPMODIFY admits one user of a
 * function; FTRACE_OPS_FL_PERMANENT keeps kernel.ftrace_enabled=0 from silencing us.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/module.h>

#include "compat/ftrace.h"
#include "device.h"
#include "filter.h"
#include "hook.h"

#ifdef CONFIG_PREEMPT_RT
#error "towline was never tried on a PREEMPT_RT kernel"
#endif

#define HOOKED "submit_bio_noacct"

static unsigned int users; /* under tl_lock */

/* Where submit_bio_noacct() goes on when the bio was taken. It never sleeps: see tl_hook_put(). */
static noinline notrace void taken(struct bio *bio)
{
	/* Or the compiler could find that all such functions are one. */
	barrier();
}

struct canary {
	struct bio bio;
	struct completion done;
	bool passed; /* it got past the hook */
};

static void canary_end_io(struct bio *bio)
{
	struct canary *canary = container_of(bio, struct canary, bio);

	canary->passed = true;
	complete(&canary->done);
}

static void notrace hooked(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			   struct ftrace_regs *fregs)
{
	struct bio *bio = tl_ftrace_argument(fregs);

	if (!op_is_write(bio->bi_opf))
		return;
	if (unlikely(bio->bi_end_io == canary_end_io)) {
		complete(&container_of(bio, struct canary, bio)->done);
		tl_ftrace_redirect(fregs, (unsigned long)taken);
		return;
	}
	if (unlikely(tl_filter(bio)))
		tl_ftrace_redirect(fregs, (unsigned long)taken);
}

static struct ftrace_ops hook_ops = {
	.func = hooked,
	.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
};

static int hook_register(void)
{
	int error = register_ftrace_function(&hook_ops);

	if (error == -EBUSY)
		pr_err("another module or livepatch has taken hold of " HOOKED
		       ", or kernel.ftrace_enabled is 0; see /sys/kernel/tracing/enabled_functions\n");
	else if (error)
		pr_err("can't hook " HOOKED " (error %d)\n", error);
	return error;
}

/* For each tracked device, under tl_lock. */
int tl_hook_get(void)
{
	int error = users ? 0 : hook_register();

	if (!error)
		users++;
	return error;
}

/*
 * The last one takes the hook out. When unregister_ftrace_function() returns, no CPU is in the
 * callback, and since it waits for tasks to schedule by themselves, none is in taken() either.
 */
void tl_hook_put(void)
{
	if (!--users)
		WARN_ON(unregister_ftrace_function(&hook_ops));
}

/*
 * Whether what the block layer is given comes by here: ftrace switches itself off for good when it
 * finds code that it does not expect, and tells no one. A bio is submitted that the hook takes and
 * that the block layer refuses: an operation that no bio may ask for.
 */
bool tl_hook_is_alive(struct block_device *bdev)
{
	struct canary canary = {};

	init_completion(&canary.done);
	bio_init(&canary.bio, bdev, NULL, 0, REQ_OP_DRV_OUT);
	canary.bio.bi_end_io = canary_end_io;
	submit_bio_noacct(&canary.bio);
	wait_for_completion(&canary.done);
	bio_uninit(&canary.bio);
	return !canary.passed;
}

/*
 * The filter is set once and freed once: ftrace_free_filter() leaves the ops pointing to what it
 * freed, so that setting it again would copy freed memory.
 */
int tl_hook_init(void)
{
	int error = ftrace_set_filter(&hook_ops, HOOKED, strlen(HOOKED), 0);

	if (error)
		pr_err("ftrace does not know " HOOKED ": this kernel can't be hooked (error %d)\n",
		       error);
	return error;
}

void tl_hook_exit(void)
{
	ftrace_free_filter(&hook_ops);
}
