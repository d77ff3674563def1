/* SPDX-License-Identifier: GPL-2.0 */
/*
 * As much of KUnit as the suites in kunit/ use, for userspace: a failed assertion leaves the case
 * by longjmp, memory goes back when it ends, KTAP comes out (see ktap.c).
 */
#ifndef _NATIVE_KUNIT_TEST_H
#define _NATIVE_KUNIT_TEST_H

#include <linux/types.h>
#include <linux/compiler.h>
#include <linux/string.h>
#include <setjmp.h>
#include <stdio.h>

#define GFP_KERNEL		0
#define KUNIT_PARAM_DESC_SIZE	128

struct kunit {
	void *priv;
	const void *param_value;
	/* The runner's own. */
	jmp_buf leave;
	int failures;
	void *blocks;
};

struct kunit_case {
	void (*run_case)(struct kunit *test);
	const char *name;
	const void *(*generate_params)(const void *prev, char *desc);
};

struct kunit_suite {
	const char *name;
	int (*init)(struct kunit *test);
	void (*exit)(struct kunit *test);
	struct kunit_case *test_cases;
	struct kunit_suite *next;
};

#define KUNIT_CASE(fn)			{ .run_case = fn, .name = #fn }
#define KUNIT_CASE_PARAM(fn, gen)	{ .run_case = fn, .name = #fn, .generate_params = gen }
#define KUNIT_CASE_SLOW(fn)		KUNIT_CASE(fn)

#define KUNIT_ARRAY_PARAM(name, array, get_desc)				\
	static const void *name##_gen_params(const void *prev, char *desc)	\
	{									\
		__typeof__(&(array)[0]) _first = (array);			\
		__typeof__(_first) _next = prev ? prev : _first;		\
		void (*_get_desc)(__typeof__(_first), char *) = get_desc;	\
										\
		if (prev)							\
			_next++;						\
		if (_next - _first >= (long)ARRAY_SIZE(array))			\
			return NULL;						\
		if (_get_desc)							\
			_get_desc(_next, desc);					\
		return _next;							\
	}

void ktap_register(struct kunit_suite *suite);

#define kunit_test_suite(suite)							\
	static void __attribute__((constructor)) register_##suite(void)		\
	{									\
		ktap_register(&(suite));						\
	}

void *kunit_kzalloc(struct kunit *test, size_t size, int gfp);

void ktap_fail(struct kunit *test, bool leave, const char *file, int line, const char *what,
	       long long left, long long right, const char *fmt, ...) __printf(8, 9);

#define ktap_compare(test, leave, a, op, b, fmt, ...) do {			\
	__typeof__(a) _a = (a);							\
	__typeof__(b) _b = (b);							\
										\
	if (!(_a op _b))							\
		ktap_fail(test, leave, __FILE__, __LINE__, #a " " #op " " #b,	\
			  (long long)_a, (long long)_b, fmt, ##__VA_ARGS__);	\
} while (0)

#define KUNIT_EXPECT_EQ(t, a, b)	ktap_compare(t, false, a, ==, b, "%s", "")
#define KUNIT_EXPECT_NE(t, a, b)	ktap_compare(t, false, a, !=, b, "%s", "")
#define KUNIT_EXPECT_LT(t, a, b)	ktap_compare(t, false, a, <, b, "%s", "")
#define KUNIT_EXPECT_LE(t, a, b)	ktap_compare(t, false, a, <=, b, "%s", "")
#define KUNIT_EXPECT_GE(t, a, b)	ktap_compare(t, false, a, >=, b, "%s", "")
#define KUNIT_EXPECT_GT(t, a, b)	ktap_compare(t, false, a, >, b, "%s", "")
#define KUNIT_EXPECT_TRUE(t, a)		ktap_compare(t, false, !!(a), ==, 1, "%s", #a)
#define KUNIT_EXPECT_FALSE(t, a)	ktap_compare(t, false, !!(a), ==, 0, "%s", #a)
#define KUNIT_EXPECT_PTR_EQ(t, a, b)						\
	ktap_compare(t, false, (uintptr_t)(a), ==, (uintptr_t)(b), "%s", "")
#define KUNIT_EXPECT_STREQ(t, a, b)						\
	ktap_compare(t, false, strcmp(a, b), ==, 0, "%s / %s", a, b)
#define KUNIT_EXPECT_MEMEQ(t, a, b, n)						\
	ktap_compare(t, false, memcmp(a, b, n), ==, 0, "%s", #a " / " #b)
#define KUNIT_ASSERT_EQ(t, a, b)	ktap_compare(t, true, a, ==, b, "%s", "")
#define KUNIT_ASSERT_NE(t, a, b)	ktap_compare(t, true, a, !=, b, "%s", "")
#define KUNIT_ASSERT_LE(t, a, b)	ktap_compare(t, true, a, <=, b, "%s", "")
#define KUNIT_ASSERT_LT(t, a, b)	ktap_compare(t, true, a, <, b, "%s", "")
#define KUNIT_ASSERT_TRUE(t, a)		ktap_compare(t, true, !!(a), ==, 1, "%s", #a)
#define KUNIT_ASSERT_FALSE(t, a)	ktap_compare(t, true, !!(a), ==, 0, "%s", #a)
#define KUNIT_ASSERT_NOT_NULL(t, a)						\
	ktap_compare(t, true, (uintptr_t)(a), !=, (uintptr_t)0, "%s", #a)

#define KUNIT_EXPECT_EQ_MSG(t, a, b, fmt, ...)					\
	ktap_compare(t, false, a, ==, b, fmt, ##__VA_ARGS__)
#define KUNIT_EXPECT_TRUE_MSG(t, a, fmt, ...)					\
	ktap_compare(t, false, !!(a), ==, 1, fmt, ##__VA_ARGS__)
#define KUNIT_ASSERT_EQ_MSG(t, a, b, fmt, ...)					\
	ktap_compare(t, true, a, ==, b, fmt, ##__VA_ARGS__)
#define KUNIT_ASSERT_TRUE_MSG(t, a, fmt, ...)					\
	ktap_compare(t, true, !!(a), ==, 1, fmt, ##__VA_ARGS__)
#define KUNIT_FAIL(t, fmt, ...)							\
	ktap_fail(t, false, __FILE__, __LINE__, "reached", 0, 0, fmt, ##__VA_ARGS__)

#endif
