// SPDX-License-Identifier: GPL-2.0
/*
 * Ring engine: what both layouts share, and the one place that knows there is more than one.
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/minmax.h>
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
	if (cfg->in_order && !cfg->order)
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
	if (cfg->in_order) {
		vq->order = cfg->order;
		memset(vq->order, 0, sizeof(*vq->order));
	}
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

/* A buffer was fetched whose turn comes after all those before it. */
static noinline void virtq_order_fetched(struct virtq_order *o, const struct virtq_chain *chain)
{
	u64 len = 0;
	unsigned int i;

	for (i = chain->nr_out; i < chain->nr_segs; i++)
		len += chain->segs[i].len;
	o->buf[chain->id] = (struct virtq_order_buf){
		.ndesc = chain->ndesc,
		/* A length can't be 2^32; a driver is told of one byte less then. */
		.in_len = min(len, (u64)U32_MAX),
	};
	o->id[(o->first + o->nr++) % VIRTQ_MAX_NUM] = chain->id;
}

/*
 * Remembers what is done, and gives back what is next: a run of buffers under one used entry, which
 * has the id and the length of the last. A driver takes those before it as used completely, so a
 * run ends with the first that is not.
 */
static noinline void virtq_order_publish(struct virtq *vq, const struct virtq_done *done,
					 unsigned int n)
{
	struct virtq_batch b = virtq_batch_start(vq);
	struct virtq_order *o = vq->order;
	struct virtq_done run = { 0 };

	for (; n; n--, done++) {
		o->buf[done->id].len = done->len;
		o->buf[done->id].done = true;
	}
	for (; o->nr; o->nr--, o->first = (o->first + 1) % VIRTQ_MAX_NUM) {
		u16 id = o->id[o->first];
		struct virtq_order_buf *buf = &o->buf[id];

		if (!buf->done)
			break;
		vq->inflight[id] = false;
		run.id = id;
		run.len = buf->len;
		run.ndesc += buf->ndesc;
		if (buf->len < buf->in_len) {
			VIRTQ_CALL(vq, stage, &b, &run);
			run.ndesc = 0;
		}
	}
	if (run.ndesc)
		VIRTQ_CALL(vq, stage, &b, &run);
	VIRTQ_CALL(vq, commit, &b);
}

int virtq_fetch(struct virtq *vq, struct virtq_chain *chain)
{
	int ret;

	if (likely(!vq->order))
		return VIRTQ_CALL(vq, fetch, chain);
	ret = VIRTQ_CALL(vq, fetch, chain);
	if (ret > 0)
		virtq_order_fetched(vq->order, chain);
	return ret;
}

void virtq_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n)
{
	if (likely(!vq->order))
		VIRTQ_CALL(vq, publish, done, n);
	else
		virtq_order_publish(vq, done, n);
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
