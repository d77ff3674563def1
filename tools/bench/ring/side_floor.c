// SPDX-License-Identifier: GPL-2.0
/*
 * What can't be avoided: a device side of the loads, stores and checks that the specification asks
 * for and no more, all of it in one function. It does the engine's work but for what serves
 * something else than one ring of one kind: VIRTIO_F_IN_ORDER, positions that are saved, rings
 * that move, errors that are told apart, buffers that come back in another order.
 */
#include <linux/compiler.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/virtio_ring.h>
#include <asm/barrier.h>
#include <stdlib.h>
#include <uapi/linux/vhost_inflight.h>

#include "picture.h"
#include "side.h"
#include "virtq_mem.h"

#define load(p)		READ_ONCE(*(p))
#define store(p, v)	WRITE_ONCE(*(p), v)

struct seg {
	u64 addr;
	u32 len, write;
};

static struct {
	struct ring r;
	struct virtq_mem mem;
	struct vhost_inflight_region_split *split;
	struct vhost_inflight_region_packed *packed;
	struct seg segs[1024];
	struct vring_desc table[1024];
	struct vring_used_elem done[TURN_MAX];
	u64 counter;
	u16 avail, used, head;
	bool wrap;
	bool busy[1024];
	u16 first[1024], last[1024], next[1024];
} f;

static unsigned long sum;	/* somebody wants the segments */

static void bad(void)
{
	abort();
}

/* The segments of a table, or of a chain in the ring. */
static __always_inline unsigned int split_walk(const struct vring_desc *table, unsigned int num,
					       unsigned int at)
{
	unsigned int n = 0, write = 0;
	u64 bytes = 0;

	for (;;) {
		const struct vring_desc *d = &table[at];
		unsigned int flags = load(&d->flags);
		u64 addr = load(&d->addr);
		u32 len = load(&d->len);

		if (unlikely(flags & VRING_DESC_F_INDIRECT || write & ~flags))
			bad();
		write = flags & VRING_DESC_F_WRITE;
		if (unlikely(addr + len < addr))
			bad();
		bytes += len;
		f.segs[n++] = (struct seg){ addr, len, write };
		if (!(flags & VRING_DESC_F_NEXT))
			break;
		at = load(&d->next);
		if (unlikely(at >= num || n == num))
			bad();
	}
	if (unlikely(bytes > 1ULL << 32))
		bad();
	return n;
}

static __always_inline unsigned int table_read(u64 addr, u32 len)
{
	if (unlikely(!len || len % sizeof(*f.table) || len > sizeof(f.table) ||
		     virtq_mem_read(&f.mem, addr, f.table, len)))
		bad();
	return len / sizeof(*f.table);
}

static __always_inline unsigned int split_turn(bool track)
{
	const struct vring_avail *avail = f.r.driver;
	const struct vring_desc *desc = f.r.desc;
	struct vring_used *used = f.r.device;
	unsigned int num = f.r.num, mask = num - 1, n, i;
	/* Here and below: barriers as in virtq_split.c, which names their partners. */
	u16 idx = smp_load_acquire(&avail->idx), old;

	n = (u16)(idx - f.avail);
	if (!n)
		return 0;
	if (unlikely(n > num))
		bad();
	for (i = 0; i < n; i++) {
		unsigned int head = load(&avail->ring[f.avail & mask]);

		if (unlikely(head >= num || f.busy[head]))
			bad();
		f.busy[head] = true;
		if (load(&desc[head].flags) & VRING_DESC_F_INDIRECT)
			sum += split_walk(f.table, table_read(load(&desc[head].addr),
							      load(&desc[head].len)), 0);
		else
			sum += split_walk(desc, num, head);
		if (track) {
			store(&f.split->desc[head].counter, f.counter++);
			store(&f.split->desc[head].inflight, 1);
		}
		f.avail++;
		f.done[i] = (struct vring_used_elem){ head, USED_LEN };
	}
	old = f.used;
	for (i = 0; i < n; i++) {
		store(&used->ring[f.used & mask].id, f.done[i].id);
		store(&used->ring[f.used & mask].len, f.done[i].len);
		f.busy[f.done[i].id] = false;
		f.used++;
		if (track) {
			store(&f.split->desc[f.done[i].id].next, f.head);
			f.head = f.done[i].id;
		}
	}
	if (track)
		store(&f.split->last_batch_head, f.head);
	/* As in virtq_split.c. */
	smp_store_release(&used->idx, f.used);
	if (track) {
		for (i = 0; i < n; i++)
			store(&f.split->desc[f.done[i].id].inflight, 0);
		store(&f.split->used_idx, f.used);
	}
	/* As in virtq_split.c. */
	smp_mb();
	calls += vring_need_event(load(&avail->ring[num]), f.used, old);
	return n;
}

/* A descriptor of a packed ring or of a table in one. */
static __always_inline unsigned int packed_seg(const struct vring_packed_desc *d, unsigned int n,
					       unsigned int flags, u64 *bytes)
{
	u64 addr = load(&d->addr);
	u32 len = load(&d->len);

	if (unlikely(n && f.segs[n - 1].write & ~flags) || unlikely(addr + len < addr))
		bad();
	*bytes += len;
	f.segs[n] = (struct seg){ addr, len, flags & VRING_DESC_F_WRITE };
	return n + 1;
}

static __always_inline bool packed_avail(unsigned int flags, bool wrap)
{
	return !!(flags & 1 << VRING_PACKED_DESC_F_AVAIL) == wrap &&
	       !!(flags & 1 << VRING_PACKED_DESC_F_USED) != wrap;
}

/* The copy of a descriptor: id, flags and length are one store. */
static __always_inline void packed_copy(u16 at, u16 id, u16 flags, const struct seg *s)
{
	store((u64 *)&f.packed->desc[at].id, (u64)s->len << 32 | (u64)flags << 16 | id);
	store(&f.packed->desc[at].addr, s->addr);
}

static __always_inline void packed_record(u16 id, unsigned int flags, unsigned int n)
{
	u16 at = f.head, last = at, i;

	for (i = 0; i < n; i++) {
		packed_copy(at, id, (flags & ~3U) | f.segs[i].write |
			    (i + 1 < n ? VRING_DESC_F_NEXT : 0), &f.segs[i]);
		last = at;
		at = f.next[at];
	}
	store(&f.packed->desc[f.head].counter, f.counter++);
	store((u64 *)&f.packed->desc[f.head],
	      1 | (u64)f.next[f.head] << 16 | (u64)last << 32 | (u64)n << 48);
	f.first[id] = f.head;
	f.last[id] = last;
	f.head = at;
	store((u32 *)&f.packed->free_head, at | at << 16);
}

static __always_inline unsigned int packed_turn(bool track)
{
	const struct vring_packed_desc_event *event = f.r.driver;
	struct vring_packed_desc *ring = f.r.desc, *first;
	unsigned int num = f.r.num, n, i;
	u16 slot = f.avail, slots[TURN_MAX], old = f.used, hidden = 0, off;
	bool wrap = f.wrap, used_wrap = wrap;

	for (n = 0; n < TURN_MAX; n++) {
		const struct vring_packed_desc *d = &ring[slot];
		/* Here and below: barriers as in virtq_packed.c. */
		unsigned int flags = smp_load_acquire(&d->flags), head_flags = flags;
		unsigned int segs = 0, took = 1, id;
		u64 bytes = 0;

		if (!packed_avail(flags, wrap))
			break;
		if (flags & VRING_DESC_F_INDIRECT) {
			struct seg table = { load(&d->addr), load(&d->len) };
			unsigned int nr = table_read(table.addr, table.len);
			const struct vring_packed_desc *t = (void *)f.table;

			while (segs < nr)
				segs = packed_seg(&t[segs], segs, load(&t[segs].flags), &bytes);
			f.segs[segs] = table;
			if (++slot == num) {
				slot = 0;
				wrap = !wrap;
			}
		} else {
			for (;; took++) {
				segs = packed_seg(d, segs, flags, &bytes);
				if (++slot == num) {
					slot = 0;
					wrap = !wrap;
				}
				if (!(flags & VRING_DESC_F_NEXT))
					break;
				d = &ring[slot];
				flags = load(&d->flags);
				if (unlikely(took == num || !packed_avail(flags, wrap) ||
					     flags & VRING_DESC_F_INDIRECT))
					bad();
			}
		}
		id = load(&d->id);
		if (unlikely(bytes > 1ULL << 32 || id >= num || f.busy[id]))
			bad();
		sum += segs;
		f.busy[id] = true;
		if (track)
			packed_record(id, head_flags, took);
		slots[n] = took;
		f.done[n] = (struct vring_used_elem){ id, USED_LEN };
	}
	f.avail = slot;
	f.wrap = wrap;
	if (!n)
		return 0;

	first = &ring[f.used];
	for (i = 0; i < n; i++) {
		struct vring_packed_desc *d = &ring[f.used];
		unsigned int id = f.done[i].id;
		u16 flags = VRING_DESC_F_WRITE | (used_wrap ? 1 << VRING_PACKED_DESC_F_AVAIL |
							      1 << VRING_PACKED_DESC_F_USED : 0);

		store(&d->id, id);
		store(&d->len, f.done[i].len);
		if (i)
			store(&d->flags, flags);
		else
			hidden = flags;
		f.busy[id] = false;
		f.used += slots[i];
		if (f.used >= num) {
			f.used -= num;
			used_wrap = !used_wrap;
		}
		if (track) {
			store(&f.packed->desc[f.last[id]].next, f.head);
			f.next[f.last[id]] = f.head;
			f.head = f.first[id];
		}
	}
	if (track) {
		store((u32 *)&f.packed->free_head, f.head);
		store((u64 *)&f.packed->used_idx, f.used | (u64)used_wrap << 32);
	}
	/* As in virtq_packed.c. */
	smp_store_release(&first->flags, hidden);
	if (track) {
		for (i = 0; i < n; i++)
			store(&f.packed->desc[f.first[f.done[i].id]].inflight, 0);
		store((u32 *)&f.packed->free_head, f.head | f.head << 16);
		store((u64 *)&f.packed->used_idx, f.used | f.used << 16 | (u64)used_wrap << 32);
	}
	/* As in virtq_packed.c. */
	smp_mb();
	/* As in virtq_packed.c. */
	if (smp_load_acquire(&event->flags) == VRING_PACKED_EVENT_FLAG_DESC) {
		off = load(&event->off_wrap);
		if (off >> VRING_PACKED_EVENT_F_WRAP_CTR == used_wrap)
			off &= ~(1U << VRING_PACKED_EVENT_F_WRAP_CTR);
		else
			off = (off & ~(1U << VRING_PACKED_EVENT_F_WRAP_CTR)) - num;
		i = f.used + (f.used <= old ? num : 0) - old;
		calls += vring_need_event(off, f.used, f.used - i);
	}
	return n;
}

static void *floor_open(const struct ring *r)
{
	unsigned int i;

	if (r->depth != r->batch)
		return NULL;
	memset(&f, 0, sizeof(f));
	f.r = *r;
	f.wrap = true;
	f.mem.base = (u64)r->ram;
	f.mem.size = r->size;
	f.split = aligned_alloc(4096, 65536);
	f.packed = aligned_alloc(4096, 65536);
	if (!f.split || !f.packed)
		return NULL;
	memset(f.split, 0, 65536);
	memset(f.packed, 0, 65536);
	for (i = 0; i < r->num; i++)
		f.next[i] = i + 1;
	return &f;
}

static unsigned int turn(void *priv)
{
	return f.r.packed ? packed_turn(false) : split_turn(false);
}

static unsigned int turn_track(void *priv)
{
	return f.r.packed ? packed_turn(true) : split_turn(true);
}

const struct side side_floor = { "floor", true, floor_open, turn };
const struct side side_floor_track = { "floor-track", true, floor_open, turn_track };
