// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl list */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "device.h"
#include "say.h"

static int print_device(const struct device *dev, struct json_object *array)
{
	char size[SAY_SIZE_LEN];

	if (array)
		return json_object_array_add(array, device_json(dev));
	printf("%-20s %-10s %12s %6s %3s  %s\n", dev->name, dev->state,
	       dev->capacity ? say_size(size, dev->capacity * 512) : "-",
	       device_attr(dev, "num_queues"),
	       strcmp(device_attr(dev, "read_only"), "1") ? "rw" : "ro", device_attr(dev, "path"));
	return 0;
}

int cmd_list(const struct args *args)
{
	struct json_object *array = NULL, *obj = NULL;
	struct cfs_names names;
	int ret = cfs_list(&names);

	if (ret)
		return cfs_say_root(ret);
	if (args->json) {
		obj = json_object_new_object();
		array = json_object_new_array();
		json_object_object_add(obj, "devices", array);
	} else if (names.nr) {
		printf("%-20s %-10s %12s %6s %3s  %s\n", "NAME", "STATE", "SIZE", "QUEUES", "",
		       "PATH");
	}
	ret = BLKCTL_OK;
	for (size_t i = 0; i < names.nr; i++) {
		int dir = cfs_open_quiet(names.name[i]), err = dir;
		struct device dev;

		if (dir >= 0) {
			err = device_read(names.name[i], dir, &dev);
			close(dir);
		}
		if (err == -ENOENT || err == -ENODEV)	/* deleted meanwhile */
			continue;
		if (err < 0) {
			ret = say_fail("%s can't be read: %s", names.name[i], strerror(-err));
			continue;
		}
		print_device(&dev, array);
		device_free(&dev);
	}
	cfs_list_free(&names);
	if (obj && say_json(obj))
		ret = BLKCTL_FAILED;
	return ret;
}
