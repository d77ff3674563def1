// SPDX-License-Identifier: GPL-2.0
/*
 * Device-mapper target that writes down what the disk is asked to do, and when: each bio as it
 * arrives and as it ends.  dm-log-writes knows writes only, and these at their end only.
 *
 *	dmsetup create NAME --table '0 SECTORS vblk-record DEVICE START'
 *
 * All targets write into one log, in the order of events, which is read from /dev/vblk-record.
 * What was read is gone.  When it is full, read() fails once with EOVERFLOW.
 */
#include <linux/bvec.h>
#include <linux/device-mapper.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "dm-vblk-record.h"

static unsigned int entries = 1 << 16;
module_param(entries, uint, 0444);
MODULE_PARM_DESC(entries, "events the log holds until they are read");

/* What happened and was not read yet. */
static struct record_log {
	spinlock_t lock;		/* irq-safe: all below */
	struct mutex read_lock;		/* one reader at a time */
	struct vblk_record *entry;	/* so many as the parameter says */
	u64 put, got;			/* events so far; those that were read */
	u64 last;			/* number of the bio that arrived last */
	bool full;			/* there was no room for some */
} record_log = {
	.lock = __SPIN_LOCK_UNLOCKED(record_log.lock),
	.read_lock = __MUTEX_INITIALIZER(record_log.read_lock),
};

/* Of a target. */
struct record_target {
	struct dm_dev *dev;
	sector_t start;
};

/* Time and number are taken under the lock: the log is in order. */
static void record_add(struct vblk_record *e)
{
	struct record_log *log = &record_log;
	unsigned long flags;

	spin_lock_irqsave(&log->lock, flags);
	e->ns = ktime_get_ns();
	if (e->what == VBLK_RECORD_ARRIVE)
		e->of = ++log->last;
	if (log->put - log->got < entries)
		log->entry[log->put++ % entries] = *e;
	else
		log->full = true;
	spin_unlock_irqrestore(&log->lock, flags);
}

/* ---- the target ---- */

static u64 record_tag(struct bio *bio)
{
	struct bio_vec bv = bio_iovec(bio);
	u64 tag = 0;
	void *p;

	if (bv.bv_len < sizeof(tag))
		return 0;
	p = bvec_kmap_local(&bv);
	memcpy(&tag, p, sizeof(tag));
	kunmap_local(p);
	return tag;
}

static int record_map(struct dm_target *ti, struct bio *bio)
{
	struct vblk_record *e = dm_per_bio_data(bio, sizeof(*e));
	struct record_target *t = ti->private;

	*e = (struct vblk_record){
		.what = VBLK_RECORD_ARRIVE,
		.op = VBLK_RECORD_OTHER,
		.sector = bio->bi_iter.bi_sector,
		.len = bio->bi_iter.bi_size,
		.flags = bio->bi_opf & REQ_NOWAIT ? VBLK_RECORD_NOWAIT : 0,
	};
	if (bio_op(bio) == REQ_OP_READ) {
		e->op = VBLK_RECORD_READ;
	} else if (bio_op(bio) == REQ_OP_WRITE && e->len) {
		e->op = VBLK_RECORD_WRITE;
		e->tag = record_tag(bio);
	}
	record_add(e);
	bio_set_dev(bio, t->dev->bdev);
	bio->bi_iter.bi_sector = t->start + dm_target_offset(ti, bio->bi_iter.bi_sector);
	return DM_MAPIO_REMAPPED;
}

static int record_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct vblk_record *arrival = dm_per_bio_data(bio, sizeof(*arrival));
	struct vblk_record e = *arrival;

	e.what = VBLK_RECORD_END;
	e.error = (__force u8)*error;
	record_add(&e);
	return DM_ENDIO_DONE;
}

static int record_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct record_target *t;
	unsigned long long start;
	int ret;

	if (argc != 2 || kstrtoull(argv[1], 10, &start)) {
		ti->error = "a device and a sector are wanted";
		return -EINVAL;
	}
	t = kzalloc(sizeof(*t), GFP_KERNEL);
	if (!t)
		return -ENOMEM;
	t->start = start;
	ret = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &t->dev);
	if (ret) {
		ti->error = "no such device";
		kfree(t);
		return ret;
	}
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_secure_erase_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->per_io_data_size = sizeof(struct vblk_record);
	ti->private = t;
	return 0;
}

static void record_dtr(struct dm_target *ti)
{
	struct record_target *t = ti->private;

	dm_put_device(ti, t->dev);
	kfree(t);
}

static int record_iterate_devices(struct dm_target *ti, iterate_devices_callout_fn fn, void *data)
{
	struct record_target *t = ti->private;

	return fn(ti, t->dev, t->start, ti->len, data);
}

static void record_status(struct dm_target *ti, status_type_t type, unsigned int flags,
			  char *result, unsigned int maxlen)
{
	struct record_target *t = ti->private;

	*result = '\0';
	if (type == STATUSTYPE_TABLE)
		scnprintf(result, maxlen, "%s %llu", t->dev->name, (unsigned long long)t->start);
}

static struct target_type record_target = {
	.name = "vblk-record",
	.version = { 1, 0, 0 },
	.features = DM_TARGET_NOWAIT,
	.module = THIS_MODULE,
	.ctr = record_ctr,
	.dtr = record_dtr,
	.map = record_map,
	.end_io = record_end_io,
	.iterate_devices = record_iterate_devices,
	.status = record_status,
};

/* ---- /dev/vblk-record ---- */

/* What is there; 0 when that is nothing. */
static ssize_t record_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	struct record_log *log = &record_log;
	size_t n, i, room = size / sizeof(*log->entry);
	bool full;

	guard(mutex)(&log->read_lock);
	scoped_guard(spinlock_irq, &log->lock) {
		full = log->full;
		log->full = false;
		n = min_t(u64, log->put - log->got, room);
	}
	if (full)
		return -EOVERFLOW;
	/* Nobody overwrites what was not read. */
	for (i = 0; i < n; i++)
		if (copy_to_user(buf + i * sizeof(*log->entry),
				 &log->entry[(log->got + i) % entries], sizeof(*log->entry)))
			return -EFAULT;
	scoped_guard(spinlock_irq, &log->lock)
		log->got += n;
	return n * sizeof(*log->entry);
}

static ssize_t record_write(struct file *file, const char __user *buf, size_t size, loff_t *pos)
{
	struct vblk_record e = { .what = VBLK_RECORD_MARK };

	if (size != sizeof(e.tag))
		return -EINVAL;
	if (copy_from_user(&e.tag, buf, sizeof(e.tag)))
		return -EFAULT;
	record_add(&e);
	return size;
}

static const struct file_operations record_fops = {
	.owner = THIS_MODULE,
	.read = record_read,
	.write = record_write,
	.llseek = noop_llseek,
};

static struct miscdevice record_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "vblk-record",
	.fops = &record_fops,
	.mode = 0600,
};

static int __init record_init(void)
{
	int ret;

	if (!entries)
		return -EINVAL;
	record_log.entry = vcalloc(entries, sizeof(*record_log.entry));
	if (!record_log.entry)
		return -ENOMEM;
	ret = misc_register(&record_misc);
	if (ret)
		goto err_free;
	ret = dm_register_target(&record_target);
	if (ret)
		goto err_misc;
	return 0;

err_misc:
	misc_deregister(&record_misc);
err_free:
	vfree(record_log.entry);
	return ret;
}

static void __exit record_exit(void)
{
	dm_unregister_target(&record_target);
	misc_deregister(&record_misc);
	vfree(record_log.entry);
}

module_init(record_init);
module_exit(record_exit);

MODULE_DESCRIPTION("device-mapper target that records what a disk is asked to do, for tests");
MODULE_LICENSE("GPL");
