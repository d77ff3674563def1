// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl create */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "device.h"
#include "say.h"
#include "why.h"

/* One row per setting: attr says where it goes, so another setting is another row. */
const struct opt create_opts[] = {
	{ "path", OPT_STR, "PATH", "block device or regular file to serve (needed)", "path" },
	{ "read-only", OPT_FLAG, NULL, "refuse writes", "read_only", "1" },
	{ "serial", OPT_STR, "TEXT", "serial number, up to 20 characters (the name)", "serial" },
	{ "num-queues", OPT_UINT, "N", "virtqueues, 1 to 64 (1)", "num_queues" },
	{ "queue-size", OPT_UINT, "N", "largest ring, power of two 2 to 1024 (256)", "queue_size" },
	{ "logical-block-size", OPT_UINT, "BYTES",
	  "block size to announce, 512 to 4096 (the backing's)", "logical_block_size" },
	{ "drain-timeout", OPT_UINT, "MS", "bound on suspend and reset, 0 is none (0)",
	  "drain_timeout_ms" },
	{ "on-read-error", OPT_STR, "POLICY", "report, park-enospc or park (report)",
	  "on_read_error" },
	{ "on-write-error", OPT_STR, "POLICY", "the same, of all but reads (report)",
	  "on_write_error" },
	{ "retry-ms", OPT_UINT, "MS", "when to try parked requests again, 0 is never (1000)",
	  "retry_ms" },
	{ "poll-us", OPT_UINT, "US", "poll so long at most before sleeping, 0 is never (0)",
	  "poll_us" },
	{ "sched-batch", OPT_FLAG, NULL, "workers don't preempt who wakes them (SCHED_BATCH)",
	  "sched_batch", "1" },
	{ "pin-memory", OPT_FLAG, NULL, "pin all of guest memory, which spares each request that",
	  "pin_memory", "1" },
	{ "no-discard", OPT_FLAG, NULL, "offer no DISCARD, WRITE_ZEROES, SECURE_ERASE",
	  "discard", "0" },
	{ "no-indirect", OPT_FLAG, NULL, "offer no indirect descriptors", "indirect_desc", "0" },
	{ "packed", OPT_FLAG, NULL, "offer packed virtqueues", "packed", "1" },
	{ "in-order", OPT_FLAG, NULL, "offer to return buffers in order", "in_order", "1" },
	{ "partial-order", OPT_FLAG, NULL, "offer VIRTIO_F_PARTIAL_ORDER (no stock guest has it)",
	  "partial_order", "1" },
	{ "suspend", OPT_FLAG, NULL, "offer VIRTIO_F_SUSPEND (no stock guest has it)", "suspend",
	  "1" },
	{ "no-event-idx", OPT_FLAG, NULL, "offer no event index", "event_idx", "0" },
	{ }
};

/* The driver wants absolute paths; a symlink stays one, it may point elsewhere later. */
static int absolute(const char *path, char *buf, size_t len)
{
	char cwd[PATH_MAX];

	if (path[0] == '/')
		return snprintf(buf, len, "%s", path) < (int)len ? 0 : -ENAMETOOLONG;
	if (!getcwd(cwd, sizeof(cwd)))
		return -errno;
	if (!strcmp(cwd, "/"))
		cwd[0] = 0;
	return snprintf(buf, len, "%s/%s", cwd, path) < (int)len ? 0 : -ENAMETOOLONG;
}

static int configure(const struct args *args, int dir, const char *path)
{
	struct why_ctx why = { .name = args->name, .path = path };
	int ret;

	for (int i = 0; create_opts[i].name; i++) {
		const struct opt *opt = &create_opts[i];
		const char *val = opt->value ? opt->value : args->val[i];

		if (!args->val[i])
			continue;
		why.attr = opt->attr;
		why.value = strcmp(opt->attr, "path") ? val : path;
		ret = cfs_write(dir, opt->attr, why.value);
		if (ret)
			return why_failed(opt->attr, ret, &why);
	}
	why.attr = "enable";
	why.value = "1";
	ret = cfs_write(dir, "enable", "1");
	return ret ? why_failed("enable", ret, &why) : BLKCTL_OK;
}

static int report(const struct args *args, int dir)
{
	char size[SAY_SIZE_LEN], node[PATH_MAX];
	struct device dev;
	int ret = device_read(args->name, dir, &dev);

	if (ret)
		return say_fail("%s was made but can't be read: %s", args->name, strerror(-ret));
	if (args->json) {
		ret = say_json(device_json(&dev));
	} else {
		node_path(args->name, node, sizeof(node));
		printf("%s: %s, %s%s\n", args->name, node, say_size(size, dev.capacity * 512),
		       strcmp(device_attr(&dev, "read_only"), "1") ? "" : ", read-only");
		ret = BLKCTL_OK;
	}
	device_free(&dev);
	return ret;
}

/* Nothing half-made is left; signals wait until the device is whole or gone. */
static int make(const struct args *args, const char *path)
{
	struct why_ctx why = { .name = args->name, .path = path };
	int ret, dir;

	ret = cfs_make(args->name);
	if (ret) {
		int root = cfs_open_root();

		if (root < 0)
			return cfs_say_root(root);
		close(root);
		return why_failed("mkdir", ret, &why);
	}
	dir = cfs_open_device(args->name);
	ret = dir < 0 ? BLKCTL_FAILED : configure(args, dir, path);
	if (ret == BLKCTL_OK)
		ret = report(args, dir);
	else if (cfs_remove(args->name))
		say_fail("the half-made %s is still there: \"vhost-blkctl delete %s\" removes it",
			 args->name, args->name);
	if (dir >= 0)
		close(dir);
	return ret;
}

int cmd_create(const struct args *args)
{
	const char *given = cli_get(args, "path");
	char path[PATH_MAX];
	sigset_t set, old;
	int ret;

	if (!given || !*given)
		return say_usage(args->cmd,
				 "create needs --path PATH, the block device or file to serve");
	if (strchr(given, '\n'))	/* the driver would take the part before it */
		return say_usage(args->cmd, "--path must not have a newline in it");
	ret = absolute(given, path, sizeof(path));
	if (ret)
		return say_fail("%s can't be made an absolute path: %s", given, strerror(-ret));

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, &old);
	ret = make(args, path);
	sigprocmask(SIG_SETMASK, &old, NULL);
	return ret;
}
