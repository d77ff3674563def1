/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Private types of the holder.
 *
 * Lock order, outermost first:
 *
 *   configfs item mutex (vinf_conf.lock)
 *     vinf_switch_lock              one exchange of engines at a time
 *       vinf_devs_lock              list of devices
 *         vinf_dev.open_lock        opening and closing the node
 *     vinf_dev.lock                 control: ioctls, IOTLB messages, start and stop
 *       vinf_queue.lock             one turn of a queue: fetch, publish; the rings' mappings
 *         vinf_engine_lock          the registered engine; also inside of open_lock
 *         mmap_lock                 page faults and pins of the worker
 *           vinf_queue.wake_lock    irq-safe: who may be woken
 *           vinf_queue.retry_lock   irq-safe
 *             vinf_events.lock      irq-safe
 *           vinf_bounce.lock        irq-safe
 *           vinf_dev.config_lock    irq-safe
 *
 * A worker, and who starts a queue, may sleep under vinf_queue.lock in a page fault that userspace
 * has to answer, and an owner under vinf_dev.lock in one, or until its device is at rest.  So both
 * are waited for killably, but by who knows them to be free: vinf_stop_at_rest() of queues at rest,
 * vinf_release() of a file whose last user it is, an exchange of engines of queues that run without
 * one.  The reaper only tries.
 *
 * Field legend, as used below:
 *
 *   I: set when the object is made, constant after
 *   E: set when the device is enabled, constant until it is disabled
 *   D: vinf_dev.lock
 *   O: vinf_dev.open_lock; what it protects also stands while a file is open
 *   Q: vinf_queue.lock
 *   S: set under D and Q while the queue is stopped, constant while it runs
 *   K: vinf_queue.wake_lock
 *   W: the queue's worker only
 *   A: atomic or READ_ONCE()/WRITE_ONCE()
 */
#ifndef _VINF_H
#define _VINF_H

#include <linux/atomic.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/uio.h>
#include <linux/vhost.h>
#include <linux/vhost_iotlb.h>
#include <linux/vhost_inflight.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <uapi/linux/vhost_inflight.h>
#include <uapi/linux/virtio_ring.h>

#include "compat.h"
#include "map.h"
#include "stand.h"

#define VINF_NAME_LEN		VHOST_INFLIGHT_NAME_LEN
#define VINF_DEFAULT_QUEUE_SIZE	256
#define VINF_DEFAULT_RETRY_MS	1000
#define VINF_MAX_POLL_US	100000
/*
 * Largest segment a driver may use; with seg_max it keeps size_max * seg_max below 2^31, which
 * libblkio needs.
 */
#define VINF_SIZE_MAX		65536u
#define VINF_MAX_MAPS		65536u
/* Data pages up to here need no allocation. */
#define VINF_INLINE_BVECS	16
/* The bounce pool of a running device: buffers, and the order of one of them. */
#define VINF_NR_BOUNCE		4
#define VINF_BOUNCE_ORDER	4
#define VINF_BOUNCE_SIZE	(PAGE_SIZE << VINF_BOUNCE_ORDER)
/* There is no legacy device here, and every address goes through the IOTLB. */
#define VINF_MUST_ACK		(BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM))
/* Config space up to what zoned devices have; virtio 1.4, 5.2.4. */
#define VINF_CONFIG_SIZE	offsetof(struct virtio_blk_config, zoned)

struct vinf_dev;
struct vinf_log;
struct vinf_queue;

/* ---- backing.c: the file or block device below ---- */

/* Everything is E. */
struct vinf_backing {
	struct file *file;		/* bdev file or regular file */
	struct block_device *bdev;	/* NULL: regular file */
	struct list_head link;		/* backing.c: regular files in use */
	bool direct;			/* regular file, I/O past the page cache */
	bool nowait;			/* block device that can be asked not to block */
	bool may_unmap;			/* there is a command to zero, and it may deallocate */
	u32 mem_align;			/* mask: address of a segment */
	u32 len_align;			/* mask: length of a segment */
	u32 logical, physical; /* bytes: smallest unit of I/O, and the one that costs least */
	u32 alignment_offset;		/* bytes to the first aligned physical block */
	u32 io_min, io_opt;		/* bytes */
	u32 max_discard_sectors, discard_align_sectors;
	u32 max_zeroes_sectors;
	u32 max_erase_sectors, erase_align_sectors;
};

int vinf_backing_open(struct vinf_backing *bk, const char *path, bool read_only, void *holder);
void vinf_backing_close(struct vinf_backing *bk);
u64 vinf_backing_sectors(const struct vinf_backing *bk);

/* ---- config.c: struct virtio_blk_config and the feature bits that go with it ---- */

struct vinf_params;

int vinf_config_init(struct vinf_dev *dev, const struct vinf_params *p);
void vinf_config_refresh(struct vinf_dev *dev);
void vinf_config_set_capacity(struct vinf_dev *dev, u64 sectors);

/* ---- bounce.c: a bounded pool of buffers for what the disk cannot take as it is ---- */

struct vinf_bounce {
	spinlock_t lock;	/* protects all of it */
	struct page *page[VINF_NR_BOUNCE];	/* free ones, nr_free of them */
	unsigned int nr_free, total;	/* A: READ_ONCE() without the lock */
	bool closed;			/* buffers that come back are freed */
	struct list_head waiting;	/* struct vinf_io.link */
};

struct vinf_io;

int vinf_bounce_init(struct vinf_bounce *b);	/* at DRIVER_OK, idempotent */
void vinf_bounce_destroy(struct vinf_bounce *b);
void vinf_bounce_start(struct vinf_io *io);
void vinf_bounce_step(struct vinf_io *io);
void vinf_bounce_put(struct vinf_io *io);
void vinf_bounce_cancel(struct vinf_queue *q, struct list_head *list);

/* ---- io.c: requests under way ---- */

/**
 * struct vinf_io - a request and everything a bio or kiocb points to
 * @req: what the engine sees
 * @q: queue it belongs to
 * @bv: its data pages, pinned or borrowed; @inline_bv or an allocation
 * @nr_bv: entries of @bv
 * @map: picture of the IOTLB whose pins the pages are borrowed from; NULL: the pins are its own, or
 *       it has no pages
 * @segs: in their place, where the data is in guest memory, of a request that is parked
 * @nr_segs: entries of @segs
 * @max_bv: room in @bv
 * @offset: where the window starts: what is under way now, a chunk of a bounced request or else all
 *         of it
 * @chunk: bytes of the window
 * @iova: of each of @bv where it is for the driver; a bio_vec is in one piece there
 * @moved: bytes of the window that are done
 * @again: first byte of the window the disk refused in this pass, U32_MAX when none
 * @start: byte of the window at which @bio starts
 * @remaining: bios of this pass that are out, plus one while they are being sent
 * @status: first error of this pass (errno, 0 when none)
 * @tries: passes in a row that moved nothing
 * @started: from vinf_io_start() to vinf_io_release()
 * @cancelled: -ECANCELED is ours: the owner was being killed when it started
 * @misaligned: the disk cannot take the data where it is
 * @must_block: the disk does not know how not to block
 * @deferred: counted as such
 * @healing: was parked since it was started
 * @tell: that it is parked is news
 * @left: in the inflight region when the queue was stopped; kept for who looks on
 * @plain: second try of a regular file, through the page cache
 * @state: enum vhost_inflight_request_state, for who looks on
 * @step: what @work does
 * @work: for what may block or copies
 * @link: in &vinf_queue.retry, &vinf_queue.parked_ios or &vinf_bounce.waiting
 * @bounce: buffer of a bounced request
 * @bounce_bv: the window in @bounce
 * @bio: first bio of a request, or the rest behind those that were cut off
 * @iocb: of a request to a regular file
 *
 * From vinf_io_start() to its return on the done list it is the I/O path's; the pins are kept until
 * vinf_io_release(). Whoever is at it has it alone: the submitter, then the last of its bios or its
 * kiocb, then a list or a work item.
 */
struct vinf_io {
	struct vinf_req req;		/* first */
	struct vinf_queue *q;
	struct bio_vec *bv;
	u64 *iova;
	unsigned int nr_bv, max_bv;
	struct vinf_map *map;		/* A: a reference, or VINF_BORROWED from &vinf_queue.map */
	struct vinf_seg *segs;
	unsigned int nr_segs;
	u32 offset, chunk, moved;
	u32 again;			/* A */
	u32 start;
	atomic_t remaining;
	int status;			/* A */
	unsigned int tries;
	bool started, misaligned, must_block, deferred, plain, cancelled, healing, tell, left;
	u8 state;			/* A */
	void (*step)(struct vinf_io *io);
	struct work_struct work;
	struct list_head link;
	struct page *bounce;
	struct bio_vec bounce_bv;
	union {
		struct bio bio;
		struct kiocb iocb;
	};
	union {
		struct {
			struct bio_vec inline_bv[VINF_INLINE_BVECS];
			u64 inline_iova[VINF_INLINE_BVECS];
		};
		struct vinf_range ranges[VINF_MAX_RANGES];
	};
};

static_assert(offsetof(struct vinf_io, req) == 0);

/* In &vinf_io.map: no reference, the queue has its picture still. */
#define VINF_BORROWED		((struct vinf_map *)1UL)

/* Does the request move data between guest pages and the disk? */
static inline bool vinf_io_has_data(const struct vinf_io *io)
{
	return io->req.op == VINF_OP_READ || io->req.op == VINF_OP_WRITE;
}

/* Does it change what is on the disk? */
static inline bool vinf_io_changes(const struct vinf_io *io)
{
	return io->req.op != VINF_OP_NONE && io->req.op != VINF_OP_READ &&
	       io->req.op != VINF_OP_FLUSH;
}

/* May it be left behind, and done again elsewhere?  Else it could land on the disk after that. */
static inline bool vinf_io_rewindable(const struct vinf_io *io)
{
	return !vinf_io_changes(io) || READ_ONCE(io->state) != VHOST_INFLIGHT_REQUEST_SUBMITTED;
}

static inline struct vinf_io *vinf_io(struct vinf_req *req)
{
	return container_of(req, struct vinf_io, req);
}

int vinf_io_start(struct vinf_io *io, const struct vinf_seg *segs, unsigned int nr,
		  const struct vinf_range *ranges);
void vinf_io_release(struct vinf_io *io);
void vinf_io_retry(struct vinf_queue *q);
unsigned int vinf_io_unsent(struct vinf_queue *q);
void vinf_io_cancel(struct vinf_queue *q);
void vinf_io_keep(struct vinf_queue *q);
unsigned int vinf_io_at_rest(struct vinf_queue *q);
void vinf_io_drop(struct vinf_queue *q, u32 event);
u64 vinf_io_sector(const struct vinf_io *io);
u64 vinf_io_length(const struct vinf_io *io);
int vinf_io_pool_init(struct vinf_queue *q, u16 num);
void vinf_io_pool_destroy(struct vinf_queue *q);
int vinf_io_module_init(void);
void vinf_io_module_exit(void);

void vinf_io_submit(struct vinf_io *io, bool may_block);
void vinf_io_block(struct vinf_io *io);
void vinf_io_queue(struct vinf_io *io, struct workqueue_struct *wq);
void vinf_io_defer(struct vinf_io *io, void (*step)(struct vinf_io *io));
void vinf_io_refused(struct vinf_io *io, bool progress);
void vinf_io_window_done(struct vinf_io *io);
void vinf_io_end(struct vinf_io *io, int err);

/* ---- park.c: what the disk failed and may do later ---- */

void vinf_io_failed(struct vinf_io *io, int err);
unsigned int vinf_park_take(struct vinf_queue *q, struct list_head *list);
void vinf_park_step(struct vinf_io *io);
void vinf_park_report(struct vinf_dev *dev);
unsigned int vinf_park_retry(struct vinf_dev *dev, bool tell);
void vinf_park_sort(struct vinf_queue *q);
void vinf_park_arm(struct vinf_dev *dev);
void vinf_park_set(struct vinf_dev *dev, const struct vinf_params *p);
void vinf_park_over(struct vinf_io *io, int err);
void vinf_heal_work(struct work_struct *work);

/* ---- pin.c: the data pages of a request ---- */

int vinf_pin(struct vinf_io *io, const struct vinf_seg *segs, unsigned int nr, int *err);
void vinf_unpin(struct vinf_io *io);
void vinf_pin_loosen(struct vinf_io *io);
int vinf_pin_again(struct vinf_io *io);
void vinf_pin_keep(struct vinf_queue *q);

/* ---- io_bdev.c, io_file.c ---- */

void vinf_bdev_submit(struct vinf_io *io);
void vinf_bdev_ranges(struct vinf_io *io);
int vinf_bdev_init(void);
void vinf_bdev_exit(void);
void vinf_file_submit(struct vinf_io *io);
void vinf_file_control(struct vinf_io *io);

/* ---- iotlb.c ---- */

struct vinf_iotlb {
	struct vhost_iotlb *tree;	/* D: what the owner said */
	struct vinf_map *map;		/* D, holds a reference */
	bool batch;			/* D: between BATCH_BEGIN and BATCH_END */
	bool dirty;			/* D: tree and map differ */
};

void vinf_map_put(struct vinf_map *map);
struct vinf_map *vinf_map_get(struct vinf_map *map);
int vinf_iotlb_read(struct iov_iter *from, struct vhost_iotlb_msg *msg);
int vinf_iotlb_msg(struct vinf_dev *dev, const struct vhost_iotlb_msg *msg);
int vinf_iotlb_init(struct vinf_dev *dev);
void vinf_iotlb_clear(struct vinf_dev *dev);
void vinf_iotlb_attach(struct vinf_queue *q);
void vinf_iotlb_detach(struct vinf_queue *q);
bool vinf_iotlb_logged(const struct vinf_iotlb *tlb, const struct vinf_log *log);

/* ---- memory.c: guest memory pinned for as long as it is mapped ---- */

/**
 * struct vinf_memory - a range of the owner's memory, pinned
 * @ref: of the IOTLB and of each picture of it
 * @written: the device may write to it
 * @mm: who is charged for it
 * @charged: pages
 * @first: number of the first page in the owner's memory
 * @nr: entries of @page
 * @page: the pages
 */
struct vinf_memory {
	refcount_t ref;
	bool written;
	struct mm_struct *mm;
	unsigned long charged, first, nr;
	struct page *page[];
};

int vinf_memory_charge(struct mm_struct *mm, unsigned long nr);
struct vinf_memory *vinf_memory_pin(u64 uaddr, u64 size, u32 perm);
struct vinf_memory *vinf_memory_get(struct vinf_memory *m);
void vinf_memory_put(struct vinf_memory *m);

/* ---- ring.c: ring metadata, pinned and mapped ---- */

enum vinf_area { VINF_AREA_DESC, VINF_AREA_DRIVER, VINF_AREA_DEVICE, VINF_NR_AREAS };

struct vinf_area_map {
	struct page **pages;
	unsigned int nr;
	unsigned int offset;		/* of the area in the first of them */
	void *vaddr;			/* of the first of them */
};

/*
 * How rings lie in memory: for each area its alignment and length in bytes, and whether the device
 * writes there. @pow2: sizes are powers of two; @wraps: positions have wrap counters.
 */
struct vinf_ring_layout {
	struct {
		u8 align, fixed, per_slot;
		bool written;
	} area[VINF_NR_AREAS];
	bool pow2, wraps;
};

const struct vinf_ring_layout *vinf_ring_layout(u64 features);

int vinf_vring_set_num(struct vinf_queue *q, u32 num);
int vinf_vring_set_addr(struct vinf_queue *q, const struct vhost_vring_addr *a);
int vinf_vring_set_base(struct vinf_queue *q, u32 base);
u32 vinf_vring_base(const struct vinf_queue *q);
u16 vinf_vring_avail(const struct vinf_queue *q);
u16 vinf_vring_used(const struct vinf_queue *q);

int vinf_ring_map(struct vinf_queue *q);
void vinf_ring_unmap(struct vinf_queue *q);
int vinf_ring_pin(const struct vinf_queue *q, const struct vinf_map *map,
		  struct vinf_area_map *area);
void vinf_ring_unpin(struct vinf_area_map *area);
int vinf_ring_remap(struct vinf_queue *q, struct vinf_area_map *area);
void vinf_ring_log(struct vinf_queue *q);
bool vinf_ring_moved_on(const struct vinf_queue *q, u16 used);

/* ---- shm.c: shared memory that userspace has, too ---- */

/**
 * struct vinf_shm - a part of a file, mapped
 * @file: shmem
 * @offset: where in @file it starts; a multiple of the page size
 * @size: bytes
 * @pages: of @file, a reference to each
 * @nr: entries of @pages
 * @vaddr: of the first
 */
struct vinf_shm {
	struct file *file;
	u64 offset, size;
	struct page **pages;
	unsigned int nr;
	void *vaddr;
};

struct file *vinf_shm_fget(int fd, u64 offset, u64 size);
int vinf_shm_open(struct vinf_shm *shm, struct file *file, u64 offset, u64 size);
bool vinf_shm_whole(const struct vinf_shm *shm);
void vinf_shm_put(struct vinf_shm *shm);

/* ---- log.c: what the device writes to guest memory ---- */

int vinf_log_set(struct vinf_dev *dev, const struct vhost_inflight_log *arg);
bool vinf_log_covers(const struct vinf_log *log, u64 iova, u64 last);
void vinf_log_mark(struct vinf_log *log, u64 iova, u64 len);
void vinf_log_read(struct vinf_log *log, const struct vinf_io *io);
void vinf_log_attach(struct vinf_queue *q);
void vinf_log_detach(struct vinf_queue *q);
void vinf_log_put(struct vinf_log *log);

/* ---- region.c: the inflight region ---- */

struct vinf_region;

int vinf_region_ready(struct vinf_dev *dev);
bool vinf_region_whole(const struct vinf_dev *dev);
int vinf_region_set(struct vinf_dev *dev, const struct vhost_inflight_fd *arg);
struct file *vinf_region_get(struct vinf_dev *dev, struct vhost_inflight_fd *arg);
void *vinf_region_queue(const struct vinf_dev *dev, u16 index);
void vinf_region_void(struct vinf_queue *q);
void vinf_region_put(struct vinf_region *r);

/* ---- worker.c ---- */

struct vinf_worker;

int vinf_worker_create(struct vinf_queue *q);
struct vinf_worker *vinf_worker_retire(struct vinf_queue *q);
void vinf_worker_wait(struct vinf_worker *w, unsigned long deadline);
void vinf_queue_wake(struct vinf_queue *q);
void vinf_queue_done(struct vinf_queue *q, struct vinf_io *io);

extern struct workqueue_struct *vinf_wq;
extern struct workqueue_struct *vinf_unpin_wq;	/* what waits for somebody else's filesystem */

/* ---- event.c: what a supervisor wants to know without asking ---- */

#define VINF_NR_EVENTS_KEPT	64

struct vinf_events {
	spinlock_t lock;		/* protects the rest, and vinf_file.seen */
	u64 seq;			/* of the last one; the first is 1 */
	wait_queue_head_t wait;
	struct vhost_inflight_event ring[VINF_NR_EVENTS_KEPT];
};

struct vinf_file;

void vinf_events_init(struct vinf_events *events);
void vinf_event(struct vinf_dev *dev, u32 type, const struct vinf_queue *q,
		const struct vinf_io *io, int err);
void vinf_event_open(struct vinf_file *vf);
int vinf_event_next(struct vinf_file *vf, struct vhost_inflight_event *e);
void vinf_event_seen(struct vinf_file *vf, u64 seq);
bool vinf_event_pending(struct vinf_file *vf);

/* ---- queue ---- */

/* What a queue may leave in the region when it is stopped, and does not send to the disk again. */
enum vinf_keep {
	VINF_KEEP_NOTHING,		/* also of a queue that is not to be stopped */
	VINF_KEEP_PARKED,
	VINF_KEEP_ALL,			/* whatever is not at the disk; nothing more is sent */
};

enum vinf_queue_flag {
	VINF_Q_BUSY,			/* the worker is in a turn */
	VINF_Q_WORK,			/* a turn is wanted */
};

/**
 * struct vinf_queue - one virtqueue of a device
 *
 * They are in an array, and each has cache lines of its own: its worker writes to the first and,
 * where kicks and deferred requests are counted, to the last of them.
 */
struct vinf_queue {
	struct vinf_vq vq;		/* Q, see there */
	struct vinf_dev *dev;		/* I */
	struct mutex lock;		/* Q */
	atomic_t wanted;		/* A: who waits for it by vinf_queue_lock_until() */
	unsigned long yielded;		/* W: when they were waited for, in jiffies */

	/* what the owner configured */
	u32 num;			/* D */
	bool addr_set;			/* D */
	bool ready;			/* D: SET_VRING_ENABLE */
	u64 addr[VINF_NR_AREAS];	/* D: IOVA */
	struct file *kick;		/* D */
	struct eventfd_ctx *call;	/* Q */
	bool called;			/* Q: through @call or one before it, since a reset */
	struct eventfd_ctx *err;	/* Q */

	/* running */
	bool running;			/* S: the engine has it */
	bool held;			/* A: running, but not to be served yet */
	bool parked;			/* A: not to be served: the engine is being exchanged */
	/* Q: module held; NULL while it does not run or waits for the next one */
	const struct vinf_engine_ops *engine;
	int error;			/* A: errno that broke it, 0 while it works */
	bool unmapped;			/* Q: a ring lost its translation */
	struct vinf_area_map area[VINF_NR_AREAS];	/* Q */
	struct mm_struct *ring_mm;	/* Q: charged for the rings' pins */
	struct vinf_map *map;		/* Q: picture of the IOTLB, holds a reference */
	/* Q: entries of the last hits: of data, and of headers and status bytes */
	unsigned int data_hit, copy_hit;
	struct vinf_log *log;		/* Q: holds a reference; NULL: nothing is logged */
	struct vinf_io *pool;		/* S */
	struct cgroup_subsys_state *blkcg; /* S: of the owner, for what does not come from it */
	u32 pool_num;			/* S */
	struct page **pages;		/* S: scratch of pins, VINF_SCRATCH_PAGES of them */

	/* waking the worker */
	spinlock_t wake_lock;		/* K */
	struct vinf_worker *worker;	/* K to change; NULL once it died or was retired */
	unsigned long flags;		/* A: enum vinf_queue_flag */

	/* requests under way, in the holder's hands */
	atomic_t out;			/* A: from vinf_io_start() to vinf_io_release() */
	bool dead; /* A: the owner is gone: nothing is submitted, what comes back is an orphan */
	u8 keep;			/* D to change, A: enum vinf_keep */
	struct work_struct orphan_work;
	spinlock_t retry_lock;		/* protects retry and parked_ios */
	/* retry_lock: struct vinf_io.link, to be sent: refused for lack of resources, or kept */
	struct list_head retry;
	struct list_head parked_ios; /* retry_lock: likewise, failed by the disk; by counter */
	u32 nr_parked;			/* retry_lock to change, A: how many these are */
	struct delayed_work retry_work;	/* wakes the worker when nothing else will */
	unsigned int retry_ms;		/* W */
	u32 nr_started;			/* Q: requests, ever; wraps */
	u32 burst;			/* Q: of these in the last turn that had any */

	/* stopped with something in flight */
	u32 kept;			/* D: requests in the region, 0 while it runs */
	bool stopped;			/* D: it ran, and goes on at vq.pos */
	bool resumes;			/* D: the device was reset since, @resume_pos counts */
	struct vinf_pos resume_pos;	/* D: where it stood */
	u64 stop_requests;		/* D: answered before the present stop */
	u32 stop_held;			/* D: of these held back when it began */
	u32 kept_held;			/* D: of @kept those that have their answer */

	/* eventfd of the kicks */
	struct wait_queue_entry kick_wait;
	wait_queue_head_t *kick_wqh;	/* D */
	poll_table kick_pt;

	atomic64_t kicks;		/* A */
	atomic64_t bounced;		/* A */
	atomic64_t deferred;		/* A */
	atomic64_t retried;		/* A */
	atomic64_t parks;		/* A */
	atomic64_t broken;		/* A */
	atomic64_t poll_hits, poll_misses; /* A */
} ____cacheline_aligned_in_smp;

#define VINF_SCRATCH_PAGES	64

static inline struct vinf_queue *vinf_queue(struct vinf_vq *vq)
{
	return container_of(vq, struct vinf_queue, vq);
}

/* ---- device ---- */

/* One node held open. */
struct vinf_file {
	struct vinf_dev *dev;		/* I */
	u64 seen;			/* vinf_events.lock: the last event it has */
};

/* What configfs says; copied when the device is enabled. */
struct vinf_params {
	char name[VINF_NAME_LEN];
	char serial[VINF_SERIAL_LEN + 1];
	const char *path;
	bool read_only;
	bool indirect_desc, event_idx, packed, in_order, partial_order, discard, suspend;
	bool pin_memory;
	u16 num_queues;
	u16 queue_size;
	u32 logical_block_size;		/* 0: the backing's */
	u32 drain_timeout_ms;
	u32 on_read_error, on_write_error;	/* enum vhost_inflight_on_error */
	u32 retry_ms;
	u32 poll_us;
	u32 sched_batch;
};

/* What is stopped, how, and since when.  Everything is D. */
struct vinf_stop {
	u8 bits;		/* A: that the status byte has once it stands still */
	u8 mode;			/* enum vhost_inflight_stop_mode */
	unsigned long begin, end, deadline;	/* in jiffies; @end once it ended */
	u32 ms;				/* bound of it; 0: none */
	bool next;			/* SET_STOP said how the next one is to be: */
	u8 next_mode;			/* likewise */
	u32 next_ms;			/* 0: the drain timeout */
};

/**
 * struct vinf_dev - an enabled device: a node, a backing, queues
 */
struct vinf_dev {
	struct device device;
	struct cdev cdev;
	char name[VINF_NAME_LEN];	/* I */
	struct vinf_backing backing;	/* E */
	struct vinf_limits limits;	/* E but capacity */
	struct virtio_blk_config config;	/* config_lock */
	spinlock_t config_lock;		/* config, config_call, pid, region */
	u64 features;			/* E: offered */
	bool pin_memory;		/* E: guest memory is pinned for as long as it is mapped */
	u32 drain_timeout_ms;		/* A */
	u32 on_read_error, on_write_error; /* A: enum vhost_inflight_on_error */
	u32 retry_ms;			/* A: of parked requests, 0: only by command */
	u32 poll_us;			/* A: for how long workers poll at most, 0: not at all */
	u32 sched_batch;		/* A: workers are SCHED_BATCH, see worker.c */
	u16 nr_queues;			/* E */
	u16 queue_size;			/* E */
	struct vinf_queue *queue;	/* E: nr_queues of them */
	struct workqueue_struct *wq;	/* E: what may block, bounded */
	struct vinf_bounce bounce;

	struct mutex open_lock;		/* O: never held while the owner is waited for */
	unsigned int opens;		/* O: files open */
	struct list_head link;		/* vinf_devs_lock: &vinf_devs */
	/* O: module held; NULL while opens is 0 or the engine is being exchanged */
	const struct vinf_engine_ops *engine;
	bool gone;			/* O: disabled, only waits for its last reference */

	struct mutex lock;		/* D */
	bool told;			/* A: a broken queue was logged since SET_OWNER */
	struct vinf_file *claim;	/* D: who set it up while nobody owns it; the owner */
	bool owned;			/* D */
	struct mm_struct *mm;		/* D: the owner's, mm_count held */
	struct pid *pid;		/* D: the owner's */
	u8 status;			/* D to change, A */
	u8 stand;			/* D to change, A: enum vinf_stand */
	struct vinf_stop stop;
	struct delayed_work stop_work;
	u64 acked;			/* D: features */
	u64 backend_acked;		/* D */
	struct vinf_iotlb iotlb;
	struct vinf_log *log;		/* D: holds a reference, or NULL */
	struct vinf_region *region;	/* D and config_lock to change, either to read */
	bool region_ours;		/* D: it is the present owner's */
	struct eventfd_ctx *config_call;	/* config_lock */
	bool config_called;		/* config_lock: as vinf_queue.called, for this owner */
	bool config_quiet;		/* config_lock: stands still, nobody is notified */
	bool config_late;		/* config_lock: there was a change meanwhile */

	atomic_t parked;		/* A: requests of all queues */
	bool reporting;			/* D to change, A: nothing is parked, for a reset */
	u32 heal_ms;			/* A: until they are tried again by themselves */
	struct delayed_work heal_work;
	struct vinf_events events;

	atomic_t needs_reset;		/* A: a queue broke */
	bool dying; /* A: the owner's memory is gone, reap_work has not run yet */
	struct delayed_work reap_work;
	wait_queue_head_t idle_wait;	/* a queue may have come to rest */
};

extern struct list_head vinf_devs;
extern struct mutex vinf_devs_lock;

int vinf_dev_module_init(void);
void vinf_dev_module_exit(void);
int vinf_dev_create(const struct vinf_params *p, struct vinf_dev **out);
int vinf_dev_destroy(struct vinf_dev *dev);
int vinf_dev_resize(struct vinf_dev *dev);
const char *vinf_dev_state_name(struct vinf_dev *dev);
enum vhost_inflight_state vinf_dev_state(struct vinf_dev *dev);
enum vhost_inflight_state vinf_dev_stands(const struct vinf_dev *dev);
void vinf_dev_config_changed(struct vinf_dev *dev);
void vinf_dev_config_quiet(struct vinf_dev *dev, bool quiet);
unsigned int vinf_dev_orphans(struct vinf_dev *dev);
void vinf_dev_owner_died(struct vinf_dev *dev);

/* ---- node.c, ioctl.c ---- */

extern const struct file_operations vinf_node_fops;
long vinf_ioctl(struct vinf_file *vf, unsigned int cmd, void __user *arg);

/* ---- queue.c: one queue ---- */

void vinf_queue_init(struct vinf_queue *q, struct vinf_dev *dev, u16 index);
void vinf_queue_destroy(struct vinf_queue *q);
void vinf_queue_forget(struct vinf_queue *q);
int vinf_queue_start(struct vinf_queue *q);
bool vinf_queue_resumes(const struct vinf_queue *q);
void vinf_queue_drop_kept(struct vinf_queue *q);
u32 vinf_queue_held_back(struct vinf_queue *q, unsigned long deadline);
void vinf_queue_leave(struct vinf_queue *q);
void vinf_queue_leave_nothing(struct vinf_queue *q);
void vinf_queue_stop(struct vinf_queue *q);
void vinf_queue_turn(struct vinf_queue *q);
int vinf_queue_look(struct vinf_queue *q, bool arm);
int vinf_queue_lock_until(struct vinf_queue *q, unsigned long deadline);
enum vhost_inflight_queue_state vinf_queue_state(struct vinf_queue *q);

/* ---- request.c: what is in flight, for who looks on ---- */

int vinf_get_requests(struct vinf_dev *dev, struct vhost_inflight_requests *arg);

/* ---- state.c: start, drain, status; D held ---- */

void vinf_quiesce(struct vinf_dev *dev, const struct vinf_queue *only, enum vinf_keep keep);
void vinf_unquiesce(struct vinf_dev *dev, const struct vinf_queue *only);
bool vinf_at_rest(struct vinf_dev *dev, const struct vinf_queue *only);
bool vinf_stop_at_rest(struct vinf_dev *dev, const struct vinf_queue *only, u32 event);
int vinf_start_queues(struct vinf_dev *dev);
void vinf_stand(struct vinf_dev *dev, enum vinf_stand stand);
void vinf_forget(struct vinf_dev *dev);
u8 vinf_get_status(struct vinf_dev *dev);
int vinf_set_status(struct vinf_dev *dev, u8 status);
int vinf_suspend(struct vinf_dev *dev);
int vinf_resume(struct vinf_dev *dev);
int vinf_queue_enable(struct vinf_queue *q, bool on);

/* ---- stop.c: the status bit STOP ---- */

/* Every bit of the status byte by which a device may be told to stand still. */
#define VINF_S_SUSPEND		0x10	/* virtio 1.4, 2.1, with VIRTIO_F_SUSPEND */
#define VINF_F_SUSPEND		43
#define VINF_S_STILL		(VHOST_INFLIGHT_S_STOP | VINF_S_SUSPEND)

enum vinf_keep vinf_stop_keep(u8 mode);
int vinf_stop_status(struct vinf_dev *dev, u8 *status, u8 *bits);
int vinf_stop_set(struct vinf_dev *dev, u8 bits);
int vinf_stop_next(struct vinf_dev *dev, const struct vhost_inflight_stop *arg);
int vinf_stop_info(struct vinf_dev *dev, struct vhost_inflight_stop_info *info);
void vinf_stop_work(struct work_struct *work);
void vinf_rest_hint(struct vinf_dev *dev);

/* ---- owner.c: own, release, die ---- */

int vinf_claim(struct vinf_dev *dev, struct vinf_file *vf);
bool vinf_owns(struct vinf_dev *dev, struct vinf_file *vf);
int vinf_own(struct vinf_dev *dev, struct vinf_file *vf);
void vinf_release(struct vinf_dev *dev, struct vinf_file *vf);
void vinf_config_call(struct vinf_dev *dev, struct eventfd_ctx *ctx);
void vinf_reap_work(struct work_struct *work);

/* ---- kick.c: eventfds ---- */

int vinf_kick_bind(struct vinf_queue *q, int fd);
void vinf_kick_unbind(struct vinf_queue *q);

/* ---- configfs.c ---- */

int vinf_configfs_init(void);
void vinf_configfs_exit(void);

/* ---- engine.c ---- */

/* What an engine has to be able to do; the other features are the holder's. */
#define VINF_RING_FEATURES (BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |	\
			    BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |		\
			    BIT_ULL(VIRTIO_F_RING_PACKED) |		\
			    BIT_ULL(VIRTIO_F_IN_ORDER) |		\
			    BIT_ULL(VIRTIO_F_PARTIAL_ORDER))

int vinf_engine_detach(unsigned int ms);
int vinf_engine_attach(void);
bool vinf_engine_away(void);
int vinf_engine_wait(bool nonblock);
void vinf_engine_name(char *buf, size_t size);
const struct vinf_engine_ops *vinf_engine_get(void);
const struct vinf_engine_ops *vinf_engine_await(void);
void vinf_engine_put(const struct vinf_engine_ops *ops);

#endif /* _VINF_H */
