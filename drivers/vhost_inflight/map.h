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

/* An immutable picture of the IOTLB, sorted; a new one takes its place at BATCH_END. */
struct vinf_map {
	refcount_t ref;
	unsigned int nr;
	struct vinf_map_entry e[] __counted_by(nr);
};

int vinf_map_find(const struct vinf_map *map, unsigned int *hit, u64 iova, u32 len, u32 perm,
		  void __user **uaddr, u32 *got);

#endif /* _VINF_MAP_H */
