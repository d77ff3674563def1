// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "message.h"

#define MAX_DEPTH	5

union control {
	char buf[CMSG_SPACE(sizeof(int) * MESSAGE_FDS)];
	struct cmsghdr align;
};

int message_send(int sock, const struct message *m, int flags)
{
	const char *text = json_object_to_json_string_ext(m->body, JSON_C_TO_STRING_NOSLASHESCAPE);
	struct iovec iov = { (void *)text, strlen(text) };
	union control control = {};
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (m->nr_fds) {
		h.msg_control = &control;
		h.msg_controllen = CMSG_SPACE(sizeof(int) * m->nr_fds);
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * m->nr_fds);
		memcpy(CMSG_DATA(c), m->fd, sizeof(int) * m->nr_fds);
	}
	return sendmsg(sock, &h, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static struct json_object *parse(const char *text, size_t len)
{
	struct json_tokener *t = json_tokener_new_ex(MAX_DEPTH);
	struct json_object *o;

	if (!t)
		return NULL;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	o = json_tokener_parse_ex(t, text, len);
	/* There is to be nothing else, and a NUL would hide what is behind it. */
	if (o && (json_tokener_get_parse_end(t) != len ||
		  !json_object_is_type(o, json_type_object))) {
		json_object_put(o);
		o = NULL;
	}
	json_tokener_free(t);
	return o;
}

static void receive_fds(struct msghdr *h, struct message *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		m->nr_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(m->fd, CMSG_DATA(c), sizeof(int) * m->nr_fds);
	}
}

int message_receive(int sock, struct message *m, size_t max, int flags)
{
	char *text = malloc(max);
	struct iovec iov = { text, max };
	union control control;
	struct msghdr h = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = CMSG_LEN(sizeof(int) * MESSAGE_FDS),
	};
	ssize_t n;
	int ret = 1;

	memset(m, 0, sizeof(*m));
	if (!text)
		return -ENOMEM;
	n = recvmsg(sock, &h, flags | MSG_CMSG_CLOEXEC);
	if (n < 0) {
		ret = -errno;
		goto out;
	}
	receive_fds(&h, m);
	if (!n) {
		/* The end, or a packet of nothing, which may have had descriptors all the same. */
		message_free(m);
		ret = 0;
		goto out;
	}
	if (h.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		ret = -EMSGSIZE;
		goto out;
	}
	m->body = parse(text, n);
	if (!m->body)
		ret = -EBADMSG;
out:
	free(text);
	if (ret < 0)
		message_free(m);
	return ret;
}

void message_free(struct message *m)
{
	for (unsigned int i = 0; i < m->nr_fds; i++)
		if (m->fd[i] >= 0)
			close(m->fd[i]);
	json_object_put(m->body);
	memset(m, 0, sizeof(*m));
}

const char *message_text(const struct message *m, const char *key)
{
	struct json_object *o;

	if (!json_object_object_get_ex(m->body, key, &o) ||
	    !json_object_is_type(o, json_type_string) ||
	    strlen(json_object_get_string(o)) != (size_t)json_object_get_string_len(o))
		return NULL;
	return json_object_get_string(o);
}

uint64_t message_uint(struct json_object *o, const char *key)
{
	struct json_object *m;

	if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &m) ||
	    !json_object_is_type(m, json_type_int))
		return 0;
	return json_object_get_uint64(m);
}
