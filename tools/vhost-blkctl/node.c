// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"
#include "node.h"
#include "say.h"

/* A queue has no more: the largest queue size. */
#define NODE_MAX_REQUESTS	1024

void node_path(const char *name, char *buf, size_t len)
{
	const char *dev = getenv("VHOST_BLKCTL_DEV");

	snprintf(buf, len, "%s/vhost-blk-%s", dev && *dev ? dev : "/dev", name);
}

int node_open(const char *name)
{
	char path[PATH_MAX];
	int fd;

	node_path(name, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int read_queues(int fd, struct node_stat *st)
{
	st->queue = calloc(st->info.num_queues + 1U, sizeof(*st->queue));
	if (!st->queue)
		return -ENOMEM;
	for (unsigned int i = 0; i < st->info.num_queues; i++) {
		st->queue[i].size = sizeof(*st->queue);
		st->queue[i].index = i;
		if (ioctl(fd, VHOST_INFLIGHT_GET_QUEUE, &st->queue[i]))
			return -errno;
	}
	return 0;
}

int node_read(const char *name, struct node_stat *st)
{
	int fd = node_open(name), ret;

	*st = (struct node_stat){ .info.size = sizeof(st->info) };
	if (fd < 0)
		return fd;
	ret = ioctl(fd, VHOST_INFLIGHT_GET_INFO, &st->info) ? -errno : read_queues(fd, st);
	close(fd);
	if (ret)
		node_free(st);
	return ret;
}

void node_free(struct node_stat *st)
{
	free(st->queue);
	st->queue = NULL;
}

static int read_requests(int fd, unsigned int index, struct node_queue_requests *q)
{
	struct vhost_inflight_requests arg = {
		.size = sizeof(arg),
		.index = index,
		.request_size = sizeof(*q->req),
		.room = NODE_MAX_REQUESTS,
	};

	q->req = calloc(arg.room, sizeof(*q->req));
	if (!q->req)
		return -ENOMEM;
	arg.requests = (uintptr_t)q->req;
	if (!ioctl(fd, VHOST_INFLIGHT_GET_REQUESTS, &arg))
		q->nr = arg.count < arg.room ? arg.count : arg.room;
	else if (errno == ETIMEDOUT)
		q->busy = true;
	else
		return -errno;
	return 0;
}

int node_read_requests(const char *name, struct node_requests *req)
{
	struct vhost_inflight_info info = { .size = sizeof(info) };
	int fd = node_open(name), ret;

	*req = (struct node_requests){ 0 };
	if (fd < 0)
		return fd;
	ret = ioctl(fd, VHOST_INFLIGHT_GET_INFO, &info) ? -errno : 0;
	if (!ret) {
		req->queue = calloc(info.num_queues + 1U, sizeof(*req->queue));
		if (req->queue)
			req->nr_queues = info.num_queues;
		else
			ret = -ENOMEM;
	}
	for (unsigned int i = 0; i < req->nr_queues && !ret; i++)
		ret = read_requests(fd, i, &req->queue[i]);
	close(fd);
	if (ret)
		node_free_requests(req);
	return ret;
}

void node_free_requests(struct node_requests *req)
{
	for (unsigned int i = 0; i < req->nr_queues; i++)
		free(req->queue[i].req);
	free(req->queue);
	*req = (struct node_requests){ 0 };
}

int node_retry(const char *name, __u32 *count)
{
	struct vhost_inflight_retry arg = { .size = sizeof(arg) };
	int fd = node_open(name), ret;

	if (fd < 0)
		return fd;
	ret = ioctl(fd, VHOST_INFLIGHT_RETRY, &arg) ? -errno : 0;
	close(fd);
	*count = arg.count;
	return ret;
}

int node_next_event(int fd, struct vhost_inflight_event *ev)
{
	int ret;

	do {
		*ev = (struct vhost_inflight_event){ .size = sizeof(*ev) };
		ret = ioctl(fd, VHOST_INFLIGHT_GET_EVENT, ev) ? -errno : 0;
	} while (ret == -EINTR);
	return ret;
}

int node_say(const char *name, int err)
{
	char path[PATH_MAX];

	node_path(name, path, sizeof(path));
	switch (-err) {
	case EACCES:
	case EPERM:
		return say_fail("%s can't be opened: run this as root or as one who may read it",
				path);
	case ENOENT:
		return say_fail("%s is not there: check that udev or devtmpfs serves /dev", path);
	case ENXIO:
		return say_fail("no engine is loaded to serve %s: run \"modprobe vhost_blk\"",
				name);
	case ENODEV:
		return say_fail("%s is being deleted", name);
	case ENOTTY:
	case EINVAL:
		return say_fail("%s does not know this tool: the driver is of another version",
				path);
	default:
		return say_fail("%s can't be asked: %s", path, strerror(-err));
	}
}

__u64 node_sum(const struct node_stat *st, size_t offset)
{
	__u64 sum = 0;

	for (unsigned int i = 0; i < st->info.num_queues; i++)
		sum += *(const __u64 *)((const char *)&st->queue[i] + offset);
	return sum;
}
