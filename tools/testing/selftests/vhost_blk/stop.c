// SPDX-License-Identifier: GPL-2.0
/*
 * STOP: a device stands still on request, says where, and is gone on with here or elsewhere, also when its disk is sick.
 *
 * Half of the disk can be frozen. Asked not to block, it then has one request of a queue and refuses the others (VD_DM_RECORD);
 * otherwise it takes all it is given (VD_DM_RECORD_WAIT). It writes down what it is asked to do: vblk_record.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "vblk_stop.h"
#include "kselftest_harness.h"

#define OUT		8
#define DEADLINE	300		/* of a stop that is to end at it, ms */
#define STILL		(VD_S_RUNS | VD_S_STOP)
#define AT_ONCE		5000		/* what does not wait for the disk takes no longer, ms */

/* How long it took, as the device and as this process saw it. */
#define EXPECT_DEADLINE(info, begin, ms) do {								\
	EXPECT_LE((ms) - 10, (info).elapsed_ms);							\
	EXPECT_GT((ms) + VD_WAIT_MS / 2, (info).elapsed_ms);						\
	EXPECT_LE((ms) - 10, vd_now_ms() - (begin));							\
} while (0)

/* ---- who may, and when ---- */

FIXTURE(arguments) {
	struct vd_rig r;
	struct vd other;		/* only has it open */
};

FIXTURE_SETUP(arguments)
{
	struct vd_opts o = { .iova = VD_GUEST_IOVA, .num = 64, .mem_size = 4 << 20 };

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_TMPFS, VD_GUEST_DISK, NULL, NULL));
	ASSERT_EQ(0, vd_open(&self->r.d, self->r.name, &o));
	self->other.fd = vd_node_open(self->r.name, O_RDWR);
	ASSERT_LE(0, self->other.fd);
}

FIXTURE_TEARDOWN_PARENT(arguments)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static int configure(struct vd *d)
{
	return vd_negotiate(d) ?: vd_map_all(d) ?: vd_setup_queues(d);
}

static int works(struct vd *d)
{
	return vd_rw(d->q[0], VD_T_OUT, 8, VD_GUEST_IOVA + (3 << 20), 4096);
}

TEST_F(arguments, backend_feature)
{
	struct vd *d = &self->r.d;
	__u64 backend = 0;

	ASSERT_EQ(0, configure(d));
	ASSERT_EQ(0, vd_ioctl(d, VHOST_GET_BACKEND_FEATURES, &backend));
	EXPECT_TRUE(backend & VD_BE_STOP);
	backend &= ~VD_BE_STOP;
	ASSERT_EQ(0, vd_ioctl(d, VHOST_SET_BACKEND_FEATURES, &backend));
	EXPECT_EQ(-EOPNOTSUPP, vd_set_stop(d, VD_FLUSH, 0));
	ASSERT_EQ(0, vd_driver_ok(d));
	EXPECT_EQ(-EINVAL, vd_set_status(d, STILL));
	EXPECT_EQ(-EOPNOTSUPP, vd_set_stop(d, VD_FLUSH, 0));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	EXPECT_EQ(0, works(d));
	backend |= VD_BE_STOP;
	ASSERT_EQ(0, vd_ioctl(d, VHOST_SET_BACKEND_FEATURES, &backend));
	EXPECT_EQ(0, vd_stop(d, VD_FLUSH, 0));
	EXPECT_EQ(0, vd_stopped(d));
}

TEST_F(arguments, before_driver_ok)
{
	static const __u8 setup[] = { VD_S_STOP, VD_S_ACK | VD_S_STOP, VD_S_ACK | VD_S_DRIVER | VD_S_STOP };
	struct vd *d = &self->r.d;
	unsigned int i;

	ASSERT_EQ(0, configure(d));
	EXPECT_EQ(-EINVAL, vd_set_status(d, (VD_S_RUNS & ~VD_S_DRIVER_OK) | VD_S_STOP));
	EXPECT_EQ(-EINVAL, vd_set_status(d, STILL));
	EXPECT_EQ(VD_S_RUNS & ~VD_S_DRIVER_OK, vd_status(d));
	/* in any state */
	EXPECT_EQ(0, vd_set_stop(d, VD_PRESERVE, 1000));
	ASSERT_EQ(0, vd_reset(d));
	for (i = 0; i < ARRAY_SIZE(setup); i++) {
		EXPECT_EQ(-EINVAL, vd_set_status(d, setup[i])) TH_LOG("status %#x", setup[i]);
		EXPECT_EQ(0, vd_set_status(d, setup[i] & ~VD_S_STOP) ?: vd_status(d) & VD_S_STOP);
	}
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d) ?: vd_setup_queues(d) ?: vd_driver_ok(d));
	EXPECT_EQ(0, works(d));
}

/* The bit may be taken back, and no other. */
TEST_F(arguments, other_bits)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, configure(d) ?: vd_driver_ok(d));
	EXPECT_EQ(-EINVAL, vd_set_status(d, STILL & ~VD_S_DRIVER_OK));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	ASSERT_EQ(0, vd_stop(d, VD_FLUSH, 0));
	ASSERT_EQ(0, vd_stopped(d));
	EXPECT_EQ(-EINVAL, vd_set_status(d, VD_S_ACK | VD_S_DRIVER | VD_S_FEATURES_OK));
	EXPECT_EQ(-EINVAL, vd_set_status(d, STILL & ~VD_S_FEATURES_OK));
	EXPECT_EQ(STILL, vd_status(d));
	EXPECT_EQ(0, vd_go_on(d));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	/* taken back when it was not there */
	EXPECT_EQ(0, vd_go_on(d));
	EXPECT_EQ(0, works(d));
}

TEST_F(arguments, set_stop)
{
	const struct vhost_inflight_stop good = { .size = sizeof(good), .mode = VD_PRESERVE, .deadline_ms = 1000 };
	struct {
		struct vhost_inflight_stop arg;
		__u64 more;
	} later = { .arg = good };
	struct vhost_inflight_stop arg;
	struct vd *d = &self->r.d;

	EXPECT_EQ(-EPERM, vd_set_stop(d, VD_FLUSH, 0)) TH_LOG("nobody owns it");
	ASSERT_EQ(0, configure(d) ?: vd_driver_ok(d));
	EXPECT_EQ(-EPERM, vd_set_stop(&self->other, VD_FLUSH, 0));
#define REFUSED(err, ...) do {										\
	arg = good;											\
	__VA_ARGS__;											\
	EXPECT_EQ(-(err), vd_ioctl(d, VHOST_INFLIGHT_SET_STOP, &arg)) TH_LOG(#__VA_ARGS__);		\
} while (0)
	REFUSED(EINVAL, arg.mode = 2);
	REFUSED(EINVAL, arg.mode = ~0U);
	REFUSED(EINVAL, arg.flags = 1);
	REFUSED(EINVAL, arg.flags = 1U << 31);
	REFUSED(EINVAL, arg.deadline_ms = 1U << 31);
	REFUSED(EINVAL, arg.deadline_ms = ~0U);
	REFUSED(EINVAL, arg.size = 0);
	REFUSED(EINVAL, arg.size = sizeof(arg) - 1);
	REFUSED(E2BIG, arg.size = 1 << 20);
	REFUSED(0, arg.deadline_ms = 0x7fffffff);
	EXPECT_EQ(-EFAULT, vd_ioctl(d, VHOST_INFLIGHT_SET_STOP, NULL));
	later.arg.size = sizeof(later);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_STOP, &later));
	later.more = 1;
	EXPECT_EQ(-E2BIG, vd_ioctl(d, VHOST_INFLIGHT_SET_STOP, &later));
	/* nothing of that stopped it */
	EXPECT_EQ(0, works(d));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	/* somebody else can't */
	EXPECT_EQ(-EBUSY, vd_set_status(&self->other, STILL));
}

TEST_F(arguments, get_stop)
{
	struct {
		struct vhost_inflight_stop_info info;
		__u64 more;
	} later = { .info = { .size = sizeof(later) }, .more = ~0ULL };
	struct vhost_inflight_stop_info info;
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_get_stop(&self->other, 0, &info));
	EXPECT_EQ(sizeof(info), info.size);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_FREE, info.state);
	EXPECT_EQ(-ENOBUFS, vd_get_stop(&self->other, 1, &info));
	EXPECT_EQ(-ENOBUFS, vd_get_stop(&self->other, 0xffff, &info));
	ASSERT_EQ(0, configure(d) ?: vd_driver_ok(d));
	ASSERT_EQ(0, vd_get_stop(&self->other, 0, &info));
	EXPECT_EQ(VHOST_INFLIGHT_STATE_RUNNING, info.state);
	EXPECT_EQ(0, info.out + info.kept + info.published + info.rewindable);
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, 0));
	ASSERT_EQ(0, vd_stopped(d));
	ASSERT_EQ(0, vd_get_stop(&self->other, 0, &info));
	EXPECT_EQ(VHOST_INFLIGHT_STATE_STOPPED, info.state);
	EXPECT_EQ(VD_PRESERVE, info.mode);
	EXPECT_EQ(0, info.index);
	EXPECT_EQ(0, info.out + info.kept + info.published + info.rewindable);
	info.size = sizeof(info) - 1;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_GET_STOP, &info));
	info.size = 1 << 20;
	EXPECT_EQ(-E2BIG, vd_ioctl(d, VHOST_INFLIGHT_GET_STOP, &info));
	EXPECT_EQ(-EFAULT, vd_ioctl(d, VHOST_INFLIGHT_GET_STOP, NULL));
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_STOP, &later));
	EXPECT_EQ(sizeof(info), later.info.size);
	EXPECT_EQ(0, later.more);
}

/* SUSPEND of virtio 1.4: nobody asked for it, so it is not there. */
TEST_F(arguments, no_suspend)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, configure(d) ?: vd_driver_ok(d));
	EXPECT_FALSE(d->offered & VD_F_SUSPEND);
	EXPECT_EQ(-EINVAL, vd_set_status(d, VD_S_RUNS | VD_S_SUSPEND));
	EXPECT_EQ(0, works(d));
}

/* ---- both modes, and all ways to go on ---- */

FIXTURE(stop) {
	struct vd_guest g;
};

FIXTURE_VARIANT(stop) {
	bool packed, in_order;
};

FIXTURE_VARIANT_ADD(stop, split) { false, false };
FIXTURE_VARIANT_ADD(stop, packed) { true, false };
FIXTURE_VARIANT_ADD(stop, split_in_order) { false, true };
FIXTURE_VARIANT_ADD(stop, packed_in_order) { true, true };

FIXTURE_SETUP(stop)
{
	struct vd_config c = { .packed = variant->packed, .in_order = variant->in_order };

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD, &c, VD_GUEST_NUM));
}

FIXTURE_TEARDOWN_PARENT(stop)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

/* Still, with all but the first of OUT kept. */
static int preserve(struct vd_guest *g)
{
	struct vd *d = &g->r.d;

	return vd_hang_one(g, OUT) ?: vd_stop(d, VD_PRESERVE, VD_WAIT_MS) ?: vd_backing_thaw(&g->r.b) ?: vd_stopped(d) ?:
	       vd_finish(g, 1);
}

/* What was kept comes back, and what is new. */
static int all_well(struct vd_guest *g, unsigned int kept)
{
	int ret = vd_finish(g, kept) ?: vd_send_some(g, false, 4) ?: vd_finish(g, 4);

	if (ret)
		return ret;
	if (vd_inflight_wait(&g->reg, 0, 0))
		return -ENOTEMPTY;
	return vd_quiet(g) ? 0 : -EBADMSG;
}

/* The ioctl returns while the disk stands still, and the bit is there when all is back. */
TEST_F_TIMEOUT(stop, flush, 60)
{
	struct vhost_inflight_queue_info qinfo;
	struct vhost_inflight_stop_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, vd_hang_one(g, OUT));
	ASSERT_EQ(0, vd_stop(d, VD_FLUSH, VD_WAIT_MS));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	EXPECT_EQ(0, vd_until_state(&g->look, VHOST_INFLIGHT_STATE_STOPPING));
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));
	ASSERT_EQ(0, vd_get_stop(&g->look, 0, &info));
	EXPECT_EQ(VD_FLUSH, info.mode);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_STOPPING, info.state);
	EXPECT_EQ(0, info.published);
	EXPECT_EQ(0, info.kept);
	EXPECT_EQ(OUT, info.out);
	/* The disk has one write, and is asked again and again to take the next. */
	EXPECT_GE(OUT - 1, info.rewindable);
	EXPECT_LE(OUT - 2, info.rewindable);
	ASSERT_EQ(0, vd_qinfo(&g->look, 0, &qinfo));
	EXPECT_EQ(VHOST_INFLIGHT_QUEUE_DRAINING, qinfo.state);
	EXPECT_EQ(-EAGAIN, vd_event(&g->look, &e));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));

	ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
	ASSERT_EQ(0, vd_stopped(d));
	ASSERT_EQ(0, vd_get_stop(&g->look, 0, &info));
	EXPECT_EQ(VHOST_INFLIGHT_STATE_STOPPED, info.state);
	EXPECT_LE(VD_QUIET_MS - 10, info.elapsed_ms);
	EXPECT_EQ(OUT, info.published);
	EXPECT_EQ(0, info.kept + info.out + info.rewindable);
	ASSERT_EQ(0, vd_get_stop(&g->look, 1, &info));
	EXPECT_EQ(1, info.index);
	EXPECT_EQ(0, info.published + info.kept + info.out);
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_STOPPED, &e));
	EXPECT_EQ(0, e.error);
	EXPECT_EQ(0, e.counter + e.sector + e.length + e.parked);
	/* it is there already */
	EXPECT_EQ(0, vd_more(d->q[0], 0));
	EXPECT_EQ(0, vd_finish(g, OUT));
	EXPECT_TRUE(vd_exact(g));
	EXPECT_EQ(0, vd_inflight_heads(&g->reg, 0, NULL));
	ASSERT_EQ(0, vd_qinfo(&g->look, 0, &qinfo));
	EXPECT_EQ(VHOST_INFLIGHT_QUEUE_STOPPED, qinfo.state);
	EXPECT_EQ(0, qinfo.depth + qinfo.kept);
	EXPECT_TRUE(vd_quiet(g));
	/* once: it is not told again */
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, 0));
	EXPECT_EQ(-EAGAIN, vd_event(&g->look, &e));
	EXPECT_EQ(0, vd_compare(g));
}

/* Not one byte of the guest's memory, of the region, no notification; and then what was kicked for meanwhile is served. */
TEST_F_TIMEOUT(stop, touches_nothing, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	struct vd_queue *q = d->q[0];
	__u8 *was = malloc(VD_GUEST_MEM), *region = malloc(g->reg.arg.mmap_size);
	struct vhost_inflight_event e;
	int round;
	__u32 base;

	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, vd_send_some(g, round & 1, 4) ?: vd_finish(g, 4));
		ASSERT_EQ(0, vd_stop(d, round & 2 ? VD_PRESERVE : VD_FLUSH, VD_WAIT_MS));
		ASSERT_EQ(0, vd_stopped(d));
		base = q->ops->base(q);
		q->ops->call_on(q);
		vd_drain_fd(q->call);
		ASSERT_EQ(0, vd_send_some(g, false, 4));
		vd_kick_always(q);
		memcpy(was, d->mem[0].va, VD_GUEST_MEM);
		memcpy(region, g->reg.map, g->reg.arg.mmap_size);
		EXPECT_EQ(0, vd_poll_fd(q->call, VD_QUIET_MS));
		EXPECT_EQ(0, vd_poll_fd(d->config_fd, 0));
		EXPECT_EQ(0, memcmp(was, d->mem[0].va, VD_GUEST_MEM));
		EXPECT_EQ(0, memcmp(region, g->reg.map, g->reg.arg.mmap_size));
		EXPECT_EQ(base, vd_get_base(d, 0));
		EXPECT_EQ(STILL, vd_status(d));
		ASSERT_EQ(0, vd_go_on(d)) TH_LOG("round %d", round);
		EXPECT_EQ(VD_S_RUNS, vd_status(d));
		EXPECT_EQ(0, vd_finish(g, 4)) TH_LOG("round %d", round);
		EXPECT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_RESUMED, &e));
	}
	EXPECT_TRUE(vd_quiet(g));
	EXPECT_EQ(0, vd_compare(g));
}

/* What is at the disk is published, the rest is kept, and is where the base and the region say. */
TEST_F_TIMEOUT(stop, preserve, 60)
{
	struct vhost_inflight_request r[VD_GUEST_NUM];
	struct vhost_inflight_queue_info qinfo;
	struct vhost_inflight_stop_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int i;

	ASSERT_EQ(0, vd_hang_one(g, OUT));
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, VD_WAIT_MS));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(VD_PRESERVE, info.mode);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_STOPPING, info.state);
	EXPECT_EQ(0, info.published);
	EXPECT_EQ(OUT - 1, info.kept);
	EXPECT_EQ(1, info.out);
	EXPECT_EQ(0, info.rewindable);

	ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
	ASSERT_EQ(0, vd_stopped(d));
	EXPECT_EQ(0, vd_finish(g, 1));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(VHOST_INFLIGHT_STATE_STOPPED, info.state);
	EXPECT_EQ(1, info.published);
	EXPECT_EQ(OUT - 1, info.kept);
	EXPECT_EQ(0, info.out + info.rewindable);
	ASSERT_EQ(0, vd_qinfo(d, 0, &qinfo));
	EXPECT_EQ(VHOST_INFLIGHT_QUEUE_STOPPED, qinfo.state);
	EXPECT_EQ(OUT - 1, qinfo.kept);
	EXPECT_TRUE(vd_exact(g));
	EXPECT_EQ(OUT - 1, vd_inflight_heads(&g->reg, 0, NULL));
	/* shown to who looks on, and not as something that could still land */
	ASSERT_EQ(OUT - 1, vd_requests(&g->look, 0, r, VD_GUEST_NUM));
	for (i = 0; i < OUT - 1; i++) {
		EXPECT_EQ(vd_inflight_counter(&g->reg, 0, r[i].id), r[i].counter);
		EXPECT_EQ(VHOST_INFLIGHT_REQUEST_REWINDABLE, r[i].flags);
		EXPECT_NE(VHOST_INFLIGHT_REQUEST_SUBMITTED, r[i].state);
	}
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_STOPPED, &e));
	/* not one of those that are kept gets to the disk */
	EXPECT_TRUE(vd_quiet(g));
	/* nor was parked */
	EXPECT_EQ(0, vd_count_events(&g->look, VHOST_INFLIGHT_EVENT_KEPT));
}

/* By taking the bit back: what was kept is taken again first, each once. */
TEST_F_TIMEOUT(stop, preserve_and_go_on, 60)
{
	struct vhost_inflight_queue_info qinfo;
	struct vd_guest *g = &self->g;
	int round;

	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, preserve(g)) TH_LOG("round %d", round);
		/* Made available meanwhile. With the order as a witness now and then, and else that nothing is done twice. */
		ASSERT_EQ(0, vd_send_some(g, false, 3));
		ASSERT_EQ(0, round & 1 ? vd_next_life(g) : 0);
		ASSERT_EQ(0, vd_go_on(&g->r.d));
		ASSERT_EQ(0, all_well(g, OUT - 1 + 3)) TH_LOG("round %d", round);
		ASSERT_EQ(0, vd_qinfo(&g->look, 0, &qinfo));
		EXPECT_EQ(VHOST_INFLIGHT_QUEUE_RUNNING, qinfo.state);
		EXPECT_EQ(0, qinfo.kept);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* While something is still at the disk, too. */
TEST_F_TIMEOUT(stop, called_off, 60)
{
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mode;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		ASSERT_EQ(0, vd_hang_one(g, OUT));
		ASSERT_EQ(0, vd_stop(d, mode, VD_WAIT_MS));
		ASSERT_EQ(0, vd_go_on(d));
		EXPECT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_RUNNING));
		EXPECT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_RESUMED, &e));
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, all_well(g, OUT)) TH_LOG("mode %d", mode);
		EXPECT_EQ(VD_S_RUNS, vd_status(d));
		EXPECT_EQ(0, vd_count_events(&g->look, VHOST_INFLIGHT_EVENT_STOPPED));
	}
}

/* Reset, and a base that says where it stood: a VMM that only paused. */
TEST_F_TIMEOUT(stop, preserve_then_a_reset_and_the_same_base, 60)
{
	struct vd_guest *g = &self->g;
	__u32 base[VD_GUEST_QUEUES];
	struct vd *d = &g->r.d;
	int round;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, preserve(g));
		ASSERT_EQ(0, vd_get_bases(d, base));
		ASSERT_EQ(0, vd_reset(d));
		EXPECT_EQ(0, vd_status(d));
		EXPECT_EQ(OUT - 1, vd_inflight_heads(&g->reg, 0, NULL));
		/* once more is no more */
		ASSERT_EQ(0, round == 1 ? vd_reset(d) : 0);
		ASSERT_EQ(0, vd_cont(g, base));
		ASSERT_EQ(0, all_well(g, OUT - 1)) TH_LOG("round %d", round);
		EXPECT_EQ((OUT - 1) * (round + 1), g->rec.repeated);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* Reset, and another base or none: a new driver, to whom what was kept is nothing. */
TEST_F_TIMEOUT(stop, preserve_then_another_driver, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int told;

	for (told = 0; told < 2; told++) {
		/* so that no base is the right one by chance */
		ASSERT_EQ(0, vd_send_some(g, false, 5) ?: vd_finish(g, 5));
		ASSERT_EQ(0, preserve(g));
		ASSERT_EQ(0, vd_reset(d));
		ASSERT_EQ(0, vd_new_driver(g, told));
		EXPECT_EQ(0, vd_inflight_heads(&g->reg, 0, NULL));
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, all_well(g, 0)) TH_LOG("told %d", told);
	}
	EXPECT_EQ(0, g->rec.repeated);
}

/* The disk stays dead: what is out is told from what is kept. */
TEST_F_TIMEOUT(stop, preserve_stalls, 60)
{
	struct vhost_inflight_stop_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	long begin;

	ASSERT_EQ(0, vd_hang_one(g, OUT));
	begin = vd_now_ms();
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, DEADLINE));
	ASSERT_EQ(0, vd_stalled(d));
	ASSERT_EQ(0, vd_get_stop(&g->look, 0, &info));
	EXPECT_DEADLINE(info, begin, DEADLINE);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_STALLED, info.state);
	EXPECT_EQ(0, info.published);
	EXPECT_EQ(OUT - 1, info.kept);
	EXPECT_EQ(1, info.out);
	EXPECT_EQ(0, info.rewindable);
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_STALLED, &e));
	EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
	/* once more, and this time it answers */
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, VD_WAIT_MS));
	ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
	ASSERT_EQ(0, vd_stopped(d));
	EXPECT_EQ(0, vd_finish(g, 1));
	EXPECT_TRUE(vd_exact(g));
	EXPECT_TRUE(vd_quiet(g));
	ASSERT_EQ(0, vd_go_on(d));
	EXPECT_EQ(0, all_well(g, OUT - 1));
}

/* A position so many descriptors behind what was used last, as VHOST_SET_VRING_BASE takes it. */
static __u32 base_at(const struct vd_queue *q, int n)
{
	int slot = q->got.slot + n;
	bool wrap = q->got.wrap;

	if (q->ops != &vd_packed_ops)
		return (__u16)(q->last_used + n);
	for (; slot < 0; slot += q->num)
		wrap = !wrap;
	for (; slot >= q->num; slot -= q->num)
		wrap = !wrap;
	return slot | (wrap ? VD_PACKED_WRAP : 0) |
	       (__u32)(q->got.slot | (q->got.wrap ? VD_PACKED_WRAP : 0)) << 16;
}

/* It is what was used last, or that and what is kept; anything else is refused and changes nothing. */
TEST_F_TIMEOUT(stop, base_while_stopped, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	struct vd_queue *q = d->q[0];
	unsigned int i, j, n;
	__u32 right[2];
	int kept, wrong[7];

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, preserve(g));
		right[0] = base_at(q, 0);
		right[1] = q->ops->base(q);
		kept = variant->packed ? 0 : OUT - 1;
		for (j = 0; j < q->num && variant->packed; j++)
			kept += q->busy[j] ? q->chain[j] : 0;
		ASSERT_EQ(right[1], base_at(q, kept));
		memcpy(wrong, (int [7]){ -1, 1, kept - 1, kept + 1, q->num, q->num + 1, -kept }, sizeof(wrong));
		for (n = 0; n < ARRAY_SIZE(wrong); n++) {
			EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, base_at(q, wrong[n]))) {
				TH_LOG("%d behind what was used, of %d kept", wrong[n], kept);
			}
		}
		if (variant->packed) {
			/* another used position, or only one of the two */
			EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, right[1] ^ 1 << 16));
			EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, right[1] ^ 1U << 31));
			EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, right[0] ^ VD_PACKED_WRAP));
		} else {
			EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, right[1] | 1 << 16));
		}
		EXPECT_EQ(right[1], vd_get_base(d, 0));
		EXPECT_EQ(OUT - 1, vd_inflight_heads(&g->reg, 0, NULL));
		EXPECT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, right[i]));
		ASSERT_EQ(0, vd_next_life(g));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, all_well(g, OUT - 1)) TH_LOG("base %u", i);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- with another engine ---- */

TEST_F_TIMEOUT(stop, exchange_during_a_stop, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mode;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		ASSERT_EQ(0, vd_hang_one(g, OUT));
		ASSERT_EQ(0, vd_stop(d, mode, VD_WAIT_MS * 2));
		ASSERT_EQ(0, vd_exchange());
		EXPECT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_STOPPING));
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(mode, info.mode);
		EXPECT_EQ(OUT, info.out + info.kept);
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, vd_stopped(d)) TH_LOG("mode %d", mode);
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(mode == VD_FLUSH ? OUT : 1, info.published);
		EXPECT_EQ(mode == VD_FLUSH ? 0 : OUT - 1, info.kept);
		ASSERT_EQ(0, vd_finish(g, info.published));
		EXPECT_TRUE(vd_exact(g));
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, all_well(g, info.kept)) TH_LOG("mode %d", mode);
	}
	EXPECT_EQ(0, vd_compare(g));
}

TEST_F_TIMEOUT(stop, exchange_while_stopped, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, preserve(g));
	ASSERT_EQ(0, vd_exchange());
	EXPECT_EQ(STILL, vd_status(d));
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, 0));
	EXPECT_TRUE(vd_exact(g));
	EXPECT_EQ(OUT - 1, vd_inflight_heads(&g->reg, 0, NULL));
	EXPECT_TRUE(vd_quiet(g));
	ASSERT_EQ(0, vd_go_on(d));
	EXPECT_EQ(0, all_well(g, OUT - 1));
	EXPECT_EQ(0, vd_compare(g));
}

TEST_F_TIMEOUT(stop, exchange_while_stalled, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mode;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		ASSERT_EQ(0, vd_hang_one(g, OUT));
		ASSERT_EQ(0, vd_stop(d, mode, DEADLINE));
		ASSERT_EQ(0, vd_stalled(d));
		ASSERT_EQ(0, vd_exchange());
		EXPECT_EQ(VD_S_RUNS, vd_status(d));
		EXPECT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_STALLED));
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, all_well(g, OUT)) TH_LOG("mode %d", mode);
	}
}

/* ---- on another device ---- */

FIXTURE(move) {
	struct vd_guest g;
	struct vd_backing twin;
	char other[VD_NAME_LEN];
};

FIXTURE_VARIANT(move) {
	bool packed, in_order;
};

FIXTURE_VARIANT_ADD(move, split) { false, false };
FIXTURE_VARIANT_ADD(move, packed) { true, false };
FIXTURE_VARIANT_ADD(move, split_in_order) { false, true };
FIXTURE_VARIANT_ADD(move, packed_in_order) { true, true };

FIXTURE_SETUP(move)
{
	struct vd_config c = {
		.packed = variant->packed, .in_order = variant->in_order,
		.num_queues = VD_GUEST_QUEUES, .queue_size = VD_GUEST_NUM,
	};

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD, &c, VD_GUEST_NUM));
	ASSERT_EQ(0, vd_backing_twin(&self->twin, &self->g.r.b));
	vd_name(self->other, "_other");
	c.path = self->twin.path;
	ASSERT_EQ(0, vd_create(self->other, &c));
}

FIXTURE_TEARDOWN_PARENT(move)
{
	vd_backing_thaw(&self->g.r.b);
	EXPECT_EQ(0, vd_remove(self->other));
	vd_backing_free(&self->twin);
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

/* There and back, with each base that is right: where it stood, what was used last as vhost-user's front ends say it, none. */
TEST_F_TIMEOUT(move, with_what_is_kept, 90)
{
	struct vd_guest *g = &self->g;
	struct vd_queue *q = g->r.d.q[0];
	int round;
	__u32 at;

	for (round = 0; round < 6; round++) {
		ASSERT_EQ(0, preserve(g)) TH_LOG("round %d", round);
		at = round % 3 == 1 ? base_at(q, 0) : q->ops->base(q);
		ASSERT_EQ(0, vd_move(g, round & 1 ? g->r.name : self->other, round % 3 == 2 ? NULL : &at, true));
		ASSERT_EQ(0, all_well(g, OUT - 1)) TH_LOG("round %d", round);
		EXPECT_EQ(VD_S_RUNS, vd_status(&g->r.d));
	}
	EXPECT_EQ(6 * (OUT - 1), g->rec.repeated);
	EXPECT_EQ(0, vd_compare(g));
}

/* A base that does not agree with the region is refused, and with a right one it goes on. */
TEST_F_TIMEOUT(move, with_a_wrong_base, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	__u32 base[VD_GUEST_QUEUES];
	int source, i;

	ASSERT_EQ(0, preserve(g));
	ASSERT_EQ(0, vd_get_bases(d, base));
	source = d->fd;
	d->fd = vd_node_open(self->other, O_RDWR);
	ASSERT_LE(0, d->fd);
	ASSERT_EQ(0, vd_negotiate(d));
	ASSERT_EQ(0, vd_inflight_set(d, &g->reg.arg));
	ASSERT_EQ(0, vd_map_all(d));
	for (i = 0; i < VD_GUEST_QUEUES; i++)
		ASSERT_EQ(0, vd_setup_queue(d, d->q[i], &base[i]));
	for (i = 1; i < 3; i++) {
		ASSERT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, base_at(d->q[0], i)));
		EXPECT_EQ(-EINVAL, vd_driver_ok(d));
	}
	EXPECT_EQ(OUT - 1, vd_inflight_heads(&g->reg, 0, NULL));
	ASSERT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, base[0]));
	ASSERT_EQ(0, vd_next_life(g) ?: vd_driver_ok(d));
	close(source);
	EXPECT_EQ(0, all_well(g, OUT - 1));
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- the ring of the STOP discussion ---- */

FIXTURE(discussion) {
	struct vd_guest g;
};

FIXTURE_VARIANT(discussion) {
	bool packed;
	int mode;
	bool parked;			/* the first request; else it is at the disk */
};

FIXTURE_VARIANT_ADD(discussion, split_flush) { false, VD_FLUSH, false };
FIXTURE_VARIANT_ADD(discussion, split_preserve) { false, VD_PRESERVE, false };
FIXTURE_VARIANT_ADD(discussion, split_preserve_kept) { false, VD_PRESERVE, true };
FIXTURE_VARIANT_ADD(discussion, packed_flush) { true, VD_FLUSH, false };
FIXTURE_VARIANT_ADD(discussion, packed_preserve) { true, VD_PRESERVE, false };
FIXTURE_VARIANT_ADD(discussion, packed_preserve_kept) { true, VD_PRESERVE, true };

FIXTURE_SETUP(discussion)
{
	struct vd_config c = { .packed = variant->packed, .on_write_error = "park", .retry_ms = -1 };

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD, &c, 4));
	self->g.indirect = true;
}

FIXTURE_TEARDOWN_PARENT(discussion)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

/*
 * Of four requests the first is still unused when the others are, and its slot in the available ring is overwritten by a new
 * buffer: what the ring alone says of it is gone. By a stop, a reset and the base in every other round.
 */
TEST_F_TIMEOUT(discussion, first_slot_overwritten, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	__u32 base[VD_GUEST_QUEUES];
	struct vd *d = &g->r.d;
	struct vd_queue *q = d->q[0];
	int first, kept, round;

	for (round = 0; round < 6; round++) {
		ASSERT_EQ(0, variant->parked ? vd_backing_break(&g->r.b) : vd_backing_freeze(&g->r.b));
		first = vd_send(g, true, VD_T_OUT);
		ASSERT_LE(0, first);
		ASSERT_EQ(0, vd_send_some(g, false, 3) ?: vd_finish(g, 3));
		ASSERT_EQ(0, vd_send_some(g, false, 3) ?: vd_finish(g, 3));
		if (!variant->packed) {
			EXPECT_NE(first, q->avail->ring[(__u16)(q->avail_idx - 7) % 4]);
		}
		ASSERT_EQ(0, variant->parked ? vd_until_parked(d, 1) : vd_at_disk(g, 1, 0));
		ASSERT_EQ(0, vd_stop(d, variant->mode, VD_WAIT_MS));
		if (!variant->parked) {
			EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));
			ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		}
		ASSERT_EQ(0, vd_stopped(d)) TH_LOG("round %d", round);
		kept = variant->parked;
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(0, info.out);
		EXPECT_EQ(kept, info.kept);
		EXPECT_EQ(!kept, info.published);
		ASSERT_EQ(0, vd_finish(g, info.published));
		EXPECT_TRUE(vd_exact(g));
		EXPECT_EQ(kept, vd_inflight_heads(&g->reg, 0, NULL));
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, variant->parked ? vd_backing_mend(&g->r.b) : 0);
		ASSERT_EQ(0, round & 1 ? vd_get_bases(d, base) ?: vd_reset(d) ?: vd_cont(g, base) :
					 vd_next_life(g) ?: vd_go_on(d));
		ASSERT_EQ(0, all_well(g, kept)) TH_LOG("round %d", round);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- more requests than the disk has room for ---- */

FIXTURE(narrow) {
	struct vd_guest g;
};

FIXTURE_VARIANT(narrow) {
	bool packed, in_order;
};

FIXTURE_VARIANT_ADD(narrow, split) { false, false };
FIXTURE_VARIANT_ADD(narrow, packed) { true, false };
FIXTURE_VARIANT_ADD(narrow, split_in_order) { false, true };
FIXTURE_VARIANT_ADD(narrow, packed_in_order) { true, true };

FIXTURE_SETUP(narrow)
{
	struct vd_config c = { .packed = variant->packed, .in_order = variant->in_order };

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD_NARROW, &c, VD_GUEST_NUM));
	self->g.indirect = true;
}

FIXTURE_TEARDOWN_PARENT(narrow)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

/* What the disk has is published, the rest kept: in flight is what is between used and available, wherever the cut is. */
TEST_F_TIMEOUT(narrow, preserve, 120)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	__u32 base[VD_GUEST_QUEUES];
	struct vd *d = &g->r.d;
	int round, n = 48, back, kept, sum = 0;

	/* unless this machine is so slow that the disk is through */
	for (round = 0; round < 6 && (round < 2 || !sum); round++) {
		ASSERT_EQ(0, vd_send_some(g, true, n));
		ASSERT_EQ(0, vd_until_taken(d->q[0]));
		ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, VD_WAIT_MS));
		ASSERT_EQ(0, vd_stopped(d));
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(0, info.out);
		kept = vd_inflight_heads(&g->reg, 0, NULL);
		EXPECT_EQ(kept, info.kept);
		back = n - kept;
		EXPECT_GE(back, info.published);
		ASSERT_EQ(0, vd_finish(g, back));
		EXPECT_EQ(n, back + kept);
		EXPECT_TRUE(vd_exact(g));
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, round & 1 ? vd_get_bases(d, base) ?: vd_reset(d) ?: vd_cont(g, base) :
					 vd_next_life(g) ?: vd_go_on(d));
		ASSERT_EQ(0, all_well(g, kept)) TH_LOG("round %d", round);
		sum += kept;
	}
	EXPECT_LT(0, sum);
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- a disk that does not answer ---- */

FIXTURE(dead) {
	struct vd_guest g;
};

FIXTURE_VARIANT(dead) {
	bool packed;
};

FIXTURE_VARIANT_ADD(dead, split) { false };
FIXTURE_VARIANT_ADD(dead, packed) { true };

#define DRAIN	400		/* the device's drain timeout, ms */
#define READS	3
#define WRITES	5

FIXTURE_SETUP(dead)
{
	struct vd_config c = { .packed = variant->packed, .drain_timeout_ms = DRAIN };

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD_WAIT, &c, VD_GUEST_NUM));
}

FIXTURE_TEARDOWN_PARENT(dead)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

/* The disk has them all, and stands still. */
static int all_at_disk(struct vd_guest *g)
{
	int i, ret = vd_backing_freeze(&g->r.b);

	for (i = 0; i < READS && ret >= 0; i++)
		ret = vd_send(g, true, VD_T_IN);
	return ret < 0 ? ret : vd_send_some(g, true, WRITES) ?: vd_at_disk(g, READS + WRITES, 0);
}

static int stall(struct vd_guest *g, int mode)
{
	return all_at_disk(g) ?: vd_stop(&g->r.d, mode, DEADLINE) ?: vd_stalled(&g->r.d);
}

/* An answer at the deadline: what is out, and what of it may be left behind. */
TEST_F_TIMEOUT(dead, stalls_at_the_deadline, 60)
{
	struct vhost_inflight_request r[VD_GUEST_NUM];
	struct vhost_inflight_queue_info qinfo;
	struct vhost_inflight_stop_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mode, i, n;
	long begin;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		begin = vd_now_ms();
		ASSERT_EQ(0, stall(g, mode)) TH_LOG("mode %d", mode);
		ASSERT_EQ(0, vd_get_stop(&g->look, 0, &info));
		EXPECT_DEADLINE(info, begin, DEADLINE);
		EXPECT_EQ(mode, info.mode);
		EXPECT_EQ(VHOST_INFLIGHT_STATE_STALLED, info.state);
		EXPECT_EQ(0, info.published);
		EXPECT_EQ(0, info.kept);
		EXPECT_EQ(READS + WRITES, info.out);
		EXPECT_EQ(READS, info.rewindable);
		ASSERT_EQ(0, vd_get_stop(&g->look, 1, &info));
		EXPECT_EQ(0, info.out);
		EXPECT_EQ(VD_S_RUNS, vd_status(d));
		ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_STALLED, &e));
		n = vd_requests(&g->look, 0, r, VD_GUEST_NUM);
		EXPECT_EQ(READS + WRITES, n);
		for (i = 0; i < n; i++) {
			EXPECT_EQ(VHOST_INFLIGHT_REQUEST_SUBMITTED, r[i].state);
			EXPECT_EQ(r[i].type == VD_T_IN ? VHOST_INFLIGHT_REQUEST_REWINDABLE : 0, r[i].flags);
		}
		ASSERT_EQ(0, vd_qinfo(&g->look, 0, &qinfo));
		EXPECT_EQ(VHOST_INFLIGHT_QUEUE_DRAINING, qinfo.state);
		/* told once */
		EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));
		/* what comes back is returned, and then it can be stopped */
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, vd_finish(g, READS + WRITES));
		ASSERT_EQ(0, vd_set_stop(d, mode, VD_WAIT_MS) ?: vd_set_status(d, STILL));
		ASSERT_EQ(0, vd_until_status(d, STILL));
		EXPECT_TRUE(vd_exact(g));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, all_well(g, 0));
	}
}

TEST_F_TIMEOUT(dead, stopped_again, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, stall(g, VD_FLUSH));
	/* still dead, and the other mode */
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, DEADLINE));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	ASSERT_EQ(0, vd_stalled(d));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(VD_PRESERVE, info.mode);
	EXPECT_EQ(READS + WRITES, info.out);
	EXPECT_EQ(0, info.kept);
	/* and now it comes back */
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, VD_WAIT_MS));
	ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
	ASSERT_EQ(0, vd_stopped(d));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(READS + WRITES, info.published);
	EXPECT_EQ(0, info.kept + info.out);
	ASSERT_EQ(0, vd_finish(g, READS + WRITES));
	EXPECT_TRUE(vd_exact(g));
	EXPECT_EQ(2, vd_count_events(&g->look, VHOST_INFLIGHT_EVENT_STALLED));
	ASSERT_EQ(0, vd_go_on(d));
	EXPECT_EQ(0, all_well(g, 0));
}

TEST_F_TIMEOUT(dead, goes_on, 60)
{
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mode;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		ASSERT_EQ(0, stall(g, mode));
		/* nothing is taken, not even for the half that works */
		d->q[0]->ops->call_on(d->q[0]);
		vd_drain_fd(d->q[0]->call);
		ASSERT_EQ(0, vd_send_some(g, false, 2));
		vd_kick_always(d->q[0]);
		EXPECT_EQ(0, vd_poll_fd(d->q[0]->call, VD_QUIET_MS));
		EXPECT_EQ(READS + WRITES, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_go_on(d));
		EXPECT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_RUNNING));
		EXPECT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_RESUMED, &e));
		ASSERT_EQ(0, vd_finish(g, 2)) TH_LOG("mode %d", mode);
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, all_well(g, READS + WRITES)) TH_LOG("mode %d", mode);
	}
}

/* A reset does not end before the disk's answers, and does not wait for them longer than it may. */
TEST_F_TIMEOUT(dead, reset, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mode;
	long begin;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		ASSERT_EQ(0, stall(g, mode));
		begin = vd_now_ms();
		EXPECT_EQ(-ETIMEDOUT, vd_reset(d));
		EXPECT_LE(DRAIN - 10, vd_now_ms() - begin);
		EXPECT_EQ(VD_S_RUNS, vd_status(d));
		EXPECT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_STALLED)) TH_LOG("not as before");
		EXPECT_EQ(-ETIMEDOUT, vd_reset(d));
		EXPECT_EQ(READS + WRITES, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_attr_set(g->r.name, "drain_timeout_ms", "0"));
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, vd_reset(d)) TH_LOG("mode %d", mode);
		EXPECT_EQ(0, vd_status(d));
		/* what came back was published */
		ASSERT_EQ(0, vd_finish(g, READS + WRITES));
		ASSERT_EQ(0, vd_attr_set(g->r.name, "drain_timeout_ms", "%d", DRAIN));
		ASSERT_EQ(0, vd_new_driver(g, true));
		ASSERT_EQ(0, all_well(g, 0));
	}
}

/* Closing waits for nothing; what is out belongs to the device, and then to who goes on with the region. */
TEST_F_TIMEOUT(dead, closed, 60)
{
	struct vhost_inflight_info info;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mode;
	long begin;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		ASSERT_EQ(0, stall(g, mode));
		begin = vd_now_ms();
		close(d->fd);
		EXPECT_GT(AT_ONCE, vd_now_ms() - begin);
		d->fd = -1;
		ASSERT_EQ(0, vd_until_state(&g->look, VHOST_INFLIGHT_STATE_FREE));
		ASSERT_EQ(0, vd_info(&g->look, &info));
		EXPECT_EQ(READS + WRITES, info.orphans);
		EXPECT_EQ(READS + WRITES, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		/* the order in which so many threads get to the disk is up to them */
		vd_record_read(&g->rec);
		ASSERT_EQ(0, vd_record_mark(&g->rec));
		ASSERT_EQ(0, vd_succeed(g, true)) TH_LOG("mode %d", mode);
		ASSERT_EQ(0, all_well(g, READS + WRITES));
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* What was said of a stop counts for that one; without, it is a flush with the device's own bound. */
TEST_F_TIMEOUT(dead, by_default, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int round;
	long begin;

	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, all_at_disk(g));
		begin = vd_now_ms();
		vd_drain_fd(d->config_fd);
		ASSERT_EQ(0, vd_set_status(d, STILL));
		ASSERT_EQ(0, vd_stalled(d));
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(VD_FLUSH, info.mode);
		EXPECT_DEADLINE(info, begin, DRAIN);
		/* with 0 for the time it is the same bound */
		begin = vd_now_ms();
		ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, 0));
		ASSERT_EQ(0, vd_stalled(d));
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(VD_PRESERVE, info.mode);
		EXPECT_DEADLINE(info, begin, DRAIN);
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, all_well(g, READS + WRITES));
	}
}

/* Neither the stop nor a reset, a suspend or the like of it keeps a VMM from being killed. */
TEST_F_TIMEOUT(dead, killed, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int status, fds[2];
	char c = 0;
	pid_t pid;

	ASSERT_EQ(0, vd_attr_set(g->r.name, "drain_timeout_ms", "0"));
	close(d->fd);
	d->fd = -1;
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		static struct vd_guest own;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		own = *g;
		g = &own;
		d = &own.r.d;
		if (vd_succeed(g, false) || stall(g, VD_FLUSH) || write(fds[1], &c, 1) != 1)
			_exit(1);
		vd_reset(d);	/* waits for the disk */
		_exit(2);
	}
	close(fds[1]);
	EXPECT_EQ(1, read(fds[0], &c, 1));
	kill(pid, SIGKILL);
	EXPECT_EQ(0, vd_child_end(pid, &status, AT_ONCE)) TH_LOG("not reaped");
	EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("exit %d", WEXITSTATUS(status));
	ASSERT_EQ(0, vd_until_state(&g->look, VHOST_INFLIGHT_STATE_FREE));
	ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
	/* this one started without what was there before */
	ASSERT_EQ(0, vd_inflight_take(&g->look, &g->reg, variant->packed));
	EXPECT_EQ(READS + WRITES, vd_inflight_heads(&g->reg, 0, NULL));
}

/* The VMM is stopped itself, and with it the worker that would publish what is back. */
TEST_F_TIMEOUT(dead, owner_is_stopped, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	pid_t pid, owner = getpid();
	int status;

	ASSERT_EQ(0, all_at_disk(g));
	pid = fork();
	if (!pid) {
		struct vd look = { .fd = vd_node_open(g->r.name, O_RDONLY) };
		struct vhost_inflight_stop_info info;
		struct vhost_inflight_event e;
		int bad = 0;

		/* the owner's files stay open here as well, which must not matter */
		if (vd_until_state(&look, VHOST_INFLIGHT_STATE_STOPPING))
			bad = 1;
		kill(owner, SIGSTOP);
		if (!bad && (vd_child_stopped(owner) || vd_backing_thaw(&g->r.b)))
			bad = 2;
		if (!bad && vd_until_event(&look, VHOST_INFLIGHT_EVENT_STALLED, &e))
			bad = 3;
		if (!bad && (vd_get_stop(&look, 0, &info) || info.state != VHOST_INFLIGHT_STATE_STALLED))
			bad = 4;
		if (!bad && (info.published || info.out != READS + WRITES))
			bad = 5;
		kill(owner, SIGCONT);
		_exit(bad);
	}
	/* time enough to be stopped in, and less than it waits for the event */
	ASSERT_EQ(0, vd_stop(d, VD_FLUSH, VD_WAIT_MS / 4));
	ASSERT_EQ(0, vd_child_end(pid, &status, 2 * VD_WAIT_MS));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	ASSERT_EQ(0, vd_stalled(d));
	/* it runs again */
	ASSERT_EQ(0, vd_finish(g, READS + WRITES));
	ASSERT_EQ(0, vd_set_stop(d, VD_FLUSH, VD_WAIT_MS) ?: vd_set_status(d, STILL));
	ASSERT_EQ(0, vd_until_status(d, STILL));
	EXPECT_TRUE(vd_exact(g));
	ASSERT_EQ(0, vd_go_on(d));
	EXPECT_EQ(0, all_well(g, 0));
}

/* ---- for long ---- */

FIXTURE(long_dead) {
	struct vd_guest g;
};

FIXTURE_SETUP(long_dead)
{
	struct vd_config c = { 0 };

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD_WAIT, &c, VD_GUEST_NUM));
}

FIXTURE_TEARDOWN_PARENT(long_dead)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

/*
 * Dead for longer than the kernel lets a task sleep that can't be killed: nobody does. run.sh sets the bound to some seconds;
 * the log is looked at here, and by whoever runs this.
 */
TEST_F_TIMEOUT(long_dead, nobody_hangs, 120)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int kmsg = vd_kmsg_open(), bound = 5;
	char text[32];

	ASSERT_LE(0, kmsg);
	if (vd_read_file("/proc/sys/kernel/hung_task_timeout_secs", text, sizeof(text)) > 0)
		bound = atoi(text);
	ASSERT_LT(0, bound);
	ASSERT_GE(10, bound) TH_LOG("set kernel.hung_task_timeout_secs to 5");
	ASSERT_EQ(0, all_at_disk(g));
	/* It looks as often as that, so one that hangs is seen in the second time at the latest. */
	ASSERT_EQ(0, vd_stop(d, VD_FLUSH, (2 * bound + 2) * 1000));
	EXPECT_EQ(1, poll(&(struct pollfd){ .fd = d->config_fd, .events = POLLIN }, 1, (2 * bound + 2) * 1000 + VD_WAIT_MS));
	ASSERT_EQ(0, vd_stalled(d));
	EXPECT_EQ(0, vd_kmsg_count(kmsg, "blocked for more than"));
	ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
	ASSERT_EQ(0, vd_finish(g, READS + WRITES));
	ASSERT_EQ(0, vd_go_on(d));
	EXPECT_EQ(0, all_well(g, 0));
	close(kmsg);
}

/* ---- in a page fault ---- */

/* The worker is in a page fault that this process answers when it likes to. */
FIXTURE(fault) {
	struct vd_rig r;
	struct vd_buf b;
	int uffd;
};

FIXTURE_VARIANT(fault) {
	bool packed;
	int mode;
};

FIXTURE_VARIANT_ADD(fault, split_flush) { false, VD_FLUSH };
FIXTURE_VARIANT_ADD(fault, packed_flush) { true, VD_FLUSH };
FIXTURE_VARIANT_ADD(fault, split_preserve) { false, VD_PRESERVE };
FIXTURE_VARIANT_ADD(fault, packed_preserve) { true, VD_PRESERVE };

FIXTURE_SETUP(fault)
{
	struct vd_opts o = { .iova = VD_GUEST_IOVA, .num = 64, .num_queues = 2, .mem_size = 4 << 20 };
	struct vd_config c = { .packed = variant->packed };
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_TMPFS, VD_GUEST_DISK, &c, &o));
	self->b = (struct vd_buf){ .addr = vd_alloc(d, 4096, 4096), .len = 4096 };
	self->uffd = vd_hold_faults(vd_ptr(d, self->b.addr), 4096);
	ASSERT_LE(0, self->uffd);
	ASSERT_LE(0, vd_submit(d->q[0], VD_T_OUT, 0, &self->b, 1, VD_DIRECT));
	vd_kick(d->q[0]);
	ASSERT_EQ(1, poll(&(struct pollfd){ .fd = self->uffd, .events = POLLIN }, 1, VD_WAIT_MS));
}

FIXTURE_TEARDOWN_PARENT(fault)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static int answer(struct vd *d, const struct vd_buf *b, int uffd)
{
	struct uffdio_zeropage zero = { .range = { (unsigned long)vd_ptr(d, b->addr), b->len } };

	return ioctl(uffd, UFFDIO_ZEROPAGE, &zero) ? -errno : 0;
}

TEST_F_TIMEOUT(fault, stalls_at_the_deadline, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd *d = &self->r.d;
	long begin = vd_now_ms();

	ASSERT_EQ(0, vd_stop(d, variant->mode, DEADLINE));
	ASSERT_EQ(0, vd_stalled(d));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_DEADLINE(info, begin, DEADLINE);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_STALLED, info.state);
	EXPECT_EQ(1, info.out);
	EXPECT_EQ(0, info.published);
	ASSERT_EQ(0, vd_get_stop(d, 1, &info));
	EXPECT_EQ(0, info.out + info.kept);
	EXPECT_GT(AT_ONCE, vd_now_ms() - begin);
	EXPECT_EQ(VD_S_RUNS, vd_status(d));

	ASSERT_EQ(0, answer(d, &self->b, self->uffd));
	ASSERT_EQ(0, vd_set_stop(d, variant->mode, VD_WAIT_MS) ?: vd_set_status(d, STILL));
	ASSERT_EQ(0, vd_until_status(d, STILL));
	/* It was not at the disk yet when it was to be kept. */
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(0, info.out);
	EXPECT_TRUE(variant->mode == VD_PRESERVE || !info.kept);
	ASSERT_EQ(0, info.kept ? 0 : vd_spin(d->q[0], 1, 0));
	ASSERT_EQ(0, vd_go_on(d));
	ASSERT_EQ(0, info.kept ? vd_wait(d->q[0], 1, VD_WAIT_MS) : 0);
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, self->b.addr, 4096));
}

/* It comes before the deadline, or the stop is called off. */
TEST_F_TIMEOUT(fault, ends, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_stop(d, variant->mode, VD_WAIT_MS));
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));
	ASSERT_EQ(0, vd_go_on(d));
	ASSERT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_RUNNING));
	ASSERT_EQ(0, vd_stop(d, variant->mode, VD_WAIT_MS));
	ASSERT_EQ(0, answer(d, &self->b, self->uffd));
	ASSERT_EQ(0, vd_stopped(d));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(1, info.published + info.kept);
	EXPECT_TRUE(variant->mode == VD_PRESERVE || !info.kept);
	ASSERT_EQ(0, info.published ? vd_spin(d->q[0], 1, 0) : 0);
	EXPECT_EQ(d->q[0]->ops->base(d->q[0]), vd_get_base(d, 0));
	ASSERT_EQ(0, vd_go_on(d));
	ASSERT_EQ(0, info.kept ? vd_wait(d->q[0], 1, VD_WAIT_MS) : 0);
	EXPECT_EQ(VD_OK, vd_rw(d->q[1], VD_T_IN, 0, self->b.addr, 4096));
}

/* Config space changes while it stops and while it is stopped: the driver knows when it goes on, at the latest. */
TEST_F_TIMEOUT(fault, resized, 60)
{
	struct vd *d = &self->r.d;
	__u64 capacity;

	ASSERT_EQ(0, vd_stop(d, variant->mode, VD_WAIT_MS));
	ASSERT_EQ(0, vd_backing_resize(&self->r.b, VD_GUEST_DISK * 2));
	ASSERT_EQ(0, vd_attr_set(self->r.name, "resize", "1"));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	ASSERT_EQ(0, answer(d, &self->b, self->uffd));
	ASSERT_EQ(0, vd_until_status(d, STILL));
	vd_drain_fd(d->config_fd);
	ASSERT_EQ(0, vd_backing_resize(&self->r.b, VD_GUEST_DISK * 4));
	ASSERT_EQ(0, vd_attr_set(self->r.name, "resize", "1"));
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));
	while (vd_reap(d->q[0]) >= 0)
		;
	ASSERT_EQ(0, vd_go_on(d));
	EXPECT_EQ(1, vd_poll_fd(d->config_fd, VD_WAIT_MS));
	ASSERT_EQ(0, vd_get_config(d, 0, &capacity, 8));
	EXPECT_EQ(VD_GUEST_DISK * 4 / 512, capacity);
	while (d->q[0]->oldest != VD_NONE)
		ASSERT_EQ(0, vd_wait(d->q[0], 1, VD_WAIT_MS));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_OUT, VD_GUEST_DISK * 4 / 512 - 8, self->b.addr, 4096));
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));
}

/* ---- pairs ---- */

FIXTURE(pair) {
	struct vd_guest g;
};

FIXTURE_VARIANT(pair) {
	bool packed;
};

FIXTURE_VARIANT_ADD(pair, split) { false };
FIXTURE_VARIANT_ADD(pair, packed) { true };

FIXTURE_SETUP(pair)
{
	struct vd_config c = { .packed = variant->packed, .drain_timeout_ms = DRAIN };

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD, &c, VD_GUEST_NUM));
}

FIXTURE_TEARDOWN_PARENT(pair)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

TEST_F_TIMEOUT(pair, stop_while_stopped, 60)
{
	struct vhost_inflight_stop_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, preserve(g));
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_STOPPED, &e));
	EXPECT_EQ(0, vd_stop(d, VD_FLUSH, VD_WAIT_MS));
	EXPECT_EQ(STILL, vd_status(d));
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));
	EXPECT_EQ(-EAGAIN, vd_event(&g->look, &e));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(VD_PRESERVE, info.mode);
	EXPECT_EQ(OUT - 1, info.kept);
	EXPECT_TRUE(vd_exact(g));
	EXPECT_TRUE(vd_quiet(g));
	ASSERT_EQ(0, vd_go_on(d));
	EXPECT_EQ(0, all_well(g, OUT - 1));
}

TEST_F_TIMEOUT(pair, another_mode_while_stopping, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int first;

	for (first = VD_FLUSH; first <= VD_PRESERVE; first++) {
		int then = !first;

		ASSERT_EQ(0, vd_hang_one(g, OUT));
		ASSERT_EQ(0, vd_stop(d, first, VD_WAIT_MS));
		ASSERT_EQ(0, vd_stop(d, then, VD_WAIT_MS));
		EXPECT_EQ(VD_S_RUNS, vd_status(d));
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(then, info.mode);
		EXPECT_EQ(VHOST_INFLIGHT_STATE_STOPPING, info.state);
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, vd_stopped(d));
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(then == VD_FLUSH ? OUT : 1, info.published);
		EXPECT_EQ(then == VD_FLUSH ? 0 : OUT - 1, info.kept);
		ASSERT_EQ(0, vd_finish(g, info.published));
		EXPECT_TRUE(vd_exact(g));
		EXPECT_EQ(0, vd_poll_fd(d->config_fd, 0)) TH_LOG("told twice");
		EXPECT_EQ(1, vd_count_events(&g->look, VHOST_INFLIGHT_EVENT_STOPPED));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, all_well(g, info.kept));
	}
	/* and another deadline: of a stop that would have waited for ever */
	ASSERT_EQ(0, vd_hang(g, OUT));
	ASSERT_EQ(0, vd_stop(d, VD_FLUSH, 0x7fffffff));
	ASSERT_EQ(0, vd_stop(d, VD_FLUSH, DEADLINE));
	ASSERT_EQ(0, vd_stalled(d));
	ASSERT_EQ(0, vd_go_on(d) ?: vd_backing_thaw(&g->r.b));
	EXPECT_EQ(0, all_well(g, OUT));
}

TEST_F_TIMEOUT(pair, reset_while_stopping, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mode, n;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		ASSERT_EQ(0, vd_hang_one(g, OUT));
		ASSERT_EQ(0, vd_stop(d, mode, VD_WAIT_MS));
		EXPECT_EQ(-ETIMEDOUT, vd_reset(d));
		EXPECT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_STOPPING)) TH_LOG("not as before");
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_attr_set(g->r.name, "drain_timeout_ms", "0"));
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, vd_reset(d)) TH_LOG("mode %d", mode);
		EXPECT_EQ(0, vd_status(d));
		EXPECT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_OWNED));
		/* a reset of a driver's: what was not begun need not be done, and nothing comes back wrong */
		for (n = 0; vd_more(d->q[0], 0) == 0; n++)
			ASSERT_EQ(0, vd_finish(g, 1));
		EXPECT_LE(mode == VD_FLUSH ? OUT : 1, n);
		ASSERT_EQ(0, vd_attr_set(g->r.name, "drain_timeout_ms", "%d", DRAIN));
		ASSERT_EQ(0, vd_new_driver(g, true));
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, all_well(g, 0)) TH_LOG("mode %d", mode);
	}
}

TEST_F_TIMEOUT(pair, closed_while_stopping, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mode;
	long begin;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		ASSERT_EQ(0, vd_hang_one(g, OUT));
		ASSERT_EQ(0, vd_stop(d, mode, VD_WAIT_MS));
		begin = vd_now_ms();
		close(d->fd);
		d->fd = -1;
		EXPECT_GT(AT_ONCE, vd_now_ms() - begin);
		ASSERT_EQ(0, vd_until_state(&g->look, VHOST_INFLIGHT_STATE_FREE));
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		/* the one that was at the disk is an orphan: its successor is the next to arrive */
		vd_record_read(&g->rec);
		ASSERT_EQ(0, vd_record_mark(&g->rec));
		ASSERT_EQ(0, vd_succeed(g, true)) TH_LOG("mode %d", mode);
		ASSERT_EQ(0, all_well(g, OUT));
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* It stands still when its owner ends: the same as at any other time, with the region for who is next. */
TEST_F_TIMEOUT(pair, closed_while_stopped, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, preserve(g));
	close(d->fd);
	d->fd = -1;
	ASSERT_EQ(0, vd_until_state(&g->look, VHOST_INFLIGHT_STATE_FREE));
	EXPECT_EQ(OUT - 1, vd_inflight_heads(&g->reg, 0, NULL));
	EXPECT_TRUE(vd_quiet(g));
	ASSERT_EQ(0, vd_next_life(g));
	ASSERT_EQ(0, vd_succeed(g, true));
	EXPECT_EQ(0, all_well(g, OUT - 1));
	EXPECT_EQ(OUT - 1, g->rec.repeated);
}

/* The same memory somewhere else in this process. */
static int remap(struct vd *d)
{
	struct vd_region *mem = &d->mem[0];
	void *to = mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED, d->memfd, 0);

	if (to == MAP_FAILED)
		return -errno;
	if (vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0) != 72 ||
	    vd_msg(d, VHOST_IOTLB_INVALIDATE, mem->iova, mem->size, NULL, 0) != 72 ||
	    vd_msg(d, VHOST_IOTLB_UPDATE, mem->iova, mem->size, to, VHOST_ACCESS_RW) != 72 ||
	    vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0) != 72)
		return -EIO;
	return 0;
}

TEST_F_TIMEOUT(pair, memory_moves, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	struct vd_region *mem = &d->mem[0];
	int mode, kept;

	for (mode = VD_FLUSH; mode <= VD_PRESERVE; mode++) {
		kept = mode == VD_FLUSH ? 0 : OUT - 1;
		ASSERT_EQ(0, vd_hang_one(g, OUT));
		ASSERT_EQ(0, vd_stop(d, mode, VD_WAIT_MS));
		EXPECT_EQ(0, remap(d));
		EXPECT_EQ(VD_S_RUNS, vd_status(d));
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, vd_stopped(d)) TH_LOG("mode %d", mode);
		ASSERT_EQ(0, vd_finish(g, OUT - kept));
		EXPECT_EQ(0, remap(d));
		EXPECT_EQ(STILL, vd_status(d));
		/* gone altogether: it can't go on, and stands still until it can */
		ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, mem->iova, mem->size, NULL, 0));
		EXPECT_EQ(STILL, vd_status(d)) TH_LOG("a queue that does not run was broken");
		EXPECT_EQ(-EFAULT, vd_go_on(d));
		EXPECT_EQ(STILL, vd_status(d));
		EXPECT_EQ(kept, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_map_all(d));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, all_well(g, kept)) TH_LOG("mode %d", mode);
	}
	EXPECT_EQ(0, vd_compare(g));
}

TEST_F_TIMEOUT(pair, other_calls, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int stalled;

	ASSERT_EQ(0, vd_hang_one(g, OUT));
	for (stalled = 0; stalled < 2; stalled++) {
		ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, stalled ? DEADLINE : VD_WAIT_MS));
		ASSERT_EQ(0, stalled ? vd_stalled(d) : 0);
		EXPECT_EQ(-EBUSY, vd_suspend(d));
		EXPECT_EQ(-EBUSY, vd_ioctl(d, VHOST_VDPA_RESUME, NULL));
		EXPECT_EQ(-EBUSY, vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, 0, 0));
		EXPECT_EQ(-EBUSY, vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, 1, 1));
		EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, d->q[0]->ops->base(d->q[0])));
		EXPECT_EQ(-EBUSY, vd_vring_state(d, VHOST_SET_VRING_NUM, 0, VD_GUEST_NUM));
		EXPECT_EQ(-EBUSY, vd_inflight_set(d, &g->reg.arg));
		EXPECT_EQ(VD_S_RUNS, vd_status(d));
		EXPECT_EQ(0, vd_until_state(d, stalled ? VHOST_INFLIGHT_STATE_STALLED : VHOST_INFLIGHT_STATE_STOPPING));
	}
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, VD_WAIT_MS));
	ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
	ASSERT_EQ(0, vd_stopped(d));
	ASSERT_EQ(0, vd_finish(g, 1));
	EXPECT_EQ(0, vd_suspend(d));
	EXPECT_EQ(-EBUSY, vd_ioctl(d, VHOST_VDPA_RESUME, NULL));
	EXPECT_EQ(-EBUSY, vd_inflight_set(d, &g->reg.arg));
	EXPECT_EQ(STILL, vd_status(d));
	EXPECT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_STOPPED));
	EXPECT_TRUE(vd_exact(g));
	ASSERT_EQ(0, vd_go_on(d));
	ASSERT_EQ(0, all_well(g, OUT - 1));
	/* the other way round */
	ASSERT_EQ(0, vd_suspend(d));
	EXPECT_EQ(-EBUSY, vd_stop(d, VD_FLUSH, VD_WAIT_MS));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	EXPECT_EQ(0, vd_until_state(d, VHOST_INFLIGHT_STATE_SUSPENDED));
	ASSERT_EQ(0, vd_resume(d));
	EXPECT_EQ(0, all_well(g, 0));
}

/* One queue broken by its driver: the others are stopped as ever, and what the device says of itself stays. */
TEST_F_TIMEOUT(pair, broken_queue, 60)
{
	struct vhost_inflight_stop_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	struct vd_buf only = { d->q[1]->slots, 16, false };

	ASSERT_LE(0, vd_add(d->q[1], &only, 1, VD_DIRECT));
	vd_kick(d->q[1]);
	ASSERT_EQ(1, vd_poll_fd(d->q[1]->err, VD_WAIT_MS));
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_BROKEN, &e));
	EXPECT_EQ(1, e.index);
	EXPECT_EQ(-EINVAL, e.error);
	ASSERT_EQ(0, vd_hang_one(g, OUT));
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, VD_WAIT_MS));
	ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
	ASSERT_EQ(0, vd_until_status(d, STILL | VD_S_NEEDS_RESET));
	ASSERT_EQ(0, vd_finish(g, 1));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(VHOST_INFLIGHT_STATE_STOPPED, info.state);
	EXPECT_EQ(OUT - 1, info.kept);
	EXPECT_EQ(0, info.out);
	EXPECT_TRUE(vd_exact(g));
	ASSERT_EQ(0, vd_reset(d));
	ASSERT_EQ(0, vd_new_driver(g, true));
	EXPECT_EQ(0, all_well(g, 0));
}

/* ---- SUSPEND of virtio 1.4 ---- */

FIXTURE(suspend) {
	struct vd_guest g;
};

FIXTURE_VARIANT(suspend) {
	bool packed;
};

FIXTURE_VARIANT_ADD(suspend, split) { false };
FIXTURE_VARIANT_ADD(suspend, packed) { true };

#define SUSPENDED	((VD_S_RUNS & ~VD_S_DRIVER_OK) | VD_S_SUSPEND)

FIXTURE_SETUP(suspend)
{
	struct vd_config c = { .packed = variant->packed, .suspend = true };

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD, &c, VD_GUEST_NUM));
	ASSERT_TRUE(self->g.r.d.features & VD_F_SUSPEND);
}

FIXTURE_TEARDOWN_PARENT(suspend)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

TEST_F_TIMEOUT(suspend, and_resume, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	struct vd_queue *q = d->q[0];
	int round;

	for (round = 0; round < 3; round++) {
		/* what is out comes in its time */
		ASSERT_EQ(0, vd_hang(g, OUT));
		ASSERT_EQ(0, vd_set_status(d, VD_S_RUNS | VD_S_SUSPEND));
		ASSERT_EQ(0, vd_backing_thaw(&g->r.b));
		ASSERT_EQ(0, vd_until_status(d, SUSPENDED)) TH_LOG("status %#x", vd_status(d));
		ASSERT_EQ(0, vd_finish(g, OUT));
		EXPECT_TRUE(vd_exact(g));
		q->ops->call_on(q);
		vd_drain_fd(q->call);
		ASSERT_EQ(0, vd_send_some(g, false, 4));
		vd_kick_always(q);
		EXPECT_EQ(0, vd_poll_fd(q->call, VD_QUIET_MS));
		EXPECT_EQ(0, vd_inflight_heads(&g->reg, 0, NULL));
		/* once more is nothing new */
		EXPECT_EQ(0, vd_set_status(d, SUSPENDED));
		EXPECT_EQ(SUSPENDED, vd_status(d));
		ASSERT_EQ(0, vd_set_status(d, SUSPENDED | VD_S_DRIVER_OK));
		ASSERT_EQ(0, vd_until_status(d, VD_S_RUNS));
		ASSERT_EQ(0, all_well(g, 4)) TH_LOG("round %d", round);
	}
	/* a reset leaves it, too */
	ASSERT_EQ(0, vd_set_status(d, VD_S_RUNS | VD_S_SUSPEND));
	ASSERT_EQ(0, vd_until_status(d, SUSPENDED));
	ASSERT_EQ(0, vd_reset(d));
	EXPECT_EQ(0, vd_status(d));
	ASSERT_EQ(0, vd_new_driver(g, true));
	EXPECT_EQ(0, all_well(g, 0));
}

TEST_F_TIMEOUT(suspend, before_driver_ok, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	const __u8 ready = VD_S_RUNS & ~VD_S_DRIVER_OK;

	ASSERT_EQ(0, vd_reset(d));
	ASSERT_EQ(0, vd_negotiate(d));
	EXPECT_EQ(0, vd_set_status(d, ready | VD_S_SUSPEND));
	EXPECT_EQ(ready, vd_status(d));
	ASSERT_EQ(0, vd_reset(d));
	ASSERT_EQ(0, vd_new_driver(g, true));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	EXPECT_EQ(0, all_well(g, 0));
}

TEST_F_TIMEOUT(suspend, not_taken, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, vd_reset(d));
	d->opts.drop_features = VD_F_SUSPEND;
	ASSERT_EQ(0, vd_new_driver(g, true));
	EXPECT_EQ(-EINVAL, vd_set_status(d, VD_S_RUNS | VD_S_SUSPEND));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	EXPECT_EQ(0, all_well(g, 0));
}

TEST_HARNESS_MAIN
