// SPDX-License-Identifier: GPL-2.0
/*
 * Where a queue stands when it is stopped with something in flight: used position and what is kept
 * make the available position, and who goes on may say either of the two.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest_rig.h"

/* Buffers of two descriptors that fit the ring. */
#define STOP_MOST	(RIG_NUM / 2)

KUNIT_ARRAY_PARAM(layout, guest_layouts, guest_describe_layout);

/* Ring slots from @pos->used to @pos->avail. */
static unsigned int slots_between(const struct rig *r, const struct virtq_pos *pos)
{
	if (r->cfg.layout == VIRTQ_SPLIT)
		return (u16)(pos->avail - pos->used);
	return pos->avail - pos->used + (pos->avail_wrap != pos->used_wrap ? RIG_NUM : 0);
}

/* The position that is @by slots on from the used one, as a base says it. */
static struct virtq_pos base_at(const struct rig *r, const struct virtq_pos *pos, int by)
{
	struct virtq_pos base = *pos;
	int at = pos->used + by;

	if (r->cfg.layout == VIRTQ_SPLIT) {
		base.avail = at;
		base.used = base.avail;
		return base;
	}
	base.avail_wrap = pos->used_wrap ^ (at < 0 || at >= RIG_NUM);
	base.avail = (at + RIG_NUM) % RIG_NUM;
	return base;
}

/* Goes on with @base, or with what the region says. */
static int open_at(struct rig *r, const struct virtq_pos *base)
{
	r->cfg.told = base;
	if (base)
		r->cfg.pos = *base;
	return rig_open(r);
}

/* Every base there is, but for more than the ring is long: two are right. */
static void try_bases(struct rig *r, const struct virtq_pos *pos)
{
	struct kunit *test = r->g->test;
	int slots = slots_between(r, pos), by;

	for (by = -1; by <= RIG_NUM; by++) {
		struct virtq_pos base = base_at(r, pos, by);
		bool right = !by || by == slots;

		KUNIT_EXPECT_EQ_MSG(test, open_at(r, &base), right ? 0 : -EINVAL, "%d of %d", by,
				    slots);
		if (right)
			KUNIT_EXPECT_MEMEQ(test, &r->found.pos, pos, sizeof(*pos));
	}
	KUNIT_ASSERT_EQ(test, open_at(r, NULL), 0);
	KUNIT_EXPECT_MEMEQ(test, &r->found.pos, pos, sizeof(*pos));
}

/* Those that the driver finds are free again. */
static unsigned int reap(struct rig *r)
{
	unsigned int n = 0;
	u32 len;
	u16 id;

	while (guest_reap(r->g, &id, &len) > 0)
		n++;
	return n;
}

/* Was the nth that was taken found in flight? */
static bool was_kept(const struct rig *r, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < r->found.nr; i++)
		if (r->found.buf[i].id == r->chain[n].id)
			return true;
	return false;
}

/* @n are taken, those in @given come back, the last of them first; then it is stopped. */
static void stop_and_go_on(struct rig *r, unsigned int n, unsigned int given)
{
	struct kunit *test = r->g->test;
	unsigned int i, kept, slots = 0, back;
	struct virtq_chain again;
	struct virtq_pos pos;

	rig_take(r, n, false);
	for (i = n; i--;)
		if (given & BIT(i))
			rig_give(r, i);
	back = reap(r);
	kept = rig_flags(r);
	KUNIT_EXPECT_EQ(test, back + kept, n);
	virtq_get_pos(&r->g->vq, &pos);
	for (i = 0; i < kept; i++)
		slots += r->chain[0].ndesc;
	KUNIT_EXPECT_EQ(test, slots_between(r, &pos), slots);

	try_bases(r, &pos);
	KUNIT_ASSERT_EQ(test, r->found.nr, kept);
	for (i = 0; i < kept; i++)
		KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[i], &again), 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&r->g->vq, &again), 0);
	/* Held back, or never answered: the rest comes now, each once. */
	for (i = 0; i < n; i++)
		if (was_kept(r, i))
			rig_give(r, i);
	KUNIT_EXPECT_EQ(test, reap(r), kept);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
	virtq_get_pos(&r->g->vq, &pos);
	KUNIT_EXPECT_EQ(test, slots_between(r, &pos), 0);
}

static void every_stop(struct kunit *test, bool in_order)
{
	const enum virtq_layout *layout = test->param_value;
	unsigned int n, given;
	struct rig *r;

	/* Over the end of a packed ring many times, and once over that of the index. */
	r = rig_new_at(test, in_order, *layout == VIRTQ_PACKED ? 3 : 65520, RIG_ENTRIES);
	for (n = 0; n <= STOP_MOST; n++)
		for (given = 0; given < BIT(n); given++)
			stop_and_go_on(r, n, given);
}

static void used_and_kept_make_available(struct kunit *test)
{
	every_stop(test, false);
}

static void held_back_is_kept(struct kunit *test)
{
	every_stop(test, true);
}

static struct kunit_case stop_cases[] = {
	KUNIT_CASE_PARAM(used_and_kept_make_available, layout_gen_params),
	KUNIT_CASE_PARAM(held_back_is_kept, layout_gen_params),
	{ }
};

static struct kunit_suite stop_suite = {
	.name = "stop",
	.test_cases = stop_cases,
};

kunit_test_suite(stop_suite);
