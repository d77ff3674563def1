// SPDX-License-Identifier: GPL-2.0
/* What the parser may make of a chain, by req.h and virtio 1.4, 5.2.6. */
#include <linux/errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_byteorder.h>

#include "device.h"

void make_limits(struct fuzz_in *in, struct vblk_limits *lim)
{
	const u8 kind = in8(in);

	*lim = (struct vblk_limits){
		.capacity = kind & 1 ? in64(in) >> (kind >> 4 << 2) : 1 << 20,
		.blk_size = 512 << (kind >> 1 & 3),
		.read_only = kind & 8,
		.features = ~(u64)in8(in) << 8 | 0xff,
		.max_data = kind & 16 ? in32(in) : 1 << 20,
		.max_discard_sectors = kind & 32 ? in32(in) : 8192,
		.max_discard_seg = kind & 64 ? in8(in) : 3,
		.max_write_zeroes_sectors = 8192,
		.max_write_zeroes_seg = 1,
		.max_secure_erase_sectors = ~0U,
		.max_secure_erase_seg = 100,
	};
}

/* The chain's segments cut to the bytes from @from on, without empty ones. */
static unsigned int cut(const struct virtq_seg *segs, unsigned int nr, u64 from, u64 len,
			struct virtq_seg *to)
{
	unsigned int i, n = 0;

	for (i = 0; i < nr && len; i++) {
		u64 skip = min_t(u64, from, segs[i].len), part = min(segs[i].len - skip, len);

		from -= skip;
		len -= part;
		if (part)
			to[n++] = (struct virtq_seg){ segs[i].addr + skip, part, segs[i].flags };
	}
	return n;
}

static u64 total(const struct virtq_seg *segs, unsigned int nr)
{
	u64 bytes = 0;

	while (nr--)
		bytes += segs++->len;
	return bytes;
}

static bool range_ok(const struct vblk_limits *lim, u64 sector, u64 sectors)
{
	const u64 unit = lim->blk_size / 512;

	return sector % unit == 0 && sectors % unit == 0 && sector <= lim->capacity &&
	       sectors <= lim->capacity - sector;
}

/* The answer and the lengths when there is nothing to do. */
static void check_answer(const struct vblk_cmd *cmd, u8 status)
{
	CHECK(cmd->op == VBLK_OP_NONE, "%u", cmd->op);
	CHECK(cmd->status == status, "%u, should be %u", cmd->status, status);
	CHECK(!cmd->len && !cmd->nr_data && !cmd->nr_ranges, "%u", cmd->len);
	CHECK(cmd->used_len == cmd->failed_len, "%u", cmd->used_len);
}

static void check_data(const struct virtq_seg *segs, unsigned int nr, u64 from, u64 len,
		       const struct vblk_cmd *cmd)
{
	static struct virtq_seg due[VIRTQ_MAX_NUM];
	unsigned int n = cut(segs, nr, from, len, due);

	CHECK(cmd->status == VIRTIO_BLK_S_OK, "%u", cmd->status);
	CHECK(cmd->len == len, "%u, should be %llu", cmd->len, (unsigned long long)len);
	CHECK(cmd->nr_data == n, "%u, should be %u", cmd->nr_data, n);
	CHECK(n && !memcmp(due, cmd->data, n * sizeof(*due)), "other segments");
}

/* Bytes of segments that are cut somehow, into one piece. False if one is not mapped. */
static bool gather(struct virtq_mem *mem, const struct virtq_seg *segs, unsigned int nr, u64 from,
		   u32 len, void *to)
{
	static struct virtq_seg parts[VIRTQ_MAX_NUM];
	unsigned int i, n = cut(segs, nr, from, len, parts);

	for (i = 0; i < n; i++) {
		if (virtq_mem_read(mem, parts[i].addr, to, parts[i].len))
			return false;
		to = (u8 *)to + parts[i].len;
	}
	return true;
}

static u32 max_sectors(const struct vblk_limits *lim, u32 type)
{
	return type == VIRTIO_BLK_T_DISCARD ? lim->max_discard_sectors :
	       type == VIRTIO_BLK_T_WRITE_ZEROES ? lim->max_write_zeroes_sectors :
	       lim->max_secure_erase_sectors;
}

static u32 max_ranges(const struct vblk_limits *lim, u32 type)
{
	return min(type == VIRTIO_BLK_T_DISCARD ? lim->max_discard_seg :
		   type == VIRTIO_BLK_T_WRITE_ZEROES ? lim->max_write_zeroes_seg :
		   lim->max_secure_erase_seg, (u32)VBLK_MAX_RANGES);
}

/* Ranges: what is left of them, or the status they get. True if they can't be read. */
static bool check_ranges(const struct vblk_limits *lim, struct virtq_mem *mem,
			 const struct virtq_seg *segs, unsigned int nr, int ret,
			 const struct vblk_cmd *cmd)
{
	const u32 flags = cmd->type == VIRTIO_BLK_T_WRITE_ZEROES ?
			  VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
	const u64 bytes = total(segs, nr) - sizeof(struct virtio_blk_outhdr);
	const unsigned int n = bytes / 16;
	unsigned int i, full = 0;
	bool bad = false;

	if (!bytes || bytes % 16 || n > max_ranges(lim, cmd->type)) {
		CHECK(!ret, "%d", ret);
		check_answer(cmd, VIRTIO_BLK_S_IOERR);
		return false;
	}
	for (i = 0; i < n; i++) {
		struct virtio_blk_discard_write_zeroes raw;
		u64 sector;
		u32 sectors;

		if (!gather(mem, segs, nr, 16 + 16 * i, 16, &raw))
			return true;
		sector = le64_to_cpu(raw.sector);
		sectors = le32_to_cpu(raw.num_sectors);
		if (le32_to_cpu(raw.flags) & ~flags) {
			CHECK(!ret, "%d", ret);
			check_answer(cmd, VIRTIO_BLK_S_UNSUPP);
			return false;
		}
		bad |= sectors > max_sectors(lim, cmd->type) || !range_ok(lim, sector, sectors);
		/* Those before a bad one don't matter. */
		if (sectors && !bad && !ret && cmd->op != VBLK_OP_NONE) {
			const struct vblk_range *got = &cmd->ranges[full];

			CHECK(full < cmd->nr_ranges, "%u", cmd->nr_ranges);
			CHECK(got->sector == sector && got->sectors == sectors &&
			      got->flags == le32_to_cpu(raw.flags), "range %u", full);
		}
		full += !!sectors;
	}
	CHECK(!ret, "%d", ret);
	if (bad || !full)
		check_answer(cmd, bad ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
	else
		CHECK(cmd->nr_ranges == full && cmd->status == VIRTIO_BLK_S_OK, "%u, should be %u",
		      cmd->nr_ranges, full);
	return false;
}

static void check_rw(const struct vblk_limits *lim, const struct virtq_seg *segs, unsigned int nr,
		     u64 from, u64 len, u8 op, const struct vblk_cmd *cmd)
{
	if (len > lim->max_data || len % 512 || !range_ok(lim, cmd->sector, len / 512)) {
		check_answer(cmd, VIRTIO_BLK_S_IOERR);
	} else if (!len) {
		check_answer(cmd, VIRTIO_BLK_S_OK);
	} else {
		CHECK(cmd->op == op, "%u", cmd->op);
		check_data(segs, nr, from, len, cmd);
	}
}

static bool modifies(u32 type)
{
	return type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD ||
	       type == VIRTIO_BLK_T_WRITE_ZEROES || type == VIRTIO_BLK_T_SECURE_ERASE;
}

static bool offered(const struct vblk_limits *lim, u32 type)
{
	switch (type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
	case VIRTIO_BLK_T_GET_ID:
		return true;
	case VIRTIO_BLK_T_FLUSH:
		return lim->features & BIT_ULL(VIRTIO_BLK_F_FLUSH);
	case VIRTIO_BLK_T_DISCARD:
		return lim->features & BIT_ULL(VIRTIO_BLK_F_DISCARD);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return lim->features & BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES);
	case VIRTIO_BLK_T_SECURE_ERASE:
		return lim->features & BIT_ULL(VIRTIO_BLK_F_SECURE_ERASE);
	}
	return false;
}

int check_parse(const struct vblk_limits *lim, struct virtq_mem *mem, struct virtq_chain *chain)
{
	static struct virtq_seg segs[VIRTQ_MAX_NUM];
	struct vblk_range *ranges = fuzz_alloc(VBLK_MAX_RANGES * sizeof(*ranges));
	struct vblk_cmd cmd = { .ranges = ranges };
	const unsigned int nr = chain->nr_segs, nr_out = chain->nr_out;
	const struct virtq_seg *in = segs + nr_out, *last = segs + nr;
	struct virtio_blk_outhdr hdr;
	u64 out_len, in_len, room;
	bool readable;
	int ret;

	memcpy(segs, chain->segs, nr * sizeof(*segs));
	out_len = total(segs, nr_out);
	in_len = total(in, nr - nr_out);
	readable = out_len >= sizeof(hdr) && gather(mem, segs, nr_out, 0, sizeof(hdr), &hdr);

	ret = vblk_parse(lim, mem, chain, &cmd);
	if (!readable || !in_len) {
		CHECK(ret == -EINVAL || ret == -EFAULT, "%d", ret);
		CHECK(ret == -EFAULT || out_len < sizeof(hdr) || !in_len, "%d", ret);
		goto out;
	}
	if (ret) {
		/* Nothing else but a range that is not mapped. */
		CHECK(ret == -EFAULT && modifies(cmd.type) && cmd.type != VIRTIO_BLK_T_OUT, "%d",
		      ret);
		CHECK(check_ranges(lim, mem, segs, nr_out, ret, &cmd), "%d", ret);
		goto out;
	}
	while (!last[-1].len)
		last--;
	CHECK(cmd.status_addr == last[-1].addr + last[-1].len - 1, "not the last byte");
	CHECK(cmd.type == le32_to_cpu((__force u32)hdr.type), "%u", cmd.type);
	CHECK(cmd.sector == le64_to_cpu((__force u64)hdr.sector), "%llu",
	      (unsigned long long)cmd.sector);
	room = in_len - 1;
	CHECK(cmd.failed_len == !room, "%u", cmd.failed_len);
	CHECK(cmd.used_len <= in_len, "%u", cmd.used_len);

	if (!offered(lim, cmd.type)) {
		check_answer(&cmd, VIRTIO_BLK_S_UNSUPP);
		goto out;
	}
	if (modifies(cmd.type) && lim->read_only) {
		check_answer(&cmd, VIRTIO_BLK_S_IOERR);
		goto out;
	}
	switch (cmd.type) {
	case VIRTIO_BLK_T_IN:
		check_rw(lim, in, nr - nr_out, 0, room, VBLK_OP_READ, &cmd);
		CHECK(cmd.used_len == (cmd.op == VBLK_OP_NONE ? !room : in_len), "%u",
		      cmd.used_len);
		break;
	case VIRTIO_BLK_T_OUT:
		check_rw(lim, segs, nr_out, sizeof(hdr), out_len - sizeof(hdr), VBLK_OP_WRITE,
			 &cmd);
		CHECK(cmd.used_len == !room, "%u", cmd.used_len);
		break;
	case VIRTIO_BLK_T_GET_ID:
		if (room)
			check_data(in, nr - nr_out, 0, min_t(u64, room, VBLK_ID_BYTES), &cmd);
		else
			check_answer(&cmd, VIRTIO_BLK_S_OK);
		CHECK(cmd.used_len == min_t(u64, room, VBLK_ID_BYTES) + (room <= VBLK_ID_BYTES),
		      "%u", cmd.used_len);
		break;
	case VIRTIO_BLK_T_FLUSH:
		CHECK(cmd.op == VBLK_OP_FLUSH && !cmd.len && !cmd.nr_data && !cmd.nr_ranges, "%u",
		      cmd.op);
		break;
	default:
		CHECK(!check_ranges(lim, mem, segs, nr_out, ret, &cmd), "%d", ret);
	}
out:
	free(ranges);
	return ret;
}
