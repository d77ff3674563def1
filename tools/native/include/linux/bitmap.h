/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NATIVE_LINUX_BITMAP_H
#define _NATIVE_LINUX_BITMAP_H

#include <linux/bits.h>

#define BITS_TO_LONGS(n)	(((n) + BITS_PER_LONG - 1) / BITS_PER_LONG)
#define DECLARE_BITMAP(name, n)	unsigned long name[BITS_TO_LONGS(n)]

#endif
