/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef TOWLINE_IMAGE_H
#define TOWLINE_IMAGE_H

#include "snapshot.h"

int tl_image_create(struct tl_snapshot *snapshot);
void tl_image_remove(struct tl_snapshot *snapshot);
bool tl_image_is_open(const struct tl_snapshot *snapshot);

unsigned int tl_image_front_pad(void);
int tl_images_init(void);
void tl_images_exit(void);

#endif
