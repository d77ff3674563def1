/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/vhost-blk-NAME, as one who only looks. */
#ifndef BLKCTL_NODE_H
#define BLKCTL_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/vhost_inflight.h>

/**
 * struct node_stat - what the ioctls say about a device
 * @info: the device
 * @queue: array of @info.num_queues
 */
struct node_stat {
	struct vhost_inflight_info info;
	struct vhost_inflight_queue_info *queue;
};

void node_path(const char *name, char *buf, size_t len);

/* 0 or -errno.  The node is not left open: an open node can't be deleted. */
int node_read(const char *name, struct node_stat *st);
void node_free(struct node_stat *st);

/**
 * struct node_requests - what a device has in flight
 * @nr_queues: queues
 * @queue: for each of them @nr requests, or @busy when it could not be asked
 */
struct node_requests {
	unsigned int nr_queues;
	struct node_queue_requests {
		unsigned int nr;
		struct vhost_inflight_request *req;
		bool busy;
	} *queue;
};

/* 0 or -errno. */
int node_read_requests(const char *name, struct node_requests *req);
void node_free_requests(struct node_requests *req);

/* Tries parked requests again; 0 and how many there were, or -errno. */
int node_retry(const char *name, __u32 *count);

/* Descriptor for node_next_event(), or -errno. */
int node_open(const char *name);

/* 0, -EAGAIN when there is none, or another -errno. */
int node_next_event(int fd, struct vhost_inflight_event *ev);

/* Says why one of the above failed; returns BLKCTL_FAILED. */
int node_say(const char *name, int err);

/* Sum over the queues of the counter at @offset in struct vhost_inflight_queue_info. */
__u64 node_sum(const struct node_stat *st, size_t offset);

#endif
