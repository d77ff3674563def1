/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Takes the place of virtq_barrier.h, whose guard it has and before which it is included: every
 * load of the engine goes to the recorder of readonce.c. Stores and barriers are as ever.
 */
#ifndef _VHOST_BLK_VIRTQ_BARRIER_H
#define _VHOST_BLK_VIRTQ_BARRIER_H

#include <linux/types.h>
#include <linux/compiler.h>
#include <linux/virtio_byteorder.h>
#include <linux/virtio_ring.h>
#include <asm/barrier.h>

/* The value at @p, little-endian; noted down. */
u64 readonce_load(const void *p, unsigned int size);

static inline u16 virtq_load16(const __virtio16 *p)
{
	return readonce_load(p, sizeof(*p));
}

static inline u32 virtq_load32(const __virtio32 *p)
{
	return readonce_load(p, sizeof(*p));
}

static inline u64 virtq_load64(const __virtio64 *p)
{
	return readonce_load(p, sizeof(*p));
}

static inline u16 virtq_load16_acquire(const __virtio16 *p)
{
	return readonce_load(p, sizeof(*p));
}

static inline void virtq_store16(__virtio16 *p, u16 v)
{
	WRITE_ONCE(*p, __cpu_to_virtio16(true, v));
}

static inline void virtq_store32(__virtio32 *p, u32 v)
{
	WRITE_ONCE(*p, __cpu_to_virtio32(true, v));
}

static inline void virtq_store16_release(__virtio16 *p, u16 v)
{
	/* One thread: nobody is to see an order. */
	smp_store_release(p, __cpu_to_virtio16(true, v));
}

static inline void virtq_mb(void)
{
}

#endif
