// SPDX-License-Identifier: GPL-2.0
/*
 * Bounce buffers: for requests whose data the disk cannot take where the guest has it, because a
 * segment is below the disk's alignment or not a whole number of its blocks.
 *
 * A running device has a fixed number of buffers.  A request takes one for as long as it lasts and
 * goes through it in chunks; who finds none waits in line.  Copying needs no guest address space,
 * the pages are pinned, so all of it is done in the device's workqueue, one step at a time, and no
 * thread waits for the disk or for a buffer.
 */
#include <linux/bvec.h>
#include <linux/mm.h>
#include <linux/uio.h>

#include "vinf.h"

/**
 * vinf_bounce_init - make the bounce buffers of a device that is to run
 * @b: pool, its lock and list ready
 *
 * One buffer is enough to go on with; less speed is better than no device.  Buffers that are there
 * are kept, also those which requests of an earlier run still have.
 *
 * Context: process, vinf_dev.lock held.
 *
 * Return: 0 or -ENOMEM.
 */
int vinf_bounce_init(struct vinf_bounce *b)
{
	struct page *page;
	bool full, any;

	for (;;) {
		spin_lock_irq(&b->lock);
		b->closed = false;
		full = b->total == VINF_NR_BOUNCE;
		any = b->total;
		spin_unlock_irq(&b->lock);
		if (full)
			return 0;
		page = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_COMP | __GFP_NOWARN |
				   (any ? __GFP_NORETRY : 0),
				   VINF_BOUNCE_ORDER);
		if (!page)
			return any ? 0 : -ENOMEM;
		spin_lock_irq(&b->lock);
		b->page[b->nr_free++] = page;
		b->total++;
		spin_unlock_irq(&b->lock);
	}
}

/**
 * vinf_bounce_destroy - free the bounce buffers
 * @b: pool; may be empty
 *
 * A buffer that a request still has is freed when it comes back.
 *
 * Context: process.
 */
void vinf_bounce_destroy(struct vinf_bounce *b)
{
	struct page *page;

	do {
		page = NULL;
		spin_lock_irq(&b->lock);
		b->closed = true;
		if (b->nr_free) {
			page = b->page[--b->nr_free];
			b->total--;
		}
		spin_unlock_irq(&b->lock);
		if (page)
			__free_pages(page, VINF_BOUNCE_ORDER);
	} while (page);
}

/**
 * vinf_bounce_start - get a bounce buffer for a request, then submit it
 * @io: request, the caller's alone; not any more
 *
 * Context: any.
 */
void vinf_bounce_start(struct vinf_io *io)
{
	struct vinf_bounce *b = &io->q->dev->bounce;
	unsigned long flags;
	bool dead, wait;

	atomic64_inc(&io->q->bounced);
	io->chunk = 0;
	spin_lock_irqsave(&b->lock, flags);
	/*
	 * Under the lock: vinf_bounce_cancel() comes after @dead and takes whom it finds waiting.
	 */
	dead = READ_ONCE(io->q->dead);
	wait = !dead && !b->nr_free;
	if (wait)
		list_add_tail(&io->link, &b->waiting);
	else if (!dead)
		io->bounce = b->page[--b->nr_free];
	spin_unlock_irqrestore(&b->lock, flags);
	if (dead)
		vinf_io_end(io, -ECANCELED);
	else if (!wait)
		vinf_io_defer(io, vinf_bounce_step);
}

/**
 * vinf_bounce_put - give a request's bounce buffer to the next in line
 * @io: request that has one
 *
 * Context: any.
 */
void vinf_bounce_put(struct vinf_io *io)
{
	struct vinf_bounce *b = &io->q->dev->bounce;
	struct page *page = io->bounce;
	struct vinf_io *next;
	unsigned long flags;

	io->bounce = NULL;
	spin_lock_irqsave(&b->lock, flags);
	next = list_first_entry_or_null(&b->waiting, struct vinf_io, link);
	if (next) {
		list_del_init(&next->link);
		next->bounce = page;
		page = NULL;
	} else if (b->closed) {
		b->total--;
	} else {
		b->page[b->nr_free++] = page;
		page = NULL;
	}
	spin_unlock_irqrestore(&b->lock, flags);
	if (next)
		vinf_io_defer(next, vinf_bounce_step);
	if (page)
		__free_pages(page, VINF_BOUNCE_ORDER);
}

/**
 * vinf_bounce_cancel - take a queue's requests out of the line
 * @q: queue, @dead
 * @list: where to put them
 *
 * Context: process.
 */
void vinf_bounce_cancel(struct vinf_queue *q, struct list_head *list)
{
	struct vinf_bounce *b = &q->dev->bounce;
	struct vinf_io *io, *next;

	spin_lock_irq(&b->lock);
	list_for_each_entry_safe(io, next, &b->waiting, link)
		if (io->q == q)
			list_move_tail(&io->link, list);
	spin_unlock_irq(&b->lock);
}

/* Copy the window between the buffer and the guest's pages. */
static bool vinf_bounce_copy(struct vinf_io *io)
{
	void *buf = page_address(io->bounce);
	struct iov_iter iter;

	if (io->req.op == VINF_OP_READ) {
		iov_iter_bvec(&iter, ITER_DEST, io->bv, io->nr_bv, io->req.len);
		iov_iter_advance(&iter, io->offset);
		return copy_to_iter(buf, io->chunk, &iter) == io->chunk;
	}
	iov_iter_bvec(&iter, ITER_SOURCE, io->bv, io->nr_bv, io->req.len);
	iov_iter_advance(&iter, io->offset);
	return copy_from_iter(buf, io->chunk, &iter) == io->chunk;
}

/**
 * vinf_bounce_step - one chunk is back, or none was sent yet: send the next
 * @io: request with a bounce buffer, the caller's alone; not any more
 *
 * Context: process, a thread of the workqueue.
 */
void vinf_bounce_step(struct vinf_io *io)
{
	bool ok = true;

	if (io->chunk && io->req.op == VINF_OP_READ)
		ok = vinf_bounce_copy(io);
	io->offset += io->chunk;
	if (!ok || io->offset == io->req.len) {
		vinf_io_end(io, ok ? 0 : -EIO);
		return;
	}
	io->chunk = min_t(u32, io->req.len - io->offset, VINF_BOUNCE_SIZE);
	io->moved = 0;
	io->tries = 0;
	if (io->req.op == VINF_OP_WRITE && !vinf_bounce_copy(io)) {
		vinf_io_end(io, -EIO);
		return;
	}
	bvec_set_page(&io->bounce_bv, io->bounce, io->chunk, 0);
	vinf_io_submit(io, true);
}
