/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guest memory as the pure layers see it: one function, supplied by whoever they are linked with.
 */
#ifndef _VHOST_BLK_VIRTQ_MEM_H
#define _VHOST_BLK_VIRTQ_MEM_H

#include <linux/types.h>

struct virtq_mem;

/**
 * virtq_mem_read() - copy from guest memory
 * @mem: address space of the device; the environment's own type
 * @addr: address as the driver wrote it (an IOVA)
 * @dst: kernel memory of @len bytes
 * @len: bytes to copy; 0 succeeds and touches nothing
 *
 * Not part of the ring engine: the module, the KUnit suites and the userspace build each bring
 * their own. The range may lie in several mappings. It is untrusted: one that wraps around the
 * end of the address space is not mapped. Each byte is read once. May sleep where the environment
 * allows it.
 *
 * Return: 0, or -EFAULT if a byte of the range is not mapped readable (@dst is then undefined).
 */
int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len);

#endif
