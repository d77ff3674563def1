// SPDX-License-Identifier: GPL-2.0
/*
 * The IOTLB: what the owner says about guest memory, by write() of vhost messages.
 *
 * What was said is kept in vhost's own interval tree.  Queues work from a picture of it: sorted,
 * immutable, replaced as a whole at BATCH_END (or after each message outside a batch), so that no
 * look-up ever sees the gap between an INVALIDATE of everything and the UPDATEs that follow it.  A
 * look-up takes no lock; a queue changes pictures between two turns.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vinf.h"
#include "trace.h"

static void vinf_map_free(struct vinf_map *map)
{
	unsigned int i;

	for (i = 0; map->memory && i < map->nr; i++)
		vinf_memory_put(map->memory[i]);
	kvfree(map->memory);
	kvfree(map);
}

/* A reference less; process context. */
void vinf_map_put(struct vinf_map *map)
{
	if (map && refcount_dec_and_test(&map->ref))
		vinf_map_free(map);
}

struct vinf_map *vinf_map_get(struct vinf_map *map)
{
	if (map)
		refcount_inc(&map->ref);
	return map;
}

/*
 * The header of a request and its status byte are most of what is copied: for them the length is
 * the compiler's to know.
 */
static int vinf_copy_in(void *dst, const void __user *from, u32 len)
{
	u64 header[2];

	if (len != sizeof(header) || (!IS_ENABLED(CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS) &&
				      !IS_ALIGNED((unsigned long)from, sizeof(u64))))
		return copy_from_user(dst, from, len) ? -EFAULT : 0;
	if (!user_read_access_begin(from, sizeof(header)))
		return -EFAULT;
	unsafe_get_user(header[0], (const u64 __user *)from, fault);
	unsafe_get_user(header[1], (const u64 __user *)from + 1, fault);
	user_read_access_end();
	memcpy(dst, header, sizeof(header));
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

static int vinf_copy_out(void __user *to, const void *src, u32 len)
{
	if (len == 1)
		return put_user(*(const u8 *)src, (u8 __user *)to);
	return copy_to_user(to, src, len) ? -EFAULT : 0;
}

/**
 * vinf_copy_from - read guest memory
 * @vq: queue
 * @iova: device address
 * @dst: where to
 * @len: bytes
 *
 * Context: the queue's worker, inside &vinf_engine_ops.process; may fault.
 *
 * Return: 0; -EFAULT when a byte of it is not mapped readable or the owner's memory behind it is
 * gone.
 */
int vinf_copy_from(struct vinf_vq *vq, u64 iova, void *dst, u32 len)
{
	struct vinf_queue *q = vinf_queue(vq);
	void __user *uaddr;
	u32 got;
	int ret;

	while (len) {
		ret = vinf_map_find(q->map, &q->copy_hit, iova, len, VHOST_ACCESS_RO, &uaddr, &got);
		if (ret)
			return ret;
		ret = vinf_copy_in(dst, uaddr, got);
		if (ret)
			return ret;
		iova += got;
		dst += got;
		len -= got;
	}
	return 0;
}

/**
 * vinf_copy_to - write guest memory
 * @vq: queue
 * @iova: device address
 * @src: where from
 * @len: bytes
 *
 * Context and return as vinf_copy_from(), for memory mapped writable.
 */
int vinf_copy_to(struct vinf_vq *vq, u64 iova, const void *src, u32 len)
{
	struct vinf_queue *q = vinf_queue(vq);
	void __user *uaddr;
	u32 got;
	int ret;

	while (len) {
		ret = vinf_map_find(q->map, &q->copy_hit, iova, len, VHOST_ACCESS_WO, &uaddr, &got);
		if (ret)
			return ret;
		ret = vinf_copy_out(uaddr, src, got);
		/* A part of it may be there. */
		if (unlikely(q->log))
			vinf_log_mark(q->log, iova, got);
		if (ret)
			return ret;
		iova += got;
		src += got;
		len -= got;
	}
	return 0;
}

/* A new picture of the tree, whose ranges are pinned or not. */
static struct vinf_map *vinf_map_make(struct vhost_iotlb *tree, bool pinned)
{
	struct vhost_iotlb_map *m;
	struct vinf_map *map;
	unsigned int i = 0;

	map = kvzalloc(struct_size(map, e, tree->nmaps), GFP_KERNEL_ACCOUNT);
	if (!map)
		return NULL;
	if (pinned && tree->nmaps) {
		map->memory = kvcalloc(tree->nmaps, sizeof(*map->memory), GFP_KERNEL_ACCOUNT);
		if (!map->memory) {
			kvfree(map);
			return NULL;
		}
	}
	refcount_set(&map->ref, 1);
	map->nr = tree->nmaps;
	for (m = vhost_iotlb_itree_first(tree, 0, U64_MAX); m;
	     m = vhost_iotlb_itree_next(m, 0, U64_MAX)) {
		map->e[i].first = m->start;
		map->e[i].last = m->last;
		map->e[i].uaddr = m->addr;
		map->e[i].perm = m->perm;
		if (pinned)
			map->memory[i] = vinf_memory_get(m->opaque);
		i++;
	}
	vinf_map_index(map);
	return map;
}

/* The queue needs no picture any more; q->lock held. */
void vinf_iotlb_detach(struct vinf_queue *q)
{
	lockdep_assert_held(&q->lock);
	vinf_pin_keep(q);
	vinf_map_put(q->map);
	q->map = NULL;
}

/* Give a queue the device's picture, in the place of the one it has; q->lock held. */
void vinf_iotlb_attach(struct vinf_queue *q)
{
	vinf_iotlb_detach(q);
	q->map = vinf_map_get(q->dev->iotlb.map);
	q->data_hit = 0;
	q->copy_hit = 0;
}

/*
 * Give a queue that runs the device's picture. Its rings are pinned before it is locked: that may
 * be a page fault which userspace is in no hurry to answer, and an exchange of engines waits for
 * the lock.
 *
 * Return: 0; -ENOMEM, and the rings are where they were; -EINTR when the caller is being killed.
 */
static int vinf_iotlb_renew(struct vinf_queue *q)
{
	struct vinf_area_map area[VINF_NR_AREAS] = {};
	int err, ret;

	err = vinf_ring_pin(q, q->dev->iotlb.map, area);
	/* Only a caller that is being killed leaves queues behind, and its device with it. */
	ret = mutex_lock_killable(&q->lock);
	if (ret) {
		vinf_ring_unpin(area);
		return ret;
	}
	vinf_iotlb_attach(q);
	if (!err)
		err = vinf_ring_remap(q, area);
	/*
	 * A ring that lost its translation is found broken at the next turn; it may come back
	 * before.  One that did not, but for which the host has no memory now, goes on where it is,
	 * and the owner is told.
	 */
	q->unmapped = err && err != -ENOMEM;
	mutex_unlock(&q->lock);
	vinf_queue_wake(q);
	return err == -ENOMEM ? err : 0;
}

/*
 * Make what was said since the last time count.  When it returns 0, no queue uses the old picture
 * any more; data pages that were pinned through it are kept until their I/O is done.
 */
static int vinf_iotlb_apply(struct vinf_dev *dev)
{
	struct vinf_iotlb *tlb = &dev->iotlb;
	struct vinf_map *map, *old = tlb->map;
	int i, err, ret = 0;

	lockdep_assert_held(&dev->lock);
	if (!tlb->dirty)
		return 0;
	map = vinf_map_make(tlb->tree, dev->pin_memory);
	if (!map)
		return -ENOMEM;
	tlb->map = map;
	tlb->dirty = false;
	trace_vinf_iotlb_apply(dev, map->nr);

	for (i = 0; i < dev->nr_queues; i++) {
		/*
		 * D excludes a start; a queue that does not run takes the picture when it starts.
		 */
		if (!dev->queue[i].running)
			continue;
		err = vinf_iotlb_renew(&dev->queue[i]);
		if (err == -EINTR) {
			ret = err;
			break;
		}
		if (err) {
			tlb->dirty = true;
			ret = err;
		}
	}
	/* Much memory may be let go of with it, which no queue should have to wait for. */
	vinf_map_put(old);
	return ret;
}

/**
 * vinf_iotlb_logged - does a log have a bit for each page that the device may write?
 * @tlb: what is mapped, and what will be
 * @log: the log
 *
 * Context: process, vinf_dev.lock held.
 */
bool vinf_iotlb_logged(const struct vinf_iotlb *tlb, const struct vinf_log *log)
{
	const struct vinf_map *map = tlb->map;
	struct vhost_iotlb_map *m;
	unsigned int i;

	for (m = vhost_iotlb_itree_first(tlb->tree, 0, U64_MAX); m;
	     m = vhost_iotlb_itree_next(m, 0, U64_MAX))
		if ((m->perm & VHOST_ACCESS_WO) && !vinf_log_covers(log, m->start, m->last))
			return false;
	for (i = 0; map && i < map->nr; i++)
		if ((map->e[i].perm & VHOST_ACCESS_WO) &&
		    !vinf_log_covers(log, map->e[i].first, map->e[i].last))
			return false;
	return true;
}

static int vinf_iotlb_update(struct vinf_dev *dev, const struct vhost_iotlb_msg *msg)
{
	struct vhost_iotlb *tree = dev->iotlb.tree;
	struct vinf_memory *memory = NULL;
	u64 last;
	int ret;

	if (msg->perm < VHOST_ACCESS_RO || msg->perm > VHOST_ACCESS_RW)
		return -EINVAL;
	if (check_add_overflow(msg->iova, msg->size - 1, &last))
		return -EINVAL;
	if (!access_ok(u64_to_user_ptr(msg->uaddr), msg->size))
		return -EFAULT;
	if ((msg->perm & VHOST_ACCESS_WO) && !vinf_log_covers(dev->log, msg->iova, last))
		return -ERANGE;
	if (vhost_iotlb_itree_first(tree, msg->iova, last))
		return -EEXIST;
	/* Not every 6.12 kernel's vhost_iotlb looks at its limit. */
	if (tree->nmaps >= VINF_MAX_MAPS)
		return -ENOSPC;
	if (dev->pin_memory) {
		memory = vinf_memory_pin(msg->uaddr, msg->size, msg->perm);
		if (IS_ERR(memory))
			return PTR_ERR(memory);
	}
	/* One node with the reference: only a range of all 2^64 addresses would get two. */
	ret = vhost_iotlb_add_range_ctx(tree, msg->iova, last, msg->uaddr, msg->perm, memory);
	if (ret)
		vinf_memory_put(memory);
	else
		dev->iotlb.dirty = true;
	return ret;
}

static void vinf_iotlb_del(struct vhost_iotlb *tree, u64 first, u64 last)
{
	struct vhost_iotlb_map *m;

	while ((m = vhost_iotlb_itree_first(tree, first, last))) {
		vinf_memory_put(m->opaque);
		vhost_iotlb_map_free(tree, m);
	}
}

/* As upstream: what overlaps the range goes as a whole, and a range that is not mapped is fine. */
static int vinf_iotlb_invalidate(struct vinf_dev *dev, const struct vhost_iotlb_msg *msg)
{
	u64 last;

	if (check_add_overflow(msg->iova, msg->size - 1, &last))
		return -EINVAL;
	vinf_iotlb_del(dev->iotlb.tree, msg->iova, last);
	dev->iotlb.dirty = true;
	return 0;
}

/**
 * vinf_iotlb_msg - do what an IOTLB message says
 * @dev: device
 * @msg: the message
 *
 * Context: process, in the owner's memory, vinf_dev.lock held.
 *
 * Return: 0; -EINVAL for an unknown type, a permission that is none, or a range that wraps;
 * -EEXIST for a range that is mapped already; -ERANGE for one that the device may write to and that
 * the log does not cover; -EFAULT for memory that cannot be the caller's;
 * -ENOSPC for more than VINF_MAX_MAPS ranges; -ENOMEM; -EINTR when the caller is killed; with
 * pin_memory the errnos of vinf_memory_pin().
 */
int vinf_iotlb_msg(struct vinf_dev *dev, const struct vhost_iotlb_msg *msg)
{
	struct vinf_iotlb *tlb = &dev->iotlb;
	int ret;

	lockdep_assert_held(&dev->lock);
	trace_vinf_iotlb_msg(dev, msg);
	switch (msg->type) {
	case VHOST_IOTLB_UPDATE:
		ret = vinf_iotlb_update(dev, msg);
		break;
	case VHOST_IOTLB_INVALIDATE:
		ret = vinf_iotlb_invalidate(dev, msg);
		break;
	case VHOST_IOTLB_BATCH_BEGIN:
		tlb->batch = true;
		return 0;
	case VHOST_IOTLB_BATCH_END:
		tlb->batch = false;
		return vinf_iotlb_apply(dev);
	default:
		return -EINVAL;
	}
	if (!ret && !tlb->batch)
		ret = vinf_iotlb_apply(dev);
	return ret;
}

/**
 * vinf_iotlb_read - what write() on the node was given: one IOTLB message
 * @from: struct vhost_msg or struct vhost_msg_v2; both are understood whatever was acked
 * @msg: the message
 *
 * The address space id of a v2 message is not looked at: there is one.
 *
 * Context: process, no lock held: it may fault for as long as userspace likes.
 *
 * Return: 0; -EINVAL for another type of message, one that is short or cannot be read, and for an
 * UPDATE or INVALIDATE of size 0.
 */
int vinf_iotlb_read(struct iov_iter *from, struct vhost_iotlb_msg *msg)
{
	size_t skip;
	int type;

	if (!copy_from_iter_full(&type, sizeof(type), from))
		return -EINVAL;
	switch (type) {
	case VHOST_IOTLB_MSG:
		skip = offsetof(struct vhost_msg, iotlb) - sizeof(type);
		break;
	case VHOST_IOTLB_MSG_V2:
		skip = offsetof(struct vhost_msg_v2, iotlb) - sizeof(type);
		break;
	default:
		return -EINVAL;
	}
	if (iov_iter_count(from) < skip + sizeof(*msg))
		return -EINVAL;
	iov_iter_advance(from, skip);
	if (!copy_from_iter_full(msg, sizeof(*msg), from))
		return -EINVAL;
	if (!msg->size && (msg->type == VHOST_IOTLB_UPDATE || msg->type == VHOST_IOTLB_INVALIDATE))
		return -EINVAL;
	return 0;
}

int vinf_iotlb_init(struct vinf_dev *dev)
{
	dev->iotlb.tree = vhost_iotlb_alloc(VINF_MAX_MAPS, 0);
	return dev->iotlb.tree ? 0 : -ENOMEM;
}

/* Forget everything; no queue runs. */
void vinf_iotlb_clear(struct vinf_dev *dev)
{
	struct vinf_iotlb *tlb = &dev->iotlb;

	vinf_iotlb_del(tlb->tree, 0, U64_MAX);
	vinf_map_put(tlb->map);
	tlb->map = NULL;
	tlb->batch = false;
	tlb->dirty = false;
}
