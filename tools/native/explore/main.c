// SPDX-License-Identifier: GPL-2.0
/*
 * usage: explore [--strong] [--full] [--first] [--only WORD] [--jobs N] [quick|deep]
 *
 * Explores each configuration of a set and prints TAP. The last line is 'N passed, N failed'.
 *
 *	--strong	memory without store buffers: mere interleaving
 *	--full		leave nothing out that can't make a difference
 *	--first		end with the first failure, show no trace
 *	--only WORD	of the configurations those whose name contains WORD
 *	--jobs N	processes at a time
 *
 * Exit status: 0 nothing failed, 1 something did, 2 the explorer itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver.h"
#include "litmus.h"
#include "ref.h"

#define MAX_CONFIGS	400

enum { PLAIN = 1, IN_ORDER = 2, PARTIAL = 4, BOTH = 8, EVERY_ORDER = 15 };

/* Rings start in their last slot, split ones at the last index too, so that all soon wrap. */
static const struct row {
	bool quick;
	enum virtq_layout layout;
	u8 num, bufs, out;
	const char *chain;
	u8 orders;
	bool flags, event_idx;		/* how notifications are asked for */
	bool whole;
} rows[] = {
	{ true, VIRTQ_SPLIT, 1, 3, 1, "1", PLAIN, true, true },
	{ true, VIRTQ_PACKED, 1, 3, 1, "1", PLAIN, true, true },
	{ true, VIRTQ_SPLIT, 4, 3, 1, "12", PLAIN, true, true },
	{ true, VIRTQ_PACKED, 4, 3, 1, "12", PLAIN, true, true },
	{ true, VIRTQ_SPLIT, 2, 2, 2, "1", EVERY_ORDER, true, true },
	{ true, VIRTQ_PACKED, 2, 2, 2, "1", EVERY_ORDER, true, true },
	{ true, VIRTQ_SPLIT, 4, 2, 2, "12", PLAIN | PARTIAL, true, true },
	{ true, VIRTQ_PACKED, 3, 2, 2, "21", PLAIN | IN_ORDER, true, true },
	{ true, VIRTQ_PACKED, 4, 2, 2, "12", PARTIAL, true, true },
	{ true, VIRTQ_PACKED, 2, 3, 2, "1", PLAIN | IN_ORDER | BOTH, true, false },
	{ true, VIRTQ_SPLIT, 2, 3, 2, "1", PLAIN, true, true },
	{ true, VIRTQ_SPLIT, 4, 3, 3, "1", PARTIAL, true, false, true },

	{ false, VIRTQ_SPLIT, 1, 5, 1, "1", EVERY_ORDER, true, true },
	{ false, VIRTQ_SPLIT, 2, 3, 2, "1", EVERY_ORDER, true, true },
	{ false, VIRTQ_SPLIT, 2, 4, 1, "12", EVERY_ORDER, true, true },
	{ false, VIRTQ_SPLIT, 4, 3, 2, "12", EVERY_ORDER, true, true },
	{ false, VIRTQ_SPLIT, 4, 3, 3, "1", EVERY_ORDER, true, true, true },
	{ false, VIRTQ_PACKED, 1, 5, 1, "1", EVERY_ORDER, true, true },
	{ false, VIRTQ_PACKED, 2, 3, 2, "1", EVERY_ORDER, true, true },
	{ false, VIRTQ_PACKED, 2, 4, 1, "12", EVERY_ORDER, true, true },
	{ false, VIRTQ_PACKED, 3, 3, 2, "12", EVERY_ORDER, true, true },
	{ false, VIRTQ_PACKED, 3, 3, 3, "1", PARTIAL, true, false, true },
	{ false, VIRTQ_PACKED, 4, 3, 2, "21", EVERY_ORDER, true, true },
	{ false, VIRTQ_PACKED, 4, 3, 3, "1", EVERY_ORDER, true, false, true },
};

static struct { struct config cf; bool quick; } configs[MAX_CONFIGS];
static unsigned int nr_configs;

static void name(const struct config *c, char *s, size_t n)
{
	snprintf(s, n, "%s %u%s%s%s, %u %sbuffers, %u at a time, chains %s, from %u%s",
		 c->layout == VIRTQ_SPLIT ? "split" : "packed", c->num,
		 c->event_idx ? " event_idx" : "", c->in_order ? " in_order" : "",
		 c->partial_order ? " partial_order" : "", c->bufs, c->whole ? "whole " : "",
		 c->out, c->chain, c->start,
		 c->layout == VIRTQ_SPLIT ? "" : c->wrap ? " wrap 1" : " wrap 0");
}

static void config(const struct row *row, unsigned int order, bool event_idx, bool wrap)
{
	if (nr_configs == MAX_CONFIGS)
		ex_broken("no room for another configuration");
	configs[nr_configs].quick = row->quick;
	configs[nr_configs++].cf = (struct config){
		.layout = row->layout, .num = row->num, .bufs = row->bufs, .out = row->out,
		.chain = row->chain, .whole = row->whole, .event_idx = event_idx,
		.in_order = order & (IN_ORDER | BOTH), .partial_order = order & (PARTIAL | BOTH),
		.start = row->layout == VIRTQ_SPLIT ? 65535 : row->num - 1, .wrap = wrap,
	};
}

static void all_configs(void)
{
	const struct row *row;
	unsigned int order, event_idx;

	for (row = rows; row < rows + ARRAY_SIZE(rows); row++) {
		for (order = PLAIN; order <= BOTH; order *= 2) {
			for (event_idx = !row->flags; event_idx <= row->event_idx; event_idx++) {
				bool packed = row->layout == VIRTQ_PACKED;

				if (!(row->orders & order))
					continue;
				/* Of a few the wrap counter is 0, of many it is both. */
				config(row, order, event_idx, packed && row->num & 1);
				if (packed && !row->quick)
					config(row, order, event_idx, !(row->num & 1));
			}
		}
	}
}

static void explore(unsigned int i, unsigned int at)
{
	struct ex_program programs[SIDES];
	struct ex_result r;
	char what[128];

	cf = configs[i].cf;
	name(&cf, what, sizeof(what));
	ref_places();
	programs[DRIVER] = driver_program();
	programs[DEVICE] = device_program();
	r = ex_explore(programs, device_end);
	printf("%sok %u - %s\n", r.failed ? "not " : "", at, what);
	printf("# %llu states, %llu steps, %.3g interleavings, %u ms\n",
	       (unsigned long long)r.states, (unsigned long long)r.steps, r.runs, r.ms);
	if (r.failed)
		printf("# %s\n", r.why);
	fflush(stdout);
	_exit(r.failed);
}

int main(int argc, char **argv)
{
	unsigned int i, jobs = 1, running = 0, passed = 0, failed = 0, at = 0, broken = 0;
	const char *only = "", *set = "quick";
	bool first = false;

	/* What a process says is written at once. */
	setvbuf(stdout, NULL, _IOFBF, 1 << 20);
	ex_options.trace = true;
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--strong")) {
			ex_options.strong = true;
		} else if (!strcmp(argv[i], "--full")) {
			ex_options.full = true;
		} else if (!strcmp(argv[i], "--first")) {
			first = true;
			ex_options.trace = false;
		} else if (!strcmp(argv[i], "--only") && i + 1 < argc) {
			only = argv[++i];
		} else if (!strcmp(argv[i], "--jobs") && i + 1 < argc) {
			jobs = atoi(argv[++i]);
		} else {
			set = argv[i];
		}
	}
	/* Whatever touches it without virtq_barrier.h dies. */
	ring = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	all_configs();
	printf("TAP version 13\n");
	if (!first && !*only && !ex_options.strong) {
		at = litmus(1, &failed);
		passed = at - failed;
	}
	fflush(stdout);
	for (i = 0; i <= nr_configs || running;) {
		int status;

		if (i < nr_configs && running < jobs && !(first && failed)) {
			char what[128];

			name(&configs[i].cf, what, sizeof(what));
			if (configs[i].quick == !strcmp(set, "deep") || !strstr(what, only)) {
				i++;
				continue;
			}
			at++;
			running++;
			if (!fork())
				explore(i, at);
			i++;
			continue;
		}
		if (!running)
			break;
		wait(&status);
		running--;
		if (WIFEXITED(status) && !WEXITSTATUS(status))
			passed++;
		else
			failed++;
		broken += !WIFEXITED(status) || WEXITSTATUS(status) > 1;
	}
	printf("1..%u\n%u passed, %u failed\n", at, passed, failed);
	return broken ? 2 : !!failed;
}
