/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's types on top of the system's own <linux/types.h>. */
#ifndef _NATIVE_LINUX_TYPES_H
#define _NATIVE_LINUX_TYPES_H

#include_next <linux/types.h>
#include <linux/stddef.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s8 s8;
typedef __s32 s32;
typedef __s64 s64;

#define U16_MAX		((u16)~0U)
#define U32_MAX		((u32)~0U)
#define BITS_PER_LONG	(8 * (int)sizeof(long))
#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#ifndef __force
#define __force
#endif
#ifndef __user
#define __user
#endif
#ifndef __counted_by
#define __counted_by(member)
#endif

#endif
