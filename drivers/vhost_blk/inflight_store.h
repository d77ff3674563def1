/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Every store to the inflight region. Native byte order.
 *
 * Nobody looks at the region while we write it: who takes over does so after we are gone, with a
 * lock or the end of a thread in between. So the stores must be in program order, each whole and
 * once, and no processor has to be told to keep them so. The ring's own release store is between
 * those before and those after a batch is shown, because of the driver.
 *
 * A queue that is dead (fault.h) stores nothing.
 */
#ifndef _VHOST_BLK_INFLIGHT_STORE_H
#define _VHOST_BLK_INFLIGHT_STORE_H

#include <linux/types.h>
#include <linux/compiler.h>

#include "fault.h"

static inline void inflight_store8(u8 *p, u8 v)
{
	if (!fault_dead())
		WRITE_ONCE(*p, v);
}

static inline void inflight_store16(u16 *p, u16 v)
{
	if (!fault_dead())
		WRITE_ONCE(*p, v);
}

static inline void inflight_store32(u32 *p, u32 v)
{
	if (!fault_dead())
		WRITE_ONCE(*p, v);
}

static inline void inflight_store64(u64 *p, u64 v)
{
	if (!fault_dead())
		WRITE_ONCE(*p, v);
}

#endif
