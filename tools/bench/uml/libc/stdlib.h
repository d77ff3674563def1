/* SPDX-License-Identifier: GPL-2.0 */
/* What the sources of tools/bench/ring want of the C library, by the kernel's own means. */
#ifndef _BENCH_UML_STDLIB_H
#define _BENCH_UML_STDLIB_H

#include <linux/bug.h>
#include <linux/overflow.h>
#include <linux/panic.h>
#include <linux/vmalloc.h>

/* In User Mode Linux abort() is the host's. */
#define abort()			BUG()
#define exit(status)		BUG()
#define calloc(nr, size)	vzalloc(array_size(nr, size))

/* vmalloc() gives whole pages, which is as aligned as matters here. */
static inline void *aligned_alloc(size_t align, size_t size)
{
	return vzalloc(size);
}

#endif
