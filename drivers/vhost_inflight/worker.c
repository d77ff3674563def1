// SPDX-License-Identifier: GPL-2.0
/*
 * Workers: one thread of the owner's process for each queue, in its memory and its cgroups.
 *
 * A worker ends in one of two ways, and in both of them somebody else frees it, because a thread
 * cannot wait for itself and nobody may wait for a thread that is stopped by SIGSTOP:
 *
 *  - it is told to leave (vinf_worker_retire()): when it next runs it queues its own reap work;
 *  - its process is killed: the kill callback queues the same work.
 *
 * With poll_us a worker that has nothing to do polls for a while before it sleeps, and spares the
 * driver the kick and itself the wake-up.  For how long it learns, apart for a driver that makes
 * nothing available and for a disk that does not answer: what came soon enough makes it poll twice
 * as long the next time, and what did not ends the polling.  So a device with nothing to do pays
 * for it once, and then sleeps as any other.
 *
 * With sched_batch a worker is SCHED_BATCH: when it is woken it does not take the processor from
 * whoever runs there, a vCPU that has just kicked and has more to submit above all.
 */
#include <linux/completion.h>
#include <linux/module.h>
#include <linux/sched/clock.h>
#include <linux/sched/signal.h>
#include <linux/sched/stat.h>
#include <linux/sched/vhost_task.h>
#include <linux/slab.h>
#include <uapi/linux/sched/types.h>

#include "vinf.h"
#include "trace.h"

struct workqueue_struct *vinf_wq;

/**
 * struct vinf_worker - a thread that serves a queue
 * @ref: the thread's own until it was reaped, and whoever waits for it
 * @q: I: the queue; the device is held until the worker was reaped
 * @task: I: the thread
 * @leave: A: told to leave
 * @leaving: the worker's: reap work is queued
 * @want: the worker's: sched_batch, when it last looked
 * @batch: the worker's: it has made itself SCHED_BATCH
 * @out: the worker's: requests were out when it ran out of work
 * @idle: the worker's: when that was, by local_clock(); 0 while it has work, or nobody polls
 * @budget: the worker's: ns to poll from then on, without and with requests out
 * @gone: the thread is reaped
 * @reap: frees the thread
 */
struct vinf_worker {
	struct kref ref;
	struct vinf_queue *q;
	struct vhost_task *task;
	bool leave;
	bool leaving;
	bool want;
	bool batch;
	bool out;
	u64 idle;
	u64 budget[2];
	struct completion gone;
	struct work_struct reap;
};

static void vinf_worker_free(struct kref *ref)
{
	kfree(container_of(ref, struct vinf_worker, ref));
}

static void vinf_worker_reap(struct work_struct *work)
{
	struct vinf_worker *w = container_of(work, struct vinf_worker, reap);
	struct vinf_dev *dev = w->q->dev;

	/* Whoever told it to leave may still be about to wake it, see vinf_worker_retire(). */
	spin_lock_irq(&w->q->wake_lock);
	spin_unlock_irq(&w->q->wake_lock);
	/* Short: the thread is past its last turn. */
	vhost_task_stop(w->task);
	complete_all(&w->gone);
	kref_put(&w->ref, vinf_worker_free);
	put_device(&dev->device);
	/* This function's own text is safe: module exit waits for the workqueue. */
	module_put(THIS_MODULE);
}

/* The longest that it may poll, in ns. */
static u64 vinf_worker_max(const struct vinf_worker *w)
{
	return (u64)READ_ONCE(w->q->dev->poll_us) * NSEC_PER_USEC;
}

/* There is work again: would polling have come upon it? */
static void vinf_worker_learn(struct vinf_worker *w)
{
	u64 took = local_clock() - w->idle, most = vinf_worker_max(w);
	struct vinf_queue *q = w->q;
	u64 *budget = &w->budget[w->out];
	bool polled;

	*budget = took < most ? min(max(2 * took, *budget), most) : 0;
	w->idle = 0;
	polled = most && (w->budget[false] || w->budget[true]);
	if (polled == READ_ONCE(q->vq.polled) || mutex_lock_killable(&q->lock))
		return;
	/* Else it is for the next owner's worker to say: its start found the lock free. */
	if (!READ_ONCE(w->leave))
		WRITE_ONCE(q->vq.polled, polled);
	mutex_unlock(&q->lock);
}

/*
 * Look for work until there is some, or it is time to sleep: also for whoever else wants the
 * processor or the queue, and whatever the thread is wanted for.  True: there is.
 */
static bool vinf_worker_poll(struct vinf_worker *w)
{
	struct vinf_queue *q = w->q;
	u64 budget = w->budget[w->out];
	int ret = 0;

	if (!budget)
		return false;
	while (ret >= 0 && !need_resched() && single_task_running() && !signal_pending(current) &&
	       !READ_ONCE(w->leave) && local_clock() - w->idle < min(budget, vinf_worker_max(w))) {
		/* What comes back from the disk sets the bit, too. */
		ret = test_bit(VINF_Q_WORK, &q->flags) ?: vinf_queue_look(q, false);
		if (ret > 0) {
			atomic64_inc(&q->poll_hits);
			return true;
		}
		cpu_relax();
	}
	atomic64_inc(&q->poll_misses);
	return false;
}

/* Also once more after that was turned off: nobody asked for kicks yet. */
static bool vinf_worker_polls(const struct vinf_worker *w)
{
	return unlikely(READ_ONCE(w->q->dev->poll_us) | READ_ONCE(w->q->vq.polled));
}

/* Nothing to do, with polling.  True: look again before it sleeps. */
static bool vinf_worker_idle(struct vinf_worker *w)
{
	/* It has polled, and kicks are asked for. */
	if (w->idle)
		return false;
	w->idle = local_clock();
	w->out = READ_ONCE(w->q->vq.depth);
	/* Kicks were asked for at the end of the turn: now it only learns. */
	if (!READ_ONCE(w->q->vq.polled))
		return false;
	__set_current_state(TASK_RUNNING);
	if (vinf_worker_poll(w) || vinf_queue_look(w->q, true) > 0)
		vinf_queue_wake(w->q);
	return true;
}

/* All but the policy stays as it was. */
static void vinf_worker_adopt(int policy)
{
	struct sched_attr attr = { .sched_policy = policy, .sched_nice = task_nice(current) };

	if (current->se.custom_slice)
		attr.sched_runtime = current->se.slice;
	__set_current_state(TASK_RUNNING);
	/* Neither is ever refused, and if it were: the worker serves its queue with either. */
	sched_setattr_nocheck(current, &attr);
}

/*
 * The policy that configfs wants, when that changed.  One that the worker has from elsewhere, its
 * owner's thread or chrt, is somebody's decision about this thread alone, and stays.
 *
 * It counts when the worker is woken, so before it sleeps is early enough.  True: it has another
 * one, and is not about to sleep any more.
 */
static bool vinf_worker_policy(struct vinf_worker *w)
{
	bool want = READ_ONCE(w->q->dev->sched_batch);
	int from = w->batch ? SCHED_BATCH : SCHED_NORMAL;
	int to = want ? SCHED_BATCH : SCHED_NORMAL;
	bool ours;

	if (likely(want == w->want))
		return false;
	w->want = want;
	ours = from != to && current->policy == from;
	w->batch = ours && want;
	if (ours)
		vinf_worker_adopt(to);
	return ours;
}

/*
 * The last thing that it does, in whatever way it ends.  At the end of a turn it may have noted
 * that there is more to do, for itself, when its successor slept already.
 */
static void vinf_worker_leaves(struct vinf_worker *w)
{
	if (w->leaving)
		return;
	w->leaving = true;
	if (test_and_clear_bit(VINF_Q_WORK, &w->q->flags))
		vinf_queue_wake(w->q);
	queue_work(vinf_wq, &w->reap);
}

static bool vinf_worker_run(void *data)
{
	struct vinf_worker *w = data;

	if (READ_ONCE(w->leave)) {
		vinf_worker_leaves(w);
		return false;
	}
	if (!test_and_clear_bit(VINF_Q_WORK, &w->q->flags))
		return vinf_worker_policy(w) || (vinf_worker_polls(w) && vinf_worker_idle(w));
	__set_current_state(TASK_RUNNING);
	/* It may have been the next worker's by then: what was to be done is not ours to do. */
	if (unlikely(READ_ONCE(w->leave))) {
		vinf_queue_wake(w->q);
		return true;
	}
	if (unlikely(w->idle))
		vinf_worker_learn(w);
	vinf_queue_turn(w->q);
	cond_resched();
	/*
	 * Look again before it sleeps: with false the thread asks the scheduler for somebody else
	 * to run, also if it is to go on. Often the turn's requests are done already.
	 */
	return true;
}

/* The owner's process is being killed; this is the last thing its worker does. */
static void vinf_worker_killed(void *data)
{
	struct vinf_worker *w = data;
	struct vinf_queue *q = w->q;
	unsigned long flags;

	spin_lock_irqsave(&q->wake_lock, flags);
	if (q->worker == w) {
		q->worker = NULL;
		/*
		 * Under the lock, or it could hit the next owner: the reaper takes it before it
		 * lets one in.
		 */
		vinf_dev_owner_died(q->dev);
	}
	spin_unlock_irqrestore(&q->wake_lock, flags);

	vinf_worker_leaves(w);
}

/**
 * vinf_worker_create - make the worker of a queue
 * @q: queue without a worker
 *
 * The worker becomes a thread of the calling process.
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0 or the errno of making a thread (-ENOMEM, -EAGAIN, -ERESTARTNOINTR).
 */
int vinf_worker_create(struct vinf_queue *q)
{
	struct vinf_worker *w;
	struct vhost_task *task;
	char name[VINF_NAME_LEN + 16];	/* what does not fit into a comm is cut there */

	lockdep_assert_held(&q->dev->lock);
	w = kzalloc(sizeof(*w), GFP_KERNEL);
	if (!w)
		return -ENOMEM;
	kref_init(&w->ref);
	w->q = q;
	init_completion(&w->gone);
	INIT_WORK(&w->reap, vinf_worker_reap);
	snprintf(name, sizeof(name), "vblk-%u-%s", q->vq.index, q->dev->name);
	task = vhost_task_create(vinf_worker_run, vinf_worker_killed, w, name);
	/* Which of the two it is on failure has changed within 6.12. */
	if (IS_ERR_OR_NULL(task)) {
		kfree(w);
		return task ? PTR_ERR(task) : -ENOMEM;
	}
	w->task = task;
	get_device(&q->dev->device);
	__module_get(THIS_MODULE);
	spin_lock_irq(&q->wake_lock);
	q->worker = w;
	spin_unlock_irq(&q->wake_lock);
	vhost_task_start(task);
	return 0;
}

/**
 * vinf_worker_retire - tell the worker of a queue to leave
 * @q: queue
 *
 * Returns at once: the worker may not be able to run.
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: the worker, to be given to vinf_worker_wait(), or NULL when there was none.
 */
struct vinf_worker *vinf_worker_retire(struct vinf_queue *q)
{
	struct vinf_worker *w;

	spin_lock_irq(&q->wake_lock);
	w = q->worker;
	q->worker = NULL;
	if (w) {
		kref_get(&w->ref);
		WRITE_ONCE(w->leave, true);
		/* The task is there: vinf_worker_reap() takes the lock before it frees it. */
		vhost_task_wake(w->task);
	}
	spin_unlock_irq(&q->wake_lock);
	return w;
}

/**
 * vinf_worker_wait - wait for a retired worker to be gone
 * @w: from vinf_worker_retire(), may be NULL
 * @deadline: in jiffies; what is left of the worker then goes on by itself
 *
 * Context: process, no lock that the worker takes.
 */
void vinf_worker_wait(struct vinf_worker *w, unsigned long deadline)
{
	if (!w)
		return;
	wait_for_completion_timeout(&w->gone, max((long)(deadline - jiffies), 0L));
	kref_put(&w->ref, vinf_worker_free);
}

/**
 * vinf_queue_wake - a turn of the queue is wanted
 * @q: queue
 *
 * Context: any.
 */
void vinf_queue_wake(struct vinf_queue *q)
{
	unsigned long flags;

	/*
	 * Whoever sets the bit wakes.  A full barrier, paired with the one of test_and_clear_bit()
	 * in vinf_worker_run(): either the turn that clears the bit sees what the caller did
	 * before, or the caller finds the bit clear and wakes.
	 */
	if (test_and_set_bit(VINF_Q_WORK, &q->flags))
		return;
	/* Not without the lock: the task may be freed as soon as it is not in q->worker. */
	spin_lock_irqsave(&q->wake_lock, flags);
	if (q->worker)
		vhost_task_wake(q->worker->task);
	spin_unlock_irqrestore(&q->wake_lock, flags);
}

/**
 * vinf_queue_done - a request came back from below
 * @q: its queue
 * @io: the request, @io->req.error set; not the caller's any more
 *
 * Context: any.
 */
void vinf_queue_done(struct vinf_queue *q, struct vinf_io *io)
{
	trace_vinf_done(q, &io->req);
	/*
	 * Once the request is on the list, somebody else may release it, and with the last one back
	 * the device may be destroyed, which waits for a grace period.
	 */
	rcu_read_lock();
	llist_add(&io->req.done, &q->vq.done);
	/*
	 * Pairs with smp_mb() in vinf_reap(): it drains the list after it set @dead.  And with
	 * test_and_clear_bit() in vinf_worker_run(): who finds the bit set need not set it, the
	 * turn that clears it sees the list.
	 */
	smp_mb__after_atomic();
	if (READ_ONCE(q->dead))
		queue_work(vinf_wq, &q->orphan_work);
	else if (!test_bit(VINF_Q_WORK, &q->flags))
		vinf_queue_wake(q);
	rcu_read_unlock();
}
