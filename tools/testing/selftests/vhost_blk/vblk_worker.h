/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What poll.c and policy.c share: the worker of a queue as the thread that it is.
 */
#ifndef VBLK_WORKER_H
#define VBLK_WORKER_H

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vblk_dev.h"

/* The thread that serves queue @nr of this process's only device, or -errno. */
static inline pid_t vd_worker(unsigned int nr)
{
	DIR *dir = opendir("/proc/self/task");
	char path[300], comm[32], want[32];
	pid_t found = -ESRCH;
	struct dirent *e;

	snprintf(want, sizeof(want), "vblk-%u-", nr);
	while (dir && (e = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		if (vd_read_file(path, comm, sizeof(comm)) > 0 && !strncmp(comm, want, strlen(want)))
			found = atoi(e->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* What a worker has used up. */
struct vd_used_up {
	unsigned long long ns;
	unsigned long switches, forced;
};

static inline int vd_used_up(pid_t worker, struct vd_used_up *u, char *state)
{
	/* the clock of a thread's processor time; see clock_getcpuclockid(3) */
	clockid_t clock = ~(clockid_t)worker << 3 | 6;
	char path[64], text[4096], *at;
	struct timespec t;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", worker);
	if (vd_read_file(path, text, sizeof(text)) <= 0 || clock_gettime(clock, &t))
		return -EIO;
	u->ns = t.tv_sec * 1000000000ULL + t.tv_nsec;
	at = strstr(text, "\nState:\t");
	*state = at ? at[8] : '?';
	at = strstr(text, "\nvoluntary_ctxt_switches:");
	if (!at || sscanf(at, "\nvoluntary_ctxt_switches: %lu", &u->switches) != 1)
		return -EIO;
	at = strstr(text, "\nnonvoluntary_ctxt_switches:");
	return at && sscanf(at, "\nnonvoluntary_ctxt_switches: %lu", &u->forced) == 1 ? 0 : -EIO;
}

static inline bool vd_used_same(const struct vd_used_up *a, const struct vd_used_up *b)
{
	return a->ns == b->ns && a->switches == b->switches && a->forced == b->forced;
}

/* It sleeps, and is not just about to. */
static inline int vd_until_asleep(pid_t worker, struct vd_used_up *u)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	struct vd_used_up was;
	char state;
	int ret;

	do {
		ret = vd_used_up(worker, &was, &state);
		poll(NULL, 0, 10);
		ret = ret ?: vd_used_up(worker, u, &state);
		if (ret)
			return ret;
		if (state == 'S' && vd_used_same(&was, u))
			return 0;
	} while (vd_now_ms() < end);
	return -ETIMEDOUT;
}

#endif
