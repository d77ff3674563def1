// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the suites of kunit/ in userspace and prints KTAP. Arguments name suites to run; none: all.
 * Ends in "N passed, N failed", and with exit status 1 if a case failed or none ran.
 */
#include <kunit/test.h>
#include <stdarg.h>
#include <stdlib.h>

struct block {
	struct block *next;
	char data[] __aligned(64);
};

static struct kunit_suite *suites;
static unsigned int passed, failed;

void ktap_register(struct kunit_suite *suite)
{
	struct kunit_suite **at = &suites;

	/* Sorted, so that the order does not depend on the linker's. */
	while (*at && strcmp((*at)->name, suite->name) < 0)
		at = &(*at)->next;
	suite->next = *at;
	*at = suite;
}

void *kunit_kzalloc(struct kunit *test, size_t size, int gfp)
{
	struct block *b;

	(void)gfp;
	/* Not rounded up: the red zone follows the last byte asked for. */
	if (posix_memalign((void **)&b, 64, sizeof(*b) + size))
		abort();
	memset(b, 0, sizeof(*b) + size);
	b->next = test->blocks;
	test->blocks = b;
	return b->data;
}

void ktap_fail(struct kunit *test, bool leave, const char *file, int line, const char *what,
	       long long left, long long right, const char *fmt, ...)
{
	const char *slash = strrchr(file, '/');
	va_list ap;

	test->failures++;
	/* A broken loop must not drown the log. */
	if (test->failures <= 10) {
		printf("    # %s:%d: %s failed: %lld (%#llx), %lld (%#llx) ",
		       slash ? slash + 1 : file, line, what, left, left, right, right);
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		putchar('\n');
	}
	if (leave)
		longjmp(test->leave, 1);
}

static bool run_one(struct kunit_suite *suite, struct kunit_case *c, const void *param)
{
	struct kunit test = { .param_value = param };
	struct block *b;

	if (!setjmp(test.leave)) {
		if (suite->init && suite->init(&test))
			test.failures++;
		else
			c->run_case(&test);
	}
	if (suite->exit)
		suite->exit(&test);
	while ((b = test.blocks)) {
		test.blocks = b->next;
		free(b);
	}
	if (test.failures)
		failed++;
	else
		passed++;
	fflush(stdout);
	return !test.failures;
}

static bool run_case(struct kunit_suite *suite, struct kunit_case *c)
{
	char desc[KUNIT_PARAM_DESC_SIZE];
	const void *param = NULL;
	unsigned int n = 0;
	bool ok = true;

	if (!c->generate_params)
		return run_one(suite, c, NULL);

	printf("        KTAP version 1\n        # Subtest: %s\n", c->name);
	while ((param = c->generate_params(param, desc))) {
		bool good = run_one(suite, c, param);

		printf("        %sok %u %s\n", good ? "" : "not ", ++n, desc);
		ok &= good;
	}
	printf("        1..%u\n", n);
	return ok && n;
}

static bool run_suite(struct kunit_suite *suite)
{
	struct kunit_case *c;
	unsigned int n = 0;
	bool ok = true;

	for (c = suite->test_cases; c->run_case; c++)
		n++;
	printf("    KTAP version 1\n    # Subtest: %s\n    1..%u\n", suite->name, n);
	for (c = suite->test_cases, n = 0; c->run_case; c++) {
		bool good = run_case(suite, c);

		printf("    %sok %u %s\n", good ? "" : "not ", ++n, c->name);
		ok &= good;
	}
	return ok;
}

static bool wanted(const char *name, int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc < 2;
}

int main(int argc, char **argv)
{
	struct kunit_suite *suite;
	unsigned int n = 0;

	for (suite = suites; suite; suite = suite->next)
		n += wanted(suite->name, argc, argv);
	printf("KTAP version 1\n1..%u\n", n);
	n = 0;
	for (suite = suites; suite; suite = suite->next)
		if (wanted(suite->name, argc, argv)) {
			bool ok = run_suite(suite);

			printf("%sok %u %s\n", ok ? "" : "not ", ++n, suite->name);
		}
	printf("# %u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
