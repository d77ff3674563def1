// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "keeper.h"

/* Numbers of the driver's that are beyond what a driver can have: it is another one. */
static bool sane(const struct vhost_inflight_info *info)
{
	return info->num_queues && info->num_queues <= VSUP_MAX_QUEUES && info->queue_size > 1 &&
	       info->queue_size <= 32768;
}

static int look(int fd, struct node_look *l)
{
	l->info.size = sizeof(l->info);
	if (ioctl(fd, VHOST_INFLIGHT_GET_INFO, &l->info))
		return -errno;
	if (!sane(&l->info))
		return -EPROTO;
	l->region.size = sizeof(l->region);
	if (ioctl(fd, VHOST_INFLIGHT_GET_FD, &l->region)) {
		l->lost = errno == ESTALE;
		l->region.fd = -1;
	}
	for (unsigned int i = 0; i < l->info.num_queues; i++) {
		struct vhost_inflight_queue_info q = { .size = sizeof(q), .index = i };

		if (!ioctl(fd, VHOST_INFLIGHT_GET_QUEUE, &q))
			l->num[i] = q.num;
	}
	return 0;
}

int node_look(const char *dir, const char *name, struct node_look *l)
{
	char path[PATH_MAX];
	int fd, ret;

	*l = (struct node_look){ .region.fd = -1 };
	snprintf(path, sizeof(path), "%s/vhost-blk-%s", dir, name);
	/*
	 * For reading only: our own close is none of those that are watched for.  Without waiting
	 * for the next engine: others have requests meanwhile.
	 */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	ret = look(fd, l);
	close(fd);
	return ret;
}
