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
 * Copies the indirect table a descriptor refers to into vq->table. It is read once, whole: it is
 * ours from then on. The flags are the referring descriptor's; its WRITE means nothing.
 *
 * Return: entries or -errno.
 */
static int virtq_split_table(struct virtq *vq, u64 addr, u32 len, u16 flags)
{
	int ret;

	if (!vq->indirect || (flags & VRING_DESC_F_NEXT))
		return -EINVAL;
	if (!len || len % sizeof(struct vring_desc))
		return -EINVAL;
	if (len > VIRTQ_MAX_NUM * sizeof(struct vring_desc))
		return -E2BIG;
	ret = virtq_mem_read(vq->mem, addr, vq->table, len);
	if (ret)
		return ret;
	return len / sizeof(struct vring_desc);
}

/* Follows the chain from @head: first in the ring's table, then possibly in an indirect one. */
static int virtq_split_walk(struct virtq *vq, u16 head, struct virtq_chain *chain)
{
	const struct vring_desc *table = vq->desc;
	struct virtq_seg *seg = vq->segs;
	unsigned int num = vq->num;	/* entries of the table */
	unsigned int left = num;	/* of these may still come: virtq_init() saw to the room */
	unsigned int i = head, nr_in = 0, was_in = 0, nr;
	u64 bytes = 0;

	for (;;) {
		const struct vring_desc *d = &table[i];
		u64 addr = virtq_load64(&d->addr);
		u32 len = virtq_load32(&d->len);
		u16 flags = virtq_load16(&d->flags);
		unsigned int in;

		if (unlikely(flags & VRING_DESC_F_INDIRECT)) {
			unsigned int room = vq->max_segs - (seg - vq->segs);
			int ret;

			if (table != vq->desc)
				return -EINVAL;
			ret = virtq_split_table(vq, addr, len, flags);
			if (ret < 0)
				return ret;
			if (!room)
				return -E2BIG;
			table = vq->table;
			num = ret;
			left = min(num, room);
			i = 0;
			continue;
		}

		in = (flags / VRING_DESC_F_WRITE) & 1;
		if (unlikely(in < was_in))
			return -EINVAL;
		if (unlikely(addr + len < addr))
			return -EOVERFLOW;
		seg->addr = addr;
		seg->len = len;
		seg->flags = in;
		seg++;
		was_in = in;
		nr_in += in;
		bytes += len;

		if (!(flags & VRING_DESC_F_NEXT))
			break;
		if (unlikely(!--left)) {
			if (table != vq->desc && seg - vq->segs == vq->max_segs)
				return -E2BIG;
			return -ELOOP;
		}
		i = virtq_load16(&d->next);
		if (unlikely(i >= num))
			return -EINVAL;
	}
	if (unlikely(bytes > 1ULL << 32))
		return -EOVERFLOW;

	nr = seg - vq->segs;
	chain->id = head;
	chain->ndesc = 1;
	chain->nr_segs = nr;
	chain->nr_out = nr - nr_in;
	chain->segs = vq->segs;
	return 1;
}

int virtq_split_fetch(struct virtq *vq, struct virtq_chain *chain)
{
	const struct vring_avail *avail = vq->driver;
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
	ret = virtq_split_walk(vq, head, chain);
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
