// SPDX-License-Identifier: GPL-2.0
/* Asking a keeper over its socket. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "keeper.h"
#include "message.h"

int vsup_connect(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (snprintf(a.sun_path, sizeof(a.sun_path), "%s", path ? path : VSUP_SOCKET) >=
	    (int)sizeof(a.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (void *)&a, sizeof(a))) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd;
}

/* 0 with the answer in @in, to be freed; else a negative errno and @why. */
static int ask(int sock, const char *request, const char *device, const struct vsup_piece *piece,
	       struct message *in, char why[VSUP_SENTENCE_LEN])
{
	struct message out = { .body = json_object_new_object() };
	const char *error;
	int ret;

	json_object_object_add(out.body, "request", json_object_new_string(request));
	json_object_object_add(out.body, "device", json_object_new_string(device));
	if (piece) {
		json_object_object_add(out.body, "label", json_object_new_string(piece->label));
		out.fd[out.nr_fds++] = piece->fd;
	}
	ret = message_send(sock, &out, 0);
	json_object_put(out.body);
	ret = ret ?: message_receive(sock, in, MAX_REPLY, 0);
	if (ret <= 0) {
		ret = ret ?: -ECONNRESET;
		snprintf(why, VSUP_SENTENCE_LEN, "the supervisor does not answer: %s",
			 strerror(-ret));
		return ret;
	}
	if (json_object_get_boolean(json_object_object_get(in->body, "ok")))
		return 0;
	error = message_text(in, "error");
	snprintf(why, VSUP_SENTENCE_LEN, "%s", error ? error : "no reason given");
	ret = -(int)message_uint(in->body, "errno") ?: -EPROTO;
	message_free(in);
	return ret;
}

/* The first descriptor is the region's. */
static int get_region(struct message *in, struct vhost_inflight_fd *arg)
{
	struct json_object *o = json_object_object_get(in->body, "region");

	if (!in->nr_fds)
		return -EPROTO;
	*arg = (struct vhost_inflight_fd){
		.size = sizeof(*arg),
		.fd = in->fd[0],
		.mmap_size = message_uint(o, "mmap_size"),
		.mmap_offset = message_uint(o, "mmap_offset"),
		.num_queues = message_uint(o, "num_queues"),
		.queue_size = message_uint(o, "queue_size"),
	};
	in->fd[0] = -1;
	return 0;
}

int vsup_ask_keep(int sock, const char *device, const struct vsup_piece *piece,
		  char why[VSUP_SENTENCE_LEN])
{
	struct message in;
	int ret = ask(sock, "keep", device, piece, &in, why);

	if (ret)
		return ret;
	ret = json_object_get_boolean(json_object_object_get(in.body, "survives"));
	message_free(&in);
	return ret;
}

int vsup_ask_region(int sock, const char *device, struct vhost_inflight_fd *region,
		    char why[VSUP_SENTENCE_LEN])
{
	struct message in;
	int ret = ask(sock, "region", device, NULL, &in, why);

	if (ret)
		return ret;
	ret = get_region(&in, region);
	message_free(&in);
	return ret;
}

int vsup_ask_take(int sock, const char *device, struct vsup_estate *e, char why[VSUP_SENTENCE_LEN])
{
	struct json_object *queues, *memory;
	struct message in;
	int ret = ask(sock, "take", device, NULL, &in, why);

	if (ret)
		return ret;
	memset(e, 0, sizeof(*e));
	queues = json_object_object_get(in.body, "queues");
	memory = json_object_object_get(in.body, "memory");
	if (!json_object_is_type(queues, json_type_array) ||
	    !json_object_is_type(memory, json_type_array) ||
	    json_object_array_length(queues) > VSUP_MAX_QUEUES ||
	    json_object_array_length(memory) + 1 != in.nr_fds || get_region(&in, &e->region)) {
		snprintf(why, VSUP_SENTENCE_LEN, "the supervisor's answer makes no sense");
		message_free(&in);
		return -EPROTO;
	}
	e->features = message_uint(in.body, "features");
	e->region.features = e->features;
	e->nr_queues = json_object_array_length(queues);
	for (unsigned int i = 0; i < e->nr_queues; i++) {
		struct json_object *q = json_object_array_get_idx(queues, i);

		e->queue[i].num = message_uint(q, "num");
		e->queue[i].used = message_uint(q, "used");
		e->queue[i].in_flight = message_uint(q, "in_flight");
	}
	e->nr_pieces = json_object_array_length(memory);
	for (unsigned int i = 0; i < e->nr_pieces; i++) {
		struct json_object *label = json_object_array_get_idx(memory, i);

		snprintf(e->piece[i].label, VSUP_LABEL_LEN, "%s", json_object_get_string(label));
		e->piece[i].fd = in.fd[i + 1];
		in.fd[i + 1] = -1;
	}
	message_free(&in);
	return 0;
}

int vsup_ask_forget(int sock, const char *device, char why[VSUP_SENTENCE_LEN])
{
	struct message in;
	int ret = ask(sock, "forget", device, NULL, &in, why);

	if (!ret)
		message_free(&in);
	return ret;
}
