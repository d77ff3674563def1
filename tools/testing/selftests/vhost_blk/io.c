// SPDX-License-Identifier: GPL-2.0
/* Requests that work, on every kind of backing, with the data checked through another path. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(32 << 20)
#define BUF	(1 << 20)

FIXTURE(io) {
	struct vd_rig r;
	struct vd_queue *q;
	struct vd_blk_config c;
	__u64 buf;
	__u8 *p;
	__u8 *seen;
};

FIXTURE_VARIANT(io) {
	enum vd_backing_kind kind;
	enum vd_chain how;
	bool no_event_idx, polled, msg_v1;
	__u64 iova;
};

FIXTURE_VARIANT_ADD(io, nullb512_direct) { .kind = VD_NULLB512, .iova = 0x100000 };
FIXTURE_VARIANT_ADD(io, nullb512_indirect) { .kind = VD_NULLB512, .how = VD_INDIRECT, .iova = 1ULL << 40 };
FIXTURE_VARIANT_ADD(io, nullb512_plain) { .kind = VD_NULLB512, .no_event_idx = true, .msg_v1 = true };
FIXTURE_VARIANT_ADD(io, nullb512_polled) { .kind = VD_NULLB512, .how = VD_INDIRECT, .polled = true };
FIXTURE_VARIANT_ADD(io, nullb4096_mixed) { .kind = VD_NULLB4096, .how = VD_MIXED };
FIXTURE_VARIANT_ADD(io, nullb4096_plain) { .kind = VD_NULLB4096, .no_event_idx = true };
FIXTURE_VARIANT_ADD(io, ext4_direct) { .kind = VD_EXT4 };
FIXTURE_VARIANT_ADD(io, ext4_indirect) { .kind = VD_EXT4, .how = VD_INDIRECT, .no_event_idx = true };
FIXTURE_VARIANT_ADD(io, tmpfs_mixed) { .kind = VD_TMPFS, .how = VD_MIXED };

FIXTURE_SETUP(io)
{
	struct vd_config c = { .queue_size = 256, .serial = "io-test-serial" };
	struct vd_opts o = {
		.iova = variant->iova,
		.drop_features = variant->no_event_idx ? VD_F_EVENT_IDX : 0,
		.polled = variant->polled,
		.msg_v1 = variant->msg_v1,
	};
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, &c, &o));
	self->q = d->q[0];
	self->buf = vd_alloc(d, BUF, 4096);
	self->p = vd_ptr(d, self->buf);
	self->seen = malloc(BUF);
	ASSERT_EQ(0, vd_get_config(d, 0, &self->c, sizeof(self->c)));
}

FIXTURE_TEARDOWN_PARENT(io)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* As segments of @seg bytes */
static int rw(FIXTURE_DATA(io) *self, enum vd_chain how, __u32 type, __u64 sector, __u64 at, __u32 len, __u32 seg)
{
	struct vd_buf b[VD_MAX_NUM];
	unsigned int n = 0;
	__u32 done, now;

	for (done = 0; done < len; done += now) {
		now = len - done < seg ? len - done : seg;
		b[n++] = (struct vd_buf){ at + done, now, type == VD_T_IN };
	}
	return vd_do(self->q, type, sector, b, n, how);
}

TEST_F(io, config_space)
{
	const struct vd_blk_config *c = &self->c;
	struct vd *d = &self->r.d;
	struct vhost_inflight_info info;
	unsigned int i;

	ASSERT_EQ(0, vd_info(d, &info));
	EXPECT_EQ(DISK / 512, c->capacity);
	EXPECT_EQ(c->capacity, info.capacity);
	EXPECT_EQ(c->blk_size, info.logical_block_size);
	if (self->r.b.block) {
		EXPECT_EQ(self->r.b.lbs, c->blk_size);
	} else {
		EXPECT_EQ(0, c->blk_size % 512);
	}
	EXPECT_EQ(65536, c->size_max);
	EXPECT_EQ(254, c->seg_max);
	EXPECT_EQ(1, c->num_queues);
	EXPECT_EQ(0, c->unused0);
	EXPECT_EQ(0, c->unused1[0] | c->unused1[1] | c->unused1[2]);
	EXPECT_EQ(0, memcmp(c->geometry, "\0\0\0\0", 4));
	/* libblkio multiplies these as signed 32 bit */
	EXPECT_GT(1ULL << 31, (__u64)c->size_max * c->seg_max);
	EXPECT_NE(0, d->offered & VD_F_FLUSH);
	EXPECT_NE(0, d->offered & VD_F_BLK_SIZE);
	EXPECT_NE(0, d->offered & VD_F_SEG_MAX);
	EXPECT_NE(0, d->offered & VD_F_SIZE_MAX);
	EXPECT_NE(0, d->offered & VD_F_TOPOLOGY);
	EXPECT_NE(0, d->offered & VD_F_INDIRECT);
	EXPECT_NE(0, d->offered & VD_F_EVENT_IDX);
	EXPECT_EQ(0, d->offered & (VD_F_RO | VD_F_MQ | VD_F_SECURE_ERASE));
	if (d->offered & VD_F_DISCARD) {
		EXPECT_LT(0, c->max_discard_sectors);
		EXPECT_LT(0, c->max_discard_seg);
		EXPECT_LT(0, c->discard_sector_alignment);
	}
	if (d->offered & VD_F_WRITE_ZEROES) {
		EXPECT_LT(0, c->max_write_zeroes_sectors);
		EXPECT_LT(0, c->max_write_zeroes_seg);
		EXPECT_GE(1, c->write_zeroes_may_unmap);
	}
	/* byte by byte it is the same */
	for (i = 0; i < sizeof(*c); i++) {
		__u8 v;

		ASSERT_EQ(0, vd_get_config(d, i, &v, 1));
		EXPECT_EQ(((__u8 *)c)[i], v) TH_LOG("at %u", i);
	}
}

TEST_F(io, write_then_look)
{
	static const __u32 lens[] = { 1, 2, 3, 8, 16, 64, 128 };
	unsigned int i;
	__u32 seed = 1;
	__u64 off;

	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		__u32 len = lens[i] * self->c.blk_size;

		for (off = 0; ; off = off ? DISK - len : 7 * 4096) {
			vd_fill(self->p, len, off, ++seed);
			ASSERT_EQ(VD_OK, rw(self, variant->how, VD_T_OUT, off / 512, self->buf, len, 65536));
			ASSERT_EQ(0, vd_backing_read(&self->r.b, off, self->seen, len));
			ASSERT_EQ(-1, vd_check(self->seen, len, off, seed)) {
				TH_LOG("%u bytes at %llu", len, (unsigned long long)off);
			}
			if (off == DISK - len)
				break;
		}
	}
	EXPECT_EQ(0, self->q->bad_used);
}

TEST_F(io, read_what_was_put)
{
	static const __u32 segs[] = { 4096, 8192, 65536, 512 };
	unsigned int i;
	int head;

	for (i = 0; i < ARRAY_SIZE(segs); i++) {
		__u32 len = segs[i] == 512 ? 65536 : 16 * 4096;
		__u64 off = 100 * 4096 + i * 65536;

		vd_fill(self->seen, len, off, i);
		ASSERT_EQ(0, vd_backing_write(&self->r.b, off, self->seen, len));
		memset(self->p, 0x55, BUF);
		ASSERT_EQ(VD_OK, rw(self, variant->how, VD_T_IN, off / 512, self->buf, len, segs[i]));
		ASSERT_EQ(-1, vd_check(self->p, len, off, i));
		EXPECT_EQ(0x55, self->p[len]) TH_LOG("wrote behind the buffer");
	}
	/* used length: data and status; and only status where nothing is written to memory */
	head = vd_submit(self->q, VD_T_IN, 0, &(struct vd_buf){ self->buf, 4096, true }, 1, variant->how);
	vd_kick(self->q);
	ASSERT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	EXPECT_EQ(4097, self->q->used_len[head]);
	head = vd_submit(self->q, VD_T_OUT, 0, &(struct vd_buf){ self->buf, 4096, false }, 1, variant->how);
	vd_kick(self->q);
	ASSERT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	EXPECT_EQ(1, self->q->used_len[head]);
}

/* Segments from all over guest memory, in an order of their own. */
TEST_F(io, scattered)
{
	const unsigned int n = 60, seg = 4096;
	struct vd_buf b[60];
	unsigned int i;

	for (i = 0; i < n; i++) {
		__u64 page = (i * 37 + 5) % 61 * 2;	/* every other page, shuffled */

		b[i] = (struct vd_buf){ self->buf + page * seg, seg, false };
		vd_fill(vd_ptr(&self->r.d, b[i].addr), seg, i * seg, 77);
	}
	ASSERT_EQ(VD_OK, vd_do(self->q, VD_T_OUT, 8, b, n, variant->how));
	ASSERT_EQ(0, vd_backing_read(&self->r.b, 4096, self->seen, n * seg));
	ASSERT_EQ(-1, vd_check(self->seen, n * seg, 0, 77));
	memset(self->p, 0, BUF);
	for (i = 0; i < n; i++)
		b[i].write = true;
	ASSERT_EQ(VD_OK, vd_do(self->q, VD_T_IN, 8, b, n, variant->how));
	for (i = 0; i < n; i++) {
		ASSERT_EQ(-1, vd_check(vd_ptr(&self->r.d, b[i].addr), seg, i * seg, 77)) TH_LOG("segment %u", i);
	}
}

/* As many requests as the ring takes, one kick; several rounds, so that indexes go round the ring. */
TEST_F(io, full_ring)
{
	unsigned int n, i, round;

	for (round = 0; round < 5; round++) {
		vd_fill(self->p, BUF, 0, round);
		for (n = 0; n < 200; n++) {
			struct vd_buf b = { self->buf + n * 4096, 4096, false };

			if (vd_submit(self->q, VD_T_OUT, n * 8, &b, 1, variant->how) < 0)
				break;
		}
		ASSERT_LT(80, n);
		vd_kick(self->q);
		ASSERT_EQ(0, vd_wait(self->q, n, VD_WAIT_MS));
		EXPECT_EQ(self->q->num, self->q->nr_free);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(0, self->q->busy[i]);
		}
		ASSERT_EQ(0, vd_backing_read(&self->r.b, 0, self->seen, n * 4096));
		ASSERT_EQ(-1, vd_check(self->seen, n * 4096, 0, round)) TH_LOG("round %u", round);
	}
	EXPECT_EQ(0, self->q->bad_used);
}

TEST_F(io, flush_and_id)
{
	char id[24];
	int head;

	EXPECT_EQ(VD_OK, vd_do(self->q, VD_T_FLUSH, 0, NULL, 0, variant->how));
	memset(self->p, 0x55, 64);
	head = vd_submit(self->q, VD_T_GET_ID, 0, &(struct vd_buf){ self->buf, 20, true }, 1, variant->how);
	vd_kick(self->q);
	ASSERT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	EXPECT_EQ(VD_OK, vd_slot_status(self->q, head));
	EXPECT_EQ(21, self->q->used_len[head]);
	memset(id, 0, sizeof(id));
	strcpy(id, "io-test-serial");
	EXPECT_EQ(0, memcmp(id, self->p, 20));
	EXPECT_EQ(0x55, self->p[20]);
}

TEST_F(io, unknown_types)
{
	static const __u32 types[] = {
		2, 3, 5, 6, 7, 9, VD_T_GET_LIFETIME, 12, VD_T_SECURE_ERASE, 15, 16, 17, 18, 20, 22, 24, 26,
		0x100, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff,
	};
	struct vd_range range = { 0, 8, 0 };
	unsigned int i;

	memset(self->p, 0x55, 4096);
	memcpy(self->p, &range, sizeof(range));
	for (i = 0; i < ARRAY_SIZE(types); i++) {
		struct vd_buf in = { self->buf + 4096, 512, true }, out = { self->buf, 16, false };

		EXPECT_EQ(VD_UNSUPP, vd_do(self->q, types[i], 0, &out, 1, variant->how)) {
			TH_LOG("type %#x out", types[i]);
		}
		EXPECT_EQ(VD_UNSUPP, vd_do(self->q, types[i], 0, &in, 1, variant->how)) {
			TH_LOG("type %#x in", types[i]);
		}
		EXPECT_EQ(VD_UNSUPP, vd_do(self->q, types[i], 0, NULL, 0, variant->how)) {
			TH_LOG("type %#x bare", types[i]);
		}
	}
	EXPECT_EQ(VD_OK, vd_do(self->q, VD_T_FLUSH, 0, NULL, 0, variant->how));
}

TEST_F(io, out_of_bounds)
{
	__u32 bs = self->c.blk_size, type, i;
	struct {
		__u64 sector;
		__u32 len;
	} bad[] = {
		{ DISK / 512, bs }, { DISK / 512 - bs / 512, 2 * bs }, { DISK / 512 + bs / 512, bs },
		{ ~0ULL, bs }, { ~0ULL - bs / 512 + 1, bs }, { 1ULL << 55, bs }, { 1ULL << 63, bs },
		{ 0, bs - 1 }, { 0, bs + 1 }, { 0, 1 }, { 0, 511 }, { 0, bs + 16 },
		{ bs / 512 > 1 ? 1 : DISK / 512, bs }, { 0, bs > 512 ? 512 : 100 },
	};

	vd_fill(self->seen, BUF, 0, 9);
	ASSERT_EQ(0, vd_backing_write(&self->r.b, 0, self->seen, BUF));
	memset(self->p, 0xaa, BUF);
	for (type = VD_T_IN; type <= VD_T_OUT; type++) {
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			EXPECT_EQ(VD_IOERR, rw(self, variant->how, type, bad[i].sector, self->buf, bad[i].len, 65536)) {
				TH_LOG("type %u sector %#llx len %u", type, (unsigned long long)bad[i].sector,
				       bad[i].len);
			}
		}
	}
	ASSERT_EQ(0, vd_backing_read(&self->r.b, 0, self->seen, BUF));
	EXPECT_EQ(-1, vd_check(self->seen, BUF, 0, 9)) TH_LOG("a refused write reached the disk");
	EXPECT_EQ(VD_OK, rw(self, variant->how, VD_T_IN, 0, self->buf, bs, bs));
}

/* More than a request may carry, though every byte of it is there and on the disk. */
TEST_F(io, too_much_data)
{
	struct vhost_inflight_queue_info before, after;
	struct vd_buf b[80];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(b); i++)
		b[i] = (struct vd_buf){ self->buf, BUF, true };
	ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &before));
	EXPECT_EQ(VD_IOERR, vd_do(self->q, VD_T_IN, 0, b, 65, variant->how));
	EXPECT_EQ(VD_OK, vd_do(self->q, VD_T_IN, 0, b, 4, variant->how));
	ASSERT_EQ(0, vd_ioctl(&self->r.d, VHOST_VDPA_SUSPEND, NULL));
	ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &after));
	EXPECT_EQ(before.ioerrs + 1, after.ioerrs);
	EXPECT_EQ(before.read_bytes + 4 * BUF, after.read_bytes);
}

TEST_F(io, counters)
{
	struct vhost_inflight_queue_info a, b;
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_qinfo(d, 0, &a));
	EXPECT_EQ(VHOST_INFLIGHT_QUEUE_RUNNING, a.state);
	EXPECT_EQ(256, a.num);
	vd_rw(self->q, VD_T_OUT, 0, self->buf, 8192);
	vd_rw(self->q, VD_T_IN, 0, self->buf, 4096);
	vd_rw(self->q, VD_T_IN, 0, self->buf, 4096);
	vd_do(self->q, VD_T_FLUSH, 0, NULL, 0, variant->how);
	vd_do(self->q, VD_T_GET_ID, 0, &(struct vd_buf){ self->buf, 20, true }, 1, variant->how);
	vd_do(self->q, 0x77, 0, NULL, 0, variant->how);
	vd_rw(self->q, VD_T_IN, 1ULL << 40, self->buf, 4096);
	/* the used index moves before it is counted */
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL));
	ASSERT_EQ(0, vd_qinfo(d, 0, &b));
	EXPECT_EQ(a.requests + 7, b.requests);
	EXPECT_EQ(a.writes + 1, b.writes);
	EXPECT_EQ(a.reads + 3, b.reads);
	EXPECT_EQ(a.flushes + 1, b.flushes);
	EXPECT_EQ(a.ids + 1, b.ids);
	EXPECT_EQ(a.unsupps + 1, b.unsupps);
	EXPECT_EQ(a.ioerrs + 1, b.ioerrs);
	EXPECT_EQ(a.write_bytes + 8192, b.write_bytes);
	EXPECT_EQ(a.read_bytes + 8192, b.read_bytes);
	EXPECT_EQ(a.batches + 7, b.batches);
	EXPECT_EQ(0, b.depth);
	EXPECT_LE(1, b.depth_max);
	EXPECT_EQ(7, b.avail_idx);
	EXPECT_EQ(7, b.used_idx);
	EXPECT_EQ(0, b.error);
	EXPECT_EQ(0, b.broken);
}

TEST_HARNESS_MAIN
