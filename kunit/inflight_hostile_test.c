// SPDX-License-Identifier: GPL-2.0
/* Inflight region: whatever is in it, and whoever writes to it while it is opened. */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest_rig.h"

KUNIT_ARRAY_PARAM(layout, guest_layouts, guest_describe_layout);

/* A region with buffers in flight, free entries that are not in order, and a ring as full. */
static struct rig *rig_busy(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	u32 len;
	u16 id;

	rig_take(r, 4, false);
	rig_give(r, 2);
	rig_give(r, 0);
	rig_give(r, 3);
	while (guest_reap(r->g, &id, &len))
		;
	rig_take(r, 2, true);
	/* Where a fresh one begins, which a region can turn into. */
	virtq_get_pos(&r->g->vq, &r->cfg.pos);
	r->cfg.pos.avail = r->cfg.pos.used;
	r->cfg.pos.avail_wrap = r->cfg.pos.used_wrap;
	return r;
}

/* Only the errnos that are told, and only before anything was written. */
static void expect_sound(struct rig *r, int ret, const void *before)
{
	struct kunit *test = r->g->test;
	struct virtq_chain chain;
	unsigned int i, slots = 0, nr = r->found.nr;

	switch (ret) {
	case 0:
		break;
	case -EPROTONOSUPPORT:
	case -EOPNOTSUPP:
	case -EMSGSIZE:
	case -EUCLEAN:
	case -EINVAL:
		KUNIT_EXPECT_MEMEQ(test, r->region, before, sizeof(r->region));
		return;
	default:
		KUNIT_EXPECT_EQ(test, ret, 0);
		return;
	}
	KUNIT_ASSERT_LE(test, nr, (unsigned int)RIG_NUM);
	for (i = 0; i < nr; i++) {
		ret = virtq_refetch(&r->g->vq, &r->found.buf[i], &chain);
		slots += r->found.buf[i].ndesc;
		KUNIT_ASSERT_LE(test, ret, 1);
		KUNIT_ASSERT_NE(test, ret, 0);
		if (ret < 0)
			continue;
		KUNIT_EXPECT_EQ(test, chain.id, r->found.buf[i].id);
		KUNIT_EXPECT_LE(test, chain.nr_out, chain.nr_segs);
	}
	KUNIT_EXPECT_LE(test, slots, (unsigned int)RIG_NUM);
	/* What was made of it is a region that says the same. */
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, r->found.nr, nr);
}

static void put(struct rig *r, unsigned int at, unsigned int len, u64 v)
{
	memcpy((u8 *)r->region + at, &v, len);
}

/* Somewhere in the region, something that might be mistaken for sense. */
static void meddle(struct rig *r, u64 *seed)
{
	static const u16 values[] = {
		0, 1, 2, RIG_NUM - 1, RIG_NUM, RIG_NUM + 1, RIG_ENTRIES - 1, RIG_ENTRIES, 0x7fff,
		0x8000, 65530 - RIG_NUM, 65530, 65534, 0xffff,
	};
	const unsigned int size = r->cfg.layout == VIRTQ_PACKED ? 32 : 16;
	const unsigned int fields = size / 2;
	unsigned int what = guest_rand(seed), entry = guest_rand(seed) % (RIG_ENTRIES + 1);
	unsigned int field = what % fields, at = entry * size + 2 * field;

	/* The version, and what it is made for, are seldom what matters. */
	if (at < 12 && what & 0xf000)
		at += 12;
	switch (what >> 24 & 3) {
	case 0:
		put(r, at, 1, guest_rand(seed) & 1);
		break;
	case 1:
		put(r, at, 2, guest_rand(seed));
		break;
	default:
		put(r, at, 2, values[guest_rand(seed) % ARRAY_SIZE(values)]);
	}
}

static void b6_no_field_is_believed(struct kunit *test)
{
	struct rig *r = rig_busy(test);
	u64 good[ARRAY_SIZE(r->region)], bad[ARRAY_SIZE(r->region)];
	unsigned int i, n, opened = 0;
	u64 seed = 4;

	memcpy(good, r->region, sizeof(good));
	for (i = 0; i < 20000; i++) {
		int ret;

		memcpy(r->region, good, sizeof(good));
		for (n = guest_rand(&seed) % 4; n < 4; n++)
			meddle(r, &seed);
		memcpy(bad, r->region, sizeof(bad));
		ret = rig_open(r);
		opened += !ret;
		expect_sound(r, ret, bad);
	}
	/* Both happen. */
	KUNIT_EXPECT_GT(test, opened, 500U);
	KUNIT_EXPECT_LT(test, opened, 19500U);
}

static void random_bytes(struct kunit *test)
{
	struct rig *r = rig_busy(test);
	u64 bad[ARRAY_SIZE(r->region)];
	unsigned int i, k;
	u64 seed = 5;

	for (i = 0; i < 3000; i++) {
		const u32 mask = guest_rand(&seed) & 1 ? 0x0f0f0f0f : 0x03010301;

		for (k = 0; k < ARRAY_SIZE(r->region); k++)
			r->region[k] = guest_rand(&seed) & mask;
		/* But for what would end it at once. */
		r->split->features = 0;
		r->split->version = 1;
		r->split->desc_num = RIG_ENTRIES;
		memcpy(bad, r->region, sizeof(bad));
		expect_sound(r, rig_open(r), bad);
	}
}

/* The region becomes another as soon as it was copied: the copy is all that counts. */
static void another_mapper(struct kunit *test)
{
	struct rig *r = rig_busy(test), *same = rig_busy(test);
	struct virtq_chain chain, again;
	unsigned int i;

	memcpy(r->copy, r->region, sizeof(r->copy));
	memset(r->region, 0xa5, sizeof(r->region));
	KUNIT_ASSERT_EQ(test, inflight_open(&r->fl, &r->cfg, &r->found), 0);
	KUNIT_ASSERT_EQ(test, virtq_init(&r->g->vq, &r->g->cfg, &r->found.pos), 0);
	KUNIT_ASSERT_EQ(test, rig_open(same), 0);
	KUNIT_ASSERT_EQ(test, r->found.nr, same->found.nr);
	KUNIT_EXPECT_MEMEQ(test, &r->found.pos, &same->found.pos, sizeof(r->found.pos));
	for (i = 0; i < r->found.nr; i++) {
		memset(r->region, i, sizeof(r->region));
		KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[i], &chain), 1);
		KUNIT_ASSERT_EQ(test, virtq_refetch(&same->g->vq, &same->found.buf[i], &again), 1);
		KUNIT_EXPECT_EQ(test, chain.id, again.id);
		KUNIT_ASSERT_EQ(test, chain.nr_segs, again.nr_segs);
		KUNIT_EXPECT_MEMEQ(test, chain.segs, again.segs,
				   chain.nr_segs * sizeof(*chain.segs));
	}
	/* And from then on it is written only. */
	memset(r->region, 0xff, sizeof(r->region));
	for (i = 0; i < r->found.nr; i++) {
		struct virtq_done done = { r->found.buf[i].id, r->found.buf[i].ndesc, 1 };

		virtq_publish(&r->g->vq, &done, 1);
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(b6_no_field_is_believed, layout_gen_params),
	KUNIT_CASE_PARAM(random_bytes, layout_gen_params),
	KUNIT_CASE_PARAM(another_mapper, layout_gen_params),
	{ }
};

static struct kunit_suite suite = {
	.name = "inflight_hostile",
	.test_cases = cases,
};

kunit_test_suite(suite);
