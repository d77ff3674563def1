// SPDX-License-Identifier: GPL-2.0
/* Driver side of a packed ring. */
#include <string.h>

#include "vblk_ring_ops.h"

#define AVAIL	VD_PACKED_AVAIL
#define USED	VD_PACKED_USED
#define WRAP	VD_PACKED_WRAP

static void go(const struct vd_queue *q, struct vd_place *p, unsigned int n)
{
	for (; n; n--)
		if (++p->slot == q->num) {
			p->slot = 0;
			p->wrap = !p->wrap;
		}
}

static __u16 encoded(struct vd_place p)
{
	return p.slot | (p.wrap ? WRAP : 0);
}

static bool same(struct vd_place a, struct vd_place b)
{
	return a.slot == b.slot && a.wrap == b.wrap;
}

static void packed_place(struct vd_queue *q)
{
	__u64 ring = vd_alloc(q->d, q->num * sizeof(*q->ring), 4096);
	__u64 driver = vd_alloc(q->d, sizeof(*q->driver), 4096);

	vd_queue_move(q, ring, driver, vd_alloc(q->d, sizeof(*q->device), 4096));
}

/* Every slot holds what a lap before this one left there. */
static void packed_fresh(struct vd_queue *q, __u16 at)
{
	struct vd_place p = { at & ~WRAP, at & WRAP };
	unsigned int i;

	memset(q->ring, 0, q->num * sizeof(*q->ring));
	for (i = 0; i < q->num; i++)
		q->ring[i].flags = (i < p.slot) == p.wrap ? AVAIL | USED : 0;
	memset(q->driver, 0, sizeof(*q->driver));
	memset(q->device, 0, sizeof(*q->device));
	q->put = p;
	q->kicked = p;
	q->got = p;
}

static __u32 packed_base(const struct vd_queue *q)
{
	return encoded(q->put) | (__u32)encoded(q->got) << 16;
}

void vd_push_descs(struct vd_queue *q, const struct vd_desc *d, unsigned int n, __u16 id)
{
	struct vring_packed_desc *first = &q->ring[q->put.slot];
	__u16 flags, first_flags = 0;
	unsigned int i;

	for (i = 0; i < n; i++, go(q, &q->put, 1)) {
		struct vring_packed_desc *to = &q->ring[q->put.slot];

		to->addr = d[i].addr;
		to->len = d[i].len;
		to->id = id;
		flags = (d[i].flags & ~(AVAIL | USED)) | (q->put.wrap ? AVAIL : USED);
		if (i)
			to->flags = flags;
		else
			first_flags = flags;
	}
	store_release(&first->flags, first_flags);
}

static void packed_desc(struct vd_desc *desc, const struct vd_buf *b, __u16 flags)
{
	*desc = (struct vd_desc){ b->addr, b->len, (b->write ? VD_DESC_WRITE : 0) | flags };
}

static void packed_add(struct vd_queue *q, __u16 head, const struct vd_buf *b, unsigned int n, enum vd_chain how)
{
	struct vring_packed_desc *table = vd_ptr(q->d, q->table[head]);
	struct vd_desc d[VD_MAX_NUM];
	unsigned int i;

	if (how == VD_DIRECT) {
		for (i = 0; i < n; i++)
			packed_desc(&d[i], &b[i], i + 1 < n ? VD_DESC_NEXT : 0);
		vd_push_descs(q, d, n, head);
		return;
	}
	for (i = 0; i < n; i++)
		table[i] = (struct vring_packed_desc){
			.addr = b[i].addr, .len = b[i].len, .flags = b[i].write ? VD_DESC_WRITE : 0,
		};
	packed_desc(d, &(struct vd_buf){ q->table[head], n * sizeof(*table), false }, VD_DESC_INDIRECT);
	vd_push_descs(q, d, 1, head);
}

static bool packed_used(struct vd_queue *q, struct vd_entry *e)
{
	struct vring_packed_desc *d = &q->ring[q->got.slot];
	__u16 flags = load_acquire(&d->flags);

	if ((flags & (AVAIL | USED)) != (q->got.wrap ? AVAIL | USED : 0))
		return false;
	*e = (struct vd_entry){ .id = d->id, .len = d->len, .flush = flags & VIRTQ_DESC_F_FLUSH };
	/* WRITE says that there is a length; virtio 1.4, 2.8.13. */
	if (!(flags & VD_DESC_WRITE) != !e->len || (e->flush && !q->partial) ||
	    flags & ~(AVAIL | USED | VD_DESC_WRITE | VIRTQ_DESC_F_FLUSH))
		e->id = VD_BAD_ID;
	return true;
}

static bool packed_skip(struct vd_queue *q, unsigned int bufs, unsigned int descs)
{
	unsigned int out = q->put.slot - q->got.slot + (q->put.wrap != q->got.wrap ? q->num : 0);

	go(q, &q->got, descs);
	return descs <= out;
}

static bool packed_need_kick(struct vd_queue *q)
{
	struct vd_place at = q->kicked;
	__u16 flags, event;

	full_barrier();
	flags = load_acquire(&q->device->flags);
	event = __atomic_load_n(&q->device->off_wrap, __ATOMIC_RELAXED);
	q->kicked = q->put;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	for (; !same(at, q->put); go(q, &at, 1))
		if (encoded(at) == event)
			return true;
	return false;
}

static void packed_call_on(struct vd_queue *q)
{
	q->driver->off_wrap = encoded(q->got);
	store_release(&q->driver->flags,
		      q->event_idx ? VRING_PACKED_EVENT_FLAG_DESC : VRING_PACKED_EVENT_FLAG_ENABLE);
	full_barrier();
}

static void packed_call_off(struct vd_queue *q)
{
	store_release(&q->driver->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
	full_barrier();
}

const struct vd_ring_ops vd_packed_ops = {
	.place = packed_place,
	.fresh = packed_fresh,
	.base = packed_base,
	.add = packed_add,
	.used = packed_used,
	.skip = packed_skip,
	.need_kick = packed_need_kick,
	.call_on = packed_call_on,
	.call_off = packed_call_off,
};
