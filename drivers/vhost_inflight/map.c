// SPDX-License-Identifier: GPL-2.0
/*
 * Looking up an address in a picture of the IOTLB.  Pure C: it takes no lock and allocates nothing.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "map.h"

static bool vinf_map_has(const struct vinf_map_entry *e, u64 iova)
{
	return iova - e->first <= e->last - e->first;
}

/**
 * vinf_map_index - prepare a picture for being looked up in
 * @map: picture whose entries are there
 *
 * Context: any; nobody else has the picture yet.
 */
void vinf_map_index(struct vinf_map *map)
{
	unsigned int i, n = 0;
	u64 span;

	map->shift = 0;
	memset(map->slot, 0, sizeof(map->slot));
	if (!map->nr)
		return;
	map->base = map->e[0].first;
	span = map->e[map->nr - 1].last - map->base;
	while (span >> map->shift >= VINF_MAP_SLOTS)
		map->shift++;
	for (i = 1; i <= VINF_MAP_SLOTS; i++) {
		while (n < map->nr && (map->e[n].first - map->base) >> map->shift < i)
			n++;
		map->slot[i] = n - 1;
	}
}

/* The entry that has an address, NULL if there is none. */
static noinline const struct vinf_map_entry *vinf_map_search(const struct vinf_map *map, u64 iova)
{
	/*
	 * An address that is out of all slots gets one of them, and no entry there has it.  No
	 * branch that could be taken wrongly with an index of the guest's.
	 */
	unsigned int s = (iova - map->base) >> map->shift & (VINF_MAP_SLOTS - 1);
	const struct vinf_map_entry *e = &map->e[map->slot[s]];
	unsigned int nr = map->slot[s + 1] - map->slot[s] + 1, half;

	if (!map->nr)
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
