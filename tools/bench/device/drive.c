// SPDX-License-Identifier: GPL-2.0
/* The loop that keeps rings full. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "ring.h"

/* In one array, whosever they are. */
static struct queue *queues[MAX_TARGETS * MAX_QUEUES];
static uint64_t queue_blocks[ARRAY_SIZE(queues)];
static unsigned int nr_queues;
static uint64_t done;

static uint64_t seed = 0x9e3779b97f4a7c15ULL;

static inline uint64_t random_next(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

uint64_t random_block(uint64_t blocks)
{
	return (__uint128_t)random_next() * blocks >> 64;
}

bool random_read(void)
{
	return opt.reads == 100 || (opt.reads && (random_next() >> 11) % 100 < opt.reads);
}

static __always_inline unsigned int reap(struct queue *q, const bool packed)
{
	unsigned int n = 0;
	uint64_t now = 0;
	int i;

	while ((i = ring_get(q, packed)) >= 0) {
		struct slot *s = &q->slot[i];

		if (!n)
			now = ticks();
		n++;
		if (__atomic_load_n(s->status, __ATOMIC_RELAXED) != VIRTIO_BLK_S_OK)
			res.errors++;
		hist_add(now - s->stamp);
		q->free[q->nr_free++] = i;
	}
	res.requests += n;
	done += n;
	return n;
}

static __always_inline void kick(struct queue *q, const bool packed)
{
	static const uint64_t one = 1;

	if (!ring_need_kick(q, packed))
		return;
	q->kicks++;
	if (write(q->kick, &one, sizeof(one)) != sizeof(one))
		die("a queue can't be notified: %s", strerror(errno));
}

static __always_inline unsigned int fill(struct queue *q, uint64_t blocks, const bool packed)
{
	unsigned int n = q->nr_free, per = opt.block / SECTOR;
	uint64_t now;

	/* When nothing is out no batch gets larger. */
	if (!n || (n < opt.batch && n < opt.depth))
		return 0;
	now = ticks();
	while (q->nr_free) {
		unsigned int i = q->free[--q->nr_free];
		struct slot *s = &q->slot[i];
		struct virtio_blk_outhdr *h = s->header;
		bool read = random_read();

		h->type = read ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
		h->sector = random_block(blocks) * per;
		*s->status = 0xff;
		s->stamp = now;
		ring_put(q, i, read, packed);
	}
	if (!packed)
		split_show(q);
	kick(q, packed);
	return n;
}

/* Until a call, or a tick of the clock. */
static void wait_call(void)
{
	uint64_t n;

	if (read(call_fd, &n, sizeof(n)) == sizeof(n))
		res.calls++;
	else if (errno != EINTR)
		die("no call: %s", strerror(errno));
}

static __always_inline unsigned int reap_all(const bool packed)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < nr_queues; i++)
		n += reap(queues[i], packed);
	return n;
}

static void calls_all(bool on, const bool packed)
{
	for (unsigned int i = 0; i < nr_queues; i++)
		ring_calls(queues[i], on, packed);
}

static void prepare(const bool packed)
{
	for (unsigned int i = 0; i < nr_targets; i++)
		for (unsigned int j = 0; j < opt.queues; j++) {
			queues[nr_queues] = &target[i].queue[j];
			queue_blocks[nr_queues++] = target[i].blocks;
		}
	for (unsigned int i = 0; i < nr_queues; i++) {
		if (packed)
			packed_prepare(queues[i]);
		else
			split_prepare(queues[i]);
		ring_calls(queues[i], false, packed);
	}
}

static __always_inline void drive(const bool packed)
{
	static struct result measured;
	unsigned int out;

	prepare(packed);
	measure_begin();
	for (;;) {
		unsigned int n = 0;

		for (unsigned int i = 0; i < nr_queues; i++) {
			n += reap(queues[i], packed);
			n += fill(queues[i], queue_blocks[i], packed);
		}
		if (ticked() && measure_tick(done))
			break;
		if (n || !opt.evented)
			continue;
		calls_all(true, packed);
		if (!reap_all(packed))
			wait_call();
		calls_all(false, packed);
	}
	/* What is still out is awaited, but was not measured. */
	measured = res;
	do {
		out = 0;
		reap_all(packed);
		for (unsigned int i = 0; i < nr_queues; i++)
			out += opt.depth - queues[i]->nr_free;
		measure_alive();
	} while (out);
	res = measured;
}

void drive_rings(void)
{
	if (opt.packed)
		drive(true);
	else
		drive(false);
}

void drive_fill(void)
{
	prepare(opt.packed);
	for (unsigned int i = 0; i < nr_queues; i++)
		fill(queues[i], queue_blocks[i], opt.packed);
}

static bool ready(void)
{
	for (unsigned int i = 0; i < nr_queues; i++)
		if (ring_ready(queues[i], opt.packed))
			return true;
	return false;
}

bool drive_wait(void)
{
	struct pollfd call = { .fd = call_fd, .events = POLLIN };
	uint64_t begin = now_ns(), n;
	bool there;

	calls_all(opt.evented, opt.packed);
	for (;;) {
		there = ready();
		if (there || now_ns() - begin > PATIENCE_NS)
			break;
		if (opt.evented && poll(&call, 1, PATIENCE_MS) == 1 &&
		    read(call_fd, &n, sizeof(n)) != sizeof(n))
			die("no call: %s", strerror(errno));
	}
	calls_all(false, opt.packed);
	return there;
}

unsigned int drive_reap(void)
{
	return reap_all(opt.packed);
}
