// SPDX-License-Identifier: GPL-2.0
/* The calls of real clients, one by one and in their order. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define RAM	(8 << 20)

FIXTURE(client) {
	struct vd_rig r;
	int base[VD_MAX_QUEUES];	/* what GET_VRING_BASE said */
};

FIXTURE_VARIANT(client) {
	bool newer;		/* QEMU 10.1 and later */
	unsigned int nq;	/* the device's */
	unsigned int used;	/* the guest's */
};

FIXTURE_VARIANT_ADD(client, qemu_10_0) { false, 1, 1 };
FIXTURE_VARIANT_ADD(client, qemu_10_0_mq) { false, 4, 2 };
FIXTURE_VARIANT_ADD(client, qemu_10_1) { true, 1, 1 };
FIXTURE_VARIANT_ADD(client, qemu_10_1_mq) { true, 4, 4 };

FIXTURE_SETUP(client)
{
	struct vd_config c = { .num_queues = variant->nq };
	struct vd_opts o = { .iova = 0, .mem_size = RAM, .num = 128, .num_queues = variant->used };

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, &c, NULL));
	ASSERT_EQ(0, vd_open(&self->r.d, self->r.name, &o));
}

FIXTURE_TEARDOWN_PARENT(client)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

#define OK(x)	ASSERT_EQ(0, x)

/* QEMU writes no more than it has to: a status is set, read back, and its bits must be there. */
static int add_status(struct vd *d, __u8 bits)
{
	int now = vd_status(d), ret;

	if (now < 0)
		return now;
	ret = vd_set_status(d, now | bits);
	return ret ? ret : (vd_status(d) & bits) == bits ? 0 : -EIO;
}

static int batch_update(struct vd *d)
{
	/* as pieces: low memory, a ROM, the rest */
	__u64 a = 0xa0000, b = 0xc0000;
	__u8 *va = d->mem[0].va;
	int n = 0;

	n += vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0);
	n += vd_msg(d, VHOST_IOTLB_UPDATE, 0, a, va, VHOST_ACCESS_RW);
	n += vd_msg(d, VHOST_IOTLB_UPDATE, a, b - a, va + a, VHOST_ACCESS_RO);
	n += vd_msg(d, VHOST_IOTLB_UPDATE, b, RAM - b, va + b, VHOST_ACCESS_RW);
	n += vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0);
	return n == 5 * 72 ? 0 : -EIO;
}

static int batch_invalidate(struct vd *d)
{
	int n = 0;

	n += vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0);
	n += vd_msg(d, VHOST_IOTLB_INVALIDATE, 0, 0xa0000, NULL, 0);
	n += vd_msg(d, VHOST_IOTLB_INVALIDATE, 0xa0000, 0x20000, NULL, 0);
	n += vd_msg(d, VHOST_IOTLB_INVALIDATE, 0xc0000, RAM - 0xc0000, NULL, 0);
	n += vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0);
	return n == 5 * 72 ? 0 : -EIO;
}

static int backend_features(struct vd *d)
{
	__u64 f = 0;
	int ret = vd_ioctl(d, VHOST_GET_BACKEND_FEATURES, &f);

	f &= 0x1e;
	return ret ?: vd_ioctl(d, VHOST_SET_BACKEND_FEATURES, &f);
}

static void realize(struct __test_metadata *_metadata, struct vd *d, bool newer)
{
	struct vhost_vdpa_iova_range range;
	__u32 id, nvqs, size;
	unsigned int i;
	__u64 features;
	__u8 conf[96];
	__u16 num;

	OK(vd_ioctl(d, VHOST_VDPA_GET_DEVICE_ID, &id));
	OK(vd_ioctl(d, VHOST_VDPA_GET_VRING_NUM, &num));
	ASSERT_GE(1024, num);
	OK(vd_ioctl(d, VHOST_VDPA_GET_VQS_COUNT, &nvqs));
	OK(vd_ioctl(d, VHOST_VDPA_GET_IOVA_RANGE, &range));
	ASSERT_EQ(0, range.first);
	OK(vd_ioctl(d, VHOST_GET_FEATURES, &features));
	if (newer) {
		OK(backend_features(d));
	}
	OK(add_status(d, VD_S_ACK | VD_S_DRIVER));
	OK(vd_ioctl(d, VHOST_SET_OWNER, NULL));
	if (newer) {
		OK(batch_update(d));
	}
	OK(vd_ioctl(d, VHOST_GET_FEATURES, &d->offered));
	ASSERT_EQ(features, d->offered);
	for (i = 0; i < nvqs; i++) {
		OK(vd_vring_file(d, VHOST_SET_VRING_CALL, i, d->config_fd));
	}
	OK(vd_ioctl(d, VHOST_VDPA_GET_CONFIG_SIZE, &size));
	ASSERT_GE(sizeof(conf), size);
	OK(vd_get_config(d, 0, conf, size));
}

/* The guest set DRIVER_OK, or vm_start. */
static void start(struct __test_metadata *_metadata, FIXTURE_DATA(client) *self, unsigned int nq, bool newer, bool first)
{
	struct vd *d = &self->r.d;
	unsigned int i;

	/* what the guest takes, and always the bit that says "use the IOTLB" */
	d->features = (d->offered & (VD_F_SEG_MAX | VD_F_SIZE_MAX | VD_F_BLK_SIZE | VD_F_FLUSH | VD_F_TOPOLOGY |
				     VD_F_MQ | VD_F_DISCARD | VD_F_WRITE_ZEROES | VD_F_INDIRECT | VD_F_EVENT_IDX |
				     VD_F_VERSION_1)) | VD_F_ACCESS_PLATFORM;
	OK(vd_ioctl(d, VHOST_SET_FEATURES, &d->features));
	OK(add_status(d, VD_S_FEATURES_OK));
	if (!newer) {
		OK(backend_features(d));
	}
	for (i = 0; i < d->opts.num_queues; i++) {
		struct vhost_vring_addr a = { .index = i };
		struct vd_queue *q = d->q[i];

		if (!q) {
			q = vd_queue_new(d, i, d->opts.num);
			ASSERT_NE(NULL, q);
			d->q[i] = q;
			d->nq = i + 1;
			close(q->kick);
			q->kick = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
		}
		a.desc_user_addr = q->desc_iova;
		a.avail_user_addr = q->avail_iova;
		a.used_user_addr = q->used_iova;
		OK(vd_vring_state(d, VHOST_SET_VRING_NUM, i, q->num));
		OK(vd_vring_state(d, VHOST_SET_VRING_BASE, i, self->base[i]));
		OK(vd_ioctl(d, VHOST_SET_VRING_ADDR, &a));
		OK(vd_vring_file(d, VHOST_SET_VRING_KICK, i, q->kick));
	}
	for (i = 0; i < nq; i++) {
		OK(vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, i, 1));
	}
	/* a doorbell page: not ours to have, and QEMU goes on without */
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, d->fd, 0));
	if (!newer || !first) {
		OK(batch_update(d));
	}
	OK(add_status(d, VD_S_DRIVER_OK));
	OK(vd_ioctl(d, VHOST_VDPA_SET_CONFIG_CALL, &d->config_fd));
	for (i = 0; i < d->opts.num_queues; i++) {
		OK(vd_vring_file(d, VHOST_SET_VRING_CALL, i, d->q[i]->call));
	}
}

static void stop(struct __test_metadata *_metadata, FIXTURE_DATA(client) *self)
{
	struct vd *d = &self->r.d;
	unsigned int i;
	int none = -1;

	OK(vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	for (i = 0; i < d->nq; i++) {
		self->base[i] = vd_get_base(d, i);
		EXPECT_EQ(d->q[i]->used->idx, self->base[i]);
	}
	OK(vd_set_status(d, 0));
	ASSERT_EQ(0, vd_status(d));
	OK(add_status(d, VD_S_ACK | VD_S_DRIVER));
	OK(batch_invalidate(d));
	OK(vd_ioctl(d, VHOST_VDPA_SET_CONFIG_CALL, &none));
}

static void some_io(struct __test_metadata *_metadata, struct vd *d, __u32 seed)
{
	__u64 buf = 0x400000;
	__u8 *p = vd_ptr(d, buf);
	unsigned int i;

	for (i = 0; i < d->nq; i++) {
		vd_fill(p, 65536, 0, seed + i);
		ASSERT_EQ(VD_OK, vd_rw(d->q[i], VD_T_OUT, i * 128, buf, 65536));
		memset(p, 0, 65536);
		ASSERT_EQ(VD_OK, vd_rw(d->q[i], VD_T_IN, i * 128, buf, 65536));
		ASSERT_EQ(-1, vd_check(p, 65536, 0, seed + i));
	}
}

TEST_F(client, qemu)
{
	struct vd *d = &self->r.d;
	unsigned int i, round;

	realize(_metadata, d, variant->newer);
	for (round = 0; round < 4; round++) {
		start(_metadata, self, variant->nq, variant->newer, !round);
		some_io(_metadata, d, round * 10);
		/* the guest's memory map changes while it runs */
		OK(vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0) - 72);
		OK(vd_msg(d, VHOST_IOTLB_INVALIDATE, 0, RAM, NULL, 0) - 72);
		OK(vd_msg(d, VHOST_IOTLB_UPDATE, 0, RAM, d->mem[0].va, VHOST_ACCESS_RW) - 72);
		OK(vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0) - 72);
		some_io(_metadata, d, round * 10 + 5);
		if (round == 1) {
			/* vm_stop with requests in the ring: cont finds them */
			for (i = 0; i < d->nq; i++)
				vd_submit(d->q[i], VD_T_IN, 0, &(struct vd_buf){ 0x400000, 4096, true }, 1, VD_DIRECT);
			stop(_metadata, self);
			start(_metadata, self, variant->nq, variant->newer, false);
			for (i = 0; i < d->nq; i++) {
				ASSERT_EQ(0, vd_wait(d->q[i], 1, VD_WAIT_MS)) TH_LOG("queue %u", i);
			}
		}
		stop(_metadata, self);
		if (round == 2) {
			/* system_reset: the guest starts with fresh rings */
			for (i = 0; i < d->nq; i++) {
				vd_queue_fresh(d->q[i]);
				self->base[i] = 0;
			}
		}
	}
	vd_close(d);
}

/* libblkio: write-only open, v1 messages, no backend features, address 0, maps more while running. */
TEST_F(client, libblkio)
{
	struct vd *d = &self->r.d;
	struct vd_opts o = { .open_flags = O_WRONLY, .msg_v1 = true, .num = 256, .mem_size = RAM };
	struct vhost_vdpa_iova_range range;
	__u64 features, none = 0;
	__u8 conf[60], *more;
	unsigned int i;
	__u32 nvqs;

	vd_close(d);
	OK(vd_open(d, self->r.name, &o));
	OK(vd_ioctl(d, VHOST_SET_OWNER, NULL));
	OK(vd_ioctl(d, VHOST_GET_BACKEND_FEATURES, &features));
	OK(vd_ioctl(d, VHOST_SET_BACKEND_FEATURES, &none));
	OK(vd_set_status(d, 0));
	ASSERT_EQ(0, vd_status(d));
	OK(vd_set_status(d, 3));
	ASSERT_EQ(3, vd_status(d));
	OK(vd_ioctl(d, VHOST_GET_FEATURES, &d->offered));
	d->features = d->offered & (VD_F_SIZE_MAX | VD_F_SEG_MAX | VD_F_RO | VD_F_BLK_SIZE | VD_F_FLUSH |
				    VD_F_TOPOLOGY | VD_F_MQ | VD_F_DISCARD | VD_F_WRITE_ZEROES | VD_F_VERSION_1 |
				    VD_F_EVENT_IDX | VD_F_ACCESS_PLATFORM);
	OK(vd_ioctl(d, VHOST_SET_FEATURES, &d->features));
	OK(add_status(d, VD_S_FEATURES_OK));
	OK(vd_ioctl(d, VHOST_VDPA_GET_VQS_COUNT, &nvqs));
	OK(vd_ioctl(d, VHOST_VDPA_GET_IOVA_RANGE, &range));
	for (i = 0; i < 3; i++) {
		OK(vd_get_config(d, 0, conf, sizeof(conf)));
	}
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, 0, RAM, d->mem[0].va, VHOST_ACCESS_RW));
	d->q[0] = vd_queue_new(d, 0, 256);
	ASSERT_NE(NULL, d->q[0]);
	d->nq = 1;
	ASSERT_EQ(0, d->q[0]->desc_iova);
	OK(vd_setup_queues(d));
	OK(add_status(d, VD_S_DRIVER_OK));
	some_io(_metadata, d, 3);
	/* a buffer that comes later */
	more = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, 0x40000000, 65536, more, VHOST_ACCESS_RW));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, 0x40000000, 65536));
	EXPECT_EQ(-1, vd_check(more, 65536, 0, 3));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, 0x40000000, 65536, NULL, 0));
	some_io(_metadata, d, 4);
	vd_close(d);
}

TEST_HARNESS_MAIN
