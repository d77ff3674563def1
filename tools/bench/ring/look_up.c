// SPDX-License-Identifier: GPL-2.0
/*
 * What a look-up in a picture of the IOTLB costs: the holder's map.c.
 */
#include <linux/compiler.h>
#include <linux/minmax.h>
#include <stdio.h>
#include <stdlib.h>

#include "picture.h"
#include "side.h"

#define PAGE	4096

/* Look-ups in the same region as before, or each in any. */
int look_up(unsigned int regions, unsigned long count, bool spread)
{
	const u64 base = 1ULL << 40, len = 1 << 20;
	struct virtq_mem mem;
	unsigned long n;
	u32 rnd = 1;
	double a, b;

	picture_make(&mem, (void *)base, len * min_t(unsigned int, regions, PIECES), regions);
	a = now();
	for (n = 0; n < count; n++) {
		const struct vinf_map_entry *at;
		void *uaddr;
		u32 got;

		rnd = rnd * 1664525 + 1013904223;
		at = &mem.map->e[spread ? (u64)rnd * regions >> 32 : regions / 2];
		if (vinf_map_find(mem.map, &mem.data_hit, at->first, PAGE, VHOST_ACCESS_RW, &uaddr,
				  &got) || (u64)uaddr != at->first)
			abort();
	}
	b = now();
	printf("%.3f\n", (b - a) * 1e9 / count);
	free(mem.map);
	return 0;
}
