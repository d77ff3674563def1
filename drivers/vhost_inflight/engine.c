// SPDX-License-Identifier: GPL-2.0
/*
 * The engine: whoever serves the rings.  There is at most one, and it can be exchanged under
 * running devices.
 *
 * The old one is detached: each queue that runs is *parked*, which means that it has no engine and
 * is otherwise as it was, rings mapped, requests at the disk.  What comes back waits on its done
 * list.  Then nothing holds the old engine's module, and the next one that registers gets all
 * parked queues before anything else happens; it finds in the inflight regions what was taken, and
 * in the request pools what became of it.  Who wants to open a node or to start a queue meanwhile
 * waits.
 */
#include <linux/module.h>
#include <linux/wait.h>

#include "vinf.h"
#include "trace.h"

/* How long somebody who needs an engine waits for the next one while there is none. */
#define VINF_ENGINE_WAIT	(10 * HZ)

static DEFINE_MUTEX(vinf_switch_lock);	/* one exchange at a time */
static DEFINE_MUTEX(vinf_engine_lock);	/* both below */
static const struct vinf_engine_ops *vinf_engine;
static bool vinf_detached;		/* A: there are queues without one, or about to be */
static DECLARE_WAIT_QUEUE_HEAD(vinf_engine_waitq);

/* ---- queues without an engine ---- */

/*
 * Take the engine from a queue.  Between two turns: one may be in a page fault that userspace is in
 * no hurry to answer.
 *
 * Return: 0; -ETIMEDOUT or -EINTR, and the queue runs on.
 */
static int vinf_queue_park(struct vinf_queue *q, unsigned long deadline)
{
	int ret;

	WRITE_ONCE(q->parked, true);
	ret = vinf_queue_lock_until(q, deadline);
	if (ret) {
		WRITE_ONCE(q->parked, false);
		vinf_queue_wake(q);
		return ret;
	}
	if (q->engine) {
		q->engine->stop(&q->vq);
		module_put(q->engine->owner);
		q->engine = NULL;
		if (trace_vinf_park_enabled())
			trace_vinf_park(q, vinf_io_unsent(q));
	}
	mutex_unlock(&q->lock);
	return 0;
}

/*
 * Give a parked queue an engine, which does not get to a turn before vinf_queue_unpark().
 *
 * Return: 0 or the errno of &vinf_engine_ops.start.
 */
static int vinf_queue_adopt(struct vinf_queue *q, const struct vinf_engine_ops *ops)
{
	int ret = 0;

	/*
	 * Not one that could not be parked, whose worker keeps the lock for as long as it likes,
	 * nor one that is being started, which gets no engine while they are exchanged.
	 */
	if (READ_ONCE(q->engine) || !READ_ONCE(q->running))
		return 0;
	mutex_lock(&q->lock);
	if (q->running && !q->engine && !READ_ONCE(q->dead)) {
		if (q->vq.features & VINF_RING_FEATURES & ~ops->features) {
			ret = -EOPNOTSUPP;
		} else {
			q->vq.kept = 1;
			ret = ops->start(&q->vq);
			q->vq.kept = 0;
			vinf_ring_log(q);
		}
		if (!ret) {
			__module_get(ops->owner);
			q->engine = ops;
		}
	}
	mutex_unlock(&q->lock);
	return ret;
}

/* Take it back: no turn has seen it. */
static void vinf_queue_disown(struct vinf_queue *q, const struct vinf_engine_ops *ops)
{
	if (!READ_ONCE(q->parked) || READ_ONCE(q->engine) != ops)
		return;
	mutex_lock(&q->lock);
	if (q->engine == ops) {
		ops->stop(&q->vq);
		module_put(ops->owner);
		q->engine = NULL;
	}
	mutex_unlock(&q->lock);
}

static void vinf_queue_unpark(struct vinf_queue *q)
{
	WRITE_ONCE(q->parked, false);
	vinf_queue_wake(q);
}

static int vinf_park_all(unsigned long deadline)
{
	struct vinf_dev *dev;
	int i, ret = 0;

	lockdep_assert_held(&vinf_devs_lock);
	list_for_each_entry(dev, &vinf_devs, link)
		for (i = 0; i < dev->nr_queues && !ret; i++)
			ret = vinf_queue_park(&dev->queue[i], deadline);
	return ret;
}

static int vinf_adopt_all(const struct vinf_engine_ops *ops)
{
	struct vinf_dev *dev;
	int i, ret;

	lockdep_assert_held(&vinf_devs_lock);
	list_for_each_entry(dev, &vinf_devs, link) {
		for (i = 0; i < dev->nr_queues; i++) {
			ret = vinf_queue_adopt(&dev->queue[i], ops);
			if (!ret)
				continue;
			pr_err("engine %s refused: it can't go on with queue %d of %s (%d)\n",
			       ops->name, i, dev->name, ret);
			return ret;
		}
	}
	return 0;
}

/*
 * All of them or none: a module whose init fails is gone, whoever still runs in it, so no worker
 * may be in one before it is sure that it stays.
 */
static int vinf_unpark_all(const struct vinf_engine_ops *ops)
{
	struct vinf_dev *dev;
	int i, ret;

	ret = vinf_adopt_all(ops);
	list_for_each_entry(dev, &vinf_devs, link) {
		for (i = 0; i < dev->nr_queues; i++) {
			if (ret)
				vinf_queue_disown(&dev->queue[i], ops);
			else
				vinf_queue_unpark(&dev->queue[i]);
		}
	}
	return ret;
}

/* Nodes that are open hold an engine, queues that run or not. */
static void vinf_hold(const struct vinf_engine_ops *ops)
{
	struct vinf_dev *dev;

	lockdep_assert_held(&vinf_devs_lock);
	list_for_each_entry(dev, &vinf_devs, link) {
		const struct vinf_engine_ops *old;

		mutex_lock(&dev->open_lock);
		old = dev->engine;
		if (ops && dev->opens)
			__module_get(ops->owner);
		WRITE_ONCE(dev->engine, dev->opens ? ops : NULL);
		mutex_unlock(&dev->open_lock);
		vinf_engine_put(old);
	}
}

static void vinf_set_detached(bool on)
{
	WRITE_ONCE(vinf_detached, on);
	if (!on)
		wake_up_all(&vinf_engine_waitq);
}

/**
 * vinf_engine_detach - let the engine go, so that another can take its place
 * @ms: bound in milliseconds on waiting for queues to end a turn
 *
 * Requests stay where they are; nothing waits for a disk.
 *
 * Context: process, may sleep.
 *
 * Return: 0, also when there is none or it is detached; -ETIMEDOUT when a worker did not come to
 * the end of its turn, and everything runs on as before; -EINTR.
 */
int vinf_engine_detach(unsigned int ms)
{
	const struct vinf_engine_ops *ops;
	int ret;

	if (mutex_lock_killable(&vinf_switch_lock))
		return -EINTR;
	mutex_lock(&vinf_engine_lock);
	/* Detached, nothing holds its module: it may go at any time. */
	ops = READ_ONCE(vinf_detached) ? NULL : vinf_engine;
	if (ops)
		vinf_set_detached(true);
	mutex_unlock(&vinf_engine_lock);
	if (!ops) {
		mutex_unlock(&vinf_switch_lock);
		return 0;
	}
	mutex_lock(&vinf_devs_lock);
	ret = vinf_park_all(jiffies + msecs_to_jiffies(ms));
	if (!ret) {
		vinf_hold(NULL);
	} else {
		/* It had them until now. Without memory it may fail, and an attach try again. */
		if (!vinf_unpark_all(ops))
			vinf_set_detached(false);
	}
	mutex_unlock(&vinf_devs_lock);
	trace_vinf_detach(ret);
	mutex_unlock(&vinf_switch_lock);
	return ret;
}

/* Is one being exchanged? */
bool vinf_engine_away(void)
{
	return READ_ONCE(vinf_detached);
}

/*
 * Wait for the next engine while one is being exchanged.  Holds no lock.  0; -EINTR; -EAGAIN with
 * @nonblock, which does not wait.
 */
int vinf_engine_wait(bool nonblock)
{
	if (likely(!vinf_engine_away()))
		return 0;
	if (nonblock)
		return -EAGAIN;
	return wait_event_killable_timeout(vinf_engine_waitq, !READ_ONCE(vinf_detached),
					   VINF_ENGINE_WAIT) < 0 ? -EINTR : 0;
}

/* ---- the one that is registered ---- */

static int vinf_engine_take_over(const struct vinf_engine_ops *ops)
{
	int ret = 0;

	lockdep_assert_held(&vinf_switch_lock);
	mutex_lock(&vinf_devs_lock);
	if (READ_ONCE(vinf_detached))
		ret = vinf_unpark_all(ops);
	if (!ret) {
		vinf_hold(ops);
		mutex_lock(&vinf_engine_lock);
		vinf_engine = ops;
		vinf_set_detached(false);
		mutex_unlock(&vinf_engine_lock);
	}
	mutex_unlock(&vinf_devs_lock);
	trace_vinf_attach(ret);
	return ret;
}

/**
 * vinf_engine_attach - give back what was detached from the engine that is there
 *
 * For when its module can't be removed after all, because something else in the kernel holds it.
 *
 * Context: process, may sleep.
 *
 * Return: 0, also when nothing was detached; -ENODEV when no engine is there, or it is leaving; the
 * errnos of &vinf_engine_ops.start, and queues stay parked; -EINTR.
 */
int vinf_engine_attach(void)
{
	const struct vinf_engine_ops *ops;
	int ret;

	if (mutex_lock_killable(&vinf_switch_lock))
		return -EINTR;
	mutex_lock(&vinf_engine_lock);
	ops = vinf_engine;
	/* Held until it has them: its module may be on its way out. */
	if (ops && !try_module_get(ops->owner))
		ops = NULL;
	mutex_unlock(&vinf_engine_lock);
	if (!ops)
		ret = -ENODEV;
	else
		ret = READ_ONCE(vinf_detached) ? vinf_engine_take_over(ops) : 0;
	vinf_engine_put(ops);
	mutex_unlock(&vinf_switch_lock);
	return ret;
}

/**
 * vinf_engine_register - an engine offers its service
 * @ops: stays valid until vinf_engine_unregister() returned
 *
 * Queues that the engine before left behind are served by this one when it returns.
 *
 * Context: process, may sleep.
 *
 * Return: 0; -EEXIST when another engine is registered; -EPROTO when @ops was built with another
 * ABI; -EOPNOTSUPP when a parked queue uses a feature that it does not serve; the errnos of
 * &vinf_engine_ops.start.  On failure parked queues stay parked.
 */
int vinf_engine_register(const struct vinf_engine_ops *ops)
{
	int ret;

	if (ops->abi_version != VINF_ABI_VERSION || ops->size != sizeof(*ops)) {
		pr_err("engine %s speaks ABI %u (%u bytes), this holder speaks %u (%zu bytes): install both modules from one build\n",
		       ops->name, ops->abi_version, ops->size, VINF_ABI_VERSION, sizeof(*ops));
		return -EPROTO;
	}
	mutex_lock(&vinf_switch_lock);
	if (vinf_engine) {
		pr_err("engine %s refused: %s is registered\n", ops->name, vinf_engine->name);
		ret = -EEXIST;
	} else {
		ret = vinf_engine_take_over(ops);
	}
	mutex_unlock(&vinf_switch_lock);
	return ret;
}

/**
 * vinf_engine_unregister - an engine leaves
 * @ops: what it registered
 *
 * Called from the engine's module exit: its module is not in use, so no node is open and no queue
 * runs, or they were detached.
 *
 * Context: process, may sleep.
 */
void vinf_engine_unregister(const struct vinf_engine_ops *ops)
{
	mutex_lock(&vinf_engine_lock);
	WARN_ON(vinf_engine != ops);
	vinf_engine = NULL;
	mutex_unlock(&vinf_engine_lock);
}

/* The registered engine with its module held, or NULL. */
const struct vinf_engine_ops *vinf_engine_get(void)
{
	const struct vinf_engine_ops *ops;

	mutex_lock(&vinf_engine_lock);
	ops = READ_ONCE(vinf_detached) ? NULL : vinf_engine;
	if (ops && !try_module_get(ops->owner))
		ops = NULL;
	mutex_unlock(&vinf_engine_lock);
	return ops;
}

/*
 * The same, for who can wait while one is being exchanged, and holds no lock: also one that goes
 * after the first look.  NULL when there is none; ERR_PTR(-EINTR).
 */
const struct vinf_engine_ops *vinf_engine_await(void)
{
	bool away = vinf_engine_away();

	for (;;) {
		const struct vinf_engine_ops *ops;
		int ret = vinf_engine_wait(false);

		if (ret)
			return ERR_PTR(ret);
		ops = vinf_engine_get();
		if (ops || away)
			return ops;
		away = true;
	}
}

void vinf_engine_put(const struct vinf_engine_ops *ops)
{
	if (ops)
		module_put(ops->owner);
}

/* Name and version of the engine, for people; empty when there is none. */
void vinf_engine_name(char *buf, size_t size)
{
	mutex_lock(&vinf_engine_lock);
	strscpy(buf, vinf_engine ? vinf_engine->name : "", size);
	mutex_unlock(&vinf_engine_lock);
}
