// SPDX-License-Identifier: GPL-2.0
/*
 * What a device says about itself: struct virtio_blk_config, the features that go with it, and the
 * same limits in the form the engine checks requests against.
 */
#include <linux/log2.h>
#include <linux/string.h>

#include "vinf.h"

/* VERSION_1 is not negotiated yet, but nothing works without it: little endian. */
#define vinf_le16(val)	__cpu_to_virtio16(true, (val))
#define vinf_le32(val)	__cpu_to_virtio32(true, (val))
#define vinf_le64(val)	__cpu_to_virtio64(true, (val))

/*
 * Every field is filled in, whether its feature is offered or not: a driver may read before it
 * negotiates.
 */
static void vinf_config_fill(struct vinf_dev *dev, const struct vinf_params *p)
{
	const struct vinf_backing *bk = &dev->backing;
	const struct vinf_limits *lim = &dev->limits;
	struct virtio_blk_config *c = &dev->config;
	u32 blk = lim->blk_size;

	memset(c, 0, sizeof(*c));
	c->capacity = vinf_le64(lim->capacity);
	c->size_max = vinf_le32(VINF_SIZE_MAX);
	/*
	 * Without indirect tables a request has one descriptor for the header and one for the
	 * status.
	 */
	c->seg_max = vinf_le32(max(p->queue_size - 2, 1));
	c->blk_size = vinf_le32(blk);
	if (bk->physical > blk) {
		c->physical_block_exp = ilog2(bk->physical / blk);
		c->alignment_offset = min_t(u32, bk->alignment_offset / blk, U8_MAX);
	}
	c->min_io_size = vinf_le16(clamp(bk->io_min / blk, 1u, (u32)U16_MAX));
	c->opt_io_size = vinf_le32(bk->io_opt / blk);
	c->num_queues = vinf_le16(p->num_queues);

	if (lim->max_discard_seg) {
		c->max_discard_sectors = vinf_le32(lim->max_discard_sectors);
		c->max_discard_seg = vinf_le32(lim->max_discard_seg);
		c->discard_sector_alignment =
			vinf_le32(max(bk->discard_align_sectors, blk >> SECTOR_SHIFT));
	}
	if (lim->max_write_zeroes_seg) {
		c->max_write_zeroes_sectors = vinf_le32(lim->max_write_zeroes_sectors);
		c->max_write_zeroes_seg = vinf_le32(lim->max_write_zeroes_seg);
		c->write_zeroes_may_unmap = bk->may_unmap;
	}
	if (lim->max_secure_erase_seg) {
		c->max_secure_erase_sectors = vinf_le32(lim->max_secure_erase_sectors);
		c->max_secure_erase_seg = vinf_le32(lim->max_secure_erase_seg);
		c->secure_erase_sector_alignment =
			vinf_le32(max(bk->erase_align_sectors, blk >> SECTOR_SHIFT));
	}
}

static u64 vinf_config_features(const struct vinf_dev *dev, const struct vinf_params *p)
{
	const struct vinf_limits *lim = &dev->limits;
	u64 f;

	f = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_ACCESS_PLATFORM) |
	    BIT_ULL(VIRTIO_BLK_F_SIZE_MAX) | BIT_ULL(VIRTIO_BLK_F_SEG_MAX) |
	    BIT_ULL(VIRTIO_BLK_F_BLK_SIZE) | BIT_ULL(VIRTIO_BLK_F_FLUSH) |
	    BIT_ULL(VIRTIO_BLK_F_TOPOLOGY);
	if (p->indirect_desc)
		f |= BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	if (p->event_idx)
		f |= BIT_ULL(VIRTIO_RING_F_EVENT_IDX);
	if (p->packed)
		f |= BIT_ULL(VIRTIO_F_RING_PACKED);
	if (p->in_order)
		f |= BIT_ULL(VIRTIO_F_IN_ORDER);
	if (p->partial_order)
		f |= BIT_ULL(VIRTIO_F_PARTIAL_ORDER);
	if (p->suspend)
		f |= BIT_ULL(VINF_F_SUSPEND);
	if (p->num_queues > 1)
		f |= BIT_ULL(VIRTIO_BLK_F_MQ);
	if (lim->read_only)
		f |= BIT_ULL(VIRTIO_BLK_F_RO);
	if (lim->max_discard_seg)
		f |= BIT_ULL(VIRTIO_BLK_F_DISCARD);
	if (lim->max_write_zeroes_seg)
		f |= BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES);
	if (lim->max_secure_erase_seg)
		f |= BIT_ULL(VIRTIO_BLK_F_SECURE_ERASE);
	return f;
}

/* One range: whole blocks of the device; when that is none, the operation is not offered. */
static void vinf_range_limit(u32 blk_size, u32 sectors, u32 *max_sectors, u32 *max_seg)
{
	*max_sectors = sectors & ~((blk_size >> SECTOR_SHIFT) - 1);
	*max_seg = *max_sectors ? VINF_MAX_RANGES : 0;
}

/**
 * vinf_config_init - fill in config space, limits and features
 * @dev: device, its backing open, not visible yet
 * @p: what configfs says
 *
 * The ring features are those that were asked for; what the engine cannot serve is for the caller
 * to take away.
 *
 * Context: process.
 *
 * Return: 0; -EINVAL when the logical block size asked for is smaller than the backing's; -ENOSPC
 * when the backing has not one block.
 */
int vinf_config_init(struct vinf_dev *dev, const struct vinf_params *p)
{
	const struct vinf_backing *bk = &dev->backing;
	struct vinf_limits *lim = &dev->limits;
	u64 sectors = vinf_backing_sectors(bk);

	memset(lim, 0, sizeof(*lim));
	lim->blk_size = p->logical_block_size ?: bk->logical;
	if (lim->blk_size < bk->logical)
		return -EINVAL;
	lim->capacity = sectors & ~((u64)(lim->blk_size >> SECTOR_SHIFT) - 1);
	if (!lim->capacity)
		return -ENOSPC;
	lim->read_only = p->read_only;
	if (p->discard && !p->read_only) {
		vinf_range_limit(lim->blk_size, bk->max_discard_sectors,
				 &lim->max_discard_sectors, &lim->max_discard_seg);
		vinf_range_limit(lim->blk_size, bk->max_zeroes_sectors,
				 &lim->max_write_zeroes_sectors, &lim->max_write_zeroes_seg);
		vinf_range_limit(lim->blk_size, bk->max_erase_sectors,
				 &lim->max_secure_erase_sectors, &lim->max_secure_erase_seg);
	}
	/* Padded with NUL, not terminated when all 20 are used. */
	memcpy(lim->serial, p->serial, strnlen(p->serial, VINF_SERIAL_LEN));

	vinf_config_fill(dev, p);
	dev->features = vinf_config_features(dev, p);
	return 0;
}

/**
 * vinf_config_refresh - have config space say what the device is
 * @dev: device
 *
 * Context: any, vinf_dev.config_lock held.
 */
void vinf_config_refresh(struct vinf_dev *dev)
{
	lockdep_assert_held(&dev->config_lock);
	dev->config.capacity = vinf_le64(READ_ONCE(dev->limits.capacity));
}

/**
 * vinf_config_set_capacity - the device has another size
 * @dev: device
 * @sectors: in units of 512 bytes, whole blocks
 *
 * Telling the driver is for the caller.
 *
 * Context: any.
 */
void vinf_config_set_capacity(struct vinf_dev *dev, u64 sectors)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->config_lock, flags);
	WRITE_ONCE(dev->limits.capacity, sectors);
	/* virtio 1.4, 2.1.2: not while the device stands still. */
	if (!dev->config_quiet)
		vinf_config_refresh(dev);
	spin_unlock_irqrestore(&dev->config_lock, flags);
}
