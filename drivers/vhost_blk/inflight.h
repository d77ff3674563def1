/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inflight region of one virtqueue: what was taken and not given back, for whoever comes after us.
 *
 * Pure C like the ring engine, which calls the verbs (inflight_split.h, inflight_packed.h). The
 * region is written at run time and never read back: it is shared memory that others can write too.
 * What we need to know of it is kept here. It is read once, in inflight_open(), from a copy.
 *
 * The verbs, for a batch of buffers:
 *
 *	record		a buffer was fetched; before anything is done for it
 *	stage		it will be in the batch
 *	prepare		the batch is whole; before the driver can see it
 *	(the ring shows the batch)
 *	commit		none of it is in flight any more; before anything is fetched
 *
 * Whatever store is the last, inflight_open() finds each buffer either in flight or given back, as
 * the driver does. "Inflight I/O tracking" of the vhost-user specification has the fields; where
 * it is silent, the layouts say what we do.
 */
#ifndef _VHOST_BLK_INFLIGHT_H
#define _VHOST_BLK_INFLIGHT_H

#include <linux/types.h>
#include <uapi/linux/vhost_inflight.h>

#include "virtq.h"

/**
 * struct inflight - what we know of a queue's region
 * @region: mapped, @desc_num entries; 8-byte aligned
 * @snapshot: I: copy of @region that inflight_open() read; virtq_refetch() reads it too
 * @num: I: ring size
 * @desc_num: I: entries of the region, at least @num
 * @nr_staged: entries of @staged
 * @counter: of the next buffer
 * @head: split: last_batch_head; packed: free_head
 * @used: packed: position behind the batch committed last
 * @used_wrap: packed: its wrap counter
 * @staged: ids of the batch
 * @next: packed: by entry, the one behind it
 * @buf: packed: by buffer id, its first and last entry
 *
 * I: set by inflight_open(); the rest changes with every call.
 */
struct inflight {
	void *region;
	const void *snapshot;
	u16 num, desc_num;
	u16 nr_staged;
	u16 head;
	u16 used;
	bool used_wrap;
	u64 counter;
	u16 staged[VIRTQ_MAX_NUM];
	u16 next[VIRTQ_MAX_NUM];
	struct {
		u16 first, last;
	} buf[VIRTQ_MAX_NUM];
};

/**
 * struct inflight_cfg - what inflight_open() is to open; see there
 * @layout: of the ring
 * @num: ring size
 * @desc_num: entries of the region: the device's largest queue size
 * @region: mapped, as long as inflight_size() says; 8-byte aligned
 * @snapshot: copy of @region, taken once, which nobody else can write
 * @desc: descriptor area of the ring. Packed: slots of what was in flight may be written to
 * @device: device area of the ring
 * @pos: where the owner was told to start
 * @told: it was; else @pos counts for a fresh region only
 * @batched: a used entry may be for several buffers (VIRTIO_F_IN_ORDER, VIRTIO_F_PARTIAL_ORDER)
 */
struct inflight_cfg {
	enum virtq_layout layout;
	u16 num, desc_num;
	void *region;
	const void *snapshot;
	void *desc;
	const void *device;
	struct virtq_pos pos;
	bool told, batched;
};

/**
 * struct inflight_found - what was in flight
 * @pos: where to start
 * @nr: entries of @buf
 * @buf: buffers in the order in which they were taken: their ids, the ring slots they take, and
 *	packed: the entry of their first descriptor
 * @mark: scratch
 */
struct inflight_found {
	struct virtq_pos pos;
	u16 nr;
	struct inflight_buf {
		u64 counter;
		u16 id, ndesc, first;
	} buf[VIRTQ_MAX_NUM];
	u8 mark[VIRTQ_MAX_NUM];
};

/**
 * inflight_size() - how long a region is
 * @layout: of the ring
 * @desc_num: entries
 *
 * Return: bytes, a multiple of 64.
 */
size_t inflight_size(enum virtq_layout layout, u16 desc_num);

/**
 * inflight_open() - begin with a region, or go on with one
 * @fl: overwritten
 * @cfg: region and ring; not needed after the call, what it points to is
 * @found: filled, also for a fresh region
 *
 * A region of version 0 is fresh and made ready. Any other is what a device left behind that may
 * have ended between any two stores: a batch that was being shown is finished if the driver can see
 * it and taken back if not. Everything is checked before anything is written, and what is written
 * leaves a region that can be opened again after any of the stores.
 *
 * Return: 0, or what is wrong, and nothing was written:
 *
 * * -EPROTONOSUPPORT: a version that is neither 0 nor VHOST_INFLIGHT_VERSION
 * * -EOPNOTSUPP: a feature, and there are none
 * * -EMSGSIZE: made for another queue size
 * * -EUCLEAN: an index or id out of range, a list that is a loop, a chain that is not as long as it
 *   says or shares an entry, a flag that is neither 0 nor 1, two buffers with one id, more in
 *   flight than the ring is long; split: another batch given back than the used ring has
 * * -EINVAL: @cfg->pos is neither what was given back last nor that and what is in flight
 */
int inflight_open(struct inflight *fl, const struct inflight_cfg *cfg,
		  struct inflight_found *found);

/**
 * inflight_void() - nothing in a region counts any more
 * @region: mapped
 *
 * For a reset. The region is fresh afterwards.
 */
void inflight_void(void *region);

/* ---- for the layouts of the ring ---- */

static inline void inflight_stage(struct inflight *fl, u16 id)
{
	fl->staged[fl->nr_staged++] = id;
}

#endif
