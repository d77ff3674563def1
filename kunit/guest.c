// SPDX-License-Identifier: GPL-2.0
/* The driver's side of a ring, for tests: memory, and what does not depend on the layout. */
#include <kunit/test.h>
#include <linux/align.h>
#include <linux/errno.h>
#include <linux/minmax.h>
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

void *guest_move_area(struct guest *g, void *area, u32 len)
{
	void *to = guest_area(g, len);

	memcpy(to, area, len);
	memset(area, 0xff, len);
	return to;
}

void guest_move(struct guest *g)
{
	g->layout->move(g);
	virtq_set_rings(&g->vq, g->cfg.desc, g->cfg.driver, g->cfg.device);
}

const enum virtq_layout guest_layouts[VIRTQ_NR_LAYOUTS] = { VIRTQ_SPLIT, VIRTQ_PACKED };

void guest_describe_layout(const enum virtq_layout *layout, char *desc)
{
	strscpy(desc, *layout == VIRTQ_PACKED ? "packed" : "split", KUNIT_PARAM_DESC_SIZE);
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
	g->partial_order = opts->partial_order;
	g->nr_free = g->num;
	g->max_table = opts->max_table ?: GUEST_TABLE;

	g->cfg.layout = opts->layout;
	g->cfg.num = g->num;
	g->cfg.event_idx = opts->event_idx;
	g->cfg.indirect = opts->indirect;
	g->cfg.in_order = opts->in_order;
	g->cfg.partial_order = opts->partial_order;
	g->cfg.max_segs = opts->max_segs ?: VIRTQ_MAX_NUM;
	/* Exactly as long as the engine may assume: what is behind is poisoned where it can be. */
	g->cfg.segs = kunit_kzalloc(test, g->cfg.max_segs * sizeof(*g->cfg.segs), GFP_KERNEL);
	g->cfg.table = kunit_kzalloc(test, VIRTQ_MAX_NUM * sizeof(struct vring_desc), GFP_KERNEL);
	g->cfg.mem = &g->mem;
	KUNIT_ASSERT_NOT_NULL(test, g->cfg.segs);
	KUNIT_ASSERT_NOT_NULL(test, g->cfg.table);
	if (opts->in_order || opts->partial_order) {
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
		g->table[id] = guest_alloc(g, g->max_table * sizeof(struct vring_desc));
	return g->table[id];
}

int guest_add(struct guest *g, const struct virtq_seg *segs, unsigned int nr,
	      unsigned int nr_direct)
{
	unsigned int slots = nr_direct + (nr > nr_direct), in_table = nr - nr_direct, i;
	int id;

	if (slots > g->nr_free)
		return -ENOSPC;
	KUNIT_ASSERT_LE(g->test, in_table, (unsigned int)g->max_table);
	id = g->layout->add(g, segs, slots, in_table);

	g->direct[id] = slots;
	g->in_len[id] = 0;
	for (i = 0; i < nr; i++)
		if (segs[i].flags & VIRTQ_SEG_WRITE)
			g->in_len[id] += segs[i].len;
	KUNIT_ASSERT_LT(g->test, g->nr_out, g->num);
	g->order[g->nr_out++] = id;
	g->seq[id] = ++g->nr_added;
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

/* The buffers before this one in the order made available: how many are out? */
static unsigned int guest_older(struct guest *g, u16 id)
{
	unsigned int n;

	for (n = 0; n < g->nr_out; n++)
		if (g->order[n] == id)
			break;
	/* It must be out itself. */
	KUNIT_ASSERT_LT(g->test, n, (unsigned int)g->nr_out);
	return n;
}

/*
 * How many buffers does the used entry at hand stand for, from the oldest on up to its own? And may
 * it say so: a FLUSH is right iff the buffers used by now are those up to its own and no others,
 * see <uapi/linux/vhost_inflight.h>.
 */
static unsigned int guest_batch(struct guest *g)
{
	const struct guest_used *used = &g->used_entry;
	unsigned int older = guest_older(g, used->id), n = 1;
	struct kunit *test = g->test;

	if (g->in_order || (g->partial_order && used->flush && g->flushed))
		n = older + 1;
	if (n > 1 && g->partial_order) {
		KUNIT_EXPECT_TRUE(test, used->flush && g->flushed);
		KUNIT_EXPECT_NE(test, g->nr_reaped, g->restarted_at);
	}
	/* What was used before a recovery the device can't know, unless that was in order. */
	if (used->flush || g->in_order || g->seq[used->id] > g->recovered)
		KUNIT_EXPECT_EQ(test, used->flush, g->partial_order && older + 1 == n &&
				g->latest < g->seq[used->id]);
	g->flushed = used->flush;
	return n;
}

int guest_reap(struct guest *g, u16 *id, u32 *len)
{
	unsigned int at = 0;

	if (!g->batch) {
		if (!g->layout->peek(g, &g->used_entry))
			return 0;
		KUNIT_ASSERT_LT(g->test, g->used_entry.id, g->num);
		g->batch = guest_batch(g);
	}
	if (g->batch == 1) {
		at = guest_older(g, g->used_entry.id);
		*len = g->used_entry.len;
	} else {
		/* Those that were skipped are used completely, virtio 1.4, 2.7.14 and 2.8.12. */
		*len = g->in_len[g->order[0]];
	}
	*id = g->order[at];
	g->batch--;
	g->nr_out--;
	g->nr_reaped++;
	g->latest = max(g->latest, g->seq[*id]);
	memmove(&g->order[at], &g->order[at + 1], (g->nr_out - at) * sizeof(*g->order));
	g->layout->done(g, *id);
	g->direct[*id] = 0;
	return 1;
}

bool guest_want_call_at(struct guest *g, int ahead)
{
	struct guest_used used;

	g->layout->want_call(g, ahead);
	return g->batch || g->layout->peek(g, &used);
}

bool guest_want_call(struct guest *g)
{
	return guest_want_call_at(g, 0);
}

bool guest_kick_wanted_next(const struct guest *g)
{
	return g->layout->kick_wanted_next(g);
}

void guest_raw(struct guest *g, u16 id, u64 addr, u32 len, u16 flags)
{
	g->layout->raw(g, id, addr, len, flags);
}

void guest_raw_undo(struct guest *g)
{
	g->layout->raw_undo(g);
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

void guest_restart(struct guest *g)
{
	struct virtq_pos pos;

	virtq_get_pos(&g->vq, &pos);
	memset(&g->vq, 0xff, sizeof(g->vq));
	KUNIT_ASSERT_EQ(g->test, virtq_init(&g->vq, &g->cfg, &pos), 0);
	g->restarted_at = g->nr_reaped;
}

void guest_recovered(struct guest *g, u32 used, u32 taken)
{
	g->restarted_at = used;
	g->recovered = taken;
}

u16 guest_send(struct guest *g, unsigned int n)
{
	struct virtq_seg segs[8];
	int id;

	KUNIT_ASSERT_LE(g->test, n, (unsigned int)ARRAY_SIZE(segs));
	guest_make_segs(segs, 0, n, 7);
	id = guest_add(g, segs, n, n);
	KUNIT_ASSERT_TRUE(g->test, id >= 0);
	return id;
}

void guest_round_trip(struct guest *g, unsigned int n)
{
	struct virtq_chain chain;
	u16 id, sent = guest_send(g, n);
	u32 len;

	guest_expose(g);
	KUNIT_ASSERT_EQ(g->test, virtq_fetch(&g->vq, &chain), 1);
	KUNIT_EXPECT_EQ(g->test, chain.id, sent);
	KUNIT_EXPECT_EQ(g->test, guest_reap(g, &id, &len), 0);
	guest_publish(g, &chain, sent + 1);
	KUNIT_ASSERT_EQ(g->test, guest_reap(g, &id, &len), 1);
	KUNIT_EXPECT_EQ(g->test, id, sent);
	KUNIT_EXPECT_EQ(g->test, len, (u32)sent + 1);
}

void guest_expect_idle(struct guest *g)
{
	struct virtq_pos pos, want = { 0 };

	virtq_get_pos(&g->vq, &pos);
	g->layout->pos(g, &want);
	KUNIT_EXPECT_EQ(g->test, g->nr_out, 0);
	KUNIT_EXPECT_EQ(g->test, pos.avail, want.avail);
	KUNIT_EXPECT_EQ(g->test, pos.avail_wrap, want.avail_wrap);
	KUNIT_EXPECT_EQ(g->test, pos.used, want.used);
	KUNIT_EXPECT_EQ(g->test, pos.used_wrap, want.used_wrap);
}

u32 guest_rand(u64 *state)
{
	/* splitmix64 */
	u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z ^ (z >> 31)) >> 32;
}
