// SPDX-License-Identifier: GPL-2.0
/*
 * Packed rings as a driver that keeps the rules uses them. Who wakes whom is in
 * virtq_packed_notify_test.c, what breaks the rules in virtq_packed_hostile_test.c.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "guest.h"

static struct guest *new_ring(struct kunit *test, u16 num, u16 start, bool event_idx)
{
	return guest_new(test, &(struct guest_opts){ .layout = VIRTQ_PACKED, .num = num,
						      .start = start, .event_idx = event_idx,
						      .indirect = true });
}

/* Adds a chain of @n writable segments, not exposed. */
static u16 add_chain(struct guest *g, unsigned int n)
{
	struct virtq_seg seg[8];
	int id;

	guest_make_segs(seg, 0, n, 7);
	id = guest_add(g, seg, n, n);
	KUNIT_ASSERT_TRUE(g->test, id >= 0);
	return id;
}

/* One buffer of @n descriptors from the driver through the device back to the driver. */
static void round_trip_n(struct guest *g, unsigned int n)
{
	struct virtq_chain chain;
	u16 id, sent = add_chain(g, n);
	u32 len;

	guest_expose(g);
	KUNIT_ASSERT_EQ(g->test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(g->test, chain.id, sent);
	KUNIT_EXPECT_EQ(g->test, chain.ndesc, n);
	KUNIT_EXPECT_EQ(g->test, guest_reap(g, &id, &len), 0);
	guest_publish(g, &chain, sent + 1);
	KUNIT_ASSERT_EQ(g->test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(g->test, id, sent);
	KUNIT_EXPECT_EQ(g->test, len, (u32)sent + 1);
}

static void round_trip(struct guest *g)
{
	round_trip_n(g, 1);
}

/* The driver's own account of where both sides are, when nothing is in flight. */
static void expect_pos(struct guest *g)
{
	struct virtq_pos pos;

	virtq_get_pos(&g->vq, &pos);
	KUNIT_EXPECT_EQ(g->test, pos.avail, g->at_exposed.i);
	KUNIT_EXPECT_EQ(g->test, pos.avail_wrap, g->at_exposed.wrap);
	KUNIT_EXPECT_EQ(g->test, pos.used, g->at_reaped.i);
	KUNIT_EXPECT_EQ(g->test, pos.used_wrap, g->at_reaped.wrap);
}

struct init_row {
	const char *name;
	int expect;
	u16 num;
	struct virtq_pos pos;
	unsigned int desc, driver, device;	/* bytes off their alignment */
	u16 max_segs;
	bool no_desc, no_driver, no_device;
};

#define START	{ 0, 0, true, true }

static const struct init_row init_rows[] = {
	{ "ok",				0,		8,	START },
	{ "smallest",			0,		1,	START },
	{ "largest",			0,		1024,	START },
	{ "three",			0,		3,	START },
	{ "a thousand",			0,		1000,	START },
	{ "segs for just the ring",	0,		5,	START, .max_segs = 5 },
	{ "anywhere",			0,		5,	{ 4, 2, false, false } },
	{ "avail in the next lap",	0,		5,	{ 1, 2, false, true } },
	{ "whole ring taken",		0,		5,	{ 3, 3, true, false } },
	{ "no size",			-EINVAL,	0,	START },
	{ "too large",			-EINVAL,	1025,	START },
	{ "avail behind the ring",	-EINVAL,	5,	{ 5, 0, true, true } },
	{ "used behind the ring",	-EINVAL,	5,	{ 0, 5, true, false } },
	{ "avail at 32768",		-EINVAL,	5,	{ 0x8000, 0, true, true } },
	{ "used ahead of avail",	-EINVAL,	5,	{ 1, 2, true, true } },
	{ "more taken than the ring",	-EINVAL,	5,	{ 3, 2, true, false } },
	{ "too few segs",		-EINVAL,	5,	START, .max_segs = 4 },
	{ "desc at 8",			-EINVAL,	8,	START, .desc = 8 },
	{ "driver at 2",		-EINVAL,	8,	START, .driver = 2 },
	{ "driver at 4",		0,		8,	START, .driver = 4 },
	{ "device at 2",		-EINVAL,	8,	START, .device = 2 },
	{ "device at 4",		0,		8,	START, .device = 4 },
	{ "no desc",			-EINVAL,	8,	START, .no_desc = true },
	{ "no driver",			-EINVAL,	8,	START, .no_driver = true },
	{ "no device",			-EINVAL,	8,	START, .no_device = true },
};

static void init_checks(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(init_rows); i++) {
		const struct init_row *row = &init_rows[i];
		struct guest *g = new_ring(test, 8, 0, true);
		struct virtq_cfg cfg = g->cfg;
		struct virtq_pos got;

		cfg.num = row->num;
		cfg.max_segs = row->max_segs ?: VIRTQ_MAX_NUM;
		cfg.desc = row->no_desc ? NULL : (char *)cfg.desc + row->desc;
		cfg.driver = row->no_driver ? NULL : (char *)cfg.driver + row->driver;
		cfg.device = row->no_device ? NULL : (char *)cfg.device + row->device;
		KUNIT_EXPECT_EQ_MSG(test, virtq_init(&g->vq, &cfg, &row->pos), row->expect, "%s",
				    row->name);
		if (row->expect)
			continue;
		virtq_get_pos(&g->vq, &got);
		KUNIT_EXPECT_EQ(test, got.avail, row->pos.avail);
		KUNIT_EXPECT_EQ(test, got.used, row->pos.used);
		KUNIT_EXPECT_EQ(test, got.avail_wrap, row->pos.avail_wrap);
		KUNIT_EXPECT_EQ(test, got.used_wrap, row->pos.used_wrap);
	}
}

/* Every shape up to 5 readable and 5 writable segments, in the ring and in a table. */
static void shapes(struct kunit *test)
{
	struct guest *g = new_ring(test, 13, 0, false);
	unsigned int nr_out, nr_in, table, nr;
	struct virtq_chain chain;
	struct virtq_seg segs[10];
	u32 salt = 0, len;
	u16 id;
	int sent;

	for (nr_out = 0; nr_out <= 5; nr_out++)
		for (nr_in = 0; nr_in <= 5; nr_in++)
			for (table = 0; table < 2; table++) {
				nr = nr_out + nr_in;
				if (!nr)
					continue;
				guest_make_segs(segs, nr_out, nr_in, ++salt);
				sent = guest_add(g, segs, nr, table ? 0 : nr);
				KUNIT_ASSERT_TRUE(test, sent >= 0);
				guest_expose(g);
				KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
				guest_expect_chain(g, &chain, sent, table ? 1 : nr, segs, nr_out,
						   nr_in);
				KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
				guest_publish(g, &chain, salt);
				KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
				KUNIT_EXPECT_EQ(test, id, sent);
				KUNIT_EXPECT_EQ(test, len, salt);
				expect_pos(g);
			}
}

/* A chain may take the whole ring, from any slot on; its id is in the last descriptor. */
static void longest_direct(struct kunit *test)
{
	const unsigned int num = 1000, first = 399;
	struct guest *g = guest_new(test, &(struct guest_opts){ .layout = VIRTQ_PACKED, .num = num,
								 .start = first, .max_segs = num });
	struct virtq_chain chain;
	struct virtq_pos pos;
	unsigned int i, at;

	for (i = num; i--;) {
		at = (first + i) % num;
		guest_slot(g, at, 0x1000 * i, i, i < num - 1 ? 0x7777 : 999,
			   guest_avail_flags(at >= first) | (i < num - 1 ? VRING_DESC_F_NEXT : 0));
	}
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.id, 999);
	KUNIT_EXPECT_EQ(test, chain.ndesc, num);
	KUNIT_ASSERT_EQ(test, chain.nr_segs, num);
	KUNIT_EXPECT_EQ(test, chain.nr_out, num);
	for (i = 0; i < num; i++) {
		KUNIT_EXPECT_EQ(test, chain.segs[i].addr, 0x1000 * i);
		KUNIT_EXPECT_EQ(test, chain.segs[i].len, i);
	}
	virtq_get_pos(&g->vq, &pos);
	KUNIT_EXPECT_EQ(test, pos.avail, first);
	KUNIT_EXPECT_FALSE(test, pos.avail_wrap);
	KUNIT_EXPECT_TRUE(test, pos.used_wrap);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
	KUNIT_EXPECT_TRUE(test, virtq_empty(&g->vq));
}

/* Linux fills a table of any length even on the smallest ring. */
static void table_longer_than_ring(struct kunit *test)
{
	const unsigned int nr = VIRTQ_MAX_NUM;
	struct guest *g = new_ring(test, 1, 0, false);
	u64 addr = guest_alloc(g, nr * sizeof(struct vring_desc));
	struct vring_desc *table = guest_ptr(g, addr, nr * sizeof(*table));
	struct virtq_chain chain;
	unsigned int i;

	/* An entry without flags, id and next is the same in both layouts. */
	for (i = 0; i < nr; i++)
		guest_desc(table, i, i, 1, 0, 0);
	guest_slot(g, 0, addr, nr * 16, 0, VRING_DESC_F_INDIRECT | guest_avail_flags(true));
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.ndesc, 1);
	KUNIT_ASSERT_EQ(test, chain.nr_segs, nr);
	KUNIT_EXPECT_EQ(test, chain.nr_out, nr);
	for (i = 0; i < nr; i++)
		KUNIT_EXPECT_EQ(test, chain.segs[i].addr, i);
}

/* The table is read once and is ours then: what the driver does to it later changes nothing. */
static void table_is_copied(struct kunit *test)
{
	struct guest *g = new_ring(test, 4, 0, false);
	struct virtq_chain chain;
	struct virtq_seg segs[6];
	int id;

	guest_make_segs(segs, 3, 3, 99);
	id = guest_add(g, segs, 6, 0);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, g->mem.reads, 1);
	KUNIT_EXPECT_EQ(test, g->mem.bytes, 6 * sizeof(struct vring_packed_desc));
	memset(guest_ptr(g, g->table[id], 16 * 6), 0xff, 16 * 6);
	memset(g->ring, 0xff, 16 * 4);
	guest_expect_chain(g, &chain, id, 1, segs, 3, 3);
}

static void describe_num(const u16 *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "num %u", *num);
}

static const u16 nums[] = { 1, 2, 3, 4, 5, 7, 8, 16, 63, 256, 1000, 1023, 1024 };

KUNIT_ARRAY_PARAM(num, nums, describe_num);

/* Whole rings: all made available, all fetched, all published at once in reverse; twice around. */
static void full_ring(struct kunit *test)
{
	const u16 *num = test->param_value;
	struct guest *g = new_ring(test, *num, *num / 2, true);
	struct virtq_done *done = kunit_kzalloc(test, *num * sizeof(*done), GFP_KERNEL);
	struct virtq_seg segs[1];
	struct virtq_chain chain;
	unsigned int round, i;
	u32 len;
	u16 id;

	KUNIT_ASSERT_NOT_NULL(test, done);
	for (round = 0; round < 5; round++) {
		for (i = 0; i < *num; i++) {
			guest_make_segs(segs, 0, 1, i + 1);
			KUNIT_ASSERT_TRUE(test, guest_add(g, segs, 1, 1) >= 0);
		}
		KUNIT_EXPECT_EQ(test, guest_add(g, segs, 1, 1), -ENOSPC);
		KUNIT_EXPECT_TRUE(test, virtq_empty(&g->vq));
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
		guest_expose(g);
		KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
		for (i = 0; i < *num; i++) {
			KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
			KUNIT_EXPECT_EQ(test, chain.segs[0].len, i + 1);
			done[*num - 1 - i].id = chain.id;
			done[*num - 1 - i].ndesc = chain.ndesc;
			done[*num - 1 - i].len = i;
		}
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
		KUNIT_EXPECT_TRUE(test, virtq_empty(&g->vq));
		KUNIT_EXPECT_EQ(test, guest_reap(g, &id, &len), 0);
		virtq_publish(&g->vq, done, *num);
		for (i = 0; i < *num; i++) {
			KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
			KUNIT_EXPECT_EQ(test, id, done[i].id);
			KUNIT_EXPECT_EQ(test, len, done[i].len);
		}
		KUNIT_EXPECT_EQ(test, guest_reap(g, &id, &len), 0);
		expect_pos(g);
	}
}

/* Chains of every length that fits, over and over: each slot is once the first, once the last. */
static void chains_around(struct kunit *test)
{
	const u16 *num = test->param_value;
	struct guest *g = new_ring(test, *num, 0, false);
	unsigned int i, n, max = min(*num, 5);

	for (i = 0; i < 3 * *num; i++)
		for (n = 1; n <= max; n++) {
			round_trip_n(g, n);
			expect_pos(g);
		}
}

/* Two laps' worth of chains of 1, 2 and 3, given back in another order than they came. */
static void out_of_order(struct kunit *test)
{
	static const unsigned int slots[] = { 2, 1, 3 }, order[] = { 2, 0, 1 };
	struct guest *g = new_ring(test, 7, 0, false);
	struct virtq_chain chain[3];
	struct virtq_done done[3];
	unsigned int round, i;
	u32 len;
	u16 id;

	for (round = 0; round < 30; round++) {
		for (i = 0; i < 3; i++)
			add_chain(g, slots[i]);
		guest_expose(g);
		for (i = 0; i < 3; i++) {
			KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain[i]), 1);
			KUNIT_EXPECT_EQ(test, chain[i].ndesc, slots[i]);
		}
		for (i = 0; i < 3; i++)
			done[i] = (struct virtq_done){ .id = chain[order[i]].id,
						       .ndesc = chain[order[i]].ndesc,
						       .len = round + i };
		virtq_publish(&g->vq, done, 2);
		virtq_publish(&g->vq, done + 2, 1);
		for (i = 0; i < 3; i++) {
			KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
			KUNIT_EXPECT_EQ(test, id, done[i].id);
			KUNIT_EXPECT_EQ(test, len, round + i);
		}
		KUNIT_EXPECT_EQ(test, guest_reap(g, &id, &len), 0);
		expect_pos(g);
	}
}

/* A buffer is given back in one slot; the others of its chain stay as the driver made them. */
static void used_slots(struct kunit *test)
{
	struct guest *g = new_ring(test, 5, 3, false);
	const u16 avail = guest_avail_flags(true), next = guest_avail_flags(false);
	struct virtq_chain a, b;
	struct virtq_done done[2];

	add_chain(g, 3);
	add_chain(g, 1);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &a), 1);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &b), 1);
	/* Nothing of the ring was touched so far. Slots 3, 4, 0 and 1. */
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, 3), avail | VRING_DESC_F_NEXT |
			VRING_DESC_F_WRITE);
	done[0] = (struct virtq_done){ .id = b.id, .ndesc = b.ndesc, .len = 0 };
	done[1] = (struct virtq_done){ .id = a.id, .ndesc = a.ndesc, .len = 9 };
	virtq_publish(&g->vq, done, 2);
	/* Nothing was written, so the length does not count. */
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, 3), guest_used_slot_flags(true));
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, 4),
			guest_used_slot_flags(true) | VRING_DESC_F_WRITE);
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, 0), next | VRING_DESC_F_WRITE);
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, 1), next | VRING_DESC_F_WRITE);
	/* Nothing to publish is nothing written. */
	virtq_publish(&g->vq, done, 0);
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, 2), guest_used_slot_flags(true));
}

/* The rings appear elsewhere with a buffer in flight and one not seen: nothing lost or repeated. */
static void rings_move(struct kunit *test)
{
	struct guest *g = new_ring(test, 5, 0, true);
	struct vring_packed_desc_event *driver, *device;
	struct virtq_chain first, second;
	struct vring_packed_desc *ring;
	u32 len;
	u16 id;

	add_chain(g, 2);
	add_chain(g, 1);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &first), 1);

	ring = guest_area(g, 16 * 5);
	driver = guest_area(g, 4);
	device = guest_area(g, 4);
	memcpy(ring, g->ring, 16 * 5);
	memset(g->ring, 0xff, 16 * 5);
	g->ring = ring;
	g->driver = driver;
	g->device = device;
	virtq_set_rings(&g->vq, ring, driver, device);

	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &second), 1);
	guest_publish(g, &second, 2);
	guest_publish(g, &first, 1);
	KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(test, id, second.id);
	KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(test, id, first.id);
	round_trip(g);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_EQ(test, guest_event_flags(g), VRING_PACKED_EVENT_FLAG_DESC);
}

/* Stopped and taken into service again from its position, the ring goes on where it was. */
static void stop_and_resume(struct kunit *test)
{
	struct guest *g = new_ring(test, 5, 0, true);
	struct virtq_pos pos;
	unsigned int i;

	for (i = 0; i < 40; i++) {
		round_trip_n(g, 1 + i % 3);
		expect_pos(g);
		virtq_get_pos(&g->vq, &pos);
		memset(&g->vq, 0xff, sizeof(g->vq));
		KUNIT_ASSERT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), 0);
		KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE(init_checks),
	KUNIT_CASE(shapes),
	KUNIT_CASE(longest_direct),
	KUNIT_CASE(table_longer_than_ring),
	KUNIT_CASE(table_is_copied),
	KUNIT_CASE_PARAM(full_ring, num_gen_params),
	KUNIT_CASE_PARAM(chains_around, num_gen_params),
	KUNIT_CASE(out_of_order),
	KUNIT_CASE(used_slots),
	KUNIT_CASE(rings_move),
	KUNIT_CASE(stop_and_resume),
	{}
};

static struct kunit_suite virtq_packed_suite = {
	.name = "virtq_packed",
	.test_cases = cases,
};

kunit_test_suite(virtq_packed_suite);
