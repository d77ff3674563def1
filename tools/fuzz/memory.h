/* SPDX-License-Identifier: GPL-2.0 */
/* Guest memory of the targets that write every byte of it themselves: from address 0 on. */
#ifndef _FUZZ_MEMORY_H
#define _FUZZ_MEMORY_H

#include "fuzz.h"

struct virtq_mem {
	u8 *ram;
	size_t size;
};

#endif
