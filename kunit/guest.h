/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's side, for tests: guest memory, a split ring in it, and a driver that behaves, or
 * builds whatever bytes the test says. Comes with the device's side of the same ring, ready to
 * use.
 */
#ifndef _KUNIT_GUEST_H
#define _KUNIT_GUEST_H

#include <kunit/test.h>
#include <linux/types.h>

#include "../drivers/vhost_blk/virtq.h"
#include "../drivers/vhost_blk/virtq_mem.h"

/* Where guest memory starts and how much there is; all else is unmapped. */
#define GUEST_BASE	0x40000000ULL
#define GUEST_SIZE	(512 * 1024)

/* Most descriptors of an indirect table made by guest_add(). */
#define GUEST_TABLE	32

/* The test's guest memory, behind virtq_mem_read(). */
struct virtq_mem {
	u8 *ram;
	u64 hole, hole_len;	/* a range that is not mapped after all */
	unsigned int reads;	/* calls so far */
	u64 bytes;		/* and what they read */
};

struct guest_opts {
	u16 num;
	bool event_idx, indirect;
	u16 start;		/* both indexes start here */
	u16 max_segs;		/* 0: VIRTQ_MAX_NUM */
};

struct guest {
	struct kunit *test;
	struct virtq_mem mem;
	u32 brk;		/* first free byte of memory */

	/* The driver. */
	u16 num;
	bool event_idx;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	u16 put, exposed;	/* available index: filled, and told */
	u16 reaped;		/* used index: looked at */
	u16 nr_free, free[VIRTQ_MAX_NUM];
	u16 direct[VIRTQ_MAX_NUM];	/* by head: descriptors of the ring it occupies */
	u64 table[VIRTQ_MAX_NUM];	/* by head: its indirect table, once it had one */

	/* The device. */
	struct virtq vq;
	struct virtq_cfg cfg;
};

struct guest *guest_new(struct kunit *test, const struct guest_opts *opts);

/* Memory: 16-byte aligned, zeroed. */
u64 guest_alloc(struct guest *g, u32 len);
void *guest_ptr(struct guest *g, u64 addr, u32 len);

/* Byte by byte: nothing is checked, nothing remembered. */
void guest_desc(struct vring_desc *table, unsigned int i, u64 addr, u32 len, u16 flags, u16 next);
void guest_put(struct guest *g, u16 head);
void guest_expose(struct guest *g);
void guest_set_avail_idx(struct guest *g, u16 idx);

/*
 * A well-behaved driver: @nr_direct segments in the ring's own descriptors, the others in a table
 * behind them. Not yet exposed. Returns the head, or -ENOSPC.
 */
int guest_add(struct guest *g, const struct virtq_seg *segs, unsigned int nr,
	      unsigned int nr_direct);
/* Exposes what was added. True if the device wants to hear of it. */
bool guest_kick(struct guest *g);
/* The next used buffer: 1, or 0 if there is none. Its descriptors are free again. */
int guest_reap(struct guest *g, u16 *id, u32 *len);
/* Asks for notifications from the next used buffer on. True if there is one already. */
bool guest_want_call(struct guest *g);
void guest_refuse_call(struct guest *g);

/* What the device's side has in the ring. */
u16 guest_used_idx(const struct guest *g);
u16 guest_used_flags(const struct guest *g);
u16 guest_avail_event(const struct guest *g);
void guest_set_used_event(struct guest *g, u16 event);
void guest_set_avail_flags(struct guest *g, u16 flags);

/* Deterministic: the same seed, the same tests. */
u32 guest_rand(u64 *state);

#endif
