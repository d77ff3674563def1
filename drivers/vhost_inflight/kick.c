// SPDX-License-Identifier: GPL-2.0
/*
 * Kicks: the eventfd a driver's notifications arrive on.  It is only listened to, never read, like
 * an irqfd.
 */
#include <linux/file.h>

#include "vinf.h"
#include "trace.h"

/* Any context, irqs off, the eventfd's wait queue locked. */
static int vinf_kick_wakeup(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct vinf_queue *q = container_of(wait, struct vinf_queue, kick_wait);

	if (!(key_to_poll(key) & EPOLLIN))
		return 0;
	atomic64_inc(&q->kicks);
	trace_vinf_kick(q);
	vinf_queue_wake(q);
	return 0;
}

static void vinf_kick_queue_proc(struct file *file, wait_queue_head_t *wqh, poll_table *pt)
{
	struct vinf_queue *q = container_of(pt, struct vinf_queue, kick_pt);

	q->kick_wqh = wqh;
	add_wait_queue(wqh, &q->kick_wait);
}

/**
 * vinf_kick_bind - listen to an eventfd
 * @q: queue
 * @fd: eventfd; -1 only stops listening to the old one
 *
 * A count the eventfd has already is a kick: QEMU hands over one with a count of 1.  A kick while
 * the queue does not run is latched: a start looks at the rings once.
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0; -EBADF for a file that is not open, -EINVAL for one that is not an eventfd.
 */
int vinf_kick_bind(struct vinf_queue *q, int fd)
{
	struct file *file = NULL;

	lockdep_assert_held(&q->dev->lock);
	if (fd != VHOST_FILE_UNBIND) {
		file = eventfd_fget(fd);
		if (IS_ERR(file))
			return PTR_ERR(file);
	}
	vinf_kick_unbind(q);
	if (!file)
		return 0;
	q->kick = file;
	init_waitqueue_func_entry(&q->kick_wait, vinf_kick_wakeup);
	init_poll_funcptr(&q->kick_pt, vinf_kick_queue_proc);
	if (vfs_poll(file, &q->kick_pt) & EPOLLIN) {
		atomic64_inc(&q->kicks);
		vinf_queue_wake(q);
	}
	return 0;
}

/* The wake-up function of the old eventfd does not run any more when this returns. */
void vinf_kick_unbind(struct vinf_queue *q)
{
	if (!q->kick)
		return;
	if (q->kick_wqh)
		remove_wait_queue(q->kick_wqh, &q->kick_wait);
	q->kick_wqh = NULL;
	fput(q->kick);
	q->kick = NULL;
}
