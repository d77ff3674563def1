/* SPDX-License-Identifier: GPL-2.0 */
/* A device as configfs and its node describe it. */
#ifndef BLKCTL_DEVICE_H
#define BLKCTL_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <json-c/json.h>

#include "cfs.h"
#include "node.h"

/**
 * struct device - what can be known about a device
 * @name: its name
 * @state: "disabled", or one of device_state_name()
 * @value: per row of cfs_attrs[]; NULL when this driver does not have it
 * @capacity: in units of 512 bytes, 0 while disabled
 * @has_stat: whether @stat is there
 * @stat: what the node answered
 */
struct device {
	const char *name;
	char state[32];
	char *value[CFS_MAX_ATTRS];
	uint64_t capacity;
	bool has_stat;
	struct node_stat stat;
};

/* From configfs alone; 0, or -errno without having said anything. */
int device_read(const char *name, int dir, struct device *dev);
void device_free(struct device *dev);

/* The attribute's value, "" when there is none. */
const char *device_attr(const struct device *dev, const char *attr);

/* An object with name, state, node, size and configuration. */
struct json_object *device_json(const struct device *dev);

#endif
