/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel's tools/virtio lacks for virtio_ring.c of 6.12. The first header that they do not
 * have, and so the place for the rest.
 */
#ifndef _LINUX_DRIVER_COMPILER_CONTEXT_ANALYSIS_H
#define _LINUX_DRIVER_COMPILER_CONTEXT_ANALYSIS_H

/* The real one, of the kernel's source. */
#include <include/linux/compiler-context-analysis.h>

#define data_race(expr)		(expr)

#define MODULE_DESCRIPTION(text) \
	extern const char module_description[sizeof(text)]

#endif
