/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest memory: one region, whose bounds are checked, or what a queue of the holder has: a picture
 * of the IOTLB, and where the last look-ups were.
 */
#ifndef _BENCH_RING_PICTURE_H
#define _BENCH_RING_PICTURE_H

#include <linux/types.h>

#include "map.h"

/* The most pieces that guest memory is cut into. */
#define PIECES	64

struct virtq_mem {
	u64 base, size;
	struct vinf_map *map;
	unsigned int data_hit, copy_hit;
};

/* @regions mappings, of which one is all of @ram, and as many as can be on either side. */
void picture_make(struct virtq_mem *mem, void *ram, u64 size, unsigned int regions);

#endif
