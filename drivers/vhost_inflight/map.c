// SPDX-License-Identifier: GPL-2.0
/*
 * Looking up an address in a picture of the IOTLB.  Pure C: it takes no lock and allocates nothing.
 */
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/minmax.h>

#include "map.h"

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
	unsigned int lo = 0, hi, mid = *hit;
	const struct vinf_map_entry *e;

	if (!map)
		return -EFAULT;
	hi = map->nr;
	/*
	 * The last hit first: a guest's memory is few ranges and most of its buffers are in one of
	 * them.
	 */
	while (lo < hi) {
		if (mid < lo || mid >= hi)
			mid = lo + (hi - lo) / 2;
		e = &map->e[mid];
		if (iova < e->first) {
			hi = mid;
		} else if (iova > e->last) {
			lo = mid + 1;
		} else {
			if ((e->perm & perm) != perm)
				return -EFAULT;
			*hit = mid;
			*uaddr = u64_to_user_ptr(e->uaddr + (iova - e->first));
			/* Not last - iova + 1, which may be 2^64. */
			*got = min_t(u64, len - 1, e->last - iova) + 1;
			return 0;
		}
		mid = lo + (hi - lo) / 2;
	}
	return -EFAULT;
}
