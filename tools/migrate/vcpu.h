/* SPDX-License-Identifier: GPL-2.0 */
/* The guest's processor: a thread that runs it, and can be stopped, as a VMM's vCPU. */
#ifndef MIGRATE_VCPU_H
#define MIGRATE_VCPU_H

#include <pthread.h>
#include <stdbool.h>

#include "guest.h"

/**
 * struct vcpu - a processor
 * @g: what it runs
 * @thread: what runs it
 * @running: there is @thread
 * @lock: of all that follows
 * @told: signalled when something changed
 * @want_pause: it is to stand still
 * @want_end: and not to go on
 * @paused: it stands still
 * @over: the guest is done, or something is wrong
 * @halted: it waits for an interrupt
 * @goal: tell when so many requests came back
 * @wake: eventfd by which it learns of @want_pause while it is halted
 */
struct vcpu {
	struct guest *g;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t told;
	bool want_pause, want_end;
	bool paused, over, halted;
	uint64_t goal;
	int wake;
};

/* 0, or -1 and why(). @halted: it waits for an interrupt. */
int vcpu_start(struct vcpu *c, struct guest *g, bool halted);

/* When it returns the driver does nothing, and all of its state is in the guest's memory. */
void vcpu_pause(struct vcpu *c);
void vcpu_go_on(struct vcpu *c);
void vcpu_end(struct vcpu *c);

/*
 * Until @goal requests came back in all, or the guest is over: 0.  -1 and why() when the guest
 * found something wrong; 1 when nothing at all came back for @quiet_ms.
 */
int vcpu_wait(struct vcpu *c, uint64_t goal, unsigned int quiet_ms);

#endif
