// SPDX-License-Identifier: GPL-2.0-only
/*
 * Towline: which blocks of a live volume changed. docs/kmod.md is the page to begin with.
 */
#include <linux/module.h>
#include <linux/reboot.h>

#include "control.h"
#include "device.h"
#include "gone.h"
#include "hook.h"
#include "image.h"
#include "intent.h"
#include "snapshot.h"
#include "stats.h"
#include "write.h"

/* User space is through; what the kernel itself still writes opens a log again. */
static int reboot_notify(struct notifier_block *block, unsigned long action, void *unused)
{
	tl_devices_end();
	return NOTIFY_DONE;
}

/* Before others, which may stop disks. */
static struct notifier_block reboot_notifier = {
	.notifier_call = reboot_notify,
	.priority = INT_MAX,
};

static int __init towline_init(void)
{
	int error;

	error = tl_writes_init();
	if (error)
		return error;
	error = tl_hook_init();
	if (error)
		goto undo_writes;
	error = tl_snapshots_init();
	if (error)
		goto undo_hook;
	error = tl_images_init();
	if (error)
		goto undo_snapshots;
	error = tl_intents_init();
	if (error)
		goto undo_images;
	error = tl_devices_init();
	if (error)
		goto undo_intents;
	error = register_reboot_notifier(&reboot_notifier);
	if (error)
		goto undo_devices;
	error = tl_control_init();
	if (error)
		goto undo_notifier;
	tl_stats_init();
	return 0;

undo_notifier:
	unregister_reboot_notifier(&reboot_notifier);
undo_devices:
	tl_devices_exit();
undo_intents:
	tl_intents_exit();
undo_images:
	tl_images_exit();
undo_snapshots:
	tl_snapshots_exit();
undo_hook:
	tl_hook_exit();
undo_writes:
	tl_writes_exit();
	return error;
}

/*
 * Nobody has the control device or a map open: they hold a reference on the module. So nobody can
 * attach any more once it is gone, and what is attached is taken down in the reverse order.
 */
static void __exit towline_exit(void)
{
	tl_stats_exit();
	tl_control_exit();
	unregister_reboot_notifier(&reboot_notifier);
	tl_devices_exit();
	tl_intents_exit();
	tl_gone_exit();
	tl_images_exit();
	tl_snapshots_exit();
	tl_hook_exit();
	tl_writes_exit();
}

module_init(towline_init);
module_exit(towline_exit);

MODULE_AUTHOR("The Towline authors");
MODULE_DESCRIPTION("Towline: live changed-block tracking");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
