/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vhost-blk device in userspace, so that the client can be tested without a kernel: as much of
 * one as the client asks for.  It shares no code with the real one.  Each process has at most one;
 * the disk is a file that all of them share.
 */
#ifndef FAKE_FAKE_H
#define FAKE_FAKE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/vhost.h>
#include <linux/vhost_inflight.h>
#include <linux/virtio_ring.h>

#define FAKE_MAX_QUEUES		4
#define FAKE_QUEUE_SIZE		128
#define FAKE_MAX_SEGS		8
#define FAKE_MAX_EVENTS		64

struct fake_seg {
	uint64_t addr;
	uint32_t len;
	bool in;
};

enum fake_state {
	FAKE_NONE,
	FAKE_QUEUED,		/* the disk has not seen it */
	FAKE_SUBMITTED,
	FAKE_PARKED,
};

/* A request in flight. */
struct fake_request {
	enum fake_state state;
	uint16_t id, descs;
	uint16_t entry;		/* packed: its first one in the region */
	uint64_t counter;
	struct fake_seg seg[FAKE_MAX_SEGS];
	unsigned int segs;
	uint32_t type;
	uint64_t sector;
};

struct fake_queue {
	uint16_t num;
	struct vhost_vring_addr addr;
	uint32_t base;
	bool based;
	int kick, call;
	uint16_t avail, used;		/* index; packed: slot */
	bool avail_wrap, used_wrap;
	uint64_t counter;
	struct fake_request req[FAKE_QUEUE_SIZE];
	unsigned int out, published;
};

struct fake {
	int fd;				/* an eventfd: readable when there is an event */
	char name;			/* A or B */
	pthread_mutex_t lock;
	pthread_t thread;
	bool running, end, wild, broken;
	int wake, config_call;
	uint8_t status;
	uint64_t features, backend;
	struct vhost_iotlb_msg map;
	struct fake_queue queue[FAKE_MAX_QUEUES];
	unsigned int queues;
	int region_fd;
	uint8_t *region;
	bool handed;
	uint64_t *log, log_size;
	uint32_t stop_state, stop_mode, stop_deadline;
	uint64_t stop_begin, stop_end;
	uint32_t event[FAKE_MAX_EVENTS];
	unsigned int events;
};

/* What the test wants of a device: FAKE_DEFECT. */
bool fake_defect(const char *name);

uint64_t fake_capacity(void);
size_t fake_stride(const struct fake *f);

/* With the lock held: all of them. */
int fake_start(struct fake *f);		/* 0 or -errno */
void fake_turn(struct fake *f);
uint32_t fake_get_base(const struct fake *f, unsigned int index);
void fake_event(struct fake *f, uint32_t type);
unsigned int fake_kept(const struct fake_queue *q);
unsigned int fake_parked(const struct fake *f);
uint64_t fake_now_ms(void);
unsigned int fake_hanging(const struct fake *f);	/* requests that the disk does not answer */
bool fake_hangs(const struct fake *f);			/* there may be such */

/* What the linker makes of the client's system calls, and the real ones: kernel.c. */
int __wrap_open(const char *path, int flags, ...);
int __wrap_close(int fd);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
int __wrap_ioctl(int fd, unsigned long cmd, ...);
int __real_open(const char *path, int flags, ...);
int __real_close(int fd);
ssize_t __real_write(int fd, const void *buf, size_t len);
int __real_ioctl(int fd, unsigned long cmd, ...);

#endif
