/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NATIVE_LINUX_SPRINTF_H
#define _NATIVE_LINUX_SPRINTF_H

#include <stdio.h>

#endif
