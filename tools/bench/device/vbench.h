/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A benchmark client that costs little: everything is allocated before the clock runs, and while it
 * runs there are no system calls but those that notify, wait, or are what is measured.
 */
#ifndef BENCH_VBENCH_H
#define BENCH_VBENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_TARGETS	64
#define MAX_QUEUES	64		/* of a target */
#define MAX_CPUS	16
#define MAX_RING	1024
#define PATIENCE_MS	30000	/* what takes longer is not to come */
#define PATIENCE_NS	(PATIENCE_MS * 1000000ULL)
#define SECTOR		512u
#define BIT(nr)		(1ULL << (nr))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/**
 * struct options - what was asked for
 * @depth: requests of a queue that are out at once
 * @block: bytes of a request
 * @reads: percent of the requests that read
 * @queues: of each target
 * @batch: requests that are made available together, at least
 * @ring: size of a ring
 * @maps: mappings that guest memory is told of in
 * @sparse: bytes of guest memory more, that nothing is ever in
 * @requests: how many; 0: by time
 * @warmup: seconds that do not count
 * @time: seconds that do
 * @idle: seconds after these in which the device has nothing to do
 * @evented: wait for calls, else poll
 * @packed: packed rings
 * @indirect: indirect descriptors also where the ring has room for others
 * @no_event_idx: do not take VIRTIO_RING_F_EVENT_IDX
 * @inflight: give the device a region to track what is in flight
 * @iopoll: io_uring polls the disk
 * @apart: the client has a processor, the device's threads have the others
 * @recover: a command that heals the disk; see recover.c
 * @cpu: whose processor time is the device's: pid, or name of threads
 * @nr_cpu: how many
 */
struct options {
	unsigned int depth, block, reads, queues, batch, ring, maps;
	uint64_t sparse, requests;
	double warmup, time, idle;
	bool evented, packed, indirect, no_event_idx, inflight, iopoll, apart;
	const char *recover;
	const char *cpu[MAX_CPUS];
	unsigned int nr_cpu;
};

extern struct options opt;

void __noreturn __printf(1, 2) die(const char *fmt, ...);

/* ---- memory.c: guest memory ---- */

/* @map: where each mapping ends, as an offset. */
struct memory {
	uint8_t *base;
	int fd;
	uint64_t size, iova;
	uint64_t *map;
	uint8_t *sparse;
};

#define GUEST_IOVA	0x100000000ULL

extern struct memory mem;

void memory_make(uint64_t meta, uint64_t data);
static inline uint64_t iova_of(const void *p)
{
	return mem.iova + (uint64_t)((const uint8_t *)p - mem.base);
}

/* ---- queues ---- */

enum kind { KIND_VDPA, KIND_VHOST_USER, KIND_URING };

/* What a request is to the driver.  Read and written for each: a cache line of its own. */
struct slot {
	uint64_t stamp;
	void *header;
	uint8_t *status;
	uint64_t header_iova, status_iova, data_iova, table_iova;
	void *table;
} __aligned(64);

/**
 * struct queue - a virtqueue, driver's side
 * @desc: descriptor table, or packed ring
 * @driver: available ring, or driver's event area
 * @device: used ring, or device's event area
 * @num: its size
 * @put: where the next buffer goes; split: free running
 * @kicked: @put at the last look whether to notify
 * @got: where the next used one is; split: free running
 * @seen: used index as it was read last (split)
 * @descs: of a buffer in the ring
 * @free: slots that are not out
 */
struct queue {
	void *desc, *driver, *device;
	uint16_t num, mask, put, kicked, got, seen;
	uint8_t put_wrap, kicked_wrap, got_wrap, descs;
	bool event_idx, indirect;
	unsigned int nr_free, unkicked;
	int kick;
	uint16_t free[MAX_RING];
	uint16_t slot_of[MAX_RING];
	struct slot *slot;
	uint64_t kicks;
};

/**
 * struct target - what is measured
 * @features: that were taken
 * @blocks: how many blocks of &options.block it has
 * @start_ns: from opening it until it runs
 * @map_ns: of that, telling it of guest memory
 * @stop_ns: from telling it to stop until it has
 * @inflight_fd: of the region that it was given; -1: none yet
 */
struct target {
	const char *path;
	enum kind kind;
	int fd, inflight_fd;
	uint64_t features, blocks, start_ns, map_ns, stop_ns;
	struct queue *queue;
};

extern struct target target[MAX_TARGETS];
extern unsigned int nr_targets;
extern int call_fd;			/* for all queues */

/* Bytes that a queue's rings, headers and tables need. */
uint64_t queue_meta_size(void);
void queue_make(struct queue *q, uint8_t *meta, uint8_t *data, uint64_t data_stride);

/* Before memory: what the features and the size are.  After it: up to DRIVER_OK. */
void vdpa_open(struct target *t);
void vdpa_start(struct target *t);
void vdpa_stop(struct target *t);
/* An ioctl that has to succeed; @what is its name. */
void vdpa_call(const struct target *t, const char *what, unsigned long cmd, void *arg);
#define VDPA_CALL(t, cmd, arg)	vdpa_call(t, #cmd, cmd, arg)
void vuser_open(struct target *t);
void vuser_start(struct target *t);
void vuser_stop(struct target *t);

/* What we want of what is offered. */
uint64_t choose_features(const struct target *t, uint64_t offered, uint64_t must);

/* ---- measure.c ---- */

/* A bucket for each 1/32 of a power of two: 3 % is as exact as it gets. */
#define HIST_SUB	32
#define HIST_BUCKETS	(64 * HIST_SUB)

/**
 * struct result - what was measured
 * @calls: times the client was woken
 * @ns: how long
 * @client_ns: processor time of the thread that drives
 * @device_ns: of the device's threads, and of those that --cpu names
 * @switches: how often these left a processor, to sleep or for others
 * @max: longest latency in clock ticks
 * @idle_ns: processor time of the device's threads while it had nothing to do
 * @idle_sleeps: how often they went to sleep meanwhile
 */
struct result {
	uint64_t requests, kicks, calls, errors, ns, client_ns, device_ns, switches, max;
	uint64_t idle_ns, idle_sleeps;
	uint64_t hist[HIST_BUCKETS];
};

extern struct result res;

uint64_t now_ns(void);

/* A moment's rest; false: what was begun then is not to come. */
bool rest(uint64_t begin);

static inline uint64_t ticks(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	return now_ns();
#endif
}

static inline unsigned int hist_bucket(uint64_t v)
{
	unsigned int shift;

	if (v < HIST_SUB)
		return v;
	shift = 63 - __builtin_clzll(v) - 5;
	return (shift + 1) * HIST_SUB + ((v >> shift) & (HIST_SUB - 1));
}

static inline void hist_add(uint64_t v)
{
	res.hist[hist_bucket(v)]++;
	if (v > res.max)
		res.max = v;
}

/* A share of the latencies is not longer than this, in ns; @ppm in millionths. */
double hist_quantile(uint64_t ppm);
double hist_mean(void);

/*
 * measure_begin() arms a timer; each of its ticks sets @tick, from a signal handler, and
 * measure_tick() then says whether it is over.  What counts starts at the end of the warm-up.
 */
extern bool tick;
static inline bool ticked(void)
{
	return __atomic_load_n(&tick, __ATOMIC_RELAXED);
}

/* For &options.apart, when the device has its threads. */
void measure_apart(void);
void measure_begin(void);
bool measure_tick(uint64_t done);
/* Nothing came back for so long that nothing will. */
void measure_alive(void);
void measure_over(void);
/* Then, for &options.idle seconds: what does a device do that has nothing to do? */
void measure_idle(void);

/* ---- who drives ---- */

void drive_rings(void);
/* All that there is room for; until something is back, or is not to come; what is back. */
void drive_fill(void);
bool drive_wait(void);
unsigned int drive_reap(void);
void uring_open(struct target *t);
void uring_drive(uint8_t *data, uint64_t stride);
uint64_t random_block(uint64_t blocks);
bool random_read(void);

/* ---- recover.c ---- */

/**
 * struct recovery - a stop that preserves, and a start from the region
 * @kept: requests in the region, of all queues
 * @stop_ns: from telling the device to stop until it stands still
 * @begun_ns: when the next owner opened the device, by CLOCK_MONOTONIC
 * @start_ns: from then until it runs
 * @first_ns: until the first request was back
 * @all_ns: until all were
 */
struct recovery {
	uint64_t kept, stop_ns, begun_ns, start_ns, first_ns, all_ns;
};

struct recovery recover(struct target *t);

#endif
