// SPDX-License-Identifier: GPL-2.0
/*
 * Inflight region: what both layouts share.
 */
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/sort.h>
#include <linux/string.h>

#include "fault.h"
#include "inflight.h"
#include "inflight_ops.h"

/* What every region begins with, so that its layout need not be known. */
static_assert(offsetof(struct vhost_inflight_region_split, features) == 0 &&
	      offsetof(struct vhost_inflight_region_packed, features) == 0);
static_assert(offsetof(struct vhost_inflight_region_split, version) == 8 &&
	      offsetof(struct vhost_inflight_region_packed, version) == 8);
static_assert(offsetof(struct vhost_inflight_region_split, desc_num) == 10 &&
	      offsetof(struct vhost_inflight_region_packed, desc_num) == 10);

static const struct inflight_ops *const inflight_layouts[VIRTQ_NR_LAYOUTS] = {
	[VIRTQ_SPLIT] = &inflight_split_ops,
	[VIRTQ_PACKED] = &inflight_packed_ops,
};

/* In the order in which they were taken. Two have one counter only if somebody meddled. */
static int inflight_cmp(const void *a, const void *b)
{
	const struct inflight_buf *x = a, *y = b;

	if (x->counter != y->counter)
		return x->counter < y->counter ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static bool inflight_same_pos(const struct virtq_pos *pos)
{
	return pos->avail == pos->used && pos->avail_wrap == pos->used_wrap;
}

static int inflight_fresh(struct inflight *fl, const struct inflight_cfg *cfg,
			  struct inflight_found *found)
{
	struct vhost_inflight_region_split *r = fl->region;

	/* What is between the two would be in flight, and nobody knows what it is. */
	if (!inflight_same_pos(&cfg->pos))
		return -EINVAL;
	found->pos = cfg->pos;
	fl->used = cfg->pos.used;
	fl->used_wrap = cfg->pos.used_wrap;
	inflight_layouts[cfg->layout]->fresh(fl);
	inflight_store64(&r->features, 0);
	inflight_store16(&r->desc_num, fl->desc_num);
	fault_here(FAULT_FRESH);
	/* Last: it is what makes all else count. */
	inflight_store16(&r->version, VHOST_INFLIGHT_VERSION);
	return 0;
}

size_t inflight_size(enum virtq_layout layout, u16 desc_num)
{
	return inflight_layouts[layout]->size(desc_num);
}

int inflight_open(struct inflight *fl, const struct inflight_cfg *cfg, struct inflight_found *found)
{
	const struct vhost_inflight_region_split *s = cfg->snapshot;
	const struct inflight_ops *ops = inflight_layouts[cfg->layout];
	int ret;

	memset(fl, 0, sizeof(*fl));
	fl->region = cfg->region;
	fl->snapshot = cfg->snapshot;
	fl->num = cfg->num;
	fl->desc_num = cfg->desc_num;
	found->nr = 0;
	if (!s->version)
		return inflight_fresh(fl, cfg, found);
	if (s->version != VHOST_INFLIGHT_VERSION)
		return -EPROTONOSUPPORT;
	if (s->features)
		return -EOPNOTSUPP;
	if (s->desc_num != cfg->desc_num)
		return -EMSGSIZE;
	memset(found->mark, 0, sizeof(found->mark));
	ret = ops->read(fl, cfg, found);
	if (ret)
		return ret;
	if (cfg->told && !ops->may_start(&cfg->pos, &found->pos))
		return -EINVAL;
	sort(found->buf, found->nr, sizeof(*found->buf), inflight_cmp, NULL);
	if (found->nr)
		fl->counter = found->buf[found->nr - 1].counter + 1;
	fault_here(FAULT_OPENED);
	ops->settle(fl, cfg, found);
	fault_here(FAULT_SETTLED);
	return 0;
}

void inflight_void(void *region)
{
	struct vhost_inflight_region_split *r = region;

	inflight_store16(&r->version, 0);
}
