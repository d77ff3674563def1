/* SPDX-License-Identifier: GPL-2.0 */
/* Real fences, whatever the compiler makes of them on this machine. */
#ifndef _NATIVE_ASM_BARRIER_H
#define _NATIVE_ASM_BARRIER_H

/* Comments belong to the uses of these. */
#define smp_mb()	__atomic_thread_fence(__ATOMIC_SEQ_CST)

#define smp_load_acquire(p)	__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define smp_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)

#endif
