// SPDX-License-Identifier: GPL-2.0
/* The driver's side of a split ring, for tests. */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/virtio_byteorder.h>
#include <asm/barrier.h>
#include <uapi/linux/vhost_inflight.h>

#include "guest.h"

#define FLUSH		(VIRTQ_USED_ELEM_F_FLUSH << 16)
#define le16(x)		__cpu_to_virtio16(true, x)
#define le32(x)		__cpu_to_virtio32(true, x)
#define le64(x)		__cpu_to_virtio64(true, x)
#define cpu16(x)	__virtio16_to_cpu(true, READ_ONCE(x))
#define cpu32(x)	__virtio32_to_cpu(true, READ_ONCE(x))

static void guest_split_init(struct guest *g, u16 start, struct virtq_pos *pos)
{
	unsigned int i;

	g->desc = guest_area(g, 16 * g->num);
	g->avail = guest_area(g, 6 + 2 * g->num);
	g->used = guest_area(g, 6 + 8 * g->num);
	g->put = start;
	g->exposed = start;
	g->reaped = start;
	g->avail->idx = le16(start);
	g->used->idx = le16(start);
	/* Chains go through the table in no order. 101 is odd: each descriptor once. */
	for (i = 0; i < g->num; i++)
		g->free[i] = (i * 101 + 7) % g->num;
	g->cfg.desc = g->desc;
	g->cfg.driver = g->avail;
	g->cfg.device = g->used;
	pos->avail = start;
	pos->used = start;
}

void guest_desc(struct vring_desc *table, unsigned int i, u64 addr, u32 len, u16 flags, u16 next)
{
	table[i].addr = le64(addr);
	table[i].len = le32(len);
	table[i].flags = le16(flags);
	table[i].next = le16(next);
}

void guest_put(struct guest *g, u16 head)
{
	g->avail->ring[g->put++ % g->num] = le16(head);
}

void guest_set_avail_idx(struct guest *g, u16 idx)
{
	/* Entries and descriptors before idx; partner: virtq_split_refill(). */
	smp_store_release(&g->avail->idx, le16(idx));
}

static void guest_split_expose(struct guest *g)
{
	g->exposed = g->put;
	guest_set_avail_idx(g, g->put);
}

static void guest_split_table(struct guest *g, u16 head, const struct virtq_seg *segs,
			      unsigned int nr)
{
	struct vring_desc *table;
	unsigned int i;

	table = guest_ptr(g, guest_table(g, head), g->max_table * sizeof(*table));
	/* It begins with the first, and may go on anywhere: backwards. */
	for (i = 0; i < nr; i++) {
		u16 flags = i < nr - 1 ? VRING_DESC_F_NEXT : 0;

		if (segs[i].flags & VIRTQ_SEG_WRITE)
			flags |= VRING_DESC_F_WRITE;
		guest_desc(table, i ? nr - i : 0, segs[i].addr, segs[i].len, flags, nr - i - 1);
	}
}

static int guest_split_add(struct guest *g, const struct virtq_seg *segs, unsigned int slots,
			   unsigned int in_table)
{
	u16 head = g->free[g->nr_free - 1], at;
	unsigned int i;

	for (i = 0; i < slots; i++) {
		bool last = i == slots - 1;
		u16 next = last ? 0 : g->free[g->nr_free - 2];
		u16 flags = last ? 0 : VRING_DESC_F_NEXT;

		at = g->free[--g->nr_free];
		if (last && in_table) {
			/* The device must ignore WRITE here. */
			flags |= VRING_DESC_F_INDIRECT | (in_table & 1 ? VRING_DESC_F_WRITE : 0);
			guest_split_table(g, head, segs + i, in_table);
			guest_desc(g->desc, at, guest_table(g, head),
				   in_table * sizeof(struct vring_desc), flags, 0);
			continue;
		}
		if (segs[i].flags & VIRTQ_SEG_WRITE)
			flags |= VRING_DESC_F_WRITE;
		guest_desc(g->desc, at, segs[i].addr, segs[i].len, flags, next);
	}
	guest_put(g, head);
	return head;
}

static bool guest_split_kick(struct guest *g)
{
	u16 old = g->exposed;

	guest_split_expose(g);
	if (g->exposed == old)
		return false;
	/* avail->idx before the device's wish; partner: virtq_split_enable_kick(). */
	smp_mb();
	if (!g->event_idx)
		return !(guest_used_flags(g) & VRING_USED_F_NO_NOTIFY);
	return vring_need_event(guest_avail_event(g), g->exposed, old);
}

static bool guest_split_peek(struct guest *g, struct guest_used *used)
{
	struct vring_used_elem *elem;

	/* idx before the entries; partner: virtq_split_publish(). */
	if (__virtio16_to_cpu(true, smp_load_acquire(&g->used->idx)) == g->reaped)
		return false;
	elem = &g->used->ring[g->reaped % g->num];
	/* With VIRTIO_F_PARTIAL_ORDER: id and flags. */
	KUNIT_ASSERT_LT(g->test, cpu32(elem->id) & ~FLUSH, (u32)g->num);
	used->id = cpu32(elem->id);
	used->flush = cpu32(elem->id) & FLUSH;
	used->len = cpu32(elem->len);
	return true;
}

static void guest_split_done(struct guest *g, u16 id)
{
	unsigned int n;
	u16 at;

	g->reaped++;
	/* The descriptors are still linked as guest_split_add() left them. */
	for (at = id, n = g->direct[id]; n; n--) {
		KUNIT_ASSERT_LT(g->test, g->nr_free, g->num);
		g->free[g->nr_free++] = at;
		at = cpu16(g->desc[at].next);
	}
}

static void guest_split_want_call(struct guest *g, int ahead)
{
	if (g->event_idx)
		guest_set_used_event(g, g->reaped + ahead);
	else
		guest_set_avail_flags(g, 0);
	/* The wish before used->idx; partner: virtq_split_need_call(). */
	smp_mb();
}

static void guest_split_refuse_call(struct guest *g)
{
	if (g->event_idx)
		guest_set_used_event(g, g->reaped - 1);
	else
		guest_set_avail_flags(g, VRING_AVAIL_F_NO_INTERRUPT);
}

static bool guest_split_kick_wanted_next(const struct guest *g)
{
	return guest_avail_event(g) == g->exposed;
}

static void guest_split_raw(struct guest *g, u16 id, u64 addr, u32 len, u16 flags)
{
	guest_desc(g->desc, id, addr, len, flags, 0);
	guest_put(g, id);
	guest_split_expose(g);
}

static void guest_split_raw_undo(struct guest *g)
{
	g->put--;
	guest_split_expose(g);
}

static void guest_split_move(struct guest *g)
{
	g->desc = guest_move_area(g, g->desc, 16 * g->num);
	g->avail = guest_move_area(g, g->avail, 6 + 2 * g->num);
	g->used = guest_move_area(g, g->used, 6 + 8 * g->num);
	g->cfg.desc = g->desc;
	g->cfg.driver = g->avail;
	g->cfg.device = g->used;
}

static void guest_split_pos(const struct guest *g, struct virtq_pos *pos)
{
	pos->avail = g->exposed;
	pos->used = g->reaped;
}

u16 guest_used_idx(const struct guest *g)
{
	return cpu16(g->used->idx);
}

u16 guest_used_flags(const struct guest *g)
{
	return cpu16(g->used->flags);
}

u32 guest_elem_id(const struct guest *g, unsigned int i)
{
	return cpu32(g->used->ring[i].id);
}

u32 guest_elem_len(const struct guest *g, unsigned int i)
{
	return cpu32(g->used->ring[i].len);
}

u16 guest_avail_event(const struct guest *g)
{
	return cpu16(*(__virtio16 *)&g->used->ring[g->num]);
}

void guest_set_used_event(struct guest *g, u16 event)
{
	WRITE_ONCE(g->avail->ring[g->num], le16(event));
}

void guest_set_avail_flags(struct guest *g, u16 flags)
{
	WRITE_ONCE(g->avail->flags, le16(flags));
}

const struct guest_layout guest_split = {
	.init		= guest_split_init,
	.add		= guest_split_add,
	.kick		= guest_split_kick,
	.expose		= guest_split_expose,
	.peek		= guest_split_peek,
	.done		= guest_split_done,
	.want_call	= guest_split_want_call,
	.refuse_call	= guest_split_refuse_call,
	.kick_wanted_next = guest_split_kick_wanted_next,
	.raw		= guest_split_raw,
	.raw_undo	= guest_split_raw_undo,
	.move		= guest_split_move,
	.pos		= guest_split_pos,
};
