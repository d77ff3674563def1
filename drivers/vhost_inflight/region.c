// SPDX-License-Identifier: GPL-2.0
/*
 * The inflight region as an object: shared memory that outlives the device, as a file descriptor.
 * What is in it is the engine's.
 *
 * It is there from DRIVER_OK on, whether or not anybody asks.  A reset makes it fresh and keeps it,
 * so that who holds the descriptor goes on holding the right one.  When an owner goes away it stays
 * with the device until the next one's DRIVER_OK, but only SET_INFLIGHT_FD makes that one continue
 * from it: an owner that knows nothing of what was before it starts afresh.
 */
#include <linux/fcntl.h>
#include <linux/kref.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>

#include "vinf.h"

/**
 * struct vinf_region - an inflight region, mapped
 * @ref: the device's, and of those who look at it
 * @shm: where it is: @nr_queues strides
 * @stride: bytes from one queue's to the next
 * @nr_queues: queues
 * @queue_size: entries of each
 * @features: of the driver whose requests are in it. The device forgets them with its owner, and
 *	who is to go on with the region needs them then
 *
 * Everything but @features, which vinf_dev.lock protects and others may read, is constant.
 */
struct vinf_region {
	struct kref ref;
	struct vinf_shm shm;
	u32 stride;
	u16 nr_queues, queue_size;
	u64 features;
};

static u32 vinf_region_stride(const struct vinf_dev *dev)
{
	if (vinf_ring_layout(dev->acked)->wraps)
		return VHOST_INFLIGHT_STRIDE_PACKED(dev->queue_size);
	return VHOST_INFLIGHT_STRIDE_SPLIT(dev->queue_size);
}

/* Is it a region for this device, with the features that were negotiated? */
static bool vinf_region_fits(const struct vinf_dev *dev, const struct vinf_region *r)
{
	return r->stride == vinf_region_stride(dev) && r->nr_queues == dev->nr_queues &&
	       r->queue_size == dev->queue_size;
}

static void vinf_region_free(struct kref *ref)
{
	struct vinf_region *r = container_of(ref, struct vinf_region, ref);

	vinf_shm_put(&r->shm);
	kfree(r);
}

/**
 * vinf_region_put - let go of a region
 * @r: region, or NULL; the device's own reference: not used by any queue
 *
 * Context: process, may sleep.
 */
void vinf_region_put(struct vinf_region *r)
{
	if (r)
		kref_put(&r->ref, vinf_region_free);
}

/* Takes over the reference to @file. */
static struct vinf_region *vinf_region_open(const struct vinf_dev *dev, struct file *file,
					    u64 offset)
{
	struct vinf_region *r;
	int ret;

	r = kzalloc(sizeof(*r), GFP_KERNEL_ACCOUNT);
	if (!r) {
		fput(file);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&r->ref);
	r->stride = vinf_region_stride(dev);
	r->nr_queues = dev->nr_queues;
	r->queue_size = dev->queue_size;
	r->features = dev->acked;
	ret = vinf_shm_open(&r->shm, file, offset, (u64)r->stride * r->nr_queues);
	if (ret) {
		kfree(r);
		return ERR_PTR(ret);
	}
	return r;
}

/* A new region, whose size nobody can change any more. */
static struct vinf_region *vinf_region_new(const struct vinf_dev *dev)
{
	u64 size = PAGE_ALIGN((u64)vinf_region_stride(dev) * dev->nr_queues);
	struct file *file;

	file = shmem_file_setup("vhost-inflight", size, VINF_NORESERVE);
	if (IS_ERR(file))
		return ERR_CAST(file);
	/* As a memfd has them: who holds the descriptor may also read it without a mapping. */
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	SHMEM_I(file_inode(file))->seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	return vinf_region_open(dev, file, 0);
}

static bool vinf_region_same(const struct vinf_region *a, const struct vinf_region *b)
{
	return a && file_inode(a->shm.file) == file_inode(b->shm.file) &&
	       a->shm.offset == b->shm.offset;
}

static void vinf_region_replace(struct vinf_dev *dev, struct vinf_region *r, bool handed)
{
	bool same = vinf_region_same(dev->region, r);
	int i;

	/* For vinf_region_get(). */
	spin_lock_irq(&dev->config_lock);
	swap(dev->region, r);
	spin_unlock_irq(&dev->config_lock);
	dev->region_ours = true;
	for (i = 0; i < dev->nr_queues; i++) {
		struct vinf_queue *q = &dev->queue[i];

		q->vq.handed = handed;
		/* What a reset had left for who goes on is in the other one. */
		if (q->resumes && !same)
			vinf_event(dev, VHOST_INFLIGHT_EVENT_DROPPED, q, NULL, 0);
		vinf_queue_leave_nothing(q);
	}
	vinf_region_put(r);
}

/* Is there something in it for who starts now, by SET_FD or from before a reset? */
static bool vinf_region_awaited(const struct vinf_dev *dev)
{
	int i;

	for (i = 0; i < dev->nr_queues; i++)
		if (dev->queue[i].vq.handed || vinf_queue_resumes(&dev->queue[i]))
			return true;
	return false;
}

/**
 * vinf_region_ready - see to it that there is a region, for what was negotiated
 * @dev: device, features negotiated, no queue runs
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0; -ENOMEM; -ESTALE when a part of a region that there is something to go on with was
 * punched out of its file.
 */
int vinf_region_ready(struct vinf_dev *dev)
{
	struct vinf_region *r;

	lockdep_assert_held(&dev->lock);
	if (dev->region_ours && vinf_region_fits(dev, dev->region)) {
		if (vinf_shm_whole(&dev->region->shm)) {
			WRITE_ONCE(dev->region->features, dev->acked);
			return 0;
		}
		/* Who could open the node, and no more, may have done that. */
		if (vinf_region_awaited(dev))
			return -ESTALE;
	}
	r = vinf_region_new(dev);
	if (IS_ERR(r))
		return PTR_ERR(r);
	vinf_region_replace(dev, r, false);
	return 0;
}

/* Is all of a device's region there?  vinf_dev.lock held. */
bool vinf_region_whole(const struct vinf_dev *dev)
{
	return !dev->region || vinf_shm_whole(&dev->region->shm);
}

/**
 * vinf_region_set - VHOST_INFLIGHT_SET_FD
 * @dev: device, features negotiated, not DRIVER_OK
 * @arg: what userspace passed
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: see the ioctl.
 */
int vinf_region_set(struct vinf_dev *dev, const struct vhost_inflight_fd *arg)
{
	u64 size = (u64)vinf_region_stride(dev) * dev->nr_queues;
	struct vinf_region *r;
	struct file *file;

	lockdep_assert_held(&dev->lock);
	if (vinf_dev_orphans(dev))
		return -EBUSY;
	if (arg->flags || !PAGE_ALIGNED(arg->mmap_offset))
		return -EINVAL;
	if (arg->num_queues != dev->nr_queues)
		return -ENOBUFS;
	if (arg->queue_size != dev->queue_size)
		return -ERANGE;
	if (arg->mmap_size != size)
		return -EMSGSIZE;
	if (arg->features && arg->features != dev->acked)
		return -EPROTO;
	file = vinf_shm_fget(arg->fd, arg->mmap_offset, size);
	if (IS_ERR(file))
		return PTR_ERR(file);
	r = vinf_region_open(dev, file, arg->mmap_offset);
	if (IS_ERR(r))
		return PTR_ERR(r);
	vinf_region_replace(dev, r, true);
	return 0;
}

/**
 * vinf_region_get - VHOST_INFLIGHT_GET_FD
 * @dev: device
 * @arg: filled but for the descriptor
 *
 * Does not wait for whoever has vinf_dev.lock: that may be a reset of a device whose disk does not
 * answer, and a supervisor has others to look after.
 *
 * Context: process.
 *
 * Return: the file, with a reference; -ENODATA when there is no region; -ESTALE when a part of it
 * was punched out of its file.
 */
struct file *vinf_region_get(struct vinf_dev *dev, struct vhost_inflight_fd *arg)
{
	struct vinf_region *r;
	struct file *file;

	spin_lock_irq(&dev->config_lock);
	r = dev->region;
	if (r)
		kref_get(&r->ref);
	spin_unlock_irq(&dev->config_lock);
	if (!r)
		return ERR_PTR(-ENODATA);
	file = vinf_shm_whole(&r->shm) ? get_file(r->shm.file) : ERR_PTR(-ESTALE);
	arg->mmap_size = r->shm.size;
	arg->mmap_offset = r->shm.offset;
	arg->num_queues = r->nr_queues;
	arg->queue_size = r->queue_size;
	arg->features = READ_ONCE(r->features);
	vinf_region_put(r);
	return file;
}

/**
 * vinf_region_queue - the part of a queue
 * @dev: device with a region
 * @index: queue
 *
 * Return: its address.
 */
void *vinf_region_queue(const struct vinf_dev *dev, u16 index)
{
	return dev->region->shm.vaddr + (size_t)dev->region->stride * index;
}

/**
 * vinf_region_void - nothing of a queue is in flight, and nobody has to look
 * @q: queue that does not run
 *
 * Version 0 means fresh.  It is at the same place in both layouts.
 *
 * Context: process, vinf_dev.lock held.
 */
void vinf_region_void(struct vinf_queue *q)
{
	struct vhost_inflight_region_split *r;

	lockdep_assert_held(&q->dev->lock);
	if (!q->dev->region_ours)
		return;
	r = vinf_region_queue(q->dev, q->vq.index);
	WRITE_ONCE(r->version, 0);
}
