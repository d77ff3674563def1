// SPDX-License-Identifier: GPL-2.0
/*
 * Fault points (drivers/vhost_blk/fault.h) in the scenarios of every cut (kunit/cut/cut.h): the
 * device dies at each step that the pure layers have. Not one byte changes from there on, however
 * the call of the engine goes on that it is in, and what the next device finds is judged by the
 * model. A step of a recovery is one of the next device's, which dies too.
 *
 * The engine is built with its own stores and with fault points; every call of it returns through
 * a wrapper, and if the device is dead by then, that was its life.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../drivers/vhost_blk/fault.h"
#include "../../kunit/cut/cut.h"

/* Of all scenarios one in so many, for each step. */
#define EVERY	7

/* Those of queue.c, which is not here; the selftest 'fault' has all of them. */
static const enum fault_step elsewhere[] = {
	FAULT_QUIET, FAULT_RECORDED, FAULT_SUBMITTED, FAULT_STATUS, FAULT_ANSWERED, FAULT_COMMITTED,
	FAULT_AGAIN, FAULT_RECALL,
};

/*
 * Where the first device ends, by layout, when the step is one of a recovery: a batch that is shown
 * and not committed leaves a split region most to settle, one that is not shown a packed ring.
 */
static const enum fault_step before[VIRTQ_NR_LAYOUTS] = {
	[VIRTQ_SPLIT] = FAULT_CLEAR, [VIRTQ_PACKED] = FAULT_PREPARED,
};

static struct cut_state *s;
static struct cut_world at_death;
static enum fault_step want[2];		/* by life */
static unsigned int nth, visits;
static bool dead;
static const char *why;
static jmp_buf end;

void fault_here(enum fault_step step)
{
	if (dead || s->quiet || s->life > 1 || step != want[s->life])
		return;
	if (s->life || want[1] == FAULT_NR_STEPS)
		dead = ++visits == nth;
	else
		dead = true;
	if (dead)
		at_death = s->w;
}

bool fault_dead(void)
{
	return dead;
}

/* What ld --wrap makes of a call, and what it leads to in the end. */
#define WRAPPED(type, name, params)						\
	type __real_##name params;						\
	type __wrap_##name params

#define OPEN_PARAMS								\
	(struct inflight *fl, const struct inflight_cfg *cfg, struct inflight_found *found)
WRAPPED(int, inflight_open, OPEN_PARAMS);
WRAPPED(int, virtq_fetch, (struct virtq *vq, struct virtq_chain *chain));
#define REFETCH_PARAMS								\
	(struct virtq *vq, const struct inflight_buf *buf, struct virtq_chain *chain)
WRAPPED(int, virtq_refetch, REFETCH_PARAMS);
#define PUBLISH_PARAMS (struct virtq *vq, const struct virtq_done *done, unsigned int n)
WRAPPED(bool, virtq_publish, PUBLISH_PARAMS);
WRAPPED(void, cut_stored, (const void *p));

/* Calls of an engine that is dead do nothing. */
static void poke(struct virtq *vq)
{
	struct cut_dev *dev = &s->dev[s->life];
	struct virtq_chain chain;
	unsigned int i;

	for (i = 0; i < dev->nr; i++) {
		const struct virtq_done done = { dev->out[i].id, dev->out[i].ndesc, 1 };

		__real_virtq_publish(vq, &done, 1);
	}
	virtq_disable_kick(vq);
	__real_virtq_fetch(vq, &chain);
	virtq_enable_kick(vq);
	virtq_need_call(vq);
}

/* The engine has come to the end of a call; if it is dead, to its own. */
static void returned(struct virtq *vq)
{
	if (!dead)
		return;
	if (vq)
		poke(vq);
	if (memcmp(&at_death, &s->w, sizeof(s->w)))
		why = "a dead device stored something";
	longjmp(end, 1);
}

int __wrap_inflight_open OPEN_PARAMS
{
	int ret = __real_inflight_open(fl, cfg, found);

	returned(NULL);
	return ret;
}

int __wrap_virtq_fetch(struct virtq *vq, struct virtq_chain *chain)
{
	int ret = __real_virtq_fetch(vq, chain);

	returned(vq);
	return ret;
}

int __wrap_virtq_refetch REFETCH_PARAMS
{
	int ret = __real_virtq_refetch(vq, buf, chain);

	returned(vq);
	return ret;
}

bool __wrap_virtq_publish PUBLISH_PARAMS
{
	bool ret = __real_virtq_publish(vq, done, n);

	returned(vq);
	return ret;
}

/* What the model's device writes is no cut; the deaths are. */
void __wrap_cut_stored(const void *p)
{
}

/* One death, or two. False if the step is not there so often. */
static bool die(const struct cut_opts *o, enum fault_step step)
{
	const bool recovery = fault_steps[step].when == FAULT_RECOVER;
	struct cut_opts opts = *o;

	opts.second = 1;
	want[0] = recovery ? before[o->layout] : step;
	want[1] = recovery ? step : FAULT_NR_STEPS;
	visits = 0;
	dead = false;
	why = NULL;
	if (!setjmp(end)) {
		cut_play(s, &opts);
		return false;
	}
	dead = false;
	/* What the next one finds; for a recovery's step it dies too, and comes back here. */
	if (setjmp(end))
		dead = false;
	if (!why && !s->why)
		__real_cut_stored(&s->w);
	if (!why)
		why = s->why;
	return !recovery || s->life;
}

static bool is_elsewhere(enum fault_step step)
{
	unsigned int i;

	for (i = 0; i < sizeof(elsewhere) / sizeof(*elsewhere); i++)
		if (elsewhere[i] == step)
			return true;
	return false;
}

static bool try(enum virtq_layout layout, enum fault_step step, char *text, size_t size)
{
	unsigned int n, deaths = 0;

	for (n = step; n < cut_scenarios(); n++) {
		struct cut_opts o;

		cut_scenario(n, &o);
		if (o.layout != layout || (n * 2654435761U >> 8) % EVERY)
			continue;
		for (nth = 1; nth < 40 && die(&o, step); nth += 1 + nth / 2) {
			deaths++;
			if (why) {
				s->why = why;
				cut_describe(s, text, size);
				return false;
			}
		}
	}
	snprintf(text, size, "%u deaths", deaths);
	return deaths > 0;
}

int main(void)
{
	unsigned int passed = 0, failed = 0;
	enum virtq_layout layout;
	enum fault_step step;
	static char text[512];

	s = calloc(1, sizeof(*s));
	if (!s)
		return 2;
	printf("TAP version 13\n");
	for (step = 0; step < FAULT_NR_STEPS; step++)
		for (layout = 0; layout < VIRTQ_NR_LAYOUTS; layout++) {
			const struct fault_row *row = &fault_steps[step];
			bool none = is_elsewhere(step) ||
				    (row->layout == FAULT_PACKED && layout != VIRTQ_PACKED);
			bool good = try(layout, step, text, sizeof(text)) != none;

			passed += good;
			failed += !good;
			printf("%sok %u %s %s%s\n# %s\n", good ? "" : "not ", passed + failed,
			       layout == VIRTQ_PACKED ? "packed" : "split", row->name,
			       none ? " is not in the pure layers" : "", text);
		}
	printf("1..%u\n# %u passed, %u failed\n", passed + failed, passed, failed);
	return failed != 0;
}
