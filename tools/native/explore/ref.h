/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The reference model: what a virtqueue is, told in buffers instead of bytes. Both sides say what
 * they believe to have done; anything that a virtqueue must not do ends the run.
 */
#ifndef _EXPLORE_REF_H
#define _EXPLORE_REF_H

#include <linux/types.h>
#include <linux/virtio_ring.h>

#include "../../../drivers/vhost_blk/virtq.h"
#include "memory.h"

/** define MAX_NUM, MAX_BUFS - largest ring, and most buffers of a run */
#define MAX_NUM		4
#define MAX_BUFS	8

/**
 * struct config - one thing to explore
 * @layout: byte layout
 * @num: ring size
 * @bufs: buffers in a run
 * @out: of these at most so many with the device
 * @chain: descriptors of each of them in turn, "12" for instance: one, two, one, two
 * @whole: each is written completely. Else half of them are, or where it matters any of them
 * @event_idx: VIRTIO_RING_F_EVENT_IDX
 * @in_order: VIRTIO_F_IN_ORDER
 * @partial_order: VIRTIO_F_PARTIAL_ORDER
 * @start: where both positions start. Split: index; packed: slot
 * @wrap: packed: wrap counter of both
 */
struct config {
	enum virtq_layout layout;
	u8 num, bufs, out;
	const char *chain;
	bool whole, event_idx, in_order, partial_order;
	u16 start;
	bool wrap;
};

extern struct config cf;

/* The shared memory. Nothing of it may be touched: what it contains is the explorer's business. */
struct ring {
	union {
		struct vring_desc split[MAX_NUM];
		struct packed_desc {
			__virtio64 addr;
			__virtio32 len;
			__virtio16 id, flags;
		} packed[MAX_NUM];
	} desc;
	union {
		struct {
			__virtio16 flags, idx, ring[MAX_NUM + 1];
		} split;
		struct packed_event {
			__virtio16 desc, flags;
		} packed;
	} driver __aligned(16);
	union {
		struct {
			__virtio16 flags, idx;
			struct vring_used_elem ring[MAX_NUM + 1];
		} split;
		struct packed_event packed;
	} device __aligned(16);
	__virtio32 data[MAX_BUFS];	/* what the device writes into a buffer */
};

extern struct ring *ring;

/**
 * struct ref - where a run is
 * @added: buffers made available, which are numbered in that order
 * @fetched: buffers taken
 * @returned: buffers the driver has back
 * @fetched_slots: ring slots of those fetched, counted from the start. Split: one per buffer
 * @used_slots: likewise of those whose used entries are in the ring
 * @staged_slots: @used_slots before the last publishing
 * @called_slots: @used_slots when notifying was last considered
 * @buf: by number
 */
struct ref {
	u8 added, fetched, returned;
	u8 fetched_slots, used_slots, staged_slots, called_slots;
	struct {
		u8 id, len;
		u8 done, returned;
	} buf[MAX_BUFS];
};

/* What a buffer looks like. */
unsigned int buf_ndesc(unsigned int n);
u32 buf_addr(unsigned int n, unsigned int seg);
u32 buf_len(unsigned int n);
u32 buf_data(unsigned int n);

/* Names the places of the ring, with what they contain at the start. */
void ref_places(void);
void ref_init(struct ref *r);

/* A store about to happen, by either side. */
void ref_store(const struct ref *r, enum side side, const void *p, u32 v);

/* The driver makes a buffer available. */
void ref_added(unsigned int id);
/* The driver has a buffer back, with what it found in there. */
void ref_returned(unsigned int n, u32 len, u32 data, bool skipped);
/* All of a used entry is back; FLUSH is as it should be. */
void ref_entry(unsigned int n, bool flush);

/* The device has fetched a buffer; returns its number. */
unsigned int ref_fetched(const struct virtq_chain *chain);
/* It is about to give back buffers. */
void ref_publish(const u8 *bufs, const struct virtq_done *done, unsigned int n);
/* It did, and virtq_publish() said whether there is something to see. */
void ref_published(bool visible);
/* virtq_need_call() has decided. */
void ref_need_call(bool call);
/* The decision was carried out. */
void ref_called(void);
/* Where the engine believes to be. */
void ref_pos(const struct virtq_pos *pos);

/* Nothing goes on. */
void ref_end(void);

#endif
