// SPDX-License-Identifier: GPL-2.0
/* Inflight region, both layouts: what is in it, byte for byte, and what a successor makes of it. */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest_rig.h"

KUNIT_ARRAY_PARAM(layout, guest_layouts, guest_describe_layout);

static void bytes_of_a_fresh_region(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	unsigned int i;

	/* 16 + 16 * 5 is not a multiple of 64, 32 + 32 * 5 neither. */
	KUNIT_EXPECT_EQ(test, inflight_size(r->cfg.layout, 5),
			r->cfg.layout == VIRTQ_PACKED ? 192 : 128);
	KUNIT_EXPECT_EQ(test, r->split->features, 0);
	KUNIT_EXPECT_EQ(test, r->split->version, 1);
	KUNIT_EXPECT_EQ(test, r->split->desc_num, RIG_ENTRIES);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
	if (r->cfg.layout == VIRTQ_SPLIT) {
		KUNIT_EXPECT_EQ(test, r->split->used_idx, 65530);
		return;
	}
	KUNIT_EXPECT_EQ(test, r->packed->used_idx, 2);
	KUNIT_EXPECT_EQ(test, r->packed->old_used_idx, 2);
	KUNIT_EXPECT_EQ(test, r->packed->used_wrap_counter, 1);
	KUNIT_EXPECT_EQ(test, r->packed->old_used_wrap_counter, 1);
	KUNIT_EXPECT_EQ(test, r->packed->free_head, 0);
	KUNIT_EXPECT_EQ(test, r->packed->old_free_head, 0);
	for (i = 0; i < RIG_ENTRIES; i++)
		KUNIT_EXPECT_EQ(test, r->packed->desc[i].next, i + 1);
}

static void bytes_of_what_was_taken(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	const struct vhost_inflight_desc_packed *d = r->packed->desc;
	const struct virtq_chain *c = r->chain;

	rig_take(r, 2, false);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 2);
	if (r->cfg.layout == VIRTQ_SPLIT) {
		KUNIT_EXPECT_EQ(test, r->split->desc[c[0].id].inflight, 1);
		KUNIT_EXPECT_EQ(test, r->split->desc[c[0].id].counter, 0);
		KUNIT_EXPECT_EQ(test, r->split->desc[c[1].id].counter, 1);
		rig_give(r, 1);
		KUNIT_EXPECT_EQ(test, r->split->last_batch_head, c[1].id);
		KUNIT_EXPECT_EQ(test, r->split->used_idx, 65531);
		KUNIT_EXPECT_EQ(test, r->split->desc[c[1].id].inflight, 0);
		return;
	}
	KUNIT_EXPECT_EQ(test, d[2].inflight, 1);
	KUNIT_EXPECT_EQ(test, d[2].num, 2);
	KUNIT_EXPECT_EQ(test, d[2].next, 3);
	KUNIT_EXPECT_EQ(test, d[2].last, 3);
	KUNIT_EXPECT_EQ(test, d[2].counter, 1);
	KUNIT_EXPECT_EQ(test, d[3].id, c[1].id);
	KUNIT_EXPECT_EQ(test, d[3].len, 18);
	KUNIT_EXPECT_EQ(test, d[3].addr, c[1].segs[1].addr);
	KUNIT_EXPECT_EQ(test, d[2].flags, VRING_DESC_F_NEXT | guest_avail_flags(true));
	KUNIT_EXPECT_EQ(test, d[3].flags, VRING_DESC_F_WRITE | guest_avail_flags(true));
	KUNIT_EXPECT_EQ(test, r->packed->free_head, 4);
	rig_give(r, 1);
	KUNIT_EXPECT_EQ(test, d[2].inflight, 0);
	KUNIT_EXPECT_EQ(test, d[3].next, 4);
	KUNIT_EXPECT_EQ(test, r->packed->free_head, 2);
	KUNIT_EXPECT_EQ(test, r->packed->old_free_head, 2);
	KUNIT_EXPECT_EQ(test, r->packed->used_idx, 4);
	KUNIT_EXPECT_EQ(test, r->packed->old_used_idx, 4);
}

/* A descriptor that refers to a table is one, with the table's address. */
static void a_table_is_one_descriptor(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	struct virtq_seg segs[2];

	rig_take(r, 1, true);
	if (r->cfg.layout == VIRTQ_PACKED) {
		KUNIT_EXPECT_EQ(test, r->packed->desc[0].num, 1);
		KUNIT_EXPECT_EQ(test, r->packed->desc[0].len, 32);
		KUNIT_EXPECT_EQ(test, r->packed->desc[0].addr,
				r->g->table[r->chain[0].id]);
		KUNIT_EXPECT_EQ(test, r->packed->desc[0].flags,
				VRING_DESC_F_INDIRECT | guest_avail_flags(true));
	}
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_ASSERT_EQ(test, r->found.nr, 1);
	KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[0], &r->chain[1]), 1);
	guest_make_segs(segs, 1, 1, 16);
	guest_expect_chain(r->g, &r->chain[1], r->chain[0].id, 1, segs, 1, 1);
}

/* Four are taken over the end of the ring, two come back, a successor finds the other two. */
static void a_successor_goes_on(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	struct virtq_chain again[2];
	struct virtq_pos pos;
	struct virtq_seg segs[2];
	u32 len;
	u16 id;
	int i;

	rig_take(r, 4, false);
	rig_give(r, 2);
	rig_give(r, 0);
	virtq_get_pos(&r->g->vq, &pos);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_MEMEQ(test, &r->found.pos, &pos, sizeof(pos));
	KUNIT_ASSERT_EQ(test, r->found.nr, 2);
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, r->found.buf[i].counter, 2 * i + 1);
		KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[i], &again[i]), 1);
		guest_make_segs(segs, 1, 1, 16 + 2 * i + 1);
		guest_expect_chain(r->g, &again[i], r->chain[2 * i + 1].id,
				   r->chain[2 * i + 1].ndesc, segs, 1, 1);
	}
	KUNIT_EXPECT_EQ(test, virtq_fetch(&r->g->vq, &again[0]), 0);
	rig_give(r, 3);
	rig_give(r, 1);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
	for (i = 0; i < 4; i++) {
		static const u8 order[] = { 2, 0, 3, 1 };

		KUNIT_ASSERT_EQ(test, guest_reap(r->g, &id, &len), 1);
		KUNIT_EXPECT_EQ(test, id, r->chain[order[i]].id);
	}
	KUNIT_EXPECT_EQ(test, guest_reap(r->g, &id, &len), 0);
	/* All the room there was. */
	rig_take(r, 4, false);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 4);
}

/* What is held back is in flight, and is so for a successor. */
static void held_back_is_in_flight(struct kunit *test)
{
	struct rig *r = rig_new(test, true);

	rig_take(r, 3, false);
	rig_give(r, 1);
	rig_give(r, 2);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 3);
	rig_give(r, 0);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, r->found.nr, 0);
}

/* Fresh means version 0: a used index that differs from the ring's says nothing. */
static void a_void_region_is_fresh(struct kunit *test)
{
	struct rig *r = rig_new(test, false);

	rig_take(r, 3, false);
	rig_give(r, 0);
	inflight_void(r->region);
	virtq_get_pos(&r->g->vq, &r->cfg.pos);
	/* Nobody knows what the two in between are. */
	KUNIT_EXPECT_EQ(test, rig_open(r), -EINVAL);
	r->cfg.pos.avail = r->cfg.pos.used;
	r->cfg.pos.avail_wrap = r->cfg.pos.used_wrap;
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, r->found.nr, 0);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
}

/* Told where to start: what was given back, or that and what is in flight. */
static void where_it_may_start(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	struct virtq_pos used, avail;

	rig_take(r, 3, false);
	rig_give(r, 1);
	virtq_get_pos(&r->g->vq, &avail);
	used = avail;
	used.avail = used.used;
	used.avail_wrap = used.used_wrap;
	r->cfg.told = true;
	r->cfg.pos = used;
	KUNIT_EXPECT_EQ(test, rig_open(r), 0);
	r->cfg.pos = avail;
	if (r->cfg.layout == VIRTQ_SPLIT)
		r->cfg.pos.used = avail.avail;	/* there is one number only */
	KUNIT_EXPECT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_MEMEQ(test, &r->found.pos, &avail, sizeof(avail));
	r->cfg.pos = avail;
	r->cfg.pos.avail++;
	KUNIT_EXPECT_EQ(test, rig_open(r), -EINVAL);
	if (r->cfg.layout != VIRTQ_PACKED)
		return;
	r->cfg.pos = avail;
	r->cfg.pos.used--;
	KUNIT_EXPECT_EQ(test, rig_open(r), -EINVAL);
	r->cfg.pos = avail;
	r->cfg.pos.used_wrap = !avail.used_wrap;
	KUNIT_EXPECT_EQ(test, rig_open(r), -EINVAL);
}

/* Each buffer could be in this ring, both at once could not. */
static void more_than_the_ring_has(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	struct vhost_inflight_desc_packed *d = r->packed->desc;
	unsigned int i;

	if (r->cfg.layout != VIRTQ_PACKED)
		return;
	rig_take(r, 2, false);
	/* Five descriptors and four, in a ring of eight, with a region for sixteen. */
	for (i = 0; i < 9; i++) {
		d[i].next = i + 1;
		d[i].id = i >= 5;
	}
	d[2].inflight = 0;
	d[0].num = 5;
	d[0].last = 4;
	d[5].inflight = 1;
	d[5].num = 4;
	d[5].last = 8;
	r->packed->free_head = 9;
	r->packed->old_free_head = 9;
	KUNIT_EXPECT_EQ(test, rig_open(r), -EUCLEAN);
	d[5].num = 3;
	d[5].last = 7;
	d[7].next = 9;
	KUNIT_EXPECT_EQ(test, rig_open(r), 0);
}

/* A chain that says it is made of tables: one is as much as there is room for. */
static void tables_in_a_chain(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	struct vhost_inflight_desc_packed *d = r->packed->desc;
	struct virtq_chain chain;
	u64 table;
	int i;

	if (r->cfg.layout != VIRTQ_PACKED)
		return;
	rig_take(r, 1, false);
	table = guest_alloc(r->g, VIRTQ_MAX_NUM * sizeof(struct vring_desc));
	for (i = 0; i < 2; i++) {
		d[i].flags |= VRING_DESC_F_INDIRECT;
		d[i].addr = table;
		d[i].len = VIRTQ_MAX_NUM * sizeof(struct vring_desc);
	}
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_ASSERT_EQ(test, r->found.nr, 1);
	KUNIT_EXPECT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[0], &chain), -EINVAL);
}

/* Two buffers are in flight, and a byte or two are wrong. */
static void garbage(struct kunit *test)
{
	static const struct {
		u16 at, len;
		u16 value;
		bool packed, split;
		int err;
	} cases[] = {
		{ 0, 2, 1, true, true, -EOPNOTSUPP },			/* features */
		{ 8, 2, 2, true, true, -EPROTONOSUPPORT },		/* version */
		{ 10, 2, RIG_ENTRIES / 2, true, true, -EMSGSIZE },		/* desc_num */
		{ 12, 2, RIG_ENTRIES, false, true, -EUCLEAN },		/* last_batch_head */
		{ 14, 2, 65530 - 9, false, true, -EUCLEAN },		/* used_idx */
		{ 14, 2, 65531, false, true, -EUCLEAN },
		{ 16 + 16 * 15, 1, 1, false, true, -EUCLEAN },		/* no head of this ring */
		{ 16 + 16 * 2, 1, 2, false, true, -EUCLEAN },		/* inflight */
		{ 16, 2, RIG_NUM, true, false, -EUCLEAN },			/* used_idx */
		{ 18, 2, RIG_NUM, true, false, -EUCLEAN },			/* old_used_idx */
		{ 20, 1, 2, true, false, -EUCLEAN },			/* wrap counters */
		{ 21, 1, 2, true, false, -EUCLEAN },
		{ 32, 1, 3, true, false, -EUCLEAN },			/* inflight */
		{ 32 + 32 * 1, 1, 1, true, false, -EUCLEAN },		/* not a first one */
		{ 32 + 2, 2, 2, true, false, -EUCLEAN },		/* next: another's */
		{ 32 + 2, 2, 0, true, false, -EUCLEAN },		/* itself */
		{ 32 + 2, 2, 0xffff, true, false, -EUCLEAN },
		{ 32 + 4, 2, 0, true, false, -EUCLEAN },		/* last */
		{ 32 + 6, 2, 0, true, false, -EUCLEAN },		/* num */
		{ 32 + 6, 2, RIG_NUM + 1, true, false, -EUCLEAN },
		{ 32 + 32 * 1 + 16, 2, RIG_NUM, true, false, -EUCLEAN },	/* id */
		{ 32 + 32 * 5 + 2, 2, 4, true, false, -EUCLEAN },	/* free list: a loop */
	};
	struct rig *r = rig_new(test, false);
	const bool packed = r->cfg.layout == VIRTQ_PACKED;
	int i;

	rig_take(r, 2, false);
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		u8 good[sizeof(r->region)], bad[sizeof(r->region)];

		if (packed != cases[i].packed && packed == cases[i].split)
			continue;
		memcpy(good, r->region, sizeof(good));
		memcpy((u8 *)r->region + cases[i].at, &cases[i].value, cases[i].len);
		memcpy(bad, r->region, sizeof(bad));
		KUNIT_EXPECT_EQ_MSG(test, rig_open(r), cases[i].err, "case %d", i);
		KUNIT_EXPECT_MEMEQ(test, r->region, bad, sizeof(bad));
		memcpy(r->region, good, sizeof(good));
	}
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, r->found.nr, 2);
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(bytes_of_a_fresh_region, layout_gen_params),
	KUNIT_CASE_PARAM(bytes_of_what_was_taken, layout_gen_params),
	KUNIT_CASE_PARAM(a_table_is_one_descriptor, layout_gen_params),
	KUNIT_CASE_PARAM(a_successor_goes_on, layout_gen_params),
	KUNIT_CASE_PARAM(held_back_is_in_flight, layout_gen_params),
	KUNIT_CASE_PARAM(a_void_region_is_fresh, layout_gen_params),
	KUNIT_CASE_PARAM(where_it_may_start, layout_gen_params),
	KUNIT_CASE_PARAM(garbage, layout_gen_params),
	KUNIT_CASE_PARAM(more_than_the_ring_has, layout_gen_params),
	KUNIT_CASE_PARAM(tables_in_a_chain, layout_gen_params),
	{ }
};

static struct kunit_suite suite = {
	.name = "inflight",
	.test_cases = cases,
};

kunit_test_suite(suite);
