// SPDX-License-Identifier: GPL-2.0
/*
 * Rings of both layouts as a driver that keeps the rules uses them. What there is to one layout
 * alone is in virtq_split_test.c and virtq_packed_test.c, who wakes whom in virtq_notify_test.c,
 * the order of used buffers in virtq_order_test.c, what breaks the rules in virtq_hostile_test.c.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "guest.h"

KUNIT_ARRAY_PARAM(layout, guest_layouts, guest_describe_layout);

static enum virtq_layout this_layout(struct kunit *test)
{
	const enum virtq_layout *layout = test->param_value;

	return *layout;
}

static struct guest *new_ring(struct kunit *test, u16 split_num, u16 packed_num, u16 start)
{
	enum virtq_layout layout = this_layout(test);

	return guest_new(test, &(struct guest_opts){
		.layout = layout,
		.num = layout == VIRTQ_PACKED ? packed_num : split_num,
		.start = start,
		.indirect = true,
	});
}

enum { SPLIT = BIT(VIRTQ_SPLIT), PACKED = BIT(VIRTQ_PACKED), BOTH = SPLIT | PACKED };

struct init_row {
	const char *name;
	int expect;
	unsigned int layouts;
	u16 num;
	struct virtq_pos pos;
	unsigned int desc, driver, device;	/* bytes off their alignment */
	u16 max_segs;
	bool no_desc, no_driver, no_device, no_segs, no_table, no_layout;
};

#define START	{ 0, 0, true, true }

static const struct init_row init_rows[] = {
	{ "ok",				0,		BOTH,	8,	START },
	{ "smallest",			0,		BOTH,	1,	START },
	{ "largest",			0,		BOTH,	1024,	START },
	{ "three",			0,		PACKED,	3,	START },
	{ "a thousand",			0,		PACKED,	1000,	START },
	{ "segs for just the ring",	0,		BOTH,	8,	START, .max_segs = 8 },
	{ "no size",			-EINVAL,	BOTH,	0,	START },
	{ "not a power of two",		-EINVAL,	SPLIT,	12,	START },
	{ "too large",			-EINVAL,	BOTH,	2048,	START },
	{ "too large by one",		-EINVAL,	BOTH,	1025,	START },
	{ "too few segs",		-EINVAL,	BOTH,	8,	START, .max_segs = 7 },

	{ "anywhere",			0,		SPLIT,	8,	{ 3, 65534 } },
	{ "whole ring taken",		0,		SPLIT,	8,	{ 0, 0xfff8 } },
	{ "more taken than the ring",	-EINVAL,	SPLIT,	8,	{ 0, 0xfff7 } },
	{ "used ahead of avail",	-EINVAL,	SPLIT,	8,	{ 0, 1 } },
	{ "anywhere",			0,		PACKED,	5,	{ 4, 2, false, false } },
	{ "avail in the next lap",	0,		PACKED,	5,	{ 1, 2, false, true } },
	{ "whole ring taken",		0,		PACKED,	5,	{ 3, 3, true, false } },
	{ "avail behind the ring",	-EINVAL,	PACKED,	5,	{ 5, 0, true, true } },
	{ "used behind the ring",	-EINVAL,	PACKED,	5,	{ 0, 5, true, false } },
	{ "avail at 32768",		-EINVAL,	PACKED,	5,	{ 0x8000, 0, true, true } },
	{ "used ahead of avail",	-EINVAL,	PACKED,	5,	{ 1, 2, true, true } },
	{ "more taken than the ring",	-EINVAL,	PACKED,	5,	{ 3, 2, true, false } },

	{ "desc at 8",			-EINVAL,	BOTH,	8,	START, .desc = 8 },
	{ "driver at 1",		-EINVAL,	BOTH,	8,	START, .driver = 1 },
	{ "driver at 2",		0,		SPLIT,	8,	START, .driver = 2 },
	{ "driver at 2",		-EINVAL,	PACKED,	8,	START, .driver = 2 },
	{ "driver at 4",		0,		BOTH,	8,	START, .driver = 4 },
	{ "device at 2",		-EINVAL,	BOTH,	8,	START, .device = 2 },
	{ "device at 4",		0,		BOTH,	8,	START, .device = 4 },
	{ "no desc",			-EINVAL,	BOTH,	8,	START, .no_desc = true },
	{ "no driver",			-EINVAL,	BOTH,	8,	START, .no_driver = true },
	{ "no device",			-EINVAL,	BOTH,	8,	START, .no_device = true },
	{ "no segs",			-EINVAL,	BOTH,	8,	START, .no_segs = true },
	{ "no table",			-EINVAL,	BOTH,	8,	START, .no_table = true },
	{ "no such layout",		-EINVAL,	BOTH,	8,	START, .no_layout = true },
};

static void init_checks(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 8, 0);
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(init_rows); i++) {
		const struct init_row *row = &init_rows[i];
		struct virtq_cfg cfg = g->cfg;
		struct virtq_pos got;

		if (!(row->layouts & BIT(cfg.layout)))
			continue;
		cfg.layout = row->no_layout ? VIRTQ_NR_LAYOUTS : cfg.layout;
		cfg.num = row->num;
		cfg.max_segs = row->max_segs ?: VIRTQ_MAX_NUM;
		cfg.desc = row->no_desc ? NULL : (char *)cfg.desc + row->desc;
		cfg.driver = row->no_driver ? NULL : (char *)cfg.driver + row->driver;
		cfg.device = row->no_device ? NULL : (char *)cfg.device + row->device;
		cfg.segs = row->no_segs ? NULL : cfg.segs;
		cfg.table = row->no_table ? NULL : cfg.table;
		KUNIT_EXPECT_EQ_MSG(test, virtq_init(&g->vq, &cfg, &row->pos), row->expect, "%s",
				    row->name);
		if (row->expect)
			continue;
		virtq_get_pos(&g->vq, &got);
		KUNIT_EXPECT_EQ(test, got.avail, row->pos.avail);
		KUNIT_EXPECT_EQ(test, got.used, row->pos.used);
		KUNIT_EXPECT_EQ(test, got.avail_wrap,
				cfg.layout == VIRTQ_PACKED && row->pos.avail_wrap);
		KUNIT_EXPECT_EQ(test, got.used_wrap,
				cfg.layout == VIRTQ_PACKED && row->pos.used_wrap);
	}
}

/* A buffer with the first @direct segments in the ring and the others in a table. */
static void one_shape(struct guest *g, unsigned int nr_out, unsigned int nr_in,
		      unsigned int direct, u32 salt)
{
	struct kunit *test = g->test;
	struct virtq_chain chain;
	struct virtq_seg segs[10];
	u32 len;
	int sent;
	u16 id;

	guest_make_segs(segs, nr_out, nr_in, salt);
	sent = guest_add(g, segs, nr_out + nr_in, direct);
	KUNIT_ASSERT_TRUE(test, sent >= 0);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	guest_expect_chain(g, &chain, sent,
			   this_layout(test) == VIRTQ_PACKED ? max(direct, 1U) : 1, segs, nr_out,
			   nr_in);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
	guest_publish(g, &chain, salt);
	KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(test, id, sent);
	KUNIT_EXPECT_EQ(test, len, salt);
	guest_expect_idle(g);
}

/* Every shape up to 5 readable and 5 writable segments, cut anywhere into ring and table. */
static void shapes(struct kunit *test)
{
	struct guest *g = new_ring(test, 16, 13, 0);
	unsigned int nr_out, nr_in, direct;
	u32 salt = 0;

	for (nr_out = 0; nr_out <= 5; nr_out++)
		for (nr_in = 0; nr_in <= 5; nr_in++)
			for (direct = 0; direct <= nr_out + nr_in; direct++) {
				/* A packed buffer is either in the ring or in a table. */
				if (this_layout(test) == VIRTQ_PACKED && direct &&
				    direct < nr_out + nr_in)
					continue;
				if (nr_out + nr_in)
					one_shape(g, nr_out, nr_in, direct, ++salt);
			}
}

/* As many segments as fit, of a length of their own each, exposed; the device must see the same. */
static void long_buffer(struct guest *g, unsigned int nr, unsigned int direct, u16 ndesc)
{
	struct virtq_seg *segs = kunit_kzalloc(g->test, nr * sizeof(*segs), GFP_KERNEL);
	struct virtq_chain chain;
	int sent;

	KUNIT_ASSERT_NOT_NULL(g->test, segs);
	guest_make_segs(segs, nr, 0, 1);
	sent = guest_add(g, segs, nr, direct);
	KUNIT_ASSERT_TRUE(g->test, sent >= 0);
	guest_expose(g);
	KUNIT_ASSERT_EQ(g->test, virtq_fetch(&g->vq, &chain), 1);
	guest_expect_chain(g, &chain, sent, ndesc, segs, nr, 0);
	KUNIT_EXPECT_EQ(g->test, virtq_fetch(&g->vq, &chain), 0);
	KUNIT_EXPECT_TRUE(g->test, virtq_empty(&g->vq));
	guest_publish(g, &chain, 0);
	KUNIT_EXPECT_EQ(g->test, guest_reap(g, &(u16){ 0 }, &(u32){ 0 }), 1);
	guest_expect_idle(g);
}

/* A direct chain may take the whole ring, from anywhere on. */
static void longest_direct(struct kunit *test)
{
	const bool packed = this_layout(test) == VIRTQ_PACKED;
	const u16 num = packed ? 1000 : 256;
	struct guest *g = guest_new(test, &(struct guest_opts){ .layout = this_layout(test),
								 .num = num, .start = 399,
								 .max_segs = num });

	long_buffer(g, num, num, packed ? num : 1);
}

/* Linux fills a table of any length even on the smallest ring. */
static void table_longer_than_ring(struct kunit *test)
{
	u16 num;

	for (num = 1; num <= 2; num++) {
		struct guest_opts opts = { .layout = this_layout(test), .num = num,
					   .indirect = true, .max_table = VIRTQ_MAX_NUM };

		long_buffer(guest_new(test, &opts), VIRTQ_MAX_NUM, 0, 1);
	}
}

/* The table is read once and is ours then: what the driver does to it later changes nothing. */
static void table_is_copied(struct kunit *test)
{
	const unsigned int direct = this_layout(test) == VIRTQ_PACKED ? 0 : 1;
	struct guest *g = new_ring(test, 4, 4, 0);
	struct virtq_chain chain;
	struct virtq_seg segs[6];
	int id;

	guest_make_segs(segs, 3, 3, 99);
	id = guest_add(g, segs, 6, direct);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, g->mem.reads, 1);
	KUNIT_EXPECT_EQ(test, g->mem.bytes, (6 - direct) * sizeof(struct vring_desc));
	memset(guest_ptr(g, g->table[id], 16 * 6), 0xff, 16 * 6);
	memset(g->cfg.desc, 0xff, 16 * 4);
	guest_expect_chain(g, &chain, id, 1, segs, 3, 3);
}

struct ring {
	enum virtq_layout layout;
	u16 num, start;
};

static const struct ring rings[] = {
	{ VIRTQ_SPLIT, 1, 65535 }, { VIRTQ_SPLIT, 2, 65535 }, { VIRTQ_SPLIT, 4, 65534 },
	{ VIRTQ_SPLIT, 8, 65532 }, { VIRTQ_SPLIT, 16, 65528 }, { VIRTQ_SPLIT, 32, 65520 },
	{ VIRTQ_SPLIT, 64, 65504 }, { VIRTQ_SPLIT, 128, 65472 }, { VIRTQ_SPLIT, 256, 65408 },
	{ VIRTQ_SPLIT, 512, 65280 }, { VIRTQ_SPLIT, 1024, 65024 },
	{ VIRTQ_PACKED, 1, 0 }, { VIRTQ_PACKED, 2, 1 }, { VIRTQ_PACKED, 3, 1 },
	{ VIRTQ_PACKED, 4, 2 }, { VIRTQ_PACKED, 5, 2 }, { VIRTQ_PACKED, 7, 3 },
	{ VIRTQ_PACKED, 8, 4 }, { VIRTQ_PACKED, 16, 8 }, { VIRTQ_PACKED, 63, 31 },
	{ VIRTQ_PACKED, 256, 128 }, { VIRTQ_PACKED, 1000, 500 }, { VIRTQ_PACKED, 1023, 511 },
	{ VIRTQ_PACKED, 1024, 512 },
};

static void describe_ring(const struct ring *r, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s num %u",
		 r->layout == VIRTQ_PACKED ? "packed" : "split", r->num);
}

KUNIT_ARRAY_PARAM(ring, rings, describe_ring);

static struct guest *sized_ring(struct kunit *test)
{
	const struct ring *r = test->param_value;

	return guest_new(test, &(struct guest_opts){ .layout = r->layout, .num = r->num,
						      .start = r->start, .event_idx = true });
}

/* Whole rings: all made available, all fetched, all published at once in reverse; twice around. */
static void full_ring(struct kunit *test)
{
	struct guest *g = sized_ring(test);
	struct virtq_done *done = kunit_kzalloc(test, g->num * sizeof(*done), GFP_KERNEL);
	struct virtq_seg segs[1];
	struct virtq_chain chain;
	unsigned int round, i;
	u32 len;
	u16 id;

	KUNIT_ASSERT_NOT_NULL(test, done);
	for (round = 0; round < 5; round++) {
		for (i = 0; i < g->num; i++) {
			guest_make_segs(segs, 0, 1, i + 1);
			KUNIT_ASSERT_TRUE(test, guest_add(g, segs, 1, 1) >= 0);
		}
		KUNIT_EXPECT_EQ(test, guest_add(g, segs, 1, 1), -ENOSPC);
		KUNIT_EXPECT_TRUE(test, virtq_empty(&g->vq));
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
		guest_expose(g);
		KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
		for (i = 0; i < g->num; i++) {
			KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
			KUNIT_EXPECT_EQ(test, chain.segs[0].len, i + 1);
			done[g->num - 1 - i] = (struct virtq_done){ chain.id, chain.ndesc, i };
		}
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
		KUNIT_EXPECT_TRUE(test, virtq_empty(&g->vq));
		KUNIT_EXPECT_EQ(test, guest_reap(g, &id, &len), 0);
		/* Nothing is nothing new; a whole lap is. */
		KUNIT_EXPECT_FALSE(test, virtq_publish(&g->vq, done, 0));
		KUNIT_EXPECT_TRUE(test, virtq_publish(&g->vq, done, g->num));
		for (i = 0; i < g->num; i++) {
			KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
			KUNIT_EXPECT_EQ(test, id, done[i].id);
			KUNIT_EXPECT_EQ(test, len, done[i].len);
		}
		KUNIT_EXPECT_EQ(test, guest_reap(g, &id, &len), 0);
		guest_expect_idle(g);
	}
}

/* Chains of every length that fits, over and over: each slot is once the first, once the last. */
static void chains_around(struct kunit *test)
{
	struct guest *g = sized_ring(test);
	unsigned int i, n, max = min(g->num, 5);

	for (i = 0; i < 3 * g->num; i++)
		for (n = 1; n <= max; n++) {
			guest_round_trip(g, n);
			guest_expect_idle(g);
		}
}

/* Each index in turn, all the way round and a bit more. */
static void index_wrap(struct kunit *test)
{
	struct guest *g = new_ring(test, 4, 5, 3);
	unsigned int i;

	for (i = 0; i < 65536 + 10; i++)
		guest_round_trip(g, 1);
	guest_expect_idle(g);
}

/* Rounds of chains of 1, 2 and 3, given back in another order than they came. */
static void out_of_order(struct kunit *test)
{
	static const unsigned int slots[] = { 2, 1, 3 }, order[] = { 2, 0, 1 };
	struct guest *g = new_ring(test, 8, 7, 0);
	struct virtq_chain chain[3];
	struct virtq_done done[3];
	unsigned int round, i;
	u32 len;
	u16 id;

	for (round = 0; round < 30; round++) {
		for (i = 0; i < 3; i++)
			guest_send(g, slots[i]);
		guest_expose(g);
		for (i = 0; i < 3; i++) {
			KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain[i]), 1);
			KUNIT_EXPECT_EQ(test, chain[i].nr_segs, slots[i]);
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
		guest_expect_idle(g);
	}
}

/* The rings appear elsewhere with a buffer in flight and one not seen: nothing lost or repeated. */
static void rings_move(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 5, 0);
	struct virtq_chain first, second;
	u16 one, two, id;
	u32 len;

	one = guest_send(g, 2);
	two = guest_send(g, 1);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &first), 1);
	KUNIT_EXPECT_EQ(test, first.id, one);

	guest_move(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &second), 1);
	KUNIT_EXPECT_EQ(test, second.id, two);
	guest_publish(g, &second, 2);
	guest_publish(g, &first, 1);
	KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(test, id, two);
	KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(test, id, one);
	guest_round_trip(g, 1);
	/* And both sides' wishes are read and written where they are now. */
	virtq_need_call(&g->vq);
	guest_refuse_call(g);
	guest_round_trip(g, 1);
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	virtq_disable_kick(&g->vq);
	guest_send(g, 1);
	KUNIT_EXPECT_FALSE(test, guest_kick(g));
}

/* Stopped and taken into service again from its position, the ring goes on where it was. */
static void stop_and_resume(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 5, 65530);
	unsigned int i;

	for (i = 0; i < 40; i++) {
		guest_round_trip(g, 1 + i % 3);
		guest_expect_idle(g);
		guest_restart(g);
		KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(init_checks, layout_gen_params),
	KUNIT_CASE_PARAM(shapes, layout_gen_params),
	KUNIT_CASE_PARAM(longest_direct, layout_gen_params),
	KUNIT_CASE_PARAM(table_longer_than_ring, layout_gen_params),
	KUNIT_CASE_PARAM(table_is_copied, layout_gen_params),
	KUNIT_CASE_PARAM(full_ring, ring_gen_params),
	KUNIT_CASE_PARAM(chains_around, ring_gen_params),
	KUNIT_CASE_PARAM(index_wrap, layout_gen_params),
	KUNIT_CASE_PARAM(out_of_order, layout_gen_params),
	KUNIT_CASE_PARAM(rings_move, layout_gen_params),
	KUNIT_CASE_PARAM(stop_and_resume, layout_gen_params),
	{}
};

static struct kunit_suite virtq_suite = {
	.name = "virtq",
	.test_cases = cases,
};

kunit_test_suite(virtq_suite);
