// SPDX-License-Identifier: GPL-2.0
/*
 * virtio-blk requests: from a chain to a command.
 */
#include <linux/errno.h>
#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/virtio_blk.h>
#include <asm/byteorder.h>
#include <linux/virtio_byteorder.h>

#include "req.h"
#include "virtq_mem.h"

/**
 * enum vblk_payload - what a request carries besides header and status
 * @VBLK_PAYLOAD_NONE: nothing; what is there is ignored
 * @VBLK_PAYLOAD_IN: writable data, whole blocks
 * @VBLK_PAYLOAD_OUT: readable data, whole blocks
 * @VBLK_PAYLOAD_ID: writable, the serial
 * @VBLK_PAYLOAD_RANGES: readable, an array of ranges
 */
enum vblk_payload {
	VBLK_PAYLOAD_NONE,
	VBLK_PAYLOAD_IN,
	VBLK_PAYLOAD_OUT,
	VBLK_PAYLOAD_ID,
	VBLK_PAYLOAD_RANGES,
};

/**
 * struct vblk_req_def - a request type
 * @name: for people
 * @op: what it becomes
 * @payload: what it carries
 * @modifies: refused on a read-only device
 * @feature: what the driver must have acknowledged, 0: nothing
 * @range_flags: flags a range may have
 * @max_sectors: offset in &struct vblk_limits of the longest range
 * @max_seg: offset in &struct vblk_limits of the most ranges
 *
 * To add a type: a row here, a value of enum vblk_op and whoever carries it out.
 */
struct vblk_req_def {
	const char *name;
	u8 op;
	u8 payload;
	bool modifies;
	u64 feature;
	u32 range_flags;
	u16 max_sectors, max_seg;
};

#define VBLK_RANGE_LIMITS(what)							\
	.max_sectors = offsetof(struct vblk_limits, max_##what##_sectors),	\
	.max_seg = offsetof(struct vblk_limits, max_##what##_seg)

/* A type without a row, or with an empty one, is UNSUPP. */
static const struct vblk_req_def vblk_req_defs[] = {
	[VIRTIO_BLK_T_IN] = {
		.name		= "read",
		.op		= VBLK_OP_READ,
		.payload	= VBLK_PAYLOAD_IN,
	},
	[VIRTIO_BLK_T_OUT] = {
		.name		= "write",
		.op		= VBLK_OP_WRITE,
		.payload	= VBLK_PAYLOAD_OUT,
		.modifies	= true,
	},
	[VIRTIO_BLK_T_FLUSH] = {
		.name		= "flush",
		.op		= VBLK_OP_FLUSH,
		.feature	= BIT_ULL(VIRTIO_BLK_F_FLUSH),
	},
	[VIRTIO_BLK_T_GET_ID] = {
		.name		= "get-id",
		.op		= VBLK_OP_ID,
		.payload	= VBLK_PAYLOAD_ID,
	},
	[VIRTIO_BLK_T_DISCARD] = {
		.name		= "discard",
		.op		= VBLK_OP_DISCARD,
		.payload	= VBLK_PAYLOAD_RANGES,
		.modifies	= true,
		.feature	= BIT_ULL(VIRTIO_BLK_F_DISCARD),
		VBLK_RANGE_LIMITS(discard),
	},
	[VIRTIO_BLK_T_WRITE_ZEROES] = {
		.name		= "write-zeroes",
		.op		= VBLK_OP_ZEROES,
		.payload	= VBLK_PAYLOAD_RANGES,
		.modifies	= true,
		.feature	= BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES),
		.range_flags	= VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
		VBLK_RANGE_LIMITS(write_zeroes),
	},
	[VIRTIO_BLK_T_SECURE_ERASE] = {
		.name		= "secure-erase",
		.op		= VBLK_OP_ERASE,
		.payload	= VBLK_PAYLOAD_RANGES,
		.modifies	= true,
		.feature	= BIT_ULL(VIRTIO_BLK_F_SECURE_ERASE),
		VBLK_RANGE_LIMITS(secure_erase),
	},
};

static_assert(ARRAY_SIZE(vblk_req_defs) == VIRTIO_BLK_T_SECURE_ERASE + 1);
static_assert(sizeof(struct virtio_blk_outhdr) == 16);
static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16);
static_assert(offsetof(struct vblk_limits, id) < U16_MAX);

static const struct vblk_req_def *vblk_req_def(u32 type)
{
	if (type >= ARRAY_SIZE(vblk_req_defs) || !vblk_req_defs[type].name)
		return NULL;
	return &vblk_req_defs[type];
}

const char *vblk_type_name(u32 type)
{
	const struct vblk_req_def *def = vblk_req_def(type);

	return def ? def->name : "unknown";
}

static u32 vblk_limit(const struct vblk_limits *lim, u16 offset)
{
	return *(const u32 *)((const char *)lim + offset);
}

/**
 * struct vblk_cursor - a run of segments that is being eaten from the front
 * @seg: first segment left, already cut
 * @nr: segments left
 */
struct vblk_cursor {
	struct virtq_seg *seg;
	unsigned int nr;
};

/* The next @len bytes, whatever they are cut into. -EINVAL if there aren't so many. */
static noinline int vblk_gather(struct virtq_mem *mem, struct vblk_cursor *cur, void *dst, u32 len)
{
	for (;;) {
		struct virtq_seg *seg = cur->seg;
		u32 n;
		int ret;

		if (!cur->nr)
			return -EINVAL;
		n = min(seg->len, len);
		ret = virtq_mem_read(mem, seg->addr, dst, n);
		if (ret)
			return ret;
		seg->addr += n;
		seg->len -= n;
		if (!seg->len) {
			cur->seg++;
			cur->nr--;
		}
		len -= n;
		if (!len)
			return 0;
		dst = (char *)dst + n;
	}
}

/* The same, where it is nearly always one segment's. */
static __always_inline int vblk_take(struct virtq_mem *mem, struct vblk_cursor *cur, void *dst,
				     u32 len)
{
	struct virtq_seg *seg = cur->seg;
	u32 seg_len;
	u64 addr;

	if (unlikely(!cur->nr || seg->len < len))
		return vblk_gather(mem, cur, dst, len);
	addr = seg->addr;
	seg_len = seg->len;
	if (likely(seg_len == len)) {
		cur->seg++;
		cur->nr--;
	} else {
		seg->addr = addr + len;
		seg->len = seg_len - len;
	}
	return virtq_mem_read(mem, addr, dst, len);
}

static noinline void vblk_drop_empty(struct vblk_cursor *cur)
{
	struct virtq_seg *from = cur->seg, *to = from, *end = from + cur->nr;

	for (; from < end; from++)
		if (from->len)
			*to++ = *from;
	cur->nr = to - cur->seg;
}

/* Drops empty segments. Returns the bytes in what is left. */
static __always_inline u64 vblk_pack(struct vblk_cursor *cur)
{
	bool empty = false;
	unsigned int i;
	u64 bytes = 0;

	for (i = 0; i < cur->nr; i++) {
		u32 len = cur->seg[i].len;

		bytes += len;
		empty |= !len;
	}
	if (unlikely(empty))
		vblk_drop_empty(cur);
	return bytes;
}

/* Keeps the first @len bytes of packed segments, which have as many. */
static void vblk_cut(struct vblk_cursor *cur, u32 len)
{
	unsigned int i;

	for (i = 0; len; i++) {
		cur->seg[i].len = min(cur->seg[i].len, len);
		len -= cur->seg[i].len;
	}
	cur->nr = i;
}

static bool vblk_range_ok(const struct vblk_limits *lim, u64 sector, u64 sectors)
{
	u64 blk_mask = (lim->blk_size >> VBLK_SECTOR_SHIFT) - 1;

	return !((sector | sectors) & blk_mask) &&
	       sector <= lim->capacity && sectors <= lim->capacity - sector;
}

static u8 vblk_prep_data(const struct vblk_limits *lim, struct vblk_cmd *cmd, u64 bytes)
{
	if (bytes > lim->max_data || (bytes & (BIT(VBLK_SECTOR_SHIFT) - 1)))
		return VIRTIO_BLK_S_IOERR;
	if (!vblk_range_ok(lim, cmd->sector, bytes >> VBLK_SECTOR_SHIFT))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

/*
 * Reads the ranges one by one. A flag that isn't known outranks whatever is wrong with the numbers;
 * empty ranges are left out. Returns VIRTIO_BLK_S_x or -errno.
 */
static int vblk_prep_ranges(const struct vblk_limits *lim, const struct vblk_req_def *def,
			    struct virtq_mem *mem, struct vblk_cursor *cur, u64 bytes,
			    struct vblk_cmd *cmd)
{
	u32 max_sectors = vblk_limit(lim, def->max_sectors);
	u64 n = bytes / sizeof(struct virtio_blk_discard_write_zeroes);
	u8 status = VIRTIO_BLK_S_OK;
	int ret;

	if (!n || bytes % sizeof(struct virtio_blk_discard_write_zeroes) ||
	    n > min_t(u32, vblk_limit(lim, def->max_seg), VBLK_MAX_RANGES))
		return VIRTIO_BLK_S_IOERR;

	for (; n; n--) {
		struct virtio_blk_discard_write_zeroes raw;
		struct vblk_range *range = &cmd->ranges[cmd->nr_ranges];

		ret = vblk_take(mem, cur, &raw, sizeof(raw));
		if (ret)
			return ret;
		range->sector = le64_to_cpu(raw.sector);
		range->sectors = le32_to_cpu(raw.num_sectors);
		range->flags = le32_to_cpu(raw.flags);

		if (range->flags & ~def->range_flags)
			return VIRTIO_BLK_S_UNSUPP;
		if (range->sectors > max_sectors ||
		    !vblk_range_ok(lim, range->sector, range->sectors))
			status = VIRTIO_BLK_S_IOERR;
		if (range->sectors)
			cmd->nr_ranges++;
	}
	return status;
}

/* The last byte the device may write, cut off. False if there is none. */
static __always_inline bool vblk_cut_status(struct vblk_cursor *in, u64 *addr)
{
	while (in->nr) {
		struct virtq_seg *seg = &in->seg[in->nr - 1];

		if (likely(seg->len)) {
			*addr = seg->addr + --seg->len;
			in->nr -= !seg->len;
			return true;
		}
		in->nr--;
	}
	return false;
}

/* The answer is known. */
static int vblk_answer(struct vblk_cmd *cmd, u8 status)
{
	cmd->op = VBLK_OP_NONE;
	cmd->status = status;
	cmd->used_len = cmd->failed_len;
	cmd->len = 0;
	cmd->nr_data = 0;
	cmd->nr_ranges = 0;
	return 0;
}

int vblk_parse(const struct vblk_limits *lim, struct virtq_mem *mem,
	       const struct virtq_chain *chain, struct vblk_cmd *cmd)
{
	struct vblk_cursor out = { chain->segs, chain->nr_out };
	struct vblk_cursor in = { chain->segs + chain->nr_out, chain->nr_segs - chain->nr_out };
	const struct vblk_req_def *def;
	struct virtio_blk_outhdr hdr;
	struct vblk_cursor *data;
	u64 room, bytes;
	int ret;

	ret = vblk_take(mem, &out, &hdr, sizeof(hdr));
	if (unlikely(ret))
		return ret;
	if (unlikely(!vblk_cut_status(&in, &cmd->status_addr)))
		return -EINVAL;
	room = vblk_pack(&in);

	cmd->type = __virtio32_to_cpu(true, hdr.type);
	cmd->sector = __virtio64_to_cpu(true, hdr.sector);
	cmd->status = VIRTIO_BLK_S_OK;
	cmd->failed_len = !room;
	cmd->used_len = cmd->failed_len;
	cmd->len = 0;
	cmd->data = NULL;
	cmd->nr_data = 0;
	cmd->nr_ranges = 0;

	def = vblk_req_def(cmd->type);
	if (unlikely(!def || (def->feature && !(lim->features & def->feature))))
		return vblk_answer(cmd, VIRTIO_BLK_S_UNSUPP);
	if (unlikely(def->modifies && lim->read_only))
		return vblk_answer(cmd, VIRTIO_BLK_S_IOERR);
	cmd->op = def->op;

	switch (def->payload) {
	case VBLK_PAYLOAD_NONE:
		return 0;
	case VBLK_PAYLOAD_IN:
		data = &in;
		bytes = room;
		ret = vblk_prep_data(lim, cmd, bytes);
		break;
	case VBLK_PAYLOAD_OUT:
		data = &out;
		bytes = vblk_pack(&out);
		ret = vblk_prep_data(lim, cmd, bytes);
		break;
	case VBLK_PAYLOAD_ID:
		data = &in;
		bytes = min_t(u64, room, VBLK_ID_BYTES);
		vblk_cut(&in, bytes);
		ret = VIRTIO_BLK_S_OK;
		break;
	default:
		bytes = vblk_pack(&out);
		ret = vblk_prep_ranges(lim, def, mem, &out, bytes, cmd);
		if (ret || !cmd->nr_ranges)
			return ret < 0 ? ret : vblk_answer(cmd, ret);
		return 0;
	}

	/* Nothing to transfer is no error, but nothing to do either. */
	if (unlikely(ret || !bytes))
		return vblk_answer(cmd, ret);
	cmd->len = bytes;
	cmd->data = data->seg;
	cmd->nr_data = data->nr;
	/* Data that fills everything before the status is written in one piece with it. */
	if (data == &in)
		cmd->used_len = bytes + (bytes == room);
	return 0;
}
