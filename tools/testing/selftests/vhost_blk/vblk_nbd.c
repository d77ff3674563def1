// SPDX-License-Identifier: GPL-2.0
/* The server, and the netlink messages by which the kernel's client is told of it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/genetlink.h>
#include <linux/nbd.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "vblk_nbd.h"

#define MOST	(1 << 20)	/* bytes of a request */

/* ---- the server ---- */

static bool all(int fd, void *buf, size_t len, bool in)
{
	ssize_t n;

	for (; len; buf += n, len -= n) {
		n = in ? read(fd, buf, len) : write(fd, buf, len);
		if (n <= 0)
			return false;
	}
	return true;
}

/* Until the connection is gone, one request after the other. */
static void serve(int sock, int file)
{
	static char data[MOST];
	struct nbd_request q;
	struct nbd_reply r = { .magic = htonl(NBD_REPLY_MAGIC) };

	while (all(sock, &q, sizeof(q), true) && q.magic == htonl(NBD_REQUEST_MAGIC)) {
		__u32 type = ntohl(q.type) & 0xffff, len = ntohl(q.len);
		__u64 from = be64toh(q.from);
		ssize_t done = len;

		if (type == NBD_CMD_DISC || len > MOST)
			break;
		if (type == NBD_CMD_WRITE && !all(sock, data, len, true))
			break;
		if (type == NBD_CMD_WRITE)
			done = pwrite(file, data, len, from);
		else if (type == NBD_CMD_READ)
			done = pread(file, data, len, from);
		else if (type == NBD_CMD_FLUSH)
			done = fsync(file) ? -1 : (ssize_t)len;
		else
			done = -1;
		r.error = htonl(done == (ssize_t)len ? 0 : EIO);
		memcpy(r.handle, q.handle, sizeof(r.handle));
		if (!all(sock, &r, sizeof(r), false))
			break;
		if (type == NBD_CMD_READ && !r.error && !all(sock, data, len, false))
			break;
	}
}

/* It must not keep open what its parent has, and dies with it. */
static pid_t start_server(int sock, const char *path)
{
	pid_t pid = fork();
	int file;

	if (pid)
		return pid < 0 ? -errno : pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(sock, 3);
	syscall(SYS_close_range, 4U, ~0U, 0U);
	file = open(path, O_RDWR);
	if (file >= 0)
		serve(3, file);
	_exit(0);
}

/* lo need not be up in a machine that was booted for this. */
static int loopback_up(void)
{
	struct ifreq r = { .ifr_name = "lo" };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret;

	if (s < 0)
		return -errno;
	ret = ioctl(s, SIOCGIFFLAGS, &r);
	r.ifr_flags |= IFF_UP;
	if (!ret)
		ret = ioctl(s, SIOCSIFFLAGS, &r);
	ret = ret ? -errno : 0;
	close(s);
	return ret;
}

/* A connection to a new server. The client's end, or -errno. */
static int connect_server(struct vd_nbd *n)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), s = -1;
	int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);
	int ret = 0;

	if (l < 0 || c < 0 || bind(l, (void *)&a, sizeof(a)) || listen(l, 1) ||
	    getsockname(l, (void *)&a, &len) || connect(c, (void *)&a, sizeof(a)))
		ret = -errno;
	if (!ret)
		s = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	if (!ret && s < 0)
		ret = -errno;
	if (!ret)
		n->server = start_server(s, n->file);
	if (!ret && n->server < 0)
		ret = n->server;
	close(l);
	if (s >= 0)
		close(s);
	if (ret)
		close(c);
	return ret ?: c;
}

/* ---- the client ---- */

struct msg {
	struct nlmsghdr h;
	struct genlmsghdr g;
	char attrs[512];
};

static void put(struct msg *m, __u16 type, const void *v, __u16 len)
{
	struct nlattr *a = (void *)m + NLMSG_ALIGN(m->h.nlmsg_len);

	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + len;
	memcpy((void *)a + NLA_HDRLEN, v, len);
	m->h.nlmsg_len = NLMSG_ALIGN(m->h.nlmsg_len) + NLA_ALIGN(a->nla_len);
}

static void put_u64(struct msg *m, __u16 type, __u64 v)
{
	put(m, type, &v, sizeof(v));
}

static void put_u32(struct msg *m, __u16 type, __u32 v)
{
	put(m, type, &v, sizeof(v));
}

/* A list of one. */
static void put_socket(struct msg *m, int fd)
{
	struct {
		struct nlattr item, a;
		__u32 fd;
	} v = {
		.item = { sizeof(v), NBD_SOCK_ITEM | NLA_F_NESTED },
		.a = { NLA_HDRLEN + sizeof(v.fd), NBD_SOCK_FD }, .fd = fd,
	};

	put(m, NBD_ATTR_SOCKETS | NLA_F_NESTED, &v, sizeof(v));
}

static void begin(struct msg *m, __u16 family, __u8 cmd)
{
	memset(m, 0, sizeof(*m));
	m->h.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	m->h.nlmsg_type = family;
	m->h.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	m->g.cmd = cmd;
	m->g.version = 1;
}

/* Sent; answers up to the last one are looked at for an attribute of that type. 0, or -errno. */
static int ask(int fd, struct msg *m, __u16 type, void *v, __u16 len)
{
	char buf[8192];
	struct nlmsghdr *h;
	ssize_t n;

	if (send(fd, m, m->h.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		n = recv(fd, buf, sizeof(buf), 0);
		if (n < 0)
			return -errno;
		for (h = (void *)buf; NLMSG_OK(h, (size_t)n); h = NLMSG_NEXT(h, n)) {
			struct nlattr *a = NLMSG_DATA(h) + GENL_HDRLEN;

			if (h->nlmsg_type == NLMSG_ERROR)
				return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			for (; (void *)a + NLA_HDRLEN <= (void *)h + h->nlmsg_len && a->nla_len >= NLA_HDRLEN;
			     a = (void *)a + NLA_ALIGN(a->nla_len))
				if ((a->nla_type & NLA_TYPE_MASK) == type && a->nla_len >= NLA_HDRLEN + len)
					memcpy(v, (void *)a + NLA_HDRLEN, len);
		}
	}
}

/* A socket, and the number that family nbd has. */
static int family(__u16 *id)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC), ret;
	struct msg m;

	if (fd < 0)
		return -errno;
	begin(&m, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	put(&m, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME, sizeof(NBD_GENL_FAMILY_NAME));
	ret = ask(fd, &m, CTRL_ATTR_FAMILY_ID, id, sizeof(*id));
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

int vd_nbd_make(struct vd_nbd *n, const char *file, __u64 bytes, unsigned int s)
{
	char path[64], depth[8];
	struct msg m;
	__u16 id = 0;
	__u32 index = 0;
	int sock, nl, ret;

	*n = (struct vd_nbd){ .index = -1 };
	snprintf(n->file, sizeof(n->file), "%s", file);
	ret = open(n->file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (ret < 0)
		return -errno;
	sock = ret;
	ret = ftruncate(sock, bytes) ? -errno : loopback_up();
	close(sock);
	sock = ret ?: connect_server(n);
	if (sock < 0)
		return sock;
	nl = family(&id);
	ret = nl < 0 ? nl : 0;
	begin(&m, id, NBD_CMD_CONNECT);
	put_u64(&m, NBD_ATTR_SIZE_BYTES, bytes);
	put_u64(&m, NBD_ATTR_BLOCK_SIZE_BYTES, 512);
	put_u64(&m, NBD_ATTR_SERVER_FLAGS, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH);
	put_u64(&m, NBD_ATTR_CLIENT_FLAGS, NBD_CFLAG_DESTROY_ON_DISCONNECT);
	if (s) {
		put_u64(&m, NBD_ATTR_TIMEOUT, s);
		put_u64(&m, NBD_ATTR_DEAD_CONN_TIMEOUT, s);
	}
	put_socket(&m, sock);
	ret = ret ?: ask(nl, &m, NBD_ATTR_INDEX, &index, sizeof(index));
	if (!ret)
		n->index = index;
	if (nl >= 0)
		close(nl);
	close(sock);
	snprintf(path, sizeof(path), "/sys/block/nbd%u/queue/nr_requests", index);
	snprintf(depth, sizeof(depth), "%d", VD_NARROW);
	return ret ?: vd_write_file(path, depth);
}

void vd_nbd_free(struct vd_nbd *n)
{
	__u16 id = 0;
	struct msg m;
	int nl = n->index >= 0 ? family(&id) : -1;

	/* One that is stopped would answer nobody. */
	if (n->server > 0)
		kill(n->server, SIGKILL);
	if (nl >= 0) {
		begin(&m, id, NBD_CMD_DISCONNECT);
		put_u32(&m, NBD_ATTR_INDEX, n->index);
		ask(nl, &m, 0, NULL, 0);
		close(nl);
	}
	if (n->server > 0)
		waitpid(n->server, NULL, 0);
	unlink(n->file);
	n->index = -1;
	n->server = 0;
}

int vd_nbd_stop(const struct vd_nbd *n)
{
	if (n->server <= 0)
		return -ESRCH;
	return kill(n->server, SIGSTOP) ? -errno : vd_child_stopped(n->server);
}

int vd_nbd_cont(const struct vd_nbd *n)
{
	return n->server > 0 && kill(n->server, SIGCONT) ? -errno : 0;
}

int vd_nbd_kill(struct vd_nbd *n)
{
	int status;

	if (n->server <= 0)
		return 0;
	if (kill(n->server, SIGKILL) || waitpid(n->server, &status, 0) != n->server)
		return -errno;
	n->server = 0;
	return 0;
}

/* A connection is taken only in the place of one that the client knows to be lost, and nobody says so but the kernel's log. */
int vd_nbd_restart(struct vd_nbd *n)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	int kmsg = vd_kmsg_open(), ret, nl, sock;
	char line[64];
	__u16 id = 0;
	struct msg m;

	if (n->server > 0)
		return 0;
	nl = family(&id);
	ret = kmsg < 0 ? -EIO : nl < 0 ? nl : 0;
	snprintf(line, sizeof(line), "nbd%d: reconnected socket", n->index);
	while (!ret) {
		sock = connect_server(n);
		begin(&m, id, NBD_CMD_RECONFIGURE);
		put_u32(&m, NBD_ATTR_INDEX, n->index);
		put_socket(&m, sock);
		ret = sock < 0 ? sock : ask(nl, &m, 0, NULL, 0);
		if (sock >= 0)
			close(sock);
		if (ret || vd_kmsg_count(kmsg, line))
			break;
		ret = vd_nbd_kill(n) ?: vd_now_ms() > end ? -ETIMEDOUT : 0;
		poll(NULL, 0, 5);
	}
	if (nl >= 0)
		close(nl);
	if (kmsg >= 0)
		close(kmsg);
	return ret;
}
