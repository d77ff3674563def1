// SPDX-License-Identifier: GPL-2.0
/*
 * What went wrong in other back ends, a test for each by its number in the table of Documentation/testing.rst: those that are
 * about the device as a whole. kunit/inflight_peers_test.c has them for the ring engine.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include "vblk_inflight.h"
#include "vblk_record.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define LATE	(DISK / 1024)		/* sector where the half begins that can be frozen */
#define IOVA	0x100000
#define QUEUES	2
#define NUM	64
#define OUT	8

FIXTURE(peers) {
	struct vd_rig r;
	struct vd_inflight reg;
	struct vd_record rec;
	struct vd_record_req *req[NUM];	/* by head */
	__u64 data;			/* a sector for each head */
	__u32 seed;
};

FIXTURE_VARIANT(peers) {
	bool packed, in_order;
};

FIXTURE_VARIANT_ADD(peers, split_in_order) { false, true };
FIXTURE_VARIANT_ADD(peers, packed) { true, false };

static const struct vd_opts opts = { .iova = IOVA, .num = NUM, .num_queues = QUEUES, .mem_size = 4 << 20 };

FIXTURE_SETUP(peers)
{
	struct vd_config c = {
		.num_queues = QUEUES, .queue_size = NUM, .packed = variant->packed, .in_order = variant->in_order,
	};

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_DM_RECORD, DISK, &c, &opts));
	ASSERT_EQ(0, vd_inflight_take(&self->r.d, &self->reg, variant->packed));
	ASSERT_EQ(0, vd_record_open(&self->rec, DISK / 512));
	self->data = vd_alloc(&self->r.d, NUM * 512, 4096);
}

FIXTURE_TEARDOWN_PARENT(peers)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* A write of a sector of its own for each head, to the half that can be frozen or to the other one. */
static int send(FIXTURE_DATA(peers) *self, bool late)
{
	struct vd_queue *q = self->r.d.q[0];
	int head = q->free[q->nr_free - 1];
	struct vd_buf b = { .addr = self->data + head * 512, .len = 512 };
	__u64 sector = VD_RECORD_FROM / 512 + (late ? LATE : 0) + head;

	vd_fill(vd_ptr(q->d, b.addr), 512, sector * 512, ++self->seed);
	self->req[head] = vd_record_submit(&self->rec, &(struct vd_record_req){
		.sector = sector, .sectors = 1, .write = true, .seed = self->seed }, vd_now_ns());
	return vd_submit(q, VD_T_OUT, sector, &b, 1, VD_DIRECT) == head ? head : -ENOSPC;
}

/* So many come back. */
static int finish(FIXTURE_DATA(peers) *self, unsigned int n)
{
	struct vd_queue *q = self->r.d.q[0];
	int head;

	while (n) {
		if (vd_more(q, VD_WAIT_MS))
			return -ETIMEDOUT;
		for (; n && (head = vd_reap(q)) >= 0; n--) {
			vd_record_used(&self->rec, self->req[head], vd_now_ns());
			if (vd_slot_status(q, head))
				return -EIO;
			vd_fill(vd_ptr(q->d, self->data + head * 512), 512, 0, ~0);
		}
	}
	return q->bad_used || q->bad_order ? -EBADMSG : 0;
}

/* All in order, and nothing else happens. */
static bool quiet(FIXTURE_DATA(peers) *self)
{
	struct vd_queue *q = self->r.d.q[0];
	unsigned long bios;

	vd_record_read(&self->rec);
	bios = self->rec.bios;
	poll(NULL, 0, VD_QUIET_MS);
	vd_record_read(&self->rec);
	if (self->rec.wrong)
		printf("# %s (%ld)\n", self->rec.wrong, self->rec.where);
	return !self->rec.wrong && self->rec.bios == bios && !self->rec.out && vd_reap(q) == -EAGAIN && !q->bad_used;
}

/* So many are in flight, all on the half that is frozen. */
static int hang(FIXTURE_DATA(peers) *self, unsigned int n)
{
	unsigned int i;
	int ret = vd_backing_freeze(&self->r.b);

	for (i = 0; i < n && ret >= 0; i++)
		ret = send(self, true);
	vd_kick(self->r.d.q[0]);
	return ret < 0 ? ret : vd_inflight_wait(&self->reg, 0, n);
}

/* The owner is gone, and what it left at the disk is back. */
static int end_of_owner(FIXTURE_DATA(peers) *self)
{
	struct vd *d = &self->r.d;

	close(d->fd);
	d->fd = vd_node_open(self->r.name, O_RDWR);
	return d->fd < 0 ? d->fd : vd_patiently(vd_negotiate(d));
}

/* Up to DRIVER_OK, with the region or without. */
static int successor(FIXTURE_DATA(peers) *self, const struct vhost_inflight_fd *region)
{
	struct vd *d = &self->r.d;
	unsigned int i;
	__u16 heads[2 * NUM];
	int ret, n;

	ret = region ? vd_patiently(vd_inflight_set(d, region)) : 0;
	n = vd_inflight_heads(&self->reg, 0, heads);
	vd_record_read(&self->rec);
	while (n--)
		vd_record_in_flight(&self->rec, self->req[heads[n]], vd_inflight_counter(&self->reg, 0, heads[n]));
	ret = ret ?: vd_map_all(d);
	for (i = 0; i < QUEUES; i++)
		ret = ret ?: vd_setup_queue(d, d->q[i], NULL);
	return ret ?: vd_record_mark(&self->rec) ?: vd_patiently(vd_driver_ok(d));
}

/* A region that is all zero says nothing about where the ring is. */
TEST_F_TIMEOUT(peers, b1_a_fresh_region_is_not_a_crash, 120)
{
	struct vhost_inflight_fd fresh = self->reg.arg;
	struct vd *d = &self->r.d;
	__u32 base[QUEUES];
	int i;

	for (i = 0; i < OUT; i++)
		ASSERT_LE(0, send(self, i % 2));
	vd_kick(d->q[0]);
	ASSERT_EQ(0, finish(self, OUT));
	ASSERT_EQ(0, end_of_owner(self));
	fresh.fd = memfd_create("region", MFD_CLOEXEC);
	fresh.mmap_offset = 0;
	ASSERT_EQ(0, ftruncate(fresh.fd, fresh.mmap_size));
	ASSERT_EQ(0, vd_inflight_set(d, &fresh) ?: vd_map_all(d));
	for (i = 0; i < QUEUES; i++) {
		base[i] = d->q[i]->ops->base(d->q[i]);
		ASSERT_EQ(0, vd_setup_queue(d, d->q[i], &base[i]));
	}
	ASSERT_EQ(0, vd_driver_ok(d));
	EXPECT_TRUE(quiet(self));
	ASSERT_LE(0, send(self, false));
	vd_kick(d->q[0]);
	EXPECT_EQ(0, finish(self, 1));
	EXPECT_TRUE(quiet(self));
}

/* A GET_ID is answered while it is taken: the flag must not be set after it was cleared. */
TEST_F_TIMEOUT(peers, b3_an_answer_at_once_leaves_nothing_in_flight, 120)
{
	struct vd_queue *q = self->r.d.q[0];
	struct vd_buf id = { .addr = self->data, .len = 20, .write = true };
	unsigned int i;

	for (i = 0; i < 3 * NUM; i++)
		ASSERT_EQ(VD_OK, vd_do(q, VD_T_GET_ID, 0, &id, 1, VD_DIRECT));
	EXPECT_EQ(0, vd_inflight_wait(&self->reg, 0, 0));
	ASSERT_EQ(0, end_of_owner(self));
	/* The guest does something else with that memory. */
	memset(vd_ptr(q->d, id.addr), 0x5a, 20);
	ASSERT_EQ(0, successor(self, &self->reg.arg));
	EXPECT_TRUE(quiet(self));
	for (i = 0; i < 20; i++)
		ASSERT_EQ(0x5a, ((__u8 *)vd_ptr(q->d, id.addr))[i]);
}

/* What came back early is gone, what is in flight is done again, at all places of the ring; with the disk as witness. */
TEST_F_TIMEOUT(peers, b4_b8_out_of_order_then_a_reconnect, 120)
{
	unsigned int i, round, late;

	for (round = 0; round < 8; round++) {
		late = 2 + round % 3;
		ASSERT_EQ(0, hang(self, late));
		ASSERT_EQ(0, end_of_owner(self));
		ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
		ASSERT_EQ(0, successor(self, &self->reg.arg));
		for (i = 0; i < 5; i++)
			ASSERT_LE(0, send(self, false));
		vd_kick(self->r.d.q[0]);
		ASSERT_EQ(0, finish(self, late + 5));
		ASSERT_TRUE(quiet(self)) TH_LOG("round %u", round);
	}
	EXPECT_EQ(self->rec.repeated, 2 + 3 + 4 + 2 + 3 + 4 + 2 + 3);
}

/* Found by DRIVER_OK, not yet done again when the guest resets the device: it is void, and so it is without a DRIVER_OK. */
TEST_F_TIMEOUT(peers, b5_a_reset_of_the_guest_voids_what_was_to_be_done_again, 120)
{
	struct vd *d = &self->r.d;
	int i, started;

	for (started = 0; started < 2; started++) {
		ASSERT_EQ(0, hang(self, OUT));
		ASSERT_EQ(0, end_of_owner(self));
		ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
		ASSERT_EQ(0, started ? successor(self, &self->reg.arg) :
				       vd_patiently(vd_inflight_set(d, &self->reg.arg)));
		ASSERT_EQ(0, vd_reset(d));
		vd_record_drop(&self->rec);
		for (i = 0; i < NUM; i++)
			if (d->q[0]->busy[i])
				vd_record_void(&self->rec, self->req[i], vd_now_ns());
		ASSERT_EQ(0, vd_record_mark(&self->rec) ?: vd_restart(d));
		EXPECT_EQ(0, vd_inflight_heads(&self->reg, 0, NULL));
		EXPECT_TRUE(quiet(self));
		EXPECT_EQ(0, vd_drain_fd(d->q[0]->call));
		ASSERT_LE(0, send(self, false));
		vd_kick(d->q[0]);
		EXPECT_EQ(0, finish(self, 1));
		EXPECT_TRUE(quiet(self));
	}
}

/* The message's numbers are not believed, and no file is kept that was not taken: its file system can be unmounted. */
TEST_F_TIMEOUT(peers, b6_no_number_is_believed_and_no_file_leaks, 120)
{
	static const struct {
		__u16 num_queues, queue_size;
		__u64 mmap_size, mmap_offset;	/* added */
		__u32 flags;
		int err;
	} bad[] = {
		{ .num_queues = -QUEUES, .err = ENOBUFS },
		{ .num_queues = -1, .err = ENOBUFS },
		{ .num_queues = 1, .err = ENOBUFS },
		{ .num_queues = 0xffff - QUEUES, .err = ENOBUFS },
		{ .queue_size = -NUM, .err = ERANGE },
		{ .queue_size = 1, .err = ERANGE },
		{ .queue_size = 0xffff - NUM, .err = ERANGE },
		{ .mmap_size = 64, .err = EMSGSIZE },
		{ .mmap_size = -64, .err = EMSGSIZE },
		{ .mmap_size = 1ULL << 63, .err = EMSGSIZE },
		{ .mmap_offset = 1 << 20, .err = EMSGSIZE },
		{ .mmap_offset = ~4095ULL, .err = EMSGSIZE },
		{ .mmap_offset = 1, .err = EINVAL },
		{ .flags = 1, .err = EINVAL },
	};
	struct vd *d = &self->r.d;
	char dir[] = "/run/vblk/b6.XXXXXX", path[64];
	struct vhost_inflight_fd good, arg;
	unsigned int i;

	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, mount("none", dir, "tmpfs", 0, NULL));
	snprintf(path, sizeof(path), "%s/region", dir);
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
	good = self->reg.arg;
	good.size = sizeof(good);
	good.flags = 0;
	good.mmap_offset = 0;
	good.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ASSERT_LE(0, good.fd);
	ASSERT_EQ(0, ftruncate(good.fd, 1 << 20));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		arg = good;
		arg.num_queues += bad[i].num_queues;
		arg.queue_size += bad[i].queue_size;
		arg.mmap_size += bad[i].mmap_size;
		arg.mmap_offset += bad[i].mmap_offset;
		arg.flags = bad[i].flags;
		EXPECT_EQ(-bad[i].err, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &arg)) TH_LOG("row %u", i);
	}
	/* Taken, and another in its place. */
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_SET_FD, &good));
	close(good.fd);
	EXPECT_EQ(-1, umount(dir));
	EXPECT_EQ(0, vd_inflight_set(d, &self->reg.arg));
	EXPECT_EQ(0, umount(dir));
	rmdir(dir);
	EXPECT_EQ(0, vd_reset(d) ?: vd_restart(d));
}

/* An address in the region, or in a table it leads to, is what the guest could have written: the ring is broken, no more. */
TEST_F_TIMEOUT(peers, b7_wild_addresses_break_the_ring_and_nothing_else, 120)
{
	struct vhost_inflight_region_packed *p = vd_inflight_packed(&self->reg, 0);
	struct vd *d = &self->r.d;
	unsigned int i;
	__u16 heads[2 * NUM];

	ASSERT_EQ(0, hang(self, 1));
	ASSERT_EQ(1, vd_inflight_heads(&self->reg, 0, heads));
	ASSERT_EQ(0, end_of_owner(self));
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	for (i = 0; i < NUM; i++)
		if (variant->packed && p->desc[i].inflight)
			p->desc[i].addr = 0x123456789000ULL;
	if (!variant->packed)
		d->q[0]->desc[heads[0]].addr = 0x123456789000ULL;
	vd_record_read(&self->rec);
	ASSERT_EQ(0, successor(self, &self->reg.arg));
	EXPECT_EQ(1, vd_poll_fd(d->q[0]->err, VD_WAIT_MS));
	EXPECT_EQ(0xf | VD_S_NEEDS_RESET, vd_status(d));
	EXPECT_EQ(VD_OK, vd_do(d->q[1], VD_T_FLUSH, 0, NULL, 0, VD_DIRECT));
	EXPECT_EQ(0, vd_inflight_heads(&self->reg, 1, NULL));
	EXPECT_EQ(-EAGAIN, vd_reap(d->q[0]));
	ASSERT_EQ(0, vd_reset(d) ?: vd_restart(d));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_OUT, 0, self->data, 512));
}

/* Which layout the region has is not known before the features are. */
TEST_F_TIMEOUT(peers, b8_no_region_before_the_format_of_the_ring, 120)
{
	struct vd *d = &self->r.d;

	ASSERT_EQ(0, hang(self, OUT));
	close(d->fd);
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	d->fd = vd_node_open(self->r.name, O_RDWR);
	ASSERT_LE(0, d->fd);
	ASSERT_EQ(0, vd_patiently(vd_ioctl(d, VHOST_SET_OWNER, NULL)));
	EXPECT_EQ(-EBUSY, vd_inflight_set(d, &self->reg.arg));
	ASSERT_EQ(0, vd_set_status(d, VD_S_ACK) ?: vd_set_status(d, VD_S_ACK | VD_S_DRIVER));
	EXPECT_EQ(-EBUSY, vd_inflight_set(d, &self->reg.arg));
	EXPECT_EQ(OUT, vd_inflight_heads(&self->reg, 0, NULL));
	/* Of the other layout. */
	if (variant->packed) {
		d->opts.drop_features = VD_F_PACKED;
		ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
		EXPECT_EQ(-EMSGSIZE, vd_patiently(vd_inflight_set(d, &self->reg.arg)));
		EXPECT_EQ(OUT, vd_inflight_heads(&self->reg, 0, NULL));
		d->opts.drop_features = 0;
	}
	ASSERT_EQ(0, vd_reset(d) ?: vd_negotiate(d));
	ASSERT_EQ(0, successor(self, &self->reg.arg));
	EXPECT_EQ(0, finish(self, OUT));
	EXPECT_TRUE(quiet(self));
}

/* The guest makes a buffer available that the successor has from the region. */
TEST_F_TIMEOUT(peers, b9_a_head_in_flight_made_available_again, 120)
{
	struct vd *d = &self->r.d;
	struct vd_queue *q = d->q[0];
	struct vd_desc desc;
	__u16 heads[2 * NUM];

	ASSERT_EQ(0, hang(self, OUT));
	ASSERT_EQ(OUT, vd_inflight_heads(&self->reg, 0, heads));
	ASSERT_EQ(0, end_of_owner(self));
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	if (variant->packed) {
		desc = (struct vd_desc){ .addr = q->slots, .len = 17, .flags = VD_DESC_WRITE };
		vd_push_descs(q, &desc, 1, heads[3]);
	} else {
		vd_push_head(q, heads[3]);
	}
	ASSERT_EQ(0, successor(self, &self->reg.arg));
	EXPECT_EQ(1, vd_poll_fd(q->err, VD_WAIT_MS));
	EXPECT_EQ(0xf | VD_S_NEEDS_RESET, vd_status(d));
	/* Each comes back once all the same. */
	EXPECT_EQ(0, finish(self, OUT));
	EXPECT_TRUE(quiet(self));
}

/* Available, and nobody has to kick: not for what was there before, and then as ever, by the event index. */
TEST_F_TIMEOUT(peers, b10_what_was_available_before_needs_no_kick, 120)
{
	struct vd_queue *q = self->r.d.q[0];
	unsigned int i;

	ASSERT_TRUE(q->event_idx);
	ASSERT_LE(0, send(self, false));
	vd_kick(q);
	ASSERT_EQ(0, finish(self, 1));
	ASSERT_EQ(0, hang(self, OUT));
	ASSERT_EQ(0, end_of_owner(self));
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	/* As if the kick for these went to the device that is no more. */
	for (i = 0; i < OUT; i++)
		ASSERT_LE(0, send(self, false));
	vd_kick(q);
	vd_drain_fd(q->kick);
	ASSERT_EQ(0, successor(self, &self->reg.arg));
	ASSERT_EQ(0, finish(self, 2 * OUT));
	for (i = 0; i < 3; i++) {
		ASSERT_LE(0, send(self, false));
		vd_kick(q);
		ASSERT_EQ(0, finish(self, 1)) TH_LOG("kick %u", i);
	}
	EXPECT_TRUE(quiet(self));
}

/* What makes no sense is not taken: the position is before it, and whoever comes when it does make sense takes it. */
TEST_F_TIMEOUT(peers, b11_a_bad_chain_is_not_taken, 120)
{
	struct vd *d = &self->r.d;
	struct vd_queue *q = d->q[0];
	__u16 *split, slot;
	int head;

	ASSERT_EQ(0, hang(self, OUT));
	ASSERT_EQ(0, end_of_owner(self));
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	slot = q->put.slot;
	head = send(self, false);
	ASSERT_LE(0, head);
	split = &q->desc[head].flags;
	/* A table that has a successor. */
	if (variant->packed)
		q->ring[slot].flags |= VD_DESC_INDIRECT;
	else
		*split |= VD_DESC_INDIRECT;
	ASSERT_EQ(0, successor(self, &self->reg.arg));
	EXPECT_EQ(1, vd_poll_fd(q->err, VD_WAIT_MS));
	EXPECT_EQ(0, finish(self, OUT));
	EXPECT_TRUE(quiet(self));
	EXPECT_EQ(0, vd_inflight_heads(&self->reg, 0, NULL));

	ASSERT_EQ(0, end_of_owner(self));
	if (variant->packed)
		q->ring[slot].flags &= ~VD_DESC_INDIRECT;
	else
		*split &= ~VD_DESC_INDIRECT;
	ASSERT_EQ(0, successor(self, &self->reg.arg));
	EXPECT_EQ(0, finish(self, 1));
	EXPECT_TRUE(quiet(self));
	EXPECT_EQ(0, vd_poll_fd(q->err, 0));
}

TEST_HARNESS_MAIN
