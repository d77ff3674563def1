// SPDX-License-Identifier: GPL-2.0
/*
 * What a request costs in the ring engine, and in what it is compared with. One request is a chain
 * of 16 readable, 4096 writable and 1 writable bytes.
 *
 *	ring SIDE [OPTION]...	a driver, and a device side: none, floor, floor-track, engine,
 *				engine-track, engine-deep, engine-parse, engine-map, vringh
 *	  --packed --indirect --batch N --depth N --num N --regions N --requests N
 *	  --spread		data is in all of the regions, else in one
 *	  --cores		each side on a processor of its own
 *	ring recover [--packed] [--queues N] [--requests N]
 *				what a device left behind is checked, put in order, and taken again
 *	ring look-up [--spread] [--regions N] [--requests N]
 *				an address in the picture of the IOTLB
 *
 * Prints nanoseconds per request or per look-up, in a row of its own for each step of a recovery.
 * The driver's part is in it; side "none" has nothing else. Exit status: 0, 1 if something went
 * wrong, 2 usage.
 */
#define _GNU_SOURCE
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "side.h"

static clockid_t timer = CLOCK_THREAD_CPUTIME_ID;

static const struct side *const sides[] = {
	&side_none, &side_floor, &side_floor_track, &side_engine, &side_engine_track,
	&side_engine_deep, &side_engine_parse, &side_engine_map, &side_vringh,
};

/* What other programs take of the processor does not count, where one thread does everything. */
double now(void)
{
	struct timespec t;

	clock_gettime(timer, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int fail(const char *what)
{
	fprintf(stderr, "ring: %s\n", what);
	return 1;
}

/* First to so many in use, then a batch for a batch. Each buffer has to come back. */
static int check(const struct side *side, struct ring *ring, void *priv)
{
	unsigned int n;

	for (n = ring->batch; n < ring->depth; n += ring->batch) {
		driver_batch(ring);
		side->turn(priv);
	}
	for (n = 0; n < 4 * ring->num; n += ring->batch) {
		driver_batch(ring);
		if (side->turn(priv) != ring->batch)
			return fail("a batch did not come back");
		if (side != &side_none && !driver_check(ring))
			return fail("the wrong buffers came back");
	}
	return 0;
}

static int together(const struct side *side, struct ring *ring, void *priv, unsigned long requests)
{
	unsigned long total = requests / ring->batch, n, got = 0;
	double a, b;

	if (check(side, ring, priv))
		return 1;
	calls = 0;
	a = now();
	for (n = 0; n < total; n++) {
		driver_batch(ring);
		got += side->turn(priv);
	}
	b = now();
	if (got != total * ring->batch)
		return fail("not all came back");
	/* For the last buffer of each; where more are in use others are in front of it. */
	if (side != &side_none && ring->depth == ring->batch && calls != total)
		return fail("a notification for each batch was wanted");
	printf("%.3f\n", (b - a) * 1e9 / got);
	return 0;
}

static bool stop;

static void pin(unsigned int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* Where it is not allowed the processors are somebody else's choice. */
	sched_setaffinity(0, sizeof(set), &set);
}

static void *driver_thread(void *arg)
{
	struct ring *ring = arg;

	pin(0);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		if (driver_room(ring))
			driver_batch(ring);
		else
			__builtin_ia32_pause();
	}
	return NULL;
}

static int apart(const struct side *side, struct ring *ring, void *priv, unsigned long requests)
{
	const unsigned long warm = requests / 8;
	unsigned long n = 0;
	double a = 0, b;
	pthread_t thread;

	timer = CLOCK_MONOTONIC;
	pin(1);
	if (pthread_create(&thread, NULL, driver_thread, ring))
		return fail("no thread");
	while (n < requests + warm) {
		unsigned int ret = side->turn(priv);

		if (n < warm && n + ret >= warm)
			a = now();
		n += ret;
		if (!ret)
			__builtin_ia32_pause();
	}
	b = now();
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	printf("%.3f\n", (b - a) * 1e9 / (n - warm));
	return 0;
}

static int usage(void)
{
	fprintf(stderr, "ring SIDE|recover|look-up [OPTION]...: see main.c\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "packed", 0, NULL, 'p' }, { "indirect", 0, NULL, 'i' }, { "batch", 1, NULL, 'b' },
		{ "depth", 1, NULL, 'd' }, { "num", 1, NULL, 'n' }, { "regions", 1, NULL, 'r' },
		{ "requests", 1, NULL, 'c' }, { "cores", 0, NULL, 'o' },
		{ "spread", 0, NULL, 's' }, { "queues", 1, NULL, 'q' }, { }
	};
	/* By letter: 1 for those without an argument. */
	unsigned long set['z'] = { ['b'] = 32, ['n'] = 256, ['q'] = 16, ['r'] = 1 }, requests;
	struct ring ring;
	unsigned int i;
	void *priv;
	bool deep;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == '?')
			return usage();
		set[opt] = optarg ? strtoul(optarg, NULL, 0) : 1;
	}
	if (optind + 1 != argc || !set['r'])
		return usage();
	if (!strcmp(argv[optind], "recover"))
		return recover(set['p'], set['q'], set['c'] ?: 1024);
	requests = set['c'] ?: 1000000;
	if (!strcmp(argv[optind], "look-up"))
		return look_up(set['r'], requests, set['s']);

	ring = (struct ring){
		.packed = set['p'], .indirect = set['i'], .spread = set['s'], .num = set['n'],
		.batch = set['b'], .depth = set['d'] ?: set['b'], .regions = set['r'],
	};
	ring.heads = ring.depth > 64 ? ring.depth : 64;
	deep = !strcmp(argv[optind], "none") || !strcmp(argv[optind], "engine-deep");
	if (!ring.batch || ring.batch > TURN_MAX || ring.depth < ring.batch || ring.num > 1024 ||
	    ring.depth % ring.batch || (ring.depth > ring.batch && !deep) ||
	    ring.depth * (ring.indirect ? 1 : 3) > ring.num)
		return usage();
	for (i = 0; i < sizeof(sides) / sizeof(*sides); i++)
		if (!strcmp(argv[optind], sides[i]->name))
			break;
	if (i == sizeof(sides) / sizeof(*sides) || (ring.packed && !sides[i]->packed))
		return usage();
	driver_open(&ring);
	priv = sides[i]->open(&ring);
	if (!priv)
		return fail("the side can't do that");
	return set['o'] ? apart(sides[i], &ring, priv, requests) :
			  together(sides[i], &ring, priv, requests);
}
