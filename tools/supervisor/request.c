// SPDX-License-Identifier: GPL-2.0
/*
 * The socket: a packet is a request, a packet is its answer.
 *
 *	{ "request": "keep", "device": "disk0", "label": "ram" } and a descriptor
 *	{ "ok": true, "survives": true }  or  { "ok": false, "errno": 16, "error": "a sentence" }
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper.h"
#include "message.h"

/**
 * struct request - what a handler works on
 * @pid: who asks
 * @device: name of the device
 * @in: the packet
 * @out: the answer, an object with nothing in it
 * @ours: the descriptors in it are for it alone, else the keeper's
 * @why: a sentence for when it fails
 */
struct request {
	pid_t pid;
	const char *device;
	const struct message *in;
	struct message *out;
	bool ours;
	char why[VSUP_SENTENCE_LEN];
};

/* A row per request. */
struct request_def {
	const char *name;
	bool device;		/* names one */
	unsigned int fds;	/* that come with it */
	int (*fn)(struct vsup *s, struct request *r);
};

static void put(struct json_object *o, const char *key, uint64_t val)
{
	json_object_object_add(o, key, json_object_new_uint64(val));
}

static void put_region(struct message *m, const struct vhost_inflight_fd *arg)
{
	struct json_object *o = json_object_new_object();

	put(o, "mmap_size", arg->mmap_size);
	put(o, "mmap_offset", arg->mmap_offset);
	put(o, "num_queues", arg->num_queues);
	put(o, "queue_size", arg->queue_size);
	json_object_object_add(m->body, "region", o);
	m->fd[m->nr_fds++] = arg->fd;
}

static struct json_object *queue_json(const struct vsup_queue *q)
{
	struct json_object *o = json_object_new_object();

	put(o, "num", q->num);
	put(o, "used", q->used);
	put(o, "in_flight", q->in_flight);
	return o;
}

static int do_keep(struct vsup *s, struct request *r)
{
	const char *label = message_text(r->in, "label");
	struct vsup_piece piece = { .fd = r->in->fd[0] };
	int ret;

	/* One that is too long stays so, and is refused. */
	snprintf(piece.label, sizeof(piece.label), "%s",
		 label && strlen(label) < VSUP_LABEL_LEN ? label : "");
	ret = vsup_deposit(s, r->device, r->pid, &piece, r->why);
	if (ret >= 0)
		json_object_object_add(r->out->body, "survives", json_object_new_boolean(ret));
	return ret < 0 ? ret : 0;
}

static int do_region(struct vsup *s, struct request *r)
{
	struct vhost_inflight_fd arg;
	int ret = vsup_region(s, r->device, r->pid, &arg, r->why);

	if (ret)
		return ret;
	put_region(r->out, &arg);
	r->ours = true;
	return 0;
}

static int do_take(struct vsup *s, struct request *r)
{
	struct json_object *queues, *memory;
	struct vsup_estate e;
	int ret = vsup_take(s, r->device, r->pid, &e, r->why);

	if (ret)
		return ret;
	put_region(r->out, &e.region);
	put(r->out->body, "features", e.features);
	queues = json_object_new_array();
	for (unsigned int i = 0; i < e.nr_queues; i++)
		json_object_array_add(queues, queue_json(&e.queue[i]));
	json_object_object_add(r->out->body, "queues", queues);
	memory = json_object_new_array();
	for (unsigned int i = 0; i < e.nr_pieces; i++) {
		json_object_array_add(memory, json_object_new_string(e.piece[i].label));
		r->out->fd[r->out->nr_fds++] = e.piece[i].fd;
	}
	json_object_object_add(r->out->body, "memory", memory);
	return 0;
}

static struct json_object *device_json(const struct device *d)
{
	struct json_object *o = json_object_new_object(), *memory = json_object_new_array();
	struct vsup_queue queue[VSUP_MAX_QUEUES] = {};
	unsigned int in_flight = 0;

	if (d->region.fd >= 0)
		region_read(&d->arg, queue);
	for (unsigned int i = 0; i < VSUP_MAX_QUEUES; i++)
		in_flight += queue[i].in_flight;
	for (unsigned int i = 0; i < VSUP_MAX_PIECES; i++)
		if (d->piece[i].shm.fd >= 0)
			json_object_array_add(memory, json_object_new_string(d->piece[i].label));
	json_object_object_add(o, "device", json_object_new_string(d->name));
	put(o, "owner_pid", d->owned ? d->owner.pid : 0);
	json_object_object_add(o, "running", json_object_new_boolean(d->running));
	json_object_object_add(o, "region", json_object_new_boolean(d->region.fd >= 0));
	put(o, "in_flight", in_flight);
	json_object_object_add(o, "memory", memory);
	return o;
}

/* As many as fit; those behind them are asked for with the name of the last one. */
static int do_list(struct vsup *s, struct request *r)
{
	struct json_object *list = json_object_new_array();
	const char *after = message_text(r->in, "after");
	const struct device *d = device_next(s, after ? after : "");

	for (unsigned int i = 0; i < MAX_LIST && d; i++, d = device_next(s, d->name))
		json_object_array_add(list, device_json(d));
	json_object_object_add(r->out->body, "devices", list);
	json_object_object_add(r->out->body, "more", json_object_new_boolean(!!d));
	return 0;
}

static int do_forget(struct vsup *s, struct request *r)
{
	return vsup_forget(s, r->device, r->pid, r->why);
}

static const struct request_def requests[] = {
	{ "keep",	true,	1, do_keep },
	{ "region",	true,	0, do_region },
	{ "take",	true,	0, do_take },
	{ "list",	false,	0, do_list },
	{ "forget",	true,	0, do_forget },
};

#define NR_REQUESTS	(sizeof(requests) / sizeof(*requests))

static int dispatch(struct vsup *s, struct request *r)
{
	const char *name = message_text(r->in, "request");
	const struct request_def *def = NULL;

	for (size_t i = 0; name && i < NR_REQUESTS; i++)
		if (!strcmp(requests[i].name, name))
			def = &requests[i];
	if (!def) {
		snprintf(r->why, sizeof(r->why),
			 "\"request\" is one of keep, region, take, list, forget");
		return -EINVAL;
	}
	r->device = message_text(r->in, "device");
	if (def->device && (!r->device || !name_ok(r->device))) {
		snprintf(r->why, sizeof(r->why), "%s needs the name of a \"device\"", def->name);
		return -EINVAL;
	}
	if (r->in->nr_fds != def->fds) {
		snprintf(r->why, sizeof(r->why), "%s comes with %u descriptors, not %u", def->name,
			 def->fds, r->in->nr_fds);
		return -EINVAL;
	}
	return def->fn(s, r);
}

static int answer(struct vsup *s, struct client *c, const struct message *in, int ret)
{
	struct message out = { .body = json_object_new_object() };
	struct request r = { .pid = c->pid, .in = in, .out = &out };

	if (!ret)
		ret = dispatch(s, &r);
	else
		snprintf(r.why, sizeof(r.why),
			 "a request is one JSON object of at most %u bytes, with %u descriptors at most",
			 MAX_REQUEST, MESSAGE_FDS);
	json_object_object_add(out.body, "ok", json_object_new_boolean(!ret));
	if (ret) {
		json_object_object_add(out.body, "errno", json_object_new_int(-ret));
		json_object_object_add(out.body, "error", json_object_new_string(r.why));
	}
	ret = message_send(c->src.fd, &out, MSG_DONTWAIT);
	if (!r.ours)
		out.nr_fds = 0;
	message_free(&out);
	return ret;
}

/* ---- connections ---- */

void client_free(struct vsup *s, struct client *c)
{
	struct client **p = &s->clients;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	s->nr_clients--;
	source_del(&c->src);
	free(c);
}

static void client_work(struct vsup *s, struct source *src)
{
	struct client *c = (struct client *)src;
	struct message in;
	int ret = message_receive(src->fd, &in, MAX_REQUEST, MSG_DONTWAIT);

	if (ret == -EAGAIN || ret == -EINTR)
		return;
	if (ret > 0 || ret == -EMSGSIZE || ret == -EBADMSG)
		ret = answer(s, c, &in, ret < 0 ? ret : 0) ?: 1;
	message_free(&in);
	/* At its end; also one that does not fetch what it asked for. */
	if (ret <= 0)
		client_free(s, c);
}

/* Root and whoever runs the keeper: these could take everything from it anyway. */
static bool trusted(int fd, pid_t *pid)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len))
		return false;
	*pid = who.pid;
	return !who.uid || who.uid == geteuid();
}

static void accept_work(struct vsup *s, struct source *src)
{
	int fd = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;
	pid_t pid;

	if (fd < 0)
		return;
	c = s->nr_clients < MAX_CLIENTS && trusted(fd, &pid) ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		close(fd);
		return;
	}
	c->src = (struct source){ client_work, -1 };
	c->pid = pid;
	if (source_add(s, &c->src, fd)) {
		free(c);
		return;
	}
	c->next = s->clients;
	s->clients = c;
	s->nr_clients++;
}

/* The directory is locked: a socket that is there is a dead one's. */
int request_listen(struct vsup *s)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd, n, ret;
	mode_t mask;

	n = snprintf(a.sun_path, sizeof(a.sun_path), "%s/socket", s->run_dir);
	if (n >= (int)sizeof(a.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	unlink(a.sun_path);
	mask = umask(0077);
	ret = bind(fd, (void *)&a, sizeof(a)) || listen(fd, MAX_CLIENTS) ? -errno : 0;
	umask(mask);
	if (ret) {
		close(fd);
		return ret;
	}
	s->listener.fn = accept_work;
	return source_add(s, &s->listener, fd);
}
