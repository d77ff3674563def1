/* SPDX-License-Identifier: GPL-2.0 */
/* The inflight region, as who holds the descriptor sees it. */
#ifndef VBLK_INFLIGHT_H
#define VBLK_INFLIGHT_H

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vblk_dev.h"

/* What was got or is to be set, and where it is mapped. */
struct vd_inflight {
	struct vhost_inflight_fd arg;
	bool packed;
	void *map;
};

static inline int vd_inflight_get(struct vd *d, struct vhost_inflight_fd *arg)
{
	memset(arg, 0, sizeof(*arg));
	arg->size = sizeof(*arg);
	return vd_ioctl(d, VHOST_INFLIGHT_GET_FD, arg);
}

static inline int vd_inflight_set(struct vd *d, const struct vhost_inflight_fd *arg)
{
	struct vhost_inflight_fd copy = *arg;

	copy.size = sizeof(copy);
	copy.flags = 0;
	return vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &copy);
}

/* To keep: descriptor and mapping stay until the process ends. */
static inline int vd_inflight_take(struct vd *d, struct vd_inflight *r, bool packed)
{
	int ret = vd_inflight_get(d, &r->arg);

	if (ret)
		return ret;
	r->packed = packed;
	r->map = mmap(NULL, r->arg.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, r->arg.fd, r->arg.mmap_offset);
	return r->map == MAP_FAILED ? -1 : 0;
}

static inline size_t vd_inflight_stride(const struct vd_inflight *r)
{
	return r->packed ? VHOST_INFLIGHT_STRIDE_PACKED(r->arg.queue_size) :
			   VHOST_INFLIGHT_STRIDE_SPLIT(r->arg.queue_size);
}

static inline struct vhost_inflight_region_split *vd_inflight_split(const struct vd_inflight *r, unsigned int queue)
{
	return r->map + queue * vd_inflight_stride(r);
}

static inline struct vhost_inflight_region_packed *vd_inflight_packed(const struct vd_inflight *r, unsigned int queue)
{
	return r->map + queue * vd_inflight_stride(r);
}

/* Buffers of a queue that are in flight, by head or id. */
static inline unsigned int vd_inflight_heads(const struct vd_inflight *r, unsigned int queue, __u16 *heads)
{
	struct vhost_inflight_region_packed *p = vd_inflight_packed(r, queue);
	struct vhost_inflight_region_split *s = vd_inflight_split(r, queue);
	unsigned int i, n = 0;

	for (i = 0; i < r->arg.queue_size; i++) {
		if (!(r->packed ? p->desc[i].inflight : s->desc[i].inflight))
			continue;
		if (heads)
			heads[n] = r->packed ? p->desc[p->desc[i].last % r->arg.queue_size].id : i;
		n++;
	}
	return n;
}

/* The counter of one that is in flight, by head or id. */
static inline __u64 vd_inflight_counter(const struct vd_inflight *r, unsigned int queue, __u16 head)
{
	struct vhost_inflight_region_packed *p = vd_inflight_packed(r, queue);
	unsigned int i;

	if (!r->packed)
		return vd_inflight_split(r, queue)->desc[head].counter;
	for (i = 0; i < r->arg.queue_size; i++)
		if (p->desc[i].inflight && p->desc[p->desc[i].last % r->arg.queue_size].id == head)
			return p->desc[i].counter;
	return 0;
}

/* Until there are @n. */
static inline int vd_inflight_wait(const struct vd_inflight *r, unsigned int queue, unsigned int n)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	while (vd_inflight_heads(r, queue, NULL) != n)
		if (vd_now_ms() > end)
			return -1;
	return 0;
}

/* Until the device has taken all that was made available; it may be done with it, too. */
static inline int vd_until_taken(const struct vd_queue *q)
{
	struct vhost_inflight_queue_info info;
	long end = vd_now_ms() + VD_WAIT_MS;
	int ret;

	do {
		ret = vd_qinfo(q->d, q->index, &info);
		if (ret || info.avail_idx == (__u16)q->ops->base(q))
			return ret;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

static inline ino_t vd_ino(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

/* Which file the device has at the moment; 0 for none. */
static inline ino_t vd_inflight_ino(struct vd *d)
{
	struct vhost_inflight_fd arg;
	ino_t ino;

	if (vd_inflight_get(d, &arg))
		return 0;
	ino = vd_ino(arg.fd);
	close(arg.fd);
	return ino;
}

/* Of a queue, how many there are, or -errno. */
static inline int vd_requests(struct vd *d, unsigned int queue, struct vhost_inflight_request *r, unsigned int room)
{
	struct vhost_inflight_requests arg = {
		.size = sizeof(arg), .index = queue, .request_size = sizeof(*r), .room = room,
		.requests = (unsigned long)r,
	};
	int ret = vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg);

	return ret ?: (int)arg.count;
}

/* How many of @n requests are in @state; none of -errno. */
static inline int vd_in_state(const struct vhost_inflight_request *r, int n, __u8 state)
{
	int in = 0;

	for (int i = 0; i < n; i++)
		in += r[i].state == state;
	return in;
}

/* Until there are @n in a queue, all of them in @state; they are in @r then. */
static inline int vd_settled(struct vd *d, unsigned int queue, struct vhost_inflight_request *r, int n, __u8 state)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	int got;

	do {
		got = vd_requests(d, queue, r, n);
		if (got < 0 || (got == n && vd_in_state(r, n, state) == n))
			return got < 0 ? got : 0;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

/* Until the disk has so many of the first queue's, refused so many, and there are no others; they are in @r then. */
static inline int vd_until_at_disk(struct vd *d, struct vhost_inflight_request *r, unsigned int room, int submitted,
				   int refused)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	int n;

	do {
		n = vd_requests(d, 0, r, room);
		if (n < 0 || (n == submitted + refused &&
			      vd_in_state(r, n, VHOST_INFLIGHT_REQUEST_SUBMITTED) == submitted &&
			      vd_in_state(r, n, VHOST_INFLIGHT_REQUEST_REFUSED) == refused))
			return n < 0 ? n : 0;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

#endif /* VBLK_INFLIGHT_H */
