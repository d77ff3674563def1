// SPDX-License-Identifier: GPL-2.0
/* Files of shared memory: which one is it, what is in it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper.h"

/* The name of an open file, if it has one: memfds and what is deleted don't. */
static void find_path(struct shm *shm)
{
	char link[64];
	struct stat st;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", shm->fd);
	n = readlink(link, shm->path, sizeof(shm->path) - 1);
	shm->path[n > 0 ? n : 0] = 0;
	if (shm->path[0] != '/' || lstat(shm->path, &st) || !S_ISREG(st.st_mode) ||
	    st.st_dev != shm->dev || st.st_ino != shm->ino)
		shm->path[0] = 0;
}

int shm_hold(struct shm *shm, int fd)
{
	struct stat st;

	/*
	 * Only files of shared memory have seals.  Asked first, because it never waits, which
	 * fstat() on a file of a userspace filesystem does as long as that one likes.
	 */
	if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return -EMEDIUMTYPE;
	}
	*shm = (struct shm){ .fd = fd, .dev = st.st_dev, .ino = st.st_ino };
	find_path(shm);
	return 0;
}

bool shm_same(const struct shm *a, const struct shm *b)
{
	return a->fd >= 0 && b->fd >= 0 && a->dev == b->dev && a->ino == b->ino;
}

int shm_copy(int fd)
{
	char link[64];
	int copy;

	/* As in shm_hold(): nothing else is opened. */
	if (fcntl(fd, F_GET_SEALS) < 0)
		return -EMEDIUMTYPE;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	copy = open(link, (fcntl(fd, F_GETFL) & O_ACCMODE) | O_CLOEXEC | O_NONBLOCK);
	return copy < 0 ? -errno : copy;
}

int shm_reopen(struct shm *shm)
{
	struct shm found;
	int fd, ret;

	if (!shm->path[0])
		return -ENOENT;
	fd = open(shm->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	ret = shm_hold(&found, fd);
	if (ret)
		return ret;
	if (found.dev != shm->dev || found.ino != shm->ino) {
		close(found.fd);
		return -ESTALE;
	}
	*shm = found;
	return 0;
}

void shm_drop(struct shm *shm)
{
	if (shm->fd >= 0)
		close(shm->fd);
	*shm = (struct shm){ .fd = -1 };
}

int shm_make(int dir, const char *name, uint64_t size)
{
	char tmp[FILE_LEN + 8];
	int fd, ret;

	snprintf(tmp, sizeof(tmp), ".%s.new", name);
	unlinkat(dir, tmp, 0);
	fd = openat(dir, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* All of it now: there must be no page missing when the device needs it. */
	ret = -posix_fallocate(fd, 0, size);
	if (!ret && renameat(dir, tmp, dir, name))
		ret = -errno;
	if (ret) {
		unlinkat(dir, tmp, 0);
		close(fd);
		return ret;
	}
	return fd;
}

/* ---- regions ---- */

static uint64_t stride(bool packed, unsigned int queue_size)
{
	return packed ? VHOST_INFLIGHT_STRIDE_PACKED(queue_size) :
			VHOST_INFLIGHT_STRIDE_SPLIT(queue_size);
}

bool region_packed(const struct vhost_inflight_fd *arg)
{
	return arg->mmap_size == arg->num_queues * stride(true, arg->queue_size);
}

uint64_t region_size(const struct vhost_inflight_info *info)
{
	return info->num_queues * stride(info->acked_features >> 34 & 1, info->queue_size);
}

static void read_split(const struct vhost_inflight_region_split *r, unsigned int n,
		       struct vsup_queue *q)
{
	q->used = r->used_idx;
	for (unsigned int i = 0; i < n; i++)
		q->in_flight += r->desc[i].inflight == 1;
}

/* The old index is the one that counts, as long as the two differ. */
static void read_packed(const struct vhost_inflight_region_packed *r, unsigned int n,
			struct vsup_queue *q)
{
	q->used = (r->old_used_idx & 0x7fff) | (r->old_used_wrap_counter & 1) << 15;
	for (unsigned int i = 0; i < n; i++)
		q->in_flight += r->desc[i].inflight == 1;
}

/* By pread(): a file that shrinks meanwhile must not be a signal. */
void region_read(const struct vhost_inflight_fd *arg, struct vsup_queue *queue)
{
	bool packed = region_packed(arg);
	uint64_t step = stride(packed, arg->queue_size);
	void *r;

	if (arg->mmap_size != arg->num_queues * step || arg->num_queues > VSUP_MAX_QUEUES)
		return;
	r = malloc(step);
	for (unsigned int i = 0; r && i < arg->num_queues; i++) {
		queue[i].used = 0;
		queue[i].in_flight = 0;
		if (pread(arg->fd, r, step, arg->mmap_offset + i * step) != (ssize_t)step)
			continue;
		/* Version 0 is fresh, and is at the same place in both. */
		if (!((struct vhost_inflight_region_split *)r)->version)
			continue;
		if (packed)
			read_packed(r, arg->queue_size, &queue[i]);
		else
			read_split(r, arg->queue_size, &queue[i]);
	}
	free(r);
}
