/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest: its memory, and a virtio-blk driver in it that writes and reads blocks over all its
 * queues and looks at what it reads.
 *
 * All that the driver knows is in the guest's memory, in addresses that mean the same everywhere,
 * and moves with it: the driver itself never learns that it was moved.  guest_step() is one
 * instruction of it, so to speak; between two of them its processor can be stopped.
 *
 * Each page that it writes is marked in @written, behind the write: the log that a VMM has from
 * KVM.
 */
#ifndef MIGRATE_GUEST_H
#define MIGRATE_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine.h"
#include "say.h"

#define BLOCK		4096	/* what is written and read, and has a generation */
#define MAX_BLOCKS	8	/* of a request */
#define SLOT_DESCS	4	/* descriptors of a slot: header, two pieces of data, status */

/* What a slot is for. */
enum slot_state {
	SLOT_FREE,
	SLOT_OUT,		/* the device has it */
};

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;	/* packed: id, flags, see packed.c */
};

/**
 * struct slot - a request, in guest memory
 * @table: for an indirect descriptor
 * @type: VIRTIO_BLK_T_*, with @ioprio and @sector the header that the device reads
 * @ioprio: 0
 * @sector: where on the disk
 * @status: what the device writes
 * @state: enum slot_state
 * @descs: descriptors of the ring that it takes
 * @blocks: how many blocks it is about
 * @block: the first of them
 * @unit: which data buffer
 * @gen: of a write: generation that it writes
 * @in_len: bytes that the device may write
 */
struct slot {
	struct desc table[SLOT_DESCS];
	uint32_t type, ioprio;
	uint64_t sector;
	uint8_t status, state, descs, blocks;
	uint32_t block;
	uint32_t unit;
	uint32_t gen;
	uint32_t in_len;
	uint32_t reserved[7];
};

/**
 * struct queue - a virtqueue as its driver knows it, in guest memory
 * @desc: descriptor area, in the device's addresses, like the next three
 * @driver: driver area
 * @device: device area
 * @slots: requests
 * @put: where the next buffer goes: an index of a split ring; of a packed one a slot
 * @kicked: @put at the last kick
 * @got: where the next used one comes
 * @put_wrap: wrap counter of @put in a packed ring
 * @kicked_wrap: of @kicked
 * @got_wrap: of @got
 * @calls: the device is to call
 * @out: requests that the device has
 * @unkicked: requests put in since the last kick
 */
struct queue {
	uint64_t desc, driver, device;
	uint64_t slots;
	uint16_t put, kicked, got;
	uint8_t put_wrap, kicked_wrap, got_wrap, calls;
	uint16_t out, unkicked;
};

/* A block of the disk: what was written to it last, and who is at it now. */
struct block {
	uint32_t gen;		/* 0: nothing was */
	uint16_t readers;
	uint16_t writing;
};

/* How often things happened to a guest. */
struct guest_counts {
	uint64_t reads, writes, flushes, ids;
	uint64_t checked;	/* blocks that were read and had what was written to them last */
	uint64_t kicks, interrupts;
};

/**
 * struct memory - what is at the beginning of guest memory
 * @magic: GUEST_MAGIC
 * @size: bytes of all of it
 * @rng: state of the random numbers
 * @done: requests that came back
 * @queues: virtqueues
 * @num: size of their rings
 * @depth: requests on each at a time
 * @packed: layout
 * @event_idx: feature
 * @indirect: feature
 * @flush: feature
 * @named: @name is known
 * @turn: queue whose turn it is
 * @idle: turns since one of them had something to do
 * @seed: in what is written, so that it can be told from what was on the disk before
 * @gen: generation of the last write
 * @blocks: blocks that are used of the disk
 * @sweep: next block to read when the guest comes to its end
 * @units: data buffers, each of MAX_BLOCKS blocks
 * @free_units: how many of them are free: the first ones at @stack
 * @table: a struct block for each block
 * @stack: numbers of data buffers
 * @data: first data buffer
 * @name: what GET_ID answered the first time
 * @count: counters
 * @queue: queues
 */
struct memory {
	uint64_t magic, size;
	uint64_t rng;
	uint64_t done;
	uint16_t queues, num, depth;
	uint8_t packed, event_idx, indirect, flush, named;
	uint16_t turn, idle;
	uint32_t seed, gen;
	uint32_t blocks, sweep;
	uint32_t units, free_units;
	uint64_t table, stack, data;
	uint8_t name[VHOST_INFLIGHT_SERIAL_LEN + 4];
	struct guest_counts count;
	struct queue queue[MAX_QUEUES];
};

#define GUEST_MAGIC	0x6d69677261746521ULL

/**
 * struct guest - a guest in this process
 * @ram: its memory
 * @size: bytes of it
 * @mem: the beginning of it
 * @fd: memfd with the memory
 * @written: a bit for each page that the driver wrote, atomically
 * @kick: eventfds by which the driver tells the device
 * @call: eventfds by which the device interrupts the driver
 * @done: @mem's, for other threads, atomically
 * @finish: read what was written and come to the end, atomically
 * @error: what went wrong; empty when nothing did
 */
struct guest {
	uint8_t *ram;
	uint64_t size;
	struct memory *mem;
	int fd;
	uint64_t *written;
	int kick[MAX_QUEUES], call[MAX_QUEUES];
	uint64_t done;
	bool finish;
	char error[WHY_LEN];
};

/* What of the options the guest is made by. */
struct guest_plan {
	uint64_t memory;	/* bytes */
	unsigned int depth;
};

/* Room for a guest: memory of zeroes and eventfds; 0, or -1 and why(). */
int guest_make(struct guest *g, uint64_t size);
void guest_free(struct guest *g);

/* A driver that begins in there, on a device like @m, whose rings are filled in. */
int guest_boot(struct guest *g, const struct guest_plan *plan, struct machine *m);

/* What came over the stream is there: 0, or -1 and why() if it can't be a guest. */
int guest_arrived(struct guest *g, const struct machine *m);

enum guest_step {
	GUEST_BUSY,
	GUEST_IDLE,		/* waits for an interrupt, which it has asked for */
	GUEST_DONE,		/* told to finish, and did */
	GUEST_WRONG,		/* see @error */
};

enum guest_step guest_step(struct guest *g);
unsigned int guest_out(const struct guest *g);

/* The rings may have been written to, by whomever. */
void guest_wrote_rings(struct guest *g);

/* What is in a page, for people. */
void guest_place(const struct guest *g, uint64_t page, char buf[WHY_LEN]);

#endif
