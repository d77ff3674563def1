// SPDX-License-Identifier: GPL-2.0
/*
 * Ring contents: the input is the guest's memory - rings, descriptors, tables, event structures,
 * requests - and the device makes of it what it can.
 */
#include "device.h"
#include "memory.h"

/* Sizes: mostly small, all of them possible. */
static u16 ring_size(struct fuzz_in *in, bool is_packed)
{
	u8 kind = in8(in);

	if (!is_packed)
		return 1 << kind % 11;
	return kind < 192 ? 1 + kind % 12 : 1 + in16(in) % VIRTQ_MAX_NUM;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct device dev;
	struct fuzz_in in = { data, data + size };
	struct virtq_mem mem = { 0 };
	struct vblk_limits lim;
	struct virtq_pos pos;
	struct virtq_chain chain;
	struct virtq_cfg cfg;
	unsigned int tries, i;
	u8 features = in8(&in), schedule;
	int ret;

	cfg = (struct virtq_cfg){
		.layout = features & 1 ? VIRTQ_PACKED : VIRTQ_SPLIT,
		.event_idx = features & 2, .indirect = features & 4, .in_order = features & 8,
		.partial_order = features & 16, .mem = &mem,
	};
	cfg.num = ring_size(&in, cfg.layout == VIRTQ_PACKED);
	cfg.max_segs = features & 32 ? cfg.num : VIRTQ_MAX_NUM;
	schedule = in8(&in);
	pos.used = in16(&in);
	pos.used_wrap = schedule & 64;
	if (cfg.layout == VIRTQ_PACKED)
		pos.used %= cfg.num;
	pos.avail = pos.used;
	pos.avail_wrap = pos.used_wrap;
	/* Now and then, a position that has something in flight, or makes no sense. */
	if (schedule & 128) {
		pos.avail = in16(&in);
		pos.avail_wrap = features & 64;
	}
	make_limits(&in, &lim);

	device_new(&dev, &cfg);
	for (i = 0; i < NR_AREAS; i++)
		in_fill(&in, dev.area[i], device_area(&cfg, i), in16(&in));
	mem.size = in16(&in) % (17 * 1024);
	mem.ram = fuzz_alloc(mem.size);
	in_fill(&in, mem.ram, mem.size, in_left(&in));

	if (!device_start(&dev, &pos))
		goto out;
	if (schedule & 1)
		device_disable_kick(&dev);
	for (tries = 0; tries < 2 * min_t(u16, cfg.num, 24) + 8; tries++) {
		ret = device_fetch(&dev, &chain);
		if (ret < 0)
			break;
		if (ret)
			check_parse(&lim, &mem, &chain);
		else if (!device_enable_kick(&dev) && !dev.nr_held)
			break;
		if (dev.nr_held && (!ret || schedule & 2)) {
			unsigned int at = schedule & 4 ? 0 : dev.nr_held - 1;
			struct virtq_done done;

			done = device_answer(&dev, at, schedule & 8 ? ~0U : tries);
			device_publish(&dev, &done, 1);
			if (schedule & 16)
				device_need_call(&dev);
		}
		if (schedule & 32)
			device_move(&dev);
	}
	/* What was taken before the ring broke is given back as ever. */
	while (dev.nr_held) {
		struct virtq_done done = device_answer(&dev, 0, dev.nr_held);

		device_publish(&dev, &done, 1);
	}
	device_need_call(&dev);
out:
	device_free(&dev);
	free(mem.ram);
	return 0;
}
