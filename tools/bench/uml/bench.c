// SPDX-License-Identifier: GPL-2.0
/*
 * What a request costs in the ring engine, in a kernel: the driver and the device sides of
 * tools/bench/ring, their files unchanged, as a KUnit suite with a test for each shape of a ring.
 * Every round has the driver alone and then each side, for times so short that the host mostly
 * leaves them in peace. "bench SIDE: N" is picoseconds per request, in each round.
 */
#include <kunit/test.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "side.h"

#define ROUNDS		5
/* Slices of a measurement, of which the middle one counts, and requests of each. */
#define SLICES		9
#define REQUESTS	6400

static const struct side *const sides[] = {
	&side_none, &side_floor, &side_floor_track, &side_engine, &side_engine_track,
	&side_engine_map, &side_vringh,
};

/* A ring that is new, and a side on it that keeps the rules. What a side has is left to it. */
static void *begin(struct kunit *test, const struct side *side, struct ring *ring)
{
	unsigned int n;
	void *priv;

	*ring = *(const struct ring *)test->param_value;
	driver_open(ring);
	priv = side->open(ring);
	KUNIT_ASSERT_NOT_NULL(test, priv);
	for (n = 0; n < 4 * ring->num; n += ring->batch) {
		driver_batch(ring);
		KUNIT_ASSERT_EQ(test, side->turn(priv), ring->batch);
		if (side != &side_none)
			KUNIT_ASSERT_TRUE_MSG(test, driver_check(ring), "%s: the wrong buffers",
					      side->name);
	}
	return priv;
}

static u64 slice(struct kunit *test, const struct side *side, struct ring *ring, void *priv)
{
	unsigned long total = REQUESTS / ring->batch, n, got = 0;
	u64 ns;

	calls = 0;
	ns = ktime_get_ns();
	for (n = 0; n < total; n++) {
		driver_batch(ring);
		got += side->turn(priv);
	}
	ns = ktime_get_ns() - ns;
	KUNIT_ASSERT_EQ(test, got, total * ring->batch);
	if (side != &side_none)
		KUNIT_ASSERT_EQ(test, calls, total);
	return ns * 1000 / got;
}

static int compare(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static u64 measure(struct kunit *test, const struct side *side, struct ring *ring, void *priv)
{
	u64 ps[SLICES];
	int i;

	for (i = 0; i < SLICES; i++)
		ps[i] = slice(test, side, ring, priv);
	sort(ps, SLICES, sizeof(*ps), compare, NULL);
	return ps[SLICES / 2];
}

static void ring_bench(struct kunit *test)
{
	const struct ring *shape = test->param_value;
	unsigned int round, i;

	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < ARRAY_SIZE(sides); i++) {
			const struct side *side = sides[i];
			struct ring ring;
			void *priv;

			if (shape->packed && !side->packed)
				continue;
			priv = begin(test, side, &ring);
			kunit_info(test, "bench %s: %llu\n", side->name,
				   measure(test, side, &ring, priv));
			vfree(ring.ram);
		}
	}
}

static const struct ring shapes[] = {
	{ .num = 256, .batch = 32, .depth = 32, .heads = 64, .regions = 1 },
	{ .num = 256, .batch = 32, .depth = 32, .heads = 64, .regions = 1, .indirect = true },
	{ .num = 256, .batch = 1, .depth = 1, .heads = 64, .regions = 1 },
	{ .num = 256, .batch = 32, .depth = 32, .heads = 64, .regions = 1, .packed = true },
	{ .num = 256, .batch = 32, .depth = 32, .heads = 64, .regions = 1, .packed = true,
	  .indirect = true },
	{ .num = 256, .batch = 1, .depth = 1, .heads = 64, .regions = 1, .packed = true },
};

/* By the names of the same shapes in tools/bench/ring/run. */
static void shape_name(const struct ring *ring, char *name)
{
	snprintf(name, KUNIT_PARAM_DESC_SIZE, "%s%s%s%s", ring->packed ? "packed" : "",
		 ring->packed && (ring->indirect || ring->batch == 1) ? " " : "",
		 ring->indirect ? "indirect" : "", ring->batch == 1 ? "batch 1" : "");
	if (!*name)
		strscpy(name, "direct", KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(shape, shapes, shape_name);

static struct kunit_case ring_bench_cases[] = {
	KUNIT_CASE_PARAM_ATTR(ring_bench, shape_gen_params, { .speed = KUNIT_SPEED_SLOW }),
	{}
};

static struct kunit_suite ring_bench_suite = {
	.name = "ring_bench",
	.test_cases = ring_bench_cases,
};

kunit_test_suite(ring_bench_suite);

MODULE_DESCRIPTION("Benchmark of the ring engine of vhost_blk");
MODULE_LICENSE("GPL");
