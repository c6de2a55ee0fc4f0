/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_HOOK_H
#define TOWLINE_HOOK_H

#include <linux/blk_types.h>

int tl_hook_init(void);
void tl_hook_exit(void);
int tl_hook_get(void);
void tl_hook_put(void);
bool tl_hook_is_alive(struct block_device *bdev);

#endif
