// SPDX-License-Identifier: GPL-2.0
/*
 * virtio-blk requests cut anywhere. A request is two streams of bytes, one to read (header, data)
 * and one to write (data, status); the driver may cut each into segments as it likes, and nothing
 * but where the segments of the data are may depend on it.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/virtio_byteorder.h>

#include "guest.h"
#include "../drivers/vhost_blk/req.h"

#define HDR		16
#define MAX_CUTS	16
#define GAP		32	/* between segments, so that no two touch */
#define SECTOR		40

struct stream {
	u64 addr;		/* of byte 0 */
	u32 len;
	unsigned int nr_cuts;
	u32 cuts[MAX_CUTS];	/* ascending, each 0 to len */
};

struct framing {
	struct kunit *test;
	struct guest *g;
	u32 brk;		/* of the guest's memory before the streams */
	struct vblk_limits lim;
	struct vblk_cmd cmd;
	struct vblk_range ranges[VBLK_MAX_RANGES];
	struct virtq_seg segs[2 * (MAX_CUTS + 1)];
	struct virtq_chain chain;
	struct stream out, in;
	u32 type;
	u64 parsed;
};

static u64 stream_addr(const struct stream *s, u32 pos)
{
	u64 addr = s->addr + pos;
	unsigned int i;

	for (i = 0; i < s->nr_cuts; i++)
		addr += s->cuts[i] <= pos ? GAP : 0;
	return addr;
}

static void stream_segs(struct framing *f, const struct stream *s, u32 flags)
{
	u32 from = 0;
	unsigned int i;

	for (i = 0; i <= s->nr_cuts; i++) {
		u32 to = i < s->nr_cuts ? s->cuts[i] : s->len;
		u64 addr = from < to ? stream_addr(s, from) : 0;

		f->segs[f->chain.nr_segs++] = (struct virtq_seg){ addr, to - from, flags };
		from = to;
	}
}

/* Fills the readable stream byte by byte. */
static void stream_write(struct framing *f, u32 pos, const void *data, u32 len)
{
	u32 i;

	for (i = 0; i < len; i++)
		*(u8 *)guest_ptr(f->g, stream_addr(&f->out, pos + i), 1) = ((const u8 *)data)[i];
}

/* The data must be bytes @from to @to of the stream: the same segments, cut off at the ends. */
static void expect_data(struct framing *f, const struct stream *s, u32 from, u32 to)
{
	struct kunit *test = f->test;
	const struct virtq_seg *seg = f->cmd.data;
	u32 pos = from;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, f->cmd.len, to - from);
	for (i = 0; i < f->cmd.nr_data; i++, seg++) {
		KUNIT_ASSERT_TRUE(test, seg->len && seg->len <= to - pos);
		KUNIT_ASSERT_EQ(test, seg->addr, stream_addr(s, pos));
		KUNIT_ASSERT_EQ(test, seg->addr + seg->len - 1,
				stream_addr(s, pos + seg->len - 1));
		pos += seg->len;
	}
	KUNIT_ASSERT_EQ(test, pos, to);
}

static void parse(struct framing *f)
{
	struct virtio_blk_outhdr hdr = {
		.type = __cpu_to_virtio32(true, f->type),
		.sector = __cpu_to_virtio64(true, SECTOR),
	};
	struct virtio_blk_discard_write_zeroes range = {
		.sector = cpu_to_le64(0x1122334455667ULL),
		.num_sectors = cpu_to_le32(0x89abcd),
	};
	struct kunit *test = f->test;
	u32 room = f->in.len - 1, pos;

	f->g->brk = f->brk;
	f->out.addr = guest_alloc(f->g, f->out.len + f->out.nr_cuts * GAP);
	f->in.addr = 0x7000000000ULL;
	stream_write(f, 0, &hdr, HDR);
	if (f->type == VIRTIO_BLK_T_DISCARD)
		for (pos = HDR; pos < f->out.len; pos += sizeof(range))
			stream_write(f, pos, &range, sizeof(range));

	memset(&f->chain, 0, sizeof(f->chain));
	f->chain.segs = f->segs;
	stream_segs(f, &f->out, 0);
	f->chain.nr_out = f->chain.nr_segs;
	stream_segs(f, &f->in, VIRTQ_SEG_WRITE);
	f->cmd.ranges = f->ranges;
	KUNIT_ASSERT_EQ(test, vblk_parse(&f->lim, &f->g->mem, &f->chain, &f->cmd), 0);
	f->parsed++;

	KUNIT_ASSERT_EQ(test, f->cmd.type, f->type);
	KUNIT_ASSERT_EQ(test, f->cmd.sector, (u64)SECTOR);
	KUNIT_ASSERT_EQ(test, f->cmd.status, VIRTIO_BLK_S_OK);
	KUNIT_ASSERT_EQ(test, f->cmd.status_addr, stream_addr(&f->in, room));
	KUNIT_ASSERT_EQ(test, f->cmd.failed_len, (u32)!room);
	switch (f->type) {
	case VIRTIO_BLK_T_IN:
		KUNIT_ASSERT_EQ(test, f->cmd.op, VBLK_OP_READ);
		KUNIT_ASSERT_EQ(test, f->cmd.used_len, room + 1);
		expect_data(f, &f->in, 0, room);
		break;
	case VIRTIO_BLK_T_OUT:
		KUNIT_ASSERT_EQ(test, f->cmd.op, VBLK_OP_WRITE);
		KUNIT_ASSERT_EQ(test, f->cmd.used_len, 1U);
		expect_data(f, &f->out, HDR, f->out.len);
		break;
	case VIRTIO_BLK_T_GET_ID:
		KUNIT_ASSERT_EQ(test, f->cmd.op, VBLK_OP_ID);
		KUNIT_ASSERT_EQ(test, f->cmd.used_len,
				room > VBLK_ID_BYTES ? VBLK_ID_BYTES : room + 1);
		expect_data(f, &f->in, 0, min_t(u32, room, VBLK_ID_BYTES));
		break;
	case VIRTIO_BLK_T_DISCARD:
		KUNIT_ASSERT_EQ(test, f->cmd.op, VBLK_OP_DISCARD);
		KUNIT_ASSERT_EQ(test, f->cmd.nr_ranges, (f->out.len - HDR) / 16);
		for (pos = 0; pos < f->cmd.nr_ranges; pos++) {
			KUNIT_ASSERT_EQ(test, f->ranges[pos].sector, 0x1122334455667ULL);
			KUNIT_ASSERT_EQ(test, f->ranges[pos].sectors, 0x89abcdU);
			KUNIT_ASSERT_EQ(test, f->ranges[pos].flags, 0U);
		}
		break;
	}
}

static struct framing *framing(struct kunit *test, u32 type, u32 out, u32 in, u32 blk_size)
{
	struct framing *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->test = test;
	f->g = guest_new(test, &(struct guest_opts){ .num = 2 });
	f->brk = f->g->brk;
	f->type = type;
	f->out.len = HDR + out;
	f->in.len = in + 1;
	f->lim.capacity = ~0ULL >> 9;
	f->lim.blk_size = blk_size;
	f->lim.features = ~0ULL;
	f->lim.max_data = 64 << 20;
	f->lim.max_discard_sectors = ~0U;
	f->lim.max_discard_seg = VBLK_MAX_RANGES;
	return f;
}

struct kind {
	const char *name;
	u32 type, out, in, blk_size;
};

static const struct kind kinds[] = {
	{ "read of 512", VIRTIO_BLK_T_IN, 0, 512, 512 },
	{ "read of 1024", VIRTIO_BLK_T_IN, 0, 1024, 512 },
	{ "read of 4096", VIRTIO_BLK_T_IN, 0, 4096, 512 },
	{ "read of 8192, blocks of 4096", VIRTIO_BLK_T_IN, 0, 8192, 4096 },
	{ "write of 512", VIRTIO_BLK_T_OUT, 512, 0, 512 },
	{ "write of 1024", VIRTIO_BLK_T_OUT, 1024, 0, 512 },
	{ "write of 4096", VIRTIO_BLK_T_OUT, 4096, 0, 512 },
	{ "write of 8192, blocks of 4096", VIRTIO_BLK_T_OUT, 8192, 0, 4096 },
	{ "discard of two ranges", VIRTIO_BLK_T_DISCARD, 32, 0, 512 },
	{ "id", VIRTIO_BLK_T_GET_ID, 0, 20, 512 },
	{ "id into more", VIRTIO_BLK_T_GET_ID, 0, 50, 512 },
	{ "id into less", VIRTIO_BLK_T_GET_ID, 0, 3, 512 },
};

static void describe(const struct kind *k, char *desc)
{
	strscpy(desc, k->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(kind, kinds, describe);

static const u32 edges[] = { 0, 1, 8, 15, 16, 17, 511, 512, 513, 527, 528, 529, 4095, 4096, 4097 };

/* One or two cuts in each stream, at the places where something ends or almost does. */
static void at_edges(struct kunit *test)
{
	const struct kind *k = test->param_value;
	struct framing *f = framing(test, k->type, k->out, k->in, k->blk_size);
	unsigned int a, b, c, d;

	for (a = 0; a < ARRAY_SIZE(edges); a++)
		for (b = a; b < ARRAY_SIZE(edges); b++)
			for (c = 0; c < ARRAY_SIZE(edges); c++)
				for (d = c; d < ARRAY_SIZE(edges); d += 3) {
					f->out.nr_cuts = 2;
					f->out.cuts[0] = min(edges[a], f->out.len);
					f->out.cuts[1] = min(edges[b], f->out.len);
					f->in.nr_cuts = 2;
					f->in.cuts[0] = min(edges[c], f->in.len);
					f->in.cuts[1] = min(edges[d], f->in.len);
					parse(f);
				}
}

/* One cut, everywhere. */
static void one_cut(struct kunit *test)
{
	const struct kind *k = test->param_value;
	struct framing *f = framing(test, k->type, k->out, k->in, k->blk_size);
	u32 cut;

	for (cut = 0; cut <= max(f->out.len, f->in.len); cut++) {
		f->out.nr_cuts = cut <= f->out.len;
		f->out.cuts[0] = cut;
		f->in.nr_cuts = cut <= f->in.len;
		f->in.cuts[0] = cut;
		parse(f);
	}
}

/* Two cuts in the header and what follows it, everywhere. */
static void two_cuts(struct kunit *test)
{
	const struct kind *k = test->param_value;
	struct framing *f = framing(test, k->type, k->out, k->in, k->blk_size);
	u32 a, b;

	f->out.nr_cuts = 2;
	f->in.nr_cuts = 2;
	for (a = 0; a <= 50; a++)
		for (b = a; b <= 50; b++) {
			f->out.cuts[0] = min(a, f->out.len);
			f->out.cuts[1] = min(b, f->out.len);
			/* From the end, where the status is. */
			f->in.cuts[0] = f->in.len - min(b, f->in.len);
			f->in.cuts[1] = f->in.len - min(a, f->in.len);
			parse(f);
		}
}

/* Every byte of the header a segment of its own, and of the last data and the status. */
static void crumbs(struct kunit *test)
{
	const struct kind *k = test->param_value;
	struct framing *f = framing(test, k->type, k->out, k->in, k->blk_size);
	unsigned int i;

	f->out.nr_cuts = HDR;
	f->in.nr_cuts = min_t(u32, f->in.len, MAX_CUTS);
	for (i = 0; i < f->out.nr_cuts; i++)
		f->out.cuts[i] = i + 1;
	for (i = 0; i < f->in.nr_cuts; i++)
		f->in.cuts[i] = f->in.len - f->in.nr_cuts + i;
	parse(f);
}

static void random_cuts(struct framing *f, struct stream *s, u64 *seed)
{
	unsigned int i, j;

	s->nr_cuts = guest_rand(seed) % (MAX_CUTS + 1);
	for (i = 0; i < s->nr_cuts; i++) {
		u32 cut = guest_rand(seed) % (s->len + 1);

		for (j = i; j && s->cuts[j - 1] > cut; j--)
			s->cuts[j] = s->cuts[j - 1];
		s->cuts[j] = cut;
	}
}

static void at_random(struct kunit *test)
{
	const struct kind *k = test->param_value;
	struct framing *f = framing(test, k->type, k->out, k->in, k->blk_size);
	u64 seed = 4711 + k->type + k->out + k->in;

	while (f->parsed < 3000) {
		random_cuts(f, &f->out, &seed);
		random_cuts(f, &f->in, &seed);
		parse(f);
	}
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(at_edges, kind_gen_params),
	KUNIT_CASE_PARAM(one_cut, kind_gen_params),
	KUNIT_CASE_PARAM(two_cuts, kind_gen_params),
	KUNIT_CASE_PARAM(crumbs, kind_gen_params),
	KUNIT_CASE_PARAM(at_random, kind_gen_params),
	{}
};

static struct kunit_suite req_framing_suite = {
	.name = "req_framing",
	.test_cases = cases,
};

kunit_test_suite(req_framing_suite);
