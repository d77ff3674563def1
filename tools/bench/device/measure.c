// SPDX-License-Identifier: GPL-2.0
/* Clocks, latencies, and whose processor time it was. */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "vbench.h"

#define TICK_US		20000

struct result res;
bool tick;

/* @counts: past the warm-up. */
static struct {
	bool counts;
	uint64_t begin_ns, begin_ticks, end_ns, alive_ns, alive_done;
	uint64_t client_ns, device_ns, switches;
	double ns_per_tick;
} run;

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

bool rest(uint64_t begin)
{
	const struct timespec moment = { .tv_nsec = 1000000 };

	nanosleep(&moment, NULL);
	return now_ns() - begin <= PATIENCE_NS;
}

/* ---- latencies ---- */

static uint64_t bucket_value(unsigned int b)
{
	unsigned int shift;

	if (b < HIST_SUB)
		return b;
	shift = b / HIST_SUB - 1;
	/* Its middle. */
	return ((uint64_t)(HIST_SUB + b % HIST_SUB) << shift) + ((1ULL << shift) >> 1);
}

double hist_quantile(uint64_t ppm)
{
	uint64_t total = 0, sum = 0;

	for (unsigned int b = 0; b < HIST_BUCKETS; b++)
		total += res.hist[b];
	for (unsigned int b = 0; b < HIST_BUCKETS; b++) {
		sum += res.hist[b];
		if (sum && sum * 1000000.0 >= (double)total * ppm)
			return bucket_value(b) * run.ns_per_tick;
	}
	return 0;
}

double hist_mean(void)
{
	double total = 0, sum = 0;

	for (unsigned int b = 0; b < HIST_BUCKETS; b++) {
		total += res.hist[b];
		sum += res.hist[b] * (double)bucket_value(b);
	}
	return total ? sum / total * run.ns_per_tick : 0;
}

/* ---- processor time ---- */

static bool read_line(const char *path, char *buf, size_t size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(buf, size, f);

	if (f)
		fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = 0;
	return ok;
}

/* Nanoseconds on a processor. */
static uint64_t thread_ns(const char *task)
{
	char path[320], line[128];

	snprintf(path, sizeof(path), "%s/schedstat", task);
	return read_line(path, line, sizeof(line)) ? strtoull(line, NULL, 10) : 0;
}

/* How often it left a processor: to sleep, or also for others. */
static uint64_t thread_left(const char *task, bool others)
{
	static const char key[] = "voluntary_ctxt_switches:", all[] = "nonvoluntary_ctxt_switches:";
	char path[320], line[128];
	uint64_t n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/status", task);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, sizeof(key) - 1))
			n += strtoull(line + sizeof(key) - 1, NULL, 10);
		else if (others && !strncmp(line, all, sizeof(all) - 1))
			n += strtoull(line + sizeof(all) - 1, NULL, 10);
	if (f)
		fclose(f);
	return n;
}

static uint64_t thread_sleeps(const char *task)
{
	return thread_left(task, false);
}

static uint64_t thread_switches(const char *task)
{
	return thread_left(task, true);
}

/* The processors of the thread that drives, and which is the first of them. */
static int first_cpu(cpu_set_t *set)
{
	int cpu = 0;

	if (sched_getaffinity(getpid(), sizeof(*set), set))
		die("no processors: %s", strerror(errno));
	while (!CPU_ISSET(cpu, set))
		cpu++;
	return cpu;
}

static uint64_t thread_elsewhere(const char *task)
{
	cpu_set_t set;

	CPU_CLR(first_cpu(&set), &set);
	if (sched_setaffinity(atol(strrchr(task, '/') + 1), sizeof(set), &set))
		die("a thread of the device can't be put elsewhere: %s", strerror(errno));
	return 1;
}

/* Of a thread, by its folder in /proc. */
typedef uint64_t figure_fn(const char *task);

/* The sum over all threads of a process but @but; with @comm only of those whose name begins so. */
static uint64_t threads(const char *pid, const char *comm, long but, figure_fn *figure)
{
	char path[300], name[320], line[128];
	struct dirent *e;
	uint64_t sum = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || atol(e->d_name) == but)
			continue;
		snprintf(path, sizeof(path), "/proc/%s/task/%s", pid, e->d_name);
		snprintf(name, sizeof(name), "%s/comm", path);
		if (!comm || (read_line(name, line, sizeof(line)) &&
			      !strncmp(line, comm, strlen(comm))))
			sum += figure(path);
	}
	closedir(dir);
	return sum;
}

static uint64_t named(const char *comm, figure_fn *figure)
{
	struct dirent *e;
	uint64_t sum = 0;
	DIR *dir = opendir("/proc");

	if (!dir)
		return 0;
	while ((e = readdir(dir)))
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
			sum += threads(e->d_name, comm, 0, figure);
	closedir(dir);
	return sum;
}

/* Our other threads are the device's: a worker in the kernel is a thread of its owner. */
static uint64_t device(figure_fn *figure)
{
	uint64_t sum = threads("self", NULL, syscall(SYS_gettid), figure);

	for (unsigned int i = 0; i < opt.nr_cpu; i++) {
		const char *who = opt.cpu[i];
		bool is_name = who[strspn(who, "0123456789")];

		sum += is_name ? named(who, figure) : threads(who, NULL, 0, figure);
	}
	return sum;
}

static uint64_t client_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

void measure_apart(void)
{
	cpu_set_t set;
	int cpu;

	if (!device(thread_elsewhere))
		die("the device has no threads that could be put elsewhere");
	cpu = first_cpu(&set);
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("no processor for the client alone: %s", strerror(errno));
}

/* ---- a run ---- */

static void on_tick(int sig)
{
	(void)sig;
	__atomic_store_n(&tick, true, __ATOMIC_RELAXED);
}

static void counts_from_now(void)
{
	memset(&res, 0, sizeof(res));
	for (unsigned int i = 0; i < nr_targets; i++)
		for (unsigned int j = 0; target[i].queue && j < opt.queues; j++)
			target[i].queue[j].kicks = 0;
	run.counts = true;
	run.switches = device(thread_switches);
	run.device_ns = device(thread_ns);
	run.client_ns = client_ns();
	run.begin_ticks = ticks();
	run.begin_ns = now_ns();
	run.end_ns = run.begin_ns + opt.time * 1e9;
}

void measure_begin(void)
{
	struct itimerval timer = { { 0, TICK_US }, { 0, TICK_US } };
	/* A tick ends a wait. */
	struct sigaction action = { .sa_handler = on_tick };

	if (sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &timer, NULL))
		die("no timer");
	run.alive_ns = now_ns();
	run.end_ns = run.alive_ns + opt.warmup * 1e9;
	if (opt.warmup == 0)
		counts_from_now();
}

static void measure_end(uint64_t now)
{
	uint64_t t = ticks();

	res.ns = now - run.begin_ns;
	res.client_ns = client_ns() - run.client_ns;
	res.device_ns = device(thread_ns) - run.device_ns;
	res.switches = device(thread_switches) - run.switches;
	run.ns_per_tick = (double)res.ns / (t - run.begin_ticks);
	for (unsigned int i = 0; i < nr_targets; i++)
		for (unsigned int j = 0; target[i].queue && j < opt.queues; j++)
			res.kicks += target[i].queue[j].kicks;
}

bool measure_tick(uint64_t done)
{
	uint64_t now = now_ns();

	__atomic_store_n(&tick, false, __ATOMIC_RELAXED);
	if (done != run.alive_done) {
		run.alive_done = done;
		run.alive_ns = now;
	} else if (now - run.alive_ns > PATIENCE_NS) {
		die("nothing has come back for %llu s", PATIENCE_NS / 1000000000);
	}
	if (!run.counts) {
		if (now >= run.end_ns)
			counts_from_now();
		return false;
	}
	if (opt.requests ? res.requests < opt.requests : now < run.end_ns)
		return false;
	measure_end(now);
	return true;
}

/* No more ticks, which interrupt system calls. */
void measure_over(void)
{
	struct itimerval off = { 0 };

	setitimer(ITIMER_REAL, &off, NULL);
}

void measure_idle(void)
{
	struct timespec idle = {
		.tv_sec = opt.idle, .tv_nsec = (opt.idle - (time_t)opt.idle) * 1e9,
	};

	res.idle_sleeps = device(thread_sleeps);
	res.idle_ns = device(thread_ns);
	nanosleep(&idle, NULL);
	res.idle_ns = device(thread_ns) - res.idle_ns;
	res.idle_sleeps = device(thread_sleeps) - res.idle_sleeps;
}

void measure_alive(void)
{
	if (ticked()) {
		__atomic_store_n(&tick, false, __ATOMIC_RELAXED);
		if (now_ns() - run.alive_ns > PATIENCE_NS)
			die("what is out at the end does not come back");
	}
}
