// SPDX-License-Identifier: GPL-2.0
/*
 * Inflight region of a split virtqueue.
 *
 *	record	desc[head].counter, desc[head].inflight = 1
 *	prepare	desc[head].next = the one before, for each; last_batch_head
 *	(used->idx: from here on the driver has them)
 *	commit	desc[head].inflight = 0, for each; used_idx = used->idx
 *
 * The driver sees a batch by used->idx, and it has not been committed as long as used_idx is
 * another. Then as many heads as there are between the two are no longer in flight, from
 * last_batch_head on by next. Whether commit got to them or not makes no difference.
 */
#include <linux/build_bug.h>
#include <linux/errno.h>

#include "fault.h"
#include "inflight.h"
#include "inflight_ops.h"
#include "virtq_barrier.h"

static_assert(sizeof(struct vhost_inflight_desc_split) == 16);
static_assert(sizeof(struct vhost_inflight_region_split) == 16);

static size_t inflight_split_size(u16 desc_num)
{
	return VHOST_INFLIGHT_STRIDE_SPLIT(desc_num);
}

static void inflight_split_fresh(struct inflight *fl)
{
	struct vhost_inflight_region_split *r = fl->region;
	unsigned int i;

	for (i = 0; i < fl->desc_num; i++) {
		struct vhost_inflight_desc_split *d = &r->desc[i];

		inflight_store8(&d->inflight, 0);
		inflight_store16(&d->next, 0);
		inflight_store64(&d->counter, 0);
	}
	inflight_store16(&r->last_batch_head, 0);
	inflight_store16(&r->used_idx, fl->used);
}

/* Marks the heads of the batch that the driver has and that was not committed. */
static int inflight_split_batch(const struct vhost_inflight_region_split *s, u16 n, u16 num,
				u8 *mark)
{
	u16 head = s->last_batch_head;

	if (n > num)
		return -EUCLEAN;
	for (; n; n--) {
		if (head >= num || mark[head])
			return -EUCLEAN;
		mark[head] = 1;
		head = s->desc[head].next;
	}
	return 0;
}

/*
 * Are they those that the driver sees? Others than us write no desc[].next, and a batch of theirs
 * that was not committed would be taken for another.
 */
static int inflight_split_seen(const struct vhost_inflight_region_split *s,
			       const struct vring_used *used, u16 n, u16 num, const u8 *mark)
{
	u16 idx = s->used_idx;

	for (; n; n--, idx++) {
		u32 id = virtq_load32(&used->ring[idx % num].id);

		if (id >= num || !mark[id])
			return -EUCLEAN;
	}
	return 0;
}

static int inflight_split_read(struct inflight *fl, const struct inflight_cfg *cfg,
			       struct inflight_found *found)
{
	const struct vhost_inflight_region_split *s = cfg->snapshot;
	const struct vring_used *used = cfg->device;
	unsigned int i;
	int ret;

	fl->used = virtq_load16(&used->idx);
	fl->head = s->last_batch_head;
	if (fl->head >= fl->desc_num)
		return -EUCLEAN;
	ret = inflight_split_batch(s, fl->used - s->used_idx, fl->num, found->mark);
	if (!ret && !cfg->batched)
		ret = inflight_split_seen(s, used, fl->used - s->used_idx, fl->num, found->mark);
	if (ret)
		return ret;
	for (i = 0; i < fl->desc_num; i++) {
		const struct vhost_inflight_desc_split *d = &s->desc[i];
		const struct inflight_buf buf = {
			.counter = d->counter, .id = i, .ndesc = 1, .first = i,
		};

		if (d->inflight > 1 || (d->inflight && i >= fl->num))
			return -EUCLEAN;
		if (d->inflight && !found->mark[i])
			inflight_add(found, &buf);
	}
	found->pos = (struct virtq_pos){ .used = fl->used, .avail = fl->used + found->nr };
	return 0;
}

/* The rest of the commit, which may have been under way. */
static void inflight_split_settle(struct inflight *fl, const struct inflight_cfg *cfg,
				  const struct inflight_found *found)
{
	struct vhost_inflight_region_split *r = fl->region;
	unsigned int i;

	for (i = 0; i < fl->num; i++)
		if (found->mark[i]) {
			inflight_store8(&r->desc[i].inflight, 0);
			fault_here(FAULT_SETTLE);
		}
	inflight_store16(&r->used_idx, fl->used);
}

/* A front end has one number: where the device was going to fetch, or what it had given back. */
static bool inflight_split_may_start(const struct virtq_pos *pos, const struct virtq_pos *found)
{
	return pos->avail == found->used || pos->avail == found->avail;
}

const struct inflight_ops inflight_split_ops = {
	.size		= inflight_split_size,
	.fresh		= inflight_split_fresh,
	.read		= inflight_split_read,
	.settle		= inflight_split_settle,
	.may_start	= inflight_split_may_start,
};
