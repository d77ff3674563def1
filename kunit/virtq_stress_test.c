// SPDX-License-Identifier: GPL-2.0
/*
 * A random driver against the engine: every buffer comes through once, as it was made, and is
 * given back once; each side sleeps until the other wakes it as the notification rules say, so
 * that a wake-up that is lost ends the test.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>

#include "guest.h"

#define BUFFERS		4000	/* per ring */
#define MAX_SEGS	12
#define IDLE		1000	/* rounds without anything happening */

struct buffer {
	bool out;		/* with the device or on the way to it */
	bool fetched;
	u16 nr, nr_out;
	u32 len;		/* what the device will write */
	struct virtq_seg segs[MAX_SEGS];
};

struct stress {
	struct kunit *test;
	struct guest *g;
	u64 seed;
	struct buffer *buf;		/* by head */
	u16 *sent, nr_sent, first_sent;	/* heads in the order made available */
	struct virtq_done *held;	/* fetched, not published */
	u16 nr_held;
	bool packed, indirect;
	bool kicked, called;
	u32 added, fetched, published, reaped, kicks, calls;
};

static u32 below(struct stress *s, u32 n)
{
	return guest_rand(&s->seed) % n;
}

/* Returns how many of the segments go into the ring itself; the others go into a table. */
static unsigned int make_buffer(struct stress *s, struct buffer *b)
{
	unsigned int max_segs = s->indirect ? MAX_SEGS : s->g->num, i;

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

/* The driver is awake: it takes what came back, adds some, kicks, perhaps goes to sleep. */
static void driver_runs(struct stress *s)
{
	struct kunit *test = s->test;
	struct guest *g = s->g;
	unsigned int n;
	u32 len;
	u16 id;

	if (below(s, 2))
		guest_refuse_call(g);
	do {
		while (guest_reap(g, &id, &len)) {
			KUNIT_ASSERT_TRUE(test, s->buf[id].out && s->buf[id].fetched);
			KUNIT_EXPECT_EQ(test, len, s->buf[id].len);
			s->buf[id].out = false;
			s->reaped++;
		}
		for (n = below(s, 2 * g->num); n && s->added < BUFFERS; n--) {
			struct buffer b = { .out = true };
			unsigned int direct;
			int head;

			direct = make_buffer(s, &b);
			head = guest_add(g, b.segs, b.nr, direct);
			if (head < 0)
				break;
			KUNIT_ASSERT_FALSE(test, s->buf[head].out);
			s->buf[head] = b;
			s->sent[(s->first_sent + s->nr_sent++) % g->num] = head;
			s->added++;
			if (!below(s, 4))
				s->kicked |= guest_kick(g);
		}
		s->kicked |= guest_kick(g);
		s->called = false;
	} while (guest_want_call(g));
}

static void device_publishes(struct stress *s, unsigned int n)
{
	unsigned int i;

	/* In any order. */
	for (i = 0; i < n; i++) {
		unsigned int other = i + below(s, s->nr_held - i);

		swap(s->held[i], s->held[other]);
	}
	virtq_publish(&s->g->vq, s->held, n);
	memmove(s->held, s->held + n, (s->nr_held - n) * sizeof(*s->held));
	s->nr_held -= n;
	s->published += n;
	if (virtq_need_call(&s->g->vq)) {
		s->called = true;
		s->calls++;
	}
}

static bool device_fetches(struct stress *s)
{
	struct kunit *test = s->test;
	struct guest *g = s->g;
	struct virtq_chain chain;
	struct buffer *b;
	unsigned int i;
	int ret;

	ret = virtq_fetch(&g->vq, &chain);
	KUNIT_ASSERT_TRUE(test, ret >= 0);
	if (!ret)
		return false;
	KUNIT_ASSERT_TRUE(test, s->nr_sent > 0);
	KUNIT_ASSERT_EQ(test, chain.id, s->sent[s->first_sent]);
	s->first_sent = (s->first_sent + 1) % g->num;
	s->nr_sent--;

	b = &s->buf[chain.id];
	KUNIT_ASSERT_FALSE(test, b->fetched);
	b->fetched = true;
	KUNIT_ASSERT_EQ(test, chain.nr_segs, b->nr);
	KUNIT_ASSERT_EQ(test, chain.nr_out, b->nr_out);
	for (i = 0; i < b->nr; i++) {
		KUNIT_EXPECT_EQ(test, chain.segs[i].addr, b->segs[i].addr);
		KUNIT_EXPECT_EQ(test, chain.segs[i].len, b->segs[i].len);
		KUNIT_EXPECT_EQ(test, chain.segs[i].flags, b->segs[i].flags);
	}
	s->held[s->nr_held].id = chain.id;
	s->held[s->nr_held].ndesc = chain.ndesc;
	s->held[s->nr_held++].len = b->len;
	s->fetched++;
	return true;
}

/* The device was kicked: it fetches until there is no more, publishing now and then. */
static void device_runs(struct stress *s)
{
	struct guest *g = s->g;

	s->kicked = false;
	s->kicks++;
	virtq_disable_kick(&g->vq);
	for (;;) {
		while (device_fetches(s))
			if (!below(s, 8))
				device_publishes(s, below(s, s->nr_held + 1));
		if (!virtq_enable_kick(&g->vq))
			break;
		virtq_disable_kick(&g->vq);
	}
}

struct ring {
	u16 num, start;
	bool event_idx, indirect;
	enum virtq_layout layout;
	bool in_order;
};

static const struct ring rings[] = {
	{ 1, 0, false, false }, { 2, 65500, true, false }, { 4, 0, true, true },
	{ 8, 65535, false, true }, { 16, 30000, true, true }, { 64, 65000, true, false },
	{ 64, 65000, false, false }, { 128, 65530, true, true }, { 256, 64000, true, true },
	{ 256, 65535, false, true },
	{ 1, 0, false, false, VIRTQ_PACKED }, { 1, 1, true, true, VIRTQ_PACKED },
	{ 2, 3, true, false, VIRTQ_PACKED }, { 3, 0, true, true, VIRTQ_PACKED },
	{ 5, 7, true, false, VIRTQ_PACKED }, { 8, 0, false, true, VIRTQ_PACKED },
	{ 64, 100, true, false, VIRTQ_PACKED }, { 64, 100, false, false, VIRTQ_PACKED },
	{ 100, 199, true, true, VIRTQ_PACKED }, { 256, 0, true, true, VIRTQ_PACKED },
	{ 1000, 999, true, true, VIRTQ_PACKED }, { 1000, 500, false, false, VIRTQ_PACKED },
	{ 1, 0, true, false, VIRTQ_SPLIT, true }, { 4, 65530, false, false, VIRTQ_SPLIT, true },
	{ 64, 65500, true, true, VIRTQ_SPLIT, true }, { 256, 0, false, true, VIRTQ_SPLIT, true },
	{ 1, 0, true, false, VIRTQ_PACKED, true }, { 5, 3, false, false, VIRTQ_PACKED, true },
	{ 100, 150, true, true, VIRTQ_PACKED, true }, { 1000, 0, true, false, VIRTQ_PACKED, true },
};

static void describe(const struct ring *r, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s num %u start %u%s%s%s",
		 r->layout == VIRTQ_PACKED ? "packed" : "split", r->num, r->start,
		 r->event_idx ? " event_idx" : "", r->indirect ? " indirect" : "",
		 r->in_order ? " in_order" : "");
}

KUNIT_ARRAY_PARAM(ring, rings, describe);

static void random_driver(struct kunit *test)
{
	const struct ring *r = test->param_value;
	struct stress *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	unsigned int idle = 0;
	struct guest_opts opts = {
		.layout = r->layout,
		.in_order = r->in_order,
		.num = r->num,
		.start = r->start,
		.event_idx = r->event_idx,
		.indirect = r->indirect,
	};

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->test = test;
	s->g = guest_new(test, &opts);
	s->packed = r->layout == VIRTQ_PACKED;
	s->indirect = r->indirect;
	s->seed = 20261120 + r->num;
	s->buf = kunit_kzalloc(test, r->num * sizeof(*s->buf), GFP_KERNEL);
	s->sent = kunit_kzalloc(test, r->num * sizeof(*s->sent), GFP_KERNEL);
	s->held = kunit_kzalloc(test, r->num * sizeof(*s->held), GFP_KERNEL);
	KUNIT_ASSERT_TRUE(test, s->buf && s->sent && s->held);

	virtq_enable_kick(&s->g->vq);
	driver_runs(s);
	while (s->reaped < BUFFERS && idle < IDLE) {
		u32 before = s->added + s->fetched + s->published + s->reaped;

		/* Whoever was woken runs; requests complete when they like. */
		if (s->kicked && below(s, 2))
			device_runs(s);
		if (s->nr_held && below(s, 2))
			device_publishes(s, 1 + below(s, s->nr_held));
		if (s->called && below(s, 2))
			driver_runs(s);
		/* The driver has work of its own, too, as long as there is room. */
		if (s->added < BUFFERS && s->g->nr_free && !below(s, 8))
			driver_runs(s);
		idle = before == s->added + s->fetched + s->published + s->reaped ? idle + 1 : 0;
	}
	KUNIT_EXPECT_TRUE_MSG(test, idle < IDLE, "asleep with %u added, %u fetched, %u reaped",
			      s->added, s->fetched, s->reaped);
	KUNIT_EXPECT_EQ(test, s->added, (u32)BUFFERS);
	KUNIT_EXPECT_EQ(test, s->fetched, (u32)BUFFERS);
	KUNIT_EXPECT_EQ(test, s->reaped, (u32)BUFFERS);
	KUNIT_EXPECT_TRUE(test, virtq_empty(&s->g->vq));
	KUNIT_EXPECT_EQ(test, s->g->nr_free, r->num);
	/* And neither side was woken for each buffer. */
	if (r->num >= 16) {
		KUNIT_EXPECT_LT(test, s->kicks, (u32)BUFFERS);
		KUNIT_EXPECT_LT(test, s->calls, (u32)BUFFERS);
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(random_driver, ring_gen_params),
	{}
};

static struct kunit_suite virtq_stress_suite = {
	.name = "virtq_stress",
	.test_cases = cases,
};

kunit_test_suite(virtq_stress_suite);
