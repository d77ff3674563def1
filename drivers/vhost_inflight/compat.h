/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between kernel versions, and nothing else tests a version.  The sources are written
 * for the newest kernel; each block is dated, names the change it hides, and may go when the floor
 * passes it.
 */
#ifndef _VINF_COMPAT_H
#define _VINF_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#error "vhost-inflight needs Linux 6.12 or newer"
#endif

#endif /* _VINF_COMPAT_H */
