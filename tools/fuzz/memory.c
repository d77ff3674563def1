// SPDX-License-Identifier: GPL-2.0
#include <linux/errno.h>

#include "../../drivers/vhost_blk/virtq_mem.h"
#include "memory.h"

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	if (!len)
		return 0;
	if (len > mem->size || addr > mem->size - len)
		return -EFAULT;
	memcpy(dst, mem->ram + addr, len);
	return 0;
}
