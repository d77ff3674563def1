/* SPDX-License-Identifier: GPL-2.0 */
/* What the two sides and the one who started them share: what is to be done, and what was. */
#ifndef MIGRATE_MIGRATE_H
#define MIGRATE_MIGRATE_H

#include <stdbool.h>
#include <stdint.h>

#include "guest.h"

enum exit_status {
	EXIT_MOVED	= 0,	/* all moves were done, and the guest missed nothing */
	EXIT_LOST	= 1,	/* the guest found something wrong, or is lost */
	EXIT_USAGE	= 2,
	EXIT_NOT_MOVED	= 3,	/* a move was not possible; the guest missed nothing */
};

/* Where the destination fails a move, for tests. */
enum fail_at {
	FAIL_NOWHERE,
	FAIL_READY,		/* before it has the guest */
	FAIL_START,		/* after the source has closed its device */
};

/**
 * struct options - what was asked for
 * @node: source and destination
 * @mode: enum vhost_inflight_stop_mode
 * @packed: packed rings
 * @check: compare all of the memory after each move
 * @queues: that the guest uses; 0: all that the device has
 * @depth: requests on each at a time
 * @memory: of the guest, in MiB
 * @rounds: moves
 * @requests: that come back before each of them, and after the last
 * @parked: requests that have to be parked before each of them
 * @deadline_ms: of a stop
 * @retries: of a move whose stop stalled
 * @retry_ms: until the next try
 * @patience: seconds without a request that comes back, when none is parked
 * @fail: enum fail_at
 */
struct options {
	const char *node[2];
	uint32_t mode;
	bool packed, json, check;
	unsigned int queues, depth, memory;
	unsigned int rounds, requests, parked;
	unsigned int deadline_ms, retries, retry_ms, patience;
	enum fail_at fail;
};

/**
 * struct move - what became of a move
 * @round: which one, from 0
 * @from: which of the two nodes
 * @moved: it was done
 * @attempts: stops that were begun
 * @passes: over the memory, the last one with the guest standing still
 * @early_pages: copied while the guest ran, those of zeroes too
 * @last_pages: copied while it stood still
 * @by_device: pages that the device logged
 * @by_driver: pages that the driver did
 * @stop_ms: what the device says of the last stop
 * @published: requests that came back during it
 * @kept: requests that moved with the guest
 * @left: requests that were left behind at the source's disk, all of them rewindable
 * @stop_ns: from the pause of the guest's processor until the device stood still
 * @copy_ns: from there until the last page and the state were sent
 * @start_ns: from there until the guest ran at the destination
 * @first_ns: from there until its first request came back; they make up the downtime
 */
struct move {
	uint32_t round, from;
	uint32_t moved, attempts;
	uint32_t passes, stop_ms;
	uint64_t early_pages, last_pages, by_device, by_driver;
	uint32_t published, kept, left;
	uint32_t reserved;
	uint64_t stop_ns, copy_ns, start_ns, first_ns;
};

/* What a side tells the one who started it. */
enum report_type {
	REPORT_MOVE,
	REPORT_GUEST,		/* it came to its end */
};

struct report {
	uint32_t type, at;	/* at: which of the two nodes */
	union {
		struct move move;
		struct guest_counts guest;
	};
};

#endif
