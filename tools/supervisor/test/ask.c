// SPDX-License-Identifier: GPL-2.0
/*
 * usage: ask SOCKET keep|region|take|forget DEVICE [LABEL FILE]
 *
 * The calls of a VMM, from a shell.  Prints what came back; exit status 1 and the sentence when it
 * was refused.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vsup.h"

static unsigned long inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

static int keep(int sock, char **argv, char *why)
{
	struct vsup_piece piece = { .fd = open(argv[5], O_RDWR | O_CLOEXEC) };
	int ret;

	snprintf(piece.label, sizeof(piece.label), "%s", argv[4]);
	ret = vsup_ask_keep(sock, argv[3], &piece, why);
	if (ret >= 0)
		printf("survives %d\n", ret);
	return ret < 0 ? ret : 0;
}

static int region(int sock, char **argv, char *why)
{
	struct vhost_inflight_fd arg;
	int ret = vsup_ask_region(sock, argv[3], &arg, why);

	if (!ret)
		printf("file %lu %llu %u %u\n", inode(arg.fd), arg.mmap_size, arg.num_queues,
		       arg.queue_size);
	return ret;
}

static int take(int sock, char **argv, char *why)
{
	struct vsup_estate e;
	int ret = vsup_ask_take(sock, argv[3], &e, why);

	if (ret)
		return ret;
	printf("file %lu %llu features %lx\n", inode(e.region.fd), e.region.mmap_size,
	       e.features);
	for (unsigned int i = 0; i < e.nr_queues; i++)
		printf("queue %u %u %u\n", e.queue[i].num, e.queue[i].used, e.queue[i].in_flight);
	for (unsigned int i = 0; i < e.nr_pieces; i++)
		printf("piece %s %lu\n", e.piece[i].label, inode(e.piece[i].fd));
	return 0;
}

static int forget(int sock, char **argv, char *why)
{
	return vsup_ask_forget(sock, argv[3], why);
}

static const struct {
	const char *name;
	int argc;
	int (*fn)(int sock, char **argv, char *why);
} calls[] = {
	{ "keep", 6, keep },
	{ "region", 4, region },
	{ "take", 4, take },
	{ "forget", 4, forget },
};

int main(int argc, char **argv)
{
	char why[VSUP_SENTENCE_LEN];
	int sock, ret;

	for (size_t i = 0; argc > 2 && i < sizeof(calls) / sizeof(*calls); i++) {
		if (strcmp(calls[i].name, argv[2]) || calls[i].argc != argc)
			continue;
		sock = vsup_connect(argv[1]);
		if (sock < 0) {
			printf("connect: %s\n", strerror(-sock));
			return 1;
		}
		ret = calls[i].fn(sock, argv, why);
		if (ret)
			printf("%d %s\n", ret, why);
		close(sock);
		return !!ret;
	}
	fputs("usage: ask SOCKET keep|region|take|forget DEVICE [LABEL FILE]\n", stderr);
	return 2;
}
