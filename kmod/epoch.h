/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_EPOCH_H
#define TOWLINE_EPOCH_H

#include "device.h"

/* What one TOWLINE_IOC_FREEZE asks for, in the kernel's memory. */
struct tl_freeze {
	struct towline_epoch *epochs;
	struct towline_snapshot *snapshots; /* NULL: none are asked for */
	u32 count;
	u32 flags;
	unsigned int timeout_ms;
	u32 held_us;
};

int tl_epochs_freeze(struct tl_freeze *freeze);
int tl_epoch_commit(struct tl_device *device, u64 sequence);
int tl_epoch_give_back(struct tl_device *device, u64 sequence);

#endif
