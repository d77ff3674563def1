/* SPDX-License-Identifier: GPL-2.0 */
/* What queues know of the IOTLB. */
#ifndef _VINF_MAP_H
#define _VINF_MAP_H

#include <linux/compiler.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <linux/vhost_types.h>

struct vinf_map_entry {
	u64 first, last;		/* IOVA, inclusive */
	u64 uaddr;
	u32 perm;			/* VHOST_ACCESS_* */
};

#define VINF_MAP_SLOTS		256

/**
 * struct vinf_map - an immutable picture of the IOTLB; a new one takes its place at BATCH_END
 * @ref: of queues and the device
 * @nr: entries of @e
 * @base: where the first of them begins
 * @shift: from there on up to the end of the last are VINF_MAP_SLOTS slots of 2^@shift bytes
 * @slot: by slot, the last entry that begins before it, or the first of all
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
	struct vinf_map_entry e[] __counted_by(nr);
};

void vinf_map_index(struct vinf_map *map);
int vinf_map_find(const struct vinf_map *map, unsigned int *hit, u64 iova, u32 len, u32 perm,
		  void __user **uaddr, u32 *got);

#endif /* _VINF_MAP_H */
