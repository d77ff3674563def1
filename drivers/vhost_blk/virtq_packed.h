/* SPDX-License-Identifier: GPL-2.0 */
/* What a packed ring looks like, for those who read one. */
#ifndef _VHOST_BLK_VIRTQ_PACKED_H
#define _VHOST_BLK_VIRTQ_PACKED_H

#include <linux/bits.h>
#include <linux/virtio_ring.h>

/* The types of <linux/virtio_ring.h>, in those that virtq_barrier.h reads. */
struct pvirtq_desc {
	__virtio64 addr;
	__virtio32 len;
	__virtio16 id, flags;
};

struct pvirtq_event_suppress {
	__virtio16 desc, flags;
};

#define PVIRTQ_AVAIL	BIT(VRING_PACKED_DESC_F_AVAIL)
#define PVIRTQ_USED	BIT(VRING_PACKED_DESC_F_USED)
#define PVIRTQ_WRAP	BIT(VRING_PACKED_EVENT_F_WRAP_CTR)
#define PVIRTQ_EVENTS	3U	/* the flags of an event suppression structure */

static inline bool virtq_packed_is_avail(unsigned int flags, bool wrap)
{
	return (flags & (PVIRTQ_AVAIL | PVIRTQ_USED)) == (wrap ? PVIRTQ_AVAIL : PVIRTQ_USED);
}

#endif
