// SPDX-License-Identifier: GPL-2.0
/* Guest memory: messages, batches under load, memory that moves, and what it costs. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/capability.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "vblk_stop.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x100000
#define MEM	(8 << 20)
#define RW	VHOST_ACCESS_RW

FIXTURE(iotlb) {
	struct vd_rig r;
	struct vd_queue *q;
	__u64 buf;
};

FIXTURE_VARIANT(iotlb) {
	bool msg_v1;
	bool anon;
	enum vd_backing_kind kind;
	bool pinned;
};

FIXTURE_VARIANT_ADD(iotlb, v2_memfd) { false, false, VD_NULLB512 };
FIXTURE_VARIANT_ADD(iotlb, v1_memfd) { true, false, VD_NULLB512 };
FIXTURE_VARIANT_ADD(iotlb, v2_anon_file) { false, true, VD_TMPFS };
FIXTURE_VARIANT_ADD(iotlb, pinned) { false, false, VD_NULLB512, true };
FIXTURE_VARIANT_ADD(iotlb, pinned_anon_file) { false, true, VD_TMPFS, true };

FIXTURE_SETUP(iotlb)
{
	struct vd_config c = { .pin_memory = variant->pinned };
	struct vd_opts o = {
		.iova = IOVA,
		.mem_size = MEM,
		.num = 64,
		.msg_v1 = variant->msg_v1,
		.anon = variant->anon,
	};

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, &c, &o));
	self->q = self->r.d.q[0];
	self->buf = vd_alloc(&self->r.d, 1 << 20, 4096);
}

FIXTURE_TEARDOWN_PARENT(iotlb)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static int works(FIXTURE_DATA(iotlb) *self)
{
	return vd_rw(self->q, VD_T_IN, 0, self->buf, 4096);
}

/* In error, which is what a request to an address that is not there leads to. */
static bool broken(FIXTURE_DATA(iotlb) *self)
{
	return vd_poll_fd(self->q->err, VD_WAIT_MS) && vd_status(&self->r.d) & VD_S_NEEDS_RESET;
}

TEST_F(iotlb, bad_messages)
{
	struct vd *d = &self->r.d;
	void *va = d->mem[0].va;
	static const __u8 junk[128];
	__u32 type[18] = { 0 };
	unsigned int i;

	/* not a message */
	EXPECT_EQ(-1, write(d->fd, junk, 72));
	EXPECT_EQ(EINVAL, errno);
	for (i = 0; i < 32; i++) {
		type[0] = variant->msg_v1 ? VHOST_IOTLB_MSG : VHOST_IOTLB_MSG_V2;
		EXPECT_EQ(-1, write(d->fd, type, i)) TH_LOG("%u bytes", i);
		EXPECT_EQ(EINVAL, errno);
	}
	type[0] = 3;
	EXPECT_EQ(-1, write(d->fd, type, 72));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, syscall(SYS_write, d->fd, NULL, 72));
	EXPECT_EQ(EINVAL, errno);

	EXPECT_EQ(-EINVAL, vd_msg(d, VHOST_IOTLB_UPDATE, 0x40000000, 0, va, RW));
	EXPECT_EQ(-EFAULT, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA, 4096, va, RW)) TH_LOG("overlap");
	EXPECT_EQ(-EFAULT, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA - 4096, 8192, va, RW)) TH_LOG("overlap in front");
	EXPECT_EQ(-EFAULT, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA + MEM - 4096, 8192, va, RW)) TH_LOG("overlap behind");
	EXPECT_EQ(-EFAULT, vd_msg(d, VHOST_IOTLB_UPDATE, 0, MEM * 4, va, RW)) TH_LOG("overlap around");
	EXPECT_GT(0, vd_msg(d, VHOST_IOTLB_UPDATE, ~0ULL - 4095, 8192, va, RW)) TH_LOG("wraps");
	EXPECT_GT(0, vd_msg(d, VHOST_IOTLB_UPDATE, 0x40000000, ~0ULL - 0x1000, va, RW)) TH_LOG("wraps");
	EXPECT_GT(0, vd_msg(d, VHOST_IOTLB_UPDATE, 0x40000000, 4096, (void *)-4096L, RW)) TH_LOG("kernel address");
	EXPECT_GT(0, vd_msg(d, VHOST_IOTLB_UPDATE, 0x40000000, 4096, va, 0)) TH_LOG("no access");
	EXPECT_GT(0, vd_msg(d, VHOST_IOTLB_UPDATE, 0x40000000, 4096, va, 4)) TH_LOG("unknown access");
	EXPECT_GT(0, vd_msg(d, VHOST_IOTLB_MISS, 0x40000000, 4096, va, RW));
	EXPECT_GT(0, vd_msg(d, VHOST_IOTLB_ACCESS_FAIL, 0x40000000, 4096, va, RW));
	EXPECT_GT(0, vd_msg(d, 0, 0x40000000, 4096, va, RW));
	EXPECT_GT(0, vd_msg(d, 77, 0x40000000, 4096, va, RW));
	/* what is not mapped can be unmapped */
	EXPECT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, 0x70000000, 1 << 20, NULL, 0));
	EXPECT_EQ(0xf, vd_status(d));
	EXPECT_EQ(VD_OK, works(self));
}

TEST_F(iotlb, other_version_too)
{
	struct vd *d = &self->r.d;

	/* whatever was negotiated, both are understood */
	d->msg_v1 = !d->msg_v1;
	EXPECT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, 0x40000000, 4096, d->mem[0].va, RW));
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_OUT, 0, 0x40000000, 4096));
	EXPECT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, 0x40000000, 4096, NULL, 0));
}

TEST_F(iotlb, unmapped_data_then_mapped_again)
{
	struct vd *d = &self->r.d;
	__u64 at = 0x40000000;
	void *va = vd_ptr(d, self->buf);

	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at, 8192, va, RW));
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_IN, 0, at, 8192));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, at, 8192, NULL, 0));
	vd_submit(self->q, VD_T_IN, 0, &(struct vd_buf){ at, 8192, true }, 1, VD_DIRECT);
	vd_kick(self->q);
	EXPECT_TRUE(broken(self));
	ASSERT_EQ(0, vd_reset(d));
	ASSERT_EQ(0, vd_restart(d));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at, 8192, va, RW));
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_IN, 0, at, 8192));
}

/* The middle of a region goes; both ends stay. */
TEST_F(iotlb, hole_in_a_region)
{
	struct vd *d = &self->r.d;
	__u64 at = 0x40000000;

	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at, 65536, vd_ptr(d, self->buf), RW));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, at + 16384, 4096, NULL, 0));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at + 16384, 4096, vd_ptr(d, self->buf + 16384), RW)) {
		TH_LOG("the hole is not free");
	}
	EXPECT_EQ(0xf, vd_status(d));
	EXPECT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, at, 65536, NULL, 0));
}

/* Nothing of a batch is in force before its end, and everything is after. */
TEST_F(iotlb, batch_applies_at_its_end)
{
	struct vd *d = &self->r.d;
	__u64 at = 0x40000000;

	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, IOVA, MEM, NULL, 0));
	EXPECT_EQ(VD_OK, works(self)) TH_LOG("unmapped before its time");
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA, MEM, d->mem[0].va, RW));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at, 4096, d->mem[0].va, RW));
	EXPECT_EQ(VD_OK, works(self));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0));
	EXPECT_EQ(VD_OK, works(self));
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_OUT, 0, at, 4096));

	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at + 4096, 4096, d->mem[0].va, RW));
	vd_submit(self->q, VD_T_OUT, 0, &(struct vd_buf){ at + 4096, 4096, false }, 1, VD_DIRECT);
	vd_kick(self->q);
	EXPECT_TRUE(broken(self)) TH_LOG("mapped before its time");
	ASSERT_EQ(0, vd_reset(d));
	vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0);
}

TEST_F(iotlb, batch_left_open)
{
	struct vd *d = &self->r.d;
	struct vd_opts o = d->opts;

	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, IOVA, MEM, NULL, 0));
	vd_close(d);
	/* the next owner starts with nothing mapped and no batch */
	ASSERT_EQ(0, vd_start(d, self->r.name, &o));
	self->q = d->q[0];
	self->buf = vd_alloc(d, 4096, 4096);
	EXPECT_EQ(VD_OK, works(self));
}

/* I/O without a pause, in a thread of its own. */
struct load {
	struct vd_queue *q;
	__u64 buf;
	volatile bool stop;
	unsigned long done;
	int ret;
};

/* The rounds are over and the load has come to something, however slow the machine. */
static bool load_seen(const struct load *l, unsigned int round, unsigned int rounds)
{
	bool some = __atomic_load_n(&l->done, __ATOMIC_RELAXED) || __atomic_load_n(&l->ret, __ATOMIC_RELAXED);

	return round >= rounds && (some || round >= 1000 * rounds);
}

static void *load_run(void *arg)
{
	struct load *l = arg;
	unsigned int i;

	while (!l->stop && !l->ret) {
		__u8 *p = vd_ptr(l->q->d, l->buf);
		int head[16];

		vd_fill(p, 16 * 4096, 0, l->done);
		for (i = 0; i < 16; i++)
			head[i] = vd_submit(l->q, VD_T_OUT, i * 8,
					    &(struct vd_buf){ l->buf + i * 4096, 4096, false }, 1, VD_DIRECT);
		vd_kick(l->q);
		l->ret = vd_wait(l->q, 16, VD_WAIT_MS);
		for (i = 0; i < 16 && !l->ret; i++)
			l->ret = vd_slot_status(l->q, head[i]);
		memset(p, 0, 16 * 4096);
		l->ret = l->ret ?: vd_rw(l->q, VD_T_IN, 0, l->buf, 16 * 4096);
		if (!l->ret && vd_check(p, 16 * 4096, 0, l->done) >= 0)
			l->ret = -EBADMSG;
		l->done++;
	}
	return NULL;
}

/* QEMU's way: all of it out and in again in pieces, in one batch, with DRIVER_OK set and I/O under way. */
TEST_F_TIMEOUT(iotlb, remap_under_load, 60)
{
	struct vd *d = &self->r.d;
	struct load l = { .q = self->q, .buf = self->buf };
	unsigned int i, k, pieces;
	struct vhost_inflight_info info;
	pthread_t t;

	ASSERT_EQ(0, pthread_create(&t, NULL, load_run, &l));
	for (i = 0; !load_seen(&l, i, vd_rounds(150)); i++) {
		pieces = 1 << i % 6;
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, IOVA, MEM, NULL, 0));
		for (k = 0; k < pieces; k++) {
			__u64 at = IOVA + MEM / pieces * k;

			ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at, MEM / pieces, vd_ptr(d, at), RW));
		}
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0));
	}
	l.stop = true;
	pthread_join(t, NULL);
	EXPECT_EQ(0, l.ret);
	EXPECT_LT(0, l.done);
	ASSERT_EQ(0, vd_info(d, &info));
	EXPECT_EQ(pieces, info.iotlb_maps);
	EXPECT_EQ(0xf, vd_status(d));
}

/* The same pages under another address of ours: the old one may go at once. */
TEST_F_TIMEOUT(iotlb, move_under_load, 60)
{
	struct vd *d = &self->r.d;
	struct load l = { .q = self->q, .buf = self->buf };
	void *old = d->mem[0].va, *now;
	pthread_t t;
	int i;

	if (variant->anon)
		return;		/* a second address for the same pages takes a file */
	ASSERT_EQ(0, pthread_create(&t, NULL, load_run, &l));
	for (i = 0; !load_seen(&l, i, vd_rounds(100)); i++) {
		now = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, d->memfd, 0);
		ASSERT_NE(MAP_FAILED, now);
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, IOVA, MEM, NULL, 0));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA, MEM, now, RW));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0));
		/* the load keeps to the first address, which is why that one stays */
		if (old != d->mem[0].va)
			munmap(old, MEM);
		old = now;
	}
	l.stop = true;
	pthread_join(t, NULL);
	EXPECT_EQ(0, l.ret);
	EXPECT_LT(0, l.done);
	EXPECT_EQ(0xf, vd_status(d));
}

/* The rings go to other pages while the device runs and the ring is empty. */
TEST_F_TIMEOUT(iotlb, rings_move_to_other_pages, 60)
{
	struct vd *d = &self->r.d;
	unsigned int i, k;

	for (i = 0; i < vd_rounds(30); i++) {
		void *now = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		void *old = d->mem[0].va;

		for (k = 0; k < 4; k++) {
			ASSERT_EQ(VD_OK, works(self)) TH_LOG("round %u", i);
		}
		ASSERT_NE(MAP_FAILED, now);
		memcpy(now, old, MEM);
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, IOVA, MEM, NULL, 0));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA, MEM, now, RW));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0));
		/* nobody may look at the old ones any more */
		memset(old, 0xff, MEM);
		munmap(old, MEM);
		d->mem[0].va = now;
		vd_queue_move(self->q, self->q->desc_iova, self->q->avail_iova, self->q->used_iova);
	}
	EXPECT_EQ(0xf, vd_status(d));
	EXPECT_EQ(VD_OK, works(self));
}

/* Unmapping any part of a ring is an error of its queue; a reset with memory back in place heals. */
TEST_F(iotlb, ring_unmapped)
{
	struct vd *d = &self->r.d;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		__u64 at = i == 0 ? self->q->desc_iova : i == 1 ? self->q->avail_iova : self->q->used_iova;

		EXPECT_EQ(VD_OK, works(self));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, IOVA, MEM, NULL, 0));
		if (at > IOVA) {
			ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, IOVA, at - IOVA, d->mem[0].va, RW));
		}
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at + 4096, IOVA + MEM - at - 4096,
				     vd_ptr(d, at + 4096), RW));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0));
		/* at the latest when it is used */
		vd_submit(self->q, VD_T_IN, 0, &(struct vd_buf){ self->buf, 4096, true }, 1, VD_DIRECT);
		vd_kick_always(self->q);
		EXPECT_TRUE(broken(self)) TH_LOG("part %u", i);
		ASSERT_EQ(0, vd_reset(d));
		ASSERT_EQ(0, vd_restart(d));
		EXPECT_EQ(VD_OK, works(self)) TH_LOG("part %u", i);
	}
}

/* Pages in any order: what is together for the guest is not for us, and requests cross the borders. */
TEST_F(iotlb, many_regions)
{
	const unsigned int n = 1024;
	struct vhost_inflight_info info;
	struct vd *d = &self->r.d;
	__u64 at = 0x40000000;
	unsigned int i;
	__u8 *pages = mmap(NULL, n * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	__u8 *seen = malloc(65536);

	ASSERT_NE(MAP_FAILED, pages);
	for (i = 0; i < n; i++) {
		__u8 *p = pages + (i * 389 + 17) % n * 4096;

		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at + i * 4096, 4096, p, RW));
		vd_fill(p, 4096, i * 4096, 4);
	}
	ASSERT_EQ(0, vd_info(d, &info));
	EXPECT_LE(n, info.iotlb_maps);
	for (i = 0; i < n; i += 128) {
		ASSERT_EQ(VD_OK, vd_rw(self->q, VD_T_OUT, i * 8, at + i * 4096, 65536));
		ASSERT_EQ(0, vd_backing_read(&self->r.b, i * 4096, seen, 65536));
		ASSERT_EQ(-1, vd_check(seen, 65536, i * 4096, 4)) TH_LOG("page %u", i);
	}
	/* header and status across a border too */
	memcpy(pages + 17 * 4096 + 4090, &(struct vd_hdr){ .type = VD_T_FLUSH }, 6);
	memcpy(pages + (389 + 17) % n * 4096, (__u8 *)&(struct vd_hdr){ .type = VD_T_FLUSH } + 6, 10);
	vd_add(self->q, (struct vd_buf[]){ { at + 4090, 16, false }, { at + 8192, 1, true } }, 2, VD_DIRECT);
	vd_kick(self->q);
	ASSERT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	EXPECT_EQ(VD_OK, pages[(2 * 389 + 17) % n * 4096]);
	EXPECT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, at, n * 4096, NULL, 0));
	ASSERT_EQ(0, vd_info(d, &info));
	EXPECT_GE(2, info.iotlb_maps);
}

static long status_kb(const char *key)
{
	char text[4096], *p;

	if (vd_read_file("/proc/self/status", text, sizeof(text)) < 0)
		return -1;
	p = strstr(text, key);
	return p ? strtol(p + strlen(key), NULL, 10) : -1;
}

static int drop_ipc_lock(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct c[2];

	if (syscall(SYS_capget, &h, c))
		return -errno;
	c[0].effective &= ~(1U << CAP_IPC_LOCK);
	c[0].permitted &= ~(1U << CAP_IPC_LOCK);
	c[0].inheritable &= ~(1U << CAP_IPC_LOCK);
	return syscall(SYS_capset, &h, c) ? -errno : 0;
}

static void *map_file(const char *env, const char *dir, char *path, size_t len)
{
	void *p = MAP_FAILED;
	int fd;

	if (getenv(env))
		dir = getenv(env);
	snprintf(path, VD_PATH_LEN, "%s/mem%d", dir, getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd >= 0 && !ftruncate(fd, len))
		p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return p;
}

/* Data may be in any memory: its pages are held for the time of a request, or else can't be pinned. */
TEST_F(iotlb, data_in_a_file_on_disk)
{
	struct vd *d = &self->r.d;
	char path[VD_PATH_LEN];
	__u64 at = 0x40000000;
	__u8 *p = map_file("VBLK_EXT4", "/run/vblk/ext4", path, 1 << 20), *seen = malloc(65536);

	ASSERT_NE(MAP_FAILED, p);
	unlink(path);
	if (variant->pinned) {
		EXPECT_EQ(-EFAULT, vd_msg(d, VHOST_IOTLB_UPDATE, at, 1 << 20, p, RW));
		EXPECT_EQ(VD_OK, works(self));
		return;
	}
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at, 1 << 20, p, RW));
	vd_fill(p, 65536, 0, 6);
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_OUT, 0, at, 65536));
	ASSERT_EQ(0, vd_backing_read(&self->r.b, 0, seen, 65536));
	EXPECT_EQ(-1, vd_check(seen, 65536, 0, 6));
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_IN, 0, at + (1 << 19), 65536));
	EXPECT_EQ(-1, vd_check(p + (1 << 19), 65536, 0, 6));
	EXPECT_EQ(0xf, vd_status(d));
}

/* Rings are held for as long as the device runs, which memory of a disk's file does not allow; tmpfs does. */
TEST_F(iotlb, rings_in_files)
{
	struct vd *d = &self->r.d;
	struct vd_opts o = d->opts;
	unsigned int i;
	int ret;

	for (i = 0; i < 2; i++) {
		char path[VD_PATH_LEN];

		vd_close(d);
		ASSERT_EQ(0, vd_open(d, self->r.name, &o) ?: vd_negotiate(d));
		d->mem[0].va = i ? map_file("VBLK_TMPFS", "/run/vblk/tmpfs", path, MEM) :
				   map_file("VBLK_EXT4", "/run/vblk/ext4", path, MEM);
		ASSERT_NE(MAP_FAILED, d->mem[0].va);
		unlink(path);
		if (variant->pinned && !i) {
			EXPECT_EQ(-EFAULT, vd_map_all(d));
			continue;
		}
		ASSERT_EQ(0, vd_map_all(d) ?: vd_setup_queues(d));
		ret = vd_driver_ok(d);
		if (i) {
			EXPECT_EQ(0, ret);
			EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, IOVA + (4 << 20), 4096));
		} else {
			EXPECT_TRUE(ret == -EFAULT || ret == -EOPNOTSUPP) TH_LOG("%d", ret);
			EXPECT_EQ(0xb, vd_status(d));
		}
	}
}

/* No room at all for the rings: said, and nothing is left pinned. */
TEST_F(iotlb, no_room_to_lock)
{
	struct rlimit lim = { 0, 0 };
	struct vd *d = &self->r.d;
	struct vd_opts o = d->opts;

	vd_close(d);
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &lim));
	ASSERT_EQ(0, drop_ipc_lock());
	ASSERT_EQ(0, vd_open(d, self->r.name, &o));
	ASSERT_EQ(0, vd_negotiate(d));
	ASSERT_EQ(variant->pinned ? -ENOMEM : 0, vd_map_all(d));
	ASSERT_EQ(0, vd_setup_queues(d));
	EXPECT_EQ(variant->pinned ? -EFAULT : -ENOMEM, vd_driver_ok(d));
	EXPECT_EQ(0xb, vd_status(d));
	EXPECT_EQ(0, status_kb("VmPin:"));
	EXPECT_EQ(0, vd_reset(d));
}

/* A guest of 1 GiB: the rings are pinned, the guest is not, unless that is wanted. */
TEST_F(iotlb, no_memory_locked)
{
	struct rlimit lim = { 512 << 10, 512 << 10 };
	struct vd_opts o = { .iova = 0, .mem_size = 1 << 30, .num = 256, .anon = variant->anon,
			     .msg_v1 = variant->msg_v1 };
	struct vd *d = &self->r.d;
	unsigned int i;
	__u64 buf;

	vd_close(d);
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &lim));
	ASSERT_EQ(0, drop_ipc_lock());
	if (variant->pinned) {
		EXPECT_EQ(-ENOMEM, vd_start(d, self->r.name, &o));
		EXPECT_EQ(0, status_kb("VmPin:"));
		return;
	}
	ASSERT_EQ(0, vd_start(d, self->r.name, &o));
	buf = vd_alloc(d, 1 << 29, 4096) + (1 << 28);
	for (i = 0; i < vd_rounds(64); i++) {
		__u32 type = i % 2 ? VD_T_IN : VD_T_OUT;

		ASSERT_EQ(VD_OK, vd_rw(d->q[0], type, i * 8, buf + i * (1 << 20), 1 << 20));
	}
	EXPECT_GE(64, status_kb("VmLck:"));
	EXPECT_GE(64, status_kb("VmPin:"));
}

/* What is mapped counts for as long as it is, and what is refused does not count. */
TEST_F(iotlb, what_counts_as_pinned)
{
	struct vd *d = &self->r.d;
	__u64 at = 0x40000000;
	__u8 *p = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long was = status_kb("VmPin:"), pins = vd_pins();

	ASSERT_NE(MAP_FAILED, p);
	if (!variant->pinned) {
		EXPECT_GE(64, was);
		return;
	}
	EXPECT_LE(MEM >> 10, was);
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at, 1 << 20, p, RW));
	EXPECT_EQ(was + 1024, status_kb("VmPin:"));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, at + 4096, 1, NULL, 0));
	EXPECT_EQ(was, status_kb("VmPin:"));

	/* not all of it is there */
	ASSERT_EQ(0, munmap(p + (1 << 20), 1 << 20));
	EXPECT_EQ(-EFAULT, vd_msg(d, VHOST_IOTLB_UPDATE, at, 2 << 20, p, RW));
	EXPECT_EQ(was, status_kb("VmPin:"));
	EXPECT_EQ(0, vd_until_pins(pins));
	/* there is no room for it */
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ (was + 1000) << 10, (was + 1000) << 10 }));
	ASSERT_EQ(0, drop_ipc_lock());
	EXPECT_EQ(-ENOMEM, vd_msg(d, VHOST_IOTLB_UPDATE, at, 1 << 20, p, RW));
	EXPECT_EQ(was, status_kb("VmPin:"));
	EXPECT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at, 1000 << 10, p, RW));
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_IN, 0, at + 4096, 8192));
	EXPECT_EQ(VD_OK, works(self));
	vd_close(d);
	EXPECT_EQ(0, status_kb("VmPin:"));
}

/* Parts of pages, and of ranges that touch: what is pinned is found where it is. */
TEST_F(iotlb, ranges_that_begin_inside_pages)
{
	struct vd *d = &self->r.d;
	__u64 at = 0x40000000;
	__u8 *p = vd_ptr(d, self->buf), *seen = malloc(65536);
	unsigned int i, n = 0;

	for (i = 0; n < 65536; i++) {
		unsigned int len = 512 * (1 + i % 13);

		if (len > 65536 - n)
			len = 65536 - n;
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, at + n, len, p + 1536 + n + 512 * i, RW));
		vd_fill(p + 1536 + n + 512 * i, len, n, 9);
		n += len;
	}
	ASSERT_EQ(VD_OK, vd_rw(self->q, VD_T_OUT, 0, at, 65536));
	ASSERT_EQ(0, vd_backing_read(&self->r.b, 0, seen, 65536));
	EXPECT_EQ(-1, vd_check(seen, 65536, 0, 9));
	memset(p, 0, 1 << 19);
	ASSERT_EQ(VD_OK, vd_rw(self->q, VD_T_IN, 0, at, 65536));
	for (i = n = 0; n < 65536; i++) {
		unsigned int len = 512 * (1 + i % 13);

		if (len > 65536 - n)
			len = 65536 - n;
		EXPECT_EQ(-1, vd_check(p + 1536 + n + 512 * i, len, n, 9)) TH_LOG("range %u", i);
		n += len;
	}
}

/* A device with pin_memory on a disk that can be frozen and broken; what it is asked for then it keeps, or refuses. */
FIXTURE(pinned) {
	struct vd_rig r;
	struct vd_queue *q;
	__u64 at;
	int fd;
	void *p;
	long was;
};

FIXTURE_VARIANT(pinned) {
	enum vd_backing_kind kind;
	__u8 state;		/* of requests to the frozen disk */
};

FIXTURE_VARIANT_ADD(pinned, refused) { VD_DM_RECORD, VHOST_INFLIGHT_REQUEST_REFUSED };
FIXTURE_VARIANT_ADD(pinned, taken) { VD_DM_RECORD_WAIT, VHOST_INFLIGHT_REQUEST_SUBMITTED };

FIXTURE_SETUP(pinned)
{
	struct vd_config c = { .pin_memory = true, .on_read_error = "park", .on_write_error = "park", .retry_ms = -1 };
	struct vd_opts o = { .iova = IOVA, .mem_size = MEM, .num = 64 };
	__u8 *pattern = malloc(65536);

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, &c, &o));
	self->q = self->r.d.q[0];
	vd_fill(pattern, 65536, 0, 5);
	ASSERT_EQ(0, vd_backing_write(&self->r.b, DISK / 2, pattern, 65536));
	free(pattern);
	self->was = status_kb("VmPin:");
	self->at = 0x40000000;
	self->fd = memfd_create("data", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(self->fd, 2 * 65536));
	self->p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->p);
	ASSERT_EQ(72, vd_msg(&self->r.d, VHOST_IOTLB_UPDATE, self->at, 65536, self->p, RW));
}

FIXTURE_TEARDOWN_PARENT(pinned)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* Until the one request is in that state. What is refused the disk has sooner or later. */
static int until_out(struct vd *d, __u8 state)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	struct vhost_inflight_request req;
	int n;

	do {
		n = vd_requests(d, 0, &req, 1);
		if (n < 0)
			return n;
		if (n && (req.state == state || req.state == VHOST_INFLIGHT_REQUEST_SUBMITTED))
			return 0;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

static bool has_data(int fd, off_t off, size_t len)
{
	__u8 *seen = malloc(len);
	bool ok = pread(fd, seen, len, off) == len && vd_check(seen, len, 0, 5) < 0;

	free(seen);
	return ok;
}

/* The memory goes while the disk has it: the answer gets to the pages that it was for. */
TEST_F(pinned, memory_of_requests_that_are_out)
{
	struct vd *d = &self->r.d;
	unsigned int i;

	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	ASSERT_LE(0, vd_submit(self->q, VD_T_IN, DISK / 1024, &(struct vd_buf){ self->at, 65536, true }, 1, VD_DIRECT));
	vd_kick(self->q);
	ASSERT_EQ(0, until_out(d, variant->state));
	/* more than once: each picture but the first has none of them */
	for (i = 0; i < 3; i++)
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, self->at, 65536, NULL, 0));
	ASSERT_EQ(0, munmap(self->p, 65536));
	EXPECT_EQ(self->was + 64, status_kb("VmPin:"));
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	EXPECT_TRUE(has_data(self->fd, 0, 65536));
	EXPECT_EQ(self->was, status_kb("VmPin:"));
	EXPECT_EQ(0xf, vd_status(d));
}

/*
 * Its owner, too: what the disk has still gets there, and the memory is let go of then.  Of a larger request the disk
 * may have been given a part when the owner dies, and gets no more.
 */
TEST_F(pinned, owner_of_requests_that_are_out)
{
	const long all = (MEM + 65536) / 4096;
	struct vd look, *d = &self->r.d;
	const struct vd_opts o = d->opts;
	struct vhost_inflight_info info;
	long pins;
	pid_t pid;
	char c;
	int fds[2];

	vd_close(d);
	pins = vd_pins();
	ASSERT_LE(0, pins);
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		struct vd v;

		if (vd_start(&v, self->r.name, &o) || vd_msg(&v, VHOST_IOTLB_UPDATE, self->at, 65536, self->p, RW) != 72 ||
		    vd_backing_freeze(&self->r.b) ||
		    vd_submit(v.q[0], VD_T_IN, DISK / 1024, &(struct vd_buf){ self->at, 4096, true }, 1, VD_DIRECT) < 0)
			_exit(1);
		vd_kick(v.q[0]);
		if (until_out(&v, variant->state) || write(fds[1], "", 1) != 1)
			_exit(2);
		pause();
	}
	close(fds[1]);
	ASSERT_EQ(1, read(fds[0], &c, 1));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	look.fd = vd_node_open(self->r.name, O_RDWR);
	/* its worker is gone, and the queue stopped */
	ASSERT_EQ(0, vd_until_state(&look, VHOST_INFLIGHT_STATE_FREE));
	ASSERT_EQ(0, vd_info(&look, &info));
	close(look.fd);
	if (variant->state == VHOST_INFLIGHT_REQUEST_SUBMITTED) {
		EXPECT_EQ(1, info.orphans);
	}
	if (info.orphans) {
		EXPECT_LE(pins + all, vd_pins());
	}
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, vd_start_after(d, self->r.name, &o));
	/* unless the owner died soon enough, the disk that refused it has it after all */
	EXPECT_EQ(info.orphans, has_data(self->fd, 0, 4096));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, vd_alloc(d, 4096, 4096), 4096));
	vd_close(d);
	EXPECT_EQ(0, vd_until_pins(pins));
}

/* A parked request has no memory: it goes to where its addresses are when it is tried again. */
TEST_F(pinned, parked_and_moved)
{
	struct vd *d = &self->r.d;
	void *now = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 65536);

	ASSERT_NE(MAP_FAILED, now);
	ASSERT_EQ(0, vd_backing_break(&self->r.b));
	ASSERT_LE(0, vd_submit(self->q, VD_T_IN, DISK / 1024, &(struct vd_buf){ self->at, 65536, true }, 1, VD_DIRECT));
	vd_kick(self->q);
	ASSERT_EQ(0, vd_until_parked(d, 1));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, self->at, 65536, NULL, 0));
	EXPECT_EQ(self->was, status_kb("VmPin:"));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, self->at, 65536, now, RW));
	ASSERT_EQ(0, vd_backing_mend(&self->r.b));
	ASSERT_EQ(1, vd_retry(d));
	ASSERT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	EXPECT_TRUE(has_data(self->fd, 65536, 65536));
	EXPECT_FALSE(has_data(self->fd, 0, 65536));
}

TEST_HARNESS_MAIN
