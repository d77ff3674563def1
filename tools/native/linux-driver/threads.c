// SPDX-License-Identifier: GPL-2.0
/*
 * Each side in a thread of its own, which really sleeps when it has nothing to do. When both do and
 * neither is signalled, a wake-up was lost: that is known at once, without a clock.
 */
#define _GNU_SOURCE
#include <linux/compiler.h>
#include <linux/types.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "pair.h"

/* Without a buffer coming back. It is the last resort, and the machine may be busy. */
#define BOUND_MS	60000
/*
 * So long a side looks for a signal before it really sleeps. Apart it is long: a wake-up from
 * another processor takes longer than all else, and no race is run meanwhile.
 */
#define MOST_SPINS		10000
#define MOST_SPINS_APART	1000000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct end {
	bool signalled, sleeps;
	/* The rest under the lock. */
	bool ended;
	pthread_cond_t wake;
} ends[2] __aligned(128) = {
	{ .wake = PTHREAD_COND_INITIALIZER }, { .wake = PTHREAD_COND_INITIALIZER },
};

struct thread {
	struct pair *p;
	enum side side;
	unsigned int pace;
	u64 rng;
	pthread_t id;
};

void run_signal(struct pair *p, enum side side)
{
	/* It says that it sleeps and looks for a signal; this is the other way round. */
	__atomic_store_n(&ends[side].signalled, true, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&ends[side].sleeps, __ATOMIC_SEQ_CST))
		return;
	pthread_mutex_lock(&lock);
	pthread_cond_signal(&ends[side].wake);
	pthread_mutex_unlock(&lock);
}

bool run_take_signal(struct pair *p, enum side side)
{
	/* Mostly there is none; then this is no barrier, which might replace a missing one. */
	if (!READ_ONCE(ends[side].signalled))
		return false;
	return __atomic_exchange_n(&ends[side].signalled, false, __ATOMIC_SEQ_CST);
}

static void pause_a_while(u32 n)
{
	while (n--)
		__asm__ volatile("" ::: "memory");
}

/* Returns false if there will be no signal any more. */
static bool sleep_until_signalled(struct thread *t)
{
	struct end *me = &ends[t->side], *other = &ends[!t->side];
	u64 r = rnd(&t->rng);
	bool good = true;
	u32 spins;

	spins = r & 7 ? below(r, t->p->apart ? MOST_SPINS_APART : MOST_SPINS) : 0;
	for (; spins; spins--)
		if (READ_ONCE(me->signalled))
			return true;

	pthread_mutex_lock(&lock);
	__atomic_store_n(&me->sleeps, true, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&me->signalled, __ATOMIC_SEQ_CST)) {
		good = !READ_ONCE(t->p->failed) && !other->ended;
		if (good && other->sleeps &&
		    !__atomic_load_n(&other->signalled, __ATOMIC_SEQ_CST)) {
			pair_fail(t->p, "both sides sleep: a wake-up was lost");
			pthread_cond_signal(&other->wake);
			good = false;
		}
		if (!good)
			break;
		pthread_cond_wait(&me->wake, &lock);
	}
	__atomic_store_n(&me->sleeps, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&lock);
	return good;
}

static void *run_side(void *arg)
{
	struct thread *t = arg;
	struct pair *p = t->p;
	enum step step;

	for (;;) {
		u64 r = rnd(&t->rng);

		/* Now the one is slow and now the other, and they meet everywhere. */
		if (!(r & 63))
			t->pace = p->apart ? r >> 6 & 7 : 0;
		if (t->pace)
			pause_a_while(below(r, 16 << t->pace));
		step = t->side == DRIVER ? driver_step(p->driver) : device_step(p->device);
		if (step == STEP_END || (step == STEP_SLEEP && !sleep_until_signalled(t)))
			break;
	}
	pthread_mutex_lock(&lock);
	ends[t->side].ended = true;
	pthread_cond_signal(&ends[!t->side].wake);
	pthread_mutex_unlock(&lock);
	return NULL;
}

/*
 * Each on a processor of its own: else the scheduler likes to have them take turns on one, where
 * no barrier is ever missed. On a busy machine it is slow, because both have to wait for theirs.
 */
static void apart(struct thread *threads)
{
	cpu_set_t all, one;
	int cpu, side = 0;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	for (cpu = 0; cpu < CPU_SETSIZE && side < 2; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_setaffinity_np(threads[side++].id, sizeof(one), &one);
	}
}

static bool join_for(struct thread *t, u32 ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	return !pthread_timedjoin_np(t->id, NULL, &until);
}

/* Waits for the end, as long as buffers come back. */
static void join(struct thread *t)
{
	u64 got;

	if (t->p->ms && !t->p->enough && join_for(t, t->p->ms))
		return;
	WRITE_ONCE(t->p->enough, t->p->ms != 0);
	do {
		got = READ_ONCE(t->p->d.got);
		if (join_for(t, BOUND_MS))
			return;
	} while (got != READ_ONCE(t->p->d.got));
	/* It runs on, so there is no way on from here. */
	pair_fail(t->p, "no buffer came back for %u s", BOUND_MS / 1000);
	pair_dump(t->p);
	exit(1);
}

void run_pair(struct pair *p)
{
	struct thread threads[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		ends[i].signalled = false;
		ends[i].sleeps = false;
		ends[i].ended = false;
		threads[i] = (struct thread){ .p = p, .side = i, .rng = p->seed << 2 | i };
	}
	for (i = 0; i < 2; i++)
		if (pthread_create(&threads[i].id, NULL, run_side, &threads[i])) {
			perror("pthread_create");
			exit(1);
		}
	if (p->apart)
		apart(threads);
	join(&threads[DRIVER]);
	join(&threads[DEVICE]);
}

int main(int argc, char **argv)
{
	static const struct mode modes[] = {
		{ .how = "two threads", .count = 30000 },
		{ .how = "two threads apart", .apart = true, .count = 1ULL << 40, .ms = 300 },
	};

	return pair_main(argc, argv, modes, ARRAY_SIZE(modes));
}
