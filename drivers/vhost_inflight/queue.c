// SPDX-License-Identifier: GPL-2.0
/*
 * One queue: from stopped to running and back, and its turns in between.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>

#include "vinf.h"
#include "trace.h"

/* How long a turn waits for others that want the queue's lock. */
#define VINF_YIELD	(HZ / 50 + 1)

/* More than this a plug does not hold. */
#define VINF_MAX_BURST	32

/* What came back after the owner died: nobody is left to tell. */
static void vinf_orphan_work(struct work_struct *work)
{
	struct vinf_queue *q = container_of(work, struct vinf_queue, orphan_work);
	struct vinf_req *req, *next;
	struct llist_node *node;

	/* Queued late: there is a new owner, and what is on the list is its engine's. */
	if (!READ_ONCE(q->dead)) {
		vinf_queue_wake(q);
		return;
	}
	node = llist_del_all(&q->vq.done);
	llist_for_each_entry_safe(req, next, node, done)
		vinf_io_release(vinf_io(req));
}

/* Nothing of ours may come back for a while: look again at what the disk refused. */
static void vinf_retry_work(struct work_struct *work)
{
	vinf_queue_wake(container_of(to_delayed_work(work), struct vinf_queue, retry_work));
}

void vinf_queue_init(struct vinf_queue *q, struct vinf_dev *dev, u16 index)
{
	q->dev = dev;
	q->vq.index = index;
	mutex_init(&q->lock);
	spin_lock_init(&q->wake_lock);
	q->yielded = jiffies;
	INIT_WORK(&q->orphan_work, vinf_orphan_work);
	init_llist_head(&q->vq.done);
	spin_lock_init(&q->retry_lock);
	INIT_LIST_HEAD(&q->retry);
	INIT_LIST_HEAD(&q->parked_ios);
	INIT_DELAYED_WORK(&q->retry_work, vinf_retry_work);
	vinf_queue_forget(q);
}

/* No file is open, nothing is out. */
void vinf_queue_destroy(struct vinf_queue *q)
{
	flush_work(&q->orphan_work);
	vinf_io_pool_destroy(q);
	vinf_blkcg_put(q->blkcg);
	mutex_destroy(&q->lock);
}

/* Nothing is in the region that it would go on with; vinf_dev.lock held. */
void vinf_queue_leave_nothing(struct vinf_queue *q)
{
	u32 i;

	for (i = 0; i < q->pool_num; i++)
		q->pool[i].left = false;
	WRITE_ONCE(q->kept, 0);
	q->resumes = false;
}

/**
 * vinf_queue_forget - what a reset does to a queue that does not run
 * @q: queue
 *
 * What it left in the region is listed for as long as it may go on with it. Eventfds stay bound:
 * vhost keeps them, and QEMU does not bind its kick again after a reset that it did not ask for.
 *
 * Context: vinf_dev.lock held, or the device is not visible yet.
 */
void vinf_queue_forget(struct vinf_queue *q)
{
	if (!q->resumes)
		vinf_queue_leave_nothing(q);
	q->stopped = false;
	WRITE_ONCE(q->keep, VINF_KEEP_NOTHING);
	q->num = q->dev->queue_size;
	q->addr_set = false;
	q->ready = false;
	memset(q->addr, 0, sizeof(q->addr));
	/* Split rings leave the wrap counters alone. */
	q->vq.pos = (struct vinf_pos){ .avail_wrap = 1, .used_wrap = 1 };
	WRITE_ONCE(q->error, 0);
	q->called = false;
	q->vq.told = 0;
	q->vq.handed = 0;
	q->vq.broken = 0;
	q->vq.gone = 0;
	q->vq.depth = 0;
	q->unmapped = false;
}

/*
 * What was kept when the device was reset is gone on with only by who says exactly where it stood:
 * QEMU at 'cont', but no new driver.  A split ring's base has no used position.  vinf_dev.lock
 * held.
 */
bool vinf_queue_resumes(const struct vinf_queue *q)
{
	const struct vinf_pos *pos = &q->vq.pos, *was = &q->resume_pos;

	return q->resumes && q->vq.told && pos->avail == was->avail &&
	       pos->avail_wrap == was->avail_wrap &&
	       (!vinf_ring_layout(q->dev->acked)->wraps ||
		(pos->used == was->used && pos->used_wrap == was->used_wrap));
}

/* A new driver: what was kept for the one before is not its; vinf_dev.lock held. */
void vinf_queue_drop_kept(struct vinf_queue *q)
{
	if (!q->resumes)
		return;
	vinf_queue_leave_nothing(q);
	vinf_region_void(q);
	vinf_event(q->dev, VHOST_INFLIGHT_EVENT_DROPPED, q, NULL, 0);
}

/**
 * vinf_queue_start - hand a queue to the engine
 * @q: queue, configured
 *
 * It takes nothing yet: vinf_quiesce() lets it, and has it look at the rings once, so that what was
 * made available or kicked for before is not missed. What the owner told of the queue counts until
 * then: another queue may fail to start, and this one is started again.
 *
 * Context: process, in the owner's memory, vinf_dev.lock held.
 *
 * Return: 0, also when it runs already; -EBUSY with orphans out; -EOWNERDEAD when the owner is
 * being killed; -ENXIO without an engine; the errnos of vinf_ring_map(); -ENOMEM; -EINVAL when the
 * engine refuses the ring or where it is to start; -EPROTONOSUPPORT, -EOPNOTSUPP, -EMSGSIZE or
 * -EUCLEAN when it refuses the inflight region; -EINTR when the caller is killed.
 */
int vinf_queue_start(struct vinf_queue *q)
{
	struct vinf_dev *dev = q->dev;
	int ret;

	lockdep_assert_held(&dev->lock);
	if (q->running)
		return 0;
	if (atomic_read(&q->out))
		return -EBUSY;
	if (mutex_lock_killable(&q->lock))
		return -EINTR;
	if (!vinf_queue_resumes(q))
		vinf_queue_drop_kept(q);
	ret = vinf_io_pool_init(q, q->num);
	if (ret)
		goto err_unlock;
	/* Nothing is out, so nobody uses the old one. */
	vinf_blkcg_put(q->blkcg);
	q->blkcg = vinf_blkcg_get();
	q->vq.num = q->num;
	q->vq.features = dev->acked;
	q->vq.limits = &dev->limits;
	q->vq.depth = 0;
	WRITE_ONCE(q->vq.polled, 0);
	q->vq.region = vinf_region_queue(dev, q->vq.index);
	q->vq.region_num = dev->queue_size;
	WRITE_ONCE(q->held, true);
	WRITE_ONCE(q->vq.quiesce, 1);
	q->unmapped = false;
	WRITE_ONCE(q->dead, false);
	/* Pairs with vinf_mark_dead(): it sets @dead after this, or we see @dying. */
	smp_mb();
	if (READ_ONCE(dev->dying)) {
		WRITE_ONCE(q->dead, true);
		ret = -EOWNERDEAD;
		goto err_unlock;
	}
	/* An instance that still saw @dead must not take what comes back from here on. */
	flush_work(&q->orphan_work);
	vinf_iotlb_attach(q);
	vinf_log_attach(q);
	ret = vinf_ring_map(q);
	if (ret)
		goto err_iotlb;
	/* The base of a new driver can be the same by chance. */
	if (q->resumes && vinf_ring_moved_on(q, q->resume_pos.used))
		vinf_queue_drop_kept(q);
	/* With the lock held: an exchange of engines finds the queue running, or we find none. */
	q->engine = vinf_engine_get();
	ret = q->engine ? q->engine->start(&q->vq) : -ENXIO;
	vinf_ring_log(q);
	if (ret)
		goto err_engine;
	q->running = true;
	mutex_unlock(&q->lock);
	trace_vinf_queue_start(q);
	return 0;

err_engine:
	vinf_engine_put(q->engine);
	q->engine = NULL;
	vinf_ring_unmap(q);
err_iotlb:
	vinf_log_detach(q);
	vinf_iotlb_detach(q);
err_unlock:
	mutex_unlock(&q->lock);
	return ret;
}

/**
 * vinf_queue_held_back - how many requests have their answer and wait for those before them
 * @q: queue
 * @deadline: in jiffies, bound on waiting for the end of a turn
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: how many; 0 without VIRTIO_F_IN_ORDER, and when a turn took too long.
 */
u32 vinf_queue_held_back(struct vinf_queue *q, unsigned long deadline)
{
	u32 i, n = 0;

	if (!(q->vq.features & BIT_ULL(VIRTIO_F_IN_ORDER)) || vinf_queue_lock_until(q, deadline))
		return 0;
	for (i = 0; q->engine && i < q->vq.num; i++)
		n += q->engine->holds(&q->vq, i);
	n -= min(n, q->vq.depth);
	mutex_unlock(&q->lock);
	return n;
}

/**
 * vinf_queue_leave - note what a queue that is about to be stopped leaves in the region
 * @q: queue that runs, at rest
 *
 * Context: process, q->lock and vinf_dev.lock held.
 */
void vinf_queue_leave(struct vinf_queue *q)
{
	u32 i;

	lockdep_assert_held(&q->lock);
	q->kept = 0;
	for (i = 0; i < q->pool_num && i < q->vq.num; i++) {
		struct vinf_io *io = &q->pool[i];

		/* Those that have their answer may wait for others before them (IN_ORDER). */
		io->left = q->engine ? q->engine->holds(&q->vq, i) : io->req.busy;
		q->kept += io->left;
	}
	q->kept_held = q->kept - min(q->kept, q->vq.depth);
}

/**
 * vinf_queue_stop - take a queue back from the engine
 * @q: queue
 *
 * Its position stays.  What is still out comes back to the done list.
 *
 * Context: process, q->lock and vinf_dev.lock held.
 */
void vinf_queue_stop(struct vinf_queue *q)
{
	lockdep_assert_held(&q->lock);
	if (!q->running)
		return;
	if (q->engine)
		q->engine->stop(&q->vq);
	q->running = false;
	vinf_engine_put(q->engine);
	q->engine = NULL;
	vinf_ring_unmap(q);
	vinf_log_detach(q);
	vinf_iotlb_detach(q);
	trace_vinf_queue_stop(q);
}

/*
 * A mutex that is free for an instant between two turns is nothing to who tries for it. Not for
 * long, they may not get to run; and not often, there may always be somebody.
 */
static void vinf_queue_yield(struct vinf_queue *q)
{
	if (time_before(jiffies, q->yielded + 10 * VINF_YIELD))
		return;
	wait_event_killable_timeout(q->dev->idle_wait,
				    !atomic_read(&q->wanted) || READ_ONCE(q->dead), VINF_YIELD);
	q->yielded = jiffies;
}

/*
 * May its worker, which has the lock, let the engine at it?  Its owner may have closed the device
 * before, and the queue be the next one's, whose addresses mean nothing here.
 */
static bool vinf_queue_served(const struct vinf_queue *q)
{
	lockdep_assert_held(&q->lock);
	return q->engine && q->ring_mm == current->mm && !READ_ONCE(q->held) &&
	       !READ_ONCE(q->parked) && !READ_ONCE(q->dead);
}

/**
 * vinf_queue_turn - one turn of a queue
 * @q: queue
 *
 * If it is not enough, VINF_Q_WORK is set for the next one.
 *
 * Context: the queue's worker.
 */
void vinf_queue_turn(struct vinf_queue *q)
{
	bool more = false;

	if (unlikely(atomic_read(&q->wanted)))
		vinf_queue_yield(q);
	set_bit(VINF_Q_BUSY, &q->flags);
	/*
	 * Pairs with the barrier in vinf_quiesce(): it sees us busy, or we see that we are to rest.
	 */
	smp_mb__after_atomic();
	/* Failing means that the owner is being killed. */
	if (!mutex_lock_killable(&q->lock)) {
		if (vinf_queue_served(q)) {
			u32 started = q->nr_started;
			struct blk_plug plug;

			if (q->unmapped) {
				q->vq.gone = 1;
				vinf_vq_broken(&q->vq, -EFAULT,
					       "its rings are not mapped any more");
			}
			blk_start_plug(&plug);
			/* Tags are had for as many at once; what is left of them goes back. */
			plug.nr_ios = clamp(q->burst, 1, VINF_MAX_BURST);
			vinf_io_retry(q);
			more = q->engine->process(&q->vq);
			vinf_ring_log(q);
			blk_finish_plug(&plug);
			if (q->nr_started != started)
				q->burst = q->nr_started - started;
		}
		mutex_unlock(&q->lock);
	}
	clear_bit(VINF_Q_BUSY, &q->flags);
	/* Pairs with the same barrier: a drain sees the queue at rest, or we see that it waits. */
	smp_mb__after_atomic();
	if (READ_ONCE(q->vq.quiesce) || READ_ONCE(q->dead) || READ_ONCE(q->held) ||
	    READ_ONCE(q->parked) || atomic_read(&q->wanted))
		vinf_rest_hint(q->dev);
	if (more)
		set_bit(VINF_Q_WORK, &q->flags);
}

/**
 * vinf_queue_look - did the driver make something available?
 * @q: queue
 * @arm: ask it to kick from now on, and look once more
 *
 * It has the lock no longer than that takes, and only with @arm waits for it: whoever else wants it
 * ends the polling.
 *
 * Context: the queue's worker.
 *
 * Return: 1 if so, 0 if not; -EAGAIN when there is nothing to look at now, and who sees to it that
 * there is wakes the worker.
 */
int vinf_queue_look(struct vinf_queue *q, bool arm)
{
	int ret = -EAGAIN;

	if (arm ? mutex_lock_killable(&q->lock) :
		  atomic_read(&q->wanted) || !mutex_trylock(&q->lock))
		return ret;
	if (vinf_queue_served(q) && !q->unmapped && !q->vq.broken && !READ_ONCE(q->vq.quiesce)) {
		ret = q->engine->pending(&q->vq, arm);
		if (arm)
			vinf_ring_log(q);
	}
	mutex_unlock(&q->lock);
	return ret;
}

/**
 * vinf_queue_lock_until - take a queue's lock, but not whatever it takes
 * @q: queue
 * @deadline: in jiffies
 *
 * A turn can be in a page fault that userspace is in no hurry to answer.
 *
 * Context: process, may sleep.
 *
 * Return: 0 with the lock held; -ETIMEDOUT; -EINTR.
 */
int vinf_queue_lock_until(struct vinf_queue *q, unsigned long deadline)
{
	int ret = 0;

	if (mutex_trylock(&q->lock))
		return 0;
	atomic_inc(&q->wanted);
	/* Pairs with the barrier after a turn: it tells us of its end, or we find the lock free. */
	smp_mb__after_atomic();
	while (!mutex_trylock(&q->lock)) {
		if (time_after_eq(jiffies, deadline))
			ret = -ETIMEDOUT;
		else if (fatal_signal_pending(current))
			ret = -EINTR;
		if (ret)
			break;
		/* Ioctls, which may have it, too, tell nobody. */
		if (test_bit(VINF_Q_BUSY, &q->flags))
			wait_event_killable_timeout(q->dev->idle_wait,
						    !test_bit(VINF_Q_BUSY, &q->flags), 1);
		else
			schedule_timeout_killable(1);
	}
	if (atomic_dec_and_test(&q->wanted))
		wake_up_all(&q->dev->idle_wait);
	return ret;
}

/* Where the queue stands, for people; takes no lock. */
enum vhost_inflight_queue_state vinf_queue_state(struct vinf_queue *q)
{
	if (READ_ONCE(q->error))
		return VHOST_INFLIGHT_QUEUE_ERROR;
	if (READ_ONCE(q->running))
		return READ_ONCE(q->vq.quiesce) ? VHOST_INFLIGHT_QUEUE_DRAINING :
						  VHOST_INFLIGHT_QUEUE_RUNNING;
	switch (READ_ONCE(q->dev->stand)) {
	case VINF_SUSPENDED:
	case VINF_STOPPED:
		return VHOST_INFLIGHT_QUEUE_STOPPED;
	default:
		return VHOST_INFLIGHT_QUEUE_OFF;
	}
}

/**
 * vinf_req_submit - send a request to the disk
 * @vq: queue
 * @req: request of its pool, filled by the engine
 * @segs: its data in guest memory (READ, WRITE), whole; not needed after the call
 * @nr: how many
 * @ranges: of a DISCARD, ZEROES or ERASE, @req->nr_ranges of them; not needed after the call
 *
 * The request comes back on the queue's done list exactly once, with an errno in @req->error if it
 * failed.
 *
 * Context: inside &vinf_engine_ops.process.
 *
 * Return: 0; -EFAULT when a segment is not mapped as it must be, and the request does not come
 * back.
 */
int vinf_req_submit(struct vinf_vq *vq, struct vinf_req *req, const struct vinf_seg *segs,
		    unsigned int nr, const struct vinf_range *ranges)
{
	struct vinf_queue *q = vinf_queue(vq);

	lockdep_assert_held(&q->lock);
	trace_vinf_submit(q, req);
	return vinf_io_start(vinf_io(req), segs, nr, ranges);
}

/**
 * vinf_req_finish - let go of what a request held
 * @vq: queue
 * @req: request that came back
 *
 * To be called for each request taken from the done list, before it is published.
 *
 * Context: inside &vinf_engine_ops.process or &vinf_engine_ops.stop.
 */
void vinf_req_finish(struct vinf_vq *vq, struct vinf_req *req)
{
	struct vinf_queue *q = vinf_queue(vq);

	lockdep_assert_held(&q->lock);
	if (unlikely(q->log))
		vinf_log_read(q->log, vinf_io(req));
	vinf_io_release(vinf_io(req));
}

/**
 * vinf_vq_call - notify the driver
 * @vq: queue
 *
 * Context: inside &vinf_engine_ops.process, or process with vinf_queue.lock held.
 */
void vinf_vq_call(struct vinf_vq *vq)
{
	struct vinf_queue *q = vinf_queue(vq);

	lockdep_assert_held(&q->lock);
	vq->stat[VINF_STAT_CALLS]++;
	trace_vinf_call(q);
	q->called = true;
	if (q->call)
		eventfd_signal(q->call);
}

/**
 * vinf_vq_broken - the driver broke the ring
 * @vq: queue
 * @err: -errno that says how
 * @what: the same for people, completes "queue N is broken: "
 *
 * Nothing more is taken from the queue, and the device wants a reset (virtio 1.4, 2.1.2).  What was
 * taken before is returned as ever.  Told once in the log for each owner: a guest may break its
 * device as often as it likes.
 *
 * Context: inside &vinf_engine_ops.process.
 */
void vinf_vq_broken(struct vinf_vq *vq, int err, const char *what)
{
	struct vinf_queue *q = vinf_queue(vq);
	struct vinf_dev *dev = q->dev;

	lockdep_assert_held(&q->lock);
	if (vq->broken)
		return;
	vq->broken = 1;
	/* The owner is being killed, which fails every access to its memory: nothing to report. */
	if (fatal_signal_pending(current)) {
		vq->gone = 1;
		return;
	}
	WRITE_ONCE(q->error, err);
	atomic64_inc(&q->broken);
	trace_vinf_queue_broken(q, err);
	if (!xchg(&dev->told, true))
		dev_warn_ratelimited(&dev->device,
				     "queue %u is broken: %s (%d); the guest must reset the device\n",
				     vq->index, what, err);
	atomic_set(&dev->needs_reset, 1);
	vinf_event(dev, VHOST_INFLIGHT_EVENT_BROKEN, q, NULL, err);
	if (q->err)
		eventfd_signal(q->err);
	vinf_dev_config_changed(dev);
}
