// SPDX-License-Identifier: GPL-2.0
/*
 * Runs a driver and a device on rings of every kind and says what came out, as TAP. See pair.h.
 */
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/types.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "pair.h"

/* Powers of two, as a split ring has to be; a packed ring need not. */
static const u32 split_nums[] = { 1, 2, 4, 8, 16, 64, 256, 1024 };
static const u32 packed_nums[] = { 1, 2, 3, 5, 8, 13, 100, 256, 1023 };
/* What is rare happens where little is in flight. */
static const u32 split_small[] = { 1, 4, 16 };
static const u32 packed_small[] = { 1, 5, 16 };

#define KINDS		8	/* of three features each, on or off */

struct options {
	u64 count, seed;
	u32 rounds, num, ms;
};

struct figures {
	u64 buffers, tables, kicks, no_kicks, forced, calls, no_calls, restarts;
};

void pair_fail(struct pair *p, const char *fmt, ...)
{
	va_list ap;

	if (__atomic_exchange_n(&p->failed, true, __ATOMIC_SEQ_CST))
		return;
	va_start(ap, fmt);
	printf("# failed: ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

void pair_dump(struct pair *p)
{
	printf("# ring size %u, %s, seed %llu\n", p->num,
	       p->inline_irq ? "interrupts beside the driver" : "interrupts in the driver",
	       (unsigned long long)p->seed);
	if (p->device)
		device_dump(p->device);
	if (p->driver)
		driver_dump(p->driver);
	fflush(stdout);
}

static void check_end(struct pair *p)
{
	u16 avail, used, driver_avail, driver_used;

	if (p->failed)
		return;
	if ((p->d.added != p->count && !p->enough) || p->d.got != p->d.added ||
	    p->v.fetched != p->d.added || p->v.used != p->d.added)
		return pair_fail(p, "not all of %llu", (unsigned long long)p->count);
	device_pos(p->device, &avail, &used);
	driver_pos(p->driver, &driver_avail, &driver_used);
	if (avail != used || avail != driver_avail || used != driver_used)
		return pair_fail(p, "at the end the sides stand apart");
	if (!device_is_idle(p->device) || !driver_is_idle(p->driver))
		pair_fail(p, "at the end a side is not idle");
}

static void add_figures(struct figures *f, const struct pair *p)
{
	f->buffers += p->d.got;
	f->tables += p->v.tables;
	f->kicks += p->d.kicks;
	f->no_kicks += p->d.quiet;
	f->forced += p->d.forced;
	f->calls += p->v.calls;
	f->no_calls += p->v.quiet;
	f->restarts += p->v.restarts;
}

static bool run_one(struct pair *p, struct figures *f)
{
	struct seg *segs = NULL;
	u32 i;

	p->nr_bufs = p->num + 1;
	p->bufs = calloc(p->nr_bufs, sizeof(*p->bufs));
	segs = calloc((size_t)p->nr_bufs * p->max_segs, sizeof(*segs));
	p->cells = calloc((size_t)p->nr_bufs * p->max_segs, CELL);
	if (!p->bufs || !segs || !p->cells) {
		pair_fail(p, "no memory");
		goto out;
	}
	for (i = 0; i < p->nr_bufs; i++)
		p->bufs[i].segs = segs + (size_t)i * p->max_segs;
	p->driver = driver_new(p);
	p->device = p->driver ? device_new(p) : NULL;
	if (!p->device)
		pair_fail(p, "no ring");
	else
		run_pair(p);
	check_end(p);
	if (p->failed)
		pair_dump(p);
	add_figures(f, p);
	device_free(p->device);
	driver_free(p->driver);
out:
	free(p->bufs);
	free(segs);
	free(p->cells);
	return !p->failed;
}

/* All ring sizes, with one set of features. */
static bool run_kind(const struct mode *m, const struct options *o, unsigned int kind,
		     struct figures *f)
{
	const u32 *nums = kind & 1 ? packed_nums : split_nums;
	unsigned int n = kind & 1 ? ARRAY_SIZE(packed_nums) : ARRAY_SIZE(split_nums), i, round;

	if (m->apart) {
		nums = kind & 1 ? packed_small : split_small;
		n = ARRAY_SIZE(packed_small);
	}
	if (o->num) {
		nums = &o->num;
		n = 1;
	}
	for (round = 0; round < o->rounds; round++)
		for (i = 0; i < n; i++) {
			/* Of its own cache lines, see its alignment. */
			static struct pair p;

			p = (struct pair){
				.packed = kind & 1, .event_idx = kind & 2, .indirect = kind & 4,
				.inline_irq = (i + round) & 1, .exact = m->exact, .apart = m->apart,
				.num = nums[i], .count = o->count ?: m->count,
				.ms = o->ms ?: m->ms, .seed = o->seed + round,
			};
			/* Tables of more entries than the ring has, where that is cheap. */
			if (p.num <= 16)
				p.max_segs = p.indirect ? 1024 : p.num;
			else
				p.max_segs = p.num <= 256 ? p.num : 64;
			if (!run_one(&p, f))
				return false;
		}
	return true;
}

static void help(const char *name)
{
	printf("Usage: %s [--count N] [--ms N] [--rounds N] [--seed N] [--num N]\n\n"
	       "The kernel's virtio_ring.c and our ring engine on rings of every kind. Prints TAP.\n\n"
	       "  --count N    buffers for each ring, where these are counted\n"
	       "  --ms N       milliseconds for each ring, where these are\n"
	       "  --rounds N   all of it so often, each time with the next seed (1)\n"
	       "  --seed N     the first seed (1)\n"
	       "  --num N      rings of this size only\n",
	       name);
}

static bool parse(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{ "count", required_argument, NULL, 'c' },
		{ "ms", required_argument, NULL, 'm' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "seed", required_argument, NULL, 's' },
		{ "num", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
		u64 v = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (c) {
		case 'c':
			o->count = v;
			break;
		case 'm':
			o->ms = v;
			break;
		case 'r':
			o->rounds = v;
			break;
		case 's':
			o->seed = v;
			break;
		case 'n':
			o->num = v;
			break;
		case 'h':
			help(argv[0]);
			exit(0);
		default:
			return false;
		}
	}
	return optind == argc && o->rounds && o->num <= 1024;
}

int pair_main(int argc, char **argv, const struct mode *modes, unsigned int nr_modes)
{
	struct options o = { .seed = 1, .rounds = 1 };
	unsigned int i, failed = 0, n = nr_modes * KINDS;

	if (!parse(&o, argc, argv)) {
		help(argv[0]);
		return 2;
	}
	printf("TAP version 13\n1..%u\n# seed %llu\n", n, (unsigned long long)o.seed);
	for (i = 0; i < n; i++) {
		const struct mode *m = &modes[i / KINDS];
		unsigned int kind = i % KINDS;
		struct figures f = { };
		bool good;

		/* What is counted is counted, what is timed is timed. */
		struct options mine = o;

		if (m->ms)
			mine.count = 0;
		else
			mine.ms = 0;
		good = run_kind(m, &mine, kind, &f);
		printf("# %llu buffers, %llu in tables; %llu kicks, %llu suppressed, %llu forced; "
		       "%llu calls, %llu suppressed; %llu restarts\n",
		       (unsigned long long)f.buffers, (unsigned long long)f.tables,
		       (unsigned long long)f.kicks, (unsigned long long)f.no_kicks,
		       (unsigned long long)f.forced, (unsigned long long)f.calls,
		       (unsigned long long)f.no_calls, (unsigned long long)f.restarts);
		printf("%sok %u - %s: %s%s%s\n", good ? "" : "not ", i + 1, m->how,
		       kind & 1 ? "packed" : "split", kind & 2 ? ", EVENT_IDX" : "",
		       kind & 4 ? ", INDIRECT_DESC" : "");
		fflush(stdout);
		failed += !good;
	}
	printf("# %u passed, %u failed\n", n - failed, failed);
	return !!failed;
}
