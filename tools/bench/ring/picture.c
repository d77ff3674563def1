// SPDX-License-Identifier: GPL-2.0
/*
 * Pictures of the IOTLB, and guest memory by one of them: with the holder's map.c.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <stdlib.h>

#include "picture.h"
#include "virtq_mem.h"

#define PAGE	4096

void picture_make(struct virtq_mem *mem, void *ram, u64 size, unsigned int regions)
{
	unsigned int pieces = min_t(unsigned int, regions, PIECES), low = (regions - pieces) / 2, i;
	u64 len = size / pieces, at = (u64)ram - low * PAGE;

	mem->map = calloc(1, sizeof(*mem->map) + regions * sizeof(*mem->map->e));
	if (!mem->map)
		abort();
	mem->map->nr = regions;
	mem->data_hit = 0;
	mem->copy_hit = 0;
	for (i = 0; i < regions; i++) {
		u64 bytes = i < low || i >= low + pieces ? PAGE : len;

		mem->map->e[i] = (struct vinf_map_entry){
			.first = at, .last = at + bytes - 1, .uaddr = at, .perm = VHOST_ACCESS_RW,
		};
		at += bytes;
	}
	vinf_map_index(mem->map);
}

/* As vinf_copy_from() of the holder's iotlb.c does it. */
static noinline int picture_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	while (len) {
		void *uaddr;
		u32 got;
		int ret;

		ret = vinf_map_find(mem->map, &mem->copy_hit, addr, len, VHOST_ACCESS_RO, &uaddr,
				    &got);
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
