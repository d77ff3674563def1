// SPDX-License-Identifier: GPL-2.0
/*
 * Where a device stands: draining, starting, the status byte, SUSPEND.
 */
#include <linux/sched/signal.h>

#include "vinf.h"
#include "trace.h"

/* What a client may write; the rest is unknown or ours to set. */
#define VINF_STATUS_DRIVER (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |		\
			    VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FEATURES_OK |		\
			    VIRTIO_CONFIG_S_FAILED)

/* ---- draining ---- */

/* The queues a drain is about: all, or one. */
static bool vinf_concerns(const struct vinf_queue *q, const struct vinf_queue *only)
{
	return q->running && (!only || q == only);
}

/* Is all that was taken given back, or to be left in the region?  vinf_dev.lock held. */
bool vinf_at_rest(struct vinf_dev *dev, const struct vinf_queue *only)
{
	int i;

	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		if (vinf_concerns(q, only) &&
		    (test_bit(VINF_Q_BUSY, &q->flags) ||
		     READ_ONCE(q->vq.depth) != vinf_io_at_rest(q)))
			return false;
	}
	return true;
}

/* Take nothing new; what is not kept is waited for.  vinf_dev.lock held. */
void vinf_quiesce(struct vinf_dev *dev, const struct vinf_queue *only, enum vinf_keep keep)
{
	int i;

	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		if (!vinf_concerns(q, only))
			continue;
		WRITE_ONCE(q->vq.quiesce, 1);
		if (q->keep == VINF_KEEP_ALL && keep != VINF_KEEP_ALL)
			vinf_park_sort(q);
		WRITE_ONCE(q->keep, keep);
		if (keep == VINF_KEEP_ALL)
			vinf_io_keep(q);
		vinf_queue_wake(q);
	}
	/* Pairs with the barrier in vinf_queue_turn(). */
	smp_mb();
}

/* Go on.  vinf_dev.lock held. */
void vinf_unquiesce(struct vinf_dev *dev, const struct vinf_queue *only)
{
	int i;

	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		if (!vinf_concerns(q, only))
			continue;
		if (q->keep == VINF_KEEP_ALL)
			vinf_park_sort(q);
		WRITE_ONCE(q->vq.quiesce, 0);
		WRITE_ONCE(q->keep, VINF_KEEP_NOTHING);
		WRITE_ONCE(q->held, false);
		WRITE_ONCE(q->kept, 0);
		q->resumes = false;
		q->stopped = false;
		q->vq.told = 0;
		q->vq.handed = 0;
		vinf_queue_wake(q);
	}
	vinf_park_arm(dev);
}

/* The timeout may be set while somebody waits: without one there is no other way out of a drain. */
static int vinf_wait_at_rest(struct vinf_dev *dev, const struct vinf_queue *only)
{
	const unsigned long start = jiffies;
	bool rest;
	long left;
	u32 ms;

	do {
		ms = READ_ONCE(dev->drain_timeout_ms);
		left = ms ? (long)(start + msecs_to_jiffies(ms) - jiffies) : MAX_SCHEDULE_TIMEOUT;
		left = wait_event_killable_timeout(dev->idle_wait,
						   (rest = vinf_at_rest(dev, only)) ||
						   READ_ONCE(dev->dying) ||
						   READ_ONCE(dev->drain_timeout_ms) != ms,
						   max(left, 0L));
		if (READ_ONCE(dev->dying))
			return -EOWNERDEAD;
		if (left < 0)
			return -EINTR;
		if (rest)
			return 0;
	} while (left);
	return -ETIMEDOUT;
}

/**
 * vinf_stop_at_rest - stop queues that were seen at rest: all of them or none
 * @dev: device
 * @only: one queue, or NULL for all that run
 * @event: what is to be said of parked requests, which stay in the region
 *
 * Their locks are free, or about to be: the worker is not in a turn, at most it looks at the ring,
 * and the turns to come take nothing.
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: false when one had begun a turn before it saw @quiesce, and is not at rest after all.
 */
bool vinf_stop_at_rest(struct vinf_dev *dev, const struct vinf_queue *only, u32 event)
{
	bool rest = true;
	int i;

	/*
	 * With the lock held once, @quiesce is seen by every turn to come: what is at rest stays
	 * so.
	 */
	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		if (!vinf_concerns(q, only))
			continue;
		mutex_lock(&q->lock);
		rest &= q->vq.depth == vinf_io_at_rest(q);
		mutex_unlock(&q->lock);
	}
	for (i = 0; rest && i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		if (!vinf_concerns(q, only))
			continue;
		mutex_lock(&q->lock);
		vinf_queue_leave(q);
		vinf_io_drop(q, event);
		vinf_queue_stop(q);
		WRITE_ONCE(q->vq.depth, 0);
		q->stopped = true;
		mutex_unlock(&q->lock);
	}
	return rest;
}

/*
 * Take nothing new, wait until everything taken is published or kept, stop the queues.  On failure
 * they run on as before, or do not, in a stop.
 *
 * Return: 0; -ETIMEDOUT after the device's drain timeout; -EINTR when the caller is killed;
 * -EOWNERDEAD when the owner died meanwhile.
 */
static int vinf_drain(struct vinf_dev *dev, struct vinf_queue *only, enum vinf_keep keep, u32 event)
{
	int ret;

	lockdep_assert_held(&dev->lock);
	vinf_quiesce(dev, only, keep);
	do {
		ret = vinf_wait_at_rest(dev, only);
	} while (!ret && !vinf_stop_at_rest(dev, only, event));
	trace_vinf_drain(dev, ret);
	if (ret && dev->stand == VINF_RUNNING) {
		vinf_unquiesce(dev, only);
	} else if (ret) {
		vinf_quiesce(dev, only, vinf_stop_keep(dev->stop.mode));
		vinf_park_arm(dev);
	}
	return ret;
}

/*
 * Of a device that runs everything taken is given back, what is parked with the error that it has:
 * a VMM may have asked for a SUSPEND before, did not get it, and goes on where the used ring says.
 * But not before it is sure that the rest comes back.
 */
static int vinf_drain_running(struct vinf_dev *dev)
{
	int ret;

	vinf_quiesce(dev, NULL, VINF_KEEP_PARKED);
	ret = vinf_wait_at_rest(dev, NULL);
	if (ret) {
		trace_vinf_drain(dev, ret);
		vinf_unquiesce(dev, NULL);
		return ret;
	}
	WRITE_ONCE(dev->reporting, true);
	vinf_park_report(dev);
	ret = vinf_drain(dev, NULL, VINF_KEEP_NOTHING, VHOST_INFLIGHT_EVENT_DROPPED);
	WRITE_ONCE(dev->reporting, false);
	return ret;
}

/* ---- starting ---- */

/* Queues that were started and not served: what a successor has to take again stays recorded. */
static void vinf_stop_held(struct vinf_dev *dev)
{
	int i;

	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		mutex_lock(&q->lock);
		if (q->running && READ_ONCE(q->held)) {
			vinf_queue_stop(q);
			q->vq.depth = 0;
		}
		mutex_unlock(&q->lock);
	}
}

/*
 * Start what is configured; nothing runs when it fails.  No queue is served before all of them are
 * started: a guest that got answers from a device that then refused DRIVER_OK would be surprised.
 */
int vinf_start_queues(struct vinf_dev *dev)
{
	int i, ret = 0;

	for (i = 0; i < dev->nr_queues && !ret; i++) {
		struct vinf_queue *q = &dev->queue[i];

		if (q->ready && q->addr_set)
			ret = vinf_queue_start(q);
	}
	if (ret)
		vinf_stop_held(dev);
	else
		vinf_unquiesce(dev, NULL);
	return ret;
}

/**
 * vinf_queue_enable - VHOST_VDPA_SET_VRING_ENABLE
 * @q: queue
 * @on: serve it
 *
 * Only remembered of a device that does not run.  Else a queue starts at once
 * (ENABLE_AFTER_DRIVER_OK), or is drained and stopped with its position kept.
 *
 * Context: process, in the owner's memory, vinf_dev.lock held.
 *
 * Return: 0; -EBUSY while a stop runs or is stalled; the errnos of vinf_queue_start() and
 * vinf_suspend().
 */
int vinf_queue_enable(struct vinf_queue *q, bool on)
{
	struct vinf_dev *dev = q->dev;
	const struct vinf_move *move;
	int ret = 0;

	lockdep_assert_held(&dev->lock);
	move = vinf_move(dev->stand, VINF_ON_ENABLE);
	if (move->act == VINF_DO_REFUSE)
		return move->err;
	if (move->act == VINF_DO_START && q->addr_set) {
		if (on) {
			ret = vinf_queue_start(q);
			if (!ret)
				vinf_unquiesce(dev, q);
		} else if (q->running) {
			ret = vinf_drain(dev, q, VINF_KEEP_PARKED, VHOST_INFLIGHT_EVENT_KEPT);
		}
	}
	if (!ret)
		q->ready = on;
	return ret;
}

/* ---- status ---- */

/* From here on it stands so; vinf_dev.lock held. */
void vinf_stand(struct vinf_dev *dev, enum vinf_stand stand)
{
	if (dev->stand == stand)
		return;
	trace_vinf_stand(dev, stand);
	WRITE_ONCE(dev->stand, stand);
	vinf_dev_config_quiet(dev, vinf_move(stand, VINF_ON_CHANGE)->act == VINF_DO_NOTE);
}

/* Forget what was negotiated; no queue runs. */
static void vinf_forget_status(struct vinf_dev *dev)
{
	int i;

	for (i = 0; i < dev->nr_queues; i++)
		vinf_queue_forget(&dev->queue[i]);
	WRITE_ONCE(dev->status, 0);
	memset(&dev->stop, 0, sizeof(dev->stop));
	vinf_stand(dev, VINF_OFF);
	WRITE_ONCE(dev->acked, 0);
	atomic_set(&dev->needs_reset, 0);
}

/* The same, and that there is something to go on with; vinf_dev.lock held. */
void vinf_forget(struct vinf_dev *dev)
{
	int i;

	for (i = 0; i < dev->nr_queues; i++)
		vinf_queue_leave_nothing(&dev->queue[i]);
	vinf_forget_status(dev);
}

/*
 * What was kept stays in the region for as long as it may be that who reset the device only pauses
 * it, as QEMU does: vinf_queue_start() knows.
 */
static void vinf_queue_reset(struct vinf_queue *q)
{
	if (q->dev->stand == VINF_OFF && q->resumes)
		return;
	q->resumes = q->stopped && q->kept;
	q->resume_pos = q->vq.pos;
	if (!q->resumes)
		vinf_region_void(q);
}

static int vinf_reset(struct vinf_dev *dev)
{
	const struct vinf_move *move = vinf_move(dev->stand, VINF_ON_RESET);
	int i, ret;

	if (move->act == VINF_DO_DRAIN) {
		ret = dev->stand == VINF_RUNNING ?
			vinf_drain_running(dev) :
			vinf_drain(dev, NULL, vinf_stop_keep(dev->stop.mode) ?: VINF_KEEP_PARKED,
				   VHOST_INFLIGHT_EVENT_DROPPED);
		if (ret)
			return ret;
		for (i = 0; i < dev->nr_queues; i++)
			dev->queue[i].kept = 0;
	}
	for (i = 0; i < dev->nr_queues; i++)
		vinf_queue_reset(&dev->queue[i]);
	vinf_forget_status(dev);
	vinf_bounce_destroy(&dev->bounce);
	return 0;
}

static int vinf_driver_ok(struct vinf_dev *dev)
{
	int i, ret;

	if (!dev->owned)
		return -EPERM;
	if (vinf_dev_orphans(dev))
		return -EBUSY;
	ret = vinf_bounce_init(&dev->bounce);
	if (ret)
		return ret;
	ret = vinf_region_ready(dev);
	if (ret)
		return ret;
	ret = vinf_start_queues(dev);
	/* A driver that does not use a queue does not go on with it. */
	for (i = 0; !ret && i < dev->nr_queues; i++)
		if (!dev->queue[i].running)
			vinf_queue_drop_kept(&dev->queue[i]);
	return ret;
}

/* As GET_STATUS tells it; takes no lock. */
u8 vinf_get_status(struct vinf_dev *dev)
{
	u8 status = READ_ONCE(dev->status);
	u8 bits = READ_ONCE(dev->stop.bits);

	if (READ_ONCE(dev->stand) == VINF_STOPPED) {
		status |= bits;
		/* virtio 1.4, 2.1: a device that presents SUSPEND does not present DRIVER_OK. */
		if (bits & VINF_S_SUSPEND)
			status &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	}
	return status | (atomic_read(&dev->needs_reset) ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
}

/**
 * vinf_set_status - VHOST_VDPA_SET_STATUS
 * @dev: device
 * @status: new status; 0 resets
 *
 * A reset returns when everything taken from the rings is published or, when it was parked or
 * kept, dropped, and no I/O can write guest memory any more.  It keeps the owner, the IOTLB and the
 * eventfds.
 *
 * Context: process, vinf_dev.lock held; DRIVER_OK in the owner's memory.
 *
 * Return: 0; -EINVAL for an unknown bit, for clearing a bit but by 0, for DRIVER_OK without
 * FEATURES_OK, for FEATURES_OK before VERSION_1 and ACCESS_PLATFORM were acked; -EPERM for
 * DRIVER_OK without an owner; -EBUSY for DRIVER_OK while a dead owner's requests are still at the
 * disk; -ETIMEDOUT when a reset did not come to rest within the drain timeout, the device is as
 * before; -EINTR; for DRIVER_OK, and for going on after a stop, the errnos of vinf_region_ready()
 * and vinf_queue_start(); those of vinf_stop_status().
 */
int vinf_set_status(struct vinf_dev *dev, u8 status)
{
	u8 old = dev->status;
	u8 set, bits;
	int ret;

	lockdep_assert_held(&dev->lock);
	trace_vinf_set_status(dev, status);
	if (!status)
		return vinf_reset(dev);
	/* A client that adds a bit to what it read back. */
	if (atomic_read(&dev->needs_reset))
		status &= ~VIRTIO_CONFIG_S_NEEDS_RESET;
	ret = vinf_stop_status(dev, &status, &bits);
	if (ret)
		return ret;
	if (status & ~VINF_STATUS_DRIVER || old & ~status)
		return -EINVAL;
	set = status & ~old;
	if ((status & VIRTIO_CONFIG_S_DRIVER_OK) && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		return -EINVAL;
	if ((set & VIRTIO_CONFIG_S_FEATURES_OK) && (dev->acked & VINF_MUST_ACK) != VINF_MUST_ACK)
		return -EINVAL;
	if (set & VIRTIO_CONFIG_S_DRIVER_OK) {
		ret = vinf_driver_ok(dev);
		if (ret)
			return ret;
		vinf_stand(dev, vinf_move(dev->stand, VINF_ON_DRIVER_OK)->next);
	}
	WRITE_ONCE(dev->status, status);
	return vinf_stop_set(dev, bits);
}

/**
 * vinf_suspend - VHOST_VDPA_SUSPEND
 * @dev: device
 *
 * Everything taken is published when it returns 0, but for parked requests, which stay in the
 * inflight region; VHOST_GET_VRING_BASE is exact, and the rings are not touched until
 * VHOST_VDPA_RESUME.  Before DRIVER_OK there is nothing to do.
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0; -EBUSY while a stop runs or is stalled; -ETIMEDOUT after the device's drain timeout,
 * -EINTR when the caller is killed, -EOWNERDEAD when the owner died meanwhile: in each of these the
 * device runs on.
 */
int vinf_suspend(struct vinf_dev *dev)
{
	const struct vinf_move *move;
	int ret;

	lockdep_assert_held(&dev->lock);
	move = vinf_move(dev->stand, VINF_ON_SUSPEND);
	if (move->act != VINF_DO_DRAIN)
		return move->err;
	ret = vinf_drain(dev, NULL, VINF_KEEP_PARKED, VHOST_INFLIGHT_EVENT_KEPT);
	if (!ret)
		vinf_stand(dev, move->next);
	return ret;
}

/**
 * vinf_resume - VHOST_VDPA_RESUME
 * @dev: device
 *
 * Context: process, in the owner's memory, vinf_dev.lock held.
 *
 * Return: 0, also when it runs, or does not yet; -EBUSY when the status byte stopped it, or is to;
 * the errnos of vinf_queue_start(), and it stays suspended.
 */
int vinf_resume(struct vinf_dev *dev)
{
	const struct vinf_move *move;
	int ret;

	lockdep_assert_held(&dev->lock);
	move = vinf_move(dev->stand, VINF_ON_RESUME);
	if (move->act != VINF_DO_START)
		return move->err;
	ret = vinf_start_queues(dev);
	if (!ret)
		vinf_stand(dev, move->next);
	return ret;
}
