// SPDX-License-Identifier: GPL-2.0
/*
 * What a request costs in the pure layers: fetch, optionally parse, publish, ask whether to
 * notify. A request is a chain of 16 readable, 4096 writable and 1 writable bytes on a ring of
 * 256 with EVENT_IDX; the driver's side is synthetic, and a run of it alone tells what to
 * subtract.
 *
 * bench direct|indirect driver|ring|parse BATCH REQUESTS
 *
 * Prints nanoseconds per request; instructions come from running it under callgrind (make
 * instructions).
 */
#include <linux/types.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../drivers/vhost_blk/req.h"
#include "../../drivers/vhost_blk/virtq.h"
#include "../../drivers/vhost_blk/virtq_mem.h"

#define NUM	256
#define HEADS	64

struct virtq_mem {
	u64 base, size;
	char *host;
};

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	u64 off = addr - mem->base;

	if (off >= mem->size || len > mem->size - off)
		return -EFAULT;
	memcpy(dst, mem->host + off, len);
	return 0;
}

static struct {
	struct vring_desc desc[NUM] __aligned(64);
	struct { u16 flags, idx, ring[NUM], used_event; } avail __aligned(64);
	struct { u16 flags, idx; struct vring_used_elem ring[NUM]; u16 avail_event; } used
		__aligned(64);
	struct vring_desc tables[HEADS][4];
	struct virtio_blk_outhdr hdr;
} ram;

static struct virtq_seg segs[VIRTQ_MAX_NUM];
static struct vring_desc table[VIRTQ_MAX_NUM];
static struct virtq_mem mem = { 0x100000, sizeof(ram), (char *)&ram };

static u64 guest(void *p)
{
	return mem.base + ((char *)p - mem.host);
}

static void build(bool indirect)
{
	unsigned int i, at;

	for (i = 0; i < HEADS; i++) {
		struct vring_desc *d = indirect ? ram.tables[i] : &ram.desc[4 * i];

		at = indirect ? 0 : 4 * i;
		d[0] = (struct vring_desc){ guest(&ram.hdr), 16, VRING_DESC_F_NEXT, at + 1 };
		d[1] = (struct vring_desc){ 0x10000000, 4096,
					    VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, at + 2 };
		d[2] = (struct vring_desc){ 0x20000000, 1, VRING_DESC_F_WRITE, 0 };
		if (indirect)
			ram.desc[4 * i] = (struct vring_desc){ guest(d), 48,
							       VRING_DESC_F_INDIRECT, 0 };
	}
}

int main(int argc, char **argv)
{
	static const struct vblk_limits lim = {
		.capacity = 1 << 20, .blk_size = 512, .max_data = 64 << 20,
	};
	struct virtq_cfg cfg = {
		.layout = VIRTQ_SPLIT, .num = NUM, .event_idx = true, .indirect = true,
		.desc = ram.desc, .driver = &ram.avail, .device = &ram.used,
		.segs = segs, .max_segs = VIRTQ_MAX_NUM, .table = table, .mem = &mem,
	};
	struct virtq_pos pos = { 0 };
	struct vblk_range ranges[VBLK_MAX_RANGES];
	struct vblk_cmd cmd = { .ranges = ranges };
	struct virtq_done done[HEADS];
	struct virtq_chain chain;
	struct timespec a, b;
	unsigned long n, calls = 0, total;
	unsigned int batch, i, head = 0;
	bool ring, parse;
	struct virtq vq;

	batch = argc == 5 ? atoi(argv[3]) : 0;
	if (!batch || batch > HEADS) {
		fprintf(stderr, "usage: bench direct|indirect driver|ring|parse BATCH REQUESTS\n");
		return 2;
	}
	build(!strcmp(argv[1], "indirect"));
	ring = strcmp(argv[2], "driver");
	parse = !strcmp(argv[2], "parse");
	total = strtoul(argv[4], NULL, 0) / batch;
	if (virtq_init(&vq, &cfg, &pos))
		return 1;

	clock_gettime(CLOCK_MONOTONIC, &a);
	for (n = 0; n < total; n++) {
		/* The driver: heads, index, and one notification for the batch. */
		for (i = 0; i < batch; i++, head++)
			ram.avail.ring[(u16)(ram.avail.idx + i) % NUM] = 4 * (head % HEADS);
		ram.avail.used_event = ram.avail.idx + batch - 1;
		__atomic_store_n(&ram.avail.idx, ram.avail.idx + batch, __ATOMIC_RELEASE);
		if (!ring)
			continue;

		for (i = 0; virtq_fetch(&vq, &chain) > 0; i++) {
			if (parse && (vblk_parse(&lim, &mem, &chain, &cmd) || cmd.len != 4096))
				return 1;
			done[i] = (struct virtq_done){ chain.id, chain.ndesc, 4097 };
		}
		if (i != batch)
			return 1;
		virtq_publish(&vq, done, i);
		calls += virtq_need_call(&vq);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	if (ring && calls != total)
		return 1;
	printf("%.2f\n", ((b.tv_sec - a.tv_sec) * 1e9 + b.tv_nsec - a.tv_nsec) / (total * batch));
	return 0;
}
