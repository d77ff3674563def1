/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NATIVE_LINUX_STRING_H
#define _NATIVE_LINUX_STRING_H

#include <string.h>

#define strscpy(dst, src, size)	snprintf(dst, size, "%s", src)

#endif
