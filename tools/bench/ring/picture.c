// SPDX-License-Identifier: GPL-2.0
/*
 * Pictures of the IOTLB, and what a look-up in one of them costs: the holder's map.c.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <stdio.h>
#include <stdlib.h>

#include "picture.h"
#include "side.h"
#include "virtq_mem.h"

/* The most pieces that guest memory is cut into. */
#define PIECES	64
#define PAGE	4096

void picture_make(struct virtq_mem *mem, void *ram, u64 size, unsigned int regions)
{
	unsigned int pieces = min_t(unsigned int, regions, PIECES), low = (regions - pieces) / 2, i;
	u64 len = size / pieces, at = (u64)ram - low * PAGE;

	mem->map = calloc(1, sizeof(*mem->map) + regions * sizeof(*mem->map->e));
	if (!mem->map)
		abort();
	mem->map->nr = regions;
	mem->hit = 0;
	for (i = 0; i < regions; i++) {
		u64 bytes = i < low || i >= low + pieces ? PAGE : len;

		mem->map->e[i] = (struct vinf_map_entry){
			.first = at, .last = at + bytes - 1, .uaddr = at, .perm = VHOST_ACCESS_RW,
		};
		at += bytes;
	}
}

/* As vinf_copy_from() of the holder's iotlb.c does it. */
static noinline int picture_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	while (len) {
		void *uaddr;
		u32 got;
		int ret;

		ret = vinf_map_find(mem->map, &mem->hit, addr, len, VHOST_ACCESS_RO, &uaddr, &got);
		if (ret)
			return ret;
		memcpy(dst, uaddr, got);
		addr += got;
		dst += got;
		len -= got;
	}
	return 0;
}

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	u64 off = addr - mem->base;

	if (likely(off < mem->size && len <= mem->size - off)) {
		memcpy(dst, (void *)addr, len);
		return 0;
	}
	return mem->map ? picture_read(mem, addr, dst, len) : -EFAULT;
}

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
		if (vinf_map_find(mem.map, &mem.hit, at->first, PAGE, VHOST_ACCESS_RW, &uaddr,
				  &got) || (u64)uaddr != at->first)
			abort();
	}
	b = now();
	printf("%.3f\n", (b - a) * 1e9 / count);
	free(mem.map);
	return 0;
}
