/* SPDX-License-Identifier: GPL-2.0 */
/* What the VMM of example.c keeps for its successor beside the guest's memory. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <linux/types.h>

#define EXAMPLE_QUEUES	4

struct machine {
	__u64 iova, size;	/* of the guest's memory */
	__u32 num;		/* entries of a ring */
	__u32 queues;
	struct {
		__u64 desc, driver, device;
	} ring[EXAMPLE_QUEUES];
};

#endif
