// SPDX-License-Identifier: GPL-2.0
/*
 * Requests to a block device: bios.
 *
 * The data pages of a request are one bio, embedded in the request.  What the disk cannot take in
 * one piece is cut off its front, piece by piece, before anything is submitted: the block layer
 * does not split a bio with REQ_NOWAIT, it fails it.  One pass sends all pieces until one is
 * refused; the next pass goes on there, so that a request larger than all the room a disk ever has
 * gets done all the same.
 */
#include <linux/bio.h>
#include <linux/blkdev.h>

#include "vinf.h"

#define VINF_NOT_REFUSED	U32_MAX

/* A part of a request's bio that had to be cut off. */
struct vinf_piece {
	struct vinf_io *io;
	u32 start;			/* in the request's window */
	struct bio bio;			/* last */
};

static struct bio_set vinf_pieces;

/* ---- one pass: out and back ---- */

/*
 * The first byte refused decides where the next pass starts, and pieces may come back in any order.
 */
static void vinf_bdev_refused_at(struct vinf_io *io, u32 start)
{
	u32 old = READ_ONCE(io->again);

	while (start < old && !try_cmpxchg(&io->again, &old, start))
		;
}

static void vinf_bdev_note(struct vinf_io *io, const struct bio *bio, u32 start)
{
	if (likely(!bio->bi_status))
		return;
	if (!(bio->bi_opf & REQ_NOWAIT) ||
	    (bio->bi_status != BLK_STS_AGAIN && bio->bi_status != BLK_STS_NOTSUPP)) {
		cmpxchg(&io->status, 0, blk_status_to_errno(bio->bi_status));
		return;
	}
	/* REQ_NOWAIT itself: the table of a dm device can change under us. */
	if (bio->bi_status == BLK_STS_NOTSUPP)
		WRITE_ONCE(io->must_block, true);
	vinf_bdev_refused_at(io, start);
}

/* Whoever drops the last count of a pass has the request alone. */
static void vinf_bdev_put(struct vinf_io *io)
{
	bool progress;

	/*
	 * A count of 1 is ours. Acquire pairs with the release of those who dropped theirs before;
	 * for a bio that went as a whole, most of them, there was nobody.
	 */
	if (atomic_read_acquire(&io->remaining) != 1 && !atomic_dec_and_test(&io->remaining))
		return;
	if (io->status) {
		vinf_io_failed(io, io->status);
	} else if (io->again != VINF_NOT_REFUSED) {
		progress = io->again > io->moved;
		io->moved = io->again;
		io->tries = progress ? 0 : io->tries + 1;
		vinf_io_refused(io, progress);
	} else {
		vinf_io_window_done(io);
	}
}

static void vinf_bdev_piece_end(struct bio *bio)
{
	struct vinf_piece *piece = container_of(bio, struct vinf_piece, bio);
	struct vinf_io *io = piece->io;

	vinf_bdev_note(io, bio, piece->start);
	bio_put(bio);
	vinf_bdev_put(io);
}

static void vinf_bdev_end(struct bio *bio)
{
	struct vinf_io *io = container_of(bio, struct vinf_io, bio);

	vinf_bdev_note(io, bio, io->start);
	bio_uninit(bio);
	vinf_bdev_put(io);
}

/*
 * Where to cut a bio so that the disk takes the front in one piece; in sectors, 0 when it takes all
 * of it.  The rules are those of the block layer, which has them in a function of its own that is
 * not exported: stay below the largest transfer, do not cross a chunk, and end on a physical block
 * where that is possible.  When the limits change in between, or the disk is a stack whose lower
 * layers want smaller pieces and do not say so, the bio is refused, and gets there in the end by
 * the workqueue.
 */
static unsigned int vinf_bdev_cut(struct bio *bio)
{
	const struct queue_limits *lim = &bdev_get_queue(bio->bi_bdev)->limits;
	sector_t sector = bio->bi_iter.bi_sector + bio->bi_bdev->bd_start_sect;
	unsigned int pbs = lim->physical_block_size >> SECTOR_SHIFT;
	unsigned int lbs = lim->logical_block_size >> SECTOR_SHIFT;
	unsigned int max = min(lim->max_sectors, VINF_MAX_DATA >> SECTOR_SHIFT);
	blk_opf_t nowait = bio->bi_opf & REQ_NOWAIT;
	unsigned int start, end, segs;
	int cut;

	/* Each disk takes what lies within a page in one piece, unless it minds where it begins. */
	if (likely(!lim->chunk_sectors && bio->bi_vcnt == 1 &&
		   bio->bi_io_vec->bv_offset + bio->bi_io_vec->bv_len <= PAGE_SIZE))
		return 0;
	if (lim->chunk_sectors)
		max = min(max, blk_boundary_sectors_left(sector, lim->chunk_sectors));
	start = sector & (pbs - 1);
	end = (start + max) & ~(pbs - 1);
	max = end > start ? end - start : max & ~(lbs - 1);
	/* With REQ_NOWAIT the answer is only that it has to be cut, and not where. */
	bio->bi_opf &= ~REQ_NOWAIT;
	cut = bio_split_rw_at(bio, lim, &segs, max << SECTOR_SHIFT);
	bio->bi_opf |= nowait;
	return cut > 0 && cut < bio_sectors(bio) ? cut : 0;
}

/*
 * Send what must be cut off the front of a bio.
 *
 * Return: true when what is left of it is to be sent, too; false when something was refused.
 */
static bool vinf_bdev_send_pieces(struct vinf_io *io, struct bio *bio)
{
	gfp_t gfp = bio->bi_opf & REQ_NOWAIT ? GFP_NOWAIT | __GFP_NOWARN : GFP_NOIO;
	struct vinf_piece *piece;
	struct bio *front;
	unsigned int cut;

	while ((cut = vinf_bdev_cut(bio))) {
		if (READ_ONCE(io->q->dead)) {
			cmpxchg(&io->status, 0, -ECANCELED);
			return false;
		}
		/*
		 * Cannot fail when it may wait: each piece is on its way before the next one is
		 * allocated.
		 */
		front = bio_split(bio, cut, gfp, &vinf_pieces);
		/* NULL on 6.12, an error since. */
		if (IS_ERR_OR_NULL(front)) {
			vinf_bdev_refused_at(io, io->start);
			return false;
		}
		piece = container_of(front, struct vinf_piece, bio);
		piece->io = io;
		piece->start = io->start;
		front->bi_private = NULL;
		front->bi_end_io = vinf_bdev_piece_end;
		io->start += cut << SECTOR_SHIFT;
		atomic_inc(&io->remaining);
		submit_bio(front);
		/* A disk without room says so at once; the rest would fare no better. */
		if (READ_ONCE(io->again) != VINF_NOT_REFUSED) {
			vinf_bdev_refused_at(io, io->start);
			return false;
		}
	}
	return true;
}

/*
 * REQ_SYNC | REQ_IDLE mark a write as somebody's direct I/O: without them the block layer's
 * writeback throttling makes the submitter wait, REQ_NOWAIT or not.
 */
static blk_opf_t vinf_bdev_opf(const struct vinf_io *io)
{
	blk_opf_t opf;

	switch (io->req.op) {
	case VINF_OP_READ:
		opf = REQ_OP_READ;
		break;
	case VINF_OP_WRITE:
		opf = REQ_OP_WRITE | REQ_SYNC | REQ_IDLE;
		if (io->req.flags & VINF_REQ_STABLE)
			opf |= REQ_FUA;
		break;
	default:
		opf = REQ_OP_WRITE | REQ_PREFLUSH | REQ_SYNC | REQ_IDLE;
		break;
	}
	if (io->q->dev->backing.nowait && !io->must_block)
		opf |= REQ_NOWAIT;
	return opf;
}

/**
 * vinf_bdev_submit - send the window of a READ or WRITE, or a FLUSH, to a block device
 * @io: request, the caller's alone; not any more
 *
 * Context: process; may wait for the disk when the backing knows no other way or the request's
 * @must_block is set.
 */
void vinf_bdev_submit(struct vinf_io *io)
{
	struct block_device *bdev = io->q->dev->backing.bdev;
	struct bio *bio = &io->bio;

	io->status = 0;
	io->again = VINF_NOT_REFUSED;
	io->start = io->moved;
	atomic_set(&io->remaining, 1);

	if (io->bounce)
		bio_init(bio, bdev, &io->bounce_bv, 1, vinf_bdev_opf(io));
	else
		bio_init(bio, bdev, io->bv, io->nr_bv, vinf_bdev_opf(io));
	bio->bi_vcnt = bio->bi_max_vecs;
	bio->bi_iter.bi_size = io->chunk;
	if (io->chunk)
		bio->bi_iter.bi_sector = io->req.sector + (io->offset >> SECTOR_SHIFT);
	if (io->moved)
		bio_advance(bio, io->moved);
	bio->bi_end_io = vinf_bdev_end;

	if (vinf_bdev_send_pieces(io, bio)) {
		/* Its end drops our count. */
		submit_bio(bio);
	} else {
		bio_uninit(bio);
		vinf_bdev_put(io);
	}
}

/*
 * ---- DISCARD, ZEROES, ERASE: by chains of bios the block layer makes; in the workqueue only ----
 */

static unsigned int vinf_bdev_zero_flags(const struct vinf_range *r)
{
	return r->flags & VINF_RANGE_UNMAP ? 0 : BLKDEV_ZERO_NOUNMAP;
}

/* Write-through: nothing else makes these stable. */
static void vinf_bdev_ranges_flush(struct vinf_io *io)
{
	int ret = blkdev_issue_flush(io->q->dev->backing.bdev);

	if (ret)
		vinf_io_failed(io, ret);
	else
		vinf_io_end(io, 0);
}

static void vinf_bdev_ranges_done(struct vinf_io *io)
{
	if (io->req.flags & VINF_REQ_STABLE)
		vinf_io_defer(io, vinf_bdev_ranges_flush);
	else
		vinf_io_end(io, 0);
}

/*
 * That a disk cannot zero by itself may turn out only when it is asked to.  It then no longer
 * claims it can, and the block layer writes zeroes instead.
 */
static void vinf_bdev_zero_again(struct vinf_io *io)
{
	struct block_device *bdev = io->q->dev->backing.bdev;
	int ret = 0;
	u32 i;

	for (i = 0; !ret && i < io->req.nr_ranges; i++) {
		const struct vinf_range *r = &io->ranges[i];

		if (READ_ONCE(io->q->dead))
			ret = -ECANCELED;
		else
			ret = blkdev_issue_zeroout(bdev, r->sector, r->sectors, GFP_NOIO,
						   vinf_bdev_zero_flags(r));
	}
	if (ret)
		vinf_io_failed(io, ret);
	else
		vinf_bdev_ranges_done(io);
}

static void vinf_bdev_ranges_end(struct bio *bio)
{
	struct vinf_io *io = bio->bi_private;
	const struct vinf_backing *bk = &io->q->dev->backing;
	int err = io->status ?: blk_status_to_errno(bio->bi_status);

	bio_put(bio);
	/* A discard is a hint, and a device may find out late that it cannot take it. */
	if (err == -EOPNOTSUPP && io->req.op == VINF_OP_DISCARD)
		err = 0;
	if (!err)
		vinf_bdev_ranges_done(io);
	else if (io->req.op == VINF_OP_ZEROES && err != -ECANCELED && err != -EPERM &&
		 (err == -EOPNOTSUPP || (bk->may_unmap && !bdev_write_zeroes_sectors(bk->bdev))))
		vinf_io_defer(io, vinf_bdev_zero_again);
	else
		vinf_io_failed(io, err);
}

static int vinf_bdev_range(struct vinf_io *io, const struct vinf_range *r, struct bio **bio)
{
	struct block_device *bdev = io->q->dev->backing.bdev;

	if (READ_ONCE(io->q->dead))
		return -ECANCELED;
	switch (io->req.op) {
	case VINF_OP_DISCARD:
		/* What it returns is always 0 in 6.12, and void in newer kernels. */
		__blkdev_issue_discard(bdev, r->sector, r->sectors, GFP_NOIO, bio);
		return 0;
	case VINF_OP_ZEROES:
		return __blkdev_issue_zeroout(bdev, r->sector, r->sectors, GFP_NOIO, bio,
					      vinf_bdev_zero_flags(r));
	case VINF_OP_ERASE:
		return blkdev_issue_secure_erase(bdev, r->sector, r->sectors, GFP_NOIO);
	default:
		return -EOPNOTSUPP;
	}
}

/**
 * vinf_bdev_ranges - send a DISCARD, ZEROES or ERASE to a block device
 * @io: request, the caller's alone; not any more
 *
 * Context: process; waits for the disk.
 */
void vinf_bdev_ranges(struct vinf_io *io)
{
	struct bio *bio = NULL;
	struct blk_plug plug;
	int ret = 0;
	u32 i;

	blk_start_plug(&plug);
	for (i = 0; !ret && i < io->req.nr_ranges; i++)
		ret = vinf_bdev_range(io, &io->ranges[i], &bio);
	if (bio) {
		/* The last of a chain; it ends when all of it has. */
		io->status = ret;
		bio->bi_private = io;
		bio->bi_end_io = vinf_bdev_ranges_end;
		submit_bio(bio);
	} else if (ret) {
		vinf_io_failed(io, ret);
	} else {
		vinf_bdev_ranges_done(io);
	}
	blk_finish_plug(&plug);
}

int vinf_bdev_init(void)
{
	return bioset_init(&vinf_pieces, BIO_POOL_SIZE, offsetof(struct vinf_piece, bio), 0);
}

void vinf_bdev_exit(void)
{
	bioset_exit(&vinf_pieces);
}
