// SPDX-License-Identifier: GPL-2.0
/*
 * The floor: the same requests by io_uring, straight to the disk.  One system call for a batch,
 * files and buffers registered, completions where the caller wants them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/io_uring.h>

#include "ring.h"

static struct {
	int fd;
	unsigned int *sq_tail, *sq_mask, *cq_head, *cq_tail, *cq_mask, *sq_array;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
} ring;

void uring_open(struct target *t)
{
	uint64_t size = 0;
	struct stat st;

	t->fd = open(t->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (t->fd < 0 || fstat(t->fd, &st))
		die("%s can't be opened: %s", t->path, strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		if (ioctl(t->fd, BLKGETSIZE64, &size))
			die("%s: %s", t->path, strerror(errno));
	} else {
		size = st.st_size;
	}
	t->blocks = size / opt.block;
}

static void *ring_map(size_t size, off_t what)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd,
			what);

	if (at == MAP_FAILED)
		die("io_uring: %s", strerror(errno));
	return at;
}

static void enter(unsigned int submit, unsigned int wait)
{
	long ret = syscall(SYS_io_uring_enter, ring.fd, submit, wait, IORING_ENTER_GETEVENTS, NULL,
			   0);

	res.calls++;
	if (ret < 0 && errno != EINTR)
		die("io_uring: %s", strerror(errno));
}

static void ring_make(unsigned int entries)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 (opt.iopoll ? IORING_SETUP_IOPOLL : 0),
	};
	struct iovec iov = { mem.base, mem.size };
	int fds[MAX_TARGETS];
	uint8_t *sq, *cq;

	ring.fd = syscall(SYS_io_uring_setup, entries, &p);
	if (ring.fd < 0)
		die("io_uring: %s", strerror(errno));
	sq = ring_map(p.sq_off.array + p.sq_entries * sizeof(unsigned int), IORING_OFF_SQ_RING);
	cq = ring_map(p.cq_off.cqes + p.cq_entries * sizeof(*ring.cqe), IORING_OFF_CQ_RING);
	ring.sqe = ring_map(p.sq_entries * sizeof(*ring.sqe), IORING_OFF_SQES);
	ring.sq_tail = (void *)(sq + p.sq_off.tail);
	ring.sq_mask = (void *)(sq + p.sq_off.ring_mask);
	ring.sq_array = (void *)(sq + p.sq_off.array);
	ring.cq_head = (void *)(cq + p.cq_off.head);
	ring.cq_tail = (void *)(cq + p.cq_off.tail);
	ring.cq_mask = (void *)(cq + p.cq_off.ring_mask);
	ring.cqe = (void *)(cq + p.cq_off.cqes);
	for (unsigned int i = 0; i < p.sq_entries; i++)
		ring.sq_array[i] = i;
	for (unsigned int i = 0; i < nr_targets; i++)
		fds[i] = target[i].fd;
	if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &iov, 1) < 0 ||
	    syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, fds, nr_targets) < 0)
		die("io_uring: registration: %s", strerror(errno));
}

static void prepare(struct io_uring_sqe *e, unsigned int i, uint8_t *data)
{
	unsigned int which = i % nr_targets;

	memset(e, 0, sizeof(*e));
	e->opcode = random_read() ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
	e->flags = IOSQE_FIXED_FILE;
	e->fd = which;
	e->addr = (unsigned long)data;
	e->len = opt.block;
	e->off = random_block(target[which].blocks) * opt.block;
	e->user_data = i;
}

static unsigned int reap(uint64_t *stamp, unsigned int *list)
{
	unsigned int head = *ring.cq_head, tail = load_acquire(ring.cq_tail), n = tail - head;
	uint64_t now = ticks();

	for (; head != tail; head++) {
		const struct io_uring_cqe *e = &ring.cqe[head & *ring.cq_mask];

		if (e->res != (int)opt.block)
			res.errors++;
		hist_add(now - stamp[e->user_data]);
		*list++ = e->user_data;
	}
	store_release(ring.cq_head, head);
	res.requests += n;
	return n;
}

void uring_drive(uint8_t *data, uint64_t stride)
{
	unsigned int total = opt.depth * opt.queues * nr_targets, nr_free = total;
	unsigned int batch = opt.batch < total ? opt.batch : total, submit, n;
	static struct result measured;
	unsigned int *list = calloc(total, sizeof(*list));
	uint64_t *stamp = calloc(total, sizeof(*stamp));
	uint64_t done = 0;

	if (!list || !stamp)
		die("no memory");
	for (unsigned int i = 0; i < total; i++)
		list[i] = total - 1 - i;
	ring_make(total);
	measure_begin();
	while (!ticked() || !measure_tick(done)) {
		unsigned int tail = *ring.sq_tail;
		uint64_t now = ticks();

		submit = nr_free >= batch ? nr_free : 0;
		for (unsigned int i = 0; i < submit; i++) {
			unsigned int slot = list[--nr_free];

			stamp[slot] = now;
			prepare(&ring.sqe[tail++ & *ring.sq_mask], slot, data + slot * stride);
		}
		store_release(ring.sq_tail, tail);
		enter(submit, opt.evented);
		n = reap(stamp, list + nr_free);
		nr_free += n;
		done += n;
	}
	measured = res;
	while (nr_free < total) {
		enter(0, 1);
		nr_free += reap(stamp, list + nr_free);
		measure_alive();
	}
	res = measured;
}
