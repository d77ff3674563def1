// SPDX-License-Identifier: GPL-2.0
/* Arguments with right types and wrong values: sizes, ranges, alignment, overflow. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define BASE	0x100000

FIXTURE(args) {
	struct vd_rig r;
};

/* Owned, negotiated, mapped, not started. */
FIXTURE_SETUP(args)
{
	struct vd_config c = { .num_queues = 2, .queue_size = 256, .serial = "args" };
	struct vd_opts o = { .mem_size = 1 << 20, .num = 64, .iova = BASE };
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, 8 << 20, &c, NULL));
	ASSERT_EQ(0, vd_open(d, self->r.name, &o));
	ASSERT_EQ(0, vd_negotiate(d));
}

FIXTURE_TEARDOWN_PARENT(args)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

TEST_F(args, identity)
{
	struct vhost_vdpa_iova_range range = { 1, 1 };
	struct vd *d = &self->r.d;
	__u64 features = 0, backend = 0;
	__u32 v = 0;
	__u16 num = 0;

	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_GET_DEVICE_ID, &v));
	EXPECT_EQ(2, v);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_GET_VQS_COUNT, &v));
	EXPECT_EQ(2, v);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_GET_CONFIG_SIZE, &v));
	EXPECT_EQ(sizeof(struct vd_blk_config), v);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_GET_AS_NUM, &v));
	EXPECT_EQ(1, v);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_GET_GROUP_NUM, &v));
	EXPECT_EQ(1, v);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_GET_VRING_NUM, &num));
	EXPECT_EQ(256, num);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_GET_IOVA_RANGE, &range));
	EXPECT_EQ(0, range.first);
	EXPECT_LE(0xffffffffffffULL, range.last);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_GET_BACKEND_FEATURES, &backend));
	EXPECT_EQ(VD_BE_ALL, backend);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_GET_FEATURES, &features));
	EXPECT_EQ(VD_F_VERSION_1 | VD_F_ACCESS_PLATFORM, features & (VD_F_VERSION_1 | VD_F_ACCESS_PLATFORM));
	/* What QEMU would show its guest and we could not serve. */
	EXPECT_EQ(0, features & (VD_BIT(11) | VD_BIT(26) | VD_BIT(38) | VD_BIT(40) | VD_BIT(41) | VD_BIT(43)));
}

TEST_F(args, config_bounds)
{
	static const struct {
		__u32 off, len;
		int want;
	} t[] = {
		{ 0, 8, 0 }, { 0, 60, 0 }, { 0, 72, 0 }, { 71, 1, 0 }, { 36, 36, 0 },
		{ 0, 0, EINVAL }, { 72, 0, EINVAL }, { 72, 1, EINVAL }, { 0, 73, EINVAL }, { 71, 2, EINVAL },
		{ 0xffffffff, 1, EINVAL }, { 0xffffffff, 2, EINVAL }, { 1, 0xffffffff, EINVAL },
		{ 8, 0xfffffff8, EINVAL }, { 0, 0x80000000, EINVAL },
	};
	struct {
		struct vhost_vdpa_config c;
		__u8 room[4096];
	} a;
	struct vd *d = &self->r.d;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		memset(&a, 0, sizeof(a));
		a.c.off = t[i].off;
		a.c.len = t[i].len;
		EXPECT_EQ(-t[i].want, vd_ioctl(d, VHOST_VDPA_GET_CONFIG, &a)) {
			TH_LOG("GET_CONFIG off %#x len %#x", t[i].off, t[i].len);
		}
		if (!t[i].want)
			continue;
		a.c.off = t[i].off;
		a.c.len = t[i].len;
		EXPECT_EQ(-t[i].want, vd_ioctl(d, VHOST_VDPA_SET_CONFIG, &a)) {
			TH_LOG("SET_CONFIG off %#x len %#x", t[i].off, t[i].len);
		}
	}
}

/* The struct of an older and of a newer caller. */
TEST_F(args, sized_structs)
{
	struct {
		struct vhost_inflight_info i;
		__u8 more[64];
	} info;
	struct {
		struct vhost_inflight_queue_info q;
		__u8 more[64];
	} queue;
	struct vd *d = &self->r.d;
	/* what the first version had */
	const __u32 first = 160, first_queue = 192;
	__u32 bad[] = { 0, 1, 4, first - 1, first / 2 };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&info, 0, sizeof(info));
		info.i.size = bad[i];
		EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_GET_INFO, &info)) TH_LOG("size %u", bad[i]);
		memset(&queue, 0, sizeof(queue));
		queue.q.size = bad[i];
		EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_GET_QUEUE, &queue)) TH_LOG("size %u", bad[i]);
	}
	memset(&info, 0xff, sizeof(info));
	info.i.size = first;
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_INFO, &info));
	EXPECT_EQ(first, info.i.size);
	EXPECT_EQ(~0u, info.i.parked) TH_LOG("written beyond its size");
	memset(&queue, 0, sizeof(queue));
	memset(&queue.q.parked, 0xff, sizeof(queue.q.parked));
	queue.q.size = first_queue;
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_QUEUE, &queue));
	EXPECT_EQ(first_queue, queue.q.size);
	EXPECT_EQ(~0u, queue.q.parked) TH_LOG("written beyond its size");
	memset(&info, 0xff, sizeof(info));
	info.i.size = sizeof(info);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_INFO, &info));
	EXPECT_EQ(sizeof(info.i), info.i.size);
	for (i = 0; i < sizeof(info.more); i++) {
		ASSERT_EQ(0, info.more[i]);
	}
	EXPECT_STREQ(self->r.name, (char *)info.i.name);
	EXPECT_STREQ("args", (char *)info.i.serial);
	EXPECT_EQ(getpid(), info.i.owner_pid);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_OWNED, info.i.state);
	EXPECT_EQ(2, info.i.num_queues);
	EXPECT_EQ(256, info.i.queue_size);
	EXPECT_EQ(512, info.i.logical_block_size);
	EXPECT_EQ((8 << 20) / 512, info.i.capacity);
	EXPECT_EQ(d->offered, info.i.features);
	EXPECT_EQ(d->features, info.i.acked_features);
	EXPECT_EQ(0xb, info.i.status);
	EXPECT_NE(0, info.i.engine[0]);

	memset(&queue, 0, sizeof(queue));
	memset(queue.more, 0xff, sizeof(queue.more));
	queue.q.size = sizeof(queue);
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_QUEUE, &queue));
	EXPECT_EQ(sizeof(queue.q), queue.q.size);
	for (i = 0; i < sizeof(queue.more); i++) {
		ASSERT_EQ(0, queue.more[i]);
	}
	memset(&queue, 0, sizeof(queue));
	queue.q.size = sizeof(queue.q);
	queue.q.reserved = 1;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_GET_QUEUE, &queue));
	/* a size that no page holds */
	memset(&info, 0, sizeof(info));
	info.i.size = 0xffffffff;
	EXPECT_EQ(-E2BIG, vd_ioctl(d, VHOST_INFLIGHT_GET_INFO, &info));
}

TEST_F(args, vring_num)
{
	static const unsigned int bad[] = { 0, 3, 100, 255, 257, 512, 1024, 32768, 65536, 0x80000000, 0xffffffff };
	static const unsigned int good[] = { 2, 4, 64, 128, 256 };
	struct vd *d = &self->r.d;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_NUM, 0, bad[i])) TH_LOG("num %u", bad[i]);
	}
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_NUM, 1, good[i])) TH_LOG("num %u", good[i]);
	}
	EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0x10000));
	EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0xffffffff));
	EXPECT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0xffff));
	EXPECT_EQ(0xffff, vd_get_base(d, 0));
	EXPECT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0));
	EXPECT_EQ(0, vd_get_base(d, 0));
}

TEST_F(args, vring_addr)
{
	static const struct {
		__u32 flags;
		__u64 desc, avail, used;
		int want;
	} t[] = {
		{ 0, BASE, BASE + 0x1000, BASE + 0x2000, 0 },
		{ 0, 0, 0x1000, 0x2000, 0 },
		{ 2, BASE, BASE + 0x1000, BASE + 0x2000, EOPNOTSUPP },
		{ 0x80000000, BASE, BASE + 0x1000, BASE + 0x2000, EOPNOTSUPP },
		{ 0, BASE, BASE + 0x1001, BASE + 0x2000, EINVAL },
		{ 0, BASE, BASE + 0x1000, BASE + 0x2001, EINVAL },
		{ 0, BASE, BASE + 0x1000, BASE + 0x2002, EINVAL },
		{ 0, BASE + 8, BASE + 0x1000, BASE + 0x2000, EINVAL },
		{ 0, BASE + 1, BASE + 0x1000, BASE + 0x2000, EINVAL },
	};
	struct vhost_vring_addr a;
	struct vd *d = &self->r.d;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		memset(&a, 0, sizeof(a));
		a.flags = t[i].flags;
		a.desc_user_addr = t[i].desc;
		a.avail_user_addr = t[i].avail;
		a.used_user_addr = t[i].used;
		EXPECT_EQ(-t[i].want, vd_ioctl(d, VHOST_SET_VRING_ADDR, &a)) TH_LOG("row %u", i);
	}
}

/* A ring that can't be reached is found at DRIVER_OK at the latest, and a reset puts that right. */
TEST_F(args, ring_not_mapped)
{
	static const struct {
		const char *what;
		__u64 desc, avail, used;
	} t[] = {
		{ "desc unmapped", 0x40000000, 0x101000, 0x102000 },
		{ "avail unmapped", 0x100000, 0x40000000, 0x102000 },
		{ "used unmapped", 0x100000, 0x101000, 0x40000000 },
		{ "desc over the end", 0x1ffff0, 0x101000, 0x102000 },
		{ "avail over the end", 0x100000, 0x1ffffe, 0x102000 },
		{ "used over the end", 0x100000, 0x101000, 0x1ffffc },
		{ "desc wraps", 0xfffffffffffffff0, 0x101000, 0x102000 },
		{ "avail wraps", 0x100000, 0xfffffffffffffffe, 0x102000 },
		{ "used wraps", 0x100000, 0x101000, 0xfffffffffffffffc },
	};
	struct vhost_inflight_queue_info q;
	struct vhost_vring_addr a;
	struct vd *d = &self->r.d;
	unsigned int i;
	int ret;

	ASSERT_EQ(0, vd_map_all(d));
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		ASSERT_EQ(0, vd_setup_queues(d));
		memset(&a, 0, sizeof(a));
		a.desc_user_addr = t[i].desc;
		a.avail_user_addr = t[i].avail;
		a.used_user_addr = t[i].used;
		ret = vd_ioctl(d, VHOST_SET_VRING_ADDR, &a) ?: vd_driver_ok(d);
		ASSERT_EQ(0, vd_qinfo(d, 0, &q));
		if (!ret) {
			EXPECT_EQ(VHOST_INFLIGHT_QUEUE_ERROR, q.state) TH_LOG("%s", t[i].what);
			EXPECT_EQ(VD_S_NEEDS_RESET, vd_status(d) & VD_S_NEEDS_RESET) TH_LOG("%s", t[i].what);
		} else {
			EXPECT_NE(VHOST_INFLIGHT_QUEUE_RUNNING, q.state) TH_LOG("%s", t[i].what);
		}
		ASSERT_EQ(0, vd_reset(d));
		ASSERT_EQ(0, vd_restart(d)) TH_LOG("after %s", t[i].what);
		ASSERT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, BASE + 0x80000, 512)) TH_LOG("after %s", t[i].what);
		ASSERT_EQ(0, vd_reset(d));
		ASSERT_EQ(0, vd_negotiate(d));
		vd_map_all(d);
	}
}

/* Bits are added one after the other and go away together. */
TEST_F(args, status_rules)
{
	struct vd *d = &self->r.d;
	__u64 features = d->features;

	EXPECT_EQ(0xb, vd_status(d));
	EXPECT_EQ(-EBUSY, vd_ioctl(d, VHOST_SET_FEATURES, &features));
	EXPECT_EQ(0, vd_set_status(d, 0xb)) TH_LOG("the same again");
	EXPECT_EQ(0, vd_set_status(d, 0x8b)) TH_LOG("FAILED may be added");
	EXPECT_EQ(-EINVAL, vd_set_status(d, 0xb)) TH_LOG("and not be taken away");
	EXPECT_EQ(0, vd_reset(d));
	EXPECT_EQ(0, vd_status(d));
	EXPECT_EQ(0, vd_ioctl(d, VHOST_SET_FEATURES, &features));
	EXPECT_EQ(-EINVAL, vd_set_status(d, VD_S_DRIVER_OK));
	EXPECT_EQ(-EINVAL, vd_set_status(d, VD_S_ACK | VD_S_DRIVER | VD_S_DRIVER_OK));
	EXPECT_EQ(0, vd_status(d));
}

TEST_HARNESS_MAIN
