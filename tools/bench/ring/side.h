/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benchmark of the ring engine is made of: a driver, and device sides to compare. Nothing
 * but C's own types here: vringh.c is built with other headers than the rest.
 */
#ifndef _BENCH_RING_SIDE_H
#define _BENCH_RING_SIDE_H

#include <stdbool.h>
#include <stdint.h>

/** define TURN_MAX - buffers taken in one turn, at most; as VBLK_BATCH of the engine's queue.c */
#define TURN_MAX	64

/** define USED_LEN - what a device side says it has written: the data and the status */
#define USED_LEN	4097

/**
 * struct ring - a virtqueue, and who uses it how
 * @packed: layout
 * @indirect: each buffer is an indirect table
 * @spread: data is all over guest memory
 * @num: ring size
 * @batch: buffers made available at once
 * @depth: buffers in use when a batch is given back, @batch at least
 * @heads: buffers there are, used in turn
 * @regions: mappings of guest memory
 * @desc: descriptor area
 * @driver: driver area
 * @device: device area
 * @ram: guest memory, which has all of these and the tables
 * @size: its bytes
 *
 * Addresses of guest memory are addresses of this process: vringh translates none.
 */
struct ring {
	bool packed, indirect, spread;
	unsigned int num, batch, depth, heads, regions;
	void *desc, *driver, *device;
	void *ram;
	uint64_t size;
};

/**
 * struct side - a device side
 * @name: of it
 * @packed: it has packed rings
 * @open: begin with a ring, which is fresh; NULL if it can't
 * @turn: take what is available, give back all of what is in use but @depth - @batch, see if the
 *	driver wants to be notified. Returns how many were given back
 */
struct side {
	const char *name;
	bool packed;
	void *(*open)(const struct ring *ring);
	unsigned int (*turn)(void *priv);
};

extern const struct side side_none, side_floor, side_floor_track, side_engine, side_engine_track,
	side_engine_deep, side_engine_parse, side_engine_map, side_vringh;

/* How often a side would have notified the driver, since it was opened. */
extern unsigned long calls;

/* driver.c */
void driver_open(struct ring *ring);
void driver_batch(struct ring *ring);
bool driver_check(struct ring *ring);
bool driver_room(struct ring *ring);

/* recover.c, look_up.c: what else is measured; an exit status */
int recover(bool packed, unsigned int queues, unsigned int requests);
int look_up(unsigned int regions, unsigned long count, bool spread);

double now(void);

#endif
