/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_CONTROL_H
#define TOWLINE_CONTROL_H

#include "uapi/towline.h"

/* Any request, copied from the program, what is missing zero; copied back if it succeeds. */
union tl_request {
	__u32 size;
	struct towline_version version;
	struct towline_attach attach;
	struct towline_detach detach;
	struct towline_list list;
	struct towline_status status;
	struct towline_freeze freeze;
	struct towline_map map;
	struct towline_settle settle;
	struct towline_snapshot_status snapshot_status;
	struct towline_snapshot_delete snapshot_delete;
	struct towline_extents extents;
	struct towline_log_status log_status;
	struct towline_snapshot_grow snapshot_grow;
};

int tl_control_snapshot_status(struct towline_snapshot_status *status);
int tl_control_snapshot_delete(const struct towline_snapshot_delete *delete);
int tl_control_snapshot_grow(const struct towline_snapshot_grow *grow);

int tl_control_init(void);
void tl_control_exit(void);

int tl_control_attach(union tl_request *request);
int tl_control_commit(union tl_request *request);
int tl_control_extents(union tl_request *request);
int tl_control_log_status(union tl_request *request);

#endif
