// SPDX-License-Identifier: GPL-2.0
/*
 * The device's side: our ring engine and the owner's loop of virtq.h, with requests that complete
 * in any order and in batches of any size.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/types.h>
#include <stdio.h>
#include <stdlib.h>

#include "virtq.h"
#include "virtq_mem.h"
#include "pair.h"

enum where { START, FETCH, ENABLE, WAIT };

static const char *const where_names[] = { "starts", "fetches", "enables kicks", "waits" };

struct held {
	struct buf *buf;
	struct virtq_done done;
};

struct device {
	struct pair *p;
	struct virtq_cfg cfg;
	struct virtq vq;
	u64 rng;

	enum where at;
	bool more;			/* virtq_enable_kick() said so */
	unsigned int lazy;		/* of 8 chances to complete something how many pass */
	struct held *held;
	struct virtq_done *done;
	unsigned int nr;
	u64 owed, owed_slots;		/* published since virtq_need_call() */
};

/* Tables are read where the driver has them: addresses are its own. */
struct virtq_mem {
	struct pair *p;
};

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	mem->p->v.tables++;
	memcpy(dst, (const void *)(uintptr_t)addr, len);
	return 0;
}

/* Whose cell it is. */
static struct buf *buf_of(struct pair *p, u64 addr)
{
	u64 off = addr - (uintptr_t)p->cells;

	off /= (u64)p->max_segs * CELL;
	return off < p->nr_bufs ? &p->bufs[off] : NULL;
}

static void check_chain(struct pair *p, struct buf *b, const struct virtq_chain *c)
{
	u32 i;

	if (c->nr_segs != b->nr_segs || c->nr_out != b->nr_out)
		return pair_fail(p, "%u segments, %u of them out; the driver added %u, %u out",
				 c->nr_segs, c->nr_out, b->nr_segs, b->nr_out);
	for (i = 0; i < c->nr_segs; i++) {
		u64 v = stamp(b, i, false);

		if (c->segs[i].addr != b->segs[i].addr || c->segs[i].len != b->segs[i].len ||
		    c->segs[i].flags != (i < b->nr_out ? 0 : VIRTQ_SEG_WRITE))
			return pair_fail(p, "segment %u of %u differs", i, c->nr_segs);
		if (i < b->nr_out && b->segs[i].len >= STAMP &&
		    memcmp((void *)(uintptr_t)b->segs[i].addr, &v, STAMP))
			return pair_fail(p, "what the driver wrote to segment %u is not there", i);
	}
}

static void fetch(struct device *v)
{
	struct pair *p = v->p;
	struct virtq_chain c;
	struct buf *b;
	int ret;

	ret = virtq_fetch(&v->vq, &c);
	if (ret < 0)
		return pair_fail(p, "virtq_fetch: %d", ret);
	if (!ret) {
		if (v->more)
			pair_fail(p, "virtq_enable_kick() saw what virtq_fetch() does not");
		if (p->exact && p->d.added != p->v.fetched)
			pair_fail(p, "virtq_fetch() sees nothing");
		v->at = ENABLE;
		return;
	}
	v->more = false;
	b = buf_of(p, c.segs[0].addr);
	if (!b)
		return pair_fail(p, "a buffer that no token has");
	if (b->state != BUF_ADDED)
		return pair_fail(p, "fetched a buffer in state %d", b->state);
	if (b->added != p->v.fetched)
		return pair_fail(p, "number %llu fetched was added as number %llu",
				 (unsigned long long)p->v.fetched, (unsigned long long)b->added);
	b->state = BUF_FETCHED;
	p->v.fetched++;
	p->v.fetched_slots += c.ndesc;
	v->held[v->nr++] = (struct held){ b, { .id = c.id, .ndesc = c.ndesc } };
	check_chain(p, b, &c);
}

/* Any number of what is held, any of them. */
static void publish(struct device *v)
{
	struct pair *p = v->p;
	u64 r = rnd(&v->rng);
	unsigned int n = r & 1 ? v->nr : 1 + below(r, v->nr), i, j;

	for (i = 0; i < n; i++) {
		struct held h;
		struct buf *b;

		r = rnd(&v->rng);
		j = below(r, v->nr);
		h = v->held[j];
		v->held[j] = v->held[--v->nr];

		b = h.buf;
		h.done.len = b->in_len;
		if (!(r & 3))
			h.done.len = r & 4 ? 0 : below(r << 8, b->in_len);
		b->used_len = h.done.len;
		b->used = p->v.used + i;
		for (j = b->nr_out; j < b->nr_segs; j++) {
			u64 s = stamp(b, j, true);

			if (b->segs[j].len >= STAMP)
				memcpy((void *)(uintptr_t)b->segs[j].addr, &s, STAMP);
		}
		b->state = BUF_USED;
		v->done[i] = h.done;
		v->owed_slots += h.done.ndesc;
		p->v.used_slots += h.done.ndesc;
	}
	virtq_publish(&v->vq, v->done, n);
	v->owed += n;
	p->v.used += n;
}

/* Of a ring, as it is now. */
static u16 load16(const void *area, unsigned int off)
{
	return READ_ONCE(*(const u16 *)((const char *)area + off));
}

/* Index of an entry, or slot and wrap counter, after so many. */
static u16 nth(const struct pair *p, u64 n)
{
	if (!p->packed)
		return n;
	return n % p->num | (n / p->num & 1 ? 0 : 1 << VRING_PACKED_EVENT_F_WRAP_CTR);
}

/* Both sides stand still: must the driver be called, by what it says in the ring? */
static bool want_call(struct device *v)
{
	struct pair *p = v->p;
	u64 n = p->packed ? min_t(u64, v->owed_slots, p->num) : v->owed, i;
	u64 end = p->packed ? p->v.used_slots : p->v.used;
	u16 event;

	if (!n)
		return false;
	if (p->packed) {
		u16 flags = load16(p->driver_area, 2);

		event = load16(p->driver_area, 0);
		if (flags != VRING_PACKED_EVENT_FLAG_DESC)
			return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	} else {
		event = load16(p->driver_area, 4 + 2 * p->num);
		if (!p->event_idx)
			return !(load16(p->driver_area, 0) & VRING_AVAIL_F_NO_INTERRUPT);
	}
	for (i = 1; i <= n; i++)
		if (nth(p, end - i) == event)
			return true;
	return false;
}

static void call(struct device *v)
{
	struct pair *p = v->p;
	bool want = p->exact && want_call(v);
	bool call = virtq_need_call(&v->vq);

	if (p->exact && call != want)
		pair_fail(p, "virtq_need_call: %d after %llu buffers", call,
			  (unsigned long long)v->owed);
	v->owed = 0;
	v->owed_slots = 0;
	p->v.calls += call;
	p->v.quiet += !call;
	if (call && p->inline_irq)
		driver_interrupt(p->driver);
	else if (call)
		run_signal(p, DRIVER);
	if (p->exact && p->d.asleep && p->v.used != p->d.got)
		pair_fail(p, "the driver sleeps and is not called");
}

static void set_armed(struct pair *p, bool on)
{
	p->v.armed = on;
	p->v.touched = true;
	if (on)
		p->v.armed_at = p->packed ? p->v.fetched_slots : p->v.fetched;
}

/* As after SET_VRING_BASE of what GET_VRING_BASE said, with nothing in flight. */
static void restart(struct device *v)
{
	struct virtq_pos pos;

	virtq_get_pos(&v->vq, &pos);
	memset(&v->vq, 0xa5, sizeof(v->vq));
	if (virtq_init(&v->vq, &v->cfg, &pos))
		return pair_fail(v->p, "virtq_init: avail %u used %u", pos.avail, pos.used);
	v->p->v.restarts++;
	v->at = START;
}

enum step device_step(struct device *v)
{
	struct pair *p = v->p;
	u64 r = rnd(&v->rng), left;

	if (p->failed)
		return STEP_END;
	/* At any time something completes, or the driver is looked after. */
	if (v->owed && r & 3) {
		call(v);
		return STEP_ON;
	}
	if (v->nr && (v->at == WAIT || v->nr == p->num || (r >> 8 & 7) >= v->lazy)) {
		publish(v);
		/* Close behind it, as an owner does, a missing barrier shows best. */
		if (!p->exact && r & 4)
			call(v);
		return STEP_ON;
	}
	switch (v->at) {
	case START:
		v->lazy = below(r, 9);
		if (r & 0x70) {
			virtq_disable_kick(&v->vq);
			set_armed(p, false);
		}
		v->at = FETCH;
		return STEP_ON;
	case FETCH:
		fetch(v);
		return STEP_ON;
	case ENABLE:
		/* It looks once more, so this is not forgetting anything. */
		run_take_signal(p, DEVICE);
		set_armed(p, true);
		v->more = virtq_enable_kick(&v->vq);
		left = p->d.added - p->v.fetched;
		if (p->exact && v->more != !!left)
			pair_fail(p, "virtq_enable_kick: %d", v->more);
		v->at = v->more ? START : WAIT;
		return STEP_ON;
	case WAIT:
		if (run_take_signal(p, DEVICE))
			v->at = START;
		else if (v->owed)
			call(v);
		else if (!(r & 0xff000))
			restart(v);
		else
			return STEP_SLEEP;
	}
	return STEP_ON;
}

void device_pos(struct device *v, u16 *avail, u16 *used)
{
	struct virtq_pos pos;

	virtq_get_pos(&v->vq, &pos);
	*avail = pos.avail;
	*used = pos.used;
	if (v->p->packed) {
		*avail |= pos.avail_wrap << VRING_PACKED_EVENT_F_WRAP_CTR;
		*used |= pos.used_wrap << VRING_PACKED_EVENT_F_WRAP_CTR;
	}
}

bool device_is_idle(struct device *v)
{
	return !v->nr && virtq_empty(&v->vq);
}

static void dump_packed(const struct pair *p)
{
	u32 i;

	printf("#   driver's events: %#x flags %u, device's: %#x flags %u\n",
	       load16(p->driver_area, 0), load16(p->driver_area, 2),
	       load16(p->device_area, 0), load16(p->device_area, 2));
	for (i = 0; i < min(p->num, 16U); i++)
		printf("#   slot %u: id %u flags %#x\n", i, load16(p->desc, 16 * i + 12),
		       load16(p->desc, 16 * i + 14));
}

void device_dump(struct device *v)
{
	struct pair *p = v->p;
	u16 avail, used;

	device_pos(v, &avail, &used);
	printf("# device %s: fetched %llu, used %llu, holds %u, owes a look after %llu\n",
	       where_names[v->at], (unsigned long long)p->v.fetched,
	       (unsigned long long)p->v.used, v->nr, (unsigned long long)v->owed);
	printf("#   avail %#x used %#x\n", avail, used);
	if (p->packed)
		return dump_packed(p);
	printf("#   available: flags %u idx %u used_event %u\n", load16(p->driver_area, 0),
	       load16(p->driver_area, 2), load16(p->driver_area, 4 + 2 * p->num));
	printf("#   used: flags %u idx %u avail_event %u\n", load16(p->device_area, 0),
	       load16(p->device_area, 2), load16(p->device_area, 4 + 8 * p->num));
}

struct device *device_new(struct pair *p)
{
	const struct virtq_pos start = { .avail_wrap = p->packed, .used_wrap = p->packed };
	struct device *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	v->p = p;
	v->rng = ~p->seed;
	v->cfg = (struct virtq_cfg){
		.layout = p->packed ? VIRTQ_PACKED : VIRTQ_SPLIT, .num = p->num,
		.event_idx = p->event_idx, .indirect = p->indirect,
		.desc = p->desc, .driver = p->driver_area, .device = p->device_area,
		.segs = calloc(VIRTQ_MAX_NUM, sizeof(struct virtq_seg)), .max_segs = VIRTQ_MAX_NUM,
		.table = p->indirect ? calloc(VIRTQ_MAX_NUM, 16) : NULL,
		.mem = calloc(1, sizeof(struct virtq_mem)),
	};
	v->held = calloc(p->num, sizeof(*v->held));
	v->done = calloc(p->num, sizeof(*v->done));
	if (!v->cfg.segs || (p->indirect && !v->cfg.table) || !v->cfg.mem || !v->held || !v->done ||
	    virtq_init(&v->vq, &v->cfg, &start)) {
		device_free(v);
		return NULL;
	}
	v->cfg.mem->p = p;
	p->v.armed = true;	/* as the ring is made */
	return v;
}

void device_free(struct device *v)
{
	if (!v)
		return;
	free(v->cfg.segs);
	free(v->cfg.table);
	free(v->cfg.mem);
	free(v->held);
	free(v->done);
	free(v);
}
