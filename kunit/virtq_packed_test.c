// SPDX-License-Identifier: GPL-2.0
/* What there is to packed rings alone. All else is in virtq_test.c and its neighbours. */
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
						      .start = start, .event_idx = event_idx });
}

/* A chain round the whole ring, byte by byte: its id is that of the last descriptor. */
static void id_in_the_last(struct kunit *test)
{
	const unsigned int num = 1000, first = 399;
	struct guest *g = new_ring(test, num, first, false);
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
	for (i = 0; i < num; i++)
		KUNIT_EXPECT_EQ(test, chain.segs[i].addr, 0x1000 * i);
	virtq_get_pos(&g->vq, &pos);
	KUNIT_EXPECT_EQ(test, pos.avail, first);
	KUNIT_EXPECT_FALSE(test, pos.avail_wrap);
	KUNIT_EXPECT_TRUE(test, pos.used_wrap);
}

/* A buffer is given back in one slot; the others of its chain stay as the driver made them. */
static void used_slots(struct kunit *test)
{
	struct guest *g = new_ring(test, 5, 3, false);
	const u16 avail = guest_avail_flags(true), next = guest_avail_flags(false);
	struct virtq_chain a, b;
	struct virtq_done done[2];

	guest_send(g, 3);
	guest_send(g, 1);
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

/* What the device says of kicks: one of three, and the slot only where it counts. */
static void device_events(struct kunit *test)
{
	struct guest *g = new_ring(test, 8, 0, false);

	KUNIT_EXPECT_EQ(test, guest_event_flags(g), ENABLE);
	virtq_disable_kick(&g->vq);
	KUNIT_EXPECT_EQ(test, guest_event_flags(g), DISABLE);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_EQ(test, guest_event_flags(g), ENABLE);

	g = new_ring(test, 5, 3, true);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_EQ(test, guest_event_flags(g), DESC);
	KUNIT_EXPECT_EQ(test, guest_event_desc(g), 3 | WRAP);
	guest_round_trip(g, 3);
	virtq_disable_kick(&g->vq);
	KUNIT_EXPECT_EQ(test, guest_event_flags(g), DISABLE);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_EQ(test, guest_event_flags(g), DESC);
	KUNIT_EXPECT_EQ(test, guest_event_desc(g), 1);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(id_in_the_last),
	KUNIT_CASE(used_slots),
	KUNIT_CASE(device_events),
	{}
};

static struct kunit_suite virtq_packed_suite = {
	.name = "virtq_packed",
	.test_cases = cases,
};

kunit_test_suite(virtq_packed_suite);
