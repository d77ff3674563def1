/* SPDX-License-Identifier: GPL-2.0 */
/* What the target vblk-record writes down, as read from /dev/vblk-record. */
#ifndef DM_VBLK_RECORD_H
#define DM_VBLK_RECORD_H

#include <linux/types.h>

enum {
	VBLK_RECORD_ARRIVE,	/* a bio on its way to the disk */
	VBLK_RECORD_END,	/* its end */
	VBLK_RECORD_MARK,	/* eight bytes that were written to /dev/vblk-record */
};

enum {
	VBLK_RECORD_READ,
	VBLK_RECORD_WRITE,
	VBLK_RECORD_OTHER,
};

#define VBLK_RECORD_NOWAIT	0x1

/**
 * struct vblk_record - something happened
 * @ns: when; CLOCK_MONOTONIC
 * @of: the same number for the arrival of a bio and its end
 * @sector: where on the device that records
 * @tag: ARRIVE of a WRITE: the first eight bytes of its data; MARK: what was written
 * @len: bytes
 * @what: VBLK_RECORD_ARRIVE, VBLK_RECORD_END, VBLK_RECORD_MARK
 * @op: VBLK_RECORD_READ, VBLK_RECORD_WRITE, VBLK_RECORD_OTHER
 * @flags: VBLK_RECORD_NOWAIT
 * @error: END: not 0 when the disk refused it or failed
 */
struct vblk_record {
	__u64 ns;
	__u64 of;
	__u64 sector;
	__u64 tag;
	__u32 len;
	__u8 what;
	__u8 op;
	__u8 flags;
	__u8 error;
};

#endif /* DM_VBLK_RECORD_H */
