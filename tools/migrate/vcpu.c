// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "ring.h"
#include "vcpu.h"

static bool drain(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

/* Halted: until there is an interrupt, or somebody wants something. */
static void halt(struct vcpu *c)
{
	unsigned int nr = c->g->mem->queues;
	struct pollfd fds[MAX_QUEUES + 1];

	for (unsigned int i = 0; i < nr; i++)
		fds[i] = (struct pollfd){ .fd = c->g->call[i], .events = POLLIN };
	fds[nr] = (struct pollfd){ .fd = c->wake, .events = POLLIN };
	if (poll(fds, nr + 1, -1) < 0)
		return;
	if (fds[nr].revents)
		drain(c->wake);
	for (unsigned int i = 0; i < nr; i++) {
		if (!fds[i].revents || !drain(c->g->call[i]))
			continue;
		c->halted = false;
		c->g->mem->count.interrupts++;
		guest_wrote(c->g, c->g->mem, sizeof(*c->g->mem));
	}
}

/* Whether to go on. */
static bool look(struct vcpu *c)
{
	bool end;

	pthread_mutex_lock(&c->lock);
	while (c->want_pause && !c->want_end) {
		c->paused = true;
		pthread_cond_broadcast(&c->told);
		pthread_cond_wait(&c->told, &c->lock);
	}
	c->paused = false;
	end = c->want_end;
	if (c->over || __atomic_load_n(&c->g->done, __ATOMIC_RELAXED) >= c->goal) {
		__atomic_store_n(&c->goal, UINT64_MAX, __ATOMIC_RELAXED);
		pthread_cond_broadcast(&c->told);
	}
	pthread_mutex_unlock(&c->lock);
	return !end;
}

static bool noticed(struct vcpu *c)
{
	return __atomic_load_n(&c->want_pause, __ATOMIC_ACQUIRE) ||
	       __atomic_load_n(&c->want_end, __ATOMIC_RELAXED) ||
	       c->g->done >= __atomic_load_n(&c->goal, __ATOMIC_RELAXED);
}

static void *run(void *arg)
{
	struct vcpu *c = arg;
	enum guest_step did = GUEST_BUSY;

	while (!noticed(c) || look(c)) {
		if (c->halted || c->over) {
			halt(c);
			continue;
		}
		did = guest_step(c->g);
		c->halted = did == GUEST_IDLE;
		if (did == GUEST_DONE || did == GUEST_WRONG) {
			pthread_mutex_lock(&c->lock);
			c->over = true;
			pthread_cond_broadcast(&c->told);
			pthread_mutex_unlock(&c->lock);
		}
	}
	return NULL;
}

int vcpu_start(struct vcpu *c, struct guest *g, bool halted)
{
	pthread_condattr_t attr;
	int ret;

	*c = (struct vcpu){
		.g = g, .halted = halted, .goal = UINT64_MAX,
		.wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
	};
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->told, &attr);
	pthread_condattr_destroy(&attr);
	ret = c->wake < 0 ? errno : pthread_create(&c->thread, NULL, run, c);
	if (ret)
		return failed("no thread for the guest: %s", strerror(ret));
	c->running = true;
	return 0;
}

/* With the lock held: a halted one looks, too. */
static void poke(struct vcpu *c)
{
	uint64_t one = 1;

	if (write(c->wake, &one, sizeof(one)) != sizeof(one))
		say("the guest's processor can't be woken: %s", strerror(errno));
	pthread_cond_broadcast(&c->told);
}

void vcpu_pause(struct vcpu *c)
{
	pthread_mutex_lock(&c->lock);
	__atomic_store_n(&c->want_pause, true, __ATOMIC_RELEASE);
	poke(c);
	while (!c->paused)
		pthread_cond_wait(&c->told, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

void vcpu_go_on(struct vcpu *c)
{
	pthread_mutex_lock(&c->lock);
	__atomic_store_n(&c->want_pause, false, __ATOMIC_RELEASE);
	poke(c);
	pthread_mutex_unlock(&c->lock);
}

void vcpu_end(struct vcpu *c)
{
	if (!c->running)
		return;
	pthread_mutex_lock(&c->lock);
	__atomic_store_n(&c->want_end, true, __ATOMIC_RELEASE);
	poke(c);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	close(c->wake);
	pthread_cond_destroy(&c->told);
	pthread_mutex_destroy(&c->lock);
	c->running = false;
}

static struct timespec in_ms(unsigned int ms)
{
	uint64_t at = now_ns() + ms * 1000000ULL;

	return (struct timespec){ .tv_sec = at / 1000000000, .tv_nsec = at % 1000000000 };
}

int vcpu_wait(struct vcpu *c, uint64_t goal, unsigned int quiet_ms)
{
	uint64_t seen = __atomic_load_n(&c->g->done, __ATOMIC_ACQUIRE), now;
	struct timespec end = in_ms(quiet_ms);
	int ret = 0;

	pthread_mutex_lock(&c->lock);
	__atomic_store_n(&c->goal, goal, __ATOMIC_RELAXED);
	poke(c);
	while (!c->over && (now = __atomic_load_n(&c->g->done, __ATOMIC_ACQUIRE)) < goal && !ret) {
		if (pthread_cond_timedwait(&c->told, &c->lock, &end) != ETIMEDOUT)
			continue;
		now = __atomic_load_n(&c->g->done, __ATOMIC_ACQUIRE);
		ret = now == seen;
		seen = now;
		end = in_ms(quiet_ms);
	}
	__atomic_store_n(&c->goal, UINT64_MAX, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&c->lock);
	return c->g->error[0] ? failed("%s", c->g->error) : ret;
}
