/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/vhost-blk-NAME, as the VMM that owns it. */
#ifndef MIGRATE_VDPA_H
#define MIGRATE_VDPA_H

#include <stdbool.h>

#include "guest.h"
#include "machine.h"

/**
 * struct vdpa - a device
 * @node: its path
 * @fd: the open node, -1 for none
 * @config_call: eventfd of VHOST_VDPA_SET_CONFIG_CALL
 * @region: a descriptor of its inflight region, -1 for none
 * @status: virtio status that was set last
 * @features: that it offers
 * @info: what it is
 * @config: configuration space
 * @config_len: bytes of it
 */
struct vdpa {
	const char *node;
	int fd, config_call, region;
	uint8_t status;
	uint64_t features;
	struct vhost_inflight_info info;
	uint8_t config[MAX_CONFIG];
	uint32_t config_len;
};

/* How a stop ended. */
enum stopped {
	STOPPED,		/* it stands still */
	STOPPED_REWINDABLE,	/* it does not, but what is out may be left behind */
	STOPPED_NOT,		/* it does not */
};

/**
 * struct stop - a stop
 * @mode: enum vhost_inflight_stop_mode
 * @deadline_ms: bound
 * @elapsed_ms: out: how long it took
 * @published: out: requests that were returned meanwhile
 * @kept: out: requests that are in the region for whoever goes on
 * @out: out: requests that are neither
 * @rewindable: out: those of @out that change nothing on the disk, or did not get there
 */
struct stop {
	uint32_t mode, deadline_ms;
	uint32_t elapsed_ms, published, kept, out, rewindable;
};

/* Unless said otherwise: 0, or -1 and why(). */

/* Opens the node and looks at the device; whoever owns it is not disturbed. */
int vdpa_open(struct vdpa *d, const char *node);
void vdpa_close(struct vdpa *d);

/* Owner, features, FEATURES_OK, memory: all that can be done before the guest stands still. */
int vdpa_own(struct vdpa *d, const struct machine *m, void *ram);

/* The queues.  @st: where they stand, with the inflight region; NULL: at the beginning. */
int vdpa_queues(struct vdpa *d, const struct machine *m, const struct guest *g,
		const struct stand *st, const void *region);

/* DRIVER_OK. */
int vdpa_run(struct vdpa *d);

/* The log of what it writes in the guest's memory; @fd -1: none. */
int vdpa_log(struct vdpa *d, int fd, uint64_t size);

/* The processors stand still.  enum stopped, or -1 and why(). */
int vdpa_stop(struct vdpa *d, struct stop *s, unsigned int queues);

/* What a stop waits for in vain, in sentences. */
void vdpa_say_out(const struct vdpa *d, unsigned int queues);

/*
 * A node whose owner has gone: how many of the requests that are still at the disk change something
 * there; -1 and why().
 */
int vdpa_landing(const char *node, unsigned int queues);

/* Takes the stop back, however it ended. */
int vdpa_go_on(struct vdpa *d);

/* Where it stands; only if it does stand still. */
int vdpa_bases(const struct vdpa *d, unsigned int queues, struct stand *st);

/*
 * The inflight region.  Its descriptor is good also when the node is closed; its bytes are from the
 * heap, and @st says how many.
 */
int vdpa_region(struct vdpa *d);
void *vdpa_region_bytes(struct vdpa *d, const struct machine *m,
			struct stand *st);	/* NULL and why() */

/* Requests that wait for the disk to get well; -1 and why(). */
int vdpa_parked(const struct vdpa *d);

/* Requests of owners before that the disk has not answered; -1 and why(). */
int vdpa_orphans(const struct vdpa *d);

/* Until there is an event of this type, or for @ms. */
void vdpa_event(const struct vdpa *d, enum vhost_inflight_event_type type, unsigned int ms);

#endif
