// SPDX-License-Identifier: GPL-2.0
/*
 * Ring engine: what both layouts share, and the one place that knows there is more than one.
 */
#include <linux/errno.h>
#include <linux/string.h>

#include "virtq.h"
#include "virtq_ops.h"

/* Every layout there is; virtq_init() lets no other in. */
static const struct virtq_ops *const virtq_layouts[VIRTQ_NR_LAYOUTS] = {
	[VIRTQ_SPLIT] = &virtq_split_ops,
	[VIRTQ_PACKED] = &virtq_packed_ops,
};

/* Calls @op of the ring's layout by name, without an indirect call. */
#define VIRTQ_CALL(vq, op, ...)							\
	((vq)->layout == VIRTQ_PACKED ? virtq_packed_##op(vq, ##__VA_ARGS__) :	\
					virtq_split_##op(vq, ##__VA_ARGS__))

bool virtq_segs_wrap(const struct virtq_seg *seg, const struct virtq_seg *end)
{
	for (; seg < end; seg++)
		if (seg->addr + seg->len < seg->addr)
			return true;
	return false;
}

int virtq_init(struct virtq *vq, const struct virtq_cfg *cfg, const struct virtq_pos *pos)
{
	const struct virtq_ops *ops;
	int ret;

	if ((unsigned int)cfg->layout >= VIRTQ_NR_LAYOUTS)
		return -EINVAL;
	ops = virtq_layouts[cfg->layout];
	if (!cfg->num || cfg->num > VIRTQ_MAX_NUM)
		return -EINVAL;
	if (!cfg->desc || !cfg->driver || !cfg->device)
		return -EINVAL;
	if (!cfg->segs || cfg->max_segs < cfg->num)
		return -EINVAL;
	if (cfg->indirect && !cfg->table)
		return -EINVAL;
	ret = ops->check(cfg, pos);
	if (ret)
		return ret;

	memset(vq, 0, sizeof(*vq));
	vq->layout = cfg->layout;
	vq->event_idx = cfg->event_idx;
	vq->indirect = cfg->indirect;
	vq->num = cfg->num;
	vq->mask = cfg->num - 1;
	vq->max_segs = cfg->max_segs;
	vq->segs = cfg->segs;
	vq->table = cfg->table;
	vq->mem = cfg->mem;
	virtq_set_rings(vq, cfg->desc, cfg->driver, cfg->device);
	ops->set_pos(vq, pos);
	return 0;
}

void virtq_set_rings(struct virtq *vq, void *desc, void *driver, void *device)
{
	vq->desc = desc;
	vq->driver = driver;
	vq->device = device;
}

void virtq_get_pos(const struct virtq *vq, struct virtq_pos *pos)
{
	*pos = vq->pos;
}

int virtq_fetch(struct virtq *vq, struct virtq_chain *chain)
{
	return VIRTQ_CALL(vq, fetch, chain);
}

void virtq_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n)
{
	VIRTQ_CALL(vq, publish, done, n);
}

bool virtq_need_call(struct virtq *vq)
{
	return VIRTQ_CALL(vq, need_call);
}

bool virtq_enable_kick(struct virtq *vq)
{
	return VIRTQ_CALL(vq, enable_kick);
}

void virtq_disable_kick(struct virtq *vq)
{
	VIRTQ_CALL(vq, disable_kick);
}

bool virtq_empty(const struct virtq *vq)
{
	return VIRTQ_CALL(vq, empty);
}
