/* SPDX-License-Identifier: GPL-2.0 */
/* The words for the driver's numbers, and the list of its counters. */
#ifndef BLKCTL_TABLES_H
#define BLKCTL_TABLES_H

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

const char *device_state_name(__u32 state);
const char *queue_state_name(__u32 state);
const char *request_state_name(__u32 state);
const char *request_type_name(__u32 type);

#endif
