// SPDX-License-Identifier: GPL-2.0
/* A ring with an inflight region, for tests. */
#include <kunit/test.h>
#include <linux/string.h>

#include "guest_rig.h"

/* The next device, which knows the ring and the region and nothing else. */
int rig_open(struct rig *r)
{
	int ret;

	memcpy(r->copy, r->region, sizeof(r->copy));
	ret = inflight_open(&r->fl, &r->cfg, &r->found);
	if (!ret)
		ret = virtq_init(&r->g->vq, &r->g->cfg, &r->found.pos);
	return ret;
}

struct rig *rig_new_at(struct kunit *test, bool in_order, u16 start, u16 entries)
{
	const enum virtq_layout *layout = test->param_value;
	struct rig *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->g = guest_new(test, &(struct guest_opts){
		.layout = *layout, .num = RIG_NUM, .start = start,
		.indirect = true, .event_idx = true, .in_order = in_order });
	r->cfg = (struct inflight_cfg){
		.layout = *layout, .num = RIG_NUM, .desc_num = entries,
		.region = r->region, .snapshot = r->copy,
		.desc = r->g->cfg.desc, .device = r->g->cfg.device, .told = true,
		.batched = r->g->cfg.in_order || r->g->cfg.partial_order,
	};
	virtq_get_pos(&r->g->vq, &r->cfg.pos);
	r->split = (void *)r->region;
	r->packed = (void *)r->region;
	r->g->cfg.track = &r->fl;
	/* Fresh, whatever else is in there. */
	memset(r->region, 0xa5, sizeof(r->region));
	inflight_void(r->region);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, r->found.nr, 0);
	r->cfg.told = false;
	return r;
}

struct rig *rig_new(struct kunit *test, bool in_order)
{
	const enum virtq_layout *layout = test->param_value;

	return rig_new_at(test, in_order, *layout == VIRTQ_PACKED ? 2 : 65530, RIG_ENTRIES);
}

/* Makes @n buffers of two descriptors available (or with one table) and takes them. */
void rig_take(struct rig *r, unsigned int n, bool table)
{
	struct virtq_seg segs[2];
	unsigned int i;

	for (i = 0; i < n; i++) {
		guest_make_segs(segs, 1, 1, 16 + i);
		KUNIT_ASSERT_TRUE(r->g->test, guest_add(r->g, segs, 2, table ? 0 : 2) >= 0);
	}
	guest_expose(r->g);
	for (i = 0; i < n; i++)
		KUNIT_ASSERT_EQ(r->g->test, virtq_fetch(&r->g->vq, &r->chain[i]), 1);
}

void rig_give(struct rig *r, unsigned int i)
{
	guest_publish(r->g, &r->chain[i], 16 + i + 1);
}

u8 rig_flag(const struct rig *r, unsigned int entry)
{
	return r->cfg.layout == VIRTQ_PACKED ? r->packed->desc[entry].inflight :
					       r->split->desc[entry].inflight;
}

unsigned int rig_flags(const struct rig *r)
{
	unsigned int i, n = 0;

	for (i = 0; i < r->cfg.desc_num; i++)
		n += rig_flag(r, i);
	return n;
}
