// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl events */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cfs.h"
#include "cli.h"
#include "node.h"
#include "say.h"
#include "tables.h"

const struct opt events_opts[] = {
	{ "follow", OPT_FLAG, NULL, "go on with those to come" },
	{ }
};

#define NSEC_PER_SEC	1000000000ULL
#define EVENT_NAME_LEN	24
#define EVENT_TIME_LEN	40

static __u64 now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* When it was by the wall clock as it is set now, to the millisecond. */
static const char *event_time(char buf[EVENT_TIME_LEN], __u64 boot_ns, bool utc)
{
	__u64 ns = now(CLOCK_REALTIME) - now(CLOCK_BOOTTIME) + boot_ns;
	time_t sec = ns / NSEC_PER_SEC;
	struct tm tm;
	size_t n;

	if (utc)
		gmtime_r(&sec, &tm);
	else
		localtime_r(&sec, &tm);
	n = strftime(buf, EVENT_TIME_LEN, utc ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(buf + n, EVENT_TIME_LEN - n, ".%03u%s",
		 (unsigned int)(ns % NSEC_PER_SEC / 1000000), utc ? "Z" : "");
	return buf;
}

static const char *event_name(char buf[EVENT_NAME_LEN], __u32 type)
{
	const char *name = event_kind(type)->name;

	if (name)
		return name;
	snprintf(buf, EVENT_NAME_LEN, "event-%u", type);
	return buf;
}

/* ---- text ---- */

static int print_text(const struct vhost_inflight_event *ev)
{
	const struct event_kind *kind = event_kind(ev->type);
	char name[EVENT_NAME_LEN], when[EVENT_TIME_LEN];

	if (ev->lost)
		printf("%-23s  %-8s  %llu event%s before the next one\n", "", "lost", ev->lost,
		       ev->lost == 1 ? "" : "s");
	printf("%s  %-8s", event_time(when, ev->time_ns, false), event_name(name, ev->type));
	if (kind->has_queue)
		printf("  queue %u", ev->index);
	if (kind->has_request)
		printf("  %s  sector %llu  %llu bytes", request_type_name(ev->request_type),
		       ev->sector, ev->length);
	if (ev->error)
		printf("  %s", strerror(abs(ev->error)));
	printf("  %u parked\n", ev->parked);
	return say_flush(BLKCTL_OK);
}

/* ---- JSON ---- */

static int print_json(const char *device, const struct vhost_inflight_event *ev)
{
	const struct event_kind *kind = event_kind(ev->type);
	char name[EVENT_NAME_LEN], when[EVENT_TIME_LEN];
	struct json_object *obj = json_object_new_object(), *type = NULL;
	const struct { const char *key; __u64 val; bool known; } nums[] = {
		{ "seq",	ev->seq,		true },
		{ "lost",	ev->lost,		true },
		{ "time_ns",	ev->time_ns,		true },
		{ "event",	ev->type,		true },
		{ "queue",	ev->index,		kind->has_queue },
		{ "id",		ev->id,			kind->has_request },
		{ "counter",	ev->counter,		kind->has_request },
		{ "type",	ev->request_type,	kind->has_request },
		{ "sector",	ev->sector,		kind->has_request },
		{ "length",	ev->length,		kind->has_request },
		{ "error",	abs(ev->error),		true },
		{ "parked",	ev->parked,		true },
	};

	json_object_object_add(obj, "name", json_object_new_string(device));
	json_object_object_add(obj, "time",
			       json_object_new_string(event_time(when, ev->time_ns, true)));
	json_object_object_add(obj, "event_name",
			       json_object_new_string(event_name(name, ev->type)));
	for (size_t i = 0; i < sizeof(nums) / sizeof(*nums); i++)
		json_object_object_add(obj, nums[i].key,
				       nums[i].known ? json_object_new_uint64(nums[i].val) : NULL);
	if (kind->has_request)
		type = json_object_new_string(request_type_name(ev->request_type));
	json_object_object_add(obj, "type_name", type);
	return say_json_line(obj);
}

/* ---- both ---- */

/* Those that there are. */
static int print_events(const struct args *args, int fd)
{
	struct vhost_inflight_event ev;
	int ret;

	while (!(ret = node_next_event(fd, &ev))) {
		ret = args->json ? print_json(args->name, &ev) : print_text(&ev);
		if (ret)
			return ret;
	}
	return ret == -EAGAIN ? BLKCTL_OK : node_say(args->name, ret);
}

/* Until the device is gone, or nobody reads any more what is printed. */
static int follow(const struct args *args, int fd)
{
	struct pollfd fds[] = { { fd, POLLIN }, { STDOUT_FILENO } };
	int ret;

	while (!fds[1].revents) {
		ret = print_events(args, fd);
		if (ret)
			return ret;
		if (fds[0].revents & (POLLERR | POLLHUP))
			return node_say(args->name, -ENODEV);
		if (poll(fds, sizeof(fds) / sizeof(*fds), -1) >= 0)
			continue;
		if (errno != EINTR)
			return node_say(args->name, -errno);
		fds[0].revents = 0;
		fds[1].revents = 0;
	}
	return BLKCTL_OK;
}

/* A line is out as soon as it is printed: there is nothing to be done but to go. */
static void leave(int sig)
{
	(void)sig;
	_exit(BLKCTL_OK);
}

int cmd_events(const struct args *args)
{
	bool on = cli_get(args, "follow");
	int ret = cfs_need_enabled(args->name), fd;

	if (ret)
		return ret;
	if (on) {
		signal(SIGINT, leave);
		signal(SIGTERM, leave);
		/* Nobody reads any more, which with events to print is not seen by poll(). */
		signal(SIGPIPE, leave);
	}
	fd = node_open(args->name);
	if (fd < 0)
		return node_say(args->name, fd);
	ret = on ? follow(args, fd) : print_events(args, fd);
	close(fd);
	return ret;
}
