// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's side of configfs and of the node, as far as the tool sees it, over plain files: the
 * linker puts these functions in the place of the system calls in the binary that the tests run.
 *
 * FAKE_ERR="STEP=ERRNO ..." makes a step fail with that number: mkdir, rmdir, ioctl, or the name of
 * an attribute that is written.  FAKE_OWNER, FAKE_ORPHANS and FAKE_QUEUES fill in what GET_INFO
 * answers.  The first queue has FAKE_REQUESTS in flight; queue FAKE_STUCK - 1 is stuck.
 * FAKE_GROW is the capacity that a resize finds.  With FAKE_MOUNTED every directory is on
 * configfs.  FAKE_STATE is the device's, FAKE_PARKED and FAKE_KEPT are requests of its first queue;
 * with FAKE_OLD the driver knows only the first version of the structs, and nothing of events.
 *
 * FAKE_EVENTS is what GET_EVENT and poll() meet, in this order: a number is an event of that type,
 * TYPE/N one before which N were lost; "wait" is where there is none until poll() was called,
 * "eintr" where either is interrupted, "hup" and "err" where poll() says so, "nodev" where the
 * device is gone.  At the end poll() waits like the real one.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>
#include <linux/magic.h>
#include <linux/vhost_inflight.h>

#include "fake_kernel.h"

static const struct { const char *name, *value; } attrs[] = {
	{ "path", "" },
	{ "read_only", "0" },
	{ "serial", "" },
	{ "num_queues", "1" },
	{ "queue_size", "256" },
	{ "logical_block_size", "0" },
	{ "drain_timeout_ms", "0" },
	{ "on_read_error", "report" },
	{ "on_write_error", "report" },
	{ "retry_ms", "1000" },
	{ "poll_us", "0" },
	{ "sched_batch", "0" },
	{ "indirect_desc", "1" },
	{ "event_idx", "1" },
	{ "packed", "0" },
	{ "in_order", "0" },
	{ "partial_order", "0" },
	{ "discard", "1" },
	{ "suspend", "0" },
	{ "pin_memory", "0" },
	{ "enable", "0" },
	{ "resize", "" },
	{ "capacity", "0" },
	{ "state", "disabled" },
};

#define NR_ATTRS	(sizeof(attrs) / sizeof(*attrs))

/* The errno that FAKE_ERR gives for @step, 0 for none. */
static int planned(const char *step)
{
	const char *env = getenv("FAKE_ERR");
	size_t len = strlen(step);

	for (const char *p = env; p && *p; p = strchr(p, ' ') ? strchr(p, ' ') + 1 : NULL)
		if (!strncmp(p, step, len) && p[len] == '=')
			return atoi(p + len + 1);
	return 0;
}

static bool fails(const char *step)
{
	int err = planned(step);

	errno = err;
	return err;
}

static __u32 number(const char *env, __u32 otherwise)
{
	const char *val = getenv(env);

	return val ? strtoul(val, NULL, 10) : otherwise;
}

static void put(int dir, const char *attr, const char *value)
{
	int fd = openat(dir, attr, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || __real_write(fd, value, strlen(value)) < 0)
		abort();
	close(fd);
}

int __wrap_mkdirat(int dir, const char *path, mode_t mode)
{
	int sub;

	if (fails("mkdir") || __real_mkdirat(dir, path, mode))
		return -1;
	sub = openat(dir, path, O_RDONLY | O_DIRECTORY);
	for (size_t i = 0; i < NR_ATTRS; i++)
		put(sub, attrs[i].name, attrs[i].value);
	close(sub);
	return 0;
}

int __wrap_unlinkat(int dir, const char *path, int flags)
{
	int sub;

	if (fails("rmdir"))
		return -1;
	sub = openat(dir, path, O_RDONLY | O_DIRECTORY);
	for (size_t i = 0; i < NR_ATTRS; i++)
		__real_unlinkat(sub, attrs[i].name, 0);
	close(sub);
	return __real_unlinkat(dir, path, flags);
}

/* What writing @attr does beside keeping the value. */
static void effect(int dir, const char *name, const char *attr, bool on)
{
	char node[PATH_MAX + 64];

	if (!strcmp(attr, "resize"))
		put(dir, "capacity", getenv("FAKE_GROW") ? getenv("FAKE_GROW") : "2048");
	if (strcmp(attr, "enable"))
		return;
	put(dir, "state", on ? "free" : "disabled");
	put(dir, "capacity", on ? "2048" : "0");
	snprintf(node, sizeof(node), "%s/vhost-blk-%s", getenv("VHOST_BLKCTL_DEV"), name);
	if (on)
		close(open(node, O_WRONLY | O_CREAT, 0600));
	else
		unlink(node);
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	char link[64], path[PATH_MAX] = "", *attr, *name;
	ssize_t n;
	int dir;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	attr = n > 0 ? strrchr(path, '/') : NULL;
	if (!attr || !strstr(path, "/vhost_blk/"))
		return __real_write(fd, buf, len);
	if (fails(attr + 1))
		return -1;
	if (ftruncate(fd, 0))
		return -1;
	n = __real_write(fd, buf, len);
	*attr++ = 0;
	name = strrchr(path, '/') + 1;
	dir = open(path, O_RDONLY | O_DIRECTORY);
	effect(dir, name, attr, len && *(const char *)buf == '1');
	close(dir);
	return n;
}

/* Of a driver that knows only what is before @known. */
static void answer(void *user, const void *val, size_t size, size_t known)
{
	size_t n = getenv("FAKE_OLD") ? known : size;

	if (*(__u32 *)user != size)
		abort();
	memset(user, 0, size);
	memcpy(user, val, n);
	*(__u32 *)user = n;
}

static void fill_info(void *user)
{
	struct vhost_inflight_info info = {
		.state = number("FAKE_STATE", VHOST_INFLIGHT_STATE_RUNNING),
		.engine = "fake",
		.status = number("FAKE_STATUS", 0x0f),
		.num_queues = number("FAKE_QUEUES", 2),
		.features = 1ULL << 32 | 1ULL << 33 | 1 << 28 | 1 << 9 | 1ULL << 43 |
			    1ULL << 60,
		.acked_features = 1ULL << 32,
		.backend_features = 1 << 1 | 1 << 4 | 1ULL << 49,
		.capacity = 2048,
		.owner_pid = number("FAKE_OWNER", 0),
		.queue_size = 256,
		.logical_block_size = 512,
		.orphans = number("FAKE_ORPHANS", 0),
		.bounce_total = 64,
		.parked = number("FAKE_PARKED", 0),
	};

	answer(user, &info, sizeof(info), offsetof(struct vhost_inflight_info, parked));
}

static void fill_queue(struct vhost_inflight_queue_info *user, __u64 asked)
{
	struct vhost_inflight_queue_info q = {
		.index = user->index,
		.state = VHOST_INFLIGHT_QUEUE_RUNNING,
		.num = 128,
		.depth = 3,
		.reads = 100 * asked,
		.read_bytes = 409600 * asked,
		.requests = 100 * asked,
		.broken = 18446744073709551615ULL,
		.parked = user->index ? 0 : number("FAKE_PARKED", 0),
		.kept = user->index ? 0 : number("FAKE_KEPT", 0),
		.parks = user->index ? 0 : 17,
		.poll_hits = 4,
		.poll_misses = user->index ? 0 : 3,
	};

	answer(user, &q, sizeof(q), offsetof(struct vhost_inflight_queue_info, parked));
}

/* In the order of ids, which is not that of counters. */
static int fill_requests(struct vhost_inflight_requests *arg)
{
	struct vhost_inflight_request r[] = {
		{ .id = 3, .counter = 41, .type = 1, .sector = 1024, .length = 4096,
		  .age_ms = 61500, .state = 2 },
		{ .id = 9, .counter = 40, .type = 0, .sector = 8, .length = 512,
		  .age_ms = 61504, .state = 3, .error = -EIO,
		  .flags = VHOST_INFLIGHT_REQUEST_REWINDABLE },
		{ .id = 10, .counter = ~0ULL, .type = 4711, .state = 77,
		  .flags = VHOST_INFLIGHT_REQUEST_ORPHAN },
		{ .id = 11, .counter = 42, .type = 1, .sector = 2048, .length = 512,
		  .state = VHOST_INFLIGHT_REQUEST_PARKED, .error = -ENOSPC },
	};

	if (arg->size != sizeof(*arg) || arg->request_size != sizeof(*r) || arg->room < 4)
		abort();
	if (arg->index + 1U == number("FAKE_STUCK", 0)) {
		errno = ETIMEDOUT;
		return -1;
	}
	arg->count = arg->index ? 0 : number("FAKE_REQUESTS", 3);
	memcpy((void *)(uintptr_t)arg->requests, r, (arg->count < 4 ? arg->count : 4) * sizeof(*r));
	return 0;
}

/* ---- events ---- */

static struct {
	const char *at;		/* what of FAKE_EVENTS is to come */
	bool begun;
	bool empty;		/* GET_EVENT said so, and poll() was not called since */
	__u64 seq;
} events;

/* What is to come; "" at the end. */
static const char *event_word(void)
{
	if (!events.begun) {
		events.begun = true;
		events.at = getenv("FAKE_EVENTS") ? getenv("FAKE_EVENTS") : "";
	}
	events.at += strspn(events.at, " ");
	return events.at;
}

static bool event_take(const char *word)
{
	size_t len = strlen(word);

	if (strncmp(event_word(), word, len))
		return false;
	events.at += len;
	return true;
}

static int say(int err)
{
	errno = err;
	return -1;
}

static struct vhost_inflight_event an_event(__u32 type)
{
	struct vhost_inflight_event ev = { .type = type };
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	ev.time_ns = ts.tv_sec * 1000000000ULL + ts.tv_nsec;
	switch (type) {
	case VHOST_INFLIGHT_EVENT_STOPPED:
	case VHOST_INFLIGHT_EVENT_STALLED:
	case VHOST_INFLIGHT_EVENT_RESUMED:
		break;
	case VHOST_INFLIGHT_EVENT_BROKEN:
		ev.index = 1;
		ev.error = -EINVAL;
		break;
	default:
		ev.error = type == VHOST_INFLIGHT_EVENT_PARKED ? -ENOSPC : 0;
		ev.parked = type == VHOST_INFLIGHT_EVENT_PARKED ? 3 : 0;
		ev.counter = ~0ULL;
		ev.sector = 2048;
		ev.length = 4096;
		ev.request_type = 1;
		ev.index = 1;
		ev.id = 7;
	}
	return ev;
}

static int next_event(void *user)
{
	struct vhost_inflight_event ev;
	char *end;

	/* Who asks again without a poll() would do so for ever. */
	if (events.empty)
		abort();
	if (event_take("eintr"))
		return say(EINTR);
	if (event_take("nodev"))
		return say(ENODEV);
	if (event_take("wait") || *event_word() < '0' || *event_word() > '9') {
		events.empty = true;
		return say(EAGAIN);
	}
	ev = an_event(strtoul(event_word(), &end, 10));
	if (*end == '/')
		ev.lost = strtoul(end + 1, &end, 10);
	events.at = end;
	events.seq += 1 + ev.lost;
	ev.seq = events.seq;
	answer(user, &ev, sizeof(ev), sizeof(ev));
	return 0;
}

int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout)
{
	struct pollfd real[2];

	if (!nr)
		return __real_poll(fds, nr, timeout);
	if (nr != 2 || fds[0].events != POLLIN || fds[1].fd != STDOUT_FILENO || fds[1].events)
		abort();
	events.empty = false;
	if (event_take("eintr"))
		return say(EINTR);
	fds[0].revents = 0;
	fds[1].revents = 0;
	if (event_take("hup"))
		fds[0].revents = POLLHUP;
	else if (event_take("err"))
		fds[0].revents = POLLERR;
	else if (*event_word())
		fds[0].revents = POLLIN;
	if (fds[0].revents)
		return 1;
	memcpy(real, fds, sizeof(real));
	real[0].fd = -1;
	nr = __real_poll(real, 2, timeout);
	fds[1].revents = real[1].revents;
	return nr;
}

int __wrap_ioctl(int fd, unsigned long cmd, ...)
{
	static __u64 asked;
	va_list ap;
	void *arg;

	(void)fd;
	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fails("ioctl"))
		return -1;
	if (cmd == VHOST_INFLIGHT_GET_INFO) {
		asked++;
		fill_info(arg);
		return 0;
	}
	if (cmd == VHOST_INFLIGHT_GET_QUEUE) {
		fill_queue(arg, asked);
		return 0;
	}
	if (cmd == VHOST_INFLIGHT_GET_REQUESTS)
		return fill_requests(arg);
	if (cmd == VHOST_INFLIGHT_RETRY && !getenv("FAKE_OLD")) {
		struct vhost_inflight_retry retry = { .count = number("FAKE_PARKED", 0) };

		answer(arg, &retry, sizeof(retry), sizeof(retry));
		return 0;
	}
	if (cmd == VHOST_INFLIGHT_GET_EVENT && !getenv("FAKE_OLD"))
		return next_event(arg);
	errno = ENOTTY;
	return -1;
}

int __wrap_statfs(const char *path, struct statfs *fs)
{
	int ret = __real_statfs(path, fs);

	if (!ret && getenv("FAKE_MOUNTED"))
		fs->f_type = 0x62656570;	/* configfs */
	return ret;
}

/* A file called disk-N is the block device N. */
int __wrap_stat(const char *path, struct stat *st)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	int ret = __real_stat(path, st);

	if (!ret && !strncmp(base, "disk-", 5)) {
		st->st_mode = S_IFBLK | 0600;
		st->st_rdev = makedev(8, atoi(base + 5));
	}
	return ret;
}
