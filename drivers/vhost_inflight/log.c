// SPDX-License-Identifier: GPL-2.0
/*
 * The log of what the device writes to guest memory: a bit per page, for who copies that memory
 * while the device runs.
 *
 * A bit is set after the write that it stands for, so that who clears it and then copies the page
 * either has what was written or finds the bit set again:
 *
 *	data of a READ		vinf_log_read(), when the request is back and before it is used
 *	status bytes, ids	vinf_copy_to()
 *	rings			vinf_ring_log(), at the end of a turn, all that the device may write
 *
 * Each queue that runs holds the log as it holds its picture of the IOTLB, and with the queue's
 * lock held all of the above looks at that; off, it is a pointer that is NULL.
 */
#include <linux/slab.h>

#include "vinf.h"

/* Bits for 8 TiB. All of it is mapped and stays in memory. */
#define VINF_LOG_MAX_SIZE	(256 << 20)

/**
 * struct vinf_log - a log
 * @ref: the device, and each queue that runs
 * @shm: the bitmap
 * @first: page of bit 0: IOVA >> VHOST_INFLIGHT_LOG_SHIFT
 * @nr: bits
 */
struct vinf_log {
	refcount_t ref;
	struct vinf_shm shm;
	u64 first, nr;
};

static_assert(BITS_PER_LONG == 64);

void vinf_log_put(struct vinf_log *log)
{
	if (!log || !refcount_dec_and_test(&log->ref))
		return;
	vinf_shm_put(&log->shm);
	kfree(log);
}

/**
 * vinf_log_covers - is there a bit for each page of a range?
 * @log: log, or NULL, to which nothing has to be said
 * @iova: first byte
 * @last: last byte
 */
bool vinf_log_covers(const struct vinf_log *log, u64 iova, u64 last)
{
	if (!log)
		return true;
	return iova >> VHOST_INFLIGHT_LOG_SHIFT >= log->first &&
	       (last >> VHOST_INFLIGHT_LOG_SHIFT) - log->first < log->nr;
}

/**
 * vinf_log_mark - something was written
 * @log: log
 * @iova: where
 * @len: bytes, not 0
 *
 * All that is mapped is covered, see vinf_log_set(). What is not was there when the request was
 * taken, and is nobody's memory any more.
 *
 * Context: any; whoever wrote.
 */
void vinf_log_mark(struct vinf_log *log, u64 iova, u64 len)
{
	u64 page = max(iova >> VHOST_INFLIGHT_LOG_SHIFT, log->first);
	u64 last = min((iova + len - 1) >> VHOST_INFLIGHT_LOG_SHIFT, log->first + log->nr - 1);

	/* Partner: who clears the bit and reads the page behind that. */
	smp_mb__before_atomic();
	for (; page <= last; page++)
		set_bit(page - log->first, log->shm.vaddr);
}

/* The data of a request that is back, in so far as it is the driver's memory that was written. */
void vinf_log_read(struct vinf_log *log, const struct vinf_io *io)
{
	unsigned int i;

	if (io->req.op != VINF_OP_READ)
		return;
	for (i = 0; i < io->nr_bv; i++)
		vinf_log_mark(log, io->iova[i], io->bv[i].bv_len);
	/* Of one that is parked a part may have been done. */
	for (i = 0; io->segs && i < io->nr_segs; i++)
		vinf_log_mark(log, io->segs[i].addr, io->segs[i].len);
}

/* Give a queue the device's log; q->lock held. */
void vinf_log_attach(struct vinf_queue *q)
{
	struct vinf_log *old = q->log;

	lockdep_assert_held(&q->lock);
	q->log = q->dev->log;
	if (q->log)
		refcount_inc(&q->log->ref);
	vinf_log_put(old);
}

void vinf_log_detach(struct vinf_queue *q)
{
	vinf_log_put(q->log);
	q->log = NULL;
}

static struct vinf_log *vinf_log_new(const struct vhost_inflight_log *arg)
{
	struct vinf_log *log;
	struct file *file;
	int ret;

	if (!arg->mmap_size || !IS_ALIGNED(arg->mmap_size, sizeof(u64)) ||
	    arg->mmap_size > VINF_LOG_MAX_SIZE || !PAGE_ALIGNED(arg->mmap_offset) ||
	    !IS_ALIGNED(arg->iova, 1ULL << VHOST_INFLIGHT_LOG_SHIFT))
		return ERR_PTR(-EINVAL);
	file = vinf_shm_fget(arg->fd, arg->mmap_offset, arg->mmap_size);
	if (IS_ERR(file))
		return ERR_CAST(file);
	log = kzalloc(sizeof(*log), GFP_KERNEL_ACCOUNT);
	if (!log) {
		fput(file);
		return ERR_PTR(-ENOMEM);
	}
	ret = vinf_shm_open(&log->shm, file, arg->mmap_offset, arg->mmap_size);
	if (ret) {
		kfree(log);
		return ERR_PTR(ret);
	}
	refcount_set(&log->ref, 1);
	log->first = arg->iova >> VHOST_INFLIGHT_LOG_SHIFT;
	log->nr = min(arg->mmap_size * BITS_PER_BYTE,
		      (U64_MAX >> VHOST_INFLIGHT_LOG_SHIFT) - log->first + 1);
	return log;
}

/**
 * vinf_log_set - VHOST_INFLIGHT_SET_LOG
 * @dev: device
 * @arg: what userspace passed
 *
 * When it returns 0 all queues use the new log, and what is written from then on is in it, also for
 * requests that were taken before.
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: see the ioctl.
 */
int vinf_log_set(struct vinf_dev *dev, const struct vhost_inflight_log *arg)
{
	struct vinf_log *log = NULL, *old = dev->log;
	int i, ret = 0;

	lockdep_assert_held(&dev->lock);
	if (arg->fd != -1) {
		if (!(dev->backend_acked & BIT_ULL(VHOST_INFLIGHT_BACKEND_F_LOG)))
			return -EOPNOTSUPP;
		log = vinf_log_new(arg);
		if (IS_ERR(log))
			return PTR_ERR(log);
		if (!vinf_iotlb_logged(&dev->iotlb, log)) {
			vinf_log_put(log);
			return -ERANGE;
		}
	}
	dev->log = log;
	for (i = 0; i < dev->nr_queues && !ret; i++) {
		struct vinf_queue *q = &dev->queue[i];

		if (!q->running)
			continue;
		/* Only who is being killed leaves queues behind, and its device with it. */
		ret = mutex_lock_killable(&q->lock);
		if (ret)
			break;
		vinf_log_attach(q);
		mutex_unlock(&q->lock);
	}
	vinf_log_put(old);
	return ret;
}
