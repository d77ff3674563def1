// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl resize */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cfs.h"
#include "cli.h"
#include "device.h"
#include "say.h"
#include "why.h"

const struct opt resize_opts[] = {
	{ "backing", OPT_STR, "DEVICE", "all devices that serve this block device; none is fine" },
	{ }
};

static int resize_one(const char *name, int dir, struct json_object *array)
{
	struct why_ctx why = { .name = name, .attr = "resize", .value = "1" };
	char was[SAY_SIZE_LEN], is[SAY_SIZE_LEN];
	uint64_t before = 0, after = 0;
	int ret;

	cfs_read_u64(dir, "capacity", &before);
	ret = cfs_write(dir, "resize", "1");
	if (ret)
		return why_failed("resize", ret, &why);
	cfs_read_u64(dir, "capacity", &after);

	if (array) {
		struct json_object *obj = json_object_new_object();

		json_object_object_add(obj, "name", json_object_new_string(name));
		json_object_object_add(obj, "old_size_bytes", json_object_new_uint64(before * 512));
		json_object_object_add(obj, "size_bytes", json_object_new_uint64(after * 512));
		json_object_array_add(array, obj);
	} else if (before == after) {
		printf("%s: still %s\n", name, say_size(is, after * 512));
	} else {
		printf("%s: %s, was %s\n", name, say_size(is, after * 512),
		       say_size(was, before * 512));
	}
	return BLKCTL_OK;
}

/* Whether the enabled device in @dir serves the block device @rdev. */
static bool serves(const char *name, int dir, dev_t rdev)
{
	struct device dev;
	struct stat st;
	bool yes;

	if (device_read(name, dir, &dev))
		return false;
	yes = strcmp(dev.state, "disabled") && !stat(device_attr(&dev, "path"), &st) &&
	      S_ISBLK(st.st_mode) && st.st_rdev == rdev;
	device_free(&dev);
	return yes;
}

static int resize_backing(const struct cmd *cmd, const char *backing, struct json_object *array)
{
	struct cfs_names names;
	int ret = BLKCTL_OK, err;
	struct stat st;

	if (stat(backing, &st))
		return say_fail("%s: %s", backing, strerror(errno));
	if (!S_ISBLK(st.st_mode))
		return say_usage(cmd,
				 "%s is no block device; for a file give the NAME of the device",
				 backing);
	err = cfs_list(&names);
	if (err == -ENOENT)	/* udev asks on hosts where the driver is not loaded */
		return BLKCTL_OK;
	if (err)
		return cfs_say_root(err);
	for (size_t i = 0; i < names.nr; i++) {
		int dir = cfs_open_quiet(names.name[i]);

		if (dir < 0)
			continue;
		if (serves(names.name[i], dir, st.st_rdev) && resize_one(names.name[i], dir, array))
			ret = BLKCTL_FAILED;
		close(dir);
	}
	cfs_list_free(&names);
	return ret;
}

static int resize_name(const char *name, struct json_object *array)
{
	int dir = cfs_open_device(name), ret;

	if (dir < 0)
		return BLKCTL_FAILED;
	ret = resize_one(name, dir, array);
	close(dir);
	return ret;
}

int cmd_resize(const struct args *args)
{
	const char *backing = cli_get(args, "backing");
	struct json_object *array = args->json ? json_object_new_array() : NULL, *obj;
	int ret;

	if (!args->name == !backing) {
		json_object_put(array);
		return say_usage(args->cmd, "resize takes either a NAME or --backing DEVICE");
	}
	ret = backing ? resize_backing(args->cmd, backing, array) : resize_name(args->name, array);
	if (!array)
		return ret;
	if (ret == BLKCTL_USAGE) {
		json_object_put(array);
		return ret;
	}
	obj = json_object_new_object();
	json_object_object_add(obj, "resized", array);
	return say_json(obj) ? BLKCTL_FAILED : ret;
}
