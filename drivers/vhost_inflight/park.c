// SPDX-License-Identifier: GPL-2.0
/*
 * Parked requests: what the disk failed for a reason that may pass, and the driver waits for.
 *
 * A parked request is on its queue's list, in the order in which requests were taken, and in flight
 * like any other: it is in the inflight region, a drain leaves it there, and the end of the owner
 * takes it back.  It may be there for days, so its pages are not pinned.  It gets to the disk again
 * by the queue's next turn, from the retry list, with pages that are pinned then.
 */
#include <linux/list_sort.h>

#include "vinf.h"
#include "trace.h"

/* How much slower than at first a request is tried again by itself. */
#define VINF_HEAL_MAX	64

/*
 * Errors that may pass without the request being another one, and the least policy that parks them.
 * A block device has them by blk_status_to_errno(), a file as they are.  All others are the
 * driver's to see: BLK_STS_MEDIUM, _TARGET, _PROTECTION, _NOTSUPP, _INVAL and what nobody thought
 * of.
 */
static const struct {
	s16 err;
	u8 least;
} vinf_passing[] = {
	{ -ENOSPC,	VHOST_INFLIGHT_ON_ERROR_PARK_ENOSPC },	/* BLK_STS_NOSPC */
	{ -EDQUOT,	VHOST_INFLIGHT_ON_ERROR_PARK_ENOSPC },
	{ -ENOLINK,	VHOST_INFLIGHT_ON_ERROR_PARK },		/* BLK_STS_TRANSPORT */
	{ -ETIMEDOUT,	VHOST_INFLIGHT_ON_ERROR_PARK },		/* BLK_STS_TIMEOUT */
	{ -ENODEV,	VHOST_INFLIGHT_ON_ERROR_PARK },		/* BLK_STS_OFFLINE */
	{ -EAGAIN,	VHOST_INFLIGHT_ON_ERROR_PARK },		/* BLK_STS_AGAIN */
	{ -ENOMEM,	VHOST_INFLIGHT_ON_ERROR_PARK },		/* BLK_STS_RESOURCE */
	{ -EBUSY,	VHOST_INFLIGHT_ON_ERROR_PARK },		/* BLK_STS_DEV_RESOURCE */
	/* BLK_STS_IOERR: dm's error target and an NBD server that is gone give just that. */
	{ -EIO,		VHOST_INFLIGHT_ON_ERROR_PARK },
};

static bool vinf_may_park(const struct vinf_io *io, int err)
{
	const struct vinf_dev *dev = io->q->dev;
	u32 policy = io->req.op == VINF_OP_READ ? READ_ONCE(dev->on_read_error) :
						  READ_ONCE(dev->on_write_error);
	int i;

	if (READ_ONCE(dev->reporting))
		return false;
	for (i = 0; i < ARRAY_SIZE(vinf_passing); i++)
		if (vinf_passing[i].err == err)
			return policy >= vinf_passing[i].least;
	return false;
}

/* Into a list that is in the order in which requests were taken; usually at its end. */
static void vinf_park_insert(struct list_head *list, struct vinf_io *io)
{
	struct vinf_io *before;

	list_for_each_entry_reverse(before, list, link)
		if (before->req.counter < io->req.counter)
			break;
	list_add(&io->link, &before->link);
}

/**
 * vinf_park_arm - see to it that parked requests are tried again by themselves
 * @dev: device
 *
 * Context: any.
 */
void vinf_park_arm(struct vinf_dev *dev)
{
	if (READ_ONCE(dev->retry_ms) && atomic_read(&dev->parked))
		queue_delayed_work(system_wq, &dev->heal_work,
				   msecs_to_jiffies(READ_ONCE(dev->heal_ms)));
}

/**
 * vinf_park_step - a request that the disk failed lets go of what it holds, and waits
 * @io: request with @req.error, the caller's alone; not any more
 *
 * Context: process; waits for nothing.
 */
void vinf_park_step(struct vinf_io *io)
{
	struct vinf_queue *q = io->q;
	struct vinf_dev *dev = q->dev;
	unsigned long flags;
	bool dead, warn = false;
	int err = io->req.error;

	if (io->bounce)
		vinf_bounce_put(io);
	vinf_pin_loosen(io);
	/* For the device, see vinf_queue_done(). */
	rcu_read_lock();
	spin_lock_irqsave(&q->retry_lock, flags);
	/* Under the lock, as in vinf_io_refused(); with the last one released the queue may go. */
	dead = READ_ONCE(q->dead);
	if (!dead) {
		WRITE_ONCE(io->state, VHOST_INFLIGHT_REQUEST_PARKED);
		vinf_park_insert(&q->parked_ios, io);
		WRITE_ONCE(q->nr_parked, q->nr_parked + 1);
		/* One line in the log; events tell of the others. */
		warn = atomic_inc_return(&dev->parked) == 1 && io->tell;
		atomic64_inc(&q->parks);
		trace_vinf_req_park(q, &io->req);
		/* That it did not heal by itself yet is no news. */
		if (io->tell)
			vinf_event(dev, VHOST_INFLIGHT_EVENT_PARKED, q, io, err);
		io->tell = false;
		vinf_park_arm(dev);
		vinf_rest_hint(dev);
	}
	spin_unlock_irqrestore(&q->retry_lock, flags);
	if (warn)
		dev_warn_ratelimited(&dev->device,
				     "the disk failed a request (%d), which is parked; heal the disk, then: vhost-blkctl retry %s\n",
				     err, dev->name);
	rcu_read_unlock();
	if (dead)
		vinf_io_end(io, -ECANCELED);
}

static void vinf_park(struct vinf_io *io, int err)
{
	if (!io->healing || io->req.error != err)
		io->tell = true;
	io->healing = true;
	io->req.error = err;
	io->step = vinf_park_step;
	/* Not the device's own, whose threads may all wait for the disk. */
	vinf_io_queue(io, vinf_wq);
}

/**
 * vinf_io_failed - the disk failed a request
 * @io: request, the caller's alone; not any more
 * @err: -errno
 *
 * Context: any.
 */
void vinf_io_failed(struct vinf_io *io, int err)
{
	if (unlikely(vinf_may_park(io, err)))
		vinf_park(io, err);
	else
		vinf_io_end(io, err);
}

/**
 * vinf_park_take - take the parked requests of a queue
 * @q: queue
 * @list: where to put them
 *
 * Context: vinf_queue.retry_lock held.
 *
 * Return: how many there were.
 */
unsigned int vinf_park_take(struct vinf_queue *q, struct list_head *list)
{
	unsigned int n = q->nr_parked;

	lockdep_assert_held(&q->retry_lock);
	list_splice_tail_init(&q->parked_ios, list);
	WRITE_ONCE(q->nr_parked, 0);
	atomic_sub(n, &q->dev->parked);
	return n;
}

static int vinf_park_cmp(void *priv, const struct list_head *a, const struct list_head *b)
{
	const struct vinf_io *x = list_entry(a, struct vinf_io, link);
	const struct vinf_io *y = list_entry(b, struct vinf_io, link);

	return x->req.counter > y->req.counter;
}

/**
 * vinf_park_sort - put what is to be sent again in the order in which it was taken
 * @q: queue
 *
 * Context: process.
 */
void vinf_park_sort(struct vinf_queue *q)
{
	spin_lock_irq(&q->retry_lock);
	list_sort(NULL, &q->retry, vinf_park_cmp);
	spin_unlock_irq(&q->retry_lock);
}

/* Parked requests of one queue to its retry list; is what comes of it news?  Returns how many. */
static unsigned int vinf_park_retry_queue(struct vinf_queue *q, bool tell)
{
	struct vinf_io *io;
	unsigned int n = 0;
	LIST_HEAD(list);

	spin_lock_irq(&q->retry_lock);
	/* What stands still, or is about to, keeps them. */
	if (!READ_ONCE(q->keep) && !READ_ONCE(q->dead)) {
		n = vinf_park_take(q, &list);
		list_for_each_entry(io, &list, link) {
			io->tries = 0;
			io->must_block = false;
			io->tell = tell;
			WRITE_ONCE(io->state, VHOST_INFLIGHT_REQUEST_QUEUED);
		}
		list_splice_tail(&list, &q->retry);
		if (n)
			list_sort(NULL, &q->retry, vinf_park_cmp);
	}
	spin_unlock_irq(&q->retry_lock);
	if (n)
		vinf_queue_wake(q);
	return n;
}

/**
 * vinf_park_retry - try parked requests again
 * @dev: device
 * @tell: one that fails again is an event
 *
 * Context: process, may sleep.
 *
 * Return: how many were put on their way.
 */
unsigned int vinf_park_retry(struct vinf_dev *dev, bool tell)
{
	unsigned int n = 0;
	int i;

	for (i = 0; i < dev->nr_queues; i++)
		n += vinf_park_retry_queue(&dev->queue[i], tell);
	return n;
}

/**
 * vinf_park_report - have parked requests end with the error that they have
 * @dev: device
 *
 * Context: process, vinf_dev.lock held.
 */
void vinf_park_report(struct vinf_dev *dev)
{
	struct vinf_io *io, *next;
	LIST_HEAD(list);
	int i;

	lockdep_assert_held(&dev->lock);
	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		spin_lock_irq(&q->retry_lock);
		vinf_park_take(q, &list);
		spin_unlock_irq(&q->retry_lock);
	}
	list_for_each_entry_safe(io, next, &list, link) {
		list_del_init(&io->link);
		vinf_io_end(io, io->req.error);
	}
}

/* By itself, and ever more slowly while that does not help. */
void vinf_heal_work(struct work_struct *work)
{
	struct vinf_dev *dev = container_of(to_delayed_work(work), struct vinf_dev, heal_work);
	u32 ms = READ_ONCE(dev->retry_ms);

	if (!ms || !atomic_read(&dev->parked)) {
		WRITE_ONCE(dev->heal_ms, ms);
		return;
	}
	WRITE_ONCE(dev->heal_ms,
		   min_t(u64, 2ULL * READ_ONCE(dev->heal_ms),
			 min_t(u64, (u64)ms * VINF_HEAL_MAX, INT_MAX)));
	vinf_park_retry(dev, false);
}

/**
 * vinf_park_set - what becomes of failed requests changes
 * @dev: device
 * @p: what it is now
 *
 * Parked requests are tried again after the new time; what is not parked any more by the new policy
 * is reported then.
 *
 * Context: process.
 */
void vinf_park_set(struct vinf_dev *dev, const struct vinf_params *p)
{
	WRITE_ONCE(dev->on_read_error, p->on_read_error);
	WRITE_ONCE(dev->on_write_error, p->on_write_error);
	WRITE_ONCE(dev->retry_ms, p->retry_ms);
	WRITE_ONCE(dev->heal_ms, p->retry_ms);
	if (p->retry_ms && atomic_read(&dev->parked))
		mod_delayed_work(system_wq, &dev->heal_work, msecs_to_jiffies(p->retry_ms));
}

/**
 * vinf_park_over - a request that was parked ended
 * @io: request, the caller's alone, @req.error is still the disk's
 * @err: 0; -errno that the driver sees; -ECANCELED when there is nobody to see it
 *
 * Context: any.
 */
void vinf_park_over(struct vinf_io *io, int err)
{
	struct vinf_dev *dev = io->q->dev;

	if (err == -ECANCELED) {
		vinf_event(dev, VHOST_INFLIGHT_EVENT_DROPPED, io->q, io, io->req.error);
		return;
	}
	vinf_event(dev, VHOST_INFLIGHT_EVENT_HEALED, io->q, io, err);
	if (!err)
		WRITE_ONCE(dev->heal_ms, READ_ONCE(dev->retry_ms));
}
