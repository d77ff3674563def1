// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl retry */
#include <stdio.h>

#include "cfs.h"
#include "cli.h"
#include "node.h"
#include "say.h"

int cmd_retry(const struct args *args)
{
	int ret = cfs_need_enabled(args->name);
	struct json_object *obj;
	__u32 count;

	if (ret)
		return ret;
	ret = node_retry(args->name, &count);
	if (ret)
		return node_say(args->name, ret);
	if (args->json) {
		obj = json_object_new_object();
		json_object_object_add(obj, "name", json_object_new_string(args->name));
		json_object_object_add(obj, "retried", json_object_new_uint64(count));
		return say_json(obj);
	}
	if (count)
		printf("%s: %u request%s tried again\n", args->name, count,
		       count == 1 ? " is" : "s are");
	else
		printf("%s: no request to try again\n", args->name);
	return BLKCTL_OK;
}
