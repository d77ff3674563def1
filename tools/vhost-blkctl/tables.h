/* SPDX-License-Identifier: GPL-2.0 */
/* The words for the driver's numbers, and the list of its counters. */
#ifndef BLKCTL_TABLES_H
#define BLKCTL_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

/**
 * struct counter - one __u64 of struct vhost_inflight_queue_info
 * @name: key in JSON
 * @offset: where it is
 * @head: heading in the table of show, NULL when it is only listed below it
 */
struct counter {
	const char *name;
	size_t offset;
	const char *head;
};

/* Ends with a row without name. */
extern const struct counter counters[];

struct bit_name {
	unsigned int bit;
	const char *name;
};

/* End with a row without name. */
extern const struct bit_name feature_bits[];	/* virtio and virtio-blk */
extern const struct bit_name backend_bits[];	/* VHOST_BACKEND_F_x */
extern const struct bit_name status_bits[];	/* virtio status byte */

/**
 * struct event_kind - what is known of a type of event
 * @type: enum vhost_inflight_event_type
 * @name: NULL for one that this tool does not know
 * @has_queue: whether it is of a queue
 * @has_request: whether it is of a request
 */
struct event_kind {
	__u32 type;
	const char *name;
	bool has_queue;
	bool has_request;
};

/* Never NULL; what is not known may have everything. */
const struct event_kind *event_kind(__u32 type);

const char *device_state_name(__u32 state);
const char *queue_state_name(__u32 state);
const char *request_state_name(__u32 state);
const char *request_type_name(__u32 type);

#endif
