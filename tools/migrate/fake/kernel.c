// SPDX-License-Identifier: GPL-2.0
/*
 * The system calls on a node, for the device in userspace: the linker puts these functions in the
 * place of the real ones.  Nodes are /fake/A and /fake/B; what is different about B is in
 * FAKE_OTHER.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>

#include "fake/fake.h"

#define BIT(nr)	(1ULL << (nr))

static struct fake *dev;
/* Requests that its disk did not answer before it was closed. */
static unsigned int left;

static bool other(const char *what)
{
	const char *want = getenv("FAKE_OTHER");

	return dev->name == 'B' && want && !strcmp(want, what);
}

static int ret_of(int ret)
{
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

static unsigned int orphans(const struct fake *f)
{
	if (left && !fake_hangs(f))
		left = 0;
	return left;
}

/* What to wait for: kicks are latched while it stands still.  How long. */
static int watch(struct fake *f, struct pollfd *p)
{
	bool still = f->stop_state == VHOST_INFLIGHT_STATE_STOPPED && !f->wild;
	bool busy = f->stop_state || f->wild;

	for (unsigned int i = 0; i < f->queues; i++) {
		p[i] = (struct pollfd){
			.fd = f->stop_state ? -1 : f->queue[i].kick, .events = POLLIN,
		};
		busy |= f->queue[i].out;
	}
	p[f->queues] = (struct pollfd){ .fd = f->wake, .events = POLLIN };
	return busy && !still ? 1 : -1;
}

static void *run(void *arg)
{
	struct fake *f = arg;
	struct pollfd p[FAKE_MAX_QUEUES + 1];
	uint64_t n;
	int ms;

	pthread_mutex_lock(&f->lock);
	while (!f->end) {
		ms = watch(f, p);
		pthread_mutex_unlock(&f->lock);
		poll(p, f->queues + 1, ms);
		pthread_mutex_lock(&f->lock);
		for (unsigned int i = 0; i <= f->queues; i++)
			if (p[i].revents && read(p[i].fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
				abort();
		fake_turn(f);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

int __wrap_open(const char *path, int flags, ...)
{
	va_list ap;
	int mode;

	if (strncmp(path, "/fake/", 6)) {
		va_start(ap, flags);
		mode = va_arg(ap, int);
		va_end(ap);
		return __real_open(path, flags, mode);
	}
	if (dev || (strcmp(path, "/fake/A") && strcmp(path, "/fake/B")))
		return ret_of(-ENOENT);
	dev = calloc(1, sizeof(*dev));
	dev->name = path[6];
	dev->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	dev->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	dev->config_call = -1;
	dev->region_fd = -1;
	dev->queues = other("queues") ? 3 : 2;
	for (unsigned int i = 0; i < FAKE_MAX_QUEUES; i++) {
		dev->queue[i].kick = -1;
		dev->queue[i].call = -1;
	}
	pthread_mutex_init(&dev->lock, NULL);
	srandom(getpid());
	return dev->fd;
}

static void wake(struct fake *f)
{
	uint64_t one = 1;

	if (__real_write(f->wake, &one, sizeof(one)) != sizeof(one))
		abort();
}

int __wrap_close(int fd)
{
	struct fake *f = dev;

	if (!f || fd != f->fd)
		return __real_close(fd);
	if (f->running) {
		pthread_mutex_lock(&f->lock);
		f->end = true;
		wake(f);
		pthread_mutex_unlock(&f->lock);
		pthread_join(f->thread, NULL);
		left = fake_hanging(f);
	}
	if (f->region)
		munmap(f->region, fake_stride(f) * f->queues);
	if (f->region_fd >= 0)
		__real_close(f->region_fd);
	if (f->log)
		munmap(f->log, f->log_size);
	for (unsigned int i = 0; i < FAKE_MAX_QUEUES; i++) {
		if (f->queue[i].kick >= 0)
			__real_close(f->queue[i].kick);
		if (f->queue[i].call >= 0)
			__real_close(f->queue[i].call);
	}
	__real_close(f->wake);
	if (f->config_call >= 0)
		__real_close(f->config_call);
	dev = NULL;
	free(f);
	return __real_close(fd);
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	const struct vhost_msg_v2 *msg = buf;

	if (!dev || fd != dev->fd || len != sizeof(*msg))
		return __real_write(fd, buf, len);
	dev->map = msg->iotlb;
	return len;
}

/* ---- ioctls ---- */

static int get_info(struct fake *f, struct vhost_inflight_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	info->num_queues = f->queues;
	info->queue_size = other("size") ? FAKE_QUEUE_SIZE / 2 : FAKE_QUEUE_SIZE;
	info->parked = fake_parked(f);
	info->orphans = orphans(f);
	memcpy(info->serial, other("serial") ? "another" : "fake\0\0\0", 7);
	return 0;
}

static uint64_t offered(void)
{
	uint64_t features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM) |
		BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |
		BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_MQ);

	return other("features") ? features & ~BIT(VIRTIO_RING_F_EVENT_IDX) : features;
}

static int set_status(struct fake *f, uint8_t status)
{
	bool stop = status & VHOST_INFLIGHT_S_STOP;
	int ret;

	if (status & VIRTIO_CONFIG_S_DRIVER_OK && !f->running) {
		ret = orphans(f) ? -EBUSY : other("start") ? -EUCLEAN : fake_start(f);
		if (ret)
			return ret;
		f->running = true;
		pthread_create(&f->thread, NULL, run, f);
	}
	f->status = status & ~VHOST_INFLIGHT_S_STOP;
	if (stop && f->stop_state != VHOST_INFLIGHT_STATE_STOPPED) {
		f->stop_state = VHOST_INFLIGHT_STATE_STOPPING;
		f->stop_begin = fake_now_ms();
		for (unsigned int i = 0; i < f->queues; i++)
			f->queue[i].published = 0;
	}
	if (!stop && f->stop_state) {
		f->stop_state = 0;
		fake_event(f, VHOST_INFLIGHT_EVENT_RESUMED);
	}
	wake(f);
	return 0;
}

static int set_fd(struct fake *f, const struct vhost_inflight_fd *arg)
{
	if (f->running || orphans(f))
		return -EBUSY;
	if (arg->num_queues != f->queues || arg->mmap_size != fake_stride(f) * f->queues)
		return -EMSGSIZE;
	f->region_fd = dup(arg->fd);
	f->handed = true;
	return 0;
}

static int get_fd(struct fake *f, struct vhost_inflight_fd *arg)
{
	if (!f->region)
		return -ENODATA;
	*arg = (struct vhost_inflight_fd){
		.size = sizeof(*arg), .fd = dup(f->region_fd), .num_queues = f->queues,
		.mmap_size = fake_stride(f) * f->queues, .queue_size = FAKE_QUEUE_SIZE,
	};
	return 0;
}

static int set_log(struct fake *f, const struct vhost_inflight_log *arg)
{
	if (!(f->backend & BIT(VHOST_INFLIGHT_BACKEND_F_LOG)))
		return -EOPNOTSUPP;
	if (f->log)
		munmap(f->log, f->log_size);
	f->log = NULL;
	f->log_size = arg->mmap_size;
	if (arg->fd >= 0)
		f->log = mmap(NULL, f->log_size, PROT_READ | PROT_WRITE, MAP_SHARED, arg->fd, 0);
	return 0;
}

static int set_stop(struct fake *f, const struct vhost_inflight_stop *arg)
{
	if (!(f->backend & BIT(VHOST_INFLIGHT_BACKEND_F_STOP)))
		return -EOPNOTSUPP;
	f->stop_mode = arg->mode;
	f->stop_deadline = arg->deadline_ms;
	return 0;
}

static int get_stop(struct fake *f, struct vhost_inflight_stop_info *arg)
{
	const struct fake_queue *q = &f->queue[arg->index];

	arg->mode = f->stop_mode;
	arg->state = f->stop_state ?: VHOST_INFLIGHT_STATE_RUNNING;
	arg->elapsed_ms = f->stop_end - f->stop_begin;
	arg->published = q->published;
	arg->kept = f->stop_mode == VHOST_INFLIGHT_STOP_PRESERVE ? fake_kept(q) : 0;
	arg->out = q->out - arg->kept;
	arg->rewindable = 0;
	for (unsigned int i = 0; i < FAKE_QUEUE_SIZE; i++)
		arg->rewindable += q->req[i].state == FAKE_SUBMITTED &&
				   q->req[i].type == VIRTIO_BLK_T_IN;
	return 0;
}

static int get_requests(struct fake *f, struct vhost_inflight_requests *arg)
{
	struct vhost_inflight_request *to = (void *)(uintptr_t)arg->requests;
	const struct fake_queue *q = &f->queue[arg->index];

	arg->count = 0;
	if (!f->running && fake_defect("lands"))
		to[arg->count++] = (struct vhost_inflight_request){ .type = VIRTIO_BLK_T_OUT };
	for (unsigned int i = 0; i < FAKE_QUEUE_SIZE; i++) {
		const struct fake_request *r = &q->req[i];

		if (!r->state || arg->count == arg->room)
			continue;
		to[arg->count++] = (struct vhost_inflight_request){
			.counter = r->counter, .sector = r->sector, .type = r->type, .id = r->id,
			.state = r->state == FAKE_PARKED ? VHOST_INFLIGHT_REQUEST_PARKED :
				 VHOST_INFLIGHT_REQUEST_SUBMITTED,
			.flags = r->type == VIRTIO_BLK_T_IN ? VHOST_INFLIGHT_REQUEST_REWINDABLE : 0,
		};
	}
	return 0;
}

static int get_event(struct fake *f, struct vhost_inflight_event *arg)
{
	uint64_t n;

	if (!f->events)
		return -EAGAIN;
	arg->type = f->event[0];
	memmove(f->event, f->event + 1, --f->events * sizeof(f->event[0]));
	if (!f->events && read(f->fd, &n, sizeof(n)) < 0)
		abort();
	return 0;
}

static int get_config(const struct vhost_vdpa_config *want, uint8_t *to)
{
	struct virtio_blk_config c = { .capacity = fake_capacity() };
	uint8_t all[72] = {};

	if (other("capacity"))
		c.capacity -= 8;
	memcpy(all, &c, sizeof(c) < sizeof(all) ? sizeof(c) : sizeof(all));
	memcpy(to, all + want->off, want->len);
	return 0;
}

static int vring(struct fake *f, unsigned long cmd, void *arg)
{
	struct fake_queue *q = &f->queue[*(uint32_t *)arg];
	const struct vhost_vring_file *file = arg;
	struct vhost_vring_state *state = arg;

	if (state->index >= f->queues)
		return -ENOBUFS;
	switch (cmd) {
	case VHOST_SET_VRING_NUM:
		q->num = state->num;
		return 0;
	case VHOST_SET_VRING_BASE:
		q->base = state->num;
		q->based = true;
		return 0;
	case VHOST_GET_VRING_BASE:
		state->num = fake_get_base(f, state->index);
		return 0;
	case VHOST_SET_VRING_ADDR:
		q->addr = *(struct vhost_vring_addr *)arg;
		return 0;
	case VHOST_SET_VRING_KICK:
		q->kick = dup(file->fd);
		return 0;
	case VHOST_SET_VRING_CALL:
		q->call = dup(file->fd);
		return 0;
	case VHOST_VDPA_SET_VRING_ENABLE:
		return 0;
	}
	return -ENOTTY;
}

static int command(struct fake *f, unsigned long cmd, void *arg)
{
	uint64_t backend = BIT(VHOST_BACKEND_F_IOTLB_MSG_V2);

	switch (cmd) {
	case VHOST_SET_OWNER:
		return 0;
	case VHOST_GET_FEATURES:
		*(uint64_t *)arg = offered();
		return 0;
	case VHOST_SET_FEATURES:
		f->features = *(uint64_t *)arg;
		return f->features & ~offered() ? -EINVAL : 0;
	case VHOST_GET_BACKEND_FEATURES:
		if (!fake_defect("no-log"))
			backend |= BIT(VHOST_INFLIGHT_BACKEND_F_LOG);
		if (!fake_defect("no-stop"))
			backend |= BIT(VHOST_INFLIGHT_BACKEND_F_STOP);
		*(uint64_t *)arg = backend;
		return 0;
	case VHOST_SET_BACKEND_FEATURES:
		f->backend = *(uint64_t *)arg;
		return 0;
	case VHOST_VDPA_GET_STATUS:
		*(uint8_t *)arg = f->status | (f->stop_state == VHOST_INFLIGHT_STATE_STOPPED ?
					       VHOST_INFLIGHT_S_STOP : 0);
		return 0;
	case VHOST_VDPA_SET_STATUS:
		return set_status(f, *(uint8_t *)arg);
	case VHOST_VDPA_SET_CONFIG_CALL:
		f->config_call = dup(*(int *)arg);
		return 0;
	case VHOST_VDPA_GET_CONFIG_SIZE:
		*(uint32_t *)arg = 72;
		return 0;
	case VHOST_VDPA_GET_CONFIG:
		return get_config(arg, ((struct vhost_vdpa_config *)arg)->buf);
	case VHOST_INFLIGHT_GET_INFO:
		return get_info(f, arg);
	case VHOST_INFLIGHT_SET_FD:
		return set_fd(f, arg);
	case VHOST_INFLIGHT_GET_FD:
		return get_fd(f, arg);
	case VHOST_INFLIGHT_SET_LOG:
		return set_log(f, arg);
	case VHOST_INFLIGHT_SET_STOP:
		return set_stop(f, arg);
	case VHOST_INFLIGHT_GET_STOP:
		return get_stop(f, arg);
	case VHOST_INFLIGHT_GET_REQUESTS:
		return get_requests(f, arg);
	case VHOST_INFLIGHT_GET_EVENT:
		return get_event(f, arg);
	}
	return vring(f, cmd, arg);
}

int __wrap_ioctl(int fd, unsigned long cmd, ...)
{
	va_list ap;
	void *arg;
	int ret;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!dev || fd != dev->fd)
		return __real_ioctl(fd, cmd, arg);
	pthread_mutex_lock(&dev->lock);
	ret = command(dev, cmd, arg);
	pthread_mutex_unlock(&dev->lock);
	return ret_of(ret);
}
