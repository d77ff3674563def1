// SPDX-License-Identifier: GPL-2.0
/*
 * What is in flight, request by request, for who looks on: VHOST_INFLIGHT_GET_REQUESTS.
 */
#include <linux/slab.h>

#include "vinf.h"

/* How long to wait for the end of a turn. */
#define VINF_LOOK_WAIT	HZ

/* Those that are in @io->ranges. */
static u32 vinf_io_nr_ranges(const struct vinf_io *io)
{
	bool has = (io->started || io->left) && vinf_io_changes(io) && io->req.op != VINF_OP_WRITE;

	return has && io->req.nr_ranges <= VINF_MAX_RANGES ? io->req.nr_ranges : 0;
}

/**
 * vinf_io_length - how much of the disk a request is about
 * @io: request
 *
 * Return: bytes, of all its ranges.
 */
u64 vinf_io_length(const struct vinf_io *io)
{
	u64 sectors = 0;
	u32 i;

	if (vinf_io_has_data(io))
		return io->req.len;
	for (i = 0; i < vinf_io_nr_ranges(io); i++)
		sectors += io->ranges[i].sectors;
	return sectors << SECTOR_SHIFT;
}

/**
 * vinf_io_sector - where a request begins on the disk
 * @io: request
 *
 * Return: in units of 512 bytes, of the first range of several.
 */
u64 vinf_io_sector(const struct vinf_io *io)
{
	return vinf_io_nr_ranges(io) ? io->ranges[0].sector : io->req.sector;
}

static void vinf_io_describe(const struct vinf_io *io, struct vhost_inflight_request *r)
{
	const struct vinf_req *req = &io->req;

	*r = (struct vhost_inflight_request){
		.counter = req->counter,
		.sector = vinf_io_sector(io),
		.length = vinf_io_length(io),
		.age_ms = jiffies_to_msecs((unsigned long)jiffies - (unsigned long)req->taken),
		.type = req->type,
		.id = req->id,
		.state = io->started || io->left ? READ_ONCE(io->state) :
						   VHOST_INFLIGHT_REQUEST_DONE,
	};
	if (r->state == VHOST_INFLIGHT_REQUEST_DONE || r->state == VHOST_INFLIGHT_REQUEST_PARKED)
		r->error = req->error;
	if (!io->started || vinf_io_rewindable(io))
		r->flags |= VHOST_INFLIGHT_REQUEST_REWINDABLE;
	if (READ_ONCE(io->q->dead))
		r->flags |= VHOST_INFLIGHT_REQUEST_ORPHAN;
}

/* Up to @room of them at @r.  Returns how many there are. */
static u32 vinf_queue_describe(const struct vinf_queue *q, struct vhost_inflight_request *r,
			       u32 room)
{
	u32 i, n = 0;

	lockdep_assert_held(&q->lock);
	for (i = 0; i < q->pool_num; i++) {
		const struct vinf_io *io = &q->pool[i];

		/*
		 * The disk's, or the engine's, which may hold back what has its answer, or kept of
		 * a queue that is stopped.  What it has found in a region and not begun again is
		 * not known yet.
		 */
		if (!io->started && !io->left &&
		    !(q->engine && i < q->vq.num && io->req.taken && q->engine->holds(&q->vq, i)))
			continue;
		if (n < room)
			vinf_io_describe(io, &r[n]);
		n++;
	}
	return n;
}

static int vinf_requests_copy(const struct vhost_inflight_requests *arg,
			      const struct vhost_inflight_request *r, u32 n)
{
	u32 i, size = min_t(u32, arg->request_size, sizeof(*r));
	u8 __user *to = u64_to_user_ptr(arg->requests);

	for (i = 0; i < n; i++, to += arg->request_size) {
		if (copy_to_user(to, &r[i], size) ||
		    clear_user(to + size, arg->request_size - size))
			return -EFAULT;
	}
	return 0;
}

/**
 * vinf_get_requests - list what a queue has in flight
 * @dev: device
 * @arg: see there; @count is filled in
 *
 * Context: process, may sleep; no lock of the device held.
 *
 * Return: 0, or an errno of VHOST_INFLIGHT_GET_REQUESTS.
 */
int vinf_get_requests(struct vinf_dev *dev, struct vhost_inflight_requests *arg)
{
	struct vhost_inflight_request *r;
	struct vinf_queue *q;
	u32 room;
	int ret;

	if (arg->index >= dev->nr_queues)
		return -ENOBUFS;
	if (arg->request_size < offsetofend(struct vhost_inflight_request, reserved))
		return -EINVAL;
	q = &dev->queue[array_index_nospec(arg->index, dev->nr_queues)];
	room = min_t(u32, arg->room, VINF_MAX_QUEUE_SIZE);
	r = kvcalloc(room, sizeof(*r), GFP_KERNEL_ACCOUNT);
	if (!r)
		return -ENOMEM;
	ret = vinf_queue_lock_until(q, jiffies + VINF_LOOK_WAIT);
	if (!ret) {
		arg->count = vinf_queue_describe(q, r, room);
		mutex_unlock(&q->lock);
		ret = vinf_requests_copy(arg, r, min(arg->count, room));
	}
	kvfree(r);
	return ret;
}
