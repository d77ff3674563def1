// SPDX-License-Identifier: GPL-2.0
/*
 * Who owns a device.
 *
 * The end of an owner, which is the page to check when something outlives something else.  It
 * begins with the release of the owning file, or with the kill of one of its workers, whichever
 * comes first; both mark the device @dying and each queue @dead.  A worker may find out in the
 * middle of a turn, by pages that can't be had any more, and does the same.  From there on:
 *
 *  - A worker that has not begun a turn begins none (vinf_queue_turn() looks at @dead under the
 *    queue's lock).
 *  - A worker inside a turn ends it: every sleep in there is killable or short.  One that does not
 *    run at all (SIGSTOP, a page fault that userspace holds) keeps its queue's lock, and the reaper
 *    comes back until it has it.
 *  - A caller that drains gives up: it looks at @dying.
 *  - Requests the disk has not seen come back with -ECANCELED (vinf_io_cancel()).
 *  - Requests the disk has are orphans: their pages, with pin_memory all of the owner's, stay
 *    pinned until they return, vinf_orphan_work() lets go of them. Until the last one is back no
 *    queue starts, so their place in the pool is not used twice.
 *  - The workers are told to leave and reap themselves; they hold the device and the module until
 *    they are gone.
 *  - The engine is held by each queue that runs, not only by open files.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "vinf.h"
#include "trace.h"

/* How long the close of a device waits for its workers before it leaves the rest to the reaper. */
#define VINF_RELEASE_WAIT	HZ

/**
 * vinf_config_call - who is told of changes of config space and status
 * @dev: device
 * @ctx: eventfd, or NULL for nobody; signalled at once when the owner was told of a change before
 *
 * Context: process.
 */
void vinf_config_call(struct vinf_dev *dev, struct eventfd_ctx *ctx)
{
	spin_lock_irq(&dev->config_lock);
	swap(ctx, dev->config_call);
	/* What was told through the old one may have found no reader, as with vinf_queue.called. */
	if (dev->config_call && dev->config_called)
		eventfd_signal(dev->config_call);
	spin_unlock_irq(&dev->config_lock);
	if (ctx)
		eventfd_ctx_put(ctx);
}

/* Nobody is told any more, and the next owner need not know. */
static void vinf_config_forget(struct vinf_dev *dev)
{
	vinf_config_call(dev, NULL);
	spin_lock_irq(&dev->config_lock);
	dev->config_called = false;
	spin_unlock_irq(&dev->config_lock);
}

static void vinf_set_owner(struct vinf_dev *dev, struct mm_struct *mm, struct pid *pid)
{
	struct mm_struct *old_mm = dev->mm;
	struct pid *old_pid;

	spin_lock_irq(&dev->config_lock);
	old_pid = dev->pid;
	dev->pid = pid;
	spin_unlock_irq(&dev->config_lock);
	put_pid(old_pid);
	dev->mm = mm;
	WRITE_ONCE(dev->owned, mm);
	if (old_mm)
		mmdrop(old_mm);
}

/**
 * vinf_claim - may this file change the state of the device?
 * @dev: device
 * @vf: file
 *
 * While nobody owns the device, the first file that changes something has it to itself until
 * another one does, which then finds it reset: what a client left that went away without owning is
 * not carried over.
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0; -EBUSY when another file owns the device; -EPERM when this one does but the caller's
 * memory is not the owner's (after fork or exec).
 */
int vinf_claim(struct vinf_dev *dev, struct vinf_file *vf)
{
	lockdep_assert_held(&dev->lock);
	if (dev->dying)
		return -EBUSY;
	if (dev->owned) {
		if (dev->claim != vf)
			return -EBUSY;
		return current->mm == dev->mm ? 0 : -EPERM;
	}
	if (dev->claim != vf) {
		vinf_forget(dev);
		dev->region_ours = false;
		vinf_config_forget(dev);
		dev->backend_acked = 0;
		WRITE_ONCE(dev->claim, vf);
	}
	return 0;
}

/* Is this file, called from this memory, the owner?  vinf_dev.lock held. */
bool vinf_owns(struct vinf_dev *dev, struct vinf_file *vf)
{
	return dev->owned && !dev->dying && dev->claim == vf && dev->mm == current->mm;
}

/* Let go of the eventfds of a queue that does not run. */
static void vinf_unbind(struct vinf_queue *q)
{
	vinf_kick_unbind(q);
	if (q->call)
		eventfd_ctx_put(q->call);
	if (q->err)
		eventfd_ctx_put(q->err);
	q->call = NULL;
	q->err = NULL;
}

/**
 * vinf_own - VHOST_SET_OWNER
 * @dev: device
 * @vf: the file that will own it
 *
 * The workers are made here: they are threads of the caller's process.
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0; -EBUSY when the device is owned, by whomever; the errnos of vinf_worker_create().
 */
int vinf_own(struct vinf_dev *dev, struct vinf_file *vf)
{
	struct vinf_worker *w[VINF_MAX_QUEUES] = {};
	unsigned long deadline;
	int i, ret;

	lockdep_assert_held(&dev->lock);
	if (dev->owned)
		return -EBUSY;
	ret = vinf_claim(dev, vf);
	if (ret)
		return ret;
	mmgrab(current->mm);
	vinf_set_owner(dev, current->mm, get_task_pid(current, PIDTYPE_TGID));
	WRITE_ONCE(dev->told, false);
	for (i = 0; i < dev->nr_queues; i++) {
		ret = vinf_worker_create(&dev->queue[i]);
		if (ret)
			goto err;
	}
	trace_vinf_own(dev, task_tgid_nr(current));
	return 0;

err:
	while (i--)
		w[i] = vinf_worker_retire(&dev->queue[i]);
	deadline = jiffies + VINF_RELEASE_WAIT;
	for (i = 0; i < dev->nr_queues; i++)
		vinf_worker_wait(w[i], deadline);
	vinf_set_owner(dev, NULL, NULL);
	return ret;
}

/* The owner is gone, see the top of this file.  Any context, but for hard interrupts. */
static void vinf_mark_dead(struct vinf_dev *dev)
{
	int i;

	WRITE_ONCE(dev->dying, true);
	/* Pairs with vinf_queue_start(). */
	smp_mb();
	for (i = 0; i < dev->nr_queues; i++)
		WRITE_ONCE(dev->queue[i].dead, true);
	wake_up_all(&dev->idle_wait);
}

/**
 * vinf_dev_owner_died - a worker of the owner is being killed
 * @dev: device
 *
 * Context: any; called with the wake_lock of the worker's queue held or inside a turn of it, so
 * that the owner it speaks of is still there.
 */
void vinf_dev_owner_died(struct vinf_dev *dev)
{
	vinf_mark_dead(dev);
	mod_delayed_work(vinf_wq, &dev->reap_work, 0);
}

/* Stop what a dead owner left running.  False: somebody who cannot run is in the way. */
static bool vinf_reap_queues(struct vinf_dev *dev)
{
	bool done = true;
	int i;

	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		if (!mutex_trylock(&q->lock)) {
			done = false;
			continue;
		}
		vinf_queue_stop(q);
		mutex_unlock(&q->lock);
	}
	return done;
}

/*
 * Bury a dead owner.  Waits for nobody but, briefly, for workers that have nothing left to do.
 *
 * Return: false when it has to be called again.
 */
static bool vinf_reap(struct vinf_dev *dev)
{
	struct vinf_worker *w[VINF_MAX_QUEUES];
	unsigned long deadline;
	int i;

	if (!mutex_trylock(&dev->lock))
		return false;
	if (!dev->dying) {
		mutex_unlock(&dev->lock);
		return true;
	}
	if (!vinf_reap_queues(dev)) {
		mutex_unlock(&dev->lock);
		return false;
	}
	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		w[i] = vinf_worker_retire(q);
		vinf_unbind(q);
		/* Whatever a start made of it that the death overtook. */
		WRITE_ONCE(q->dead, true);
		vinf_io_cancel(q);
		/*
		 * Pairs with the barrier in vinf_queue_done(): it sees @dead, or its request is on
		 * the list here.
		 */
		smp_mb();
		queue_work(vinf_wq, &q->orphan_work);
	}
	vinf_set_owner(dev, NULL, NULL);
	vinf_forget(dev);
	/* Behind it: a change that waited for the device to go on is told then. */
	vinf_config_forget(dev);
	dev->region_ours = false;
	dev->backend_acked = 0;
	WRITE_ONCE(dev->claim, NULL);
	vinf_iotlb_clear(dev);
	vinf_log_put(dev->log);
	dev->log = NULL;
	vinf_bounce_destroy(&dev->bounce);
	trace_vinf_disown(dev, vinf_dev_orphans(dev));
	WRITE_ONCE(dev->dying, false);
	wake_up_all(&dev->idle_wait);
	mutex_unlock(&dev->lock);

	deadline = jiffies + VINF_RELEASE_WAIT;
	for (i = 0; i < dev->nr_queues; i++)
		vinf_worker_wait(w[i], deadline);
	return true;
}

void vinf_reap_work(struct work_struct *work)
{
	struct vinf_dev *dev = container_of(to_delayed_work(work), struct vinf_dev, reap_work);

	if (!vinf_reap(dev))
		queue_delayed_work(vinf_wq, &dev->reap_work, msecs_to_jiffies(10));
}

static bool vinf_workers_out(struct vinf_dev *dev)
{
	int i;

	for (i = 0; i < dev->nr_queues; i++)
		if (test_bit(VINF_Q_BUSY, &dev->queue[i].flags))
			return false;
	return true;
}

/**
 * vinf_release - a file is closed for good
 * @dev: device
 * @vf: file
 *
 * If it is the owner's, the device is free again when this returns, unless a worker cannot run:
 * then as soon as it does.  It never waits for the disk.
 *
 * Context: process.
 */
void vinf_release(struct vinf_dev *dev, struct vinf_file *vf)
{
	const struct vinf_engine_ops *engine = NULL;
	bool owner = false;

	/*
	 * Whoever is not in charge does not wait for who is; and this file cannot come to be any
	 * more.
	 */
	if (READ_ONCE(dev->claim) != vf)
		goto closed;
	mutex_lock(&dev->lock);
	owner = dev->owned && dev->claim == vf;
	if (owner) {
		vinf_mark_dead(dev);
		/* @vf is about to be freed, and somebody else's may come to lie there. */
		WRITE_ONCE(dev->claim, NULL);
	} else if (dev->claim == vf) {
		vinf_forget(dev);
		vinf_config_forget(dev);
		WRITE_ONCE(dev->claim, NULL);
	}
	mutex_unlock(&dev->lock);

	if (owner) {
		wait_event_timeout(dev->idle_wait, vinf_workers_out(dev), VINF_RELEASE_WAIT);
		if (!vinf_reap(dev))
			mod_delayed_work(vinf_wq, &dev->reap_work, 0);
	}

closed:
	mutex_lock(&dev->open_lock);
	if (!--dev->opens)
		swap(engine, dev->engine);
	mutex_unlock(&dev->open_lock);
	vinf_engine_put(engine);
}
