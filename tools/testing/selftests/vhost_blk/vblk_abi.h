/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the specification and linux/vhost.h of newer kernels define and the headers of the machine that builds the tests may
 * not.  Rings are native little endian here: the tests run on x86-64.
 */
#ifndef VBLK_ABI_H
#define VBLK_ABI_H

#include <linux/types.h>
#include <linux/vhost.h>

#define VD_BIT(n)			(1ULL << (n))

#ifndef VHOST_VDPA_RESUME
#define VHOST_VDPA_RESUME		_IO(VHOST_VIRTIO, 0x7E)
#endif
#ifndef VHOST_VDPA_GET_VRING_DESC_GROUP
#define VHOST_VDPA_GET_VRING_DESC_GROUP	_IOWR(VHOST_VIRTIO, 0x7F, struct vhost_vring_state)
#endif
#ifndef VHOST_VDPA_GET_VRING_SIZE
#define VHOST_VDPA_GET_VRING_SIZE	_IOWR(VHOST_VIRTIO, 0x82, struct vhost_vring_state)
#endif

/* Backend features, as bits */
#define VD_BE_MSG_V2			VD_BIT(1)
#define VD_BE_BATCH			VD_BIT(2)
#define VD_BE_SUSPEND			VD_BIT(4)
#define VD_BE_RESUME			VD_BIT(5)
#define VD_BE_ENABLE_AFTER		VD_BIT(6)
#define VD_BE_PERSIST			VD_BIT(8)
#define VD_BE_LOG			VD_BIT(48)
#define VD_BE_STOP			VD_BIT(49)
#define VD_BE_ALL			(VD_BE_MSG_V2 | VD_BE_BATCH | VD_BE_SUSPEND | VD_BE_RESUME | \
					 VD_BE_ENABLE_AFTER | VD_BE_PERSIST | VD_BE_LOG | \
					 VD_BE_STOP)

/* Device status */
#define VD_S_ACK			1
#define VD_S_DRIVER			2
#define VD_S_DRIVER_OK			4
#define VD_S_FEATURES_OK		8
#define VD_S_NEEDS_RESET		0x40
#define VD_S_FAILED			0x80

/* Features */
#define VD_F_SIZE_MAX			VD_BIT(1)
#define VD_F_SEG_MAX			VD_BIT(2)
#define VD_F_RO				VD_BIT(5)
#define VD_F_BLK_SIZE			VD_BIT(6)
#define VD_F_FLUSH			VD_BIT(9)
#define VD_F_TOPOLOGY			VD_BIT(10)
#define VD_F_MQ				VD_BIT(12)
#define VD_F_DISCARD			VD_BIT(13)
#define VD_F_WRITE_ZEROES		VD_BIT(14)
#define VD_F_SECURE_ERASE		VD_BIT(16)
#define VD_F_INDIRECT			VD_BIT(28)
#define VD_F_EVENT_IDX			VD_BIT(29)
#define VD_F_VERSION_1			VD_BIT(32)
#define VD_F_ACCESS_PLATFORM		VD_BIT(33)
#define VD_F_PACKED			VD_BIT(34)
#define VD_F_IN_ORDER			VD_BIT(35)
#define VD_F_PARTIAL_ORDER		VD_BIT(39)

/* Requests */
#define VD_T_IN				0
#define VD_T_OUT			1
#define VD_T_SCSI			2
#define VD_T_FLUSH			4
#define VD_T_GET_ID			8
#define VD_T_GET_LIFETIME		10
#define VD_T_DISCARD			11
#define VD_T_WRITE_ZEROES		13
#define VD_T_SECURE_ERASE		14
#define VD_T_ZONE_APPEND		15

#define VD_OK				0
#define VD_IOERR			1
#define VD_UNSUPP			2

struct vd_hdr {
	__u32 type;
	__u32 ioprio;
	__u64 sector;
};

/* A segment of DISCARD, WRITE_ZEROES and SECURE_ERASE */
struct vd_range {
	__u64 sector;
	__u32 num;
	__u32 flags;		/* bit 0: unmap */
};

/* struct virtio_blk_config up to the end of secure erase */
struct vd_blk_config {
	__u64 capacity;
	__u32 size_max;
	__u32 seg_max;
	__u8  geometry[4];
	__u32 blk_size;
	__u8  physical_block_exp;
	__u8  alignment_offset;
	__u16 min_io_size;
	__u32 opt_io_size;
	__u8  writeback;
	__u8  unused0;
	__u16 num_queues;
	__u32 max_discard_sectors;
	__u32 max_discard_seg;
	__u32 discard_sector_alignment;
	__u32 max_write_zeroes_sectors;
	__u32 max_write_zeroes_seg;
	__u8  write_zeroes_may_unmap;
	__u8  unused1[3];
	__u32 max_secure_erase_sectors;
	__u32 max_secure_erase_seg;
	__u32 secure_erase_sector_alignment;
} __attribute__((packed));

_Static_assert(sizeof(struct vd_blk_config) == 72, "virtio_blk_config");

/* Split ring */
#define VD_DESC_NEXT			1
#define VD_DESC_WRITE			2
#define VD_DESC_INDIRECT		4
#define VD_AVAIL_NO_INTERRUPT		1
#define VD_USED_NO_NOTIFY		1

struct vd_desc {
	__u64 addr;
	__u32 len;
	__u16 flags;
	__u16 next;
};

struct vd_avail {
	__u16 flags;
	__u16 idx;
	__u16 ring[];		/* then used_event */
};

struct vd_used_elem {
	__u32 id;
	__u32 len;
};

struct vd_used {
	__u16 flags;
	__u16 idx;
	struct vd_used_elem ring[];	/* then avail_event */
};

#define vd_used_event(q)		(&(q)->avail->ring[(q)->num])
#define vd_avail_event(q)		((__u16 *)&(q)->used->ring[(q)->num])

/* Packed ring, as masks */
#define VD_PACKED_AVAIL			0x80
#define VD_PACKED_USED			0x8000
#define VD_PACKED_WRAP			0x8000

#endif /* VBLK_ABI_H */
