// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's side of a node, as far as the supervisor sees it, over a plain file: the linker puts
 * this function in the place of ioctl() in the binary that the tests run.  The file has words:
 *
 *	pid=123 state=2 status=15 acked=0x100000000 queues=4 size=128 num=64 region=/path
 *	features=0x100000000
 *
 * The last are those of the region. Without region= there is none (ENODATA); region=! has lost a
 * part (ESTALE).  With blind=1 it can't be asked (EAGAIN).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/vhost_inflight.h>

int __wrap_ioctl(int fd, unsigned long cmd, ...);

/* What stands behind "KEY=" in @text, up to the end of the word. */
static const char *word(const char *text, const char *key, char val[PATH_MAX])
{
	char with[32];
	const char *p;

	snprintf(with, sizeof(with), " %s=", key);
	p = strstr(text, with);
	if (!p)
		return NULL;
	p += strlen(with);
	snprintf(val, PATH_MAX, "%.*s", (int)strcspn(p, "\n "), p);
	return val;
}

static __u64 number(const char *text, const char *key)
{
	char val[PATH_MAX];

	return word(text, key, val) ? strtoull(val, NULL, 0) : 0;
}

static int get_info(const char *text, struct vhost_inflight_info *info)
{
	if (number(text, "blind")) {
		errno = EAGAIN;
		return -1;
	}
	info->owner_pid = number(text, "pid");
	info->state = number(text, "state");
	info->status = number(text, "status");
	info->acked_features = number(text, "acked");
	info->num_queues = number(text, "queues");
	info->queue_size = number(text, "size");
	return 0;
}

static int get_queue(const char *text, struct vhost_inflight_queue_info *q)
{
	q->num = number(text, "num");
	return 0;
}

static int get_fd(const char *text, struct vhost_inflight_fd *arg)
{
	__u64 size = number(text, "size");
	char path[PATH_MAX];

	if (!word(text, "region", path)) {
		errno = ENODATA;
		return -1;
	}
	if (!strcmp(path, "!")) {
		errno = ESTALE;
		return -1;
	}
	arg->num_queues = number(text, "queues");
	arg->queue_size = size;
	arg->mmap_size = arg->num_queues * (number(text, "packed") ?
		VHOST_INFLIGHT_STRIDE_PACKED(size) : VHOST_INFLIGHT_STRIDE_SPLIT(size));
	arg->mmap_offset = 0;
	arg->flags = 0;
	arg->features = number(text, "features");
	arg->fd = open(path, O_RDWR | O_CLOEXEC);
	return arg->fd < 0 ? -1 : 0;
}

int __wrap_ioctl(int fd, unsigned long cmd, ...)
{
	char text[PATH_MAX * 2] = " ";
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (pread(fd, text + 1, sizeof(text) - 2, 0) < 0)
		return -1;
	switch (cmd) {
	case VHOST_INFLIGHT_GET_INFO:
		return get_info(text, arg);
	case VHOST_INFLIGHT_GET_QUEUE:
		return get_queue(text, arg);
	case VHOST_INFLIGHT_GET_FD:
		return get_fd(text, arg);
	default:
		errno = ENOTTY;
		return -1;
	}
}
