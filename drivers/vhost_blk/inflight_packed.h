/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a packed ring stores to its inflight region as it runs: the verbs of inflight.h, whose
 * stores inflight_packed.c explains. Inline, because they are for each buffer.
 */
#ifndef _VHOST_BLK_INFLIGHT_PACKED_H
#define _VHOST_BLK_INFLIGHT_PACKED_H

#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <uapi/linux/vhost_inflight.h>

#include "fault.h"
#include "inflight.h"
#include "inflight_store.h"
#include "inflight_word.h"
#include "virtq_packed.h"

/* The fields of a region and of an entry that are stored as one. */
static_assert(offsetof(struct vhost_inflight_region_packed, free_head) == 12 &&
	      offsetof(struct vhost_inflight_region_packed, old_free_head) == 14);
static_assert(offsetof(struct vhost_inflight_region_packed, used_idx) == 16 &&
	      offsetof(struct vhost_inflight_region_packed, old_used_idx) == 18 &&
	      offsetof(struct vhost_inflight_region_packed, used_wrap_counter) == 20 &&
	      offsetof(struct vhost_inflight_region_packed, old_used_wrap_counter) == 21);
static_assert(offsetof(struct vhost_inflight_desc_packed, inflight) == 0 &&
	      offsetof(struct vhost_inflight_desc_packed, next) == 2 &&
	      offsetof(struct vhost_inflight_desc_packed, last) == 4 &&
	      offsetof(struct vhost_inflight_desc_packed, num) == 6);
static_assert(offsetof(struct vhost_inflight_desc_packed, id) == 16 &&
	      offsetof(struct vhost_inflight_desc_packed, flags) == 18 &&
	      offsetof(struct vhost_inflight_desc_packed, len) == 20);

static inline void inflight_packed_put_free(struct vhost_inflight_region_packed *r, u16 now,
					    u16 old)
{
	inflight_store32((u32 *)&r->free_head, inflight_word32(now, old));
}

/* @used: behind the batch that is under way; what is in @fl is in front of it. */
static inline void inflight_packed_put_used(struct inflight *fl, u16 used, bool wrap)
{
	struct vhost_inflight_region_packed *r = fl->region;
	const u32 idx = inflight_word32(used, fl->used);
	const u32 wraps = inflight_word32(inflight_word16(wrap, fl->used_wrap), 0);

	inflight_store64((u64 *)&r->used_idx, inflight_word64(idx, wraps));
}

/* What only the first entry of a buffer has. */
static inline void inflight_packed_put_first(struct vhost_inflight_desc_packed *d, bool inflight,
					     u16 next, u16 last, u16 num)
{
	const u32 flag_next = inflight_word32(inflight_word16(inflight, 0), next);

	inflight_store64((u64 *)d, inflight_word64(flag_next, inflight_word32(last, num)));
}

/* The copy of a descriptor. @id_flags: but for WRITE. */
static inline void inflight_packed_put_copy(struct vhost_inflight_desc_packed *d,
					    const struct virtq_seg *seg, u32 id_flags)
{
	id_flags |= inflight_word32(0, seg->flags);
	inflight_store64((u64 *)&d->id, inflight_word64(id_flags, seg->len));
	inflight_store64(&d->addr, seg->addr);
}

/*
 * See inflight_packed_record(). @turn: so many descriptors have AVAIL and USED as in @flags, those
 * behind them the other way round; 0: all have.
 */
static __always_inline void inflight_packed_put(struct inflight *fl, const struct virtq_seg *seg,
						unsigned int nr, unsigned int id,
						unsigned int flags, unsigned int turn)
{
	struct vhost_inflight_region_packed *r = fl->region;
	const unsigned int first = fl->head;
	const struct virtq_seg *end = seg + nr - 1, *at = seg + turn;
	struct vhost_inflight_desc_packed *d = &r->desc[first];
	u32 id_flags = inflight_word32(id, flags | VRING_DESC_F_NEXT);
	unsigned int last = first, next;

	fault_here(FAULT_FETCHED);
	for (; seg < end; seg++) {
		inflight_packed_put_copy(&r->desc[last], seg, id_flags);
		last = fl->next[last];
		if (turn && seg + 1 == at)
			id_flags ^= inflight_word32(0, PVIRTQ_AVAIL | PVIRTQ_USED);
	}
	inflight_packed_put_copy(&r->desc[last], seg,
				 id_flags ^ inflight_word32(0, VRING_DESC_F_NEXT));
	next = fl->next[last];
	fl->buf[id].first = first;
	fl->buf[id].last = last;
	fl->head = next;
	inflight_store64(&d->counter, fl->counter++);
	inflight_packed_put_first(d, true, fl->next[first], last, nr);
	fault_here(FAULT_RECORD);
	inflight_packed_put_free(r, next, next);
}

/**
 * inflight_packed_record() - a buffer was fetched
 * @fl: region
 * @seg: one for each descriptor that it takes in the ring
 * @nr: how many
 * @id: buffer id
 * @flags: of all descriptors: INDIRECT, and AVAIL and USED up to the end of the ring, behind which
 *	these two change places
 * @to_end: slots up to the end of the ring
 */
static __always_inline void inflight_packed_record(struct inflight *fl, const struct virtq_seg *seg,
						   unsigned int nr, unsigned int id,
						   unsigned int flags, unsigned int to_end)
{
	if (likely(nr <= to_end))
		inflight_packed_put(fl, seg, nr, id, flags, 0);
	else
		inflight_packed_put(fl, seg, nr, id, flags, to_end);
}

/* A batch of one buffer at least: all that are staged. */
static inline void inflight_packed_prepare(struct inflight *fl, u16 used, bool used_wrap)
{
	struct vhost_inflight_region_packed *r = fl->region;
	const unsigned int n = fl->nr_staged;
	unsigned int old = fl->head, head = old, i = 0;

	fault_here(FAULT_STAGED);
	do {
		unsigned int id = fl->staged[i], last = fl->buf[id].last;

		inflight_store16(&r->desc[last].next, head);
		fl->next[last] = head;
		head = fl->buf[id].first;
	} while (++i < n);
	fl->head = head;
	inflight_packed_put_free(r, head, old);
	fault_here(FAULT_PREPARE);
	inflight_packed_put_used(fl, used, used_wrap);
	fault_here(FAULT_PREPARED);
	fl->used = used;
	fl->used_wrap = used_wrap;
}

static inline void inflight_packed_commit(struct inflight *fl)
{
	struct vhost_inflight_region_packed *r = fl->region;
	const unsigned int n = fl->nr_staged;
	unsigned int i = 0;

	fault_here(FAULT_SHOWN);
	do {
		inflight_store8(&r->desc[fl->buf[fl->staged[i]].first].inflight, 0);
		fault_here(FAULT_CLEAR);
	} while (++i < n);
	fault_here(FAULT_CLEARED);
	inflight_packed_put_free(r, fl->head, fl->head);
	fault_here(FAULT_FREED);
	inflight_packed_put_used(fl, fl->used, fl->used_wrap);
	fl->nr_staged = 0;
}

#endif
