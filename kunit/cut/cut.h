/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every cut: a device that ends after any of its stores, a successor that knows what is in memory
 * and nothing else, and a judge.
 *
 * The engine is built with stores.h, so that after each of its stores to the ring or the region,
 * and after each that the device of this test makes to the driver's buffers, cut_stored() runs. It
 * puts all that outlives a device aside (memory, the driver, the disk), has a new device recover
 * and serve the driver to the end of the scenario, puts everything back, and lets the first device
 * go on as if nothing had been. While the new device recovers, and gives back its first buffers,
 * the same is done once more at each of its stores.
 *
 * A driver that has what it was told is the judge of what was promised: see model.c.
 */
#ifndef _KUNIT_CUT_H
#define _KUNIT_CUT_H

#include <linux/compiler.h>
#include <linux/types.h>
#include <linux/virtio_ring.h>

#include "../../drivers/vhost_blk/virtq.h"
#include "../../drivers/vhost_blk/inflight.h"

/* The largest ring here, and the largest region. */
#define CUT_NUM		16
#define CUT_ENTRIES	20
/* Most segments of a buffer. */
#define CUT_SEGS	3
/* The first device, the one after it, and the one after that. */
#define CUT_LIVES	3

enum cut_order { CUT_AS_TAKEN, CUT_LATEST_FIRST, CUT_OLDEST_LAST, CUT_NR_ORDERS };

/**
 * struct cut_opts - a scenario
 * @layout: of the ring
 * @num: ring size
 * @entries: of the region
 * @in_order: VIRTIO_F_IN_ORDER
 * @partial: VIRTIO_F_PARTIAL_ORDER
 * @event_idx: VIRTIO_F_EVENT_IDX
 * @eager: the driver looks after each store of the device, and makes what it finds available again
 * @sync: every third buffer is given back before the next is taken
 * @start: split: used and available index; packed: slots from the first one on
 * @pattern: which chains
 * @batch: buffers given back at once
 * @depth: most buffers the driver has out
 * @order: in which they are given back
 * @total: buffers until the scenario ends
 * @second: 0: one cut; n: a second one in each nth of them
 */
struct cut_opts {
	enum virtq_layout layout;
	u16 num, entries;
	bool in_order, partial, event_idx, eager, sync;
	u16 start;
	u8 pattern, batch, depth;
	enum cut_order order;
	u16 total;
	unsigned int second;
};

/* A place in the ring. Split: free-running, @wrap is false. */
struct cut_slot {
	u16 i;
	bool wrap;
};

/**
 * struct cut_req - a buffer of the driver, by its id
 * @serial: counted from 1: the order in which buffers were made available
 * @out: available, and not seen used
 * @exposed: the device can see it
 * @taken: a device had it
 * @shape: of its chain
 * @slots: of the ring
 */
struct cut_req {
	u32 serial;
	bool out, exposed, taken;
	u8 shape, slots;
};

/**
 * struct cut_driver - what the driver knows
 * @put: behind what it filled
 * @exposed: behind what it told
 * @reaped: behind what it saw
 * @hidden_flags: packed: of the first descriptor not told
 * @flushed: the used entry it saw last had FLUSH
 * @nr_out: buffers out
 * @posted: buffers so far
 * @newest_used: of these the latest that was used
 * @nr_free: descriptors
 * @free: split: these
 * @nr_ids: packed: buffer ids
 * @ids: packed: these
 * @req: buffers
 */
struct cut_driver {
	struct cut_slot put, exposed, reaped;
	u16 hidden_flags;
	bool flushed;
	u16 nr_out;
	u32 posted, newest_used;
	u16 nr_free, nr_ids;
	u8 free[CUT_NUM], ids[CUT_NUM];
	struct cut_req req[CUT_NUM];
};

/* What a device leaves behind: memory, the driver, the disk. */
struct cut_world {
	union {
		struct vring_desc desc[CUT_NUM];
		struct vring_packed_desc ring[CUT_NUM];
	};
	union {
		struct {
			__virtio16 flags, idx, ring[CUT_NUM + 1];
		} avail;
		struct vring_packed_desc_event driver;
	};
	union {
		struct {
			__virtio16 flags, idx;
			struct vring_used_elem ring[CUT_NUM];
			__virtio16 event;
		} used;
		struct vring_packed_desc_event device;
	};
	struct vring_desc table[CUT_NUM][CUT_SEGS];
	u64 data[CUT_NUM][CUT_SEGS];
	union {
		u64 region[VHOST_INFLIGHT_STRIDE_PACKED(CUT_ENTRIES) / sizeof(u64)];
		struct vhost_inflight_region_split split;
		struct vhost_inflight_region_packed packed;
	};
	struct cut_driver drv;
	u32 disk[CUT_NUM];
};

/* What ends with the device. */
struct cut_dev {
	struct virtq vq;
	struct inflight fl;
	struct virtq_order order;
	struct inflight_found found;
	struct virtq_seg segs[CUT_NUM];
	u64 copy[VHOST_INFLIGHT_STRIDE_PACKED(CUT_ENTRIES) / sizeof(u64)];
	u8 table[CUT_SEGS * sizeof(struct vring_desc)];
	unsigned int publishes;		/* since it began */
	u32 last;			/* serial of the buffer taken last */
	u16 nr;				/* buffers it has, */
	struct cut_out {
		u16 id, ndesc;
		u32 serial;
	} out[CUT_NUM];			/* as they were taken */
};

/**
 * struct cut_state - a scenario being played
 * @o: which
 * @w: what outlives a device
 * @life: which device
 * @quiet: no more cuts
 * @firsts: cuts tried so far
 * @seconds: second ones, likewise
 * @why: what went wrong, NULL: nothing
 * @at: the cut at hand, by life
 * @saved: by life, @w when it was cut
 * @dev: by life
 */
struct cut_state {
	struct cut_opts o;
	struct cut_world w __aligned(16);
	unsigned int life;
	bool quiet;
	u64 firsts, seconds;
	const char *why;
	struct cut_at {
		u32 store;
		u8 driver;
	} at[CUT_LIVES];
	struct cut_world saved[CUT_LIVES] __aligned(16);
	struct cut_dev dev[CUT_LIVES];
};

/* How many scenarios there are, and the nth. */
unsigned int cut_scenarios(void);
void cut_scenario(unsigned int n, struct cut_opts *o);
/* In words. */
void cut_describe(const struct cut_state *s, char *text, size_t size);

/* Plays it. True if nothing went wrong; else @s->why. @s->firsts and @s->seconds go up. */
bool cut_play(struct cut_state *s, const struct cut_opts *o);

/* ---- model.c, the driver and the judge ---- */

void cut_fail(struct cut_state *s, const char *why);
void cut_driver_init(struct cut_state *s);
/* Looks at what is used. True if there was something. */
bool cut_reap(struct cut_state *s);
/* Fills descriptors, up to @total buffers altogether. */
bool cut_fill(struct cut_state *s, u32 total, unsigned int depth);
void cut_expose(struct cut_state *s);
/* The position behind all that is used, and nothing out of that is looked at. */
void cut_visible(struct cut_state *s, struct cut_driver *after);
/* A device has a buffer: from the ring, or from the region. */
void cut_taken(struct cut_state *s, const struct virtq_chain *chain);
/* It writes what it has to, and ends with the status. */
void cut_answer(struct cut_state *s, const struct cut_out *out);
u32 cut_len(const struct cut_state *s, const struct cut_out *out);
/* What the region and the driver must have in common when nothing is in flight. */
void cut_audit(struct cut_state *s);

#endif
