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
#include <linux/build_bug.h>
#include <linux/minmax.h>

#include "virtq.h"
#include "virtq_ops.h"
#include "virtq_mem.h"
#include "virtq_barrier.h"

static_assert(VIRTQ_SEG_WRITE == 1, "virtq_split_walk() stores the bit as it computes it");
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
	vq->called = pos->used;
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

	if ((u16)(idx - vq->pos.avail) > vq->num)
		return -EINVAL;
	vq->avail_seen = idx;
	return idx != vq->pos.avail;
}

/*
 * A chain being read. @left says how many more descriptors the present table can contribute: after
 * so many it must have ended.
 */
struct virtq_walk {
	const struct vring_desc *table;
	unsigned int num, left;
	struct virtq_seg *seg;		/* where the next segment goes */
	struct virtq_seg *in;		/* the first writable one, once there is one */
	u64 bytes;
};

enum { VIRTQ_WALK_END, VIRTQ_WALK_TABLE };

/* One descriptor is a segment. 1: another follows, which *@i is set to; 0: the last; or -errno. */
static __always_inline int virtq_split_step(struct virtq_walk *w, unsigned int *i, u16 flags,
					    u32 seg_flags)
{
	const struct vring_desc *d = &w->table[*i];
	u64 addr = virtq_load64(&d->addr);
	u32 len = virtq_load32(&d->len);

	if (unlikely(addr + len < addr))
		return -EOVERFLOW;
	w->seg->addr = addr;
	w->seg->len = len;
	w->seg->flags = seg_flags;
	w->seg++;
	w->bytes += len;
	if (!(flags & VRING_DESC_F_NEXT))
		return 0;
	*i = virtq_load16(&d->next);
	if (unlikely(*i >= w->num))
		return -EINVAL;
	if (unlikely(!--w->left))
		return -ELOOP;
	return 1;
}

/*
 * Follows the chain from entry @i of a table to its end, or to a descriptor that refers to an
 * indirect table: *@at. Return: VIRTQ_WALK_x or -errno.
 */
static __always_inline int virtq_split_run(struct virtq_walk *w, unsigned int i, unsigned int *at)
{
	const u16 in = VRING_DESC_F_WRITE, table = VRING_DESC_F_INDIRECT;
	u16 flags;
	int ret;

	flags = virtq_load16(&w->table[i].flags);
	if (!w->in) {
		while (!(flags & (in | table))) {
			ret = virtq_split_step(w, &i, flags, 0);
			if (ret <= 0)
				return ret;
			flags = virtq_load16(&w->table[i].flags);
		}
		if (!(flags & table))
			w->in = w->seg;
	}
	while ((flags & (in | table)) == in) {
		ret = virtq_split_step(w, &i, flags, VIRTQ_SEG_WRITE);
		if (ret <= 0)
			return ret;
		flags = virtq_load16(&w->table[i].flags);
	}
	/* Readable after writable? */
	if (unlikely(!(flags & table)))
		return -EINVAL;
	*at = i;
	return VIRTQ_WALK_TABLE;
}

static __always_inline int virtq_split_finish(struct virtq *vq, const struct virtq_walk *w,
					      u16 head, struct virtq_chain *chain)
{
	const struct virtq_seg *in = w->in ?: w->seg;

	if (unlikely(w->bytes > 1ULL << 32))
		return -EOVERFLOW;
	chain->id = head;
	chain->ndesc = 1;
	chain->nr_segs = w->seg - vq->segs;
	chain->nr_out = in - vq->segs;
	chain->segs = vq->segs;
	return 1;
}

/*
 * The rest of a chain is in the indirect table that @d refers to. The table is read once, whole, into
 * vq->table: it is ours from then on. WRITE in @d means nothing.
 */
static noinline int virtq_split_indirect(struct virtq *vq, const struct vring_desc *d,
					 struct virtq_walk *outer, u16 head,
					 struct virtq_chain *chain)
{
	struct virtq_walk w = *outer;
	u64 addr = virtq_load64(&d->addr);
	u32 len = virtq_load32(&d->len);
	unsigned int room = vq->max_segs - (w.seg - vq->segs), at;
	int ret;

	if (!vq->indirect)
		return -EINVAL;
	if (!len || len % sizeof(struct vring_desc))
		return -EINVAL;
	if (len > VIRTQ_MAX_NUM * sizeof(struct vring_desc) || !room)
		return -E2BIG;
	ret = virtq_mem_read(vq->mem, addr, vq->table, len);
	if (unlikely(ret))
		return ret;

	w.table = vq->table;
	w.num = len / sizeof(struct vring_desc);
	w.left = min(w.num, room);
	ret = virtq_split_run(&w, 0, &at);
	if (unlikely(ret)) {
		/* Too long for us, and not for its table? */
		if (ret == -ELOOP && room < w.num)
			return -E2BIG;
		return ret < 0 ? ret : -EINVAL;
	}
	return virtq_split_finish(vq, &w, head, chain);
}

int virtq_split_fetch(struct virtq *vq, struct virtq_chain *chain)
{
	const struct vring_avail *avail = vq->driver;
	struct virtq_walk w;
	unsigned int at;
	u16 head;
	int ret;

	if (vq->pos.avail == vq->avail_seen) {
		ret = virtq_split_refill(vq);
		if (ret <= 0)
			return ret;
	}

	head = virtq_load16(&avail->ring[vq->pos.avail & vq->mask]);
	if (unlikely(head >= vq->num))
		return -EINVAL;
	if (unlikely(virtq_id_inflight(vq, head)))
		return -EEXIST;

	w.table = vq->desc;
	w.num = vq->num;
	w.left = vq->num;	/* virtq_init() saw to the room */
	w.seg = vq->segs;
	w.in = NULL;
	w.bytes = 0;
	ret = virtq_split_run(&w, head, &at);
	if (likely(ret == VIRTQ_WALK_END)) {
		ret = virtq_split_finish(vq, &w, head, chain);
	} else if (ret == VIRTQ_WALK_TABLE) {
	}
	if (unlikely(ret < 0))
		return ret;

	virtq_id_take(vq, head);
	vq->pos.avail++;
	return 1;
}

void virtq_split_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n)
{
	struct vring_used *used = vq->device;
	u16 idx = vq->pos.used;

	for (; n; n--, done++, idx++) {
		struct vring_used_elem *elem = &used->ring[idx & vq->mask];

		virtq_store32(&elem->id, done->id);
		virtq_store32(&elem->len, done->len);
		virtq_id_put(vq, done->id);
	}
	vq->pos.used = idx;
	/*
	 * Release: the entries, and what the device wrote into the buffers, are seen before idx.
	 * Partner: the driver's read barrier between loading used->idx and the used entries.
	 */
	virtq_store16_release(&used->idx, idx);
}

bool virtq_split_need_call(struct virtq *vq)
{
	const struct vring_avail *avail = vq->driver;
	u16 old = vq->called, new = vq->pos.used;

	if (new == old)
		return false;
	vq->called = new;
	/*
	 * used->idx is stored before the driver's wish is loaded. Partner: the driver's full
	 * barrier between storing used_event (or avail->flags) and loading used->idx once more. One
	 * of the two sees the other's store, or the wake-up is lost.
	 */
	virtq_mb();
	if (!vq->event_idx)
		return !(virtq_load16(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	return vring_need_event(virtq_load16(virtq_split_used_event(vq)), new, old);
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
	.publish	= virtq_split_publish,
	.need_call	= virtq_split_need_call,
	.enable_kick	= virtq_split_enable_kick,
	.disable_kick	= virtq_split_disable_kick,
	.empty		= virtq_split_empty,
};
