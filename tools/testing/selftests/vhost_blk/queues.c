// SPDX-License-Identifier: GPL-2.0
/* Ring sizes, indexes through their wrap, several queues at once. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(64 << 20)
#define IOVA	0x200000

FIXTURE(size) {
	struct vd_rig r;
};

FIXTURE_VARIANT(size) {
	unsigned int num;
	bool no_event_idx;
	enum vd_chain how;
};

FIXTURE_VARIANT_ADD(size, q2) { 2, false, VD_INDIRECT };
FIXTURE_VARIANT_ADD(size, q4) { 4, true, VD_DIRECT };
FIXTURE_VARIANT_ADD(size, q8) { 8, false, VD_DIRECT };
FIXTURE_VARIANT_ADD(size, q16) { 16, false, VD_MIXED };
FIXTURE_VARIANT_ADD(size, q32) { 32, true, VD_MIXED };
FIXTURE_VARIANT_ADD(size, q64) { 64, false, VD_INDIRECT };
FIXTURE_VARIANT_ADD(size, q128) { 128, false, VD_DIRECT };
FIXTURE_VARIANT_ADD(size, q256) { 256, true, VD_DIRECT };
FIXTURE_VARIANT_ADD(size, q512) { 512, false, VD_DIRECT };
FIXTURE_VARIANT_ADD(size, q1024) { 1024, false, VD_INDIRECT };
FIXTURE_VARIANT_ADD(size, q1024_plain) { 1024, true, VD_DIRECT };

FIXTURE_SETUP(size)
{
	struct vd_config c = { .queue_size = 1024 };
	struct vd_opts o = {
		.iova = IOVA,
		.num = variant->num,
		.drop_features = variant->no_event_idx ? VD_F_EVENT_IDX : 0,
	};
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, &c, NULL));
	ASSERT_EQ(0, vd_open(d, self->r.name, &o) ?: vd_negotiate(d) ?: vd_map_all(d));
}

FIXTURE_TEARDOWN_PARENT(size)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* Requests of one sector each, the ring as full as it gets, till @total are through. */
static int pump(struct vd_queue *q, enum vd_chain how, __u64 buf, unsigned int total, __u32 type)
{
	unsigned int sent = 0, done = 0;
	struct vd_buf b = { .len = 512, .write = type == VD_T_IN };
	int ret;

	while (done < total) {
		unsigned int batch = 0;

		while (sent < total) {
			b.addr = buf + sent % 1024 * 512;
			if (vd_submit(q, type, sent % 1024, &b, 1, how) < 0)
				break;
			sent++;
			batch++;
		}
		if (batch)
			vd_kick(q);
		/* half of what is out, so that the ring is never idle */
		ret = vd_wait(q, (sent - done + 1) / 2, VD_WAIT_MS);
		if (ret)
			return ret;
		done += (sent - done + 1) / 2;
	}
	return q->bad_used ? -EBADMSG : 0;
}

static void through_the_wrap(struct __test_metadata *_metadata, struct vd *d, enum vd_chain how, __u16 start)
{
	unsigned int total = d->q[0]->num + 100;
	__u64 buf = vd_alloc(d, 1024 * 512, 4096);
	__u8 *p = vd_ptr(d, buf);
	struct vhost_inflight_queue_info info;

	if (total > 1200)
		total = 1200;
	vd_fill(p, 1024 * 512, 0, start);
	ASSERT_EQ(0, pump(d->q[0], how, buf, total, VD_T_OUT));
	memset(p, 0, 1024 * 512);
	ASSERT_EQ(0, pump(d->q[0], how, buf, total, VD_T_IN));
	EXPECT_EQ(-1, vd_check(p, (total < 1024 ? total : 1024) * 512, 0, start));
	EXPECT_EQ(0xf, vd_status(d));
	/* the used index moves before it is counted */
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	ASSERT_EQ(0, vd_qinfo(d, 0, &info));
	EXPECT_EQ((__u16)(start + 2 * total), info.used_idx);
	EXPECT_EQ((__u16)(start + 2 * total), info.avail_idx);
	EXPECT_EQ((__u16)(start + 2 * total), vd_get_base(d, 0));
}

TEST_F(size, from_zero)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_setup_queues(d) ?: vd_driver_ok(d));
	through_the_wrap(_metadata, d, variant->how, 0);
}

/* The 16-bit indexes wrap in the middle. */
TEST_F(size, over_65535)
{
	__u16 start = 65536 - (variant->num < 60 ? 50 : variant->num - 7);
	struct vd *d = &self->r.d;

	d->q[0] = vd_queue_new(d, 0, variant->num);
	ASSERT_NE(NULL, d->q[0]);
	d->nq = 1;
	vd_queue_start_at(d->q[0], start);
	ASSERT_EQ(0, vd_setup_queues(d) ?: vd_driver_ok(d));
	through_the_wrap(_metadata, d, variant->how, start);
}

/* ---- several queues ---- */

FIXTURE(multi) {
	struct vd_rig r;
};

FIXTURE_VARIANT(multi) {
	enum vd_backing_kind kind;
	unsigned int nq;
};

FIXTURE_VARIANT_ADD(multi, nullb_4) { VD_NULLB512, 4 };
FIXTURE_VARIANT_ADD(multi, nullb_16) { VD_NULLB4096, 16 };
FIXTURE_VARIANT_ADD(multi, ext4_4) { VD_EXT4, 4 };

#define RING	64
#define ROUNDS	8

FIXTURE_SETUP(multi)
{
	struct vd_opts o = { .iova = IOVA, .num = RING, .num_queues = variant->nq };

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, NULL, &o));
}

FIXTURE_TEARDOWN_PARENT(multi)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

struct job {
	struct vd_queue *q;
	__u64 buf;
	int ret;
};

/* Direct chains: the allocator behind indirect tables is not for several threads.  A queue of its own, a stretch of the disk of its own, a seed of its own. */
static void *work(void *arg)
{
	struct job *j = arg;
	__u64 first = j->q->index * 512ULL;	/* in units of 4096 */
	__u8 *p = vd_ptr(j->q->d, j->buf);
	unsigned int round, i;

	for (round = 0; round < ROUNDS && !j->ret; round++) {
		vd_fill(p, 16 * 4096, first * 4096, round + 100 * j->q->index);
		for (i = 0; i < 16; i++) {
			struct vd_buf b = { j->buf + i * 4096, 4096, false };

			vd_submit(j->q, VD_T_OUT, (first + i) * 8, &b, 1, VD_DIRECT);
		}
		vd_kick(j->q);
		j->ret = vd_wait(j->q, 16, VD_WAIT_MS);
		memset(p, 0, 16 * 4096);
		for (i = 0; i < 16 && !j->ret; i++) {
			struct vd_buf b = { j->buf + i * 4096, 4096, true };

			vd_submit(j->q, VD_T_IN, (first + i) * 8, &b, 1, VD_DIRECT);
			vd_kick(j->q);
		}
		j->ret = j->ret ?: vd_wait(j->q, 16, VD_WAIT_MS);
		if (!j->ret && vd_check(p, 16 * 4096, first * 4096, round + 100 * j->q->index) >= 0)
			j->ret = -EBADMSG;
	}
	return NULL;
}

TEST_F(multi, in_parallel)
{
	struct vhost_inflight_queue_info info;
	struct vd *d = &self->r.d;
	struct job jobs[VD_MAX_QUEUES] = { 0 };
	pthread_t threads[VD_MAX_QUEUES];
	struct vd_blk_config c;
	unsigned int i;

	ASSERT_EQ(0, vd_get_config(d, 0, &c, sizeof(c)));
	EXPECT_EQ(variant->nq, c.num_queues);
	EXPECT_NE(0, d->offered & VD_F_MQ);
	for (i = 0; i < variant->nq; i++) {
		jobs[i].q = d->q[i];
		jobs[i].buf = vd_alloc(d, 16 * 4096, 4096);
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, work, &jobs[i]));
	}
	for (i = 0; i < variant->nq; i++) {
		pthread_join(threads[i], NULL);
		EXPECT_EQ(0, jobs[i].ret) TH_LOG("queue %u", i);
	}
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	for (i = 0; i < variant->nq; i++) {
		ASSERT_EQ(0, vd_qinfo(d, i, &info));
		EXPECT_EQ(2 * 16 * ROUNDS, info.requests);
		EXPECT_EQ(0, info.ioerrs + info.unsupps);
	}
}

/* All rings full, then one kick each; an enabled queue that has nothing to do is in nobody's way. */
TEST_F(multi, all_full)
{
	struct vd *d = &self->r.d;
	__u64 buf = vd_alloc(d, 4096, 4096);
	unsigned int i, n[VD_MAX_QUEUES] = { 0 };

	for (i = 1; i < variant->nq; i++) {
		while (vd_submit(d->q[i], VD_T_IN, n[i] * 8, &(struct vd_buf){ buf, 4096, true }, 1, VD_DIRECT) >= 0)
			n[i]++;
	}
	for (i = 1; i < variant->nq; i++)
		vd_kick(d->q[i]);
	for (i = 1; i < variant->nq; i++) {
		EXPECT_EQ(0, vd_wait(d->q[i], n[i], VD_WAIT_MS)) TH_LOG("queue %u", i);
	}
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, buf, 4096));
}

/* Queues that are not enabled, or have no addresses, are left alone: QEMU enables all and configures some. */
TEST_F(multi, some_unconfigured)
{
	struct vhost_inflight_queue_info info;
	struct vd *d = &self->r.d;
	unsigned int nq = variant->nq, i;
	__u64 buf;

	vd_close(d);
	ASSERT_EQ(0, vd_open(d, self->r.name, &(struct vd_opts){ .iova = IOVA, .num_queues = 2, .num = RING }));
	ASSERT_EQ(0, vd_negotiate(d) ?: vd_map_all(d) ?: vd_setup_queues(d));
	/* the second one is configured and not enabled */
	ASSERT_EQ(0, vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, 1, 0));
	for (i = 2; i < nq; i++) {
		ASSERT_EQ(0, vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, i, 1));
	}
	ASSERT_EQ(0, vd_driver_ok(d));
	buf = vd_alloc(d, 4096, 4096);
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, buf, 4096));
	for (i = 1; i < nq; i++) {
		ASSERT_EQ(0, vd_qinfo(d, i, &info));
		EXPECT_EQ(VHOST_INFLIGHT_QUEUE_OFF, info.state) TH_LOG("queue %u", i);
	}
	/* ENABLE_AFTER_DRIVER_OK: it comes to life with what was put in it before */
	vd_submit(d->q[1], VD_T_IN, 0, &(struct vd_buf){ buf, 4096, true }, 1, VD_DIRECT);
	ASSERT_EQ(0, vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, 1, 1));
	EXPECT_EQ(0, vd_wait(d->q[1], 1, VD_WAIT_MS));
	EXPECT_EQ(0xf, vd_status(d));
}

TEST_HARNESS_MAIN
