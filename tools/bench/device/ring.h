/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's side of split and packed rings, for buffers of three descriptors: header, data,
 * status.  Inline, so that the loop which drives them is compiled for each layout.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>

#include "vbench.h"

#define load_acquire(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)

/* A locked operation is a full barrier, and cheaper than mfence. */
static __always_inline void full_barrier(void)
{
#if defined(__x86_64__)
	__asm__ __volatile__("lock; addl $0,-4(%%rsp)" ::: "memory", "cc");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

#define PACKED_AVAIL	0x80
#define PACKED_USED	0x8000

/* ---- split: each slot has its descriptors for good ---- */

static inline void split_list(struct vring_desc *d, const struct slot *s, unsigned int first)
{
	d[0] = (struct vring_desc){ s->header_iova, 16, VRING_DESC_F_NEXT, first + 1 };
	d[1] = (struct vring_desc){ s->data_iova, opt.block, VRING_DESC_F_NEXT, first + 2 };
	d[2] = (struct vring_desc){ s->status_iova, 1, VRING_DESC_F_WRITE, 0 };
}

static inline void split_prepare(struct queue *q)
{
	struct vring_desc *desc = q->desc;

	for (unsigned int i = 0; i < opt.depth; i++) {
		struct slot *s = &q->slot[i];
		unsigned int head = i * q->descs;

		q->slot_of[head] = i;
		if (!q->indirect) {
			split_list(&desc[head], s, head);
			continue;
		}
		split_list(s->table, s, 0);
		desc[head] = (struct vring_desc){ s->table_iova, 48, VRING_DESC_F_INDIRECT, 0 };
	}
}

static __always_inline void split_put(struct queue *q, unsigned int i, bool read)
{
	struct vring_avail *avail = q->driver;
	unsigned int head = i * q->descs;
	struct vring_desc *list = q->indirect ? q->slot[i].table :
						(struct vring_desc *)q->desc + head;

	list[1].flags = VRING_DESC_F_NEXT | (read ? VRING_DESC_F_WRITE : 0);
	avail->ring[q->put & q->mask] = head;
	q->put++;
}

static __always_inline void split_show(struct queue *q)
{
	struct vring_avail *avail = q->driver;

	store_release(&avail->idx, q->put);
}

/* Slot of the next used buffer, or -1. */
static __always_inline int split_get(struct queue *q)
{
	struct vring_used *used = q->device;
	uint32_t id;

	if (q->got == q->seen) {
		q->seen = load_acquire(&used->idx);
		if (q->got == q->seen)
			return -1;
	}
	id = used->ring[q->got & q->mask].id;
	if (id >= q->num)
		die("the device gives back buffer %u of %u", id, q->num);
	q->got++;
	return q->slot_of[id];
}

static inline bool split_ready(const struct queue *q)
{
	const struct vring_used *used = q->device;

	return q->got != load_acquire(&used->idx);
}

static __always_inline bool split_need_kick(struct queue *q)
{
	struct vring_used *used = q->device;
	uint16_t old = q->kicked;

	q->kicked = q->put;
	full_barrier();
	if (!q->event_idx)
		return !(load_acquire(&used->flags) & VRING_USED_F_NO_NOTIFY);
	return vring_need_event(load_acquire((uint16_t *)&used->ring[q->num]), q->put, old);
}

static inline void split_calls(struct queue *q, bool on)
{
	struct vring_avail *avail = q->driver;

	if (q->event_idx)
		/* Off: as far away as can be. */
		store_release(&avail->ring[q->num], (uint16_t)(on ? q->got : q->got + 0x8000));
	else
		store_release(&avail->flags, on ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
	full_barrier();
}

/* ---- packed ---- */

static inline void packed_table(struct vring_packed_desc *d, const struct slot *s)
{
	d[0] = (struct vring_packed_desc){ s->header_iova, 16, 0, 0 };
	d[1] = (struct vring_packed_desc){ s->data_iova, opt.block, 0, 0 };
	d[2] = (struct vring_packed_desc){ s->status_iova, 1, 0, VRING_DESC_F_WRITE };
}

static inline void packed_prepare(struct queue *q)
{
	for (unsigned int i = 0; i < opt.depth && q->indirect; i++)
		packed_table(q->slot[i].table, &q->slot[i]);
}

static __always_inline void packed_go(const struct queue *q, uint16_t *at, uint8_t *wrap,
				      unsigned int n)
{
	*at += n;
	if (*at >= q->num) {
		*at -= q->num;
		*wrap ^= 1;
	}
}

static __always_inline void packed_write(struct queue *q, uint64_t addr, uint32_t len,
					 uint16_t id, uint16_t flags, bool first)
{
	struct vring_packed_desc *d = (struct vring_packed_desc *)q->desc + q->put;

	d->addr = addr;
	d->len = len;
	d->id = id;
	flags |= q->put_wrap ? PACKED_AVAIL : PACKED_USED;
	if (first)
		store_release(&d->flags, flags);
	else
		d->flags = flags;
}

/* The first descriptor is shown last; there is no batch to show. */
static __always_inline void packed_put(struct queue *q, unsigned int i, bool read)
{
	struct slot *s = &q->slot[i];
	uint16_t data = read ? VRING_DESC_F_WRITE : 0, first = q->put;
	struct vring_packed_desc *table = s->table;
	uint8_t first_wrap = q->put_wrap;

	if (q->indirect) {
		table[1].flags = data;
		packed_write(q, s->table_iova, 48, i, VRING_DESC_F_INDIRECT, true);
		packed_go(q, &q->put, &q->put_wrap, 1);
		return;
	}
	packed_go(q, &q->put, &q->put_wrap, 1);
	packed_write(q, s->data_iova, opt.block, i, VRING_DESC_F_NEXT | data, false);
	packed_go(q, &q->put, &q->put_wrap, 1);
	packed_write(q, s->status_iova, 1, i, VRING_DESC_F_WRITE, false);
	packed_go(q, &q->put, &q->put_wrap, 1);
	{
		uint16_t end = q->put;
		uint8_t end_wrap = q->put_wrap;

		q->put = first;
		q->put_wrap = first_wrap;
		packed_write(q, s->header_iova, 16, i, VRING_DESC_F_NEXT, true);
		q->put = end;
		q->put_wrap = end_wrap;
	}
}

static __always_inline bool packed_ready(const struct queue *q)
{
	const struct vring_packed_desc *d = (struct vring_packed_desc *)q->desc + q->got;

	return (load_acquire(&d->flags) & (PACKED_AVAIL | PACKED_USED)) ==
	       (q->got_wrap ? PACKED_AVAIL | PACKED_USED : 0);
}

static __always_inline int packed_get(struct queue *q)
{
	struct vring_packed_desc *d = (struct vring_packed_desc *)q->desc + q->got;
	uint16_t id;

	if (!packed_ready(q))
		return -1;
	id = d->id;
	if (id >= opt.depth)
		die("the device gives back buffer %u of %u", id, opt.depth);
	packed_go(q, &q->got, &q->got_wrap, q->descs);
	return id;
}

static __always_inline bool packed_need_kick(struct queue *q)
{
	struct vring_packed_desc_event *event = q->device;
	uint16_t old = q->kicked, flags, off, at;

	/* The other lap is counted from before ours. */
	if (q->kicked_wrap != q->put_wrap)
		old -= q->num;
	q->kicked = q->put;
	q->kicked_wrap = q->put_wrap;
	full_barrier();
	flags = load_acquire(&event->flags);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	off = __atomic_load_n(&event->off_wrap, __ATOMIC_RELAXED);
	at = off & 0x7fff;
	if (off >> 15 != q->put_wrap)
		at -= q->num;
	return vring_need_event(at, q->put, old);
}

static inline void packed_calls(struct queue *q, bool on)
{
	struct vring_packed_desc_event *event = q->driver;
	uint16_t flags = VRING_PACKED_EVENT_FLAG_DISABLE;

	if (on) {
		event->off_wrap = q->got | q->got_wrap << 15;
		flags = q->event_idx ? VRING_PACKED_EVENT_FLAG_DESC :
				       VRING_PACKED_EVENT_FLAG_ENABLE;
	}
	store_release(&event->flags, flags);
	full_barrier();
}

/* ---- either ---- */

static __always_inline int ring_get(struct queue *q, const bool packed)
{
	return packed ? packed_get(q) : split_get(q);
}

/* Is there one? */
static inline bool ring_ready(const struct queue *q, const bool packed)
{
	return packed ? packed_ready(q) : split_ready(q);
}

static __always_inline void ring_put(struct queue *q, unsigned int i, bool read,
				     const bool packed)
{
	if (packed)
		packed_put(q, i, read);
	else
		split_put(q, i, read);
}

static __always_inline bool ring_need_kick(struct queue *q, const bool packed)
{
	return packed ? packed_need_kick(q) : split_need_kick(q);
}

static __always_inline void ring_calls(struct queue *q, bool on, const bool packed)
{
	if (packed)
		packed_calls(q, on);
	else
		split_calls(q, on);
}

#endif
