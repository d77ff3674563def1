/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NATIVE_LINUX_BUILD_BUG_H
#define _NATIVE_LINUX_BUILD_BUG_H

#define static_assert(expr, ...)	__static_assert(expr, ##__VA_ARGS__, #expr)
#define __static_assert(expr, msg, ...)	_Static_assert(expr, msg)

#endif
