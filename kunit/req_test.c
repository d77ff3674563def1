// SPDX-License-Identifier: GPL-2.0
/* virtio-blk requests: what each becomes, one row each. How they may be cut: req_framing_test.c. */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/virtio_byteorder.h>

#include "guest.h"
#include "../drivers/vhost_blk/req.h"

#define FLUSH	BIT_ULL(VIRTIO_BLK_F_FLUSH)
#define DISCARD	BIT_ULL(VIRTIO_BLK_F_DISCARD)
#define ZEROES	BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES)
#define ERASE	BIT_ULL(VIRTIO_BLK_F_SECURE_ERASE)
#define ALL	(FLUSH | DISCARD | ZEROES | ERASE)
#define UNMAP	VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP

#define OK	VIRTIO_BLK_S_OK
#define IOERR	VIRTIO_BLK_S_IOERR
#define UNSUPP	VIRTIO_BLK_S_UNSUPP

#define CAPACITY	1000000ULL
#define MAX_DATA	(64 << 20)

static const struct vblk_limits limits = {
	.capacity = CAPACITY,
	.blk_size = 512,
	.features = ALL,
	.max_data = MAX_DATA,
	.max_discard_sectors = 1000, .max_discard_seg = 4,
	.max_write_zeroes_sectors = 2000, .max_write_zeroes_seg = 2,
	.max_secure_erase_sectors = 3000, .max_secure_erase_seg = 100,
};

struct fixture {
	struct guest *g;
	struct vblk_limits lim;
	struct vblk_cmd cmd;
	struct vblk_range ranges[VBLK_MAX_RANGES];
	struct virtq_seg segs[8];
	struct virtq_chain chain;
	u64 hdr, status;
};

static struct fixture *fixture(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->g = guest_new(test, &(struct guest_opts){ .num = 2 });
	f->lim = limits;
	f->hdr = guest_alloc(f->g, 16);
	f->status = guest_alloc(f->g, 1);
	return f;
}

static void header(struct fixture *f, u32 type, u64 sector)
{
	struct virtio_blk_outhdr *hdr = guest_ptr(f->g, f->hdr, sizeof(*hdr));

	hdr->type = __cpu_to_virtio32(true, type);
	hdr->ioprio = __cpu_to_virtio32(true, 0xffffffff);
	hdr->sector = __cpu_to_virtio64(true, sector);
}

static void seg(struct fixture *f, u64 addr, u32 len, u32 flags)
{
	f->segs[f->chain.nr_segs++] = (struct virtq_seg){ addr, len, flags };
	if (!flags)
		f->chain.nr_out++;
}

/* Header, readable data, writable data, status: each a segment of its own, data of 0 bytes none. */
static int parse(struct fixture *f, u64 out_addr, u32 out, u64 in_addr, u32 in)
{
	memset(&f->chain, 0, sizeof(f->chain));
	f->chain.segs = f->segs;
	seg(f, f->hdr, 16, 0);
	if (out)
		seg(f, out_addr, out, 0);
	if (in)
		seg(f, in_addr, in, VIRTQ_SEG_WRITE);
	seg(f, f->status, 1, VIRTQ_SEG_WRITE);
	/* Nothing of an earlier request may shine through. */
	memset(&f->cmd, 0xa5, sizeof(f->cmd));
	f->cmd.ranges = f->ranges;
	return vblk_parse(&f->lim, &f->g->mem, &f->chain, &f->cmd);
}

/* @out and @in are bytes of data; addresses are outside of guest memory, as nobody may look. */
struct row {
	const char *name;
	u32 type;
	u64 sector;
	u32 out, in;
	enum vblk_op op;
	u8 status;
	u32 used_len, failed_len;
	u32 len;		/* if not what is there */
	u32 blk_size;		/* if not 512 */
	u64 capacity;		/* if not CAPACITY */
	bool read_only;
	u64 without;		/* features */
};

#define R	VIRTIO_BLK_T_IN
#define WR	VIRTIO_BLK_T_OUT
#define FL	VIRTIO_BLK_T_FLUSH
#define ID	VIRTIO_BLK_T_GET_ID

static const struct row rows[] = {
	{ "read", R, 8, 0, 4096, VBLK_OP_READ, OK, 4097, 0 },
	{ "read one sector", R, 0, 0, 512, VBLK_OP_READ, OK, 513, 0 },
	{ "read the last sector", R, CAPACITY - 1, 0, 512, VBLK_OP_READ, OK, 513, 0 },
	{ "read past the end", R, CAPACITY - 1, 0, 1024, VBLK_OP_NONE, IOERR, 0, 0 },
	{ "read at the end", R, CAPACITY, 0, 512, VBLK_OP_NONE, IOERR, 0, 0 },
	{ "read far out", R, 1ULL << 60, 0, 512, VBLK_OP_NONE, IOERR, 0, 0 },
	{ "read sector 2^64 - 1", R, ~0ULL, 0, 512, VBLK_OP_NONE, IOERR, 0, 0 },
	{ "read sector and length wrap", R, ~0ULL - 6, 0, 4096, VBLK_OP_NONE, IOERR, 0, 0 },
	{ "read a byte count no sector", R, 0, 0, 513, VBLK_OP_NONE, IOERR, 0, 0 },
	{ "read one byte", R, 0, 0, 1, VBLK_OP_NONE, IOERR, 0, 0 },
	{ "read nothing", R, 0, 0, 0, VBLK_OP_NONE, OK, 1, 1 },
	{ "read nothing at the end", R, CAPACITY, 0, 0, VBLK_OP_NONE, OK, 1, 1 },
	{ "read nothing past the end", R, CAPACITY + 1, 0, 0, VBLK_OP_NONE, IOERR, 1, 1 },
	{ "read as much as allowed", R, 0, 0, MAX_DATA, VBLK_OP_READ, OK, MAX_DATA + 1, 0 },
	{ "read more than allowed", R, 0, 0, MAX_DATA + 512, VBLK_OP_NONE, IOERR, 0, 0 },
	{ "read 4 GiB - 512", R, 0, 0, 0xfffffe00, VBLK_OP_NONE, IOERR, 0, 0 },
	{ "read with readable data too", R, 0, 512, 1024, VBLK_OP_READ, OK, 1025, 0,
	  .len = 1024 },
	{ "read beyond a shrunk end", R, 100, 0, 512, VBLK_OP_NONE, IOERR, 0, 0,
	  .capacity = 100 },
	{ "read of an empty device", R, 0, 0, 512, VBLK_OP_NONE, IOERR, 0, 0, .capacity = ~0ULL },
	{ "read blocks of 4096", R, 8, 0, 8192, VBLK_OP_READ, OK, 8193, 0, .blk_size = 4096 },
	{ "read half a block", R, 8, 0, 2048, VBLK_OP_NONE, IOERR, 0, 0, .blk_size = 4096 },
	{ "read from within a block", R, 4, 0, 4096, VBLK_OP_NONE, IOERR, 0, 0,
	  .blk_size = 4096 },
	{ "read with a read-only device", R, 0, 0, 512, VBLK_OP_READ, OK, 513, 0,
	  .read_only = true },

	{ "write", WR, 8, 4096, 0, VBLK_OP_WRITE, OK, 1, 1 },
	{ "write the last sectors", WR, CAPACITY - 8, 4096, 0, VBLK_OP_WRITE, OK, 1, 1 },
	{ "write past the end", WR, CAPACITY - 7, 4096, 0, VBLK_OP_NONE, IOERR, 1, 1 },
	{ "write sector and length wrap", WR, ~0ULL - 6, 4096, 0, VBLK_OP_NONE, IOERR, 1, 1 },
	{ "write a byte count no sector", WR, 0, 511, 0, VBLK_OP_NONE, IOERR, 1, 1 },
	{ "write nothing", WR, 0, 0, 0, VBLK_OP_NONE, OK, 1, 1 },
	{ "write as much as allowed", WR, 0, MAX_DATA, 0, VBLK_OP_WRITE, OK, 1, 1 },
	{ "write more than allowed", WR, 0, MAX_DATA + 512, 0, VBLK_OP_NONE, IOERR, 1, 1 },
	{ "write with room before the status", WR, 0, 512, 100, VBLK_OP_WRITE, OK, 0, 0,
	  .len = 512 },
	{ "write half a block", WR, 8, 2048, 0, VBLK_OP_NONE, IOERR, 1, 1, .blk_size = 4096 },
	{ "write within a block", WR, 4, 4096, 0, VBLK_OP_NONE, IOERR, 1, 1, .blk_size = 4096 },
	{ "write to a read-only device", WR, 0, 512, 0, VBLK_OP_NONE, IOERR, 1, 1,
	  .read_only = true },
	{ "write nothing to a read-only device", WR, 0, 0, 0, VBLK_OP_NONE, IOERR, 1, 1,
	  .read_only = true },

	{ "flush", FL, 0, 0, 0, VBLK_OP_FLUSH, OK, 1, 1 },
	{ "flush with a sector", FL, ~0ULL, 0, 0, VBLK_OP_FLUSH, OK, 1, 1 },
	{ "flush with data", FL, 0, 512, 512, VBLK_OP_FLUSH, OK, 0, 0, .len = ~0U },
	{ "flush a read-only device", FL, 0, 0, 0, VBLK_OP_FLUSH, OK, 1, 1, .read_only = true },
	{ "flush not negotiated", FL, 0, 0, 0, VBLK_OP_NONE, UNSUPP, 1, 1, .without = FLUSH },

	{ "id", ID, 0, 0, 20, VBLK_OP_ID, OK, 21, 0 },
	{ "id into less", ID, 0, 0, 7, VBLK_OP_ID, OK, 8, 0 },
	{ "id into more", ID, 0, 0, 512, VBLK_OP_ID, OK, 20, 0, .len = 20 },
	{ "id into nothing", ID, 0, 0, 0, VBLK_OP_NONE, OK, 1, 1 },
	{ "id of a read-only device", ID, 0, 0, 20, VBLK_OP_ID, OK, 21, 0, .read_only = true },

	{ "type 2, SCSI", 2, 0, 0, 0, VBLK_OP_NONE, UNSUPP, 1, 1 },
	{ "type 3", 3, 0, 0, 512, VBLK_OP_NONE, UNSUPP, 0, 0 },
	{ "type 9", 9, 0, 512, 0, VBLK_OP_NONE, UNSUPP, 1, 1 },
	{ "type 10, lifetime", 10, 0, 0, 6, VBLK_OP_NONE, UNSUPP, 0, 0 },
	{ "type 12", 12, 0, 0, 0, VBLK_OP_NONE, UNSUPP, 1, 1 },
	{ "type 15, zone append", 15, 0, 512, 8, VBLK_OP_NONE, UNSUPP, 0, 0 },
	{ "type 16", 16, 0, 0, 64, VBLK_OP_NONE, UNSUPP, 0, 0 },
	{ "type write with the barrier bit", 0x80000001, 0, 512, 0, VBLK_OP_NONE, UNSUPP, 1, 1 },
	{ "type 2^32 - 1", 0xffffffff, 0, 512, 512, VBLK_OP_NONE, UNSUPP, 0, 0 },

	{ "discard not negotiated", VIRTIO_BLK_T_DISCARD, 0, 16, 0, VBLK_OP_NONE, UNSUPP, 1, 1,
	  .without = DISCARD },
	{ "zeroes not negotiated", VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, VBLK_OP_NONE, UNSUPP,
	  1, 1, .without = ZEROES },
	{ "erase not negotiated", VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 0, VBLK_OP_NONE, UNSUPP,
	  1, 1, .without = ERASE },
	{ "not negotiated outranks read-only", VIRTIO_BLK_T_DISCARD, 0, 16, 0, VBLK_OP_NONE,
	  UNSUPP, 1, 1, .without = DISCARD, .read_only = true },
	{ "discard of a read-only device", VIRTIO_BLK_T_DISCARD, 0, 16, 0, VBLK_OP_NONE, IOERR,
	  1, 1, .read_only = true },
	{ "zeroes of a read-only device", VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, 0, VBLK_OP_NONE,
	  IOERR, 1, 1, .read_only = true },
	{ "erase of a read-only device", VIRTIO_BLK_T_SECURE_ERASE, 0, 16, 0, VBLK_OP_NONE,
	  IOERR, 1, 1, .read_only = true },
	{ "discard without ranges", VIRTIO_BLK_T_DISCARD, 0, 0, 0, VBLK_OP_NONE, IOERR, 1, 1 },
	{ "discard of half a range", VIRTIO_BLK_T_DISCARD, 0, 8, 0, VBLK_OP_NONE, IOERR, 1, 1 },
	{ "discard of a range and a bit", VIRTIO_BLK_T_DISCARD, 0, 17, 0, VBLK_OP_NONE, IOERR,
	  1, 1 },
	{ "discard of too many ranges", VIRTIO_BLK_T_DISCARD, 0, 5 * 16, 0, VBLK_OP_NONE, IOERR,
	  1, 1 },
	{ "zeroes of too many ranges", VIRTIO_BLK_T_WRITE_ZEROES, 0, 3 * 16, 0, VBLK_OP_NONE,
	  IOERR, 1, 1 },
	{ "erase of more ranges than there is room for", VIRTIO_BLK_T_SECURE_ERASE, 0, 65 * 16,
	  0, VBLK_OP_NONE, IOERR, 1, 1 },
	{ "discard of 2^28 - 1 ranges", VIRTIO_BLK_T_DISCARD, 0, 0xfffffff0, 0, VBLK_OP_NONE,
	  IOERR, 1, 1 },
};

static void describe(const struct row *row, char *desc)
{
	strscpy(desc, row->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(verdict, rows, describe);

static void verdict(struct kunit *test)
{
	const u64 out_addr = 0x1000, in_addr = 0x100000000ULL;
	const struct row *row = test->param_value;
	struct fixture *f = fixture(test);
	u32 len;

	f->lim.read_only = row->read_only;
	f->lim.features &= ~row->without;
	f->lim.blk_size = row->blk_size ?: 512;
	f->lim.capacity = !row->capacity ? CAPACITY : row->capacity == ~0ULL ? 0 : row->capacity;
	header(f, row->type, row->sector);
	KUNIT_ASSERT_EQ(test, parse(f, out_addr, row->out, in_addr, row->in), 0);

	KUNIT_EXPECT_EQ(test, f->cmd.op, row->op);
	KUNIT_EXPECT_EQ(test, f->cmd.type, row->type);
	KUNIT_EXPECT_EQ(test, f->cmd.sector, row->sector);
	KUNIT_EXPECT_EQ(test, f->cmd.status, row->status);
	KUNIT_EXPECT_EQ(test, f->cmd.status_addr, f->status);
	KUNIT_EXPECT_EQ(test, f->cmd.used_len, row->used_len);
	KUNIT_EXPECT_EQ(test, f->cmd.failed_len, row->failed_len);
	KUNIT_EXPECT_EQ(test, f->cmd.nr_ranges, 0);
	/* The header, once, and nothing else. */
	KUNIT_EXPECT_EQ(test, f->g->mem.bytes, 16);

	len = row->op == VBLK_OP_NONE || row->len == ~0U ? 0 :
	      row->len ?: row->op == VBLK_OP_WRITE ? row->out : row->in;
	KUNIT_EXPECT_EQ(test, f->cmd.len, len);
	KUNIT_ASSERT_EQ(test, f->cmd.nr_data, !!len);
	if (len) {
		KUNIT_EXPECT_EQ(test, f->cmd.data->len, len);
		KUNIT_EXPECT_EQ(test, f->cmd.data->addr,
				row->op == VBLK_OP_WRITE ? out_addr : in_addr);
	}
}

/* DISCARD, WRITE_ZEROES, SECURE_ERASE: what is in the ranges. */
struct range_row {
	const char *name;
	u32 type;
	enum vblk_op op;
	u8 status;
	u16 nr, nr_left;	/* left: not empty */
	u32 blk_size;
	struct vblk_range ranges[4];
};

#define D	VIRTIO_BLK_T_DISCARD
#define Z	VIRTIO_BLK_T_WRITE_ZEROES
#define E	VIRTIO_BLK_T_SECURE_ERASE

static const struct range_row range_rows[] = {
	{ "discard", D, VBLK_OP_DISCARD, OK, 1, 1, 0, { { 8, 8, 0 } } },
	{ "discard four", D, VBLK_OP_DISCARD, OK, 4, 4, 0,
	  { { 8, 8, 0 }, { 0, 1000, 0 }, { CAPACITY - 1, 1, 0 }, { 5, 1, 0 } } },
	{ "discard with unmap", D, VBLK_OP_NONE, UNSUPP, 1, 0, 0, { { 8, 8, UNMAP } } },
	{ "discard with an unknown flag", D, VBLK_OP_NONE, UNSUPP, 1, 0, 0,
	  { { 8, 8, 0x80000000 } } },
	{ "discard, second range with a flag", D, VBLK_OP_NONE, UNSUPP, 2, 0, 0,
	  { { 8, 8, 0 }, { 8, 8, 2 } } },
	{ "a flag outranks a bad range", D, VBLK_OP_NONE, UNSUPP, 2, 0, 0,
	  { { CAPACITY, 8, 0 }, { 8, 8, 2 } } },
	{ "discard longer than allowed", D, VBLK_OP_NONE, IOERR, 1, 0, 0, { { 0, 1001, 0 } } },
	{ "discard past the end", D, VBLK_OP_NONE, IOERR, 1, 0, 0, { { CAPACITY - 1, 2, 0 } } },
	{ "discard far out", D, VBLK_OP_NONE, IOERR, 1, 0, 0, { { ~0ULL, 1, 0 } } },
	{ "discard wraps", D, VBLK_OP_NONE, IOERR, 1, 0, 0, { { ~0ULL - 7, 16, 0 } } },
	{ "second of two past the end", D, VBLK_OP_NONE, IOERR, 2, 0, 0,
	  { { 0, 8, 0 }, { CAPACITY, 8, 0 } } },
	{ "discard within a block", D, VBLK_OP_NONE, IOERR, 1, 0, 4096, { { 4, 8, 0 } } },
	{ "discard half a block", D, VBLK_OP_NONE, IOERR, 1, 0, 4096, { { 8, 4, 0 } } },
	{ "discard blocks of 4096", D, VBLK_OP_DISCARD, OK, 1, 1, 4096, { { 8, 16, 0 } } },
	{ "discard of nothing", D, VBLK_OP_NONE, OK, 1, 0, 0, { { 8, 0, 0 } } },
	{ "nothing among ranges", D, VBLK_OP_DISCARD, OK, 3, 2, 0,
	  { { 8, 8, 0 }, { 3, 0, 0 }, { 16, 8, 0 } } },
	{ "zeroes", Z, VBLK_OP_ZEROES, OK, 1, 1, 0, { { 0, 2000, 0 } } },
	{ "zeroes with unmap", Z, VBLK_OP_ZEROES, OK, 2, 2, 0, { { 8, 8, UNMAP }, { 9, 9, 0 } } },
	{ "zeroes with an unknown flag", Z, VBLK_OP_NONE, UNSUPP, 1, 0, 0, { { 8, 8, 3 } } },
	{ "zeroes longer than allowed", Z, VBLK_OP_NONE, IOERR, 1, 0, 0, { { 0, 2001, 0 } } },
	{ "zeroes of 2^32 - 1 sectors", Z, VBLK_OP_NONE, IOERR, 1, 0, 0,
	  { { 0, 0xffffffff, 0 } } },
	{ "erase", E, VBLK_OP_ERASE, OK, 1, 1, 0, { { 0, 3000, 0 } } },
	{ "erase with unmap", E, VBLK_OP_NONE, UNSUPP, 1, 0, 0, { { 8, 8, UNMAP } } },
	{ "erase longer than allowed", E, VBLK_OP_NONE, IOERR, 1, 0, 0, { { 0, 3001, 0 } } },
};

static void describe_range(const struct range_row *row, char *desc)
{
	strscpy(desc, row->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(ranges, range_rows, describe_range);

static u64 write_ranges(struct fixture *f, const struct vblk_range *ranges, unsigned int nr)
{
	struct virtio_blk_discard_write_zeroes *raw;
	u64 addr = guest_alloc(f->g, nr * sizeof(*raw));
	unsigned int i;

	raw = guest_ptr(f->g, addr, nr * sizeof(*raw));
	for (i = 0; i < nr; i++) {
		raw[i].sector = cpu_to_le64(ranges[i].sector);
		raw[i].num_sectors = cpu_to_le32(ranges[i].sectors);
		raw[i].flags = cpu_to_le32(ranges[i].flags);
	}
	return addr;
}

static void ranges(struct kunit *test)
{
	const struct range_row *row = test->param_value;
	struct fixture *f = fixture(test);
	unsigned int i, n = 0;
	u64 addr;

	f->lim.blk_size = row->blk_size ?: 512;
	header(f, row->type, 0x1234);
	addr = write_ranges(f, row->ranges, row->nr);
	KUNIT_ASSERT_EQ(test, parse(f, addr, row->nr * 16, 0, 0), 0);
	KUNIT_EXPECT_EQ(test, f->cmd.op, row->op);
	KUNIT_EXPECT_EQ(test, f->cmd.status, row->status);
	KUNIT_EXPECT_EQ(test, f->cmd.used_len, 1U);
	KUNIT_EXPECT_EQ(test, f->cmd.failed_len, 1U);
	KUNIT_EXPECT_EQ(test, f->cmd.nr_data, 0);
	KUNIT_ASSERT_EQ(test, f->cmd.nr_ranges, row->nr_left);
	if (!row->nr_left)
		return;
	for (i = 0; i < row->nr; i++) {
		if (!row->ranges[i].sectors)
			continue;
		KUNIT_EXPECT_EQ(test, f->ranges[n].sector, row->ranges[i].sector);
		KUNIT_EXPECT_EQ(test, f->ranges[n].sectors, row->ranges[i].sectors);
		KUNIT_EXPECT_EQ(test, f->ranges[n].flags, row->ranges[i].flags);
		n++;
	}
}

/* All the ranges there may be, and not one more. */
static void most_ranges(struct kunit *test)
{
	struct fixture *f = fixture(test);
	struct vblk_range *many = kunit_kzalloc(test, 65 * sizeof(*many), GFP_KERNEL);
	unsigned int i;
	u64 addr;

	KUNIT_ASSERT_NOT_NULL(test, many);
	for (i = 0; i < 65; i++)
		many[i] = (struct vblk_range){ 8 * i, 8, 0 };
	header(f, E, 0);
	addr = write_ranges(f, many, 65);
	KUNIT_ASSERT_EQ(test, parse(f, addr, 64 * 16, 0, 0), 0);
	KUNIT_EXPECT_EQ(test, f->cmd.op, VBLK_OP_ERASE);
	KUNIT_ASSERT_EQ(test, f->cmd.nr_ranges, VBLK_MAX_RANGES);
	KUNIT_EXPECT_MEMEQ(test, f->ranges, many, 64 * sizeof(*many));
	KUNIT_ASSERT_EQ(test, parse(f, addr, 65 * 16, 0, 0), 0);
	KUNIT_EXPECT_EQ(test, f->cmd.status, IOERR);
	KUNIT_EXPECT_EQ(test, f->cmd.nr_ranges, 0);
}

/* Broken: the ring's owner is told, no status is written. */
static void no_request(struct kunit *test)
{
	struct fixture *f = fixture(test);
	u64 unmapped = GUEST_BASE + GUEST_SIZE;
	static const u32 w = VIRTQ_SEG_WRITE;
	const struct {
		const char *name;
		int expect;
		struct virtq_seg segs[4];
	} bad[] = {
		{ "header one byte short", -EINVAL, { { f->hdr, 15, 0 }, { f->status, 1, w } } },
		{ "no header", -EINVAL, { { f->status, 1, w } } },
		{ "header writable", -EINVAL, { { f->hdr, 16, w }, { f->status, 1, w } } },
		{ "empty header", -EINVAL, { { f->hdr, 0, 0 }, { f->status, 1, w } } },
		{ "header in two, short", -EINVAL,
		  { { f->hdr, 8, 0 }, { f->hdr + 8, 7, 0 }, { f->status, 1, w } } },
		{ "header not mapped", -EFAULT, { { unmapped, 16, 0 }, { f->status, 1, w } } },
		{ "header half mapped", -EFAULT, { { unmapped - 8, 16, 0 }, { f->status, 1, w } } },
		{ "second half not mapped", -EFAULT,
		  { { f->hdr, 8, 0 }, { unmapped, 8, 0 }, { f->status, 1, w } } },
		{ "header at the end of the world", -EFAULT,
		  { { ~0ULL - 16, 16, 0 }, { f->status, 1, w } } },
		{ "no status", -EINVAL, { { f->hdr, 16, 0 }, { 0x1000, 512, 0 } } },
		{ "empty status", -EINVAL, { { f->hdr, 16, 0 }, { f->status, 0, w } } },
		{ "nothing writable but empty", -EINVAL,
		  { { f->hdr, 16, 0 }, { 0x1000, 0, w }, { f->status, 0, w } } },
	};
	unsigned int i, n;

	header(f, VIRTIO_BLK_T_FLUSH, 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(&f->chain, 0, sizeof(f->chain));
		f->chain.segs = f->segs;
		for (n = 0; n < 4 && bad[i].segs[n].addr; n++)
			seg(f, bad[i].segs[n].addr, bad[i].segs[n].len, bad[i].segs[n].flags);
		KUNIT_EXPECT_EQ_MSG(test, vblk_parse(&f->lim, &f->g->mem, &f->chain, &f->cmd),
				    bad[i].expect, "%s", bad[i].name);
	}
	header(f, D, 0);
	KUNIT_EXPECT_EQ(test, parse(f, unmapped, 16, 0, 0), -EFAULT);
	KUNIT_EXPECT_EQ(test, parse(f, unmapped - 16, 32, 0, 0), -EFAULT);
}

/* The smallest of all requests: 16 bytes and 1, with empty segments strewn in. */
static void empty_segments(struct kunit *test)
{
	struct fixture *f = fixture(test);

	header(f, VIRTIO_BLK_T_IN, 3);
	f->chain.segs = f->segs;
	seg(f, 0, 0, 0);
	seg(f, f->hdr, 16, 0);
	seg(f, 0, 0, 0);
	seg(f, 0, 0, VIRTQ_SEG_WRITE);
	seg(f, 0x1000, 512, VIRTQ_SEG_WRITE);
	seg(f, 0, 0, VIRTQ_SEG_WRITE);
	seg(f, f->status, 1, VIRTQ_SEG_WRITE);
	seg(f, 0, 0, VIRTQ_SEG_WRITE);
	KUNIT_ASSERT_EQ(test, vblk_parse(&f->lim, &f->g->mem, &f->chain, &f->cmd), 0);
	KUNIT_EXPECT_EQ(test, f->cmd.op, VBLK_OP_READ);
	KUNIT_EXPECT_EQ(test, f->cmd.status_addr, f->status);
	KUNIT_ASSERT_EQ(test, f->cmd.nr_data, 1);
	KUNIT_EXPECT_EQ(test, f->cmd.data->addr, 0x1000);
	KUNIT_EXPECT_EQ(test, f->cmd.len, 512U);
	KUNIT_EXPECT_EQ(test, f->cmd.used_len, 513U);
}

/* A row of the parser's table for each operation, and a name in it. */
static void types(struct kunit *test)
{
	static const struct {
		u32 type;
		const char *name;
	} known[] = {
		{ 0, "read" }, { 1, "write" }, { 4, "flush" }, { 8, "get-id" }, { 11, "discard" },
		{ 13, "write-zeroes" }, { 14, "secure-erase" },
	};
	unsigned int i, type, n = 0;

	for (type = 0; type < 100; type++) {
		const char *name = "unknown";

		for (i = 0; i < ARRAY_SIZE(known); i++)
			if (known[i].type == type)
				name = known[i].name;
		KUNIT_EXPECT_STREQ(test, vblk_type_name(type), name);
		n += strcmp(vblk_type_name(type), "unknown") != 0;
	}
	KUNIT_EXPECT_EQ(test, n, ARRAY_SIZE(known));
	KUNIT_EXPECT_STREQ(test, vblk_type_name(0xffffffff), "unknown");
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(verdict, verdict_gen_params),
	KUNIT_CASE_PARAM(ranges, ranges_gen_params),
	KUNIT_CASE(most_ranges),
	KUNIT_CASE(no_request),
	KUNIT_CASE(empty_segments),
	KUNIT_CASE(types),
	{}
};

static struct kunit_suite req_suite = {
	.name = "req",
	.test_cases = cases,
};

kunit_test_suite(req_suite);
