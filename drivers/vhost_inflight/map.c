// SPDX-License-Identifier: GPL-2.0
/*
 * Looking up an address in a picture of the IOTLB.  Pure C: it takes no lock and allocates nothing.
 */
#include <linux/string.h>

#include "map.h"

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

/* The entry that has an address, NULL if there is none; for vinf_map_find(). */
const struct vinf_map_entry *vinf_map_search(const struct vinf_map *map, u64 iova)
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
