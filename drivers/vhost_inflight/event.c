// SPDX-License-Identifier: GPL-2.0
/*
 * Events: what a supervisor wants to know without asking.  A device keeps the last few; each open
 * file sees each of them once.
 */
#include <linux/timekeeping.h>

#include "vinf.h"

void vinf_events_init(struct vinf_events *events)
{
	spin_lock_init(&events->lock);
	init_waitqueue_head(&events->wait);
}

static struct vhost_inflight_event *vinf_event_at(struct vinf_events *events, u64 seq)
{
	return &events->ring[seq % VINF_NR_EVENTS_KEPT];
}

/**
 * vinf_event - something happened
 * @dev: device
 * @type: enum vhost_inflight_event_type
 * @q: queue it is about, or NULL
 * @io: request it is about, or NULL
 * @err: 0 or -errno
 *
 * Context: any.
 */
void vinf_event(struct vinf_dev *dev, u32 type, const struct vinf_queue *q,
		const struct vinf_io *io, int err)
{
	struct vinf_events *events = &dev->events;
	struct vhost_inflight_event e = {
		.type = type,
		.time_ns = ktime_get_boottime_ns(),
		.error = err,
		.parked = atomic_read(&dev->parked),
		.index = q ? q->vq.index : 0,
	};
	unsigned long flags;

	if (io) {
		e.counter = io->req.counter;
		e.sector = vinf_io_sector(io);
		e.length = vinf_io_length(io);
		e.request_type = io->req.type;
		e.id = io->req.id;
	}
	spin_lock_irqsave(&events->lock, flags);
	e.seq = ++events->seq;
	*vinf_event_at(events, e.seq) = e;
	spin_unlock_irqrestore(&events->lock, flags);
	wake_up_interruptible_poll(&events->wait, EPOLLIN | EPOLLRDNORM);
}

/**
 * vinf_event_next - the next event a file has not seen
 * @vf: file
 * @e: filled
 *
 * It counts as seen only after vinf_event_seen().
 *
 * Context: process.
 *
 * Return: 0, or -EAGAIN when there is none.
 */
int vinf_event_next(struct vinf_file *vf, struct vhost_inflight_event *e)
{
	struct vinf_events *events = &vf->dev->events;
	u64 seq, lost = 0;
	int ret = 0;

	spin_lock_irq(&events->lock);
	seq = vf->seen + 1;
	if (seq + VINF_NR_EVENTS_KEPT <= events->seq) {
		lost = events->seq - VINF_NR_EVENTS_KEPT + 1 - seq;
		seq = events->seq - VINF_NR_EVENTS_KEPT + 1;
	}
	if (seq > events->seq) {
		ret = -EAGAIN;
	} else {
		*e = *vinf_event_at(events, seq);
		e->lost = lost;
	}
	spin_unlock_irq(&events->lock);
	return ret;
}

/* A file that is being opened: it missed nothing, as it was not there. */
void vinf_event_open(struct vinf_file *vf)
{
	struct vinf_events *events = &vf->dev->events;

	spin_lock_irq(&events->lock);
	vf->seen = events->seq > VINF_NR_EVENTS_KEPT ? events->seq - VINF_NR_EVENTS_KEPT : 0;
	spin_unlock_irq(&events->lock);
}

/* The file has event number @seq. */
void vinf_event_seen(struct vinf_file *vf, u64 seq)
{
	struct vinf_events *events = &vf->dev->events;

	spin_lock_irq(&events->lock);
	vf->seen = max(vf->seen, seq);
	spin_unlock_irq(&events->lock);
}

/* Is there an event that a file has not seen? */
bool vinf_event_pending(struct vinf_file *vf)
{
	struct vinf_events *events = &vf->dev->events;
	bool ret;

	spin_lock_irq(&events->lock);
	ret = vf->seen < events->seq;
	spin_unlock_irq(&events->lock);
	return ret;
}
