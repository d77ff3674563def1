/* SPDX-License-Identifier: GPL-2.0 */
/* What the driver's files share; not for tests. */
#ifndef VBLK_RING_OPS_H
#define VBLK_RING_OPS_H

#include "vblk_dev.h"

#define load_acquire(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define full_barrier()		__atomic_thread_fence(__ATOMIC_SEQ_CST)

/* Not the id of any buffer: makes the entry one of those counted in bad_used. */
#define VD_BAD_ID		0xffffffff

#endif /* VBLK_RING_OPS_H */
