// SPDX-License-Identifier: GPL-2.0
/*
 * Ring metadata: pinned for as long as the queue runs, and mapped into the kernel, so that the
 * engine reads rings with plain loads.  Nothing else of a guest's memory is pinned for longer than
 * one request, unless the device has pin_memory (memory.c).
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "vinf.h"
#include "trace.h"

static u32 vinf_area_len(const struct vinf_queue *q, enum vinf_area area)
{
	const struct vinf_ring_layout *layout = vinf_ring_layout(q->vq.features);

	return layout->area[area].fixed + q->vq.num * layout->area[area].per_slot;
}

/* Is it for the device to write? */
static bool vinf_area_written(const struct vinf_queue *q, enum vinf_area area)
{
	return vinf_ring_layout(q->vq.features)->area[area].written;
}

/*
 * Pin the pages of an area.  The IOTLB may cut it into pieces anywhere that keeps a page a page.
 *
 * Return: pages pinned, or -EFAULT (not mapped), -EINVAL (a piece ends inside a page), or the errno
 * of the pin: memory must be able to be pinned for long: anonymous, memfd, tmpfs or hugetlbfs.
 */
static int vinf_area_pin(const struct vinf_queue *q, const struct vinf_map *map,
			 enum vinf_area area, struct page **pages, unsigned int max,
			 unsigned int *offset)
{
	u64 iova = q->addr[area];
	u32 len = vinf_area_len(q, area), got;
	u32 perm = vinf_area_written(q, area) ? VHOST_ACCESS_RW : VHOST_ACCESS_RO;
	unsigned int nr = 0, hit = 0;
	int ret;

	while (len) {
		unsigned int gup = FOLL_LONGTERM;
		void __user *uaddr;
		unsigned long start;
		unsigned int n, off;

		ret = vinf_map_find(map, &hit, iova, len, perm, &uaddr, &got);
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
		if (!vinf_map_find(map, &hit, iova, 1, VHOST_ACCESS_RW, &uaddr, &(u32){ 0 }))
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

/* The pages of an area, not mapped or charged yet. */
static int vinf_area_get(const struct vinf_queue *q, const struct vinf_map *map,
			 enum vinf_area area, struct vinf_area_map *m)
{
	unsigned int max = vinf_area_len(q, area) / PAGE_SIZE + 2;
	unsigned int offset = 0;
	int nr;

	m->pages = kvcalloc(max, sizeof(*m->pages), GFP_KERNEL_ACCOUNT);
	if (!m->pages)
		return -ENOMEM;
	nr = vinf_area_pin(q, map, area, m->pages, max, &offset);
	if (nr < 0) {
		kvfree(m->pages);
		m->pages = NULL;
		return nr;
	}
	m->nr = nr;
	m->offset = offset;
	return 0;
}

static void vinf_area_put(struct vinf_area_map *m, bool dirty)
{
	if (!m->nr)
		return;
	unpin_user_pages_dirty_lock(m->pages, m->nr, dirty);
	kvfree(m->pages);
	memset(m, 0, sizeof(*m));
}

/**
 * vinf_ring_unpin - let go of what vinf_ring_pin() pinned
 * @area: areas that are not mapped; may have nothing pinned
 *
 * Context: process.
 */
void vinf_ring_unpin(struct vinf_area_map *area)
{
	int i;

	for (i = 0; i < VINF_NR_AREAS; i++)
		vinf_area_put(&area[i], false);
}

/**
 * vinf_ring_pin - pin the rings of a queue
 * @q: queue with addresses
 * @map: where they are in the owner's memory
 * @area: VINF_NR_AREAS of them, zeroed
 *
 * Context: process, in the owner's memory, vinf_dev.lock held; may sleep in a page fault.
 *
 * Return: 0; -EFAULT when a part is not mapped with the permission it needs; -EINVAL when a mapping
 * ends inside a page of a ring; -ENOMEM; -EFAULT or -EOPNOTSUPP when the memory cannot be pinned
 * for long (only anonymous memory, memfd, tmpfs and hugetlbfs can).  Then nothing is pinned.
 */
int vinf_ring_pin(const struct vinf_queue *q, const struct vinf_map *map,
		  struct vinf_area_map *area)
{
	int i, ret;

	lockdep_assert_held(&q->dev->lock);
	for (i = 0; i < VINF_NR_AREAS; i++) {
		ret = vinf_area_get(q, map, i, &area[i]);
		if (ret) {
			vinf_ring_unpin(area);
			return ret;
		}
	}
	return 0;
}

static unsigned int vinf_areas_pages(const struct vinf_area_map *area)
{
	unsigned int n = 0;
	int i;

	for (i = 0; i < VINF_NR_AREAS; i++)
		n += area[i].nr;
	return n;
}

static void vinf_areas_vunmap(struct vinf_area_map *area)
{
	int i;

	for (i = 0; i < VINF_NR_AREAS; i++) {
		vunmap(area[i].vaddr);
		area[i].vaddr = NULL;
	}
}

static int vinf_areas_vmap(struct vinf_area_map *area)
{
	int i;

	for (i = 0; i < VINF_NR_AREAS; i++) {
		area[i].vaddr = vmap(area[i].pages, area[i].nr, VM_MAP, PAGE_KERNEL);
		if (!area[i].vaddr) {
			vinf_areas_vunmap(area);
			return -ENOMEM;
		}
	}
	return 0;
}

static void vinf_ring_publish(struct vinf_queue *q)
{
	struct vinf_area_map *area = q->area;

	q->vq.rings.desc = area[VINF_AREA_DESC].vaddr + area[VINF_AREA_DESC].offset;
	q->vq.rings.driver = area[VINF_AREA_DRIVER].vaddr + area[VINF_AREA_DRIVER].offset;
	q->vq.rings.device = area[VINF_AREA_DEVICE].vaddr + area[VINF_AREA_DEVICE].offset;
	q->vq.rings_gen++;
}

/* Let go of mapped and charged areas. */
static void vinf_areas_drop(struct vinf_queue *q, struct vinf_area_map *area)
{
	int i;

	vinf_areas_vunmap(area);
	atomic64_sub(vinf_areas_pages(area), &q->ring_mm->pinned_vm);
	for (i = 0; i < VINF_NR_AREAS; i++)
		vinf_area_put(&area[i], vinf_area_written(q, i));
}

/**
 * vinf_ring_map - pin and map the rings of a queue
 * @q: queue with addresses and a picture of the IOTLB
 *
 * Context: process, in the owner's memory, q->lock held.
 *
 * Return: as vinf_ring_pin(), and -ENOMEM also when RLIMIT_MEMLOCK has no room for the few pages of
 * a ring.
 */
int vinf_ring_map(struct vinf_queue *q)
{
	struct mm_struct *mm = current->mm;
	int ret;

	lockdep_assert_held(&q->lock);
	ret = vinf_ring_pin(q, q->map, q->area);
	if (ret)
		return ret;
	ret = vinf_memory_charge(mm, vinf_areas_pages(q->area));
	if (ret)
		goto err_put;
	ret = vinf_areas_vmap(q->area);
	if (ret)
		goto err_charge;
	q->ring_mm = mm;
	mmgrab(mm);
	vinf_ring_publish(q);
	return 0;

err_charge:
	atomic64_sub(vinf_areas_pages(q->area), &mm->pinned_vm);
err_put:
	vinf_ring_unpin(q->area);
	return ret;
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
	vinf_areas_drop(q, q->area);
	mmdrop(q->ring_mm);
	q->ring_mm = NULL;
}

static bool vinf_areas_same(const struct vinf_area_map *a, const struct vinf_area_map *b)
{
	int i;

	for (i = 0; i < VINF_NR_AREAS; i++)
		if (a[i].nr != b[i].nr || a[i].offset != b[i].offset ||
		    memcmp(a[i].pages, b[i].pages, a[i].nr * sizeof(*a[i].pages)))
			return false;
	return true;
}

/**
 * vinf_ring_remap - put a running queue's rings somewhere else
 * @q: queue
 * @area: the rings by a new picture of the IOTLB, from vinf_ring_pin(); taken over
 *
 * Nothing changes where the pages are the same.  RLIMIT_MEMLOCK is not looked at again for the same
 * rings.
 *
 * Context: process, q->lock held.
 *
 * Return: 0; -ENOMEM, and the rings are where they were.
 */
int vinf_ring_remap(struct vinf_queue *q, struct vinf_area_map *area)
{
	int ret;

	lockdep_assert_held(&q->lock);
	if (vinf_areas_same(area, q->area)) {
		vinf_ring_unpin(area);
		return 0;
	}
	ret = vinf_areas_vmap(area);
	if (ret) {
		vinf_ring_unpin(area);
		return ret;
	}
	trace_vinf_ring_moved(q);
	atomic64_add(vinf_areas_pages(area), &q->ring_mm->pinned_vm);
	vinf_areas_drop(q, q->area);
	memcpy(q->area, area, sizeof(q->area));
	vinf_ring_publish(q);
	return 0;
}

/**
 * vinf_ring_moved_on - is it another ring than the one that a queue left?
 * @q: queue with its rings mapped
 * @used: used position that it left
 *
 * A new driver's is empty.  Only a split ring tells; a packed one's base has the position.
 *
 * Context: process, q->lock held.
 *
 * Return: true if the index in the ring is another one.
 */
bool vinf_ring_moved_on(const struct vinf_queue *q, u16 used)
{
	const struct vring_used *ring = q->vq.rings.device;

	lockdep_assert_held(&q->lock);
	return !vinf_ring_layout(q->vq.features)->wraps &&
	       le16_to_cpu((__force __le16)READ_ONCE(ring->idx)) != used;
}

/**
 * vinf_ring_log - the engine was at work
 * @q: queue with its rings mapped
 *
 * What it stored in the rings is not told one by one: all of the areas that it may write are
 * logged.
 *
 * Context: process, q->lock held.
 */
void vinf_ring_log(struct vinf_queue *q)
{
	int i;

	lockdep_assert_held(&q->lock);
	if (likely(!q->log))
		return;
	for (i = 0; i < VINF_NR_AREAS; i++)
		if (vinf_area_written(q, i))
			vinf_log_mark(q->log, q->addr[i], vinf_area_len(q, i));
}
