// SPDX-License-Identifier: GPL-2.0
/*
 * Every cut (kunit/cut/cut.h), on all processors. With CUT=N/M in the environment it is every Nth
 * scenario, and a second cut in every Mth of the first ones. TAP; says how many cuts were tried.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kunit/cut/cut.h"

enum { FEATURES = 4, GROUPS = VIRTQ_NR_LAYOUTS * FEATURES };

/* What the processes have in common. */
struct total {
	unsigned int next, done;
	struct group {
		u64 scenarios, cuts, seconds;
		char why[512];
	} groups[GROUPS];
};

static unsigned int group_of(const struct cut_opts *o)
{
	return o->layout * FEATURES + o->partial * 2 + o->in_order;
}

static void work(struct total *t, unsigned int step, unsigned int second)
{
	struct cut_state *s = aligned_alloc(64, (sizeof(*s) + 63) & ~63UL);
	unsigned int n;

	if (!s)
		exit(1);
	memset(s, 0, sizeof(*s));
	while ((n = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED)) < cut_scenarios()) {
		struct cut_opts o;
		struct group *g;

		/* A bit of everything. */
		if ((n * 2654435761U >> 8) % step)
			continue;
		cut_scenario(n, &o);
		o.second = second;
		g = &t->groups[group_of(&o)];
		s->firsts = 0;
		s->seconds = 0;
		if (!cut_play(s, &o)) {
			cut_describe(s, g->why, sizeof(g->why));
			/* One is enough. */
			__atomic_store_n(&t->next, cut_scenarios(), __ATOMIC_RELAXED);
		}
		__atomic_fetch_add(&g->scenarios, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&g->cuts, s->firsts + s->seconds, __ATOMIC_RELAXED);
		__atomic_fetch_add(&g->seconds, s->seconds, __ATOMIC_RELAXED);
	}
	free(s);
}

int main(void)
{
	const char *env = getenv("CUT") ?: "1/200";
	const long workers = sysconf(_SC_NPROCESSORS_ONLN);
	static const char * const features[FEATURES] = {
		"", " with IN_ORDER", " with PARTIAL_ORDER", " with both orders",
	};
	unsigned int failed = 0, step, second, g;
	u64 cuts = 0, seconds = 0;
	struct total *t;
	int status;
	long i;

	t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t == MAP_FAILED || sscanf(env, "%u/%u", &step, &second) != 2 || !step)
		return 2;
	for (i = 0; i < workers; i++)
		if (!fork()) {
			work(t, step, second);
			exit(0);
		}
	printf("TAP version 13\n1..%u\n", GROUPS + 1);
	for (i = 0; i < workers; i++) {
		if (wait(&status) < 0 || status)
			failed++;
	}
	for (g = 0; g < GROUPS; g++) {
		const struct group *x = &t->groups[g];
		const bool good = x->scenarios && !x->why[0];

		printf("%sok %u every cut: %s%s\n", good ? "" : "not ", g + 1,
		       g / FEATURES == VIRTQ_PACKED ? "packed" : "split", features[g % FEATURES]);
		printf("# %llu scenarios, %llu cuts, %llu of them a second one\n",
		       (unsigned long long)x->scenarios, (unsigned long long)x->cuts,
		       (unsigned long long)x->seconds);
		if (x->why[0])
			printf("# %s\n", x->why);
		failed += !good;
		cuts += x->cuts;
		seconds += x->seconds;
	}
	printf("%sok %u every scenario was played to its end\n", failed ? "not " : "", GROUPS + 1);
	printf("# %llu cuts tried, %llu of them second ones\n", (unsigned long long)cuts,
	       (unsigned long long)seconds);
	printf("# %u passed, %u failed\n", GROUPS + 1 - (failed ? failed + 1 : 0),
	       failed ? failed + 1 : 0);
	return failed != 0;
}
