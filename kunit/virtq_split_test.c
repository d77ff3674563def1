// SPDX-License-Identifier: GPL-2.0
/*
 * Split rings as a driver that keeps the rules uses them. What breaks the rules is in
 * virtq_hostile_test.c.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest.h"

static void publish_one(struct guest *g, u16 id, u32 len)
{
	struct virtq_done done = { .id = id, .ndesc = 1, .len = len };

	virtq_publish(&g->vq, &done, 1);
}

/* Adds a chain of one segment and exposes it. */
static u16 add_one(struct guest *g)
{
	struct virtq_seg seg = { .addr = GUEST_BASE, .len = 1, .flags = VIRTQ_SEG_WRITE };
	int head = guest_add(g, &seg, 1, 1);

	KUNIT_ASSERT_TRUE(g->test, head >= 0);
	guest_expose(g);
	return head;
}

/* One buffer from the driver through the device back to the driver. */
static void round_trip(struct guest *g)
{
	struct virtq_chain chain;
	u16 id, head = add_one(g);
	u32 len;

	KUNIT_ASSERT_EQ(g->test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(g->test, chain.id, head);
	publish_one(g, chain.id, head + 1);
	KUNIT_ASSERT_EQ(g->test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(g->test, id, head);
	KUNIT_EXPECT_EQ(g->test, len, (u32)head + 1);
}

struct init_row {
	const char *name;
	int expect;
	enum virtq_layout layout;
	u16 num, used, max_segs;
	unsigned int desc, driver, device;	/* bytes off their alignment */
	bool no_desc, no_driver, no_device, no_segs, no_table;
};

static const struct init_row init_rows[] = {
	{ "ok",				0,		.num = 8 },
	{ "smallest",			0,		.num = 1 },
	{ "largest",			0,		.num = 1024 },
	{ "segs for just the ring",	0,		.num = 8, .max_segs = 8 },
	{ "whole ring taken",		0,		.num = 8, .used = 0xfff8 },
	{ "no size",			-EINVAL,	.num = 0 },
	{ "not a power of two",		-EINVAL,	.num = 12 },
	{ "too large",			-EINVAL,	.num = 2048 },
	{ "more taken than the ring",	-EINVAL,	.num = 8, .used = 0xfff7 },
	{ "used ahead of avail",	-EINVAL,	.num = 8, .used = 1 },
	{ "too few segs",		-EINVAL,	.num = 8, .max_segs = 7 },
	{ "desc at 8",			-EINVAL,	.num = 8, .desc = 8 },
	{ "driver at 1",		-EINVAL,	.num = 8, .driver = 1 },
	{ "driver at 2",		0,		.num = 8, .driver = 2 },
	{ "device at 2",		-EINVAL,	.num = 8, .device = 2 },
	{ "device at 4",		0,		.num = 8, .device = 4 },
	{ "no desc",			-EINVAL,	.num = 8, .no_desc = true },
	{ "no driver",			-EINVAL,	.num = 8, .no_driver = true },
	{ "no device",			-EINVAL,	.num = 8, .no_device = true },
	{ "no segs",			-EINVAL,	.num = 8, .no_segs = true },
	{ "no table",			-EINVAL,	.num = 8, .no_table = true },
	{ "no such layout",		-EINVAL,	.num = 8, .layout = VIRTQ_NR_LAYOUTS },
};

static void init_checks(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(init_rows); i++) {
		const struct init_row *row = &init_rows[i];
		struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8,
									 .indirect = true });
		struct virtq_pos pos = { .used = row->used }, got;
		struct virtq_cfg cfg = g->cfg;

		cfg.layout = row->layout;
		cfg.num = row->num;
		cfg.max_segs = row->max_segs ?: VIRTQ_MAX_NUM;
		cfg.desc = row->no_desc ? NULL : (char *)cfg.desc + row->desc;
		cfg.driver = row->no_driver ? NULL : (char *)cfg.driver + row->driver;
		cfg.device = row->no_device ? NULL : (char *)cfg.device + row->device;
		cfg.segs = row->no_segs ? NULL : cfg.segs;
		cfg.table = row->no_table ? NULL : cfg.table;
		KUNIT_EXPECT_EQ_MSG(test, virtq_init(&g->vq, &cfg, &pos), row->expect, "%s",
				    row->name);
		if (row->expect)
			continue;
		virtq_get_pos(&g->vq, &got);
		KUNIT_EXPECT_EQ(test, got.avail, pos.avail);
		KUNIT_EXPECT_EQ(test, got.used, pos.used);
	}
}

/* Every shape up to 5 readable and 5 writable segments, cut into direct and table anywhere. */
static void shapes(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 16, .indirect = true });
	unsigned int nr_out, nr_in, direct;
	struct virtq_chain chain;
	struct virtq_seg segs[10];
	u32 salt = 0, len;
	u16 id;
	int head;

	for (nr_out = 0; nr_out <= 5; nr_out++)
		for (nr_in = 0; nr_in <= 5; nr_in++)
			for (direct = 0; direct <= nr_out + nr_in; direct++) {
				if (!(nr_out + nr_in))
					continue;
				guest_make_segs(segs, nr_out, nr_in, ++salt);
				head = guest_add(g, segs, nr_out + nr_in, direct);
				KUNIT_ASSERT_TRUE(test, head >= 0);
				guest_expose(g);
				KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
				guest_expect_chain(g, &chain, head, 1, segs, nr_out, nr_in);
				KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
				publish_one(g, head, salt);
				KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
				KUNIT_EXPECT_EQ(test, id, head);
				KUNIT_EXPECT_EQ(test, len, salt);
			}
}

/* A direct chain may take the whole ring, in any order of descriptors. */
static void longest_direct(struct kunit *test)
{
	const unsigned int num = 256;
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = num, .max_segs = num });
	struct virtq_chain chain;
	unsigned int i, at;

	for (i = 0, at = 7; i < num; i++, at = (at + 101) % num)
		guest_desc(g->desc, at, 0x1000 * i, i, i < num - 1 ? VRING_DESC_F_NEXT : 0,
			   i < num - 1 ? (at + 101) % num : 0xffff);
	guest_put(g, 7);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_ASSERT_EQ(test, chain.nr_segs, num);
	KUNIT_EXPECT_EQ(test, chain.nr_out, num);
	for (i = 0; i < num; i++) {
		KUNIT_EXPECT_EQ(test, chain.segs[i].addr, 0x1000 * i);
		KUNIT_EXPECT_EQ(test, chain.segs[i].len, i);
	}
}

/* Linux fills a table of any length even on the smallest ring, and chains need not be in order. */
static void table_longer_than_ring(struct kunit *test)
{
	const unsigned int nr = VIRTQ_MAX_NUM;
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 2, .indirect = true });
	u64 addr = guest_alloc(g, nr * sizeof(struct vring_desc));
	struct vring_desc *table = guest_ptr(g, addr, nr * sizeof(struct vring_desc));
	struct virtq_chain chain;
	unsigned int i, at;

	for (i = 0, at = 0; i < nr; i++, at = (at + 301) % nr)
		guest_desc(table, at, i, 1, i < nr - 1 ? VRING_DESC_F_NEXT : 0, (at + 301) % nr);
	guest_desc(g->desc, 1, addr, nr * sizeof(*table),
		   VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
	guest_put(g, 1);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_ASSERT_EQ(test, chain.nr_segs, nr);
	KUNIT_EXPECT_EQ(test, chain.nr_out, nr);
	for (i = 0; i < nr; i++)
		KUNIT_EXPECT_EQ(test, chain.segs[i].addr, i);
}

/* The table is read once and is ours then: what the driver does to it later changes nothing. */
static void table_is_copied(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 4, .indirect = true });
	struct virtq_chain chain;
	struct virtq_seg segs[6];
	int head;

	guest_make_segs(segs, 3, 3, 99);
	head = guest_add(g, segs, 6, 1);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, g->mem.reads, 1);
	KUNIT_EXPECT_EQ(test, g->mem.bytes, 5 * sizeof(struct vring_desc));
	memset(guest_ptr(g, g->table[head], 16 * 5), 0xff, 16 * 5);
	memset(g->desc, 0xff, 16 * 4);
	guest_expect_chain(g, &chain, head, 1, segs, 3, 3);
}

static void describe_num(const u16 *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "num %u", *num);
}

static const u16 nums[] = { 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024 };

KUNIT_ARRAY_PARAM(num, nums, describe_num);

/* Whole rings: all made available, all fetched, all published at once in reverse; twice around. */
static void full_ring(struct kunit *test)
{
	const u16 *num = test->param_value;
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = *num, .event_idx = true,
								 .start = 65536 - *num / 2 });
	struct virtq_done *done = kunit_kzalloc(test, *num * sizeof(*done), GFP_KERNEL);
	struct virtq_seg segs[1];
	struct virtq_chain chain;
	unsigned int round, i;
	struct virtq_pos pos;
	u32 len;
	u16 id;

	KUNIT_ASSERT_NOT_NULL(test, done);
	for (round = 0; round < 4; round++) {
		for (i = 0; i < *num; i++) {
			guest_make_segs(segs, 0, 1, i + 1);
			KUNIT_ASSERT_TRUE(test, guest_add(g, segs, 1, 1) >= 0);
		}
		KUNIT_EXPECT_EQ(test, guest_add(g, segs, 1, 1), -ENOSPC);
		KUNIT_EXPECT_TRUE(test, virtq_empty(&g->vq));
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
		KUNIT_EXPECT_EQ(test, guest_used_idx(g), g->reaped);
		virtq_publish(&g->vq, done, *num);
		KUNIT_EXPECT_EQ(test, guest_used_idx(g), (u16)(g->reaped + *num));
		for (i = 0; i < *num; i++) {
			KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
			KUNIT_EXPECT_EQ(test, id, done[i].id);
			KUNIT_EXPECT_EQ(test, len, done[i].len);
		}
		KUNIT_EXPECT_EQ(test, guest_reap(g, &id, &len), 0);
	}
	virtq_get_pos(&g->vq, &pos);
	KUNIT_EXPECT_EQ(test, pos.avail, (u16)(65536 - *num / 2 + 4 * *num));
	KUNIT_EXPECT_EQ(test, pos.used, pos.avail);
}

/* Each index in turn, all the way round and a bit more. */
static void index_wrap(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 4, .start = 3 });
	unsigned int i;

	for (i = 0; i < 65536 + 10; i++)
		round_trip(g);
	KUNIT_EXPECT_EQ(test, guest_used_idx(g), 13);
}

/* The available index is looked at only when the last look is used up. */
static void avail_idx_cached(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8 });
	struct virtq_chain chain;

	add_one(g);
	add_one(g);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	guest_set_avail_idx(g, 100);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -EINVAL);
}

static void call_by_flag(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8 });

	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	round_trip(g);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	guest_set_avail_flags(g, VRING_AVAIL_F_NO_INTERRUPT);
	round_trip(g);
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	guest_set_avail_flags(g, 0xfffe);
	round_trip(g);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
}

/*
 * By index: the driver is notified iff the entry it named is among those published since the last
 * question. All batches, all events around them, across the wrap of the index. The flag means
 * nothing.
 */
static void call_by_event(struct kunit *test)
{
	const unsigned int num = 4;
	struct guest *g;
	unsigned int start, n, i;
	int off;

	g = guest_new(test, &(struct guest_opts){ .num = num, .event_idx = true, .start = 65500 });
	guest_set_avail_flags(g, VRING_AVAIL_F_NO_INTERRUPT);
	for (start = 0; start < 80; start++)
		for (n = 1; n <= num; n++)
			for (off = -6; off <= 6; off++) {
				u16 old = guest_used_idx(g);

				guest_set_used_event(g, old + off);
				for (i = 0; i < n; i++)
					round_trip(g);
				KUNIT_EXPECT_EQ(test, virtq_need_call(&g->vq),
						off >= 0 && off < (int)n);
				KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
			}
}

/* Several batches before the question: it is about all of them. */
static void call_covers_all(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8, .event_idx = true });

	guest_set_used_event(g, 0);
	round_trip(g);
	round_trip(g);
	round_trip(g);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
	round_trip(g);
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
}

static void kick_by_flag(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8 });
	struct virtq_chain chain;

	KUNIT_EXPECT_EQ(test, guest_used_flags(g), 0);
	virtq_disable_kick(&g->vq);
	KUNIT_EXPECT_EQ(test, guest_used_flags(g), VRING_USED_F_NO_NOTIFY);
	add_one(g);
	KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_EQ(test, guest_used_flags(g), 0);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
}

/* By index: flags stay 0, one kick for the next buffer and none for those that follow it. */
static void kick_by_event(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8, .event_idx = true,
								 .start = 65534 });
	struct virtq_seg seg = { .len = 1 };
	struct virtq_chain chain;
	unsigned int round;

	for (round = 0; round < 2; round++) {
		KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
		KUNIT_EXPECT_EQ(test, guest_avail_event(g), (u16)(65534 + 3 * round));
		guest_add(g, &seg, 1, 1);
		KUNIT_EXPECT_TRUE(test, guest_kick(g));
		virtq_disable_kick(&g->vq);
		KUNIT_EXPECT_EQ(test, guest_used_flags(g), 0);
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
		publish_one(g, chain.id, 0);
		guest_add(g, &seg, 1, 1);
		KUNIT_EXPECT_FALSE(test, guest_kick(g));
		/* It slipped in: nobody kicks for it. */
		KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
		publish_one(g, chain.id, 0);
		/* A batch of buffers: one kick. */
		KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
		guest_add(g, &seg, 1, 1);
		KUNIT_EXPECT_TRUE(test, guest_kick(g));
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
		publish_one(g, chain.id, 0);
	}
}

/* Asking for kicks with buffers that were seen and not yet fetched says so. */
static void kick_with_backlog(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8, .event_idx = true });
	struct virtq_chain chain;

	add_one(g);
	add_one(g);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
}

/* The rings appear elsewhere with a buffer in flight and one seen: nothing is lost or repeated. */
static void rings_move(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8 });
	struct vring_avail *avail = guest_ptr(g, guest_alloc(g, 6 + 2 * 8), 6 + 2 * 8);
	struct vring_used *used = guest_ptr(g, guest_alloc(g, 6 + 8 * 8), 6 + 8 * 8);
	struct vring_desc *desc = guest_ptr(g, guest_alloc(g, 16 * 8), 16 * 8);
	struct virtq_chain chain;
	u16 first, second, id;
	u32 len;

	first = add_one(g);
	second = add_one(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.id, first);

	memcpy(desc, g->desc, 16 * 8);
	memcpy(avail, g->avail, 6 + 2 * 8);
	memcpy(used, g->used, 6 + 8 * 8);
	memset(g->desc, 0xff, 16 * 8);
	memset(g->avail, 0xff, 6 + 2 * 8);
	memset(g->used, 0xff, 6 + 8 * 8);
	g->desc = desc;
	g->avail = avail;
	g->used = used;
	virtq_set_rings(&g->vq, desc, avail, used);

	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.id, second);
	publish_one(g, second, 2);
	publish_one(g, first, 1);
	KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(test, id, second);
	KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(test, id, first);
	round_trip(g);
}

/* Stopped and taken into service again from its position, the ring goes on where it was. */
static void stop_and_resume(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8, .start = 65530 });
	struct virtq_pos pos;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		round_trip(g);
		virtq_get_pos(&g->vq, &pos);
		KUNIT_EXPECT_EQ(test, pos.avail, (u16)(65531 + i));
		KUNIT_EXPECT_EQ(test, pos.used, pos.avail);
		KUNIT_EXPECT_FALSE(test, pos.avail_wrap || pos.used_wrap);
		memset(&g->vq, 0xff, sizeof(g->vq));
		KUNIT_ASSERT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), 0);
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE(init_checks),
	KUNIT_CASE(shapes),
	KUNIT_CASE(longest_direct),
	KUNIT_CASE(table_longer_than_ring),
	KUNIT_CASE(table_is_copied),
	KUNIT_CASE_PARAM(full_ring, num_gen_params),
	KUNIT_CASE(index_wrap),
	KUNIT_CASE(avail_idx_cached),
	KUNIT_CASE(call_by_flag),
	KUNIT_CASE(call_by_event),
	KUNIT_CASE(call_covers_all),
	KUNIT_CASE(kick_by_flag),
	KUNIT_CASE(kick_by_event),
	KUNIT_CASE(kick_with_backlog),
	KUNIT_CASE(rings_move),
	KUNIT_CASE(stop_and_resume),
	{}
};

static struct kunit_suite virtq_split_suite = {
	.name = "virtq_split",
	.test_cases = cases,
};

kunit_test_suite(virtq_split_suite);
