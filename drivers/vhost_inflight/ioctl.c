// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls, as a table: who may call each, in which states, and what it does.
 *
 * Handlers get a copy of the argument in kernel memory and never see a user pointer, so none of
 * them is stopped in a page fault while it holds a lock; but for the pins of rings at a start.
 */
#include <linux/eventfd.h>
#include <linux/nospec.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "vinf.h"
#include "trace.h"

/* What the owner may take; 1 << VHOST_BACKEND_F_x. */
static const u64 vinf_backend_features = BIT_ULL(VHOST_BACKEND_F_IOTLB_MSG_V2) |
					 BIT_ULL(VHOST_BACKEND_F_IOTLB_BATCH) |
					 BIT_ULL(VHOST_BACKEND_F_SUSPEND) |
					 BIT_ULL(VHOST_BACKEND_F_RESUME) |
					 BIT_ULL(VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK) |
					 BIT_ULL(VHOST_BACKEND_F_IOTLB_PERSIST) |
					 BIT_ULL(VHOST_INFLIGHT_BACKEND_F_LOG) |
					 BIT_ULL(VHOST_INFLIGHT_BACKEND_F_STOP);

/* Who may call. */
enum vinf_who {
	ANY,			/* whoever has the node open */
	CLAIM,			/* the owner; without one, anybody.  -EBUSY, -EPERM: vinf_claim() */
	OWNER,			/* the owning file, in the owner's memory.  -EPERM */
};

/* States as far as the table tells them apart. */
#define IN_SETUP	BIT(0)	/* before FEATURES_OK */
#define IN_NEGOTIATED	BIT(1)	/* FEATURES_OK, not DRIVER_OK */
#define IN_RUNNING	BIT(2)	/* DRIVER_OK */
#define IN_STILL	BIT(3)	/* DRIVER_OK, and suspended or stopped */
#define IN_STOPPED	(IN_SETUP | IN_NEGOTIATED | IN_STILL)
#define IN_ALL		(IN_STOPPED | IN_RUNNING)

/* How an ioctl is called. */
#define VRING		BIT(0)	/* its argument starts with the index of a queue (-ENOBUFS) */
#define EXTENSIBLE	BIT(1)	/* its argument starts with its size and may have any, see there */
#define UNLOCKED	BIT(2)	/* its handler copies arguments and takes locks itself */

union vinf_arg {
	u64 u64;
	u32 u32;
	u16 u16;
	u8 u8;
	int fd;
	struct vhost_vring_state state;
	struct vhost_vring_file file;
	struct vhost_vring_addr addr;
	struct vhost_vdpa_iova_range range;
	struct vhost_inflight_info info;
	struct vhost_inflight_queue_info queue_info;
	struct vhost_inflight_fd inflight;
	struct vhost_inflight_requests requests;
	struct vhost_inflight_log log;
	struct vhost_inflight_stop stop;
	struct vhost_inflight_stop_info stop_info;
	struct vhost_inflight_retry retry;
	struct vhost_inflight_event event;
};

/**
 * struct vinf_cmd - one call
 * @dev: device
 * @vf: file
 * @q: queue, of an ioctl that names one in its first 32 bits
 * @arg: copy of the argument; copied back when the ioctl reads
 * @user: the argument, for handlers that run without a lock
 */
struct vinf_cmd {
	struct vinf_dev *dev;
	struct vinf_file *vf;
	struct vinf_queue *q;
	union vinf_arg arg;
	void __user *user;
};

/**
 * struct vinf_ioctl - a row
 * @cmd: number as the caller passes it
 * @who: who may call
 * @flags: VRING, EXTENSIBLE, UNLOCKED
 * @states: IN_*
 * @wrong_state: errno in any other state
 * @fn: the handler
 */
struct vinf_ioctl {
	unsigned int cmd;
	u8 who;
	u8 flags;
	u8 states;
	s8 wrong_state;
	long (*fn)(struct vinf_cmd *c);
};

/* ---- features ---- */

static long vinf_get_features(struct vinf_cmd *c)
{
	c->arg.u64 = c->dev->features;
	return 0;
}

/*
 * -EINVAL for a bit that is not offered, and without VERSION_1 and ACCESS_PLATFORM: there is no
 * legacy device here, and every address goes through the IOTLB.
 */
static long vinf_set_features(struct vinf_cmd *c)
{
	if (c->arg.u64 & ~c->dev->features || (c->arg.u64 & VINF_MUST_ACK) != VINF_MUST_ACK)
		return -EINVAL;
	WRITE_ONCE(c->dev->acked, c->arg.u64);
	return 0;
}

static long vinf_get_backend_features(struct vinf_cmd *c)
{
	c->arg.u64 = vinf_backend_features;
	return 0;
}

/* -EOPNOTSUPP for a bit that is not offered, as vhost. */
static long vinf_set_backend_features(struct vinf_cmd *c)
{
	if (c->arg.u64 & ~vinf_backend_features)
		return -EOPNOTSUPP;
	WRITE_ONCE(c->dev->backend_acked, c->arg.u64);
	return 0;
}

/* ---- ownership, status ---- */

static long vinf_ioctl_set_owner(struct vinf_cmd *c)
{
	return vinf_own(c->dev, c->vf);
}

static long vinf_ioctl_get_status(struct vinf_cmd *c)
{
	c->arg.u8 = vinf_get_status(c->dev);
	return 0;
}

static long vinf_ioctl_set_status(struct vinf_cmd *c)
{
	return vinf_set_status(c->dev, c->arg.u8);
}

static long vinf_ioctl_suspend(struct vinf_cmd *c)
{
	return vinf_suspend(c->dev);
}

static long vinf_ioctl_resume(struct vinf_cmd *c)
{
	return vinf_resume(c->dev);
}

/* ---- facts ---- */

static long vinf_get_device_id(struct vinf_cmd *c)
{
	c->arg.u32 = VIRTIO_ID_BLOCK;
	return 0;
}

static long vinf_get_vring_num(struct vinf_cmd *c)
{
	c->arg.u16 = c->dev->queue_size;
	return 0;
}

static long vinf_get_iova_range(struct vinf_cmd *c)
{
	c->arg.range.first = 0;
	c->arg.range.last = U64_MAX;
	return 0;
}

static long vinf_get_config_size(struct vinf_cmd *c)
{
	c->arg.u32 = VINF_CONFIG_SIZE;
	return 0;
}

static long vinf_get_vqs_count(struct vinf_cmd *c)
{
	c->arg.u32 = c->dev->nr_queues;
	return 0;
}

/* Groups of queues and address spaces: one of each. */
static long vinf_get_one(struct vinf_cmd *c)
{
	c->arg.u32 = 1;
	return 0;
}

/* ---- config space ---- */

/* -EFAULT; -EINVAL for a length of 0 or beyond the end, as vhost-vdpa. */
static int vinf_config_range(const struct vinf_cmd *c, struct vhost_vdpa_config *range)
{
	if (copy_from_user(range, c->user, sizeof(*range)))
		return -EFAULT;
	if (!range->len || range->off > VINF_CONFIG_SIZE ||
	    range->len > VINF_CONFIG_SIZE - range->off)
		return -EINVAL;
	return 0;
}

static long vinf_get_config(struct vinf_cmd *c)
{
	struct vhost_vdpa_config __user *user = c->user;
	struct vhost_vdpa_config range;
	struct virtio_blk_config config;
	int ret;

	ret = vinf_config_range(c, &range);
	if (ret)
		return ret;
	spin_lock_irq(&c->dev->config_lock);
	config = c->dev->config;
	spin_unlock_irq(&c->dev->config_lock);
	if (copy_to_user(user->buf, (u8 *)&config + range.off, range.len))
		return -EFAULT;
	return 0;
}

/*
 * No field of ours is the driver's to write: writeback would be, with CONFIG_WCE, which is not
 * offered.  A driver may write all the same, and a device ignores it (virtio 1.4, 5.2.4).
 */
static long vinf_set_config(struct vinf_cmd *c)
{
	struct vhost_vdpa_config __user *user = c->user;
	struct vhost_vdpa_config range;
	u8 buf[VINF_CONFIG_SIZE];
	int ret;

	ret = vinf_config_range(c, &range);
	if (ret)
		return ret;
	if (copy_from_user(buf, user->buf, range.len))
		return -EFAULT;
	if (mutex_lock_killable(&c->dev->lock))
		return -EINTR;
	ret = vinf_claim(c->dev, c->vf);
	mutex_unlock(&c->dev->lock);
	return ret;
}

/* ---- eventfds ---- */

static struct eventfd_ctx *vinf_eventfd(int fd)
{
	return fd == VHOST_FILE_UNBIND ? NULL : eventfd_ctx_fdget(fd);
}

static long vinf_set_config_call(struct vinf_cmd *c)
{
	struct eventfd_ctx *ctx = vinf_eventfd(c->arg.fd);

	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	vinf_config_call(c->dev, ctx);
	return 0;
}

static long vinf_set_vring_kick(struct vinf_cmd *c)
{
	return vinf_kick_bind(c->q, c->arg.file.fd);
}

static long vinf_bind(struct vinf_queue *q, struct eventfd_ctx **slot, int fd)
{
	struct eventfd_ctx *ctx = vinf_eventfd(fd);

	if (IS_ERR(ctx))
		return PTR_ERR(ctx);
	if (mutex_lock_killable(&q->lock)) {
		if (ctx)
			eventfd_ctx_put(ctx);
		return -EINTR;
	}
	swap(ctx, *slot);
	/*
	 * Nobody may read the old one any more: QEMU closes it when it stops, and binds the next
	 * one after DRIVER_OK, when the first requests may be answered. A device that stands still
	 * notifies nobody, and makes up for it when it goes on.
	 */
	if (slot == &q->call && q->call && q->called && q->dev->stand != VINF_STOPPED)
		vinf_vq_call(&q->vq);
	mutex_unlock(&q->lock);
	if (ctx)
		eventfd_ctx_put(ctx);
	return 0;
}

static long vinf_set_vring_call(struct vinf_cmd *c)
{
	return vinf_bind(c->q, &c->q->call, c->arg.file.fd);
}

static long vinf_set_vring_err(struct vinf_cmd *c)
{
	return vinf_bind(c->q, &c->q->err, c->arg.file.fd);
}

/* ---- rings: what these may be given depends on the features taken, see vring.c ---- */

static long vinf_set_vring_num(struct vinf_cmd *c)
{
	return vinf_vring_set_num(c->q, c->arg.state.num);
}

static long vinf_set_vring_addr(struct vinf_cmd *c)
{
	return vinf_vring_set_addr(c->q, &c->arg.addr);
}

static long vinf_set_vring_base(struct vinf_cmd *c)
{
	return vinf_vring_set_base(c->q, c->arg.state.num);
}

static long vinf_get_vring_base(struct vinf_cmd *c)
{
	if (mutex_lock_killable(&c->q->lock))
		return -EINTR;
	c->arg.state.num = vinf_vring_base(c->q);
	mutex_unlock(&c->q->lock);
	return 0;
}

static long vinf_set_vring_enable(struct vinf_cmd *c)
{
	return vinf_queue_enable(c->q, c->arg.state.num);
}

static long vinf_get_vring_group(struct vinf_cmd *c)
{
	c->arg.state.num = 0;
	return 0;
}

static long vinf_get_vring_size(struct vinf_cmd *c)
{
	c->arg.state.num = c->q->num;
	return 0;
}

/* There is one group and one address space. */
static long vinf_set_group_asid(struct vinf_cmd *c)
{
	return c->arg.state.index || c->arg.state.num ? -EINVAL : 0;
}

/* ---- ours ---- */

/* Copy an argument whose size the caller chose, of a row that only reads it. */
static long vinf_argument(void *arg, u32 size, const void __user *user)
{
	u32 got;

	if (get_user(got, (const u32 __user *)user))
		return -EFAULT;
	if (got < size)
		return -EINVAL;
	if (got > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(arg, size, user, got);
}

/* Copy an answer whose size the caller chose; see "General ioctl format" in the uapi header. */
static long vinf_answer(void __user *user, void *answer, u32 size, u32 min)
{
	u32 want;

	if (get_user(want, (u32 __user *)user))
		return -EFAULT;
	if (want < min)
		return -EINVAL;
	/* Gigabytes to clear are a mistake, not a wish. */
	if (want > PAGE_SIZE)
		return -E2BIG;
	if (want > size && clear_user(user + size, want - size))
		return -EFAULT;
	*(u32 *)answer = min(want, size);
	return copy_to_user(user, answer, min(want, size)) ? -EFAULT : 0;
}

static long vinf_get_info(struct vinf_cmd *c)
{
	struct vhost_inflight_info *info = &c->arg.info;
	struct vinf_dev *dev = c->dev;

	memset(info, 0, sizeof(*info));
	info->state = vinf_dev_state(dev);
	strscpy(info->name, dev->name);
	vinf_engine_name(info->engine, sizeof(info->engine));
	memcpy(info->serial, dev->limits.serial, sizeof(info->serial));
	info->status = vinf_get_status(dev);
	info->read_only = dev->limits.read_only;
	info->num_queues = dev->nr_queues;
	info->features = dev->features;
	info->acked_features = READ_ONCE(dev->acked);
	info->backend_features = READ_ONCE(dev->backend_acked);
	info->capacity = READ_ONCE(dev->limits.capacity);
	spin_lock_irq(&dev->config_lock);
	info->owner_pid = pid_vnr(dev->pid);
	spin_unlock_irq(&dev->config_lock);
	info->queue_size = dev->queue_size;
	info->logical_block_size = dev->limits.blk_size;
	info->orphans = vinf_dev_orphans(dev);
	info->drain_timeout_ms = READ_ONCE(dev->drain_timeout_ms);
	info->iotlb_maps = READ_ONCE(dev->iotlb.tree->nmaps);
	spin_lock_irq(&dev->bounce.lock);
	info->bounce_total = dev->bounce.total;
	info->bounce_busy = dev->bounce.total - dev->bounce.nr_free;
	spin_unlock_irq(&dev->bounce.lock);
	info->parked = atomic_read(&dev->parked);
	info->on_read_error = READ_ONCE(dev->on_read_error);
	info->on_write_error = READ_ONCE(dev->on_write_error);
	info->retry_ms = READ_ONCE(dev->retry_ms);
	return vinf_answer(c->user, info, sizeof(*info),
			   offsetofend(struct vhost_inflight_info, bounce_total));
}

static long vinf_get_queue(struct vinf_cmd *c)
{
	struct vhost_inflight_queue_info *info = &c->arg.queue_info;
	struct vhost_inflight_queue_info __user *user = c->user;
	struct vinf_queue *q;
	const u64 *stat;
	u32 reserved;
	u16 index;

	if (get_user(index, &user->index) || get_user(reserved, &user->reserved))
		return -EFAULT;
	if (reserved)
		return -EINVAL;
	if (index >= c->dev->nr_queues)
		return -ENOBUFS;
	q = &c->dev->queue[array_index_nospec(index, c->dev->nr_queues)];
	stat = q->vq.stat;
	memset(info, 0, sizeof(*info));
	info->index = index;
	info->state = vinf_queue_state(q);
	info->error = READ_ONCE(q->error);
	info->num = READ_ONCE(q->num);
	info->depth = READ_ONCE(q->vq.depth);
	info->depth_max = READ_ONCE(q->vq.depth_max);
	info->avail_idx = vinf_vring_avail(q);
	info->used_idx = vinf_vring_used(q);
	info->requests = READ_ONCE(stat[VINF_STAT_REQUESTS]);
	info->reads = READ_ONCE(stat[VINF_STAT_READS]);
	info->writes = READ_ONCE(stat[VINF_STAT_WRITES]);
	info->flushes = READ_ONCE(stat[VINF_STAT_FLUSHES]);
	info->discards = READ_ONCE(stat[VINF_STAT_DISCARDS]);
	info->zeroes = READ_ONCE(stat[VINF_STAT_ZEROES]);
	info->erases = READ_ONCE(stat[VINF_STAT_ERASES]);
	info->ids = READ_ONCE(stat[VINF_STAT_IDS]);
	info->read_bytes = READ_ONCE(stat[VINF_STAT_READ_BYTES]);
	info->write_bytes = READ_ONCE(stat[VINF_STAT_WRITE_BYTES]);
	info->ioerrs = READ_ONCE(stat[VINF_STAT_IOERRS]);
	info->unsupps = READ_ONCE(stat[VINF_STAT_UNSUPPS]);
	info->calls = READ_ONCE(stat[VINF_STAT_CALLS]);
	info->calls_suppressed = READ_ONCE(stat[VINF_STAT_CALLS_SUPPRESSED]);
	info->batches = READ_ONCE(stat[VINF_STAT_BATCHES]);
	info->kicks = atomic64_read(&q->kicks);
	info->bounced = atomic64_read(&q->bounced);
	info->deferred = atomic64_read(&q->deferred);
	info->retried = atomic64_read(&q->retried);
	info->broken = atomic64_read(&q->broken);
	info->parked = READ_ONCE(q->nr_parked);
	info->kept = READ_ONCE(q->kept);
	info->parks = atomic64_read(&q->parks);
	info->poll_hits = atomic64_read(&q->poll_hits);
	info->poll_misses = atomic64_read(&q->poll_misses);
	return vinf_answer(c->user, info, sizeof(*info),
			   offsetofend(struct vhost_inflight_queue_info, broken));
}

static long vinf_get_inflight(struct vinf_cmd *c)
{
	struct vhost_inflight_fd *arg = &c->arg.inflight;
	struct vinf_dev *dev = c->dev;
	struct file *file;
	int fd;
	long ret;

	memset(arg, 0, sizeof(*arg));
	file = vinf_region_get(dev, arg);
	if (IS_ERR(file))
		return PTR_ERR(file);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		fput(file);
		return fd;
	}
	arg->fd = fd;
	ret = vinf_answer(c->user, arg, sizeof(*arg),
			  offsetofend(struct vhost_inflight_fd, features));
	if (ret) {
		put_unused_fd(fd);
		fput(file);
		return ret;
	}
	fd_install(fd, file);
	return 0;
}

static long vinf_ioctl_get_requests(struct vinf_cmd *c)
{
	const u32 size = sizeof(c->arg.requests);
	long ret;

	ret = vinf_argument(&c->arg.requests, size, c->user);
	if (!ret)
		ret = vinf_get_requests(c->dev, &c->arg.requests);
	return ret ?: vinf_answer(c->user, &c->arg.requests, size, size);
}

static long vinf_set_inflight(struct vinf_cmd *c)
{
	return vinf_region_set(c->dev, &c->arg.inflight);
}

static long vinf_set_log(struct vinf_cmd *c)
{
	return vinf_log_set(c->dev, &c->arg.log);
}

static long vinf_set_stop(struct vinf_cmd *c)
{
	return vinf_stop_next(c->dev, &c->arg.stop);
}

static long vinf_get_stop(struct vinf_cmd *c)
{
	struct vhost_inflight_stop_info *info = &c->arg.stop_info;
	struct vhost_inflight_stop_info __user *user = c->user;
	u16 index;
	long ret;

	if (get_user(index, &user->index))
		return -EFAULT;
	memset(info, 0, sizeof(*info));
	info->index = index;
	if (mutex_lock_killable(&c->dev->lock))
		return -EINTR;
	ret = vinf_stop_info(c->dev, info);
	mutex_unlock(&c->dev->lock);
	return ret ?: vinf_answer(user, info, sizeof(*info),
				  offsetofend(struct vhost_inflight_stop_info, rewindable));
}

static long vinf_ioctl_retry(struct vinf_cmd *c)
{
	struct vhost_inflight_retry *arg = &c->arg.retry;

	memset(arg, 0, sizeof(*arg));
	arg->count = vinf_park_retry(c->dev, true);
	return vinf_answer(c->user, arg, sizeof(*arg),
			   offsetofend(struct vhost_inflight_retry, count));
}

static long vinf_get_event(struct vinf_cmd *c)
{
	struct vhost_inflight_event *e = &c->arg.event;
	long ret;

	ret = vinf_event_next(c->vf, e);
	if (ret)
		return ret;
	ret = vinf_answer(c->user, e, sizeof(*e), offsetofend(struct vhost_inflight_event, id));
	if (!ret)
		vinf_event_seen(c->vf, e->seq);
	return ret;
}

/* ---- the table ---- */

static const struct vinf_ioctl vinf_ioctls[] = {
	{ VHOST_GET_FEATURES, ANY, 0, IN_ALL, 0, vinf_get_features },
	{ VHOST_SET_FEATURES, CLAIM, 0, IN_SETUP, -EBUSY, vinf_set_features },
	{ VHOST_SET_OWNER, ANY, 0, IN_ALL, 0, vinf_ioctl_set_owner },
	{ VHOST_SET_VRING_NUM, OWNER, VRING, IN_STOPPED, -EBUSY, vinf_set_vring_num },
	{ VHOST_SET_VRING_ADDR, OWNER, VRING, IN_STOPPED, -EINVAL, vinf_set_vring_addr },
	{ VHOST_SET_VRING_BASE, OWNER, VRING, IN_STOPPED, -EINVAL, vinf_set_vring_base },
	{ VHOST_GET_VRING_BASE, OWNER, VRING, IN_ALL, 0, vinf_get_vring_base },
	{ VHOST_SET_VRING_KICK, OWNER, VRING, IN_ALL, 0, vinf_set_vring_kick },
	{ VHOST_SET_VRING_CALL, OWNER, VRING, IN_ALL, 0, vinf_set_vring_call },
	{ VHOST_SET_VRING_ERR, OWNER, VRING, IN_ALL, 0, vinf_set_vring_err },
	{ VHOST_SET_BACKEND_FEATURES, CLAIM, 0, IN_ALL, 0, vinf_set_backend_features },
	{ VHOST_GET_BACKEND_FEATURES, ANY, 0, IN_ALL, 0, vinf_get_backend_features },
	{ VHOST_VDPA_GET_DEVICE_ID, ANY, 0, IN_ALL, 0, vinf_get_device_id },
	{ VHOST_VDPA_GET_STATUS, ANY, 0, IN_ALL, 0, vinf_ioctl_get_status },
	{ VHOST_VDPA_SET_STATUS, CLAIM, 0, IN_ALL, 0, vinf_ioctl_set_status },
	{ VHOST_VDPA_GET_CONFIG, ANY, UNLOCKED, IN_ALL, 0, vinf_get_config },
	{ VHOST_VDPA_SET_CONFIG, ANY, UNLOCKED, IN_ALL, 0, vinf_set_config },
	{ VHOST_VDPA_SET_VRING_ENABLE, OWNER, VRING, IN_ALL, 0, vinf_set_vring_enable },
	{ VHOST_VDPA_GET_VRING_NUM, ANY, 0, IN_ALL, 0, vinf_get_vring_num },
	{ VHOST_VDPA_SET_CONFIG_CALL, CLAIM, 0, IN_ALL, 0, vinf_set_config_call },
	{ VHOST_VDPA_GET_IOVA_RANGE, ANY, 0, IN_ALL, 0, vinf_get_iova_range },
	{ VHOST_VDPA_GET_CONFIG_SIZE, ANY, 0, IN_ALL, 0, vinf_get_config_size },
	{ VHOST_VDPA_GET_AS_NUM, ANY, 0, IN_ALL, 0, vinf_get_one },
	{ VHOST_VDPA_GET_GROUP_NUM, ANY, 0, IN_ALL, 0, vinf_get_one },
	{ VHOST_VDPA_GET_VRING_GROUP, OWNER, VRING, IN_ALL, 0, vinf_get_vring_group },
	{ VHOST_VDPA_SET_GROUP_ASID, OWNER, 0, IN_STOPPED, -EBUSY, vinf_set_group_asid },
	{ VHOST_VDPA_SUSPEND, CLAIM, 0, IN_ALL, 0, vinf_ioctl_suspend },
	{ VHOST_VDPA_RESUME, CLAIM, 0, IN_ALL, 0, vinf_ioctl_resume },
	{ VHOST_VDPA_GET_VQS_COUNT, ANY, 0, IN_ALL, 0, vinf_get_vqs_count },
	{ VHOST_VDPA_GET_VRING_SIZE, OWNER, VRING, IN_ALL, 0, vinf_get_vring_size },
	{ VHOST_INFLIGHT_GET_INFO, ANY, EXTENSIBLE | UNLOCKED, IN_ALL, 0, vinf_get_info },
	{ VHOST_INFLIGHT_GET_QUEUE, ANY, EXTENSIBLE | UNLOCKED, IN_ALL, 0, vinf_get_queue },
	{ VHOST_INFLIGHT_GET_FD, ANY, EXTENSIBLE | UNLOCKED, IN_ALL, 0, vinf_get_inflight },
	{ VHOST_INFLIGHT_GET_REQUESTS, ANY, EXTENSIBLE | UNLOCKED, IN_ALL, 0,
	  vinf_ioctl_get_requests },
	{ VHOST_INFLIGHT_SET_FD, OWNER, EXTENSIBLE, IN_NEGOTIATED, -EBUSY, vinf_set_inflight },
	{ VHOST_INFLIGHT_SET_LOG, OWNER, EXTENSIBLE, IN_ALL, 0, vinf_set_log },
	{ VHOST_INFLIGHT_SET_STOP, OWNER, EXTENSIBLE, IN_ALL, 0, vinf_set_stop },
	{ VHOST_INFLIGHT_GET_STOP, ANY, EXTENSIBLE | UNLOCKED, IN_ALL, 0, vinf_get_stop },
	{ VHOST_INFLIGHT_RETRY, ANY, EXTENSIBLE | UNLOCKED, IN_ALL, 0, vinf_ioctl_retry },
	{ VHOST_INFLIGHT_GET_EVENT, ANY, EXTENSIBLE | UNLOCKED, IN_ALL, 0, vinf_get_event },
};

static const struct vinf_ioctl *vinf_ioctl_find(unsigned int cmd)
{
	const unsigned int size = IOCSIZE_MASK;
	int i;

	for (i = 0; i < ARRAY_SIZE(vinf_ioctls); i++) {
		const struct vinf_ioctl *row = &vinf_ioctls[i];

		if (row->cmd == cmd ||
		    ((row->flags & EXTENSIBLE) && (row->cmd & ~size) == (cmd & ~size)))
			return row;
	}
	return NULL;
}

static u8 vinf_ioctl_state(const struct vinf_dev *dev)
{
	if (vinf_move(dev->stand, VINF_ON_SETUP)->act == VINF_DO_REFUSE)
		return IN_RUNNING;
	if (dev->stand != VINF_OFF)
		return IN_STILL;
	return dev->status & VIRTIO_CONFIG_S_FEATURES_OK ? IN_NEGOTIATED : IN_SETUP;
}

static int vinf_ioctl_who(const struct vinf_ioctl *row, struct vinf_cmd *c)
{
	struct vinf_dev *dev = c->dev;

	switch (row->who) {
	case CLAIM:
		return vinf_claim(dev, c->vf);
	case OWNER:
		return vinf_owns(dev, c->vf) ? 0 : -EPERM;
	default:
		return 0;
	}
}

static long vinf_ioctl_locked(const struct vinf_ioctl *row, struct vinf_cmd *c)
{
	struct vinf_dev *dev = c->dev;
	u32 index = c->arg.u32;
	int ret;

	lockdep_assert_held(&dev->lock);
	ret = vinf_ioctl_who(row, c);
	if (ret)
		return ret;
	if (row->flags & VRING) {
		if (index >= dev->nr_queues)
			return -ENOBUFS;
		c->q = &dev->queue[array_index_nospec(index, dev->nr_queues)];
	}
	if (!(row->states & vinf_ioctl_state(dev)))
		return row->wrong_state;
	return row->fn(c);
}

static long vinf_ioctl_wait_and_run(const struct vinf_ioctl *row, struct vinf_cmd *c)
{
	struct vinf_dev *dev = c->dev;
	long ret;

	/* What may start a queue needs an engine. */
	if (row->who != ANY) {
		ret = vinf_engine_wait(false);
		if (ret)
			return ret;
	}
	/* A dead owner is on its way out: its successor need not see that. */
	if (row->who != OWNER && READ_ONCE(dev->dying))
		wait_event_killable_timeout(dev->idle_wait, !READ_ONCE(dev->dying), HZ);
	if (mutex_lock_killable(&dev->lock))
		return -EINTR;
	ret = vinf_ioctl_locked(row, c);
	mutex_unlock(&dev->lock);
	return ret;
}

/**
 * vinf_ioctl - ioctl() on the node
 * @vf: file
 * @cmd: number
 * @arg: argument
 *
 * Checked in this order: the number (-ENOTTY), that the argument can be read (-EFAULT), who calls
 * (-EPERM, -EBUSY), the index of the queue (-ENOBUFS), the state, and last what the argument says.
 *
 * Context: process.
 *
 * Return: 0 or -errno, see the handlers; -EINTR when the caller is killed while it waits for its
 * turn.
 */
long vinf_ioctl(struct vinf_file *vf, unsigned int cmd, void __user *arg)
{
	const struct vinf_ioctl *row = vinf_ioctl_find(cmd);
	struct vinf_cmd c = { .dev = vf->dev, .vf = vf, .user = arg };
	size_t size = _IOC_SIZE(cmd);
	bool away;
	long ret;

	if (!row)
		return -ENOTTY;
	if (row->flags & UNLOCKED)
		return row->fn(&c);
	BUILD_BUG_ON(sizeof(c.arg) > 512);
	if (row->flags & EXTENSIBLE) {
		ret = vinf_argument(&c.arg, _IOC_SIZE(row->cmd), arg);
		if (ret)
			return ret;
	} else if (_IOC_DIR(cmd) & _IOC_WRITE || (row->flags & VRING)) {
		if (copy_from_user(&c.arg, arg, size))
			return -EFAULT;
	}
	away = vinf_engine_away();
	ret = vinf_ioctl_wait_and_run(row, &c);
	/* It went while somebody else had the lock, and as of now nothing was started. */
	if (ret == -ENXIO && !away)
		ret = vinf_ioctl_wait_and_run(row, &c);
	if (!ret && _IOC_DIR(cmd) & _IOC_READ && copy_to_user(arg, &c.arg, size))
		ret = -EFAULT;
	trace_vinf_ioctl(vf->dev, cmd, ret);
	return ret;
}
