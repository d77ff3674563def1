/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _NATIVE_LINUX_KERNEL_H
#define _NATIVE_LINUX_KERNEL_H

#include_next <linux/kernel.h>

#define u64_to_user_ptr(x)	((void __user *)(unsigned long)(x))

#endif
