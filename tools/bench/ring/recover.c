// SPDX-License-Identifier: GPL-2.0
/*
 * What a device left behind: queues whose requests are all in flight, taken in an order that has
 * nothing to do with their ids. The device after it checks the regions, puts the requests in order
 * and takes them again.
 */
#include <linux/align.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>

#include "inflight.h"
#include "picture.h"
#include "side.h"
#include "virtq.h"
#include "virtq_mem.h"

struct left {
	struct vring_desc desc[VIRTQ_MAX_NUM] __aligned(64);	/* packed: the ring */
	struct { u16 flags, idx, ring[VIRTQ_MAX_NUM + 1]; } avail __aligned(64);
	struct {
		u16 flags, idx;
		struct vring_used_elem ring[VIRTQ_MAX_NUM + 1];
	} used __aligned(64);
	struct vring_desc table[VIRTQ_MAX_NUM][3] __aligned(64);
	u8 region[VHOST_INFLIGHT_STRIDE_PACKED(VIRTQ_MAX_NUM)] __aligned(64);
};

static struct {
	struct virtq vq;
	struct virtq_mem mem;
	struct inflight track;
	struct inflight_found found;
	struct virtq_seg segs[VIRTQ_MAX_NUM];
	struct vring_desc table[VIRTQ_MAX_NUM];
	u8 snapshot[sizeof(((struct left *)0)->region)] __aligned(8);
} s;

/* @num buffers of three segments, in a table each, are made available. */
static void fill(struct left *q, bool packed, unsigned int num)
{
	unsigned int i;

	for (i = 0; i < num; i++) {
		/* Any odd number goes through all of a power of two. */
		unsigned int id = (i * 389 + 7) % num, j;
		struct vring_desc *d = q->table[id], table = {
			(u64)d, sizeof(q->table[id]), VRING_DESC_F_INDIRECT,
		};

		for (j = 0; j < 3; j++)
			d[j] = (struct vring_desc){
				.addr = (u64)q, .len = j ? 512 : 16,
				.flags = (j ? VRING_DESC_F_WRITE : 0) |
					 (j < 2 && !packed ? VRING_DESC_F_NEXT : 0),
				.next = j < 2 && !packed ? j + 1 : 0,
			};
		if (!packed) {
			q->desc[id] = table;
			q->avail.ring[i] = id;
			continue;
		}
		for (j = 0; j < 3; j++)
			((struct vring_packed_desc *)d)[j].flags = j ? VRING_DESC_F_WRITE : 0;
		((struct vring_packed_desc *)q->desc)[i] = (struct vring_packed_desc){
			.addr = table.addr, .len = table.len, .id = id,
			.flags = VRING_DESC_F_INDIRECT | 1 << VRING_PACKED_DESC_F_AVAIL,
		};
	}
	if (!packed)
		q->avail.idx = num;
}

/* A device begins with a queue, at its beginning or where the one before had been. */
static int begin(struct left *q, bool packed, unsigned int num)
{
	const struct virtq_pos pos = { .avail_wrap = packed, .used_wrap = packed };
	enum virtq_layout layout = packed ? VIRTQ_PACKED : VIRTQ_SPLIT;

	memcpy(s.snapshot, q->region, inflight_size(layout, num));
	return inflight_open(&s.track, &(struct inflight_cfg){
		.layout = layout, .num = num, .desc_num = num, .region = q->region,
		.snapshot = s.snapshot, .desc = q->desc, .device = &q->used, .pos = pos,
	}, &s.found);
}

static int start(struct left *q, bool packed, unsigned int num)
{
	return virtq_init(&s.vq, &(struct virtq_cfg){
		.layout = packed ? VIRTQ_PACKED : VIRTQ_SPLIT, .num = num, .event_idx = true,
		.indirect = true, .desc = q->desc, .driver = &q->avail, .device = &q->used,
		.segs = s.segs, .max_segs = VIRTQ_MAX_NUM, .table = s.table, .track = &s.track,
		.mem = &s.mem,
	}, &s.found.pos);
}

static int leave(struct left *q, bool packed, unsigned int num)
{
	struct virtq_chain chain;
	unsigned int i;

	fill(q, packed, num);
	if (begin(q, packed, num) || s.found.nr || start(q, packed, num))
		return -EINVAL;
	for (i = 0; i < num; i++)
		if (virtq_fetch(&s.vq, &chain) != 1)
			return -EINVAL;
	return 0;
}

/* Milliseconds for all queues: until the order is known, and until all are taken again. */
int recover(bool packed, unsigned int queues, unsigned int num)
{
	struct left *left = aligned_alloc(4096, ALIGN(queues * sizeof(*left), 4096));
	double a, b, order = 0, again = 0;
	unsigned int i, n;

	if (!left || !num || num > VIRTQ_MAX_NUM || num & (num - 1))
		return 2;
	memset(left, 0, queues * sizeof(*left));
	s.mem.base = (u64)left;
	s.mem.size = queues * sizeof(*left);
	for (i = 0; i < queues; i++)
		if (leave(&left[i], packed, num))
			return 1;
	for (i = 0; i < queues; i++) {
		struct virtq_chain chain;

		a = now();
		if (begin(&left[i], packed, num) || s.found.nr != num)
			return 1;
		b = now();
		order += b - a;
		if (start(&left[i], packed, num))
			return 1;
		for (n = 0; n < num; n++)
			if (s.found.buf[n].id != (n * 389 + 7) % num ||
			    virtq_refetch(&s.vq, &s.found.buf[n], &chain) != 1)
				return 1;
		again += now() - b;
	}
	printf("%.4f\n%.4f\n", order * 1e3, again * 1e3);
	free(left);
	return 0;
}
