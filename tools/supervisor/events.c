// SPDX-License-Identifier: GPL-2.0
/*
 * What the keeper wakes up for: nodes that come and go, messages to a node, closes, the ends of
 * owners, requests, and looks that are due.
 *
 * No event says "DRIVER_OK". A VMM writes IOTLB messages to the node shortly before, and inotify
 * tells of these (IN_MODIFY); then the device is looked at again and again, at intervals that
 * double, until it has settled. Opens are not watched for: the keeper's own would be among them.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <linux/magic.h>

#include "keeper.h"

#define NODE	"vhost-blk-"

int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

void say(struct vsup *s, const char *fmt, ...)
{
	char text[VSUP_SENTENCE_LEN + VSUP_NAME_LEN];
	va_list ap;

	if (!s->say)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	s->say(text);
}

int source_add(struct vsup *s, struct source *src, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = src };

	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e)) {
		int err = errno;

		close(fd);
		return -err;
	}
	src->fd = fd;
	return 0;
}

void source_del(struct source *src)
{
	if (src->fd >= 0)
		close(src->fd);		/* which takes it from epoll, too: there is no other copy */
	src->fd = -1;
}

/* ---- nodes ---- */

void node_watch(struct vsup *s, struct device *d, bool messages)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" NODE "%s", s->dev_dir, d->name);
	d->wd = inotify_add_watch(s->inotify.fd, path,
				  IN_CLOSE_WRITE | (messages ? IN_MODIFY : 0) | IN_DONT_FOLLOW);
}

static void node_event(struct vsup *s, int wd, uint32_t mask)
{
	for (unsigned int i = 0; i < s->nr_devices; i++) {
		struct device *d = s->device[i];

		if (d->wd != wd || mask & IN_IGNORED)
			continue;
		/* There may be thousands of messages to come, and one is enough. */
		if (mask & IN_MODIFY)
			node_watch(s, d, false);
		device_soon(s, d);
		return;
	}
}

static void scan(struct vsup *s)
{
	DIR *dir = opendir(s->dev_dir);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (!strncmp(e->d_name, NODE, strlen(NODE)))
			device_found(s, e->d_name + strlen(NODE));
	if (dir)
		closedir(dir);
}

/* Events were lost: everything may have happened. */
static void overflow(struct vsup *s)
{
	char path[PATH_MAX];

	scan(s);
	for (unsigned int i = s->nr_devices; i--;) {
		snprintf(path, sizeof(path), "%s/" NODE "%s", s->dev_dir, s->device[i]->name);
		if (access(path, F_OK))
			device_lost(s, s->device[i]);
		else
			device_soon(s, s->device[i]);
	}
}

static void dir_event(struct vsup *s, const struct inotify_event *e)
{
	struct device *d;

	if (!e->len || strncmp(e->name, NODE, strlen(NODE)))
		return;
	if (e->mask & (IN_CREATE | IN_MOVED_TO)) {
		device_found(s, e->name + strlen(NODE));
		return;
	}
	d = device_find(s, e->name + strlen(NODE));
	if (d)
		device_lost(s, d);
}

static void inotify_work(struct vsup *s, struct source *src)
{
	union {
		struct inotify_event first;
		char bytes[4096];
	} buf;
	const struct inotify_event *e;
	ssize_t n = read(src->fd, &buf, sizeof(buf));

	for (char *p = buf.bytes; p < buf.bytes + n; p += sizeof(*e) + e->len) {
		e = (void *)p;
		if (e->mask & IN_Q_OVERFLOW)
			overflow(s);
		else if (e->wd == s->dev_wd)
			dir_event(s, e);
		else
			node_event(s, e->wd, e->mask);
	}
}

/* ---- looks ---- */

void timer_set(struct vsup *s)
{
	struct itimerspec t = {};
	int64_t next = 0;

	for (unsigned int i = 0; i < s->nr_devices; i++)
		if (s->device[i]->due && (!next || s->device[i]->due < next))
			next = s->device[i]->due;
	t.it_value.tv_sec = next / 1000;
	t.it_value.tv_nsec = next % 1000 * 1000000;
	timerfd_settime(s->timer.fd, TFD_TIMER_ABSTIME, &t, NULL);
}

static void timer_work(struct vsup *s, struct source *src)
{
	int64_t now = now_ms();
	uint64_t count;

	if (read(src->fd, &count, sizeof(count)) < 0)
		return;
	for (unsigned int i = 0; i < s->nr_devices; i++)
		if (s->device[i]->due && s->device[i]->due <= now)
			device_look(s, s->device[i]);
	timer_set(s);
}

/* ---- the keeper ---- */

static int open_dir(struct vsup *s)
{
	struct statfs fs;

	if (mkdir(s->run_dir, 0700) && errno != EEXIST)
		return -errno;
	s->run = open(s->run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->run < 0 || fstatfs(s->run, &fs))
		return -errno;
	/* A region on anything else is none for the device. */
	if (fs.f_type != TMPFS_MAGIC)
		return -EMEDIUMTYPE;
	return flock(s->run, LOCK_EX | LOCK_NB) ? -EBUSY : 0;
}

static int watch(struct vsup *s)
{
	int fd, ret;

	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll < 0)
		return -errno;
	fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	ret = fd < 0 ? -errno : source_add(s, &s->inotify, fd);
	if (ret)
		return ret;
	s->dev_wd = inotify_add_watch(fd, s->dev_dir, IN_CREATE | IN_DELETE | IN_MOVE | IN_ONLYDIR);
	if (s->dev_wd < 0)
		return -errno;
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return fd < 0 ? -errno : source_add(s, &s->timer, fd);
}

/* What was kept of devices that are there; of others nothing stays. */
static void find_again(struct vsup *s)
{
	store_find(s);
	state_find(s);
	scan(s);
	for (unsigned int i = s->nr_devices; i--;) {
		if (s->device[i]->present)
			device_look(s, s->device[i]);
		else
			device_lost(s, s->device[i]);
	}
	timer_set(s);
}

int vsup_new(struct vsup **keeper, const struct vsup_options *o)
{
	struct vsup *s = calloc(1, sizeof(*s));
	int ret;

	*keeper = NULL;
	if (!s)
		return -ENOMEM;
	s->say = o->say;
	s->run = -1;
	s->epoll = -1;
	s->inotify = (struct source){ inotify_work, -1 };
	s->timer = (struct source){ timer_work, -1 };
	s->listener.fd = -1;
	s->dev_dir = strdup(o->dev_dir ? o->dev_dir : "/dev");
	s->run_dir = strdup(o->run_dir ? o->run_dir : VSUP_DIR);
	store_init(s);
	ret = s->dev_dir && s->run_dir ? 0 : -ENOMEM;
	ret = ret ?: open_dir(s) ?: watch(s);
	if (!ret) {
		find_again(s);
		/* From here on there may be requests. */
		ret = request_listen(s);
	}
	if (ret) {
		vsup_free(s);
		return ret;
	}
	*keeper = s;
	return 0;
}

void vsup_free(struct vsup *s)
{
	if (!s)
		return;
	while (s->clients)
		client_free(s, s->clients);
	for (unsigned int i = 0; i < s->nr_devices; i++)
		device_free(s->device[i]);
	source_del(&s->listener);
	source_del(&s->timer);
	source_del(&s->inotify);
	if (s->epoll >= 0)
		close(s->epoll);
	if (s->run >= 0)
		close(s->run);
	free(s->dev_dir);
	free(s->run_dir);
	free(s);
}

int vsup_fd(const struct vsup *s)
{
	return s->epoll;
}

int vsup_work(struct vsup *s)
{
	struct epoll_event e;
	int n;

	/* One at a time: what is done for one may free the source of the next. */
	for (int i = 0; i < 64; i++) {
		struct source *src;

		n = epoll_wait(s->epoll, &e, 1, 0);
		if (n <= 0)
			return n && errno != EINTR ? -errno : 0;
		src = e.data.ptr;
		src->fn(s, src);
	}
	return 0;
}
