// SPDX-License-Identifier: GPL-2.0
/*
 * Every cut, as the kernel is compiled: a part of the scenarios that tools/native/cut.c plays.
 */
#include <kunit/test.h>
#include <linux/module.h>
#include <linux/vmalloc.h>

#include "cut.h"

static const struct cut_opts kinds[] = {
	{ .layout = VIRTQ_SPLIT },
	{ .layout = VIRTQ_SPLIT, .in_order = true },
	{ .layout = VIRTQ_SPLIT, .partial = true },
	{ .layout = VIRTQ_SPLIT, .in_order = true, .partial = true },
	{ .layout = VIRTQ_PACKED },
	{ .layout = VIRTQ_PACKED, .in_order = true },
	{ .layout = VIRTQ_PACKED, .partial = true },
	{ .layout = VIRTQ_PACKED, .in_order = true, .partial = true },
};

static void describe(const struct cut_opts *kind, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s%s",
		 kind->layout == VIRTQ_PACKED ? "packed" : "split",
		 kind->in_order ? " with IN_ORDER" : "",
		 kind->partial ? " with PARTIAL_ORDER" : "");
}

KUNIT_ARRAY_PARAM(kind, kinds, describe);

static void every_cut(struct kunit *test)
{
	const struct cut_opts *kind = test->param_value;
	struct cut_state *s = vzalloc(sizeof(*s));
	static char text[512];
	unsigned int n;

	KUNIT_ASSERT_NOT_NULL(test, s);
	for (n = 0; n < cut_scenarios() && !s->why; n++) {
		struct cut_opts o;

		cut_scenario(n, &o);
		/* A bit of everything. */
		if (o.layout != kind->layout || o.in_order != kind->in_order ||
		    o.partial != kind->partial || (n * 2654435761U >> 8) % 12)
			continue;
		o.second = 400;
		cut_play(s, &o);
		cond_resched();
	}
	if (s->why) {
		cut_describe(s, text, sizeof(text));
		KUNIT_FAIL(test, "%s", text);
	}
	KUNIT_EXPECT_GT(test, s->firsts, 5000ULL);
	kunit_info(test, "%llu cuts, %llu of them a second one\n", s->firsts + s->seconds,
		   s->seconds);
	vfree(s);
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(every_cut, kind_gen_params),
	{ }
};

static struct kunit_suite suite = {
	.name = "inflight_cut",
	.test_cases = cases,
};

kunit_test_suite(suite);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("KUnit suite of the vhost-blk inflight region: a device that ends anywhere");
