// SPDX-License-Identifier: GPL-2.0
/*
 * Sequences of calls with a driver that behaves: the input is a program for both sides. Every
 * buffer comes through once, in turn, as it was made; it comes back once, with its length; and when
 * both sleep as the notification rules let them, nothing is left to do: no wake-up was lost.
 */
#include <kunit/test.h>
#include <stdarg.h>

#include "device.h"
#include "../../kunit/guest.h"

#define MAX_SEGS	20
#define MAX_OPS		400

/* What guest.c asks of its test: memory, kept for the next run, and somebody to complain to. */
static struct {
	size_t size;
	void *p;
} blocks[8];

static unsigned int nr_blocks;

void *kunit_kzalloc(struct kunit *test, size_t size, int gfp)
{
	unsigned int i = nr_blocks++;

	CHECK(i < ARRAY_SIZE(blocks), "%zu", size);
	if (blocks[i].size != size) {
		free(blocks[i].p);
		blocks[i].p = fuzz_alloc(size);
		blocks[i].size = size;
	} else if (size < GUEST_SIZE) {
		/* Of guest memory guest_alloc() clears what it gives. */
		memset(blocks[i].p, 0, size);
	}
	return blocks[i].p;
}

void ktap_fail(struct kunit *test, bool leave, const char *file, int line, const char *what,
	       long long left, long long right, const char *fmt, ...)
{
	CHECK(false, "%s:%d: %s: %lld, %lld", file, line, what, left, right);
}

struct buffer {
	bool out;
	u16 nr;
	u64 seq;		/* from 1 */
	u32 in_len, len;
	struct virtq_seg segs[MAX_SEGS];
};

struct calls {
	struct fuzz_in in;
	struct kunit test;
	struct guest *g;
	struct device dev;
	struct buffer buf[VIRTQ_MAX_NUM];	/* by id */
	u64 added, exposed, reaped;
	/* Who sleeps, and who was woken. */
	bool driver_asleep, called, device_asleep, kicked;
};

/* The driver's pointers follow the areas. */
static void rewire(struct calls *c)
{
	struct device *dev = &c->dev;
	struct guest *g = c->g;

	if (dev->cfg.layout == VIRTQ_PACKED) {
		g->ring = dev->cfg.desc;
		g->driver = dev->cfg.driver;
		g->device = dev->cfg.device;
	} else {
		g->desc = dev->cfg.desc;
		g->avail = dev->cfg.driver;
		g->used = dev->cfg.device;
	}
}

static bool start(struct calls *c)
{
	const u8 features = in8(&c->in), size = in8(&c->in);
	const void *from[NR_AREAS];
	struct guest_opts opts = {
		.layout = features & 1 ? VIRTQ_PACKED : VIRTQ_SPLIT,
		.event_idx = features & 2, .indirect = features & 4, .in_order = features & 8,
		.partial_order = features & 16, .max_segs = VIRTQ_MAX_NUM,
		.start = in16(&c->in),
	};
	struct virtq_pos pos;
	unsigned int i;

	opts.num = features & 1 ? 1 + size % 100 : 1 << size % 8;
	if (features & 1)
		opts.start %= 4 * opts.num;
	nr_blocks = 0;
	c->g = guest_new(&c->test, &opts);
	virtq_get_pos(&c->g->vq, &pos);
	from[AREA_DESC] = c->g->cfg.desc;
	from[AREA_DRIVER] = c->g->cfg.driver;
	from[AREA_DEVICE] = c->g->cfg.device;
	device_new(&c->dev, &c->g->cfg);
	for (i = 0; i < NR_AREAS; i++)
		memcpy(c->dev.area[i], from[i], device_area(&c->dev.cfg, i));
	rewire(c);
	return device_start(&c->dev, &pos);
}

/* ---- the driver ---- */

static void add(struct calls *c, u8 how)
{
	const bool is_packed = c->dev.cfg.layout == VIRTQ_PACKED, indirect = c->dev.cfg.indirect;
	struct buffer b = { .out = true, .seq = c->added + 1 };
	unsigned int direct, i, out, room = c->g->nr_free;
	int id;

	b.nr = 1 + how % (indirect ? MAX_SEGS : 5);
	if (!indirect)
		b.nr = min(b.nr, c->g->num);
	out = in8(&c->in) % (b.nr + 1);
	for (i = 0; i < b.nr; i++) {
		u8 len = in8(&c->in);

		/* Lengths that are nothing, something, and nearly all there is. */
		b.segs[i] = (struct virtq_seg){
			.addr = (b.seq << 32) + (i << 16) - (len & 1 ? b.seq << 32 << 1 : 0),
			.len = len < 16 ? 0 : len < 250 ? len << 4 : ~0U / b.nr - 1,
			.flags = i < out ? 0 : VIRTQ_SEG_WRITE,
		};
		if (b.segs[i].addr + b.segs[i].len < b.segs[i].addr)
			b.segs[i].addr -= b.segs[i].len;
		if (i >= out)
			b.in_len += b.segs[i].len;
	}
	direct = !indirect ? b.nr : is_packed ? (how & 128 ? 0 : b.nr) : (how >> 5) % (b.nr + 1);
	if (direct + !!(b.nr - direct) > room)
		return;
	id = guest_add(c->g, b.segs, b.nr, direct);
	CHECK(id >= 0 && !c->buf[id].out, "id %d", id);
	c->buf[id] = b;
	c->added++;
}

static void kick(struct calls *c)
{
	c->kicked |= guest_kick(c->g);
	c->exposed = c->added;
}

static bool reap(struct calls *c)
{
	u32 len;
	u16 id;

	if (!guest_reap(c->g, &id, &len))
		return false;
	CHECK(c->buf[id].out && c->buf[id].len == len, "id %u with %u, should be %u", id, len,
	      c->buf[id].len);
	c->buf[id].out = false;
	c->reaped++;
	return true;
}

/* Awake, it may look at any moment; asleep it does when it is called. */
static bool driver_wakes(struct calls *c)
{
	if (c->driver_asleep && !c->called)
		return false;
	c->driver_asleep = false;
	c->called = false;
	return true;
}

static void driver_sleeps(struct calls *c)
{
	c->driver_asleep = !guest_want_call(c->g);
}

/* ---- the device ---- */

static bool device_wakes(struct calls *c)
{
	if (c->device_asleep && !c->kicked)
		return false;
	c->device_asleep = false;
	c->kicked = false;
	return true;
}

static bool fetch(struct calls *c)
{
	struct device *dev = &c->dev;
	struct virtq_chain chain;
	struct buffer *b;
	int ret;

	CHECK(c->exposed - dev->fetched <= dev->cfg.num, "%llu", (unsigned long long)c->exposed);
	ret = device_fetch(dev, &chain);
	CHECK(ret == (dev->fetched - (ret > 0) < c->exposed), "%d", ret);
	if (!ret)
		return false;
	b = &c->buf[chain.id];
	CHECK(b->out && b->seq == dev->fetched, "seq %llu", (unsigned long long)b->seq);
	CHECK(chain.nr_segs == b->nr && !memcmp(chain.segs, b->segs, b->nr * sizeof(*b->segs)),
	      "other segments");
	return true;
}

static void publish(struct calls *c, unsigned int n)
{
	static struct virtq_done done[VIRTQ_MAX_NUM];
	struct device *dev = &c->dev;
	unsigned int i;

	n = min_t(unsigned int, n, dev->nr_held);
	for (i = 0; i < n; i++) {
		u8 how = in8(&c->in);
		unsigned int at = how % dev->nr_held;
		u32 all = dev->flight[dev->held[at]].in_len;

		/* Mostly used completely; the first by default. */
		done[i] = device_answer(dev, at, how < 200 ? all : how < 225 ? 0 : all - how);
		c->buf[done[i].id].len = done[i].len;
	}
	device_publish(dev, done, n);
}

static void call(struct calls *c)
{
	c->called |= device_need_call(&c->dev);
}

static void device_sleeps(struct calls *c)
{
	c->device_asleep = !device_enable_kick(&c->dev);
}

/* Everything taken is given back; another device goes on from there. */
static void resume(struct calls *c)
{
	struct device *dev = &c->dev;
	struct virtq_pos pos;
	u64 fetched;

	publish(c, dev->nr_held);
	call(c);
	virtq_get_pos(dev->vq, &pos);
	CHECK(pos.avail == pos.used && pos.avail_wrap == pos.used_wrap, "%u %u", pos.avail,
	      pos.used);
	fetched = dev->fetched;
	memset(dev->vq, 0xa5, sizeof(*dev->vq));
	CHECK(device_start(dev, &pos), "its own position");
	/* Counted on, for the model. */
	dev->fetched = fetched;
	dev->returned = fetched;
	dev->used = fetched;
	/* Kicks are as the ring has them, and some may have gone unheard. */
	c->device_asleep = false;
}

static void move(struct calls *c)
{
	device_move(&c->dev);
	rewire(c);
}

static void op(struct calls *c)
{
	const u8 what = in8(&c->in);
	unsigned int n = 1 + (what >> 4);

	switch (what % 16) {
	case 0:
	case 1:
	case 2:
		add(c, in8(&c->in));
		break;
	case 3:
		kick(c);
		break;
	case 4:
		while (driver_wakes(c) && n-- && reap(c))
			;
		break;
	case 5:
		if (driver_wakes(c))
			driver_sleeps(c);
		break;
	case 6:
		guest_refuse_call(c->g);
		c->driver_asleep = false;
		break;
	case 7:
	case 8:
	case 9:
		while (device_wakes(c) && n-- && fetch(c))
			;
		break;
	case 10:
	case 11:
		publish(c, n);
		break;
	case 12:
		call(c);
		break;
	case 13:
		if (device_wakes(c))
			device_sleeps(c);
		break;
	case 14:
		device_disable_kick(&c->dev);
		c->device_asleep = false;
		break;
	default:
		if (n & 1)
			move(c);
		else
			resume(c);
	}
}

/* Both go on as long as somebody wakes them. */
static void settle(struct calls *c)
{
	bool idle;

	kick(c);
	do {
		idle = true;
		if (device_wakes(c)) {
			idle = false;
			do {
				device_disable_kick(&c->dev);
				while (fetch(c))
					;
				device_sleeps(c);
			} while (!c->device_asleep);
		}
		if (c->dev.nr_held)
			publish(c, c->dev.nr_held);
		call(c);
		if (driver_wakes(c)) {
			idle = false;
			do {
				while (reap(c))
					;
				driver_sleeps(c);
			} while (!c->driver_asleep);
		}
	} while (!idle);
	CHECK(c->reaped == c->added, "%llu of %llu buffers came back",
	      (unsigned long long)c->reaped, (unsigned long long)c->added);
	CHECK(c->g->nr_free == c->g->num, "%u free", c->g->nr_free);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct calls c;
	unsigned int ops;

	c.in = (struct fuzz_in){ data, data + size };
	memset(c.buf, 0, 128 * sizeof(*c.buf));
	c.added = 0;
	c.exposed = 0;
	c.reaped = 0;
	c.driver_asleep = false;
	c.called = false;
	c.device_asleep = false;
	c.kicked = false;
	if (start(&c)) {
		for (ops = 0; ops < MAX_OPS && in_left(&c.in); ops++)
			op(&c);
		settle(&c);
	}
	device_free(&c.dev);
	return 0;
}
