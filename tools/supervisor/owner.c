// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "keeper.h"

/* Field 22 of /proc/PID/stat; the second is a name in parentheses with anything in it. */
static uint64_t start_of(pid_t pid)
{
	char path[64], text[1024], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	p = strrchr(text, ')');
	for (int i = 2; p && i < 22; i++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

struct owner owner_of(pid_t pid)
{
	return (struct owner){ .pid = pid, .start = pid > 0 ? start_of(pid) : 0 };
}

bool owner_same(const struct owner *a, const struct owner *b)
{
	return a->pid == b->pid && a->start == b->start;
}

int owner_open(const struct owner *owner)
{
	int fd = syscall(SYS_pidfd_open, owner->pid, 0);

	if (fd < 0)
		return -errno;
	/* With the process held it is the same one, or another has its number. */
	if (start_of(owner->pid) == owner->start)
		return fd;
	close(fd);
	return -ESRCH;
}
