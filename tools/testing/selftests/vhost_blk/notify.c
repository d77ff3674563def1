// SPDX-License-Identifier: GPL-2.0
/* Kicks and calls: who asked for which, what is kept for later, and that none is lost. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x100000

FIXTURE(notify) {
	struct vd_rig r;
	struct vd_queue *q;
	__u64 buf;
};

FIXTURE_VARIANT(notify) {
	bool no_event_idx;
	enum vd_backing_kind kind;
};

FIXTURE_VARIANT_ADD(notify, event_idx) { false, VD_NULLB512 };
FIXTURE_VARIANT_ADD(notify, flags) { true, VD_NULLB512 };
FIXTURE_VARIANT_ADD(notify, event_idx_file) { false, VD_TMPFS };

FIXTURE_SETUP(notify)
{
	struct vd_opts o = {
		.iova = IOVA,
		.num = 64,
		.drop_features = variant->no_event_idx ? VD_F_EVENT_IDX : 0,
	};
	struct vd *d = &self->r.d;

	/* everything but DRIVER_OK */
	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, NULL, NULL));
	ASSERT_EQ(0, vd_open(d, self->r.name, &o) ?: vd_negotiate(d) ?: vd_map_all(d) ?: vd_setup_queues(d));
	self->q = d->q[0];
	self->buf = vd_alloc(d, 1 << 20, 4096);
}

FIXTURE_TEARDOWN_PARENT(notify)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static int submit(FIXTURE_DATA(notify) *self, unsigned int n)
{
	struct vd_buf b = { self->buf, 4096, true };
	unsigned int i;

	for (i = 0; i < n; i++) {
		int ret = vd_submit(self->q, VD_T_IN, i * 8, &b, 1, VD_DIRECT);

		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Nothing happens for a while: no used entry, no call. */
static bool quiet(FIXTURE_DATA(notify) *self)
{
	__u16 used = self->q->used->idx;

	return !vd_poll_fd(self->q->call, VD_QUIET_MS) && self->q->used->idx == used;
}

TEST_F(notify, kick_before_driver_ok)
{
	ASSERT_EQ(0, submit(self, 4));
	vd_kick_always(self->q);
	EXPECT_TRUE(quiet(self));
	ASSERT_EQ(0, vd_driver_ok(&self->r.d));
	EXPECT_EQ(0, vd_wait(self->q, 4, VD_WAIT_MS));
}

/* What is in the ring at DRIVER_OK is found without any kick. */
TEST_F(notify, no_kick_at_all)
{
	ASSERT_EQ(0, submit(self, 4));
	ASSERT_EQ(0, vd_driver_ok(&self->r.d));
	EXPECT_EQ(0, vd_wait(self->q, 4, VD_WAIT_MS));
}

TEST_F(notify, kick_while_suspended)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_driver_ok(d));
	ASSERT_EQ(0, submit(self, 1));
	vd_kick(self->q);
	ASSERT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	vd_drain_fd(self->q->call);
	ASSERT_EQ(0, submit(self, 3));
	vd_kick_always(self->q);
	EXPECT_TRUE(quiet(self));
	EXPECT_EQ(1, vd_get_base(d, 0));
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_RESUME, NULL));
	EXPECT_EQ(0, vd_wait(self->q, 3, VD_WAIT_MS));
	/* and the same without a kick; the three may have been told of one by one */
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	vd_drain_fd(self->q->call);
	ASSERT_EQ(0, submit(self, 2));
	EXPECT_TRUE(quiet(self));
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_RESUME, NULL));
	EXPECT_EQ(0, vd_wait(self->q, 2, VD_WAIT_MS));
}

/* QEMU's kick eventfd is signalled from the start. */
TEST_F(notify, kick_with_initial_count)
{
	int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_KICK, 0, fd));
	close(self->q->kick);
	self->q->kick = fd;
	ASSERT_EQ(0, vd_driver_ok(d));
	EXPECT_TRUE(quiet(self));
	ASSERT_EQ(0, submit(self, 1));
	vd_kick(self->q);
	EXPECT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
}

/* The same while running: what is signalled when it is bound is a kick. */
TEST_F(notify, signalled_fd_bound_while_running)
{
	int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_driver_ok(d));
	ASSERT_EQ(0, submit(self, 2));
	ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_KICK, 0, fd));
	EXPECT_EQ(0, vd_wait(self->q, 2, VD_WAIT_MS));
	close(self->q->kick);
	self->q->kick = fd;
	ASSERT_EQ(0, submit(self, 2));
	vd_kick(self->q);
	EXPECT_EQ(0, vd_wait(self->q, 2, VD_WAIT_MS));
}

TEST_F(notify, unbound_and_bound_again)
{
	struct vd *d = &self->r.d;
	int i;

	ASSERT_EQ(0, vd_driver_ok(d));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_KICK, 0, -1));
		ASSERT_EQ(0, submit(self, 1));
		/* nobody hears it; the count is still in it when it is bound again */
		vd_kick_always(self->q);
		ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_KICK, 0, self->q->kick));
		EXPECT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	}
}

TEST_F(notify, spurious_kicks)
{
	struct vhost_inflight_queue_info info;
	struct vd *d = &self->r.d;
	int i;

	ASSERT_EQ(0, vd_driver_ok(d));
	for (i = 0; i < 500; i++)
		vd_kick_always(self->q);
	EXPECT_TRUE(quiet(self));
	ASSERT_EQ(0, vd_qinfo(d, 0, &info));
	EXPECT_LT(0, info.kicks);
	EXPECT_EQ(0, info.requests);
	EXPECT_EQ(0, info.calls);
	EXPECT_EQ(0xf, vd_status(d));
}

/* The call eventfd is exchanged under way, as QEMU does after DRIVER_OK for its irqfd. */
TEST_F(notify, call_fd_exchanged)
{
	struct vd *d = &self->r.d;
	int old = self->q->call, i;

	ASSERT_EQ(0, vd_driver_ok(d));
	for (i = 0; i < 5; i++) {
		int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

		ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_CALL, 0, fd));
		EXPECT_EQ(!!i, vd_drain_fd(fd));
		self->q->ops->call_on(self->q);
		ASSERT_EQ(0, submit(self, 1));
		vd_kick(self->q);
		EXPECT_EQ(1, vd_poll_fd(fd, VD_WAIT_MS));
		ASSERT_EQ(0, vd_spin(self->q, 1, VD_WAIT_MS));
		EXPECT_EQ(0, vd_drain_fd(old));
		close(old);
		old = fd;
	}
	self->q->call = old;
}

/*
 * QEMU's stop closes the call eventfd, and its cont binds the next one after DRIVER_OK: what was
 * made available before is answered in between, and a guest that waits for it must not wait forever.
 */
TEST_F(notify, call_fd_bound_after_the_answer)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), idle = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct vd *d = &self->r.d;

	self->q->ops->call_on(self->q);
	ASSERT_EQ(0, submit(self, 4));
	/* nothing was said yet */
	ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_CALL, 0, idle));
	EXPECT_EQ(0, vd_drain_fd(idle));
	ASSERT_EQ(0, vd_driver_ok(d));
	EXPECT_EQ(1, vd_poll_fd(idle, VD_WAIT_MS));
	ASSERT_EQ(0, vd_spin(self->q, 4, VD_WAIT_MS));
	ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_CALL, 0, fd));
	EXPECT_EQ(1, vd_drain_fd(fd));
	/* one for each batch, of which there may have been several */
	vd_drain_fd(idle);
	/* the same with none bound */
	ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_CALL, 0, -1));
	ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_CALL, 0, idle));
	EXPECT_EQ(1, vd_drain_fd(idle));
	/* a reset ends it */
	ASSERT_EQ(0, vd_set_status(d, 0));
	ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_CALL, 0, fd));
	EXPECT_EQ(0, vd_drain_fd(fd));
	close(fd);
	close(idle);
}

TEST_F(notify, no_call_fd)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_CALL, 0, -1));
	ASSERT_EQ(0, vd_vring_file(d, VHOST_SET_VRING_ERR, 0, -1));
	ASSERT_EQ(0, vd_driver_ok(d));
	ASSERT_EQ(0, submit(self, 10));
	vd_kick(self->q);
	EXPECT_EQ(0, vd_spin(self->q, 10, VD_WAIT_MS));
	EXPECT_EQ(0, vd_drain_fd(self->q->call));
}

/* The driver wants none: none is sent, and each one spared is counted. */
TEST_F(notify, calls_suppressed)
{
	struct vhost_inflight_queue_info a, b;
	struct vd *d = &self->r.d;
	int i;

	ASSERT_EQ(0, vd_driver_ok(d));
	ASSERT_EQ(0, vd_qinfo(d, 0, &a));
	for (i = 0; i < 10; i++) {
		self->q->ops->call_off(self->q);
		ASSERT_EQ(0, submit(self, 1));
		vd_kick(self->q);
		ASSERT_EQ(0, vd_spin(self->q, 1, VD_WAIT_MS));
	}
	/* the used index moves before the count does */
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	ASSERT_EQ(0, vd_qinfo(d, 0, &b));
	EXPECT_EQ(0, vd_drain_fd(self->q->call));
	EXPECT_EQ(a.calls, b.calls);
	EXPECT_EQ(a.calls_suppressed + 10, b.calls_suppressed);
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_RESUME, NULL));
	for (i = 0; i < 10; i++) {
		self->q->ops->call_on(self->q);
		ASSERT_EQ(0, submit(self, 1));
		vd_kick(self->q);
		EXPECT_EQ(1, vd_poll_fd(self->q->call, VD_WAIT_MS));
		ASSERT_EQ(0, vd_spin(self->q, 1, VD_WAIT_MS));
	}
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	ASSERT_EQ(0, vd_qinfo(d, 0, &a));
	EXPECT_EQ(b.calls + 10, a.calls);
}

/* used_event: a call exactly when that entry was filled; the flag means nothing then. */
TEST_F(notify, used_event_is_exact)
{
	struct vd *d = &self->r.d;
	unsigned int i, want = 5;

	ASSERT_EQ(0, vd_driver_ok(d));
	*vd_used_event(self->q) = self->q->last_used + want - 1;
	self->q->avail->flags = variant->no_event_idx ? 0 : VD_AVAIL_NO_INTERRUPT;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (i = 1; i <= 8; i++) {
		ASSERT_EQ(0, submit(self, 1));
		vd_kick(self->q);
		ASSERT_EQ(0, vd_spin(self->q, 1, VD_WAIT_MS));
		if (variant->no_event_idx || i == want) {
			/* without EVENT_IDX what stands there is not looked at */
			EXPECT_EQ(1, vd_poll_fd(self->q->call, VD_WAIT_MS)) TH_LOG("entry %u", i);
		} else if (i == want - 1 || i == want + 1) {
			EXPECT_EQ(0, vd_poll_fd(self->q->call, VD_QUIET_MS)) TH_LOG("entry %u", i);
		}
	}
	if (!variant->no_event_idx) {
		EXPECT_EQ(0, vd_poll_fd(self->q->call, VD_QUIET_MS));
	}
}

/* Kicks only where the device asked for one: nothing is left lying, whatever the timing. */
TEST_F_TIMEOUT(notify, kicks_suppressed, 60)
{
	struct vhost_inflight_queue_info info;
	unsigned int sent = 0, kicks = 0, n;
	struct vd *d = &self->r.d;
	__u32 rnd = 12345;

	ASSERT_EQ(0, vd_driver_ok(d));
	while (sent < vd_rounds(2000)) {
		rnd = rnd * 1103515245 + 12345;
		n = 1 + (rnd >> 16) % 20;
		ASSERT_EQ(0, submit(self, n / 2 + 1));
		kicks += vd_kick(self->q);
		ASSERT_EQ(0, submit(self, n / 3));
		kicks += vd_kick(self->q);
		sent += n / 2 + 1 + n / 3;
		ASSERT_EQ(0, vd_wait(self->q, n / 2 + 1 + n / 3, VD_WAIT_MS)) {
			TH_LOG("stalled after %u, %u kicks", sent, kicks);
		}
	}
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	ASSERT_EQ(0, vd_qinfo(d, 0, &info));
	EXPECT_EQ(sent, info.requests);
	EXPECT_GE(kicks, info.kicks);
	if (!variant->no_event_idx) {
		/* with EVENT_IDX the flag stays 0 */
		EXPECT_EQ(0, self->q->used->flags);
	}
}

/* One kick and one call eventfd for all queues. */
TEST_F(notify, shared_eventfds)
{
	struct vd_config c = { .num_queues = 4 };
	struct vd_opts o = { .iova = IOVA, .num = 64, .num_queues = 4 };
	struct vd_rig r = { 0 };
	unsigned int i;
	__u64 buf;

	ASSERT_EQ(0, vd_rig_make(&r, variant->kind, DISK, &c, &o));
	buf = vd_alloc(&r.d, 4096, 4096);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, vd_vring_file(&r.d, VHOST_SET_VRING_KICK, i, r.d.q[0]->kick));
		ASSERT_EQ(0, vd_vring_file(&r.d, VHOST_SET_VRING_CALL, i, r.d.q[0]->call));
		vd_submit(r.d.q[i], VD_T_IN, 0, &(struct vd_buf){ buf, 4096, true }, 1, VD_DIRECT);
	}
	vd_kick_always(r.d.q[0]);
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(0, vd_spin(r.d.q[i], 1, VD_WAIT_MS)) TH_LOG("queue %u", i);
	}
	EXPECT_EQ(1, vd_poll_fd(r.d.q[0]->call, VD_WAIT_MS));
	vd_close(&r.d);
	EXPECT_EQ(0, vd_rig_free(&r));
}

TEST_HARNESS_MAIN
