/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every access of the ring engine to memory that a driver can write while we look, and every
 * barrier. Nothing else in virtq*.c touches a ring. Loads and stores are single and never
 * repeated by the compiler; values are little-endian (VERSION_1 devices only).
 *
 * smp_ barriers are enough: the driver is a processor of this host, under whatever hypervisor.
 * Each use names its partner on the driver's side.
 *
 * A queue that is dead (fault.h) stores nothing.
 */
#ifndef _VHOST_BLK_VIRTQ_BARRIER_H
#define _VHOST_BLK_VIRTQ_BARRIER_H

#include <linux/types.h>
#include <linux/compiler.h>
#include <asm/byteorder.h>
#include <linux/virtio_byteorder.h>
#include <asm/barrier.h>

#include "fault.h"

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
	/* Later loads stay behind it; each caller names the partner. */
	return __virtio16_to_cpu(true, smp_load_acquire(p));
}

static inline void virtq_store16(__virtio16 *p, u16 v)
{
	if (!fault_dead())
		WRITE_ONCE(*p, __cpu_to_virtio16(true, v));
}

static inline void virtq_store32(__virtio32 *p, u32 v)
{
	if (!fault_dead())
		WRITE_ONCE(*p, __cpu_to_virtio32(true, v));
}

static inline void virtq_store16_release(__virtio16 *p, u16 v)
{
	if (fault_dead())
		return;
	/* Earlier stores stay before it; each caller names the partner. */
	smp_store_release(p, __cpu_to_virtio16(true, v));
}

static inline void virtq_mb(void)
{
	/* A store before, a load after: what x86 reorders. Each caller names the partner. */
	smp_mb();
}

#endif
