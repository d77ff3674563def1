// SPDX-License-Identifier: GPL-2.0
/* The driver's side of a ring, for tests: memory, and what does not depend on the layout. */
#include <kunit/test.h>
#include <linux/align.h>
#include <linux/errno.h>
#include <linux/string.h>

#include "guest.h"

static bool guest_mapped(const struct virtq_mem *mem, u64 addr, u64 len)
{
	if (addr < GUEST_BASE || len > GUEST_SIZE || addr - GUEST_BASE > GUEST_SIZE - len)
		return false;
	return addr >= mem->hole + mem->hole_len || addr + len <= mem->hole;
}

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	mem->reads++;
	if (!len)
		return 0;
	if (!guest_mapped(mem, addr, len))
		return -EFAULT;
	mem->bytes += len;
	memcpy(dst, mem->ram + (addr - GUEST_BASE), len);
	return 0;
}

u64 guest_alloc(struct guest *g, u32 len)
{
	u32 at = ALIGN(g->brk, 16);

	KUNIT_ASSERT_LE(g->test, at + len, (u32)GUEST_SIZE);
	g->brk = at + len;
	memset(g->mem.ram + at, 0, len);
	return GUEST_BASE + at;
}

void *guest_ptr(struct guest *g, u64 addr, u32 len)
{
	KUNIT_ASSERT_TRUE(g->test, guest_mapped(&g->mem, addr, len));
	return g->mem.ram + (addr - GUEST_BASE);
}

void *guest_area(struct guest *g, u32 len)
{
	return guest_ptr(g, guest_alloc(g, len), len);
}

struct guest *guest_new(struct kunit *test, const struct guest_opts *opts)
{
	struct guest *g = kunit_kzalloc(test, sizeof(*g), GFP_KERNEL);
	struct virtq_pos pos = { 0 };

	KUNIT_ASSERT_NOT_NULL(test, g);
	g->test = test;
	g->mem.ram = kunit_kzalloc(test, GUEST_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, g->mem.ram);

	g->layout = opts->layout == VIRTQ_PACKED ? &guest_packed : &guest_split;
	g->num = opts->num;
	g->event_idx = opts->event_idx;
	g->in_order = opts->in_order;
	g->nr_free = g->num;

	g->cfg.layout = opts->layout;
	g->cfg.num = g->num;
	g->cfg.event_idx = opts->event_idx;
	g->cfg.indirect = opts->indirect;
	g->cfg.in_order = opts->in_order;
	g->cfg.max_segs = opts->max_segs ?: VIRTQ_MAX_NUM;
	/* Exactly as long as the engine may assume: what is behind is poisoned where it can be. */
	g->cfg.segs = kunit_kzalloc(test, g->cfg.max_segs * sizeof(*g->cfg.segs), GFP_KERNEL);
	g->cfg.table = kunit_kzalloc(test, VIRTQ_MAX_NUM * sizeof(struct vring_desc), GFP_KERNEL);
	g->cfg.mem = &g->mem;
	KUNIT_ASSERT_NOT_NULL(test, g->cfg.segs);
	KUNIT_ASSERT_NOT_NULL(test, g->cfg.table);
	if (opts->in_order) {
		g->cfg.order = kunit_kzalloc(test, sizeof(*g->cfg.order), GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, g->cfg.order);
	}
	g->layout->init(g, opts->start, &pos);
	KUNIT_ASSERT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), 0);
	return g;
}

u64 guest_table(struct guest *g, u16 id)
{
	if (!g->table[id])
		g->table[id] = guest_alloc(g, GUEST_TABLE * sizeof(struct vring_desc));
	return g->table[id];
}

int guest_add(struct guest *g, const struct virtq_seg *segs, unsigned int nr,
	      unsigned int nr_direct)
{
	unsigned int slots = nr_direct + (nr > nr_direct), in_table = nr - nr_direct, i;
	int id;

	if (slots > g->nr_free)
		return -ENOSPC;
	KUNIT_ASSERT_LE(g->test, in_table, (unsigned int)GUEST_TABLE);
	id = g->layout->add(g, segs, slots, in_table);

	g->direct[id] = slots;
	g->in_len[id] = 0;
	for (i = 0; i < nr; i++)
		if (segs[i].flags & VIRTQ_SEG_WRITE)
			g->in_len[id] += segs[i].len;
	if (g->in_order)
		g->order[(g->first + g->nr_out++) % g->num] = id;
	return id;
}

void guest_expose(struct guest *g)
{
	g->layout->expose(g);
}

bool guest_kick(struct guest *g)
{
	return g->layout->kick(g);
}

/* In order, an entry stands for the buffers up to its own: how many are these? */
static void guest_start_batch(struct guest *g, u16 id, u32 len)
{
	unsigned int n;

	for (n = 0; n < g->nr_out; n++)
		if (g->order[(g->first + n) % g->num] == id)
			break;
	KUNIT_ASSERT_LT(g->test, n, (unsigned int)g->nr_out);
	g->batch = n + 1;
	g->batch_id = id;
	g->batch_len = len;
}

int guest_reap(struct guest *g, u16 *id, u32 *len)
{
	if (!g->batch) {
		if (!g->layout->peek(g, id, len))
			return 0;
		KUNIT_ASSERT_LT(g->test, *id, g->num);
		if (g->in_order)
			guest_start_batch(g, *id, *len);
	}
	if (g->in_order) {
		*id = g->order[g->first];
		/* Those that were skipped are used completely, virtio 1.4, 2.7.14 and 2.8.12. */
		*len = *id == g->batch_id ? g->batch_len : g->in_len[*id];
		g->first = (g->first + 1) % g->num;
		g->nr_out--;
		g->batch--;
	}
	g->layout->done(g, *id);
	g->direct[*id] = 0;
	return 1;
}

bool guest_want_call(struct guest *g)
{
	u16 id;
	u32 len;

	g->layout->want_call(g);
	return g->batch || g->layout->peek(g, &id, &len);
}

void guest_refuse_call(struct guest *g)
{
	g->layout->refuse_call(g);
}

void guest_make_segs(struct virtq_seg *segs, unsigned int nr_out, unsigned int nr_in, u32 salt)
{
	unsigned int i;

	for (i = 0; i < nr_out + nr_in; i++) {
		segs[i].addr = 0x123400000000ULL + ((u64)salt << 20) + (i << 12);
		segs[i].len = salt + i;
		segs[i].flags = i < nr_out ? 0 : VIRTQ_SEG_WRITE;
	}
}

void guest_expect_chain(struct guest *g, const struct virtq_chain *chain, u16 id, u16 ndesc,
			const struct virtq_seg *segs, unsigned int nr_out, unsigned int nr_in)
{
	struct kunit *test = g->test;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, chain->id, id);
	KUNIT_EXPECT_EQ(test, chain->ndesc, ndesc);
	KUNIT_ASSERT_EQ(test, chain->nr_segs, nr_out + nr_in);
	KUNIT_EXPECT_EQ(test, chain->nr_out, nr_out);
	KUNIT_EXPECT_PTR_EQ(test, chain->segs, g->cfg.segs);
	for (i = 0; i < nr_out + nr_in; i++) {
		KUNIT_EXPECT_EQ(test, chain->segs[i].addr, segs[i].addr);
		KUNIT_EXPECT_EQ(test, chain->segs[i].len, segs[i].len);
		KUNIT_EXPECT_EQ(test, chain->segs[i].flags, segs[i].flags);
	}
}

void guest_publish(struct guest *g, const struct virtq_chain *chain, u32 len)
{
	struct virtq_done done = { .id = chain->id, .ndesc = chain->ndesc, .len = len };

	virtq_publish(&g->vq, &done, 1);
}

u32 guest_rand(u64 *state)
{
	/* splitmix64 */
	u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z ^ (z >> 31)) >> 32;
}
