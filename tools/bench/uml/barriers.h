/* SPDX-License-Identifier: GPL-2.0 */
/*
 * User Mode Linux is for one processor, where smp_mb() and its kin are nothing, and virt_mb() and
 * its kin, which vringh uses, are mfence, lfence and sfence. Here all of them are, for everybody,
 * what they are on x86 with several processors.
 */
#ifndef _BENCH_UML_BARRIERS_H
#define _BENCH_UML_BARRIERS_H

#include <linux/compiler.h>
#include <asm/barrier.h>

#undef __smp_mb
#undef __smp_rmb
#undef __smp_wmb
#undef smp_mb
#undef smp_rmb
#undef smp_wmb
#define __smp_mb()	asm volatile("lock addl $0,-4(%%rsp)" ::: "memory", "cc")
#define __smp_rmb()	barrier()
#define __smp_wmb()	barrier()
#define smp_mb()	__smp_mb()
#define smp_rmb()	__smp_rmb()
#define smp_wmb()	__smp_wmb()

/* Else a full barrier, before or after the access. */
#undef smp_store_release
#undef smp_load_acquire
#define smp_store_release(p, v)	do { barrier(); WRITE_ONCE(*(p), v); } while (0)
#define smp_load_acquire(p)	({ typeof(*(p)) __v = READ_ONCE(*(p)); barrier(); __v; })

#endif
