/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Included before all else for the thread sanitizer, to which a volatile access is as racy as any
 * other: what goes through these is meant to race, and what does not is a finding. So it sees
 * that no access of the engine to a ring goes past virtq_barrier.h, and that nothing private is
 * shared. It knows no fences: whether there are enough of them it can't tell.
 */
#ifndef _NATIVE_TSAN_H
#define _NATIVE_TSAN_H

#include <linux/compiler.h>

#undef READ_ONCE
#undef WRITE_ONCE
#define READ_ONCE(x)		__atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v)	__atomic_store_n(&(x), v, __ATOMIC_RELAXED)

#endif
