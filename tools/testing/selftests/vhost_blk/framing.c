// SPDX-License-Identifier: GPL-2.0
/*
 * A request is a stream of readable bytes and one of writable bytes; where descriptors begin and end in them says nothing.
 * Header, data and status are cut everywhere here, in memory that lies together or all over the place.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define MEM	(32 << 20)
#define AREA	(6 << 20)
#define IOVA	0x100000
#define HDR	16
#define CANARY	0x5a

FIXTURE(framing) {
	struct vd_rig r;
	struct vd_queue *q;
	__u32 bs;
	__u32 align;		/* the bits that addresses the disk takes don't have */
	bool zeroes;		/* null_blk since 6.19 reads these from the middle of a block of 4096 */
	__u64 area;
	__u8 *p, *seen;
};

FIXTURE_VARIANT(framing) {
	enum vd_backing_kind kind;
	enum vd_chain how;
	bool no_event_idx;
};

FIXTURE_VARIANT_ADD(framing, nullb512_direct) { VD_NULLB512, VD_DIRECT, false };
FIXTURE_VARIANT_ADD(framing, nullb512_indirect) { VD_NULLB512, VD_INDIRECT, true };
FIXTURE_VARIANT_ADD(framing, nullb4096_direct) { VD_NULLB4096, VD_DIRECT, true };
FIXTURE_VARIANT_ADD(framing, nullb4096_mixed) { VD_NULLB4096, VD_MIXED, false };
FIXTURE_VARIANT_ADD(framing, loop4096_indirect) { VD_LOOP4096, VD_INDIRECT, false };
FIXTURE_VARIANT_ADD(framing, ext4_indirect) { VD_EXT4, VD_INDIRECT, false };
FIXTURE_VARIANT_ADD(framing, tmpfs_direct) { VD_TMPFS, VD_DIRECT, false };

FIXTURE_SETUP(framing)
{
	struct vd_config c = { .queue_size = 1024 };
	struct vd_opts o = {
		.iova = IOVA,
		.mem_size = MEM,
		.num = 1024,
		.drop_features = variant->no_event_idx ? VD_F_EVENT_IDX : 0,
	};
	struct vd_blk_config conf;
	char path[VD_PATH_LEN], text[32];

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, &c, &o));
	ASSERT_EQ(0, vd_get_config(&self->r.d, 0, &conf, sizeof(conf)));
	self->bs = conf.blk_size;
	if (self->r.b.block) {
		snprintf(path, sizeof(path), "/sys/block/%s/queue/dma_alignment", strrchr(self->r.b.path, '/') + 1);
		ASSERT_LT(0, vd_read_file(path, text, sizeof(text)));
		self->align = strtoul(text, NULL, 10);
	}
	self->zeroes = variant->kind == VD_NULLB4096 && self->align < 511;
	self->q = self->r.d.q[0];
	self->area = vd_alloc(&self->r.d, AREA, 4096);
	self->p = vd_ptr(&self->r.d, self->area);
	self->seen = malloc(AREA);
}

FIXTURE_TEARDOWN_PARENT(framing)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

enum cut {
	ONCE,		/* header, data and writable part each once, @at bytes after their start */
	FROM_END,	/* the readable and the writable part each once, @at bytes before their end */
	EVERY,		/* every @at bytes, across all borders */
	HDR_BYTES,	/* the header byte by byte, data every @at, status with the last of the data */
	NR_CUTS,
};

static const char * const cut_name[] = { "once", "from end", "every", "header bytes" };

/* Is there a cut at byte @i of a part of @total bytes, the header being its first @hdr ones? */
static bool cut_here(enum cut cut, __u32 at, __u32 i, __u32 total, __u32 hdr)
{
	switch (cut) {
	case ONCE:
		return i == at || i == hdr || i == hdr + at;
	case FROM_END:
		return i + at == total;
	case EVERY:
		return i % at == 0;
	default:
		return i <= hdr || (i - hdr) % at == 0;
	}
}

struct frame {
	struct vd_buf b[VD_MAX_NUM];
	unsigned int n;
	__u64 next;		/* where the next piece may lie */
};

/* Cut @total bytes into pieces and give each a place: behind the one before, or somewhere of its own. */
static void frame_part(struct frame *f, enum cut cut, __u32 at, __u32 total, __u32 hdr, bool write, bool spread)
{
	__u32 i, from = 0;

	for (i = 1; i <= total && f->n < VD_MAX_NUM - 1; i++) {
		if (i < total && !cut_here(cut, at, i, total, hdr))
			continue;
		if (spread)
			f->next += 37 + f->n % 5 * 64;
		f->b[f->n++] = (struct vd_buf){ f->next, i - from, write };
		f->next += i - from;
		from = i;
	}
}

/* Copy between a flat buffer and the bytes that @b stands for. */
static void frame_copy(struct vd *d, const struct frame *f, bool write, void *flat, __u32 skip, __u32 len, bool to_guest)
{
	__u32 pos = 0, i, k;

	for (i = 0; i < f->n; i++) {
		__u8 *g = vd_ptr(d, f->b[i].addr);

		if (f->b[i].write != write)
			continue;
		for (k = 0; k < f->b[i].len; k++, pos++) {
			if (pos < skip || pos >= skip + len)
				continue;
			if (to_guest)
				g[k] = ((__u8 *)flat)[pos - skip];
			else
				((__u8 *)flat)[pos - skip] = g[k];
		}
	}
}

/* One request of @len bytes so framed; 0, or the number of what was wrong. */
static int try(FIXTURE_DATA(framing) *self, enum vd_chain how, __u32 type, enum cut cut, __u32 at, __u32 len,
	       bool spread, __u64 base, unsigned int *segs)
{
	struct vd_hdr hdr = { .type = type, .sector = 64 };
	__u8 status = VD_NO_STATUS, *data = self->seen + AREA / 2;
	static struct frame f;
	struct vd *d = &self->r.d;
	__u32 seed = at * 31 + cut * 7 + len + type + how;
	__u64 end;
	int head;

	f.n = 0;
	f.next = base;
	frame_part(&f, cut, at, HDR + (type == VD_T_OUT ? len : 0), HDR, false, spread);
	frame_part(&f, cut, at, 1 + (type == VD_T_IN ? len : 0), 0, true, spread);
	*segs = f.n;
	if (f.n >= VD_MAX_NUM - 2)
		return 0;
	end = f.next;
	if (end + 64 > self->area + AREA)
		return 1;
	memset(vd_ptr(d, self->area), CANARY, end + 64 - self->area);
	vd_fill(data, len, 64 * 512, seed);
	frame_copy(d, &f, false, &hdr, 0, HDR, true);
	frame_copy(d, &f, true, &status, type == VD_T_IN ? len : 0, 1, true);
	if (type == VD_T_OUT) {
		frame_copy(d, &f, false, data, HDR, len, true);
	} else if (vd_backing_write(&self->r.b, 64 * 512, data, len)) {
		return 2;
	}
	head = vd_add(self->q, f.b, f.n, how);
	if (head < 0)
		return 3;
	vd_kick(self->q);
	if (vd_wait(self->q, 1, VD_WAIT_MS))
		return 4;
	frame_copy(d, &f, true, &status, type == VD_T_IN ? len : 0, 1, false);
	if (status != VD_OK)
		return 5;
	if (self->q->used_len[head] != (type == VD_T_IN ? len + 1 : 1))
		return 6;
	memset(data, 0, len);
	if (type == VD_T_OUT) {
		if (vd_backing_read(&self->r.b, 64 * 512, data, len))
			return 7;
	} else {
		frame_copy(d, &f, true, data, 0, len, false);
	}
	if (!(type == VD_T_IN && self->zeroes) && vd_check(data, len, 64 * 512, seed) >= 0)
		return 8;
	/* nothing around it was touched: take out what belongs to it, then all the rest must be canary */
	memset(data, CANARY, len + HDR + 1);
	frame_copy(d, &f, false, data, 0, ~0U, true);
	frame_copy(d, &f, true, data, 0, ~0U, true);
	for (; end + 64 > base; base++) {
		if (*(__u8 *)vd_ptr(d, base) != CANARY)
			return 9;
	}
	return 0;
}

static const char * const why[] = {
	"fine", "area too small", "backing write", "no room in the ring", "no answer", "status", "used length",
	"backing read", "data differs", "memory around it was written",
};

static void all_cuts(struct __test_metadata *_metadata, FIXTURE_DATA(framing) *self, enum vd_chain how, __u32 at)
{
	__u32 lens[] = { self->bs, 3 * self->bs, 16384 };
	unsigned int segs, cut, l, spread, done = 0;
	__u32 type;
	int ret;

	for (cut = 0; cut < NR_CUTS; cut++) {
		for (l = 0; l < ARRAY_SIZE(lens); l++) {
			for (type = VD_T_IN; type <= VD_T_OUT; type++) {
				for (spread = 0; spread < 2; spread++) {
					ret = try(self, how, type, cut, at, lens[l], spread, self->area + 64, &segs);
					done += segs < VD_MAX_NUM - 2;
					EXPECT_EQ(0, ret) {
						TH_LOG("%s %u, cut %s %u, %s, %u pieces: %s",
						       type ? "OUT" : "IN", lens[l], cut_name[cut], at,
						       spread ? "spread" : "together", segs, why[ret]);
					}
					if (ret == 4)
						return;
				}
			}
		}
	}
	EXPECT_LE(24, done);
}

TEST_F_TIMEOUT(framing, cut_1, 60)
{
	all_cuts(_metadata, self, variant->how, 1);
}

TEST_F_TIMEOUT(framing, cut_511, 60)
{
	all_cuts(_metadata, self, variant->how, 511);
}

TEST_F_TIMEOUT(framing, cut_513, 60)
{
	all_cuts(_metadata, self, variant->how, 513);
}

TEST_F_TIMEOUT(framing, cut_4095, 60)
{
	all_cuts(_metadata, self, variant->how, 4095);
}

/* Data at every odd address: fine everywhere, through a bounce buffer where the disk needs one, and counted. */
TEST_F(framing, misaligned_addresses)
{
	static const __u32 offs[] = { 0, 1, 2, 3, 4, 8, 16, 64, 100, 256, 511, 512, 513, 1024, 4095 };
	struct vhost_inflight_queue_info before, after;
	struct vd *d = &self->r.d;
	unsigned int i;
	__u32 type;

	for (i = 0; i < ARRAY_SIZE(offs); i++) {
		/* null_blk says that it can do this, and up to 6.18 writes behind its pages then */
		if (variant->kind == VD_NULLB4096 && offs[i] && !(offs[i] & self->align))
			continue;
		for (type = VD_T_IN; type <= VD_T_OUT; type++) {
			__u64 at = self->area + offs[i];
			__u8 *p = vd_ptr(d, at);
			__u32 len = 8192;

			ASSERT_EQ(0, vd_qinfo(d, 0, &before));
			memset(self->p, CANARY, 4 * 8192);
			vd_fill(self->seen, len, 0, i + type);
			if (type == VD_T_IN) {
				ASSERT_EQ(0, vd_backing_write(&self->r.b, 0, self->seen, len));
			} else {
				memcpy(p, self->seen, len);
			}
			EXPECT_EQ(VD_OK, vd_rw(self->q, type, 0, at, len)) TH_LOG("type %u at %u", type, offs[i]);
			memset(self->seen, 0, len);
			if (type == VD_T_OUT) {
				ASSERT_EQ(0, vd_backing_read(&self->r.b, 0, self->seen, len));
			} else {
				memcpy(self->seen, p, len);
				EXPECT_EQ(CANARY, p[len]);
				if (offs[i]) {
					EXPECT_EQ(CANARY, p[-1]);
				}
			}
			EXPECT_EQ(-1, vd_check(self->seen, len, 0, i + type)) TH_LOG("type %u at %u", type, offs[i]);
			ASSERT_EQ(0, vd_qinfo(d, 0, &after));
			if (self->r.b.block) {
				EXPECT_EQ(before.bounced + (offs[i] & self->align ? 1 : 0), after.bounced) {
					TH_LOG("type %u at %u", type, offs[i]);
				}
			}
		}
	}
}

/* Segments that are no whole blocks, aligned or not: bounced once each. */
TEST_F(framing, bounced_is_counted)
{
	struct vhost_inflight_queue_info before, after;
	struct vd_buf b[3] = {
		{ self->area, self->bs / 2, false },
		{ self->area + 8192, self->bs, false },
		{ self->area + 16384, self->bs / 2, false },
	};
	struct vd *d = &self->r.d;

	/* what a file needs is the filesystem's to say */
	if (!self->r.b.block)
		return;
	ASSERT_EQ(0, vd_qinfo(d, 0, &before));
	EXPECT_EQ(VD_OK, vd_do(self->q, VD_T_OUT, 0, b, 3, variant->how));
	ASSERT_EQ(0, vd_qinfo(d, 0, &after));
	EXPECT_EQ(before.bounced + 1, after.bounced);
	EXPECT_EQ(VD_OK, vd_rw(self->q, VD_T_OUT, 0, self->area, 65536));
	EXPECT_EQ(VD_OK, vd_do(self->q, VD_T_FLUSH, 0, NULL, 0, variant->how));
	ASSERT_EQ(0, vd_qinfo(d, 0, &after));
	EXPECT_EQ(before.bounced + 1, after.bounced);
}

/* More at once than any pool holds: they wait for each other, and none fails. */
TEST_F_TIMEOUT(framing, bounce_pool_is_bounded, 60)
{
	struct vhost_inflight_info info;
	struct vd *d = &self->r.d;
	unsigned int n = 0, i;

	vd_fill(self->p + 1, 4 << 20, 0, 8);
	for (i = 0; i < 64; i++) {
		struct vd_buf b = { self->area + 1 + i * 65536, 65536, false };

		if (vd_submit(self->q, VD_T_OUT, i * 128, &b, 1, variant->how) < 0)
			break;
		n++;
	}
	vd_kick(self->q);
	ASSERT_EQ(0, vd_wait(self->q, n, VD_WAIT_MS));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, vd_backing_read(&self->r.b, i * 65536, self->seen, 65536));
		ASSERT_EQ(-1, vd_check(self->seen, 65536, i * 65536, 8)) TH_LOG("request %u", i);
	}
	/* one request that is larger than the pool */
	ASSERT_EQ(VD_OK, vd_rw(self->q, VD_T_IN, 0, self->area + 1, 4 << 20));
	EXPECT_EQ(-1, vd_check(self->p + 1, 4 << 20, 0, 8));
	ASSERT_EQ(0, vd_info(d, &info));
	EXPECT_EQ(0, info.bounce_busy);
	if (self->r.b.block) {
		EXPECT_LT(0, info.bounce_total);
	}
}

TEST_HARNESS_MAIN
