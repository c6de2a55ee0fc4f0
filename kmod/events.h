/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_EVENTS_H
#define TOWLINE_EVENTS_H

#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/uuid.h>

#include "uapi/towline.h"

void tl_event(u32 kind, const uuid_t *uuid, int error, u64 value);

/* Of the control device's file operations. */
int tl_events_open(struct inode *inode, struct file *file);
int tl_events_release(struct inode *inode, struct file *file);
ssize_t tl_events_read(struct file *file, char __user *buffer, size_t size, loff_t *offset);
__poll_t tl_events_poll(struct file *file, poll_table *table);

#endif
