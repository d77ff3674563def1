// SPDX-License-Identifier: GPL-2.0
/* Stop, go on, reset, close, open again; and what waits for the disk, and for how long. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "vblk_inflight.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x100000

static const struct vd_opts opts = { .iova = IOVA, .num = 64, .mem_size = 8 << 20 };

static int submit(struct vd_queue *q, unsigned int n, __u64 buf, __u32 type)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		struct vd_buf b = { buf + i * 4096, 4096, type == VD_T_IN };
		int ret = vd_submit(q, type, i * 8, &b, 1, VD_DIRECT);

		if (ret < 0)
			return ret;
	}
	vd_kick(q);
	return 0;
}

/* Until the device took @n requests and has them out. */
static int wait_depth(struct vd *d, unsigned int n)
{
	struct vhost_inflight_queue_info info;
	long end = vd_now_ms() + VD_WAIT_MS;

	do {
		if (vd_qinfo(d, 0, &info))
			return -EIO;
		if (info.depth >= n)
			return 0;
	} while (vd_now_ms() < end);
	return -ETIMEDOUT;
}

/* ---- on a slow disk ---- */

FIXTURE(slow) {
	struct vd_rig r;
	struct vd_queue *q;
	__u64 buf;
	__u8 *p;
};

FIXTURE_SETUP(slow)
{
	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB_SLOW, DISK, NULL, &opts));
	self->q = self->r.d.q[0];
	self->buf = vd_alloc(&self->r.d, 1 << 20, 4096);
	self->p = vd_ptr(&self->r.d, self->buf);
}

FIXTURE_TEARDOWN_PARENT(slow)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

TEST_F(slow, suspend_drains)
{
	struct vhost_inflight_queue_info info;
	struct vd *d = &self->r.d;
	unsigned int n = 16;
	__u16 used;

	ASSERT_EQ(0, submit(self->q, n, self->buf, VD_T_IN));
	ASSERT_EQ(0, vd_until_taken(self->q));
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	EXPECT_EQ(n, self->q->used->idx);
	EXPECT_EQ(n, vd_get_base(d, 0));
	ASSERT_EQ(0, vd_qinfo(d, 0, &info));
	EXPECT_EQ(0, info.depth);
	EXPECT_EQ(VHOST_INFLIGHT_QUEUE_STOPPED, info.state);
	EXPECT_EQ(0xf, vd_status(d)) TH_LOG("the status does not change");
	ASSERT_EQ(0, vd_spin(self->q, n, 0));
	EXPECT_EQ(1, vd_poll_fd(self->q->call, VD_WAIT_MS));
	/* twice is once */
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	used = self->q->used->idx;
	ASSERT_EQ(0, submit(self->q, 4, self->buf, VD_T_IN));
	EXPECT_EQ(0, vd_poll_fd(self->q->call, VD_QUIET_MS));
	EXPECT_EQ(used, self->q->used->idx);
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_RESUME, NULL));
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_RESUME, NULL));
	EXPECT_EQ(0, vd_wait(self->q, 4, VD_WAIT_MS));
}

/* While requests keep coming from another process: whatever was taken is answered, the base says what. */
TEST_F(slow, base_is_exact)
{
	struct vd *d = &self->r.d;
	unsigned int i, taken = 0;

	for (i = 0; i < 8; i++) {
		int base;

		ASSERT_EQ(0, submit(self->q, 5, self->buf, VD_T_IN));
		ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
		base = vd_get_base(d, 0);
		EXPECT_EQ(self->q->used->idx, base);
		EXPECT_LE(taken, base);
		EXPECT_GE(self->q->avail_idx, base);
		taken = base;
		ASSERT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, base));
		ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_RESUME, NULL));
		ASSERT_EQ(0, vd_wait(self->q, 5, VD_WAIT_MS));
	}
}

/* QEMU's stop and cont: suspend, base, reset, and a full start at that base. */
TEST_F(slow, stop_and_cont)
{
	struct vd *d = &self->r.d;
	unsigned int i;
	int base;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, submit(self->q, 6, self->buf, VD_T_OUT));
		ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
		base = vd_get_base(d, 0);
		ASSERT_EQ(self->q->used->idx, base);
		ASSERT_EQ(0, vd_reset(d));
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, IOVA, 8 << 20, NULL, 0));
		ASSERT_EQ(0, vd_negotiate(d));
		ASSERT_EQ(0, vd_setup_queues(d));
		ASSERT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, base));
		ASSERT_EQ(0, vd_map_all(d));
		ASSERT_EQ(0, vd_driver_ok(d));
		ASSERT_EQ(0, vd_wait(self->q, 6, VD_WAIT_MS)) TH_LOG("round %u", i);
	}
}

/* When reset has returned, nothing writes guest memory any more and the used ring says what was done. */
TEST_F(slow, reset_waits_for_bios)
{
	struct vd *d = &self->r.d;
	unsigned int n = 16, i;
	long t0;

	vd_fill(self->p, 1 << 20, 0, 3);
	ASSERT_EQ(0, vd_backing_write(&self->r.b, 0, self->p, n * 4096));
	memset(self->p, 0, 1 << 20);
	ASSERT_EQ(0, submit(self->q, n, self->buf, VD_T_IN));
	ASSERT_EQ(0, vd_until_taken(self->q));
	t0 = vd_now_ms();
	ASSERT_EQ(0, vd_reset(d));
	EXPECT_GT(VD_WAIT_MS, vd_now_ms() - t0);
	EXPECT_EQ(0, vd_status(d));
	EXPECT_EQ(n, self->q->used->idx);
	EXPECT_EQ(-1, vd_check(self->p, n * 4096, 0, 3));
	for (i = 0; i < n; i++) {
		int head = vd_reap(self->q);

		ASSERT_LE(0, head);
		EXPECT_EQ(VD_OK, vd_slot_status(self->q, head));
	}
	memset(self->p, 0x77, n * 4096);
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_SLOW_MS + VD_QUIET_MS));
	for (i = 0; i < n * 4096; i++) {
		ASSERT_EQ(0x77, self->p[i]) TH_LOG("written after the reset");
	}
	ASSERT_EQ(0, vd_restart(d));
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_IN, 0, self->buf, 4096));
}

TEST_F(slow, close_with_requests_out)
{
	struct vd *d = &self->r.d;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, submit(d->q[0], 16, IOVA + (4 << 20), VD_T_IN));
		ASSERT_EQ(0, vd_until_taken(d->q[0]));
		vd_close(d);
		/* what is still out keeps the successor waiting, and no longer than that */
		ASSERT_EQ(0, vd_start_after(d, self->r.name, &opts));
		ASSERT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, IOVA + (4 << 20), 4096));
	}
}

/* Exactly those the disk has are orphans, and they are gone when it has answered. */
TEST_F(slow, orphans_are_counted)
{
	struct vhost_inflight_info info;
	struct vd_rig r = { 0 };
	struct vd sup;
	long t0, end;

	ASSERT_EQ(0, vd_rig_make(&r, VD_NULLB_SLOWER, DISK, NULL, &opts));
	ASSERT_EQ(0, vd_open(&sup, r.name, &opts));
	t0 = vd_now_ms();
	ASSERT_EQ(0, submit(r.d.q[0], 8, IOVA + (4 << 20), VD_T_IN));
	ASSERT_EQ(0, vd_backing_inflight(&r.b, 8));
	vd_close(&r.d);
	ASSERT_EQ(0, vd_info(&sup, &info));
	/* unless this machine was too slow to look in time */
	if (vd_now_ms() - t0 < VD_SLOWER_MS) {
		EXPECT_EQ(8, info.orphans);
		EXPECT_EQ(VHOST_INFLIGHT_STATE_FREE, info.state);
	}
	end = vd_now_ms() + VD_WAIT_MS;
	do {
		ASSERT_EQ(0, vd_info(&sup, &info));
	} while (info.orphans && vd_now_ms() < end);
	EXPECT_EQ(0, info.orphans);
	EXPECT_LE(VD_SLOWER_MS, vd_now_ms() - t0);
	vd_close(&sup);
	EXPECT_EQ(0, vd_rig_free(&r));
}

/* ---- on a frozen disk ---- */

FIXTURE(frozen) {
	struct vd_rig r;
	struct vd_queue *q;
	__u64 buf;
};

FIXTURE_VARIANT(frozen) {
	enum vd_backing_kind kind;
};

FIXTURE_VARIANT_ADD(frozen, block) { VD_DM };
FIXTURE_VARIANT_ADD(frozen, block_waits) { VD_DM_WAIT };
FIXTURE_VARIANT_ADD(frozen, file) { VD_EXT4_DM };

FIXTURE_SETUP(frozen)
{
	struct vd_config c = { .drain_timeout_ms = 300 };

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, &c, &opts));
	self->q = self->r.d.q[0];
	self->buf = vd_alloc(&self->r.d, 1 << 20, 4096);
	/* the blocks of a file are there before it freezes */
	ASSERT_EQ(0, submit(self->q, 16, self->buf, VD_T_OUT));
	ASSERT_EQ(0, vd_wait(self->q, 16, VD_WAIT_MS));
	ASSERT_EQ(VD_OK, vd_do(self->q, VD_T_FLUSH, 0, NULL, 0, VD_DIRECT));
	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
}

FIXTURE_TEARDOWN_PARENT(frozen)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* The bound is kept, the device is as it was, and once the disk answers all is well. */
TEST_F(frozen, suspend_times_out)
{
	struct vhost_inflight_info info;
	struct vd *d = &self->r.d;
	long t0;

	ASSERT_EQ(0, submit(self->q, 8, self->buf, VD_T_IN));
	ASSERT_EQ(0, wait_depth(d, 8));
	t0 = vd_now_ms();
	EXPECT_EQ(-ETIMEDOUT, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	EXPECT_LE(290, vd_now_ms() - t0);
	EXPECT_EQ(0xf, vd_status(d));
	ASSERT_EQ(0, vd_info(d, &info));
	EXPECT_EQ(VHOST_INFLIGHT_STATE_RUNNING, info.state);
	EXPECT_EQ(-ETIMEDOUT, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	EXPECT_EQ(0, vd_wait(self->q, 8, VD_WAIT_MS));
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_IN, 0, self->buf, 4096));
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	EXPECT_EQ(self->q->used->idx, vd_get_base(d, 0));
}

TEST_F(frozen, reset_times_out)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, submit(self->q, 8, self->buf, VD_T_IN));
	ASSERT_EQ(0, wait_depth(d, 8));
	EXPECT_EQ(-ETIMEDOUT, vd_reset(d));
	EXPECT_EQ(0xf, vd_status(d));
	/* it was not half a reset: requests are still taken */
	ASSERT_EQ(0, submit(self->q, 4, self->buf, VD_T_IN));
	ASSERT_EQ(0, wait_depth(d, 12));
	EXPECT_EQ(-ETIMEDOUT, vd_reset(d));
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	EXPECT_EQ(0, vd_wait(self->q, 12, VD_WAIT_MS));
	EXPECT_EQ(0, vd_reset(d));
	EXPECT_EQ(0, vd_status(d));
	ASSERT_EQ(0, vd_restart(d));
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_IN, 0, self->buf, 4096));
}

/* The timeout may be set while the device is in use, and holds for the next drain. */
TEST_F(frozen, timeout_is_changed)
{
	struct vd *d = &self->r.d;
	long t0;

	ASSERT_EQ(0, vd_attr_set(self->r.name, "drain_timeout_ms", "1000"));
	ASSERT_EQ(0, submit(self->q, 1, self->buf, VD_T_OUT));
	ASSERT_EQ(0, wait_depth(d, 1));
	t0 = vd_now_ms();
	EXPECT_EQ(-ETIMEDOUT, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	EXPECT_LE(990, vd_now_ms() - t0);
	/* from so long that a slow machine does not make as much of a short one */
	ASSERT_EQ(0, vd_attr_set(self->r.name, "drain_timeout_ms", "60000"));
	ASSERT_EQ(0, vd_attr_set(self->r.name, "drain_timeout_ms", "20"));
	t0 = vd_now_ms();
	EXPECT_EQ(-ETIMEDOUT, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	EXPECT_GT(VD_WAIT_MS, vd_now_ms() - t0);
}

/* Without a bound it waits for the disk, and SIGKILL ends it all the same. */
TEST_F(frozen, wait_is_killable)
{
	static const unsigned long how[] = { VHOST_VDPA_SUSPEND, VHOST_VDPA_SET_STATUS };
	unsigned int i;
	int status, pipefd[2];
	long end;
	char c = 0;
	pid_t pid;

	ASSERT_EQ(0, vd_attr_set(self->r.name, "drain_timeout_ms", "0"));
	vd_close(&self->r.d);
	for (i = 0; i < ARRAY_SIZE(how); i++) {
		ASSERT_EQ(0, pipe(pipefd));
		pid = fork();
		if (!pid) {
			struct vd v;
			__u8 zero = 0;

			if (vd_start(&v, self->r.name, &opts) || submit(v.q[0], 4, IOVA + (4 << 20), VD_T_IN) ||
			    wait_depth(&v, 4) || write(pipefd[1], &c, 1) != 1)
				_exit(1);
			vd_ioctl(&v, how[i], &zero);
			_exit(2);	/* it must not get here */
		}
		ASSERT_EQ(1, read(pipefd[0], &c, 1));
		EXPECT_EQ(0, vd_child_blocks(pid, SYS_ioctl));
		kill(pid, SIGKILL);
		EXPECT_EQ(0, vd_child_end(pid, &status, 5000)) TH_LOG("not reaped");
		EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("exit %d", WEXITSTATUS(status));
		/* orphans are out, so the next one starts on a thawed disk */
		ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
		end = vd_now_ms() + VD_WAIT_MS;
		while (vd_start(&self->r.d, self->r.name, &opts) && vd_now_ms() < end)
			vd_close(&self->r.d);
		EXPECT_EQ(VD_OK, vd_rw(self->r.d.q[0], VD_T_IN, 0, IOVA + (4 << 20), 4096));
		vd_close(&self->r.d);
		ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
		close(pipefd[0]);
		close(pipefd[1]);
	}
}

/* Closing does not wait either: what is out belongs to the device then. */
TEST_F(frozen, close_does_not_wait)
{
	struct vhost_inflight_info info;
	struct vd *d = &self->r.d;
	struct vd sup;
	long t0;

	ASSERT_EQ(0, vd_attr_set(self->r.name, "drain_timeout_ms", "0"));
	ASSERT_EQ(0, submit(self->q, 8, self->buf, VD_T_OUT));
	ASSERT_EQ(0, wait_depth(d, 8));
	t0 = vd_now_ms();
	vd_close(d);
	EXPECT_GT(5000, vd_now_ms() - t0);
	ASSERT_EQ(0, vd_open(&sup, self->r.name, &opts));
	ASSERT_EQ(0, vd_info(&sup, &info));
	/*
	 * what the disk had not been given yet was taken back: where it refuses what would wait,
	 * all but the first, which it has after a while
	 */
	EXPECT_GE(variant->kind == VD_DM ? 1 : 8, info.orphans);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_FREE, info.state);
	vd_close(&sup);
	EXPECT_EQ(info.orphans ? -EBUSY : 0, vd_attr_set(self->r.name, "enable", "0"));
}

TEST_HARNESS_MAIN
