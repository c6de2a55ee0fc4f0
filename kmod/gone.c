// SPDX-License-Identifier: GPL-2.0-only
/*
 * A disk that goes away takes no leave of who tracks it: no reference is held on it. The class of
 * block devices tells of each that is removed, and that is made an event. A device that becomes
 * another without being removed (a loop device bound to another file) is told of when it is next
 * looked at.
 *
 * The class calls with a lock of its own held, which is also taken when an image is added under
 * tl_lock; so tl_lock is not taken here, and the device is looked up as writes do.
 */
#include <linux/module.h>

#include "compat/class.h"
#include "filter.h"
#include "gone.h"

/* Both under tl_lock. */
static struct class_interface watch;
static bool watching;

TL_CLASS_REMOVED(removed, device)
{
	tl_filter_gone(dev_to_bdev(device));
}

/* The class is not to be had by its name: any block device knows it. Under tl_lock. */
int tl_gone_watch(struct block_device *bdev)
{
	int error;

	if (watching)
		return 0;
	watch.class = disk_to_dev(bdev->bd_disk)->class;
	watch.remove_dev = removed;
	error = class_interface_register(&watch);
	watching = !error;
	return error;
}

/* Nothing is tracked any more. It is called for every device then, and finds none. */
void tl_gone_exit(void)
{
	if (watching)
		class_interface_unregister(&watch);
}
