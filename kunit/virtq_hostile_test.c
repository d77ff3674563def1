// SPDX-License-Identifier: GPL-2.0
/*
 * Rings that break the rules, and what only looks like it: one row for each single buffer, then
 * what takes more than one look. Both layouts, and the second half with every rule for the order
 * of used buffers. A driver that rewrites all this while it is read is in tools/native/race.c.
 */
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <uapi/linux/vhost_inflight.h>

#include "guest.h"

#define N	VRING_DESC_F_NEXT
#define W	VRING_DESC_F_WRITE
#define I	VRING_DESC_F_INDIRECT
#define AVAIL_USED (BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED))
/* Stand for the address of the row's table, and of the descriptors themselves. */
#define TABLE	0x7ab1e0000001ULL
#define RING	0x7ab1e0000002ULL
/* A split descriptor goes on there, and not in the one behind it. */
#define TO(n)	((n) + 1U)

/* Ring sizes, and the first slot of the packed one: it is at the end of a lap. */
#define SPLIT_NUM	8
#define PACKED_NUM	5
#define PACKED_START	3

enum { SPLIT = BIT(VIRTQ_SPLIT), PACKED = BIT(VIRTQ_PACKED), BOTH = SPLIT | PACKED };

struct raw_desc {
	u64 addr;
	u32 len;
	u16 flags;
	u32 to;			/* split: TO() */
	u16 id;			/* packed */
	bool old;		/* packed: not available */
};

struct hostile_row {
	const char *name;
	unsigned int layouts;
	int expect;		/* of virtq_fetch() */
	u16 nr_segs;		/* if that is 1; 0: the ring's size */
	u16 head;		/* split */
	u16 max_segs;
	bool no_indirect;	/* the feature was not negotiated */
	u64 hole, hole_len;	/* within the table, taken from the map */
	struct raw_desc desc[8], table[8];
};

static const struct hostile_row rows[] = {
	{ "head at num", SPLIT, -EINVAL, .head = SPLIT_NUM },
	{ "head at 65535", SPLIT, -EINVAL, .head = 0xffff },
	{ "next at num", SPLIT, -EINVAL, .desc = { { 0x1000, 16, N, TO(SPLIT_NUM) } } },
	{ "next at 65535", SPLIT, -EINVAL, .desc = { { 0x1000, 16, N, TO(0xffff) } } },
	{ "next out of range without NEXT", SPLIT, 1, 1,
	  .desc = { { 0x1000, 16, 0, TO(0xffff) } } },
	{ "id at num", PACKED, -EINVAL, .desc = { { 0x1000, 16, 0, .id = PACKED_NUM } } },
	{ "id at 65535", PACKED, -EINVAL, .desc = { { 0x1000, 16, 0, .id = 0xffff } } },
	{ "id out of range in a chain", PACKED, -EINVAL,
	  .desc = { { 0x1000, 16, N }, { 0x1000, 16, 0, .id = PACKED_NUM } } },
	{ "id out of range but in the last", PACKED, 1, 2,
	  .desc = { { 0x1000, 16, N, .id = 0xffff }, { 0x1000, 16, 0 } } },
	{ "id out of range beside a table", PACKED, -EINVAL,
	  .desc = { { TABLE, 16, I, .id = PACKED_NUM } }, .table = { { 0x1000, 16, 0 } } },

	{ "chain that loops onto itself", SPLIT, -ELOOP, .desc = { { 0x1000, 16, N, TO(0) } } },
	{ "chain that loops over two", SPLIT, -ELOOP,
	  .desc = { { 0x1000, 16, N }, { 0x1000, 16, N, TO(0) } } },
	{ "chain that loops behind a tail", SPLIT, -ELOOP,
	  .desc = { { 0x1000, 1, N }, { 0x1000, 1, N }, { 0x1000, 1, N, TO(1) } } },
	{ "chain that loops over empty segments", SPLIT, -ELOOP,
	  .desc = { { 0x1000, 0, N, TO(0) } } },
	{ "chain that loops with no room to spare", SPLIT, -ELOOP, .max_segs = SPLIT_NUM,
	  .desc = { { 0x1000, 16, N, TO(0) } } },
	{ "chain of the whole ring", SPLIT, 1, .max_segs = SPLIT_NUM,
	  .desc = { { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N },
		    { 0, 1, N }, { 0, 1, 0 } } },
	{ "chain of the whole ring", PACKED, 1, .max_segs = PACKED_NUM,
	  .desc = { { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, 0 } } },
	{ "chain round the ring onto itself", PACKED, -ELOOP, .max_segs = PACKED_NUM,
	  .desc = { { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N } } },
	{ "chain of empty segments round the ring", PACKED, -ELOOP,
	  .desc = { { 0, 0, N }, { 0, 0, N }, { 0, 0, N }, { 0, 0, N }, { 0, 0, N } } },
	{ "chain into what is not available", PACKED, -EINVAL,
	  .desc = { { 0x1000, 16, N }, { 0x1000, 16, 0, .old = true } } },
	{ "chain over the end into what is not available", PACKED, -EINVAL,
	  .desc = { { 0x1000, 16, N }, { 0x1000, 16, N }, { 0x1000, 16, 0, .old = true } } },

	{ "writable before readable", BOTH, -EINVAL,
	  .desc = { { 0x1000, 16, N | W }, { 0x1000, 16, 0 } } },
	{ "readable between writables", BOTH, -EINVAL,
	  .desc = { { 0x1000, 16, N | W }, { 0x1000, 16, N }, { 0x1000, 16, W } } },
	{ "empty writable before readable", BOTH, -EINVAL,
	  .desc = { { 0x1000, 0, N | W }, { 0x1000, 16, 0 } } },
	{ "writable before readable in the table", BOTH, -EINVAL, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 16, N | W }, { 0x1000, 16, 0 } } },
	{ "writable in the ring before readable in the table", SPLIT, -EINVAL,
	  .desc = { { 0x1000, 16, N | W }, { TABLE, 16, I } },
	  .table = { { 0x1000, 16, 0 } } },

	{ "sum of lengths 2^32", BOTH, 1, 2,
	  .desc = { { 0x1000, 0x80000000, N }, { 0x1000, 0x80000000, 0 } } },
	{ "sum of lengths 2^32 + 1", BOTH, -EOVERFLOW,
	  .desc = { { 0x1000, 0x80000000, N }, { 0x1000, 0x80000001, 0 } } },
	{ "sum of lengths 2^32 + 1 in the table", BOTH, -EOVERFLOW, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 0xffffffff, N }, { 0x1000, 2, W } } },
	{ "sum of lengths 2^32 + 1 with the table's", SPLIT, -EOVERFLOW,
	  .desc = { { 0x1000, 0xffffffff, N }, { TABLE, 16, I } },
	  .table = { { 0x1000, 2, W } } },
	{ "sum of lengths that overflows 32 bits to 0", BOTH, -EOVERFLOW,
	  .desc = { { 0, 0x80000000, N }, { 0, 0x80000000, N }, { 0, 0x80000000, N },
		    { 0, 0x80000000, 0 } } },
	{ "five lengths of 2^32 - 1", BOTH, -EOVERFLOW,
	  .desc = { { 0, -1, N }, { 0, -1, N }, { 0, -1, N }, { 0, -1, N }, { 0, -1, 0 } } },
	{ "eight lengths of 2^32 - 1", SPLIT, -EOVERFLOW,
	  .desc = { { 0, -1, N }, { 0, -1, N }, { 0, -1, N }, { 0, -1, N },
		    { 0, -1, N }, { 0, -1, N }, { 0, -1, N }, { 0, -1, 0 } } },
	{ "length 2^32 - 1", BOTH, 1, 1, .desc = { { 0, 0xffffffff, 0 } } },
	{ "segment wraps", BOTH, -EOVERFLOW, .desc = { { ~0ULL - 14, 16, 0 } } },
	{ "segment wraps in the table", BOTH, -EOVERFLOW, .desc = { { TABLE, 16, I } },
	  .table = { { ~0ULL - 1, 3, W } } },
	{ "segment just below the end", BOTH, 1, 1, .desc = { { ~0ULL - 16, 16, 0 } } },
	{ "empty segment at the end", BOTH, 1, 1, .desc = { { ~0ULL, 0, 0 } } },
	{ "empty segments", BOTH, 1, 3, .desc = { { 0, 0, N }, { 0, 0, N | W }, { 0, 0, W } } },
	{ "unknown flags", BOTH, 1, 1, .desc = { { 0x1000, 16, 0xfff8 } } },

	{ "table without the feature", BOTH, -EINVAL, .no_indirect = true,
	  .desc = { { TABLE, 16, I } }, .table = { { 0x1000, 16, 0 } } },
	{ "empty table", BOTH, -EINVAL, .desc = { { TABLE, 0, I } } },
	{ "table of 8 bytes", BOTH, -EINVAL, .desc = { { TABLE, 8, I } } },
	{ "table of 17 bytes", BOTH, -EINVAL, .desc = { { TABLE, 17, I } } },
	{ "table of 1025 entries", BOTH, -E2BIG, .desc = { { TABLE, 1025 * 16, I } } },
	{ "table of 2^20 entries", BOTH, -E2BIG, .desc = { { TABLE, 16 << 20, I } } },
	{ "table of 2^32 - 16 bytes", BOTH, -E2BIG, .desc = { { TABLE, 0xfffffff0, I } } },
	{ "table of 2^32 - 16 bytes at the end", BOTH, -E2BIG,
	  .desc = { { ~0ULL - 15, 0xfffffff0, I } } },
	{ "table of 2^32 - 1 bytes", BOTH, -EINVAL, .desc = { { TABLE, 0xffffffff, I } } },
	{ "table with NEXT beside it", BOTH, -EINVAL,
	  .desc = { { TABLE, 16, I | N }, { 0x1000, 16, 0 } }, .table = { { 0x1000, 16, 0 } } },
	{ "table behind a chain", SPLIT, 1, 2, .desc = { { 0x1000, 16, N }, { TABLE, 16, I } },
	  .table = { { 0x1000, 16, 0 } } },
	{ "table behind a chain", PACKED, -EINVAL,
	  .desc = { { 0x1000, 16, N }, { TABLE, 16, I } }, .table = { { 0x1000, 16, 0 } } },
	{ "table behind a whole ring", SPLIT, 1,
	  .desc = { { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N },
		    { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { TABLE, 16, I } },
	  .table = { { 0x1000, 1, 0 } } },
	{ "table not mapped", BOTH, -EFAULT, .desc = { { 0x1000, 16, I } } },
	{ "table wraps around the address space", BOTH, -EFAULT,
	  .desc = { { ~0ULL - 15, 32, I } } },
	{ "table with a hole", BOTH, -EFAULT, .hole = 24, .hole_len = 1,
	  .desc = { { TABLE, 32, I } } },
	{ "hole behind the table", BOTH, 1, 1, .hole = 16, .hole_len = 8,
	  .desc = { { TABLE, 16, I } }, .table = { { 0x1000, 16, 0 } } },
	/* In a packed table only WRITE means anything. */
	{ "table in a table", SPLIT, -EINVAL, .desc = { { TABLE, 16, I } },
	  .table = { { TABLE, 16, I } } },
	{ "table in a table", PACKED, 1, 1, .desc = { { TABLE, 16, I } },
	  .table = { { TABLE, 16, I } } },
	{ "table in a table behind a segment", SPLIT, -EINVAL, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 16, N }, { 0x1000, 16, I | W } } },
	{ "table in a table behind a segment", PACKED, 1, 2, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 16, N }, { 0x1000, 16, I | W } } },
	{ "table that is the ring", SPLIT, -EINVAL, .desc = { { RING, 16, I } } },
	{ "table that is the ring", PACKED, 1, .desc = { { RING, 16 * PACKED_NUM, I } } },
	{ "next behind the table", SPLIT, -EINVAL, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 16, N, TO(2) } } },
	{ "NEXT in a table of one", SPLIT, -ELOOP, .desc = { { TABLE, 16, I } },
	  .table = { { 0x1000, 16, N, TO(0) } } },
	{ "loop in the table", SPLIT, -ELOOP, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 16, N }, { 0x1000, 16, N, TO(0) } } },
	{ "NEXT in the last of a table", PACKED, 1, 2, .desc = { { TABLE, 32, I } },
	  .table = { { 0x1000, 16, 0 }, { 0x1000, 16, N, .id = 9 } } },
	{ "used flags in a table", PACKED, 1, 1, .desc = { { TABLE, 16, I } },
	  .table = { { 0x1000, 16, AVAIL_USED, .id = 0xffff } } },
	{ "only part of the table used", SPLIT, 1, 1, .desc = { { TABLE, 64, I } },
	  .table = { { 0x1000, 16, 0 } } },
	{ "WRITE beside the table", BOTH, 1, 2, .desc = { { TABLE, 32, I | W } },
	  .table = { { 0x1000, 16, N }, { 0x1000, 16, W } } },
	{ "WRITE beside the table behind writable", SPLIT, 1, 2,
	  .desc = { { 0x1000, 16, N | W, TO(3) }, [3] = { TABLE, 16, I } },
	  .table = { { 0x1000, 16, W } } },
	{ "more segments than there is room for", SPLIT, -E2BIG, .max_segs = SPLIT_NUM,
	  .desc = { { 0x1000, 1, N }, { 0x1000, 1, N }, { TABLE, 128, I } },
	  .table = { { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N },
		     { 0, 1, N }, { 0, 1, 0 } } },
	{ "as many segments as there is room for", SPLIT, 1, .max_segs = SPLIT_NUM,
	  .desc = { { 0x1000, 1, N }, { 0x1000, 1, N }, { TABLE, 128, I } },
	  .table = { { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N }, { 0, 1, N },
		     { 0, 1, 0 } } },
	{ "more segments than there is room for", PACKED, -E2BIG, .max_segs = PACKED_NUM,
	  .desc = { { TABLE, 96, I } } },
	{ "as many segments as there is room for", PACKED, 1, .max_segs = PACKED_NUM,
	  .desc = { { TABLE, 80, I } } },
};

/* The next row from @row on that is about @layout. */
static const void *next_row(const struct hostile_row *row, enum virtq_layout layout, char *desc)
{
	for (; row < rows + ARRAY_SIZE(rows); row++)
		if (row->layouts & BIT(layout)) {
			strscpy(desc, row->name, KUNIT_PARAM_DESC_SIZE);
			return row;
		}
	return NULL;
}

static const void *split_gen_params(const void *prev, char *desc)
{
	const struct hostile_row *row = prev;

	return next_row(row ? row + 1 : rows, VIRTQ_SPLIT, desc);
}

static const void *packed_gen_params(const void *prev, char *desc)
{
	const struct hostile_row *row = prev;

	return next_row(row ? row + 1 : rows, VIRTQ_PACKED, desc);
}

static u64 row_addr(struct guest *g, u64 addr, u64 table)
{
	if (addr == RING)
		return GUEST_BASE + ((u8 *)g->cfg.desc - g->mem.ram);
	return addr == TABLE ? table : addr;
}

static void put_split(struct guest *g, const struct hostile_row *row, u64 table)
{
	struct vring_desc *entries = guest_ptr(g, table, sizeof(row->table));
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(row->desc); i++) {
		const struct raw_desc *d = &row->desc[i], *t = &row->table[i];

		guest_desc(g->desc, i, row_addr(g, d->addr, table), d->len, d->flags,
			   d->to ? d->to - 1 : i + 1);
		guest_desc(entries, i, row_addr(g, t->addr, table), t->len, t->flags,
			   t->to ? t->to - 1 : i + 1);
	}
	guest_put(g, row->head);
	guest_expose(g);
}

/* The @i-th slot from the first on. */
static void put_slot(struct guest *g, unsigned int i, const struct raw_desc *d, u64 table)
{
	bool wrap = PACKED_START + i < PACKED_NUM;
	u16 flags = guest_avail_flags(d->old ? !wrap : wrap);

	guest_slot(g, (PACKED_START + i) % PACKED_NUM, row_addr(g, d->addr, table), d->len, d->id,
		   flags | (d->flags & ~AVAIL_USED));
}

static void put_packed(struct guest *g, const struct hostile_row *row, u64 table)
{
	struct vring_desc *entries = guest_ptr(g, table, sizeof(row->table));
	unsigned int i;

	for (i = 0; i < PACKED_NUM; i++)
		put_slot(g, i, &row->desc[i], table);
	for (i = 0; i < ARRAY_SIZE(row->table); i++) {
		const struct raw_desc *t = &row->table[i];

		/* Flags and next of a split ring are id and flags here. */
		guest_desc(entries, i, row_addr(g, t->addr, table), t->len, t->id, t->flags);
	}
}

/* The first descriptor is a good buffer now. */
static void mend(struct guest *g)
{
	if (g->cfg.layout == VIRTQ_PACKED) {
		put_slot(g, 0, &(struct raw_desc){ 0x1000, 16 }, 0);
		return;
	}
	guest_raw_undo(g);
	guest_raw(g, 0, 0x1000, 16, 0);
}

static void expect_error(struct guest *g, int error, const struct virtq_pos *old)
{
	struct kunit *test = g->test;
	struct virtq_chain chain;
	struct virtq_pos pos;

	/* It stays where it is and it stays broken, and whoever looks is sent to fetch. */
	virtq_get_pos(&g->vq, &pos);
	KUNIT_EXPECT_EQ(test, pos.avail, old->avail);
	KUNIT_EXPECT_EQ(test, pos.avail_wrap, old->avail_wrap);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), error);
	KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
	KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
	/* The table was read no more often than it was looked for. */
	KUNIT_EXPECT_LE(test, g->mem.reads, 2U);

	/* Once the driver has mended it, it goes on: the bad buffer left nothing behind. */
	mend(g);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.id, 0);
	KUNIT_EXPECT_EQ(test, chain.ndesc, 1);
}

static void one_row(struct kunit *test, enum virtq_layout layout)
{
	const struct hostile_row *row = test->param_value;
	const bool packed = layout == VIRTQ_PACKED;
	struct guest *g = guest_new(test, &(struct guest_opts){
		.layout = layout,
		.num = packed ? PACKED_NUM : SPLIT_NUM,
		.start = packed ? PACKED_START : 65535,
		.event_idx = true,
		.indirect = !row->no_indirect,
		.max_segs = row->max_segs,
	});
	u64 table = guest_alloc(g, 1025 * sizeof(struct vring_desc));
	struct virtq_pos pos, old, want;
	struct virtq_chain chain;
	u8 *before;

	(packed ? put_packed : put_split)(g, row, table);
	g->mem.hole = table + row->hole;
	g->mem.hole_len = row->hole_len;
	virtq_get_pos(&g->vq, &old);
	before = kunit_kzalloc(test, g->brk, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, before);
	memcpy(before, g->mem.ram, g->brk);

	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), row->expect);
	/* Whatever it was, nothing was written. */
	KUNIT_EXPECT_MEMEQ(test, before, g->mem.ram, g->brk);
	virtq_get_pos(&g->vq, &pos);
	KUNIT_EXPECT_EQ(test, pos.used, old.used);
	KUNIT_EXPECT_EQ(test, pos.used_wrap, old.used_wrap);
	if (row->expect != 1) {
		expect_error(g, row->expect, &old);
		return;
	}
	KUNIT_EXPECT_EQ(test, chain.nr_segs, row->nr_segs ?: g->num);
	want = (struct virtq_pos){ .avail = 0 };
	if (packed) {
		want.avail = (PACKED_START + chain.ndesc) % PACKED_NUM;
		want.avail_wrap = PACKED_START + chain.ndesc < PACKED_NUM;
	}
	KUNIT_EXPECT_EQ(test, pos.avail, want.avail);
	KUNIT_EXPECT_EQ(test, pos.avail_wrap, want.avail_wrap);
}

static void split(struct kunit *test)
{
	one_row(test, VIRTQ_SPLIT);
}

static void packed(struct kunit *test)
{
	one_row(test, VIRTQ_PACKED);
}

/* From here on the rings of both layouts, with every rule for the order of what is used. */

struct ring {
	enum virtq_layout layout;
	bool in_order, partial_order;
};

static const struct ring rings[] = {
	{ VIRTQ_SPLIT, false, false }, { VIRTQ_SPLIT, true, false },
	{ VIRTQ_SPLIT, false, true }, { VIRTQ_SPLIT, true, true },
	{ VIRTQ_PACKED, false, false }, { VIRTQ_PACKED, true, false },
	{ VIRTQ_PACKED, false, true }, { VIRTQ_PACKED, true, true },
};

static void describe(const struct ring *r, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s%s",
		 r->layout == VIRTQ_PACKED ? "packed" : "split", r->in_order ? "+in_order" : "",
		 r->partial_order ? "+partial_order" : "");
}

KUNIT_ARRAY_PARAM(ring, rings, describe);

static struct guest *new_ring(struct kunit *test, bool event_idx)
{
	const struct ring *r = test->param_value;
	const bool packed = r->layout == VIRTQ_PACKED;

	return guest_new(test, &(struct guest_opts){
		.layout = r->layout,
		.in_order = r->in_order,
		.partial_order = r->partial_order,
		.num = packed ? PACKED_NUM : SPLIT_NUM,
		.start = packed ? PACKED_START : 65533,
		.event_idx = event_idx,
	});
}

static bool is_packed(const struct guest *g)
{
	return g->cfg.layout == VIRTQ_PACKED;
}

/* A buffer made available that the device must take. */
static void fetch_raw(struct guest *g, u16 id, struct virtq_chain *chain)
{
	guest_raw(g, id, 0x1000, 16, W);
	KUNIT_ASSERT_EQ(g->test, virtq_fetch(&g->vq, chain), 1);
	KUNIT_EXPECT_EQ(g->test, chain->id, id);
}

/* The entry @n places from the start on, and that it is the last one to be seen. */
static void expect_used(struct guest *g, unsigned int n, u16 id, u32 len)
{
	struct kunit *test = g->test;
	unsigned int at = PACKED_START + n;

	if (!is_packed(g)) {
		KUNIT_EXPECT_EQ(test, guest_used_idx(g), (u16)(65533 + n + 1));
		KUNIT_EXPECT_EQ(test, guest_elem_id(g, (65533 + n) % SPLIT_NUM) & 0xffff, id);
		KUNIT_EXPECT_EQ(test, guest_elem_len(g, (65533 + n) % SPLIT_NUM), len);
		return;
	}
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, at % PACKED_NUM) & ~VIRTQ_DESC_F_FLUSH,
			guest_used_slot_flags(at < PACKED_NUM) | W);
	KUNIT_EXPECT_EQ(test, guest_slot_id(g, at % PACKED_NUM), id);
	KUNIT_EXPECT_EQ(test, guest_slot_len(g, at % PACKED_NUM), len);
}

/* Split: a head; packed: an id. */
static void same_head_twice(struct kunit *test)
{
	struct guest *g = new_ring(test, false);
	struct virtq_chain chain, again;

	fetch_raw(g, 3, &chain);
	guest_raw(g, 3, 0x1000, 16, W);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &again), -EEXIST);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &again), -EEXIST);
	/* Given back, the same head is a new buffer. */
	guest_publish(g, &chain, 16);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &again), 1);
	KUNIT_EXPECT_EQ(test, again.id, 3);
}

/* All places but one are in flight, and the last has each of their ids in turn. */
static void ids_in_use(struct kunit *test)
{
	struct guest *g = new_ring(test, true);
	struct virtq_chain chain;
	unsigned int i;

	for (i = 0; i < g->num - 1; i++)
		fetch_raw(g, i, &chain);
	for (i = 0; i < g->num - 1; i++) {
		guest_raw(g, i, 0x1000, 16, W);
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -EEXIST);
		guest_raw_undo(g);
	}
	fetch_raw(g, g->num - 1, &chain);
}

/* What waits for its turn to be used is in flight like any other. */
static void id_held_back(struct kunit *test)
{
	const struct ring *r = test->param_value;
	struct guest *g = new_ring(test, true);
	struct virtq_chain first, second, again;

	fetch_raw(g, 0, &first);
	fetch_raw(g, 1, &second);
	guest_publish(g, &second, 16);
	guest_raw(g, 1, 0x1000, 16, W);
	if (r->in_order) {
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &again), -EEXIST);
		guest_publish(g, &first, 16);
	}
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &again), 1);
	KUNIT_EXPECT_EQ(test, again.id, 1);
}

/* The whole ring is in flight; more than that can't be. */
static void more_than_the_ring(struct kunit *test)
{
	struct guest *g = new_ring(test, false);
	struct virtq_chain chain, first;
	unsigned int i;

	fetch_raw(g, 0, &first);
	for (i = 1; i < g->num; i++)
		fetch_raw(g, i, &chain);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
	for (i = 0; i < g->num; i++) {
		guest_raw(g, i, 0x1000, 16, W);
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain),
				is_packed(g) ? -EINVAL : -EEXIST);
		KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
		guest_raw_undo(g);
	}
	/* What is in flight can still be given back. */
	guest_publish(g, &first, 16);
	expect_used(g, 0, 0, 16);
}

/* Split: every distance of the available index from where the device stands, backwards too. */
static void index_runaway(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .num = SPLIT_NUM,
								 .start = 65533 });
	struct virtq_chain chain;
	unsigned int ahead;

	for (ahead = SPLIT_NUM + 1; ahead < 65536; ahead++) {
		guest_set_avail_idx(g, 65533 + ahead);
		KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), -EINVAL);
		KUNIT_EXPECT_FALSE(test, virtq_empty(&g->vq));
		/* The owner is sent to fetch, which says what is wrong. */
		KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&g->vq));
	}
	guest_set_avail_idx(g, 65533);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
}

/* Packed: laps in which the driver makes all available again that it has not got back. */
static void lap_runaway(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .layout = VIRTQ_PACKED,
								 .num = PACKED_NUM });
	struct virtq_chain chain[PACKED_NUM], more;
	unsigned int lap, i;

	for (i = 0; i < PACKED_NUM; i++)
		fetch_raw(g, i, &chain[i]);
	for (lap = 0; lap < 3; lap++) {
		for (i = 0; i < PACKED_NUM; i++)
			guest_raw(g, i, 0x1000, 16, W);
		/* The same flags as those in flight had, or those of the next lap. */
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &more), lap & 1 ? 0 : -EINVAL);
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &more), lap & 1 ? 0 : -EINVAL);
	}
	/* One slot is free, and the next lap is ahead already. */
	guest_publish(g, &chain[0], 16);
	KUNIT_EXPECT_EQ(test, guest_slot_flags(g, 0), guest_used_slot_flags(true) | W);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &more), 0);
	guest_slot(g, 0, 0x1000, 16, 0, guest_avail_flags(false));
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &more), 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &more), -EINVAL);
}

/* Packed: a chain that runs into slots in flight, which were made available again under it. */
static void chain_into_flight(struct kunit *test)
{
	struct guest *g = guest_new(test, &(struct guest_opts){ .layout = VIRTQ_PACKED,
								 .num = PACKED_NUM,
								 .start = PACKED_START });
	struct virtq_chain chain;
	unsigned int i;

	put_slot(g, 0, &(struct raw_desc){ 0x1000, 16, N }, 0);
	put_slot(g, 1, &(struct raw_desc){ 0x1000, 16, 0, .id = 1 }, 0);
	KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(test, chain.ndesc, 2);
	for (i = 2; i < PACKED_NUM; i++)
		put_slot(g, i, &(struct raw_desc){ 0x1000, 16, N, .id = 2 }, 0);
	/* Three slots are left, and the third says that it goes on. */
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -ELOOP);
	guest_slot(g, PACKED_START, 0x1000, 16, 2, guest_avail_flags(false));
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), -ELOOP);
}

/* Sets the flags of every descriptor but the one at hand. */
static void set_flags_around(struct guest *g, u16 flags)
{
	unsigned int i;

	if (!is_packed(g)) {
		for (i = 0; i < SPLIT_NUM; i++)
			guest_desc(g->desc, i, 0x1000, 16, flags, 0);
		guest_set_avail_flags(g, flags);
		return;
	}
	for (i = 1; i < PACKED_NUM; i++)
		guest_set_slot_flags(g, (PACKED_START + i) % PACKED_NUM, flags);
	if ((flags & AVAIL_USED) != guest_avail_flags(true))
		guest_set_slot_flags(g, PACKED_START, flags);
}

/* Any flags anywhere: what is not available is not taken. */
static void flags_flapping(struct kunit *test)
{
	struct guest *g = new_ring(test, false);
	struct virtq_chain chain;
	unsigned int flags;

	for (flags = 0; flags < 65536; flags++) {
		set_flags_around(g, flags);
		KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
		KUNIT_EXPECT_TRUE(test, virtq_empty(&g->vq));
	}
}

/* A lone descriptor with every flags there are: three of them count. */
static void flags_of_a_buffer(struct kunit *test)
{
	struct guest *g = new_ring(test, false);
	struct virtq_chain chain;
	unsigned int flags;
	int want;

	for (flags = 0; flags < 65536; flags++) {
		if (is_packed(g) && flags & AVAIL_USED)
			continue;
		/* A split descriptor goes on in itself, a packed one where nothing is. */
		want = flags & I ? -EINVAL : flags & N ? is_packed(g) ? -EINVAL : -ELOOP : 1;
		guest_raw(g, 0, 0x1000, 16, flags);
		KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), want);
		if (want < 0) {
			guest_raw_undo(g);
			continue;
		}
		KUNIT_EXPECT_EQ(test, chain.nr_segs, 1);
		KUNIT_EXPECT_EQ(test, chain.nr_out, !(flags & W));
		guest_publish(g, &chain, 0);
	}
}

/* After it was taken a buffer's flags may do what they like. */
static void flags_flapping_in_flight(struct kunit *test)
{
	struct guest *g = new_ring(test, false);
	struct virtq_chain chain, more;
	unsigned int flags;

	fetch_raw(g, 1, &chain);
	for (flags = 0; flags < 65536; flags++) {
		if (is_packed(g))
			guest_set_slot_flags(g, PACKED_START, flags);
		else
			guest_desc(g->desc, 1, 0x1000, 16, flags, 1);
		KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &more), 0);
	}
	guest_publish(g, &chain, 7);
	expect_used(g, 0, 1, 7);
}

/* The driver's event flags: split: bit 0 counts; packed: two bits, of which a value is reserved. */
static void event_flags_reserved(struct kunit *test)
{
	struct guest *g = new_ring(test, false);
	struct virtq_chain chain;
	unsigned int flags;
	bool want;

	for (flags = 0; flags < 65536; flags++) {
		if (is_packed(g)) {
			/* DESC means nothing without EVENT_IDX; rather once too often. */
			want = (flags & 3) != VRING_PACKED_EVENT_FLAG_DISABLE;
			guest_set_event(g, 0x7fff, flags);
		} else {
			want = !(flags & VRING_AVAIL_F_NO_INTERRUPT);
			guest_set_avail_flags(g, flags);
		}
		fetch_raw(g, 0, &chain);
		guest_publish(g, &chain, 16);
		KUNIT_EXPECT_EQ(test, virtq_need_call(&g->vq), want);
		KUNIT_EXPECT_FALSE(test, virtq_need_call(&g->vq));
	}
}

/* With EVENT_IDX: packed: all but DESC means the same; split: nothing does. */
static void event_flags_reserved_event_idx(struct kunit *test)
{
	struct guest *g = new_ring(test, true);
	struct virtq_chain chain;
	unsigned int flags;
	bool want;

	if (!is_packed(g))
		guest_set_used_event(g, 0x1234);
	for (flags = 0; flags < 65536; flags++) {
		if (is_packed(g)) {
			want = !(flags & 3) || (flags & 3) == 3;
			guest_set_event(g, 0x7fff, flags);
		} else {
			want = guest_used_idx(g) == 0x1234;
			guest_set_avail_flags(g, flags);
		}
		fetch_raw(g, 0, &chain);
		guest_publish(g, &chain, 16);
		KUNIT_EXPECT_EQ(test, virtq_need_call(&g->vq), want);
	}
}

/* Every value of the event itself: the one that names the place used is the one that counts. */
static void event_beyond_the_ring(struct kunit *test)
{
	struct guest *g = new_ring(test, true);
	unsigned int i, at = PACKED_START, calls = 0;
	struct virtq_chain chain;
	bool want;

	for (i = 0; i < 65536; i++) {
		/* Each once, and not always as far from where the ring is. */
		const u16 event = 3 * i + 1, slot = event & 0x7fff;

		/* Up to a lap beyond the end it may be taken for a slot of the next. */
		if (is_packed(g) && slot >= PACKED_NUM && slot < 2 * PACKED_NUM)
			continue;
		if (is_packed(g)) {
			want = event == (at % PACKED_NUM | (at < PACKED_NUM ? 0x8000 : 0));
			guest_set_event(g, event, VRING_PACKED_EVENT_FLAG_DESC);
		} else {
			want = event == guest_used_idx(g);
			guest_set_used_event(g, event);
		}
		fetch_raw(g, 0, &chain);
		guest_publish(g, &chain, 16);
		KUNIT_EXPECT_EQ(test, virtq_need_call(&g->vq), want);
		calls += want;
		at = (at + 1) % (2 * PACKED_NUM);
	}
	KUNIT_EXPECT_GT(test, calls, 0U);
}

/* The driver may scribble over what the device has written: no answer depends on it. */
static void used_overwritten(struct kunit *test)
{
	struct guest *g = new_ring(test, true);
	struct virtq_chain first, second;

	fetch_raw(g, 1, &first);
	fetch_raw(g, 2, &second);
	memset(g->cfg.device, 0xff, is_packed(g) ? 4 : 6 + 8 * SPLIT_NUM);
	if (is_packed(g))
		memset(g->ring, 0xff, 16 * PACKED_NUM);
	guest_publish(g, &first, 77);
	expect_used(g, 0, 1, 77);
	memset(g->cfg.device, 0xff, is_packed(g) ? 4 : 6 + 8 * SPLIT_NUM);
	if (is_packed(g))
		memset(g->ring, 0xff, 16 * PACKED_NUM);
	guest_publish(g, &second, 78);
	expect_used(g, 1, 2, 78);
	fetch_raw(g, 1, &first);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
	KUNIT_EXPECT_TRUE(test, guest_kick_wanted_next(g));
}

/* A broken buffer is no reason to keep the others. */
static void others_come_back(struct kunit *test)
{
	struct guest *g = new_ring(test, true);
	struct virtq_chain first, second, bad;

	fetch_raw(g, 1, &first);
	fetch_raw(g, 2, &second);
	guest_raw(g, 0, ~0ULL, 2, 0);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &bad), -EOVERFLOW);
	guest_publish(g, &first, 5);
	expect_used(g, 0, 1, 5);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &bad), -EOVERFLOW);
	guest_publish(g, &second, 6);
	expect_used(g, 1, 2, 6);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &bad), -EOVERFLOW);
}

static void split_noise(struct guest *g, u64 table, u64 *seed)
{
	struct vring_desc *entries = guest_ptr(g, table, 64 * sizeof(*entries));
	unsigned int i;

	for (i = 0; i < SPLIT_NUM; i++) {
		u32 r = guest_rand(seed);

		guest_desc(g->desc, i, r & 1 ? table : r, r & 2 ? 16 * (r % 64) : r,
			   guest_rand(seed) & 7, guest_rand(seed) % (SPLIT_NUM + 1));
		guest_put(g, guest_rand(seed) % (SPLIT_NUM + (r % 8 == 0)));
	}
	for (i = 0; i < 64; i++)
		guest_desc(entries, i, guest_rand(seed), guest_rand(seed) >> 8,
			   guest_rand(seed) % 8 ? N : guest_rand(seed) & 7, guest_rand(seed) % 65);
	g->put = 0;
	guest_set_avail_idx(g, guest_rand(seed) % (SPLIT_NUM + 2));
	guest_set_used_event(g, guest_rand(seed));
}

static void packed_noise(struct guest *g, u64 table, u64 *seed)
{
	struct vring_desc *entries = guest_ptr(g, table, 64 * sizeof(*entries));
	bool loop = !(guest_rand(seed) % 16);
	unsigned int i;

	for (i = 0; i < PACKED_NUM; i++) {
		u32 r = guest_rand(seed);
		u16 flags = r >> 16 & 0xff07;

		if (guest_rand(seed) % 16)
			flags = (flags & ~AVAIL_USED) | guest_avail_flags(true);
		/* Loops need all of them. */
		if (loop)
			flags = (flags & ~I) | N;
		guest_slot(g, i, r & 1 ? table : r, r & 2 ? 16 * (r % 64) : r,
			   guest_rand(seed) % (PACKED_NUM + (r % 8 == 0)), flags & ~(r & W));
	}
	for (i = 0; i < 64; i++)
		guest_desc(entries, i, guest_rand(seed), guest_rand(seed) >> 8, guest_rand(seed),
			   guest_rand(seed) % 64 ? 0 : 0xffff);
	guest_set_event(g, guest_rand(seed), guest_rand(seed));
}

/* Noise in every byte the driver owns: any answer, but never outside the arrays. */
static void noise(struct kunit *test)
{
	struct virtq_pos pos = { .avail_wrap = true, .used_wrap = true };
	const struct ring *r = test->param_value;
	unsigned int round, i, fetched = 0, kinds = 0;
	struct virtq_chain chain;
	struct guest *g;
	u64 seed = 3, table;
	int ret;

	g = guest_new(test, &(struct guest_opts){
		.layout = r->layout,
		.in_order = r->in_order,
		.partial_order = r->partial_order,
		.event_idx = true,
		.indirect = true,
		.num = r->layout == VIRTQ_PACKED ? PACKED_NUM : SPLIT_NUM,
	});
	table = guest_alloc(g, 64 * sizeof(struct vring_desc));
	for (round = 0; round < 10000; round++) {
		(is_packed(g) ? packed_noise : split_noise)(g, table, &seed);
		KUNIT_ASSERT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), 0);
		while ((ret = virtq_fetch(&g->vq, &chain)) > 0) {
			fetched++;
			KUNIT_ASSERT_TRUE(test, chain.id < g->num);
			KUNIT_ASSERT_TRUE(test, chain.ndesc && chain.ndesc <= g->num);
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
	KUNIT_CASE_PARAM(split, split_gen_params),
	KUNIT_CASE_PARAM(packed, packed_gen_params),
	KUNIT_CASE_PARAM(same_head_twice, ring_gen_params),
	KUNIT_CASE_PARAM(ids_in_use, ring_gen_params),
	KUNIT_CASE_PARAM(id_held_back, ring_gen_params),
	KUNIT_CASE_PARAM(more_than_the_ring, ring_gen_params),
	KUNIT_CASE(index_runaway),
	KUNIT_CASE(lap_runaway),
	KUNIT_CASE(chain_into_flight),
	KUNIT_CASE_PARAM(flags_flapping, ring_gen_params),
	KUNIT_CASE_PARAM(flags_of_a_buffer, ring_gen_params),
	KUNIT_CASE_PARAM(flags_flapping_in_flight, ring_gen_params),
	KUNIT_CASE_PARAM(event_flags_reserved, ring_gen_params),
	KUNIT_CASE_PARAM(event_flags_reserved_event_idx, ring_gen_params),
	KUNIT_CASE_PARAM(event_beyond_the_ring, ring_gen_params),
	KUNIT_CASE_PARAM(used_overwritten, ring_gen_params),
	KUNIT_CASE_PARAM(others_come_back, ring_gen_params),
	KUNIT_CASE_PARAM(noise, ring_gen_params),
	{}
};

static struct kunit_suite virtq_hostile_suite = {
	.name = "virtq_hostile",
	.test_cases = cases,
};

kunit_test_suite(virtq_hostile_suite);
