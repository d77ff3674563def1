/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every interleaving of two programs over a weakly ordered memory.
 *
 * A program is a function that is called again and again; what it remembers between calls is known
 * to the explorer. A call runs until it needs something that the other side can influence: a load,
 * a full barrier, a wait, a signal. There it is left with longjmp(). When it has its turn again it
 * is called anew from the same state, is given what it was given before, and goes on. So the engine
 * needs no stack of its own to be stopped between any two of its accesses, and a state of the whole
 * is what the two programs remember, what they were given in the calls they are in, and memory.
 *
 * Stores are carried out at once: the other side may not see them all the same, see memory.h.
 */
#ifndef _EXPLORE_EXPLORE_H
#define _EXPLORE_EXPLORE_H

#include <linux/compiler.h>
#include <linux/types.h>

#include "memory.h"
#include "ref.h"

/**
 * struct ex_program - what one side does
 * @name: for traces
 * @call: goes one step on; returns false when there is nothing left to do
 * @mem: all it remembers between calls, ended by NULL. It begins as the caller of ex_explore()
 *	left it
 */
struct ex_program {
	const char *name;
	bool (*call)(void);
	struct ex_part {
		void *p;
		size_t len;
	} mem[8];
};

/**
 * struct ex_result - of an exploration
 * @states: different states
 * @steps: from one of these to another
 * @runs: ways from the beginning to an end. Beyond 2^53 not exact
 * @failed: an assertion failed in one of them
 * @ms: how long it took
 * @why: the failed assertion
 */
struct ex_result {
	u64 states, steps;
	double runs;
	bool failed;
	unsigned int ms;
	char why[200];
};

/**
 * struct ex_options - how to explore
 * @strong: loads find what was stored last, as if there were no store buffers
 * @full: leave nothing out that can't make a difference
 * @trace: when an assertion fails, look for a short way there and print it
 */
struct ex_options {
	bool strong, full, trace;
};

extern struct ex_options ex_options;

/* Names a place of the shared memory; @owner: who may store there, SIDES for both. */
void __printf(5, 6) ex_place(const void *p, unsigned int size, unsigned int owner, u32 v,
			     const char *fmt, ...);
/* Flags, and what counts only with them: who finds the flags must not find the rest older. */
void ex_pair(enum side reader, const void *flags, const void *desc);
/* Read by one side, behind a full barrier of the same call only; see mem_guarded. */
void ex_guarded(enum side reader, const void *p);
/* Forgets all places; the reference model starts anew too. */
void ex_reset(void);

/* Returns when all is explored or an assertion failed. @end: asserted where nothing goes on. */
struct ex_result ex_explore(const struct ex_program programs[SIDES], void (*end)(void));

/* ---- for programs ---- */

/* One of so many, by no rule: all of them are tried. */
unsigned int ex_choose(unsigned int n);
/* Wakes the other side, now or the next time it waits. */
void ex_signal(void);
/* Waits for the other side's signal; -1 then, or one of the @n other things that may happen. */
int ex_wait(unsigned int n);
/* What the call found in a place; false if it did not look. */
bool ex_found(const void *p, u32 *v);
/* False if the call has been here before, and is only being carried on. */
bool ex_first(void);
/* The reference model of this state. To be changed at the end of a call, or where it is first. */
struct ref *ex_ref(void);
/* Has a side nothing left to do? For ends. */
bool ex_done(enum side side);
/* A line of the trace. Like changes of the reference model. */
void __printf(1, 2) ex_note(const char *fmt, ...);

void __printf(1, 2) __noreturn ex_fail(const char *fmt, ...);
void __printf(1, 2) __noreturn ex_broken(const char *fmt, ...);
#define ex_assert(cond, ...) do { if (unlikely(!(cond))) ex_fail(__VA_ARGS__); } while (0)

#endif
