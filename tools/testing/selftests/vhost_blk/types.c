// SPDX-License-Identifier: GPL-2.0
/* Discard and zeroes, read-only, durability, resize, announced block size: one device each. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define BUF	(256 << 10)
#define IOVA	0x100000

static void get_buf(struct vd *d, __u64 *buf, __u8 **p)
{
	*buf = vd_alloc(d, BUF, 4096);
	*p = vd_ptr(d, *buf);
}

/* ---- DISCARD, WRITE_ZEROES, SECURE_ERASE ---- */

FIXTURE(zero) {
	struct vd_rig r;
	struct vd_queue *q;
	struct vd_blk_config c;
	__u64 buf;
	__u8 *p, *seen;
};

FIXTURE_VARIANT(zero) {
	enum vd_backing_kind kind;
	bool discards;		/* the backing can deallocate */
};

FIXTURE_VARIANT_ADD(zero, nullb_discard) { VD_NULLB_DISCARD, true };
FIXTURE_VARIANT_ADD(zero, nullb4096) { VD_NULLB4096, false };
FIXTURE_VARIANT_ADD(zero, loop4096) { VD_LOOP4096, true };
FIXTURE_VARIANT_ADD(zero, ext4) { VD_EXT4, true };
FIXTURE_VARIANT_ADD(zero, tmpfs) { VD_TMPFS, true };

FIXTURE_SETUP(zero)
{
	struct vd_opts o = { .iova = IOVA };

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, NULL, &o));
	self->q = self->r.d.q[0];
	self->seen = malloc(BUF);
	get_buf(&self->r.d, &self->buf, &self->p);
	ASSERT_EQ(0, vd_get_config(&self->r.d, 0, &self->c, sizeof(self->c)));
	vd_fill(self->seen, BUF, 0, 5);
	ASSERT_EQ(0, vd_backing_write(&self->r.b, 0, self->seen, BUF));
}

FIXTURE_TEARDOWN_PARENT(zero)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static int ranges(FIXTURE_DATA(zero) *self, __u32 type, const struct vd_range *r, size_t len)
{
	memcpy(self->p, r, len);
	return vd_rw(self->q, type, 0, self->buf, len);
}

static bool is_zero(const __u8 *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

TEST_F(zero, write_zeroes)
{
	__u32 flags;

	/* where the disk can't, zeroes are written to it */
	ASSERT_NE(0, self->r.d.offered & VD_F_WRITE_ZEROES);
	for (flags = 0; flags <= 1; flags++) {
		struct vd_range r[2] = { { 16, 16, flags }, { 64, 128, flags } };
		unsigned int n = self->c.max_write_zeroes_seg > 1 ? 2 : 1;

		ASSERT_EQ(VD_OK, ranges(self, VD_T_WRITE_ZEROES, r, n * sizeof(*r)));
		ASSERT_EQ(0, vd_backing_read(&self->r.b, 0, self->seen, BUF));
		EXPECT_EQ(-1, vd_check(self->seen, 8192, 0, 5));
		EXPECT_TRUE(is_zero(self->seen + 8192, 8192));
		EXPECT_EQ(-1, vd_check(self->seen + 16384, 16384, 16384, 5));
		if (n > 1) {
			EXPECT_TRUE(is_zero(self->seen + 32768, 65536));
			EXPECT_EQ(-1, vd_check(self->seen + 98304, 4096, 98304, 5));
		}
		vd_fill(self->seen, BUF, 0, 5);
		ASSERT_EQ(0, vd_backing_write(&self->r.b, 0, self->seen, BUF));
	}
}

TEST_F(zero, discard)
{
	struct vd_range r = { 16, 16, 0 };

	if (!variant->discards) {
		EXPECT_EQ(0, self->r.d.offered & VD_F_DISCARD);
		EXPECT_EQ(VD_UNSUPP, ranges(self, VD_T_DISCARD, &r, sizeof(r)));
		return;
	}
	ASSERT_NE(0, self->r.d.offered & VD_F_DISCARD);
	EXPECT_EQ(VD_OK, ranges(self, VD_T_DISCARD, &r, sizeof(r)));
	ASSERT_EQ(0, vd_backing_read(&self->r.b, 0, self->seen, BUF));
	/* what is around it is as it was; what is in it reads as zeroes on all these backings */
	EXPECT_EQ(-1, vd_check(self->seen, 8192, 0, 5));
	EXPECT_TRUE(is_zero(self->seen + 8192, 8192));
	EXPECT_EQ(-1, vd_check(self->seen + 16384, 8192, 16384, 5));
}

TEST_F(zero, bad_ranges)
{
	static const struct {
		const char *what;
		struct vd_range r;
		__u32 len;
		int want;
	} t[] = {
		{ "unknown flag", { 16, 16, 2 }, 16, VD_UNSUPP },
		{ "all flags", { 16, 16, ~0U }, 16, VD_UNSUPP },
		{ "beyond the end", { DISK / 512, 8, 0 }, 16, VD_IOERR },
		{ "over the end", { DISK / 512 - 8, 16, 0 }, 16, VD_IOERR },
		{ "wraps", { ~0ULL, 8, 0 }, 16, VD_IOERR },
		{ "wraps as bytes", { 1ULL << 55, 8, 0 }, 16, VD_IOERR },
		{ "too much", { 0, ~0U, 0 }, 16, VD_IOERR },
		{ "half a range", { 16, 16, 0 }, 8, VD_IOERR },
		{ "a range and a half", { 16, 16, 0 }, 24, VD_IOERR },
		{ "no range", { 16, 16, 0 }, 0, VD_IOERR },
	};
	static const __u32 types[] = { VD_T_DISCARD, VD_T_WRITE_ZEROES };
	unsigned int i, j;

	for (j = 0; j < ARRAY_SIZE(types); j++) {
		bool offered = self->r.d.offered & (types[j] == VD_T_DISCARD ? VD_F_DISCARD : VD_F_WRITE_ZEROES);

		for (i = 0; i < ARRAY_SIZE(t); i++) {
			int ret = t[i].len ? ranges(self, types[j], &t[i].r, t[i].len) :
					     vd_do(self->q, types[j], 0, NULL, 0, VD_DIRECT);

			EXPECT_EQ(offered ? t[i].want : VD_UNSUPP, ret) {
				TH_LOG("type %u: %s", types[j], t[i].what);
			}
		}
	}
	/* discard has no unmap flag */
	if (self->r.d.offered & VD_F_DISCARD) {
		struct vd_range r = { 16, 16, 1 };

		EXPECT_EQ(VD_UNSUPP, ranges(self, VD_T_DISCARD, &r, sizeof(r)));
	}
	ASSERT_EQ(0, vd_backing_read(&self->r.b, 0, self->seen, BUF));
	EXPECT_EQ(-1, vd_check(self->seen, BUF, 0, 5));
}

TEST_F(zero, too_many_ranges)
{
	struct vd_range r[512];
	__u32 i, n = self->c.max_write_zeroes_seg + 1;

	ASSERT_GE(ARRAY_SIZE(r), n);
	for (i = 0; i < n; i++)
		r[i] = (struct vd_range){ i * 8, 8, 0 };
	EXPECT_EQ(VD_IOERR, ranges(self, VD_T_WRITE_ZEROES, r, n * sizeof(*r)));
	EXPECT_EQ(VD_OK, ranges(self, VD_T_WRITE_ZEROES, r, (n - 1) * sizeof(*r)));
}

/* None of these backings erases for good, so none offers to. */
TEST_F(zero, secure_erase)
{
	struct vd_range r = { 16, 16, 0 };

	EXPECT_EQ(0, self->r.d.offered & VD_F_SECURE_ERASE);
	EXPECT_EQ(VD_UNSUPP, ranges(self, VD_T_SECURE_ERASE, &r, sizeof(r)));
	EXPECT_EQ(0, self->c.max_secure_erase_sectors);
	ASSERT_EQ(0, vd_backing_read(&self->r.b, 0, self->seen, BUF));
	EXPECT_EQ(-1, vd_check(self->seen, BUF, 0, 5));
}

/* ---- devices made in special ways ---- */

FIXTURE(special) {
	struct vd_rig r;
};

FIXTURE_SETUP(special)
{
}

FIXTURE_TEARDOWN_PARENT(special)
{
	if (self->r.name[0]) {
		EXPECT_EQ(0, vd_rig_free(&self->r));
	}
}

TEST_F(special, discard_turned_off)
{
	struct vd_config c = { .no_discard = true };
	struct vd_range r = { 0, 8, 0 };
	struct vd *d = &self->r.d;
	__u64 buf;
	__u8 *p;

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB_DISCARD, DISK, &c, &(struct vd_opts){ .iova = IOVA }));
	get_buf(d, &buf, &p);
	EXPECT_EQ(0, d->offered & (VD_F_DISCARD | VD_F_WRITE_ZEROES | VD_F_SECURE_ERASE));
	memcpy(p, &r, sizeof(r));
	EXPECT_EQ(VD_UNSUPP, vd_rw(d->q[0], VD_T_DISCARD, 0, buf, sizeof(r)));
	EXPECT_EQ(VD_UNSUPP, vd_rw(d->q[0], VD_T_WRITE_ZEROES, 0, buf, sizeof(r)));
}

TEST_F(special, ring_features_turned_off)
{
	struct vd_config c = { .no_indirect = true, .no_event_idx = true };
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, &c, &(struct vd_opts){ .iova = IOVA }));
	EXPECT_EQ(0, d->offered & (VD_F_INDIRECT | VD_F_EVENT_IDX));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, vd_alloc(d, 4096, 4096), 4096));
}

static void read_only(struct __test_metadata *_metadata, struct vd_rig *r, enum vd_backing_kind kind)
{
	struct vd_config c = { .read_only = true };
	struct vd_range range = { 0, 8, 0 };
	struct vd *d = &r->d;
	__u8 seen[8192], *p;
	__u64 buf;
	int ret;

	ASSERT_EQ(0, vd_rig_make(r, kind, DISK, &c, &(struct vd_opts){ .iova = IOVA }));
	get_buf(d, &buf, &p);
	EXPECT_NE(0, d->offered & VD_F_RO);
	vd_fill(seen, sizeof(seen), 0, 3);
	ASSERT_EQ(0, vd_backing_write(&r->b, 0, seen, sizeof(seen)));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, buf, 8192));
	EXPECT_EQ(-1, vd_check(p, 8192, 0, 3));
	memset(p, 0, 8192);
	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_OUT, 0, buf, 8192));
	memcpy(p, &range, sizeof(range));
	ret = vd_rw(d->q[0], VD_T_DISCARD, 0, buf, 16);
	EXPECT_TRUE(ret == VD_IOERR || ret == VD_UNSUPP);
	ret = vd_rw(d->q[0], VD_T_WRITE_ZEROES, 0, buf, 16);
	EXPECT_TRUE(ret == VD_IOERR || ret == VD_UNSUPP);
	EXPECT_EQ(VD_OK, vd_do(d->q[0], VD_T_FLUSH, 0, NULL, 0, VD_DIRECT));
	ASSERT_EQ(0, vd_backing_read(&r->b, 0, seen, sizeof(seen)));
	EXPECT_EQ(-1, vd_check(seen, sizeof(seen), 0, 3));
}

TEST_F(special, read_only_block)
{
	read_only(_metadata, &self->r, VD_NULLB512);
}

TEST_F(special, read_only_file)
{
	read_only(_metadata, &self->r, VD_EXT4);
}

/* GET_ID with less room than 20 bytes, and with more. */
TEST_F(special, long_serial)
{
	struct vd_config c = { .serial = "12345678901234567890" };
	struct vd *d = &self->r.d;
	__u64 buf;
	__u8 *p;

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, &c, &(struct vd_opts){ .iova = IOVA }));
	get_buf(d, &buf, &p);
	memset(p, 0x55, 64);
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, buf + 4096, 512));
	EXPECT_EQ(VD_OK, vd_do(d->q[0], VD_T_GET_ID, 0, &(struct vd_buf){ buf, 20, true }, 1, VD_DIRECT));
	EXPECT_EQ(0, memcmp(p, "12345678901234567890", 20));
	EXPECT_EQ(0x55, p[20]);
}

TEST_F(special, default_serial)
{
	struct vd *d = &self->r.d;
	char want[21] = "";
	__u64 buf;
	__u8 *p;

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, NULL, &(struct vd_opts){ .iova = IOVA }));
	get_buf(d, &buf, &p);
	EXPECT_EQ(VD_OK, vd_do(d->q[0], VD_T_GET_ID, 0, &(struct vd_buf){ buf, 20, true }, 1, VD_DIRECT));
	memcpy(want, self->r.name, strnlen(self->r.name, 20));
	EXPECT_EQ(0, memcmp(p, want, 20));
}

/* 4096 announced on a disk with 512: what the guest was told is what holds. */
TEST_F(special, bigger_blocks_announced)
{
	struct vd_config c = { .lbs = 4096 };
	struct vd *d = &self->r.d;
	struct vd_blk_config conf;
	__u64 buf;
	__u8 *p;

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, &c, &(struct vd_opts){ .iova = IOVA }));
	ASSERT_EQ(0, vd_get_config(d, 0, &conf, sizeof(conf)));
	EXPECT_EQ(4096, conf.blk_size);
	EXPECT_EQ(DISK / 512, conf.capacity);
	get_buf(d, &buf, &p);
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 8, buf, 4096));
	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_IN, 1, buf, 4096));
	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_IN, 0, buf, 512));
	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_OUT, 7, buf, 4096));
}

/* ---- durability ---- */

static void durability(struct __test_metadata *_metadata, struct vd_rig *r, bool take_flush)
{
	struct vd_opts o = { .iova = IOVA, .drop_features = take_flush ? 0 : VD_F_FLUSH };
	long before, writes = 5, i;
	struct vd *d = &r->d;
	__u64 buf;
	__u8 *p;

	ASSERT_EQ(0, vd_rig_make(r, VD_NULLB_CACHE, DISK, NULL, &o));
	get_buf(d, &buf, &p);
	before = vd_backing_flushes(&r->b);
	ASSERT_LE(0, before);
	for (i = 0; i < writes; i++) {
		ASSERT_EQ(VD_OK, vd_rw(d->q[0], VD_T_OUT, i * 8, buf, 4096));
	}
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, buf, 4096));
	if (take_flush) {
		EXPECT_EQ(before, vd_backing_flushes(&r->b));
		EXPECT_EQ(VD_OK, vd_do(d->q[0], VD_T_FLUSH, 0, NULL, 0, VD_DIRECT));
		EXPECT_EQ(before + 1, vd_backing_flushes(&r->b));
	} else {
		/* each write was stable when it was answered */
		EXPECT_EQ(before + writes, vd_backing_flushes(&r->b));
	}
}

TEST_F(special, write_back)
{
	durability(_metadata, &self->r, true);
}

TEST_F(special, write_through)
{
	durability(_metadata, &self->r, false);
}

/* ---- resize ---- */

static void resize(struct __test_metadata *_metadata, struct vd_rig *r, enum vd_backing_kind kind)
{
	struct vd *d = &r->d;
	__u64 capacity, buf;
	int none = -1;
	__u8 *p;

	ASSERT_EQ(0, vd_rig_make(r, kind, DISK, NULL, &(struct vd_opts){ .iova = IOVA }));
	get_buf(d, &buf, &p);
	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_OUT, DISK / 512, buf, 4096));

	/* grow: told once, and the new end can be written */
	ASSERT_EQ(0, vd_backing_resize(&r->b, DISK * 2));
	ASSERT_EQ(0, vd_attr_set(r->name, "resize", "1"));
	EXPECT_EQ(1, vd_poll_fd(d->config_fd, VD_WAIT_MS));
	ASSERT_EQ(0, vd_get_config(d, 0, &capacity, 8));
	EXPECT_EQ(DISK * 2 / 512, capacity);
	EXPECT_EQ(DISK * 2 / 512, vd_attr_num(r->name, "capacity"));
	vd_fill(p, 4096, 0, 1);
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_OUT, DISK * 2 / 512 - 8, buf, 4096));
	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_OUT, DISK * 2 / 512, buf, 4096));

	/* nothing changed: nothing said */
	ASSERT_EQ(0, vd_attr_set(r->name, "resize", "1"));
	EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));

	/* shrink: beyond the end is an error, before it works */
	ASSERT_EQ(0, vd_backing_resize(&r->b, DISK / 2));
	ASSERT_EQ(0, vd_attr_set(r->name, "resize", "1"));
	EXPECT_EQ(1, vd_poll_fd(d->config_fd, VD_WAIT_MS));
	ASSERT_EQ(0, vd_get_config(d, 0, &capacity, 8));
	EXPECT_EQ(DISK / 2 / 512, capacity);
	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_IN, DISK / 2 / 512, buf, 4096));
	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_IN, DISK / 2 / 512 - 4, buf, 4096));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, DISK / 2 / 512 - 8, buf, 4096));
	EXPECT_EQ(0xf, vd_status(d));

	/* told while nobody listened, as between QEMU's stop and cont: told again */
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SET_CONFIG_CALL, &none));
	ASSERT_EQ(0, vd_backing_resize(&r->b, DISK));
	ASSERT_EQ(0, vd_attr_set(r->name, "resize", "1"));
	ASSERT_EQ(0, vd_ioctl(d, VHOST_VDPA_SET_CONFIG_CALL, &d->config_fd));
	EXPECT_EQ(1, vd_drain_fd(d->config_fd));
}

TEST_F(special, resize_block)
{
	resize(_metadata, &self->r, VD_DM);
}

TEST_F(special, resize_ext4)
{
	resize(_metadata, &self->r, VD_EXT4);
}

TEST_F(special, resize_tmpfs)
{
	resize(_metadata, &self->r, VD_TMPFS);
}

/* The disk shrank and nobody said so: an error for what is beyond, and a device that lives on. */
TEST_F(special, shrunk_unannounced)
{
	struct vd *d = &self->r.d;
	__u64 buf;
	__u8 *p;

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_DM, DISK, NULL, &(struct vd_opts){ .iova = IOVA }));
	get_buf(d, &buf, &p);
	ASSERT_EQ(0, vd_backing_resize(&self->r.b, DISK / 2));
	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_OUT, DISK / 512 - 8, buf, 4096));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_OUT, 0, buf, 4096));
}

TEST_HARNESS_MAIN
