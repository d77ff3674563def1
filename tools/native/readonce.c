// SPDX-License-Identifier: GPL-2.0
/*
 * No byte that a driver can write is loaded twice within one call of the engine or the parser:
 * between two loads it could have changed, and what was checked would not be what is used.
 *
 * The engine is built with readonce_barrier.h, and the linker has every call of its interface and
 * of virtq_mem_read() come through here (--wrap), so that all suites of kunit/ are watched; the
 * suite below adds every shape of a chain with every combination of features. A second load ends
 * the program. With READONCE=flap in the environment it is given another value instead, as a
 * hostile driver would: then the suites see what the engine makes of it.
 *
 * Where the specification wants a second look (virtq_enable_kick()), it is at what an earlier call
 * looked at, so that needs no exception. These do:
 *
 * - a descriptor of a split ring to which a link leads once more: a segment of its own, read and
 *   checked anew, in a chain that is a loop;
 * - a table that lies in the ring's own areas: these and guest memory are two address spaces here;
 * - the engine's copy of a table: not the driver's any more.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <stdlib.h>

#include "../../drivers/vhost_blk/inflight.h"
#include "../../drivers/vhost_blk/req.h"
#include "../../kunit/guest.h"
#include "readonce_barrier.h"

/* All accesses are aligned to 2 or more; bytes of guest memory are counted one by one. */
#define BITS	17
#define SLOTS	BIT(BITS)

static struct {
	const char *call;	/* the one that runs, NULL: none */
	bool flap;
	u64 nr_calls, loads;	/* of them all; of this one */
	const struct virtq *vq;	/* of virtq_fetch() */
	struct byte {
		u64 key;
		u64 call;	/* the last one that loaded it */
		bool loaded;
	} bytes[SLOTS];
} rec;

static __attribute__((constructor)) void mode(void)
{
	const char *s = getenv("READONCE");

	rec.flap = s && !strcmp(s, "flap");
}

static void begin(const char *call)
{
	rec.call = call;
	rec.nr_calls++;
	rec.loads = 0;
}

static void end(void)
{
	rec.call = NULL;
}

static struct byte *byte(u64 key)
{
	unsigned int i = (key * 0x9e3779b97f4a7c15ULL) >> (64 - BITS);

	while (rec.bytes[i].call == rec.nr_calls && rec.bytes[i].key != key)
		i = (i + 1) % SLOTS;
	if (rec.bytes[i].call != rec.nr_calls)
		rec.bytes[i] = (struct byte){ key, rec.nr_calls };
	return &rec.bytes[i];
}

/* Notes down bytes that are loaded together. True if one of them was before. */
static bool note(const char *where, u64 from, u64 len)
{
	bool twice = false;
	u64 i;

	if (!rec.call) {
		printf("# %s %#llx is loaded outside of a call\n", where, (unsigned long long)from);
		abort();
	}
	rec.loads++;
	for (i = 0; i < len; i++) {
		struct byte *b = byte(from + i);

		twice |= b->loaded;
		b->loaded = true;
	}
	if (twice && !rec.flap) {
		printf("# %s loads %llu bytes of %s %#llx a second time\n", rec.call,
		       (unsigned long long)len, where, (unsigned long long)from);
		abort();
	}
	return twice;
}

/* A link was loaded: where it leads may be read anew. */
static void linked(u64 at, u16 next)
{
	const struct virtq *vq = rec.vq;
	u64 desc = (u64)(unsigned long)vq->desc, i;

	if (vq->layout != VIRTQ_SPLIT || at - desc >= sizeof(struct vring_desc) * vq->num ||
	    (at - desc) % sizeof(struct vring_desc) != offsetof(struct vring_desc, next))
		return;
	for (i = 0; i < sizeof(struct vring_desc); i++)
		byte(desc + next * sizeof(struct vring_desc) + i)->loaded = false;
}

u64 readonce_load(const void *p, unsigned int size)
{
	const u64 poison = 0xa5a5a5a5a5a5a5a5ULL, at = (u64)(unsigned long)p;
	u64 v = 0;

	memcpy(&v, p, size);
	v = le64_to_cpu(v);
	if (rec.vq && at - (u64)(unsigned long)rec.vq->table <
		      VIRTQ_MAX_NUM * sizeof(struct vring_desc))
		return v;
	if (note("ring", at, size))
		v ^= poison;
	if (rec.vq)
		linked(at, v);
	return v;
}

/* What ld --wrap makes of a call, and what it leads to in the end. */
#define WRAPPED(type, name, params)						\
	type __real_##name params;						\
	type __wrap_##name params

WRAPPED(int, virtq_mem_read, (struct virtq_mem *mem, u64 addr, void *dst, u32 len));
int __wrap_virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	int ret = __real_virtq_mem_read(mem, addr, dst, len);

	/* Nobody's address space: apart from that of the rings. */
	if (!ret && note("memory", addr ^ 1ULL << 63, len))
		memset(dst, 0xa5, len);
	return ret;
}

#define WATCH(type, name, params, ...)						\
	WRAPPED(type, name, params);						\
	type __wrap_##name params						\
	{									\
		type ret;							\
										\
		begin(#name);							\
		ret = __real_##name(__VA_ARGS__);				\
		end();								\
		return ret;							\
	}

#define WATCH_FETCH(name, params, ...)						\
	WRAPPED(int, name, params);						\
	int __wrap_##name params						\
	{									\
		int ret;							\
										\
		begin(#name);							\
		rec.vq = vq;							\
		ret = __real_##name(__VA_ARGS__);				\
		rec.vq = NULL;							\
		end();								\
		return ret;							\
	}

WATCH_FETCH(virtq_fetch, (struct virtq *vq, struct virtq_chain *chain), vq, chain)
#define REFETCH_PARAMS								\
	(struct virtq *vq, const struct inflight_buf *buf, struct virtq_chain *chain)
WATCH_FETCH(virtq_refetch, REFETCH_PARAMS, vq, buf, chain)

#define PARSE_PARAMS								\
	(const struct vblk_limits *lim, struct virtq_mem *mem,			\
	 const struct virtq_chain *chain, struct vblk_cmd *cmd)

WATCH(int, vblk_parse, PARSE_PARAMS, lim, mem, chain, cmd)
WATCH(bool, virtq_need_call, (struct virtq *vq), vq)
WATCH(bool, virtq_enable_kick, (struct virtq *vq), vq)
WATCH(bool, virtq_empty, (const struct virtq *vq), vq)
#define PUBLISH_PARAMS (struct virtq *vq, const struct virtq_done *done, unsigned int n)
WATCH(bool, virtq_publish, PUBLISH_PARAMS, vq, done, n)
#define OPEN_PARAMS								\
	(struct inflight *fl, const struct inflight_cfg *cfg, struct inflight_found *found)
WATCH(int, inflight_open, OPEN_PARAMS, fl, cfg, found)

/* A combination of features, and a chain. */
struct shape {
	enum virtq_layout layout;
	bool event_idx, indirect, in_order, partial_order;
	u16 num, nr_out, nr_in, direct;
};

static const struct { u16 nr_out, nr_in, direct; } chains[] = {
	{ 1, 0, 1 }, { 0, 1, 1 }, { 1, 1, 2 }, { 2, 2, 4 }, { 1, 4, 5 }, { 4, 1, 5 },
	/* In a table. */
	{ 1, 0, 0 }, { 0, 1, 0 }, { 1, 7, 0 }, { 16, 16, 0 },
	/* Some in the ring, the rest in a table behind them: split only. */
	{ 1, 1, 1 }, { 3, 3, 1 }, { 3, 3, 4 },
};

#define NR_CHAINS	ARRAY_SIZE(chains)
#define NR_FEATURES	16

/* The next combination that exists, from *@i on. */
static bool shape_at(unsigned int *i, struct shape *s)
{
	for (; *i < VIRTQ_NR_LAYOUTS * NR_FEATURES * NR_CHAINS; ++*i) {
		unsigned int c = *i % NR_CHAINS, f = *i / NR_CHAINS % NR_FEATURES;
		bool table = chains[c].direct < chains[c].nr_out + chains[c].nr_in;

		*s = (struct shape){
			.layout = *i / NR_CHAINS / NR_FEATURES,
			.event_idx = f & 1, .indirect = f & 2, .in_order = f & 4,
			.partial_order = f & 8,
			.num = 8, .nr_out = chains[c].nr_out, .nr_in = chains[c].nr_in,
			.direct = chains[c].direct,
		};
		if (table && !s->indirect)
			continue;
		if (table && s->direct && s->layout == VIRTQ_PACKED)
			continue;
		return true;
	}
	return false;
}

static const void *shape_gen_params(const void *prev, char *desc)
{
	static struct shape s;
	static unsigned int i;

	i = prev ? i + 1 : 0;
	if (!shape_at(&i, &s))
		return NULL;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s%s%s%s, %u readable, %u writable, %u direct",
		 s.layout == VIRTQ_PACKED ? "packed" : "split", s.event_idx ? " event_idx" : "",
		 s.indirect ? " indirect" : "", s.in_order ? " in_order" : "",
		 s.partial_order ? " partial_order" : "", s.nr_out, s.nr_in, s.direct);
	return &s;
}

/* Many laps, two buffers at a time where there is room; every call looks at something. */
static void loads_once(struct kunit *test)
{
	const struct shape *s = test->param_value;
	struct guest *g = guest_new(test, &(struct guest_opts){
		.layout = s->layout, .num = s->num, .event_idx = s->event_idx,
		.indirect = s->indirect, .in_order = s->in_order,
		.partial_order = s->partial_order, .start = s->num - 1,
	});
	unsigned int slots = s->direct + (s->direct < s->nr_out + s->nr_in), round, n, i;
	struct virtq_seg segs[32];
	struct virtq_done done[2];
	struct virtq_chain chain;
	u16 id;
	u32 len;

	for (round = 0; round < 40; round++) {
		int ids[2];

		guest_make_segs(segs, s->nr_out, s->nr_in, round + 1);
		for (n = 0; n < 2 && n * slots + slots <= s->num; n++) {
			ids[n] = guest_add(g, segs, s->nr_out + s->nr_in, s->direct);
			KUNIT_ASSERT_LE(test, 0, ids[n]);
		}
		guest_kick(g);
		for (i = 0; i < n; i++) {
			KUNIT_ASSERT_EQ(test, virtq_fetch(&g->vq, &chain), 1);
			KUNIT_EXPECT_GT(test, rec.loads, 0ULL);
			guest_expect_chain(g, &chain, ids[i],
					   s->layout == VIRTQ_PACKED ? slots : 1, segs, s->nr_out,
					   s->nr_in);
			done[i] = (struct virtq_done){ chain.id, chain.ndesc, round };
		}
		KUNIT_EXPECT_EQ(test, virtq_fetch(&g->vq, &chain), 0);
		KUNIT_EXPECT_GT(test, rec.loads, 0ULL);
		KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&g->vq));
		KUNIT_EXPECT_GT(test, rec.loads, 0ULL);
		virtq_disable_kick(&g->vq);
		guest_want_call(g);
		/* The second first: held back where there is an order. */
		for (i = n; i--;)
			virtq_publish(&g->vq, &done[i], 1);
		KUNIT_EXPECT_TRUE(test, virtq_need_call(&g->vq));
		KUNIT_EXPECT_GT(test, rec.loads, 0ULL);
		for (i = 0; i < n; i++)
			KUNIT_ASSERT_EQ(test, guest_reap(g, &id, &len), 1);
		KUNIT_EXPECT_EQ(test, guest_reap(g, &id, &len), 0);
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(loads_once, shape_gen_params),
	{}
};

static struct kunit_suite readonce_suite = {
	.name = "readonce",
	.test_cases = cases,
};

kunit_test_suite(readonce_suite);
