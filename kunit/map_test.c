// SPDX-License-Identifier: GPL-2.0
/*
 * A look-up in a picture of the IOTLB against a walk through all of it.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/minmax.h>

#include "../drivers/vhost_inflight/map.h"

#define MOST	65

static u64 rnd(u64 *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 33;
}

/* @nr ranges, each behind the one before, some at once, some behind a gap. */
static struct vinf_map *map_new(struct kunit *test, unsigned int nr, u64 *seed)
{
	struct vinf_map *map = kunit_kzalloc(test, sizeof(*map) + MOST * sizeof(*map->e),
					     GFP_KERNEL);
	u64 at = rnd(seed) % 3 * 0x1000;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, map);
	map->nr = nr;
	for (i = 0; i < nr; i++) {
		map->e[i].first = at;
		map->e[i].last = at + (1 + rnd(seed) % 4) * 0x1000 - 1;
		map->e[i].uaddr = 0x7f0000000000 + rnd(seed) * 0x1000;
		map->e[i].perm = 1 + rnd(seed) % 3;
		at = map->e[i].last + 1 + rnd(seed) % 3 * 0x1000;
	}
	vinf_map_index(map);
	return map;
}

static void check(struct kunit *test, const struct vinf_map *map, unsigned int *hit, u64 iova,
		  u32 len, u32 perm)
{
	const struct vinf_map_entry *e = NULL;
	void __user *uaddr = NULL;
	u32 got = 0;
	unsigned int i;
	int ret;

	for (i = 0; i < map->nr; i++)
		if (map->e[i].first <= iova && iova <= map->e[i].last)
			e = &map->e[i];
	ret = vinf_map_find(map, hit, iova, len, perm, &uaddr, &got);
	if (!e || (e->perm & perm) != perm) {
		KUNIT_ASSERT_EQ(test, ret, -EFAULT);
		return;
	}
	KUNIT_ASSERT_EQ(test, ret, 0);
	KUNIT_ASSERT_EQ(test, *hit, (unsigned int)(e - map->e));
	KUNIT_ASSERT_EQ(test, (u64)(unsigned long)uaddr, e->uaddr + (iova - e->first));
	KUNIT_ASSERT_EQ(test, got, (u32)min((u64)len, e->last - iova + 1));
}

/* Each edge of each range, from each last hit there can be. */
static void every_edge(struct kunit *test)
{
	unsigned int nr, i, hit, from;
	u64 seed = 1;

	for (nr = 0; nr <= MOST; nr = nr < 9 ? nr + 1 : nr * 2 - 1) {
		struct vinf_map *map = map_new(test, nr, &seed);

		for (from = 0; from <= nr + 1; from++)
			for (i = 0; i < nr; i++) {
				const u64 first = map->e[i].first, last = map->e[i].last;
				const u64 at[] = { first, first - 1, last, last + 1, first + 77 };
				unsigned int j;

				for (j = 0; j < ARRAY_SIZE(at); j++) {
					hit = from;
					check(test, map, &hit, at[j], 1 + rnd(&seed) % 0x3000,
					      1 + rnd(&seed) % 3);
				}
			}
		hit = 0;
		check(test, map, &hit, 0, 1, 1);
		check(test, map, &hit, ~0ULL, 1, 1);
	}
}

/* One after the other, the hit of one where the next begins. */
static void random_walk(struct kunit *test)
{
	unsigned int i, hit = 0;
	u64 seed = 2;
	struct vinf_map *map = map_new(test, MOST, &seed);
	u64 end = map->e[MOST - 1].last + 0x2000;

	for (i = 0; i < 20000; i++)
		check(test, map, &hit, rnd(&seed) % end, 1 + rnd(&seed) % 0x4000,
		      1 + rnd(&seed) % 3);
}

/* A range of all addresses there are, and none at all. */
static void all_or_nothing(struct kunit *test)
{
	u64 seed = 3;
	struct vinf_map *map = map_new(test, 1, &seed);
	void __user *uaddr;
	unsigned int hit = 0;
	u32 got = 0;

	map->e[0] = (struct vinf_map_entry){ .last = ~0ULL, .perm = 3 };
	vinf_map_index(map);
	KUNIT_EXPECT_EQ(test, vinf_map_find(map, &hit, 0, ~0U, 3, &uaddr, &got), 0);
	KUNIT_EXPECT_EQ(test, got, ~0U);
	KUNIT_EXPECT_EQ(test, vinf_map_find(map, &hit, ~0ULL, 5, 3, &uaddr, &got), 0);
	KUNIT_EXPECT_EQ(test, got, 1U);
	map->nr = 0;
	vinf_map_index(map);
	KUNIT_EXPECT_EQ(test, vinf_map_find(map, &hit, 0, 1, 1, &uaddr, &got), -EFAULT);
	KUNIT_EXPECT_EQ(test, vinf_map_find(NULL, &hit, 0, 1, 1, &uaddr, &got), -EFAULT);
}

static struct kunit_case map_cases[] = {
	KUNIT_CASE(every_edge),
	KUNIT_CASE(random_walk),
	KUNIT_CASE(all_or_nothing),
	{}
};

static struct kunit_suite map_suite = {
	.name = "vinf_map",
	.test_cases = map_cases,
};

kunit_test_suite(map_suite);
