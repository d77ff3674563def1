/* SPDX-License-Identifier: GPL-2.0 */
/* What queues know of the IOTLB. */
#ifndef _VINF_MAP_H
#define _VINF_MAP_H

#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <linux/vhost_types.h>

struct vinf_map_entry {
	u64 first, last;		/* IOVA, inclusive */
	u64 uaddr;
	u32 perm;			/* VHOST_ACCESS_* */
};

#define VINF_MAP_SLOTS		256

struct vinf_memory;

/**
 * struct vinf_map - an immutable picture of the IOTLB; a new one takes its place at BATCH_END
 * @ref: of queues and the device, and of requests that outlive it there
 * @nr: entries of @e
 * @base: where the first of them begins
 * @shift: from there on up to the end of the last are VINF_MAP_SLOTS slots of 2^@shift bytes
 * @slot: by slot, the last entry that begins before it, or the first of all
 * @memory: the pinned memory of each entry; NULL: requests pin what they need
 * @e: sorted, none overlaps another
 *
 * vinf_map_index() fills @base, @shift and @slot, which spare a look-up most of the search.
 */
struct vinf_map {
	refcount_t ref;
	unsigned int nr;
	u64 base;
	unsigned int shift;
	u32 slot[VINF_MAP_SLOTS + 1];
	struct vinf_memory **memory;
	struct vinf_map_entry e[] __counted_by(nr);
};

void vinf_map_index(struct vinf_map *map);
const struct vinf_map_entry *vinf_map_search(const struct vinf_map *map, u64 iova);

static inline bool vinf_map_has(const struct vinf_map_entry *e, u64 iova)
{
	return iova - e->first <= e->last - e->first;
}

/**
 * vinf_map_find - one piece of guest memory as the owner's memory
 * @map: picture of the IOTLB; NULL: nothing is mapped
 * @hit: entry to begin with, and the one that was found
 * @iova: device address
 * @len: bytes wanted, not 0
 * @perm: VHOST_ACCESS_RO to read it, VHOST_ACCESS_WO to write it
 * @uaddr: where the piece starts
 * @got: bytes up to the end of the piece, at most @len
 *
 * Inline, because it is for each piece of data, and mostly the last hit.
 *
 * Context: any that keeps the picture.
 *
 * Return: 0; -EFAULT when @iova is not mapped or not with @perm.
 */
static inline int vinf_map_find(const struct vinf_map *map, unsigned int *hit, u64 iova, u32 len,
				u32 perm, void __user **uaddr, u32 *got)
{
	const struct vinf_map_entry *e;

	if (unlikely(!map))
		return -EFAULT;
	/*
	 * The last hit first: a guest's memory is few ranges and most of its buffers are in one of
	 * them.
	 */
	e = &map->e[*hit];
	if (unlikely(*hit >= map->nr || !vinf_map_has(e, iova))) {
		e = vinf_map_search(map, iova);
		if (unlikely(!e))
			return -EFAULT;
		*hit = e - map->e;
	}
	if (unlikely((e->perm & perm) != perm))
		return -EFAULT;
	*uaddr = u64_to_user_ptr(e->uaddr + (iova - e->first));
	/* Not last - iova + 1, which may be 2^64. */
	*got = min_t(u64, len - 1, e->last - iova) + 1;
	return 0;
}

#endif /* _VINF_MAP_H */
