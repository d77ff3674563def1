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

static void virtq_order_init(struct virtq_order *o, const struct virtq_cfg *cfg)
{
	memset(o, 0, sizeof(*o));
	o->in_order = cfg->in_order;
	o->partial = cfg->partial_order;
	o->oldest = VIRTQ_ORDER_END;
	o->newest = VIRTQ_ORDER_END;
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
	if ((cfg->in_order || cfg->partial_order) && !cfg->order)
		return -EINVAL;
	ret = ops->check(cfg, pos);
	if (ret)
		return ret;

	memset(vq, 0, sizeof(*vq));
	vq->layout = cfg->layout;
	vq->plain = cfg->layout;
	vq->event_idx = cfg->event_idx;
	vq->indirect = cfg->indirect;
	vq->num = cfg->num;
	vq->mask = cfg->num - 1;
	vq->max_segs = cfg->max_segs;
	vq->segs = cfg->segs;
	vq->table = cfg->table;
	if (cfg->in_order || cfg->partial_order) {
		vq->plain = VIRTQ_NR_LAYOUTS;
		vq->order = cfg->order;
		virtq_order_init(vq->order, cfg);
	}
	vq->track = cfg->track;
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

/* ---- VIRTIO_F_IN_ORDER, VIRTIO_F_PARTIAL_ORDER ---- */

/* A buffer was fetched whose turn comes after all those before it. */
static noinline void virtq_order_fetched(struct virtq_order *o, const struct virtq_chain *chain)
{
	u64 len = 0;
	unsigned int i;

	for (i = chain->nr_out; i < chain->nr_segs; i++)
		len += chain->segs[i].len;
	o->buf[chain->id] = (struct virtq_order_buf){
		.seq = ++o->fetched,
		/* A length can't be 2^32; a driver is told of one byte less then. */
		.in_len = min(len, (u64)U32_MAX),
		.ndesc = chain->ndesc,
		.before = o->newest,
		.after = VIRTQ_ORDER_END,
	};
	if (o->newest == VIRTQ_ORDER_END)
		o->oldest = chain->id;
	else
		o->buf[o->newest].after = chain->id;
	o->newest = chain->id;
}

/* It is not in flight any more. */
static void virtq_order_remove(struct virtq *vq, u16 id)
{
	struct virtq_order *o = vq->order;
	struct virtq_order_buf *buf = &o->buf[id];

	if (buf->before == VIRTQ_ORDER_END)
		o->oldest = buf->after;
	else
		o->buf[buf->before].after = buf->after;
	if (buf->after == VIRTQ_ORDER_END)
		o->newest = buf->before;
	else
		o->buf[buf->after].before = buf->before;
	buf->done = false;
	virtq_returned(vq, vq->track, id);
}

/* One used entry. @turn: nothing is in flight that was fetched before the buffer it names. */
static void virtq_order_stage(struct virtq *vq, struct virtq_batch *b,
			      const struct virtq_done *done, bool turn)
{
	struct virtq_order *o = vq->order;
	u64 seq = o->buf[done->id].seq;

	/* All of them up to this one, and none behind it. */
	o->flushed = o->partial && turn && seq > o->used;
	o->used = max(o->used, seq);
	VIRTQ_CALL(vq, stage, b, done, o->flushed);
}

/*
 * The oldest buffers, as far as they are done. Several go out under one used entry, which has the
 * id and the length of the last. A driver takes those before it as used completely, so a run ends
 * with the first that is not. With VIRTIO_F_PARTIAL_ORDER a driver knows a run by the FLUSH of the
 * entry before it.
 */
static void virtq_order_runs(struct virtq *vq, struct virtq_batch *b)
{
	struct virtq_order *o = vq->order;
	struct virtq_done run = { 0 };

	while (o->oldest != VIRTQ_ORDER_END && o->buf[o->oldest].done) {
		u16 id = o->oldest;
		const struct virtq_order_buf *buf = &o->buf[id];

		virtq_order_remove(vq, id);
		run.id = id;
		run.len = buf->len;
		run.ndesc += buf->ndesc;
		if (buf->len < buf->in_len || (o->partial && !o->flushed)) {
			virtq_order_stage(vq, b, &run, true);
			run.ndesc = 0;
		}
	}
	if (run.ndesc)
		virtq_order_stage(vq, b, &run, true);
}

static noinline bool virtq_order_publish(struct virtq *vq, const struct virtq_done *done,
					 unsigned int n)
{
	struct virtq_batch b = virtq_batch_start(vq);
	struct virtq_order *o = vq->order;
	unsigned int i;

	for (i = 0; i < n; i++) {
		o->buf[done[i].id].len = done[i].len;
		o->buf[done[i].id].done = true;
	}
	virtq_order_runs(vq, &b);
	/* What is left has to wait for its turn, or goes out before it. */
	for (i = 0; i < n && !o->in_order; i++) {
		if (!o->buf[done[i].id].done)
			continue;
		virtq_order_remove(vq, done[i].id);
		virtq_order_stage(vq, &b, &done[i], false);
	}
	/* All of them are held back. */
	if (!b.n)
		return false;
	VIRTQ_CALL(vq, commit, &b);
	return true;
}

static noinline int virtq_order_fetch(struct virtq *vq, struct virtq_chain *chain)
{
	int ret = VIRTQ_CALL(vq, fetch, chain);

	if (ret > 0)
		virtq_order_fetched(vq->order, chain);
	return ret;
}

int virtq_fetch(struct virtq *vq, struct virtq_chain *chain)
{
	switch (vq->plain) {
	case VIRTQ_SPLIT:
		return virtq_split_fetch(vq, chain);
	case VIRTQ_PACKED:
		return virtq_packed_fetch(vq, chain);
	default:
		return virtq_order_fetch(vq, chain);
	}
}

int virtq_refetch(struct virtq *vq, const struct inflight_buf *buf, struct virtq_chain *chain)
{
	int ret = VIRTQ_CALL(vq, refetch, buf, chain);

	if (ret > 0 && vq->order) {
		virtq_order_fetched(vq->order, chain);
		/* Some behind it may have been used before it, unless in order; who knows. */
		if (!vq->order->in_order)
			vq->order->used = vq->order->fetched;
	}
	return ret;
}

bool virtq_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n)
{
	/* From here on no batch is empty, and nobody asks whether it has a first buffer. */
	if (unlikely(!n))
		return false;
	switch (vq->plain) {
	case VIRTQ_SPLIT:
		return virtq_split_publish(vq, done, n);
	case VIRTQ_PACKED:
		return virtq_packed_publish(vq, done, n);
	default:
		return virtq_order_publish(vq, done, n);
	}
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
