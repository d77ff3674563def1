/* SPDX-License-Identifier: GPL-2.0 */
/* Copying the guest's memory while it runs: the device's log and the driver's, in passes. */
#ifndef MIGRATE_PRECOPY_H
#define MIGRATE_PRECOPY_H

#include "guest.h"
#include "vdpa.h"

/**
 * struct precopy - a copy on its way
 * @g: whose memory
 * @dev: its device, which logs what it writes
 * @stream: where it goes
 * @fd: memfd with the device's log
 * @log: the same, a bit for each page
 * @words: 64-bit words of it
 * @passes: over the memory
 * @pages: copied in all
 * @by_device: pages that the device had logged
 * @by_driver: pages that the driver had
 */
struct precopy {
	struct guest *g;
	struct vdpa *dev;
	int stream;
	int fd;
	uint64_t *log;
	size_t words;
	unsigned int passes;
	uint64_t pages, by_device, by_driver;
};

/* All of these: 0, or -1 and why(). */
int precopy_begin(struct precopy *p, struct guest *g, struct vdpa *dev, int stream);

/* Sends what was written since it was sent last; @sent: how many pages. */
int precopy_pass(struct precopy *p, uint64_t *sent);

/* The log is taken from the device if that is still ours. */
void precopy_end(struct precopy *p);

/* A checksum of each page; NULL: no memory. */
uint64_t *precopy_sums(const struct guest *g);

#endif
