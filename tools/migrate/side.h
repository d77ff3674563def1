/* SPDX-License-Identifier: GPL-2.0 */
/* One of the two processes: it has a node, and now and then the guest. */
#ifndef MIGRATE_SIDE_H
#define MIGRATE_SIDE_H

#include "migrate.h"
#include "vcpu.h"
#include "vdpa.h"

/**
 * struct side - a process
 * @o: what is to be done
 * @nr: which of the two nodes is its own
 * @stream: to the other side
 * @report: to the one who started both
 * @here: it has the guest
 * @dev: its device
 * @m: the guest's machine
 * @g: its memory
 * @cpu: its processor
 */
struct side {
	const struct options *o;
	unsigned int nr;
	int stream, report;
	bool here;
	struct vdpa dev;
	struct machine m;
	struct guest g;
	struct vcpu cpu;
};

/* What became of a round. */
enum side_result {
	SIDE_GOES_ON,
	SIDE_NOT_MOVED,		/* the guest stays where it is */
	SIDE_OVER,		/* nothing more will come */
	SIDE_LOST,		/* why() */
};

/* The process; an exit status. */
int side_run(const struct options *o, unsigned int nr, int stream, int report);

/* The guest goes: source.c. */
enum side_result side_leave(struct side *s, struct move *mv);

/* The guest comes: destination.c. */
enum side_result side_arrive(struct side *s, enum fail_at fail);

/* ---- what both of them need; 0, or -1 and why() ---- */

/* DRIVER_OK, kicks, the processor.  @st: where the guest stands; NULL: at its beginning. */
int side_start(struct side *s, const struct stand *st);

/* Until @goal requests of the guest came back in all. */
int side_wait(struct side *s, uint64_t goal);

/* Nothing of the guest is here any more. */
void side_forget(struct side *s);

#endif
