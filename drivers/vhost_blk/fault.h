/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault points: the engine dies, once, at a named step of a named queue, so that tests in a real
 * kernel can do what kunit/cut does in a model.
 *
 * To die means: not one store more from there on to ring, region or buffers, nobody is notified,
 * and nothing crashes. What the disk has goes on, as it does when a process dies. Whoever has the
 * queue next - another owner with the region, or another engine - finds what memory says.
 *
 * It is a gate, not a way out. All stores of the engine that others can see go through a handful of
 * helpers (virtq_barrier.h, inflight_store.h, vblk_write() in queue.c), and for a dead queue none
 * of these does anything. So a step may be anywhere, however deep, and no path can be forgotten:
 * completions, errors, stop. Returning early would have needed a check behind each step and in each
 * of its callers, and the code under test would not have been the code that runs otherwise.
 *
 * The kernel's own fault injection (CONFIG_FAULT_INJECTION) makes a call fail, with a probability
 * or after so many. Here nothing fails and is handled, something ends; which queue and which step
 * are names; and distributions' kernels don't have it.
 *
 * Off unless CONFIG_VHOST_BLK_FAULT_POINTS=y, and then all of this is nothing. The compiler gets a
 * symbol of another name, from this folder's Makefile, because kunit/ builds these files as well.
 */
#ifndef _VHOST_BLK_FAULT_H
#define _VHOST_BLK_FAULT_H

#include <linux/types.h>

/* As a request, and then a recovery, gets to them; fault_steps.c has a row for each. */
enum fault_step {
	FAULT_QUIET,
	FAULT_FETCHED,
	FAULT_RECORD,
	FAULT_RECORDED,
	FAULT_SUBMITTED,
	FAULT_STATUS,
	FAULT_ANSWERED,
	FAULT_STAGED,
	FAULT_PREPARE,
	FAULT_PREPARED,
	FAULT_SHOWN,
	FAULT_CLEAR,
	FAULT_CLEARED,
	FAULT_FREED,
	FAULT_COMMITTED,
	FAULT_FRESH,
	FAULT_OPENED,
	FAULT_SETTLE,
	FAULT_UNSETTLED,
	FAULT_HIDE,
	FAULT_SETTLED,
	FAULT_AGAIN,
	FAULT_RECALL,
	FAULT_NR_STEPS,
};

enum fault_layout { FAULT_ANY, FAULT_PACKED };
enum fault_when { FAULT_SERVE, FAULT_START, FAULT_RECOVER };

/**
 * struct fault_row - a step
 * @name: for people and tests
 * @layout: rings it exists for
 * @when: serving; starting with a fresh region; recovering
 * @done: the last thing that was done
 * @left: what comes next, and does not happen
 */
struct fault_row {
	const char *name;
	enum fault_layout layout;
	enum fault_when when;
	const char *done, *left;
};

extern const struct fault_row fault_steps[FAULT_NR_STEPS];

struct task_struct;
struct vinf_vq;

#ifdef VBLK_FAULT_POINTS

#define FAULT_VERSION	"+fault"

/**
 * struct fault_queue - a queue that may die
 * @next: fault.c's
 * @task: who is in one of the engine's ops for it
 * @vq: the queue
 * @dead: it did
 */
struct fault_queue {
	struct fault_queue *next;
	struct task_struct *task;
	const struct vinf_vq *vq;
	bool dead;
};

/* The last thing that was done is what @step says: if a test wants it, the queue is dead. */
void fault_here(enum fault_step step);
/* Is the queue dead that this task is at? */
bool fault_dead(void);
/* Around each op of the engine, with the queue's lock held: the two above mean this queue. */
void fault_enter(struct fault_queue *fq, const struct vinf_vq *vq);
void fault_leave(struct fault_queue *fq);
/* The engine lets go of the queue. */
void fault_forget(struct fault_queue *fq);
int fault_init(void);
void fault_exit(void);

#else

#define FAULT_VERSION	""
/* A constant: what depends on it is not even a branch to who counts them. */
#define fault_dead()	false

struct fault_queue {
};

static inline void fault_here(enum fault_step step) { }
static inline void fault_enter(struct fault_queue *fq, const struct vinf_vq *vq) { }
static inline void fault_leave(struct fault_queue *fq) { }
static inline void fault_forget(struct fault_queue *fq) { }
static inline int fault_init(void) { return 0; }
static inline void fault_exit(void) { }

#endif

#endif
