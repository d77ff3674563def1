// SPDX-License-Identifier: GPL-2.0
/*
 * The driver, as little of it as there can be: it makes batches available, and leaves the used
 * entries alone unless it is asked to look.
 */
#include <linux/compiler.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>

#include "side.h"

#define DATA_LEN	4096

/* What both layouts have of a buffer: 16 bytes to read, 4096 and 1 to write. */
struct memory {
	struct virtio_blk_outhdr hdr;
	u8 status;
	struct {
		struct vring_desc d[3];
	} table[1024] __aligned(64);
};

struct split_driver {
	u16 flags, idx, ring[];
};

static struct memory *mem;
static unsigned int next;		/* head, of all there are */
static u16 slot;			/* packed: next to fill */
static bool wrap;
static unsigned int used, seen;		/* next to look at: head, and its place in the ring */
static bool used_wrap;

static const struct {
	unsigned int len, flags;
} segs[3] = {
	{ sizeof(struct virtio_blk_outhdr), 0 },
	{ DATA_LEN, VRING_DESC_F_WRITE },
	{ 1, VRING_DESC_F_WRITE },
};

static u64 seg_addr(const struct ring *r, unsigned int h, unsigned int i)
{
	/* No power of two apart, or all would be in a few sets of a cache. */
	u64 far = r->size / 4 + h * 12 * 4096 % (r->size / 4 * 3);

	switch (i) {
	case 0:
		return (u64)&mem->hdr;
	case 1:
		return (u64)r->ram + (r->spread ? far : 0x1e000);
	default:
		return (u64)&mem->status;
	}
}

/* Where buffers start in the descriptor table of a split ring. */
static unsigned int stride(const struct ring *r)
{
	return r->indirect ? 1 : r->heads * 4 <= r->num ? 4 : 3;
}

static void split_init(struct ring *r)
{
	struct vring_desc *ring = r->desc;
	unsigned int h, i;

	for (h = 0; h < r->heads; h++) {
		unsigned int at = r->indirect ? 0 : h * stride(r);
		struct vring_desc *d = r->indirect ? mem->table[h].d : &ring[at];

		for (i = 0; i < 3; i++)
			d[i] = (struct vring_desc){
				.addr = seg_addr(r, h, i), .len = segs[i].len,
				.next = i < 2 ? at + i + 1 : 0,
				.flags = segs[i].flags | (i < 2 ? VRING_DESC_F_NEXT : 0),
			};
		if (r->indirect)
			ring[h * stride(r)] = (struct vring_desc){
				.addr = (u64)d, .len = 3 * sizeof(*d),
				.flags = VRING_DESC_F_INDIRECT,
			};
	}
}

static void packed_init(struct ring *r)
{
	struct vring_packed_desc_event *e = r->driver;
	unsigned int h, i;

	for (h = 0; h < r->heads; h++) {
		struct vring_packed_desc *d = (void *)mem->table[h].d;

		for (i = 0; i < 3; i++)
			d[i] = (struct vring_packed_desc){
				.addr = seg_addr(r, h, i), .len = segs[i].len,
				.flags = segs[i].flags,
			};
	}
	e->flags = VRING_PACKED_EVENT_FLAG_DESC;
	wrap = true;
	used_wrap = true;
}

void driver_open(struct ring *r)
{
	r->size = 4 << 20;
	r->ram = aligned_alloc(1 << 21, r->size);
	if (!r->ram)
		abort();
	memset(r->ram, 0, r->size);
	r->desc = r->ram;
	r->driver = r->ram + 0x8000;
	r->device = r->ram + 0xa000;
	mem = r->ram + 0x10000;
	next = 0;
	slot = 0;
	used = 0;
	seen = 0;
	if (r->packed)
		packed_init(r);
	else
		split_init(r);
}

static __always_inline void split_batch(struct ring *r)
{
	struct split_driver *avail = r->driver;
	unsigned int mask = r->num - 1, step = stride(r), i;
	u16 idx = avail->idx;

	for (i = 0; i < r->batch; i++) {
		avail->ring[idx++ & mask] = next * step;
		if (++next == r->heads)
			next = 0;
	}
	/* One notification, for the last of them. */
	avail->ring[r->num] = idx - 1;
	__atomic_store_n(&avail->idx, idx, __ATOMIC_RELEASE);
}

static u16 packed_flags(bool lap)
{
	return lap ? 1 << VRING_PACKED_DESC_F_AVAIL : 1 << VRING_PACKED_DESC_F_USED;
}

static __always_inline void packed_batch(struct ring *r)
{
	struct vring_packed_desc *ring = r->desc, *first = &ring[slot];
	struct vring_packed_desc_event *e = r->driver;
	unsigned int n = r->indirect ? 1 : 3, i, j;
	u16 first_flags = 0, last = 0;

	for (i = 0; i < r->batch; i++) {
		const struct vring_packed_desc *d = (void *)mem->table[next].d;
		struct vring_packed_desc table = {
			.addr = (u64)d, .len = 3 * sizeof(*d), .flags = VRING_DESC_F_INDIRECT,
		};

		last = slot | (wrap ? 1 << VRING_PACKED_EVENT_F_WRAP_CTR : 0);
		if (r->indirect)
			d = &table;
		for (j = 0; j < n; j++) {
			u16 flags = d[j].flags | packed_flags(wrap) |
				    (j + 1 < n ? VRING_DESC_F_NEXT : 0);

			ring[slot].addr = d[j].addr;
			ring[slot].len = d[j].len;
			ring[slot].id = next;
			if (i || j)
				__atomic_store_n(&ring[slot].flags, flags, __ATOMIC_RELAXED);
			else
				first_flags = flags;
			if (++slot == r->num) {
				slot = 0;
				wrap = !wrap;
			}
		}
		if (++next == r->heads)
			next = 0;
	}
	/* One notification, for the last of them: where it starts is where its used one will be. */
	__atomic_store_n(&e->off_wrap, last, __ATOMIC_RELAXED);
	__atomic_store_n(&first->flags, first_flags, __ATOMIC_RELEASE);
}

void driver_batch(struct ring *r)
{
	if (r->packed)
		packed_batch(r);
	else
		split_batch(r);
}

/* The next used entry, if there is one: what it says. */
static bool split_used(const struct ring *r, unsigned int *id, u32 *len)
{
	const struct vring_used *u = r->device;

	if (__atomic_load_n(&u->idx, __ATOMIC_ACQUIRE) == (u16)seen)
		return false;
	*id = u->ring[seen & (r->num - 1)].id / stride(r);
	*len = u->ring[seen & (r->num - 1)].len;
	seen++;
	return true;
}

static bool packed_used(const struct ring *r, unsigned int *id, u32 *len)
{
	const struct vring_packed_desc *ring = r->desc;
	u16 flags = __atomic_load_n(&ring[seen].flags, __ATOMIC_ACQUIRE);

	if (!!(flags & 1 << VRING_PACKED_DESC_F_AVAIL) != used_wrap ||
	    !!(flags & 1 << VRING_PACKED_DESC_F_USED) != used_wrap)
		return false;
	*id = ring[seen].id;
	*len = ring[seen].len;
	seen += r->indirect ? 1 : 3;
	if (seen >= r->num) {
		seen -= r->num;
		used_wrap = !used_wrap;
	}
	return true;
}

/* The next buffer came back, as it should: buffers come back in order here. */
static bool driver_used(struct ring *r, bool *wrong)
{
	unsigned int id;
	u32 len;

	if (!(r->packed ? packed_used(r, &id, &len) : split_used(r, &id, &len)))
		return false;
	if (id != used || len != USED_LEN)
		*wrong = true;
	if (++used == r->heads)
		used = 0;
	return true;
}

/* A batch came back, as it should. */
bool driver_check(struct ring *r)
{
	bool wrong = false;
	unsigned int i;

	for (i = 0; i < r->batch; i++)
		if (!driver_used(r, &wrong))
			return false;
	return !wrong;
}

/* For a driver that is not waited for: is there room for a batch? Takes what came back. */
bool driver_room(struct ring *r)
{
	static unsigned int out;
	bool wrong = false;

	while (out && driver_used(r, &wrong))
		out--;
	if (wrong) {
		fprintf(stderr, "ring: the wrong buffer came back\n");
		exit(1);
	}
	if (out + r->batch > r->heads)
		return false;
	out += r->batch;
	return true;
}
