// SPDX-License-Identifier: GPL-2.0
/* Driver side of a split ring. */
#include <string.h>

#include "vblk_ring_ops.h"

size_t vd_ring_bytes(unsigned int num, size_t *avail, size_t *used)
{
	size_t a = num * sizeof(struct vd_desc);
	size_t u = a + sizeof(struct vd_avail) + (num + 1) * sizeof(__u16);

	u = (u + 3) & ~3UL;
	if (avail)
		*avail = a;
	if (used)
		*used = u;
	return u + sizeof(struct vd_used) + num * sizeof(struct vd_used_elem) + sizeof(__u16);
}

/* Each part of the ring on pages of its own: tests move and unmap them one by one. */
static void split_place(struct vd_queue *q)
{
	size_t avail, used, bytes = vd_ring_bytes(q->num, &avail, &used);
	__u64 desc_iova = vd_alloc(q->d, avail, 4096);
	__u64 avail_iova = vd_alloc(q->d, used - avail, 4096);

	vd_queue_move(q, desc_iova, avail_iova, vd_alloc(q->d, bytes - used, 4096));
}

static void split_fresh(struct vd_queue *q, __u16 at)
{
	size_t avail, used, bytes = vd_ring_bytes(q->num, &avail, &used);

	memset(q->desc, 0, avail);
	memset(q->avail, 0, used - avail);
	memset(q->used, 0, bytes - used);
	q->avail_idx = at;
	q->kicked_idx = at;
	q->last_used = at;
	q->avail->idx = at;
	q->used->idx = at;
}

static __u32 split_base(const struct vd_queue *q)
{
	return q->avail_idx;
}

void vd_push_head(struct vd_queue *q, __u16 head)
{
	q->avail->ring[q->avail_idx % q->num] = head;
	q->avail_idx++;
	store_release(&q->avail->idx, q->avail_idx);
}

static void split_desc(struct vd_desc *desc, const struct vd_buf *b, bool next, __u16 to)
{
	desc->addr = b->addr;
	desc->len = b->len;
	desc->flags = (b->write ? VD_DESC_WRITE : 0) | (next ? VD_DESC_NEXT : 0);
	desc->next = next ? to : 0;
}

/* The buffers from @i on, in the head's table. */
static void split_table(struct vd_queue *q, __u16 head, __u16 at, const struct vd_buf *b, unsigned int i,
			unsigned int n)
{
	struct vd_desc *table = vd_ptr(q->d, q->table[head]);

	q->desc[at].addr = q->table[head];
	q->desc[at].len = (n - i) * sizeof(*table);
	q->desc[at].flags = VD_DESC_INDIRECT;
	q->desc[at].next = 0;
	for (at = 0; i < n; i++, at++)
		split_desc(&table[at], &b[i], i + 1 < n, at + 1);
}

static void split_add(struct vd_queue *q, __u16 head, const struct vd_buf *b, unsigned int n, enum vd_chain how)
{
	unsigned int direct = how == VD_DIRECT ? n : how == VD_MIXED ? 1 : 0;
	__u16 at = head;
	unsigned int i;

	for (i = 0; i < direct; i++) {
		split_desc(&q->desc[at], &b[i], i + 1 < n, q->link[at]);
		at = q->link[at];
	}
	if (i < n)
		split_table(q, head, at, b, i, n);
	vd_push_head(q, head);
}

static bool split_used(struct vd_queue *q, struct vd_entry *e)
{
	struct vd_used_elem *elem = &q->used->ring[q->last_used % q->num];
	__u32 flush = (__u32)VIRTQ_USED_ELEM_F_FLUSH << 16;

	if (load_acquire(&q->used->idx) == q->last_used)
		return false;
	*e = (struct vd_entry){ .id = elem->id, .len = elem->len };
	/* A flag that was not negotiated, or that there is not, makes it an id no buffer has. */
	if (q->partial && e->id & flush) {
		e->flush = true;
		e->id &= ~flush;
	}
	return true;
}

static bool split_skip(struct vd_queue *q, unsigned int bufs, unsigned int descs)
{
	__u16 there = load_acquire(&q->used->idx) - q->last_used;

	q->last_used += bufs;
	return bufs <= there;
}

static bool split_need_kick(struct vd_queue *q)
{
	__u16 event;

	full_barrier();
	if (!q->event_idx)
		return !(load_acquire(&q->used->flags) & VD_USED_NO_NOTIFY);
	event = load_acquire(vd_avail_event(q));
	return (__u16)(q->avail_idx - event - 1) < (__u16)(q->avail_idx - q->kicked_idx);
}

static void split_call_on(struct vd_queue *q)
{
	if (q->event_idx)
		store_release(vd_used_event(q), q->last_used);
	else
		store_release(&q->avail->flags, 0);
	full_barrier();
}

/* As far away as can be: the device may not have looked yet for what was used last. */
static void split_call_off(struct vd_queue *q)
{
	if (q->event_idx)
		store_release(vd_used_event(q), (__u16)(q->last_used + 0x8000));
	else
		store_release(&q->avail->flags, VD_AVAIL_NO_INTERRUPT);
	full_barrier();
}

const struct vd_ring_ops vd_split_ops = {
	.place = split_place,
	.fresh = split_fresh,
	.base = split_base,
	.add = split_add,
	.used = split_used,
	.skip = split_skip,
	.need_kick = split_need_kick,
	.call_on = split_call_on,
	.call_off = split_call_off,
};
