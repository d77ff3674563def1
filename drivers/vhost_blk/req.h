/* SPDX-License-Identifier: GPL-2.0 */
/*
 * virtio-blk requests: from a chain to a command.
 *
 * vblk_parse() reads what the guest wrote once, checks it against the device's limits and leaves
 * a private command behind; whoever carries it out never looks at the guest's header again. Two
 * kinds of failure: -errno says the driver broke the protocol, a status is the request's own and
 * completes normally.
 */
#ifndef _VHOST_BLK_REQ_H
#define _VHOST_BLK_REQ_H

#include <linux/types.h>
#include <linux/virtio_blk.h>

#include "virtq.h"

/** define VBLK_MAX_RANGES - most ranges of one DISCARD, WRITE_ZEROES or SECURE_ERASE */
#define VBLK_MAX_RANGES		64

/** define VBLK_ID_BYTES - length of the serial, padded with NUL */
#define VBLK_ID_BYTES		VIRTIO_BLK_ID_BYTES

/** define VBLK_SECTOR_SHIFT - the protocol counts in units of 512 bytes whatever the block size */
#define VBLK_SECTOR_SHIFT	9

/**
 * struct vblk_limits - what the device allows
 * @capacity: in sectors of 512 bytes; may shrink between two calls
 * @blk_size: logical block size in bytes, a power of two of at least 512
 * @read_only: the device is read-only
 * @features: what the driver acknowledged, as a mask of 1 << VIRTIO_BLK_F_x
 * @max_data: most data bytes of a READ or WRITE
 * @max_discard_sectors: longest range of a DISCARD, as in the configuration space
 * @max_discard_seg: most ranges of a DISCARD
 * @max_write_zeroes_sectors: longest range of a WRITE_ZEROES
 * @max_write_zeroes_seg: most ranges of a WRITE_ZEROES
 * @max_secure_erase_sectors: longest range of a SECURE_ERASE
 * @max_secure_erase_seg: most ranges of a SECURE_ERASE
 * @id: serial, padded with NUL, for whoever answers VBLK_OP_ID; the parser does not look
 */
struct vblk_limits {
	u64 capacity;
	u32 blk_size;
	bool read_only;
	u64 features;
	u32 max_data;
	u32 max_discard_sectors, max_discard_seg;
	u32 max_write_zeroes_sectors, max_write_zeroes_seg;
	u32 max_secure_erase_sectors, max_secure_erase_seg;
	u8 id[VBLK_ID_BYTES];
};

/**
 * enum vblk_op - what is to be done
 * @VBLK_OP_NONE: nothing, &vblk_cmd.status is the answer
 * @VBLK_OP_READ: fill &vblk_cmd.data from &vblk_cmd.sector on
 * @VBLK_OP_WRITE: write &vblk_cmd.data from &vblk_cmd.sector on
 * @VBLK_OP_FLUSH: make completed writes stable
 * @VBLK_OP_DISCARD: forget &vblk_cmd.ranges
 * @VBLK_OP_ZEROES: zero &vblk_cmd.ranges, each with or without unmapping
 * @VBLK_OP_ERASE: erase &vblk_cmd.ranges securely
 * @VBLK_OP_ID: copy &vblk_cmd.len bytes of the serial to &vblk_cmd.data
 */
enum vblk_op {
	VBLK_OP_NONE,
	VBLK_OP_READ,
	VBLK_OP_WRITE,
	VBLK_OP_FLUSH,
	VBLK_OP_DISCARD,
	VBLK_OP_ZEROES,
	VBLK_OP_ERASE,
	VBLK_OP_ID,
};

/**
 * struct vblk_range - one range of a DISCARD, WRITE_ZEROES or SECURE_ERASE
 * @sector: first sector
 * @sectors: length in sectors, not 0
 * @flags: VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP or 0
 */
struct vblk_range {
	u64 sector;
	u32 sectors;
	u32 flags;
};

/**
 * struct vblk_cmd - a request, checked
 * @op: what to do
 * @type: VIRTIO_BLK_T_x as the driver wrote it
 * @sector: first sector (READ, WRITE); else as the driver wrote it
 * @len: bytes in @data
 * @status: VIRTIO_BLK_S_x: the answer if @op is VBLK_OP_NONE, else VIRTIO_BLK_S_OK
 * @status_addr: address of the status byte
 * @used_len: length for the used entry when the request succeeds, or as it is when @op is
 *	VBLK_OP_NONE
 * @failed_len: the same when it fails. The length counts from the first writable byte, so this is 1
 *	(the status) when there is no data before the status and else 0
 * @data: segments of the data within the chain's: header and status cut off, none empty;
 *	NULL if none
 * @nr_data: how many, 0 unless READ, WRITE or ID
 * @ranges: in: the caller's array of VBLK_MAX_RANGES; filled for DISCARD, ZEROES and ERASE
 * @nr_ranges: how many, at least 1 for these and else 0
 */
struct vblk_cmd {
	enum vblk_op op;
	u32 type;
	u64 sector;
	u32 len;
	u8 status;
	u64 status_addr;
	u32 used_len, failed_len;
	struct virtq_seg *data;
	u16 nr_data;
	struct vblk_range *ranges;
	u16 nr_ranges;
};

/**
 * vblk_parse() - make a command of a chain
 * @lim: the device's limits
 * @mem: guest memory the header and the ranges are read from
 * @chain: from virtq_fetch(); its segments are cut in place
 * @cmd: &vblk_cmd.ranges set by the caller, the rest is filled
 *
 * Framing is the driver's choice: header, data and status may be cut or merged anywhere.
 *
 * Return: 0 with @cmd filled, also when the answer is an error status; or what broke the ring:
 *
 * * -EINVAL: fewer readable bytes than a header, or no writable byte for the status
 * * -EFAULT: header or ranges not mapped readable
 */
int vblk_parse(const struct vblk_limits *lim, struct virtq_mem *mem,
	       const struct virtq_chain *chain, struct vblk_cmd *cmd);

/**
 * vblk_type_name() - a request type in words
 * @type: VIRTIO_BLK_T_x
 *
 * Return: a constant string, "unknown" for what vblk_parse() answers with UNSUPP whatever was
 * negotiated.
 */
const char *vblk_type_name(u32 type);

#endif
