// SPDX-License-Identifier: GPL-2.0
/*
 * The driver of every cut, which outlives all devices, and what it was promised: each buffer is
 * used once, with what the device had to write in it; no device touches one that the driver has
 * seen used; those that a device takes, from the region and then from the ring, are in the order in
 * which they were made available; what an earlier device had taken and not given back is in the
 * region.
 */
#include <linux/errno.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <asm/byteorder.h>
#include <linux/virtio_byteorder.h>

#include "cut.h"
#include "stores.h"
#include "../../drivers/vhost_blk/virtq_mem.h"
#include "../../drivers/vhost_blk/virtq_packed.h"

#define BASE	0x40000000ULL
/* The last byte a device writes of a buffer. */
#define STATUS	0x55
#define POISON	0xa5a5a5a5a5a5a5a5ULL

#define le16(x)		__cpu_to_virtio16(true, x)
#define le32(x)		__cpu_to_virtio32(true, x)
#define le64(x)		__cpu_to_virtio64(true, x)
#define cpu16(x)	__virtio16_to_cpu(true, x)
#define cpu32(x)	__virtio32_to_cpu(true, x)

/* Segments to read, to write, and how many of them are in the ring and not in a table. */
static const struct {
	u8 out, in, direct;
} shapes[] = {
	{ 0, 1, 1 }, { 1, 1, 2 }, { 1, 2, 3 },
	{ 0, 1, 0 }, { 1, 2, 0 },
	{ 1, 2, 1 },	/* split only */
};

static const u8 patterns[][4] = {
	{ 0, 0, 0, 0 },
	{ 1, 1, 1, 1 },
	{ 2, 2, 1, 2 },
	{ 3, 4, 3, 4 },
	{ 0, 4, 2, 1 },
	{ 5, 0, 3, 1 },
};

void cut_fail(struct cut_state *s, const char *why)
{
	if (!s->why)
		s->why = why;
}

static bool is_packed(const struct cut_state *s)
{
	return s->o.layout == VIRTQ_PACKED;
}

static u64 iova(const struct cut_state *s, const void *p)
{
	return BASE + ((const u8 *)p - (const u8 *)&s->w);
}

/* The state is all the guest memory there is. */
struct virtq_mem {
	struct cut_state s;
};

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	if (addr < BASE || addr - BASE > sizeof(mem->s.w) || len > sizeof(mem->s.dev[0].table))
		return -EFAULT;
	memcpy(dst, (u8 *)&mem->s.w + (addr - BASE), len);
	return 0;
}

static void go(const struct cut_state *s, struct cut_slot *at, unsigned int n)
{
	at->i += n;
	if (is_packed(s) && at->i >= s->o.num) {
		at->i -= s->o.num;
		at->wrap = !at->wrap;
	}
}

static u16 avail_flags(bool wrap)
{
	return wrap ? PVIRTQ_AVAIL : PVIRTQ_USED;
}

static u16 used_flags(bool wrap)
{
	return wrap ? PVIRTQ_AVAIL | PVIRTQ_USED : 0;
}

void cut_driver_init(struct cut_state *s)
{
	struct cut_driver *drv = &s->w.drv;
	struct cut_slot at = { .i = s->o.start };
	unsigned int i;

	memset(&s->w, 0, sizeof(s->w));
	if (is_packed(s)) {
		at.i = s->o.start % s->o.num;
		at.wrap = !(s->o.start / s->o.num & 1);
		/* As if all that was ever made available had come back. */
		for (i = 0; i < s->o.num; i++)
			s->w.ring[i].flags = le16(used_flags(i < at.i ? at.wrap : !at.wrap));
	} else {
		s->w.avail.idx = le16(at.i);
		s->w.used.idx = le16(at.i);
	}
	drv->put = at;
	drv->exposed = at;
	drv->reaped = at;
	drv->nr_free = s->o.num;
	drv->nr_ids = s->o.num;
	for (i = 0; i < s->o.num; i++) {
		drv->free[i] = (i * 5 + 3) % s->o.num;
		drv->ids[i] = s->o.num - 1 - i;
	}
}

/* ---- available ---- */

static u32 seg_len(bool write)
{
	return write ? 8 : 7;
}

static u16 seg_flags(unsigned int shape, unsigned int k)
{
	return k < shapes[shape].out ? 0 : VRING_DESC_F_WRITE;
}

static void fill_table(struct cut_state *s, u16 id, unsigned int shape, unsigned int from)
{
	const unsigned int nr = shapes[shape].out + shapes[shape].in;
	unsigned int k;

	for (k = from; k < nr; k++) {
		u16 flags = seg_flags(shape, k);

		if (is_packed(s)) {
			struct vring_packed_desc *d = (void *)&s->w.table[id][k - from];

			d->addr = cpu_to_le64(iova(s, &s->w.data[id][k]));
			d->len = cpu_to_le32(seg_len(flags));
			d->id = cpu_to_le16(0xabcd);
			d->flags = cpu_to_le16(flags);
		} else {
			struct vring_desc *d = &s->w.table[id][k - from];

			d->addr = le64(iova(s, &s->w.data[id][k]));
			d->len = le32(seg_len(flags));
			d->flags = le16(flags | (k + 1 < nr ? VRING_DESC_F_NEXT : 0));
			d->next = le16(k - from + 1);
		}
	}
}

/* One descriptor of the ring: a segment, or behind the last of these the table. */
static u16 ring_desc(struct cut_state *s, u16 id, unsigned int shape, unsigned int k, u64 *addr,
		     u32 *len)
{
	const unsigned int nr = shapes[shape].out + shapes[shape].in, direct = shapes[shape].direct;

	if (k < direct) {
		*addr = iova(s, &s->w.data[id][k]);
		*len = seg_len(seg_flags(shape, k));
		return seg_flags(shape, k);
	}
	fill_table(s, id, shape, direct);
	*addr = iova(s, s->w.table[id]);
	*len = (nr - direct) * sizeof(struct vring_desc);
	return VRING_DESC_F_INDIRECT;
}

static u16 put_split(struct cut_state *s, unsigned int shape, unsigned int slots)
{
	struct cut_driver *drv = &s->w.drv;
	u16 head = drv->free[drv->nr_free - 1];
	unsigned int k;

	for (k = 0; k < slots; k++) {
		struct vring_desc *d = &s->w.desc[drv->free[--drv->nr_free]];
		u64 addr;
		u32 len;
		u16 flags = ring_desc(s, head, shape, k, &addr, &len);

		if (k + 1 < slots) {
			flags |= VRING_DESC_F_NEXT;
			d->next = le16(drv->free[drv->nr_free - 1]);
		}
		d->addr = le64(addr);
		d->len = le32(len);
		d->flags = le16(flags);
	}
	s->w.avail.ring[drv->put.i % s->o.num] = le16(head);
	go(s, &drv->put, 1);
	return head;
}

static u16 put_packed(struct cut_state *s, unsigned int shape, unsigned int slots)
{
	struct cut_driver *drv = &s->w.drv;
	u16 id = drv->ids[--drv->nr_ids];
	unsigned int k;

	drv->nr_free -= slots;
	for (k = 0; k < slots; k++, go(s, &drv->put, 1)) {
		struct vring_packed_desc *d = &s->w.ring[drv->put.i];
		u64 addr;
		u32 len;
		u16 flags = ring_desc(s, id, shape, k, &addr, &len) | avail_flags(drv->put.wrap);

		if (k + 1 < slots)
			flags |= VRING_DESC_F_NEXT;
		d->addr = cpu_to_le64(addr);
		d->len = cpu_to_le32(len);
		d->id = cpu_to_le16(k + 1 < slots ? 0xfff0 : id);
		/* The first that is not told hides the others. */
		if (!memcmp(&drv->put, &drv->exposed, sizeof(drv->put)))
			drv->hidden_flags = flags;
		else
			d->flags = cpu_to_le16(flags);
	}
	return id;
}

bool cut_fill(struct cut_state *s, u32 total, unsigned int depth)
{
	struct cut_driver *drv = &s->w.drv;
	bool some = false;

	while (drv->posted < total && drv->nr_out < depth) {
		/* Behind the scenario it is all the ring has room for. */
		unsigned int pattern = drv->posted < s->o.total ? s->o.pattern : 0;
		unsigned int shape = patterns[pattern][drv->posted % 4], id;
		unsigned int direct = shapes[shape].direct;
		unsigned int slots = direct + (direct < shapes[shape].out + shapes[shape].in);

		if (slots > drv->nr_free)
			break;
		id = is_packed(s) ? put_packed(s, shape, slots) : put_split(s, shape, slots);
		drv->req[id] = (struct cut_req){
			.serial = ++drv->posted, .out = true, .shape = shape, .slots = slots,
		};
		memset(s->w.data[id], 0xa5, sizeof(s->w.data[id]));
		drv->nr_out++;
		some = true;
	}
	return some;
}

void cut_expose(struct cut_state *s)
{
	struct cut_driver *drv = &s->w.drv;
	unsigned int i;

	if (!memcmp(&drv->put, &drv->exposed, sizeof(drv->put)))
		return;
	if (is_packed(s))
		s->w.ring[drv->exposed.i].flags = cpu_to_le16(drv->hidden_flags);
	else
		s->w.avail.idx = le16(drv->put.i);
	drv->exposed = drv->put;
	for (i = 0; i < s->o.num; i++)
		drv->req[i].exposed = drv->req[i].out;
}

/* ---- used ---- */

struct used {
	u16 id;
	u32 len;
	bool flush;
};

static bool next_used(struct cut_state *s, struct used *used)
{
	const struct cut_driver *drv = &s->w.drv;

	if (is_packed(s)) {
		const struct vring_packed_desc *d = &s->w.ring[drv->reaped.i];
		u16 flags = le16_to_cpu(d->flags);

		if ((flags & (PVIRTQ_AVAIL | PVIRTQ_USED)) != used_flags(drv->reaped.wrap))
			return false;
		used->id = le16_to_cpu(d->id);
		used->len = flags & VRING_DESC_F_WRITE ? le32_to_cpu(d->len) : 0;
		used->flush = flags & VIRTQ_DESC_F_FLUSH;
		return true;
	}
	if (cpu16(s->w.used.idx) == drv->reaped.i)
		return false;
	used->id = cpu32(s->w.used.ring[drv->reaped.i % s->o.num].id);
	used->flush = cpu32(s->w.used.ring[drv->reaped.i % s->o.num].id) >> 31;
	used->len = cpu32(s->w.used.ring[drv->reaped.i % s->o.num].len);
	return true;
}

/* What the device has to report; every fifth buffer it says less. */
static u32 req_len(const struct cut_req *req)
{
	return 8 * shapes[req->shape].in - (req->serial % 5 == 3);
}

static u64 answer(const struct cut_req *req, unsigned int k)
{
	return ((u64)STATUS << 56) | (req->serial << 8) | k;
}

static void returned(struct cut_state *s, u16 id, u32 len)
{
	struct cut_driver *drv = &s->w.drv;
	struct cut_req *req = &drv->req[id];
	unsigned int k, n;
	u16 at;

	if (len != req_len(req))
		cut_fail(s, "a buffer is used with another length");
	for (k = 0; k < shapes[req->shape].out; k++)
		if (s->w.data[id][k] != POISON)
			cut_fail(s, "the device wrote what it may only read");
	for (; k < shapes[req->shape].out + shapes[req->shape].in; k++)
		if (s->w.data[id][k] != answer(req, k))
			cut_fail(s, "a buffer is used and its data is not there");
	if (s->w.disk[id] != req->serial)
		cut_fail(s, "a buffer is used and the disk has not done it");
	req->out = false;
	drv->nr_out--;
	if (req->serial > drv->newest_used)
		drv->newest_used = req->serial;
	if (is_packed(s)) {
		go(s, &drv->reaped, req->slots);
		drv->nr_free += req->slots;
		drv->ids[drv->nr_ids++] = id;
		return;
	}
	go(s, &drv->reaped, 1);
	for (at = id, n = req->slots; n; n--, at = cpu16(s->w.desc[at].next))
		drv->free[drv->nr_free++] = at;
}

/* The oldest buffer that is out. */
static u16 oldest(const struct cut_state *s)
{
	const struct cut_req *req = s->w.drv.req;
	unsigned int i, id = CUT_NUM;

	for (i = 0; i < s->o.num; i++)
		if (req[i].out && (id == CUT_NUM || req[i].serial < req[id].serial))
			id = i;
	return id;
}

bool cut_reap(struct cut_state *s)
{
	struct cut_driver *drv = &s->w.drv;
	bool some = false;
	struct used used;

	while (!s->why && next_used(s, &used)) {
		const struct cut_req *req = &drv->req[used.id];
		u32 serial;

		some = true;
		if (used.id >= s->o.num || !req->out || !req->exposed) {
			cut_fail(s, "a buffer is used that is not available");
			break;
		}
		serial = req->serial;
		/* One entry for all up to its own: those before it are used completely. */
		if (s->o.in_order || (drv->flushed && used.flush)) {
			u16 id;

			while ((id = oldest(s)) != used.id && !s->why)
				returned(s, id, 8 * shapes[drv->req[id].shape].in);
		}
		returned(s, used.id, used.len);
		if (!s->o.partial && used.flush)
			cut_fail(s, "FLUSH without the feature");
		if (used.flush && (drv->newest_used != serial ||
				   (drv->nr_out && drv->req[oldest(s)].serial < serial)))
			cut_fail(s, "FLUSH where the order does not hold");
		if (s->o.partial && s->o.in_order && !used.flush)
			cut_fail(s, "in order, and no FLUSH");
		drv->flushed = used.flush;
	}
	return some;
}

void cut_visible(struct cut_state *s, struct cut_driver *after)
{
	struct cut_driver before = s->w.drv;

	cut_reap(s);
	*after = s->w.drv;
	s->w.drv = before;
}

/* ---- the judge ---- */

void cut_taken(struct cut_state *s, const struct virtq_chain *chain)
{
	struct cut_dev *dev = &s->dev[s->life];
	struct cut_req *req = &s->w.drv.req[chain->id];
	const unsigned int nr = shapes[req->shape].out + shapes[req->shape].in;
	unsigned int k;

	if (!req->out || !req->exposed) {
		cut_fail(s, "a buffer is taken that is not available");
		return;
	}
	if (req->serial <= dev->last)
		cut_fail(s, "buffers are not taken in order");
	dev->last = req->serial;
	req->taken = true;
	if (chain->nr_segs != nr || chain->nr_out != shapes[req->shape].out ||
	    chain->ndesc != (is_packed(s) ? req->slots : 1)) {
		cut_fail(s, "a chain is another one");
		return;
	}
	for (k = 0; k < nr; k++) {
		const struct virtq_seg *seg = &chain->segs[k];
		u16 flags = seg_flags(req->shape, k);

		if (seg->addr != iova(s, &s->w.data[chain->id][k]) || seg->len != seg_len(flags) ||
		    seg->flags != (flags ? VIRTQ_SEG_WRITE : 0))
			cut_fail(s, "a segment is another one");
	}
	s->w.disk[chain->id] = req->serial;
	dev->out[dev->nr++] = (struct cut_out){
		.id = chain->id, .ndesc = chain->ndesc, .serial = req->serial,
	};
}

u32 cut_len(const struct cut_state *s, const struct cut_out *out)
{
	return req_len(&s->w.drv.req[out->id]);
}

void cut_answer(struct cut_state *s, const struct cut_out *out)
{
	const struct cut_req *req = &s->w.drv.req[out->id];
	unsigned int k, nr = shapes[req->shape].out + shapes[req->shape].in;
	u64 *data = s->w.data[out->id];

	if (!req->out || req->serial != out->serial) {
		cut_fail(s, "a buffer is written to that was used");
		return;
	}
	for (k = shapes[req->shape].out; k < nr; k++) {
		u64 v = answer(req, k);

		if (k + 1 == nr)
			v &= ~0ULL >> 8;
		data[k] = v;
		cut_stored(&data[k]);
	}
	data[nr - 1] |= (u64)STATUS << 56;
	cut_stored(&data[nr - 1]);
}

static void audit_split(struct cut_state *s)
{
	const struct vhost_inflight_region_split *r = &s->w.split;
	unsigned int i;

	for (i = 0; i < s->o.entries; i++)
		if (r->desc[i].inflight)
			cut_fail(s, "a flag is left in the region");
	if (r->used_idx != s->w.drv.reaped.i)
		cut_fail(s, "used_idx of the region is not that of the ring");
}

static void audit_packed(struct cut_state *s)
{
	const struct vhost_inflight_region_packed *r = &s->w.packed;
	const struct cut_slot *at = &s->w.drv.reaped;
	u16 n, e = r->free_head;
	u32 seen = 0;

	for (n = 0; n < s->o.entries && e < s->o.entries; n++, e = r->desc[e].next)
		seen |= 1U << e;
	if (e < s->o.entries || seen != (1U << s->o.entries) - 1)
		cut_fail(s, "the free list is not whole");
	if (r->old_free_head != r->free_head)
		cut_fail(s, "there are two free lists");
	for (n = 0; n < s->o.entries; n++)
		if (r->desc[n].inflight)
			cut_fail(s, "a flag is left in the region");
	if (r->used_idx != at->i || r->old_used_idx != at->i ||
	    r->used_wrap_counter != at->wrap || r->old_used_wrap_counter != at->wrap)
		cut_fail(s, "the used indexes of the region are not those of the ring");
}

void cut_audit(struct cut_state *s)
{
	const struct cut_driver *drv = &s->w.drv;
	struct virtq_pos pos;
	unsigned int i;

	if (drv->nr_out || drv->nr_free != s->o.num)
		cut_fail(s, "the driver has not got back all it had");
	virtq_get_pos(&s->dev[s->life].vq, &pos);
	if (pos.avail != drv->exposed.i || pos.avail_wrap != drv->exposed.wrap ||
	    pos.used != drv->reaped.i || pos.used_wrap != drv->reaped.wrap)
		cut_fail(s, "the device is not where the driver is");
	for (i = 0; i < s->o.num; i++)
		if (s->w.disk[i] != drv->req[i].serial)
			cut_fail(s, "the disk ends up with something else");
	if (is_packed(s))
		audit_packed(s);
	else
		audit_split(s);
}
