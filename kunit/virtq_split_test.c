// SPDX-License-Identifier: GPL-2.0
/* What there is to split rings alone. All else is in virtq_test.c and its neighbours. */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest.h"

/* The available index is looked at only when the last look is used up. */
static void avail_idx_cached(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8 });
	struct virtq_chain chain;

	guest_send(g, 1);
	guest_send(g, 1);
	guest_expose(g);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	guest_set_avail_idx(g, 100);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -EINVAL);
}

/* A table may follow any number of descriptors, a whole ring's worth included. */
static void table_behind_chain(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8, .indirect = true });
	struct virtq_chain chain;
	struct virtq_seg segs[12];
	int id;

	guest_make_segs(segs, 10, 2, 5);
	id = guest_add(g, segs, 12, 7);
	KUNIT_ASSERT_TRUE(test, id >= 0);
	KUNIT_EXPECT_EQ(test, g->nr_free, 0);
	guest_expose(g);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	guest_expect_chain(g, &chain, id, 1, segs, 10, 2);
}

/* By index: the device's flags stay 0, and the driver's mean nothing. */
static void flags_mean_nothing_with_event_idx(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8, .event_idx = true });

	virtq_disable_kick(&g->vq);
	KUNIT_EXPECT_EQ(test, guest_used_flags(g), 0);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_EQ(test, guest_used_flags(g), 0);
	guest_set_avail_flags(g, VRING_AVAIL_F_NO_INTERRUPT);
	guest_want_call(g);
	guest_round_trip(g, 1);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
}

/* Without it: the flags say all, and the event index is not touched. */
static void event_means_nothing_without_event_idx(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 8, .start = 7 });

	KUNIT_EXPECT_EQ(test, guest_used_flags(g), 0);
	virtq_disable_kick(&g->vq);
	KUNIT_EXPECT_EQ(test, guest_used_flags(g), VRING_USED_F_NO_NOTIFY);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_EQ(test, guest_used_flags(g), 0);
	KUNIT_EXPECT_EQ(test, guest_avail_event(g), 0);
	guest_set_used_event(g, 1000);
	guest_round_trip(g, 1);
	KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
}

/* An entry is written whole, at its place, and idx counts on; the rest of the ring is untouched. */
static void used_entries(struct kunit *test)
{
	static const u32 want[4][2] = { { ~0U, ~0U }, { ~0U, ~0U },
					{ 3, 9 }, { 1, 0x12345678 } };
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = 4, .start = 65534 });
	struct virtq_done done[2] = { { .id = 3, .ndesc = 1, .len = 9 },
				      { .id = 1, .ndesc = 1, .len = 0x12345678 } };
	struct virtq_chain chain;
	unsigned int i;

	memset(g->used->ring, 0xff, sizeof(want));
	guest_raw(g, 1, 0x1000, 16, VRING_DESC_F_WRITE);
	guest_raw(g, 3, 0x1000, 16, VRING_DESC_F_WRITE);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, guest_used_idx(g), 65534);
	virtq_publish(&g->vq, done, 2);
	KUNIT_EXPECT_EQ(test, guest_used_idx(g), 0);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ(test, guest_elem_id(g, i), want[i][0]);
		KUNIT_EXPECT_EQ(test, guest_elem_len(g, i), want[i][1]);
	}
	/* Nothing to publish is nothing written. */
	virtq_publish(&g->vq, done, 0);
	KUNIT_EXPECT_EQ(test, guest_used_idx(g), 0);
	KUNIT_EXPECT_EQ(test, guest_elem_id(g, 0), ~0U);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(avail_idx_cached),
	KUNIT_CASE(table_behind_chain),
	KUNIT_CASE(flags_mean_nothing_with_event_idx),
	KUNIT_CASE(event_means_nothing_without_event_idx),
	KUNIT_CASE(used_entries),
	{}
};

static struct kunit_suite virtq_split_suite = {
	.name = "virtq_split",
	.test_cases = cases,
};

kunit_test_suite(virtq_split_suite);
