// SPDX-License-Identifier: GPL-2.0
/*
 * Inflight region of a packed virtqueue.
 *
 * Descriptors are copied into entries taken from a free list: their slots of the ring may be
 * overwritten by used descriptors while they are in flight.
 *
 *	record	the entries, all of a buffer's; the first has counter, last, num and inflight = 1;
 *		free_head and old_free_head go on, in one store
 *	prepare	desc[last].next = free_head, free_head = first, for each; free_head in the header;
 *		used_idx and used_wrap_counter
 *	(flags of the batch's first used descriptor: from here on the driver has them)
 *	commit	desc[first].inflight = 0, for each; old_free_head; old_used_idx with its counter
 *
 * Two fields that belong together are one store, of the 4 or 8 bytes they are in; the others
 * there are ours too. A batch is under way as long as used_idx (with its counter) is not
 * old_used_idx. The driver has it if the slot at old_used_idx is not available any more, in the
 * lap of old_used_wrap_counter: until we give the slot back it is what we fetched, and afterwards
 * it is used, or available in the next lap. Then what is on the new free list is given back, else
 * what is on the old one: an entry there is not in flight, whatever it says.
 *
 * The order within commit: old_free_head before old_used_idx, because while the two used indexes
 * differ the slot says which of the free lists counts.
 */
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/stddef.h>

#include "fault.h"
#include "inflight.h"
#include "inflight_ops.h"
#include "inflight_packed.h"
#include "virtq_barrier.h"
#include "virtq_packed.h"

static_assert(sizeof(struct vhost_inflight_desc_packed) == 32);
static_assert(sizeof(struct vhost_inflight_region_packed) == 32);

enum { INFLIGHT_NOWHERE, INFLIGHT_FREE, INFLIGHT_BUSY };

static size_t inflight_packed_size(u16 desc_num)
{
	return VHOST_INFLIGHT_STRIDE_PACKED(desc_num);
}

static void inflight_packed_fresh(struct inflight *fl)
{
	struct vhost_inflight_region_packed *r = fl->region;
	unsigned int i;

	for (i = 0; i < fl->desc_num; i++) {
		inflight_packed_put_first(&r->desc[i], 0, i + 1, 0, 0);
		inflight_store64(&r->desc[i].counter, 0);
		fl->next[i] = i + 1;
	}
	inflight_packed_put_free(r, 0, 0);
	inflight_packed_put_used(fl, fl->used, fl->used_wrap);
}

/* Marks what is on a free list. It ends with an index out of range. */
static int inflight_packed_mark_free(struct inflight *fl,
				     const struct vhost_inflight_region_packed *s, u16 head,
				     u8 *mark)
{
	for (fl->head = head; head < fl->desc_num; head = fl->next[head]) {
		if (mark[head])
			return -EUCLEAN;
		mark[head] = INFLIGHT_FREE;
		fl->next[head] = s->desc[head].next;
	}
	return 0;
}

/* The buffer that starts with an entry: marks its entries. */
static int inflight_packed_read_buf(struct inflight *fl,
				    const struct vhost_inflight_region_packed *s, u16 first,
				    struct inflight_found *found)
{
	struct inflight_buf buf = {
		.counter = s->desc[first].counter, .ndesc = s->desc[first].num, .first = first,
	};
	u16 at = first, last = first, n;

	if (!buf.ndesc || buf.ndesc > fl->num)
		return -EUCLEAN;
	for (n = 0; n < buf.ndesc; n++) {
		if (at >= fl->desc_num || found->mark[at] != INFLIGHT_NOWHERE)
			return -EUCLEAN;
		found->mark[at] = INFLIGHT_BUSY;
		fl->next[at] = s->desc[at].next;
		last = at;
		at = s->desc[at].next;
	}
	buf.id = s->desc[last].id;
	if (last != s->desc[first].last || buf.id >= fl->num)
		return -EUCLEAN;
	/* Nobody else has the id: there is no last entry of one yet. */
	if (fl->buf[buf.id].last != VIRTQ_MAX_NUM)
		return -EUCLEAN;
	fl->buf[buf.id].first = first;
	fl->buf[buf.id].last = last;
	inflight_add(found, &buf);
	return 0;
}

/* Does the driver have the batch that is under way? */
static bool inflight_packed_shown(const struct vhost_inflight_region_packed *s, const void *desc)
{
	const struct pvirtq_desc *ring = desc;

	return !virtq_packed_is_avail(virtq_load16(&ring[s->old_used_idx].flags),
				      s->old_used_wrap_counter);
}

static int inflight_packed_read(struct inflight *fl, const struct inflight_cfg *cfg,
				struct inflight_found *found)
{
	const struct vhost_inflight_region_packed *s = cfg->snapshot;
	bool shown = false;
	u32 slots = 0;
	int ret, i;

	if (s->used_idx >= fl->num || s->old_used_idx >= fl->num || s->used_wrap_counter > 1 ||
	    s->old_used_wrap_counter > 1)
		return -EUCLEAN;
	/* A batch that fills the ring ends where it began, in the next lap. */
	if (s->used_idx != s->old_used_idx || s->used_wrap_counter != s->old_used_wrap_counter)
		shown = inflight_packed_shown(s, cfg->desc);
	fl->used = shown ? s->used_idx : s->old_used_idx;
	fl->used_wrap = shown ? s->used_wrap_counter : s->old_used_wrap_counter;

	ret = inflight_packed_mark_free(fl, s, shown ? s->free_head : s->old_free_head,
					found->mark);
	if (ret)
		return ret;
	for (i = 0; i < fl->num; i++)
		fl->buf[i].last = VIRTQ_MAX_NUM;
	for (i = 0; i < fl->desc_num; i++) {
		if (s->desc[i].inflight > 1)
			return -EUCLEAN;
		if (!s->desc[i].inflight || found->mark[i] == INFLIGHT_FREE)
			continue;
		ret = inflight_packed_read_buf(fl, s, i, found);
		if (ret)
			return ret;
		slots += s->desc[i].num;
	}
	if (slots > fl->num)
		return -EUCLEAN;
	found->pos.used = fl->used;
	found->pos.used_wrap = fl->used_wrap;
	slots += fl->used;
	found->pos.avail = slots >= fl->num ? slots - fl->num : slots;
	found->pos.avail_wrap = slots >= fl->num ? !fl->used_wrap : fl->used_wrap;
	return 0;
}

/*
 * A batch is in the ring before it is in the region, all but the flags of its first descriptor. If
 * it was not shown, the driver would see the others as soon as we show one in front of them: they
 * are made what they were, not used yet.
 */
static void inflight_packed_hide(const struct inflight_cfg *cfg,
				 const struct inflight_found *found)
{
	struct pvirtq_desc *ring = cfg->desc;
	u16 slot = found->pos.used;
	bool wrap = found->pos.used_wrap;
	unsigned int i, n = 0;

	for (i = 0; i < found->nr; i++)
		n += found->buf[i].ndesc;
	for (i = 1; i < n; i++) {
		if (++slot == cfg->num) {
			slot = 0;
			wrap = !wrap;
		}
		if (!virtq_packed_is_avail(virtq_load16(&ring[slot].flags), wrap))
			virtq_store16(&ring[slot].flags, wrap ? PVIRTQ_AVAIL : PVIRTQ_USED);
	}
}

/*
 * As in commit, or back to before the batch: the same fields in the same order. An entry that is in
 * no list, which other devices leave behind, is free.
 */
static void inflight_packed_settle(struct inflight *fl, const struct inflight_cfg *cfg,
				   const struct inflight_found *found)
{
	struct vhost_inflight_region_packed *r = fl->region;
	unsigned int i;

	for (i = 0; i < fl->desc_num; i++) {
		if (found->mark[i] == INFLIGHT_BUSY)
			continue;
		inflight_store8(&r->desc[i].inflight, 0);
		fault_here(FAULT_SETTLE);
		if (found->mark[i] == INFLIGHT_FREE)
			continue;
		inflight_store16(&r->desc[i].next, fl->head);
		fl->next[i] = fl->head;
		fl->head = i;
	}
	inflight_packed_put_free(r, fl->head, fl->head);
	fault_here(FAULT_UNSETTLED);
	inflight_packed_put_used(fl, fl->used, fl->used_wrap);
	fault_here(FAULT_HIDE);
	inflight_packed_hide(cfg, found);
}

/* The two positions of VHOST_GET_VRING_BASE; available may be told as used, too. */
static bool inflight_packed_may_start(const struct virtq_pos *pos, const struct virtq_pos *found)
{
	if (pos->used != found->used || pos->used_wrap != found->used_wrap)
		return false;
	return (pos->avail == found->avail && pos->avail_wrap == found->avail_wrap) ||
	       (pos->avail == found->used && pos->avail_wrap == found->used_wrap);
}

const struct inflight_ops inflight_packed_ops = {
	.size		= inflight_packed_size,
	.fresh		= inflight_packed_fresh,
	.read		= inflight_packed_read,
	.settle		= inflight_packed_settle,
	.may_start	= inflight_packed_may_start,
};
