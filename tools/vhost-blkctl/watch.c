// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl watch */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cfs.h"
#include "cli.h"
#include "node.h"
#include "say.h"
#include "tables.h"

const struct opt watch_opts[] = {
	{ "interval", OPT_SECS, "SECONDS", "time between two lines (1)" },
	{ "count", OPT_UINT, "N", "lines to print, 0 is no end (0)" },
	{ }
};

#define Q(field)	offsetof(struct vhost_inflight_queue_info, field)

/* What a line of text has; JSON has every counter. */
static const struct column {
	const char *head;
	size_t offset;
	double unit;
} columns[] = {
	{ "read/s",	Q(reads),		1 },
	{ "MiB/s",	Q(read_bytes),		1 << 20 },
	{ "write/s",	Q(writes),		1 },
	{ "MiB/s",	Q(write_bytes),		1 << 20 },
	{ "flush/s",	Q(flushes),		1 },
	{ "error/s",	Q(ioerrs),		1 },
	{ "kick/s",	Q(kicks),		1 },
	{ "call/s",	Q(calls),		1 },
};

#define NR_COLUMNS	(sizeof(columns) / sizeof(*columns))
#define HEAD_EVERY	20

struct sample {
	struct timespec at;
	struct node_stat st;
};

static int take(const char *name, struct sample *s)
{
	int ret;

	clock_gettime(CLOCK_MONOTONIC, &s->at);
	ret = node_read(name, &s->st);
	return ret ? node_say(name, ret) : BLKCTL_OK;
}

static double seconds(const struct sample *a, const struct sample *b)
{
	return (double)(b->at.tv_sec - a->at.tv_sec) +
	       (double)(b->at.tv_nsec - a->at.tv_nsec) / 1e9;
}

/* A device that was deleted and made again counts from 0 again. */
static double rate(const struct sample *a, const struct sample *b, size_t offset)
{
	__u64 was = node_sum(&a->st, offset), is = node_sum(&b->st, offset);

	return (double)(is >= was ? is - was : is) / seconds(a, b);
}

static unsigned int depth(const struct node_stat *st)
{
	unsigned int sum = 0;

	for (unsigned int i = 0; i < st->info.num_queues; i++)
		sum += st->queue[i].depth;
	return sum;
}

static int print_line(const char *name, const struct sample *a, const struct sample *b,
		      unsigned long nr)
{
	if (nr % HEAD_EVERY == 0) {
		printf("%-10.10s", name);
		for (size_t i = 0; i < NR_COLUMNS; i++)
			printf(" %9s", columns[i].head);
		printf(" %6s\n", "depth");
	}
	printf("%-10s", device_state_name(b->st.info.state));
	for (size_t i = 0; i < NR_COLUMNS; i++)
		printf(" %9.1f", rate(a, b, columns[i].offset) / columns[i].unit);
	printf(" %6u\n", depth(&b->st));
	return say_flush(BLKCTL_OK);
}

/* Three places are enough, and the same in every locale. */
static struct json_object *real_json(double val)
{
	struct json_object *obj = json_object_new_double(val);

	json_object_set_serializer(obj, json_object_double_to_json_string, (void *)"%.3f", NULL);
	return obj;
}

static int print_json(const char *name, const struct sample *a, const struct sample *b)
{
	struct json_object *obj = json_object_new_object(), *rates = json_object_new_object();

	json_object_object_add(obj, "name", json_object_new_string(name));
	json_object_object_add(obj, "state",
			       json_object_new_string(device_state_name(b->st.info.state)));
	json_object_object_add(obj, "seconds", real_json(seconds(a, b)));
	json_object_object_add(obj, "depth", json_object_new_uint64(depth(&b->st)));
	for (const struct counter *c = counters; c->name; c++)
		json_object_object_add(rates, c->name, real_json(rate(a, b, c->offset)));
	json_object_object_add(obj, "per_second", rates);
	return say_json_line(obj);
}

static void wait_until(const struct timespec *start, double after)
{
	struct timespec t = *start;
	long nsec = t.tv_nsec + (long)((after - (double)(long)after) * 1e9);

	t.tv_sec += (long)after + nsec / 1000000000;
	t.tv_nsec = nsec % 1000000000;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

int cmd_watch(const struct args *args)
{
	const char *opt_interval = cli_get(args, "interval"), *opt_count = cli_get(args, "count");
	unsigned long count = opt_count ? strtoul(opt_count, NULL, 10) : 0;
	double interval = opt_interval ? strtod(opt_interval, NULL) : 1;
	int ret = cfs_need_enabled(args->name);
	struct timespec start;
	struct sample a, b;

	if (!ret)
		ret = take(args->name, &a);
	if (ret)
		return ret;
	start = a.at;
	for (unsigned long nr = 0; !ret && (!count || nr < count); nr++) {
		wait_until(&start, interval * (double)(nr + 1));
		ret = take(args->name, &b);
		if (ret)
			break;
		ret = args->json ? print_json(args->name, &a, &b) :
				   print_line(args->name, &a, &b, nr);
		node_free(&a.st);
		a = b;
	}
	node_free(&a.st);
	return ret;
}
