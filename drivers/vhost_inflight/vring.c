// SPDX-License-Identifier: GPL-2.0
/*
 * What the owner says of a ring: size, addresses, position; and all that the holder knows of ring
 * layouts.
 */
#include <linux/align.h>
#include <linux/bits.h>
#include <linux/lockdep.h>
#include <linux/log2.h>
#include <linux/string.h>
#include <uapi/linux/virtio_ring.h>

#include "vinf.h"

/* virtio 1.4, 2.7: descriptor table, available ring, used ring. */
static const struct vinf_ring_layout vinf_ring_split = {
	.area = {
		[VINF_AREA_DESC] = { .align = 16, .per_slot = sizeof(struct vring_desc) },
		[VINF_AREA_DRIVER] = { .align = 2, .fixed = 6, .per_slot = sizeof(__le16) },
		[VINF_AREA_DEVICE] = {
			.align = 4, .fixed = 6, .per_slot = sizeof(struct vring_used_elem),
			.written = true,
		},
	},
	.pow2 = true,
};

/* virtio 1.4, 2.8: descriptor ring, driver and device event suppression structure. */
static const struct vinf_ring_layout vinf_ring_packed = {
	.area = {
		[VINF_AREA_DESC] = {
			.align = 16, .per_slot = sizeof(struct vring_packed_desc), .written = true,
		},
		[VINF_AREA_DRIVER] = {
			.align = 4, .fixed = sizeof(struct vring_packed_desc_event),
		},
		[VINF_AREA_DEVICE] = {
			.align = 4, .fixed = sizeof(struct vring_packed_desc_event),
			.written = true,
		},
	},
	.wraps = true,
};

/**
 * vinf_ring_layout - how rings lie in memory
 * @features: virtio features the driver took
 *
 * Return: the layout.
 */
const struct vinf_ring_layout *vinf_ring_layout(u64 features)
{
	return features & BIT_ULL(VIRTIO_F_RING_PACKED) ? &vinf_ring_packed : &vinf_ring_split;
}

/**
 * vinf_vring_set_num - VHOST_SET_VRING_NUM
 * @q: queue, not running
 * @num: size of the ring
 *
 * Return: 0; -EINVAL for 0, more than the device has, or a split ring's that is no power of two.
 */
int vinf_vring_set_num(struct vinf_queue *q, u32 num)
{
	if (!num || num > q->dev->queue_size)
		return -EINVAL;
	if (vinf_ring_layout(q->dev->acked)->pow2 && !is_power_of_2(num))
		return -EINVAL;
	q->num = num;
	return 0;
}

/**
 * vinf_vring_set_addr - VHOST_SET_VRING_ADDR
 * @q: queue, not running
 * @a: addresses, all of them IOVAs
 *
 * Return: 0; -EOPNOTSUPP for flags (there is no log of ours behind log_guest_addr); -EINVAL for an
 * alignment.
 */
int vinf_vring_set_addr(struct vinf_queue *q, const struct vhost_vring_addr *a)
{
	const struct vinf_ring_layout *layout = vinf_ring_layout(q->dev->acked);
	const u64 addr[] = {
		[VINF_AREA_DESC] = a->desc_user_addr,
		[VINF_AREA_DRIVER] = a->avail_user_addr,
		[VINF_AREA_DEVICE] = a->used_user_addr,
	};
	int i;

	if (a->flags)
		return -EOPNOTSUPP;
	for (i = 0; i < VINF_NR_AREAS; i++)
		if (!IS_ALIGNED(addr[i], layout->area[i].align))
			return -EINVAL;
	memcpy(q->addr, addr, sizeof(q->addr));
	q->addr_set = true;
	return 0;
}

/* Slot or index, and the wrap counter above it where there is one. */
static u16 vinf_vring_half(const struct vinf_ring_layout *layout, u16 index, u8 wrap)
{
	return layout->wraps ? index | wrap << VRING_PACKED_EVENT_F_WRAP_CTR : index;
}

/**
 * vinf_vring_avail - the next entry to fetch, for VHOST_INFLIGHT_GET_QUEUE
 * @q: queue
 *
 * Return: index; packed: slot, with the wrap counter in bit 15.
 */
u16 vinf_vring_avail(const struct vinf_queue *q)
{
	const struct vinf_pos *pos = &q->vq.pos;

	return vinf_vring_half(vinf_ring_layout(READ_ONCE(q->dev->acked)), READ_ONCE(pos->avail),
			       READ_ONCE(pos->avail_wrap));
}

/**
 * vinf_vring_used - the next entry to publish, for VHOST_INFLIGHT_GET_QUEUE
 * @q: queue
 *
 * Return: as vinf_vring_avail().
 */
u16 vinf_vring_used(const struct vinf_queue *q)
{
	const struct vinf_pos *pos = &q->vq.pos;

	return vinf_vring_half(vinf_ring_layout(READ_ONCE(q->dev->acked)), READ_ONCE(pos->used),
			       READ_ONCE(pos->used_wrap));
}

/* Is it where a queue that was stopped stands, by one of its two positions? */
static bool vinf_vring_stands(const struct vinf_queue *q, const struct vinf_pos *pos)
{
	const struct vinf_pos *was = &q->vq.pos;
	bool wraps = vinf_ring_layout(q->dev->acked)->wraps;

	if (wraps && (pos->used != was->used || pos->used_wrap != was->used_wrap))
		return false;
	return (pos->avail == was->avail && pos->avail_wrap == was->avail_wrap) ||
	       (pos->avail == was->used && (!wraps || pos->avail_wrap == was->used_wrap));
}

/**
 * vinf_vring_set_base - VHOST_SET_VRING_BASE
 * @q: queue, not running
 * @base: split: available index; packed: available slot in bits 0 to 14 and its wrap counter in
 *	bit 15, used slot and wrap counter likewise above
 *
 * Without an inflight region to go on with nothing is in flight at a base. Whether the ring has the
 * slots, and whether the base and the region agree, is seen when it starts. A queue that was
 * stopped has a position: it goes on there, whether the base says what was given back last or that
 * and what is in flight.
 *
 * Return: 0; -EINVAL for more than 16 bits (split), or for any other base of a queue that was
 * stopped.
 */
int vinf_vring_set_base(struct vinf_queue *q, u32 base)
{
	struct vinf_pos pos = { .avail = base, .used = base };

	if (vinf_ring_layout(q->dev->acked)->wraps) {
		const u32 wrap = BIT(VRING_PACKED_EVENT_F_WRAP_CTR);

		pos.avail = base & (wrap - 1);
		pos.avail_wrap = !!(base & wrap);
		base >>= 16;
		pos.used = base & (wrap - 1);
		pos.used_wrap = !!(base & wrap);
	} else if (base > U16_MAX) {
		return -EINVAL;
	}
	if (q->stopped)
		return vinf_vring_stands(q, &pos) ? 0 : -EINVAL;
	q->vq.pos = pos;
	q->vq.told = 1;
	return 0;
}

/**
 * vinf_vring_base - VHOST_GET_VRING_BASE
 * @q: queue
 *
 * Context: q->lock held. While the queue runs this is a moment's view; after SUSPEND it is exact.
 *
 * Return: as @base of vinf_vring_set_base().
 */
u32 vinf_vring_base(const struct vinf_queue *q)
{
	u32 base = vinf_vring_avail(q);

	lockdep_assert_held(&q->lock);
	if (vinf_ring_layout(q->dev->acked)->wraps)
		base |= (u32)vinf_vring_used(q) << 16;
	return base;
}
