// SPDX-License-Identifier: GPL-2.0
/*
 * Looking up an address in a picture of the IOTLB.  Pure C: it takes no lock and allocates nothing.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>

#include "map.h"

static bool vinf_map_has(const struct vinf_map_entry *e, u64 iova)
{
	return iova - e->first <= e->last - e->first;
}

/* The entry that has an address, NULL if there is none. */
static noinline const struct vinf_map_entry *vinf_map_search(const struct vinf_map *map, u64 iova)
{
	const struct vinf_map_entry *e = map->e;
	unsigned int nr = map->nr, half;

	if (!nr)
		return NULL;
	/* It is one of @nr from @e on, if there is one. */
	while (nr > 1) {
		half = nr / 2;
		/* Which way to go nobody can foresee: no branch. */
		e += e[half].first <= iova ? half : 0;
		nr -= half;
	}
	return vinf_map_has(e, iova) ? e : NULL;
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
 * Context: any that keeps the picture.
 *
 * Return: 0; -EFAULT when @iova is not mapped or not with @perm.
 */
int vinf_map_find(const struct vinf_map *map, unsigned int *hit, u64 iova, u32 len, u32 perm,
		  void __user **uaddr, u32 *got)
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
