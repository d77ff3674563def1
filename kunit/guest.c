// SPDX-License-Identifier: GPL-2.0
/* The driver's side of a ring, for tests. */
#include <kunit/test.h>
#include <linux/align.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/virtio_byteorder.h>
#include <asm/barrier.h>

#include "guest.h"

#define le16(x)		__cpu_to_virtio16(true, x)
#define le32(x)		__cpu_to_virtio32(true, x)
#define le64(x)		__cpu_to_virtio64(true, x)
#define cpu16(x)	__virtio16_to_cpu(true, READ_ONCE(x))
#define cpu32(x)	__virtio32_to_cpu(true, READ_ONCE(x))

static bool guest_mapped(const struct virtq_mem *mem, u64 addr, u64 len)
{
	if (addr < GUEST_BASE || len > GUEST_SIZE || addr - GUEST_BASE > GUEST_SIZE - len)
		return false;
	return addr >= mem->hole + mem->hole_len || addr + len <= mem->hole;
}

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	mem->reads++;
	if (!len)
		return 0;
	if (!guest_mapped(mem, addr, len))
		return -EFAULT;
	mem->bytes += len;
	memcpy(dst, mem->ram + (addr - GUEST_BASE), len);
	return 0;
}

u64 guest_alloc(struct guest *g, u32 len)
{
	u32 at = ALIGN(g->brk, 16);

	KUNIT_ASSERT_LE(g->test, at + len, (u32)GUEST_SIZE);
	g->brk = at + len;
	memset(g->mem.ram + at, 0, len);
	return GUEST_BASE + at;
}

void *guest_ptr(struct guest *g, u64 addr, u32 len)
{
	KUNIT_ASSERT_TRUE(g->test, guest_mapped(&g->mem, addr, len));
	return g->mem.ram + (addr - GUEST_BASE);
}

static void *guest_area(struct guest *g, u32 len)
{
	return guest_ptr(g, guest_alloc(g, len), len);
}

struct guest *guest_new(struct kunit *test, const struct guest_opts *opts)
{
	struct virtq_pos pos = { .avail = opts->start, .used = opts->start };
	struct guest *g = kunit_kzalloc(test, sizeof(*g), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, g);
	g->test = test;
	g->mem.ram = kunit_kzalloc(test, GUEST_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, g->mem.ram);

	g->num = opts->num;
	g->event_idx = opts->event_idx;
	g->desc = guest_area(g, 16 * g->num);
	g->avail = guest_area(g, 6 + 2 * g->num);
	g->used = guest_area(g, 6 + 8 * g->num);
	g->put = opts->start;
	g->exposed = opts->start;
	g->reaped = opts->start;
	g->avail->idx = le16(opts->start);
	g->used->idx = le16(opts->start);
	g->nr_free = g->num;
	for (i = 0; i < g->num; i++)
		g->free[i] = g->num - 1 - i;

	g->cfg.layout = VIRTQ_SPLIT;
	g->cfg.num = g->num;
	g->cfg.event_idx = opts->event_idx;
	g->cfg.indirect = opts->indirect;
	g->cfg.desc = g->desc;
	g->cfg.driver = g->avail;
	g->cfg.device = g->used;
	g->cfg.max_segs = opts->max_segs ?: VIRTQ_MAX_NUM;
	/* Exactly as long as the engine may assume: what is behind is poisoned where it can be. */
	g->cfg.segs = kunit_kzalloc(test, g->cfg.max_segs * sizeof(*g->cfg.segs), GFP_KERNEL);
	g->cfg.table = kunit_kzalloc(test, VIRTQ_MAX_NUM * sizeof(*g->cfg.table), GFP_KERNEL);
	g->cfg.mem = &g->mem;
	KUNIT_ASSERT_NOT_NULL(test, g->cfg.segs);
	KUNIT_ASSERT_NOT_NULL(test, g->cfg.table);
	KUNIT_ASSERT_EQ(test, virtq_init(&g->vq, &g->cfg, &pos), 0);
	return g;
}

void guest_desc(struct vring_desc *table, unsigned int i, u64 addr, u32 len, u16 flags, u16 next)
{
	table[i].addr = le64(addr);
	table[i].len = le32(len);
	table[i].flags = le16(flags);
	table[i].next = le16(next);
}

void guest_put(struct guest *g, u16 head)
{
	g->avail->ring[g->put++ % g->num] = le16(head);
}

void guest_set_avail_idx(struct guest *g, u16 idx)
{
	/* Entries and descriptors before idx; partner: virtq_split_refill(). */
	smp_store_release(&g->avail->idx, le16(idx));
}

void guest_expose(struct guest *g)
{
	g->exposed = g->put;
	guest_set_avail_idx(g, g->put);
}

static u64 guest_table(struct guest *g, u16 head)
{
	if (!g->table[head])
		g->table[head] = guest_alloc(g, GUEST_TABLE * sizeof(struct vring_desc));
	return g->table[head];
}

int guest_add(struct guest *g, const struct virtq_seg *segs, unsigned int nr,
	      unsigned int nr_direct)
{
	unsigned int slots = nr_direct + (nr > nr_direct), in_table = nr - nr_direct, i;
	u16 head, at;

	if (slots > g->nr_free)
		return -ENOSPC;
	KUNIT_ASSERT_LE(g->test, in_table, (unsigned int)GUEST_TABLE);

	head = g->free[g->nr_free - 1];
	for (i = 0; i < slots; i++) {
		bool last = i == slots - 1;
		u16 next = last ? 0 : g->free[g->nr_free - 2];
		u16 flags = last ? 0 : VRING_DESC_F_NEXT;

		at = g->free[--g->nr_free];
		if (i < nr_direct) {
			if (segs[i].flags & VIRTQ_SEG_WRITE)
				flags |= VRING_DESC_F_WRITE;
			guest_desc(g->desc, at, segs[i].addr, segs[i].len, flags, next);
		} else {
			/* The device must ignore WRITE here. */
			flags |= VRING_DESC_F_INDIRECT | (nr & 1 ? VRING_DESC_F_WRITE : 0);
			guest_desc(g->desc, at, guest_table(g, head),
				   in_table * sizeof(struct vring_desc), flags, 0);
		}
	}
	if (in_table) {
		u32 len = GUEST_TABLE * sizeof(struct vring_desc);
		struct vring_desc *table = guest_ptr(g, guest_table(g, head), len);

		for (i = 0; i < in_table; i++) {
			const struct virtq_seg *seg = &segs[nr_direct + i];
			u16 flags = i < in_table - 1 ? VRING_DESC_F_NEXT : 0;

			if (seg->flags & VIRTQ_SEG_WRITE)
				flags |= VRING_DESC_F_WRITE;
			guest_desc(table, i, seg->addr, seg->len, flags, i + 1);
		}
	}
	g->direct[head] = slots;
	guest_put(g, head);
	return head;
}

bool guest_kick(struct guest *g)
{
	u16 old = g->exposed;

	guest_expose(g);
	if (g->exposed == old)
		return false;
	/* avail->idx before the device's wish; partner: virtq_split_enable_kick(). */
	smp_mb();
	if (!g->event_idx)
		return !(guest_used_flags(g) & VRING_USED_F_NO_NOTIFY);
	return vring_need_event(guest_avail_event(g), g->exposed, old);
}

int guest_reap(struct guest *g, u16 *id, u32 *len)
{
	struct vring_used_elem *elem;
	unsigned int n;
	u16 at;

	/* idx before the entries; partner: virtq_split_publish(). */
	if (__virtio16_to_cpu(true, smp_load_acquire(&g->used->idx)) == g->reaped)
		return 0;
	elem = &g->used->ring[g->reaped++ % g->num];
	KUNIT_ASSERT_LT(g->test, cpu32(elem->id), (u32)g->num);
	*id = cpu32(elem->id);
	*len = cpu32(elem->len);

	/* The descriptors are still linked as guest_add() left them. */
	for (at = *id, n = g->direct[*id]; n; n--) {
		g->free[g->nr_free++] = at;
		at = cpu16(g->desc[at].next);
	}
	g->direct[*id] = 0;
	return 1;
}

bool guest_want_call(struct guest *g)
{
	if (g->event_idx)
		guest_set_used_event(g, g->reaped);
	else
		guest_set_avail_flags(g, 0);
	/* The wish before used->idx; partner: virtq_split_need_call(). */
	smp_mb();
	return guest_used_idx(g) != g->reaped;
}

void guest_refuse_call(struct guest *g)
{
	if (g->event_idx)
		guest_set_used_event(g, g->reaped - 1);
	else
		guest_set_avail_flags(g, VRING_AVAIL_F_NO_INTERRUPT);
}

u16 guest_used_idx(const struct guest *g)
{
	return cpu16(g->used->idx);
}

u16 guest_used_flags(const struct guest *g)
{
	return cpu16(g->used->flags);
}

u16 guest_avail_event(const struct guest *g)
{
	return cpu16(*(__virtio16 *)&g->used->ring[g->num]);
}

void guest_set_used_event(struct guest *g, u16 event)
{
	WRITE_ONCE(g->avail->ring[g->num], le16(event));
}

void guest_set_avail_flags(struct guest *g, u16 flags)
{
	WRITE_ONCE(g->avail->flags, le16(flags));
}

u32 guest_rand(u64 *state)
{
	/* splitmix64 */
	u64 z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return (z ^ (z >> 31)) >> 32;
}
