// SPDX-License-Identifier: GPL-2.0
/*
 * The data pages of a request: pinned when it starts, let go of when it is released.
 *
 * The pins are short-term ones (no FOLL_LONGTERM): a request lasts as long as its I/O, so nothing
 * is migrated first, nothing counts as locked memory, and guest memory may be of any kind.
 *
 * Where all of guest memory is pinned (memory.c), its pages are borrowed instead.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vinf.h"

/* bi_vcnt is that wide.  Only an IOTLB of absurdly small pieces needs more for VINF_MAX_DATA. */
#define VINF_MAX_BVECS	U16_MAX

static unsigned long vinf_bv_pages(const struct bio_vec *bv)
{
	return DIV_ROUND_UP(bv->bv_offset + bv->bv_len, PAGE_SIZE);
}

/* The rest of a large folio, which is let go of in one piece too. */
static bool vinf_bv_extends(const struct bio_vec *bv, struct page *page)
{
	u32 end = bv->bv_offset + bv->bv_len;

	return !(end & ~PAGE_MASK) &&
	       page_to_pfn(page) == page_to_pfn(bv->bv_page) + (end >> PAGE_SHIFT) &&
	       page_folio(page) == page_folio(bv->bv_page);
}

static int vinf_bv_grow(struct vinf_io *io)
{
	unsigned int max = min(4 * io->max_bv, VINF_MAX_BVECS);
	struct bio_vec *bv;
	u64 *iova;

	if (max == io->max_bv)
		return -E2BIG;
	/* One piece of memory for both. */
	bv = kvmalloc_array(max, sizeof(*bv) + sizeof(*iova), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!bv)
		return -ENOMEM;
	iova = (u64 *)(bv + max);
	memcpy(bv, io->bv, io->nr_bv * sizeof(*bv));
	memcpy(iova, io->iova, io->nr_bv * sizeof(*iova));
	if (io->bv != io->inline_bv)
		kvfree(io->bv);
	io->bv = bv;
	io->iova = iova;
	io->max_bv = max;
	return 0;
}

static int vinf_pin_add(struct vinf_io *io, struct page *page, u32 offset, u32 len, u64 iova)
{
	struct bio_vec *last = io->nr_bv ? &io->bv[io->nr_bv - 1] : NULL;
	int ret;

	/* Never two pieces of one page: each page of a bio_vec stands for one pin. */
	if (last && !offset && iova == io->iova[io->nr_bv - 1] + last->bv_len &&
	    vinf_bv_extends(last, page)) {
		last->bv_len += len;
		return 0;
	}
	if (io->nr_bv == io->max_bv) {
		ret = vinf_bv_grow(io);
		if (ret)
			return ret;
	}
	io->iova[io->nr_bv] = iova;
	bvec_set_page(&io->bv[io->nr_bv++], page, len, offset);
	return 0;
}

/* Pin one piece of the owner's memory. */
static int vinf_pin_piece(struct vinf_io *io, unsigned long addr, u32 len, u64 iova)
{
	unsigned int flags = io->req.op == VINF_OP_READ ? FOLL_WRITE : 0;
	struct page **pages = io->q->pages;
	u32 offset = offset_in_page(addr), part;
	int i, n, ret;

	/* A page of a small request. */
	if (likely(len <= PAGE_SIZE - offset)) {
		n = pin_user_pages_fast(addr - offset, 1, flags, pages);
		if (n <= 0)
			return n ?: -EFAULT;
		ret = vinf_pin_add(io, pages[0], offset, len, iova);
		if (ret)
			unpin_user_page(pages[0]);
		return ret;
	}
	while (len) {
		offset = offset_in_page(addr);
		n = min_t(u64, DIV_ROUND_UP((u64)offset + len, PAGE_SIZE), VINF_SCRATCH_PAGES);
		n = pin_user_pages_fast(addr - offset, n, flags, pages);
		if (n <= 0)
			return n ?: -EFAULT;
		for (i = 0; i < n; i++) {
			part = min_t(u32, len, PAGE_SIZE - offset);
			ret = vinf_pin_add(io, pages[i], offset, part, iova);
			if (ret) {
				unpin_user_pages(pages + i, n - i);
				return ret;
			}
			addr += part;
			iova += part;
			len -= part;
			offset = 0;
		}
	}
	return 0;
}

/* Pages of one piece of memory that is pinned already. */
static int vinf_borrow_piece(struct vinf_io *io, const struct vinf_memory *m, unsigned long addr,
			     u32 len, u64 iova)
{
	struct page *const *page = &m->page[(addr >> PAGE_SHIFT) - m->first];
	u32 offset = offset_in_page(addr), part;
	int ret = 0;

	for (; len && !ret; len -= part) {
		part = min_t(u32, len, PAGE_SIZE - offset);
		ret = vinf_pin_add(io, *page++, offset, part, iova);
		iova += part;
		offset = 0;
	}
	return ret;
}

/* One piece of the owner's memory, which @q->data_hit led to. */
static int vinf_pin_found(struct vinf_io *io, unsigned long addr, u32 len, u64 iova)
{
	const struct vinf_queue *q = io->q;

	if (!io->map)
		return vinf_pin_piece(io, addr, len, iova);
	return vinf_borrow_piece(io, q->map->memory[q->data_hit], addr, len, iova);
}

/**
 * vinf_pin - pin the data pages of a request
 * @io: READ or WRITE, with no pages yet
 * @segs: where they are
 * @nr: how many segments
 * @err: -errno when the host could not provide the pages: -EFAULT when the owner has no such
 *       memory, -ENOMEM, -E2BIG for too many pieces, -EINVAL when @segs and the request's length
 *       differ, -ECANCELED when the owner is being killed; else 0
 *
 * Also finds out whether the disk can take the data where it is.  On failure of either kind nothing
 * is pinned.
 *
 * Context: process, in the owner's memory, vinf_queue.lock held.  Sleeps killably.
 *
 * Return: 0, or -EFAULT when the driver gave an address that is not in the IOTLB with the right
 * permission.
 */
int vinf_pin(struct vinf_io *io, const struct vinf_seg *segs, unsigned int nr, int *err)
{
	struct vinf_queue *q = io->q;
	const struct vinf_backing *bk = &q->dev->backing;
	u32 perm = io->req.op == VINF_OP_READ ? VHOST_ACCESS_WO : VHOST_ACCESS_RO;
	unsigned long addrs = 0;
	u32 lens = 0, left = io->req.len;
	int ret = 0;

	lockdep_assert_held(&io->q->lock);
	*err = 0;
	if (q->map && q->map->memory)
		WRITE_ONCE(io->map, VINF_BORROWED);
	for (; nr; nr--, segs++) {
		u64 addr = segs->addr;
		u32 len = segs->len, got;
		void __user *uaddr;

		if (len > left) {
			*err = -EINVAL;
			goto err_unpin;
		}
		left -= len;
		for (; len; addr += got, len -= got) {
			ret = vinf_map_find(q->map, &q->data_hit, addr, len, perm, &uaddr, &got);
			if (ret)
				goto err_unpin;
			*err = vinf_pin_found(io, (unsigned long)uaddr, got, addr);
			if (*err)
				goto err_unpin;
			addrs |= (unsigned long)uaddr;
			lens |= got;
		}
	}
	if (left) {
		*err = -EINVAL;
		goto err_unpin;
	}
	io->misaligned = (addrs & bk->mem_align) || (lens & bk->len_align);
	return 0;

err_unpin:
	vinf_unpin(io);
	/*
	 * Nobody is left to be told, and what the guest sees of its dying VMM must not be an error
	 * of the disk.
	 */
	if (*err && fatal_signal_pending(current))
		*err = -ECANCELED;
	return ret;
}

/* ---- and the way back ---- */

/*
 * Pages to be marked dirty by somebody who can wait for them: for as long as it takes a filesystem,
 * that of FUSE for one, so nothing else is done by who waits.  Those that a worker leaves its owner
 * is charged for.
 */
struct workqueue_struct *vinf_unpin_wq;

struct vinf_late_unpin {
	struct work_struct work;
	struct page *page;
	unsigned long nr;
};

static void vinf_late_unpin_work(struct work_struct *work)
{
	struct vinf_late_unpin *late = container_of(work, struct vinf_late_unpin, work);

	unpin_user_page_range_dirty_lock(late->page, late->nr, true);
	kfree(late);
}

/*
 * Mark pages dirty without waiting: whoever has the folio locked may wait for the very disk that
 * the VMM is to be killable on.
 *
 * Return: true when it is done; false when the pages will be unpinned later.
 */
static bool vinf_dirty(struct folio *folio, struct page *page, unsigned long nr)
{
	struct vinf_late_unpin *late;

	if (folio_test_dirty(folio))
		return true;
	if (folio_trylock(folio)) {
		folio_mark_dirty(folio);
		folio_unlock(folio);
		return true;
	}
	/*
	 * An owner at its limit, and dying of it, must neither lose the data nor wait for the
	 * folio.
	 */
	late = kmalloc(sizeof(*late), GFP_KERNEL_ACCOUNT | __GFP_NOFAIL);
	INIT_WORK(&late->work, vinf_late_unpin_work);
	late->page = page;
	late->nr = nr;
	queue_work(vinf_unpin_wq, &late->work);
	return false;
}

static void vinf_unpin_own(struct vinf_io *io)
{
	bool dirty = io->req.op == VINF_OP_READ;
	unsigned int i;

	for (i = 0; i < io->nr_bv; i++) {
		const struct bio_vec *bv = &io->bv[i];
		unsigned long nr = vinf_bv_pages(bv);

		/* One folio: see vinf_bv_extends(). */
		if (!dirty || vinf_dirty(page_folio(bv->bv_page), bv->bv_page, nr))
			unpin_user_page_range_dirty_lock(bv->bv_page, nr, false);
	}
}

/*
 * They are marked dirty when the IOTLB lets go of them.  Somebody may just have a picture of it
 * stay for us, see vinf_pin_keep().
 */
static void vinf_unborrow(struct vinf_io *io)
{
	struct vinf_map *map = xchg(&io->map, NULL);

	if (unlikely(map != VINF_BORROWED))
		vinf_map_put(map);
}

/**
 * vinf_pin_keep - have requests keep the memory that is their queue's to let go of
 * @q: queue that is about to give up its picture of the IOTLB
 *
 * A request that borrows pages does not count: its queue has the picture.  Here each that is out
 * gets a reference.
 *
 * Context: process, q->lock held, so that none starts; with a dead owner they may be released
 * meanwhile.
 */
void vinf_pin_keep(struct vinf_queue *q)
{
	u32 i;

	lockdep_assert_held(&q->lock);
	if (!q->map || !q->map->memory || !atomic_read(&q->out))
		return;
	for (i = 0; i < q->pool_num; i++) {
		struct vinf_io *io = &q->pool[i];

		if (READ_ONCE(io->map) != VINF_BORROWED)
			continue;
		vinf_map_get(q->map);
		if (cmpxchg(&io->map, VINF_BORROWED, q->map) != VINF_BORROWED)
			vinf_map_put(q->map);
	}
}

/**
 * vinf_unpin - let go of the data pages of a request
 * @io: request, back from the disk; may have none
 *
 * Context: process.  Does not wait.
 */
void vinf_unpin(struct vinf_io *io)
{
	if (READ_ONCE(io->map))
		vinf_unborrow(io);
	else
		vinf_unpin_own(io);
	if (io->bv != io->inline_bv)
		kvfree(io->bv);
	io->bv = io->inline_bv;
	io->iova = io->inline_iova;
	io->nr_bv = 0;
	io->max_bv = VINF_INLINE_BVECS;
	if (io->segs) {
		kvfree(io->segs);
		io->segs = NULL;
	}
}

/* ---- for a request that is not at the disk for long ---- */

/**
 * vinf_pin_loosen - unpin the data pages of a request, but know where they are
 * @io: request that is not at the disk
 *
 * Without the little memory that this needs they stay pinned.
 *
 * Context: process.  Does not wait.
 */
void vinf_pin_loosen(struct vinf_io *io)
{
	unsigned int i, nr = io->nr_bv;
	struct vinf_seg *segs;

	if (!nr)
		return;
	segs = kvmalloc_array(nr, sizeof(*segs), GFP_NOIO | __GFP_NOWARN);
	if (!segs)
		return;
	for (i = 0; i < nr; i++)
		segs[i] = (struct vinf_seg){ .addr = io->iova[i], .len = io->bv[i].bv_len };
	vinf_unpin(io);
	io->segs = segs;
	io->nr_segs = nr;
}

/**
 * vinf_pin_again - pin what vinf_pin_loosen() let go of
 * @io: request; one that has its pages is left as it is
 *
 * The request begins anew: what was done of it before is done again.
 *
 * Context: as vinf_pin().
 *
 * Return: 0; any errno of vinf_pin().
 */
int vinf_pin_again(struct vinf_io *io)
{
	struct vinf_seg *segs = io->segs;
	int err, ret;

	if (!segs)
		return 0;
	io->segs = NULL;
	io->offset = 0;
	io->moved = 0;
	io->chunk = io->req.len;
	ret = vinf_pin(io, segs, io->nr_segs, &err);
	ret = ret ?: err;
	if (ret)
		io->segs = segs;
	else
		kvfree(segs);
	return ret;
}
