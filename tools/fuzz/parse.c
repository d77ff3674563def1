// SPDX-License-Identifier: GPL-2.0
/* Requests: any segments, in any memory, under any limits, through the parser. */
#include "device.h"
#include "memory.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct fuzz_in in = { data, data + size };
	struct virtq_mem mem = { 0 };
	struct virtq_chain chain = { 0 };
	struct vblk_limits lim;
	unsigned int i;

	make_limits(&in, &lim);
	chain.nr_segs = 1 + in8(&in) % 32;
	chain.nr_out = in8(&in) % (chain.nr_segs + 1);
	/* To the byte: header and status are cut off in here. */
	chain.segs = fuzz_alloc(chain.nr_segs * sizeof(*chain.segs));
	for (i = 0; i < chain.nr_segs; i++) {
		const u8 how = in8(&in);
		struct virtq_seg *seg = &chain.segs[i];

		seg->flags = i < chain.nr_out ? 0 : VIRTQ_SEG_WRITE;
		/* Small things in memory, blocks, and whatever virtq_fetch() lets through. */
		seg->addr = how & 1 ? in64(&in) : in8(&in);
		seg->len = how & 2 ? (how >> 2) * 512 : how & 128 ? in32(&in) >> 5 : how >> 2;
		seg->addr = min(seg->addr, ~0ULL - seg->len);
	}
	mem.size = 256;
	mem.ram = fuzz_alloc(mem.size);
	in_fill(&in, mem.ram, mem.size, mem.size);
	check_parse(&lim, &mem, &chain);
	free(mem.ram);
	free(chain.segs);
	return 0;
}
