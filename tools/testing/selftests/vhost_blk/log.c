// SPDX-License-Identifier: GPL-2.0
/*
 * VHOST_INFLIGHT_SET_LOG: no page of guest memory changes by the device's hand that is not logged. Memory is compared with what
 * it was before; the driver writes nothing in between. What is logged and has not changed is counted and told.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x40000000ULL
#define MEM	(16 << 20)
#define PAGES	(MEM >> VHOST_INFLIGHT_LOG_SHIFT)
#define DATA	(IOVA + (4 << 20))	/* a place of 64 KiB for each request */
#define PLACE	65536
#define NUM	128
#define QUEUES	2
#define DETACH	"/sys/kernel/config/vhost_blk/detach"
#define ENGINE	"/run/vblk/vhost_blk.ko"	/* lib.sh inserted it from there */

#define RING_FEATURES	(VD_F_INDIRECT | VD_F_EVENT_IDX | VD_F_PACKED | VD_F_IN_ORDER | VD_F_PARTIAL_ORDER)

struct log {
	struct vhost_inflight_log arg;
	__u64 *map;
	__u8 *before;		/* guest memory */
	unsigned long changed, logged;
	unsigned long page;	/* that is missing */
};

FIXTURE(log) {
	struct vd_rig r;
	struct log l;
	unsigned int seed;
};

FIXTURE_VARIANT(log) {
	enum vd_backing_kind kind;
	__u64 features;
};

FIXTURE_VARIANT_ADD(log, split) { VD_DM, VD_F_EVENT_IDX | VD_F_INDIRECT };
FIXTURE_VARIANT_ADD(log, split_no_event_idx_file) { VD_TMPFS, VD_F_IN_ORDER };
FIXTURE_VARIANT_ADD(log, packed) { VD_DM, VD_F_PACKED | VD_F_EVENT_IDX };
/* Not null_blk, which before 6.18 copies beyond its pages where memory is less aligned than its blocks are large. */
FIXTURE_VARIANT_ADD(log, packed_in_order_bounced) { VD_LOOP4096, VD_F_PACKED | VD_F_INDIRECT | VD_F_IN_ORDER };
FIXTURE_VARIANT_ADD(log, packed_partial_order) { VD_DM, VD_F_PACKED | VD_F_EVENT_IDX | VD_F_PARTIAL_ORDER };

static int set_log(struct vd *d, struct vhost_inflight_log *arg)
{
	arg->size = sizeof(*arg);
	return vd_ioctl(d, VHOST_INFLIGHT_SET_LOG, arg);
}

static int no_log(struct vd *d)
{
	return set_log(d, &(struct vhost_inflight_log){ .fd = -1 });
}

static int log_for(struct log *l, __u64 bytes)
{
	l->arg = (struct vhost_inflight_log){
		.fd = memfd_create("log", MFD_CLOEXEC), .mmap_size = bytes, .iova = IOVA,
	};
	l->before = malloc(MEM);
	if (ftruncate(l->arg.fd, bytes))
		return -errno;
	l->map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, l->arg.fd, 0);
	return l->map == MAP_FAILED ? -errno : 0;
}

FIXTURE_SETUP(log)
{
	struct vd_config c = { .num_queues = QUEUES, .packed = true, .in_order = true, .partial_order = true };
	struct vd_opts o = {
		.iova = IOVA, .mem_size = MEM, .num = NUM, .num_queues = QUEUES,
		.drop_features = RING_FEATURES & ~variant->features,
	};
	struct log *l = &self->l;
	unsigned int i;
	__u8 *disk;

	self->seed = vd_now_ms();
	srandom(self->seed);
	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, &c, NULL));
	disk = malloc(DISK);
	vd_fill(disk, DISK, 0, 1);
	ASSERT_EQ(0, vd_backing_write(&self->r.b, 0, disk, DISK));
	free(disk);
	ASSERT_EQ(0, vd_start(&self->r.d, self->r.name, &o));
	for (i = 0; i < QUEUES; i++)
		self->r.d.q[i]->ops->call_off(self->r.d.q[i]);
	ASSERT_EQ(0, log_for(l, PAGES / 8));
}

FIXTURE_TEARDOWN_PARENT(log)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static void clear(struct log *l)
{
	for (unsigned int i = 0; i < PAGES / 64; i++)
		__atomic_exchange_n(&l->map[i], 0, __ATOMIC_SEQ_CST);
}

/* From here on the driver writes nothing. */
static void begin(struct vd *d, struct log *l)
{
	memcpy(l->before, d->mem[0].va, MEM);
}

/* The device stands still. 0, or -ENODATA and which page it is. */
static int compare(struct vd *d, struct log *l)
{
	const __u8 *now = d->mem[0].va;
	unsigned long i;

	for (i = 0; i < PAGES; i++) {
		bool changed = memcmp(now + i * 4096, l->before + i * 4096, 4096);
		bool logged = l->map[i / 64] >> i % 64 & 1;

		l->changed += changed;
		l->logged += logged;
		if (changed && !logged) {
			l->page = i;
			return -ENODATA;
		}
	}
	return 0;
}

/* A request of any kind, somewhere in its place. Its head. */
static int put(struct vd_queue *q, unsigned int place)
{
	__u64 addr = DATA + (__u64)place * PLACE + random() % 64 * 512, sector = random() % (DISK / 4096 - 8) * 8;
	__u32 len = (1 + random() % 6) * 4096, first = random() % (len / 512) * 512, type = VD_T_IN;
	enum vd_chain how = q->d->features & VD_F_INDIRECT && random() % 2 ? VD_INDIRECT : VD_DIRECT;
	struct vd_buf b[2];
	unsigned int n = 0;

	memset(vd_ptr(q->d, DATA + (__u64)place * PLACE), 0x5a, PLACE);
	switch (random() % 8) {
	case 0:
		type = VD_T_OUT;
		break;
	case 1:
		return vd_submit(q, VD_T_FLUSH, 0, NULL, 0, how);
	case 2:
		b[0] = (struct vd_buf){ addr, 20, true };
		return vd_submit(q, VD_T_GET_ID, 0, b, 1, how);
	}
	if (first)
		b[n++] = (struct vd_buf){ addr, first, type == VD_T_IN };
	b[n++] = (struct vd_buf){ addr + first, len - first, type == VD_T_IN };
	return vd_submit(q, type, sector, b, n, how);
}

/* As many as there is room for, on all queues. How many on each. */
static void fill(struct vd *d, unsigned int *n)
{
	const unsigned int most = 24;
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		for (n[i] = 0; n[i] < most && put(d->q[i], i * most + n[i]) >= 0; n[i]++)
			;
}

static int all_back(struct vd *d, const unsigned int *n)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < QUEUES && !ret; i++)
		ret = vd_spin(d->q[i], n[i], VD_WAIT_MS);
	return ret;
}

static void kick(struct vd *d)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		vd_kick_always(d->q[i]);
}

/* Everything there is to write, by a device that stands still before and after. */
static int round_of(struct vd *d, struct log *l)
{
	unsigned int n[QUEUES];
	int ret = vd_suspend(d);

	if (ret)
		return ret;
	fill(d, n);
	clear(l);
	begin(d, l);
	ret = vd_resume(d);
	if (ret)
		return ret;
	kick(d);
	ret = all_back(d, n) ?: vd_suspend(d) ?: compare(d, l);
	return ret ?: vd_resume(d);
}

/* The same by one that goes on: it has nothing to do before, and comes to the end of its turn. */
static int running_round(struct vd *d, struct log *l)
{
	unsigned int n[QUEUES], i;
	int ret;

	fill(d, n);
	clear(l);
	begin(d, l);
	kick(d);
	ret = all_back(d, n);
	/* This waits for the queue's lock. */
	for (i = 0; i < QUEUES && !ret; i++)
		ret = vd_vring_file(d, VHOST_SET_VRING_ERR, i, d->q[i]->err);
	return ret ?: compare(d, l);
}

TEST_F_TIMEOUT(log, all_that_is_written, 120)
{
	struct vd *d = &self->r.d;
	struct log *l = &self->l;
	unsigned int n[QUEUES];
	int round, i, ret;

	ASSERT_EQ(0, set_log(d, &l->arg));
	for (round = 0; round < vd_rounds(20); round++) {
		ret = round % 2 ? round_of(d, l) : running_round(d, l);
		ASSERT_EQ(0, ret) TH_LOG("round %d: page %#lx, seed %u", round, l->page, self->seed);
	}
	EXPECT_LT(round * QUEUES * 10, l->changed);
	TH_LOG("%lu pages changed, %lu were logged", l->changed, l->logged);
	/* Off: nothing more. */
	ASSERT_EQ(0, no_log(d));
	clear(l);
	fill(d, n);
	kick(d);
	ASSERT_EQ(0, all_back(d, n));
	ASSERT_EQ(0, vd_suspend(d));
	for (i = 0; i < PAGES / 64; i++)
		ASSERT_EQ(0, l->map[i]);
}

/* It stays on, whoever serves the queues, and over a reset. */
TEST_F_TIMEOUT(log, with_another_engine_and_after_a_reset, 60)
{
	struct vd *d = &self->r.d;
	struct log *l = &self->l;
	unsigned int n[QUEUES];
	int ret;

	ASSERT_EQ(0, set_log(d, &l->arg));
	ASSERT_EQ(0, vd_suspend(d));
	fill(d, n);
	clear(l);
	begin(d, l);
	ASSERT_EQ(0, vd_resume(d));
	kick(d);
	ASSERT_EQ(0, vd_write_file(DETACH, "5000"));
	ASSERT_EQ(0, vd_run("rmmod vhost_blk") ?: vd_run("insmod " ENGINE));
	ASSERT_EQ(0, all_back(d, n));
	ASSERT_EQ(0, vd_suspend(d));
	ret = compare(d, l);
	ASSERT_EQ(0, ret) TH_LOG("another engine: page %#lx, seed %u", l->page, self->seed);
	ASSERT_EQ(0, vd_reset(d) ?: vd_restart(d));
	ret = round_of(d, l);
	ASSERT_EQ(0, ret) TH_LOG("after a reset: page %#lx, seed %u", l->page, self->seed);
}

struct toggle {
	struct vd *d;
	struct log *l;
	int stop, wrong;
	unsigned long times;
};

static void *toggles(void *arg)
{
	struct toggle *t = arg;

	while (!__atomic_load_n(&t->stop, __ATOMIC_RELAXED) && !t->wrong) {
		t->wrong = t->times++ % 3 ? set_log(t->d, &t->l->arg) : no_log(t->d);
		clear(t->l);
	}
	return NULL;
}

/* On and off while the queues are at work; in the end it is as good as before. */
TEST_F_TIMEOUT(log, on_and_off_under_load, 60)
{
	struct toggle t = { .d = &self->r.d, .l = &self->l };
	struct vd *d = &self->r.d;
	unsigned int n[QUEUES];
	pthread_t thread;
	int i, ret;

	ASSERT_EQ(0, pthread_create(&thread, NULL, toggles, &t));
	for (i = 0; i < vd_rounds(40); i++) {
		fill(d, n);
		kick(d);
		ASSERT_EQ(0, all_back(d, n));
	}
	__atomic_store_n(&t.stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, t.wrong);
	EXPECT_LT(0, t.times);
	ASSERT_EQ(0, set_log(d, &self->l.arg));
	ret = round_of(d, &self->l);
	ASSERT_EQ(0, ret) TH_LOG("page %#lx, seed %u", self->l.page, self->seed);
}

/* ---- others ---- */

FIXTURE(begun) {
	struct vd_rig r;
	struct log l;
};

FIXTURE_SETUP(begun)
{
	struct vd_opts o = { .iova = IOVA, .mem_size = MEM, .num = NUM };

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_DM, DISK, NULL, &o));
	ASSERT_EQ(0, log_for(&self->l, PAGES / 8));
}

FIXTURE_TEARDOWN_PARENT(begun)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* What is at the disk, or waits for it, when the log begins is in it. */
TEST_F(begun, before_the_log)
{
	struct vd_queue *q = self->r.d.q[0];
	struct log *l = &self->l;
	unsigned int i;

	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	for (i = 0; i < 8; i++) {
		struct vd_buf b = { DATA + i * PLACE + 512, 4096 * 3, true };

		memset(vd_ptr(&self->r.d, b.addr), 0x5a, b.len);
		ASSERT_LE(0, vd_submit(q, VD_T_IN, i * 64, &b, 1, VD_DIRECT));
	}
	q->ops->call_off(q);
	vd_kick_always(q);
	for (long end = vd_now_ms() + VD_WAIT_MS; vd_now_ms() < end;) {
		struct vhost_inflight_queue_info info;

		ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &info));
		if (info.depth == 8)
			break;
	}
	ASSERT_EQ(0, set_log(&self->r.d, &l->arg));
	begin(&self->r.d, l);
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, vd_spin(q, 8, VD_WAIT_MS));
	ASSERT_EQ(0, vd_suspend(&self->r.d));
	EXPECT_EQ(0, compare(&self->r.d, l)) TH_LOG("page %#lx", l->page);
	EXPECT_LE(8 * 4, l->changed);
	for (i = 0; i < 8 * 4; i++) {
		unsigned long page = (DATA - IOVA + i / 4 * PLACE) / 4096 + i % 4;

		EXPECT_TRUE(l->map[page / 64] >> page % 64 & 1) TH_LOG("page %#lx", page);
	}
}

TEST_F(begun, arguments)
{
	const struct vhost_inflight_log good = self->l.arg;
	struct vd *d = &self->r.d;
	struct vhost_inflight_log arg;
	int fd, other;
	__u64 backend = VD_BE_MSG_V2;

#define REFUSED(err, ...) do {									\
	arg = good;										\
	__VA_ARGS__;										\
	EXPECT_EQ(-(err), set_log(d, &arg)) TH_LOG(#__VA_ARGS__);				\
} while (0)
	REFUSED(EINVAL, arg.mmap_size = 0);
	REFUSED(EINVAL, arg.mmap_size -= 4);
	REFUSED(EINVAL, arg.mmap_size = (256 << 20) + 8);
	REFUSED(EINVAL, arg.mmap_offset = 8);
	REFUSED(EINVAL, arg.iova += 512);
	REFUSED(EMSGSIZE, arg.mmap_offset = 4096);
	REFUSED(EMSGSIZE, arg.mmap_offset = ~4095ULL);
	REFUSED(EMSGSIZE, arg.mmap_size += 4096);
	REFUSED(EBADF, arg.fd = -2);
	REFUSED(EMEDIUMTYPE, arg.fd = d->fd);
	/* Not all that the device may write. */
	REFUSED(ERANGE, arg.mmap_size -= 8);
	REFUSED(ERANGE, arg.iova += 4096);
	REFUSED(ERANGE, arg.iova -= 4096);
	REFUSED(ERANGE, arg.iova = ~4095ULL);
	REFUSED(ERANGE, arg.iova = 0);
	fd = memfd_create("log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_EQ(0, ftruncate(fd, good.mmap_size));
	ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	REFUSED(EPERM, arg.fd = fd);
	close(fd);
	fd = open("/proc/self/exe", O_RDONLY);
	REFUSED(EMEDIUMTYPE, arg.fd = fd);
	close(fd);
	arg = good;
	arg.size = sizeof(arg) - 8;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_SET_LOG, &arg));
	EXPECT_EQ(-EFAULT, vd_ioctl(d, VHOST_INFLIGHT_SET_LOG, NULL));
	/* Somebody who only has it open. */
	other = d->fd;
	d->fd = vd_node_open(self->r.name, O_RDWR);
	REFUSED(EPERM, );
	close(d->fd);
	d->fd = other;
	/* Nothing of that has begun one: what it would not cover can be mapped. */
	EXPECT_LE(0, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA + MEM, 4096, d->mem[0].va, VHOST_ACCESS_RW));
	EXPECT_LE(0, vd_msg(d, VHOST_IOTLB_INVALIDATE, IOVA + MEM, 4096, NULL, 0));
	REFUSED(0, );
	/* as every message that is refused, see vhost */
	EXPECT_EQ(-EFAULT, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA + MEM, 4096, d->mem[0].va, VHOST_ACCESS_RW));
	EXPECT_EQ(-EFAULT, vd_msg(d, VHOST_IOTLB_UPDATE, 0, 4096, d->mem[0].va, VHOST_ACCESS_WO));
	EXPECT_LE(0, vd_msg(d, VHOST_IOTLB_UPDATE, 0, 4096, d->mem[0].va, VHOST_ACCESS_RO));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, DATA, 4096));
	EXPECT_LE(0, vd_msg(d, VHOST_IOTLB_INVALIDATE, 0, 4096, NULL, 0));
	EXPECT_EQ(0, no_log(d));
	EXPECT_EQ(0, no_log(d));
	EXPECT_LE(0, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA + MEM, 4096, d->mem[0].va, VHOST_ACCESS_RW));
	/* Not taken; one that is there can be ended. */
	EXPECT_LE(0, vd_msg(d, VHOST_IOTLB_INVALIDATE, IOVA + MEM, 4096, NULL, 0));
	REFUSED(0, );
	ASSERT_EQ(0, vd_ioctl(d, VHOST_SET_BACKEND_FEATURES, &backend));
	REFUSED(EOPNOTSUPP, );
	EXPECT_EQ(0, no_log(d));
	EXPECT_LE(0, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA + MEM, 4096, d->mem[0].va, VHOST_ACCESS_RW));
}

/* The next owner does not find it. */
TEST_F(begun, ends_with_the_owner)
{
	struct vd_opts o = self->r.d.opts;
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, set_log(d, &self->l.arg));
	vd_close(d);
	ASSERT_EQ(0, vd_start(d, self->r.name, &o));
	clear(&self->l);
	ASSERT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, DATA, 4096));
	for (unsigned int i = 0; i < PAGES / 64; i++)
		EXPECT_EQ(0, self->l.map[i]);
	EXPECT_LE(0, vd_msg(d, VHOST_IOTLB_UPDATE, 0, 4096, d->mem[0].va, VHOST_ACCESS_RW));
}

TEST_HARNESS_MAIN
