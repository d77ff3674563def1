/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared memory of two sides, weakly ordered.
 *
 * Each side's stores go to its store buffer and drain in any order that these rules allow: stores
 * to one place drain in turn; a release store after all before it; mem_mb() waits for all. A load
 * may have been satisfied early: it yields any value its place had since the last point that orders
 * loads, which is an acquire load or a mem_mb(), but none older than what this side read or wrote
 * there before.
 *
 * When a store drains, and when a load is satisfied, is not chosen in advance. What the other side
 * has not been forced to see it may see or not, place by place, and the choice is made when it
 * looks. So with two sides all there is to know of a store is how many stores of the same side must
 * have drained before it (sync), and of a side, how many of the other's it must see (floor).
 * litmus.c holds this against what is known of such machines.
 *
 * Stronger than real machines in one thing: a load is never satisfied after a later store of its
 * side has drained. Weaker in two: dependencies order nothing, and a plain store to the place of a
 * release store does not stand for it.
 */
#ifndef _EXPLORE_MEMORY_H
#define _EXPLORE_MEMORY_H

#include <linux/compiler.h>
#include <linux/types.h>

/**
 * enum side - who is at it
 * @DRIVER: the model driver
 * @DEVICE: the engine, and its owner's loop
 */
enum side { DRIVER, DEVICE, SIDES };

/** define PLACES - most places that can be named */
#define PLACES		72
/** define VALUES - most values of a place, and MAX_STORES, most stores of a side, to be kept */
#define VALUES		16
#define MAX_STORES	255

/**
 * struct mem - memory and store buffers of both sides
 * @places: places in use
 * @side: by side
 * @side.stores: stores so far, from 1
 * @side.floor: stores of the other side, counted likewise, that must be seen
 * @side.acquired: those that must be seen from the next mem_mb() on, for what plain loads found
 * @side.released: stores drained by the last mem_mb(), before any that come later
 * @side.drained: the same, and whoever comes to a mem_mb() later sees them
 * @side.pair: store that the flags of an event structure were last found in, see ex_pair()
 * @side.fenced: it has done a mem_mb() in the call it is in
 * @side.signalled: it has been woken, or will be when it waits
 * @side.signal: stores of the other side that are seen then
 * @side.seen: by place, the oldest value that may still be read
 * @place: values in the order they were stored, the first being the oldest anybody may read
 */
struct mem {
	u8 places;
	struct mem_side {
		u8 stores, floor, acquired, released, drained, pair, fenced, signalled,
		   signal;
		u8 seen[PLACES];
	} side[SIDES];
	struct mem_place {
		u8 nr;
		struct mem_value {
			u32 v;
			u8 by, seq, sync;
		} value[VALUES];
	} place[PLACES];
};

/**
 * define mem_guarded - places that one side reads behind a mem_mb() of the same call only
 *
 * By place: 0, or 1 + that side. What the other side had drained by a mem_mb() of its own before
 * hides what is older, for that side, and already before it comes to its mem_mb(): states become
 * fewer. That they are so read is checked.
 */
extern u8 mem_guarded[PLACES];

/* What programs use; explore.c carries it out. */
u32 mem_load(const void *p, unsigned int size, bool acquire);
void mem_store(void *p, unsigned int size, u32 v, bool release);
void mem_mb(void);

/* What explore.c carries it out with. Values are counted from the oldest that may be read. */
unsigned int mem_choices(const struct mem *m, enum side side, unsigned int place);
u32 mem_do_load(struct mem *m, enum side side, unsigned int place, unsigned int choice,
		bool acquire);
void mem_do_store(struct mem *m, enum side side, unsigned int place, u32 v, bool release);
void mem_do_mb(struct mem *m, enum side side);
void mem_see(struct mem *m, enum side side, unsigned int stores);

/**
 * mem_normalise() - give states that behave alike the same bytes
 * @m: memory
 *
 * Forgets what nobody can read any more, and numbers the stores that matter anew.
 */
void mem_normalise(struct mem *m);

#endif
