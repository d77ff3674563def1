// SPDX-License-Identifier: GPL-2.0
/* Split rings.  Each slot has SLOT_DESCS descriptors of the table for itself. */
#include <linux/virtio_ring.h>

#include "ring.h"

static size_t split_desc_size(unsigned int num)
{
	return num * sizeof(struct vring_desc);
}

static size_t split_driver_size(unsigned int num)
{
	return sizeof(struct vring_avail) + (num + 1) * sizeof(__virtio16);
}

static size_t split_device_size(unsigned int num)
{
	return sizeof(struct vring_used) + num * sizeof(struct vring_used_elem) +
	       sizeof(__virtio16);
}

static void split_fresh(struct guest *g, struct queue *q)
{
	(void)g;
	(void)q;
}

static uint32_t split_head(unsigned int slot)
{
	return slot * SLOT_DESCS;
}

/* @d as descriptors of a table, of which the first is number @first. */
static void split_list(struct vring_desc *to, const struct desc *d, unsigned int n,
		       unsigned int first)
{
	for (unsigned int i = 0; i < n; i++)
		to[i] = (struct vring_desc){
			.addr = d[i].addr, .len = d[i].len,
			.flags = d[i].flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0),
			.next = i + 1 < n ? first + i + 1 : 0,
		};
}

static void split_put(struct guest *g, struct queue *q, unsigned int slot, const struct desc *d,
		      unsigned int n, bool indirect)
{
	struct vring_desc *desc = guest_at(g, q->desc);
	struct vring_avail *avail = guest_at(g, q->driver);
	unsigned int head = split_head(slot), at = q->put % g->mem->num;
	struct vring_desc *table = guest_at(g, slot_table(q, slot));

	if (indirect) {
		split_list(table, d, n, 0);
		guest_wrote(g, table, n * sizeof(*table));
		desc[head] = (struct vring_desc){
			.addr = slot_table(q, slot), .len = n * sizeof(*table),
			.flags = VRING_DESC_F_INDIRECT,
		};
		n = 1;
	} else {
		split_list(&desc[head], d, n, head);
	}
	guest_wrote(g, &desc[head], n * sizeof(*desc));
	avail->ring[at] = head;
	guest_wrote(g, &avail->ring[at], sizeof(avail->ring[at]));
	q->put++;
	store_release(&avail->idx, q->put);
	guest_wrote(g, avail, sizeof(*avail));
}

static bool split_used(struct guest *g, struct queue *q, struct entry *e)
{
	struct vring_used *used = guest_at(g, q->device);
	const struct vring_used_elem *elem = &used->ring[q->got % g->mem->num];

	if (load_acquire(&used->idx) == q->got)
		return false;
	*e = (struct entry){ elem->id, elem->len };
	return true;
}

static void split_skip(struct guest *g, struct queue *q, unsigned int descs)
{
	(void)g;
	(void)descs;
	q->got++;
}

static bool split_need_kick(struct guest *g, struct queue *q)
{
	struct vring_used *used = guest_at(g, q->device);
	uint16_t event, old = q->kicked;

	q->kicked = q->put;
	full_barrier();
	if (!g->mem->event_idx)
		return !(load_acquire(&used->flags) & VRING_USED_F_NO_NOTIFY);
	event = load_acquire((uint16_t *)&used->ring[g->mem->num]);
	return vring_need_event(event, q->put, old);
}

static void split_calls(struct guest *g, struct queue *q, bool on)
{
	struct vring_avail *avail = guest_at(g, q->driver);
	uint16_t *event = &avail->ring[g->mem->num];

	if (g->mem->event_idx) {
		/* Off: as far away as can be. */
		store_release(event, (uint16_t)(on ? q->got : q->got + 0x8000));
		guest_wrote(g, event, sizeof(*event));
	} else {
		store_release(&avail->flags, on ? 0 : VRING_AVAIL_F_NO_INTERRUPT);
		guest_wrote(g, avail, sizeof(*avail));
	}
	full_barrier();
}

const struct ring_ops split_ops = {
	.desc_size = split_desc_size,
	.driver_size = split_driver_size,
	.device_size = split_device_size,
	.fresh = split_fresh,
	.head = split_head,
	.put = split_put,
	.used = split_used,
	.skip = split_skip,
	.need_kick = split_need_kick,
	.calls = split_calls,
};
