// SPDX-License-Identifier: GPL-2.0
/*
 * Ring engine: packed virtqueues.
 *
 *	descriptor ring (both sides)	driver event suppression	device event suppression
 *	addr len id flags		off:15 wrap:1 flags		off:15 wrap:1 flags
 *
 * Both sides go round the same ring, each with a wrap counter that changes whenever it passes the
 * end. A descriptor is available when its AVAIL flag is the driver's wrap counter and its USED flag
 * is not; it is used when both are the device's. A buffer takes as many slots as it has
 * descriptors, its id is in the last; it is given back in one slot, and the others are skipped.
 * Everything is little-endian.
 */
#include <linux/align.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <uapi/linux/vhost_inflight.h>

#include "virtq.h"
#include "virtq_ops.h"
#include "virtq_barrier.h"
#include "virtq_packed.h"
#include "inflight.h"

static_assert(sizeof(struct pvirtq_desc) == sizeof(struct vring_packed_desc));
static_assert(sizeof(struct pvirtq_desc) == sizeof(struct vring_desc));	/* virtq_load_table() */
static_assert(sizeof(struct pvirtq_event_suppress) == sizeof(struct vring_packed_desc_event));

/* Slots of what was fetched and not published. */
static inline unsigned int virtq_packed_out(const struct virtq_pos *pos, unsigned int num)
{
	return pos->avail - pos->used + (pos->avail_wrap != pos->used_wrap ? num : 0);
}

static int virtq_packed_check(const struct virtq_cfg *cfg, const struct virtq_pos *pos)
{
	if (!IS_ALIGNED((unsigned long)cfg->desc, sizeof(struct pvirtq_desc)) ||
	    !IS_ALIGNED((unsigned long)cfg->driver, sizeof(struct pvirtq_event_suppress)) ||
	    !IS_ALIGNED((unsigned long)cfg->device, sizeof(struct pvirtq_event_suppress)))
		return -EINVAL;
	if (pos->avail >= cfg->num || pos->used >= cfg->num)
		return -EINVAL;
	/* Used ahead of available comes out as very many. */
	if (virtq_packed_out(pos, cfg->num) > cfg->num)
		return -EINVAL;
	return 0;
}

static void virtq_packed_set_pos(struct virtq *vq, const struct virtq_pos *pos)
{
	vq->pos = *pos;
}

/* Goes @n slots on, at most the ring size. */
static inline void virtq_packed_advance(const struct virtq *vq, u16 *slot, bool *wrap,
					unsigned int n)
{
	unsigned int to = *slot + n;

	if (to >= vq->num) {
		to -= vq->num;
		*wrap = !*wrap;
	}
	*slot = to;
}

/* A buffer being read. */
struct virtq_walk {
	struct virtq_seg *seg;		/* where the next segment goes */
	struct virtq_seg *in;		/* the first writable one, once there is one */
	u64 bytes;
	u64 addrs;			/* all of them or'ed */
};

/* A descriptor that is a segment. 0 or -EINVAL. */
static __always_inline int virtq_packed_add(struct virtq_walk *w, u64 addr, u32 len,
					    unsigned int flags)
{
	if (flags & VRING_DESC_F_WRITE)
		w->in = w->in ?: w->seg;
	else if (unlikely(w->in))
		return -EINVAL;
	w->seg->addr = addr;
	w->seg->len = len;
	w->seg->flags = flags & VRING_DESC_F_WRITE ? VIRTQ_SEG_WRITE : 0;
	w->seg++;
	w->bytes += len;
	w->addrs |= addr;
	return 0;
}

/*
 * The segments of an indirect table, all its entries in turn. Only WRITE means something in there;
 * beside the table it does not. 0 or -errno.
 */
static int virtq_packed_table(struct virtq *vq, struct virtq_walk *w, u64 addr, u32 len)
{
	const struct pvirtq_desc *table = vq->table;
	int nr, ret, i;

	nr = virtq_load_table(vq, addr, len);
	if (unlikely(nr < 0))
		return nr;
	if (unlikely(nr > vq->max_segs))
		return -E2BIG;
	for (i = 0; i < nr; i++) {
		ret = virtq_packed_add(w, virtq_load64(&table[i].addr), virtq_load32(&table[i].len),
				       virtq_load16(&table[i].flags));
		if (unlikely(ret))
			return ret;
	}
	return 0;
}

/* All of a buffer was read. 0 or -errno. */
static __always_inline int virtq_packed_whole(struct virtq *vq, struct virtq_chain *chain,
					      const struct virtq_walk *w, unsigned int id,
					      unsigned int n)
{
	if (unlikely(vq->inflight[id]))
		return -EEXIST;
	if (unlikely(w->bytes > 1ULL << 32))
		return -EOVERFLOW;
	if (unlikely((s64)w->addrs < 0) && virtq_segs_wrap(vq->segs, w->seg))
		return -EOVERFLOW;

	chain->id = id;
	chain->ndesc = n;
	chain->nr_segs = w->seg - vq->segs;
	chain->nr_out = (w->in ?: w->seg) - vq->segs;
	chain->segs = vq->segs;
	vq->inflight[id] = true;
	return 0;
}

/* What the ring has at the position: a chain, or a descriptor that refers to a table. */
static noinline void virtq_packed_record(struct virtq *vq, const struct virtq_chain *chain,
					 const struct virtq_seg *table, unsigned int flags)
{
	inflight_packed_record(vq->track, &(struct inflight_packed_buf){
		.segs = table ?: chain->segs,
		.nr = chain->ndesc,
		.id = chain->id,
		.flags = flags & (PVIRTQ_AVAIL | PVIRTQ_USED | VRING_DESC_F_INDIRECT),
		.to_end = vq->num - vq->pos.avail,
	});
}

/*
 * The buffer that starts with an available descriptor, whose flags were read before: neither they
 * nor anything else is read twice.
 */
static int virtq_packed_take(struct virtq *vq, struct virtq_chain *chain, unsigned int flags)
{
	const struct pvirtq_desc *ring = vq->desc, *d = &ring[vq->pos.avail];
	const unsigned int head_flags = flags;
	struct virtq_walk w = { .seg = vq->segs };
	struct virtq_seg table = { 0 };
	unsigned int room, id, n = 1;
	u16 slot = vq->pos.avail;
	bool wrap = vq->pos.avail_wrap;
	int ret;

	room = vq->num - virtq_packed_out(&vq->pos, vq->num);
	if (unlikely(!room))
		return -EINVAL;
	if (flags & VRING_DESC_F_INDIRECT) {
		if (unlikely(flags & VRING_DESC_F_NEXT))
			return -EINVAL;
		table.addr = virtq_load64(&d->addr);
		table.len = virtq_load32(&d->len);
		ret = virtq_packed_table(vq, &w, table.addr, table.len);
		if (unlikely(ret))
			return ret;
	} else {
		/* virtq_init() saw to the room for as many segments as there are slots. */
		for (;;) {
			ret = virtq_packed_add(&w, virtq_load64(&d->addr), virtq_load32(&d->len),
					       flags);
			if (unlikely(ret))
				return ret;
			if (!(flags & VRING_DESC_F_NEXT))
				break;
			if (unlikely(n == room))
				return -ELOOP;
			n++;
			virtq_packed_advance(vq, &slot, &wrap, 1);
			d = &ring[slot];
			flags = virtq_load16(&d->flags);
			if (unlikely(!virtq_packed_is_avail(flags, wrap) ||
				     flags & VRING_DESC_F_INDIRECT))
				return -EINVAL;
		}
	}
	id = virtq_load16(&d->id);
	if (unlikely(id >= vq->num))
		return -EINVAL;
	ret = virtq_packed_whole(vq, chain, &w, id, n);
	if (unlikely(ret))
		return ret;
	if (vq->track)
		virtq_packed_record(vq, chain, head_flags & VRING_DESC_F_INDIRECT ? &table : NULL,
				    head_flags);
	virtq_packed_advance(vq, &vq->pos.avail, &vq->pos.avail_wrap, n);
	return 1;
}

/* The descriptors are in the region: their slots may have been overwritten since. */
int virtq_packed_refetch(struct virtq *vq, const struct inflight_buf *buf,
			 struct virtq_chain *chain)
{
	const struct vhost_inflight_region_packed *r = vq->track->snapshot;
	struct virtq_walk w = { .seg = vq->segs };
	unsigned int at = buf->first, n;
	int ret;

	/* inflight_open() saw to the entries; what the driver put there is as hostile as ever. */
	for (n = 0; n < buf->ndesc; n++, at = r->desc[at].next) {
		const struct vhost_inflight_desc_packed *d = &r->desc[at];

		if (d->flags & VRING_DESC_F_INDIRECT)
			ret = buf->ndesc == 1 ? virtq_packed_table(vq, &w, d->addr, d->len) :
						-EINVAL;
		else
			ret = virtq_packed_add(&w, d->addr, d->len, d->flags);
		if (ret)
			return ret;
	}
	return virtq_packed_whole(vq, chain, &w, buf->id, buf->ndesc) ?: 1;
}

int virtq_packed_fetch(struct virtq *vq, struct virtq_chain *chain)
{
	const struct pvirtq_desc *ring = vq->desc;
	/*
	 * Acquire: the rest of the descriptor, and those chained behind it, are read after its
	 * flags. Partner: the driver's write barrier between filling all of these and storing the
	 * flags of the first.
	 */
	unsigned int flags = virtq_load16_acquire(&ring[vq->pos.avail].flags);

	if (!virtq_packed_is_avail(flags, vq->pos.avail_wrap))
		return 0;
	return virtq_packed_take(vq, chain, flags);
}

static __always_inline void virtq_packed_put(struct virtq *vq, struct virtq_batch *b,
					     const struct virtq_done *done, bool flush)
{
	struct pvirtq_desc *ring = vq->desc, *d = &ring[b->used];
	u16 flags = b->wrap ? PVIRTQ_AVAIL | PVIRTQ_USED : 0;

	if (done->len)
		flags |= VRING_DESC_F_WRITE;
	if (flush)
		flags |= VIRTQ_DESC_F_FLUSH;
	virtq_store16(&d->id, done->id);
	virtq_store32(&d->len, done->len);
	/* The driver looks at them in turn, so the first hides the others. */
	if (b->n++)
		virtq_store16(&d->flags, flags);
	else
		b->flags = flags;
	virtq_packed_advance(vq, &b->used, &b->wrap, done->ndesc);
}

void virtq_packed_stage(struct virtq *vq, struct virtq_batch *b, const struct virtq_done *done,
			bool flush)
{
	virtq_packed_put(vq, b, done, flush);
}

void virtq_packed_commit(struct virtq *vq, const struct virtq_batch *b)
{
	struct pvirtq_desc *ring = vq->desc, *first = &ring[vq->pos.used];
	unsigned int slots;

	if (!b->n)
		return;
	if (vq->track)
		inflight_packed_prepare(vq->track, b->used, b->wrap);
	slots = b->used - vq->pos.used + (b->wrap != vq->pos.used_wrap ? vq->num : 0);
	/* Further back than the ring is long the driver can't be waiting for anything. */
	vq->uncalled = min(vq->uncalled + slots, vq->num);
	vq->pos.used = b->used;
	vq->pos.used_wrap = b->wrap;
	/*
	 * Release: all the used descriptors, and what the device wrote into the buffers, are seen
	 * before the flags of the first. Partner: the driver's read barrier between loading these
	 * flags and all else.
	 */
	virtq_store16_release(&first->flags, b->flags);
	if (vq->track)
		inflight_packed_commit(vq->track);
}

bool virtq_packed_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n)
{
	const struct virtq_done *end = done + n;
	struct virtq_batch b = virtq_batch_start(vq);
	struct inflight *track = vq->track;

	for (; done < end; done++) {
		virtq_packed_put(vq, &b, done, false);
		virtq_returned(vq, track, done->id);
	}
	virtq_packed_commit(vq, &b);
	return n;
}

bool virtq_packed_need_call(struct virtq *vq)
{
	const struct pvirtq_event_suppress *e = vq->driver;
	u16 n = vq->uncalled, off;

	if (!n)
		return false;
	vq->uncalled = 0;
	/*
	 * The used descriptors are stored before the driver's wish is loaded. Partner: the driver's
	 * full barrier between storing its event suppression structure and loading the flags of the
	 * next used descriptor once more. One of the two sees the other's store, or the wake-up is
	 * lost.
	 */
	virtq_mb();
	/*
	 * Acquire: the descriptor it names is read after the flags that make it count. Partner: the
	 * driver's write barrier between storing desc and flags.
	 */
	switch (virtq_load16_acquire(&e->flags) & PVIRTQ_EVENTS) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	case VRING_PACKED_EVENT_FLAG_DESC:
		if (vq->event_idx)
			break;
		return true;
	default:
		/* Enabled; so is the reserved value, because a notification does no harm. */
		return true;
	}
	off = virtq_load16(&e->desc);
	/* A slot of the other lap counts as one behind us, which it is unless it is far ahead. */
	if (!!(off & PVIRTQ_WRAP) == vq->pos.used_wrap)
		off &= ~PVIRTQ_WRAP;
	else
		off = (off & ~PVIRTQ_WRAP) - vq->num;
	return vring_need_event(off, vq->pos.used, vq->pos.used - n);
}

bool virtq_packed_empty(const struct virtq *vq)
{
	const struct pvirtq_desc *ring = vq->desc;

	return !virtq_packed_is_avail(virtq_load16(&ring[vq->pos.avail].flags),
				      vq->pos.avail_wrap);
}

bool virtq_packed_enable_kick(struct virtq *vq)
{
	struct pvirtq_event_suppress *e = vq->device;

	if (vq->event_idx) {
		virtq_store16(&e->desc, vq->pos.avail | (vq->pos.avail_wrap ? PVIRTQ_WRAP : 0));
		/*
		 * Release: desc is seen before the flags that make it count. Partner: the driver
		 * loads both at once, or the flags first and a read barrier behind.
		 */
		virtq_store16_release(&e->flags, VRING_PACKED_EVENT_FLAG_DESC);
	} else {
		virtq_store16(&e->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
	}
	/*
	 * The wish is stored before the next descriptor is looked at once more. Partner: the
	 * driver's full barrier between storing the flags of a descriptor and loading our event
	 * suppression structure.
	 */
	virtq_mb();
	return !virtq_packed_empty(vq);
}

void virtq_packed_disable_kick(struct virtq *vq)
{
	struct pvirtq_event_suppress *e = vq->device;

	virtq_store16(&e->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
}

const struct virtq_ops virtq_packed_ops = {
	.check		= virtq_packed_check,
	.set_pos	= virtq_packed_set_pos,
	.fetch		= virtq_packed_fetch,
	.refetch	= virtq_packed_refetch,
	.publish	= virtq_packed_publish,
	.stage		= virtq_packed_stage,
	.commit		= virtq_packed_commit,
	.need_call	= virtq_packed_need_call,
	.enable_kick	= virtq_packed_enable_kick,
	.disable_kick	= virtq_packed_disable_kick,
	.empty		= virtq_packed_empty,
};
