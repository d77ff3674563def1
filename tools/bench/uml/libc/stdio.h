/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _BENCH_UML_STDIO_H
#define _BENCH_UML_STDIO_H

#include <linux/printk.h>

#define stderr			NULL
#define fprintf(to, ...)	pr_err(__VA_ARGS__)

#endif
