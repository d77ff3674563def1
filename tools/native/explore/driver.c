// SPDX-License-Identifier: GPL-2.0
/*
 * A driver as the specification wants it, with no more barriers than it asks for. What it does next
 * is chosen: how many buffers to make available at once, when to look for used ones, whether to
 * look without asking to be called first, after how many it wants to be called.
 *
 * Each barrier names its partner in the engine.
 */
#include <linux/bits.h>
#include <linux/string.h>
#include <linux/virtio_ring.h>

#include "driver.h"
#include "ref.h"
#include "virtq_barrier.h"

#define AVAIL		BIT(VRING_PACKED_DESC_F_AVAIL)
#define USED		BIT(VRING_PACKED_DESC_F_USED)

enum { DECIDE, ADD, KICK, REAP, GET, ARM, SLEEP };

/*
 * What it remembers. Ids and descriptors in use are stacks, so that those returned last are used
 * next.
 */
static struct driver {
	u8 next, batch;			/* what to do */
	u8 added, out, returned;	/* buffers */
	u8 back;			/* by bit, which of them were returned */
	u8 nr_free, free[MAX_NUM];	/* split: descriptors; packed: ids */
	u8 slots;			/* packed: free ones */
	u8 link[MAX_NUM];		/* split: next in a chain */
	u8 buf[MAX_NUM];		/* by id: which buffer, from 1 */
	u16 avail, used, kicked;	/* positions: at the last kick, or not */
	bool avail_wrap, used_wrap;
	u8 fresh;			/* packed: slots since the last kick */
	bool flushed;			/* the used entry before had FLUSH */
} d;

static void advance(u16 *slot, bool *wrap, unsigned int n)
{
	*slot += n;
	if (*slot >= cf.num) {
		*slot -= cf.num;
		*wrap = !*wrap;
	}
}

/* How many buffers there is room for now. */
static unsigned int room(void)
{
	unsigned int n, left = d.nr_free, slots = d.slots, need;

	for (n = 0; d.added + n < cf.bufs && d.out + n < cf.out; n++) {
		need = buf_ndesc(d.added + n);
		if (cf.layout == VIRTQ_SPLIT ? left < need : !left || slots < need)
			break;
		left -= cf.layout == VIRTQ_SPLIT ? need : 1;
		slots -= need;
	}
	return n;
}

/* ---- split ---- */

static void split_add(unsigned int n, unsigned int head)
{
	unsigned int i, last = buf_ndesc(n) - 1;

	for (i = 0; i <= last; i++) {
		unsigned int at = d.free[--d.nr_free];
		struct vring_desc *desc = &ring->desc.split[at];

		d.link[at] = i < last ? d.free[d.nr_free - 1] : at;
		virtq_store32((__virtio32 *)&desc->len, buf_len(n));
		mem_store(&desc->addr, 8, buf_addr(n, i), false);
		virtq_store16(&desc->flags, i < last ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE);
		virtq_store16(&desc->next, d.link[at]);
	}
	virtq_store16(&ring->driver.split.ring[d.avail++ % cf.num], head);
}

static void split_show(void)
{
	/*
	 * Release: descriptors and entries are seen before idx. Partner: the acquire in
	 * virtq_split_refill().
	 */
	virtq_store16_release(&ring->driver.split.idx, d.avail);
}

static bool split_need_kick(void)
{
	u16 old = d.kicked;

	d.kicked = d.avail;
	/* idx is stored before the device's wish is loaded. Partner: virtq_split_enable_kick(). */
	virtq_mb();
	if (!cf.event_idx)
		return !(virtq_load16(&ring->device.split.flags) & VRING_USED_F_NO_NOTIFY);
	return vring_need_event(virtq_load16((__virtio16 *)&ring->device.split.ring[cf.num]),
				d.avail, old);
}

static bool split_get(u32 *id, u32 *len, bool *flush)
{
	struct vring_used_elem *e = &ring->device.split.ring[d.used % cf.num];

	/*
	 * Acquire: entries and what the device wrote into the buffers are read after idx. Partner:
	 * the release in virtq_split_show().
	 */
	if (virtq_load16_acquire(&ring->device.split.idx) == d.used)
		return false;
	*id = virtq_load32(&e->id);
	*len = virtq_load32(&e->len);
	*flush = *id >> 31;
	*id &= ~(1U << 31);
	return true;
}

static void split_put(unsigned int id)
{
	unsigned int at = id, n = 0, chain[MAX_NUM];

	for (;; at = d.link[at]) {
		chain[n++] = at;
		if (d.link[at] == at)
			break;
	}
	while (n--)
		d.free[d.nr_free++] = chain[n];
	d.used++;
}

static void split_disarm(void)
{
	if (!cf.event_idx)
		virtq_store16(&ring->driver.split.flags, VRING_AVAIL_F_NO_INTERRUPT);
}

/* Asks to be called when @off more than the next are used. True if that is so already. */
static bool split_arm(unsigned int off)
{
	if (cf.event_idx)
		virtq_store16(&ring->driver.split.ring[cf.num], d.used + off);
	else
		virtq_store16(&ring->driver.split.flags, 0);
	/* The wish is stored before idx is loaded once more. Partner: virtq_split_need_call(). */
	virtq_mb();
	return (u16)(virtq_load16(&ring->device.split.idx) - d.used) > off;
}

/* ---- packed ---- */

static void packed_add(unsigned int n, unsigned int id)
{
	unsigned int i, last = buf_ndesc(n) - 1;
	struct packed_desc *first = &ring->desc.packed[d.avail];
	u16 head = 0;

	for (i = 0; i <= last; i++) {
		struct packed_desc *desc = &ring->desc.packed[d.avail];
		u16 flags = i < last ? VRING_DESC_F_NEXT : VRING_DESC_F_WRITE;

		flags |= d.avail_wrap ? AVAIL : USED;
		mem_store(&desc->addr, 8, buf_addr(n, i), false);
		virtq_store32(&desc->len, buf_len(n));
		/* The one in the last descriptor counts. */
		virtq_store16(&desc->id, i < last ? 0xbad : id);
		if (i)
			virtq_store16(&desc->flags, flags);
		else
			head = flags;
		advance(&d.avail, &d.avail_wrap, 1);
	}
	d.nr_free--;
	d.slots -= last + 1;
	d.fresh += last + 1;
	/*
	 * Release: all the descriptors are seen before the flags of the first. Partner: the acquire
	 * in virtq_packed_fetch().
	 */
	virtq_store16_release(&first->flags, head);
}

static bool packed_need_kick(void)
{
	unsigned int fresh = d.fresh, off;
	u16 event;

	d.fresh = 0;
	/*
	 * The descriptors are stored before the device's wish is loaded. Partner:
	 * virtq_packed_enable_kick().
	 */
	virtq_mb();
	/*
	 * Acquire: desc is read after the flags that make it count. Partner: the release in
	 * virtq_packed_enable_kick().
	 */
	switch (virtq_load16_acquire(&ring->device.packed.flags)) {
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		return true;
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	}
	off = virtq_load16(&ring->device.packed.desc);
	event = off & 0x7fff;
	if (off >> 15 != d.avail_wrap)
		event -= cf.num;
	return vring_need_event(event, d.avail, d.avail - fresh);
}

static bool packed_is_used(u16 flags)
{
	return !!(flags & AVAIL) == d.used_wrap && !!(flags & USED) == d.used_wrap;
}

static bool packed_get(u32 *id, u32 *len, bool *flush)
{
	struct packed_desc *desc = &ring->desc.packed[d.used];
	/*
	 * Acquire: the rest of the descriptor, what the device wrote into the buffers, and used
	 * descriptors behind it are read after the flags. Partner: the release in
	 * virtq_packed_commit().
	 */
	u16 flags = virtq_load16_acquire(&desc->flags);

	if (!packed_is_used(flags))
		return false;
	*flush = flags & 8;
	flags &= ~(AVAIL | USED | 8);
	ex_assert(flags == VRING_DESC_F_WRITE, "a used descriptor has flags %#x", flags);
	*id = virtq_load16(&desc->id);
	*len = virtq_load32(&desc->len);
	return true;
}

static void packed_put(unsigned int id)
{
	unsigned int slots = buf_ndesc(d.buf[id] - 1);

	d.free[d.nr_free++] = id;
	d.slots += slots;
	advance(&d.used, &d.used_wrap, slots);
}

static void packed_disarm(void)
{
	virtq_store16(&ring->driver.packed.flags, VRING_PACKED_EVENT_FLAG_DISABLE);
}

static bool packed_arm(unsigned int off)
{
	if (cf.event_idx) {
		bool wrap = d.used_wrap;
		u16 slot = d.used;

		advance(&slot, &wrap, off);
		virtq_store16(&ring->driver.packed.desc, slot | wrap << 15);
		/*
		 * Release: desc is seen before the flags that make it count. Partner: the acquire
		 * in virtq_packed_need_call().
		 */
		virtq_store16_release(&ring->driver.packed.flags, VRING_PACKED_EVENT_FLAG_DESC);
	} else {
		virtq_store16(&ring->driver.packed.flags, VRING_PACKED_EVENT_FLAG_ENABLE);
	}
	/*
	 * The wish is stored before the flags of the next used descriptor are loaded once more.
	 * Partner: virtq_packed_need_call().
	 */
	virtq_mb();
	return packed_is_used(virtq_load16(&ring->desc.packed[d.used].flags));
}

/* ---- both ---- */

#define CALL(op, ...)	(cf.layout == VIRTQ_SPLIT ? split_##op(__VA_ARGS__) : \
						    packed_##op(__VA_ARGS__))

static void add(void)
{
	for (; d.batch; d.batch--, d.added++, d.out++) {
		unsigned int id = d.free[d.nr_free - 1];

		ref_added(id);
		d.buf[id] = d.added + 1;
		CALL(add, d.added, id);
	}
	if (cf.layout == VIRTQ_SPLIT)
		split_show();
}

/* A used entry stands for its buffer, and perhaps for those made available before it. */
static bool get(void)
{
	unsigned int n, first, i;
	u32 data[MAX_BUFS], id, len;
	bool flush, batch;

	if (!CALL(get, &id, &len, &flush))
		return false;
	ex_assert(id < cf.num && d.buf[id], "a used entry with id %u, which is not out", id);
	n = d.buf[id] - 1;
	batch = cf.partial_order ? flush && d.flushed : cf.in_order;
	first = batch ? 0 : n;
	for (i = first; i <= n; i++)
		if (!(d.back & 1 << i))
			data[i] = mem_load(&ring->data[i], sizeof(ring->data[i]), false);
	d.flushed = flush;
	for (i = first; i <= n; i++) {
		if (d.back & 1 << i)
			continue;
		ref_returned(i, len, data[i], i < n);
		for (id = 0; d.buf[id] != i + 1; id++)
			;
		CALL(put, id);
		d.buf[id] = 0;
		d.back |= 1 << i;
		d.out--;
		d.returned++;
	}
	ref_entry(n, flush);
	return true;
}

/* One choice for each number of buffers that could be added, and one for not doing it. */
static unsigned int or_add(unsigned int otherwise)
{
	unsigned int n = ex_choose(1 + room());

	if (!n)
		return otherwise;
	d.batch = n;
	return ADD;
}

static bool step(void)
{
	unsigned int off;

	switch (d.next) {
	case DECIDE:
		if (!d.out && d.returned == cf.bufs)
			return false;
		if (d.out) {
			d.next = or_add(REAP);
		} else {
			d.batch = 1 + ex_choose(room());
			d.next = ADD;
		}
		break;
	case ADD:
		add();
		d.next = KICK;
		break;
	case KICK:
		if (CALL(need_kick))
			ex_signal();
		d.next = DECIDE;
		break;
	case REAP:
		CALL(disarm);
		d.next = GET;
		break;
	case GET:
		if (!get())
			d.next = or_add(ARM);
		else if (!d.out)
			d.next = DECIDE;
		break;
	case ARM:
		off = cf.layout == VIRTQ_SPLIT ? d.out - 1 : cf.num - d.slots - 1;
		if (!cf.event_idx || (off && !ex_choose(2)))
			off = 0;
		d.next = CALL(arm, off) ? REAP : or_add(SLEEP);
		break;
	case SLEEP:
		ex_wait(0);
		d.next = REAP;
		break;
	}
	return true;
}

struct ex_program driver_program(void)
{
	unsigned int i;

	d = (struct driver){
		.nr_free = cf.num, .slots = cf.num,
		.avail = cf.start, .used = cf.start, .kicked = cf.start,
		.avail_wrap = cf.wrap, .used_wrap = cf.wrap,
	};
	for (i = 0; i < cf.num; i++)
		d.free[i] = cf.num - 1 - i;
	return (struct ex_program){ "driver", step, { { &d, sizeof(d) } } };
}
