// SPDX-License-Identifier: GPL-2.0
/* Both layouts with each of a ring's features: data, order, notifications, sizes, stop and go on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define LATE	(DISK / 1024)	/* sector where the late half of VD_DM_MIXED begins */
#define IOVA	0x200000

#define RING_FEATURES	(VD_F_INDIRECT | VD_F_EVENT_IDX | VD_F_PACKED | VD_F_IN_ORDER | VD_F_PARTIAL_ORDER)

static const struct {
	__u64 bit;
	const char *name;	/* as vhost-blkctl says it */
} feature[] = {
	{ VD_F_INDIRECT, "indirect_desc" },
	{ VD_F_EVENT_IDX, "event_idx" },
	{ VD_F_PACKED, "ring_packed" },
	{ VD_F_IN_ORDER, "in_order" },
	{ VD_F_PARTIAL_ORDER, "partial_order" },
};

/* The @n-th of the 32 combinations. */
static __u64 combination(unsigned int n)
{
	__u64 bits = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(feature); i++)
		if (n >> i & 1)
			bits |= feature[i].bit;
	return bits;
}

static const char *named(__u64 bits)
{
	static char text[128];
	unsigned int i;

	text[0] = 0;
	for (i = 0; i < ARRAY_SIZE(feature); i++)
		if (bits & feature[i].bit) {
			strcat(text, text[0] ? " " : "");
			strcat(text, feature[i].name);
		}
	return text[0] ? text : "none";
}

static const struct vd_config offer_all = {
	.queue_size = 1024, .packed = true, .in_order = true, .partial_order = true,
};

/* All but DRIVER_OK, with these features of a ring. */
static int prepare(struct vd_rig *r, __u64 features, unsigned int num)
{
	struct vd_opts o = { .iova = IOVA, .num = num, .drop_features = RING_FEATURES & ~features };
	struct vd *d = &r->d;
	int ret = vd_open(d, r->name, &o);

	return ret ?: vd_negotiate(d) ?: vd_map_all(d) ?: vd_setup_queues(d);
}

/* ---- a load that checks itself ---- */

#define SECTORS	2048		/* half of them at the disk's start, half in its late half */

struct load {
	struct vd_queue *q;
	__u64 data;		/* a sector for each head */
	__u32 rnd, version[SECTORS];
	bool busy[SECTORS];
	__u16 at[VD_MAX_NUM];	/* by head: index of its sector */
	bool read[VD_MAX_NUM];
	unsigned int out, most, kicks;
	const char *wrong;
};

static int load_init(struct load *l, struct vd_queue *q, __u32 seed)
{
	memset(l, 0, sizeof(*l));
	l->q = q;
	l->rnd = seed;
	l->data = vd_alloc(q->d, q->num * 512, 4096);
	return l->data == VD_NOADDR ? -ENOMEM : 0;
}

static unsigned int any(struct load *l, unsigned int below)
{
	l->rnd = l->rnd * 1103515245 + 12345;
	return (l->rnd >> 16) % below;
}

/* One more request, direct or in a table, for a sector that no other is for. -ENOSPC: the ring is full. */
static int load_submit(struct load *l, unsigned int late_of_16)
{
	unsigned int i = any(l, SECTORS / 2) + (any(l, 16) < late_of_16 ? SECTORS / 2 : 0);
	bool table = l->q->d->features & VD_F_INDIRECT && (l->q->num < 3 || any(l, 4));
	struct vd_queue *q = l->q;
	struct vd_buf b = { .len = 512 };
	int head;

	while (l->busy[i])
		i = (i + 1) % SECTORS;
	if (!q->nr_free)
		return -ENOSPC;
	/* the head that is next */
	head = q->free[q->nr_free - 1];
	b.addr = l->data + head * 512;
	b.write = l->version[i] && any(l, 2);
	if (b.write)
		memset(vd_ptr(q->d, b.addr), 0, 512);
	else
		vd_fill(vd_ptr(q->d, b.addr), 512, i * 512, l->version[i] + 1);
	if (vd_submit(q, b.write ? VD_T_IN : VD_T_OUT, i < SECTORS / 2 ? i : LATE + i, &b, 1,
		      table ? VD_INDIRECT : VD_DIRECT) != head)
		return -ENOSPC;
	l->at[head] = i;
	l->read[head] = b.write;
	l->version[i] += !b.write;
	l->busy[i] = true;
	if (++l->out > l->most)
		l->most = l->out;
	return 0;
}

/* One is over: all it was for has happened, whatever the entry it came with said. */
static void load_over(struct load *l, int head)
{
	struct vd_queue *q = l->q;
	unsigned int i;

	if (head < 0) {
		l->wrong = "an entry for no buffer";
		return;
	}
	i = l->at[head];
	l->busy[i] = false;
	l->out--;
	if (vd_slot_status(q, head) != VD_OK)
		l->wrong = "the status";
	else if (q->used_len[head] != (l->read[head] ? 513 : 1))
		l->wrong = "the used length";
	else if (l->read[head] && vd_check(vd_ptr(q->d, l->data + head * 512), 512, i * 512, l->version[i]) != -1)
		l->wrong = "the data";
}

static int load_wait(struct load *l, unsigned int n)
{
	int head, ret;

	while (n && !l->wrong) {
		head = vd_reap(l->q);
		if (head == -EAGAIN) {
			ret = vd_more(l->q, VD_WAIT_MS);
			if (ret)
				return ret;
			continue;
		}
		load_over(l, head);
		n--;
	}
	return l->wrong ? -EBADMSG : 0;
}

/* @total requests through a ring as full as it gets, notifications as both sides ask for them. */
static int load_run(struct load *l, unsigned int total, unsigned int late_of_16)
{
	unsigned int sent = 0;
	int ret = 0;

	while (sent < total && !ret) {
		while (sent < total && !load_submit(l, late_of_16)) {
			sent++;
			if (!any(l, 8))
				l->kicks += vd_kick(l->q);
		}
		l->kicks += vd_kick(l->q);
		ret = load_wait(l, 1 + any(l, l->out));
	}
	return ret ?: load_wait(l, l->out);
}

/* ---- every combination ---- */

FIXTURE(matrix) {
	struct vd_rig r;
	struct load l;
};

FIXTURE_VARIANT(matrix) {
	__u64 layout;
	unsigned int num;
	__u16 at;		/* where the ring starts: soon to wrap */
};

FIXTURE_VARIANT_ADD(matrix, split) { 0, 64, 65500 };
FIXTURE_VARIANT_ADD(matrix, packed) { VD_F_PACKED, 61, 55 };

FIXTURE_SETUP(matrix)
{
	ASSERT_EQ(0, vd_rig_make(&self->r, VD_DM_MIXED, DISK, &offer_all, NULL));
}

FIXTURE_TEARDOWN_PARENT(matrix)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static void io(struct __test_metadata *_metadata, FIXTURE_DATA(matrix) *self, __u64 want, __u16 at)
{
	struct vhost_inflight_info info;
	struct load *l = &self->l;
	struct vd *d = &self->r.d;
	struct vd_queue *q = d->q[0];
	struct vd_order_stat *s = &q->stat;

	ASSERT_EQ(RING_FEATURES, d->offered & RING_FEATURES);
	vd_queue_start_at(q, at);
	ASSERT_EQ(0, load_init(l, q, at + (want >> 28)));
	ASSERT_EQ(0, vd_setup_queues(d) ?: vd_driver_ok(d));
	ASSERT_EQ(0, vd_info(d, &info));
	EXPECT_EQ(want, info.acked_features & RING_FEATURES);
	/* what the disk answers in order, more or less; then with late answers among it */
	ASSERT_EQ(0, load_run(l, vd_rounds(300), 0) ?: load_run(l, vd_rounds(300), 2)) {
		TH_LOG("%s, %u out", l->wrong ?: "stalled", l->out);
	}
	EXPECT_EQ(0xf, vd_status(d));
	EXPECT_EQ(0, q->bad_used);
	EXPECT_EQ(0, q->bad_order);
	EXPECT_LE(want & VD_F_INDIRECT ? q->num / 3 + 1 : q->num / 3, l->most) {
		TH_LOG("the ring was never full");
	}
	/* both must have been, or nothing was shown */
	EXPECT_EQ(!(want & VD_F_IN_ORDER), s->early > 0) TH_LOG("%lu out of order", s->early);
	EXPECT_EQ(want & (VD_F_IN_ORDER | VD_F_PARTIAL_ORDER), s->batches ? want & (VD_F_IN_ORDER | VD_F_PARTIAL_ORDER) : 0) {
		TH_LOG("%lu batches", s->batches);
	}
	EXPECT_EQ(!!(want & VD_F_PARTIAL_ORDER), s->flushes > 0);
	TH_LOG("%s: %lu entries, %lu out of order, %lu FLUSH; %lu batches of %lu, the longest of %u; %u kicks",
	       named(want), s->entries, s->early, s->flushes, s->batches, s->in_batches, s->longest, l->kicks);
}

TEST_F_TIMEOUT(matrix, io, 200)
{
	unsigned int i;
	__u64 want;

	for (i = 0; i < 32 && __test_passed(_metadata); i++) {
		want = combination(i);
		if ((want & VD_F_PACKED) != variant->layout)
			continue;
		ASSERT_EQ(0, prepare(&self->r, want, variant->num));
		io(_metadata, self, want, variant->at);
		if (!__test_passed(_metadata))
			TH_LOG("with %s", named(want));
		vd_close(&self->r.d);
	}
}

/* ---- the order of buffers, made sure of ---- */

FIXTURE(order) {
	struct vd_rig r;
	struct vd_queue *q;
	struct vd_buf id, sector;
};

FIXTURE_SETUP(order)
{
	ASSERT_EQ(0, vd_rig_make(&self->r, VD_DM_MIXED, DISK, &offer_all, NULL));
}

FIXTURE_TEARDOWN_PARENT(order)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

typedef FIXTURE_DATA(order) order;

/* @test with both layouts and each of the promises there are, from none to both. */
static void promises(struct __test_metadata *_metadata, order *self,
		     void (*test)(struct __test_metadata *_metadata, order *self, bool in_order, bool partial))
{
	struct vd *d = &self->r.d;
	unsigned int i;

	for (i = 0; i < 8 && __test_passed(_metadata); i++) {
		__u64 want = (i & 4 ? VD_F_PACKED : 0) | (i & 2 ? VD_F_IN_ORDER : 0) | (i & 1 ? VD_F_PARTIAL_ORDER : 0);

		ASSERT_EQ(0, prepare(&self->r, want, 64));
		self->q = d->q[0];
		self->id = (struct vd_buf){ vd_alloc(d, 20, 8), 20, true };
		self->sector = (struct vd_buf){ vd_alloc(d, 512, 512), 512, true };
		test(_metadata, self, i & 2, i & 1);
		if (!__test_passed(_metadata))
			TH_LOG("with %s", named(want));
		vd_close(d);
	}
}

static int submit(order *self, __u64 sector)
{
	return vd_submit(self->q, VD_T_IN, sector, &self->sector, 1, VD_DIRECT);
}

/* The status is written when a request is done, wherever its used entry waits. */
static int done(struct vd_queue *q, int head)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	while (vd_slot_status(q, head) == VD_NO_STATUS)
		if (vd_now_ms() > end)
			return -ETIMEDOUT;
	return vd_slot_status(q, head);
}

/* Three requests behind one that has no answer: held back if order was promised, and only then. */
static void behind_a_late_one(struct __test_metadata *_metadata, order *self, bool in_order, bool partial)
{
	struct vd_order_stat *s = &self->q->stat;
	struct vd_queue *q = self->q;
	struct vd *d = &self->r.d;
	unsigned int i;
	int late, head[3];

	ASSERT_EQ(0, vd_driver_ok(d));
	ASSERT_LE(0, submit(self, 0));
	vd_kick(q);
	ASSERT_EQ(0, vd_wait(q, 1, VD_WAIT_MS));
	EXPECT_EQ(partial, s->flushes);

	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	late = submit(self, LATE);
	for (i = 0; i < 3; i++) {
		head[i] = submit(self, i);
		ASSERT_LE(0, head[i]);
	}
	vd_kick(q);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(VD_OK, done(q, head[i]));
	}
	if (in_order) {
		EXPECT_EQ(-ETIMEDOUT, vd_more(q, VD_QUIET_MS));
	} else {
		ASSERT_EQ(0, vd_wait(q, 3, VD_WAIT_MS));
		EXPECT_EQ(3, s->early);
		EXPECT_EQ(partial, s->flushes);
		EXPECT_EQ(0, s->batches);
	}
	EXPECT_EQ(true, q->busy[late]);
	EXPECT_EQ(VD_NO_STATUS, vd_slot_status(q, late));

	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, vd_more(q, VD_WAIT_MS));
	EXPECT_EQ(late, vd_reap(q));
	EXPECT_EQ(VD_OK, vd_slot_status(q, late));
	if (in_order) {
		for (i = 0; i < 3; i++) {
			EXPECT_EQ(head[i], vd_reap(q));
		}
		/* the four of them in one entry */
		EXPECT_EQ(2, s->entries);
		EXPECT_EQ(4, s->longest);
		EXPECT_EQ(partial ? 2 : 0, s->flushes);
	} else {
		/* FLUSH would say that none behind it had been used */
		EXPECT_EQ(5, s->entries);
		EXPECT_EQ(partial, s->flushes);
	}
	/* and after that it's as if nothing had been */
	ASSERT_LE(0, submit(self, 7));
	vd_kick(q);
	ASSERT_EQ(0, vd_wait(q, 1, VD_WAIT_MS));
	EXPECT_EQ(partial ? in_order ? 3 : 2 : 0, s->flushes);
	EXPECT_EQ(-EAGAIN, vd_reap(q));
	EXPECT_EQ(0, q->bad_used);
	EXPECT_EQ(0, q->bad_order);
	EXPECT_EQ(0xf, vd_status(d));
}

TEST_F_TIMEOUT(order, behind_a_late_one, 120)
{
	promises(_metadata, self, behind_a_late_one);
}

/* Eight that the device answers by itself, all of them before it publishes any. */
static int eight(order *self)
{
	int i, ret = 0;

	for (i = 0; i < 8 && ret >= 0; i++)
		ret = vd_submit(self->q, VD_T_GET_ID, 0, &self->id, 1, VD_DIRECT);
	return ret < 0 ? ret : 0;
}

/* However a queue starts, the first entry is for one buffer: with PARTIAL_ORDER no driver could know better. */
static void first_entry(struct __test_metadata *_metadata, order *self, bool in_order, bool partial)
{
	static const char *const how[] = { "a start", "RESUME", "a start at the base", "a start from nothing", "RESUME" };
	unsigned int i, entries = partial ? 2 : in_order ? 1 : 8;
	struct vd_queue *q = self->q;
	struct vd *d = &self->r.d;

	for (i = 0; i < ARRAY_SIZE(how); i++) {
		switch (i) {
		case 0:
			ASSERT_EQ(0, eight(self) ?: vd_driver_ok(d));
			break;
		case 1:
		case 4:
			ASSERT_EQ(0, vd_suspend(d) ?: eight(self) ?: vd_resume(d));
			break;
		case 2:
			ASSERT_EQ(0, vd_suspend(d));
			ASSERT_EQ(q->ops->base(q), vd_get_base(d, 0));
			ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d) ?: vd_setup_queues(d));
			ASSERT_EQ(0, eight(self) ?: vd_driver_ok(d));
			break;
		case 3:
			ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
			vd_queue_fresh(q);
			ASSERT_EQ(0, vd_setup_queues(d) ?: eight(self) ?: vd_driver_ok(d));
			break;
		}
		ASSERT_EQ(0, vd_wait(q, 8, VD_WAIT_MS)) TH_LOG("after %s", how[i]);
		EXPECT_EQ(entries, q->stat.entries) TH_LOG("after %s", how[i]);
		EXPECT_EQ(partial ? 7 : in_order ? 8 : 1, q->stat.longest) TH_LOG("after %s", how[i]);
		EXPECT_EQ(partial ? 2 : 0, q->stat.flushes) TH_LOG("after %s", how[i]);
		EXPECT_EQ(0, q->bad_order) TH_LOG("after %s", how[i]);
		/* and the next is for as many as there are */
		ASSERT_EQ(0, eight(self));
		vd_kick(q);
		ASSERT_EQ(0, vd_wait(q, 8, VD_WAIT_MS));
		EXPECT_EQ(partial || in_order ? entries + 1 : 16, q->stat.entries) TH_LOG("after %s", how[i]);
		EXPECT_EQ(0, q->bad_order) TH_LOG("after %s", how[i]);
		EXPECT_EQ(0, q->bad_used) TH_LOG("after %s", how[i]);
	}
}

TEST_F_TIMEOUT(order, first_entry, 120)
{
	promises(_metadata, self, first_entry);
}

/* A failed request is not used completely, so it ends its run: a driver must see its length. */
static void failed_in_a_run(struct __test_metadata *_metadata, order *self, bool in_order, bool partial)
{
	struct vd_queue *q = self->q;
	struct vd *d = &self->r.d;
	int i, head, bad;

	for (i = 0; i < 6; i++) {
		/* answered without the disk, as is the one with a length that is not a sector's */
		struct vd_buf b = { self->sector.addr, i == 3 ? 100 : 20, true };

		head = vd_submit(q, i == 3 ? VD_T_IN : VD_T_GET_ID, 0, &b, 1, VD_DIRECT);
		ASSERT_LE(0, head);
		if (i == 3)
			bad = head;
	}
	ASSERT_EQ(0, vd_driver_ok(d));
	ASSERT_EQ(0, vd_wait(q, 6, VD_WAIT_MS));
	EXPECT_EQ(VD_IOERR, vd_slot_status(q, bad));
	EXPECT_GT(101, q->used_len[bad]);
	EXPECT_EQ(partial ? 3 : in_order ? 2 : 6, q->stat.entries);
	EXPECT_EQ(0, q->bad_order);
	EXPECT_EQ(0, q->bad_used);
}

TEST_F_TIMEOUT(order, failed_in_a_run, 120)
{
	promises(_metadata, self, failed_in_a_run);
}

/* ---- sizes ---- */

FIXTURE(size) {
	struct vd_rig r;
	struct vd_queue *q;
	struct load l;
};

FIXTURE_VARIANT(size) {
	unsigned int num;
	__u64 features;
	enum vd_backing_kind kind;
};

#define ALL	RING_FEATURES

FIXTURE_VARIANT_ADD(size, packed_1) { 1, ALL & ~VD_F_IN_ORDER, VD_TMPFS };
FIXTURE_VARIANT_ADD(size, packed_3_plain) { 3, VD_F_PACKED, VD_TMPFS };
FIXTURE_VARIANT_ADD(size, packed_5) { 5, ALL & ~(VD_F_IN_ORDER | VD_F_PARTIAL_ORDER), VD_TMPFS };
FIXTURE_VARIANT_ADD(size, packed_5_partial) { 5, ALL & ~(VD_F_IN_ORDER | VD_F_INDIRECT), VD_TMPFS };
FIXTURE_VARIANT_ADD(size, packed_100) { 100, ALL, VD_NULLB512 };
FIXTURE_VARIANT_ADD(size, packed_1000) { 1000, ALL & ~VD_F_IN_ORDER, VD_NULLB512 };
FIXTURE_VARIANT_ADD(size, packed_1024_in_order) { 1024, VD_F_PACKED | VD_F_IN_ORDER | VD_F_INDIRECT, VD_TMPFS };
FIXTURE_VARIANT_ADD(size, split_1) { 1, VD_F_INDIRECT | VD_F_PARTIAL_ORDER, VD_TMPFS };
FIXTURE_VARIANT_ADD(size, split_4_in_order) { 4, VD_F_IN_ORDER | VD_F_EVENT_IDX, VD_TMPFS };
FIXTURE_VARIANT_ADD(size, split_1024) { 1024, ALL & ~(VD_F_PACKED | VD_F_IN_ORDER), VD_NULLB512 };

FIXTURE_SETUP(size)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, &offer_all, NULL));
	ASSERT_EQ(0, prepare(&self->r, variant->features, variant->num));
	ASSERT_EQ(variant->features, d->features & RING_FEATURES);
	self->q = d->q[0];
	ASSERT_EQ(0, load_init(&self->l, self->q, variant->num));
}

FIXTURE_TEARDOWN_PARENT(size)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* Suspended, the base is exact; resumed, it goes on; a new start from the base goes on as well. */
TEST_F(size, stop_and_go_on)
{
	unsigned int round, total = vd_rounds(3 * variant->num + 10);
	struct vhost_inflight_queue_info info;
	struct vd_queue *q = self->q;
	struct vd *d = &self->r.d;
	__u32 base;

	EXPECT_EQ(variant->features & VD_F_PACKED ? 0x80008000 : 0, vd_get_base(d, 0));
	ASSERT_EQ(0, vd_driver_ok(d));
	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, load_run(&self->l, total, 0)) TH_LOG("%s", self->l.wrong ?: "stalled");
		EXPECT_EQ(0, q->bad_order);
		EXPECT_EQ(0, q->bad_used);
		ASSERT_EQ(0, vd_suspend(d));
		base = q->ops->base(q);
		EXPECT_EQ(base, vd_get_base(d, 0));
		ASSERT_EQ(0, vd_qinfo(d, 0, &info));
		EXPECT_EQ(base & 0xffff, info.avail_idx);
		EXPECT_EQ(variant->features & VD_F_PACKED ? base >> 16 : base, info.used_idx);
		if (round & 1) {
			ASSERT_EQ(0, vd_resume(d));
			continue;
		}
		ASSERT_EQ(0, vd_reset(d));
		EXPECT_EQ(0, vd_get_base(d, 0) >> 16);
		ASSERT_EQ(0, vd_negotiate(d) ?: vd_setup_queues(d) ?: vd_driver_ok(d));
	}
	EXPECT_LT(0, self->l.kicks);
	EXPECT_EQ(0xf, vd_status(d));
}

/* ---- bits ---- */

/* A device offers what it was made with, and takes nothing else. */
TEST(offered_as_made)
{
	struct vd_rig r = { 0 };
	struct vd *d = &r.d;
	unsigned int n, i;
	__u64 want, all;

	for (n = 0; n < 32; n++) {
		want = combination(n);
		struct vd_config c = {
			.no_indirect = !(want & VD_F_INDIRECT), .no_event_idx = !(want & VD_F_EVENT_IDX),
			.packed = want & VD_F_PACKED, .in_order = want & VD_F_IN_ORDER,
			.partial_order = want & VD_F_PARTIAL_ORDER,
		};

		ASSERT_EQ(0, vd_rig_make(&r, VD_TMPFS, DISK, &c, NULL));
		ASSERT_EQ(0, vd_open(d, r.name, &(struct vd_opts){ .iova = IOVA }));
		ASSERT_EQ(0, vd_negotiate(d));
		EXPECT_EQ(want, d->offered & RING_FEATURES) TH_LOG("%s", named(want));
		ASSERT_EQ(0, vd_reset(d) ?: vd_set_status(d, VD_S_ACK | VD_S_DRIVER));
		for (i = 0; i < ARRAY_SIZE(feature); i++) {
			all = d->offered | feature[i].bit;
			EXPECT_EQ(want & feature[i].bit ? 0 : -EINVAL, vd_ioctl(d, VHOST_SET_FEATURES, &all)) {
				TH_LOG("%s: taking %s", named(want), feature[i].name);
			}
		}
		vd_close(d);
		ASSERT_EQ(0, vd_rig_free(&r));
	}
}

TEST(offered_by_default)
{
	struct vd_rig r = { 0 };

	ASSERT_EQ(0, vd_rig_make(&r, VD_TMPFS, DISK, NULL, &(struct vd_opts){ .iova = IOVA }));
	EXPECT_EQ(VD_F_INDIRECT | VD_F_EVENT_IDX, r.d.offered & RING_FEATURES);
	vd_close(&r.d);
	EXPECT_EQ(0, vd_rig_free(&r));
}

static char text[16384];	/* what the tool says */

static int tool(const char *args)
{
	const char *tool = getenv("VHOST_BLKCTL");
	char cmd[256];
	size_t n = 0;
	FILE *out;

	snprintf(cmd, sizeof(cmd), "%s %s", tool ?: "vhost-blkctl", args);
	out = popen(cmd, "r");
	if (out)
		n = fread(text, 1, sizeof(text) - 1, out);
	text[n] = 0;
	return out ? pclose(out) : -errno;
}

/* From @from to the next @to, or "". */
static const char *said(const char *from, char to)
{
	static char part[1024];
	const char *at = strstr(text, from);

	snprintf(part, sizeof(part), "%s", at ?: "");
	part[strcspn(part, (char[]){ to, 0 })] = 0;
	return part;
}

/* A word of its own, with or without quotes. */
static bool has_word(const char *text, const char *word)
{
	size_t n = strlen(word);
	const char *at = text;

	while ((at = strstr(at, word))) {
		if (strchr(" \"", at[-1]) && (!at[n] || strchr(" \",", at[n])))
			return true;
		at += n;
	}
	return false;
}

static void names(struct __test_metadata *_metadata, const char *part, __u64 want)
{
	unsigned int i;

	EXPECT_TRUE(has_word(part, "version_1")) TH_LOG("it said '%s'", text);
	for (i = 0; i < ARRAY_SIZE(feature); i++) {
		EXPECT_EQ(!!(want & feature[i].bit), has_word(part, feature[i].name)) {
			TH_LOG("%s with %s: %s", feature[i].name, named(want), part);
		}
	}
}

/* Each by its name where the driver took it and not where it did not; no two are in the same of three runs. */
TEST(shown_by_vhost_blkctl)
{
	struct vd_rig r = { 0 };
	unsigned int n, i;
	char args[64];
	__u64 want;

	ASSERT_EQ(0, vd_rig_make(&r, VD_TMPFS, DISK, &offer_all, NULL));
	for (n = 0; n < 3; n++) {
		for (i = 0, want = 0; i < ARRAY_SIZE(feature); i++)
			if ((i + 1) >> n & 1)
				want |= feature[i].bit;
		ASSERT_EQ(0, prepare(&r, want, 64) ?: vd_driver_ok(&r.d));
		snprintf(args, sizeof(args), "show %s", r.name);
		ASSERT_EQ(0, tool(args));
		names(_metadata, said("  acked features ", '\n'), want);
		snprintf(args, sizeof(args), "show %s --json", r.name);
		ASSERT_EQ(0, tool(args));
		names(_metadata, said("\"acked_features\"", ']'), want);
		names(_metadata, said("\"features\"", ']'), RING_FEATURES);
		vd_close(&r.d);
	}
	EXPECT_EQ(0, vd_rig_free(&r));
}

/* What the vrings' ioctls take for a packed ring. */
TEST(packed_arguments)
{
	struct vhost_vring_addr addr = { .desc_user_addr = 16, .avail_user_addr = 4, .used_user_addr = 4 };
	struct vd_rig r = { 0 };
	struct vd *d = &r.d;

	ASSERT_EQ(0, vd_rig_make(&r, VD_TMPFS, DISK, &offer_all, NULL));
	ASSERT_EQ(0, prepare(&r, RING_FEATURES, 1023));
	EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_NUM, 0, 0));
	EXPECT_EQ(-EINVAL, vd_vring_state(d, VHOST_SET_VRING_NUM, 0, 1025));
	EXPECT_EQ(0, vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr));
	addr.avail_user_addr = 2;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr));
	addr.avail_user_addr = 4;
	addr.used_user_addr = 6;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr));
	addr.used_user_addr = 4;
	addr.desc_user_addr = 8;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr));
	/* Two places, and no inflight region that says what is between them. */
	ASSERT_EQ(0, vd_setup_queues(d) ?: vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0x80008001));
	EXPECT_EQ(0x80008001, vd_get_base(d, 0));
	EXPECT_EQ(-EINVAL, vd_driver_ok(d));
	EXPECT_EQ(0, vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0x00030003));
	EXPECT_EQ(0x00030003, vd_get_base(d, 0));
	/* A slot that the ring does not have. */
	ASSERT_EQ(0, vd_setup_queues(d) ?: vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0x04000400));
	EXPECT_EQ(-EINVAL, vd_driver_ok(d));
	EXPECT_EQ(VD_S_ACK | VD_S_DRIVER | VD_S_FEATURES_OK, vd_status(d));
	vd_close(d);
	EXPECT_EQ(0, vd_rig_free(&r));
}

TEST_HARNESS_MAIN
