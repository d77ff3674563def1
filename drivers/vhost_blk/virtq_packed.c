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
#include "inflight_packed.h"

static_assert(VIRTQ_SEG_WRITE == VRING_DESC_F_WRITE);
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

/*
 * A buffer being read. Local to a function and never pointed to from another, so that it lives in
 * registers.
 */
struct virtq_walk {
	const struct pvirtq_desc *d;	/* the descriptor at hand, */
	unsigned int flags;		/* and its flags: read once */
	unsigned int lap;		/* what is available has of AVAIL, USED and WRITE there */
	struct virtq_seg *seg;		/* where the next segment goes */
	struct virtq_seg *end;		/* not here: the ring goes on at its beginning, */
	struct virtq_seg *last;		/* nor here: the chain must have ended before */
	struct virtq_seg *in;		/* the first writable one */
	u64 bytes;
	u64 addrs;			/* all of them or'ed */
};

enum { VIRTQ_WALK_END, VIRTQ_WALK_NEXT };

static __always_inline void virtq_packed_add(struct virtq_walk *w, u64 addr, u32 len, u32 seg_flags)
{
	w->seg->addr = addr;
	w->seg->len = len;
	w->seg->flags = seg_flags;
	w->seg++;
	w->bytes += len;
	w->addrs |= addr;
}

/* The descriptor at hand is a segment; goes to the next. VIRTQ_WALK_END, _NEXT or -errno. */
static __always_inline int virtq_packed_step(const struct virtq *vq, struct virtq_walk *w,
					     u32 seg_flags)
{
	virtq_packed_add(w, virtq_load64(&w->d->addr), virtq_load32(&w->d->len), seg_flags);
	if (!(w->flags & VRING_DESC_F_NEXT))
		return VIRTQ_WALK_END;
	w->d++;
	if (unlikely(w->seg == w->end)) {
		if (w->seg == w->last)
			return -ELOOP;
		w->d = vq->desc;
		w->lap ^= PVIRTQ_AVAIL | PVIRTQ_USED;
		w->end = w->last;
	}
	w->flags = virtq_load16(&w->d->flags);
	return VIRTQ_WALK_NEXT;
}

/*
 * Follows the chain from w->d to its end: each descriptor is available and none refers to a table.
 * VIRTQ_WALK_END or -errno.
 */
static __always_inline int virtq_packed_walk(const struct virtq *vq, struct virtq_walk *w)
{
	const unsigned int in = VRING_DESC_F_WRITE;
	const unsigned int all = PVIRTQ_AVAIL | PVIRTQ_USED | VRING_DESC_F_INDIRECT | in;
	int ret;

	while ((w->flags & all) == w->lap) {
		ret = virtq_packed_step(vq, w, 0);
		if (ret != VIRTQ_WALK_NEXT) {
			w->in = w->seg;
			return ret;
		}
	}
	w->in = w->seg;
	w->lap |= in;
	while (likely((w->flags & all) == w->lap)) {
		ret = virtq_packed_step(vq, w, VIRTQ_SEG_WRITE);
		if (ret != VIRTQ_WALK_NEXT)
			return ret;
	}
	/* Else it is readable, after a writable one. */
	return -EINVAL;
}

/*
 * The segments of an indirect table, all its entries in turn. Only WRITE means something in there;
 * beside the table it does not. 0 or -errno.
 */
static __always_inline int virtq_packed_table(struct virtq *vq, struct virtq_walk *w, u64 addr,
					      u32 len)
{
	const struct pvirtq_desc *d = vq->table, *end;
	int nr;

	nr = virtq_load_table(vq, addr, len);
	if (unlikely(nr < 0))
		return nr;
	if (unlikely(nr > vq->max_segs))
		return -E2BIG;
	for (end = d + nr; d < end && !(virtq_load16(&d->flags) & VRING_DESC_F_WRITE); d++)
		virtq_packed_add(w, virtq_load64(&d->addr), virtq_load32(&d->len), 0);
	w->in = w->seg;
	for (; d < end; d++) {
		if (unlikely(!(virtq_load16(&d->flags) & VRING_DESC_F_WRITE)))
			return -EINVAL;
		virtq_packed_add(w, virtq_load64(&d->addr), virtq_load32(&d->len), VIRTQ_SEG_WRITE);
	}
	return 0;
}

/* All of a buffer was read. 0 or -errno. */
static __always_inline int virtq_packed_whole(struct virtq *vq, struct virtq_chain *chain,
					      const struct virtq_walk *w, unsigned int id,
					      unsigned int n)
{
	struct virtq_seg *segs = vq->segs;

	/* Here and there, or the compiler spends more on making one store of four. */
	chain->id = id;
	if (unlikely(vq->inflight[id]))
		return -EEXIST;
	chain->ndesc = n;
	if (unlikely(w->bytes > 1ULL << 32))
		return -EOVERFLOW;
	chain->nr_segs = w->seg - segs;
	if (unlikely((s64)w->addrs < 0) && virtq_segs_wrap(segs, w->seg))
		return -EOVERFLOW;
	chain->nr_out = w->in - segs;
	chain->segs = segs;
	vq->inflight[id] = true;
	return 0;
}

/*
 * The buffer that ends in w->d is taken. @flags: of its first descriptor; @descs: all @n of them,
 * as they are in the ring. 1 or -errno.
 */
static __always_inline int virtq_packed_taken(struct virtq *vq, struct virtq_chain *chain,
					      const struct virtq_walk *w, unsigned int flags,
					      const struct virtq_seg *descs, unsigned int n)
{
	const unsigned int own = PVIRTQ_AVAIL | PVIRTQ_USED | VRING_DESC_F_INDIRECT;
	const unsigned int num = vq->num;
	unsigned int id = virtq_load16(&w->d->id);
	int ret;

	if (unlikely(id >= num))
		return -EINVAL;
	ret = virtq_packed_whole(vq, chain, w, id, n);
	if (unlikely(ret))
		return ret;
	if (vq->track)
		inflight_packed_record(vq->track, descs, n, id, flags & own, num - vq->pos.avail);
	virtq_packed_advance(vq, &vq->pos.avail, &vq->pos.avail_wrap, n);
	return 1;
}

/*
 * The buffer that starts with an available descriptor, whose flags were read before: neither they
 * nor anything else is read twice.
 */
static noinline int virtq_packed_take(struct virtq *vq, struct virtq_chain *chain,
				      unsigned int flags)
{
	const unsigned int num = vq->num;
	struct virtq_seg *segs = vq->segs;
	struct virtq_walk w = { .seg = segs, .flags = flags };
	unsigned int room = num - virtq_packed_out(&vq->pos, num);
	int ret;

	if (unlikely(!room))
		return -EINVAL;
	w.d = (const struct pvirtq_desc *)vq->desc + vq->pos.avail;
	w.lap = flags & (PVIRTQ_AVAIL | PVIRTQ_USED);
	/* virtq_init() saw to the room for as many segments as there are slots. */
	w.last = segs + room;
	w.end = segs + min(room, num - vq->pos.avail);
	ret = virtq_packed_walk(vq, &w);
	if (unlikely(ret))
		return ret;
	return virtq_packed_taken(vq, chain, &w, flags, segs, w.seg - segs);
}

/* The same for one that is a table. */
static noinline int virtq_packed_take_table(struct virtq *vq, struct virtq_chain *chain,
					    unsigned int flags)
{
	struct virtq_walk w = { .seg = vq->segs };
	struct virtq_seg table = { 0 };
	int ret;

	if (unlikely(virtq_packed_out(&vq->pos, vq->num) == vq->num) ||
	    unlikely(flags & VRING_DESC_F_NEXT))
		return -EINVAL;
	w.d = (const struct pvirtq_desc *)vq->desc + vq->pos.avail;
	table.addr = virtq_load64(&w.d->addr);
	table.len = virtq_load32(&w.d->len);
	ret = virtq_packed_table(vq, &w, table.addr, table.len);
	if (unlikely(ret))
		return ret;
	return virtq_packed_taken(vq, chain, &w, flags, &table, 1);
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

		if (d->flags & VRING_DESC_F_INDIRECT) {
			ret = buf->ndesc == 1 ? virtq_packed_table(vq, &w, d->addr, d->len) :
						-EINVAL;
			if (ret)
				return ret;
			continue;
		}
		if (d->flags & VRING_DESC_F_WRITE)
			w.in = w.in ?: w.seg;
		else if (w.in)
			return -EINVAL;
		virtq_packed_add(&w, d->addr, d->len, d->flags & VRING_DESC_F_WRITE);
	}
	w.in = w.in ?: w.seg;
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
	if (flags & VRING_DESC_F_INDIRECT)
		return virtq_packed_take_table(vq, chain, flags);
	return virtq_packed_take(vq, chain, flags);
}

/* AVAIL and USED of what is used. */
static __always_inline unsigned int virtq_packed_lap(bool wrap)
{
	return wrap ? PVIRTQ_AVAIL | PVIRTQ_USED : 0;
}

/* A used descriptor but for its flags, which are returned. */
static __always_inline unsigned int virtq_packed_put(struct pvirtq_desc *d,
						     const struct virtq_done *done)
{
	const u32 len = done->len;

	virtq_store16(&d->id, done->id);
	virtq_store32(&d->len, len);
	return len ? VRING_DESC_F_WRITE : 0;
}

/*
 * Used descriptors up to @used are written. The driver looks at them in turn, so the first hides
 * the others: only its flags are missing.
 */
static __always_inline void virtq_packed_show(struct virtq *vq, struct inflight *track, u16 used,
					      bool wrap, unsigned int flags)
{
	struct pvirtq_desc *ring = vq->desc, *first = &ring[vq->pos.used];
	unsigned int slots;

	if (track)
		inflight_packed_prepare(track, used, wrap);
	slots = used - vq->pos.used + (wrap != vq->pos.used_wrap ? vq->num : 0);
	/* Further back than the ring is long the driver can't be waiting for anything. */
	vq->uncalled = min(vq->uncalled + slots, vq->num);
	vq->pos.used = used;
	vq->pos.used_wrap = wrap;
	/*
	 * Release: all the used descriptors, and what the device wrote into the buffers, are seen
	 * before the flags of the first. Partner: the driver's read barrier between loading these
	 * flags and all else.
	 */
	virtq_store16_release(&first->flags, flags);
	if (track)
		inflight_packed_commit(track);
}

static __always_inline bool virtq_packed_give(struct virtq *vq, struct inflight *track,
					      const struct virtq_done *done, unsigned int n)
{
	const struct virtq_done *first = done, *end = done + n;
	const unsigned int num = vq->num;
	struct pvirtq_desc *ring = vq->desc;
	unsigned int used = vq->pos.used, lap = virtq_packed_lap(vq->pos.used_wrap);
	unsigned int first_flags = 0, flags;

	do {
		flags = lap | virtq_packed_put(&ring[used], done);
		if (done == first)
			first_flags = flags;
		else
			virtq_store16(&ring[used].flags, flags);
		used += done->ndesc;
		if (used >= num) {
			used -= num;
			lap ^= PVIRTQ_AVAIL | PVIRTQ_USED;
		}
		virtq_returned(vq, track, done->id);
	} while (++done < end);
	virtq_packed_show(vq, track, used, lap, first_flags);
	return true;
}

static noinline bool virtq_packed_give_tracked(struct virtq *vq, const struct virtq_done *done,
					       unsigned int n)
{
	return virtq_packed_give(vq, vq->track, done, n);
}

bool virtq_packed_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n)
{
	/* Apart, because it needs more registers. */
	if (vq->track)
		return virtq_packed_give_tracked(vq, done, n);
	return virtq_packed_give(vq, NULL, done, n);
}

void virtq_packed_stage(struct virtq *vq, struct virtq_batch *b, const struct virtq_done *done,
			bool flush)
{
	struct pvirtq_desc *ring = vq->desc, *d = &ring[b->used];
	unsigned int flags = virtq_packed_lap(b->wrap) | virtq_packed_put(d, done) |
			     (flush ? VIRTQ_DESC_F_FLUSH : 0);

	if (b->n++)
		virtq_store16(&d->flags, flags);
	else
		b->flags = flags;
	virtq_packed_advance(vq, &b->used, &b->wrap, done->ndesc);
}

void virtq_packed_commit(struct virtq *vq, const struct virtq_batch *b)
{
	virtq_packed_show(vq, vq->track, b->used, b->wrap, b->flags);
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
