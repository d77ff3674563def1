/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NATIVE_LINUX_MODULE_H
#define _NATIVE_LINUX_MODULE_H

#include <linux/build_bug.h>

#define MODULE_LICENSE(x)	static_assert(sizeof(x))
#define MODULE_DESCRIPTION(x)	static_assert(sizeof(x))

#endif
