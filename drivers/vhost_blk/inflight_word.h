/* SPDX-License-Identifier: GPL-2.0 */
/* Fields that are side by side in memory, @a in front of @b, as one word. */
#ifndef _VHOST_BLK_INFLIGHT_WORD_H
#define _VHOST_BLK_INFLIGHT_WORD_H

#include <linux/types.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define INFLIGHT_WORD(type, a, b, bits)	((type)(a) | (type)(b) << (bits))
#else
#define INFLIGHT_WORD(type, a, b, bits)	((type)(a) << (bits) | (type)(b))
#endif

static inline u16 inflight_word16(u8 a, u8 b)
{
	return INFLIGHT_WORD(u16, a, b, 8);
}

static inline u32 inflight_word32(u16 a, u16 b)
{
	return INFLIGHT_WORD(u32, a, b, 16);
}

static inline u64 inflight_word64(u32 a, u32 b)
{
	return INFLIGHT_WORD(u64, a, b, 32);
}

#endif
