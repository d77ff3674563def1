/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABI between the holder (vhost_inflight.ko) and an engine (vhost_blk.ko).
 *
 * The holder owns what must outlive an engine, as the plain data below.  An engine reads rings,
 * decides and publishes; it keeps nothing that it could not derive again from here.  Everything an
 * exported function takes is declared in this header and nowhere else: the symbol CRCs that the
 * kernel compares at insmod cover exactly this file, so private structures of either side may
 * change freely.
 */
#ifndef _LINUX_VHOST_INFLIGHT_H
#define _LINUX_VHOST_INFLIGHT_H

#include <linux/llist.h>
#include <linux/types.h>

struct module;

/* Changes whenever anything below does. */
#define VINF_ABI_VERSION	4

#define VINF_MAX_QUEUES		64
#define VINF_MAX_QUEUE_SIZE	1024
/* Ranges of one DISCARD, WRITE_ZEROES or SECURE_ERASE; announced in config space. */
#define VINF_MAX_RANGES		16
/* Data of one request, in bytes. */
#define VINF_MAX_DATA		(64u << 20)

#define VINF_SERIAL_LEN		20	/* VIRTIO_BLK_ID_BYTES */

/* A piece of guest memory, in the device's address space (IOVA). */
struct vinf_seg {
	u64 addr;
	u32 len;
	u32 flags;
};

/* VINF_OP_NONE needs no disk: an engine answers such a request itself. */
enum vinf_op {
	VINF_OP_NONE,
	VINF_OP_READ,
	VINF_OP_WRITE,
	VINF_OP_FLUSH,
	VINF_OP_DISCARD,
	VINF_OP_ZEROES,
	VINF_OP_ERASE,
	VINF_NR_OPS,
};

#define VINF_RANGE_UNMAP	0x1

/* One range of a DISCARD, WRITE_ZEROES or SECURE_ERASE, in units of 512 bytes. */
struct vinf_range {
	u64 sector;
	u32 sectors;
	u32 flags;
};

/*
 * The write is stable before it is reported (the driver has no other way to ask, virtio 1.4,
 * 5.2.6.2).
 */
#define VINF_REQ_STABLE		0x1
/* Its status byte is written; it waits for its turn to be given back, with @used_len. */
#define VINF_REQ_ANSWERED	0x2

/**
 * struct vinf_req - one request on its way through the holder
 * @done: link in &vinf_vq.done, the holder's until the request came back
 * @id: buffer id in the ring; the request's place in the pool
 * @ndesc: ring slots the buffer occupies (packed rings)
 * @op: enum vinf_op
 * @flags: VINF_REQ_*
 * @busy: taken from the ring and not returned; the engine's
 * @status: what the engine answers when the request needs no disk or when @error is 0
 * @type: VIRTIO_BLK_T_* as the driver wrote it
 * @error: 0 or -errno, valid once the request came back
 * @len: data in bytes
 * @used_len: length of the used entry when the request ends OK; the engine's
 * @failed_len: length of the used entry when it ends otherwise; the engine's
 * @nr_ranges: ranges given to vinf_req_submit() (DISCARD, WRITE_ZEROES, SECURE_ERASE)
 * @sector: in units of 512 bytes
 * @counter: of the inflight region: its place in the order in which buffers were taken
 * @taken: when that was, in jiffies
 * @status_addr: where the status byte goes (IOVA)
 *
 * The pool of a queue is an array with one request per buffer id, so a request is found without a
 * search and taking one never fails.  The engine fills the fields, the holder keeps what a bio
 * points to behind them.
 */
struct vinf_req {
	struct llist_node done;
	u16 id;
	u16 ndesc;
	u8 op;
	u8 flags;
	u8 busy;
	u8 status;
	u32 type;
	s32 error;
	u32 len;
	u32 used_len;
	u32 failed_len;
	u32 nr_ranges;
	u64 sector;
	u64 counter;
	u64 taken;
	u64 status_addr;
};

/*
 * What the backing can do and what the device announced, in the units of struct virtio_blk_config.
 */
struct vinf_limits {
	u64 capacity;			/* A: changes on resize, READ_ONCE() */
	u32 blk_size;
	u32 read_only;
	u32 max_discard_sectors;
	u32 max_discard_seg;
	u32 max_write_zeroes_sectors;
	u32 max_write_zeroes_seg;
	u32 max_secure_erase_sectors;
	u32 max_secure_erase_seg;
	u8 serial[VINF_SERIAL_LEN];
	u8 reserved[4];
};

/*
 * Ring metadata as mapped into the kernel. Split: descriptor table, available ring, used ring;
 * packed: descriptor ring, event suppression structure of the driver and of the device.
 */
struct vinf_rings {
	void *desc;
	void *driver;
	void *device;
};

/* Where a ring stands.  Split rings leave the wrap counters alone. */
struct vinf_pos {
	u16 avail;
	u16 used;
	u8 avail_wrap;
	u8 used_wrap;
	u8 reserved[2];
};

/* One column per counter of struct vhost_inflight_queue_info that the data path counts. */
enum vinf_stat {
	VINF_STAT_REQUESTS,
	VINF_STAT_READS,
	VINF_STAT_WRITES,
	VINF_STAT_FLUSHES,
	VINF_STAT_DISCARDS,
	VINF_STAT_ZEROES,
	VINF_STAT_ERASES,
	VINF_STAT_IDS,
	VINF_STAT_READ_BYTES,
	VINF_STAT_WRITE_BYTES,
	VINF_STAT_IOERRS,
	VINF_STAT_UNSUPPS,
	VINF_STAT_CALLS,
	VINF_STAT_CALLS_SUPPRESSED,
	VINF_STAT_BATCHES,
	VINF_NR_STATS,
};

/**
 * struct vinf_vq - one virtqueue, as the holder keeps it for the engine
 * @index: number of the queue
 * @num: size of the ring, also the number of requests in the pool
 * @req_stride: bytes from one request of the pool to the next
 * @features: virtio features the driver took
 * @reqs: the pool, indexed by buffer id
 * @limits: of the device
 * @rings: mapped ring metadata; may move between two calls of &vinf_engine_ops.process
 * @rings_gen: changes when @rings does
 * @pos: where the ring stands; the engine stores it before it returns from any of its ops
 * @depth: requests taken and not returned; the engine's
 * @depth_max: largest @depth
 * @quiesce: take nothing new; set by the holder, READ_ONCE()
 * @broken: set by vinf_vq_broken(): nothing more is taken, what was taken is returned as ever
 * @gone: the rings are not touched any more, what comes back is dropped
 * @told: the owner said where to start, in @pos; else @region does, if there is something in it
 * @handed: somebody else was at the ring before: the driver may wait for a notification
 * @kept: set during start when the pool says what became of the requests in flight: @busy ones come
 *	back, VINF_REQ_ANSWERED ones have only to be given back
 * @polled: the driver need not kick for what comes after this turn: the holder looks for it, by
 *	&vinf_engine_ops.pending
 * @region_num: entries of @region
 * @region: inflight region of the queue, mapped; the engine's, from start to stop
 * @priv: the engine's own, from start to stop
 * @done: requests that came back, newest first; any context adds, the engine takes all
 * @stat: counters, written by the engine only, READ_ONCE() elsewhere
 *
 * Everything but @done and @quiesce is read and written with the queue's lock held, which the
 * holder takes around every op of the engine.
 */
struct vinf_vq {
	u16 index;
	u16 num;
	u32 req_stride;
	u64 features;
	void *reqs;
	const struct vinf_limits *limits;
	struct vinf_rings rings;
	u32 rings_gen;
	struct vinf_pos pos;
	u32 depth;
	u32 depth_max;
	u8 quiesce;
	u8 broken;
	u8 gone;
	u8 told;
	u8 handed;
	u8 kept;
	u8 polled;
	u16 region_num;
	void *region;
	void *priv;
	struct llist_head done;
	u64 stat[VINF_NR_STATS];
};

static inline struct vinf_req *vinf_vq_req(const struct vinf_vq *vq, u16 id)
{
	return vq->reqs + (size_t)id * vq->req_stride;
}

/**
 * struct vinf_engine_ops - what an engine does for the holder
 * @abi_version: VINF_ABI_VERSION the engine was built with
 * @size: sizeof(struct vinf_engine_ops)
 * @owner: the engine's module, held while a node is open, but for an exchange of engines
 * @name: name and version, for people
 * @features: ring features (VIRTIO_F_*, VIRTIO_RING_F_*) the engine can serve
 * @start: make &vinf_vq.priv from the plain data.  0, -ENOMEM, -EINVAL when the position or the
 *         rings make no sense, -EPROTONOSUPPORT, -EOPNOTSUPP, -EMSGSIZE or -EUCLEAN when the
 *         inflight region doesn't; with &vinf_vq.kept such a queue is broken instead, as either
 *         all of them get an engine or none.  Nothing is fetched yet; what the region says was
 *         taken counts in &vinf_vq.depth.
 * @stop: forget &vinf_vq.priv; @pos, the region and the pool stay.  Cannot fail.
 * @process: one bounded turn of a queue: return what came back, fetch and submit what is new.  True
 *           when there is more to do at once; false when the next kick, completion or wake will
 *           say.
 * @holds: was the request of this id taken and not yet given back?
 * @pending: is there something new to fetch?  With @arm the driver is asked to kick from now on,
 *           and what it made available before it could see that is found.
 *
 * All of them run in process context with the queue's lock held; @process and @pending in the
 * queue's worker, which is a thread of the owner's process and in its memory; the others in
 * anybody's.
 */
struct vinf_engine_ops {
	u32 abi_version;
	u32 size;
	struct module *owner;
	const char *name;
	u64 features;
	int (*start)(struct vinf_vq *vq);
	void (*stop)(struct vinf_vq *vq);
	bool (*process)(struct vinf_vq *vq);
	bool (*holds)(const struct vinf_vq *vq, u16 id);
	bool (*pending)(struct vinf_vq *vq, bool arm);
};

int vinf_engine_register(const struct vinf_engine_ops *ops);
void vinf_engine_unregister(const struct vinf_engine_ops *ops);

int vinf_copy_from(struct vinf_vq *vq, u64 iova, void *dst, u32 len);
int vinf_copy_to(struct vinf_vq *vq, u64 iova, const void *src, u32 len);

int vinf_req_submit(struct vinf_vq *vq, struct vinf_req *req, const struct vinf_seg *segs,
		    unsigned int nr, const struct vinf_range *ranges);
void vinf_req_finish(struct vinf_vq *vq, struct vinf_req *req);

void vinf_vq_call(struct vinf_vq *vq);
void vinf_vq_broken(struct vinf_vq *vq, int err, const char *what);

#endif /* _LINUX_VHOST_INFLIGHT_H */
