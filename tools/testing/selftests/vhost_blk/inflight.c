// SPDX-License-Identifier: GPL-2.0
/* VHOST_INFLIGHT_GET_FD and VHOST_INFLIGHT_SET_FD: whose, when, what is in it, and what is refused. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "vblk_inflight.h"
#include "kselftest_harness.h"

#define DISK	(4 << 20)
#define QUEUES	2
#define SIZE	128		/* of the device's queues, */
#define NUM	64		/* and of the driver's rings */
#define ALL	(VD_S_ACK | VD_S_DRIVER | VD_S_FEATURES_OK)

static const struct vd_opts opts = { .iova = 0x100000, .num = NUM, .num_queues = QUEUES, .mem_size = 4 << 20 };

static __u64 region_bytes(bool packed)
{
	return QUEUES * (packed ? VHOST_INFLIGHT_STRIDE_PACKED(SIZE) : VHOST_INFLIGHT_STRIDE_SPLIT(SIZE));
}

static struct vhost_inflight_fd region_arg(bool packed, int fd)
{
	return (struct vhost_inflight_fd){
		.size = sizeof(struct vhost_inflight_fd), .fd = fd, .mmap_size = region_bytes(packed),
		.num_queues = QUEUES, .queue_size = SIZE,
	};
}

static int memory(size_t bytes)
{
	int fd = memfd_create("region", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return ftruncate(fd, bytes) ? -errno : fd;
}

/* Rings from the start, and DRIVER_OK; memory is mapped. */
static int go(struct vd *d)
{
	unsigned int i;

	for (i = 0; i < d->nq; i++) {
		vd_queue_fresh(d->q[i]);
		vd_drain_fd(d->q[i]->call);
	}
	return vd_setup_queues(d) ?: vd_driver_ok(d);
}

static int works(struct vd *d)
{
	__u64 data = d->mem[0].iova + d->mem[0].size - 4096;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < d->nq && !ret; i++)
		ret = vd_rw(d->q[i], VD_T_OUT, 8 * i, data, 4096) ?: vd_rw(d->q[i], VD_T_IN, 8 * i, data, 4096);
	return ret;
}

FIXTURE(get) {
	struct vd_rig r;
};

FIXTURE_VARIANT(get) {
	bool packed;
};

FIXTURE_VARIANT_ADD(get, split) { false };
FIXTURE_VARIANT_ADD(get, packed) { true };

static int device(struct vd_rig *r, enum vd_backing_kind kind, bool packed)
{
	struct vd_config c = { .num_queues = QUEUES, .queue_size = SIZE, .packed = packed };

	return vd_rig_make(r, kind, DISK, &c, NULL);
}

FIXTURE_SETUP(get)
{
	ASSERT_EQ(0, device(&self->r, VD_TMPFS, variant->packed));
}

FIXTURE_TEARDOWN_PARENT(get)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

TEST_F(get, none_before_driver_ok)
{
	struct vhost_inflight_fd arg;
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_open(d, self->r.name, &opts));
	EXPECT_EQ(-ENODATA, vd_inflight_get(d, &arg));
	ASSERT_EQ(0, vd_negotiate(d));
	ASSERT_EQ(0, vd_map_all(d) ?: vd_setup_queues(d));
	EXPECT_EQ(-ENODATA, vd_inflight_get(d, &arg));
	ASSERT_EQ(0, vd_driver_ok(d));
	EXPECT_EQ(0, vd_inflight_get(d, &arg));
}

TEST_F(get, size_and_what_is_in_it)
{
	struct vd_inflight r;
	struct stat st;
	unsigned int i, j;

	ASSERT_EQ(0, vd_start(&self->r.d, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(&self->r.d, &r, variant->packed));
	EXPECT_EQ(sizeof(r.arg), r.arg.size);
	EXPECT_EQ(region_bytes(variant->packed), r.arg.mmap_size);
	EXPECT_EQ(0, r.arg.mmap_offset);
	EXPECT_EQ(QUEUES, r.arg.num_queues);
	EXPECT_EQ(SIZE, r.arg.queue_size);
	EXPECT_EQ(0, r.arg.flags);
	ASSERT_EQ(0, fstat(r.arg.fd, &st));
	EXPECT_EQ((r.arg.mmap_size + 4095) & ~4095ULL, st.st_size);
	for (i = 0; i < QUEUES; i++) {
		struct vhost_inflight_region_packed *p = vd_inflight_packed(&r, i);
		struct vhost_inflight_region_split *s = vd_inflight_split(&r, i);

		EXPECT_EQ(0, s->features);
		EXPECT_EQ(VHOST_INFLIGHT_VERSION, s->version);
		EXPECT_EQ(SIZE, s->desc_num);
		EXPECT_EQ(0, vd_inflight_heads(&r, i, NULL));
		if (!variant->packed) {
			EXPECT_EQ(0, s->used_idx);
			continue;
		}
		EXPECT_EQ(0, p->free_head);
		EXPECT_EQ(0, p->old_free_head);
		EXPECT_EQ(0, p->used_idx);
		EXPECT_EQ(0, p->old_used_idx);
		EXPECT_EQ(1, p->used_wrap_counter);
		EXPECT_EQ(1, p->old_used_wrap_counter);
		for (j = 0; j < SIZE; j++)
			EXPECT_EQ(j + 1, p->desc[j].next);
	}
}

/* Nobody can pull it away from under the device, or seal the device out. */
TEST_F(get, sealed)
{
	struct vd_inflight r;
	struct stat st;

	ASSERT_EQ(0, vd_start(&self->r.d, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(&self->r.d, &r, variant->packed));
	EXPECT_EQ(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, fcntl(r.arg.fd, F_GET_SEALS));
	EXPECT_EQ(FD_CLOEXEC, fcntl(r.arg.fd, F_GETFD));
	ASSERT_EQ(0, fstat(r.arg.fd, &st));
	EXPECT_EQ(-1, ftruncate(r.arg.fd, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, ftruncate(r.arg.fd, st.st_size + 4096));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, fcntl(r.arg.fd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(0, works(&self->r.d));
}

/* Whoever asks, and however often. */
TEST_F(get, one_file_for_all)
{
	struct vd_inflight a, b, c;
	struct vd sup;

	ASSERT_EQ(0, vd_start(&self->r.d, self->r.name, &opts));
	ASSERT_EQ(0, vd_open(&sup, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(&self->r.d, &a, variant->packed));
	ASSERT_EQ(0, vd_inflight_take(&self->r.d, &b, variant->packed));
	ASSERT_EQ(0, vd_inflight_take(&sup, &c, variant->packed));
	EXPECT_EQ(vd_ino(a.arg.fd), vd_ino(b.arg.fd));
	EXPECT_EQ(vd_ino(a.arg.fd), vd_ino(c.arg.fd));
	ASSERT_EQ(0, works(&self->r.d));
	EXPECT_EQ(0, memcmp(a.map, c.map, a.arg.mmap_size));
	vd_close(&sup);
}

/* Its successor has to negotiate them again, and the device has forgotten them. */
TEST_F(get, features_of_a_driver_that_is_gone)
{
	struct vhost_inflight_fd arg;
	struct vd *d = &self->r.d;
	__u64 features;
	struct vd sup;

	ASSERT_EQ(0, vd_open(&sup, self->r.name, &opts));
	ASSERT_EQ(0, vd_start(d, self->r.name, &opts));
	features = d->features;
	ASSERT_EQ(0, vd_inflight_get(&sup, &arg));
	EXPECT_EQ(features, arg.features);
	close(arg.fd);
	/* one that knows less, with the same region */
	ASSERT_EQ(0, vd_reset(d));
	d->opts.drop_features = VD_F_EVENT_IDX;
	ASSERT_EQ(0, vd_negotiate(d) ?: go(d));
	ASSERT_NE(features, d->features);
	close(d->fd);
	d->fd = -1;
	ASSERT_EQ(0, vd_inflight_get(&sup, &arg));
	EXPECT_EQ(features & ~VD_F_EVENT_IDX, arg.features);
	close(arg.fd);
	vd_close(&sup);
}

TEST_F(get, struct_size)
{
	struct {
		struct vhost_inflight_fd v1;
		__u8 more[16];
	} big;
	struct vhost_inflight_fd arg;
	struct vd *d = &self->r.d;
	struct rlimit was, none;
	__u8 *page;
	int next;

	ASSERT_EQ(0, vd_start(d, self->r.name, &opts));
	next = dup(0);
	close(next);
	arg.size = 0;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_GET_FD, &arg));
	arg.size = sizeof(arg) - 1;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_GET_FD, &arg));
	arg.size = 4097;
	EXPECT_EQ(-E2BIG, vd_ioctl(d, VHOST_INFLIGHT_GET_FD, &arg));
	EXPECT_EQ(-EFAULT, vd_ioctl(d, VHOST_INFLIGHT_GET_FD, NULL));
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*(__u32 *)page = sizeof(arg);
	ASSERT_EQ(0, mprotect(page, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, vd_ioctl(d, VHOST_INFLIGHT_GET_FD, page));
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &was));
	none = was;
	none.rlim_cur = next;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_EQ(-EMFILE, vd_inflight_get(d, &arg));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &was));

	memset(&big, 0x5a, sizeof(big));
	big.v1.size = sizeof(big);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_FD, &big));
	EXPECT_EQ(next, big.v1.fd) TH_LOG("a refused one left a descriptor behind");
	EXPECT_EQ(sizeof(arg), big.v1.size);
	EXPECT_EQ(0, memcmp(big.more, (__u8 [16]){ 0 }, 16));

	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
	memset(&big, 0, sizeof(big));
	big.v1 = region_arg(variant->packed, memory(1 << 20));
	big.v1.size = sizeof(big);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &big));
	big.more[15] = 1;
	EXPECT_EQ(-E2BIG, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &big));
	big.v1.size = sizeof(big.v1) - 1;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &big));
	big.v1.size = 4097;
	EXPECT_EQ(-E2BIG, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &big));
	EXPECT_EQ(-EFAULT, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, NULL));
}

/* A reset makes it fresh, and it stays what a supervisor holds. */
TEST_F(get, fresh_after_a_reset)
{
	struct vd_inflight r;
	unsigned int i, round;
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_start(d, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(d, &r, variant->packed));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, works(d));
		ASSERT_EQ(0, vd_reset(d));
		EXPECT_EQ(vd_ino(r.arg.fd), vd_inflight_ino(d));
		for (i = 0; i < QUEUES; i++)
			EXPECT_EQ(0, vd_inflight_split(&r, i)->version);
		ASSERT_EQ(0, vd_negotiate(d) ?: go(d));
		EXPECT_EQ(vd_ino(r.arg.fd), vd_inflight_ino(d));
		for (i = 0; i < QUEUES; i++)
			EXPECT_EQ(VHOST_INFLIGHT_VERSION, vd_inflight_split(&r, i)->version);
	}
}

/* Other features, another size: another file, and the one that is held stays as it is. */
TEST_F(get, another_layout)
{
	struct vd *d = &self->r.d;
	struct vd_inflight r;
	struct vd_opts o = opts;
	__u8 *was;

	if (!variant->packed)
		o.drop_features = VD_F_INDIRECT;
	ASSERT_EQ(0, vd_start(d, self->r.name, &o));
	ASSERT_EQ(0, vd_inflight_take(d, &r, variant->packed));
	ASSERT_EQ(0, works(d));
	ASSERT_EQ(0, vd_reset(d));
	was = malloc(r.arg.mmap_size);
	memcpy(was, r.map, r.arg.mmap_size);
	vd_close(d);
	o.drop_features = VD_F_PACKED;
	ASSERT_EQ(0, vd_start(d, self->r.name, &o));
	EXPECT_NE(vd_ino(r.arg.fd), vd_inflight_ino(d));
	EXPECT_EQ(0, works(d));
	EXPECT_EQ(0, memcmp(was, r.map, r.arg.mmap_size));
	/* and within one ownership: the size decides */
	ASSERT_EQ(0, vd_inflight_take(d, &r, false));
	ASSERT_EQ(0, vd_reset(d));
	for (unsigned int i = 0; i < QUEUES; i++) {
		vd_queue_free(d->q[i]);
		d->q[i] = NULL;
	}
	d->opts.drop_features = 0;
	ASSERT_EQ(0, vd_negotiate(d) ?: vd_setup_queues(d) ?: vd_driver_ok(d));
	EXPECT_EQ(!variant->packed, vd_ino(r.arg.fd) == vd_inflight_ino(d));
	EXPECT_EQ(0, works(d));
}

/* The owner is gone: there for who comes next, until that one starts without it. */
TEST_F(get, after_the_owner)
{
	struct vd *d = &self->r.d, sup;
	struct vd_inflight r;
	ino_t ino;

	ASSERT_EQ(0, vd_open(&sup, self->r.name, &opts));
	ASSERT_EQ(0, vd_start(d, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(&sup, &r, variant->packed));
	ino = vd_ino(r.arg.fd);
	vd_close(d);
	EXPECT_EQ(ino, vd_inflight_ino(&sup));
	ASSERT_EQ(0, vd_open(d, self->r.name, &opts));
	ASSERT_EQ(0, vd_negotiate(d) ?: vd_map_all(d) ?: vd_setup_queues(d));
	EXPECT_EQ(ino, vd_inflight_ino(&sup));
	/* its reset is not about what was before it */
	ASSERT_EQ(0, vd_reset(d));
	EXPECT_EQ(VHOST_INFLIGHT_VERSION, vd_inflight_split(&r, 0)->version);
	ASSERT_EQ(0, vd_negotiate(d) ?: go(d));
	EXPECT_NE(ino, vd_inflight_ino(&sup));
	EXPECT_NE(0, vd_inflight_ino(&sup));
	EXPECT_EQ(0, works(d));
	vd_close(&sup);
}

static int punch(int fd, off_t at)
{
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 4096) ? -errno : 0;
}

TEST_F(get, hole_while_it_runs)
{
	struct vd *d = &self->r.d;
	struct vhost_inflight_fd arg;
	struct vd_inflight r;

	ASSERT_EQ(0, vd_start(d, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(d, &r, variant->packed));
	ASSERT_EQ(0, punch(r.arg.fd, 0));
	EXPECT_EQ(-ESTALE, vd_inflight_get(d, &arg));
	EXPECT_EQ(0, works(d));
	/* nothing was in it: a guest that reboots gets another one */
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
	EXPECT_EQ(0, go(d));
	EXPECT_NE(0, vd_inflight_ino(d));
	EXPECT_NE(vd_ino(r.arg.fd), vd_inflight_ino(d));
	EXPECT_EQ(0, works(d));
	/* the same again is whole again: it gets new pages */
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
	EXPECT_EQ(0, vd_inflight_set(d, &r.arg));
	EXPECT_EQ(0, go(d));
	EXPECT_EQ(vd_ino(r.arg.fd), vd_inflight_ino(d));
	EXPECT_EQ(0, works(d));
}

/* ---- SET_FD ---- */

/* The device has had DRIVER_OK once and is at FEATURES_OK again. */
FIXTURE(set) {
	struct vd_rig r;
	struct vd_inflight was;
	struct vhost_inflight_fd arg;
};

FIXTURE_VARIANT(set) {
	bool packed;
};

FIXTURE_VARIANT_ADD(set, split) { false };
FIXTURE_VARIANT_ADD(set, packed) { true };

FIXTURE_SETUP(set)
{
	ASSERT_EQ(0, device(&self->r, VD_TMPFS, variant->packed));
	ASSERT_EQ(0, vd_start(&self->r.d, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(&self->r.d, &self->was, variant->packed));
	ASSERT_EQ(0, vd_reset(&self->r.d) ?: vd_negotiate(&self->r.d));
	self->arg = region_arg(variant->packed, memory(1 << 20));
	ASSERT_LE(0, self->arg.fd);
}

FIXTURE_TEARDOWN_PARENT(set)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* Refused, and the device has the region that it had. */
#define REFUSED(err, file) do {								\
	EXPECT_EQ(-(err), vd_ioctl(file, VHOST_INFLIGHT_SET_FD, &self->arg));			\
	EXPECT_EQ(vd_ino(self->was.arg.fd), vd_inflight_ino(&self->r.d));			\
} while (0)

#define UNHARMED() do {										\
	EXPECT_EQ(0, go(&self->r.d));								\
	EXPECT_EQ(vd_ino(self->was.arg.fd), vd_inflight_ino(&self->r.d));			\
	EXPECT_EQ(VHOST_INFLIGHT_VERSION, vd_inflight_split(&self->was, 0)->version);		\
	EXPECT_EQ(0, works(&self->r.d));							\
} while (0)

TEST_F(set, taken)
{
	struct vd *d = &self->r.d;

	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	EXPECT_EQ(vd_ino(self->arg.fd), vd_inflight_ino(d));
	EXPECT_EQ(0, go(d));
	EXPECT_EQ(vd_ino(self->arg.fd), vd_inflight_ino(d));
	EXPECT_EQ(0, works(d));
	/* what it had is nothing to it any more */
	EXPECT_EQ(0, vd_inflight_split(&self->was, 0)->version);
}

TEST_F(set, eperm_not_the_owner)
{
	struct vd other;

	ASSERT_EQ(0, vd_open(&other, self->r.name, &opts));
	REFUSED(EPERM, &other);
	vd_close(&other);
	UNHARMED();
}

TEST_F(set, eperm_nobody_owns)
{
	struct vd *d = &self->r.d;

	vd_close(d);
	ASSERT_EQ(0, vd_open(d, self->r.name, &opts));
	REFUSED(EPERM, d);
}

TEST_F(set, eperm_sealed)
{
	ASSERT_EQ(0, fcntl(self->arg.fd, F_ADD_SEALS, F_SEAL_WRITE));
	REFUSED(EPERM, &self->r.d);
	self->arg.fd = memory(1 << 20);
	ASSERT_EQ(0, fcntl(self->arg.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	REFUSED(EPERM, &self->r.d);
	UNHARMED();
}

TEST_F(set, ebusy_before_features_ok)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_reset(d));
	REFUSED(EBUSY, d);
	ASSERT_EQ(0, vd_set_status(d, VD_S_ACK | VD_S_DRIVER));
	REFUSED(EBUSY, d);
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
	UNHARMED();
}

TEST_F(set, ebusy_after_driver_ok)
{
	struct vd *d = &self->r.d;

	UNHARMED();
	REFUSED(EBUSY, d);
	ASSERT_EQ(0, vd_suspend(d));
	REFUSED(EBUSY, d);
	ASSERT_EQ(0, vd_resume(d));
	REFUSED(EBUSY, d);
	EXPECT_EQ(0, works(d));
}

TEST_F(set, einval_flags)
{
	self->arg.flags = 1;
	REFUSED(EINVAL, &self->r.d);
	self->arg.flags = 1U << 31;
	REFUSED(EINVAL, &self->r.d);
	UNHARMED();
}

TEST_F(set, einval_offset)
{
	self->arg.mmap_offset = 1;
	REFUSED(EINVAL, &self->r.d);
	self->arg.mmap_offset = 4096 + 512;
	REFUSED(EINVAL, &self->r.d);
	UNHARMED();
}

TEST_F(set, enobufs_queues)
{
	self->arg.num_queues = QUEUES + 1;
	REFUSED(ENOBUFS, &self->r.d);
	self->arg.num_queues = QUEUES - 1;
	REFUSED(ENOBUFS, &self->r.d);
	self->arg.num_queues = 0;
	REFUSED(ENOBUFS, &self->r.d);
	UNHARMED();
}

TEST_F(set, erange_queue_size)
{
	self->arg.queue_size = NUM;	/* that of the rings does not count */
	REFUSED(ERANGE, &self->r.d);
	self->arg.queue_size = SIZE * 2;
	REFUSED(ERANGE, &self->r.d);
	self->arg.queue_size = 0;
	REFUSED(ERANGE, &self->r.d);
	UNHARMED();
}

TEST_F(set, eproto_features)
{
	self->arg.features = self->r.d.features ^ 1ULL << 34;
	REFUSED(EPROTO, &self->r.d);
	self->arg.features = 1;
	REFUSED(EPROTO, &self->r.d);
	UNHARMED();
	ASSERT_EQ(0, vd_reset(&self->r.d) ?: vd_negotiate(&self->r.d));
	self->arg.features = self->r.d.features;
	EXPECT_EQ(0, vd_ioctl(&self->r.d, VHOST_INFLIGHT_SET_FD, &self->arg));
	EXPECT_EQ(0, go(&self->r.d));
	EXPECT_EQ(vd_ino(self->arg.fd), vd_inflight_ino(&self->r.d));
	EXPECT_EQ(0, works(&self->r.d));
}

TEST_F(set, emsgsize_size)
{
	__u64 size = self->arg.mmap_size;

	self->arg.mmap_size = size - 1;
	REFUSED(EMSGSIZE, &self->r.d);
	self->arg.mmap_size = size + 1;
	REFUSED(EMSGSIZE, &self->r.d);
	self->arg.mmap_size = 0;
	REFUSED(EMSGSIZE, &self->r.d);
	self->arg.mmap_size = region_bytes(!variant->packed);
	REFUSED(EMSGSIZE, &self->r.d);
	UNHARMED();
}

TEST_F(set, emsgsize_short_file)
{
	self->arg.fd = memory(self->arg.mmap_size - 1);
	REFUSED(EMSGSIZE, &self->r.d);
	self->arg.fd = memory(0);
	REFUSED(EMSGSIZE, &self->r.d);
	self->arg.fd = memory(4096 + self->arg.mmap_size - 1);
	self->arg.mmap_offset = 4096;
	REFUSED(EMSGSIZE, &self->r.d);
	self->arg.mmap_offset = 1 << 20;
	REFUSED(EMSGSIZE, &self->r.d);
	self->arg.mmap_offset = ~4095ULL;
	REFUSED(EMSGSIZE, &self->r.d);
	UNHARMED();
}

TEST_F(set, ebadf)
{
	self->arg.fd = -1;
	REFUSED(EBADF, &self->r.d);
	self->arg.fd = 1000;
	REFUSED(EBADF, &self->r.d);
	self->arg.fd = open("/dev/zero", O_PATH | O_CLOEXEC);
	REFUSED(EBADF, &self->r.d);
	UNHARMED();
}

TEST_F(set, emediumtype)
{
	struct vd_backing file;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	self->arg.fd = fds[0];
	REFUSED(EMEDIUMTYPE, &self->r.d);
	self->arg.fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	REFUSED(EMEDIUMTYPE, &self->r.d);
	self->arg.fd = self->r.d.fd;
	REFUSED(EMEDIUMTYPE, &self->r.d);
	ASSERT_EQ(0, vd_backing_make(&file, VD_EXT4, 1 << 20));
	self->arg.fd = open(file.path, O_RDWR | O_CLOEXEC);
	vd_backing_free(&file);
	REFUSED(EMEDIUMTYPE, &self->r.d);
	self->arg.fd = open(getenv("VBLK_TMPFS") ?: "/run/vblk/tmpfs", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->arg.fd);
	REFUSED(EMEDIUMTYPE, &self->r.d);
	self->arg.fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	if (self->arg.fd >= 0) {
		REFUSED(EMEDIUMTYPE, &self->r.d);
	}
	UNHARMED();
}

TEST_F(set, eacces)
{
	char path[64];
	int fd = self->arg.fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	self->arg.fd = open(path, O_RDONLY | O_CLOEXEC);
	REFUSED(EACCES, &self->r.d);
	self->arg.fd = open(path, O_WRONLY | O_CLOEXEC);
	REFUSED(EACCES, &self->r.d);
	UNHARMED();
}

/* Many regions in one file, as a supervisor may keep them; nothing around it is touched. */
TEST_F(set, within_a_file_on_tmpfs)
{
	const char *tmpfs = getenv("VBLK_TMPFS") ?: "/run/vblk/tmpfs";
	__u8 *map, *all;
	size_t end;

	self->arg.fd = open(tmpfs, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	ASSERT_LE(0, self->arg.fd);
	ASSERT_EQ(0, ftruncate(self->arg.fd, 1 << 20));
	map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, self->arg.fd, 0);
	memset(map, 0x5a, 1 << 20);
	self->arg.mmap_offset = 3 * 4096;
	memset(map + self->arg.mmap_offset, 0, self->arg.mmap_size);
	ASSERT_EQ(0, vd_ioctl(&self->r.d, VHOST_INFLIGHT_SET_FD, &self->arg));
	ASSERT_EQ(0, go(&self->r.d));
	EXPECT_EQ(0, works(&self->r.d));
	EXPECT_EQ(VHOST_INFLIGHT_VERSION, map[self->arg.mmap_offset + 8]);
	end = self->arg.mmap_offset + self->arg.mmap_size;
	all = malloc(1 << 20);
	memset(all, 0x5a, 1 << 20);
	EXPECT_EQ(0, memcmp(map, all, self->arg.mmap_offset));
	EXPECT_EQ(0, memcmp(map + end, all, (1 << 20) - end));
	ASSERT_EQ(0, vd_inflight_get(&self->r.d, &self->arg));
	EXPECT_EQ(3 * 4096, self->arg.mmap_offset);
	free(all);
}

/* What VHOST_SET_VRING_BASE said is not what the region says. */
TEST_F(set, base)
{
	const __u32 wrong = variant->packed ? 0x80018001 : 1;
	const __u32 right = variant->packed ? 0x80008000 : 0;
	struct vd *d = &self->r.d;

	/* of a fresh region, anything is right that has nothing in flight */
	ASSERT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	ASSERT_EQ(0, go(d));
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
	self->was.map = mmap(NULL, self->arg.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->arg.fd, 0);
	vd_inflight_split(&self->was, 0)->version = VHOST_INFLIGHT_VERSION;
	vd_inflight_split(&self->was, 1)->version = VHOST_INFLIGHT_VERSION;
	ASSERT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	vd_queue_fresh(d->q[0]);
	vd_queue_fresh(d->q[1]);
	ASSERT_EQ(0, vd_setup_queues(d));
	ASSERT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 1, wrong));
	EXPECT_EQ(-EINVAL, vd_driver_ok(d));
	EXPECT_EQ(-EINVAL, vd_driver_ok(d));
	EXPECT_EQ(ALL, vd_status(d));
	ASSERT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 1, right));
	vd_drain_fd(d->q[0]->call);
	vd_drain_fd(d->q[1]->call);
	EXPECT_EQ(0, vd_driver_ok(d));
	/* the first queue was fine each time, and still the guest is notified, once */
	EXPECT_EQ(1, poll(&(struct pollfd){ .fd = d->q[0]->call, .events = POLLIN }, 1, VD_WAIT_MS));
	EXPECT_EQ(1, poll(&(struct pollfd){ .fd = d->q[1]->call, .events = POLLIN }, 1, VD_WAIT_MS));
	EXPECT_EQ(1, vd_drain_fd(d->q[0]->call));
	EXPECT_EQ(1, vd_drain_fd(d->q[1]->call));
	EXPECT_EQ(0, works(d));
}

/* What it was told is still what counts when another region follows. */
TEST_F(set, base_after_a_refusal)
{
	struct vd *d = &self->r.d;
	__u8 *map = mmap(NULL, self->arg.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->arg.fd, 0);

	ASSERT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	ASSERT_EQ(0, go(d));
	ASSERT_EQ(0, works(d));
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
	/* of the first: used up to somewhere, and told so; the last one's is of a later version */
	map[8] = VHOST_INFLIGHT_VERSION;
	map[self->arg.mmap_size / QUEUES + 8] = VHOST_INFLIGHT_VERSION + 1;
	ASSERT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	ASSERT_EQ(0, vd_setup_queues(d));
	EXPECT_EQ(-EPROTONOSUPPORT, vd_driver_ok(d));
	if (variant->packed) {
		((struct vhost_inflight_region_packed *)map)->used_idx = 1;
		((struct vhost_inflight_region_packed *)map)->old_used_idx = 1;
	} else {
		((struct vhost_inflight_region_split *)map)->used_idx = 0;
		d->q[0]->used->idx = 0;
	}
	map[self->arg.mmap_size / QUEUES + 8] = VHOST_INFLIGHT_VERSION;
	EXPECT_EQ(-EINVAL, vd_driver_ok(d));
}

TEST_F(set, estale)
{
	struct vd *d = &self->r.d;
	struct vhost_inflight_fd arg;

	ASSERT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	ASSERT_EQ(0, punch(self->arg.fd, 4096));
	EXPECT_EQ(-ESTALE, vd_inflight_get(d, &arg));
	EXPECT_EQ(-ESTALE, go(d));
	EXPECT_EQ(ALL, vd_status(d));
	ASSERT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	/* gone altogether */
	ASSERT_EQ(0, ftruncate(self->arg.fd, 0));
	EXPECT_EQ(-ESTALE, go(d));
	EXPECT_EQ(-EMSGSIZE, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	self->arg.fd = memory(1 << 20);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	EXPECT_EQ(0, go(d));
	EXPECT_EQ(0, works(d));
}

/* ---- what is in it ---- */

struct region {
	struct vhost_inflight_region_split *s;
	struct vhost_inflight_region_packed *p;
};

/* Of a valid region with nothing in flight, spoils the last queue's. */
FIXTURE(content) {
	struct vd_rig r;
	struct vd_inflight reg;
};

FIXTURE_VARIANT(content) {
	bool packed;
	int err;
	void (*spoil)(struct region r);
};

#define SPOIL(layout, name, is_packed, error, what)						\
static void spoil_##layout##_##name(struct region r) { what; }					\
FIXTURE_VARIANT_ADD(content, layout##_##name) { is_packed, error, spoil_##layout##_##name }
#define SPLIT(name, error, what)	SPOIL(split, name, false, error, what)
#define PACKED(name, error, what)	SPOIL(packed, name, true, error, what)

SPLIT(version_2, EPROTONOSUPPORT, r.s->version = 2);
SPLIT(version_max, EPROTONOSUPPORT, r.s->version = 0xffff);
SPLIT(feature_0, EOPNOTSUPP, r.s->features = 1);
SPLIT(feature_63, EOPNOTSUPP, r.s->features = 1ULL << 63);
SPLIT(desc_num_0, EMSGSIZE, r.s->desc_num = 0);
SPLIT(desc_num_of_the_ring, EMSGSIZE, r.s->desc_num = NUM);
SPLIT(desc_num_more, EMSGSIZE, r.s->desc_num = SIZE + 1);
SPLIT(last_batch_head, EUCLEAN, r.s->last_batch_head = SIZE);
SPLIT(used_idx_ahead, EUCLEAN, r.s->used_idx = 1);
SPLIT(batch_longer_than_the_ring, EUCLEAN, r.s->used_idx = -(NUM + 1));
SPLIT(batch_is_a_loop, EUCLEAN, r.s->used_idx = -2; r.s->last_batch_head = 3; r.s->desc[3].next = 3);
SPLIT(batch_leaves_the_ring, EUCLEAN, r.s->used_idx = -2; r.s->desc[0].next = NUM);
SPLIT(inflight_2, EUCLEAN, r.s->desc[NUM - 1].inflight = 2);
SPLIT(inflight_behind_the_ring, EUCLEAN, r.s->desc[NUM].inflight = 1);
SPLIT(inflight_in_the_last, EUCLEAN, r.s->desc[SIZE - 1].inflight = 1);

PACKED(version_2, EPROTONOSUPPORT, r.p->version = 2);
PACKED(feature_63, EOPNOTSUPP, r.p->features = 1ULL << 63);
PACKED(desc_num_of_the_ring, EMSGSIZE, r.p->desc_num = NUM);
PACKED(used_idx, EUCLEAN, r.p->used_idx = NUM);
PACKED(old_used_idx, EUCLEAN, r.p->old_used_idx = NUM);
PACKED(used_wrap_counter, EUCLEAN, r.p->used_wrap_counter = 2);
PACKED(old_used_wrap_counter, EUCLEAN, r.p->old_used_wrap_counter = 2);
PACKED(free_list_is_a_loop, EUCLEAN, r.p->desc[5].next = 2);
PACKED(inflight_2, EUCLEAN, r.p->desc[3].inflight = 2);

/* A buffer that takes the first @n entries, which it should not all have. */
static void first_entries(struct region r, unsigned int n)
{
	r.p->free_head = n;
	r.p->old_free_head = n;
	r.p->desc[0].inflight = 1;
	r.p->desc[0].num = n;
	r.p->desc[0].last = n - 1;
}

PACKED(no_descriptor, EUCLEAN, first_entries(r, 1); r.p->desc[0].num = 0);
PACKED(longer_than_the_ring, EUCLEAN, first_entries(r, NUM + 1));
PACKED(other_last, EUCLEAN, first_entries(r, 2); r.p->desc[0].last = 0);
PACKED(last_out_of_range, EUCLEAN, first_entries(r, 2); r.p->desc[0].last = SIZE);
PACKED(id_out_of_range, EUCLEAN, first_entries(r, 1); r.p->desc[0].id = NUM);
PACKED(chain_leaves_the_region, EUCLEAN, first_entries(r, 2); r.p->desc[0].next = SIZE);
PACKED(chain_is_a_loop, EUCLEAN, first_entries(r, 2); r.p->desc[0].next = 0; r.p->desc[0].last = 0);
PACKED(chain_has_a_free_entry, EUCLEAN, first_entries(r, 2); r.p->desc[0].next = 9; r.p->desc[0].last = 9);
/* And another one, at @at. */
static void one_more(struct region r, unsigned int at, unsigned int head)
{
	r.p->free_head = head;
	r.p->old_free_head = head;
	r.p->desc[at].inflight = 1;
	r.p->desc[at].num = 1;
	r.p->desc[at].last = at;
}

PACKED(two_share_an_entry, EUCLEAN, first_entries(r, 2); one_more(r, 1, 2));
PACKED(two_have_one_id, EUCLEAN, first_entries(r, 1); one_more(r, 1, 2));
PACKED(more_than_the_ring_has, EUCLEAN, first_entries(r, NUM); one_more(r, NUM, NUM + 1); r.p->desc[NUM].id = 1);

FIXTURE_SETUP(content)
{
	struct vd_inflight was;
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, device(&self->r, VD_TMPFS, variant->packed));
	ASSERT_EQ(0, vd_start(d, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(d, &was, variant->packed));
	self->reg = was;
	self->reg.arg.fd = memory(1 << 20);
	self->reg.map = mmap(NULL, was.arg.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, self->reg.arg.fd, 0);
	memcpy(self->reg.map, was.map, was.arg.mmap_size);
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
}

FIXTURE_TEARDOWN_PARENT(content)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

TEST_F(content, refused)
{
	struct region last = { vd_inflight_split(&self->reg, QUEUES - 1), vd_inflight_packed(&self->reg, QUEUES - 1) };
	__u8 *good = malloc(self->reg.arg.mmap_size), *bad = malloc(self->reg.arg.mmap_size);
	struct vd *d = &self->r.d;

	memcpy(good, self->reg.map, self->reg.arg.mmap_size);
	variant->spoil(last);
	memcpy(bad, self->reg.map, self->reg.arg.mmap_size);
	ASSERT_EQ(0, vd_inflight_set(d, &self->reg.arg));
	EXPECT_EQ(-variant->err, go(d));
	EXPECT_EQ(0, memcmp(bad, self->reg.map, self->reg.arg.mmap_size));
	EXPECT_EQ(ALL, vd_status(d));
	/* told again, it is told the same */
	EXPECT_EQ(-variant->err, go(d));
	EXPECT_EQ(0, memcmp(bad, self->reg.map, self->reg.arg.mmap_size));
	/* and with another it works */
	memcpy(self->reg.map, good, self->reg.arg.mmap_size);
	EXPECT_EQ(0, go(d));
	EXPECT_EQ(0, works(d));
}

/* ---- on a disk that stands still ---- */

FIXTURE(held) {
	struct vd_rig r;
};

FIXTURE_VARIANT(held) {
	bool packed;
};

FIXTURE_VARIANT_ADD(held, split) { false };
FIXTURE_VARIANT_ADD(held, packed) { true };

FIXTURE_SETUP(held)
{
	ASSERT_EQ(0, device(&self->r, VD_DM_WAIT, variant->packed));
}

FIXTURE_TEARDOWN_PARENT(held)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

#define OUT	6	/* requests of the last queue */

/* Direct, of two segments, and indirect ones. */
static int submit(struct vd_queue *q, unsigned int i)
{
	__u64 data = q->d->mem[0].iova + q->d->mem[0].size - 65536 + i * 8192;
	struct vd_buf b[2] = { { data, 4096, i % 2 }, { data + 4096, 512, i % 2 } };

	return vd_submit(q, i % 2 ? VD_T_IN : VD_T_OUT, i * 16, b, 2, i % 3 == 2 ? VD_INDIRECT : VD_DIRECT);
}

/* One of them in a packed region: its descriptors, as they are in the ring from @slot on. */
static bool same_descs(const struct vhost_inflight_region_packed *p, const struct vd_queue *q, int head, __u16 slot,
		       __u64 *counter)
{
	unsigned int i, n;
	__u16 at;

	for (i = 0; i < SIZE; i++)
		if (p->desc[i].inflight && p->desc[i].last < SIZE && p->desc[p->desc[i].last].id == head)
			break;
	if (i == SIZE || p->desc[i].num != q->chain[head])
		return false;
	*counter = p->desc[i].counter;
	for (n = 0, at = i; n < q->chain[head]; n++) {
		const struct vring_packed_desc *d = &q->ring[(slot + n) % q->num];

		if (at >= SIZE || p->desc[at].id != d->id || p->desc[at].flags != d->flags ||
		    p->desc[at].len != d->len || p->desc[at].addr != d->addr)
			return false;
		if (n + 1 == q->chain[head] && at != p->desc[i].last)
			return false;
		at = p->desc[at].next;
	}
	return true;
}

TEST_F(held, what_is_in_flight)
{
	struct vd_queue *q;
	struct vd *d = &self->r.d;
	struct vd_inflight r;
	__u64 counter[OUT];
	__u16 slot[OUT];
	unsigned int i, round;
	int head[OUT];

	ASSERT_EQ(0, vd_start(d, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(d, &r, variant->packed));
	q = d->q[QUEUES - 1];
	/* the packed ring wraps in some */
	for (round = 0; round < 6; round++) {
		ASSERT_EQ(0, works(d));
		ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
		for (i = 0; i < OUT; i++) {
			slot[i] = q->put.slot;
			head[i] = submit(q, i);
			ASSERT_LE(0, head[i]);
		}
		vd_kick(q);
		ASSERT_EQ(0, vd_inflight_wait(&r, QUEUES - 1, OUT));
		EXPECT_EQ(0, vd_inflight_heads(&r, 0, NULL));
		for (i = 0; i < OUT; i++) {
			if (variant->packed) {
				ASSERT_TRUE(same_descs(vd_inflight_packed(&r, QUEUES - 1), q, head[i], slot[i],
						       &counter[i]));
			} else {
				ASSERT_EQ(1, vd_inflight_split(&r, QUEUES - 1)->desc[head[i]].inflight);
				counter[i] = vd_inflight_split(&r, QUEUES - 1)->desc[head[i]].counter;
			}
			EXPECT_EQ(counter[0] + i, counter[i]);
		}
		ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
		ASSERT_EQ(0, vd_wait(q, OUT, VD_WAIT_MS));
		ASSERT_EQ(0, vd_inflight_wait(&r, QUEUES - 1, 0));
	}
	/* nothing runs any more */
	ASSERT_EQ(0, vd_suspend(d));
	if (variant->packed) {
		struct vhost_inflight_region_packed *p = vd_inflight_packed(&r, QUEUES - 1);
		__u16 at = p->free_head;

		EXPECT_EQ(q->got.slot, p->used_idx);
		EXPECT_EQ(q->got.slot, p->old_used_idx);
		EXPECT_EQ(q->got.wrap, p->used_wrap_counter);
		EXPECT_EQ(q->got.wrap, p->old_used_wrap_counter);
		EXPECT_EQ(p->free_head, p->old_free_head);
		for (i = 0; at < SIZE && i <= SIZE; i++)
			at = p->desc[at].next;
		EXPECT_EQ(SIZE, i) TH_LOG("entries in the free list");
	} else {
		EXPECT_EQ(q->last_used, vd_inflight_split(&r, QUEUES - 1)->used_idx);
	}
}

static void *reset(void *arg)
{
	return (void *)(long)vd_reset(arg);
}

/* A supervisor has other devices to look after than the one whose disk does not answer. */
TEST_F(held, to_be_had_while_a_reset_waits)
{
	struct vhost_inflight_queue_info info = { .size = sizeof(info) };
	long end = vd_now_ms() + VD_WAIT_MS;
	struct vd *d = &self->r.d;
	struct vd_inflight r;
	struct vd sup;
	pthread_t t;
	unsigned int i;
	void *ret;

	ASSERT_EQ(0, vd_start(d, self->r.name, &opts));
	ASSERT_EQ(0, vd_inflight_take(d, &r, variant->packed));
	ASSERT_EQ(0, vd_open(&sup, self->r.name, &opts));
	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	for (i = 0; i < OUT; i++)
		ASSERT_LE(0, submit(d->q[0], i));
	vd_kick(d->q[0]);
	ASSERT_EQ(0, vd_inflight_wait(&r, 0, OUT));
	ASSERT_EQ(0, pthread_create(&t, NULL, reset, d));
	while (info.state != VHOST_INFLIGHT_QUEUE_DRAINING && vd_now_ms() < end)
		ASSERT_EQ(0, vd_ioctl(&sup, VHOST_INFLIGHT_GET_QUEUE, &info));
	EXPECT_EQ(vd_ino(r.arg.fd), vd_inflight_ino(&sup));
	/* still */
	EXPECT_EQ(EBUSY, pthread_tryjoin_np(t, &ret)) TH_LOG("it waited for the reset");
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, pthread_join(t, &ret));
	EXPECT_EQ(NULL, ret);
	vd_close(&sup);
}

/* A VMM that dies with OUT requests recorded in @r. False: no request was ever in flight. */
static bool die_in_flight(struct vd_rig *rig, struct vd_inflight *r, bool packed)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	unsigned int i;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid) {
		struct vd v;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (vd_start(&v, rig->name, &opts))
			_exit(1);
		for (i = 0; i < OUT; i++)
			submit(v.q[0], i);
		vd_kick(v.q[0]);
		for (;;)
			pause();
	}
	/* until it has started, and all is taken */
	while (vd_inflight_take(&rig->d, r, packed) && vd_now_ms() < end)
		poll(NULL, 0, 1);
	if (vd_inflight_wait(r, 0, OUT))
		return false;
	kill(pid, SIGKILL);
	return !vd_child_end(pid, &status, VD_WAIT_MS) && WIFSIGNALED(status);
}

/*
 * What the owner before left at the disk must be back. Recorded is not yet at the disk: what the
 * kill finds on the way is taken back, and where that was all, it is done once more.
 */
TEST_F(held, ebusy_with_orphans)
{
	struct vhost_inflight_info info;
	struct vd *d = &self->r.d;
	struct vd_inflight r;
	unsigned int tries;
	long end;
	int ret;

	for (tries = 1;; tries++) {
		ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
		ASSERT_EQ(0, vd_open(d, self->r.name, &opts));
		ASSERT_TRUE(die_in_flight(&self->r, &r, variant->packed));
		end = vd_now_ms() + VD_WAIT_MS;
		do {
			ret = vd_negotiate(d);
		} while (ret == -EBUSY && vd_now_ms() < end);
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, vd_info(d, &info));
		if (info.orphans)
			break;
		ASSERT_GT(20, tries) TH_LOG("no request was ever at the disk");
		EXPECT_EQ(0, vd_inflight_set(d, &r.arg));
		vd_close(d);
		ASSERT_EQ(0, vd_rig_free(&self->r));
		ASSERT_EQ(0, device(&self->r, VD_DM_WAIT, variant->packed));
	}
	EXPECT_EQ(-EBUSY, vd_inflight_set(d, &r.arg));
	EXPECT_EQ(vd_ino(r.arg.fd), vd_inflight_ino(d));
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	do {
		ASSERT_EQ(0, vd_info(d, &info));
	} while (info.orphans && vd_now_ms() < end);
	EXPECT_EQ(0, vd_inflight_set(d, &r.arg));
	/* what is in flight is what was: the dead give nothing back */
	EXPECT_EQ(OUT, vd_inflight_heads(&r, 0, NULL));
}

/* ---- what somebody else writes meanwhile ---- */

struct meddler {
	void *map, *good;
	size_t bytes;
	bool stop;
};

/* Now and then all of it is right, so that what is behind the checks sees something, too. */
static void *meddle(void *arg)
{
	struct meddler *m = arg;
	unsigned int seed = 1;

	while (!__atomic_load_n(&m->stop, __ATOMIC_RELAXED)) {
		unsigned int i, n = rand_r(&seed) % 64;

		if (!(rand_r(&seed) % 4))
			memcpy(m->map, m->good, m->bytes);
		for (i = 0; i < n; i++) {
			volatile __u8 *p = m->map + rand_r(&seed) % m->bytes;

			*p = rand_r(&seed) % 4 ? rand_r(&seed) % 3 : rand_r(&seed);
		}
	}
	return NULL;
}

static bool is_answer(int ret)
{
	return !ret || ret == -EPROTONOSUPPORT || ret == -EOPNOTSUPP || ret == -EMSGSIZE || ret == -EUCLEAN ||
	       ret == -EINVAL;
}

/* An errno or a start, each in time; and then the device is as good as ever. */
TEST_F_TIMEOUT(set, rewritten_while_it_starts, 120)
{
	unsigned int i, j, n = vd_rounds(160), started = 0;
	struct vd *d = &self->r.d;
	struct meddler m = { .bytes = self->arg.mmap_size };
	pthread_t thread;
	int ret;

	ASSERT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	ASSERT_EQ(0, go(d));
	m.map = mmap(NULL, m.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, self->arg.fd, 0);
	m.good = malloc(m.bytes);
	memcpy(m.good, m.map, m.bytes);
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
	ASSERT_EQ(0, pthread_create(&thread, NULL, meddle, &m));
	/* Until it started once with what it found there, which is for chance to say. */
	for (i = 0; i < n || (!started && i < 16 * n); i++) {
		ret = vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg);
		if (ret)
			break;
		for (j = 0; j < QUEUES; j++)
			vd_queue_fresh(d->q[j]);
		ret = vd_setup_queues(d);
		/* something to find at the heads it names, and something new */
		for (j = 0; j < 8; j++)
			submit(d->q[j % QUEUES], j % 7);
		ret = ret ?: vd_driver_ok(d);
		if (!is_answer(ret))
			break;
		started += !ret;
		vd_kick_always(d->q[0]);
		ret = vd_reset(d) ?: vd_negotiate(d);
		if (ret)
			break;
	}
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, ret) TH_LOG("round %u", i);
	EXPECT_LT(0, started);
	memset(m.map, 0, m.bytes);
	ASSERT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	EXPECT_EQ(0, go(d));
	EXPECT_EQ(0, works(d));
}

/* It is never read back: who rewrites it disturbs the next device, not this one. */
TEST_F_TIMEOUT(set, rewritten_while_it_runs, 60)
{
	struct vd *d = &self->r.d;
	struct meddler m = { .bytes = self->arg.mmap_size };
	unsigned int i, n = vd_rounds(80);
	pthread_t thread;

	ASSERT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &self->arg));
	ASSERT_EQ(0, go(d));
	m.map = mmap(NULL, m.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, self->arg.fd, 0);
	m.good = calloc(1, m.bytes);
	ASSERT_EQ(0, pthread_create(&thread, NULL, meddle, &m));
	for (i = 0; i < n; i++)
		if (works(d))
			break;
	__atomic_store_n(&m.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(n, i);
	EXPECT_EQ(0, d->q[0]->bad_used + d->q[1]->bad_used);
}

TEST_HARNESS_MAIN
