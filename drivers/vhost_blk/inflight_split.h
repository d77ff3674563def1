/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a split ring stores to its inflight region as it runs: the verbs of inflight.h, whose stores
 * inflight_split.c explains. Inline, because they are for each buffer.
 */
#ifndef _VHOST_BLK_INFLIGHT_SPLIT_H
#define _VHOST_BLK_INFLIGHT_SPLIT_H

#include <linux/types.h>
#include <uapi/linux/vhost_inflight.h>

#include "fault.h"
#include "inflight.h"
#include "inflight_store.h"

static inline void inflight_split_record(struct inflight *fl, u16 head)
{
	struct vhost_inflight_region_split *r = fl->region;

	fault_here(FAULT_FETCHED);
	inflight_store64(&r->desc[head].counter, fl->counter++);
	fault_here(FAULT_RECORD);
	inflight_store8(&r->desc[head].inflight, 1);
}

/* A batch of @n buffers, one at least: all that are staged. */
static inline void inflight_split_prepare(struct inflight *fl, unsigned int n)
{
	struct vhost_inflight_region_split *r = fl->region;
	unsigned int head = fl->head, i = 0;

	fault_here(FAULT_STAGED);
	do {
		inflight_store16(&r->desc[fl->staged[i]].next, head);
		head = fl->staged[i];
	} while (++i < n);
	fl->head = head;
	fault_here(FAULT_PREPARE);
	inflight_store16(&r->last_batch_head, head);
	fault_here(FAULT_PREPARED);
}

static inline void inflight_split_commit(struct inflight *fl, u16 used, unsigned int n)
{
	struct vhost_inflight_region_split *r = fl->region;
	unsigned int i = 0;

	fault_here(FAULT_SHOWN);
	do {
		inflight_store8(&r->desc[fl->staged[i]].inflight, 0);
		fault_here(FAULT_CLEAR);
	} while (++i < n);
	fault_here(FAULT_CLEARED);
	inflight_store16(&r->used_idx, used);
	fl->nr_staged = 0;
}

#endif
