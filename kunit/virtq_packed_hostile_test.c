// SPDX-License-Identifier: GPL-2.0
/*
 * Packed rings that break the rules, one row each, and what only looks like it. The ring has 5
 * slots and starts at slot 3 of a lap with wrap counter 1.
 */
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest.h"

#define NUM	5
#define START	3
#define N	VRING_DESC_F_NEXT
#define W	VRING_DESC_F_WRITE
#define I	VRING_DESC_F_INDIRECT
/* Not available: the AVAIL and USED flags as they were. */
#define OLD	BIT(VRING_PACKED_DESC_F_AVAIL)
#define BOTH	(BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED))
/* Stands for the address of the row's table. */
#define TABLE	(~0ULL)

struct raw_desc {
	u64 addr;
	u32 len;
	u16 flags, id;
};

struct hostile_row {
	const char *name;
	int expect;		/* of virtq_fetch() */
	u16 nr_segs;		/* if that is 1 */
	u16 max_segs;
	bool no_indirect;	/* the feature was not negotiated */
	u64 hole, hole_len;	/* within the table, taken from the map */
	struct raw_desc desc[NUM];	/* from START on; OLD takes the flags back */
	struct raw_desc table[8];
};

static const struct hostile_row rows[] = {
	{ "id at num", -EINVAL, .desc = { { 0x1000, 16, 0, NUM } } },
	{ "id at 65535", -EINVAL, .desc = { { 0x1000, 16, 0, 0xffff } } },
	{ "id out of range in a chain", -EINVAL,
	  .desc = { { 0x1000, 16, N, 0 }, { 0x1000, 16, 0, NUM } } },
	{ "id out of range but in the last", 1, 2,
	  .desc = { { 0x1000, 16, N, 0xffff }, { 0x1000, 16, 0, 0 } } },
	{ "id out of range beside a table", -EINVAL, .desc = { { TABLE, 16, I, NUM } },
	  .table = { { 0x1000, 16, 0, 0 } } },
	{ "chain of the whole ring", 1, NUM, .max_segs = NUM,
	  .desc = { { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, 0 } } },
	{ "chain round the ring onto itself", -ELOOP, .max_segs = NUM,
	  .desc = { { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N } } },
	{ "chain of empty segments round the ring", -ELOOP,
	  .desc = { { 0, 0, N }, { 0, 0, N }, { 0, 0, N }, { 0, 0, N }, { 0, 0, N } } },
	{ "chain into what is not available", -EINVAL,
	  .desc = { { 0x1000, 16, N }, { 0x1000, 16, OLD } } },
	{ "chain over the end into what is not available", -EINVAL,
	  .desc = { { 0x1000, 16, N }, { 0x1000, 16, N }, { 0x1000, 16, OLD } } },

	{ "readable after writable", -EINVAL,
	  .desc = { { 0x1000, 16, N | W }, { 0x1000, 16, 0 } } },
	{ "readable between writables", -EINVAL,
	  .desc = { { 0x1000, 16, N | W }, { 0x1000, 16, N }, { 0x1000, 16, W } } },
	{ "readable after an empty writable", -EINVAL,
	  .desc = { { 0x1000, 0, N | W }, { 0x1000, 16, 0 } } },
	{ "readable after writable in the table", -EINVAL, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 16, W }, { 0x1000, 16, 0 } } },

	{ "sum of lengths 2^32", 1, 2,
	  .desc = { { 0x1000, 0x80000000, N }, { 0x1000, 0x80000000, 0 } } },
	{ "sum of lengths 2^32 + 1", -EOVERFLOW,
	  .desc = { { 0x1000, 0x80000000, N }, { 0x1000, 0x80000001, 0 } } },
	{ "sum of lengths 2^32 + 1 in the table", -EOVERFLOW, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 0xffffffff, 0 }, { 0x1000, 2, W } } },
	{ "five lengths of 2^32 - 1", -EOVERFLOW,
	  .desc = { { 0, -1, N }, { 0, -1, N }, { 0, -1, N }, { 0, -1, N }, { 0, -1, 0 } } },
	{ "length 2^32 - 1", 1, 1, .desc = { { 0, 0xffffffff, 0 } } },
	{ "segment wraps", -EOVERFLOW, .desc = { { ~0ULL - 14, 16, 0 } } },
	{ "segment wraps in the table", -EOVERFLOW, .desc = { { TABLE, 16, I } },
	  .table = { { ~0ULL - 1, 3, W } } },
	{ "segment just below the end", 1, 1, .desc = { { ~0ULL - 16, 16, 0 } } },
	{ "empty segment at the end", 1, 1, .desc = { { ~0ULL - 16, 0, 0 } } },
	{ "empty segments", 1, 3, .desc = { { 0, 0, N }, { 0, 0, N | W }, { 0, 0, W } } },
	{ "unknown flags", 1, 1, .desc = { { 0x1000, 16, 0x7f78 } } },

	{ "table without the feature", -EINVAL, .no_indirect = true,
	  .desc = { { TABLE, 16, I } }, .table = { { 0x1000, 16, 0 } } },
	{ "empty table", -EINVAL, .desc = { { TABLE, 0, I } } },
	{ "table of 8 bytes", -EINVAL, .desc = { { TABLE, 8, I } } },
	{ "table of 17 bytes", -EINVAL, .desc = { { TABLE, 17, I } } },
	{ "table of 1025 entries", -E2BIG, .desc = { { TABLE, 1025 * 16, I } } },
	{ "table of 2^32 - 16 bytes", -E2BIG, .desc = { { TABLE, 0xfffffff0, I } } },
	{ "table with NEXT beside it", -EINVAL, .desc = { { TABLE, 16, I | N }, { 0, 1, 0 } },
	  .table = { { 0x1000, 16, 0 } } },
	{ "table at the end of a chain", -EINVAL, .desc = { { 0x1000, 16, N }, { TABLE, 16, I } },
	  .table = { { 0x1000, 16, 0 } } },
	{ "table not mapped", -EFAULT, .desc = { { 0x1000, 16, I } } },
	{ "table wraps around the address space", -EFAULT, .desc = { { ~0ULL - 15, 32, I } } },
	{ "table with a hole", -EFAULT, .hole = 24, .hole_len = 1, .desc = { { TABLE, 32, I } } },
	{ "hole behind the table", 1, 1, .hole = 16, .hole_len = 8, .desc = { { TABLE, 16, I } },
	  .table = { { 0x1000, 16, 0 } } },
	/* In a table only WRITE means anything. */
	{ "INDIRECT in a table", 1, 2, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 16, I }, { 0x1000, 16, I | W } } },
	{ "NEXT in a table", 1, 2, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 16, 0 }, { 0x1000, 16, N, 9 } } },
	{ "used flags in a table", 1, 1, .desc = { { TABLE, 16, I } },
	  .table = { { 0x1000, 16, BOTH, 0xffff } } },
	{ "WRITE beside the table", 1, 2, .desc = { { TABLE, 32, I | W } },
	  .table = { { 0x1000, 16, 0 }, { 0x1000, 16, W } } },
	{ "more segments than there is room for", -E2BIG, .max_segs = NUM,
	  .desc = { { TABLE, 96, I } } },
	{ "as many segments as there is room for", 1, NUM, .max_segs = NUM,
	  .desc = { { TABLE, 80, I } } },
};

static void describe(const struct hostile_row *row, char *desc)
{
	strscpy(desc, row->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(hostile, rows, describe);

/* Writes @d to the @i-th slot from START on, available unless it has OLD. */
static void put(struct guest *g, unsigned int i, const struct raw_desc *d, u64 table)
{
	bool wrap = START + i < NUM;
	u16 flags = guest_avail_flags(d->flags & OLD ? !wrap : wrap);

	guest_slot(g, (START + i) % NUM, d->addr == TABLE ? table : d->addr, d->len, d->id,
		   flags | (d->flags & ~BOTH));
}

static struct guest *new_ring(struct kunit *test, bool indirect, u16 max_segs)
{
	return guest_new(test, &(struct guest_opts){ .layout = VIRTQ_PACKED, .num = NUM,
						      .start = START, .event_idx = true,
						      .indirect = indirect,
						      .max_segs = max_segs });
}

static void hostile(struct kunit *test)
{
	const struct hostile_row *row = test->param_value;
	struct guest *g = new_ring(test, !row->no_indirect, row->max_segs);
	u64 table = guest_alloc(g, 1025 * sizeof(struct vring_desc));
	struct vring_desc *entries = guest_ptr(g, table, 8 * sizeof(*entries));
	struct virtq_chain chain;
	struct virtq_pos pos, old;
	unsigned int i;

	for (i = 0; i < NUM; i++)
		put(g, i, &row->desc[i], table);
	for (i = 0; i < 8; i++) {
		const struct raw_desc *t = &row->table[i];

		/* Flags and next of a split ring are id and flags here. */
		guest_desc(entries, i, t->addr, t->len, t->id, t->flags);
	}
	g->mem.hole = table + row->hole;
	g->mem.hole_len = row->hole_len;
	virtq_get_pos(&g->vq, &old);

	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), row->expect);
	virtq_get_pos(&g->vq, &pos);
	KUNIT_EXPECT_EQ(test, pos.used, old.used);
	if (row->expect == 1) {
		KUNIT_EXPECT_EQ(test, chain.nr_segs, row->nr_segs);
		KUNIT_EXPECT_EQ(test, pos.avail, (START + chain.ndesc) % NUM);
		KUNIT_EXPECT_EQ(test, pos.avail_wrap, START + chain.ndesc < NUM);
		return;
	}
	/* It stays broken, it stays where it is, and the owner is sent to fetch. */
	KUNIT_EXPECT_EQ(test, pos.avail, old.avail);
	KUNIT_EXPECT_EQ(test, pos.avail_wrap, old.avail_wrap);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), row->expect);
	KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
	KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_LE(test, g->mem.reads, 2U);

	/* Once the driver has mended it, it goes on: the bad buffer left nothing behind. */
	put(g, 0, &(struct raw_desc){ 0x1000, 16 }, 0);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.id, 0);
	KUNIT_EXPECT_EQ(test, chain.ndesc, 1);
}

static void id_in_use(struct kunit *test)
{
	struct guest *g = new_ring(test, false, 0);
	struct virtq_chain chain;

	put(g, 0, &(struct raw_desc){ 0x1000, 16, 0, 2 }, 0);
	put(g, 1, &(struct raw_desc){ 0x1000, 16, 0, 2 }, 0);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -EEXIST);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -EEXIST);
	/* Given back, the same id is a new buffer. */
	guest_publish(g, &chain, 0);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.id, 2);
}

/* All slots are in flight; a driver that makes them available again breaks the ring. */
static void more_than_the_ring(struct kunit *test)
{
	struct guest *g = new_ring(test, false, 0);
	struct virtq_chain chain, first;
	struct virtq_pos pos;
	unsigned int i;

	for (i = 0; i < NUM; i++)
		put(g, i, &(struct raw_desc){ 0x1000, 16, 0, i }, 0);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &first), 1);
	for (i = 1; i < NUM; i++)
		KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
	virtq_get_pos(&g->vq, &pos);
	KUNIT_EXPECT_EQ(test, pos.avail, START);
	KUNIT_EXPECT_FALSE(test, pos.avail_wrap);

	guest_set_slot_flags(g, START, guest_avail_flags(false));
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -EINVAL);
	KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
	/* What is in flight can still be given back. */
	guest_publish(g, &first, 16);
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, START), guest_used_slot_flags(true) | W);
}

/* A chain that runs into slots that are in flight, and were made available again under it. */
static void chain_into_flight(struct kunit *test)
{
	struct guest *g = new_ring(test, false, 0);
	struct virtq_chain chain;
	unsigned int i;

	put(g, 0, &(struct raw_desc){ 0x1000, 16, N, 0 }, 0);
	put(g, 1, &(struct raw_desc){ 0x1000, 16, 0, 1 }, 0);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.ndesc, 2);
	for (i = 2; i < NUM; i++)
		put(g, i, &(struct raw_desc){ 0x1000, 16, N, 2 }, 0);
	/* Three slots are left, and the third says that it goes on. */
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -ELOOP);
	guest_slot(g, START, 0x1000, 16, 2, guest_avail_flags(false));
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -ELOOP);
}

/* Any flags in the slots around: only the one at hand counts. */
static void flags_flapping(struct kunit *test)
{
	struct guest *g = new_ring(test, false, 0);
	struct virtq_chain chain;
	unsigned int flags, i;

	for (flags = 0; flags < 65536; flags++) {
		for (i = 1; i < NUM; i++)
			guest_set_slot_flags(g, (START + i) % NUM, flags);
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
		if ((flags & BOTH) == guest_avail_flags(true))
			continue;
		guest_set_slot_flags(g, START, flags);
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
		KUNIT_EXPECT_TRUE(test, virtq_empty(&g->vq));
	}
}

/* The driver may scribble over what the device has written: no answer depends on it. */
static void used_overwritten(struct kunit *test)
{
	struct guest *g = new_ring(test, false, 0);
	struct virtq_chain chain;
	unsigned int i;

	put(g, 0, &(struct raw_desc){ 0x1000, 16, N, 0 }, 0);
	put(g, 1, &(struct raw_desc){ 0x1000, 16, 0, 1 }, 0);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	memset(g->ring, 0xff, 16 * NUM);
	memset(g->device, 0xff, 4);
	guest_publish(g, &chain, 7);
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, START), guest_used_slot_flags(true) | W);
	for (i = 0; i < NUM; i++)
		guest_slot(g, i, ~0ULL, ~0U, 0xffff, 0xffff);
	put(g, 2, &(struct raw_desc){ 0x1000, 16, 0, 1 }, 0);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.id, 1);
	virtq_enable_kick(&g->vq);
	KUNIT_EXPECT_EQ(test, guest_event_flags(g), VRING_PACKED_EVENT_FLAG_DESC);
}

/* Noise in every byte the driver owns: any answer, but never outside the arrays. */
static void noise(struct kunit *test)
{
	struct guest *g = new_ring(test, true, 0);
	unsigned int round, i, fetched = 0, kinds = 0;
	u64 table = guest_alloc(g, 64 * sizeof(struct vring_desc)), seed = 3;
	struct virtq_pos pos = { .avail_wrap = true, .used_wrap = true };
	struct virtq_chain chain;
	int ret;

	for (round = 0; round < 20000; round++) {
		struct vring_desc *entries = guest_ptr(g, table, 64 * sizeof(*entries));

		for (i = 0; i < NUM; i++) {
			u32 r = guest_rand(&seed);
			u16 flags = r >> 16 & 0xff07;

			if (guest_rand(&seed) % 16)
				flags = (flags & ~BOTH) | guest_avail_flags(true);
			/* Loops need all of them. */
			if (round % 16 == 0)
				flags = (flags & ~I) | N;
			guest_slot(g, i, r & 1 ? table : r, r & 2 ? 16 * (r % 64) : r,
				   guest_rand(&seed) % (NUM + (r % 8 == 0)), flags & ~(r & W));
		}
		for (i = 0; i < 64; i++)
			guest_desc(entries, i, guest_rand(&seed), guest_rand(&seed) >> 8,
				   guest_rand(&seed), guest_rand(&seed) % 64 ? 0 : 0xffff);
		KUNIT_ASSERT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), 0);
		while ((ret = virtq_fetch(&g->vq, &chain)) > 0) {
			fetched++;
			KUNIT_ASSERT_TRUE(test, chain.id < NUM);
			KUNIT_ASSERT_TRUE(test, chain.ndesc && chain.ndesc <= NUM);
			KUNIT_ASSERT_TRUE(test, chain.nr_segs && chain.nr_segs <= VIRTQ_MAX_NUM);
			KUNIT_ASSERT_TRUE(test, chain.nr_out <= chain.nr_segs);
			for (i = 0; i < chain.nr_segs; i++)
				KUNIT_ASSERT_EQ(test, chain.segs[i].flags,
						i < chain.nr_out ? 0U : VIRTQ_SEG_WRITE);
			if (guest_rand(&seed) & 1)
				guest_publish(g, &chain, guest_rand(&seed));
			virtq_need_call(&g->vq);
		}
		kinds |= ret == -EINVAL ? 1 : ret == -ELOOP ? 2 : ret == -EEXIST ? 4 :
			 ret == -EFAULT ? 8 : ret == -EOVERFLOW ? 16 : ret == -E2BIG ? 32 : 64;
	}
	/* The noise is worth something: buffers came through, and every way to fail. */
	KUNIT_EXPECT_TRUE(test, fetched > 1000);
	KUNIT_EXPECT_EQ(test, kinds, 0x7fU);
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(hostile, hostile_gen_params),
	KUNIT_CASE(id_in_use),
	KUNIT_CASE(more_than_the_ring),
	KUNIT_CASE(chain_into_flight),
	KUNIT_CASE(flags_flapping),
	KUNIT_CASE(used_overwritten),
	KUNIT_CASE(noise),
	{}
};

static struct kunit_suite virtq_packed_hostile_suite = {
	.name = "virtq_packed_hostile",
	.test_cases = cases,
};

kunit_test_suite(virtq_packed_hostile_suite);
