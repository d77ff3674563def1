/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a recording disk was asked to do (VD_DM_RECORD), held against what the driver made available and saw used:
 *
 *   - a request is executed at least once, in all its sectors, before its used entry;
 *   - nothing of it arrives at the disk or is still there after its used entry;
 *   - one device executes it once; a successor, which begins with a mark in the log, may do so again;
 *   - a successor begins with what was in flight, each queue in the order of the counters;
 *   - nothing is written that nobody asked for.
 *
 * Requests for one place of the disk are for the same sectors, and one at a time. Log and driver have the same clock.
 *
 * A new disk is read by whoever looks for file systems, at its begin, at its end, up to 2 MiB. That is nothing to us as long as
 * the requests are elsewhere.
 */
#ifndef VBLK_RECORD_H
#define VBLK_RECORD_H

#include "../../modules/dm-vblk-record.h"
#include "vblk_dev.h"

#define VD_RECORD_FROM		(3 << 20)	/* where nobody else reads */
#define VD_RECORD_SECTORS	16	/* of a request */

struct vd_record_req {
	struct vd_record_req *before;	/* at the same place */
	struct vd_record_req *to_judge;	/* used since the log was read last */
	unsigned int queue;
	__u64 sector;
	__u32 sectors;
	bool write;
	__u32 seed;			/* of what it writes, as vd_fill() has it */
	__u64 submitted, used;		/* when; @used is 0 until then */
	__u64 counter;			/* in the region, for @again */
	unsigned int again;		/* the life in which it has to be done again */
	unsigned int arrived;		/* the last life in which it was at the disk */
	unsigned int done[VD_RECORD_SECTORS];	/* the last life in which each sector was done */
};

/* A life begins with each mark, and is counted from 1. */
struct vd_record {
	int fd;
	__u64 sectors;			/* of the disk */
	struct vd_record_req **at;	/* by sector: the latest */
	struct vd_record_req *used;	/* to be judged */
	struct vd_record_bio {
		struct vd_record_req *req;
		unsigned int life;
	} *bio;				/* by number, from @first */
	__u64 first, room;
	unsigned int life;
	unsigned int again[VD_MAX_QUEUES];	/* to arrive yet, of those in flight at the begin of this life */
	unsigned int next_again[VD_MAX_QUEUES];	/* and of the next one */
	__u64 counter[VD_MAX_QUEUES];		/* the latest that came again */
	const char *wrong;		/* the first thing that was */
	long where;			/* a sector, as a rule */
	/* bios; those that ended well, and not; requests that came again */
	unsigned long bios, ended, refused, repeated;
	long out;			/* arrived and not ended */
};

/* Times are vd_now_ns(): of a submission before it, of a used entry after it was seen. */
int vd_record_init(struct vd_record *r, __u64 sectors);	/* without a disk: for logs that are made up */
int vd_record_open(struct vd_record *r, __u64 sectors);	/* what happened before is not looked at */
struct vd_record_req *vd_record_submit(struct vd_record *r, const struct vd_record_req *like, __u64 ns);
void vd_record_used(struct vd_record *r, struct vd_record_req *req, __u64 ns);
void vd_record_void(struct vd_record *r, struct vd_record_req *req, __u64 ns);	/* the guest knows no more of it */
void vd_record_in_flight(struct vd_record *r, struct vd_record_req *req, __u64 counter);	/* for the next life */
int vd_record_mark(struct vd_record *r);	/* a successor begins */
bool vd_record_read(struct vd_record *r);	/* and judge; false when anything was wrong */
void vd_record_drop(struct vd_record *r);	/* what was done by somebody else: nothing of ours is under way */
void vd_record_feed(struct vd_record *r, const struct vblk_record *e, size_t n);
bool vd_record_judge(struct vd_record *r);

#endif /* VBLK_RECORD_H */
