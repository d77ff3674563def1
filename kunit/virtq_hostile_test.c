// SPDX-License-Identifier: GPL-2.0
/*
 * Rings that break the rules, one row each, and what only looks like it. The ring has 8 entries;
 * the head is 0 unless the row says otherwise.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest.h"

#define NUM	8
#define N	VRING_DESC_F_NEXT
#define W	VRING_DESC_F_WRITE
#define I	VRING_DESC_F_INDIRECT
/* Stands for the address of the row's table. */
#define TABLE	(~0ULL)

struct raw_desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};

struct hostile_row {
	const char *name;
	int expect;		/* of virtq_fetch() */
	u16 nr_segs;		/* if that is 1 */
	u16 head;
	u16 max_segs;
	bool no_indirect;	/* the feature was not negotiated */
	u64 hole, hole_len;	/* within the table, taken from the map */
	struct raw_desc desc[NUM], table[NUM];
};

static const struct hostile_row rows[] = {
	{ "head at num", -EINVAL, .head = NUM },
	{ "head at 65535", -EINVAL, .head = 0xffff },
	{ "next at num", -EINVAL, .desc = { { 0x1000, 16, N, NUM } } },
	{ "next at 65535", -EINVAL, .desc = { { 0x1000, 16, N, 0xffff } } },
	{ "next out of range without NEXT", 1, 1, .desc = { { 0x1000, 16, 0, 0xffff } } },
	{ "loop onto itself", -ELOOP, .desc = { { 0x1000, 16, N, 0 } } },
	{ "loop of two", -ELOOP, .desc = { { 0x1000, 16, N, 1 }, { 0x1000, 16, N, 0 } } },
	{ "loop behind a tail", -ELOOP,
	  .desc = { { 0x1000, 1, N, 1 }, { 0x1000, 1, N, 2 }, { 0x1000, 1, N, 1 } } },
	{ "loop of empty segments", -ELOOP, .desc = { { 0x1000, 0, N, 0 } } },
	{ "loop with no room to spare", -ELOOP, .max_segs = NUM,
	  .desc = { { 0x1000, 16, N, 0 } } },

	{ "readable after writable", -EINVAL,
	  .desc = { { 0x1000, 16, N | W, 1 }, { 0x1000, 16, 0, 0 } } },
	{ "readable between writables", -EINVAL,
	  .desc = { { 0x1000, 16, N | W, 1 }, { 0x1000, 16, N, 2 }, { 0x1000, 16, W, 0 } } },
	{ "readable after an empty writable", -EINVAL,
	  .desc = { { 0x1000, 0, N | W, 1 }, { 0x1000, 16, 0, 0 } } },
	{ "readable in the table after writable in the ring", -EINVAL,
	  .desc = { { 0x1000, 16, N | W, 1 }, { TABLE, 16, I, 0 } },
	  .table = { { 0x1000, 16, 0, 0 } } },
	{ "readable after writable in the table", -EINVAL, .desc = { { TABLE, 32, I, 0 } },
	  .table = { { 0x1000, 16, N | W, 1 }, { 0x1000, 16, 0, 0 } } },

	{ "sum of lengths 2^32", 1, 2,
	  .desc = { { 0x1000, 0x80000000, N, 1 }, { 0x1000, 0x80000000, 0, 0 } } },
	{ "sum of lengths 2^32 + 1", -EOVERFLOW,
	  .desc = { { 0x1000, 0x80000000, N, 1 }, { 0x1000, 0x80000001, 0, 0 } } },
	{ "sum of lengths 2^32 + 1 with the table's", -EOVERFLOW,
	  .desc = { { 0x1000, 0xffffffff, N, 1 }, { TABLE, 16, I, 0 } },
	  .table = { { 0x1000, 2, W, 0 } } },
	{ "eight lengths of 2^32 - 1", -EOVERFLOW,
	  .desc = { { 0, -1, N, 1 }, { 0, -1, N, 2 }, { 0, -1, N, 3 }, { 0, -1, N, 4 },
		    { 0, -1, N, 5 }, { 0, -1, N, 6 }, { 0, -1, N, 7 }, { 0, -1, 0, 0 } } },
	{ "length 2^32 - 1", 1, 1, .desc = { { 0, 0xffffffff, 0, 0 } } },
	{ "segment wraps", -EOVERFLOW, .desc = { { ~0ULL - 14, 16, 0, 0 } } },
	{ "segment wraps in the table", -EOVERFLOW, .desc = { { TABLE, 16, I, 0 } },
	  .table = { { ~0ULL - 1, 3, W, 0 } } },
	{ "segment just below the end", 1, 1, .desc = { { ~0ULL - 16, 16, 0, 0 } } },
	{ "empty segment at the end", 1, 1, .desc = { { ~0ULL, 0, 0, 0 } } },
	{ "empty segments", 1, 3,
	  .desc = { { 0, 0, N, 1 }, { 0, 0, N | W, 2 }, { 0, 0, W, 0 } } },
	{ "unknown flags", 1, 1, .desc = { { 0x1000, 16, 0xfff8, 0 } } },

	{ "table without the feature", -EINVAL, .no_indirect = true,
	  .desc = { { TABLE, 16, I, 0 } }, .table = { { 0x1000, 16, 0, 0 } } },
	{ "empty table", -EINVAL, .desc = { { TABLE, 0, I, 0 } } },
	{ "table of 8 bytes", -EINVAL, .desc = { { TABLE, 8, I, 0 } } },
	{ "table of 17 bytes", -EINVAL, .desc = { { TABLE, 17, I, 0 } } },
	{ "table of 1025 entries", -E2BIG, .desc = { { TABLE, 1025 * 16, I, 0 } } },
	{ "table of 2^32 - 16 bytes", -E2BIG, .desc = { { TABLE, 0xfffffff0, I, 0 } } },
	{ "table with NEXT beside it", -EINVAL, .desc = { { TABLE, 16, I | N, 1 } },
	  .table = { { 0x1000, 16, 0, 0 } } },
	{ "table not mapped", -EFAULT, .desc = { { 0x1000, 16, I, 0 } } },
	{ "table wraps around the address space", -EFAULT, .desc = { { ~0ULL - 15, 32, I, 0 } } },
	{ "table with a hole", -EFAULT, .hole = 24, .hole_len = 1,
	  .desc = { { TABLE, 32, I, 0 } } },
	{ "hole behind the table", 1, 1, .hole = 16, .hole_len = 8,
	  .desc = { { TABLE, 16, I, 0 } }, .table = { { 0x1000, 16, 0, 0 } } },
	{ "table in a table", -EINVAL, .desc = { { TABLE, 16, I, 0 } },
	  .table = { { TABLE, 16, I, 0 } } },
	{ "table in a table behind a segment", -EINVAL, .desc = { { TABLE, 32, I, 0 } },
	  .table = { { 0x1000, 16, N, 1 }, { 0x1000, 16, I | W, 0 } } },
	{ "next behind the table", -EINVAL, .desc = { { TABLE, 32, I, 0 } },
	  .table = { { 0x1000, 16, N, 2 } } },
	{ "NEXT in a table of one", -ELOOP, .desc = { { TABLE, 16, I, 0 } },
	  .table = { { 0x1000, 16, N, 1 } } },
	{ "loop in the table", -ELOOP, .desc = { { TABLE, 32, I, 0 } },
	  .table = { { 0x1000, 16, N, 1 }, { 0x1000, 16, N, 0 } } },
	{ "only part of the table used", 1, 1, .desc = { { TABLE, 64, I, 0 } },
	  .table = { { 0x1000, 16, 0, 0 } } },
	{ "WRITE beside the table", 1, 2, .desc = { { TABLE, 32, I | W, 0 } },
	  .table = { { 0x1000, 16, N, 1 }, { 0x1000, 16, W, 0 } } },
	{ "WRITE beside the table behind writable", 1, 2,
	  .desc = { { 0x1000, 16, N | W, 3 }, [3] = { TABLE, 16, I, 0 } },
	  .table = { { 0x1000, 16, W, 0 } } },
	{ "table behind a whole ring", 1, NUM,
	  .desc = { { 0, 1, N, 1 }, { 0, 1, N, 2 }, { 0, 1, N, 3 }, { 0, 1, N, 4 },
		    { 0, 1, N, 5 }, { 0, 1, N, 6 }, { 0, 1, N, 7 }, { TABLE, 16, I, 0 } },
	  .table = { { 0x1000, 1, 0, 0 } } },
	{ "more segments than there is room for", -E2BIG, .max_segs = NUM,
	  .desc = { { 0x1000, 1, N, 1 }, { 0x1000, 1, N, 2 }, { TABLE, 128, I, 0 } },
	  .table = { { 0, 1, N, 1 }, { 0, 1, N, 2 }, { 0, 1, N, 3 }, { 0, 1, N, 4 },
		     { 0, 1, N, 5 }, { 0, 1, N, 6 }, { 0, 1, 0, 0 } } },
	{ "as many segments as there is room for", 1, NUM, .max_segs = NUM,
	  .desc = { { 0x1000, 1, N, 1 }, { 0x1000, 1, N, 2 }, { TABLE, 128, I, 0 } },
	  .table = { { 0, 1, N, 1 }, { 0, 1, N, 2 }, { 0, 1, N, 3 }, { 0, 1, N, 4 },
		     { 0, 1, N, 5 }, { 0, 1, 0, 0 } } },
};

static void describe(const struct hostile_row *row, char *desc)
{
	strscpy(desc, row->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(hostile, rows, describe);

static void hostile(struct kunit *test)
{
	const struct hostile_row *row = test->param_value;
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = NUM, .event_idx = true,
								 .start = 65535,
								 .indirect = !row->no_indirect,
								 .max_segs = row->max_segs });
	u64 table = guest_alloc(g, 1025 * sizeof(struct vring_desc));
	struct vring_desc *entries = guest_ptr(g, table, NUM * sizeof(*entries));
	struct virtq_chain chain;
	struct virtq_pos pos;
	unsigned int i;

	for (i = 0; i < NUM; i++) {
		const struct raw_desc *d = &row->desc[i], *t = &row->table[i];

		guest_desc(g->desc, i, d->addr == TABLE ? table : d->addr, d->len, d->flags,
			   d->next);
		guest_desc(entries, i, t->addr == TABLE ? table : t->addr, t->len, t->flags,
			   t->next);
	}
	g->mem.hole = table + row->hole;
	g->mem.hole_len = row->hole_len;
	guest_put(g, row->head);
	guest_expose(g);

	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), row->expect);
	virtq_get_pos(&g->vq, &pos);
	KUNIT_EXPECT_EQ(test, pos.used, 65535);
	if (row->expect == 1) {
		KUNIT_EXPECT_EQ(test, chain.nr_segs, row->nr_segs);
		KUNIT_EXPECT_EQ(test, pos.avail, 0);
		return;
	}
	/* It stays broken, it stays where it is, and nothing was written to the ring. */
	KUNIT_EXPECT_EQ(test, pos.avail, 65535);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), row->expect);
	KUNIT_EXPECT_EQ(test, guest_used_idx(g), 65535);
	KUNIT_EXPECT_LE(test, g->mem.reads, 2U);

	/* Once the driver has mended it, it goes on: the bad buffer left nothing behind. */
	guest_desc(g->desc, 0, 0x1000, 16, 0, 0);
	g->put--;
	guest_put(g, 0);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.id, 0);
}

static void same_head_twice(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = NUM });
	struct virtq_done done = { .id = 3, .ndesc = 1 };
	struct virtq_chain chain;

	guest_desc(g->desc, 3, 0x1000, 16, 0, 0);
	guest_put(g, 3);
	guest_put(g, 3);
	guest_expose(g);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -EEXIST);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -EEXIST);
	/* Given back, the same head is a new buffer. */
	virtq_publish(&g->vq, &done, 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.id, 3);
}

/* Every distance of the available index, from where the device stands. */
static void avail_idx_runaway(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = NUM, .start = 65533 });
	struct virtq_chain chain;
	unsigned int ahead;

	for (ahead = NUM + 1; ahead < 65536; ahead++) {
		guest_set_avail_idx(g, 65533 + ahead);
		KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), -EINVAL);
		KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
		/* The owner is sent to fetch, which says what is wrong. */
		KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
	}
	guest_set_avail_idx(g, 65533);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
}

/* More buffers than the ring has entries can't all have heads of their own. */
static void more_than_the_ring(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = NUM });
	struct virtq_chain chain;
	unsigned int i;

	for (i = 0; i < NUM; i++)
		guest_put(g, i);
	guest_expose(g);
	for (i = 0; i < NUM; i++)
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
	for (i = 0; i < NUM; i++) {
		guest_put(g, i);
		guest_expose(g);
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -EEXIST);
		g->put--;
		guest_expose(g);
	}
}

/* The driver may scribble over the used ring: no answer depends on it. */
static void used_ring_overwritten(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = NUM });
	struct virtq_done done = { .id = 5, .ndesc = 1, .len = 77 };
	struct virtq_chain chain;
	u16 id;
	u32 len;

	guest_desc(g->desc, 5, 0x1000, 16, 0, 0);
	guest_put(g, 5);
	guest_expose(g);
	memset(g->used, 0xff, 6 + 8 * NUM);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	virtq_publish(&g->vq, &done, 1);
	KUNIT_EXPECT_EQ(test, guest_used_idx(g), 1);
	KUNIT_EXPECT_EQ(test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(test, id, 5);
	KUNIT_EXPECT_EQ(test, len, 77U);
}

/* Noise in every byte the driver owns: any answer, but never outside the arrays. */
static void noise(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = NUM, .indirect = true });
	struct virtq_pos pos = { 0 };
	struct virtq_chain chain;
	unsigned int round, i, fetched = 0, kinds = 0;
	u64 seed = 2, table;
	int ret;

	table = guest_alloc(g, 64 * sizeof(struct vring_desc));
	for (round = 0; round < 20000; round++) {
		struct vring_desc *entries = guest_ptr(g, table, 64 * sizeof(*entries));

		for (i = 0; i < NUM; i++) {
			u32 r = guest_rand(&seed);

			guest_desc(g->desc, i, r & 1 ? table : r, r & 2 ? 16 * (r % 64) : r,
				   guest_rand(&seed) & 7, guest_rand(&seed) % (NUM + 1));
			guest_put(g, guest_rand(&seed) % (NUM + (r % 8 == 0)));
		}
		for (i = 0; i < 64; i++)
			guest_desc(entries, i, guest_rand(&seed), guest_rand(&seed) >> 8,
				   guest_rand(&seed) % 8 ? N : guest_rand(&seed) & 7,
				   guest_rand(&seed) % 65);
		g->put = 0;
		guest_set_avail_idx(g, guest_rand(&seed) % (NUM + 2));
		KUNIT_ASSERT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), 0);
		while ((ret = virtq_fetch(&g->vq, &chain)) > 0) {
			fetched++;
			KUNIT_ASSERT_TRUE(test, chain.id < NUM);
			KUNIT_ASSERT_TRUE(test, chain.nr_segs && chain.nr_segs <= VIRTQ_MAX_NUM);
			KUNIT_ASSERT_TRUE(test, chain.nr_out <= chain.nr_segs);
			for (i = 0; i < chain.nr_segs; i++)
				KUNIT_ASSERT_EQ(test, chain.segs[i].flags,
						i < chain.nr_out ? 0U : VIRTQ_SEG_WRITE);
		}
		kinds |= ret == -EINVAL ? 1 : ret == -ELOOP ? 2 : ret == -EEXIST ? 4 :
			 ret == -EFAULT ? 8 : ret == -EOVERFLOW ? 16 : ret == -E2BIG ? 32 : 64;
	}
	/* The noise is worth something: buffers came through, and every way to fail but a wrap. */
	KUNIT_EXPECT_TRUE(test, fetched > 1000);
	KUNIT_EXPECT_EQ(test, kinds & ~16U, 0x6fU);
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(hostile, hostile_gen_params),
	KUNIT_CASE(same_head_twice),
	KUNIT_CASE(avail_idx_runaway),
	KUNIT_CASE(more_than_the_ring),
	KUNIT_CASE(used_ring_overwritten),
	KUNIT_CASE(noise),
	{}
};

static struct kunit_suite virtq_hostile_suite = {
	.name = "virtq_hostile",
	.test_cases = cases,
};

kunit_test_suite(virtq_hostile_suite);
