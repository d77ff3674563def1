/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NATIVE_LINUX_BITS_H
#define _NATIVE_LINUX_BITS_H

#include <linux/types.h>

#define BIT(n)		(1UL << (n))
#define BIT_ULL(n)	(1ULL << (n))
#define BIT_WORD(n)	((n) / BITS_PER_LONG)
#define BIT_MASK(n)	(1UL << ((n) % BITS_PER_LONG))

#endif
