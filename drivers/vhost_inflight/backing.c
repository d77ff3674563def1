// SPDX-License-Identifier: GPL-2.0
/*
 * What is below a device: a block device or a regular file, opened by the one who enables the
 * device and with their rights.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/mutex.h>
#include <linux/namei.h>
#include <linux/stat.h>

#include "vinf.h"

/* One range of a file's DISCARD, 2 GiB: changes metadata only. */
#define VINF_FILE_DISCARD_SECTORS	BIT(22)
/* One range of ZEROES that may have to be written, 64 MiB: somebody waits for them. */
#define VINF_WRITTEN_ZEROES_SECTORS	BIT(17)

/* Regular files in use; a block device has its holder. */
static DEFINE_MUTEX(vinf_files_lock);
static LIST_HEAD(vinf_files);

/*
 * Range operations whose size or place is not a multiple of a block fail, so none may be announced
 * that is.
 */
static u32 vinf_whole_blocks(const struct vinf_backing *bk, u32 sectors)
{
	return sectors & ~((bk->logical >> SECTOR_SHIFT) - 1);
}

/* ---- block devices ---- */

/*
 * Whether submit_bio() with REQ_NOWAIT does not block.  Drivers whose ->queue_rq() may sleep (NBD:
 * in a write to its socket) are called straight from it, and never said they would not.
 */
static bool vinf_bdev_nowait(struct block_device *bdev)
{
	struct request_queue *q = bdev_get_queue(bdev);

	return bdev_nowait(bdev) && !(queue_is_mq(q) && q->tag_set->flags & BLK_MQ_F_BLOCKING);
}

static void vinf_bdev_limits(struct vinf_backing *bk, bool read_only)
{
	struct block_device *bdev = bk->bdev;
	int offset = bdev_alignment_offset(bdev);

	bk->logical = bdev_logical_block_size(bdev);
	bk->physical = bdev_physical_block_size(bdev);
	bk->alignment_offset = max(offset, 0);
	bk->io_min = bdev_io_min(bdev);
	bk->io_opt = bdev_io_opt(bdev);
	bk->mem_align = bdev_dma_alignment(bdev);
	bk->len_align = bk->logical - 1;
	bk->nowait = vinf_bdev_nowait(bdev);
	if (read_only)
		return;
	bk->max_discard_sectors = vinf_whole_blocks(bk, bdev_max_discard_sectors(bdev));
	bk->discard_align_sectors = max(bdev_discard_granularity(bdev), bk->logical) >>
				    SECTOR_SHIFT;
	/*
	 * Where the disk has no command for it the block layer writes them, which still spares the
	 * guest the memory and the ring the room.
	 */
	bk->max_zeroes_sectors = vinf_whole_blocks(bk, bdev_write_zeroes_sectors(bdev) ?:
						       VINF_WRITTEN_ZEROES_SECTORS);
	bk->max_erase_sectors = vinf_whole_blocks(bk, bdev_max_secure_erase_sectors(bdev));
	bk->erase_align_sectors = bk->discard_align_sectors;
	/* Nobody says whether the command deallocates; writing never does. */
	bk->may_unmap = bdev_write_zeroes_sectors(bdev);
}

static int vinf_bdev_open(struct vinf_backing *bk, const char *path, bool read_only, void *holder)
{
	blk_mode_t mode = BLK_OPEN_READ | (read_only ? 0 : BLK_OPEN_WRITE);
	struct file *file = bdev_file_open_by_path(path, mode, holder, NULL);
	int ret;

	if (IS_ERR(file))
		return PTR_ERR(file);
	bk->file = file;
	bk->bdev = file_bdev(file);
	/*
	 * Writes must go where the zone says, which a virtio-blk driver without zones does not
	 * know.
	 */
	if (bdev_is_zoned(bk->bdev)) {
		ret = -EOPNOTSUPP;
		goto err_close;
	}
	/* Our I/O goes past the page cache, where somebody may have left something. */
	ret = sync_blockdev(bk->bdev);
	if (ret)
		goto err_close;
	invalidate_bdev(bk->bdev);
	vinf_bdev_limits(bk, read_only);
	return 0;

err_close:
	vinf_backing_close(bk);
	return ret;
}

/* ---- regular files ---- */

/*
 * Direct I/O where the filesystem can do it on this file.  One that knows no alignment takes any,
 * or goes through the page cache for what it does not like, or fails with -EINVAL; for the last
 * there is a second try (vinf_file_complete()).
 */
static void vinf_file_alignment(struct vinf_backing *bk)
{
	struct kstat st = {};
	int ret;

	bk->logical = SECTOR_SIZE;
	bk->mem_align = SECTOR_SIZE - 1;
	ret = vfs_getattr(&bk->file->f_path, &st, STATX_DIOALIGN, AT_STATX_SYNC_AS_STAT);
	if (bk->direct && !ret && (st.result_mask & STATX_DIOALIGN)) {
		/* 0 stands for none; and a driver has no use for blocks larger than a page. */
		bk->direct = st.dio_mem_align && is_power_of_2(st.dio_offset_align) &&
			     st.dio_offset_align <= SZ_4K;
		bk->logical = max_t(u32, bk->direct ? st.dio_offset_align : 0, SECTOR_SIZE);
		bk->mem_align = st.dio_mem_align - 1;
	}
	bk->len_align = bk->logical - 1;
	if (!bk->direct) {
		bk->mem_align = 0;
		bk->len_align = 0;
	}
}

static void vinf_file_limits(struct vinf_backing *bk, bool read_only)
{
	/* What a network filesystem says can be as large as a transfer. */
	u32 block = min(i_blocksize(file_inode(bk->file)), SZ_64K);

	vinf_file_alignment(bk);
	bk->physical = max(bk->logical, block);
	bk->io_min = bk->physical;
	if (read_only || !bk->file->f_op->fallocate)
		return;
	bk->max_discard_sectors = VINF_FILE_DISCARD_SECTORS;
	bk->discard_align_sectors = bk->physical >> SECTOR_SHIFT;
	bk->max_zeroes_sectors = VINF_WRITTEN_ZEROES_SECTORS;
	bk->may_unmap = true;
}

/* Two devices on one file would be two guests on one disk. */
static int vinf_file_claim(struct vinf_backing *bk)
{
	struct vinf_backing *other;
	int ret = 0;

	mutex_lock(&vinf_files_lock);
	list_for_each_entry(other, &vinf_files, link)
		if (file_inode(other->file) == file_inode(bk->file))
			ret = -EBUSY;
	if (!ret)
		list_add_tail(&bk->link, &vinf_files);
	mutex_unlock(&vinf_files_lock);
	return ret;
}

static int vinf_file_open(struct vinf_backing *bk, const char *path, bool read_only)
{
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_LARGEFILE;
	struct file *file = filp_open(path, flags | O_DIRECT, 0);
	int ret;

	bk->direct = !IS_ERR(file);
	if (PTR_ERR_OR_ZERO(file) == -EINVAL)
		file = filp_open(path, flags, 0);
	if (IS_ERR(file))
		return PTR_ERR(file);
	bk->file = file;
	ret = -ENOTBLK;
	/* What has this name may be something else by now. */
	if (!S_ISREG(file_inode(file)->i_mode))
		goto err_put;
	ret = -EOPNOTSUPP;
	if (!file->f_op->read_iter || (!read_only && !file->f_op->write_iter))
		goto err_put;
	ret = -EBUSY;
	if (IS_SWAPFILE(file_inode(file)))
		goto err_put;
	vinf_file_limits(bk, read_only);
	if (!bk->direct) {
		/*
		 * It said it could, and then had no alignment to offer: through the page cache from
		 * the start.
		 */
		spin_lock(&file->f_lock);
		file->f_flags &= ~O_DIRECT;
		file->f_iocb_flags = iocb_flags(file);
		spin_unlock(&file->f_lock);
	}
	ret = vinf_file_claim(bk);
	if (ret)
		goto err_put;
	return 0;

err_put:
	bk->file = NULL;
	fput(file);
	return ret;
}

/* ---- either ---- */

/**
 * vinf_backing_open - open what is below a device
 * @bk: backing, zeroed
 * @path: absolute path of a block device or regular file, in the caller's view
 * @read_only: never write to it
 * @holder: who has a block device exclusively
 *
 * Context: process, may sleep.
 *
 * Return: 0, or
 *
 *  - -EINVAL: no path, or not an absolute one;
 *  - -ENOENT, -EACCES, -EPERM, -ELOOP, -ENAMETOOLONG, ...: from looking up and opening the path;
 *  - -EISDIR: a directory; -ENOTBLK: neither a block device nor a regular file;
 *  - -EBUSY: somebody else has the block device exclusively, the file is below another device or is
 *    swap space;
 *  - -EROFS, -EACCES: it is read-only and @read_only is not set;
 *  - -ENXIO, -ENOMEDIUM: there is no such device, or nothing in it;
 *  - -EOPNOTSUPP: a zoned block device, or a filesystem without read and write of its own;
 *  - -ENOSPC: smaller than one block;
 *  - -EIO: what was in the block device's page cache could not be written back;
 *  - -ENOMEM.
 */
int vinf_backing_open(struct vinf_backing *bk, const char *path, bool read_only, void *holder)
{
	struct path where;
	umode_t mode;
	int ret;

	INIT_LIST_HEAD(&bk->link);
	if (!path || path[0] != '/')
		return -EINVAL;
	ret = kern_path(path, LOOKUP_FOLLOW, &where);
	if (ret)
		return ret;
	mode = d_backing_inode(where.dentry)->i_mode;
	path_put(&where);

	if (S_ISDIR(mode))
		return -EISDIR;
	if (S_ISBLK(mode))
		ret = vinf_bdev_open(bk, path, read_only, holder);
	else if (S_ISREG(mode))
		ret = vinf_file_open(bk, path, read_only);
	else
		ret = -ENOTBLK;
	if (ret)
		return ret;

	if (vinf_backing_sectors(bk) < bk->logical >> SECTOR_SHIFT) {
		vinf_backing_close(bk);
		return -ENOSPC;
	}
	return 0;
}

/**
 * vinf_backing_close - close what is below a device
 * @bk: backing; may not be open
 *
 * Context: process, may sleep; no request is out.
 */
void vinf_backing_close(struct vinf_backing *bk)
{
	if (!bk->file)
		return;
	if (bk->bdev) {
		/* What was read through the page cache meanwhile is old. */
		invalidate_bdev(bk->bdev);
		bdev_fput(bk->file);
	} else {
		mutex_lock(&vinf_files_lock);
		list_del_init(&bk->link);
		mutex_unlock(&vinf_files_lock);
		fput(bk->file);
	}
	bk->file = NULL;
	bk->bdev = NULL;
}

/**
 * vinf_backing_sectors - how large it is now
 * @bk: backing, open
 *
 * Context: any.
 *
 * Return: size in units of 512 bytes, the rest of a last unit not counted.
 */
u64 vinf_backing_sectors(const struct vinf_backing *bk)
{
	if (bk->bdev)
		return bdev_nr_sectors(bk->bdev);
	return i_size_read(file_inode(bk->file)) >> SECTOR_SHIFT;
}
