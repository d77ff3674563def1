// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/vhost.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>

#include "vdpa.h"

#define BIT(nr)		(1ULL << (nr))
#define BACKEND		(BIT(VHOST_BACKEND_F_IOTLB_MSG_V2) | BIT(VHOST_INFLIGHT_BACKEND_F_LOG) | \
			 BIT(VHOST_INFLIGHT_BACKEND_F_STOP))
#define PATIENCE_MS	10000	/* for an owner before that is not over yet */
#define SLACK_MS	5000	/* beyond a deadline, to say that it is over */
#define MAX_SAID	4	/* requests of a queue that are told one by one */

#define S_READY		(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | \
			 VIRTIO_CONFIG_S_FEATURES_OK)

static int call(const struct vdpa *d, const char *what, unsigned long cmd, const void *arg)
{
	if (ioctl(d->fd, cmd, arg) >= 0)
		return 0;
	return failed("%s: %s: %s", d->node, what, strerror(errno));
}

#define CALL(d, cmd, arg)	call(d, #cmd, cmd, arg)

/* The same with patience for EBUSY: the owner before, or its requests at the disk. */
static int call_patiently(const struct vdpa *d, const char *what, unsigned long cmd,
			  const void *arg)
{
	uint64_t end = now_ns() + PATIENCE_MS * 1000000ULL;
	int ret;

	do {
		ret = call(d, what, cmd, arg);
	} while (ret && errno == EBUSY && now_ns() < end && !poll(NULL, 0, 1));
	return ret;
}

#define CALL_PATIENTLY(d, cmd, arg)	call_patiently(d, #cmd, cmd, arg)

static int set_status(struct vdpa *d, uint8_t status)
{
	if (CALL_PATIENTLY(d, VHOST_VDPA_SET_STATUS, &status))
		return -1;
	d->status = status;
	return 0;
}

static int get_info(const struct vdpa *d, struct vhost_inflight_info *info)
{
	*info = (struct vhost_inflight_info){ .size = sizeof(*info) };
	return CALL(d, VHOST_INFLIGHT_GET_INFO, info);
}

static int get_config(struct vdpa *d)
{
	struct vhost_vdpa_config *config;
	int ret;

	if (CALL(d, VHOST_VDPA_GET_CONFIG_SIZE, &d->config_len))
		return -1;
	if (d->config_len > MAX_CONFIG)
		return failed("%s has %u bytes of configuration", d->node, d->config_len);
	config = calloc(1, sizeof(*config) + d->config_len);
	if (!config)
		return failed("no memory");
	config->len = d->config_len;
	ret = CALL(d, VHOST_VDPA_GET_CONFIG, config);
	if (!ret)
		memcpy(d->config, config->buf, d->config_len);
	free(config);
	return ret;
}

int vdpa_open(struct vdpa *d, const char *node)
{
	*d = (struct vdpa){ .node = node, .region = -1 };
	d->fd = open(node, O_RDWR | O_CLOEXEC);
	d->config_call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (d->fd < 0 || d->config_call < 0)
		return failed("%s can't be opened: %s", node, strerror(errno));
	if (get_info(d, &d->info))
		return failed("%s is not the node of a vhost-blk device", node);
	return CALL(d, VHOST_GET_FEATURES, &d->features) ?: get_config(d);
}

void vdpa_close(struct vdpa *d)
{
	if (d->fd >= 0)
		close(d->fd);
	if (d->region >= 0)
		close(d->region);
	if (d->config_call >= 0)
		close(d->config_call);
	d->fd = -1;
	d->region = -1;
	d->config_call = -1;
}

/* ---- from nothing to DRIVER_OK ---- */

static int map(struct vdpa *d, const struct machine *m, void *ram)
{
	struct vhost_msg_v2 msg = {
		.type = VHOST_IOTLB_MSG_V2,
		.iotlb = { .iova = m->iova, .size = m->size, .uaddr = (unsigned long)ram,
			   .perm = VHOST_ACCESS_RW, .type = VHOST_IOTLB_UPDATE },
	};

	if (write(d->fd, &msg, sizeof(msg)) == sizeof(msg))
		return 0;
	return failed("%s: the guest's memory can't be mapped: %s", d->node, strerror(errno));
}

int vdpa_own(struct vdpa *d, const struct machine *m, void *ram)
{
	uint64_t features = m->features, backend = 0;

	if (CALL(d, VHOST_GET_BACKEND_FEATURES, &backend))
		return -1;
	/* What it lacks of ours is missed when it is wanted. */
	backend &= BACKEND;
	return CALL_PATIENTLY(d, VHOST_SET_OWNER, NULL) ?:
	       CALL(d, VHOST_SET_BACKEND_FEATURES, &backend) ?:
	       set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE) ?:
	       set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER) ?:
	       CALL(d, VHOST_SET_FEATURES, &features) ?:
	       set_status(d, S_READY) ?:
	       CALL(d, VHOST_VDPA_SET_CONFIG_CALL, &d->config_call) ?:
	       map(d, m, ram);
}

static int set_queue(struct vdpa *d, const struct machine *m, const struct guest *g,
		     const struct stand *st, unsigned int i)
{
	struct vhost_vring_state num = { i, m->num }, base = { i, st ? st->base[i] : 0 };
	struct vhost_vring_state on = { i, 1 };
	struct vhost_vring_file kick = { i, g->kick[i] }, irq = { i, g->call[i] };
	struct vhost_vring_addr addr = {
		.index = i, .desc_user_addr = m->ring[i].desc,
		.avail_user_addr = m->ring[i].driver, .used_user_addr = m->ring[i].device,
	};

	return CALL(d, VHOST_SET_VRING_NUM, &num) ?:
	       CALL(d, VHOST_SET_VRING_ADDR, &addr) ?:
	       (st && st->based ? CALL(d, VHOST_SET_VRING_BASE, &base) : 0) ?:
	       CALL(d, VHOST_SET_VRING_KICK, &kick) ?:
	       CALL(d, VHOST_SET_VRING_CALL, &irq) ?:
	       CALL(d, VHOST_VDPA_SET_VRING_ENABLE, &on);
}

/* A memfd of our own: the device goes on writing the region there. */
static int set_region(struct vdpa *d, const struct machine *m, const void *region, uint64_t size)
{
	struct vhost_inflight_fd arg = {
		.size = sizeof(arg), .fd = memfd_create("inflight", MFD_CLOEXEC),
		.mmap_size = size, .num_queues = m->num_queues, .queue_size = m->queue_size,
	};
	int ret;

	if (arg.fd < 0 || pwrite(arg.fd, region, size, 0) != (ssize_t)size)
		ret = failed("no memory for the inflight region: %s", strerror(errno));
	else
		ret = CALL_PATIENTLY(d, VHOST_INFLIGHT_SET_FD, &arg);
	if (arg.fd >= 0)
		close(arg.fd);
	return ret;
}

int vdpa_queues(struct vdpa *d, const struct machine *m, const struct guest *g,
		const struct stand *st, const void *region)
{
	int ret = 0;

	for (unsigned int i = 0; i < m->queues && !ret; i++)
		ret = set_queue(d, m, g, st, i);
	return ret || !st ? ret : set_region(d, m, region, st->region_size);
}

int vdpa_run(struct vdpa *d)
{
	return set_status(d, S_READY | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* ---- the log ---- */

int vdpa_log(struct vdpa *d, int fd, uint64_t size)
{
	struct vhost_inflight_log arg = {
		.size = sizeof(arg), .fd = fd, .mmap_size = size, .iova = GUEST_IOVA,
	};

	if (ioctl(d->fd, VHOST_INFLIGHT_SET_LOG, &arg) >= 0)
		return 0;
	if (errno == EOPNOTSUPP)
		return failed("%s has no log of what it writes, without which a guest can't move",
			      d->node);
	return failed("%s: VHOST_INFLIGHT_SET_LOG: %s", d->node, strerror(errno));
}

/* ---- the stop ---- */

/* Until its configuration or its status has changed; false when that takes too long. */
static bool told(const struct vdpa *d, uint64_t end)
{
	struct pollfd p = { .fd = d->config_call, .events = POLLIN };
	uint64_t now, n;

	while ((now = now_ns()) < end)
		if (poll(&p, 1, (end - now) / 1000000 + 1) > 0)
			return read(d->config_call, &n, sizeof(n)) == sizeof(n);
	return false;
}

static int get_stop(const struct vdpa *d, unsigned int index, struct vhost_inflight_stop_info *info)
{
	*info = (struct vhost_inflight_stop_info){ .size = sizeof(*info), .index = index };
	return CALL(d, VHOST_INFLIGHT_GET_STOP, info);
}

/* After the eventfd has said so: whether it is over.  1, 0, or -1. */
static int stop_over(const struct vdpa *d)
{
	struct vhost_inflight_stop_info info;
	uint8_t status = 0;
	bool still;

	if (CALL(d, VHOST_VDPA_GET_STATUS, &status) || get_stop(d, 0, &info))
		return -1;
	still = info.state == VHOST_INFLIGHT_STATE_STOPPED;
	if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return failed("%s wants a reset: the guest broke a ring", d->node);
	if (!!(status & VHOST_INFLIGHT_S_STOP) != still)
		return failed("%s: the status is %#x, and the state of the stop %u", d->node,
			      status, info.state);
	return info.state != VHOST_INFLIGHT_STATE_STOPPING;
}

static int stop_begin(struct vdpa *d, const struct stop *s)
{
	struct vhost_inflight_stop arg = {
		.size = sizeof(arg), .mode = s->mode, .deadline_ms = s->deadline_ms,
	};
	uint8_t status = d->status | VHOST_INFLIGHT_S_STOP;
	uint64_t n;

	/* What was told before is of no interest. */
	if (read(d->config_call, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return failed("%s: the configuration eventfd: %s", d->node, strerror(errno));
	if (ioctl(d->fd, VHOST_INFLIGHT_SET_STOP, &arg) < 0)
		return failed(errno == EOPNOTSUPP || errno == ENOTTY ?
			      "%s can't be stopped: it does not offer it" :
			      "%s: VHOST_INFLIGHT_SET_STOP: %m", d->node);
	return CALL(d, VHOST_VDPA_SET_STATUS, &status);
}

/* What became of it, over all queues. */
static int stop_outcome(const struct vdpa *d, struct stop *s, unsigned int queues)
{
	struct vhost_inflight_stop_info info = {};

	s->published = 0;
	s->kept = 0;
	s->out = 0;
	s->rewindable = 0;
	for (unsigned int i = 0; i < queues; i++) {
		if (get_stop(d, i, &info))
			return -1;
		s->published += info.published;
		s->kept += info.kept;
		s->out += info.out;
		s->rewindable += info.rewindable;
	}
	s->elapsed_ms = info.elapsed_ms;
	if (info.state == VHOST_INFLIGHT_STATE_STOPPED && s->out)
		return failed("%s stands still, and has %u requests out", d->node, s->out);
	if (info.state == VHOST_INFLIGHT_STATE_STOPPED)
		return STOPPED;
	/* A flush has promised more, and still sends to the disk what did not get there. */
	if (s->mode == VHOST_INFLIGHT_STOP_PRESERVE && s->out == s->rewindable)
		return STOPPED_REWINDABLE;
	return STOPPED_NOT;
}

int vdpa_stop(struct vdpa *d, struct stop *s, unsigned int queues)
{
	uint64_t end = now_ns() + (s->deadline_ms + SLACK_MS) * 1000000ULL;
	int ret = stop_begin(d, s);

	while (!ret) {
		if (!told(d, end))
			return failed("%s has not said that its stop is over %u s after the bound",
				      d->node, SLACK_MS / 1000);
		ret = stop_over(d);
	}
	return ret < 0 ? -1 : stop_outcome(d, s, queues);
}

/* Requests of a queue that are in flight, from the heap; NULL and why(). */
static struct vhost_inflight_request *get_requests(const struct vdpa *d, unsigned int index,
						   unsigned int *n)
{
	struct vhost_inflight_requests arg = {
		.size = sizeof(arg), .index = index, .room = d->info.queue_size,
		.request_size = sizeof(struct vhost_inflight_request),
	};
	struct vhost_inflight_request *r = calloc(arg.room, sizeof(*r));

	arg.requests = (unsigned long)r;
	if (!r)
		failed("no memory");
	if (!r || CALL(d, VHOST_INFLIGHT_GET_REQUESTS, &arg)) {
		free(r);
		return NULL;
	}
	*n = arg.count < arg.room ? arg.count : arg.room;
	return r;
}

static void say_request(const struct vdpa *d, unsigned int index,
			const struct vhost_inflight_request *r)
{
	const char *type = r->type == VIRTIO_BLK_T_IN ? "read" :
			   r->type == VIRTIO_BLK_T_OUT ? "write" :
			   r->type == VIRTIO_BLK_T_FLUSH ? "flush" : "request";
	const char *where = r->state == VHOST_INFLIGHT_REQUEST_SUBMITTED ? "at the disk" :
			    r->state == VHOST_INFLIGHT_REQUEST_PARKED ? "parked" : "waiting";

	say("%s: queue %u: a %s of %llu bytes at sector %llu is %s, %llu ms old", d->node, index,
	    type, (unsigned long long)r->length, (unsigned long long)r->sector, where,
	    (unsigned long long)r->age_ms);
}

static void say_queue(const struct vdpa *d, unsigned int index)
{
	unsigned int n = 0;
	struct vhost_inflight_request *r = get_requests(d, index, &n);

	if (!r)
		say("%s", why());
	for (unsigned int i = 0; i < n && i < MAX_SAID; i++)
		say_request(d, index, &r[i]);
	if (n > MAX_SAID)
		say("%s: queue %u: and %u more", d->node, index, n - MAX_SAID);
	free(r);
}

void vdpa_say_out(const struct vdpa *d, unsigned int queues)
{
	for (unsigned int i = 0; i < queues; i++)
		say_queue(d, i);
}

int vdpa_landing(const char *node, unsigned int queues)
{
	struct vhost_inflight_request *r;
	unsigned int n = 0;
	struct vdpa d;
	int ret;

	ret = vdpa_open(&d, node);
	for (unsigned int i = 0; i < queues && ret >= 0; i++, n = 0) {
		r = get_requests(&d, i, &n);
		if (!r)
			ret = -1;
		for (unsigned int j = 0; j < n; j++)
			ret += !(r[j].flags & VHOST_INFLIGHT_REQUEST_REWINDABLE);
		free(r);
	}
	vdpa_close(&d);
	return ret;
}

int vdpa_go_on(struct vdpa *d)
{
	return set_status(d, d->status);
}

/* ---- where it stands ---- */

int vdpa_bases(const struct vdpa *d, unsigned int queues, struct stand *st)
{
	for (unsigned int i = 0; i < queues; i++) {
		struct vhost_vring_state base = { .index = i };

		if (CALL(d, VHOST_GET_VRING_BASE, &base))
			return -1;
		st->base[i] = base.num;
	}
	st->based = 1;
	return 0;
}

int vdpa_region(struct vdpa *d)
{
	struct vhost_inflight_fd arg = { .size = sizeof(arg), .fd = -1 };

	if (d->region >= 0)
		return 0;
	if (CALL(d, VHOST_INFLIGHT_GET_FD, &arg))
		return -1;
	if (arg.mmap_offset)
		return failed("%s: the inflight region begins at %llu", d->node,
			      (unsigned long long)arg.mmap_offset);
	d->region = arg.fd;
	return 0;
}

void *vdpa_region_bytes(struct vdpa *d, const struct machine *m, struct stand *st)
{
	uint64_t stride = m->features & BIT(VIRTIO_F_RING_PACKED) ?
			  VHOST_INFLIGHT_STRIDE_PACKED(m->queue_size) :
			  VHOST_INFLIGHT_STRIDE_SPLIT(m->queue_size);
	void *bytes;

	st->region_size = stride * m->num_queues;
	bytes = malloc(st->region_size);
	if (bytes && pread(d->region, bytes, st->region_size, 0) == (ssize_t)st->region_size)
		return bytes;
	failed("%s: the inflight region can't be read: %s", d->node, strerror(errno));
	free(bytes);
	return NULL;
}

/* ---- the disk is full, or away ---- */

int vdpa_parked(const struct vdpa *d)
{
	struct vhost_inflight_info info;

	return get_info(d, &info) ? -1 : (int)info.parked;
}

int vdpa_orphans(const struct vdpa *d)
{
	struct vhost_inflight_info info;

	return get_info(d, &info) ? -1 : (int)info.orphans;
}

/* All that there are; whether one of them is of this type. */
static bool events(const struct vdpa *d, enum vhost_inflight_event_type type)
{
	struct vhost_inflight_event event;
	bool found = false;

	for (;;) {
		event = (struct vhost_inflight_event){ .size = sizeof(event) };
		if (ioctl(d->fd, VHOST_INFLIGHT_GET_EVENT, &event) < 0)
			return found;
		found |= event.type == type;
	}
}

void vdpa_event(const struct vdpa *d, enum vhost_inflight_event_type type, unsigned int ms)
{
	struct pollfd p = { .fd = d->fd, .events = POLLIN };
	uint64_t end = now_ns() + ms * 1000000ULL, now;

	while ((now = now_ns()) < end)
		if (poll(&p, 1, (end - now) / 1000000 + 1) > 0 && events(d, type))
			return;
}
