// SPDX-License-Identifier: GPL-2.0
/* A vhost-user-blk back end behind a socket. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/virtio_config.h>

#include "vbench.h"

/* The numbers of the vhost-user protocol that are used here. */
enum {
	GET_FEATURES = 1, SET_FEATURES = 2, SET_OWNER = 3, SET_MEM_TABLE = 5, SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9, SET_VRING_BASE = 10, GET_VRING_BASE = 11, SET_VRING_KICK = 12,
	SET_VRING_CALL = 13, GET_PROTOCOL_FEATURES = 15, SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18, GET_CONFIG = 24, GET_INFLIGHT_FD = 31, SET_INFLIGHT_FD = 32,
};

#define F_PROTOCOL_FEATURES	30
#define PF_MQ			0
#define PF_CONFIG		9
#define PF_INFLIGHT		12
#define VERSION			0x1
#define REPLY			0x4
#define MAX_REGIONS		8

struct region {
	uint64_t guest, size, user, offset;
};

struct message {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		struct { uint32_t index, num; } state;
		struct { uint32_t index, flags; uint64_t desc, used, avail, log; } addr;
		struct { uint32_t nr, padding; struct region region[MAX_REGIONS]; } memory;
		struct { uint32_t offset, size, flags; uint8_t bytes[8]; } config;
		struct { uint64_t size, offset; uint16_t queues, queue_size; } inflight;
	} __packed u;
} __packed;

#define HEADER	12

/* All files are the same one: guest memory in pieces. */
static void tell(const struct target *t, struct message *m, uint32_t size, int fd,
		 unsigned int nr_fds)
{
	char control[CMSG_SPACE(MAX_REGIONS * sizeof(int))] = { 0 };
	struct iovec iov = { m, HEADER + size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	m->flags = VERSION;
	m->size = size;
	if (nr_fds) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nr_fds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nr_fds * sizeof(int));
		for (unsigned int i = 0; i < nr_fds; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(int));
	}
	if (sendmsg(t->fd, &msg, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
		die("%s: message %u is not taken: %s", t->path, m->request, strerror(errno));
}

static int hear(const struct target *t, struct message *m, uint32_t request)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { m, HEADER };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(t->fd, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC) != HEADER ||
	    m->request != request || !(m->flags & REPLY) || m->size > sizeof(m->u) ||
	    (m->size && recv(t->fd, &m->u, m->size, MSG_WAITALL) != (ssize_t)m->size))
		die("%s: no answer to message %u", t->path, request);
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static uint64_t get_u64(const struct target *t, uint32_t request)
{
	struct message m = { .request = request };

	tell(t, &m, 0, -1, 0);
	hear(t, &m, request);
	return m.u.u64;
}

static void set_u64(const struct target *t, uint32_t request, uint64_t value)
{
	struct message m = { .request = request, .u.u64 = value };

	tell(t, &m, sizeof(m.u.u64), -1, 0);
}

void vuser_open(struct target *t)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct message m = { .request = GET_CONFIG, .u.config = { .size = 8 } };
	uint64_t must = BIT(VIRTIO_F_VERSION_1) | BIT(F_PROTOCOL_FEATURES);

	if (strlen(t->path) >= sizeof(addr.sun_path))
		die("%s is too long a name for a socket", t->path);
	memcpy(addr.sun_path, t->path, strlen(t->path));
	t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t->fd < 0 || connect(t->fd, (void *)&addr, sizeof(addr)))
		die("%s: nobody answers: %s", t->path, strerror(errno));
	t->features = choose_features(t, get_u64(t, GET_FEATURES), must);
	set_u64(t, SET_PROTOCOL_FEATURES, get_u64(t, GET_PROTOCOL_FEATURES) &
					  (BIT(PF_MQ) | BIT(PF_CONFIG) | BIT(PF_INFLIGHT)));
	tell(t, &m, 20, -1, 0);
	hear(t, &m, GET_CONFIG);
	memcpy(&t->blocks, m.u.config.bytes, sizeof(t->blocks));
	t->blocks = t->blocks * SECTOR / opt.block;
}

static void set_memory(const struct target *t)
{
	struct message m = { .request = SET_MEM_TABLE, .u.memory.nr = opt.maps };
	uint64_t from = 0;

	if (opt.maps > MAX_REGIONS)
		die("vhost-user has %u mappings at most", MAX_REGIONS);
	for (unsigned int i = 0; i < opt.maps; i++) {
		m.u.memory.region[i] = (struct region){
			mem.iova + from, mem.map[i] - from, (unsigned long)mem.base + from, from,
		};
		from = mem.map[i];
	}
	tell(t, &m, 8 + opt.maps * sizeof(struct region), mem.fd, opt.maps);
}

static void set_inflight(struct target *t)
{
	struct message m = { .request = GET_INFLIGHT_FD };

	m.u.inflight.queues = opt.queues;
	m.u.inflight.queue_size = opt.ring;
	tell(t, &m, sizeof(m.u.inflight), -1, 0);
	t->inflight_fd = hear(t, &m, GET_INFLIGHT_FD);
	if (t->inflight_fd < 0)
		die("%s has no inflight region", t->path);
	m.request = SET_INFLIGHT_FD;
	tell(t, &m, sizeof(m.u.inflight), t->inflight_fd, 1);
}

static void start_queue(const struct target *t, unsigned int i)
{
	const struct queue *q = &t->queue[i];
	struct message m = { .request = SET_VRING_NUM, .u.state = { i, q->num } };

	tell(t, &m, sizeof(m.u.state), -1, 0);
	m = (struct message){ .request = SET_VRING_BASE };
	m.u.state.index = i;
	m.u.state.num = opt.packed ? 0x80008000 : 0;
	tell(t, &m, sizeof(m.u.state), -1, 0);
	m = (struct message){ .request = SET_VRING_ADDR };
	m.u.addr.index = i;
	m.u.addr.desc = (unsigned long)q->desc;
	m.u.addr.used = (unsigned long)q->device;
	m.u.addr.avail = (unsigned long)q->driver;
	tell(t, &m, sizeof(m.u.addr), -1, 0);
	m = (struct message){ .request = SET_VRING_CALL, .u.u64 = i };
	tell(t, &m, sizeof(m.u.u64), call_fd, 1);
	m = (struct message){ .request = SET_VRING_KICK, .u.u64 = i };
	tell(t, &m, sizeof(m.u.u64), q->kick, 1);
	m = (struct message){ .request = SET_VRING_ENABLE, .u.state = { i, 1 } };
	tell(t, &m, sizeof(m.u.state), -1, 0);
}

void vuser_start(struct target *t)
{
	uint64_t begin = now_ns();

	set_u64(t, SET_FEATURES, t->features);
	set_u64(t, SET_OWNER, 0);
	if (opt.inflight)
		set_inflight(t);
	set_memory(t);
	for (unsigned int i = 0; i < opt.queues; i++)
		start_queue(t, i);
	/* An answer: all before it is done. */
	get_u64(t, GET_FEATURES);
	/* QEMU's back end has made it so that we would not wait either: the file is shared. */
	if (fcntl(call_fd, F_SETFL, 0))
		die("%s: %s", t->path, strerror(errno));
	t->start_ns = now_ns() - begin;
}

void vuser_stop(struct target *t)
{
	uint64_t begin = now_ns();

	for (unsigned int i = 0; i < opt.queues; i++) {
		struct message m = { .request = GET_VRING_BASE, .u.state = { i, 0 } };

		tell(t, &m, sizeof(m.u.state), -1, 0);
		hear(t, &m, GET_VRING_BASE);
	}
	t->stop_ns = now_ns() - begin;
	close(t->fd);
}
