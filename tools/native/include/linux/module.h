/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NATIVE_LINUX_MODULE_H
#define _NATIVE_LINUX_MODULE_H

#define MODULE_LICENSE(x)	_Static_assert(1, "")
#define MODULE_DESCRIPTION(x)	_Static_assert(1, "")

#endif
