/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a ring layout brings: the inner side of virtq.h. Included by virtq.c and the layouts only.
 */
#ifndef _VHOST_BLK_VIRTQ_OPS_H
#define _VHOST_BLK_VIRTQ_OPS_H

#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>

#include "inflight.h"
#include "virtq.h"
#include "virtq_mem.h"

/**
 * struct virtq_batch - used entries that are written and not to be seen yet
 * @used: where the next one goes
 * @wrap: packed: wrap counter of @used
 * @flags: packed: those of the first entry, which are stored last
 * @n: entries
 */
struct virtq_batch {
	u16 used;
	bool wrap;
	u16 flags;
	unsigned int n;
};

/* A buffer goes out with the batch at hand. @track: the ring's. */
static inline void virtq_returned(struct virtq *vq, struct inflight *track, u16 id)
{
	vq->inflight[id] = false;
	if (track)
		inflight_stage(track, id);
}

static inline struct virtq_batch virtq_batch_start(const struct virtq *vq)
{
	return (struct virtq_batch){ .used = vq->pos.used, .wrap = vq->pos.used_wrap };
}

/**
 * struct virtq_ops - a ring layout
 * @check: size, alignment, position; 0 or -EINVAL
 * @set_pos: start at a position
 * @fetch: see virtq_fetch()
 * @refetch: see virtq_refetch()
 * @publish: see virtq_publish(), of one buffer at least; not for a ring whose order means something
 * @stage: write a used entry, with FLUSH or without, which accounts for so many slots, and do not
 *	show it yet
 * @commit: show a batch, which is not empty
 * @need_call: see virtq_need_call()
 * @enable_kick: see virtq_enable_kick()
 * @disable_kick: see virtq_disable_kick()
 * @empty: see virtq_empty()
 *
 * The table says what a layout must have and serves virtq_init(). The data path does not go
 * through its pointers: an indirect call costs more than most of these functions, so VIRTQ_CALL()
 * in virtq.c names them.
 */
struct virtq_ops {
	int (*check)(const struct virtq_cfg *cfg, const struct virtq_pos *pos);
	void (*set_pos)(struct virtq *vq, const struct virtq_pos *pos);
	int (*fetch)(struct virtq *vq, struct virtq_chain *chain);
	int (*refetch)(struct virtq *vq, const struct inflight_buf *buf, struct virtq_chain *chain);
	bool (*publish)(struct virtq *vq, const struct virtq_done *done, unsigned int n);
	void (*stage)(struct virtq *vq, struct virtq_batch *b, const struct virtq_done *done,
		      bool flush);
	void (*commit)(struct virtq *vq, const struct virtq_batch *b);
	bool (*need_call)(struct virtq *vq);
	bool (*enable_kick)(struct virtq *vq);
	void (*disable_kick)(struct virtq *vq);
	bool (*empty)(const struct virtq *vq);
};

/*
 * Copies an indirect table into vq->table. It is read once, whole: it is ours from then on. Entries
 * have the same size in both layouts.
 *
 * Return: entries or -errno.
 */
static inline int virtq_load_table(struct virtq *vq, u64 addr, u32 len)
{
	/* len / 16; the remainder is on top, where it makes it very large. */
	const u32 nr = len >> 4 | len << 28;
	int ret;

	static_assert(sizeof(struct vring_desc) == 1 << 4);
	if (unlikely(!vq->indirect))
		return -EINVAL;
	/* 0 is very large too. */
	if (unlikely(nr - 1 >= VIRTQ_MAX_NUM))
		return len && !(len % sizeof(struct vring_desc)) ? -E2BIG : -EINVAL;
	ret = virtq_mem_read(vq->mem, addr, vq->table, len);
	if (unlikely(ret))
		return ret;
	return nr;
}

/* Does a segment wrap around the end of the address space? Asked only where one might. */
bool virtq_segs_wrap(const struct virtq_seg *seg, const struct virtq_seg *end);

extern const struct virtq_ops virtq_split_ops;
extern const struct virtq_ops virtq_packed_ops;

int virtq_split_fetch(struct virtq *vq, struct virtq_chain *chain);
int virtq_split_refetch(struct virtq *vq, const struct inflight_buf *buf,
			struct virtq_chain *chain);
bool virtq_split_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n);
void virtq_split_stage(struct virtq *vq, struct virtq_batch *b, const struct virtq_done *done,
		       bool flush);
void virtq_split_commit(struct virtq *vq, const struct virtq_batch *b);
bool virtq_split_need_call(struct virtq *vq);
bool virtq_split_enable_kick(struct virtq *vq);
void virtq_split_disable_kick(struct virtq *vq);
bool virtq_split_empty(const struct virtq *vq);

int virtq_packed_fetch(struct virtq *vq, struct virtq_chain *chain);
int virtq_packed_refetch(struct virtq *vq, const struct inflight_buf *buf,
			 struct virtq_chain *chain);
bool virtq_packed_publish(struct virtq *vq, const struct virtq_done *done, unsigned int n);
void virtq_packed_stage(struct virtq *vq, struct virtq_batch *b, const struct virtq_done *done,
			bool flush);
void virtq_packed_commit(struct virtq *vq, const struct virtq_batch *b);
bool virtq_packed_need_call(struct virtq *vq);
bool virtq_packed_enable_kick(struct virtq *vq);
void virtq_packed_disable_kick(struct virtq *vq);
bool virtq_packed_empty(const struct virtq *vq);

#endif
