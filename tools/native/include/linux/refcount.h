/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NATIVE_LINUX_REFCOUNT_H
#define _NATIVE_LINUX_REFCOUNT_H

typedef struct {
	int refs;
} refcount_t;

#endif
