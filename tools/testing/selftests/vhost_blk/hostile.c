// SPDX-License-Identifier: GPL-2.0
/* Rings no honest driver writes: the device ends in error, everything else goes on, a reset heals. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk_inflight.h"
#include "kselftest_harness.h"

#define DISK	(8 << 20)
#define IOVA	0x100000
#define RING	64
#define RO_AT	0x40000000ULL	/* a page mapped for reading */
#define WO_AT	0x50000000ULL	/* and one for writing */
#define END_AT	0x60001000ULL	/* the first byte behind a mapped page */
#define NOWHERE	0x7000000000ULL

/* A device to be broken, and one with the other layout that must not notice. */
FIXTURE(hostile) {
	struct vd_rig r, other;
	struct vd_queue *q;
	__u64 buf;		/* a header at 0, a status at 64, data from 4096 on, a table from 65536 on */
	__u8 *p;
	int kmsg;
	__u32 round;
	/* the buffer in the making: descriptors and a table as in a split ring */
	struct vd_desc d[RING], t[VD_MAX_NUM + 1];
	unsigned int nd, nt;
	__u16 head;		/* or id */
	bool pushed;
};

FIXTURE_VARIANT(hostile) {
	bool packed;
	enum vd_backing_kind kind;
};

FIXTURE_VARIANT_ADD(hostile, split) { false, VD_NULLB512 };
FIXTURE_VARIANT_ADD(hostile, packed) { true, VD_NULLB512 };

typedef FIXTURE_DATA(hostile) hx;

static const struct vd_config both_layouts = { .packed = true };

static struct vd_opts options(bool packed)
{
	return (struct vd_opts){
		.iova = IOVA, .num = RING, .mem_size = 4 << 20, .drop_features = packed ? 0 : VD_F_PACKED,
	};
}

static int extra_maps(struct vd *d)
{
	int a = vd_msg(d, VHOST_IOTLB_UPDATE, RO_AT, 4096, d->mem[0].va, VHOST_ACCESS_RO);
	int b = vd_msg(d, VHOST_IOTLB_UPDATE, WO_AT, 4096, d->mem[0].va, VHOST_ACCESS_WO);
	int c = vd_msg(d, VHOST_IOTLB_UPDATE, END_AT - 4096, 4096, d->mem[0].va, VHOST_ACCESS_RW);

	return a == 72 && b == 72 && c == 72 ? 0 : -EIO;
}

static int hx_make(hx *x, bool packed, enum vd_backing_kind kind)
{
	struct vd_opts mine = options(packed), others = options(!packed);
	int ret = vd_rig_make(&x->r, kind, DISK, &both_layouts, &mine) ?:
		  vd_rig_make(&x->other, VD_NULLB512, DISK, &both_layouts, &others);

	if (ret)
		return ret;
	x->q = x->r.d.q[0];
	x->buf = vd_alloc(&x->r.d, 256 << 10, 4096);
	x->p = vd_ptr(&x->r.d, x->buf);
	x->kmsg = vd_kmsg_open();
	return x->kmsg < 0 ? -EIO : extra_maps(&x->r.d);
}

FIXTURE_SETUP(hostile)
{
	ASSERT_EQ(0, hx_make(self, variant->packed, variant->kind));
}

FIXTURE_TEARDOWN_PARENT(hostile)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
	EXPECT_EQ(0, vd_rig_free(&self->other));
}

static bool is_packed(const hx *x)
{
	return x->q->ops == &vd_packed_ops;
}

#define N	VD_DESC_NEXT
#define W	VD_DESC_WRITE
#define I	VD_DESC_INDIRECT
#define HDR	(x->buf)
#define STATUS	(x->buf + 64)
#define DATA	(x->buf + 4096)
#define TABLE	(x->buf + 65536)

static struct vd_desc desc(__u64 addr, __u32 len, __u16 flags, __u16 next)
{
	return (struct vd_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

/* A good IN, to be spoilt. */
static void good(hx *x)
{
	*(struct vd_hdr *)x->p = (struct vd_hdr){ .type = VD_T_IN };
	x->d[0] = desc(HDR, 16, N, 1);
	x->d[1] = desc(DATA, 4096, N | W, 2);
	x->d[2] = desc(STATUS, 1, W, 0);
	x->nd = 3;
	x->nt = 0;
	x->head = 0;
	x->pushed = false;
}

/* The same in a table of three. */
static void good_table(hx *x)
{
	good(x);
	memcpy(x->t, x->d, 3 * sizeof(*x->t));
	x->d[0] = desc(TABLE, 48, I, 0);
	x->nd = 1;
	x->nt = 3;
}

/* Makes it available as it stands. */
static void push(hx *x)
{
	struct vring_packed_desc *packed = (void *)(x->p + 65536);
	unsigned int i;

	if (!is_packed(x)) {
		memcpy(packed, x->t, x->nt * sizeof(*x->t));
		memcpy(x->q->desc, x->d, x->nd * sizeof(*x->d));
		vd_push_head(x->q, x->head);
		return;
	}
	for (i = 0; i < x->nt; i++)
		packed[i] = (struct vring_packed_desc){
			.addr = x->t[i].addr, .len = x->t[i].len, .flags = x->t[i].flags,
		};
	vd_push_descs(x->q, x->d, x->nd, x->head);
}

/* Ways to spoil it; @i, @v: which, and what. */
static void addr(hx *x, unsigned int i, __u64 v) { x->d[i].addr = v; }
static void len(hx *x, unsigned int i, __u64 v) { x->d[i].len = v; }
static void next(hx *x, unsigned int i, __u64 v) { x->d[i].flags |= N; x->d[i].next = v; }
static void head(hx *x, unsigned int i, __u64 v) { x->head = v; }
static void table_addr(hx *x, unsigned int i, __u64 v) { good_table(x); x->d[0].addr = v; }
static void table_len(hx *x, unsigned int i, __u64 v) { good_table(x); x->d[0].len = v; }
static void table_next(hx *x, unsigned int i, __u64 v) { good_table(x); x->t[i].next = v; }
static void table_nested(hx *x, unsigned int i, __u64 v) { good_table(x); x->t[1] = desc(TABLE, 48, I | N, 2); }
static void table_and_next(hx *x, unsigned int i, __u64 v) { good_table(x); x->d[0].flags |= N; x->d[0].next = 1; }
static void no_status(hx *x, unsigned int i, __u64 v) { x->d[i].flags = 0; x->nd = i + 1; }

/* The chain ends where it does, but starts behind the header. */
static void no_header(hx *x, unsigned int i, __u64 v)
{
	x->d[0] = desc(DATA, 4096, N | W, 1);
	x->d[1] = x->d[2];
	x->nd = 2;
}

static void out_from_write_only(hx *x, unsigned int i, __u64 v)
{
	((struct vd_hdr *)x->p)->type = VD_T_OUT;
	x->d[1] = desc(WO_AT, 512, N, 2);
}

static void data_wraps(hx *x, unsigned int i, __u64 v)
{
	x->d[1].addr = -v;
	x->d[1].len = v + i;
}

/* More than 2^32 - 1 bytes, though no descriptor has. */
static void lengths_overflow(hx *x, unsigned int i, __u64 v)
{
	for (i = 1; i < 4; i++)
		x->d[i] = desc(DATA, 0x80000000, N | W, i + 1);
	x->d[4] = desc(STATUS, 1, W, 0);
	x->nd = 5;
}

static void readable_behind_writable(hx *x, unsigned int i, __u64 v)
{
	x->d[2] = desc(DATA + 4096, 512, N, 3);
	x->d[3] = desc(STATUS, 1, W, 0);
	x->nd = 4;
}

/*
 * A table may have more entries than the ring, as stock drivers make them; not more than the largest ring. @i: entry of the
 * table where the data begins, 1 if the header is in it.
 */
static void too_long(hx *x, unsigned int i, __u64 v)
{
	if (i) {
		good_table(x);
	} else {
		x->d[1] = desc(TABLE, 0, I, 0);
		x->nd = 2;
	}
	for (; i < VD_MAX_NUM; i++)
		x->t[i] = desc(DATA, 512, N | W, i + 1);
	x->t[i] = desc(STATUS, 1, W, 0);
	x->nt = i + 1;
	x->d[x->nd - 1].len = x->nt * sizeof(*x->t);
}

static void avail_runs(hx *x, unsigned int i, __u64 v)
{
	memcpy(x->q->desc, x->d, 3 * sizeof(*x->d));
	x->q->avail_idx += v;
	__atomic_store_n(&x->q->avail->idx, x->q->avail_idx, __ATOMIC_RELEASE);
	x->pushed = true;
}

/* The second descriptor of three is not the driver's to give; nobody looks before the kick. */
static void flags_of_second(hx *x, unsigned int i, __u64 v)
{
	push(x);
	x->q->ring[(x->q->put.slot + RING - 2) % RING].flags = v;
	x->pushed = true;
}

/* As many as there are, and then the first again. */
static void whole_ring(hx *x, unsigned int i, __u64 v)
{
	for (i = 1; i < RING; i++)
		x->d[i] = desc(DATA, 512, N | W, 0);
	x->nd = RING;
}

#define SPLIT	1
#define PACKED	2
#define BOTH	3

static const struct row {
	const char *name;
	int layouts;
	void (*spoil)(hx *x, unsigned int i, __u64 v);
	unsigned int i;
	__u64 v;
} rows[] = {
	{ "head_out_of_range", SPLIT, head, 0, RING },
	{ "head_far_out", SPLIT, head, 0, 0xffff },
	{ "next_out_of_range", SPLIT, next, 1, RING },
	{ "next_far_out", SPLIT, next, 0, 0xffff },
	{ "loop_of_two", SPLIT, next, 1, 0 },
	{ "loop_on_itself", SPLIT, next, 0, 0 },
	{ "loop_at_the_end", SPLIT, next, 2, 2 },
	{ "too_long", BOTH, too_long, 1 },
	{ "too_long_mixed", SPLIT, too_long, 0 },
	{ "header_unmapped", BOTH, addr, 0, NOWHERE },
	{ "data_unmapped", BOTH, addr, 1, NOWHERE },
	{ "status_unmapped", BOTH, addr, 2, NOWHERE },
	{ "header_half_mapped", BOTH, addr, 0, END_AT - 8 },
	{ "data_half_mapped", BOTH, addr, 1, END_AT - 512 },
	{ "status_behind_end", BOTH, addr, 2, END_AT },
	{ "in_to_read_only", BOTH, addr, 1, RO_AT },
	{ "status_read_only", BOTH, addr, 2, RO_AT },
	{ "header_write_only", BOTH, addr, 0, WO_AT },
	{ "out_from_write_only", BOTH, out_from_write_only },
	{ "header_wraps", BOTH, addr, 0, ~0ULL - 7 },
	{ "length_wraps", BOTH, data_wraps, 3584, 512 },
	{ "length_wraps_to_ring", BOTH, data_wraps, IOVA + 0x1000, 0x1000 },
	{ "length_all_ones", BOTH, len, 1, 0xffffffff },
	{ "lengths_overflow", BOTH, lengths_overflow },
	{ "readable_behind_writable", BOTH, readable_behind_writable },
	{ "table_odd_size", BOTH, table_len, 0, 47 },
	{ "table_half_entry", BOTH, table_len, 0, 8 },
	{ "table_empty", BOTH, table_len, 0, 0 },
	{ "table_huge", BOTH, table_len, 0, 0xfffffff0 },
	{ "table_unmapped", BOTH, table_addr, 0, NOWHERE },
	{ "table_half_mapped", BOTH, table_addr, 0, END_AT - 16 },
	{ "table_write_only", BOTH, table_addr, 0, WO_AT },
	{ "table_nested", SPLIT, table_nested },
	{ "table_next_out", SPLIT, table_next, 1, 3 },
	{ "table_loop", SPLIT, table_next, 1, 0 },
	{ "table_and_next", BOTH, table_and_next },
	{ "avail_runaway_by_one", SPLIT, avail_runs, 0, RING + 1 },
	{ "avail_runaway_far", SPLIT, avail_runs, 0, 0x8000 },
	{ "avail_goes_back", SPLIT, avail_runs, 0, 0xffff },
	{ "id_out_of_range", PACKED, head, 0, RING },
	{ "id_far_out", PACKED, head, 0, 0xffff },
	{ "second_not_available", PACKED, flags_of_second, 0, N | W },
	{ "second_used", PACKED, flags_of_second, 0, N | W | VD_PACKED_AVAIL | VD_PACKED_USED },
	{ "second_of_last_lap", PACKED, flags_of_second, 0, N | W | VD_PACKED_USED },
	{ "second_is_a_table", PACKED, flags_of_second, 0, N | I | VD_PACKED_AVAIL },
	{ "chain_without_end", PACKED, whole_ring },
	{ "short_header", BOTH, len, 0, 15 },
	{ "no_header", BOTH, no_header },
	{ "no_status", BOTH, no_status, 0 },
	{ "no_status_after_data", BOTH, no_status, 1 },
};

static const struct row *row(const char *name)
{
	unsigned int i;

	for (i = 0; strcmp(rows[i].name, name); i++)
		;
	return &rows[i];
}

static void spoil(hx *x, const struct row *r)
{
	good(x);
	r->spoil(x, r->i, r->v);
	if (!x->pushed)
		push(x);
	vd_kick_always(x->q);
}

#undef N
#undef W
#undef I

/* Written, read back, and compared. */
static int works(struct vd *d, __u32 seed)
{
	__u64 at = IOVA + 0x200000, sector = seed % 1000 * 8;
	__u8 *p = vd_ptr(d, at);
	int ret;

	vd_fill(p, 4096, sector, seed);
	ret = vd_rw(d->q[0], VD_T_OUT, sector, at, 4096);
	if (ret)
		return ret;
	memset(p, 0, 4096);
	return vd_rw(d->q[0], VD_T_IN, sector, at, 4096) ?: vd_check(p, 4096, sector, seed) == -1 ? 0 : -EBADMSG;
}

static int heal(hx *x)
{
	return vd_reset(&x->r.d) ?: vd_restart(&x->r.d) ?: (extra_maps(&x->r.d), works(&x->r.d, ++x->round));
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

		if (!(rows[i].layouts & (variant->packed ? PACKED : SPLIT)))
			continue;
		ASSERT_EQ(0, vd_qinfo(d, 0, &before));
		spoil(self, &rows[i]);
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
		EXPECT_EQ(0, works(&self->other.d, i)) TH_LOG("%s: the other device", name);
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
	good(self);
	self->head = RING + 1;
	if (variant->packed)
		push(self);
	else
		vd_push_head(self->q, RING + 1);
	vd_kick_always(self->q);
	EXPECT_EQ(0, vd_wait(self->q, ARRAY_SIZE(heads), VD_WAIT_MS));
	for (i = 0; i < ARRAY_SIZE(heads); i++) {
		EXPECT_EQ(VD_OK, vd_slot_status(self->q, heads[i]));
	}
	EXPECT_EQ(1, vd_poll_fd(self->q->err, VD_WAIT_MS));
	ASSERT_EQ(0, heal(self));
}

/* One by hand, that should be answered. */
static void push_good(hx *x)
{
	vd_book(x->q, x->head);
	x->q->chain[x->head] = is_packed(x) ? x->nd : 0;
	push(x);
	vd_kick_always(x->q);
}

/* Odd, and either served or refused; the guest's memory elsewhere stays as it was. */
TEST_F(hostile, odd_but_harmless)
{
	struct vd_desc *d = self->d;
	unsigned int i;
	long end;
	int ret;

	for (i = 0; i < 4; i++) {
		good(self);
		switch (i) {
		case 0:		/* an empty descriptor in between */
			d[1].len = 0;
			break;
		case 1:		/* unknown flags */
			d[1].flags |= 0x4000 | 0x40;
			break;
		case 2:		/* data on top of the rings */
			d[1].addr = self->q->used_iova & ~4095ULL;
			d[1].len = 512;
			d[1].flags = VD_DESC_NEXT;
			((struct vd_hdr *)self->p)->type = VD_T_OUT;
			break;
		case 3:		/* the status on top of the header */
			d[2].addr = self->buf;
			break;
		}
		push_good(self);
		end = vd_now_ms() + VD_WAIT_MS;
		do {
			ret = vd_wait(self->q, 1, 10);
		} while (ret && !(vd_status(&self->r.d) & VD_S_NEEDS_RESET) && vd_now_ms() < end);
		if (ret) {
			EXPECT_EQ(VD_S_NEEDS_RESET, vd_status(&self->r.d) & VD_S_NEEDS_RESET) TH_LOG("case %u", i);
		}
		EXPECT_EQ(0, works(&self->other.d, i));
		ASSERT_EQ(0, heal(self)) TH_LOG("case %u", i);
	}
}

/* What says "writable" of a table says nothing: the device must not care. */
TEST_F(hostile, write_flag_of_a_table)
{
	good_table(self);
	self->d[0].flags |= VD_DESC_WRITE;
	push_good(self);
	EXPECT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	EXPECT_EQ(4097, self->q->used_len[0]);
	EXPECT_EQ(VD_OK, self->p[64]);
	EXPECT_EQ(0xf, vd_status(&self->r.d));
}

/* An indirect table where the driver did not take them. */
TEST_F(hostile, indirect_not_negotiated)
{
	struct vd *d = &self->r.d;
	__u64 drop = d->opts.drop_features;

	ASSERT_EQ(0, vd_reset(d));
	d->opts.drop_features |= VD_F_INDIRECT;
	ASSERT_EQ(0, vd_restart(d));
	good_table(self);
	push(self);
	vd_kick_always(self->q);
	EXPECT_EQ(1, vd_poll_fd(self->q->err, VD_WAIT_MS));
	EXPECT_EQ(0xf | VD_S_NEEDS_RESET, vd_status(d));
	d->opts.drop_features = drop;
	ASSERT_EQ(0, heal(self));
}

/* A broken queue can be closed, reset and left just like any other. */
TEST_F(hostile, close_while_broken)
{
	struct vd_opts o = options(variant->packed);
	struct vd *d = &self->r.d;

	spoil(self, row(variant->packed ? "id_far_out" : "head_far_out"));
	ASSERT_EQ(1, vd_poll_fd(self->q->err, VD_WAIT_MS));
	vd_close(d);
	ASSERT_EQ(0, vd_start(d, self->r.name, &o));
	EXPECT_EQ(0xf, vd_status(d));
	EXPECT_EQ(0, works(d, 1));
}

/* What the driver's event suppression may not say: requests are served, and at most a call is one too many. */
TEST_F(hostile, reserved_event_flags)
{
	static const __u16 junk[] = { 3, 0xfffc, 0xffff, 0x8003 };
	struct vd_queue *q = self->q;
	unsigned int i, k;

	for (i = 0; i < 2 * ARRAY_SIZE(junk); i++) {
		__u16 where = i < ARRAY_SIZE(junk) ? 0xffff : RING;

		if (variant->packed) {
			q->driver->off_wrap = where;
			__atomic_store_n(&q->driver->flags, junk[i % ARRAY_SIZE(junk)], __ATOMIC_RELEASE);
		} else {
			*vd_used_event(q) = where;
			__atomic_store_n(&q->avail->flags, junk[i % ARRAY_SIZE(junk)], __ATOMIC_RELEASE);
		}
		for (k = 0; k < 10; k++) {
			good(self);
			push_good(self);
			ASSERT_EQ(0, vd_spin(q, 1, VD_WAIT_MS)) TH_LOG("%#x", junk[i % ARRAY_SIZE(junk)]);
			EXPECT_EQ(VD_OK, self->p[64]);
		}
		/* 3 is neither of those that ask for none */
		if (variant->packed && (junk[i % ARRAY_SIZE(junk)] & 3) == 3) {
			EXPECT_EQ(1, vd_poll_fd(q->call, VD_WAIT_MS));
		}
	}
	EXPECT_EQ(0xf, vd_status(&self->r.d));
	EXPECT_EQ(0, works(&self->r.d, 1));
}

/* ---- rewritten while being read ---- */

struct scribe {
	hx *x;
	bool stop, flags_only;
	unsigned long writes;
	__u32 rnd;
};

static __u32 any(struct scribe *s, unsigned int below)
{
	s->rnd = s->rnd * 1103515245 + 12345;
	return (s->rnd >> 16) % below;
}

/* What is in descriptors, in every place where a descriptor has something. */
static void *scribble(void *arg)
{
	struct scribe *s = arg;
	hx *x = s->x;
	const __u64 addrs[] = { HDR, DATA, STATUS, TABLE, x->q->desc_iova, RO_AT, NOWHERE, ~0ULL };
	static const __u32 lens[] = { 0, 1, 16, 48, 512, 4096, 0x80000000, 0xfffffff0 };
	/* where the first ones of a round go */
	volatile struct vd_desc *ring = x->q->desc + (is_packed(x) ? x->q->put.slot : 0), *table = (void *)(x->p + 65536), *d;
	volatile __u16 *driver = (void *)x->q->avail;
	__u16 flags;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		d = any(s, 2) ? &ring[any(s, is_packed(x) ? 16 : 4)] : &table[any(s, 3)];
		/* packed: id in the place of flags, flags in the place of next */
		flags = any(s, 8) | (any(s, 4) << 7 & VD_PACKED_AVAIL) | (any(s, 4) << 15 & VD_PACKED_USED);
		switch (s->flags_only ? is_packed(x) ? 4 : 2 : any(s, 8)) {
		case 0:
			d->addr = addrs[any(s, 8)];
			break;
		case 1:
			d->len = lens[any(s, 8)];
			break;
		case 2:
		case 3:
			d->flags = is_packed(x) ? any(s, 4) : flags & 7;
			break;
		case 4:
		case 5:
			d->next = is_packed(x) ? flags : any(s, 4);
			break;
		case 6:
			*(volatile __u32 *)(x->p + any(s, 2) * 8) = any(s, 12);
			break;
		default:
			/* the event suppression structure; flags, index and heads of an available ring */
			driver[any(s, is_packed(x) ? 2 : RING + 3)] = any(s, 70);
		}
		s->writes++;
		if (!any(s, 64))
			sched_yield();
	}
	return NULL;
}

struct neighbour {
	struct vd *d;
	bool stop;
	unsigned int rounds;
	int ret;
};

static void *neighbour(void *arg)
{
	struct neighbour *n = arg;

	while (!n->ret && !__atomic_load_n(&n->stop, __ATOMIC_RELAXED))
		n->ret = works(n->d, ++n->rounds);
	return NULL;
}

static void against_a_scribe(struct __test_metadata *_metadata, hx *self, bool flags_only)
{
	struct neighbour n = { .d = &self->other.d };
	struct scribe s = { .x = self, .rnd = 7, .flags_only = flags_only };
	unsigned int i, k, breaks = 0;
	pthread_t threads[2];

	ASSERT_EQ(0, pthread_create(&threads[1], NULL, neighbour, &n));
	/* On a busy machine the scribe may not have had its turn. */
	for (i = 0; i < vd_rounds(32) || (!breaks && i < 256); i++) {
		s.stop = false;
		ASSERT_EQ(0, pthread_create(&threads[0], NULL, scribble, &s));
		for (k = 0; k < 50 && !(vd_status(&self->r.d) & VD_S_NEEDS_RESET); k++) {
			if (k & 1)
				good(self);
			else
				good_table(self);
			self->head = k % 4;
			push(self);
			vd_kick_always(self->q);
			sched_yield();
		}
		breaks += !!(vd_status(&self->r.d) & VD_S_NEEDS_RESET);
		__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
		pthread_join(threads[0], NULL);
		ASSERT_EQ(0, heal(self)) TH_LOG("round %u", i);
	}
	__atomic_store_n(&n.stop, true, __ATOMIC_RELAXED);
	pthread_join(threads[1], NULL);
	EXPECT_EQ(0, n.ret);
	EXPECT_LT(0, n.rounds);
	EXPECT_LT(0, breaks);
	EXPECT_LT(0, s.writes);
	k = vd_kmsg_count(self->kmsg, self->r.name);
	EXPECT_GE(3 * i, k) TH_LOG("%u lines in the log", k);
	TH_LOG("%lu writes, broken in %u of %u rounds; the other device: %u", s.writes, breaks, i, n.rounds);
}

TEST_F_TIMEOUT(hostile, flags_flapping, 120)
{
	against_a_scribe(_metadata, self, true);
}

TEST_F_TIMEOUT(hostile, rewritten, 120)
{
	against_a_scribe(_metadata, self, false);
}

/* ---- with requests that the disk keeps until it is thawed ---- */

FIXTURE(late) {
	hx x;
};

FIXTURE_VARIANT(late) {
	bool packed;
};

FIXTURE_VARIANT_ADD(late, split) { false };
FIXTURE_VARIANT_ADD(late, packed) { true };

FIXTURE_SETUP(late)
{
	ASSERT_EQ(0, hx_make(&self->x, variant->packed, VD_DM_WAIT));
}

FIXTURE_TEARDOWN_PARENT(late)
{
	EXPECT_EQ(0, vd_rig_free(&self->x.r));
	EXPECT_EQ(0, vd_rig_free(&self->x.other));
}

/* Broken, and yet what was taken is answered: @n of them. */
static void breaks_and_answers(struct __test_metadata *_metadata, hx *x, unsigned int n)
{
	struct vhost_inflight_queue_info info;
	struct vd *d = &x->r.d;

	EXPECT_EQ(1, vd_poll_fd(x->q->err, VD_WAIT_MS));
	EXPECT_EQ(0xf | VD_S_NEEDS_RESET, vd_status(d));
	EXPECT_EQ(0, works(&x->other.d, n));
	ASSERT_EQ(0, vd_backing_thaw(&x->r.b));
	EXPECT_EQ(0, vd_spin(x->q, n, VD_WAIT_MS));
	EXPECT_EQ(VD_OK, x->p[64]);
	ASSERT_EQ(0, vd_qinfo(d, 0, &info));
	EXPECT_EQ(0, info.depth);
	EXPECT_EQ(-EAGAIN, vd_reap(x->q));
	EXPECT_EQ(0, x->q->bad_used);
	ASSERT_EQ(0, heal(x));
}

/* Its head, or its id, is in use: in the same turn, or while the disk has it. */
TEST_F(late, same_head_twice)
{
	struct vhost_inflight_request req;
	hx *x = &self->x;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, vd_backing_freeze(&x->r.b));
		good(x);
		push_good(x);
		if (i) {
			ASSERT_EQ(0, vd_settled(&x->r.d, 0, &req, 1, VHOST_INFLIGHT_REQUEST_SUBMITTED));
		}
		push(x);
		vd_kick_always(x->q);
		breaks_and_answers(_metadata, x, 1);
	}
}

/* One more than there is room for: the driver passes the device, a lap ahead. */
TEST_F(late, runaway)
{
	struct vhost_inflight_request req[RING];
	hx *x = &self->x;
	unsigned int i;

	ASSERT_EQ(0, vd_backing_freeze(&x->r.b));
	/* all with the same table, in a split ring from a descriptor of their own */
	good_table(x);
	for (i = 0; i < RING; i++) {
		x->d[i] = x->d[0];
		x->nd = variant->packed ? 1 : i + 1;
		x->head = i;
		vd_book(x->q, i);
		x->q->chain[i] = variant->packed;
		push(x);
	}
	vd_kick_always(x->q);
	ASSERT_EQ(0, vd_settled(&x->r.d, 0, req, RING, VHOST_INFLIGHT_REQUEST_SUBMITTED));
	x->head = 0;
	push(x);
	vd_kick_always(x->q);
	breaks_and_answers(_metadata, x, RING);
}

TEST_HARNESS_MAIN
