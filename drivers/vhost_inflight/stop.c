// SPDX-License-Identifier: GPL-2.0
/*
 * Stops: a bit of the status byte tells the device to stand still, and is read back once it does.
 *
 * The ioctl that sets the bit only begins a stop.  From there on a work item looks whether all that
 * has to come back is back, whenever a turn, the disk or a thread of ours gives it reason to, and
 * at the deadline; it is the only one that ends a stop.  It must not wait for vinf_dev.lock, whose
 * holder may wait for a disk.
 */
#include <linux/nospec.h>

#include "vinf.h"
#include "trace.h"

/* How soon to try again when somebody else has the lock. */
#define VINF_STOP_AGAIN		msecs_to_jiffies(10)
/*
 * How often to look for what may be kept in the hands of the workqueue, all of whose threads may
 * wait for the disk.
 */
#define VINF_STOP_LOOK		msecs_to_jiffies(100)

/**
 * vinf_rest_hint - there may be less to wait for
 * @dev: device
 *
 * Context: any.
 */
void vinf_rest_hint(struct vinf_dev *dev)
{
	wake_up_all(&dev->idle_wait);
	if (READ_ONCE(dev->stand) == VINF_STOPPING)
		mod_delayed_work(vinf_wq, &dev->stop_work, 0);
}

/* What a stop of this mode, or one that ended at its deadline, keeps. */
enum vinf_keep vinf_stop_keep(u8 mode)
{
	return mode == VHOST_INFLIGHT_STOP_PRESERVE ? VINF_KEEP_ALL : VINF_KEEP_NOTHING;
}

/* How a stop is to be done.  False: the one that runs is it. */
static bool vinf_stop_how(struct vinf_dev *dev, u8 bits)
{
	struct vinf_stop *stop = &dev->stop;

	/* What was said counts for a VMM's stop, not for one that the driver wishes. */
	if ((bits & VHOST_INFLIGHT_S_STOP) && stop->next) {
		stop->mode = stop->next_mode;
		stop->ms = stop->next_ms ?: READ_ONCE(dev->drain_timeout_ms);
		stop->next = false;
	} else if (dev->stand == VINF_STOPPING) {
		return false;
	} else if (dev->stand != VINF_STALLED) {
		stop->mode = VHOST_INFLIGHT_STOP_FLUSH;
		stop->ms = READ_ONCE(dev->drain_timeout_ms);
	}
	return true;
}

/* A stop, or another one in the place of the one that runs. */
static void vinf_stop_begin(struct vinf_dev *dev, u8 bits)
{
	struct vinf_stop *stop = &dev->stop;
	int i;

	if (!vinf_stop_how(dev, bits))
		return;
	stop->begin = jiffies;
	stop->deadline = stop->begin + msecs_to_jiffies(stop->ms);
	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		q->stop_requests = READ_ONCE(q->vq.stat[VINF_STAT_REQUESTS]);
		q->stop_held = q->running ?
			vinf_queue_held_back(q, jiffies + VINF_STOP_AGAIN) : q->kept_held;
	}
	vinf_quiesce(dev, NULL, vinf_stop_keep(stop->mode));
	/* Nothing else may come for which they would be tried. */
	if (stop->mode == VHOST_INFLIGHT_STOP_FLUSH)
		vinf_park_retry(dev, false);
	mod_delayed_work(vinf_wq, &dev->stop_work, 0);
}

/* It came to an end, in this way or in that.  Told before nobody is told of anything any more. */
static void vinf_stop_end(struct vinf_dev *dev, enum vinf_trigger how)
{
	bool rest = how == VINF_ON_REST;

	dev->stop.end = jiffies;
	/* virtio 1.4, 2.1.2: who fails to suspend needs a reset. */
	if (!rest && (dev->stop.bits & VINF_S_SUSPEND))
		atomic_set(&dev->needs_reset, 1);
	vinf_event(dev, rest ? VHOST_INFLIGHT_EVENT_STOPPED : VHOST_INFLIGHT_EVENT_STALLED, NULL,
		   NULL, rest ? 0 : -ETIMEDOUT);
	vinf_dev_config_changed(dev);
	vinf_stand(dev, vinf_move(dev->stand, how)->next);
}

static void vinf_stop_look(struct vinf_dev *dev)
{
	const struct vinf_stop *stop = &dev->stop;
	unsigned long wait = MAX_JIFFY_OFFSET;
	int i;

	lockdep_assert_held(&dev->lock);
	if (stop->mode == VHOST_INFLIGHT_STOP_PRESERVE) {
		for (i = 0; i < dev->nr_queues; i++)
			if (dev->queue[i].running)
				vinf_io_keep(&dev->queue[i]);
		wait = VINF_STOP_LOOK;
	}
	if (vinf_at_rest(dev, NULL) &&
	    vinf_stop_at_rest(dev, NULL, VHOST_INFLIGHT_EVENT_KEPT)) {
		vinf_stop_end(dev, VINF_ON_REST);
		return;
	}
	if (stop->ms) {
		if (time_after_eq(jiffies, stop->deadline)) {
			vinf_stop_end(dev, VINF_ON_DEADLINE);
			return;
		}
		wait = min(wait, stop->deadline - jiffies);
	}
	/* Sooner if there is a hint already. */
	if (wait != MAX_JIFFY_OFFSET)
		queue_delayed_work(vinf_wq, &dev->stop_work, wait);
}

void vinf_stop_work(struct work_struct *work)
{
	struct vinf_dev *dev = container_of(to_delayed_work(work), struct vinf_dev, stop_work);

	if (!mutex_trylock(&dev->lock)) {
		queue_delayed_work(vinf_wq, &dev->stop_work, VINF_STOP_AGAIN);
		return;
	}
	if (dev->stand == VINF_STOPPING && !READ_ONCE(dev->dying))
		vinf_stop_look(dev);
	mutex_unlock(&dev->lock);
}

/**
 * vinf_stop_status - what a new status byte says of standing still
 * @dev: device
 * @status: new status; what it says of standing still is taken out
 * @bits: of VINF_S_STILL those that are wanted, for vinf_stop_set()
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0; -EINVAL for STOP without its backend feature or before DRIVER_OK, for SUSPEND without
 * its feature, and for a driver that takes SUSPEND back other than by DRIVER_OK; -EBUSY while
 * VHOST_VDPA_SUSPEND lasts.
 */
int vinf_stop_status(struct vinf_dev *dev, u8 *status, u8 *bits)
{
	bool suspending = dev->stop.bits & VINF_S_SUSPEND;
	bool suspend = *status & VINF_S_SUSPEND;
	const struct vinf_move *move;

	*bits = *status & VHOST_INFLIGHT_S_STOP;
	*status &= ~VINF_S_STILL;
	if (*bits && !(dev->backend_acked & BIT_ULL(VHOST_INFLIGHT_BACKEND_F_STOP)))
		return -EINVAL;
	if (suspend && !(dev->acked & BIT_ULL(VINF_F_SUSPEND)))
		return -EINVAL;
	if (suspending && dev->stand == VINF_STOPPED) {
		/* The driver does not find DRIVER_OK, and goes on by setting it. */
		if (*status & VIRTIO_CONFIG_S_DRIVER_OK)
			suspend = false;
		else if (!suspend)
			return -EINVAL;
		*status |= VIRTIO_CONFIG_S_DRIVER_OK;
	} else if (suspending) {
		/* Once begun it ends. */
		suspend = true;
	} else if (!(dev->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		/* virtio 1.4, 2.1.2: ignored before the device is initialised. */
		suspend = false;
	}
	if (suspend)
		*bits |= VINF_S_SUSPEND;
	if (!(*bits & ~dev->stop.bits))
		return 0;
	move = vinf_move(dev->stand, VINF_ON_STOP);
	return move->act == VINF_DO_REFUSE ? move->err : 0;
}

static int vinf_stop_leave(struct vinf_dev *dev, const struct vinf_move *move)
{
	int i, ret;

	if (move->act == VINF_DO_GO) {
		vinf_unquiesce(dev, NULL);
		return 0;
	}
	/* Notifications that nobody was to have are made up for by one. */
	for (i = 0; i < dev->nr_queues; i++)
		dev->queue[i].vq.handed = 1;
	ret = vinf_start_queues(dev);
	/* virtio 1.4, 2.1.2, once more.  But it can be tried again when there is an engine. */
	if (ret && ret != -ENXIO && (dev->stop.bits & VINF_S_SUSPEND))
		atomic_set(&dev->needs_reset, 1);
	return ret;
}

/**
 * vinf_stop_set - stand still, or go on
 * @dev: device
 * @bits: from vinf_stop_status()
 *
 * Context: process, in the owner's memory, vinf_dev.lock held.
 *
 * Return: 0; -ESTALE when a part of the inflight region was punched out of its file; the errnos of
 * vinf_queue_start(), and it stands still.
 */
int vinf_stop_set(struct vinf_dev *dev, u8 bits)
{
	const struct vinf_move *move;
	int ret;

	lockdep_assert_held(&dev->lock);
	/* The same again is a new stop if it is a VMM's; the driver only writes its status. */
	if (bits == dev->stop.bits && !(bits & VHOST_INFLIGHT_S_STOP))
		return 0;
	move = vinf_move(dev->stand, bits ? VINF_ON_STOP : VINF_ON_CONT);
	switch (move->act) {
	case VINF_DO_BEGIN:
		/* What is kept would be in there. */
		if (!vinf_region_whole(dev))
			return -ESTALE;
		vinf_stop_begin(dev, bits);
		break;
	case VINF_DO_GO:
	case VINF_DO_START:
		ret = vinf_stop_leave(dev, move);
		if (ret)
			return ret;
		vinf_event(dev, VHOST_INFLIGHT_EVENT_RESUMED, NULL, NULL, 0);
		break;
	default:
		break;
	}
	WRITE_ONCE(dev->stop.bits, bits);
	vinf_stand(dev, move->next);
	return 0;
}

/**
 * vinf_stop_next - VHOST_INFLIGHT_SET_STOP
 * @dev: device
 * @arg: what userspace passed
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: see the ioctl.
 */
int vinf_stop_next(struct vinf_dev *dev, const struct vhost_inflight_stop *arg)
{
	lockdep_assert_held(&dev->lock);
	if (!(dev->backend_acked & BIT_ULL(VHOST_INFLIGHT_BACKEND_F_STOP)))
		return -EOPNOTSUPP;
	if (arg->mode > VHOST_INFLIGHT_STOP_PRESERVE || arg->deadline_ms > INT_MAX || arg->flags)
		return -EINVAL;
	dev->stop.next = true;
	dev->stop.next_mode = arg->mode;
	dev->stop.next_ms = arg->deadline_ms;
	return 0;
}

/* Those that may land on the disk whatever becomes of the device. */
static u32 vinf_stop_landing(const struct vinf_queue *q)
{
	u32 i, n = 0;

	for (i = 0; i < q->pool_num; i++)
		if (READ_ONCE(q->pool[i].started) && !vinf_io_rewindable(&q->pool[i]))
			n++;
	return n;
}

/**
 * vinf_stop_info - VHOST_INFLIGHT_GET_STOP
 * @dev: device
 * @info: with the index of a queue; filled
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0; -ENOBUFS.
 */
int vinf_stop_info(struct vinf_dev *dev, struct vhost_inflight_stop_info *info)
{
	const struct vinf_stop *stop = &dev->stop;
	unsigned long end = dev->stand == VINF_STOPPING ? jiffies : stop->end;
	struct vinf_queue *q;
	u32 depth, held, answered;

	lockdep_assert_held(&dev->lock);
	if (info->index >= dev->nr_queues)
		return -ENOBUFS;
	q = &dev->queue[array_index_nospec(info->index, dev->nr_queues)];
	info->state = vinf_dev_stands(dev);
	if (dev->stand < VINF_STOPPING)
		return 0;
	info->mode = stop->mode;
	info->elapsed_ms = jiffies_to_msecs(end - stop->begin);
	held = q->running ? vinf_queue_held_back(q, jiffies + VINF_STOP_LOOK) : q->kept_held;
	answered = READ_ONCE(q->vq.stat[VINF_STAT_REQUESTS]) - q->stop_requests + q->stop_held;
	info->published = answered - min(answered, held);
	if (!q->running) {
		info->kept = q->kept;
		return 0;
	}
	depth = READ_ONCE(q->vq.depth);
	info->kept = min(vinf_io_at_rest(q), depth);
	info->out = depth + held - info->kept;
	info->rewindable = info->out - min(vinf_stop_landing(q), info->out);
	return 0;
}
