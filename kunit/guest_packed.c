// SPDX-License-Identifier: GPL-2.0
/* The driver's side of a packed ring, for tests. */
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <asm/barrier.h>
#include <asm/byteorder.h>
#include <linux/virtio_byteorder.h>
#include <uapi/linux/vhost_inflight.h>

#include "guest.h"

#define AVAIL		BIT(VRING_PACKED_DESC_F_AVAIL)
#define USED		BIT(VRING_PACKED_DESC_F_USED)
#define WRAP		BIT(VRING_PACKED_EVENT_F_WRAP_CTR)

u16 guest_avail_flags(bool wrap)
{
	return wrap ? AVAIL : USED;
}

u16 guest_used_slot_flags(bool wrap)
{
	return wrap ? AVAIL | USED : 0;
}

static struct guest_slot guest_at(const struct guest *g, unsigned int slots)
{
	return (struct guest_slot){ .i = slots % g->num, .wrap = !(slots / g->num & 1) };
}

static void guest_advance(const struct guest *g, struct guest_slot *at, unsigned int n)
{
	for (; n; n--)
		if (++at->i == g->num) {
			at->i = 0;
			at->wrap = !at->wrap;
		}
}

static u16 guest_event(struct guest_slot at)
{
	return at.i | (at.wrap ? WRAP : 0);
}

static void guest_packed_init(struct guest *g, u16 start, struct virtq_pos *pos)
{
	struct guest_slot at = guest_at(g, start);
	unsigned int i;

	g->ring = guest_area(g, 16 * g->num);
	g->driver = guest_area(g, 4);
	g->device = guest_area(g, 4);
	/* As if all that was ever made available had come back. */
	for (i = 0; i < g->num; i++)
		guest_set_slot_flags(g, i, guest_used_slot_flags(i < at.i ? at.wrap : !at.wrap));
	g->at_put = at;
	g->at_exposed = at;
	g->at_reaped = at;
	g->nr_ids = g->num;
	for (i = 0; i < g->num; i++)
		g->ids[i] = g->num - 1 - i;
	g->cfg.desc = g->ring;
	g->cfg.driver = g->driver;
	g->cfg.device = g->device;
	pos->avail = at.i;
	pos->used = at.i;
	pos->avail_wrap = at.wrap;
	pos->used_wrap = at.wrap;
}

static void guest_packed_desc(struct vring_packed_desc *d, u64 addr, u32 len, u16 id)
{
	d->addr = cpu_to_le64(addr);
	d->len = cpu_to_le32(len);
	d->id = cpu_to_le16(id);
}

void guest_set_slot_flags(struct guest *g, unsigned int i, u16 flags)
{
	/* The rest of the descriptor before its flags; partner: virtq_packed_fetch(). */
	smp_store_release(&g->ring[i].flags, cpu_to_le16(flags));
}

void guest_slot(struct guest *g, unsigned int i, u64 addr, u32 len, u16 id, u16 flags)
{
	guest_packed_desc(&g->ring[i], addr, len, id);
	guest_set_slot_flags(g, i, flags);
}

u16 guest_slot_flags(const struct guest *g, unsigned int i)
{
	return le16_to_cpu(READ_ONCE(g->ring[i].flags));
}

u16 guest_slot_id(const struct guest *g, unsigned int i)
{
	return le16_to_cpu(READ_ONCE(g->ring[i].id));
}

u32 guest_slot_len(const struct guest *g, unsigned int i)
{
	return le32_to_cpu(READ_ONCE(g->ring[i].len));
}

static u16 guest_seg_flags(const struct virtq_seg *seg)
{
	return seg->flags & VIRTQ_SEG_WRITE ? VRING_DESC_F_WRITE : 0;
}

static void guest_packed_table(struct guest *g, u16 id, const struct virtq_seg *segs,
			       unsigned int nr)
{
	struct vring_packed_desc *table;
	unsigned int i;

	table = guest_ptr(g, guest_table(g, id), g->max_table * sizeof(*table));
	for (i = 0; i < nr; i++) {
		/* The device must ignore the id, and all flags but WRITE. */
		guest_packed_desc(&table[i], segs[i].addr, segs[i].len, 0xabcd + i);
		table[i].flags = cpu_to_le16(guest_seg_flags(&segs[i]) |
					     (i & 1 ? 0xffff & ~VRING_DESC_F_WRITE : 0));
	}
}

static int guest_packed_add(struct guest *g, const struct virtq_seg *segs, unsigned int slots,
			    unsigned int in_table)
{
	u16 id = g->ids[--g->nr_ids];
	unsigned int i;

	/* A list is all in the ring or all in a table. */
	KUNIT_ASSERT_TRUE(g->test, !in_table || slots == 1);
	g->nr_free -= slots;
	for (i = 0; i < slots; i++, guest_advance(g, &g->at_put, 1)) {
		bool last = i == slots - 1;
		u16 flags = guest_avail_flags(g->at_put.wrap);

		if (in_table) {
			/* The device must ignore WRITE here. */
			flags |= VRING_DESC_F_INDIRECT | (in_table & 1 ? VRING_DESC_F_WRITE : 0);
			guest_packed_table(g, id, segs, in_table);
			guest_packed_desc(&g->ring[g->at_put.i], guest_table(g, id),
					  in_table * sizeof(*g->ring), id);
		} else {
			flags |= guest_seg_flags(&segs[i]) | (last ? 0 : VRING_DESC_F_NEXT);
			/* The id counts in the last one only. */
			guest_packed_desc(&g->ring[g->at_put.i], segs[i].addr, segs[i].len,
					  last ? id : 0xffff - i);
		}
		/* The first descriptor that is not exposed hides the others. */
		if (g->at_put.i == g->at_exposed.i)
			g->hidden_flags = flags;
		else
			guest_set_slot_flags(g, g->at_put.i, flags);
	}
	return id;
}

static bool guest_packed_hides(const struct guest *g)
{
	return g->at_put.i != g->at_exposed.i || g->at_put.wrap != g->at_exposed.wrap;
}

static void guest_packed_expose(struct guest *g)
{
	if (!guest_packed_hides(g))
		return;
	guest_set_slot_flags(g, g->at_exposed.i, g->hidden_flags);
	g->at_exposed = g->at_put;
}

/* Is @event among the slots from @old up to, and not including, @new? */
static bool guest_passed(const struct guest *g, u16 event, struct guest_slot old,
			 struct guest_slot new)
{
	for (; old.i != new.i || old.wrap != new.wrap; guest_advance(g, &old, 1))
		if (guest_event(old) == event)
			return true;
	return false;
}

static bool guest_packed_kick(struct guest *g)
{
	struct guest_slot old = g->at_exposed;

	if (!guest_packed_hides(g))
		return false;
	guest_packed_expose(g);
	/* The flags before the device's wish; partner: virtq_packed_enable_kick(). */
	smp_mb();
	switch (guest_event_flags(g)) {
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		return true;
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	default:
		KUNIT_ASSERT_EQ(g->test, guest_event_flags(g), VRING_PACKED_EVENT_FLAG_DESC);
		KUNIT_ASSERT_TRUE(g->test, g->event_idx);
		return guest_passed(g, guest_event_desc(g), old, g->at_exposed);
	}
}

static bool guest_packed_peek(struct guest *g, struct guest_used *used)
{
	struct vring_packed_desc *d = &g->ring[g->at_reaped.i];
	u16 flags;

	/* The flags before all else; partner: virtq_packed_publish(). */
	flags = le16_to_cpu(smp_load_acquire(&d->flags));
	if ((flags & (AVAIL | USED)) != guest_used_slot_flags(g->at_reaped.wrap))
		return false;
	KUNIT_EXPECT_FALSE(g->test, flags & ~(AVAIL | USED | VRING_DESC_F_WRITE |
					      VIRTQ_DESC_F_FLUSH));
	used->flush = flags & VIRTQ_DESC_F_FLUSH;
	used->id = le16_to_cpu(READ_ONCE(d->id));
	/* The length counts if something was written. */
	used->len = flags & VRING_DESC_F_WRITE ? le32_to_cpu(READ_ONCE(d->len)) : 0;
	return true;
}

static void guest_packed_done(struct guest *g, u16 id)
{
	KUNIT_ASSERT_TRUE(g->test, g->direct[id] > 0);
	guest_advance(g, &g->at_reaped, g->direct[id]);
	g->nr_free += g->direct[id];
	g->ids[g->nr_ids++] = id;
}

static void guest_packed_want_call(struct guest *g, int ahead)
{
	struct guest_slot at = g->at_reaped;

	/* Two laps are none, so going back is going on. */
	guest_advance(g, &at, ahead < 0 ? 2 * g->num + ahead : ahead);
	if (g->event_idx)
		guest_set_event(g, guest_event(at), VRING_PACKED_EVENT_FLAG_DESC);
	else
		guest_set_event(g, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
	/* The wish before the next descriptor; partner: virtq_packed_need_call(). */
	smp_mb();
}

static void guest_packed_refuse_call(struct guest *g)
{
	guest_set_event(g, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}

static bool guest_packed_kick_wanted_next(const struct guest *g)
{
	return guest_event_flags(g) == VRING_PACKED_EVENT_FLAG_DESC &&
	       guest_event_desc(g) == guest_event(g->at_exposed);
}

static void guest_packed_raw(struct guest *g, u16 id, u64 addr, u32 len, u16 flags)
{
	guest_slot(g, g->at_put.i, addr, len, id, flags | guest_avail_flags(g->at_put.wrap));
	guest_advance(g, &g->at_put, 1);
	g->at_exposed = g->at_put;
}

static void guest_packed_raw_undo(struct guest *g)
{
	/* Two laps but one slot. */
	guest_advance(g, &g->at_put, 2 * g->num - 1);
	g->at_exposed = g->at_put;
	guest_set_slot_flags(g, g->at_put.i, guest_used_slot_flags(!g->at_put.wrap));
}

static void guest_packed_move(struct guest *g)
{
	g->ring = guest_move_area(g, g->ring, 16 * g->num);
	g->driver = guest_move_area(g, g->driver, 4);
	g->device = guest_move_area(g, g->device, 4);
	g->cfg.desc = g->ring;
	g->cfg.driver = g->driver;
	g->cfg.device = g->device;
}

static void guest_packed_pos(const struct guest *g, struct virtq_pos *pos)
{
	pos->avail = g->at_exposed.i;
	pos->avail_wrap = g->at_exposed.wrap;
	pos->used = g->at_reaped.i;
	pos->used_wrap = g->at_reaped.wrap;
}

void guest_set_event(struct guest *g, u16 desc, u16 flags)
{
	WRITE_ONCE(g->driver->off_wrap, cpu_to_le16(desc));
	/* desc before the flags that make it count; partner: virtq_packed_need_call(). */
	smp_store_release(&g->driver->flags, cpu_to_le16(flags));
}

u16 guest_event_flags(const struct guest *g)
{
	/* The flags before desc; partner: virtq_packed_enable_kick(). */
	return le16_to_cpu(smp_load_acquire(&g->device->flags));
}

u16 guest_event_desc(const struct guest *g)
{
	return le16_to_cpu(READ_ONCE(g->device->off_wrap));
}

const struct guest_layout guest_packed = {
	.init		= guest_packed_init,
	.add		= guest_packed_add,
	.kick		= guest_packed_kick,
	.expose		= guest_packed_expose,
	.peek		= guest_packed_peek,
	.done		= guest_packed_done,
	.want_call	= guest_packed_want_call,
	.refuse_call	= guest_packed_refuse_call,
	.kick_wanted_next = guest_packed_kick_wanted_next,
	.raw		= guest_packed_raw,
	.raw_undo	= guest_packed_raw_undo,
	.move		= guest_packed_move,
	.pos		= guest_packed_pos,
};
