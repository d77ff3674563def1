/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device's side of a ring under test: every call of the engine goes through here, is compared
 * with what the specification and virtq.h say of the bytes in the ring, and must leave all other
 * bytes alone. Whose bytes these are, and what they are, is the target's business.
 */
#ifndef _FUZZ_DEVICE_H
#define _FUZZ_DEVICE_H

#include "fuzz.h"
#include "../../drivers/vhost_blk/req.h"
#include "../../drivers/vhost_blk/virtq.h"
#include "../../drivers/vhost_blk/virtq_mem.h"

/* The areas of a ring, in the order of struct virtq_cfg. */
enum { AREA_DESC, AREA_DRIVER, AREA_DEVICE, NR_AREAS };

/* A buffer in flight. */
struct flight {
	bool out;		/* fetched and not given back */
	bool done;		/* the owner has answered */
	u64 seq;		/* its place among all that were fetched, from 1 */
	u16 ndesc;
	u32 in_len, len;	/* writable bytes, and the length to report */
};

struct device {
	struct virtq_cfg cfg;
	struct virtq *vq;
	struct virtq_seg *own_segs;
	u8 *area[NR_AREAS], *before[NR_AREAS];

	/* What is known of the ring: the position, and what an index was when last looked at. */
	struct virtq_pos pos;
	u16 seen;
	u64 uncalled;		/* split: buffers, packed: slots; not yet considered */

	struct flight flight[VIRTQ_MAX_NUM];
	u16 held[VIRTQ_MAX_NUM], nr_held;	/* ids that are out and not done, as fetched */
	u64 fetched, returned;			/* buffers */
	u64 used;				/* the latest seq that was given back */
	bool flushed;				/* the last used entry had FLUSH */
};

/* Sizes of the areas, to the byte what the engine may assume. */
size_t device_area(const struct virtq_cfg *cfg, unsigned int area);
/* Allocates the ring's areas, zeroed, and all else that @cfg lacks. */
void device_new(struct device *dev, const struct virtq_cfg *cfg);
void device_free(struct device *dev);
/* Takes the ring into service. False if the engine refused, which it must just when it should. */
bool device_start(struct device *dev, const struct virtq_pos *pos);
/* The areas go elsewhere; the old ones are gone. */
void device_move(struct device *dev);

/* As virtq_fetch(). Segments are copied to @segs, if given, with room for cfg.max_segs. */
int device_fetch(struct device *dev, struct virtq_chain *chain);
/* The owner's answer to the buffer fetched @at-th of those held; takes it from the list. */
struct virtq_done device_answer(struct device *dev, unsigned int at, u32 len);
void device_publish(struct device *dev, const struct virtq_done *done, unsigned int n);
bool device_need_call(struct device *dev);
bool device_enable_kick(struct device *dev);
void device_disable_kick(struct device *dev);

/* As vblk_parse(), checked against the chain and the limits. */
int check_parse(const struct vblk_limits *lim, struct virtq_mem *mem, struct virtq_chain *chain);
/* Limits of a device. */
void make_limits(struct fuzz_in *in, struct vblk_limits *lim);

#endif
