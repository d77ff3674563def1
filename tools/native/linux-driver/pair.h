/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A driver and a device on one ring: what the two sides, and those who run them, share.
 *
 * driver.c is built with the headers of the kernel's tools/virtio and calls its virtio_ring.c;
 * device.c is built with those of tools/native and calls our ring engine. This header is read by
 * both and includes nothing of either.
 *
 * Each side is a state machine: a step is one call of the API under test. steps.c runs them in one
 * thread, one random step at a time; threads.c runs each in a thread of its own.
 */
#ifndef _LINUX_DRIVER_PAIR_H
#define _LINUX_DRIVER_PAIR_H

#include <linux/types.h>
#include <linux/compiler.h>
#include <stdbool.h>

enum side { DRIVER, DEVICE };

/**
 * enum step - what a side did
 * @STEP_ON: something; there is more to do
 * @STEP_SLEEP: nothing, it sleeps: not to be called again before it has been signalled
 * @STEP_END: nothing, there is nothing left, or the run has failed
 */
enum step { STEP_ON, STEP_SLEEP, STEP_END };

/* A segment as the driver added it. Each has a cell of memory, however long it claims to be. */
struct seg {
	u64 addr;
	u32 len;
};

#define CELL	64
/* Bytes at the start of a segment that are really moved, if it has so many. */
#define STAMP	8

enum buf_state { BUF_IDLE, BUF_ADDED, BUF_FETCHED, BUF_USED };

/**
 * struct buf - a token, and what is known of its buffer
 * @state: who has it. Changed by the one side that has it; the ring hands it over
 * @nr_out: segments for the device to read
 * @nr_segs: all segments
 * @in_len: bytes of the writable ones
 * @added: so many were added before it
 * @used: so many were published before it
 * @used_len: the used length the device reported
 * @segs: the segments, up to &pair.max_segs
 */
struct buf {
	enum buf_state state;
	u32 nr_out, nr_segs;
	u64 in_len;
	u64 added, used;
	u32 used_len;
	struct seg *segs;
};

struct driver;
struct device;

/**
 * struct pair - one run
 * @packed: layout
 * @event_idx: VIRTIO_RING_F_EVENT_IDX
 * @indirect: VIRTIO_RING_F_INDIRECT_DESC
 * @inline_irq: the driver's interrupt handler runs on the device's side, as another processor
 *	would have it; else before a step of the driver
 * @exact: one step at a time, so both sides may look at each other and know what is right
 * @num: ring size
 * @max_segs: most segments of a buffer
 * @apart: threads.c: each side on a processor of its own
 * @count: buffers to go through the ring
 * @ms: or as many as do in so many milliseconds; 0: without a limit
 * @enough: no more of them
 * @seed: of all that is random
 * @desc: descriptor area
 * @driver_area: driver area
 * @device_area: device area
 * @nr_bufs: tokens: one more than the ring can take
 * @bufs: tokens
 * @cells: memory of their segments
 * @driver: driver's side
 * @device: device's side
 * @failed: the run is over
 * @d: what the driver did so far: buffers @added, the @slots they take, those of them that a kick
 *	was @considered for, buffers @got back; @kicks sent, suppressed (@quiet), and @forced by a
 *	full ring. @asleep: it sleeps, was not signalled, and any used buffer has to wake it
 * @v: what the device did so far: buffers @fetched and @used, their slots; @calls sent and
 *	suppressed (@quiet), @tables read, @restarts. @armed: kicks are on, @armed_at: for the slot
 *	after so many; @touched: it has said so, or the opposite
 */
struct pair {
	bool packed, event_idx, indirect, inline_irq, exact, apart;
	u32 num, max_segs;
	u32 ms;
	u64 count, seed;
	bool enough;

	void *desc, *driver_area, *device_area;
	u32 nr_bufs;
	struct buf *bufs;
	unsigned char *cells;
	struct driver *driver;
	struct device *device;
	bool failed;

	struct {
		u64 added, slots, considered, got;
		u64 kicks, quiet, forced;
		bool asleep;
	} d __aligned(128);
	struct {
		u64 fetched, fetched_slots, used, used_slots;
		u64 calls, quiet, tables, restarts;
		u64 armed_at;
		bool armed, touched;
	} v __aligned(128);
};

/* The driver's side: the kernel's virtio_ring.c. */
struct driver *driver_new(struct pair *p);
enum step driver_step(struct driver *d);
void driver_interrupt(struct driver *d);
void driver_dump(struct driver *d);
void driver_pos(struct driver *d, u16 *avail, u16 *used);
/* All buffers are back: does the ring know, too? */
bool driver_is_idle(struct driver *d);
void driver_free(struct driver *d);

/* The device's side: our ring engine. Positions: index, or slot and wrap counter in bit 15. */
struct device *device_new(struct pair *p);
enum step device_step(struct device *v);
void device_dump(struct device *v);
void device_pos(struct device *v, u16 *avail, u16 *used);
bool device_is_idle(struct device *v);
void device_free(struct device *v);

/* pair.c */

/* Ends the run; prints why, unless it has failed already. */
void pair_fail(struct pair *p, const char *fmt, ...) __printf(2, 3);
void pair_dump(struct pair *p);

/**
 * struct mode - a way to run the two sides
 * @how: in words
 * @exact: see &struct pair
 * @apart: likewise
 * @count: buffers for each ring, if not told
 * @ms: milliseconds for each ring, if not told
 */
struct mode {
	const char *how;
	bool exact, apart;
	u64 count;
	u32 ms;
};

int pair_main(int argc, char **argv, const struct mode *modes, unsigned int nr_modes);

/* steps.c, threads.c: those who run the two sides. */
void run_pair(struct pair *p);
/* Wakes a side, now or when it next wants to sleep. */
void run_signal(struct pair *p, enum side side);
/* Was it signalled? And no longer is. */
bool run_take_signal(struct pair *p, enum side side);

static inline u64 rnd(u64 *state)
{
	/* splitmix64 */
	u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* 0 to @n - 1, from the upper bits. */
static inline u32 below(u64 r, u32 n)
{
	return (r >> 32) * n >> 32;
}

static inline u64 stamp(const struct buf *b, u32 seg, bool device)
{
	return b->added * 0x9e3779b97f4a7c15ULL + seg * 2 + device;
}

#endif
