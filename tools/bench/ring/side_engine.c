// SPDX-License-Identifier: GPL-2.0
/*
 * The device side that is ours: the files of drivers/vhost_blk, called as its queue.c calls them.
 * It records in inflight.c's region or not, and what comes out of the ring may go on to the
 * parser, or to the holder's look-up in the picture of the IOTLB.
 */
#include <linux/align.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>

#include "inflight.h"
#include "req.h"
#include "virtq.h"
#include "virtq_mem.h"
#include "map.h"
#include "picture.h"
#include "side.h"

enum with { RING, PARSE, PINS };

static struct {
	struct virtq vq;
	struct virtq_mem mem;
	struct vblk_limits limits;
	struct inflight track;
	struct virtq_done done[TURN_MAX];
	struct virtq_done fifo[2 * VIRTQ_MAX_NUM];	/* where some are kept: those in use */
	unsigned int keep, batch, in, out;
	struct virtq_seg segs[VIRTQ_MAX_NUM];
	struct vring_desc table[VIRTQ_MAX_NUM];
	struct vblk_range ranges[VBLK_MAX_RANGES];
} e;

static void *engine_open(const struct ring *r, bool track)
{
	struct virtq_cfg cfg = {
		.layout = r->packed ? VIRTQ_PACKED : VIRTQ_SPLIT, .num = r->num,
		.event_idx = true, .indirect = true,
		.desc = r->desc, .driver = r->driver, .device = r->device,
		.segs = e.segs, .max_segs = VIRTQ_MAX_NUM, .table = e.table, .mem = &e.mem,
	};
	struct virtq_pos pos = { .avail_wrap = r->packed, .used_wrap = r->packed };
	static struct inflight_found found;
	size_t size = inflight_size(cfg.layout, r->num);
	const struct inflight_cfg fresh = {
		.layout = cfg.layout, .num = r->num, .desc_num = r->num, .pos = pos,
		.region = aligned_alloc(4096, ALIGN(size, 4096)),
		.snapshot = calloc(1, size), .desc = r->desc, .device = r->device,
	};

	e.limits = (struct vblk_limits){
		.capacity = 1 << 20, .blk_size = 512, .max_data = 64 << 20,
	};
	if (!e.mem.map) {
		e.mem.base = (u64)r->ram;
		e.mem.size = r->size;
	}
	e.keep = r->depth - r->batch;
	e.batch = r->batch;
	if (!fresh.region || !fresh.snapshot || inflight_open(&e.track, &fresh, &found))
		return NULL;
	if (track)
		cfg.track = &e.track;
	return virtq_init(&e.vq, &cfg, &pos) ? NULL : &e;
}

static __always_inline void look(const struct virtq_seg *seg, unsigned int *hit)
{
	u32 perm = seg->flags & VIRTQ_SEG_WRITE ? VHOST_ACCESS_WO : VHOST_ACCESS_RO, got;
	void *uaddr;

	if (vinf_map_find(e.mem.map, hit, seg->addr, seg->len, perm, &uaddr, &got) ||
	    got != seg->len)
		abort();
}

/* Each segment is looked up: header and status as they are copied, data as it is to be pinned. */
static __always_inline void translate(const struct virtq_chain *chain)
{
	const struct virtq_seg *seg = chain->segs, *last = seg + chain->nr_segs - 1;

	look(seg, &e.mem.copy_hit);
	while (++seg < last)
		look(seg, &e.mem.data_hit);
	look(last, &e.mem.copy_hit);
}

static __always_inline void parse(const struct virtq_chain *chain)
{
	struct vblk_cmd cmd = { .ranges = e.ranges };

	if (vblk_parse(&e.limits, &e.mem, chain, &cmd) || cmd.len != 4096)
		abort();
}

/* Of more in use than a batch: a batch of the oldest is given back. */
static unsigned int give_oldest(unsigned int n)
{
	unsigned int i, at;

	for (i = 0; i < n; i++)
		e.fifo[e.in++ % ARRAY_SIZE(e.fifo)] = e.done[i];
	if (e.in - e.out <= e.keep)
		return 0;
	/* Batches are powers of two, so none goes round the end. */
	at = e.out % ARRAY_SIZE(e.fifo);
	virtq_publish(&e.vq, e.fifo + at, e.batch);
	e.out += e.batch;
	calls += virtq_need_call(&e.vq);
	return e.batch;
}

static __always_inline unsigned int engine_turn(enum with with, bool deep)
{
	struct virtq_chain chain;
	unsigned int n;

	for (n = 0; n < TURN_MAX; n++) {
		int ret = virtq_fetch(&e.vq, &chain);

		if (!ret)
			break;
		if (unlikely(ret < 0))
			abort();
		if (with == PARSE)
			parse(&chain);
		if (with == PINS)
			translate(&chain);
		e.done[n] = (struct virtq_done){ chain.id, chain.ndesc, USED_LEN };
	}
	if (deep)
		return give_oldest(n);
	if (!n)
		return 0;
	virtq_publish(&e.vq, e.done, n);
	calls += virtq_need_call(&e.vq);
	return n;
}

static void *open_plain(const struct ring *r)
{
	e.mem.map = NULL;
	return engine_open(r, false);
}

static void *open_map(const struct ring *r)
{
	picture_make(&e.mem, r->ram, r->size, r->regions);
	return engine_open(r, false);
}

static void *open_track(const struct ring *r)
{
	e.mem.map = NULL;
	return engine_open(r, true);
}

static unsigned int turn_ring(void *priv)
{
	return engine_turn(RING, false);
}

static unsigned int turn_deep(void *priv)
{
	return engine_turn(RING, true);
}

static unsigned int turn_parse(void *priv)
{
	return engine_turn(PARSE, false);
}

static unsigned int turn_map(void *priv)
{
	return engine_turn(PINS, false);
}

const struct side side_engine = { "engine", true, open_plain, turn_ring };
const struct side side_engine_track = { "engine-track", true, open_track, turn_ring };
const struct side side_engine_deep = { "engine-deep", true, open_track, turn_deep };
const struct side side_engine_parse = { "engine-parse", true, open_track, turn_parse };
const struct side side_engine_map = { "engine-map", true, open_map, turn_map };
