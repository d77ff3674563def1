// SPDX-License-Identifier: GPL-2.0
/* Rings no honest driver writes: the device ends in error, everything else goes on, a reset heals. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(8 << 20)
#define IOVA	0x100000
#define RING	64
#define RO_AT	0x40000000ULL	/* a page mapped for reading */
#define WO_AT	0x50000000ULL	/* and one for writing */
#define END_AT	0x60001000ULL	/* the first byte behind a mapped page */

FIXTURE(hostile) {
	struct vd_rig r, other;
	struct vd_queue *q;
	__u64 buf;		/* a header at 0, a status at 64, data from 4096 on */
	__u8 *p;
	int kmsg;
};

static const struct vd_opts opts = { .iova = IOVA, .num = RING, .mem_size = 4 << 20 };

static int extra_maps(struct vd *d)
{
	int a = vd_msg(d, VHOST_IOTLB_UPDATE, RO_AT, 4096, d->mem[0].va, VHOST_ACCESS_RO);
	int b = vd_msg(d, VHOST_IOTLB_UPDATE, WO_AT, 4096, d->mem[0].va, VHOST_ACCESS_WO);
	int c = vd_msg(d, VHOST_IOTLB_UPDATE, END_AT - 4096, 4096, d->mem[0].va, VHOST_ACCESS_RW);

	return a == 72 && b == 72 && c == 72 ? 0 : -EIO;
}

FIXTURE_SETUP(hostile)
{
	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, NULL, &opts));
	ASSERT_EQ(0, vd_rig_make(&self->other, VD_NULLB512, DISK, NULL, &opts));
	ASSERT_EQ(0, extra_maps(&self->r.d));
	self->q = self->r.d.q[0];
	self->buf = vd_alloc(&self->r.d, 256 << 10, 4096);
	self->p = vd_ptr(&self->r.d, self->buf);
	self->kmsg = vd_kmsg_open();
	ASSERT_LE(0, self->kmsg);
}

FIXTURE_TEARDOWN_PARENT(hostile)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
	EXPECT_EQ(0, vd_rig_free(&self->other));
}

/* Descriptor @i of the ring or of a table, exactly so. */
static void put(struct vd_desc *t, unsigned int i, __u64 addr, __u32 len, __u16 flags, __u16 next)
{
	t[i] = (struct vd_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

#define N	VD_DESC_NEXT
#define W	VD_DESC_WRITE
#define I	VD_DESC_INDIRECT
#define HDR	(x->buf)
#define STATUS	(x->buf + 64)
#define DATA	(x->buf + 4096)
#define TABLE	(x->buf + 65536)
#define RINGD	(x->q->desc)
#define TBL	((struct vd_desc *)(x->p + 65536))

typedef FIXTURE_DATA(hostile) hx;

/* A good IN in descriptors 0..2, to be spoilt. */
static void good(hx *x)
{
	struct vd_hdr *h = (struct vd_hdr *)x->p;

	*h = (struct vd_hdr){ .type = VD_T_IN };
	put(RINGD, 0, HDR, 16, N, 1);
	put(RINGD, 1, DATA, 4096, N | W, 2);
	put(RINGD, 2, STATUS, 1, W, 0);
}

static void push(hx *x)
{
	vd_push_head(x->q, 0);
}

/* The same in a table of three. */
static void good_table(hx *x)
{
	good(x);
	memcpy(TBL, RINGD, 3 * sizeof(struct vd_desc));
	put(RINGD, 0, TABLE, 48, I, 0);
}

static void head_out_of_range(hx *x) { vd_push_head(x->q, RING); }
static void head_far_out(hx *x) { vd_push_head(x->q, 0xffff); }
static void next_out_of_range(hx *x) { good(x); RINGD[1].next = RING; push(x); }
static void next_far_out(hx *x) { good(x); RINGD[0].next = 0xffff; push(x); }
static void loop_of_two(hx *x) { good(x); put(RINGD, 1, DATA, 512, N | W, 0); push(x); }
static void loop_on_itself(hx *x) { good(x); RINGD[0].next = 0; push(x); }
static void loop_at_the_end(hx *x) { good(x); put(RINGD, 2, STATUS, 1, W | N, 2); push(x); }

/* A table may have more entries than the ring, as stock drivers make them; not more than the largest ring. */
static void longer_than_queue(hx *x)
{
	unsigned int i;

	good_table(x);
	put(TBL, 0, HDR, 16, N, 1);
	for (i = 1; i < VD_MAX_NUM; i++)
		put(TBL, i, DATA, 512, N | W, i + 1);
	put(TBL, i, STATUS, 1, W, 0);
	RINGD[0].len = (i + 1) * 16;
	push(x);
}

/* Some direct, the rest in a table, together too many. */
static void longer_than_queue_mixed(hx *x)
{
	unsigned int i;

	good(x);
	put(RINGD, 1, TABLE, 0, I, 0);
	for (i = 0; i < VD_MAX_NUM; i++)
		put(TBL, i, DATA, 512, N | W, i + 1);
	put(TBL, i, STATUS, 1, W, 0);
	RINGD[1].len = (i + 1) * 16;
	push(x);
}

static void header_unmapped(hx *x) { good(x); RINGD[0].addr = 0x7000000000; push(x); }
static void data_unmapped(hx *x) { good(x); RINGD[1].addr = 0x7000000000; push(x); }
static void status_unmapped(hx *x) { good(x); RINGD[2].addr = 0x7000000000; push(x); }
static void data_half_mapped(hx *x) { good(x); RINGD[1].addr = END_AT - 512; push(x); }
static void header_half_mapped(hx *x) { good(x); RINGD[0].addr = END_AT - 8; push(x); }
static void status_behind_end(hx *x) { good(x); RINGD[2].addr = END_AT; push(x); }
static void in_to_read_only(hx *x) { good(x); RINGD[1].addr = RO_AT; push(x); }
static void status_read_only(hx *x) { good(x); RINGD[2].addr = RO_AT; push(x); }
static void header_write_only(hx *x) { good(x); RINGD[0].addr = WO_AT; push(x); }

static void out_from_write_only(hx *x)
{
	good(x);
	((struct vd_hdr *)x->p)->type = VD_T_OUT;
	put(RINGD, 1, WO_AT, 512, N, 2);
	push(x);
}

static void length_wraps(hx *x) { good(x); put(RINGD, 1, ~0ULL - 511, 4096, N | W, 2); push(x); }
static void length_wraps_to_ring(hx *x) { good(x); put(RINGD, 1, -0x1000ULL, IOVA + 0x2000, N | W, 2); push(x); }
static void length_all_ones(hx *x) { good(x); RINGD[1].len = 0xffffffff; push(x); }
static void header_wraps(hx *x) { good(x); RINGD[0].addr = ~0ULL - 7; push(x); }

static void table_odd_size(hx *x) { good_table(x); RINGD[0].len = 47; push(x); }
static void table_half_entry(hx *x) { good_table(x); RINGD[0].len = 8; push(x); }
static void table_empty(hx *x) { good_table(x); RINGD[0].len = 0; push(x); }
static void table_nested(hx *x) { good_table(x); put(TBL, 1, TABLE, 48, I | N, 2); push(x); }
static void table_unmapped(hx *x) { good_table(x); RINGD[0].addr = 0x7000000000; push(x); }
static void table_half_mapped(hx *x) { good_table(x); RINGD[0].addr = END_AT - 16; push(x); }
static void table_write_only(hx *x) { good_table(x); RINGD[0].addr = WO_AT; push(x); }
static void table_next_out(hx *x) { good_table(x); TBL[1].next = 3; push(x); }
static void table_loop(hx *x) { good_table(x); put(TBL, 1, DATA, 512, N | W, 0); push(x); }
static void table_huge(hx *x) { good_table(x); RINGD[0].len = 0xfffffff0; push(x); }
static void table_and_next(hx *x) { good_table(x); RINGD[0].flags = I | N; RINGD[0].next = 1; push(x); }

static void avail_runaway_by_one(hx *x)
{
	good(x);
	x->q->avail_idx += RING + 1;
	__atomic_store_n(&x->q->avail->idx, x->q->avail_idx, __ATOMIC_RELEASE);
}

static void avail_runaway_far(hx *x)
{
	good(x);
	x->q->avail_idx += 0x8000;
	__atomic_store_n(&x->q->avail->idx, x->q->avail_idx, __ATOMIC_RELEASE);
}

static void avail_goes_back(hx *x)
{
	x->q->avail_idx -= 1;
	__atomic_store_n(&x->q->avail->idx, x->q->avail_idx, __ATOMIC_RELEASE);
}

static void short_header(hx *x) { good(x); RINGD[0].len = 15; push(x); }
static void no_header(hx *x) { good(x); vd_push_head(x->q, 1); }
static void no_status(hx *x) { good(x); put(RINGD, 0, HDR, 16, 0, 0); push(x); }
static void no_status_after_data(hx *x) { good(x); put(RINGD, 1, DATA, 512, 0, 0); push(x); }

#undef N
#undef W
#undef I

static const struct {
	const char *name;
	void (*spoil)(hx *x);
} rows[] = {
#define ROW(f)	{ #f, f }
	ROW(head_out_of_range), ROW(head_far_out), ROW(next_out_of_range), ROW(next_far_out), ROW(loop_of_two),
	ROW(loop_on_itself), ROW(loop_at_the_end), ROW(longer_than_queue), ROW(longer_than_queue_mixed),
	ROW(header_unmapped), ROW(data_unmapped), ROW(status_unmapped), ROW(data_half_mapped),
	ROW(header_half_mapped), ROW(status_behind_end), ROW(in_to_read_only), ROW(status_read_only),
	ROW(header_write_only), ROW(out_from_write_only), ROW(length_wraps), ROW(length_wraps_to_ring),
	ROW(length_all_ones), ROW(header_wraps), ROW(table_odd_size), ROW(table_half_entry), ROW(table_empty),
	ROW(table_nested), ROW(table_unmapped), ROW(table_half_mapped), ROW(table_write_only),
	ROW(table_next_out), ROW(table_loop), ROW(table_huge), ROW(table_and_next), ROW(avail_runaway_by_one),
	ROW(avail_runaway_far), ROW(avail_goes_back), ROW(short_header), ROW(no_header), ROW(no_status),
	ROW(no_status_after_data),
};

static int works(struct vd *d)
{
	return vd_rw(d->q[0], VD_T_IN, 0, IOVA + 0x200000, 4096);
}

static int heal(hx *x)
{
	return vd_reset(&x->r.d) ?: vd_restart(&x->r.d) ?: (extra_maps(&x->r.d), works(&x->r.d));
}

/* One by one on the same device, healed in between. */
TEST_F_TIMEOUT(hostile, each, 120)
{
	struct vhost_inflight_queue_info before, after;
	struct vhost_inflight_info info;
	struct vd *d = &self->r.d;
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *name = rows[i].name;

		ASSERT_EQ(0, vd_qinfo(d, 0, &before));
		rows[i].spoil(self);
		vd_kick_always(self->q);
		EXPECT_EQ(1, vd_poll_fd(self->q->err, VD_WAIT_MS)) TH_LOG("%s: error eventfd", name);
		EXPECT_EQ(1, vd_poll_fd(d->config_fd, VD_WAIT_MS)) TH_LOG("%s: config eventfd", name);
		EXPECT_EQ(0xf | VD_S_NEEDS_RESET, vd_status(d)) TH_LOG("%s: status", name);
		ASSERT_EQ(0, vd_qinfo(d, 0, &after));
		EXPECT_EQ(VHOST_INFLIGHT_QUEUE_ERROR, after.state) TH_LOG("%s: state of the queue", name);
		EXPECT_NE(0, after.error) TH_LOG("%s: errno", name);
		EXPECT_EQ(before.broken + 1, after.broken) TH_LOG("%s: count", name);
		EXPECT_EQ(before.requests, after.requests) TH_LOG("%s: was answered", name);
		ASSERT_EQ(0, vd_info(d, &info));
		EXPECT_EQ(VHOST_INFLIGHT_STATE_ERROR, info.state) TH_LOG("%s: state of the device", name);
		/* more of the same changes nothing */
		for (k = 0; k < 20; k++)
			vd_kick_always(self->q);
		EXPECT_EQ(VD_OK, works(&self->other.d)) TH_LOG("%s: the other device", name);
		EXPECT_EQ(0, vd_poll_fd(self->q->err, 0)) TH_LOG("%s: error eventfd again", name);
		k = vd_kmsg_count(self->kmsg, self->r.name);
		EXPECT_GE(3, k) TH_LOG("%s: %u lines in the log", name, k);
		ASSERT_EQ(0, heal(self)) TH_LOG("%s: reset did not heal", name);
		ASSERT_EQ(0xf, vd_status(d));
	}
}

/* What was taken before the bad one is answered: nothing is lost but what is broken. */
TEST_F(hostile, requests_before_it)
{
	struct vd_buf b = { self->buf + 4096, 4096, true };
	int heads[8];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(heads); i++) {
		heads[i] = vd_submit(self->q, VD_T_IN, i * 8, &b, 1, VD_DIRECT);
		ASSERT_LE(0, heads[i]);
	}
	vd_push_head(self->q, RING + 1);
	vd_kick_always(self->q);
	EXPECT_EQ(0, vd_wait(self->q, ARRAY_SIZE(heads), VD_WAIT_MS));
	for (i = 0; i < ARRAY_SIZE(heads); i++) {
		EXPECT_EQ(VD_OK, vd_slot_status(self->q, heads[i]));
	}
	EXPECT_EQ(1, vd_poll_fd(self->q->err, VD_WAIT_MS));
	ASSERT_EQ(0, heal(self));
}

/* Two in the ring under one head: answered twice or an error, and never anything worse. */
TEST_F(hostile, same_head_twice)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		good(self);
		push(self);
		push(self);
		vd_kick_always(self->q);
		self->q->busy[0] = true;
		self->q->chain[0] = 0;
		if (vd_wait(self->q, 2, 500)) {
			EXPECT_EQ(VD_S_NEEDS_RESET, vd_status(&self->r.d) & VD_S_NEEDS_RESET);
			ASSERT_EQ(0, heal(self));
		}
		EXPECT_EQ(VD_OK, works(&self->other.d));
	}
	ASSERT_EQ(0, heal(self));
}

/* Odd, and either served or refused; the guest's memory elsewhere stays as it was. */
TEST_F(hostile, odd_but_harmless)
{
	struct vd_desc *ring = self->q->desc;
	unsigned int i;

	for (i = 0; i < 5; i++) {
		good(self);
		switch (i) {
		case 0:		/* an empty descriptor in between */
			ring[1].len = 0;
			break;
		case 1:		/* readable behind writable */
			ring[1].flags |= VD_DESC_WRITE;
			ring[2].flags = VD_DESC_NEXT | VD_DESC_WRITE;
			ring[2].next = 3;
			put(ring, 3, self->buf + 8192, 512, 0, 0);
			break;
		case 2:		/* unknown flags */
			ring[1].flags |= 0x8000 | 0x80;
			break;
		case 3:		/* data on top of the rings */
			ring[1].addr = self->q->used_iova & ~4095ULL;
			ring[1].len = 512;
			ring[1].flags = VD_DESC_NEXT;
			((struct vd_hdr *)self->p)->type = VD_T_OUT;
			break;
		case 4:		/* the status on top of the header */
			ring[2].addr = self->buf;
			break;
		}
		self->q->busy[0] = true;
		self->q->chain[0] = 0;
		push(self);
		vd_kick_always(self->q);
		if (vd_wait(self->q, 1, 1000)) {
			EXPECT_EQ(VD_S_NEEDS_RESET, vd_status(&self->r.d) & VD_S_NEEDS_RESET) TH_LOG("case %u", i);
		}
		ASSERT_EQ(0, heal(self)) TH_LOG("case %u", i);
	}
}

/* What says "writable" of a table says nothing: the device must not care. */
TEST_F(hostile, write_flag_of_a_table)
{
	good_table(self);
	self->q->desc[0].flags |= VD_DESC_WRITE;
	self->q->busy[0] = true;
	self->q->chain[0] = 0;
	push(self);
	vd_kick_always(self->q);
	EXPECT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	EXPECT_EQ(4097, self->q->used_len[0]);
	EXPECT_EQ(VD_OK, self->p[64]);
	EXPECT_EQ(0xf, vd_status(&self->r.d));
}

/* An indirect table where the driver did not take them. */
TEST_F(hostile, indirect_not_negotiated)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_reset(d));
	d->opts.drop_features = VD_F_INDIRECT;
	ASSERT_EQ(0, vd_restart(d));
	good_table(self);
	push(self);
	vd_kick_always(self->q);
	EXPECT_EQ(1, vd_poll_fd(self->q->err, VD_WAIT_MS));
	EXPECT_EQ(0xf | VD_S_NEEDS_RESET, vd_status(d));
	d->opts.drop_features = 0;
	ASSERT_EQ(0, heal(self));
}

/* A broken queue can be closed, reset and left just like any other. */
TEST_F(hostile, close_while_broken)
{
	struct vd *d = &self->r.d;

	head_far_out(self);
	vd_kick_always(self->q);
	ASSERT_EQ(1, vd_poll_fd(self->q->err, VD_WAIT_MS));
	vd_close(d);
	ASSERT_EQ(0, vd_start(d, self->r.name, &opts));
	EXPECT_EQ(0xf, vd_status(d));
	EXPECT_EQ(VD_OK, works(d));
}

TEST_HARNESS_MAIN
