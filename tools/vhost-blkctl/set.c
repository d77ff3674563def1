// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl set */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "device.h"
#include "say.h"
#include "why.h"

/* What was written before the one that is refused gets the value back that it had in @was. */
static int write_all(const struct args *args, int dir, const struct device *was)
{
	struct why_ctx why = { .name = args->name };
	int ret = 0;

	for (int i = 0; cfs_attrs[i].name; i++) {
		if (!args->set[i])
			continue;
		why.attr = cfs_attrs[i].name;
		why.value = args->set[i];
		ret = was->value[i] ? cfs_write(dir, why.attr, why.value) : -ENOENT;
		if (!ret)
			continue;
		while (i--)
			if (args->set[i])
				cfs_write(dir, cfs_attrs[i].name, was->value[i]);
		return why_failed(why.attr, ret, &why);
	}
	return BLKCTL_OK;
}

static int report(const struct args *args, const struct device *was, const struct device *is)
{
	if (args->json)
		return say_json(device_json(is));
	for (int i = 0; cfs_attrs[i].name; i++) {
		const char *old = was->value[i], *new = is->value[i];

		if (!args->set[i] || !old || !new)
			continue;
		if (strcmp(old, new))
			printf("%s: %s %s, was %s\n", args->name, cfs_attrs[i].name, new, old);
		else
			printf("%s: %s still %s\n", args->name, cfs_attrs[i].name, new);
	}
	return BLKCTL_OK;
}

int cmd_set(const struct args *args)
{
	int dir = cfs_open_device(args->name), ret;
	struct device was, is;

	if (dir < 0)
		return BLKCTL_FAILED;
	ret = device_read(args->name, dir, &was);
	if (ret) {
		close(dir);
		return say_fail("the configuration of %s can't be read: %s", args->name,
				strerror(-ret));
	}
	ret = write_all(args, dir, &was);
	if (!ret) {
		ret = device_read(args->name, dir, &is);
		if (ret)
			ret = say_fail("%s was changed but can't be read: %s", args->name,
				       strerror(-ret));
		else
			ret = report(args, &was, &is);
		device_free(&is);
	}
	device_free(&was);
	close(dir);
	return ret;
}
