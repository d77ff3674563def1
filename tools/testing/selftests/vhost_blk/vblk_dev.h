/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A driver of our own for /dev/vhost-blk-NAME: the test owns every byte of the rings and of the guest memory, and every
 * ioctl.  Three layers: host (configfs, backings), device (node, memory, messages) and ring (chains in, used entries out).
 *
 * Functions return 0 or a positive result, or a negative errno; none of them prints or asserts.
 */
#ifndef VBLK_DEV_H
#define VBLK_DEV_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/types.h>
#include <linux/vhost.h>
#include <linux/vhost_inflight.h>
#include <linux/virtio_ring.h>

#include "vblk_abi.h"
#include "vblk_nbd.h"

/* How long anything that must happen may take.  Generous: the debug kernel runs emulated, with KASAN. */
#define VD_WAIT_MS	20000
/* How long to watch that something does not happen. */
#define VD_QUIET_MS	150

#define VD_MAX_QUEUES	16
#define VD_MAX_NUM	1024
#define VD_NAME_LEN	32
#define VD_PATH_LEN	128

/* ---- host side: vblk_host.c ---- */

enum vd_backing_kind {
	VD_NULLB512,		/* null_blk, memory backed, 512-byte sectors */
	VD_NULLB4096,
	VD_EXT4,		/* file on ext4 on a loop device: direct I/O */
	VD_TMPFS,		/* file on tmpfs */
	VD_NULLB_SLOW,		/* null_blk that answers late */
	VD_NULLB_SLOWER,
	VD_DM,			/* dm-linear over null_blk: can be frozen */
	VD_DM_WAIT,		/* dm-delay without delay: the same, and knows no REQ_NOWAIT */
	VD_EXT4_DM,		/* file on ext4 on such a one */
	VD_NULLB_DISCARD,	/* null_blk that discards */
	VD_LOOP4096,		/* loop device on tmpfs, 4096-byte sectors; discards and zeroes */
	VD_NULLB_CACHE,		/* null_blk with a volatile cache and no FUA */
	VD_DM_MIXED,		/* dm-linear over two disks: the second half answers late, and can be frozen */
	VD_DM_RECORD,		/* the same, and it writes down what it is asked to do: vblk_record.h */
	VD_DM_RECORD_SLOW,	/* and answers later still */
	VD_DM_RECORD_NARROW,	/* the same, and its second half has room for VD_NARROW requests */
	VD_DM_RECORD_WAIT,	/* VD_DM_RECORD that knows no REQ_NOWAIT: it takes all it is given, also when it is frozen */
	VD_DM_LOW,		/* what freezes and breaks is above what records, and that has room for VD_NARROW requests */
	VD_DM_LOW_WAIT,		/* VD_DM_LOW that knows no REQ_NOWAIT */
	VD_NBD_LOST,		/* VD_DM_RECORD whose second half is on an NBD server; without that, requests fail soon */
	VD_NBD_STUCK,		/* the same, and they wait for ever */
	VD_NBD,			/* all of it, as VD_NBD_LOST: it knows no REQ_NOWAIT */
	VD_NBD_LATE,		/* without the server requests fail after VD_NBD_S */
	VD_DM_NBD,		/* the same, below dm-linear */
	VD_TMPFS_SMALL,		/* file on a small tmpfs of its own, which can be filled */
	VD_THIN,		/* dm-thin: likewise, blocks of VD_THIN_BLOCK */
	VD_THIN_RECORD,		/* the same, below what records */
	VD_TWIN,		/* see vd_backing_twin() */
};

struct vd_backing {
	enum vd_backing_kind kind;
	char path[VD_PATH_LEN];	/* what the device is given */
	char id[VD_NAME_LEN];	/* of the null_blk or dm device */
	__u64 bytes;
	unsigned int lbs;	/* logical block size of it */
	bool block;
	char mnt[VD_PATH_LEN];	/* VD_EXT4_DM, VD_TMPFS_SMALL: where it is mounted; VD_LOOP4096: the file */
	struct vd_nbd nbd;
};

#define VD_SLOW_MS	200	/* VD_NULLB_SLOW answers after this, VD_DM_RECORD_SLOW's second half, too */
#define VD_SLOWER_MS	1500	/* and VD_NULLB_SLOWER after this */
#define VD_MIXED_MS	10	/* and the second half of VD_DM_MIXED after this */
#define VD_NBD_S	4	/* seconds; less than may be a hung task */
#define VD_NARROW	4	/* tags of the disk below, which may have a few more requests in its scheduler */
#define VD_THIN_BLOCK	65536
#define VD_SMALL	(6 << 20)	/* what can be stored before it is full: VD_TMPFS_SMALL, VD_THIN* */

int vd_backing_make(struct vd_backing *b, enum vd_backing_kind kind, __u64 bytes);
void vd_backing_free(struct vd_backing *b);
int vd_backing_read(const struct vd_backing *b, __u64 off, void *buf, size_t len);
int vd_backing_write(const struct vd_backing *b, __u64 off, const void *buf, size_t len);
int vd_backing_resize(struct vd_backing *b, __u64 bytes);
long vd_backing_flushes(const struct vd_backing *b);	/* that reached the disk so far */
int vd_backing_inflight(const struct vd_backing *b, unsigned int n);	/* until a null_blk has @n */
bool vd_backing_records(const struct vd_backing *b);
bool vd_backing_freezes(const struct vd_backing *b);
int vd_backing_freeze(const struct vd_backing *b);	/* VD_DM_MIXED, all that record but VD_THIN_RECORD: the second half */
int vd_backing_thaw(const struct vd_backing *b);
int vd_backing_break(struct vd_backing *b);	/* the same half fails all it is asked for, */
int vd_backing_mend(struct vd_backing *b);	/* and no more */
/* No room for what was never written, VD_TMPFS_SMALL and VD_THIN*; and room again for all, once. */
int vd_backing_fill(const struct vd_backing *b);
int vd_backing_unfill(const struct vd_backing *b);
/* Another device on the disks of one on dm, whose halves freeze and break for both; to be freed before that. */
int vd_backing_twin(struct vd_backing *twin, const struct vd_backing *b);

/* What is zero or NULL keeps the default of the kernel. */
struct vd_config {
	const char *path;
	const char *serial;
	int num_queues;
	int queue_size;
	int lbs;
	int drain_timeout_ms;
	bool read_only;
	bool no_indirect;
	bool no_event_idx;
	bool no_discard;
	bool packed;
	bool in_order;
	bool partial_order;
	bool suspend;
	const char *on_read_error;
	const char *on_write_error;
	int retry_ms;		/* -1: never by itself */
	int poll_us;
	bool pin_memory;
};

void vd_name(char name[VD_NAME_LEN], const char *suffix);
int vd_attr_set(const char *dev, const char *attr, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int vd_attr_get(const char *dev, const char *attr, char *buf, size_t len);
long long vd_attr_num(const char *dev, const char *attr);
int vd_create(const char *name, const struct vd_config *cfg);
int vd_mkdir(const char *name);
int vd_delete(const char *name);	/* once */
int vd_remove(const char *name);	/* again and again while it is busy, for tear-down */
int vd_node_open(const char *name, int flags);
int vd_write_file(const char *path, const char *text);
int vd_read_file(const char *path, char *buf, size_t len);
int vd_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* kernel log: a cursor to start from, then the lines since that contain @needle */
int vd_kmsg_open(void);
int vd_kmsg_count(int fd, const char *needle);
long vd_pins(void);	/* that anybody has, or -errno */
int vd_until_pins(long n);
long vd_now_ms(void);
__u64 vd_now_ns(void);
unsigned int vd_rounds(unsigned int n);	/* @n, or a part of it where time is short */
/* A child that must end by itself (or was killed) within @ms: 0 and its status, or -ETIMEDOUT. */
int vd_child_end(pid_t pid, int *status, int ms);
/* Faults of pages that are not there wait for ever; a userfaultfd, readable once one does, or -errno. */
int vd_hold_faults(void *p, size_t len);
int vd_child_blocks(pid_t pid, long syscall_nr);	/* until it sleeps in this system call */
int vd_child_stopped(pid_t pid);	/* until SIGSTOP has it */
int vd_exchange(void);	/* the engine, for another instance of the same build */

/* ---- device: vblk_dev.c ---- */

struct vd_queue;

/* One thing that is mapped: guest addresses [iova, iova + size) are @va here. */
struct vd_region {
	__u64 iova;
	__u64 size;
	void *va;
};

#define VD_MAX_REGIONS	8

struct vd_opts {
	__u64 iova;		/* where guest memory starts */
	__u64 mem_size;		/* 0: 16 MiB */
	__u64 drop_features;	/* offered and not taken */
	unsigned int num;	/* ring size; 0: 256 */
	unsigned int num_queues;/* 0: 1 */
	int open_flags;		/* 0: O_RDWR */
	bool anon;		/* private anonymous memory instead of a memfd */
	bool msg_v1;		/* struct vhost_msg instead of vhost_msg_v2 */
	bool no_batch;
	bool polled;		/* no call eventfd */
	bool no_kickfd;
};

struct vd {
	int fd;
	int config_fd;		/* eventfd of VHOST_VDPA_SET_CONFIG_CALL */
	int memfd;
	bool msg_v1, no_batch;
	__u64 features;		/* what was taken */
	__u64 offered;
	__u64 brk;		/* next free guest address */
	struct vd_region mem[VD_MAX_REGIONS];
	unsigned int nr_mem;
	unsigned int nq;
	struct vd_queue *q[VD_MAX_QUEUES];
	struct vd_opts opts;
};

/* In pieces, in the order a client calls them, or vd_start() for all of it. */
int vd_open(struct vd *d, const char *name, const struct vd_opts *opts);
int vd_negotiate(struct vd *d);			/* owner, status 3, features, FEATURES_OK, backend features */
int vd_setup_queue(struct vd *d, struct vd_queue *q, const __u32 *base);	/* NUM BASE ADDR KICK CALL ERR ENABLE */
int vd_setup_queues(struct vd *d);		/* allocates rings, and that */
int vd_map_all(struct vd *d);
int vd_driver_ok(struct vd *d);			/* CONFIG_CALL and DRIVER_OK */
int vd_start(struct vd *d, const char *name, const struct vd_opts *opts);
/* The same of a successor: DRIVER_OK is refused while requests of the owner before are out. */
int vd_start_after(struct vd *d, const char *name, const struct vd_opts *opts);
int vd_reset(struct vd *d);
int vd_restart(struct vd *d);			/* after vd_reset(): everything again with fresh rings */
void vd_close(struct vd *d);

int vd_ioctl(struct vd *d, unsigned long cmd, void *arg);
int vd_status(struct vd *d);
int vd_set_status(struct vd *d, __u8 status);
int vd_info(struct vd *d, struct vhost_inflight_info *info);
int vd_qinfo(struct vd *d, unsigned int index, struct vhost_inflight_queue_info *info);
int vd_get_config(struct vd *d, unsigned int off, void *buf, unsigned int len);
int vd_suspend(struct vd *d);
int vd_renew(struct vd *d);	/* rings for another start; everything used must have been reaped */
int vd_resume(struct vd *d);	/* as vd_renew() */
int vd_vring_state(struct vd *d, unsigned long cmd, unsigned int index, unsigned int num);
int vd_vring_file(struct vd *d, unsigned long cmd, unsigned int index, int fd);
__s64 vd_get_base(struct vd *d, unsigned int index);

/* Again while it is refused because of what is left of the owner before. */
#define vd_patiently(f) ({									\
	long _end = vd_now_ms() + VD_WAIT_MS;							\
	int _ret;										\
												\
	do {											\
		_ret = (f);									\
	} while (_ret == -EBUSY && vd_now_ms() < _end && !poll(NULL, 0, 1));			\
	_ret;											\
})

/* One IOTLB message; returns what write() returned, or -errno. */
int vd_msg(struct vd *d, __u8 type, __u64 iova, __u64 size, void *va, __u8 perm);

#define VD_NOADDR	(~0ULL)

/* Guest memory: allocate by guest address, reach it by pointer. */
__u64 vd_alloc(struct vd *d, __u64 size, __u64 align);
void *vd_ptr(struct vd *d, __u64 iova);

/* A backing, a device on it, and a driver of it: what most fixtures are. */
struct vd_rig {
	struct vd_backing b;
	char name[VD_NAME_LEN];
	bool created;
	struct vd d;
};

/* @cfg and @opts may be NULL; @cfg->path is filled in.  Without @opts nothing is opened. */
int vd_rig_make(struct vd_rig *r, enum vd_backing_kind kind, __u64 bytes, const struct vd_config *cfg,
		const struct vd_opts *opts);
/* May be called by the parent of the process that made it. */
int vd_rig_free(struct vd_rig *r);

/* ---- ring: vblk_ring.c ---- */

struct vd_buf {
	__u64 addr;
	__u32 len;
	bool write;		/* the device may write it */
};

enum vd_chain {
	VD_DIRECT,
	VD_INDIRECT,		/* one descriptor, everything in the table */
	VD_MIXED,		/* the first buffer direct, the rest in a table */
};

/* A used entry, as the device wrote it. */
struct vd_entry {
	__u32 id, len;		/* an id no buffer has if there is anything wrong with it */
	bool flush;
};

/* What differs between ring layouts. */
struct vd_ring_ops {
	void (*place)(struct vd_queue *q);	/* memory for it */
	void (*fresh)(struct vd_queue *q, __u16 at);	/* as before a start; @at: a half of the base */
	__u32 (*base)(const struct vd_queue *q);	/* where it stands, as SET_VRING_BASE takes it */
	/* makes a buffer available */
	void (*add)(struct vd_queue *q, __u16 head, const struct vd_buf *b, unsigned int n, enum vd_chain how);
	bool (*used)(struct vd_queue *q, struct vd_entry *e);	/* the next entry; false: none yet */
	bool (*skip)(struct vd_queue *q, unsigned int bufs, unsigned int descs);	/* it was for so many */
	bool (*need_kick)(struct vd_queue *q);
	void (*call_on)(struct vd_queue *q);	/* for the next entry */
	void (*call_off)(struct vd_queue *q);
};

extern const struct vd_ring_ops vd_split_ops, vd_packed_ops;

/* A slot of a packed ring, and the wrap counter of the lap it is in. */
struct vd_place {
	__u16 slot;
	bool wrap;
};

#define VD_NONE		0xffff	/* no head */

struct vd_queue {
	struct vd *d;
	const struct vd_ring_ops *ops;
	unsigned int index;
	__u16 num;
	bool event_idx, in_order, partial, polled;
	int kick, call, err;
	/* the three areas, as the device sees them */
	__u64 desc_iova, avail_iova, used_iova;
	/* split ring */
	struct vd_desc *desc;
	struct vd_avail *avail;
	struct vd_used *used;
	__u16 avail_idx;	/* shadow of avail->idx */
	__u16 kicked_idx;	/* avail idx at the last kick */
	__u16 last_used;
	/* packed ring */
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver, *device;
	struct vd_place put, kicked, got;
	/* slots: descriptors of our own book-keeping, never read back from the ring */
	__u16 free[VD_MAX_NUM];
	unsigned int nr_free;
	__u16 chain[VD_MAX_NUM];	/* descriptors a head stands for, starting with itself */
	__u16 link[VD_MAX_NUM];
	bool busy[VD_MAX_NUM];
	__u32 used_len[VD_MAX_NUM];
	__u64 table[VD_MAX_NUM];	/* indirect table of a head */
	__u16 table_len[VD_MAX_NUM];
	__u64 slots;			/* request headers and status bytes, VD_SLOT bytes per head */
	/* what is in flight, in the order in which it was made available */
	__u16 oldest, newest, before[VD_MAX_NUM], after[VD_MAX_NUM];
	__u64 seq[VD_MAX_NUM], added;	/* counted from 1 */
	__u32 in_len[VD_MAX_NUM];	/* writable bytes of a head */
	/* the entry being handed out */
	struct vd_entry now;
	bool handing, batch;
	bool flushed;			/* the entry before had FLUSH */
	__u64 latest;			/* used so far, as a seq */
	__u64 vague;			/* FLUSH may be missing up to here */
	unsigned long reaped;		/* buffers seen to be used so far */
	unsigned long bad_used;		/* used entries for heads that were not out */
	unsigned long bad_order;	/* and such as break the rules of IN_ORDER and PARTIAL_ORDER */
	/* since the last start */
	struct vd_order_stat {
		unsigned long entries, flushes;
		unsigned long batches, in_batches;	/* entries for several buffers, and these */
		unsigned int longest;			/* batch */
		unsigned long early;			/* entries for a buffer that was not the oldest */
	} stat;
};

#define VD_SLOT		32		/* 16 header, 1 status at 16 */
#define VD_NO_STATUS	0xee		/* what we put in the status byte */

struct vd_queue *vd_queue_new(struct vd *d, unsigned int index, unsigned int num);
void vd_queue_free(struct vd_queue *q);
void vd_queue_fresh(struct vd_queue *q);
void vd_queue_start_at(struct vd_queue *q, __u16 at);	/* fresh; @at: an index, or slot and wrap counter */
void vd_queue_features(struct vd_queue *q);	/* those taken, before each start */
void vd_queue_move(struct vd_queue *q, __u64 desc, __u64 avail, __u64 used);
size_t vd_ring_bytes(unsigned int num, size_t *avail, size_t *used);

/* Put a chain in the ring; returns its head or -ENOSPC. */
int vd_add(struct vd_queue *q, const struct vd_buf *b, unsigned int n, enum vd_chain how);
void vd_book(struct vd_queue *q, __u16 head);	/* one buffer more that the device has; the ring is the test's */
/* What is there of it, as it is. Split: a head; packed: descriptors, of which neither next nor AVAIL and USED count. */
void vd_push_head(struct vd_queue *q, __u16 head);
void vd_push_descs(struct vd_queue *q, const struct vd_desc *d, unsigned int n, __u16 id);
void vd_kick_always(struct vd_queue *q);
bool vd_kick(struct vd_queue *q);	/* only if the device wants it; whether it did */
void vd_vague(struct vd_queue *q);	/* another device goes on, and can't know what was used by the one before */
int vd_reap(struct vd_queue *q);	/* head of a buffer that is used, or -EAGAIN */
int vd_more(struct vd_queue *q, int ms);	/* until there is something to reap; 0 or -ETIMEDOUT */
int vd_wait(struct vd_queue *q, unsigned int n, int ms); /* until @n more buffers were reaped; 0 or -ETIMEDOUT */
int vd_spin(struct vd_queue *q, unsigned int n, int ms);	/* the same without the call eventfd */
int vd_poll_fd(int fd, int ms);		/* 1 and drained, 0 after @ms */
__u64 vd_drain_fd(int fd);

/* Requests.  @sector of a DISCARD and friends goes into the data. */
int vd_submit(struct vd_queue *q, __u32 type, __u64 sector, const struct vd_buf *data, unsigned int n,
	      enum vd_chain how);
int vd_slot_status(struct vd_queue *q, int head);
/* Submit one, kick, wait: status byte, or -errno. */
int vd_do(struct vd_queue *q, __u32 type, __u64 sector, const struct vd_buf *data, unsigned int n, enum vd_chain how);
int vd_rw(struct vd_queue *q, __u32 type, __u64 sector, __u64 iova, __u32 len);

/* A pattern that says where it belongs and which round wrote it. */
void vd_fill(void *buf, size_t len, __u64 off, __u32 seed);
long vd_check(const void *buf, size_t len, __u64 off, __u32 seed);	/* -1, or where it differs */

#endif /* VBLK_DEV_H */
