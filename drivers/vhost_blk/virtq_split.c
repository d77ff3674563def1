// SPDX-License-Identifier: GPL-2.0
/*
 * Ring engine: split virtqueues.
 *
 *	descriptor table	available ring (driver)		used ring (device)
 *	addr len flags next	flags idx ring[] used_event	flags idx ring[]{id len} avail_event
 *
 * idx counts free-running modulo 2^16; entry i of a ring is ring[i % num]. Everything is
 * little-endian.
 */
#include <linux/errno.h>
#include <linux/align.h>
#include <linux/limits.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/minmax.h>
#include <uapi/linux/vhost_inflight.h>

#include "virtq.h"
#include "virtq_ops.h"
#include "virtq_barrier.h"
#include "inflight_split.h"

static_assert(sizeof(struct vring_desc) == 16);

static inline __virtio16 *virtq_split_used_event(const struct virtq *vq)
{
	struct vring_avail *avail = vq->driver;

	return &avail->ring[vq->num];
}

static inline __virtio16 *virtq_split_avail_event(const struct virtq *vq)
{
	struct vring_used *used = vq->device;

	return (__virtio16 *)&used->ring[vq->num];
}

static int virtq_split_check(const struct virtq_cfg *cfg, const struct virtq_pos *pos)
{
	if (cfg->num & (cfg->num - 1))
		return -EINVAL;
	if (!IS_ALIGNED((unsigned long)cfg->desc, VRING_DESC_ALIGN_SIZE) ||
	    !IS_ALIGNED((unsigned long)cfg->driver, VRING_AVAIL_ALIGN_SIZE) ||
	    !IS_ALIGNED((unsigned long)cfg->device, VRING_USED_ALIGN_SIZE))
		return -EINVAL;
	if ((u16)(pos->avail - pos->used) > cfg->num)
		return -EINVAL;
	return 0;
}

static void virtq_split_set_pos(struct virtq *vq, const struct virtq_pos *pos)
{
	vq->pos.avail = pos->avail;
	vq->pos.used = pos->used;
	vq->avail_seen = pos->avail;
}

/* The entries up to avail_seen are used up. 1: there are more, 0: there are none. */
static int virtq_split_refill(struct virtq *vq)
{
	const struct vring_avail *avail = vq->driver;
	/*
	 * Acquire: the ring entries and descriptors up to idx are read after idx. Partner: the
	 * driver's write barrier between filling these and storing avail->idx.
	 */
	u16 idx = virtq_load16_acquire(&avail->idx);

	if (idx == vq->pos.avail)
		return 0;
	if ((u16)(idx - vq->pos.avail) > vq->num)
		return -EINVAL;
	vq->avail_seen = idx;
	return 1;
}

/*
 * A chain being read. Local to a function and never pointed to from another, so that it lives in
 * registers.
 */
struct virtq_walk {
	const struct vring_desc *table;
	unsigned int num;		/* entries of the table */
	const struct vring_desc *d;	/* the descriptor at hand, */
	unsigned int flags;		/* and its flags: read once */
	struct virtq_seg *seg;		/* where the next segment goes */
	struct virtq_seg *end;		/* not here: the chain must have ended before */
	struct virtq_seg *in;		/* the first writable one, once there is one */
	u64 bytes;
	u64 addrs;			/* all of them or'ed */
};

enum { VIRTQ_WALK_END, VIRTQ_WALK_NEXT, VIRTQ_WALK_TABLE };

/* The descriptor at hand is a segment; goes to the next. VIRTQ_WALK_END, _NEXT or -errno. */
static __always_inline int virtq_split_step(struct virtq_walk *w, u32 seg_flags)
{
	u64 addr = virtq_load64(&w->d->addr);
	u32 len = virtq_load32(&w->d->len);
	unsigned int next;

	w->seg->addr = addr;
	w->seg->len = len;
	w->seg->flags = seg_flags;
	w->seg++;
	w->bytes += len;
	w->addrs |= addr;
	if (!(w->flags & VRING_DESC_F_NEXT))
		return VIRTQ_WALK_END;

	if (unlikely(w->seg == w->end))
		return -ELOOP;
	next = virtq_load16(&w->d->next);
	if (unlikely(next >= w->num))
		return -EINVAL;
	w->d = &w->table[next];
	w->flags = virtq_load16(&w->d->flags);
	return VIRTQ_WALK_NEXT;
}

/*
 * Follows the chain from w->d to its end, or to a descriptor that refers to an indirect table.
 * VIRTQ_WALK_END, _TABLE or -errno.
 */
static __always_inline int virtq_split_walk(struct virtq_walk *w)
{
	const unsigned int in = VRING_DESC_F_WRITE, table = VRING_DESC_F_INDIRECT;
	int ret;

	if (!w->in) {
		while (!(w->flags & (in | table))) {
			ret = virtq_split_step(w, 0);
			if (ret != VIRTQ_WALK_NEXT) {
				w->in = w->seg;
				return ret;
			}
		}
		if (unlikely(w->flags & table))
			return VIRTQ_WALK_TABLE;
		w->in = w->seg;
	} else if (unlikely((w->flags & (in | table)) != in)) {
		/* In a table, where another makes no sense either. */
		return -EINVAL;
	}
	do {
		ret = virtq_split_step(w, VIRTQ_SEG_WRITE);
		if (ret != VIRTQ_WALK_NEXT)
			return ret;
	} while (likely((w->flags & (in | table)) == in));
	/* Else it is readable, after a writable one. */
	return w->flags & table ? VIRTQ_WALK_TABLE : -EINVAL;
}

/*
 * The same in the table that the descriptor at hand refers to; its WRITE means nothing. To the end:
 * VIRTQ_WALK_END or -errno. There is room for so many segments more, one at least.
 */
static __always_inline int virtq_split_walk_table(struct virtq *vq, struct virtq_walk *w,
						  unsigned int room)
{
	int ret;

	if (unlikely(w->flags & VRING_DESC_F_NEXT))
		return -EINVAL;
	ret = virtq_load_table(vq, virtq_load64(&w->d->addr), virtq_load32(&w->d->len));
	if (unlikely(ret < 0))
		return ret;
	w->table = vq->table;
	w->num = ret;
	w->d = w->table;
	w->end = w->seg + min(w->num, room);
	w->flags = virtq_load16(&w->d->flags);
	ret = virtq_split_walk(w);
	/* A table in a table. */
	if (unlikely(ret == VIRTQ_WALK_TABLE))
		return -EINVAL;
	/* The table may go on; the room doesn't. */
	if (unlikely(ret == -ELOOP && room < w->num))
		return -E2BIG;
	return ret;
}

/* All of a buffer was read. 0 or -errno. */
static __always_inline int virtq_split_whole(struct virtq *vq, struct virtq_chain *chain,
					     const struct virtq_walk *w, unsigned int head)
{
	struct virtq_seg *segs = vq->segs;

	if (unlikely(w->bytes > 1ULL << 32))
		return -EOVERFLOW;
	if (unlikely((s64)w->addrs < 0) && virtq_segs_wrap(segs, w->seg))
		return -EOVERFLOW;

	chain->id = head;
	chain->ndesc = 1;
	chain->nr_segs = w->seg - segs;
	chain->nr_out = w->in - segs;
	chain->segs = segs;
	vq->inflight[head] = true;
	return 0;
}

/* The buffer with a head in range, whose flags were read before. 0 or -errno. */
static __always_inline int virtq_split_chain(struct virtq *vq, struct virtq_chain *chain,
					     unsigned int head, unsigned int flags)
{
	const struct vring_desc *desc = vq->desc;
	struct virtq_walk w = {
		.table = desc, .num = vq->num, .d = &desc[head], .flags = flags, .seg = vq->segs,
	};
	int ret;

	w.end = w.seg + w.num;	/* virtq_init() saw to the room */
	ret = virtq_split_walk(&w);
	/* Where it refers to a table it was no segment, for which there was room. */
	if (unlikely(ret == VIRTQ_WALK_TABLE))
		ret = virtq_split_walk_table(vq, &w, vq->segs + vq->max_segs - w.seg);
	if (unlikely(ret))
		return ret;
	return virtq_split_whole(vq, chain, &w, head);
}

/* The same where the head refers to a table. */
static __always_inline int virtq_split_table(struct virtq *vq, struct virtq_chain *chain,
					     unsigned int head, unsigned int flags)
{
	const struct vring_desc *desc = vq->desc;
	struct virtq_walk w = { .d = &desc[head], .flags = flags, .seg = vq->segs };
	int ret = virtq_split_walk_table(vq, &w, vq->max_segs);

	if (unlikely(ret))
		return ret;
	return virtq_split_whole(vq, chain, &w, head);
}

/* It is taken. */
static __always_inline int virtq_split_taken(struct virtq *vq, unsigned int head)
{
	if (vq->track)
		inflight_split_record(vq->track, head);
	vq->pos.avail++;
	return 1;
}

static noinline int virtq_split_take_chain(struct virtq *vq, struct virtq_chain *chain,
					   unsigned int head, unsigned int flags)
{
	int ret = virtq_split_chain(vq, chain, head, flags);

	return unlikely(ret) ? ret : virtq_split_taken(vq, head);
}

static noinline int virtq_split_take_table(struct virtq *vq, struct virtq_chain *chain,
					   unsigned int head, unsigned int flags)
{
	int ret = virtq_split_table(vq, chain, head, flags);

	return unlikely(ret) ? ret : virtq_split_taken(vq, head);
}

/* A driver leaves the descriptors of what it made available alone. */
int virtq_split_refetch(struct virtq *vq, const struct inflight_buf *buf, struct virtq_chain *chain)
{
	const struct vring_desc *desc = vq->desc;
	unsigned int head = buf->id;

	if (unlikely(vq->inflight[head]))
		return -EEXIST;
	return virtq_split_chain(vq, chain, head, virtq_load16(&desc[head].flags)) ?: 1;
}

int virtq_split_fetch(struct virtq *vq, struct virtq_chain *chain)
{
	const struct vring_avail *avail = vq->driver;
	const struct vring_desc *desc = vq->desc;
	unsigned int head, flags;

	if (vq->pos.avail == vq->avail_seen) {
		int ret = virtq_split_refill(vq);

		if (ret <= 0)
			return ret;
	}
	head = virtq_load16(&avail->ring[vq->pos.avail & vq->mask]);
	if (unlikely(head >= vq->num))
		return -EINVAL;
	if (unlikely(vq->inflight[head]))
		return -EEXIST;
	flags = virtq_load16(&desc[head].flags);
	/* Apart from the taking, which needs every register there is. */
	if (flags & VRING_DESC_F_INDIRECT)
		return virtq_split_take_table(vq, chain, head, flags);
	return virtq_split_take_chain(vq, chain, head, flags);
}

static __always_inline void virtq_split_put(struct vring_used_elem *elem,
					    const struct virtq_done *done, bool flush)
{
	/* With VIRTIO_F_PARTIAL_ORDER id is two fields, {le16 id; le16 flags}. */
	virtq_store32(&elem->id, done->id | (flush ? VIRTQ_USED_ELEM_F_FLUSH << 16 : 0));
	virtq_store32(&elem->len, done->len);
}

/* Used entries for so many buffers are written, one at least. */
static __always_inline void virtq_split_show(struct virtq *vq, struct inflight *track, u16 n)
{
	struct vring_used *used = vq->device;
	u16 idx = vq->pos.used + n;

	if (track)
		inflight_split_prepare(track, n);
	/* All that used_event can say has been passed then. */
	vq->uncalled = min(vq->uncalled + n, U16_MAX);
	vq->pos.used = idx;
	/*
	 * Release: the entries, and what the device wrote into the buffers, are seen before idx.
	 * Partner: the driver's read barrier between loading used->idx and the used entries.
	 */
	virtq_store16_release(&used->idx, idx);
	if (track)
		inflight_split_commit(track, idx, n);
}

static __always_inline bool virtq_split_give(struct virtq *vq, struct inflight *track,
					     const struct virtq_done *done, unsigned int n)
{
	struct vring_used *used = vq->device;
	unsigned int mask = vq->mask, idx = vq->pos.used, i = 0;

	do {
		virtq_split_put(&used->ring[idx++ & mask], &done[i], false);
		virtq_returned(vq, track, done[i].id);
	} while (++i < n);
	virtq_split_show(vq, track, n);
	return true;
}

static noinline bool virtq_split_give_tracked(struct virtq *vq, const struct virtq_done *done,
					      unsigned int n)
{
	return virtq_split_give(vq, vq->track, done, n);
}

bool virtq_split_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n)
{
	/* Apart, because it needs more registers. */
	if (vq->track)
		return virtq_split_give_tracked(vq, done, n);
	return virtq_split_give(vq, NULL, done, n);
}

void virtq_split_stage(struct virtq *vq, struct virtq_batch *b, const struct virtq_done *done,
		       bool flush)
{
	struct vring_used *used = vq->device;

	virtq_split_put(&used->ring[b->used & vq->mask], done, flush);
	b->used += done->ndesc;
	b->n++;
}

void virtq_split_commit(struct virtq *vq, const struct virtq_batch *b)
{
	virtq_split_show(vq, vq->track, b->used - vq->pos.used);
}

bool virtq_split_need_call(struct virtq *vq)
{
	const struct vring_avail *avail = vq->driver;
	u16 n = vq->uncalled, new = vq->pos.used;

	if (!n)
		return false;
	vq->uncalled = 0;
	/*
	 * used->idx is stored before the driver's wish is loaded. Partner: the driver's full
	 * barrier between storing used_event (or avail->flags) and loading used->idx once more. One
	 * of the two sees the other's store, or the wake-up is lost.
	 */
	virtq_mb();
	if (!vq->event_idx)
		return !(virtq_load16(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(virtq_load16(virtq_split_used_event(vq)), new, new - n);
}

bool virtq_split_empty(const struct virtq *vq)
{
	const struct vring_avail *avail = vq->driver;

	return virtq_load16(&avail->idx) == vq->pos.avail;
}

bool virtq_split_enable_kick(struct virtq *vq)
{
	struct vring_used *used = vq->device;

	if (vq->event_idx)
		virtq_store16(virtq_split_avail_event(vq), vq->pos.avail);
	else
		virtq_store16(&used->flags, 0);
	/*
	 * The wish is stored before avail->idx is loaded once more. Partner: the driver's full
	 * barrier between storing avail->idx and loading avail_event (or used->flags).
	 */
	virtq_mb();
	return !virtq_split_empty(vq);
}

void virtq_split_disable_kick(struct virtq *vq)
{
	struct vring_used *used = vq->device;

	/* With EVENT_IDX flags must stay 0, and the last avail_event is passed already. */
	if (!vq->event_idx)
		virtq_store16(&used->flags, VRING_USED_F_NO_NOTIFY);
}

const struct virtq_ops virtq_split_ops = {
	.check		= virtq_split_check,
	.set_pos	= virtq_split_set_pos,
	.fetch		= virtq_split_fetch,
	.refetch	= virtq_split_refetch,
	.publish	= virtq_split_publish,
	.stage		= virtq_split_stage,
	.commit		= virtq_split_commit,
	.need_call	= virtq_split_need_call,
	.enable_kick	= virtq_split_enable_kick,
	.disable_kick	= virtq_split_disable_kick,
	.empty		= virtq_split_empty,
};
