/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a layout brings to the inflight region: the inner side of inflight.h, included by inflight.c
 * and the layouts only.
 */
#ifndef _VHOST_BLK_INFLIGHT_OPS_H
#define _VHOST_BLK_INFLIGHT_OPS_H

#include <linux/errno.h>

#include "inflight.h"
#include "inflight_store.h"

/**
 * struct inflight_ops - an inflight region of a layout
 * @size: see inflight_size()
 * @fresh: make all of it ready but the version; from @fl->used
 * @read: check everything, fill @found but for the order, and what @fl keeps; nothing is written.
 *	0 or -EUCLEAN
 * @settle: write what @read decided
 * @may_start: is this one of the positions where a device may be told to start?
 */
struct inflight_ops {
	size_t (*size)(u16 desc_num);
	void (*fresh)(struct inflight *fl);
	int (*read)(struct inflight *fl, const struct inflight_cfg *cfg,
		    struct inflight_found *found);
	void (*settle)(struct inflight *fl, const struct inflight_cfg *cfg,
		       const struct inflight_found *found);
	bool (*may_start)(const struct virtq_pos *pos, const struct virtq_pos *found);
};

/* A buffer was in flight. There is room: its id is below the ring size, and no other has it. */
static inline void inflight_add(struct inflight_found *found, const struct inflight_buf *buf)
{
	found->buf[found->nr++] = *buf;
}

extern const struct inflight_ops inflight_split_ops;
extern const struct inflight_ops inflight_packed_ops;

#endif
