// SPDX-License-Identifier: GPL-2.0
#include <linux/minmax.h>
#include <linux/string.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "explore.h"

/* Things a call can be given before it is over, steps of a run, and for how long to shorten one. */
#define CALL_MAX	96
#define DEPTH_MAX	8000
#define SHORTEN_MS	4000

enum op { OP_NONE, OP_LOAD, OP_STORE, OP_MB, OP_CHOOSE, OP_SIGNAL, OP_WAIT };

/* Where one side is. */
struct thread {
	bool done;
	u8 op, place, acquire, n;	/* what it is about to do */
	bool moved;			/* it has stored since it could be interrupted */
	u8 nr_given;
	u32 given[CALL_MAX];		/* in the call it is in; of stores, what was stored */
	u64 hash;			/* of what it remembers */
};

/* Then what both sides remember, as far as it ever changes. */
struct state {
	struct thread thread[SIDES];
	struct ref ref;
	struct mem mem;
};

struct seen {
	u64 key;
	double runs;			/* when shortening: how deep */
};

struct ex_options ex_options;

static struct {
	struct ex_program program[SIDES];
	void (*end)(void);

	/* places */
	const char *base;
	unsigned int places;
	struct { const void *p; char name[24]; u8 size, owner; u32 v; } place[PLACES];
	short at[1024];			/* place by half of its offset from @base */
	struct { unsigned int flags, desc; } pair[SIDES];

	/* what is remembered */
	u8 *first[SIDES];
	size_t snap[SIDES];
	u8 *states;
	size_t mem_size, stride;

	/* where we are */
	struct state *s;
	enum side me;
	unsigned int pos;
	u64 call;
	struct { u64 call; u32 v; } found[PLACES];
	unsigned int depth, bound, fail_depth;
	struct { u8 side, choice; } path[DEPTH_MAX];
	jmp_buf op, fail;
	bool tracing, unguarded, store;
	u64 deadline;

	struct seen *seen;
	size_t seen_size;
	struct ex_result result;
} ex;

static u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

void ex_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(ex.result.why, sizeof(ex.result.why), fmt, args);
	va_end(args);
	ex.result.failed = true;
	ex.fail_depth = ex.depth;
	longjmp(ex.fail, 1);
}

void ex_broken(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fprintf(stderr, "explorer: ");
	vfprintf(stderr, fmt, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(2);
}

struct ref *ex_ref(void)
{
	return &ex.s->ref;
}

bool ex_done(enum side side)
{
	return ex.s->thread[side].done;
}

/* ---- places ---- */

void ex_reset(void)
{
	ex.base = NULL;
	ex.places = 0;
	memset(ex.pair, 0xff, sizeof(ex.pair));
	memset(mem_guarded, 0, sizeof(mem_guarded));
	memset(ex.at, -1, sizeof(ex.at));
}

void ex_place(const void *p, unsigned int size, unsigned int owner, u32 v, const char *fmt, ...)
{
	unsigned int i = ex.places;
	size_t off;
	va_list args;

	if (!ex.base)
		ex.base = p;
	off = ((const char *)p - ex.base) / 2;
	if (i == PLACES || off >= ARRAY_SIZE(ex.at) || ex.at[off] >= 0)
		ex_broken("no room for another place");
	ex.at[off] = i;
	ex.place[i].p = p;
	ex.place[i].size = size;
	ex.place[i].owner = owner;
	ex.place[i].v = v;
	va_start(args, fmt);
	vsnprintf(ex.place[i].name, sizeof(ex.place[i].name), fmt, args);
	va_end(args);
	ex.places++;
}

static unsigned int place_of(const void *p, unsigned int size)
{
	size_t off = (const char *)p - ex.base;

	if (off % 2 || off / 2 >= ARRAY_SIZE(ex.at) || ex.at[off / 2] < 0)
		ex_fail("access to memory that is no field of the ring");
	if (ex.place[ex.at[off / 2]].size != size)
		ex_fail("access of %u bytes to %s", size, ex.place[ex.at[off / 2]].name);
	return ex.at[off / 2];
}

void ex_pair(enum side reader, const void *flags, const void *desc)
{
	ex.pair[reader].flags = place_of(flags, 2);
	ex.pair[reader].desc = place_of(desc, 2);
}

void ex_guarded(enum side reader, const void *p)
{
	if (!ex_options.full)
		mem_guarded[place_of(p, 2)] = 1 + reader;
}

/* ---- traces ---- */

static void __printf(2, 3) trace(enum side side, const char *fmt, ...)
{
	va_list args;

	if (!ex.tracing)
		return;
	printf("#   %-*s", side == DRIVER ? 0 : 44, "");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
}

void ex_note(const char *fmt, ...)
{
	char text[100];
	va_list args;

	if (!ex.tracing)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	trace(ex.me, "-- %s", text);
}

/* ---- what programs use ---- */

/* Something was given before: goes past it. Else the call is left until its turn. */
static u32 op(enum op op, unsigned int place, bool acquire, unsigned int n)
{
	struct thread *t = &ex.s->thread[ex.me];

	if (ex.pos < t->nr_given)
		return t->given[ex.pos++];
	t->op = op;
	t->place = place;
	t->acquire = acquire;
	t->n = n;
	longjmp(ex.op, 1);
}

static void give(struct thread *t, u32 v)
{
	if (t->nr_given == CALL_MAX)
		ex_broken("a call that is given too much");
	t->given[t->nr_given++] = v;
}

u32 mem_load(const void *p, unsigned int size, bool acquire)
{
	unsigned int place = place_of(p, size);
	u32 v = op(OP_LOAD, place, acquire, 0);

	ex.found[place].call = ex.call;
	ex.found[place].v = v;
	return v;
}

bool ex_found(const void *p, u32 *v)
{
	unsigned int place = ex.at[((const char *)p - ex.base) / 2];

	*v = ex.found[place].v;
	return ex.found[place].call == ex.call;
}

void mem_store(void *p, unsigned int size, u32 v, bool release)
{
	struct thread *t = &ex.s->thread[ex.me];
	unsigned int place = place_of(p, size);

	if (ex.pos < t->nr_given) {
		if (t->given[ex.pos++] != v)
			ex_broken("a call that is not the same twice");
		return;
	}
	/* Without a store buffer it matters when. */
	if (ex_options.strong && !ex.store)
		op(OP_STORE, place, release, 0);
	ex.store = false;
	ex_assert(ex.place[place].owner == SIDES || ex.place[place].owner == ex.me,
		  "the %s stores to %s", ex.program[ex.me].name, ex.place[place].name);
	ex_assert(mem_choices(&ex.s->mem, ex.me, place) == 1,
		  "the %s stores to %s, and may not have seen what it overwrites",
		  ex.program[ex.me].name, ex.place[place].name);
	ref_store(&ex.s->ref, ex.me, p, v);
	trace(ex.me, "%-15s = %#x%s", ex.place[place].name, v, release ? "   release" : "");
	mem_do_store(&ex.s->mem, ex.me, place, v, release);
	give(t, v);
	ex.pos++;
	t->moved = true;
}

void mem_mb(void)
{
	op(OP_MB, 0, false, 0);
}

unsigned int ex_choose(unsigned int n)
{
	return n > 1 ? op(OP_CHOOSE, 0, false, n) : 0;
}

bool ex_first(void)
{
	struct thread *t = &ex.s->thread[ex.me];

	if (ex.pos++ < t->nr_given)
		return false;
	give(t, 1);
	return true;
}

void ex_signal(void)
{
	op(OP_SIGNAL, 0, false, 0);
}

int ex_wait(unsigned int n)
{
	return (int)op(OP_WAIT, 0, false, n);
}

/* ---- states ---- */

static struct state *state(unsigned int depth)
{
	return (struct state *)(ex.states + depth * ex.stride);
}

static u8 *snapshot(struct state *s, enum side side)
{
	return (u8 *)s + ex.mem_size + (side == DEVICE ? ex.snap[DRIVER] : 0);
}

static u64 mix(u64 h, u64 v)
{
	__uint128_t x = (__uint128_t)(h ^ 0x9e3779b97f4a7c15ULL) * (v ^ 0xd6e8feb86659fd93ULL);

	return (u64)x ^ (u64)(x >> 64) ^ (h << 7 | h >> 57);
}

static u64 mix_bytes(u64 h, const void *p, size_t n)
{
	const u8 *b = p;
	u64 v;

	for (; n >= 8; n -= 8, b += 8) {
		memcpy(&v, b, 8);
		h = mix(h, v);
	}
	if (n) {
		v = 0;
		memcpy(&v, b, n);
		h = mix(h, v);
	}
	return h;
}

static void save(struct state *s, enum side side)
{
	const struct ex_part *p;
	u8 *to = snapshot(s, side);

	for (p = ex.program[side].mem; p->p; to += p++->len)
		memcpy(to, p->p, p->len);
	s->thread[side].hash = mix_bytes(side, snapshot(s, side), ex.snap[side]);
}

static void load(const u8 *from, enum side side)
{
	const struct ex_part *p;

	for (p = ex.program[side].mem; p->p; from += p++->len)
		memcpy(p->p, from, p->len);
}

static void restore(struct state *s, enum side side)
{
	load(snapshot(s, side), side);
}

static u64 hash(const struct state *s)
{
	unsigned int i, j;
	u64 h = 1;

	for (i = 0; i < SIDES; i++) {
		const struct thread *t = &s->thread[i];
		const struct mem_side *m = &s->mem.side[i];

		h = mix(h, t->hash);
		h = mix(h, t->done | t->moved << 1 | t->nr_given << 8 | m->signalled << 16 |
			   (u64)m->signal << 24);
		h = mix_bytes(h, t->given, t->nr_given * sizeof(*t->given));
		h = mix(h, m->stores | m->floor << 8 | (u64)m->acquired << 16 |
			   (u64)m->released << 24 | (u64)m->drained << 32 | (u64)m->pair << 40 |
			   (u64)m->fenced << 48);
		h = mix_bytes(h, m->seen, ex.places);
	}
	h = mix_bytes(h, &s->ref, sizeof(s->ref));
	for (i = 0; i < ex.places; i++) {
		const struct mem_place *p = &s->mem.place[i];

		h = mix(h, p->nr);
		for (j = 0; j < p->nr; j++) {
			const struct mem_value *v = &p->value[j];

			h = mix(h, v->v | (u64)v->by << 32 | (u64)v->seq << 40 |
				   (u64)v->sync << 48);
		}
	}
	return h ?: 1;
}

/* A side goes on until it is about to do something that the other can influence. */
static void run(struct state *s, enum side side)
{
	struct thread *t = &s->thread[side];

	ex.s = s;
	ex.me = side;
	restore(s, side);
	if (setjmp(ex.op))
		return;
	for (;;) {
		bool more;

		ex.pos = 0;
		ex.call++;
		more = ex.program[side].call();
		if (ex.pos < t->nr_given)
			ex_broken("a call that is not the same twice");
		save(s, side);
		memset(t->given, 0, t->nr_given * sizeof(*t->given));
		t->nr_given = 0;
		s->mem.side[side].pair = 0;
		s->mem.side[side].fenced = 0;
		if (!more) {
			t->done = true;
			return;
		}
	}
}

static unsigned int choices(const struct state *s, enum side side)
{
	const struct thread *t = &s->thread[side];

	if (t->done)
		return 0;
	switch (t->op) {
	case OP_LOAD:
		return ex_options.strong ? 1 : mem_choices(&s->mem, side, t->place);
	case OP_CHOOSE:
		return t->n;
	case OP_WAIT:
		return s->mem.side[side].signalled + t->n;
	default:
		return 1;
	}
}

static void do_load(struct state *s, enum side side, unsigned int choice)
{
	struct thread *t = &s->thread[side];
	struct mem_place *p = &s->mem.place[t->place];
	struct mem_side *m = &s->mem.side[side];
	unsigned int i, at;
	struct mem_value *v;

	if (mem_guarded[t->place] == 1 + side && !m->fenced) {
		ex.unguarded = true;
		longjmp(ex.fail, 1);
	}
	if (ex_options.strong)
		choice = mem_choices(&s->mem, side, t->place) - 1;
	at = m->seen[t->place] + choice;
	v = &p->value[at];
	trace(side, "%-15s : %#x%s%s", ex.place[t->place].name, v->v,
	      t->acquire ? "   acquire" : "", at + 1 < p->nr ? "   (not the newest)" : "");
	/* What an event structure's flags count for was stored before them. */
	if (t->place == ex.pair[side].flags)
		m->pair = v->by == side ? 0 : v->seq;
	if (t->place == ex.pair[side].desc)
		for (i = at + 1; i < p->nr; i++)
			ex_assert(p->value[i].by == side || p->value[i].seq > m->pair,
				  "the %s takes %s from before the flags that it found",
				  ex.program[side].name, ex.place[t->place].name);
	give(t, mem_do_load(&s->mem, side, t->place, choice, t->acquire));
}

/* One step: a side does what it was about to do, and goes on. */
static void step(struct state *s, enum side side, unsigned int choice)
{
	struct mem_side *m = s->mem.side;
	struct thread *t = &s->thread[side];

	ex.s = s;
	ex.me = side;
	if (t->op != OP_CHOOSE)
		t->moved = t->op != OP_LOAD;
	switch (t->op) {
	case OP_LOAD:
		do_load(s, side, choice);
		break;
	case OP_STORE:
		ex.store = true;
		break;
	case OP_MB:
		trace(side, "full barrier");
		mem_do_mb(&s->mem, side);
		give(t, 0);
		break;
	case OP_CHOOSE:
		give(t, choice);
		break;
	case OP_SIGNAL:
		trace(side, side == DRIVER ? "kick" : "call");
		m[!side].signalled = 1;
		m[!side].signal = m[side].stores;
		give(t, 0);
		break;
	case OP_WAIT:
		if (m[side].signalled && !choice) {
			trace(side, "woken");
			mem_see(&s->mem, side, m[side].signal);
			m[side].signalled = 0;
			m[side].signal = 0;
			give(t, -1);
		} else {
			give(t, choice - m[side].signalled);
		}
		break;
	}
	run(s, side);
}

static void begin(struct state *s)
{
	unsigned int i;

	memset(s, 0, ex.stride);
	s->mem.places = ex.places;
	for (i = 0; i < ex.places; i++) {
		s->mem.place[i].nr = 1;
		s->mem.place[i].value[0].v = ex.place[i].v;
	}
	for (i = 0; i < SIDES; i++) {
		load(ex.first[i], i);
		save(s, i);
	}
	ref_init(&s->ref);
	for (i = 0; i < SIDES; i++) {
		s->thread[i].moved = true;
		run(s, i);
	}
}

/* ---- the search ---- */

static struct seen *find(u64 key)
{
	size_t i = key & (ex.seen_size - 1);

	while (ex.seen[i].key && ex.seen[i].key != key)
		i = (i + 1) & (ex.seen_size - 1);
	return &ex.seen[i];
}

static struct seen *add(u64 key)
{
	struct seen *old = ex.seen, *s;
	size_t i, n = ex.seen_size;

	if (++ex.result.states > n / 2) {
		ex.seen_size *= 2;
		ex.seen = calloc(ex.seen_size, sizeof(*ex.seen));
		if (!ex.seen)
			ex_broken("no memory");
		for (i = 0; i < n; i++)
			if (old[i].key)
				*find(old[i].key) = old[i];
		free(old);
	}
	s = find(key);
	s->key = key;
	return s;
}

/*
 * Need a side not be interrupted now? Whatever the other may do before a store or a signal, it may
 * do behind it as well. And what a load found it could have found later: values become readable and
 * cease to be so by what the loading side does, and nothing else. So a side goes on from loads to
 * one full barrier or signal or to stores, and only what comes behind these can tell the difference
 * (R. Lipton, Reduction, 1975: loads move right, stores left).
 */
static bool alone(const struct state *s, enum side side)
{
	const struct thread *t = &s->thread[side];

	if (t->done)
		return false;
	return t->op == OP_CHOOSE ||
	       (!t->moved && t->op != OP_WAIT && !ex_options.full && !ex_options.strong);
}

/*
 * A load that finds the same as an older value: nothing is possible afterwards that is not after
 * the older.
 */
static bool same_as_older(const struct state *s, enum side side, unsigned int choice)
{
	const struct thread *t = &s->thread[side];
	const struct mem_value *v;
	unsigned int i;

	if (t->op != OP_LOAD || t->place == ex.pair[side].flags || ex_options.full ||
	    ex_options.strong)
		return false;
	v = &s->mem.place[t->place].value[s->mem.side[side].seen[t->place]];
	for (i = 0; i < choice; i++)
		if (v[i].v == v[choice].v)
			return true;
	return false;
}

static double search(unsigned int depth)
{
	struct state *s = state(depth), *next = state(depth + 1);
	unsigned int i, c, n, only = SIDES;
	bool stuck = true;
	double runs = 0;

	if (depth + 2 >= DEPTH_MAX)
		ex_broken("a run that does not end");
	if (ex.deadline && !(ex.result.steps & 1023) && now_ms() > ex.deadline)
		return 0;
	for (i = 0; i < SIDES; i++)
		if (alone(s, i))
			only = i;
	for (i = 0; i < SIDES; i++) {
		if (only < SIDES && i != only)
			continue;
		n = choices(s, i);
		for (c = 0; c < n; c++) {
			struct seen *seen;
			u64 key;

			stuck = false;
			if (same_as_older(s, i, c))
				continue;
			if (depth + 1 > ex.bound)
				return 0;
			memcpy(next, s, ex.stride);
			ex.path[depth].side = i;
			ex.path[depth].choice = c;
			ex.depth = depth + 1;
			ex.result.steps++;
			step(next, i, c);
			mem_normalise(&next->mem);
			key = hash(next);
			seen = find(key);
			if (ex.bound < DEPTH_MAX) {
				/* Not seen as early as this? */
				if (seen->key && seen->runs <= depth)
					continue;
				if (!seen->key)
					seen = add(key);
				seen->runs = depth;
				search(depth + 1);
				continue;
			}
			if (!seen->key) {
				double more;

				add(key);
				more = search(depth + 1);
				seen = find(key);
				seen->runs = more;
			}
			runs += seen->runs;
		}
	}
	if (!stuck)
		return runs;
	ex.s = s;
	ex.depth = depth;
	for (i = 0; i < SIDES; i++)
		restore(s, i);
	ex.end();
	return 1;
}

/* Returns true if it is to be done again, shorter. */
static bool search_all(unsigned int bound)
{
	ex.bound = bound;
	ex.result = (struct ex_result){ 0 };
	ex.seen_size = 1 << 16;
	ex.seen = calloc(ex.seen_size, sizeof(*ex.seen));
	ex.depth = 0;
	if (!setjmp(ex.fail)) {
		begin(state(0));
		ex.result.runs = search(0);
		if (bound == DEPTH_MAX && !ex.result.runs)
			ex_fail("it never comes to an end");
	}
	free(ex.seen);
	return ex.result.failed;
}

/* Goes a failed way once more. */
static void show(const struct ex_result *failed, unsigned int depth)
{
	unsigned int i;

	printf("#   %-44s%s\n", ex.program[DRIVER].name, ex.program[DEVICE].name);
	ex.tracing = true;
	if (!setjmp(ex.fail)) {
		begin(state(0));
		for (i = 0; i < depth; i++) {
			step(state(0), ex.path[i].side, ex.path[i].choice);
			mem_normalise(&state(0)->mem);
		}
	}
	ex.tracing = false;
	printf("#   %s\n", failed->why);
}

struct ex_result ex_explore(const struct ex_program programs[SIDES], void (*end)(void))
{
	u64 start = now_ms();
	struct ex_result result;
	unsigned int i;

	for (i = 0; i < SIDES; i++) {
		const struct ex_part *p;
		u8 *to;

		ex.program[i] = programs[i];
		ex.snap[i] = 0;
		for (p = programs[i].mem; p->p; p++)
			ex.snap[i] += p->len;
		to = malloc(ex.snap[i]);
		ex.first[i] = to;
		for (p = programs[i].mem; p->p; to += p++->len)
			memcpy(to, p->p, p->len);
	}
	ex.end = end;
	ex.mem_size = offsetof(struct state, mem.place[ex.places]);
	ex.stride = (ex.mem_size + ex.snap[DRIVER] + ex.snap[DEVICE] + 63) & ~63;
	ex.states = calloc(DEPTH_MAX, ex.stride);
	if (!ex.states)
		ex_broken("no memory");
	search_all(DEPTH_MAX);
	if (ex.unguarded) {
		/* It is not as it was thought to be: once more, with all there is. */
		memset(mem_guarded, 0, sizeof(mem_guarded));
		search_all(DEPTH_MAX);
	}
	ex.result.ms = now_ms() - start;
	result = ex.result;
	if (result.failed && ex_options.trace) {
		struct ex_result shorter = result;
		unsigned int depth = ex.fail_depth;
		typeof(ex.path[0]) *path = malloc(sizeof(ex.path));

		memcpy(path, ex.path, sizeof(ex.path));
		ex.deadline = now_ms() + SHORTEN_MS;
		while (depth && now_ms() < ex.deadline && search_all(depth - 1)) {
			shorter = ex.result;
			depth = ex.fail_depth;
			memcpy(path, ex.path, sizeof(ex.path));
		}
		ex.deadline = 0;
		memcpy(ex.path, path, sizeof(ex.path));
		free(path);
		show(&shorter, depth);
	}
	for (i = 0; i < SIDES; i++)
		free(ex.first[i]);
	free(ex.states);
	return result;
}
