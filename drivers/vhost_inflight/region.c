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
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "vinf.h"

/**
 * struct vinf_region - an inflight region, mapped
 * @file: shmem
 * @offset: where in @file it starts; a multiple of the page size
 * @size: bytes, @nr_queues strides
 * @stride: bytes from one queue's to the next
 * @nr_queues: queues
 * @queue_size: entries of each
 * @pages: of @file, a reference to each
 * @nr: entries of @pages
 * @vaddr: of the first
 *
 * Everything is constant.
 */
struct vinf_region {
	struct file *file;
	u64 offset, size;
	u32 stride;
	u16 nr_queues, queue_size;
	struct page **pages;
	unsigned int nr;
	void *vaddr;
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

/**
 * vinf_region_put - let go of a region
 * @r: region, or NULL; not used by any queue
 *
 * Context: process, may sleep.
 */
void vinf_region_put(struct vinf_region *r)
{
	unsigned int i;

	if (!r)
		return;
	if (r->vaddr)
		vunmap(r->vaddr);
	for (i = 0; i < r->nr; i++) {
		set_page_dirty_lock(r->pages[i]);
		put_page(r->pages[i]);
	}
	kvfree(r->pages);
	if (r->file)
		fput(r->file);
	kfree(r);
}

/*
 * Pages of the file, in the kernel's address space. They must stay the file's: unevictable, or
 * swapping would take them out of it although we hold them.
 */
static int vinf_region_map(struct vinf_region *r)
{
	struct address_space *mapping = r->file->f_mapping;
	unsigned int nr = DIV_ROUND_UP_ULL(r->size, PAGE_SIZE);

	mapping_set_unevictable(mapping);
	r->pages = kvcalloc(nr, sizeof(*r->pages), GFP_KERNEL_ACCOUNT);
	if (!r->pages)
		return -ENOMEM;
	for (; r->nr < nr; r->nr++) {
		struct page *page;

		page = shmem_read_mapping_page(mapping, (r->offset >> PAGE_SHIFT) + r->nr);
		if (IS_ERR(page))
			return PTR_ERR(page);
		r->pages[r->nr] = page;
	}
	r->vaddr = vmap(r->pages, r->nr, VM_MAP, PAGE_KERNEL);
	return r->vaddr ? 0 : -ENOMEM;
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
	r->file = file;
	r->offset = offset;
	r->stride = vinf_region_stride(dev);
	r->nr_queues = dev->nr_queues;
	r->queue_size = dev->queue_size;
	r->size = (u64)r->stride * r->nr_queues;
	ret = vinf_region_map(r);
	if (ret) {
		vinf_region_put(r);
		return ERR_PTR(ret);
	}
	return r;
}

/* A new region, whose size nobody can change any more. */
static struct vinf_region *vinf_region_new(const struct vinf_dev *dev)
{
	u64 size = PAGE_ALIGN((u64)vinf_region_stride(dev) * dev->nr_queues);
	struct file *file;

	file = shmem_file_setup("vhost-inflight", size, VM_NORESERVE);
	if (IS_ERR(file))
		return ERR_CAST(file);
	/* As a memfd has them: who holds the descriptor may also read it without a mapping. */
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD | FMODE_PWRITE;
	SHMEM_I(file_inode(file))->seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	return vinf_region_open(dev, file, 0);
}

/* Are all the pages still the file's?  A hole that was punched takes them out of it. */
static bool vinf_region_whole(const struct vinf_region *r)
{
	unsigned int i;

	for (i = 0; i < r->nr; i++)
		if (READ_ONCE(page_folio(r->pages[i])->mapping) != r->file->f_mapping)
			return false;
	return true;
}

static void vinf_region_replace(struct vinf_dev *dev, struct vinf_region *r, bool handed)
{
	int i;

	swap(dev->region, r);
	dev->region_ours = true;
	for (i = 0; i < dev->nr_queues; i++)
		dev->queue[i].vq.handed = handed;
	vinf_region_put(r);
}

/**
 * vinf_region_ready - see to it that there is a region
 * @dev: device, features negotiated, no queue runs
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0; -ENOMEM; -ESTALE when a part of the region was punched out of its file.
 */
int vinf_region_ready(struct vinf_dev *dev)
{
	struct vinf_region *r;

	lockdep_assert_held(&dev->lock);
	if (dev->region_ours && vinf_region_fits(dev, dev->region))
		return vinf_region_whole(dev->region) ? 0 : -ESTALE;
	r = vinf_region_new(dev);
	if (IS_ERR(r))
		return PTR_ERR(r);
	vinf_region_replace(dev, r, false);
	return 0;
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
	unsigned int seals;
	struct file *file;
	int ret;

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
	file = fget(arg->fd);
	if (!file)
		return -EBADF;
	ret = -EMEDIUMTYPE;
	if (!shmem_mapping(file->f_mapping) || !S_ISREG(file_inode(file)->i_mode))
		goto err_fput;
	ret = -EACCES;
	if ((file->f_mode & (FMODE_READ | FMODE_WRITE)) != (FMODE_READ | FMODE_WRITE))
		goto err_fput;
	ret = -EPERM;
	seals = READ_ONCE(SHMEM_I(file_inode(file))->seals);
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		goto err_fput;
	ret = -EMSGSIZE;
	if (arg->mmap_offset > i_size_read(file_inode(file)) ||
	    i_size_read(file_inode(file)) - arg->mmap_offset < size)
		goto err_fput;
	r = vinf_region_open(dev, file, arg->mmap_offset);
	if (IS_ERR(r))
		return PTR_ERR(r);
	vinf_region_replace(dev, r, true);
	return 0;

err_fput:
	fput(file);
	return ret;
}

/**
 * vinf_region_get - VHOST_INFLIGHT_GET_FD
 * @dev: device
 * @arg: filled but for the descriptor
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: the file, with a reference; -ENODATA when there is no region; -ESTALE when a part of it
 * was punched out of its file.
 */
struct file *vinf_region_get(struct vinf_dev *dev, struct vhost_inflight_fd *arg)
{
	const struct vinf_region *r = dev->region;

	lockdep_assert_held(&dev->lock);
	if (!r)
		return ERR_PTR(-ENODATA);
	if (!vinf_region_whole(r))
		return ERR_PTR(-ESTALE);
	arg->mmap_size = r->size;
	arg->mmap_offset = r->offset;
	arg->num_queues = r->nr_queues;
	arg->queue_size = r->queue_size;
	return get_file(r->file);
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
	return dev->region->vaddr + (size_t)dev->region->stride * index;
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
