/* SPDX-License-Identifier: GPL-2.0 */
/* Both ends of the socket: a JSON object and descriptors in each packet. */
#ifndef VSUP_MESSAGE_H
#define VSUP_MESSAGE_H

#include <stddef.h>
#include <json-c/json.h>

#include "vsup.h"

#define MESSAGE_FDS	(1 + VSUP_MAX_PIECES)

/**
 * struct message - one packet
 * @body: the object, owned
 * @nr_fds: entries of @fd
 * @fd: descriptors; of a message that was received they are owned
 */
struct message {
	struct json_object *body;
	unsigned int nr_fds;
	int fd[MESSAGE_FDS];
};

/* 0 or -errno; @fd stay the caller's */
int message_send(int sock, const struct message *m, int flags);
/* 1, 0 at the end of the connection, or -errno: -EMSGSIZE beyond @max bytes, -EBADMSG no object */
int message_receive(int sock, struct message *m, size_t max, int flags);
void message_free(struct message *m);	/* @fd that are -1 are somebody else's by now */

/* Members; one that is missing, or is something else, is NULL or 0. */
const char *message_text(const struct message *m, const char *key);
uint64_t message_uint(struct json_object *o, const char *key);

#endif
