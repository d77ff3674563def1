/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Ring engine: the device side of a virtqueue.
 *
 * Pure C. It takes no lock, allocates nothing and knows no bio, eventfd or task; the same files
 * build in the module, in the KUnit module and in userspace. One ring is not thread safe: its
 * owner serialises every call.
 *
 * The owner's loop:
 *
 *	virtq_disable_kick();
 *	again:
 *	while ((ret = virtq_fetch(vq, &chain)) > 0)
 *		take(&chain);			(copies what it needs, see struct virtq_chain)
 *	if (!ret && virtq_enable_kick(vq)) {
 *		virtq_disable_kick(vq);
 *		goto again;			(a buffer slipped in: nobody will kick for it)
 *	}
 *
 * and when requests have completed:
 *
 *	virtq_publish(vq, done, n);
 *	if (virtq_need_call(vq))
 *		notify the driver
 *
 * Everything a driver can write is read once, into locals, and checked before it is used. A ring
 * that breaks the rules yields -errno; the position does not move and the owner puts the queue in
 * error.
 */
#ifndef _VHOST_BLK_VIRTQ_H
#define _VHOST_BLK_VIRTQ_H

#include <linux/types.h>
#include <linux/bits.h>
#include <linux/virtio_ring.h>

struct inflight;
struct inflight_buf;
struct virtq_mem;

/** define VIRTQ_MAX_NUM - largest ring, and most descriptors of an indirect table */
#define VIRTQ_MAX_NUM		1024

/**
 * enum virtq_layout - byte layout of a ring
 * @VIRTQ_SPLIT: descriptor table, available ring, used ring
 * @VIRTQ_PACKED: one descriptor ring, two event suppression structures
 * @VIRTQ_NR_LAYOUTS: number of layouts
 */
enum virtq_layout { VIRTQ_SPLIT, VIRTQ_PACKED, VIRTQ_NR_LAYOUTS };

/** define VIRTQ_SEG_WRITE - the device may write the segment and not read it; VRING_DESC_F_WRITE */
#define VIRTQ_SEG_WRITE		BIT(1)

/**
 * struct virtq_seg - one contiguous piece of a buffer
 * @addr: address as the driver wrote it (IOVA), not looked up; @addr + @len does not wrap
 * @len: bytes, may be 0
 * @flags: VIRTQ_SEG_WRITE or 0
 */
struct virtq_seg {
	u64 addr;
	u32 len;
	u32 flags;
};

/**
 * struct virtq_pos - where a ring stands, as plain data
 * @avail: next available entry to fetch. Split: free-running. Packed: ring slot
 * @used: next used entry to write, likewise
 * @avail_wrap: packed: wrap counter of @avail; split: ignored, false
 * @used_wrap: packed: wrap counter of @used; split: ignored, false
 *
 * Between @used and @avail is what was fetched and not yet published. A packed ring starts at slot
 * 0 with both wrap counters true.
 */
struct virtq_pos {
	u16 avail, used;
	bool avail_wrap, used_wrap;
};

/**
 * struct virtq_order - the order of buffers in flight; the engine's
 * @in_order: buffers are given back as they were fetched
 * @partial: VIRTQ_DESC_F_FLUSH tells where the order holds
 * @flushed: the used entry written last has FLUSH
 * @oldest: id of the buffer fetched first of those in flight, VIRTQ_ORDER_END if there is none
 * @newest: id of the one fetched last
 * @fetched: buffers fetched so far
 * @used: of these the latest, counted from 1, that was given back
 * @buf: by id: its place among the @fetched, its writable bytes, once it is done the length to
 *	report, slots it takes, ids of the buffers in flight fetched before and after it, whether it
 *	is done
 *
 * For VIRTIO_F_IN_ORDER and VIRTIO_F_PARTIAL_ORDER; see virtq_publish().
 */
struct virtq_order {
	bool in_order, partial, flushed;
	u16 oldest, newest;
	u64 fetched, used;
	struct virtq_order_buf {
		u64 seq;
		u32 in_len, len;
		u16 ndesc, before, after;
		bool done;
	} buf[VIRTQ_MAX_NUM];
};

/** define VIRTQ_ORDER_END - no buffer: neither end of the list has a neighbour */
#define VIRTQ_ORDER_END		0xffff

/**
 * struct virtq_cfg - what the driver and the owner agreed on; see virtq_init()
 * @layout: byte layout
 * @num: ring size, at most VIRTQ_MAX_NUM. Split: a power of two; packed: any
 * @event_idx: VIRTIO_RING_F_EVENT_IDX negotiated
 * @indirect: VIRTIO_RING_F_INDIRECT_DESC negotiated
 * @in_order: VIRTIO_F_IN_ORDER negotiated
 * @partial_order: VIRTIO_F_PARTIAL_ORDER negotiated
 * @desc: mapped descriptor area, 16 * @num bytes. Split: the descriptor table; packed: the ring
 * @driver: mapped driver area. Split: the available ring, 6 + 2 * @num bytes; packed: the driver's
 *	event suppression structure, 4 bytes
 * @device: mapped device area. Split: the used ring, 6 + 8 * @num bytes; packed: the device's
 *	event suppression structure, 4 bytes
 * @segs: room for the segments of one chain, the owner's
 * @max_segs: entries of @segs, at least @num. VIRTQ_MAX_NUM takes any chain a stock driver
 *	makes: an indirect table may have more entries than the ring
 * @table: room for one indirect table, VIRTQ_MAX_NUM entries of 16 bytes, the owner's; NULL if not
 *	@indirect
 * @order: memory, the owner's; NULL if neither @in_order nor @partial_order
 * @track: inflight region, open; NULL if nothing is recorded
 * @mem: passed on to virtq_mem_read() for indirect tables
 */
struct virtq_cfg {
	enum virtq_layout layout;
	u16 num;
	bool event_idx, indirect, in_order, partial_order;
	void *desc, *driver, *device;
	struct virtq_seg *segs;
	u16 max_segs;
	void *table;
	struct virtq_order *order;
	struct inflight *track;
	struct virtq_mem *mem;
};

/**
 * struct virtq - one ring, device side
 * @layout: I: byte layout
 * @plain: I: the same where order means nothing, VIRTQ_NR_LAYOUTS where it does
 * @event_idx: I: notifications are asked for by index
 * @indirect: I: indirect tables are allowed
 * @num: I: ring size
 * @mask: I: @num - 1 where @num is a power of two
 * @max_segs: I: entries of @segs
 * @desc: R: descriptor area
 * @driver: R: driver area, written by the driver
 * @device: R: device area, written by us
 * @segs: I: segments of the chain fetched last
 * @table: I: copy of the indirect table read last
 * @order: I: what is in flight, in order; NULL where order means nothing
 * @track: I: what is recorded of each buffer from virtq_fetch() to virtq_publish(), or NULL
 * @mem: I: guest memory, for indirect tables
 * @pos: next entry to fetch, next to publish
 * @avail_seen: split: available index when last read; @pos.avail runs up to it without
 *	looking again
 * @uncalled: published since the last virtq_need_call(): split: entries, at most U16_MAX; packed:
 *	slots, at most @num. Further back than that the driver can't be waiting for anything
 * @inflight: by buffer id: fetched and not published. Bytes, not bits: a third of the instructions
 *
 * Fields are the engine's; others use the functions below. I: set by virtq_init(); R: by
 * virtq_set_rings() as well; the rest changes with every call.
 */
struct virtq {
	enum virtq_layout layout, plain;
	bool event_idx, indirect;
	u16 num, mask, max_segs;
	void *desc, *driver, *device;
	struct virtq_seg *segs;
	void *table;
	struct virtq_order *order;
	struct inflight *track;
	struct virtq_mem *mem;

	struct virtq_pos pos;
	u16 avail_seen;
	u16 uncalled;
	bool inflight[VIRTQ_MAX_NUM];
};

/**
 * struct virtq_chain - one buffer the driver made available
 * @id: what virtq_publish() wants back. Split: the head's index; packed: the buffer id. Below the
 *	ring size, and no two buffers in flight have the same
 * @ndesc: ring slots it occupies, which virtq_publish() wants back too. Split: 1; packed: the
 *	descriptors of the chain
 * @nr_segs: segments, at least 1
 * @nr_out: of these the first @nr_out are for the device to read; the rest have VIRTQ_SEG_WRITE
 * @segs: the owner's array from &struct virtq_cfg; the next virtq_fetch() overwrites it, and
 *	until then the owner may scribble on it
 */
struct virtq_chain {
	u16 id, ndesc;
	u16 nr_segs, nr_out;
	struct virtq_seg *segs;
};

/**
 * struct virtq_done - one buffer to give back
 * @id: of &struct virtq_chain
 * @ndesc: of &struct virtq_chain
 * @len: bytes written, counted from the first writable byte; may be too low, never too high
 */
struct virtq_done {
	u16 id, ndesc;
	u32 len;
};

/**
 * virtq_init() - take a ring into service
 * @vq: ring, overwritten
 * @cfg: layout, features and memory; not needed after the call, what it points to is
 * @pos: where to start
 *
 * Nothing is in flight afterwards, whatever @pos says, until virtq_refetch() takes it again, and
 * nothing is written to the ring: kicks are as the driver finds them in its ring until
 * virtq_enable_kick() or virtq_disable_kick().
 *
 * Return: 0; -EINVAL for a size, an alignment (split: desc 16, driver 2, device 4; packed: 16, 4,
 * 4), a missing pointer, @cfg->max_segs below the ring size, or a position that makes no sense:
 * more than the ring size between @pos->used and @pos->avail, a slot the ring does not have.
 */
int virtq_init(struct virtq *vq, const struct virtq_cfg *cfg, const struct virtq_pos *pos);

/**
 * virtq_set_rings() - the same ring is now mapped elsewhere
 * @vq: ring
 * @desc: descriptor area
 * @driver: driver area
 * @device: device area, aligned as for virtq_init()
 *
 * For a change of the IOTLB under a running ring: position, and what is in flight, stay.
 */
void virtq_set_rings(struct virtq *vq, void *desc, void *driver, void *device);

/**
 * virtq_get_pos() - where the ring stands
 * @vq: ring
 * @pos: filled
 */
void virtq_get_pos(const struct virtq *vq, struct virtq_pos *pos);

/**
 * virtq_fetch() - take the next available buffer
 * @vq: ring
 * @chain: filled on success
 *
 * What comes back is checked but for the addresses: they are whatever the driver wrote. Tolerated
 * are segments of length 0, and the WRITE flag in a descriptor that refers to a table.
 *
 * Return: 1 with a buffer, 0 if there is none, or what broke the ring:
 *
 * * -EINVAL: index of a head or a next descriptor, or a buffer id, out of range; more available
 *   than the ring is long; a table that is empty, nested, has a NEXT beside it, or whose size is no
 *   multiple of a descriptor; a table without the feature; a readable segment after a writable one;
 *   packed: a chain that goes on in a descriptor that is not available, or in a table
 * * -ELOOP: more descriptors linked than the ring (or the table) has: a loop; packed: than it has
 *   beside those in flight
 * * -E2BIG: a table of more than VIRTQ_MAX_NUM entries, a chain of more than @cfg->max_segs
 *   segments
 * * -EOVERFLOW: a segment that wraps around the address space, a chain of more than 2^32 bytes
 * * -EFAULT: a table that is not mapped readable
 * * -EEXIST: a buffer whose id is still in flight
 *
 * After an error the position is still in front of the bad buffer.
 */
int virtq_fetch(struct virtq *vq, struct virtq_chain *chain);

/**
 * virtq_refetch() - take a buffer again that a device before us had taken
 * @vq: ring, started at the position of &inflight_found
 * @buf: of &inflight_found; each of them once, in their order, before the first virtq_fetch().
 *	Those taken again may be published before the others are
 * @chain: filled on success
 *
 * The buffer is read and checked as if it was new, but for its place in the ring.
 *
 * Return: 1, or the errnos of virtq_fetch().
 */
int virtq_refetch(struct virtq *vq, const struct inflight_buf *buf, struct virtq_chain *chain);

/**
 * virtq_publish() - give buffers back
 * @vq: ring
 * @done: buffers, each fetched and not yet published
 * @n: how many, at most the ring size
 *
 * The driver sees the whole batch at once: entries first, one index (or first flags) last. What the
 * device wrote into the buffers is ordered before that. From here on the driver may make the same
 * ids available again.
 *
 * With VIRTIO_F_IN_ORDER buffers may be given back here in any order all the same. Those whose turn
 * it is not are held back, nothing of them is in the ring, and they count as in flight in
 * virtq_get_pos(); they go out with the last of those before them. A run of buffers goes out under
 * one used entry, that of its last. The driver takes the others as used completely (virtio 1.4,
 * 2.7.14 and 2.8.12), so one whose length is not that of all its writable segments has an entry of
 * its own length: it is the last of its run.
 *
 * With VIRTIO_F_PARTIAL_ORDER nothing is held back. An entry has FLUSH when, with it, the used
 * buffers are those made available up to its own and no others. Directly behind such an entry a run
 * of the oldest buffers goes out under one, as above, which has FLUSH too. Buffers that are done
 * before their turn have an entry each, without FLUSH. What the entry before virtq_init() had is
 * not known, so the first after it is never for a run.
 *
 * With both, buffers are held back, and every entry has FLUSH.
 *
 * Return: true if there is something new for the driver to see.
 */
bool virtq_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n);

/**
 * virtq_need_call() - must the driver be notified?
 * @vq: ring
 *
 * Considers everything published since the last time it was asked. To be asked after
 * virtq_publish(); if it is not, the next call makes up for it. Contains the full barrier between
 * publishing and looking at what the driver wants.
 *
 * Return: true if the driver must get a notification.
 */
bool virtq_need_call(struct virtq *vq);

/**
 * virtq_enable_kick() - ask to be kicked for the next buffer
 * @vq: ring
 *
 * Contains the full barrier between asking and looking once more.
 *
 * Return: true if a buffer is there already, for which no kick may come: go on fetching.
 */
bool virtq_enable_kick(struct virtq *vq);

/**
 * virtq_disable_kick() - kicks are not needed for now
 * @vq: ring
 *
 * A hint: kicks may still come.
 */
void virtq_disable_kick(struct virtq *vq);

/**
 * virtq_in_flight() - was a buffer fetched and not yet given back?
 * @vq: ring
 * @id: below the ring size
 *
 * Return: true if so; buffers that are held back for VIRTIO_F_IN_ORDER count.
 */
static inline bool virtq_in_flight(const struct virtq *vq, u16 id)
{
	return vq->inflight[id];
}

/**
 * virtq_empty() - is there nothing to fetch?
 * @vq: ring
 *
 * Looks at the ring afresh, unordered with anything.
 *
 * Return: false if virtq_fetch() would not return 0.
 */
bool virtq_empty(const struct virtq *vq);

#endif
