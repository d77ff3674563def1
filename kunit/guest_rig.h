/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A ring with an inflight region: what a driver has out, and devices that come and go.
 */
#ifndef _KUNIT_GUEST_RIG_H
#define _KUNIT_GUEST_RIG_H

#include "guest.h"
#include "../drivers/vhost_blk/inflight.h"

#define RIG_NUM		8
/* The region is for larger rings than this one. */
#define RIG_ENTRIES	16

struct rig {
	struct guest *g;
	struct inflight fl;
	struct inflight_found found;
	struct inflight_cfg cfg;
	u64 region[VHOST_INFLIGHT_STRIDE_PACKED(RIG_ENTRIES) / sizeof(u64)];
	u64 copy[VHOST_INFLIGHT_STRIDE_PACKED(RIG_ENTRIES) / sizeof(u64)];
	struct vhost_inflight_region_split *split;	/* both are @region */
	struct vhost_inflight_region_packed *packed;
	struct virtq_chain chain[RIG_NUM];
};

/*
 * The layout is the parameter of the test. The region is fresh and open; the ring stands six before
 * its end (split: 65530), with EVENT_IDX.
 */
struct rig *rig_new(struct kunit *test, bool in_order);
/* The same, elsewhere, with a region of another size. */
struct rig *rig_new_at(struct kunit *test, bool in_order, u16 start, u16 entries);
/* The next device, which knows the ring and the region and nothing else. */
int rig_open(struct rig *r);
/* Makes @n buffers of two descriptors available (or with one table) and takes them. */
void rig_take(struct rig *r, unsigned int n, bool table);
/* Gives the nth of these back. */
void rig_give(struct rig *r, unsigned int i);
/* A flag of the region, and how many are set. */
u8 rig_flag(const struct rig *r, unsigned int entry);
unsigned int rig_flags(const struct rig *r);

#endif
