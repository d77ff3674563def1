// SPDX-License-Identifier: GPL-2.0
/* Every cut: the scenarios, the device, and where it ends. */
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/sprintf.h>
#include <linux/string.h>

#include "cut.h"
#include "stores.h"

/* What the driver does between the end of a device and the beginning of the next. */
enum {
	CUT_NOTHING,
	CUT_ALL,	/* sees what there is, makes it available again */
	CUT_HALF,	/* the same, but tells of it only when the next device is there */
	CUT_NR_DRIVERS,
};

/* A device's first buffers that it gives back count as its beginning. */
#define CUT_FIRST_PUBLISHES	2

static struct cut_state *cut;

static void cut_drive(struct cut_state *s)
{
	cut_reap(s);
	cut_fill(s, s->o.total, s->o.depth);
	cut_expose(s);
}

/* ---- a device ---- */

/* What was found is what is out, as far as a device before had it or could have had it. */
static void cut_check_found(struct cut_state *s)
{
	struct cut_dev *dev = &s->dev[s->life];
	const struct inflight_found *f = &dev->found;
	struct cut_driver after;
	unsigned int i, k;

	cut_visible(s, &after);
	if (f->pos.used != after.reaped.i || f->pos.used_wrap != after.reaped.wrap)
		cut_fail(s, "what was given back ends elsewhere");
	for (k = 0; k < f->nr; k++)
		if (!after.req[f->buf[k].id].out)
			cut_fail(s, "a used buffer is in flight");
	for (i = 0; i < s->o.num; i++) {
		if (!after.req[i].out || !after.req[i].taken)
			continue;
		for (k = 0; k < f->nr && f->buf[k].id != i; k++)
			;
		if (k == f->nr)
			cut_fail(s, "a buffer that was taken is not in flight");
	}
}

static void cut_open(struct cut_state *s)
{
	struct cut_dev *dev = &s->dev[s->life];
	const struct cut_driver *drv = &s->w.drv;
	struct virtq_cfg vcfg = {
		.layout = s->o.layout, .num = s->o.num, .event_idx = s->o.event_idx,
		.indirect = true, .in_order = s->o.in_order, .partial_order = s->o.partial,
		.desc = s->w.desc, .driver = &s->w.avail, .device = &s->w.used,
		.segs = dev->segs, .max_segs = CUT_NUM, .table = dev->table,
		.order = s->o.in_order || s->o.partial ? &dev->order : NULL,
		.track = &dev->fl, .mem = (struct virtq_mem *)s,
	};
	struct inflight_cfg cfg = {
		.layout = s->o.layout, .num = s->o.num, .desc_num = s->o.entries,
		.region = s->w.region, .snapshot = dev->copy,
		.desc = s->w.desc, .device = &s->w.used,
		.batched = s->o.in_order || s->o.partial,
	};
	struct virtq_chain chain;
	unsigned int i;

	dev->publishes = 0;
	dev->last = 0;
	dev->nr = 0;
	/*
	 * A driver that looked last is one who can tell where the device was. Else this counts for
	 * a fresh region only, from which nothing was ever given back.
	 */
	cfg.told = s->life && s->at[s->life - 1].driver == CUT_ALL && s->w.split.version;
	cfg.pos.avail = drv->reaped.i;
	cfg.pos.avail_wrap = drv->reaped.wrap;
	cfg.pos.used = drv->reaped.i;
	cfg.pos.used_wrap = drv->reaped.wrap;
	memcpy(dev->copy, s->w.region, sizeof(dev->copy));
	if (inflight_open(&dev->fl, &cfg, &dev->found)) {
		cut_fail(s, "the region can't be opened");
		return;
	}
	cut_check_found(s);
	if (virtq_init(&dev->vq, &vcfg, &dev->found.pos))
		cut_fail(s, "a position makes no sense");
	for (i = 0; i < dev->found.nr && !s->why; i++) {
		if (virtq_refetch(&dev->vq, &dev->found.buf[i], &chain) != 1)
			cut_fail(s, "a buffer can't be taken again");
		else
			cut_taken(s, &chain);
	}
}

/* Which of @nr buffers the device gives back as the nth of @n. */
static unsigned int cut_pick(const struct cut_state *s, unsigned int nr)
{
	switch (s->o.order) {
	case CUT_LATEST_FIRST:
		return nr - 1;
	case CUT_OLDEST_LAST:
		return nr > 1;
	default:
		return 0;
	}
}

/* How many it gives back at once. Every other device after the first has its own mind. */
static unsigned int cut_batch(const struct cut_state *s)
{
	return s->life && s->at[s->life - 1].store & 1 ? 1 : s->o.batch;
}

static void cut_give(struct cut_state *s, unsigned int n)
{
	struct cut_dev *dev = &s->dev[s->life];
	struct virtq_done done[CUT_NUM];
	unsigned int i;

	for (i = 0; i < n; i++) {
		unsigned int at = cut_pick(s, dev->nr);
		struct cut_out out = dev->out[at];

		dev->nr--;
		memmove(&dev->out[at], &dev->out[at + 1], (dev->nr - at) * sizeof(out));
		done[i] = (struct virtq_done){ out.id, out.ndesc, cut_len(s, &out) };
		cut_answer(s, &out);
	}
	virtq_publish(&dev->vq, done, n);
	virtq_need_call(&dev->vq);
	dev->publishes++;
}

/* The owner's loop of virtq.h. True if there was something to do. */
static bool cut_serve(struct cut_state *s)
{
	struct cut_dev *dev = &s->dev[s->life];
	struct virtq_chain chain;
	bool some = false;
	int ret = 0;

	do {
		virtq_disable_kick(&dev->vq);
		while (!s->why && (ret = virtq_fetch(&dev->vq, &chain)) > 0) {
			cut_taken(s, &chain);
			some = true;
			/* It is done as soon as it is taken. */
			if (s->o.sync && !s->why && dev->last % 3 == 0) {
				struct cut_out out = dev->out[--dev->nr];
				struct virtq_done done = { out.id, out.ndesc, cut_len(s, &out) };

				cut_answer(s, &out);
				virtq_publish(&dev->vq, &done, 1);
				dev->publishes++;
			}
		}
		if (!s->why && ret < 0)
			cut_fail(s, "the ring is broken");
	} while (!s->why && virtq_enable_kick(&dev->vq));
	while (!s->why && dev->nr >= cut_batch(s)) {
		cut_give(s, cut_batch(s));
		some = true;
	}
	return some;
}

/* Until the driver has had @total buffers, all of them. */
static void cut_serve_all(struct cut_state *s, u32 total, unsigned int depth)
{
	struct cut_dev *dev = &s->dev[s->life];
	struct cut_driver *drv = &s->w.drv;
	unsigned int rounds;

	for (rounds = 0; rounds < 8 * CUT_NUM && !s->why; rounds++) {
		bool some = cut_reap(s);

		some |= cut_fill(s, total, depth);
		cut_expose(s);
		if (drv->posted >= total && !drv->nr_out)
			return;
		some |= cut_serve(s);
		/* Nobody can go on: then it is a smaller batch. */
		if (some || s->why)
			continue;
		if (!dev->nr)
			cut_fail(s, "a buffer is lost");
		else
			cut_give(s, min_t(unsigned int, dev->nr, cut_batch(s)));
	}
	cut_fail(s, "it never ends");
}

/* A device's life, from a region on to the end of the scenario and a few laps beyond it. */
static void cut_live(struct cut_state *s)
{
	const unsigned int laps = 2 * s->o.num;

	if (!s->life || s->at[s->life - 1].driver != CUT_NOTHING) {
		cut_reap(s);
		cut_fill(s, s->o.total, s->o.depth);
	}
	if (s->life && s->at[s->life - 1].driver == CUT_ALL)
		cut_expose(s);
	cut_open(s);
	if (s->why)
		return;
	cut_serve_all(s, s->o.total, s->o.depth);
	s->quiet = true;
	/* As many buffers as there are descriptors: each entry is free, here and in the region. */
	cut_serve_all(s, s->o.total + laps, s->o.num);
	if (!s->why)
		cut_audit(s);
	s->quiet = false;
}

/* ---- where it ends ---- */

/* The next life, from here; and as if nothing had been. */
static void cut_here(struct cut_state *s, unsigned int driver)
{
	const unsigned int life = s->life;

	s->saved[life] = s->w;
	s->at[life].driver = driver;
	s->life = life + 1;
	s->at[s->life].store = 0;
	if (life)
		s->seconds++;
	else
		s->firsts++;
	cut_live(s);
	if (s->why)
		return;
	s->life = life;
	s->w = s->saved[life];
}

static bool cut_wanted(const struct cut_state *s)
{
	if (!s->life)
		return true;
	/* The second one is at the beginning of the second life. */
	return s->life == 1 && s->o.second && s->firsts % s->o.second == 0 &&
	       s->dev[1].publishes < CUT_FIRST_PUBLISHES;
}

void cut_stored(const void *p)
{
	struct cut_state *s = cut;
	bool ring = p >= (void *)&s->w.desc && p < (void *)s->w.table;
	unsigned int i;

	if (s->quiet || s->why)
		return;
	s->at[s->life].store++;
	if (cut_wanted(s))
		for (i = 0; i < CUT_NR_DRIVERS && !s->why; i++)
			cut_here(s, i);
	if (s->o.eager && ring && !s->why)
		cut_drive(s);
}

bool cut_play(struct cut_state *s, const struct cut_opts *o)
{
	cut = s;
	s->o = *o;
	s->life = 0;
	s->quiet = false;
	s->why = NULL;
	s->at[0].store = 0;
	cut_driver_init(s);
	/* Fresh, whatever else is in there. */
	memset(s->w.region, 0xa5, sizeof(s->w.region));
	s->w.split.version = 0;
	cut_live(s);
	return !s->why;
}

/* ---- scenarios ---- */

enum { CUT_STARTS = 4, CUT_PATTERNS = 6, CUT_BATCHES = 5, CUT_FEATURES = 4 };

unsigned int cut_scenarios(void)
{
	return VIRTQ_NR_LAYOUTS * CUT_FEATURES * CUT_NR_ORDERS * CUT_STARTS * CUT_PATTERNS *
	       CUT_BATCHES;
}

static unsigned int cut_digit(unsigned int *n, unsigned int base)
{
	unsigned int digit = *n % base;

	*n /= base;
	return digit;
}

void cut_scenario(unsigned int n, struct cut_opts *o)
{
	static const u16 nums[] = { 8, 8, 8, 16, 8 }, packed_nums[] = { 8, 7, 5, 16, 8 };
	static const u8 batches[] = { 1, 2, 3, 8, CUT_NUM };
	static const u16 starts[] = { 0, 1000, 65533, 65535 };
	const unsigned int mixed = (n + 1) * 2654435761U >> 16;
	unsigned int batch, start;

	memset(o, 0, sizeof(*o));
	o->layout = cut_digit(&n, VIRTQ_NR_LAYOUTS);
	o->order = cut_digit(&n, CUT_NR_ORDERS);
	batch = cut_digit(&n, CUT_BATCHES);
	start = cut_digit(&n, CUT_STARTS);
	o->pattern = cut_digit(&n, CUT_PATTERNS);
	o->in_order = cut_digit(&n, 2);
	o->partial = cut_digit(&n, 2);

	o->num = o->layout == VIRTQ_PACKED ? packed_nums[batch] : nums[batch];
	o->batch = min_t(unsigned int, batches[batch], o->num);
	o->depth = o->batch < 4 ? o->batch + 2 : o->num;
	if (o->layout == VIRTQ_PACKED) {
		/* The first slot, and the last two, in either lap. */
		const u16 slots[] = { 0, o->num - 2, o->num - 1, 2 * o->num - 1 };

		o->start = slots[start];
		/* That pattern has a table behind a descriptor. */
		if (o->pattern == CUT_PATTERNS - 1)
			o->pattern = 3;
	} else {
		o->start = starts[start];
	}
	o->total = o->batch < 4 ? 10 : 2 * o->num - 2;
	o->entries = o->num + (mixed & 1 ? CUT_ENTRIES - CUT_NUM : 0);
	o->event_idx = mixed & 2;
	o->eager = mixed & 4;
	o->sync = (mixed & 24) == 8;
}

void cut_describe(const struct cut_state *s, char *text, size_t size)
{
	static const char * const orders[] = { "as taken", "latest first", "oldest last" };
	const struct cut_opts *o = &s->o;

	snprintf(text, size,
		 "%s%s%s%s%s%s ring of %u at %u, region of %u, chains %u, batches of %u %s: device %u, stores %u (driver %u) %u (driver %u) %u: %s",
		 o->layout == VIRTQ_PACKED ? "packed" : "split", o->in_order ? " IN_ORDER" : "",
		 o->partial ? " PARTIAL_ORDER" : "", o->event_idx ? " EVENT_IDX" : "",
		 o->eager ? " eager" : "", o->sync ? " sync" : "", o->num, o->start, o->entries,
		 o->pattern, o->batch, orders[o->order], s->life, s->at[0].store, s->at[0].driver,
		 s->at[1].store, s->at[1].driver, s->at[2].store, s->why ?: "fine");
}
