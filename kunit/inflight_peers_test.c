// SPDX-License-Identifier: GPL-2.0
/*
 * Inflight region: what went wrong in other back ends, a test for each by its number in our list of
 * them; and regions that other back ends wrote, gone on with after each of their stores.
 */
#include <kunit/test.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <asm/byteorder.h>
#include <linux/virtio_byteorder.h>

#include "guest_rig.h"

KUNIT_ARRAY_PARAM(layout, guest_layouts, guest_describe_layout);

static bool is_packed(const struct rig *r)
{
	return r->cfg.layout == VIRTQ_PACKED;
}

/* Several are given back at once, and the device ends before it says so in the region. */
static void give_and_die(struct rig *r, const u8 *which, unsigned int n)
{
	struct virtq_done done[RIG_NUM];
	u64 before[ARRAY_SIZE(r->region)];
	const struct vhost_inflight_region_split *s = (void *)before;
	const struct vhost_inflight_region_packed *p = (void *)before;
	unsigned int i;

	for (i = 0; i < n; i++)
		done[i] = (struct virtq_done){ r->chain[which[i]].id, r->chain[which[i]].ndesc, 1 };
	memcpy(before, r->region, sizeof(before));
	virtq_publish(&r->g->vq, done, n);
	for (i = 0; i < RIG_ENTRIES; i++)
		if (is_packed(r))
			r->packed->desc[i].inflight = p->desc[i].inflight;
		else
			r->split->desc[i].inflight = s->desc[i].inflight;
	if (is_packed(r)) {
		r->packed->old_free_head = p->old_free_head;
		r->packed->old_used_idx = p->old_used_idx;
		r->packed->old_used_wrap_counter = p->old_used_wrap_counter;
	} else {
		r->split->used_idx = s->used_idx;
	}
}

static void expect_found(struct rig *r, const u8 *which, unsigned int n)
{
	unsigned int i;

	KUNIT_ASSERT_EQ(r->g->test, r->found.nr, n);
	for (i = 0; i < n; i++)
		KUNIT_EXPECT_EQ(r->g->test, r->found.buf[i].id, r->chain[which[i]].id);
}

static void reap(struct rig *r, unsigned int n)
{
	u32 len;
	u16 id;

	while (n--)
		KUNIT_ASSERT_EQ(r->g->test, guest_reap(r->g, &id, &len), 1);
	KUNIT_ASSERT_EQ(r->g->test, guest_reap(r->g, &id, &len), 0);
}

static void b1_a_fresh_region_is_not_a_crash(struct kunit *test)
{
	static const u8 both[] = { 0, 1 };
	struct rig *r = rig_new(test, false);

	/* The ring is at 65530, or slot 2: no index of a region that was never used is. */
	memset(r->region, 1, sizeof(r->region));
	r->split->version = 0;
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, r->found.nr, 0);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
	/* Nor is it one once there is something in it. */
	rig_take(r, 2, false);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	expect_found(r, both, 2);
}

static void b2_a_batch_over_the_end_of_the_index(struct kunit *test)
{
	static const u8 batch[] = { 2, 0, 3 }, rest[] = { 1 };
	struct rig *r = rig_new(test, false);
	unsigned int i;

	/* Four before the end. Links of earlier batches are about. */
	rig_take(r, 2, false);
	rig_give(r, 1);
	rig_give(r, 0);
	reap(r, 2);
	if (!is_packed(r)) {
		rig_take(r, 2, false);
		rig_give(r, 0);
		rig_give(r, 1);
		reap(r, 2);
		for (i = 0; i < RIG_ENTRIES; i++)
			r->split->desc[i].next = 0xffff;
	}
	rig_take(r, 4, false);
	give_and_die(r, batch, 3);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	expect_found(r, rest, 1);
	KUNIT_EXPECT_EQ(test, r->found.pos.used, is_packed(r) ? 4 : 1);
	KUNIT_EXPECT_EQ(test, r->found.pos.avail, is_packed(r) ? 6 : 2);
	reap(r, 3);
}

static void b3_a_buffer_answered_at_once_leaves_no_flag(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	unsigned int i;

	for (i = 0; i < 3 * RIG_NUM; i++) {
		rig_take(r, 1, i & 1);
		KUNIT_EXPECT_EQ(test, rig_flags(r), 1);
		rig_give(r, 0);
		KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
		reap(r, 1);
		KUNIT_ASSERT_EQ(test, rig_open(r), 0);
		KUNIT_EXPECT_EQ(test, r->found.nr, 0);
	}
}

/* An entry has the number of a slot only as long as all is given back in order. */
static void b4_recovery_goes_by_the_ring(struct kunit *test)
{
	static const u8 batch[] = { 1 }, rest[] = { 0 };
	struct rig *r = rig_new(test, false);
	unsigned int i;

	for (i = 0; i < 2 * RIG_NUM; i++) {
		rig_take(r, 3, i & 1);
		rig_give(r, 2);
		rig_give(r, 0);
		rig_give(r, 1);
		reap(r, 3);
		rig_take(r, 2, false);
		give_and_die(r, batch, 1);
		KUNIT_ASSERT_EQ(test, rig_open(r), 0);
		expect_found(r, rest, 1);
		KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, r->found.buf, &r->chain[0]), 1);
		rig_give(r, 0);
		reap(r, 2);
	}
}

static void b5_a_reset_voids_what_was_found(struct kunit *test)
{
	struct rig *r = rig_new(test, false);

	rig_take(r, 3, false);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, r->found.nr, 3);
	inflight_void(r->region);
	/* The driver begins anew. */
	r->cfg.pos = (struct virtq_pos){ .avail_wrap = is_packed(r), .used_wrap = is_packed(r) };
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, r->found.nr, 0);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
}

static void b7_wild_addresses_are_found_again(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	struct virtq_chain chain;

	rig_take(r, 1, false);
	if (is_packed(r))
		r->packed->desc[0].addr = ~0ULL - 3;
	else
		r->g->desc[r->chain[0].id].addr = __cpu_to_virtio64(true, ~0ULL - 3);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, virtq_refetch(&r->g->vq, r->found.buf, &chain), -EOVERFLOW);

	r = rig_new(test, false);
	rig_take(r, 1, true);
	r->g->mem.hole = r->g->table[r->chain[0].id];
	r->g->mem.hole_len = 16;
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_EQ(test, virtq_refetch(&r->g->vq, r->found.buf, &chain), -EFAULT);
}

static void b8_what_was_given_back_early_is_not_taken_again(struct kunit *test)
{
	static const u8 rest[] = { 0, 2 };
	struct rig *r = rig_new(test, false);
	struct virtq_chain chain;
	struct virtq_pos pos;

	rig_take(r, 4, false);
	rig_give(r, 3);
	rig_give(r, 1);
	virtq_get_pos(&r->g->vq, &pos);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	expect_found(r, rest, 2);
	KUNIT_EXPECT_MEMEQ(test, &r->found.pos, &pos, sizeof(pos));
	KUNIT_EXPECT_EQ(test, virtq_fetch(&r->g->vq, &chain), 0);
}

static void b9_a_head_that_is_in_flight_is_refused(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	struct virtq_chain chain;

	rig_take(r, 2, false);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[0], &chain), 1);
	KUNIT_EXPECT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[0], &chain), -EEXIST);
	KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[1], &chain), 1);
	guest_raw(r->g, chain.id, GUEST_BASE, 16, 0);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&r->g->vq, &chain), -EEXIST);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 2);
}

static void b10_buffers_from_before_need_no_kick(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	struct virtq_chain chain;
	int i;

	rig_take(r, 2, false);
	/* Nobody asked to be kicked again. */
	guest_send(r->g, 2);
	guest_kick(r->g);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[i], &chain), 1);
	KUNIT_EXPECT_TRUE(test, virtq_enable_kick(&r->g->vq));
	KUNIT_ASSERT_EQ(test, virtq_fetch(&r->g->vq, &chain), 1);
	KUNIT_EXPECT_FALSE(test, virtq_enable_kick(&r->g->vq));
	KUNIT_EXPECT_TRUE(test, guest_kick_wanted_next(r->g));
}

static void b11_a_bad_chain_is_not_taken(struct kunit *test)
{
	struct rig *r = rig_new(test, true);
	struct virtq_chain chain;
	struct virtq_pos pos;
	int i;

	rig_take(r, 2, false);
	virtq_get_pos(&r->g->vq, &pos);
	/* A table with a NEXT beside it; its id is that of no buffer in flight. */
	for (i = 0; i == r->chain[0].id || i == r->chain[1].id; i++)
		;
	guest_raw(r->g, i, GUEST_BASE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&r->g->vq, &chain), -EINVAL);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 2);
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_EXPECT_MEMEQ(test, &r->found.pos, &pos, sizeof(pos));
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[i], &r->chain[i]), 1);
	KUNIT_EXPECT_EQ(test, virtq_fetch(&r->g->vq, &chain), -EINVAL);
	rig_give(r, 1);
	rig_give(r, 0);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
	reap(r, 2);
}

/* Ours. All but the first descriptor of a batch are in the ring, and the device ends. */
static void what_was_not_shown_is_not_used(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	unsigned int i;

	rig_take(r, 3, false);
	for (i = 1; is_packed(r) && i < 3; i++) {
		guest_slot(r->g, 2 + 2 * i, 0, 1, r->chain[i].id, guest_used_slot_flags(true));
		KUNIT_EXPECT_EQ(test, guest_slot_id(r->g, 2 + 2 * i), r->chain[i].id);
	}
	KUNIT_ASSERT_EQ(test, rig_open(r), 0);
	KUNIT_ASSERT_EQ(test, r->found.nr, 3);
	for (i = 0; i < 3; i++)
		KUNIT_ASSERT_EQ(test, virtq_refetch(&r->g->vq, &r->found.buf[i], &r->chain[i]), 1);
	rig_give(r, 1);
	reap(r, 1);
	rig_give(r, 0);
	rig_give(r, 2);
	reap(r, 2);
}

/* ---- regions that others wrote ---- */

#define BUFFERS	4

/* Another back end: a device that is recovered from, by us, after each of its stores. */
struct peer {
	struct rig *r, *kept;
	struct guest *guest;
	u8 *ram;
	unsigned int stores;
};

/* All buffers come back, each once, whatever they were to the peer. */
static void go_on(struct rig *r, unsigned int stores)
{
	struct kunit *test = r->g->test;
	struct virtq_chain chain;
	bool seen[RIG_NUM] = { false };
	unsigned int i, n = 0;
	u32 len;
	u16 id;

	KUNIT_ASSERT_EQ_MSG(test, rig_open(r), 0, "after %u stores", stores);
	for (i = 0; i < r->found.nr; i++, n++)
		KUNIT_ASSERT_EQ_MSG(test, virtq_refetch(&r->g->vq, &r->found.buf[i], &r->chain[n]),
				    1, "after %u stores", stores);
	while (virtq_fetch(&r->g->vq, &chain) == 1 && n < BUFFERS)
		r->chain[n++] = chain;
	while (n)
		rig_give(r, --n);
	for (n = 0; n < BUFFERS; n++) {
		KUNIT_ASSERT_EQ_MSG(test, guest_reap(r->g, &id, &len), 1, "after %u stores",
				    stores);
		KUNIT_EXPECT_FALSE(test, seen[id]);
		seen[id] = true;
	}
	KUNIT_EXPECT_EQ(test, guest_reap(r->g, &id, &len), 0);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 0);
	guest_expect_idle(r->g);
}

static void stored(struct peer *p)
{
	struct rig *r = p->r;

	*p->kept = *r;
	*p->guest = *r->g;
	memcpy(p->ram, r->g->mem.ram, r->g->brk);
	go_on(r, ++p->stores);
	memcpy(p->guest->mem.ram, p->ram, p->guest->brk);
	*p->kept->g = *p->guest;
	*r = *p->kept;
}

/* One store of the peer's, and we might be next. */
#define STORE(p, lvalue, value) do {						\
	(lvalue) = (value);							\
	stored(p);								\
} while (0)

/* A ring of which all is the peer's, with so many buffers, exposed; its region is all zero. */
static struct peer *peer_new(struct kunit *test, u16 start)
{
	struct peer *p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, p);
	p->r = rig_new_at(test, false, start, RIG_NUM);
	p->kept = kunit_kzalloc(test, sizeof(*p->kept), GFP_KERNEL);
	p->guest = kunit_kzalloc(test, sizeof(*p->guest), GFP_KERNEL);
	p->ram = kunit_kzalloc(test, GUEST_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p->kept);
	KUNIT_ASSERT_NOT_NULL(test, p->guest);
	KUNIT_ASSERT_NOT_NULL(test, p->ram);
	memset(p->r->region, 0, sizeof(p->r->region));
	for (i = 0; i < BUFFERS; i++)
		guest_send(p->r->g, 2);
	guest_expose(p->r->g);
	return p;
}

/* One buffer at a time; desc[].next is never written. Both back ends do the same. */
static void libvhost_user_and_dpdk_split(struct kunit *test)
{
	static const u8 order[] = { 2, 0, 3, 1 };
	const u16 start = 65534;
	struct peer *p;
	struct vhost_inflight_region_split *s;
	u16 heads[BUFFERS], idx = start;
	struct guest *g;
	unsigned int i;

	if (*(const enum virtq_layout *)test->param_value == VIRTQ_PACKED)
		return;
	p = peer_new(test, start);
	s = p->r->split;
	g = p->r->g;
	s->desc_num = RIG_NUM;
	s->version = 1;
	s->used_idx = start;
	for (i = 0; i < BUFFERS; i++) {
		heads[i] = __virtio16_to_cpu(true, g->avail->ring[(start + i) % RIG_NUM]);
		STORE(p, s->desc[heads[i]].counter, i);
		STORE(p, s->desc[heads[i]].inflight, 1);
	}
	for (i = 0; i < BUFFERS; i++, idx++) {
		struct vring_used_elem *e = &g->used->ring[idx % RIG_NUM];
		u16 head = heads[order[i]];

		STORE(p, s->last_batch_head, head);
		STORE(p, e->id, __cpu_to_virtio32(true, head));
		STORE(p, e->len, __cpu_to_virtio32(true, 1));
		STORE(p, g->used->idx, __cpu_to_virtio16(true, idx + 1));
		STORE(p, s->desc[head].inflight, 0);
		STORE(p, s->used_idx, idx + 1);
	}
	KUNIT_EXPECT_EQ(test, p->stores, 8 * BUFFERS);
}

/* What its users store for one buffer at a time, over the end of the ring. */
static void dpdk_packed(struct kunit *test)
{
	static const u8 order[] = { 2, 0, 3, 1 };
	struct vhost_inflight_region_packed *k;
	struct peer *p;
	struct guest *g;
	u16 entry[BUFFERS];
	unsigned int i, j;

	if (*(const enum virtq_layout *)test->param_value != VIRTQ_PACKED)
		return;
	p = peer_new(test, 0);
	k = p->r->packed;
	g = p->r->g;
	k->desc_num = RIG_NUM;
	k->version = 1;
	k->used_wrap_counter = 1;
	k->old_used_wrap_counter = 1;
	for (i = 0; i < RIG_NUM; i++)
		k->desc[i].next = i + 1;
	for (i = 0; i < BUFFERS; i++) {
		u16 head = k->old_free_head, at = head;

		entry[i] = head;
		STORE(p, k->desc[head].num, 0);
		STORE(p, k->desc[head].counter, i);
		STORE(p, k->desc[head].inflight, 1);
		for (j = 2 * i; j < 2 * i + 2; j++) {
			struct vhost_inflight_desc_packed *d = &k->desc[at];

			STORE(p, k->desc[head].num, k->desc[head].num + 1);
			STORE(p, d->addr, le64_to_cpu(g->ring[j].addr));
			STORE(p, d->len, le32_to_cpu(g->ring[j].len));
			STORE(p, d->flags, le16_to_cpu(g->ring[j].flags));
			STORE(p, d->id, le16_to_cpu(g->ring[j].id));
			STORE(p, k->desc[head].last, at);
			at = d->next;
			STORE(p, k->free_head, at);
		}
		STORE(p, k->old_free_head, at);
	}
	for (i = 0; i < BUFFERS; i++) {
		struct vring_packed_desc *d = &g->ring[k->used_idx];
		u16 head = entry[order[i]], last = k->desc[head].last;
		u16 flags = guest_used_slot_flags(k->used_wrap_counter) | VRING_DESC_F_WRITE;

		STORE(p, k->desc[last].next, k->free_head);
		STORE(p, k->free_head, head);
		/* Here it is out of range for a moment, where it goes over the end. */
		k->used_idx += k->desc[head].num;
		if (k->used_idx >= k->desc_num) {
			STORE(p, k->used_idx, k->used_idx - k->desc_num);
			STORE(p, k->used_wrap_counter, !k->used_wrap_counter);
		}
		stored(p);
		STORE(p, d->id, cpu_to_le16(k->desc[last].id));
		STORE(p, d->len, cpu_to_le32(1));
		STORE(p, d->flags, cpu_to_le16(flags));
		STORE(p, k->desc[head].inflight, 0);
		STORE(p, k->old_free_head, k->free_head);
		STORE(p, k->old_used_idx, k->used_idx);
		STORE(p, k->old_used_wrap_counter, k->used_wrap_counter);
	}
	KUNIT_EXPECT_TRUE(test, p->stores > 20 * BUFFERS);
}

/*
 * Where the window is: the index is stored before it is brought into range, so a back end of DPDK
 * that ends just there leaves a region that is refused; nothing is lost, nothing changes.
 */
static void dpdk_packed_index_out_of_range(struct kunit *test)
{
	struct rig *r = rig_new(test, false);

	rig_take(r, 3, false);
	if (is_packed(r))
		r->packed->used_idx = RIG_NUM;
	KUNIT_EXPECT_EQ(test, rig_open(r), is_packed(r) ? -EUCLEAN : 0);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 3);
}

/*
 * They never write desc[].next, so what they had given back at once, without saying so in the
 * region, cannot be told, and is refused; two that are taken for the last one and head 0 are not
 * those in the used ring.
 */
static void split_batch_without_links(struct kunit *test)
{
	struct rig *r = rig_new(test, false);
	unsigned int i;

	if (is_packed(r))
		return;
	rig_take(r, 4, false);
	for (i = 0; i < RIG_ENTRIES; i++)
		r->split->desc[i].next = 0;
	for (i = 0; i < 4; i++)
		r->g->used->ring[(65530 + i) % RIG_NUM].id =
			__cpu_to_virtio32(true, r->chain[i].id);
	for (i = 2; i <= 4; i++) {
		r->split->last_batch_head = r->chain[i - 1].id;
		r->g->used->idx = __cpu_to_virtio16(true, 65530 + i);
		KUNIT_EXPECT_EQ(test, rig_open(r), -EUCLEAN);
		KUNIT_EXPECT_EQ(test, rig_flags(r), 4);
	}
	/* The third and the fourth, which are not head 0; it is in flight. */
	KUNIT_ASSERT_NE(test, r->chain[3].id, 0);
	KUNIT_ASSERT_NE(test, r->chain[2].id, 0);
	for (i = 0; i < 2; i++)
		r->g->used->ring[(65530 + i) % RIG_NUM].id =
			__cpu_to_virtio32(true, r->chain[i + 2].id);
	r->split->last_batch_head = r->chain[3].id;
	r->g->used->idx = __cpu_to_virtio16(true, 65532);
	KUNIT_EXPECT_EQ(test, rig_open(r), -EUCLEAN);
	KUNIT_EXPECT_EQ(test, rig_flags(r), 4);
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(b1_a_fresh_region_is_not_a_crash, layout_gen_params),
	KUNIT_CASE_PARAM(b2_a_batch_over_the_end_of_the_index, layout_gen_params),
	KUNIT_CASE_PARAM(b3_a_buffer_answered_at_once_leaves_no_flag, layout_gen_params),
	KUNIT_CASE_PARAM(b4_recovery_goes_by_the_ring, layout_gen_params),
	KUNIT_CASE_PARAM(b5_a_reset_voids_what_was_found, layout_gen_params),
	KUNIT_CASE_PARAM(b7_wild_addresses_are_found_again, layout_gen_params),
	KUNIT_CASE_PARAM(b8_what_was_given_back_early_is_not_taken_again, layout_gen_params),
	KUNIT_CASE_PARAM(b9_a_head_that_is_in_flight_is_refused, layout_gen_params),
	KUNIT_CASE_PARAM(b10_buffers_from_before_need_no_kick, layout_gen_params),
	KUNIT_CASE_PARAM(b11_a_bad_chain_is_not_taken, layout_gen_params),
	KUNIT_CASE_PARAM(what_was_not_shown_is_not_used, layout_gen_params),
	KUNIT_CASE_PARAM(libvhost_user_and_dpdk_split, layout_gen_params),
	KUNIT_CASE_PARAM(dpdk_packed, layout_gen_params),
	KUNIT_CASE_PARAM(dpdk_packed_index_out_of_range, layout_gen_params),
	KUNIT_CASE_PARAM(split_batch_without_links, layout_gen_params),
	{ }
};

static struct kunit_suite suite = {
	.name = "inflight_peers",
	.test_cases = cases,
};

kunit_test_suite(suite);
