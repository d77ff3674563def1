// SPDX-License-Identifier: GPL-2.0
/* The device's side of a ring under test, and what the bytes in the ring ask of it. */
#include <linux/errno.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_byteorder.h>
#include <uapi/linux/vhost_inflight.h>

#include "device.h"

#define AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define USED	BIT(VRING_PACKED_DESC_F_USED)
#define WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)

/* ---- memory ---- */

static u64 get(const u8 *p, unsigned int bytes)
{
	u64 v = 0;

	memcpy(&v, p, bytes);
	return le64_to_cpu(v);
}

static void put(u8 *p, unsigned int bytes, u64 v)
{
	v = cpu_to_le64(v);
	memcpy(p, &v, bytes);
}

static bool packed(const struct device *dev)
{
	return dev->cfg.layout == VIRTQ_PACKED;
}

size_t device_area(const struct virtq_cfg *cfg, unsigned int area)
{
	const bool split = cfg->layout == VIRTQ_SPLIT;

	switch (area) {
	case AREA_DESC:
		return 16 * cfg->num;
	case AREA_DRIVER:
		return split ? 6 + 2 * cfg->num : 4;
	default:
		return split ? 6 + 8 * cfg->num : 4;
	}
}

void device_new(struct device *dev, const struct virtq_cfg *cfg)
{
	/* Always as long, and not freed: that would be most of what a run costs. */
	static void *all_segs, *table, *order, *vq;
	unsigned int i;

	if (!vq) {
		all_segs = fuzz_alloc(VIRTQ_MAX_NUM * sizeof(struct virtq_seg));
		table = fuzz_alloc(VIRTQ_MAX_NUM * sizeof(struct vring_desc));
		order = fuzz_alloc(sizeof(struct virtq_order));
		vq = fuzz_alloc(sizeof(struct virtq));
	}
	dev->cfg = *cfg;
	dev->own_segs = NULL;
	for (i = 0; i < NR_AREAS; i++) {
		dev->area[i] = fuzz_alloc(device_area(cfg, i));
		dev->before[i] = fuzz_alloc(device_area(cfg, i));
	}
	dev->cfg.desc = dev->area[AREA_DESC];
	dev->cfg.driver = dev->area[AREA_DRIVER];
	dev->cfg.device = dev->area[AREA_DEVICE];
	if (cfg->max_segs < VIRTQ_MAX_NUM)
		dev->own_segs = fuzz_alloc(cfg->max_segs * sizeof(struct virtq_seg));
	dev->cfg.segs = dev->own_segs ?: all_segs;
	dev->cfg.table = cfg->indirect ? table : NULL;
	dev->cfg.order = cfg->in_order || cfg->partial_order ? order : NULL;
	dev->vq = vq;
}

void device_free(struct device *dev)
{
	unsigned int i;

	for (i = 0; i < NR_AREAS; i++) {
		free(dev->area[i]);
		free(dev->before[i]);
	}
	free(dev->own_segs);
}

static void remember(struct device *dev)
{
	unsigned int i;

	for (i = 0; i < NR_AREAS; i++)
		memcpy(dev->before[i], dev->area[i], device_area(&dev->cfg, i));
}

/* The device changed just this; the rest of what was remembered is compared in the end. */
static void expect(struct device *dev, unsigned int area, size_t at, unsigned int bytes, u64 v)
{
	put(dev->before[area] + at, bytes, v);
}

static void compare(const struct device *dev)
{
	unsigned int i;
	size_t at;

	for (i = 0; i < NR_AREAS; i++) {
		if (!memcmp(dev->before[i], dev->area[i], device_area(&dev->cfg, i)))
			continue;
		for (at = 0; dev->before[i][at] == dev->area[i][at]; at++)
			;
		CHECK(false, "area %u, byte %zu is %#x, should be %#x", i, at, dev->area[i][at],
		      dev->before[i][at]);
	}
}

/* ---- start, move ---- */

static unsigned int slots_out(const struct device *dev, const struct virtq_pos *pos)
{
	int n = pos->avail - pos->used;

	return pos->avail_wrap == pos->used_wrap ? n : n + dev->cfg.num;
}

static bool pos_ok(const struct device *dev, const struct virtq_pos *pos)
{
	if (!packed(dev))
		return (u16)(pos->avail - pos->used) <= dev->cfg.num;
	return pos->avail < dev->cfg.num && pos->used < dev->cfg.num &&
	       slots_out(dev, pos) <= dev->cfg.num;
}

static void check_pos(const struct device *dev)
{
	struct virtq_pos pos;

	virtq_get_pos(dev->vq, &pos);
	CHECK(pos.avail == dev->pos.avail && pos.used == dev->pos.used,
	      "position %u %u, should be %u %u", pos.avail, pos.used, dev->pos.avail,
	      dev->pos.used);
	CHECK(pos.avail_wrap == dev->pos.avail_wrap && pos.used_wrap == dev->pos.used_wrap, "%u %u",
	      pos.avail_wrap, pos.used_wrap);
}

bool device_start(struct device *dev, const struct virtq_pos *pos)
{
	int ret;

	remember(dev);
	ret = virtq_init(dev->vq, &dev->cfg, pos);
	compare(dev);
	CHECK(ret == (pos_ok(dev, pos) ? 0 : -EINVAL), "%d", ret);
	if (ret)
		return false;
	dev->pos = *pos;
	if (!packed(dev)) {
		dev->pos.avail_wrap = false;
		dev->pos.used_wrap = false;
	}
	dev->seen = pos->avail;
	dev->uncalled = 0;
	memset(dev->flight, 0, dev->cfg.num * sizeof(*dev->flight));
	dev->nr_held = 0;
	dev->fetched = 0;
	dev->returned = 0;
	dev->used = 0;
	dev->flushed = false;
	check_pos(dev);
	return true;
}

void device_move(struct device *dev)
{
	unsigned int i;

	for (i = 0; i < NR_AREAS; i++) {
		u8 *to = fuzz_alloc(device_area(&dev->cfg, i));

		memcpy(to, dev->area[i], device_area(&dev->cfg, i));
		free(dev->area[i]);
		dev->area[i] = to;
	}
	dev->cfg.desc = dev->area[AREA_DESC];
	dev->cfg.driver = dev->area[AREA_DRIVER];
	dev->cfg.device = dev->area[AREA_DEVICE];
	virtq_set_rings(dev->vq, dev->cfg.desc, dev->cfg.driver, dev->cfg.device);
	check_pos(dev);
}

/* ---- fetch: what the specification makes of the next available buffer ---- */

/* One reader for both layouts: a list of segments, or that the ring is broken. */
struct reading {
	unsigned int nr, nr_out, max;
	bool written;		/* a writable segment was seen */
	u64 bytes;
	struct virtq_seg segs[2 * VIRTQ_MAX_NUM];
};

static bool add_seg(struct reading *r, u64 addr, u32 len, bool write)
{
	if (r->nr == r->max || (r->written && !write) || addr + len < addr)
		return false;
	r->segs[r->nr++] = (struct virtq_seg){ addr, len, write ? VIRTQ_SEG_WRITE : 0 };
	r->nr_out += !write;
	r->written = write;
	r->bytes += len;
	return r->bytes <= 1ULL << 32;
}

/* A table, copied. Entries, or 0. */
static unsigned int copy_table(const struct device *dev, u64 addr, u32 len, u8 *to)
{
	if (!dev->cfg.indirect || !len || len % 16 || len > 16 * VIRTQ_MAX_NUM)
		return 0;
	return virtq_mem_read(dev->cfg.mem, addr, to, len) ? 0 : len / 16;
}

static bool read_split(const struct device *dev, unsigned int head, struct reading *r)
{
	static u8 copy[16 * VIRTQ_MAX_NUM];
	const u8 *table = dev->area[AREA_DESC], *d;
	unsigned int num = dev->cfg.num, at = head, links = 0;

	for (;;) {
		u16 flags;

		if (at >= num || links++ == num)
			return false;
		d = table + 16 * at;
		flags = get(d + 12, 2);
		if (flags & VRING_DESC_F_INDIRECT) {
			if (table == copy || flags & VRING_DESC_F_NEXT)
				return false;
			num = copy_table(dev, get(d, 8), get(d + 8, 4), copy);
			table = copy;
			at = 0;
			links = 0;
			continue;
		}
		if (!add_seg(r, get(d, 8), get(d + 8, 4), flags & VRING_DESC_F_WRITE))
			return false;
		if (!(flags & VRING_DESC_F_NEXT))
			return true;
		at = get(d + 14, 2);
	}
}

static bool read_packed(const struct device *dev, u16 *id, u16 *ndesc, struct reading *r)
{
	static u8 copy[16 * VIRTQ_MAX_NUM];
	unsigned int at = dev->pos.avail, n = 0, i, nr;
	bool wrap = dev->pos.avail_wrap;
	const u8 *d;
	u16 flags;

	do {
		if (n++ == dev->cfg.num - slots_out(dev, &dev->pos))
			return false;
		d = dev->area[AREA_DESC] + 16 * at;
		flags = get(d + 14, 2);
		if ((flags & (AVAIL | USED)) != (wrap ? AVAIL : USED))
			return false;
		if (flags & VRING_DESC_F_INDIRECT) {
			if (n > 1 || flags & VRING_DESC_F_NEXT)
				return false;
			nr = copy_table(dev, get(d, 8), get(d + 8, 4), copy);
			for (i = 0; i < nr; i++)
				if (!add_seg(r, get(copy + 16 * i, 8), get(copy + 16 * i + 8, 4),
					     get(copy + 16 * i + 14, 2) & VRING_DESC_F_WRITE))
					return false;
			if (!nr)
				return false;
		} else if (!add_seg(r, get(d, 8), get(d + 8, 4), flags & VRING_DESC_F_WRITE)) {
			return false;
		}
		if (++at == dev->cfg.num) {
			at = 0;
			wrap = !wrap;
		}
	} while (flags & VRING_DESC_F_NEXT);
	*id = get(d + 12, 2);
	*ndesc = n;
	return *id < dev->cfg.num && !dev->flight[*id].out;
}

/* 1: a buffer, 0: none, -1: the ring is broken. */
static int read_ring(struct device *dev, u16 *id, u16 *ndesc, struct reading *r)
{
	if (packed(dev)) {
		u16 flags = get(dev->area[AREA_DESC] + 16 * dev->pos.avail + 14, 2);

		if ((flags & (AVAIL | USED)) != (dev->pos.avail_wrap ? AVAIL : USED))
			return 0;
		return read_packed(dev, id, ndesc, r) ? 1 : -1;
	}
	if (dev->seen == dev->pos.avail) {
		u16 idx = get(dev->area[AREA_DRIVER] + 2, 2);

		if ((u16)(idx - dev->pos.avail) > dev->cfg.num)
			return -1;
		dev->seen = idx;
		if (idx == dev->pos.avail)
			return 0;
	}
	*id = get(dev->area[AREA_DRIVER] + 4 + 2 * (dev->pos.avail % dev->cfg.num), 2);
	*ndesc = 1;
	if (*id >= dev->cfg.num || dev->flight[*id].out)
		return -1;
	return read_split(dev, *id, r) ? 1 : -1;
}

static bool known_error(int ret)
{
	return ret == -EINVAL || ret == -ELOOP || ret == -E2BIG || ret == -EOVERFLOW ||
	       ret == -EFAULT || ret == -EEXIST;
}

int device_fetch(struct device *dev, struct virtq_chain *chain)
{
	static struct reading r;
	u16 id = 0, ndesc = 0;
	struct flight *f;
	int ret, due;

	memset(&r, 0, offsetof(struct reading, segs));
	r.max = dev->cfg.max_segs;
	due = read_ring(dev, &id, &ndesc, &r);
	remember(dev);
	ret = virtq_fetch(dev->vq, chain);
	compare(dev);
	CHECK(due < 0 ? known_error(ret) : ret == due, "%d, should be %d", ret, due);
	if (ret <= 0) {
		check_pos(dev);
		return ret;
	}
	CHECK(chain->id == id && chain->ndesc == ndesc, "%u %u, should be %u %u", chain->id,
	      chain->ndesc, id, ndesc);
	CHECK(chain->segs == dev->cfg.segs, "not the owner's");
	CHECK(chain->nr_segs == r.nr && chain->nr_out == r.nr_out, "%u %u, should be %u %u",
	      chain->nr_segs, chain->nr_out, r.nr, r.nr_out);
	CHECK(r.nr && !memcmp(chain->segs, r.segs, r.nr * sizeof(*r.segs)), "other segments");

	if (packed(dev)) {
		if (dev->pos.avail + ndesc >= dev->cfg.num)
			dev->pos.avail_wrap = !dev->pos.avail_wrap;
		dev->pos.avail = (dev->pos.avail + ndesc) % dev->cfg.num;
	} else {
		dev->pos.avail++;
	}
	check_pos(dev);
	f = &dev->flight[id];
	*f = (struct flight){ .out = true, .seq = ++dev->fetched, .ndesc = ndesc };
	for (r.bytes = 0; r.nr > r.nr_out; r.nr--)
		r.bytes += r.segs[r.nr - 1].len;
	f->in_len = min_t(u64, r.bytes, U32_MAX);
	dev->held[dev->nr_held++] = id;
	CHECK(dev->nr_held <= dev->cfg.num, "more than the ring has");
	return 1;
}

/* ---- publish: what a driver makes of the used entries ---- */

struct virtq_done device_answer(struct device *dev, unsigned int at, u32 len)
{
	u16 id = dev->held[at];
	struct flight *f = &dev->flight[id];

	dev->nr_held--;
	memmove(&dev->held[at], &dev->held[at + 1], (dev->nr_held - at) * sizeof(*dev->held));
	f->done = true;
	f->len = min(len, f->in_len);
	return (struct virtq_done){ .id = id, .ndesc = f->ndesc, .len = f->len };
}

/* The oldest in flight; NULL if there is none. */
static struct flight *oldest(struct device *dev)
{
	struct flight *old = NULL;
	unsigned int i;

	for (i = 0; i < dev->cfg.num; i++) {
		struct flight *f = &dev->flight[i];

		if (f->out && (!old || f->seq < old->seq))
			old = f;
	}
	return old;
}

/* Where a used entry goes, and what stands there. */
struct entry {
	size_t at;
	u16 id;
	u32 len;
	bool flush;
};

static struct entry next_entry(const struct device *dev)
{
	struct entry e;

	if (packed(dev)) {
		const u8 *d = dev->area[AREA_DESC];

		e.at = 16 * dev->pos.used;
		e.len = get(d + e.at + 8, 4);
		e.id = get(d + e.at + 12, 2);
		e.flush = get(d + e.at + 14, 2) & VIRTQ_DESC_F_FLUSH;
		return e;
	}
	e.at = 4 + 8 * (dev->pos.used % dev->cfg.num);
	e.id = get(dev->area[AREA_DEVICE] + e.at, 2);
	e.flush = get(dev->area[AREA_DEVICE] + e.at + 2, 2) & VIRTQ_USED_ELEM_F_FLUSH;
	e.len = get(dev->area[AREA_DEVICE] + e.at + 4, 4);
	return e;
}

static void expect_entry(struct device *dev, const struct entry *e)
{
	if (packed(dev)) {
		u16 flags = (dev->pos.used_wrap ? AVAIL | USED : 0) |
			    (e->len ? VRING_DESC_F_WRITE : 0) | (e->flush ? VIRTQ_DESC_F_FLUSH : 0);

		expect(dev, AREA_DESC, e->at + 8, 4, e->len);
		expect(dev, AREA_DESC, e->at + 12, 2, e->id);
		expect(dev, AREA_DESC, e->at + 14, 2, flags);
		return;
	}
	expect(dev, AREA_DEVICE, e->at, 4,
	       e->id | (e->flush ? (u32)VIRTQ_USED_ELEM_F_FLUSH << 16 : 0));
	expect(dev, AREA_DEVICE, e->at + 4, 4, e->len);
}

/* Goes on behind buffers of so many slots, one way or the other. */
static void advance_used(struct device *dev, unsigned int slots, unsigned int buffers)
{
	if (!packed(dev)) {
		dev->pos.used += buffers;
		dev->uncalled += buffers;
		return;
	}
	dev->uncalled += slots;
	if (dev->pos.used + slots >= dev->cfg.num)
		dev->pos.used_wrap = !dev->pos.used_wrap;
	dev->pos.used = (dev->pos.used + slots) % dev->cfg.num;
}

static void give_back(struct device *dev, struct flight *f)
{
	f->out = false;
	dev->used = max(dev->used, f->seq);
	dev->returned++;
}

/*
 * A used entry as a driver reads it: the buffers it stands for. True if it is one that another
 * could have been joined to.
 */
static bool read_entry(struct device *dev, const struct entry *e)
{
	const bool in_order = dev->cfg.in_order, partial = dev->cfg.partial_order;
	const bool several = partial ? dev->flushed && e->flush : in_order;
	struct flight *f = &dev->flight[e->id], *old;
	unsigned int slots = 0, buffers = 0;
	bool turn, whole;

	CHECK(e->id < dev->cfg.num && f->out && f->done, "id %u", e->id);
	CHECK(e->len == f->len, "length %u, should be %u", e->len, f->len);
	whole = f->len == f->in_len;
	turn = f->seq > dev->used;
	do {
		/* Those before it are used completely. */
		old = several ? oldest(dev) : f;
		CHECK(old->done && (old == f || old->len == old->in_len), "skipped at seq %llu",
		      (unsigned long long)old->seq);
		CHECK(!in_order || old->seq == dev->returned + 1, "out of order");
		give_back(dev, old);
		slots += old->ndesc;
		buffers++;
	} while (old != f);
	/* FLUSH: all of them up to this one, and none behind it. */
	turn = turn && dev->returned == f->seq;
	CHECK(e->flush == (partial && turn), "FLUSH %u of seq %llu", e->flush,
	      (unsigned long long)f->seq);
	CHECK(!(in_order && partial) || e->flush, "both, and no FLUSH");
	dev->flushed = e->flush;
	advance_used(dev, slots, buffers);
	return several && whole;
}

void device_publish(struct device *dev, const struct virtq_done *done, unsigned int n)
{
	const bool ordered = dev->cfg.in_order || dev->cfg.partial_order;
	bool ret, open = false, first = true;
	const struct flight *old;
	struct virtq_pos to;
	unsigned int i;

	remember(dev);
	ret = virtq_publish(dev->vq, done, n);
	virtq_get_pos(dev->vq, &to);
	CHECK(to.avail == dev->pos.avail && to.avail_wrap == dev->pos.avail_wrap, "%u", to.avail);
	CHECK(ret == (to.used != dev->pos.used || to.used_wrap != dev->pos.used_wrap), "%u", ret);

	for (i = 0; first ? ret : to.used != dev->pos.used || to.used_wrap != dev->pos.used_wrap;
	     i++, first = false) {
		struct entry e = next_entry(dev);

		CHECK(i < n || dev->cfg.in_order, "more entries than buffers");
		expect_entry(dev, &e);
		if (!ordered)
			CHECK(e.id == done[i].id, "id %u, should be %u", e.id, done[i].id);
		/* What can go out under one entry does. */
		CHECK(!open || dev->flight[e.id].seq != dev->returned + 1 ||
		      (dev->cfg.partial_order && !e.flush), "two entries for one run");
		open = read_entry(dev, &e);
	}
	/* Where all is held back nothing is written, whatever the driver made of the index. */
	if (!packed(dev) && ret)
		expect(dev, AREA_DEVICE, 2, 2, dev->pos.used);
	compare(dev);
	check_pos(dev);

	/* All that is done is back, but for what waits for its turn. */
	old = oldest(dev);
	CHECK(!old || !old->done, "the oldest was held back");
	for (i = 0; i < n && !dev->cfg.in_order; i++)
		CHECK(!dev->flight[done[i].id].out, "id %u was held back", done[i].id);
}

/* ---- notifications ---- */

bool device_need_call(struct device *dev)
{
	const u16 num = dev->cfg.num;
	bool ret, due, any = false;
	unsigned int i;

	if (packed(dev)) {
		u16 event = get(dev->area[AREA_DRIVER], 2);
		u16 flags = get(dev->area[AREA_DRIVER] + 2, 2) & 3;
		unsigned int at = dev->pos.used;
		bool wrap = dev->pos.used_wrap;

		due = flags != VRING_PACKED_EVENT_FLAG_DISABLE;
		if (flags == VRING_PACKED_EVENT_FLAG_DESC && dev->cfg.event_idx) {
			/* Is it one of the slots that were published? At most once round. */
			due = false;
			for (i = 0; i < min_t(u64, dev->uncalled, num); i++) {
				if (!at) {
					at = num;
					wrap = !wrap;
				}
				at--;
				due |= event == (at | (wrap ? WRAP : 0));
			}
			/* There is no such slot. */
			any = (event & ~WRAP) >= num;
		}
	} else if (dev->cfg.event_idx) {
		u16 event = get(dev->area[AREA_DRIVER] + 4 + 2 * num, 2);

		due = false;
		for (i = 0; i < dev->uncalled; i++)
			due |= event == (u16)(dev->pos.used - 1 - i);
	} else {
		due = !(get(dev->area[AREA_DRIVER], 2) & VRING_AVAIL_F_NO_INTERRUPT);
	}
	due = due && dev->uncalled;
	dev->uncalled = 0;

	remember(dev);
	ret = virtq_need_call(dev->vq);
	compare(dev);
	check_pos(dev);
	CHECK(ret == due || any, "%u, should be %u", ret, due);
	return ret;
}

static bool ring_empty(const struct device *dev)
{
	u16 flags;

	if (!packed(dev))
		return get(dev->area[AREA_DRIVER] + 2, 2) == dev->pos.avail;
	flags = get(dev->area[AREA_DESC] + 16 * dev->pos.avail + 14, 2);
	return (flags & (AVAIL | USED)) != (dev->pos.avail_wrap ? AVAIL : USED);
}

bool device_enable_kick(struct device *dev)
{
	const bool event_idx = dev->cfg.event_idx;
	bool ret;

	remember(dev);
	ret = virtq_enable_kick(dev->vq);
	if (packed(dev)) {
		if (event_idx)
			expect(dev, AREA_DEVICE, 0, 2,
			       dev->pos.avail | (dev->pos.avail_wrap ? WRAP : 0));
		expect(dev, AREA_DEVICE, 2, 2, event_idx ? VRING_PACKED_EVENT_FLAG_DESC :
			VRING_PACKED_EVENT_FLAG_ENABLE);
	} else if (event_idx) {
		expect(dev, AREA_DEVICE, 4 + 8 * dev->cfg.num, 2, dev->pos.avail);
	} else {
		expect(dev, AREA_DEVICE, 0, 2, 0);
	}
	compare(dev);
	check_pos(dev);
	CHECK(ret == !ring_empty(dev), "%u", ret);
	CHECK(virtq_empty(dev->vq) == !ret, "%u", ret);
	return ret;
}

void device_disable_kick(struct device *dev)
{
	remember(dev);
	virtq_disable_kick(dev->vq);
	if (packed(dev))
		expect(dev, AREA_DEVICE, 2, 2, VRING_PACKED_EVENT_FLAG_DISABLE);
	else if (!dev->cfg.event_idx)
		expect(dev, AREA_DEVICE, 0, 2, VRING_USED_F_NO_NOTIFY);
	compare(dev);
	check_pos(dev);
}
