// SPDX-License-Identifier: GPL-2.0
/*
 * Sequences of calls with a driver that does not behave: the input is a program that writes to
 * rings and tables what it likes, in pieces that are often nearly right, while the device fetches,
 * gives back in any order, asks and sleeps. It does nothing that the bytes in the ring do not
 * explain.
 */
#include <linux/virtio_ring.h>
#include <linux/virtio_byteorder.h>

#include "device.h"
#include "memory.h"

#define MAX_OPS	400
#define RAM	1024

struct hostile {
	struct fuzz_in in;
	struct device dev;
	struct virtq_mem mem;
	struct vblk_limits lim;
	/* Where a driver would put the next buffer. */
	unsigned int slot;
	bool wrap;
};

/* A descriptor of either layout that mostly means something. @last: id or next, then flags. */
static void descriptor(struct hostile *h, u8 *d, u16 set_flags)
{
	const bool is_packed = h->dev.cfg.layout == VIRTQ_PACKED;
	const u8 how = in8(&h->in);
	u64 addr = how & 8 ? in64(&h->in) : in8(&h->in) << 4;
	u32 len = how & 16 ? in32(&h->in) : (in8(&h->in) & 31) << 4;
	u16 flags = (how & 7) | set_flags, link = in8(&h->in);

	addr = cpu_to_le64(addr);
	len = cpu_to_le32(len);
	if (how & 32)
		flags ^= in16(&h->in);
	/* Mostly in range; else just behind it. */
	if (!(how & 128))
		link %= h->dev.cfg.num + !!(how & 64);
	flags = cpu_to_le16(flags);
	link = cpu_to_le16(link);
	memcpy(d, &addr, 8);
	memcpy(d + 8, &len, 4);
	memcpy(d + (is_packed ? 14 : 12), &flags, 2);
	memcpy(d + (is_packed ? 12 : 14), &link, 2);
}

static void put16(u8 *p, u16 v)
{
	v = cpu_to_le16(v);
	memcpy(p, &v, 2);
}

static u16 get16(const u8 *p)
{
	u16 v;

	memcpy(&v, p, 2);
	return le16_to_cpu(v);
}

/* One more available buffer, nearly as a driver would do it. */
static void make_available(struct hostile *h)
{
	struct device *dev = &h->dev;
	u8 *driver = dev->area[AREA_DRIVER];
	const u16 num = dev->cfg.num;
	u16 idx;

	if (dev->cfg.layout == VIRTQ_PACKED) {
		descriptor(h, dev->area[AREA_DESC] + 16 * h->slot,
			   BIT(h->wrap ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED));
		if (++h->slot == num) {
			h->slot = 0;
			h->wrap = !h->wrap;
		}
		return;
	}
	idx = get16(driver + 2);
	put16(driver + 4 + 2 * (idx % num), in8(&h->in) % (num + !(idx & 7)));
	put16(driver + 2, idx + 1);
}

static void poke(struct hostile *h, u8 *p, size_t size)
{
	unsigned int n = 1 + in8(&h->in) % 8;
	size_t at = in16(&h->in) % size;

	while (n-- && at < size)
		p[at++] = in8(&h->in);
}

/* What the driver wants, somewhere around where the device is. */
static void wish(struct hostile *h)
{
	struct device *dev = &h->dev;
	u8 *driver = dev->area[AREA_DRIVER];
	const u8 how = in8(&h->in);
	u16 at = dev->pos.used + (int8_t)in8(&h->in);

	if (dev->cfg.layout == VIRTQ_PACKED) {
		put16(driver, at % dev->cfg.num | (how & 16 ? 0x8000 : 0) | (how & 32 ? at : 0));
		put16(driver + 2, how & 15);
	} else if (how & 1) {
		put16(driver + 4 + 2 * dev->cfg.num, at);
	} else {
		put16(driver, how >> 1);
	}
}

static void position(struct hostile *h, struct virtq_pos *pos)
{
	const u8 how = in8(&h->in);

	virtq_get_pos(h->dev.vq, pos);
	/* Where it is, with or without what was in flight, or anywhere. */
	if (how & 1) {
		pos->avail = pos->used;
		pos->avail_wrap = pos->used_wrap;
	}
	if (how & 2)
		*pos = (struct virtq_pos){ in16(&h->in), in16(&h->in), how & 4, how & 8 };
}

static void fetch(struct hostile *h, unsigned int n)
{
	struct virtq_chain chain;

	while (n-- && device_fetch(&h->dev, &chain) > 0)
		check_parse(&h->lim, &h->mem, &chain);
}

static void publish(struct hostile *h, unsigned int n)
{
	static struct virtq_done done[VIRTQ_MAX_NUM];
	struct device *dev = &h->dev;
	unsigned int i;

	n = min_t(unsigned int, n, dev->nr_held);
	for (i = 0; i < n; i++) {
		u8 how = in8(&h->in);

		done[i] = device_answer(dev, how % dev->nr_held,
					how < 128 ? ~0U : how < 192 ? 0 : how);
	}
	device_publish(dev, done, n);
}

static bool restart(struct hostile *h)
{
	struct virtq_pos pos, old;

	virtq_get_pos(h->dev.vq, &old);
	position(h, &pos);
	/* Refused, it is as it was. */
	return device_start(&h->dev, &pos) || device_start(&h->dev, &old);
}

static bool op(struct hostile *h)
{
	const u8 what = in8(&h->in);
	struct device *dev = &h->dev;
	unsigned int n = 1 + (what >> 4), area = what >> 4 & 3;

	switch (what % 16) {
	case 0:
		if (area == NR_AREAS)
			poke(h, h->mem.ram, RAM);
		else
			poke(h, dev->area[area], device_area(&dev->cfg, area));
		break;
	case 1:
		n = in8(&h->in) % dev->cfg.num;
		descriptor(h, dev->area[AREA_DESC] + 16 * n, in8(&h->in) << 8);
		break;
	case 2:
		descriptor(h, h->mem.ram + 16 * (in8(&h->in) % (RAM / 16)), 0);
		break;
	case 3:
	case 4:
	case 5:
		while (n--)
			make_available(h);
		break;
	case 6:
		wish(h);
		break;
	case 7:
	case 8:
	case 9:
		fetch(h, n);
		break;
	case 10:
	case 11:
		publish(h, n);
		break;
	case 12:
		device_need_call(dev);
		break;
	case 13:
		device_enable_kick(dev);
		break;
	case 14:
		device_disable_kick(dev);
		break;
	default:
		if (n & 3)
			device_move(dev);
		else
			return restart(h);
	}
	return true;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct hostile h;
	const u8 *end = data + size;
	struct virtq_cfg cfg;
	u8 features, kind;
	unsigned int ops;
	bool up;

	h.in = (struct fuzz_in){ data, end };
	features = in8(&h.in);
	kind = in8(&h.in);
	make_limits(&h.in, &h.lim);
	h.mem.size = RAM;
	h.mem.ram = fuzz_alloc(RAM);
	cfg = (struct virtq_cfg){
		.layout = features & 1 ? VIRTQ_PACKED : VIRTQ_SPLIT,
		.num = features & 1 ? 1 + kind % 20 : 1 << kind % 6,
		.event_idx = features & 2, .indirect = features & 4, .in_order = features & 8,
		.partial_order = features & 16, .mem = &h.mem,
	};
	cfg.max_segs = features & 32 ? cfg.num : VIRTQ_MAX_NUM;
	h.slot = 0;
	h.wrap = true;

	device_new(&h.dev, &cfg);
	up = device_start(&h.dev, &(struct virtq_pos){ .avail_wrap = true, .used_wrap = true });
	for (ops = 0; up && ops < MAX_OPS && in_left(&h.in); ops++)
		up = op(&h);
	device_free(&h.dev);
	free(h.mem.ram);
	return 0;
}
