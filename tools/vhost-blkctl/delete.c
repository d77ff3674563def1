// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl delete */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cfs.h"
#include "cli.h"
#include "node.h"
#include "say.h"
#include "why.h"

/* Who holds a device that can't be disabled. */
static int say_busy(const char *name)
{
	char path[PATH_MAX];
	struct node_stat st;
	__u32 pid, orphans;

	node_path(name, path, sizeof(path));
	if (node_read(name, &st))
		return say_fail("%s is in use: stop what has %s open first", name, path);
	pid = st.info.owner_pid;
	orphans = st.info.orphans;
	node_free(&st);
	if (pid)
		return say_fail("%s is in use by process %u: stop that VM first", name, pid);
	if (orphans)
		return say_fail("%s waits for the disk to answer %u request%s of a dead VM",
				name, orphans, orphans == 1 ? "" : "s");
	return say_fail("%s is in use: stop what has %s open first (\"fuser -v %s\" names it)",
			name, path, path);
}

static int report(const struct args *args)
{
	struct json_object *obj;

	if (!args->json) {
		printf("%s: deleted\n", args->name);
		return BLKCTL_OK;
	}
	obj = json_object_new_object();
	json_object_object_add(obj, "name", json_object_new_string(args->name));
	json_object_object_add(obj, "deleted", json_object_new_boolean(1));
	return say_json(obj);
}

int cmd_delete(const struct args *args)
{
	struct why_ctx why = { .name = args->name, .attr = "enable", .value = "0" };
	int dir = cfs_open_device(args->name), ret;

	if (dir < 0)
		return BLKCTL_FAILED;
	ret = cfs_write(dir, "enable", "0");
	close(dir);
	if (ret == -EBUSY)
		return say_busy(args->name);
	if (ret)
		return why_failed("disable", ret, &why);
	ret = cfs_remove(args->name);
	if (ret == -EBUSY)
		return say_busy(args->name);
	if (ret)
		return why_failed("rmdir", ret, &why);
	return report(args);
}
