// SPDX-License-Identifier: GPL-2.0
/*
 * Every combination of INDIRECT_DESC, EVENT_IDX, IN_ORDER, PARTIAL_ORDER and RING_PACKED on rings
 * of many sizes: a random driver and a random device, and a model of both. Every buffer comes
 * through once, as it was made, and is given back once; each side sleeps until the other wakes it,
 * and a wake-up comes exactly when the notification rules say so: one that is lost leaves both
 * asleep, one too many was forbidden.
 */
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "guest.h"
#include "../drivers/vhost_blk/inflight.h"

#define BUFFERS(num)	(600 + 3U * (num))	/* per ring */
#define MAX_SEGS	20		/* more than the smaller rings have */
#define ROUNDS		100		/* of the main loop for a buffer, at most */

struct buffer {
	bool out;		/* with the device or on the way to it */
	bool fetched, done;
	u16 nr, nr_out, ndesc;
	u32 seq;		/* the how manieth made available */
	u32 len;		/* what the device will write */
	struct virtq_seg segs[MAX_SEGS];
};

/* When does the driver want to be called? */
enum wish { NEVER, ALWAYS, AT };

/* What outlives the device, and what its successor makes of it. */
struct tracked {
	u64 region[VHOST_INFLIGHT_STRIDE_PACKED(VIRTQ_MAX_NUM) / sizeof(u64)];
	u64 copy[VHOST_INFLIGHT_STRIDE_PACKED(VIRTQ_MAX_NUM) / sizeof(u64)];
	struct inflight fl;
	struct inflight_cfg cfg;
	struct inflight_found found;
};

struct stress {
	struct kunit *test;
	struct guest *g;
	u64 seed;
	bool packed, indirect, event_idx, in_order;
	struct buffer *buf;		/* by id */
	u16 *sent, nr_sent, first_sent;	/* ids made available, not fetched */
	u16 *flight, nr_flight;		/* ids fetched, not used, the oldest first */
	struct virtq_done *held;	/* fetched, not given to the engine */
	u16 nr_held;
	struct tracked *tracked;	/* NULL: no inflight region */

	/* Woken, and not run since. */
	bool kicked, called;
	/* The device has asked for the next kick. */
	bool armed;
	/* The driver has asked; @wish_at is a place, counted as those below. */
	enum wish wish;
	u32 wish_at;
	/* Places (split: buffers; packed: slots) used, seen by the driver, last asked about. */
	u32 used, seen, asked;

	/* Buffers; and what woke whom. */
	u32 added, exposed, fetched, published, shown, reaped, kicks, calls, batches, deaths;
};

static u32 below(struct stress *s, u32 n)
{
	return guest_rand(&s->seed) % n;
}

/* Returns how many of the segments go into the ring itself; the others go into a table. */
static unsigned int make_buffer(struct stress *s, struct buffer *b)
{
	unsigned int max_segs = s->indirect ? MAX_SEGS : min(s->g->num, MAX_SEGS), i;

	b->nr = min(1 + below(s, below(s, 4) ? 4 : MAX_SEGS), max_segs);
	b->nr_out = below(s, b->nr + 1);
	b->len = 0;
	for (i = 0; i < b->nr; i++) {
		b->segs[i].addr = (u64)guest_rand(&s->seed) << 12;
		b->segs[i].len = below(s, 8) ? guest_rand(&s->seed) >> 8 : 0;
		b->segs[i].flags = i < b->nr_out ? 0 : VIRTQ_SEG_WRITE;
		if (i >= b->nr_out)
			b->len += b->segs[i].len;
	}
	/* Mostly used completely, now and then not. */
	if (b->len && !below(s, 4))
		b->len = below(s, b->len);
	if (!s->indirect)
		return b->nr;
	if (!s->packed)
		return below(s, b->nr + 1);
	return b->nr > s->g->num || below(s, 2) ? 0 : b->nr;
}

/* The driver shows what it added, and kicks iff the device wants it. */
static void driver_kicks(struct stress *s)
{
	bool want = s->exposed != s->added && s->armed, kick = guest_kick(s->g);

	KUNIT_ASSERT_EQ(s->test, kick, want);
	s->exposed = s->added;
	if (!kick)
		return;
	s->kicked = true;
	s->kicks++;
	/* By index it is asked for once; by flag until it is no longer. */
	s->armed = !s->event_idx;
}

static bool driver_adds(struct stress *s)
{
	struct buffer b = { .out = true };
	unsigned int direct = make_buffer(s, &b);
	int id = guest_add(s->g, b.segs, b.nr, direct);

	if (id < 0)
		return false;
	KUNIT_ASSERT_FALSE(s->test, s->buf[id].out);
	b.ndesc = s->packed ? max(direct, 1U) : 1;
	b.seq = ++s->added;
	s->buf[id] = b;
	s->sent[(s->first_sent + s->nr_sent++) % s->g->num] = id;
	return true;
}

static void driver_reaps(struct stress *s)
{
	struct kunit *test = s->test;
	struct buffer *b;
	u32 len;
	u16 id;

	while (guest_reap(s->g, &id, &len)) {
		b = &s->buf[id];
		KUNIT_ASSERT_TRUE(test, b->out && b->fetched && b->done);
		KUNIT_ASSERT_EQ(test, len, b->len);
		b->out = false;
		s->reaped++;
		if (s->in_order)
			KUNIT_ASSERT_EQ(test, b->seq, s->reaped);
		s->seen += b->ndesc;
		s->batches += s->g->batch > 0;
	}
}

static void driver_refuses(struct stress *s)
{
	guest_refuse_call(s->g);
	s->wish = NEVER;
	if (s->event_idx && !s->packed) {
		/* There is no other way than to name what is past. */
		s->wish = AT;
		s->wish_at = s->seen - 1;
	}
}

/* From the next on, or later, but not later than what is out. True if there is one already. */
static bool driver_wants(struct stress *s)
{
	unsigned int out = s->packed ? s->g->num - s->g->nr_free : s->g->nr_out;
	int ahead = s->event_idx && out && below(s, 2) ? below(s, out) : 0;

	s->wish = s->event_idx ? AT : ALWAYS;
	s->wish_at = s->seen + ahead;
	return guest_want_call_at(s->g, ahead);
}

/* The driver is awake: it takes what came back, adds some, kicks, goes to sleep. */
static void driver_runs(struct stress *s)
{
	struct guest *g = s->g;
	unsigned int n;

	s->called = false;
	if (below(s, 2))
		driver_refuses(s);
	do {
		driver_reaps(s);
		for (n = below(s, 2 * g->num); n && s->added < BUFFERS(g->num); n--) {
			if (!driver_adds(s))
				break;
			if (!below(s, 4))
				driver_kicks(s);
		}
		driver_kicks(s);
	} while (driver_wants(s));
}

/* Is the driver to be told of what was used since this was asked last? */
static void device_asks(struct stress *s)
{
	bool want = false;

	if (s->used != s->asked)
		want = s->wish == ALWAYS ||
		       (s->wish == AT && (s32)(s->wish_at - s->asked) >= 0 &&
			(s32)(s->used - s->wish_at) > 0);
	s->asked = s->used;
	KUNIT_ASSERT_EQ(s->test, virtq_need_call(&s->g->vq), want);
	s->called |= want;
	s->calls += want;
}

/* What the driver can see after that: all that is done, in order only up to what is not. */
static void model_uses(struct stress *s)
{
	unsigned int i, kept = 0;
	bool gap = false;

	for (i = 0; i < s->nr_flight; i++) {
		struct buffer *b = &s->buf[s->flight[i]];

		gap |= !b->done;
		if (!b->done || (s->in_order && gap)) {
			s->flight[kept++] = s->flight[i];
			continue;
		}
		s->used += b->ndesc;
		s->shown++;
	}
	s->nr_flight = kept;
}

static void device_publishes(struct stress *s, unsigned int n)
{
	const bool mixed = below(s, 2);
	const u32 used = s->used;
	unsigned int i;

	/* In any order, or in theirs as far as it is still that. */
	for (i = 0; i < n && mixed; i++) {
		unsigned int other = i + below(s, s->nr_held - i);

		swap(s->held[i], s->held[other]);
	}
	for (i = 0; i < n; i++)
		s->buf[s->held[i].id].done = true;
	model_uses(s);
	KUNIT_ASSERT_EQ(s->test, virtq_publish(&s->g->vq, s->held, n), s->used != used);
	memmove(s->held, s->held + n, (s->nr_held - n) * sizeof(*s->held));
	s->nr_held -= n;
	s->published += n;
	/* Now and then the question is put for more than one batch. */
	if (below(s, 4))
		device_asks(s);
}

/* The device has it: is it what the driver made? */
static void device_has(struct stress *s, const struct virtq_chain *chain)
{
	const struct buffer *b = &s->buf[chain->id];
	struct kunit *test = s->test;
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, b->fetched && !b->done);
	KUNIT_ASSERT_EQ(test, chain->ndesc, b->ndesc);
	KUNIT_ASSERT_EQ(test, chain->nr_segs, b->nr);
	KUNIT_ASSERT_EQ(test, chain->nr_out, b->nr_out);
	for (i = 0; i < b->nr; i++) {
		KUNIT_EXPECT_EQ(test, chain->segs[i].addr, b->segs[i].addr);
		KUNIT_EXPECT_EQ(test, chain->segs[i].len, b->segs[i].len);
		KUNIT_EXPECT_EQ(test, chain->segs[i].flags, b->segs[i].flags);
	}
	s->held[s->nr_held++] = (struct virtq_done){ chain->id, chain->ndesc, b->len };
}

static bool device_fetches(struct stress *s)
{
	struct kunit *test = s->test;
	struct virtq_chain chain;

	KUNIT_ASSERT_EQ(test, virtq_fetch(&s->g->vq, &chain), s->fetched != s->exposed);
	if (s->fetched == s->exposed)
		return false;
	KUNIT_ASSERT_EQ(test, chain.id, s->sent[s->first_sent]);
	s->first_sent = (s->first_sent + 1) % s->g->num;
	s->nr_sent--;

	KUNIT_ASSERT_FALSE(test, s->buf[chain.id].fetched);
	s->buf[chain.id].fetched = true;
	device_has(s, &chain);
	s->flight[s->nr_flight++] = chain.id;
	s->fetched++;
	return true;
}

static void device_disables(struct stress *s)
{
	virtq_disable_kick(&s->g->vq);
	/* A split ring has no way to take back what it asked for by index. */
	if (!s->event_idx || s->packed)
		s->armed = false;
}

/* True if it may sleep. */
static bool device_enables(struct stress *s)
{
	bool more = s->fetched != s->exposed;

	KUNIT_ASSERT_EQ(s->test, virtq_enable_kick(&s->g->vq), more);
	KUNIT_ASSERT_EQ(s->test, virtq_empty(&s->g->vq), !more);
	/* By index it has asked for what is there already. */
	s->armed = !s->event_idx || !more;
	return !more;
}

/* Everything is back: the device may be taken from service and put into it again. */
static void device_restarts(struct stress *s)
{
	if (s->nr_flight || s->reaped != s->published || s->tracked)
		return;
	device_asks(s);
	guest_restart(s->g);
}

/* The next device knows the ring and the region and nothing else. */
static void device_opens(struct stress *s)
{
	struct tracked *t = s->tracked;

	memset(&s->g->vq, 0xff, sizeof(s->g->vq));
	memset(&t->fl, 0xff, sizeof(t->fl));
	memset(&t->found, 0xff, sizeof(t->found));
	memcpy(t->copy, t->region, sizeof(t->copy));
	KUNIT_ASSERT_EQ(s->test, inflight_open(&t->fl, &t->cfg, &t->found), 0);
	KUNIT_ASSERT_EQ(s->test, virtq_init(&s->g->vq, &s->g->cfg, &t->found.pos), 0);
}

/*
 * The device is gone, between two calls, and another goes on: with each buffer that was taken and
 * can't be seen by the driver, in the order they were taken, and with nothing else.
 */
static void device_dies(struct stress *s)
{
	const struct inflight_found *found = &s->tracked->found;
	struct virtq_chain chain;
	unsigned int i;

	device_opens(s);
	KUNIT_ASSERT_EQ(s->test, found->nr, s->nr_flight);
	s->nr_held = 0;
	for (i = 0; i < found->nr; i++) {
		KUNIT_ASSERT_EQ(s->test, found->buf[i].id, s->flight[i]);
		KUNIT_ASSERT_EQ(s->test, virtq_refetch(&s->g->vq, &found->buf[i], &chain), 1);
		KUNIT_ASSERT_EQ(s->test, chain.id, s->flight[i]);
		s->buf[chain.id].done = false;
		device_has(s, &chain);
	}
	guest_recovered(s->g, s->shown, s->fetched);
	/* What it asked for, and what it owes, it can't know: each side is woken once. */
	s->asked = s->used;
	s->called = true;
	s->kicked = true;
	s->deaths++;
}

/* The device is awake: it fetches until there is no more, publishing now and then. */
static void device_runs(struct stress *s)
{
	s->kicked = false;
	do {
		device_disables(s);
		while (device_fetches(s)) {
			if (!below(s, 8))
				device_publishes(s, below(s, s->nr_held + 1));
			if (s->tracked && !below(s, 128))
				device_dies(s);
			/* The driver does not wait meanwhile. */
			if (!below(s, 16))
				driver_runs(s);
		}
		if (!below(s, 8))
			device_restarts(s);
		if (!below(s, 4))
			driver_runs(s);
	} while (!device_enables(s));
}

/* Each side at random, but whoever sleeps only if it was woken, mostly. */
static void both_run(struct stress *s)
{
	struct kunit *test = s->test;

	if (s->kicked ? below(s, 2) : !below(s, 32))
		device_runs(s);
	/* Requests complete when they like. */
	if (s->nr_held && below(s, 2))
		device_publishes(s, 1 + below(s, s->nr_held));
	if (!below(s, 2))
		device_asks(s);
	if (s->called && below(s, 2))
		driver_runs(s);

	if (s->tracked && !below(s, 16))
		device_dies(s);

	/* Nobody is awake, nor will be, unless by the other. */
	if (s->kicked || s->called || s->nr_held || s->used != s->asked)
		return;
	KUNIT_ASSERT_EQ_MSG(test, s->fetched, s->added, "the device was not woken");
	KUNIT_ASSERT_EQ_MSG(test, s->reaped, s->added, "the driver was not woken");
	/* It has work of its own. */
	driver_runs(s);
}

struct ring {
	enum virtq_layout layout;
	u16 num, start;
};

/* Index and laps end within each run; sizes that are no power of two are for packed rings. */
static const struct ring rings[] = {
	{ VIRTQ_SPLIT, 1, 65500 }, { VIRTQ_SPLIT, 2, 65000 }, { VIRTQ_SPLIT, 4, 0 },
	{ VIRTQ_SPLIT, 16, 65535 }, { VIRTQ_SPLIT, 64, 30000 }, { VIRTQ_SPLIT, 256, 65300 },
	{ VIRTQ_SPLIT, 1024, 64000 },
	{ VIRTQ_PACKED, 1, 0 }, { VIRTQ_PACKED, 1, 1 }, { VIRTQ_PACKED, 2, 3 },
	{ VIRTQ_PACKED, 3, 0 }, { VIRTQ_PACKED, 5, 7 }, { VIRTQ_PACKED, 16, 15 },
	{ VIRTQ_PACKED, 100, 199 }, { VIRTQ_PACKED, 1000, 999 }, { VIRTQ_PACKED, 1024, 512 },
};

enum { INDIRECT = BIT(0), EVENT_IDX = BIT(1), IN_ORDER = BIT(2), PARTIAL = BIT(3), FEATURES = 16 };

/* A ring and a set of features: only where in here a parameter is says something. */
static const u8 combinations[ARRAY_SIZE(rings) * FEATURES];

static const struct ring *get_ring(const u8 *param)
{
	return &rings[(param - combinations) % ARRAY_SIZE(rings)];
}

static unsigned int get_features(const u8 *param)
{
	return (param - combinations) / ARRAY_SIZE(rings);
}

static void describe(const u8 *param, char *desc)
{
	const struct ring *r = get_ring(param);
	unsigned int f = get_features(param);

	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s%s%s%s num %u start %u",
		 r->layout == VIRTQ_PACKED ? "packed" : "split", f & INDIRECT ? "+indirect" : "",
		 f & EVENT_IDX ? "+event_idx" : "", f & IN_ORDER ? "+in_order" : "",
		 f & PARTIAL ? "+partial_order" : "", r->num, r->start);
}

KUNIT_ARRAY_PARAM(combination, combinations, describe);

static struct stress *new_stress(struct kunit *test, bool tracked)
{
	const unsigned int f = get_features(test->param_value);
	const struct ring *r = get_ring(test->param_value);
	struct stress *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct guest_opts opts = {
		.layout = r->layout,
		.num = r->num,
		.start = r->start,
		.event_idx = f & EVENT_IDX,
		.indirect = f & INDIRECT,
		.in_order = f & IN_ORDER,
		.partial_order = f & PARTIAL,
	};

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->test = test;
	s->g = guest_new(test, &opts);
	s->packed = r->layout == VIRTQ_PACKED;
	s->indirect = opts.indirect;
	s->event_idx = opts.event_idx;
	s->in_order = opts.in_order;
	s->seed = 20261120 + r->num + f;
	s->buf = kunit_kzalloc(test, r->num * sizeof(*s->buf), GFP_KERNEL);
	s->sent = kunit_kzalloc(test, r->num * sizeof(*s->sent), GFP_KERNEL);
	s->flight = kunit_kzalloc(test, r->num * sizeof(*s->flight), GFP_KERNEL);
	s->held = kunit_kzalloc(test, r->num * sizeof(*s->held), GFP_KERNEL);
	KUNIT_ASSERT_TRUE(test, s->buf && s->sent && s->flight && s->held);
	if (!tracked)
		return s;

	s->tracked = kunit_kzalloc(test, sizeof(*s->tracked), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, s->tracked);
	s->tracked->cfg = (struct inflight_cfg){
		.layout = r->layout,
		.num = r->num,
		.desc_num = VIRTQ_MAX_NUM,
		.region = s->tracked->region,
		.snapshot = s->tracked->copy,
		.desc = s->g->cfg.desc,
		.device = s->g->cfg.device,
		.batched = s->g->cfg.in_order || s->g->cfg.partial_order,
		.told = true,
	};
	virtq_get_pos(&s->g->vq, &s->tracked->cfg.pos);
	s->g->cfg.track = &s->tracked->fl;
	device_opens(s);
	s->tracked->cfg.told = false;
	return s;
}

static void run(struct stress *s)
{
	struct kunit *test = s->test;
	const u32 buffers = BUFFERS(s->g->num);
	u32 rounds = ROUNDS * buffers;

	device_enables(s);
	driver_runs(s);
	while (s->reaped < buffers && rounds--)
		both_run(s);
	KUNIT_EXPECT_EQ(test, s->added, buffers);
	KUNIT_EXPECT_EQ(test, s->fetched, buffers);
	KUNIT_EXPECT_EQ(test, s->reaped, buffers);
	KUNIT_EXPECT_TRUE(test, virtq_empty(&s->g->vq));
	KUNIT_EXPECT_EQ(test, s->g->nr_free, s->g->num);
	guest_expect_idle(s->g);
	/* Neither side was woken for each buffer, and what may be batched was. */
	if (s->g->num < 16)
		return;
	KUNIT_EXPECT_LT(test, s->kicks, buffers);
	KUNIT_EXPECT_LT(test, s->calls, buffers);
	if (s->g->in_order || s->g->partial_order)
		KUNIT_EXPECT_GT(test, s->batches, 0U);
}

static void random_driver(struct kunit *test)
{
	run(new_stress(test, false));
}

/* As before, on a device that dies every now and then. */
static void random_deaths(struct kunit *test)
{
	struct stress *s = new_stress(test, true);

	run(s);
	KUNIT_EXPECT_GT(test, s->deaths, 5U);
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(random_driver, combination_gen_params),
	KUNIT_CASE_PARAM(random_deaths, combination_gen_params),
	{}
};

static struct kunit_suite virtq_stress_suite = {
	.name = "virtq_stress",
	.test_cases = cases,
};

kunit_test_suite(virtq_stress_suite);
