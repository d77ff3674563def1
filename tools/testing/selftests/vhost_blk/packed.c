// SPDX-License-Identifier: GPL-2.0
/* Packed rings, and buffers returned in order: data, sizes, notifications, stop and go on. */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <linux/virtio_ring.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x200000

#define AVAIL	(1 << VRING_PACKED_DESC_F_AVAIL)
#define USED	(1 << VRING_PACKED_DESC_F_USED)
#define WRAP	(1 << VRING_PACKED_EVENT_F_WRAP_CTR)

/* A slot, and the wrap counter of the lap it is in. */
struct place {
	__u16 slot;
	bool wrap;
};

/* The driver of one packed ring. Requests are three descriptors, or one with a table of three. */
struct pq {
	struct vd *d;
	__u16 num, per_req;
	bool event_idx, in_order;
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver, *device;
	__u64 ring_iova, driver_iova, device_iova;
	struct place put, reaped;
	int kick, call;
	__u64 slots, tables;
	__u16 free[VD_MAX_NUM];
	unsigned int nr_free;
	__u16 order[VD_MAX_NUM];	/* ids as they went out */
	unsigned int first, nr_out;
	unsigned int kicks, bad;
};

static void go(const struct pq *q, struct place *p, unsigned int n)
{
	for (; n; n--)
		if (++p->slot == q->num) {
			p->slot = 0;
			p->wrap = !p->wrap;
		}
}

static __u16 encoded(struct place p)
{
	return p.slot | (p.wrap ? WRAP : 0);
}

static int pq_init(struct pq *q, struct vd *d, unsigned int num)
{
	unsigned int i;

	memset(q, 0, sizeof(*q));
	q->d = d;
	q->num = num;
	q->per_req = d->features & VD_F_INDIRECT ? 1 : 3;
	q->event_idx = d->features & VD_F_EVENT_IDX;
	q->in_order = d->features & VD_F_IN_ORDER;
	q->ring_iova = vd_alloc(d, num * sizeof(*q->ring), 4096);
	q->driver_iova = vd_alloc(d, sizeof(*q->driver), 4);
	q->device_iova = vd_alloc(d, sizeof(*q->device), 4);
	q->slots = vd_alloc(d, num * VD_SLOT, 4096);
	q->tables = vd_alloc(d, num * 3 * sizeof(*q->ring), 4096);
	if (q->tables == VD_NOADDR)
		return -ENOMEM;
	q->ring = vd_ptr(d, q->ring_iova);
	q->driver = vd_ptr(d, q->driver_iova);
	q->device = vd_ptr(d, q->device_iova);
	q->put.wrap = true;
	q->reaped.wrap = true;
	q->nr_free = num / q->per_req;
	for (i = 0; i < q->nr_free; i++)
		q->free[i] = num - 1 - i;
	q->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return 0;
}

static void pq_free(struct pq *q)
{
	close(q->kick);
	close(q->call);
}

/* NUM, BASE if there is one, and all the others. */
static int pq_setup(struct pq *q, const __u32 *base)
{
	struct vhost_vring_addr addr = {
		.desc_user_addr = q->ring_iova,
		.avail_user_addr = q->driver_iova,
		.used_user_addr = q->device_iova,
	};

	return vd_vring_state(q->d, VHOST_SET_VRING_NUM, 0, q->num) ?:
	       (base ? vd_vring_state(q->d, VHOST_SET_VRING_BASE, 0, *base) : 0) ?:
	       vd_ioctl(q->d, VHOST_SET_VRING_ADDR, &addr) ?:
	       vd_vring_file(q->d, VHOST_SET_VRING_KICK, 0, q->kick) ?:
	       vd_vring_file(q->d, VHOST_SET_VRING_CALL, 0, q->call) ?:
	       vd_vring_state(q->d, VHOST_VDPA_SET_VRING_ENABLE, 0, 1);
}

/* Makes a request of one sector available, and kicks if the device wants that. False: no room. */
static bool submit(struct pq *q, __u32 type, __u64 sector, __u64 data)
{
	struct place head = q->put, at = head;
	struct vring_packed_desc d[3];
	struct vd_hdr *hdr;
	__u64 one = 1;
	__u16 flags, first = 0, id;
	unsigned int i;

	if (!q->nr_free)
		return false;
	id = q->free[--q->nr_free];
	hdr = vd_ptr(q->d, q->slots + id * VD_SLOT);
	*hdr = (struct vd_hdr){ .type = type, .sector = sector };
	*(__u8 *)(hdr + 1) = VD_NO_STATUS;
	d[0] = (struct vring_packed_desc){ q->slots + id * VD_SLOT, sizeof(*hdr), 0, 0 };
	d[1] = (struct vring_packed_desc){ data, 512, 0, type == VD_T_IN ? VRING_DESC_F_WRITE : 0 };
	d[2] = (struct vring_packed_desc){ d[0].addr + sizeof(*hdr), 1, 0, VRING_DESC_F_WRITE };
	if (q->per_req == 1) {
		__u64 table = q->tables + id * sizeof(d);

		memcpy(vd_ptr(q->d, table), d, sizeof(d));
		d[0] = (struct vring_packed_desc){ table, sizeof(d), 0, VRING_DESC_F_INDIRECT };
	}
	for (i = 0; i < q->per_req; i++, go(q, &at, 1)) {
		flags = d[i].flags | (at.wrap ? AVAIL : USED);
		if (i + 1 < q->per_req)
			flags |= VRING_DESC_F_NEXT;
		d[i].id = id;
		q->ring[at.slot].addr = d[i].addr;
		q->ring[at.slot].len = d[i].len;
		q->ring[at.slot].id = d[i].id;
		if (i)
			q->ring[at.slot].flags = flags;
		else
			first = flags;
	}
	q->put = at;
	q->order[(q->first + q->nr_out++) % VD_MAX_NUM] = id;
	__atomic_store_n(&q->ring[head.slot].flags, first, __ATOMIC_RELEASE);

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = __atomic_load_n(&q->device->flags, __ATOMIC_ACQUIRE);
	if (flags == VRING_PACKED_EVENT_FLAG_DESC) {
		__u16 event = __atomic_load_n(&q->device->off_wrap, __ATOMIC_RELAXED);

		for (at = head; at.slot != q->put.slot || at.wrap != q->put.wrap; go(q, &at, 1))
			if (encoded(at) == event)
				flags = VRING_PACKED_EVENT_FLAG_ENABLE;
	}
	if (flags == VRING_PACKED_EVENT_FLAG_ENABLE) {
		q->kicks++;
		if (write(q->kick, &one, sizeof(one)) != sizeof(one))
			q->bad++;
	}
	return true;
}

/* One request is over. */
static void ended(struct pq *q, __u16 id)
{
	if (*(volatile __u8 *)vd_ptr(q->d, q->slots + id * VD_SLOT + sizeof(struct vd_hdr)) != VD_OK)
		q->bad++;
	go(q, &q->reaped, q->per_req);
	q->free[q->nr_free++] = id;
	q->nr_out--;
}

/* What is used; how many that were. */
static unsigned int reap(struct pq *q)
{
	unsigned int n = 0;

	for (;;) {
		struct vring_packed_desc *d = &q->ring[q->reaped.slot];
		__u16 flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE), id = d->id, at;

		if ((flags & (AVAIL | USED)) != (q->reaped.wrap ? AVAIL | USED : 0))
			return n;
		if (!(flags & VRING_DESC_F_WRITE) || !d->len || !q->nr_out) {
			q->bad++;
			return n;
		}
		if (!q->in_order) {
			ended(q, id);
			n++;
			continue;
		}
		/* Everything up to it. */
		do {
			at = q->order[q->first];
			q->first = (q->first + 1) % VD_MAX_NUM;
			ended(q, at);
			n++;
		} while (at != id && q->nr_out);
		if (at != id)
			q->bad++;
	}
}

static int finish(struct pq *q, unsigned int n)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	while (n) {
		unsigned int got = reap(q);

		n -= got < n ? got : n;
		if (!n || q->bad)
			break;
		if (vd_now_ms() > end)
			return -ETIMEDOUT;
		q->driver->off_wrap = encoded(q->reaped);
		__atomic_store_n(&q->driver->flags,
				 q->event_idx ? VRING_PACKED_EVENT_FLAG_DESC : VRING_PACKED_EVENT_FLAG_ENABLE,
				 __ATOMIC_RELEASE);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		got = reap(q);
		n -= got < n ? got : n;
		/* A wake-up that does not come shows as a time-out. */
		if (!got && !vd_poll_fd(q->call, VD_WAIT_MS))
			return -ETIMEDOUT;
	}
	return q->bad ? -EBADMSG : 0;
}

/* @total sectors from sector 0 on, the ring as full as it gets. */
static int pump(struct pq *q, __u32 type, __u64 data, unsigned int total)
{
	unsigned int sent = 0;
	int ret;

	while (sent < total) {
		while (sent < total && submit(q, type, sent, data + sent * 512))
			sent++;
		ret = finish(q, (q->nr_out + 1) / 2);
		if (ret)
			return ret;
	}
	return finish(q, q->nr_out);
}

FIXTURE(packed) {
	struct vd_rig r;
	struct pq q;
	__u64 data;
};

FIXTURE_VARIANT(packed) {
	unsigned int num;
	__u64 drop;
	enum vd_backing_kind kind;
};

#define PLAIN	(VD_F_INDIRECT | VD_F_EVENT_IDX | VD_F_IN_ORDER)

FIXTURE_VARIANT_ADD(packed, n1) { 1, 0, VD_TMPFS };
FIXTURE_VARIANT_ADD(packed, n3_plain) { 3, PLAIN, VD_TMPFS };
FIXTURE_VARIANT_ADD(packed, n5) { 5, VD_F_IN_ORDER, VD_TMPFS };
FIXTURE_VARIANT_ADD(packed, n5_direct_in_order) { 5, VD_F_INDIRECT, VD_TMPFS };
FIXTURE_VARIANT_ADD(packed, n100_plain) { 100, PLAIN, VD_NULLB512 };
FIXTURE_VARIANT_ADD(packed, n100_in_order) { 100, 0, VD_NULLB512 };
FIXTURE_VARIANT_ADD(packed, n256_direct) { 256, VD_F_INDIRECT | VD_F_IN_ORDER, VD_TMPFS };
FIXTURE_VARIANT_ADD(packed, n1000) { 1000, VD_F_IN_ORDER, VD_NULLB512 };
FIXTURE_VARIANT_ADD(packed, n1000_in_order) { 1000, VD_F_EVENT_IDX, VD_TMPFS };

FIXTURE_SETUP(packed)
{
	struct vd_config c = { .queue_size = 1024, .packed = true, .in_order = true };
	struct vd_opts o = { .iova = IOVA, .drop_features = variant->drop };
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, &c, NULL));
	ASSERT_EQ(0, vd_open(d, self->r.name, &o) ?: vd_negotiate(d) ?: vd_map_all(d));
	ASSERT_EQ(VD_F_PACKED, d->features & VD_F_PACKED);
	ASSERT_EQ(0, pq_init(&self->q, d, variant->num));
	self->data = vd_alloc(d, 2048 * 512, 4096);
}

FIXTURE_TEARDOWN_PARENT(packed)
{
	pq_free(&self->q);
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static void write_and_read(struct __test_metadata *_metadata, struct pq *q, __u64 data, __u32 seed)
{
	unsigned int total = 3 * q->num + 10 < 2048 ? 3 * q->num + 10 : 2048;
	void *p = vd_ptr(q->d, data);

	vd_fill(p, total * 512, 0, seed);
	ASSERT_EQ(0, pump(q, VD_T_OUT, data, total));
	memset(p, 0, total * 512);
	ASSERT_EQ(0, pump(q, VD_T_IN, data, total));
	EXPECT_EQ(-1, vd_check(p, total * 512, 0, seed));
	EXPECT_EQ(0xf, vd_status(q->d));
	EXPECT_LT(0U, q->kicks);
}

static __u32 get_base(struct vd *d)
{
	struct vhost_vring_state s = { .index = 0 };

	return vd_ioctl(d, VHOST_GET_VRING_BASE, &s) ? 0xdeaddead : s.num;
}

TEST_F(packed, through)
{
	EXPECT_EQ(0x80008000, get_base(self->q.d));
	ASSERT_EQ(0, pq_setup(&self->q, NULL) ?: vd_driver_ok(self->q.d));
	write_and_read(_metadata, &self->q, self->data, 1);
}

/* Suspended, the base is exact; resumed, it goes on; a new start from the base goes on as well. */
TEST_F(packed, stop_and_go_on)
{
	struct vhost_inflight_queue_info info;
	struct pq *q = &self->q;
	struct vd *d = q->d;
	unsigned int round;
	__u32 base;

	ASSERT_EQ(0, pq_setup(q, NULL) ?: vd_driver_ok(d));
	for (round = 0; round < 4; round++) {
		write_and_read(_metadata, q, self->data, round);
		ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
		base = get_base(d);
		EXPECT_EQ(encoded(q->put) | (__u32)encoded(q->reaped) << 16, base);
		ASSERT_EQ(0, vd_qinfo(d, 0, &info));
		EXPECT_EQ(encoded(q->put), info.avail_idx);
		EXPECT_EQ(encoded(q->reaped), info.used_idx);
		if (round & 1) {
			ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_RESUME, NULL));
			continue;
		}
		ASSERT_EQ(0, vd_set_status(d, 0));
		EXPECT_EQ(0U, get_base(d) >> 16);
		ASSERT_EQ(0, vd_negotiate(d) ?: pq_setup(q, &base) ?: vd_driver_ok(d));
	}
}

TEST_F(packed, arguments)
{
	struct vhost_vring_addr addr = { .desc_user_addr = 16, .avail_user_addr = 4, .used_user_addr = 4 };
	struct vd *d = self->q.d;

	EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_NUM, 0, 0));
	EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_NUM, 0, 1025));
	EXPECT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_NUM, 0, 1023));
	EXPECT_EQ(0, vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr));
	addr.avail_user_addr = 2;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr));
	addr.avail_user_addr = 4;
	addr.used_user_addr = 6;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr));
	addr.used_user_addr = 4;
	addr.desc_user_addr = 8;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr));
	EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0x80018000));
	EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0x00008000));
	EXPECT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0x00030003));
	EXPECT_EQ(0x00030003U, get_base(d));
	/* A slot that the ring does not have. */
	ASSERT_EQ(0, pq_setup(&self->q, &(__u32){ 0x04000400 }));
	EXPECT_EQ(-EINVAL, vd_driver_ok(d));
	EXPECT_EQ(VD_S_ACK | VD_S_DRIVER | VD_S_FEATURES_OK, vd_status(d));
}

/* Not asked for, not offered. */
TEST(packed_by_default)
{
	struct vd_rig r;

	ASSERT_EQ(0, vd_rig_make(&r, VD_TMPFS, DISK, NULL, &(struct vd_opts){ .iova = IOVA }));
	EXPECT_EQ(0U, r.d.offered & (VD_F_PACKED | VD_F_IN_ORDER));
	vd_close(&r.d);
	EXPECT_EQ(0, vd_rig_free(&r));
}

TEST_HARNESS_MAIN
