/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's side, for tests: guest memory, a ring in it, and a driver that behaves, or
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
#define GUEST_SIZE	(1024 * 1024)

/* Most descriptors of an indirect table made by guest_add(), unless the test wants more. */
#define GUEST_TABLE	32

/* The test's guest memory, behind virtq_mem_read(). */
struct virtq_mem {
	u8 *ram;
	u64 hole, hole_len;	/* a range that is not mapped after all */
	unsigned int reads;	/* calls so far */
	u64 bytes;		/* and what they read */
};

struct guest_opts {
	enum virtq_layout layout;
	u16 num;
	bool event_idx, indirect, in_order, partial_order;
	u16 start;		/* both sides start here; packed: slots from the first on */
	u16 max_segs;		/* 0: VIRTQ_MAX_NUM */
	u16 max_table;		/* 0: GUEST_TABLE */
};

/* One used entry. */
struct guest_used {
	u16 id;
	u32 len;
	bool flush;		/* VIRTQ_DESC_F_FLUSH, VIRTQ_USED_ELEM_F_FLUSH */
};

/* A place in a packed ring. */
struct guest_slot {
	u16 i;
	bool wrap;
};

struct guest_layout;

struct guest {
	struct kunit *test;
	struct virtq_mem mem;
	u32 brk;		/* first free byte of memory */

	/* The driver. */
	const struct guest_layout *layout;
	u16 num;
	bool event_idx, in_order, partial_order;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	u16 put, exposed;	/* available index: filled, and told */
	u16 reaped;		/* used index: looked at */

	/* A packed one: the same three places, and the flags that are not stored yet. */
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver, *device;
	struct guest_slot at_put, at_exposed, at_reaped;
	u16 hidden_flags;
	u16 nr_ids, ids[VIRTQ_MAX_NUM];

	u16 nr_free, free[VIRTQ_MAX_NUM];	/* descriptors; packed: just how many */
	u16 direct[VIRTQ_MAX_NUM];	/* by id: descriptors of the ring it occupies */
	u16 max_table;
	u64 table[VIRTQ_MAX_NUM];	/* by id: its indirect table, once it had one */
	u32 in_len[VIRTQ_MAX_NUM];	/* by id: its writable bytes */
	u16 order[VIRTQ_MAX_NUM];	/* ids in the order they were made available, */
	u16 nr_out;			/* and how many are out */
	u16 batch;			/* buffers left of the used entry at hand, */
	struct guest_used used_entry;	/* which is this one */
	bool flushed;			/* the entry before had FLUSH */
	u32 nr_added, nr_reaped;	/* buffers so far */
	u32 seq[VIRTQ_MAX_NUM];		/* by id: the how manieth, from 1 on */
	u32 latest;			/* of those used */
	u32 restarted_at;		/* how many were used when the device started last, */
	u32 recovered;			/* and how many it had taken by then */

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
/*
 * The next used buffer: 1, or 0 if there is none. Its descriptors are free again. Any rule for the
 * order of used buffers that was negotiated is checked with it.
 */
int guest_reap(struct guest *g, u16 *id, u32 *len);
/*
 * Asks for notifications from the next used buffer on; with EVENT_IDX, when @ahead more places are
 * used (split: buffers; packed: slots). True if there is one already.
 */
bool guest_want_call(struct guest *g);
bool guest_want_call_at(struct guest *g, int ahead);
void guest_refuse_call(struct guest *g);
/* With EVENT_IDX: does the device want to be kicked for what the driver exposes next? */
bool guest_kick_wanted_next(const struct guest *g);

/* A buffer of one descriptor, next in turn, exposed. Nothing is checked, nothing remembered. */
void guest_raw(struct guest *g, u16 id, u64 addr, u32 len, u16 flags);
/* The next is to take the place of the last one. */
void guest_raw_undo(struct guest *g);
/* The rings appear elsewhere, in the middle of everything; where they were is noise now. */
void guest_move(struct guest *g);

/* The device starts again from where it stands. All it has published has been reaped. */
void guest_restart(struct guest *g);
/* It goes on with buffers in flight: of @taken buffers the driver can see @used as used. */
void guest_recovered(struct guest *g, u32 used, u32 taken);

/* Chains of @n writable segments: added, not exposed; through the device and back. */
u16 guest_send(struct guest *g, unsigned int n);
void guest_round_trip(struct guest *g, unsigned int n);
/* Nothing is in flight, and the device stands where the driver does. */
void guest_expect_idle(struct guest *g);

/* For tests whose parameter is the layout. */
extern const enum virtq_layout guest_layouts[VIRTQ_NR_LAYOUTS];
void guest_describe_layout(const enum virtq_layout *layout, char *desc);

/* Of a split ring: what the device has in there, and what the driver wants. */
u16 guest_used_idx(const struct guest *g);
u16 guest_used_flags(const struct guest *g);
u32 guest_elem_id(const struct guest *g, unsigned int i);
u32 guest_elem_len(const struct guest *g, unsigned int i);
u16 guest_avail_event(const struct guest *g);
void guest_set_used_event(struct guest *g, u16 event);
void guest_set_avail_flags(struct guest *g, u16 flags);

/* Of a packed ring: one descriptor, and the event suppression structures. */
void guest_slot(struct guest *g, unsigned int i, u64 addr, u32 len, u16 id, u16 flags);
u16 guest_slot_flags(const struct guest *g, unsigned int i);
u16 guest_slot_id(const struct guest *g, unsigned int i);
u32 guest_slot_len(const struct guest *g, unsigned int i);
void guest_set_slot_flags(struct guest *g, unsigned int i, u16 flags);
void guest_set_event(struct guest *g, u16 desc, u16 flags);
u16 guest_event_desc(const struct guest *g);
u16 guest_event_flags(const struct guest *g);
/* The flags of an available (a used) descriptor of the lap with this wrap counter. */
u16 guest_avail_flags(bool wrap);
u16 guest_used_slot_flags(bool wrap);

/* Segments that can be told apart, and what the device must have made of them. */
void guest_make_segs(struct virtq_seg *segs, unsigned int nr_out, unsigned int nr_in, u32 salt);
void guest_expect_chain(struct guest *g, const struct virtq_chain *chain, u16 id, u16 ndesc,
			const struct virtq_seg *segs, unsigned int nr_out, unsigned int nr_in);
/* The device gives one buffer back. */
void guest_publish(struct guest *g, const struct virtq_chain *chain, u32 len);

/* Deterministic: the same seed, the same tests. */
u32 guest_rand(u64 *state);

/* What a layout does for the functions above. */
struct guest_layout {
	void (*init)(struct guest *g, u16 start, struct virtq_pos *pos);
	/* @in_table: the last descriptor refers to the table at @table with so many entries. */
	int (*add)(struct guest *g, const struct virtq_seg *segs, unsigned int slots,
		   unsigned int in_table);
	bool (*kick)(struct guest *g);
	void (*expose)(struct guest *g);
	/* The used entry at hand: there or not; then the buffer with this id is done with. */
	bool (*peek)(struct guest *g, struct guest_used *used);
	void (*done)(struct guest *g, u16 id);
	void (*want_call)(struct guest *g, int ahead);
	void (*refuse_call)(struct guest *g);
	bool (*kick_wanted_next)(const struct guest *g);
	void (*raw)(struct guest *g, u16 id, u64 addr, u32 len, u16 flags);
	void (*raw_undo)(struct guest *g);
	void (*move)(struct guest *g);
	/* Where the device is, by the driver's account. */
	void (*pos)(const struct guest *g, struct virtq_pos *pos);
};

extern const struct guest_layout guest_split, guest_packed;

void *guest_area(struct guest *g, u32 len);
/* A copy of an area elsewhere; the original is noise from now on. */
void *guest_move_area(struct guest *g, void *area, u32 len);
/* Address of the table of a buffer, filled with segments as its layout has them there. */
u64 guest_table(struct guest *g, u16 id);

#endif
