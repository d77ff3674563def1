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
 *  - E2BIG: @size is larger than a page, or, of an argument that is only read, there is something
 *    but 0 where the kernel knows no field.
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
	VHOST_INFLIGHT_STATE_STOPPING	= 5,	/* a stop runs, see VHOST_INFLIGHT_S_STOP */
	VHOST_INFLIGHT_STATE_STALLED	= 6,	/* a stop ended at its deadline, something is out */
	VHOST_INFLIGHT_STATE_STOPPED	= 7,	/* stands still */
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
 * @parked: requests the disk failed that wait to be tried again, see VHOST_INFLIGHT_RETRY
 * @on_read_error: enum vhost_inflight_on_error, for reads
 * @on_write_error: enum vhost_inflight_on_error, for all other requests, FLUSH among them
 * @retry_ms: after how many milliseconds a parked request is tried again by itself; 0 is never
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
	__u32 parked;
	__u32 on_read_error;
	__u32 on_write_error;
	__u32 retry_ms;
};

/*
 * enum vhost_inflight_on_error - what becomes of a request that the disk failed
 *
 * An error that trying again can't heal is the driver's to see whatever this says: a bad medium, a
 * request the disk does not know or may not do. So are those of a file's flush: what was lost is no
 * more there to be written.
 */
enum vhost_inflight_on_error {
	VHOST_INFLIGHT_ON_ERROR_REPORT		= 0,	/* the driver sees it */
	VHOST_INFLIGHT_ON_ERROR_PARK_ENOSPC	= 1,	/* parked when there was no space */
	VHOST_INFLIGHT_ON_ERROR_PARK		= 2,	/* likewise, and what may be a lost disk */
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
 * @parked: requests parked now
 * @kept: requests that were taken and not returned when the queue was stopped, and are in the
 *         inflight region until it is started again; 0 while it runs
 * @parks: times a request was parked
 * @poll_hits: times polling before a sleep came upon something to do
 * @poll_misses: times it did not
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
	__u32 parked;
	__u32 kept;
	__u64 parks;
	__u64 poll_hits;
	__u64 poll_misses;
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

/**
 * DOC: Inflight region
 *
 * What a device has taken from its queues and not given back, in shared memory, so that it can be
 * gone on with whatever happens to the device. Byte for byte the region of vhost-user's "Inflight
 * I/O tracking", version 1: the regions of the queues one behind the other, each as long as
 * VHOST_INFLIGHT_STRIDE_SPLIT() or VHOST_INFLIGHT_STRIDE_PACKED() of the device's largest queue
 * size says. Numbers are in native byte order. A region of version 0 is fresh: nothing in it means
 * anything.
 */

#define VHOST_INFLIGHT_VERSION		1

/**
 * struct vhost_inflight_desc_split - a buffer of a split virtqueue, by the index of its head
 * @inflight: 1 from taking it to giving it back, else 0
 * @padding: 0
 * @next: head given back before this one in the same batch
 * @counter: place in the order in which buffers were taken
 */
struct vhost_inflight_desc_split {
	__u8 inflight;
	__u8 padding[5];
	__u16 next;
	__u64 counter;
};

/**
 * struct vhost_inflight_region_split - region of a split virtqueue
 * @features: 0
 * @version: VHOST_INFLIGHT_VERSION, or 0
 * @desc_num: entries of @desc
 * @last_batch_head: head given back last; the others of its batch follow by their @next
 * @used_idx: the used ring's idx, once the batch is marked as given back
 * @desc: entries
 */
struct vhost_inflight_region_split {
	__u64 features;
	__u16 version;
	__u16 desc_num;
	__u16 last_batch_head;
	__u16 used_idx;
	struct vhost_inflight_desc_split desc[];
};

/**
 * struct vhost_inflight_desc_packed - a descriptor of a packed virtqueue, in a free list
 * @inflight: 1 in the entry of a buffer's first descriptor, while it is taken
 * @padding: 0
 * @next: the entry behind: of the same buffer, then of the free list; out of range behind the last
 * @last: of a first entry: the entry of the buffer's last descriptor
 * @num: of a first entry: descriptors of the buffer
 * @counter: of a first entry: place in the order in which buffers were taken
 * @id: buffer id
 * @flags: as the driver wrote them
 * @len: likewise
 * @addr: likewise
 */
struct vhost_inflight_desc_packed {
	__u8 inflight;
	__u8 padding;
	__u16 next;
	__u16 last;
	__u16 num;
	__u64 counter;
	__u16 id;
	__u16 flags;
	__u32 len;
	__u64 addr;
};

/**
 * struct vhost_inflight_region_packed - region of a packed virtqueue
 * @features: 0
 * @version: VHOST_INFLIGHT_VERSION, or 0
 * @desc_num: entries of @desc
 * @free_head: head of the free list
 * @old_free_head: the same, before the batch that is being given back
 * @used_idx: slot of the next used descriptor
 * @old_used_idx: the same, before that batch
 * @used_wrap_counter: wrap counter of @used_idx
 * @old_used_wrap_counter: wrap counter of @old_used_idx
 * @padding: 0
 * @desc: entries
 */
struct vhost_inflight_region_packed {
	__u64 features;
	__u16 version;
	__u16 desc_num;
	__u16 free_head;
	__u16 old_free_head;
	__u16 used_idx;
	__u16 old_used_idx;
	__u8 used_wrap_counter;
	__u8 old_used_wrap_counter;
	__u8 padding[10];
	struct vhost_inflight_desc_packed desc[];
};

/* Bytes of a queue's region. */
#define VHOST_INFLIGHT_STRIDE_SPLIT(queue_size)		((16ull * (queue_size) + 16 + 63) & ~63ull)
#define VHOST_INFLIGHT_STRIDE_PACKED(queue_size)	((32ull * (queue_size) + 32 + 63) & ~63ull)

/**
 * struct vhost_inflight_fd - argument of VHOST_INFLIGHT_GET_FD and VHOST_INFLIGHT_SET_FD
 * @size: sizeof() of the caller's struct; GET_FD: out: bytes filled
 * @fd: file descriptor of shared memory (memfd, tmpfs)
 * @mmap_size: bytes of the region: @num_queues times the stride of a queue
 * @mmap_offset: where in the file it begins; a multiple of the page size
 * @num_queues: queues of the device
 * @queue_size: largest queue size of the device, whatever size the driver's rings have
 * @flags: 0
 * @features: virtio features of the driver whose requests are in the region, which a successor has
 *	to negotiate. SET_FD: 0 is not known
 *
 * The four numbers are those of vhost-user's messages of these names.
 */
struct vhost_inflight_fd {
	__u32 size;
	__s32 fd;
	__u64 mmap_size;
	__u64 mmap_offset;
	__u16 num_queues;
	__u16 queue_size;
	__u32 flags;
	__u64 features;
};

/**
 * VHOST_INFLIGHT_GET_FD - the inflight region, to keep
 *
 * Argument: struct vhost_inflight_fd; @size is all it takes. Any process that has the node open may
 * call it, in any state: a supervisor does, so that what is in flight outlives the VMM. The
 * descriptor is close-on-exec, and its file can neither grow nor shrink if it is ours.
 *
 * The region is there from DRIVER_OK on. A reset makes it fresh and keeps it, unless features are
 * negotiated that need another size, or a hole was punched into its file; that of a device that
 * stands still with something in it is fresh only once a new driver uses the queue, see "STOP".
 * After the end of an owner it is to be had until the next DRIVER_OK.
 *
 *  - ENODATA: there is none yet.
 *  - ESTALE: a hole was punched into the file; what was in there is lost.
 *  - EMFILE, ENFILE: no room for another descriptor.
 */
#define VHOST_INFLIGHT_GET_FD	_IOWR(VHOST_INFLIGHT_IOCTL, 0xE2, struct vhost_inflight_fd)

/**
 * VHOST_INFLIGHT_SET_FD - go on with what another device, or this one, left in flight
 *
 * Argument: struct vhost_inflight_fd. The owner's, between FEATURES_OK and DRIVER_OK. DRIVER_OK
 * looks at what is in the region: it finishes or takes back the batch that was being given back,
 * and the requests in flight are done again, in the order in which they were taken. The guest is
 * notified once. VHOST_SET_VRING_BASE need not be called; if it is, the base has to be what was
 * given back last, or that and what is in flight. The file is kept in memory, all of it, also the
 * part that is no region.
 *
 * The errnos of SET_FD, after which the device has the region it had:
 *
 *  - EPERM: the caller is not the owner; the file is sealed against writing.
 *  - EBUSY: not between FEATURES_OK and DRIVER_OK; or requests that the owner before left at the
 *    disk are not back yet (@orphans of struct vhost_inflight_info says how many).
 *  - EINVAL: @flags, or @mmap_offset is no multiple of the page size.
 *  - ENOBUFS: @num_queues is not the device's.
 *  - ERANGE: @queue_size is not the device's.
 *  - EMSGSIZE: @mmap_size is not that of a region for the negotiated layout, or the file is
 *    shorter.
 *  - EPROTO: @features is not what was negotiated.
 *  - EBADF: @fd is none.
 *  - EMEDIUMTYPE: the file is neither a memfd nor on tmpfs.
 *  - EACCES: the descriptor can't be read and written.
 *  - ENOMEM
 *
 * Those of DRIVER_OK about the region; nothing in it has changed then:
 *
 *  - EPROTONOSUPPORT: its version is neither 0 (fresh) nor VHOST_INFLIGHT_VERSION.
 *  - EOPNOTSUPP: it has features.
 *  - EMSGSIZE: desc_num is not the device's queue size.
 *  - EUCLEAN: something else in it makes no sense.
 *  - EINVAL: VHOST_SET_VRING_BASE does not agree with it.
 *  - ESTALE: a hole was punched into the file.
 */
#define VHOST_INFLIGHT_SET_FD	_IOW(VHOST_INFLIGHT_IOCTL, 0xE3, struct vhost_inflight_fd)

/**
 * enum vhost_inflight_request_state - where a request in flight is
 * @VHOST_INFLIGHT_REQUEST_QUEUED: not begun: it waits for its turn in a kernel worker or for a
 *	bounce buffer, or the device is being stopped and keeps it
 * @VHOST_INFLIGHT_REQUEST_REFUSED: the disk had no room for it, and it is tried again
 * @VHOST_INFLIGHT_REQUEST_SUBMITTED: the disk has it
 * @VHOST_INFLIGHT_REQUEST_DONE: the disk is done with it, and it waits to be given back; with
 *	VIRTIO_F_IN_ORDER for those before it
 * @VHOST_INFLIGHT_REQUEST_PARKED: the disk failed it, and it waits to be tried again
 */
enum vhost_inflight_request_state {
	VHOST_INFLIGHT_REQUEST_QUEUED		= 0,
	VHOST_INFLIGHT_REQUEST_REFUSED		= 1,
	VHOST_INFLIGHT_REQUEST_SUBMITTED	= 2,
	VHOST_INFLIGHT_REQUEST_DONE		= 3,
	VHOST_INFLIGHT_REQUEST_PARKED		= 4,
};

/* struct vhost_inflight_request::flags */
#define VHOST_INFLIGHT_REQUEST_REWINDABLE	0x1
#define VHOST_INFLIGHT_REQUEST_ORPHAN		0x2

/**
 * struct vhost_inflight_request - a request in flight
 * @counter: of the inflight region: place in the order in which buffers were taken
 * @sector: where it begins on the disk, in units of 512 bytes; of a request with several ranges
 *	that of the first; 0 for a type that has none
 * @length: bytes of the disk it is about, in all its ranges
 * @age_ms: time since it was taken by this device, in milliseconds
 * @type: VIRTIO_BLK_T_* as the driver wrote it; ~0 when what it wrote is no request, which broke
 *	the queue
 * @error: 0, or the errno with which it ended, was parked, or broke the queue
 * @id: split: index of the head of its chain; packed: buffer id
 * @state: enum vhost_inflight_request_state
 * @flags: VHOST_INFLIGHT_REQUEST_REWINDABLE: it may be left behind and done again elsewhere: the
 *	disk does not have it, or it changes nothing there; VHOST_INFLIGHT_REQUEST_ORPHAN: its owner
 *	is gone, and nobody gets the answer
 * @reserved: 0
 */
struct vhost_inflight_request {
	__u64 counter;
	__u64 sector;
	__u64 length;
	__u64 age_ms;
	__u32 type;
	__s32 error;
	__u16 id;
	__u8 state;
	__u8 flags;
	__u32 reserved;
};

/**
 * struct vhost_inflight_requests - argument of VHOST_INFLIGHT_GET_REQUESTS
 * @size: sizeof() of the caller's struct; out: bytes filled
 * @index: which queue
 * @request_size: sizeof() of the caller's struct vhost_inflight_request; what the kernel does not
 *	know of it is set to zero
 * @room: how many @requests has room for
 * @count: out: how many there are, also when there is no room for all
 * @requests: address of an array of struct vhost_inflight_request, filled in the order of @id
 */
struct vhost_inflight_requests {
	__u32 size;
	__u16 index;
	__u16 request_size;
	__u32 room;
	__u32 count;
	__u64 requests;
};

/**
 * VHOST_INFLIGHT_GET_REQUESTS - what one virtqueue has in flight
 *
 * Argument: struct vhost_inflight_requests. Any process that has the node open may call it, in any
 * state. It waits for the end of a turn of the queue, for a second at most, and never for the disk.
 *
 * What was found in a region and has not yet been begun again is missing: that is over when the
 * first turns of the queue are.
 *
 *  - EINVAL: @request_size is smaller than the first version of the struct.
 *  - ETIMEDOUT: a turn of the queue takes longer; it may be in a page fault that userspace has to
 *    answer. The inflight region says what was taken.
 *  - EINTR: the caller is being killed.
 *  - ENOMEM
 */
#define VHOST_INFLIGHT_GET_REQUESTS \
	_IOWR(VHOST_INFLIGHT_IOCTL, 0xE4, struct vhost_inflight_requests)

/* A backend feature (VHOST_GET_BACKEND_FEATURES): VHOST_INFLIGHT_SET_LOG. */
#define VHOST_INFLIGHT_BACKEND_F_LOG	48

/* A bit of the log stands for so many bytes of IOVA, as a power of two. */
#define VHOST_INFLIGHT_LOG_SHIFT	12

/**
 * struct vhost_inflight_log - argument of VHOST_INFLIGHT_SET_LOG
 * @size: sizeof() of the caller's struct
 * @fd: file descriptor of shared memory (memfd, tmpfs); -1: nothing is logged any more
 * @mmap_size: bytes of the log, a multiple of 8, 256 MiB at most
 * @mmap_offset: where in the file it begins; a multiple of the page size
 * @iova: of the page for which bit 0 stands; a multiple of 4096
 *
 * Bit n is bit n % 64 of the 64-bit word n / 64, in native byte order.
 */
struct vhost_inflight_log {
	__u32 size;
	__s32 fd;
	__u64 mmap_size;
	__u64 mmap_offset;
	__u64 iova;
};

/**
 * VHOST_INFLIGHT_SET_LOG - log the pages of guest memory that the device writes
 *
 * Argument: struct vhost_inflight_log. The owner's, in any state, also while the device runs; the
 * backend feature VHOST_INFLIGHT_BACKEND_F_LOG has to be taken. Stays over a reset, until the owner
 * sets another one, or none, or ends.
 *
 * From its return on, each page that the device writes - data, status bytes, used entries and
 * indexes, event areas, also of requests that were taken before - has its bit set, atomically and
 * after the write: of data and status bytes before the used entry is visible, of rings by the end
 * of the queue's turn, of all of them when the device stands still (VHOST_VDPA_SUSPEND). Bits are
 * never cleared here. Who copies guest memory clears them first, by an atomic exchange of words:
 * then he has what was written, or finds the bit again. More is logged than is written: of rings,
 * at each turn, all the areas that the device may write.
 *
 * Pages that the driver writes are not logged. The log's file is kept in memory, all of it.
 *
 *  - EPERM: the caller is not the owner; the file is sealed against writing.
 *  - EOPNOTSUPP: the backend feature was not taken.
 *  - EINVAL: one of the numbers.
 *  - ERANGE: the IOTLB has a range that the device may write and the log has no bits for. While
 *    there is a log, an UPDATE of such a range is refused, too.
 *  - EMSGSIZE: the file is shorter.
 *  - EBADF: @fd is none.
 *  - EMEDIUMTYPE: the file is neither a memfd nor on tmpfs.
 *  - EACCES: the descriptor can't be read and written.
 *  - EINTR: the caller is being killed.
 *  - ENOSPC: the tmpfs is full.
 *  - ENOMEM
 */
#define VHOST_INFLIGHT_SET_LOG	_IOW(VHOST_INFLIGHT_IOCTL, 0xE5, struct vhost_inflight_log)

/**
 * DOC: STOP
 *
 * A status bit by which a device is told to stand still, and says that it does. It is a backend
 * feature, VHOST_INFLIGHT_BACKEND_F_STOP. VHOST_VDPA_SET_STATUS with the bit begins a stop and
 * returns at once: nothing new is taken from the rings. VHOST_VDPA_GET_STATUS has the bit only once
 * the device stands still, and then the eventfd of VHOST_VDPA_SET_CONFIG_CALL is signalled: no ring
 * is touched any more, no guest memory is written, nobody is notified, VHOST_GET_VRING_BASE is
 * exact. VHOST_VDPA_SET_STATUS without the bit, the one that may be taken back, lets the device go
 * on, whether or not it came to stand still.
 *
 * How it comes to stand still is chosen for each stop by VHOST_INFLIGHT_SET_STOP:
 *
 *  - VHOST_INFLIGHT_STOP_FLUSH: all that was taken is done and returned.
 *  - VHOST_INFLIGHT_STOP_PRESERVE: nothing more is sent to the disk; what is there is awaited and
 *    returned, the rest, and what is parked, is *kept*: it stays in the inflight region for whoever
 *    goes on, here or elsewhere.
 *
 * A disk that does not answer ends a stop at its deadline: the device is *stalled*. It still takes
 * nothing, and returns what comes back, but something is out: the bit is not there. The eventfd is
 * signalled, too. From there on it can be stopped again, also by the other mode, go on, or be
 * reset.
 *
 * What is kept counts as taken in VHOST_GET_VRING_BASE. A device that goes on takes it again first.
 * So does one that was reset while it stood still, if VHOST_SET_VRING_BASE says just that base
 * before DRIVER_OK, as a VMM does that only paused; any other base, or none, is that of a new
 * driver, and what was kept is dropped. VHOST_VDPA_SUSPEND keeps parked requests likewise.
 */

/* A backend feature (VHOST_GET_BACKEND_FEATURES): the status bit, and the ioctls about it. */
#define VHOST_INFLIGHT_BACKEND_F_STOP	49

/* The status bit. */
#define VHOST_INFLIGHT_S_STOP		0x20

/* enum vhost_inflight_stop_mode - what becomes of what was taken, see "STOP" */
enum vhost_inflight_stop_mode {
	VHOST_INFLIGHT_STOP_FLUSH	= 0,
	VHOST_INFLIGHT_STOP_PRESERVE	= 1,
};

/**
 * struct vhost_inflight_stop - argument of VHOST_INFLIGHT_SET_STOP
 * @size: sizeof() of the caller's struct
 * @mode: enum vhost_inflight_stop_mode
 * @deadline_ms: bound on the stop in milliseconds; 0: the device's drain timeout, which may be none
 * @flags: 0
 */
struct vhost_inflight_stop {
	__u32 size;
	__u32 mode;
	__u32 deadline_ms;
	__u32 flags;
};

/**
 * VHOST_INFLIGHT_SET_STOP - how the next stop is to be done
 *
 * Argument: struct vhost_inflight_stop. The owner's, in any state. It counts for the next
 * VHOST_VDPA_SET_STATUS with VHOST_INFLIGHT_S_STOP that begins a stop; one without it before is a
 * flush with the device's drain timeout. While a stop runs such a status changes how it is done
 * from then on, and without this ioctl before it nothing; of a stalled device it begins the same
 * stop again.
 *
 *  - EPERM: the caller is not the owner.
 *  - EOPNOTSUPP: the backend feature was not taken.
 *  - EINVAL: @mode, @flags, or @deadline_ms beyond 2^31 - 1.
 */
#define VHOST_INFLIGHT_SET_STOP	_IOW(VHOST_INFLIGHT_IOCTL, 0xE6, struct vhost_inflight_stop)

/**
 * struct vhost_inflight_stop_info - argument of VHOST_INFLIGHT_GET_STOP
 * @size: in: sizeof() of the caller's struct; out: bytes filled
 * @index: in: which queue
 * @mode: of the stop, enum vhost_inflight_stop_mode
 * @state: of the device: VHOST_INFLIGHT_STATE_STOPPING, _STALLED, _STOPPED; any other: no stop runs
 *	or lasts
 * @elapsed_ms: time the stop took, or has taken up to now
 * @published: requests of the queue that were returned since the stop began
 * @kept: requests of the queue that are kept for whoever goes on
 * @out: requests of the queue that are neither, now: 0 when the device stands still.
 *	VHOST_INFLIGHT_GET_REQUESTS has them one by one
 * @rewindable: those of @out that whoever goes on elsewhere may leave behind: the disk does not
 *	have them, or they change nothing there. The others could land there after they were done
 *	again
 */
struct vhost_inflight_stop_info {
	__u32 size;
	__u16 index;
	__u16 mode;
	__u32 state;
	__u32 elapsed_ms;
	__u32 published;
	__u32 kept;
	__u32 out;
	__u32 rewindable;
};

/**
 * VHOST_INFLIGHT_GET_STOP - what became of a stop
 *
 * Argument: struct vhost_inflight_stop_info with @index set. Any process that has the node open may
 * call it, in any state.
 *
 *  - EINTR: the caller is being killed.
 */
#define VHOST_INFLIGHT_GET_STOP \
	_IOWR(VHOST_INFLIGHT_IOCTL, 0xE7, struct vhost_inflight_stop_info)

/**
 * DOC: Parked requests
 *
 * By enum vhost_inflight_on_error a request that the disk failed may be *parked* instead of being
 * reported to the driver: it stays in flight, the driver waits for it, and it is tried again: by
 * command, VHOST_INFLIGHT_RETRY, or by itself, after @retry_ms of struct vhost_inflight_info, and
 * after twice the time whenever that fails, up to 64 times of it. It is an event, see
 * VHOST_INFLIGHT_GET_EVENT. A reset of a running device ends it with the error that it has.
 */

/**
 * struct vhost_inflight_retry - argument of VHOST_INFLIGHT_RETRY
 * @size: in: sizeof() of the caller's struct; out: bytes filled
 * @count: out: how many there were
 */
struct vhost_inflight_retry {
	__u32 size;
	__u32 count;
};

/**
 * VHOST_INFLIGHT_RETRY - try parked requests again
 *
 * Argument: struct vhost_inflight_retry. Any process that has the node open may call it, in any
 * state. All of the device's parked requests are on their way when it returns, those of a queue in
 * the order in which they were taken. It waits for nothing; one that fails again is parked again,
 * which is an event; it is none when it was tried by itself, and failed in the same way. While a
 * stop that preserves, or a SUSPEND, runs they stay where they are.
 *
 *  - EINTR: the caller is being killed.
 */
#define VHOST_INFLIGHT_RETRY	_IOWR(VHOST_INFLIGHT_IOCTL, 0xE8, struct vhost_inflight_retry)

/**
 * enum vhost_inflight_event_type - what happened
 * @VHOST_INFLIGHT_EVENT_PARKED: the disk failed a request, which waits to be tried again
 * @VHOST_INFLIGHT_EVENT_HEALED: a request that was parked ended, with @error 0, or with one that
 *	trying again can't heal and the driver sees
 * @VHOST_INFLIGHT_EVENT_DROPPED: a parked request is no more this device's to do: its owner ended,
 *	in whose region the request still is; the device was reset during a stop; or, without a
 *	request, what a queue had kept is dropped, because a new driver uses it, or the device got
 *	another region
 * @VHOST_INFLIGHT_EVENT_KEPT: a parked request is kept in the region of a device that stands still
 * @VHOST_INFLIGHT_EVENT_STOPPED: a stop ended, the device stands still
 * @VHOST_INFLIGHT_EVENT_STALLED: a stop ended at its deadline
 * @VHOST_INFLIGHT_EVENT_RESUMED: the device goes on after a stop
 * @VHOST_INFLIGHT_EVENT_BROKEN: the driver broke a queue; the device needs a reset
 *
 * New ones may come; who does not know one passes over it.
 */
enum vhost_inflight_event_type {
	VHOST_INFLIGHT_EVENT_PARKED	= 1,
	VHOST_INFLIGHT_EVENT_HEALED	= 2,
	VHOST_INFLIGHT_EVENT_DROPPED	= 3,
	VHOST_INFLIGHT_EVENT_KEPT	= 4,
	VHOST_INFLIGHT_EVENT_STOPPED	= 5,
	VHOST_INFLIGHT_EVENT_STALLED	= 6,
	VHOST_INFLIGHT_EVENT_RESUMED	= 7,
	VHOST_INFLIGHT_EVENT_BROKEN	= 8,
};

/**
 * struct vhost_inflight_event - argument of VHOST_INFLIGHT_GET_EVENT
 * @size: in: sizeof() of the caller's struct; out: bytes filled
 * @type: enum vhost_inflight_event_type
 * @seq: number of the event, from 1 on
 * @lost: events before this one that this file has not seen, because there were too many
 * @time_ns: when it happened, in nanoseconds of CLOCK_BOOTTIME
 * @counter: of the request: place in the order in which buffers were taken
 * @sector: of the request: where it begins on the disk, in units of 512 bytes
 * @length: of the request: bytes
 * @request_type: of the request: VIRTIO_BLK_T_* as the driver wrote it
 * @error: 0 or -errno of the event
 * @parked: requests of the device parked after the event
 * @index: queue; 0 for an event of the device
 * @id: of the request, as in struct vhost_inflight_request
 *
 * What is said to be of the request is 0 for an event that has none.
 */
struct vhost_inflight_event {
	__u32 size;
	__u32 type;
	__u64 seq;
	__u64 lost;
	__u64 time_ns;
	__u64 counter;
	__u64 sector;
	__u64 length;
	__u32 request_type;
	__s32 error;
	__u32 parked;
	__u16 index;
	__u16 id;
};

/**
 * VHOST_INFLIGHT_GET_EVENT - the next event
 *
 * Argument: struct vhost_inflight_event; @size is all it takes. Any process that has the node open
 * may call it, in any state. Each open file sees each event once; a file that was just opened
 * begins with those that the device still has, the last 64. poll() on the file says POLLIN when
 * there is one.
 *
 *  - EAGAIN: there is none. It never waits.
 */
#define VHOST_INFLIGHT_GET_EVENT _IOWR(VHOST_INFLIGHT_IOCTL, 0xE9, struct vhost_inflight_event)

/**
 * DOC: VIRTIO_F_PARTIAL_ORDER
 *
 * A feature that was proposed for virtio and never made it: a device that uses most buffers in the
 * order they were made available says so as it goes, and batches them then, without ever holding
 * one back. Bit 39 has since become VIRTIO_F_NOTIF_CONFIG_DATA, so a device offers it only if it
 * was made to. What the proposal left open is decided here; a driver by this text works with both.
 *
 * A used entry has FLUSH when, with it, the used buffers are all those made available up to and
 * including its own, and none made available later. Packed: VIRTQ_DESC_F_FLUSH in the flags of the
 * used descriptor. Split: an entry of the used ring is { le16 id; le16 flags; le32 len; } with
 * VIRTQ_USED_ELEM_F_FLUSH in its flags; the other flags are 0.
 *
 * An entry with FLUSH directly behind an entry with FLUSH is for all buffers in flight up to its
 * own, in the order they were made available. The device has gone on by all of them: in a split
 * ring by their number (they have one entry, in the first one's slot), in a packed ring by all
 * their descriptors. Buffers before the last are used completely: each writable byte counts as
 * written. Any other entry is for its own buffer alone. The device must have written all data of
 * all of them before the entry is visible.
 *
 * After DRIVER_OK, a reset of the device, RESUME, a stop, or on a device that goes on where another
 * stopped, the next entry counts as one behind an entry without FLUSH: it is for its own buffer. A
 * device that goes on like this, which may happen without the driver's knowledge, can't know which
 * buffers the other one used before their turn: entries for buffers that were in flight then may
 * lack FLUSH.
 *
 * With VIRTIO_F_IN_ORDER as well both hold: buffers are used in order, and every entry has FLUSH.
 */
#ifndef VIRTIO_F_PARTIAL_ORDER
#define VIRTIO_F_PARTIAL_ORDER		39
#endif
#define VIRTQ_DESC_F_FLUSH		0x8
#define VIRTQ_USED_ELEM_F_FLUSH		0x8000u

#endif /* _UAPI_LINUX_VHOST_INFLIGHT_H */
