// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "say.h"
#include "stream.h"

/* It may have said why. */
static int deaf(int fd, int err)
{
	if (stream_expect(fd, MSG_BYE, 0) <= 0)
		failed("the other side does not listen: %s", strerror(err));
	return -1;
}

int stream_two(int fd, enum message_type type, uint64_t arg, const void *data, uint32_t len,
	       const void *more, uint32_t more_len)
{
	struct message msg = { .type = type, .len = len + more_len, .arg = arg };
	struct iovec iov[] = {
		{ &msg, sizeof(msg) }, { (void *)data, len }, { (void *)more, more_len },
	};
	struct msghdr hdr = { .msg_iov = iov, .msg_iovlen = 3 };
	ssize_t n;

	while (hdr.msg_iovlen) {
		n = sendmsg(fd, &hdr, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return deaf(fd, errno);
		while (hdr.msg_iovlen && (size_t)n >= hdr.msg_iov->iov_len) {
			n -= hdr.msg_iov->iov_len;
			hdr.msg_iov++;
			hdr.msg_iovlen--;
		}
		if (hdr.msg_iovlen) {
			hdr.msg_iov->iov_base = (uint8_t *)hdr.msg_iov->iov_base + n;
			hdr.msg_iov->iov_len -= n;
		}
	}
	return 0;
}

int stream_send(int fd, enum message_type type, uint64_t arg, const void *data, uint32_t len)
{
	return stream_two(fd, type, arg, data, len, NULL, 0);
}

static int receive(int fd, void *data, size_t len, int bound_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint8_t *at = data;
	ssize_t n;

	while (len) {
		n = poll(&p, 1, bound_ms);
		if (n < 0 && errno == EINTR)
			continue;
		if (!n)
			return failed("the other side said nothing for %d s", bound_ms / 1000);
		n = recv(fd, at, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return failed("the other side is gone%s%s", n ? ": " : "",
				      n ? strerror(errno) : "");
		at += n;
		len -= n;
	}
	return 0;
}

int stream_next(int fd, struct message *msg, int bound_ms)
{
	return receive(fd, msg, sizeof(*msg), bound_ms);
}

int stream_body(int fd, void *data, uint32_t len)
{
	return receive(fd, data, len, STREAM_BOUND_MS);
}

int stream_expect(int fd, enum message_type type, int bound_ms)
{
	char text[WHY_LEN] = "";
	struct message msg;

	if (stream_next(fd, &msg, bound_ms))
		return -1;
	if (msg.type == type && !msg.len)
		return 0;
	if ((msg.type != MSG_REFUSE && msg.type != MSG_FAILED) || msg.len >= sizeof(text))
		return failed("the other side says message %u, not %d", msg.type, type);
	if (stream_body(fd, text, msg.len))
		return -1;
	failed("%s", text);
	return 1;
}
