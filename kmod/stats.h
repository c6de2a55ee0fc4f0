/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_STATS_H
#define TOWLINE_STATS_H

void tl_stats_init(void);
void tl_stats_exit(void);

#endif
