/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * vhost-inflight: the ioctls of /dev/vhost-blk-NAME that vhost-vdpa does not have.
 *
 * The node speaks the vhost-vdpa uAPI (linux/vhost.h) to whoever drives the device.  What is
 * declared here is for whoever looks after it: a supervisor holds the node open beside the VMM and
 * never becomes the owner.
 */
#ifndef _UAPI_LINUX_VHOST_INFLIGHT_H
#define _UAPI_LINUX_VHOST_INFLIGHT_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * DOC: General ioctl format
 *
 * Every struct below starts with @size, which userspace sets to the sizeof() it was built with.  A
 * kernel that knows more fields fills the first @size bytes; a kernel that knows fewer fills what
 * it knows, sets the rest to zero and stores in @size what it filled.  All numbers are in native
 * byte order.  Unless said otherwise none of the ioctls needs ownership, blocks, or changes the
 * device.
 *
 * The meaning of an errno is the same for all of them:
 *
 *  - EFAULT: the argument is not readable or not writable memory.
 *  - EINVAL: @size is smaller than the first version of the struct, or a reserved field is not
 *    zero.
 *  - E2BIG: @size is larger than a page.
 *  - ENOBUFS: there is no queue with this index (the errno of vhost's own vring ioctls).
 *  - ENOTTY: this kernel does not know the ioctl.
 */

/*
 * Far above the numbers that vhost hands out upwards from 0x00 (0x85 is the highest in Linux 7.2).
 */
#define VHOST_INFLIGHT_IOCTL	0xAF

/*
 * enum vhost_inflight_state - where a device stands; the order is not a promise, the numbers are.
 */
enum vhost_inflight_state {
	VHOST_INFLIGHT_STATE_FREE	= 0,	/* nobody owns it */
	VHOST_INFLIGHT_STATE_OWNED	= 1,	/* owned, DRIVER_OK not set */
	VHOST_INFLIGHT_STATE_RUNNING	= 2,	/* DRIVER_OK set, queues are served */
	VHOST_INFLIGHT_STATE_SUSPENDED	= 3,	/* VHOST_VDPA_SUSPEND succeeded */
	VHOST_INFLIGHT_STATE_ERROR	= 4,	/* DEVICE_NEEDS_RESET: a queue is broken */
};

#define VHOST_INFLIGHT_NAME_LEN		32
#define VHOST_INFLIGHT_SERIAL_LEN	20	/* VIRTIO_BLK_ID_BYTES */
#define VHOST_INFLIGHT_ENGINE_LEN	32

/**
 * struct vhost_inflight_info - argument of VHOST_INFLIGHT_GET_INFO
 * @size: in: sizeof() of the caller's struct; out: bytes filled
 * @state: enum vhost_inflight_state
 * @name: name of the device, NUL terminated
 * @engine: name and version of the engine that serves it, NUL terminated; empty when there is none
 * @serial: what GET_ID answers, padded with NUL, not terminated when it has 20 characters
 * @features: virtio feature bits the device offers
 * @acked_features: virtio feature bits the driver took
 * @backend_features: vhost backend feature bits (1ULL << VHOST_BACKEND_F_x) the owner took
 * @capacity: in units of 512 bytes
 * @owner_pid: thread group of the owner in the caller's PID namespace; 0 when there is none or it
 *         is not visible
 * @status: virtio device status byte
 * @read_only: 1 when writes are refused
 * @num_queues: number of virtqueues
 * @queue_size: largest size of a virtqueue
 * @logical_block_size: bytes, what config space announces as blk_size
 * @orphans: requests a dead owner left behind that the disk has not answered yet
 * @drain_timeout_ms: bound on SUSPEND and reset; 0 is no bound
 * @iotlb_maps: entries in the IOTLB
 * @bounce_busy: bounce buffers in use
 * @bounce_total: bounce buffers the device may use
 */
struct vhost_inflight_info {
	__u32 size;
	__u32 state;
	__u8  name[VHOST_INFLIGHT_NAME_LEN];
	__u8  engine[VHOST_INFLIGHT_ENGINE_LEN];
	__u8  serial[VHOST_INFLIGHT_SERIAL_LEN];
	__u8  status;
	__u8  read_only;
	__u16 num_queues;
	__u64 features;
	__u64 acked_features;
	__u64 backend_features;
	__u64 capacity;
	__u32 owner_pid;
	__u32 queue_size;
	__u32 logical_block_size;
	__u32 orphans;
	__u32 drain_timeout_ms;
	__u32 iotlb_maps;
	__u32 bounce_busy;
	__u32 bounce_total;
};

/* struct vhost_inflight_queue_info::state */
enum vhost_inflight_queue_state {
	VHOST_INFLIGHT_QUEUE_OFF	= 0,	/* not configured or not enabled */
	VHOST_INFLIGHT_QUEUE_RUNNING	= 1,
	VHOST_INFLIGHT_QUEUE_DRAINING	= 2,	/* takes nothing new, waits for what is out */
	VHOST_INFLIGHT_QUEUE_STOPPED	= 3,
	VHOST_INFLIGHT_QUEUE_ERROR	= 4,	/* ring broken by the driver; needs a reset */
};

/**
 * struct vhost_inflight_queue_info - argument of VHOST_INFLIGHT_GET_QUEUE
 * @size: in: sizeof() of the caller's struct; out: bytes filled
 * @index: in: which queue
 * @state: enum vhost_inflight_queue_state
 * @error: 0, or the errno that put the queue in error
 * @num: size of the ring
 * @depth: requests taken from the ring and not returned yet
 * @depth_max: largest @depth since the device was made
 * @avail_idx: next avail index; packed: bit 15 is the wrap counter
 * @used_idx: next used index; packed: bit 15 is the wrap counter
 * @reserved: 0
 * @requests: requests returned to the driver, of any type and status
 * @reads: IN requests among them
 * @writes: OUT requests among them
 * @flushes: FLUSH requests among them
 * @discards: DISCARD requests among them
 * @zeroes: WRITE_ZEROES requests among them
 * @erases: SECURE_ERASE requests among them
 * @ids: GET_ID requests among them
 * @read_bytes: bytes read by IN requests that ended OK
 * @write_bytes: bytes written by OUT requests that ended OK
 * @ioerrs: requests that ended with VIRTIO_BLK_S_IOERR
 * @unsupps: requests that ended with VIRTIO_BLK_S_UNSUPP
 * @kicks: notifications received from the driver
 * @calls: notifications sent to the driver
 * @calls_suppressed: batches returned without a notification because the driver asked for none
 * @bounced: requests that went through a bounce buffer
 * @deferred: requests that had to be handed to a kernel worker because they could have blocked
 * @retried: submissions the disk refused for lack of resources and that were tried again
 * @batches: times the used index was moved
 * @broken: times the queue was put in error
 *
 * The counters count from the creation of the device and survive resets and changes of owner.
 */
struct vhost_inflight_queue_info {
	__u32 size;
	__u16 index;
	__u16 state;
	__s32 error;
	__u32 num;
	__u32 depth;
	__u32 depth_max;
	__u16 avail_idx;
	__u16 used_idx;
	__u32 reserved;
	__u64 requests;
	__u64 reads;
	__u64 writes;
	__u64 flushes;
	__u64 discards;
	__u64 zeroes;
	__u64 erases;
	__u64 ids;
	__u64 read_bytes;
	__u64 write_bytes;
	__u64 ioerrs;
	__u64 unsupps;
	__u64 kicks;
	__u64 calls;
	__u64 calls_suppressed;
	__u64 bounced;
	__u64 deferred;
	__u64 retried;
	__u64 batches;
	__u64 broken;
};

/**
 * VHOST_INFLIGHT_GET_INFO - what the device is and where it stands
 *
 * Argument: struct vhost_inflight_info.  Any process that has the node open may call it, in any
 * state.  It never waits for the disk.
 */
#define VHOST_INFLIGHT_GET_INFO _IOWR(VHOST_INFLIGHT_IOCTL, 0xE0, struct vhost_inflight_info)

/**
 * VHOST_INFLIGHT_GET_QUEUE - state and counters of one virtqueue
 *
 * Argument: struct vhost_inflight_queue_info with @index set.  Otherwise as
 * VHOST_INFLIGHT_GET_INFO.
 */
#define VHOST_INFLIGHT_GET_QUEUE _IOWR(VHOST_INFLIGHT_IOCTL, 0xE1, struct vhost_inflight_queue_info)

#endif /* _UAPI_LINUX_VHOST_INFLIGHT_H */
