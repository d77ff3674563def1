// SPDX-License-Identifier: GPL-2.0
/* Who wants to be woken when, both layouts and both ways. */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest.h"

KUNIT_ARRAY_PARAM(layout, guest_layouts, guest_describe_layout);

static bool is_packed(struct kunit *test)
{
	const enum virtq_layout *layout = test->param_value;

	return *layout == VIRTQ_PACKED;
}

static struct guest *new_ring(struct kunit *test, u16 num, u16 start, bool event_idx)
{
	const enum virtq_layout *layout = test->param_value;

	return guest_new(test, &(struct guest_opts){ .layout = *layout, .num = num,
						      .start = start, .event_idx = event_idx });
}

/* @n places go by: split: as many buffers; packed: a chain of as many slots. */
static void use_places(struct guest *g, unsigned int n)
{
	if (is_packed(g->test)) {
		guest_round_trip(g, n);
		return;
	}
	for (; n; n--)
		guest_round_trip(g, 1);
}

static void call_by_flag(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 0, false);

	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	guest_want_call(g);
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	guest_round_trip(g, 1);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	guest_refuse_call(g);
	guest_round_trip(g, 1);
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	/* What was published while nobody wanted to know does not count any more. */
	guest_want_call(g);
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	guest_round_trip(g, 1);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
}

/* A batch of @n places, cut in two anywhere: every event around it. */
static void expect_calls(struct guest *g, unsigned int n)
{
	/* A packed event has as many values as there are slots in two laps. */
	const int from = is_packed(g->test) ? -g->num : -2 * g->num;
	const int to = is_packed(g->test) ? g->num : 2 * g->num;
	struct kunit *test = g->test;
	unsigned int cut;
	int off;

	for (cut = 1; cut <= n; cut++)
		for (off = from; off < to; off++) {
			guest_want_call_at(g, off);
			use_places(g, cut);
			if (n > cut)
				use_places(g, n - cut);
			KUNIT_EXPECT_EQ(test, virtq_need_call(&g->vq), off >= 0 && off < (int)n);
			KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
		}
}

/*
 * By index: the driver is notified iff the place it named is among those published since the last
 * question, the skipped slots of a packed chain included. All places, all batches, all events.
 */
static void call_by_event(struct kunit *test)
{
	static const u16 sizes[] = { 1, 2, 3, 4, 5, 7 };
	unsigned int s, at, n;

	for (s = 0; s < ARRAY_SIZE(sizes); s++) {
		const u16 num = sizes[s];
		struct guest *g;

		if (!is_packed(test) && num & (num - 1))
			continue;
		g = new_ring(test, num, is_packed(test) ? 0 : 65500, true);
		for (n = 1; n <= num; n++)
			/* A packed batch comes back to where it started, so go on. */
			for (at = 0; at < 2 * num; at++) {
				expect_calls(g, n);
				use_places(g, 1);
				virtq_need_call(&g->vq);
			}
	}
}

/* Several batches before the question: it is about all of them. */
static void call_covers_all(struct kunit *test)
{
	struct guest *g = new_ring(test, 4, 3, true);
	unsigned int i;

	for (i = 0; i < 20; i++) {
		guest_want_call_at(g, i % 4);
		use_places(g, 2);
		use_places(g, 1);
		use_places(g, 1);
		KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
		use_places(g, 1);
		KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	}
}

/* With EVENT_IDX a driver can refuse, too. */
static void call_refused(struct kunit *test)
{
	struct guest *g = new_ring(test, 4, 2, true);
	unsigned int i;

	guest_refuse_call(g);
	for (i = 0; i < 4; i++) {
		guest_round_trip(g, 1);
		KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	}
	guest_want_call(g);
	guest_round_trip(g, 1);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
}

static void kick_by_flag(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 6, false);
	struct virtq_chain chain;

	guest_send(g, 1);
	KUNIT_EXPECT_TRUE(test, guest_kick(g));
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	virtq_disable_kick(&g->vq);
	guest_send(g, 1);
	KUNIT_EXPECT_FALSE(test, guest_kick(g));
	KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
	guest_send(g, 1);
	KUNIT_EXPECT_TRUE(test, guest_kick(g));
	guest_send(g, 1);
	KUNIT_EXPECT_TRUE(test, guest_kick(g));
}

/* Fetches one and gives it back. */
static void serve_one(struct guest *g)
{
	struct virtq_chain chain;

	KUNIT_EXPECT_EQ(g->test, virtq_fetch(&g->vq, &chain), 1);
	guest_publish(g, &chain, 0);
}

/* By index: one kick for the next buffer and none for those that follow it. */
static void kick_by_event(struct kunit *test)
{
	struct guest *g = new_ring(test, is_packed(test) ? 5 : 8, 65533, true);
	unsigned int round;

	for (round = 0; round < 20; round++) {
		KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
		KUNIT_EXPECT_TRUE(test, guest_kick_wanted_next(g));
		/* A chain over the place, then another buffer before the device looked. */
		guest_send(g, 2);
		KUNIT_EXPECT_TRUE(test, guest_kick(g));
		guest_send(g, 1);
		KUNIT_EXPECT_FALSE(test, guest_kick(g));
		virtq_disable_kick(&g->vq);
		KUNIT_EXPECT_FALSE(test, guest_kick_wanted_next(g));
		serve_one(g);
		serve_one(g);
		guest_send(g, 1);
		KUNIT_EXPECT_FALSE(test, guest_kick(g));
		/* It slipped in: nobody kicks for it. */
		KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
		serve_one(g);
		while (guest_reap(g, &(u16){ 0 }, &(u32){ 0 }))
			;
		/* Several at once: one kick. */
		KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
		guest_send(g, 1);
		guest_send(g, 1);
		KUNIT_EXPECT_TRUE(test, guest_kick(g));
		KUNIT_EXPECT_FALSE(test, guest_kick(g));
		serve_one(g);
		serve_one(g);
		while (guest_reap(g, &(u16){ 0 }, &(u32){ 0 }))
			;
	}
}

/* Asking for kicks with buffers that were seen and not yet fetched says so. */
static void kick_with_backlog(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 0, true);
	struct virtq_chain chain;

	guest_send(g, 1);
	guest_send(g, 1);
	guest_expose(g);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
}

/* So many that a count of them is 0 again: the driver still has to be told. */
static void laps_without_question(struct kunit *test)
{
	struct guest *g = new_ring(test, is_packed(test) ? 5 : 4, 0, false);
	unsigned int i;

	guest_want_call(g);
	for (i = 0; i < 65536; i++)
		guest_round_trip(g, 1);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
	KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(call_by_flag, layout_gen_params),
	KUNIT_CASE_PARAM(call_by_event, layout_gen_params),
	KUNIT_CASE_PARAM(call_covers_all, layout_gen_params),
	KUNIT_CASE_PARAM(call_refused, layout_gen_params),
	KUNIT_CASE_PARAM(laps_without_question, layout_gen_params),
	KUNIT_CASE_PARAM(kick_by_flag, layout_gen_params),
	KUNIT_CASE_PARAM(kick_by_event, layout_gen_params),
	KUNIT_CASE_PARAM(kick_with_backlog, layout_gen_params),
	{}
};

static struct kunit_suite virtq_notify_suite = {
	.name = "virtq_notify",
	.test_cases = cases,
};

kunit_test_suite(virtq_notify_suite);
