// SPDX-License-Identifier: GPL-2.0
/* Packed rings: who wants to be woken when, in the event suppression structures of both sides. */
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest.h"

#define WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)
#define DISABLE	VRING_PACKED_EVENT_FLAG_DISABLE
#define ENABLE	VRING_PACKED_EVENT_FLAG_ENABLE
#define DESC	VRING_PACKED_EVENT_FLAG_DESC

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
	u32 len;
	u16 id;

	add_chain(g, n);
	guest_expose(g);
	KUNIT_ASSERT_EQ(g->test, virtq_fetch(&g->vq, &chain), 1);
	guest_publish(g, &chain, 1);
	KUNIT_ASSERT_EQ(g->test, guest_reap(g, &id, &len), 1);
}

static void round_trip(struct guest *g)
{
	round_trip_n(g, 1);
}

static void call_by_flag(struct kunit *test)
{
	static const struct { u16 flags; bool call; } rows[] = {
		{ ENABLE, true }, { DISABLE, false },
		{ DESC, true },			/* means nothing without EVENT_IDX */
		{ 3, true },			/* reserved: rather once too often */
		{ 0xfffc | ENABLE, true }, { 0xfffc | DISABLE, false },
	};
	struct guest *g = new_ring(test, 8, 0, false);
	unsigned int i;

	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		guest_set_event(g, 0x7fff, rows[i].flags);
		round_trip(g);
		KUNIT_EXPECT_EQ(test, virtq_need_call(&g->vq), rows[i].call);
		KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	}
	/* With EVENT_IDX all but DESC means the same. */
	g = new_ring(test, 8, 0, true);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		if (rows[i].flags == DESC)
			continue;
		guest_set_event(g, 0x7fff, rows[i].flags);
		round_trip(g);
		KUNIT_EXPECT_EQ(test, virtq_need_call(&g->vq), rows[i].call);
	}
}

/* Is the slot @i of the lap with @wrap among the @n slots before the driver's place? */
static bool passed(const struct guest *g, unsigned int i, bool wrap, unsigned int n)
{
	unsigned int at = g->at_reaped.i;
	bool lap = g->at_reaped.wrap;

	for (; n; n--) {
		if (!at--) {
			at = g->num - 1;
			lap = !lap;
		}
		if (at == i && lap == wrap)
			return true;
	}
	return false;
}

/* A batch of @n slots in two buffers, cut anywhere: any event there is in the ring. */
static void expect_calls(struct guest *g, unsigned int n)
{
	struct kunit *test = g->test;
	unsigned int cut, i;

	for (cut = 1; cut <= n; cut++)
		for (i = 0; i < 2 * g->num; i++) {
			bool wrap = i & 1;

			guest_set_event(g, i / 2 | (wrap ? WRAP : 0), DESC);
			round_trip_n(g, cut);
			if (n > cut)
				round_trip_n(g, n - cut);
			KUNIT_EXPECT_EQ(test, virtq_need_call(&g->vq), passed(g, i / 2, wrap, n));
			KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
		}
}

/*
 * By descriptor: the driver is notified iff the slot it named is among those published since the
 * last question, skipped ones included. All places, all batches, all events.
 */
static void call_by_event(struct kunit *test)
{
	static const u16 sizes[] = { 1, 2, 3, 4, 5, 7 };
	unsigned int s, at, n;

	for (s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct guest *g = new_ring(test, sizes[s], 0, true);

		for (n = 1; n <= sizes[s]; n++)
			for (at = 0; at < 2 * sizes[s]; at++) {
				/* It comes back to where it started, so go on. */
				expect_calls(g, n);
				round_trip(g);
				virtq_need_call(&g->vq);
			}
	}
}

/* Whoever did not ask for laps is told of an event anywhere on the way, and no number runs over. */
static void call_covers_all(struct kunit *test)
{
	struct guest *g = new_ring(test, 5, 0, true);
	unsigned int i;

	guest_set_event(g, 2 | WRAP, DESC);
	for (i = 0; i < 4; i++)
		round_trip(g);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
	round_trip(g);
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	/* 5 * 13107 + 1 is 65536. */
	for (i = 0; i < 65536; i++)
		round_trip(g);
	guest_set_event(g, 0, ENABLE);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
}

/* Events beyond the ring never come; nothing else happens either. */
static void call_by_odd_event(struct kunit *test)
{
	struct guest *g = new_ring(test, 5, 0, true);
	unsigned int event;

	for (event = 0; event < 65536; event++) {
		if ((event & ~WRAP) < 2 * 5)
			continue;
		guest_set_event(g, event, DESC);
		round_trip(g);
		KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	}
}

static void kick_by_flag(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 0, false);
	struct virtq_chain chain;

	KUNIT_EXPECT_EQ(test, guest_event_flags(g), ENABLE);
	virtq_disable_kick(&g->vq);
	KUNIT_EXPECT_EQ(test, guest_event_flags(g), DISABLE);
	add_chain(g, 1);
	KUNIT_EXPECT_FALSE(test, guest_kick(g));
	KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_EQ(test, guest_event_flags(g), ENABLE);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
	add_chain(g, 1);
	KUNIT_EXPECT_TRUE(test, guest_kick(g));
}

/* By descriptor: one kick for the next buffer and none for those that follow it. */
static void kick_by_event(struct kunit *test)
{
	struct guest *g = new_ring(test, 5, 3, true);
	struct virtq_chain chain;
	unsigned int round;

	for (round = 0; round < 20; round++) {
		u16 at = g->at_put.i | (g->at_put.wrap ? WRAP : 0);

		KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
		KUNIT_EXPECT_EQ(test, guest_event_flags(g), DESC);
		KUNIT_EXPECT_EQ(test, guest_event_desc(g), at);
		/* A chain over the slot, then another buffer before the device looked. */
		add_chain(g, 2);
		KUNIT_EXPECT_TRUE(test, guest_kick(g));
		add_chain(g, 1);
		KUNIT_EXPECT_FALSE(test, guest_kick(g));
		virtq_disable_kick(&g->vq);
		KUNIT_EXPECT_EQ(test, guest_event_flags(g), DISABLE);
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
		guest_publish(g, &chain, 0);
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
		guest_publish(g, &chain, 0);
		add_chain(g, 1);
		KUNIT_EXPECT_FALSE(test, guest_kick(g));
		/* It slipped in: nobody kicks for it. */
		KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
		guest_publish(g, &chain, 0);
		while (guest_reap(g, &(u16){ 0 }, &(u32){ 0 }))
			;
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE(call_by_flag),
	KUNIT_CASE(call_by_event),
	KUNIT_CASE(call_covers_all),
	KUNIT_CASE(call_by_odd_event),
	KUNIT_CASE(kick_by_flag),
	KUNIT_CASE(kick_by_event),
	{}
};

static struct kunit_suite virtq_packed_notify_suite = {
	.name = "virtq_packed_notify",
	.test_cases = cases,
};

kunit_test_suite(virtq_packed_notify_suite);
