// SPDX-License-Identifier: GPL-2.0
/*
 * Requests on their way to the disk and back.
 *
 *	vinf_io_start()        pins the pages, then one of
 *	  vinf_io_submit()     straight to the disk, without blocking
 *	  vinf_io_block()      in the device's workqueue, where it may block
 *	  vinf_bounce_start()  there too, in chunks: the disk cannot take the pages as they are
 *	vinf_io_refused()      the disk has no room: on the retry list, until vinf_io_retry()
 *	vinf_io_window_done()  a chunk or all of it is done
 *	vinf_io_failed()       the disk failed it: parked, until somebody tries again, or the end
 *	vinf_io_end()          on the done list; exactly once for each request that was started
 *	vinf_io_release()      unpins the pages
 *
 * The one rule about blocking: the worker is a thread of the VMM, and a disk that does not answer
 * must not make the VMM unkillable.  So what a worker submits has REQ_NOWAIT and fits the disk's
 * limits, and what cannot be asked that way goes to the workqueue.  A request the disk refuses is
 * not lost and not blocked on: it stays ours, on the retry list, from where it can be taken back
 * when the owner dies.
 */
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "vinf.h"

/*
 * Passes in a row that were refused, the last one while nothing of the queue was at the disk: it
 * cannot do this one without blocking, or somebody else takes all the room.  With the back-off this
 * is after 63 ms.
 */
#define VINF_MAX_TRIES		6
/* Back-off of retries when nothing of ours comes back that would trigger one. */
#define VINF_RETRY_MS_MIN	1
#define VINF_RETRY_MS_MAX	64

/* ---- what a stop that preserves keeps ---- */

/*
 * Is nothing more to be sent?  Then the request is on the retry list, and not the caller's any
 * more.  One with a bounce buffer begins anew when it goes on: others may need the buffer.
 */
static bool vinf_io_kept(struct vinf_io *io)
{
	struct vinf_queue *q = io->q;
	unsigned long flags;
	bool dead;

	if (likely(READ_ONCE(q->keep) != VINF_KEEP_ALL))
		return false;
	if (io->bounce)
		vinf_bounce_put(io);
	spin_lock_irqsave(&q->retry_lock, flags);
	dead = READ_ONCE(q->dead);
	if (!dead) {
		WRITE_ONCE(io->state, VHOST_INFLIGHT_REQUEST_QUEUED);
		list_add_tail(&io->link, &q->retry);
		/* Under the lock: with the last one released the queue may go. */
		vinf_rest_hint(q->dev);
		/*
		 * The stop may just have been called off: vinf_unquiesce() wakes a worker that
		 * finds the request here, or we see it.
		 */
		smp_mb();
		if (READ_ONCE(q->keep) != VINF_KEEP_ALL)
			queue_delayed_work(system_wq, &q->retry_work, 0);
	}
	spin_unlock_irqrestore(&q->retry_lock, flags);
	if (dead)
		vinf_io_end(io, -ECANCELED);
	return true;
}

/**
 * vinf_io_keep - take back what has not been sent
 * @q: queue whose @keep is VINF_KEEP_ALL
 *
 * May be called again.
 *
 * Context: process, vinf_dev.lock held.
 */
void vinf_io_keep(struct vinf_queue *q)
{
	struct vinf_io *io, *next;
	LIST_HEAD(list);
	u32 i;

	vinf_bounce_cancel(q, &list);
	list_for_each_entry_safe(io, next, &list, link) {
		list_del_init(&io->link);
		if (!vinf_io_kept(io))
			vinf_bounce_start(io);
	}
	/* All of the workqueue's threads may be waiting for the disk. */
	for (i = 0; i < q->pool_num; i++) {
		io = &q->pool[i];
		/* It is about to be parked, and that waits for nothing. */
		if (READ_ONCE(io->step) == vinf_park_step)
			continue;
		if (cancel_work(&io->work) && !vinf_io_kept(io))
			vinf_io_defer(io, io->step);
	}
}

/* Those of a queue that are ours and may be left in the region, by its @keep. */
unsigned int vinf_io_at_rest(struct vinf_queue *q)
{
	unsigned int n = 0;

	if (!READ_ONCE(q->keep))
		return 0;
	spin_lock_irq(&q->retry_lock);
	n = q->nr_parked;
	if (READ_ONCE(q->keep) == VINF_KEEP_ALL)
		n += list_count_nodes(&q->retry);
	spin_unlock_irq(&q->retry_lock);
	return n;
}

/**
 * vinf_io_drop - let go of what is left in the region
 * @q: queue at rest by vinf_io_at_rest()
 * @event: what is to be said of parked requests
 *
 * Context: process, vinf_queue.lock and vinf_dev.lock held.
 */
void vinf_io_drop(struct vinf_queue *q, u32 event)
{
	struct vinf_io *io, *next;
	LIST_HEAD(list);

	lockdep_assert_held(&q->lock);
	spin_lock_irq(&q->retry_lock);
	vinf_park_take(q, &list);
	list_splice_tail_init(&q->retry, &list);
	spin_unlock_irq(&q->retry_lock);
	list_for_each_entry_safe(io, next, &list, link) {
		list_del_init(&io->link);
		if (io->healing)
			vinf_event(q->dev, event, q, io, io->req.error);
		/* A part of a read may have been done. */
		if (unlikely(q->log))
			vinf_log_read(q->log, io);
		if (io->bounce)
			vinf_bounce_put(io);
		io->req.busy = 0;
		vinf_io_release(io);
	}
}

/* ---- what may block ---- */

static void vinf_io_work(struct work_struct *work)
{
	struct vinf_io *io = container_of(work, struct vinf_io, work);

	if (READ_ONCE(io->q->dead)) {
		vinf_io_end(io, -ECANCELED);
		return;
	}
	/* A chunk that is back has to be copied, and is kept before the next one is sent. */
	if (io->step != vinf_bounce_step && io->step != vinf_park_step && vinf_io_kept(io))
		return;
	/* The limits of the owner's cgroup hold for what a thread of ours does for it. */
	kthread_associate_blkcg(io->q->blkcg);
	io->step(io);
	kthread_associate_blkcg(NULL);
	/* @io may be gone or in use again. */
}

/**
 * vinf_io_queue - have a request's step done by a workqueue
 * @io: request with @step, the caller's alone; not any more
 * @wq: workqueue
 *
 * Context: any.
 */
void vinf_io_queue(struct vinf_io *io, struct workqueue_struct *wq)
{
	/*
	 * It is nobody else's, so it is not queued. But cancel_work() in vinf_io_keep() and
	 * vinf_io_cancel() claims also an idle item for an instant, with interrupts off.
	 */
	while (!queue_work(wq, &io->work))
		cpu_relax();
}

/**
 * vinf_io_defer - go on with a request in the device's workqueue
 * @io: request, the caller's alone; not any more
 * @step: what to do there, unless the owner is dead by then
 *
 * Context: any.
 */
void vinf_io_defer(struct vinf_io *io, void (*step)(struct vinf_io *io))
{
	io->step = step;
	vinf_io_queue(io, io->q->dev->wq);
}

static void vinf_io_submit_blocking(struct vinf_io *io)
{
	vinf_io_submit(io, true);
}

/**
 * vinf_io_block - submit a request from the device's workqueue, where it may block
 * @io: request, the caller's alone; not any more
 *
 * Context: any.
 */
void vinf_io_block(struct vinf_io *io)
{
	if (!io->deferred) {
		io->deferred = true;
		atomic64_inc(&io->q->deferred);
	}
	vinf_io_defer(io, vinf_io_submit_blocking);
}

/*
 * Regular files always: no filesystem of 6.12 passes IOCB_NOWAIT on as REQ_NOWAIT (iomap does not),
 * so that a write which did not have to wait for the filesystem still waits for a free tag of the
 * disk, and no signal ends that.
 */
static bool vinf_io_may_block(const struct vinf_io *io)
{
	const struct vinf_backing *bk = &io->q->dev->backing;

	if (!bk->nowait || READ_ONCE(io->must_block))
		return true;
	switch (io->req.op) {
	case VINF_OP_READ:
	case VINF_OP_WRITE:
		return false;
	case VINF_OP_FLUSH:
		/* MD waits for the flush before, whatever the flags say. */
		return bdev_test_flag(bk->bdev, BD_HAS_SUBMIT_BIO);
	default:
		return true;
	}
}

/**
 * vinf_io_submit - send the window of a request to the disk
 * @io: request, the caller's alone; not any more
 * @may_block: the caller can wait for the disk; else somebody else is asked when that can be
 * necessary
 *
 * Context: process.
 */
void vinf_io_submit(struct vinf_io *io, bool may_block)
{
	bool data = vinf_io_has_data(io);
	bool file = !io->q->dev->backing.bdev;

	if (vinf_io_kept(io))
		return;
	if (!may_block && vinf_io_may_block(io)) {
		vinf_io_block(io);
		return;
	}
	WRITE_ONCE(io->state, VHOST_INFLIGHT_REQUEST_SUBMITTED);
	if (data)
		file ? vinf_file_submit(io) : vinf_bdev_submit(io);
	else if (file)
		vinf_file_control(io);
	else if (io->req.op == VINF_OP_FLUSH)
		vinf_bdev_submit(io);
	else
		vinf_bdev_ranges(io);
}

/* ---- the way back ---- */

/**
 * vinf_io_end - a request is done with
 * @io: request, the caller's alone; not any more
 * @err: 0 or -errno; -ECANCELED when it was not done because the owner is dead
 *
 * Context: any.
 */
void vinf_io_end(struct vinf_io *io, int err)
{
	/* Ours alone to say: a backing's own -ECANCELED is an error like any other. */
	if (err == -ECANCELED && !io->cancelled && !READ_ONCE(io->q->dead))
		err = -EIO;
	if (unlikely(io->healing))
		vinf_park_over(io, err);
	io->req.error = err;
	WRITE_ONCE(io->state, VHOST_INFLIGHT_REQUEST_DONE);
	if (io->bounce)
		vinf_bounce_put(io);
	vinf_queue_done(io->q, io);
}

/**
 * vinf_io_window_done - the disk did all of a request's window
 * @io: request, the caller's alone; not any more
 *
 * Context: any.
 */
void vinf_io_window_done(struct vinf_io *io)
{
	if (io->bounce)
		vinf_io_defer(io, vinf_bounce_step);
	else
		vinf_io_end(io, 0);
}

/* ---- what the disk refused ---- */

/**
 * vinf_io_refused - the disk has no room for a request, or not for all of it
 * @io: request, the caller's alone; not any more
 * @progress: a part of it was done, so there may be room now
 *
 * It is submitted again by the queue's next turn.  Any completion causes one; the timer is for when
 * there is none.
 *
 * Context: any.
 */
void vinf_io_refused(struct vinf_io *io, bool progress)
{
	struct vinf_queue *q = io->q;
	unsigned int ms = READ_ONCE(q->retry_ms) ?: VINF_RETRY_MS_MIN;
	unsigned long flags;
	bool dead;

	if (vinf_io_kept(io))
		return;
	WRITE_ONCE(io->state, VHOST_INFLIGHT_REQUEST_REFUSED);
	spin_lock_irqsave(&q->retry_lock, flags);
	/* Under the lock: vinf_io_cancel() comes after @dead and takes what is on the list. */
	dead = READ_ONCE(q->dead);
	if (!dead) {
		list_add_tail(&io->link, &q->retry);
		/*
		 * The timer is armed before anybody else can have the request: with the last one
		 * released, the queue may go away.
		 */
		if (progress)
			mod_delayed_work(system_wq, &q->retry_work, 0);
		else
			queue_delayed_work(system_wq, &q->retry_work, msecs_to_jiffies(ms));
	}
	spin_unlock_irqrestore(&q->retry_lock, flags);
	if (dead)
		vinf_io_end(io, -ECANCELED);
}

/* Nobody is left to be told, and nothing behind it may get to the disk. */
static void vinf_io_cancelled(struct vinf_io *io)
{
	if (!READ_ONCE(io->q->dead))
		vinf_dev_owner_died(io->q->dev);
	io->cancelled = true;
}

static bool vinf_io_retry_one(struct vinf_io *io, bool alone)
{
	struct vinf_queue *q = io->q;
	int ret;

	if (READ_ONCE(q->dead)) {
		vinf_io_end(io, -ECANCELED);
		return true;
	}
	ret = vinf_pin_again(io);
	if (ret == -ECANCELED)
		vinf_io_cancelled(io);
	if (ret) {
		vinf_io_failed(io, ret);
		return true;
	}
	if (alone && io->tries > VINF_MAX_TRIES) {
		WRITE_ONCE(io->must_block, true);
		WRITE_ONCE(q->retry_ms, VINF_RETRY_MS_MIN);
	}
	if (io->misaligned && !io->bounce) {
		/* It was parked or kept, and begins anew. */
		io->offset = 0;
		vinf_bounce_start(io);
		return true;
	}
	atomic64_inc(&q->retried);
	vinf_io_submit(io, false);
	/* Refused again, and then so would be the others. */
	return list_empty_careful(&q->retry);
}

/**
 * vinf_io_retry - submit again what the disk refused
 * @q: queue
 *
 * Context: process, the queue's worker at the start of a turn, vinf_queue.lock held.
 */
void vinf_io_retry(struct vinf_queue *q)
{
	LIST_HEAD(list);
	struct vinf_io *io;
	bool alone;

	lockdep_assert_held(&q->lock);
	if (list_empty_careful(&q->retry) || READ_ONCE(q->keep) == VINF_KEEP_ALL)
		return;
	spin_lock_irq(&q->retry_lock);
	list_splice_init(&q->retry, &list);
	spin_unlock_irq(&q->retry_lock);

	/*
	 * Nothing of this queue is at the disk or on its way back: all that was started and not
	 * released is here, or parked.
	 */
	alone = list_count_nodes(&list) + READ_ONCE(q->nr_parked) == atomic_read(&q->out);
	while ((io = list_first_entry_or_null(&list, struct vinf_io, link))) {
		list_del_init(&io->link);
		if (!vinf_io_retry_one(io, alone))
			break;
	}
	if (list_empty_careful(&q->retry)) {
		WRITE_ONCE(q->retry_ms, VINF_RETRY_MS_MIN);
		return;
	}
	WRITE_ONCE(q->retry_ms, clamp(2 * q->retry_ms, VINF_RETRY_MS_MIN, VINF_RETRY_MS_MAX));
	if (list_empty(&list))
		return;
	spin_lock_irq(&q->retry_lock);
	list_splice_tail(&list, &q->retry);
	queue_delayed_work(system_wq, &q->retry_work, msecs_to_jiffies(q->retry_ms));
	spin_unlock_irq(&q->retry_lock);
	/* The owner died while we had the list: whoever cancelled did not find these. */
	if (READ_ONCE(q->dead))
		vinf_io_cancel(q);
}

/* How many requests of a queue wait for room at the disk. */
unsigned int vinf_io_unsent(struct vinf_queue *q)
{
	unsigned int n;

	spin_lock_irq(&q->retry_lock);
	n = list_count_nodes(&q->retry);
	spin_unlock_irq(&q->retry_lock);
	return n;
}

/**
 * vinf_io_cancel - take back what was not submitted
 * @q: queue, @dead
 *
 * Retries, parked requests, those that wait for a bounce buffer and work that has not begun come
 * back with -ECANCELED.  May be called again; what was about to go on one of the lists looks at
 * @dead first.
 *
 * Context: process; the pool stays.
 */
void vinf_io_cancel(struct vinf_queue *q)
{
	struct vinf_io *io, *next;
	LIST_HEAD(list);
	u32 i;

	WARN_ON_ONCE(!READ_ONCE(q->dead));
	spin_lock_irq(&q->retry_lock);
	list_splice_init(&q->retry, &list);
	vinf_park_take(q, &list);
	spin_unlock_irq(&q->retry_lock);
	vinf_bounce_cancel(q, &list);
	list_for_each_entry_safe(io, next, &list, link) {
		list_del_init(&io->link);
		vinf_io_end(io, -ECANCELED);
	}
	/* All of the workqueue's threads may be waiting for the disk. */
	for (i = 0; i < q->pool_num; i++)
		if (cancel_work(&q->pool[i].work))
			vinf_io_end(&q->pool[i], -ECANCELED);
}

/* ---- start and release ---- */

/**
 * vinf_io_start - take a request that needs the disk
 * @io: request, filled in by the engine
 * @segs: its data pages (READ, WRITE)
 * @nr: how many
 * @ranges: what it is about (DISCARD, ZEROES, ERASE), &vinf_req.nr_ranges of them
 *
 * A request that was taken comes back through vinf_queue_done() exactly once, in whatever way it
 * ends, maybe before this returns, and is then due for vinf_io_release().
 *
 * &vinf_req.error is 0; -EFAULT, -ENOMEM, -E2BIG or -EINVAL when the host could not provide its
 * pages (see vinf_pin()); -EROFS; -EOPNOTSUPP when the backing cannot do it; -ECANCELED when the
 * owner is dead or being killed, and then nothing may be published; else what the disk said.
 *
 * Context: process, the queue's worker in the owner's memory, vinf_queue.lock held.
 *
 * Return: 0, the request was taken; -EFAULT, the driver gave an address that is not in the IOTLB or
 * not with the right permission, and nothing happened.
 */
int vinf_io_start(struct vinf_io *io, const struct vinf_seg *segs, unsigned int nr,
		  const struct vinf_range *ranges)
{
	struct vinf_queue *q = io->q;
	bool data = vinf_io_has_data(io);
	int ret, err = 0;

	lockdep_assert_held(&q->lock);
	if (WARN_ON_ONCE(io->started))
		return -EFAULT;
	io->offset = 0;
	io->chunk = data ? io->req.len : 0;
	io->moved = 0;
	io->status = 0;
	io->tries = 0;
	io->misaligned = false;
	io->must_block = false;
	io->deferred = false;
	io->plain = false;
	io->healing = false;
	io->state = VHOST_INFLIGHT_REQUEST_QUEUED;
	if (data) {
		ret = vinf_pin(io, segs, nr, &err);
		if (ret)
			return ret;
	} else if (io->req.nr_ranges > VINF_MAX_RANGES || (io->req.nr_ranges && !ranges)) {
		err = -EINVAL;
	} else if (io->req.nr_ranges) {
		memcpy(io->ranges, ranges, io->req.nr_ranges * sizeof(*ranges));
	}

	io->started = true;
	q->nr_started++;
	atomic_inc(&q->out);
	/* The engine has checked, but it is another module, and this is somebody's data. */
	if (vinf_io_changes(io) && q->dev->limits.read_only)
		err = -EROFS;
	/*
	 * The pages may be the first to tell of the owner's death. What does not get to the disk is
	 * a successor's to begin with, so nothing behind it may.
	 */
	io->cancelled = false;
	if (READ_ONCE(q->dead))
		err = -ECANCELED;
	if (err == -ECANCELED)
		vinf_io_cancelled(io);
	if (err || (data && !io->req.len))
		vinf_io_end(io, err);
	else if (io->misaligned)
		vinf_bounce_start(io);
	else if (!list_empty_careful(&q->retry) && !vinf_io_may_block(io))
		/* Those before it wait for room, too. */
		vinf_io_refused(io, false);
	else
		vinf_io_submit(io, false);
	return 0;
}

/**
 * vinf_io_release - let go of a request
 * @io: request that came back; one that was never started has nothing to let go of
 *
 * Wakes whoever waits for the queue to have nothing out.
 *
 * Context: process.
 */
void vinf_io_release(struct vinf_io *io)
{
	struct vinf_queue *q = io->q;

	if (!io->started)
		return;
	vinf_unpin(io);
	io->started = false;
	/*
	 * The last access to @io: with none out the pool may go. A full barrier, as
	 * waitqueue_active() wants one: who waits has queued itself before it looks at @out.
	 */
	if (atomic_dec_and_test(&q->out) && waitqueue_active(&q->dev->idle_wait))
		wake_up_all(&q->dev->idle_wait);
}

/* ---- the pool ---- */

/**
 * vinf_io_pool_init - make the requests of a queue
 * @q: queue, stopped
 * @num: how many, the size of its ring
 *
 * A pool that is there already is used again.
 *
 * Context: process, vinf_dev.lock and vinf_queue.lock held.
 *
 * Return: 0; -ENOMEM; -EBUSY while requests are out.
 */
int vinf_io_pool_init(struct vinf_queue *q, u16 num)
{
	u32 i;

	if (atomic_read(&q->out))
		return -EBUSY;
	if (q->pool && q->pool_num != num)
		vinf_io_pool_destroy(q);
	if (!q->pages)
		q->pages = kvmalloc_array(VINF_SCRATCH_PAGES, sizeof(*q->pages),
					  GFP_KERNEL_ACCOUNT);
	if (!q->pages)
		return -ENOMEM;
	if (!q->pool) {
		q->pool = kvcalloc(num, sizeof(*q->pool), GFP_KERNEL_ACCOUNT);
		if (!q->pool)
			return -ENOMEM;
		q->pool_num = num;
		for (i = 0; i < num; i++) {
			INIT_WORK(&q->pool[i].work, vinf_io_work);
			INIT_LIST_HEAD(&q->pool[i].link);
		}
	}
	for (i = 0; i < num; i++) {
		struct vinf_io *io = &q->pool[i];

		memset(&io->req, 0, sizeof(io->req));
		io->req.id = i;
		io->q = q;
		io->bv = io->inline_bv;
		io->iova = io->inline_iova;
		io->nr_bv = 0;
		io->max_bv = VINF_INLINE_BVECS;
		io->map = NULL;
		io->segs = NULL;
		io->bounce = NULL;
		io->started = false;
		io->left = false;
	}
	q->retry_ms = VINF_RETRY_MS_MIN;
	q->vq.reqs = q->pool;
	q->vq.req_stride = sizeof(*q->pool);
	return 0;
}

/**
 * vinf_io_pool_destroy - free the requests of a queue
 * @q: queue, stopped, nothing out; may have no pool
 *
 * Context: process.
 */
void vinf_io_pool_destroy(struct vinf_queue *q)
{
	if (WARN_ON_ONCE(atomic_read(&q->out)))
		return;
	cancel_delayed_work_sync(&q->retry_work);
	q->vq.reqs = NULL;
	kvfree(q->pool);
	q->pool = NULL;
	q->pool_num = 0;
	kvfree(q->pages);
	q->pages = NULL;
}

int vinf_io_module_init(void)
{
	return vinf_bdev_init();
}

void vinf_io_module_exit(void)
{
	/* The tail of a completion in an interrupt. */
	synchronize_rcu();
	vinf_bdev_exit();
}
