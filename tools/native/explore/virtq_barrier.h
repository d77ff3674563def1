/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stands in for drivers/vhost_blk/virtq_barrier.h: the same functions, carried out by the
 * explorer's memory. Included before everything else, so that the guard keeps the other one out.
 * The model driver uses them too.
 */
#ifndef _VHOST_BLK_VIRTQ_BARRIER_H
#define _VHOST_BLK_VIRTQ_BARRIER_H

#include <linux/types.h>
#include <linux/virtio_types.h>

#include "memory.h"

static inline u16 virtq_load16(const __virtio16 *p)
{
	return mem_load(p, sizeof(*p), false);
}

static inline u32 virtq_load32(const __virtio32 *p)
{
	return mem_load(p, sizeof(*p), false);
}

static inline u64 virtq_load64(const __virtio64 *p)
{
	return mem_load(p, sizeof(*p), false);
}

static inline u16 virtq_load16_acquire(const __virtio16 *p)
{
	return mem_load(p, sizeof(*p), true);
}

static inline void virtq_store16(__virtio16 *p, u16 v)
{
	mem_store(p, sizeof(*p), v, false);
}

static inline void virtq_store32(__virtio32 *p, u32 v)
{
	mem_store(p, sizeof(*p), v, false);
}

static inline void virtq_store16_release(__virtio16 *p, u16 v)
{
	mem_store(p, sizeof(*p), v, true);
}

static inline void virtq_mb(void)
{
	mem_mb();
}

#endif
