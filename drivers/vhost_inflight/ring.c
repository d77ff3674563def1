// SPDX-License-Identifier: GPL-2.0
/*
 * Ring metadata: pinned for as long as the queue runs, and mapped into the kernel, so that the
 * engine reads rings with plain loads.  Nothing else of a guest's memory is pinned for longer than
 * one request.
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <uapi/linux/virtio_ring.h>

#include "vinf.h"
#include "trace.h"

/* Length and alignment of each area; virtio 1.4, 2.7 (split). */
static u32 vinf_area_len(const struct vinf_queue *q, enum vinf_area area)
{
	u32 num = q->vq.num;

	switch (area) {
	case VINF_AREA_DESC:
		return num * sizeof(struct vring_desc);
	case VINF_AREA_DRIVER:		/* flags, idx, ring, used_event */
		return sizeof(__le16) * (num + 3);
	default:			/* flags, idx, ring, avail_event */
		return sizeof(__le16) * 3 + num * sizeof(struct vring_used_elem);
	}
}

static int vinf_charge(struct mm_struct *mm, unsigned int nr)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;

	if (atomic64_add_return(nr, &mm->pinned_vm) > limit && !capable(CAP_IPC_LOCK)) {
		atomic64_sub(nr, &mm->pinned_vm);
		return -ENOMEM;
	}
	return 0;
}

static void vinf_area_unmap(struct vinf_queue *q, struct vinf_area_map *m, bool dirty)
{
	if (!m->nr)
		return;
	vunmap(m->vaddr);
	unpin_user_pages_dirty_lock(m->pages, m->nr, dirty);
	atomic64_sub(m->nr, &q->ring_mm->pinned_vm);
	kvfree(m->pages);
	memset(m, 0, sizeof(*m));
}

/*
 * Pin the pages of an area.  The IOTLB may cut it into pieces anywhere that keeps a page a page.
 *
 * Return: pages pinned, or -EFAULT (not mapped), -EINVAL (a piece ends inside a page), or the errno
 * of the pin: memory must be able to be pinned for long: anonymous, memfd, tmpfs or hugetlbfs.
 */
static int vinf_area_pin(struct vinf_queue *q, enum vinf_area area, struct page **pages,
			 unsigned int max, unsigned int *offset)
{
	u64 iova = q->addr[area];
	u32 len = vinf_area_len(q, area), got;
	u32 perm = area == VINF_AREA_DEVICE ? VHOST_ACCESS_RW : VHOST_ACCESS_RO;
	unsigned int nr = 0;
	int ret;

	while (len) {
		unsigned int gup = FOLL_LONGTERM;
		void __user *uaddr;
		unsigned long start;
		unsigned int n, off;

		ret = vinf_translate(q, iova, len, perm, &uaddr, &got);
		if (ret)
			goto err;
		off = offset_in_page(uaddr);
		start = (unsigned long)uaddr - off;
		if (!nr)
			*offset = off;
		else if (off)
			goto err_piece;
		if (got < len && !IS_ALIGNED(off + got, PAGE_SIZE))
			goto err_piece;
		n = DIV_ROUND_UP(off + got, PAGE_SIZE);
		if (nr + n > max)
			goto err_piece;
		/*
		 * Break copy-on-write now where the owner may write, or the two of us end up with
		 * different pages.
		 */
		if (!vinf_translate(q, iova, 1, VHOST_ACCESS_RW, &uaddr, &(u32){ 0 }))
			gup |= FOLL_WRITE;
		while (n) {
			ret = pin_user_pages_fast(start, n, gup, pages + nr);
			if (ret <= 0) {
				ret = ret ?: -EFAULT;
				goto err;
			}
			nr += ret;
			n -= ret;
			start += ret * PAGE_SIZE;
		}
		iova += got;
		len -= got;
	}
	return nr;

err_piece:
	ret = -EINVAL;
err:
	unpin_user_pages(pages, nr);
	return ret;
}

static int vinf_area_map(struct vinf_queue *q, enum vinf_area area, struct vinf_area_map *m)
{
	unsigned int max = vinf_area_len(q, area) / PAGE_SIZE + 2;
	unsigned int offset = 0;
	int nr;

	m->pages = kvcalloc(max, sizeof(*m->pages), GFP_KERNEL_ACCOUNT);
	if (!m->pages)
		return -ENOMEM;
	nr = vinf_area_pin(q, area, m->pages, max, &offset);
	if (nr < 0)
		goto err_pages;
	if (vinf_charge(q->ring_mm, nr)) {
		unpin_user_pages(m->pages, nr);
		nr = -ENOMEM;
		goto err_pages;
	}
	m->nr = nr;
	m->vaddr = vmap(m->pages, nr, VM_MAP, PAGE_KERNEL);
	if (!m->vaddr) {
		vinf_area_unmap(q, m, false);
		return -ENOMEM;
	}
	m->kva = m->vaddr + offset;
	return 0;

err_pages:
	kvfree(m->pages);
	m->pages = NULL;
	return nr;
}

static void vinf_ring_publish(struct vinf_queue *q)
{
	q->vq.rings.desc = q->area[VINF_AREA_DESC].kva;
	q->vq.rings.driver = q->area[VINF_AREA_DRIVER].kva;
	q->vq.rings.device = q->area[VINF_AREA_DEVICE].kva;
	q->vq.rings_gen++;
}

static void vinf_areas_unmap(struct vinf_queue *q, struct vinf_area_map *area)
{
	int i;

	for (i = 0; i < VINF_NR_AREAS; i++)
		vinf_area_unmap(q, &area[i], i == VINF_AREA_DEVICE);
}

static int vinf_areas_map(struct vinf_queue *q, struct vinf_area_map *area)
{
	int i, ret;

	for (i = 0; i < VINF_NR_AREAS; i++) {
		ret = vinf_area_map(q, i, &area[i]);
		if (ret) {
			vinf_areas_unmap(q, area);
			return ret;
		}
	}
	return 0;
}

/**
 * vinf_ring_map - pin and map the rings of a queue
 * @q: queue with addresses and a picture of the IOTLB
 *
 * Context: process, in the owner's memory, q->lock held.
 *
 * Return: 0; -EFAULT when a part is not mapped with the permission it needs; -EINVAL when a mapping
 * ends inside a page of a ring; -ENOMEM, also when RLIMIT_MEMLOCK has no room for the few pages of
 * a ring; -EFAULT or -EOPNOTSUPP when the memory cannot be pinned for long (only anonymous memory,
 * memfd, tmpfs and hugetlbfs can).
 */
int vinf_ring_map(struct vinf_queue *q)
{
	int ret;

	lockdep_assert_held(&q->lock);
	q->ring_mm = current->mm;
	mmgrab(q->ring_mm);
	ret = vinf_areas_map(q, q->area);
	if (ret) {
		mmdrop(q->ring_mm);
		q->ring_mm = NULL;
		return ret;
	}
	vinf_ring_publish(q);
	return 0;
}

/**
 * vinf_ring_unmap - let go of the rings
 * @q: queue
 *
 * Context: process, q->lock held, the engine has stopped.  Not necessarily in the owner's memory.
 */
void vinf_ring_unmap(struct vinf_queue *q)
{
	if (!q->ring_mm)
		return;
	memset(&q->vq.rings, 0, sizeof(q->vq.rings));
	vinf_areas_unmap(q, q->area);
	mmdrop(q->ring_mm);
	q->ring_mm = NULL;
}

/**
 * vinf_ring_remap - translate the rings of a running queue again
 * @q: queue with a new picture of the IOTLB
 *
 * Nothing changes where the pages are the same.  On failure the old mappings stay (they are
 * pinned), for the queue to be put in error before it is served again.
 *
 * Context: process, in the owner's memory, q->lock held.
 *
 * Return: as vinf_ring_map().
 */
int vinf_ring_remap(struct vinf_queue *q)
{
	struct vinf_area_map area[VINF_NR_AREAS] = {};
	bool same = true;
	int i, ret;

	lockdep_assert_held(&q->lock);
	ret = vinf_areas_map(q, area);
	if (ret)
		return ret;
	for (i = 0; i < VINF_NR_AREAS; i++)
		same &= area[i].nr == q->area[i].nr &&
			offset_in_page(area[i].kva) == offset_in_page(q->area[i].kva) &&
			!memcmp(area[i].pages, q->area[i].pages,
				area[i].nr * sizeof(*area[i].pages));
	if (same) {
		vinf_areas_unmap(q, area);
		return 0;
	}
	trace_vinf_ring_moved(q);
	vinf_areas_unmap(q, q->area);
	memcpy(q->area, area, sizeof(area));
	vinf_ring_publish(q);
	return 0;
}
