// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/magic.h>

#include "cfs.h"
#include "cli.h"
#include "say.h"

#ifndef CONFIGFS_MAGIC
#define CONFIGFS_MAGIC	0x62656570
#endif

#define ON_ERROR_WORDS	"report park-enospc park"

const struct cfs_attr cfs_attrs[] = {
	{ "path",		CFS_STR,  "the absolute path of a block device or regular file" },
	{ "read_only",		CFS_BOOL, "0 or 1" },
	{ "serial",		CFS_STR,  "at most 20 printable ASCII characters" },
	{ "num_queues",		CFS_UINT, "1 to 64" },
	{ "queue_size",		CFS_UINT, "a power of two from 2 to 1024" },
	{ "logical_block_size",	CFS_UINT,
	  "0 (the backing's own) or a power of two from 512 to 4096" },
	{ "drain_timeout_ms",	CFS_UINT, "milliseconds up to 2147483647, 0 for no bound", true },
	{ "on_read_error",	CFS_STR,  "report, park-enospc or park", true, ON_ERROR_WORDS },
	{ "on_write_error",	CFS_STR,  "report, park-enospc or park", true, ON_ERROR_WORDS },
	{ "retry_ms",		CFS_UINT, "milliseconds up to 2147483647, 0 for only by command",
	  true },
	{ "poll_us",		CFS_UINT, "microseconds up to 100000, 0 for no polling", true },
	{ "sched_batch",	CFS_BOOL, "0 or 1", true, "0 1" },
	{ "indirect_desc",	CFS_BOOL, "0 or 1" },
	{ "event_idx",		CFS_BOOL, "0 or 1" },
	{ "packed",		CFS_BOOL, "0 or 1" },
	{ "in_order",		CFS_BOOL, "0 or 1" },
	{ "partial_order",	CFS_BOOL, "0 or 1" },
	{ "discard",		CFS_BOOL, "0 or 1" },
	{ "suspend",		CFS_BOOL, "0 or 1" },
	{ "pin_memory",		CFS_BOOL, "0 or 1" },
	{ "capacity",		CFS_UINT, NULL },
	{ }
};

int cfs_find(const char *name, size_t len)
{
	for (int i = 0; cfs_attrs[i].name; i++)
		if (strlen(cfs_attrs[i].name) == len && !strncmp(cfs_attrs[i].name, name, len))
			return i;
	return -1;
}

static const char *mount_point(void)
{
	const char *env = getenv("VHOST_BLKCTL_CONFIGFS");

	return env && *env ? env : "/sys/kernel/config";
}

bool cfs_name_ok(const char *name)
{
	static const char ok[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t len = strlen(name);

	return len && len <= CFS_NAME_MAX && strspn(name, ok) == len && name[0] != '.';
}

int cfs_open_root(void)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/vhost_blk", mount_point()) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int cfs_say_root(int err)
{
	const char *mnt = mount_point();
	struct statfs fs;

	if (err != -ENOENT)
		return say_fail("can't open %s/vhost_blk: %s", mnt, strerror(-err));
	if (statfs(mnt, &fs) || fs.f_type != CONFIGFS_MAGIC)
		return say_fail("configfs is not mounted on %s: run \"mount -t configfs none %s\"",
				mnt, mnt);
	return say_fail("the driver is not loaded: run \"modprobe vhost_blk\"");
}

static int open_dir(int root, const char *name)
{
	return openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int in_root(int (*fn)(int root, const char *name), const char *name)
{
	int root = cfs_open_root(), ret;

	if (root < 0)
		return root;
	ret = fn(root, name);
	if (ret < 0)
		ret = -errno;
	close(root);
	return ret;
}

static int make(int root, const char *name)
{
	return mkdirat(root, name, 0755);
}

static int remove_dir(int root, const char *name)
{
	return unlinkat(root, name, AT_REMOVEDIR);
}

int cfs_open_quiet(const char *name)
{
	return in_root(open_dir, name);
}

int cfs_open_device(const char *name)
{
	int dir = cfs_open_quiet(name), root;

	if (dir >= 0)
		return dir;
	root = cfs_open_root();
	if (root < 0) {
		cfs_say_root(root);
		return -1;
	}
	close(root);
	if (dir == -ENOENT)
		say_fail("there is no device %s: \"vhost-blkctl list\" shows those there are",
			 name);
	else
		say_fail("can't open the configuration of %s: %s", name, strerror(-dir));
	return -1;
}

int cfs_need_enabled(const char *name)
{
	int dir = cfs_open_device(name), ret;
	char state[32];

	if (dir < 0)
		return BLKCTL_FAILED;
	ret = cfs_read(dir, "state", state, sizeof(state));
	close(dir);
	if (!ret && !strcmp(state, "disabled"))
		return say_fail("%s is disabled, so there is no node to ask", name);
	return BLKCTL_OK;
}

int cfs_make(const char *name)
{
	return in_root(make, name);
}

int cfs_remove(const char *name)
{
	return in_root(remove_dir, name);
}

int cfs_read(int dir, const char *attr, char *buf, size_t len)
{
	int fd = openat(dir, attr, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	if (n < 0)
		n = -errno;
	close(fd);
	if (n < 0)
		return n;
	if (n && buf[n - 1] == '\n')
		n--;
	buf[n] = 0;
	return 0;
}

int cfs_read_u64(int dir, const char *attr, uint64_t *val)
{
	char buf[CFS_VALUE_MAX], *end;
	int ret = cfs_read(dir, attr, buf, sizeof(buf));

	if (ret)
		return ret;
	errno = 0;
	*val = strtoull(buf, &end, 0);
	return errno || end == buf || *end ? -EBADMSG : 0;
}

int cfs_write(int dir, const char *attr, const char *val)
{
	/* configfs does not see a write of nothing. */
	const char *data = *val ? val : "\n";
	ssize_t n;
	int fd;

	fd = openat(dir, attr, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, data, strlen(data));
	if (n < 0)
		n = -errno;
	else
		n = (size_t)n == strlen(data) ? 0 : -EIO;
	close(fd);
	return n;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int cfs_list(struct cfs_names *names)
{
	int root = cfs_open_root();
	struct dirent *ent;
	DIR *dir;

	*names = (struct cfs_names){ };
	if (root < 0)
		return root;
	dir = fdopendir(root);
	if (!dir) {
		close(root);
		return -ENOMEM;
	}
	while ((ent = readdir(dir))) {
		char **more;

		if (ent->d_type != DT_DIR || !cfs_name_ok(ent->d_name))
			continue;
		more = reallocarray(names->name, names->nr + 1, sizeof(*more));
		if (!more)
			break;
		names->name = more;
		names->name[names->nr] = strdup(ent->d_name);
		if (!names->name[names->nr])
			break;
		names->nr++;
	}
	closedir(dir);
	if (ent) {
		cfs_list_free(names);
		return -ENOMEM;
	}
	if (names->nr)
		qsort(names->name, names->nr, sizeof(*names->name), by_name);
	return 0;
}

void cfs_list_free(struct cfs_names *names)
{
	for (size_t i = 0; i < names->nr; i++)
		free(names->name[i]);
	free(names->name);
	*names = (struct cfs_names){ };
}
