// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that rewrites everything it owns while the device looks at it, in a second thread:
 * rings, descriptors, tables, event structures. Whatever comes out is checked, and sanitizers watch
 * the rest: a value that is read twice is not the same twice here, and to the thread sanitizer an
 * access that goes past virtq_barrier.h is a race.
 *
 * Prints TAP and ends in "N passed, N failed".
 */
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/types.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../drivers/vhost_blk/virtq.h"
#include "../../drivers/vhost_blk/virtq_mem.h"

#define NUM	16
#define TABLE	64
/* How long each run takes, and how long at most until something was fetched at all. */
#define RUN_MS	200
#define WAIT_MS	20000

struct virtq_mem {
	u64 *words;
	unsigned int nr;
};

/* What both sides see: three areas and a table, each a block of its own for the sanitizer. */
struct shared {
	u64 *desc, *driver, *device;
	struct virtq_mem table;
	bool packed, stop;
};

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	unsigned int i;

	if (len > mem->nr * sizeof(u64))
		return -EFAULT;
	for (i = 0; i < len / sizeof(u64); i++)
		((u64 *)dst)[i] = READ_ONCE(mem->words[i]);
	return 0;
}

static u64 noise(u64 *state)
{
	/* splitmix64 */
	u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

/* The second half of a descriptor, mostly of a kind that gets somewhere. */
static u64 half(struct shared *s, u64 r)
{
	u32 len = r & 1 ? 16 * (r >> 8 & 31) : r >> 8 & 0xfff;
	u16 a = r >> 32 & 15, flags = r >> 36 & 7;

	if (!(r >> 40 & 15))
		return noise(&r);
	if (!s->packed)
		return len | (u64)flags << 32 | (u64)a << 48;
	/* Id before flags; available in either lap, or used. */
	flags |= (r >> 48 & 1) << 7 | (r >> 49 & 1) << 15;
	return len | (u64)a << 32 | (u64)flags << 48;
}

static void *driver(void *arg)
{
	struct shared *s = arg;
	u64 seed = 1;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		u64 r = noise(&seed);
		unsigned int i = r & 15;

		WRITE_ONCE(s->desc[2 * i + 1], half(s, r >> 4));
		i = r >> 8 & (TABLE - 1);
		WRITE_ONCE(s->table.words[2 * i + 1], half(s, noise(&seed)));
		r = noise(&seed);
		if (s->packed) {
			WRITE_ONCE(*(u32 *)s->driver, r);
			continue;
		}
		/* avail: flags, idx, ring[], used_event */
		WRITE_ONCE(((u16 *)s->driver)[2 + (r & 15)], r >> 4 & 15);
		if (!(r >> 8 & 7))
			WRITE_ONCE(((u16 *)s->driver)[1],
				   (r >> 16 & 15) + READ_ONCE(((u16 *)s->device)[1]));
		WRITE_ONCE(((u16 *)s->driver)[2 + NUM], r >> 32);
	}
	return NULL;
}

static bool sane(const struct virtq_chain *c, unsigned int slots)
{
	unsigned int i;

	if (c->id >= NUM || !c->ndesc || slots > NUM || !c->nr_segs || c->nr_segs > VIRTQ_MAX_NUM ||
	    c->nr_out > c->nr_segs)
		return false;
	for (i = 0; i < c->nr_segs; i++)
		if (c->segs[i].flags != (i < c->nr_out ? 0 : VIRTQ_SEG_WRITE) ||
		    c->segs[i].addr + c->segs[i].len < c->segs[i].addr)
			return false;
	return true;
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Returns 0 if all was well. */
static int run(enum virtq_layout layout, bool in_order, bool partial_order)
{
	struct virtq_done held[NUM];
	struct shared s = {
		.packed = layout == VIRTQ_PACKED,
		.desc = calloc(NUM, 16),
		.driver = calloc(1, 6 + 2 * NUM),
		.device = calloc(1, 6 + 8 * NUM),
		.table = { calloc(TABLE, 16), 2 * TABLE },
	};
	struct virtq_cfg cfg = {
		.layout = layout, .num = NUM, .event_idx = true, .indirect = true,
		.in_order = in_order, .partial_order = partial_order,
		.desc = s.desc, .driver = s.driver, .device = s.device,
		.segs = calloc(VIRTQ_MAX_NUM, sizeof(*cfg.segs)), .max_segs = VIRTQ_MAX_NUM,
		.table = calloc(VIRTQ_MAX_NUM, 16), .order = calloc(1, sizeof(*cfg.order)),
		.mem = &s.table,
	};
	const struct virtq_pos start = { .avail_wrap = true, .used_wrap = true };
	unsigned int fetched = 0, nr = 0, slots = 0, tries, i;
	struct virtq *vq = malloc(sizeof(*vq));
	struct virtq_chain chain;
	pthread_t thread;
	u64 seed = 2;
	int bad = 0, ret;
	long begin;

	if (virtq_init(vq, &cfg, &start) || pthread_create(&thread, NULL, driver, &s))
		return 1;
	begin = now_ms();
	for (tries = 0; !bad; tries++) {
		u64 r = noise(&seed);

		if (!(tries & 255)) {
			long ms = now_ms() - begin;

			if (ms > WAIT_MS || (ms > RUN_MS && fetched))
				break;
			/* Perhaps there is one processor. */
			sched_yield();
		}
		ret = virtq_fetch(vq, &chain);
		if (ret > 0) {
			slots += chain.ndesc;
			bad = !sane(&chain, slots);
			held[nr++] = (struct virtq_done){ chain.id, chain.ndesc, r };
			fetched++;
		}
		/* A broken ring starts again, with nothing in flight. */
		if (ret < 0) {
			nr = 0;
			slots = 0;
			bad = virtq_init(vq, &cfg, &start);
			continue;
		}
		if (nr && (nr == NUM || !(r & 3))) {
			unsigned int n = 1 + (r >> 2) % nr;

			/* Not always the oldest first. */
			swap(held[0], held[(r >> 16) % nr]);
			virtq_publish(vq, held, n);
			for (i = 0; i < n; i++)
				slots -= held[i].ndesc;
			memmove(held, held + n, (nr - n) * sizeof(*held));
			nr -= n;
		}
		virtq_need_call(vq);
		if (!ret)
			virtq_enable_kick(vq);
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("# %u buffers in %u tries\n", fetched, tries);
	free(s.desc);
	free(s.driver);
	free(s.device);
	free(s.table.words);
	free(cfg.segs);
	free(cfg.table);
	free(cfg.order);
	free(vq);
	return bad || !fetched;
}

int main(void)
{
	const unsigned int runs = VIRTQ_NR_LAYOUTS * 4;
	unsigned int i, failed = 0;

	printf("TAP version 13\n1..%u\n", runs);
	for (i = 0; i < runs; i++) {
		bool packed = i & 1, in_order = i & 2, partial_order = i & 4;
		int ret = run(packed ? VIRTQ_PACKED : VIRTQ_SPLIT, in_order, partial_order);

		printf("%sok %u - %s%s%s rewritten while being read\n", ret ? "not " : "", i + 1,
		       packed ? "packed" : "split", in_order ? ", in order" : "",
		       partial_order ? ", partial order" : "");
		failed += !!ret;
	}
	printf("# %u passed, %u failed\n", runs - failed, failed);
	return !!failed;
}
