// SPDX-License-Identifier: GPL-2.0
/* Packed rings.  The id of a buffer is the number of its slot. */
#include <linux/virtio_ring.h>

#include "ring.h"

/* Flags of a descriptor, and the wrap counter beside a slot. */
#define AVAIL	0x80
#define USED	0x8000
#define WRAP	0x8000

static size_t packed_desc_size(unsigned int num)
{
	return num * sizeof(struct vring_packed_desc);
}

static size_t packed_event_size(unsigned int num)
{
	(void)num;
	return sizeof(struct vring_packed_desc_event);
}

static void packed_fresh(struct guest *g, struct queue *q)
{
	(void)g;
	q->put_wrap = 1;
	q->kicked_wrap = 1;
	q->got_wrap = 1;
}

static uint32_t packed_head(unsigned int slot)
{
	return slot;
}

static void go(uint16_t *slot, uint8_t *wrap, unsigned int num)
{
	if (++*slot < num)
		return;
	*slot = 0;
	*wrap = !*wrap;
}

/* The first descriptor is shown last. */
static void packed_put(struct guest *g, struct queue *q, unsigned int slot, const struct desc *d,
		       unsigned int n, bool indirect)
{
	struct vring_packed_desc *ring = guest_at(g, q->desc), *first = &ring[q->put];
	struct vring_packed_desc *table = guest_at(g, slot_table(q, slot));
	struct desc one = { slot_table(q, slot), n * sizeof(*table), VRING_DESC_F_INDIRECT, 0 };
	uint16_t flags, first_flags = 0;

	if (indirect) {
		for (unsigned int i = 0; i < n; i++)
			table[i] = (struct vring_packed_desc){
				.addr = d[i].addr, .len = d[i].len, .flags = d[i].flags,
			};
		guest_wrote(g, table, n * sizeof(*table));
		d = &one;
		n = 1;
	}
	for (unsigned int i = 0; i < n; i++) {
		struct vring_packed_desc *to = &ring[q->put];

		to->addr = d[i].addr;
		to->len = d[i].len;
		to->id = slot;
		flags = d[i].flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0) |
			(q->put_wrap ? AVAIL : USED);
		if (i)
			to->flags = flags;
		else
			first_flags = flags;
		guest_wrote(g, to, sizeof(*to));
		go(&q->put, &q->put_wrap, g->mem->num);
	}
	store_release(&first->flags, first_flags);
	guest_wrote(g, first, sizeof(*first));
}

static bool packed_used(struct guest *g, struct queue *q, struct entry *e)
{
	struct vring_packed_desc *d = (struct vring_packed_desc *)guest_at(g, q->desc) + q->got;
	uint16_t flags = load_acquire(&d->flags);

	if ((flags & (AVAIL | USED)) != (q->got_wrap ? AVAIL | USED : 0))
		return false;
	*e = (struct entry){ d->id, d->len };
	/* WRITE says that there is a length; a length is there for each of our buffers. */
	if ((flags & ~(AVAIL | USED)) != VRING_DESC_F_WRITE)
		e->id = BAD_ID;
	return true;
}

static void packed_skip(struct guest *g, struct queue *q, unsigned int descs)
{
	for (; descs; descs--)
		go(&q->got, &q->got_wrap, g->mem->num);
}

static bool packed_need_kick(struct guest *g, struct queue *q)
{
	struct vring_packed_desc_event *event = guest_at(g, q->device);
	uint16_t at = q->kicked, flags, off_wrap;
	uint8_t wrap = q->kicked_wrap;

	q->kicked = q->put;
	q->kicked_wrap = q->put_wrap;
	full_barrier();
	flags = load_acquire(&event->flags);
	off_wrap = __atomic_load_n(&event->off_wrap, __ATOMIC_RELAXED);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	for (; at != q->put || wrap != q->put_wrap; go(&at, &wrap, g->mem->num))
		if (off_wrap == (at | (wrap ? WRAP : 0)))
			return true;
	return false;
}

static void packed_calls(struct guest *g, struct queue *q, bool on)
{
	struct vring_packed_desc_event *event = guest_at(g, q->driver);
	uint16_t flags = VRING_PACKED_EVENT_FLAG_DISABLE;

	if (on) {
		event->off_wrap = q->got | (q->got_wrap ? WRAP : 0);
		flags = g->mem->event_idx ? VRING_PACKED_EVENT_FLAG_DESC :
					    VRING_PACKED_EVENT_FLAG_ENABLE;
	}
	store_release(&event->flags, flags);
	guest_wrote(g, event, sizeof(*event));
	full_barrier();
}

const struct ring_ops packed_ops = {
	.desc_size = packed_desc_size,
	.driver_size = packed_event_size,
	.device_size = packed_event_size,
	.fresh = packed_fresh,
	.head = packed_head,
	.put = packed_put,
	.used = packed_used,
	.skip = packed_skip,
	.need_kick = packed_need_kick,
	.calls = packed_calls,
};
