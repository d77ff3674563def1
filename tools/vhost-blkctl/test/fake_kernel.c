// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's side of configfs and of the node, as far as the tool sees it, over plain files: the
 * linker puts these functions in the place of the system calls in the binary that the tests run.
 *
 * FAKE_ERR="STEP=ERRNO ..." makes a step fail with that number: mkdir, rmdir, ioctl, or the name of
 * an attribute that is written.  FAKE_OWNER, FAKE_ORPHANS and FAKE_QUEUES fill in what GET_INFO
 * answers.  The first queue has FAKE_REQUESTS in flight; queue FAKE_STUCK - 1 is stuck.
 * FAKE_GROW is the capacity that a resize finds.  With FAKE_MOUNTED every directory is on
 * configfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
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
	{ "indirect_desc", "1" },
	{ "event_idx", "1" },
	{ "packed", "0" },
	{ "in_order", "0" },
	{ "partial_order", "0" },
	{ "discard", "1" },
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

static void fill_info(struct vhost_inflight_info *info)
{
	*info = (struct vhost_inflight_info){
		.size = sizeof(*info),
		.state = VHOST_INFLIGHT_STATE_RUNNING,
		.engine = "fake",
		.status = 0x0f,
		.num_queues = number("FAKE_QUEUES", 2),
		.features = 1ULL << 32 | 1ULL << 33 | 1 << 28 | 1 << 9 | 1ULL << 60,
		.acked_features = 1ULL << 32,
		.backend_features = 1 << 1 | 1 << 4,
		.capacity = 2048,
		.owner_pid = number("FAKE_OWNER", 0),
		.queue_size = 256,
		.logical_block_size = 512,
		.orphans = number("FAKE_ORPHANS", 0),
		.bounce_total = 64,
	};
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
	};

	if (arg->size != sizeof(*arg) || arg->request_size != sizeof(*r) || arg->room < 3)
		abort();
	if (arg->index + 1U == number("FAKE_STUCK", 0)) {
		errno = ETIMEDOUT;
		return -1;
	}
	arg->count = arg->index ? 0 : number("FAKE_REQUESTS", 3);
	memcpy((void *)(uintptr_t)arg->requests, r, (arg->count < 3 ? arg->count : 3) * sizeof(*r));
	return 0;
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
		struct vhost_inflight_queue_info *q = arg;

		q->state = VHOST_INFLIGHT_QUEUE_RUNNING;
		q->num = 128;
		q->depth = 3;
		q->reads = 100 * asked;
		q->read_bytes = 4096 * q->reads;
		q->requests = q->reads;
		q->broken = 18446744073709551615ULL;
		return 0;
	}
	if (cmd == VHOST_INFLIGHT_GET_REQUESTS)
		return fill_requests(arg);
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
