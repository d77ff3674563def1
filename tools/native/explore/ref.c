// SPDX-License-Identifier: GPL-2.0
#include <linux/bits.h>
#include <linux/string.h>
#include <stddef.h>

#include "explore.h"
#include "ref.h"

struct config cf;
struct ring *ring;

#define AVAIL		BIT(VRING_PACKED_DESC_F_AVAIL)
#define USED		BIT(VRING_PACKED_DESC_F_USED)

unsigned int buf_ndesc(unsigned int n)
{
	return cf.chain[n % strlen(cf.chain)] - '0';
}

u32 buf_addr(unsigned int n, unsigned int seg)
{
	return (n + 1) << 8 | seg;
}

/* Of all its writable segments. A chain of two has a readable one in front. */
u32 buf_len(unsigned int n)
{
	return 16 + n;
}

u32 buf_data(unsigned int n)
{
	return n + 1;
}

static unsigned int slots(unsigned int n)
{
	return cf.layout == VIRTQ_SPLIT ? 1 : buf_ndesc(n);
}

/* ---- places ---- */

static void split_places(void)
{
	unsigned int i;

	for (i = 0; i < cf.num; i++) {
		struct vring_desc *d = &ring->desc.split[i];

		ex_place(&d->addr, 8, DRIVER, 0, "desc[%u].addr", i);
		ex_place(&d->len, 4, DRIVER, 0, "desc[%u].len", i);
		ex_place(&d->flags, 2, DRIVER, 0, "desc[%u].flags", i);
		ex_place(&d->next, 2, DRIVER, 0, "desc[%u].next", i);
	}
	ex_place(&ring->driver.split.flags, 2, DRIVER, 0, "avail.flags");
	ex_place(&ring->driver.split.idx, 2, DRIVER, cf.start, "avail.idx");
	for (i = 0; i < cf.num; i++)
		ex_place(&ring->driver.split.ring[i], 2, DRIVER, 0, "avail.ring[%u]", i);
	ex_place(&ring->driver.split.ring[i], 2, DRIVER, cf.start, "used_event");
	ex_place(&ring->device.split.flags, 2, DEVICE, 0, "used.flags");
	ex_place(&ring->device.split.idx, 2, DEVICE, cf.start, "used.idx");
	for (i = 0; i < cf.num; i++) {
		ex_place(&ring->device.split.ring[i].id, 4, DEVICE, 0, "used.ring[%u].id", i);
		ex_place(&ring->device.split.ring[i].len, 4, DEVICE, 0, "used.ring[%u].len", i);
	}
	ex_place(&ring->device.split.ring[i], 2, DEVICE, cf.start, "avail_event");
	ex_guarded(DEVICE, &ring->driver.split.flags);
	ex_guarded(DEVICE, &ring->driver.split.ring[i]);
	ex_guarded(DRIVER, &ring->device.split.flags);
	ex_guarded(DRIVER, &ring->device.split.ring[i]);
}

static void packed_places(void)
{
	unsigned int i;

	for (i = 0; i < cf.num; i++) {
		struct packed_desc *d = &ring->desc.packed[i];
		/* Everything before is used: in this lap, or in the one before it. */
		bool wrap = i < cf.start ? cf.wrap : !cf.wrap;

		ex_place(&d->addr, 8, DRIVER, 0, "desc[%u].addr", i);
		ex_place(&d->len, 4, SIDES, 0, "desc[%u].len", i);
		ex_place(&d->id, 2, SIDES, 0, "desc[%u].id", i);
		ex_place(&d->flags, 2, SIDES, wrap ? AVAIL | USED : 0, "desc[%u].flags", i);
	}
	ex_place(&ring->driver.packed.desc, 2, DRIVER, 0, "driver.desc");
	ex_place(&ring->driver.packed.flags, 2, DRIVER, 0, "driver.flags");
	ex_place(&ring->device.packed.desc, 2, DEVICE, 0, "device.desc");
	ex_place(&ring->device.packed.flags, 2, DEVICE, 0, "device.flags");
	ex_guarded(DEVICE, &ring->driver.packed.flags);
	ex_guarded(DEVICE, &ring->driver.packed.desc);
	ex_guarded(DRIVER, &ring->device.packed.flags);
	ex_guarded(DRIVER, &ring->device.packed.desc);
	ex_pair(DEVICE, &ring->driver.packed.flags, &ring->driver.packed.desc);
	ex_pair(DRIVER, &ring->device.packed.flags, &ring->device.packed.desc);
}

void ref_places(void)
{
	unsigned int i;

	ex_reset();
	if (cf.layout == VIRTQ_SPLIT)
		split_places();
	else
		packed_places();
	for (i = 0; i < cf.bufs; i++)
		ex_place(&ring->data[i], 4, DEVICE, 0, "data of buffer %u", i);
}

void ref_init(struct ref *r)
{
	memset(r, 0, sizeof(*r));
}

/* ---- stores ---- */

void ref_store(const struct ref *r, enum side side, const void *p, u32 v)
{
	size_t off = (const char *)p - (const char *)ring;
	unsigned int slot, ahead;

	if (side != DEVICE)
		return;
	/* Virtio 1.4, 2.7.10.1: the device MUST set flags to 0 if EVENT_IDX was negotiated. */
	if (cf.layout == VIRTQ_SPLIT) {
		ex_assert(p != &ring->device.split.flags || !cf.event_idx || !v,
			  "used.flags is not 0 with EVENT_IDX");
		return;
	}
	/* Into the descriptors of what is being given back, and nowhere else. */
	if (off >= sizeof(ring->desc))
		return;
	slot = off / sizeof(ring->desc.packed[0]);
	ahead = (slot + 2 * cf.num - (cf.start + r->staged_slots) % cf.num) % cf.num;
	ex_assert(r->staged_slots + ahead < r->used_slots,
		  "the device stores to desc[%u], which is not among those it gives back", slot);
}

/* ---- the driver's side ---- */

void ref_added(unsigned int id)
{
	struct ref *r = ex_ref();
	unsigned int n;

	if (!ex_first())
		return;
	n = r->added++;
	r->buf[n].id = id;
	ex_note("buffer %u, id %u, is made available", n, id);
}

void ref_returned(unsigned int n, u32 len, u32 data, bool skipped)
{
	struct ref *r = ex_ref();

	ex_note("buffer %u is back", n);
	ex_assert(r->buf[n].done, "buffer %u is back before it was done", n);
	ex_assert(!r->buf[n].returned, "buffer %u is back a second time", n);
	ex_assert(!skipped || r->buf[n].len == buf_len(n),
		  "buffer %u is skipped, and was not used completely", n);
	ex_assert(skipped || len == r->buf[n].len, "buffer %u is back with %u bytes, not %u",
		  n, len, r->buf[n].len);
	ex_assert(data == buf_data(n), "buffer %u is back without its data", n);
	ex_assert(!cf.in_order || n == r->returned, "buffer %u is back before buffer %u",
		  n, r->returned);
	r->buf[n].returned = true;
	r->returned++;
}

void ref_entry(unsigned int n, bool flush)
{
	struct ref *r = ex_ref();
	bool order = r->returned == n + 1;
	unsigned int i;

	for (i = 0; i <= n; i++)
		order &= r->buf[i].returned;
	ex_assert(flush == (cf.partial_order && order), "the used entry of buffer %u has %sFLUSH",
		  n, flush ? "" : "no ");
}

/* ---- the device's side ---- */

unsigned int ref_fetched(const struct virtq_chain *chain)
{
	struct ref *r = ex_ref();
	unsigned int n = r->fetched, i;

	ex_assert(n < r->added, "a buffer is fetched that was never made available");
	ex_note("buffer %u is fetched", n);
	ex_assert(chain->id == r->buf[n].id, "buffer %u is fetched as id %u, not %u", n,
		  chain->id, r->buf[n].id);
	ex_assert(chain->ndesc == slots(n), "buffer %u takes %u slots, not %u", n, chain->ndesc,
		  slots(n));
	ex_assert(chain->nr_segs == buf_ndesc(n) && chain->nr_out == buf_ndesc(n) - 1,
		  "buffer %u has %u segments, %u to read", n, chain->nr_segs, chain->nr_out);
	for (i = 0; i < chain->nr_segs; i++)
		ex_assert(chain->segs[i].addr == buf_addr(n, i) &&
			  chain->segs[i].len == buf_len(n) &&
			  chain->segs[i].flags == (i == chain->nr_out ? VIRTQ_SEG_WRITE : 0),
			  "buffer %u has a segment %#llx+%u", n,
			  (unsigned long long)chain->segs[i].addr, chain->segs[i].len);
	r->fetched++;
	r->fetched_slots += slots(n);
	return n;
}

void ref_publish(const u8 *bufs, const struct virtq_done *done, unsigned int n)
{
	struct ref *r = ex_ref();
	unsigned int i;

	if (!ex_first())
		return;
	r->staged_slots = r->used_slots;
	for (i = 0; i < n; i++) {
		ex_note("buffer %u is done, %u bytes", bufs[i], done[i].len);
		r->buf[bufs[i]].done = true;
		r->buf[bufs[i]].len = done[i].len;
	}
	r->used_slots = 0;
	for (i = 0; i < r->fetched; i++) {
		if (!r->buf[i].done) {
			if (cf.in_order)
				break;
			continue;
		}
		r->used_slots += slots(i);
	}
}

void ref_published(bool visible)
{
	const struct ref *r = ex_ref();

	ex_assert(visible == (r->used_slots != r->staged_slots),
		  "virtq_publish() says that there is %s to see",
		  visible ? "something" : "nothing");
}

/* Does what became used, slot by slot from the start, reach the event? */
static bool reaches(unsigned int from, unsigned int to, unsigned int event, unsigned int laps)
{
	for (; from < to; from++)
		if (from % laps == event)
			return true;
	return false;
}

static bool split_wants(unsigned int from, unsigned int to)
{
	u32 v;

	if (!cf.event_idx) {
		ex_assert(ex_found(&ring->driver.split.flags, &v),
			  "virtq_need_call() did not look at avail.flags");
		return !(v & VRING_AVAIL_F_NO_INTERRUPT);
	}
	ex_assert(ex_found(&ring->driver.split.ring[cf.num], &v),
		  "virtq_need_call() did not look at used_event");
	return reaches(cf.start + from, cf.start + to, v, 1 << 16);
}

static bool packed_wants(unsigned int from, unsigned int to)
{
	unsigned int start = cf.start + (cf.wrap ? 0 : cf.num), event;
	u32 v;

	ex_assert(ex_found(&ring->driver.packed.flags, &v),
		  "virtq_need_call() did not look at driver.flags");
	if (v != VRING_PACKED_EVENT_FLAG_DESC)
		return v == VRING_PACKED_EVENT_FLAG_ENABLE;
	ex_assert(ex_found(&ring->driver.packed.desc, &v),
		  "virtq_need_call() did not look at driver.desc");
	/* Slots of two laps in a row have different names, as in the event structure. */
	event = (v & 0x7fff) + (v >> 15 ? 0 : cf.num);
	return reaches(start + from, start + to, event, 2 * cf.num);
}

void ref_need_call(bool call)
{
	const struct ref *r = ex_ref();
	unsigned int from = r->called_slots, to = r->used_slots;
	bool want = false;

	/* Of what lies further back than a lap the driver can't have asked to be told. */
	if (cf.layout == VIRTQ_PACKED && to - from > cf.num)
		from = to - cf.num;
	if (from != to)
		want = cf.layout == VIRTQ_SPLIT ? split_wants(from, to) : packed_wants(from, to);
	ex_assert(call || !want, "the driver asked for a notification and gets none");
	ex_assert(!call || want, "the driver gets a notification it did not ask for");
}

void ref_called(void)
{
	struct ref *r = ex_ref();

	r->called_slots = r->used_slots;
}

static void check_pos(const char *which, unsigned int count, unsigned int pos, bool wrap)
{
	unsigned int at = cf.start + count, laps = 0;

	if (cf.layout == VIRTQ_SPLIT) {
		ex_assert(pos == (u16)at && !wrap, "the %s index is %u, not %u", which, pos,
			  (u16)at);
		return;
	}
	for (; at >= cf.num; at -= cf.num)
		laps++;
	ex_assert(pos == at && wrap == (cf.wrap ^ (laps & 1)),
		  "the %s position is slot %u, wrap counter %u, not %u, %u", which, pos, wrap,
		  at, cf.wrap ^ (laps & 1));
}

void ref_pos(const struct virtq_pos *pos)
{
	const struct ref *r = ex_ref();

	check_pos("available", r->fetched_slots, pos->avail, pos->avail_wrap);
	check_pos("used", r->used_slots, pos->used, pos->used_wrap);
}

void ref_end(void)
{
	const struct ref *r = ex_ref();

	if (ex_done(DRIVER) && r->returned == cf.bufs && r->fetched == cf.bufs)
		return;
	if (r->fetched < r->added)
		ex_fail("both sleep: buffer %u was made available and never fetched", r->fetched);
	ex_fail("both sleep: %u buffers were used and %u came back", r->fetched, r->returned);
}
