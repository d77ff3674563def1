/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Takes the place of virtq_barrier.h and of inflight_store.h, whose guards it has and before which
 * it is included: after each store of the engine to the ring or to the region the test is told.
 * One thread: nobody is to see an order, so there are no barriers.
 */
#ifndef _VHOST_BLK_VIRTQ_BARRIER_H
#define _VHOST_BLK_VIRTQ_BARRIER_H
#define _VHOST_BLK_INFLIGHT_STORE_H

#include <linux/types.h>
#include <linux/compiler.h>
#include <asm/byteorder.h>
#include <linux/virtio_byteorder.h>
#include <linux/virtio_ring.h>

/* Something was stored at @p, in one piece. */
void cut_stored(const void *p);

static inline u16 virtq_load16(const __virtio16 *p)
{
	return __virtio16_to_cpu(true, READ_ONCE(*p));
}

static inline u32 virtq_load32(const __virtio32 *p)
{
	return __virtio32_to_cpu(true, READ_ONCE(*p));
}

static inline u64 virtq_load64(const __virtio64 *p)
{
	return __virtio64_to_cpu(true, READ_ONCE(*p));
}

static inline u16 virtq_load16_acquire(const __virtio16 *p)
{
	return virtq_load16(p);
}

static inline void virtq_store16(__virtio16 *p, u16 v)
{
	WRITE_ONCE(*p, __cpu_to_virtio16(true, v));
	cut_stored(p);
}

static inline void virtq_store32(__virtio32 *p, u32 v)
{
	WRITE_ONCE(*p, __cpu_to_virtio32(true, v));
	cut_stored(p);
}

static inline void virtq_store16_release(__virtio16 *p, u16 v)
{
	virtq_store16(p, v);
}

static inline void virtq_mb(void)
{
}

static inline void inflight_store8(u8 *p, u8 v)
{
	WRITE_ONCE(*p, v);
	cut_stored(p);
}

static inline void inflight_store16(u16 *p, u16 v)
{
	WRITE_ONCE(*p, v);
	cut_stored(p);
}

static inline void inflight_store32(u32 *p, u32 v)
{
	WRITE_ONCE(*p, v);
	cut_stored(p);
}

static inline void inflight_store64(u64 *p, u64 v)
{
	WRITE_ONCE(*p, v);
	cut_stored(p);
}

#endif
