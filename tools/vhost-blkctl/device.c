// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

int device_read(const char *name, int dir, struct device *dev)
{
	char buf[CFS_VALUE_MAX];
	int ret;

	*dev = (struct device){ .name = name };
	ret = cfs_read(dir, "state", dev->state, sizeof(dev->state));
	for (int i = 0; !ret && cfs_attrs[i].name; i++) {
		ret = cfs_read(dir, cfs_attrs[i].name, buf, sizeof(buf));
		if (ret == -ENOENT) {	/* another version of the driver: show what it has */
			ret = 0;
			continue;
		}
		if (ret)
			break;
		dev->value[i] = strdup(buf);
		if (!dev->value[i])
			ret = -ENOMEM;
	}
	if (ret) {
		device_free(dev);
		return ret;
	}
	dev->capacity = strtoull(device_attr(dev, "capacity"), NULL, 10);
	return 0;
}

void device_free(struct device *dev)
{
	for (int i = 0; i < CFS_MAX_ATTRS; i++)
		free(dev->value[i]);
	if (dev->has_stat)
		node_free(&dev->stat);
	*dev = (struct device){ };
}

const char *device_attr(const struct device *dev, const char *attr)
{
	int nr = cfs_find(attr, strlen(attr));

	return nr >= 0 && dev->value[nr] ? dev->value[nr] : "";
}

static struct json_object *attr_json(enum cfs_kind kind, const char *val)
{
	switch (kind) {
	case CFS_BOOL:
		return json_object_new_boolean(!strcmp(val, "1") || !strcmp(val, "Y"));
	case CFS_UINT:
		return json_object_new_uint64(strtoull(val, NULL, 10));
	case CFS_STR:
		break;
	}
	return json_object_new_string(val);
}

struct json_object *device_json(const struct device *dev)
{
	struct json_object *obj = json_object_new_object(), *cfg = json_object_new_object();
	bool enabled = strcmp(dev->state, "disabled");
	char node[PATH_MAX];

	node_path(dev->name, node, sizeof(node));
	json_object_object_add(obj, "name", json_object_new_string(dev->name));
	json_object_object_add(obj, "state", json_object_new_string(dev->state));
	json_object_object_add(obj, "node", enabled ? json_object_new_string(node) : NULL);
	json_object_object_add(obj, "size_bytes", json_object_new_uint64(dev->capacity * 512));
	for (int i = 0; cfs_attrs[i].name; i++)
		if (dev->value[i])
			json_object_object_add(cfg, cfs_attrs[i].name,
					       attr_json(cfs_attrs[i].kind, dev->value[i]));
	json_object_object_add(obj, "config", cfg);
	return obj;
}
