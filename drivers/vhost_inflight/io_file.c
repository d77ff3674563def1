// SPDX-License-Identifier: GPL-2.0
/*
 * Requests to a regular file: kiocbs.
 *
 * Always from the device's workqueue (see vinf_io_may_block()), whose threads also have none of the
 * VMM's limits: a write past the VMM's RLIMIT_FSIZE would send it SIGXFSZ.  Direct I/O is
 * asynchronous there, so that a thread is busy only as long as the filesystem wants it; everything
 * else is done when the call returns.
 */
#include <linux/bvec.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/ioprio.h>
#include <linux/mm.h>

#include "vinf.h"

/* Zeroes written by one call where a filesystem cannot make them. */
#define VINF_ZERO_PAGES	16

/* ---- READ and WRITE ---- */

/*
 * The I/O is over, and so is the call that began it: a filesystem may look at its kiocb once more
 * on the way out of the call, so whoever is last goes on.
 */
static void vinf_file_put(struct vinf_io *io)
{
	struct kiocb *iocb = &io->iocb;
	int ret;

	if (!atomic_dec_and_test(&io->remaining))
		return;
	ret = io->status;
	if (ret == -EINVAL && (iocb->ki_flags & IOCB_DIRECT)) {
		/*
		 * An alignment the filesystem did not tell us about, or cannot know: its files may
		 * be on several disks.
		 */
		io->plain = true;
		vinf_io_defer(io, vinf_file_submit);
		return;
	}
	if (ret <= 0) {
		/* Nothing: the file became shorter than the device. */
		vinf_io_failed(io, ret ?: -EIO);
		return;
	}
	io->moved += min_t(u32, ret, io->chunk - io->moved);
	if (io->moved < io->chunk)
		vinf_io_defer(io, vinf_file_submit);
	else
		vinf_io_window_done(io);
}

/* Called by the filesystem in any context, or by ourselves when it did the I/O at once. */
static void vinf_file_complete(struct kiocb *iocb, long ret)
{
	struct vinf_io *io = container_of(iocb, struct vinf_io, iocb);

	if (iocb->ki_flags & IOCB_WRITE)
		kiocb_end_write(iocb);
	io->status = ret;
	vinf_file_put(io);
}

/**
 * vinf_file_submit - send the window of a READ or WRITE to a regular file
 * @io: request, the caller's alone; not any more
 *
 * Context: process, a thread of the workqueue; waits for the disk.
 */
void vinf_file_submit(struct vinf_io *io)
{
	const struct vinf_backing *bk = &io->q->dev->backing;
	bool write = io->req.op == VINF_OP_WRITE;
	struct kiocb *iocb = &io->iocb;
	struct file *file = bk->file;
	struct iov_iter iter;
	ssize_t ret;

	/* The filesystem may use the array itself, and for as long as the I/O takes. */
	if (io->bounce)
		iov_iter_bvec(&iter, write ? ITER_SOURCE : ITER_DEST, &io->bounce_bv, 1, io->chunk);
	else
		iov_iter_bvec(&iter, write ? ITER_SOURCE : ITER_DEST, io->bv, io->nr_bv, io->chunk);
	iov_iter_advance(&iter, io->moved);

	memset(iocb, 0, sizeof(*iocb));
	iocb->ki_filp = file;
	iocb->ki_pos = (loff_t)(io->req.sector << SECTOR_SHIFT) + io->offset + io->moved;
	iocb->ki_complete = vinf_file_complete;
	iocb->ki_ioprio = get_current_ioprio();
	iocb->ki_flags = file->f_iocb_flags;
	if (io->plain)
		iocb->ki_flags &= ~IOCB_DIRECT;

	atomic_set(&io->remaining, 2);
	if (write) {
		iocb->ki_flags |= IOCB_WRITE;
		if (io->req.flags & VINF_REQ_STABLE)
			iocb->ki_flags |= IOCB_DSYNC;
		kiocb_start_write(iocb);
		ret = file->f_op->write_iter(iocb, &iter);
	} else {
		ret = file->f_op->read_iter(iocb, &iter);
	}
	/* Else it is out, or even back already. */
	if (ret != -EIOCBQUEUED)
		vinf_file_complete(iocb, ret);
	vinf_file_put(io);
}

/* ---- FLUSH, DISCARD, ZEROES ---- */

static int vinf_file_write_zeroes(struct vinf_io *io, loff_t pos, loff_t len)
{
	struct bio_vec bv[VINF_ZERO_PAGES];
	struct iov_iter iter;
	ssize_t ret;
	int i;

	for (i = 0; i < VINF_ZERO_PAGES; i++)
		bvec_set_page(&bv[i], ZERO_PAGE(0), PAGE_SIZE, 0);
	while (len) {
		if (READ_ONCE(io->q->dead))
			return -ECANCELED;
		iov_iter_bvec(&iter, ITER_SOURCE, bv, VINF_ZERO_PAGES,
			      min_t(loff_t, len, VINF_ZERO_PAGES * PAGE_SIZE));
		/* Moves @pos. */
		ret = vfs_iter_write(io->q->dev->backing.file, &iter, &pos, 0);
		if (ret <= 0)
			return ret ?: -EIO;
		len -= ret;
	}
	return 0;
}

static int vinf_file_zero(struct vinf_io *io, const struct vinf_range *r, loff_t pos, loff_t len)
{
	struct file *file = io->q->dev->backing.file;
	int ret = -EOPNOTSUPP;

	if (r->flags & VINF_RANGE_UNMAP)
		ret = vfs_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, len);
	if (ret == -EOPNOTSUPP)
		ret = vfs_fallocate(file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, pos, len);
	if (ret == -EOPNOTSUPP)
		ret = vinf_file_write_zeroes(io, pos, len);
	return ret;
}

static int vinf_file_range(struct vinf_io *io, const struct vinf_range *r)
{
	struct file *file = io->q->dev->backing.file;
	loff_t pos = (loff_t)(r->sector << SECTOR_SHIFT);
	loff_t len = (loff_t)r->sectors << SECTOR_SHIFT;
	int ret;

	if (!len)
		return 0;
	if (READ_ONCE(io->q->dead))
		return -ECANCELED;
	switch (io->req.op) {
	case VINF_OP_DISCARD:
		ret = vfs_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, pos, len);
		/* A discard is a hint. */
		return ret == -EOPNOTSUPP ? 0 : ret;
	case VINF_OP_ZEROES:
		return vinf_file_zero(io, r, pos, len);
	default:
		return -EOPNOTSUPP;
	}
}

/**
 * vinf_file_control - do a FLUSH, DISCARD or ZEROES on a regular file
 * @io: request, the caller's alone; not any more
 *
 * Context: process, a thread of the workqueue; waits for the disk.
 */
void vinf_file_control(struct vinf_io *io)
{
	bool flush = io->req.op == VINF_OP_FLUSH || (io->req.flags & VINF_REQ_STABLE);
	int ret = 0;
	u32 i;

	for (i = 0; !ret && i < io->req.nr_ranges; i++)
		ret = vinf_file_range(io, &io->ranges[i]);
	if (ret) {
		vinf_io_failed(io, ret);
		return;
	}
	/*
	 * Data and what is needed to find it: not the time stamps. Not parked when it fails: what
	 * could not be written back is gone from the page cache, and the next flush would know
	 * nothing of it.
	 */
	if (flush)
		ret = vfs_fsync(io->q->dev->backing.file, 1);
	vinf_io_end(io, ret);
}
