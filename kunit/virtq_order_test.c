// SPDX-License-Identifier: GPL-2.0
/*
 * VIRTIO_F_IN_ORDER and VIRTIO_F_PARTIAL_ORDER, both layouts: the device is done in any order, the
 * driver sees what it was promised. Which entries that takes is in virtq_used_test.c.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "guest.h"

struct rule {
	enum virtq_layout layout;
	bool in_order, partial_order;
};

static const struct rule rules[] = {
	{ VIRTQ_SPLIT, true, false }, { VIRTQ_SPLIT, false, true }, { VIRTQ_SPLIT, true, true },
	{ VIRTQ_PACKED, true, false }, { VIRTQ_PACKED, false, true }, { VIRTQ_PACKED, true, true },
};

static void describe(const struct rule *r, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s%s",
		 r->layout == VIRTQ_PACKED ? "packed" : "split", r->in_order ? "+in_order" : "",
		 r->partial_order ? "+partial_order" : "");
}

KUNIT_ARRAY_PARAM(rule, rules, describe);

/* Those of VIRTIO_F_IN_ORDER alone. */
static const struct rule in_order_rules[] = {
	{ VIRTQ_SPLIT, true, false }, { VIRTQ_PACKED, true, false },
};

KUNIT_ARRAY_PARAM(in_order, in_order_rules, describe);

/* Not at the beginning, so that indexes and laps come into it. */
static struct guest *new_ring(struct kunit *test, u16 num, u16 start)
{
	const struct rule *r = test->param_value;

	return guest_new(test, &(struct guest_opts){ .layout = r->layout, .num = num,
						      .start = start, .event_idx = true,
						      .indirect = true, .in_order = r->in_order,
						      .partial_order = r->partial_order });
}

#define FULL(n)		(100U * (n))

/* Makes @n buffers available, the i-th of @slots descriptors and FULL(i + 1) writable bytes. */
static void send(struct guest *g, struct virtq_chain *chain, unsigned int n, unsigned int slots)
{
	struct virtq_seg segs[4];
	unsigned int i, k;

	for (i = 0; i < n; i++) {
		guest_make_segs(segs, slots - 1, 1, i);
		segs[slots - 1].len = FULL(i + 1);
		for (k = 0; k < slots - 1; k++)
			segs[k].len = 0xffffff;		/* readable: does not count */
		KUNIT_ASSERT_TRUE(g->test, guest_add(g, segs, slots, slots) >= 0);
	}
	guest_expose(g);
	for (i = 0; i < n; i++)
		KUNIT_ASSERT_EQ(g->test, virtq_fetch(&g->vq, &chain[i]), 1);
}

/* The next thing the driver finds is an entry for @n buffers. */
static void expect_run(struct guest *g, const struct virtq_chain *chain, const u32 *len,
		       unsigned int n)
{
	struct kunit *test = g->test;
	unsigned int i;
	u32 got;
	u16 id;

	KUNIT_ASSERT_EQ(test, g->batch, 0);
	for (i = 0; i < n; i++) {
		KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &got), 1);
		KUNIT_EXPECT_EQ(test, g->batch, n - 1 - i);
		KUNIT_EXPECT_EQ(test, id, chain[i].id);
		KUNIT_EXPECT_EQ(test, got, len[i]);
	}
}

static void expect_nothing(struct guest *g)
{
	u32 len;
	u16 id;

	KUNIT_EXPECT_EQ(g->test, guest_reap(g, &id, &len), 0);
	KUNIT_EXPECT_FALSE(g->test, virtq_need_call(&g->vq));
}

/* Memory to keep the order in is the owner's to bring. */
static void no_memory(struct kunit *test)
{
	struct guest *g = new_ring(test, 4, 0);
	struct virtq_pos pos;

	virtq_get_pos(&g->vq, &pos);
	g->cfg.order = NULL;
	KUNIT_EXPECT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), -EINVAL);
	g->cfg.in_order = false;
	g->cfg.partial_order = false;
	KUNIT_EXPECT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), 0);
}

/* The last is done first. Nothing is to be seen until the first is, then all under one entry. */
static void reversed(struct kunit *test)
{
	struct guest *g = new_ring(test, 16, 14);
	static const u32 len[] = { FULL(1), FULL(2), FULL(3), FULL(4) };
	struct virtq_pos before, after;
	struct virtq_chain chain[4];
	unsigned int round, i;

	for (round = 0; round < 20; round++) {
		send(g, chain, 4, 3);
		virtq_get_pos(&g->vq, &before);
		for (i = 4; --i;) {
			guest_publish(g, &chain[i], len[i]);
			expect_nothing(g);
			/* Held back is in flight. */
			virtq_get_pos(&g->vq, &after);
			KUNIT_EXPECT_EQ(test, after.used, before.used);
			KUNIT_EXPECT_EQ(test, after.used_wrap, before.used_wrap);
			KUNIT_EXPECT_TRUE(test, virtq_in_flight(&g->vq, chain[i].id));
		}
		guest_want_call(g);
		guest_publish(g, &chain[0], len[0]);
		KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
		for (i = 0; i < 4; i++)
			KUNIT_EXPECT_FALSE(test, virtq_in_flight(&g->vq, chain[i].id));
		expect_run(g, chain, len, 4);
		expect_nothing(g);
		virtq_get_pos(&g->vq, &after);
		KUNIT_EXPECT_EQ(test, after.used, after.avail);
		KUNIT_EXPECT_EQ(test, after.used_wrap, after.avail_wrap);
	}
}

/* A buffer that is not written completely has a length to tell, and an entry to tell it in. */
static void short_ones(struct kunit *test)
{
	static const u32 len[] = { FULL(1), FULL(2) - 1, FULL(3), FULL(4), 0, 1, FULL(7) };
	struct guest *g = new_ring(test, 32, 30);
	struct virtq_chain chain[7];
	struct virtq_done done[7];
	unsigned int i;

	send(g, chain, 7, 2);
	for (i = 0; i < 7; i++)
		done[6 - i] = (struct virtq_done){ .id = chain[i].id, .ndesc = chain[i].ndesc,
						   .len = len[i] };
	virtq_publish(&g->vq, done, 7);
	expect_run(g, chain, len, 2);
	expect_run(g, chain + 2, len + 2, 3);
	expect_run(g, chain + 5, len + 5, 1);
	expect_run(g, chain + 6, len + 6, 1);
	virtq_need_call(&g->vq);
	expect_nothing(g);
}

/* Without anything to write in, nothing written is all of it. */
static void nothing_writable(struct kunit *test)
{
	static const struct virtq_seg seg = { .addr = 0x1000, .len = 1 };
	static const u32 len[] = { 0, 0, 0 };
	struct guest *g = new_ring(test, 4, 3);
	struct virtq_chain chain[3];
	unsigned int i;

	for (i = 0; i < 3; i++)
		KUNIT_ASSERT_TRUE(test, guest_add(g, &seg, 1, 1) >= 0);
	guest_expose(g);
	for (i = 0; i < 3; i++)
		KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain[i]), 1);
	for (i = 3; i--;)
		guest_publish(g, &chain[i], 0);
	expect_run(g, chain, len, 3);
}

/* Buffers of 2^32 writable bytes: a length can't say that. */
static void four_gigabytes(struct kunit *test)
{
	static const struct virtq_seg seg[] = {
		{ .addr = 0, .len = 0x80000000, .flags = VIRTQ_SEG_WRITE },
		{ .addr = 0, .len = 0x80000000, .flags = VIRTQ_SEG_WRITE },
	};
	static const u32 len[] = { 0, 5 };
	struct guest *g = new_ring(test, 8, 0);
	struct virtq_chain chain[2];
	unsigned int i;

	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_TRUE(test, guest_add(g, seg, 2, 2) >= 0);
	guest_expose(g);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain[i]), 1);
	guest_publish(g, &chain[1], len[1]);
	guest_publish(g, &chain[0], len[0]);
	expect_run(g, chain, len, 1);
	expect_run(g, chain + 1, len + 1, 1);
}

/* Four buffers done in this order, told of in batches of @cut; a bit of @code for a short one. */
static void permute(struct guest *g, const u8 *order, unsigned int cut, unsigned int code)
{
	struct kunit *test = g->test;
	struct virtq_chain chain[4];
	struct virtq_done done[4];
	unsigned int i, k, seen = 0;
	u32 len[4], got;
	u16 id;

	send(g, chain, 4, 1 + code % 3);
	for (i = 0; i < 4; i++)
		len[i] = FULL(i + 1) - (code >> i & 1);
	for (i = 0; i < 4; i++) {
		k = order[i];
		done[i] = (struct virtq_done){ .id = chain[k].id, .len = len[k],
					       .ndesc = chain[k].ndesc };
	}
	for (i = 0; i < 4; i += cut)
		virtq_publish(&g->vq, done + i, min(cut, 4 - i));
	for (i = 0; i < 4; i++) {
		KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &got), 1);
		for (k = 0; k < 4 && chain[k].id != id; k++)
			;
		KUNIT_ASSERT_LT(test, k, 4U);
		KUNIT_EXPECT_EQ(test, got, len[k]);
		if (g->in_order)
			KUNIT_EXPECT_EQ(test, k, i);
		seen |= 1 << k;
	}
	KUNIT_EXPECT_EQ(test, seen, 15U);
	virtq_need_call(&g->vq);
	expect_nothing(g);
	guest_expect_idle(g);
}

/* Four buffers, done in every order, told of in batches of every size, any of them short. */
static void permutations(struct kunit *test)
{
	struct guest *g = new_ring(test, 16, 15);
	unsigned int code, i;

	for (code = 0; code < 4 * 4 * 4 * 4; code++) {
		unsigned int cut, seen = 0, shorts;
		u8 order[4];

		for (i = 0; i < 4; i++) {
			order[i] = code >> 2 * i & 3;
			seen |= 1 << order[i];
		}
		if (seen != 15)
			continue;
		for (cut = 1; cut <= 4; cut++)
			for (shorts = 0; shorts < 16; shorts++)
				permute(g, order, cut, shorts);
	}
}

/* A driver that waits for a buffer in the middle of a run is woken by the entry that covers it. */
static void event_in_a_run(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 6);
	struct virtq_chain chain[3];

	send(g, chain, 3, 1);
	guest_want_call_at(g, 1);
	guest_publish(g, &chain[2], FULL(3));
	guest_publish(g, &chain[1], FULL(2));
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	guest_publish(g, &chain[0], FULL(1));
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
}

/* Taken into service again, the ring has nothing in flight and nothing held back. */
static void forgotten(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 0);
	static const u32 len[] = { FULL(1) };
	struct virtq_chain chain[3];
	struct virtq_pos pos;

	send(g, chain, 3, 1);
	guest_publish(g, &chain[1], FULL(2));
	virtq_get_pos(&g->vq, &pos);
	pos.used = pos.avail;
	pos.used_wrap = pos.avail_wrap;
	KUNIT_ASSERT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), 0);
	/* The driver knows. */
	g->reaped = pos.used;
	g->at_reaped = g->at_put;
	g->nr_out = 0;
	send(g, chain, 1, 1);
	guest_publish(g, &chain[0], len[0]);
	expect_run(g, chain, len, 1);
}

/* An id that is held back is in flight; given back it is not. */
static void ids(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 0);
	static const u32 len[] = { FULL(1), FULL(2) };
	struct virtq_chain chain[2], again[2];

	send(g, chain, 2, 1);
	guest_publish(g, &chain[1], len[1]);
	KUNIT_EXPECT_TRUE(test, g->vq.inflight[chain[1].id]);
	guest_publish(g, &chain[0], len[0]);
	KUNIT_EXPECT_FALSE(test, g->vq.inflight[chain[1].id]);
	expect_run(g, chain, len, 2);
	send(g, again, 2, 1);
	guest_publish(g, &again[0], len[0]);
	expect_run(g, again, len, 1);
	virtq_need_call(&g->vq);
	/* Nothing is left of when the id was used before. */
	expect_nothing(g);
	guest_publish(g, &again[1], len[1]);
	expect_run(g, again + 1, len + 1, 1);
}

/* As many as there can be, over and over, all done before the first. */
static void full_rings(struct kunit *test)
{
	const unsigned int num = VIRTQ_MAX_NUM;
	struct guest *g = new_ring(test, num, num / 2);
	static const struct virtq_seg seg = { .addr = 0x1000, .len = 9, .flags = VIRTQ_SEG_WRITE };
	struct virtq_chain *chain = kunit_kzalloc(test, num * sizeof(*chain), GFP_KERNEL);
	unsigned int round, i, n;
	u32 len;
	u16 id;

	KUNIT_ASSERT_NOT_NULL(test, chain);
	for (round = 0; round < 5; round++) {
		/* Not always the whole, so that the order begins elsewhere. */
		n = num - round;
		for (i = 0; i < n; i++)
			KUNIT_ASSERT_TRUE(test, guest_add(g, &seg, 1, 1) >= 0);
		guest_expose(g);
		for (i = 0; i < n; i++)
			KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain[i]), 1);
		for (i = n; --i;)
			guest_publish(g, &chain[i], 9);
		if (g->in_order)
			expect_nothing(g);
		guest_publish(g, &chain[0], 9);
		for (i = 0; i < n; i++) {
			KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
			/* Backwards, or all in a batch: but for the first after a start. */
			if (g->in_order)
				KUNIT_EXPECT_EQ(test, g->batch, !i && !round && g->partial_order ?
						0 : n - 1 - i);
			KUNIT_EXPECT_EQ(test, id, chain[g->in_order ? i : n - 1 - i].id);
			KUNIT_EXPECT_EQ(test, len, 9U);
		}
		virtq_need_call(&g->vq);
		expect_nothing(g);
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(no_memory, rule_gen_params),
	KUNIT_CASE_PARAM(reversed, in_order_gen_params),
	KUNIT_CASE_PARAM(short_ones, in_order_gen_params),
	KUNIT_CASE_PARAM(nothing_writable, in_order_gen_params),
	KUNIT_CASE_PARAM(four_gigabytes, in_order_gen_params),
	KUNIT_CASE_PARAM(permutations, rule_gen_params),
	KUNIT_CASE_PARAM(event_in_a_run, in_order_gen_params),
	KUNIT_CASE_PARAM(forgotten, in_order_gen_params),
	KUNIT_CASE_PARAM(ids, in_order_gen_params),
	KUNIT_CASE_PARAM(full_rings, rule_gen_params),
	{}
};

static struct kunit_suite virtq_order_suite = {
	.name = "virtq_order",
	.test_cases = cases,
};

kunit_test_suite(virtq_order_suite);
