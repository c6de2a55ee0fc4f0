/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_CONTROL_H
#define TOWLINE_CONTROL_H

int tl_control_init(void);
void tl_control_exit(void);

#endif
