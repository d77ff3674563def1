// SPDX-License-Identifier: GPL-2.0
/*
 * Parked requests: what a full or a broken disk failed is not the driver's to see, waits, and is done when the disk can again;
 * over stops, resets that only pause, exchanges of the engine and the end of an owner. And events, by which a supervisor knows.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "vblk_stop.h"
#include "kselftest_harness.h"

#define OUT		3		/* requests that are parked */
#define DEADLINE	300		/* of a stop that is to end at it, ms */
#define STILL		(VD_S_RUNS | VD_S_STOP)
#define AT_ONCE		5000		/* what does not wait for the disk takes no longer, ms */
#define EVENTS		64		/* that a device keeps */

/* Until requests were parked so many times, ever. */
static int until_parks(struct vd *d, __u64 n)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	struct vhost_inflight_queue_info info;
	int ret;

	do {
		ret = vd_qinfo(d, 0, &info);
		if (ret || info.parks >= n)
			return ret;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

/* So many writes, parked by a disk that is broken from here on. */
static int park(struct vd_guest *g, unsigned int n)
{
	return vd_backing_break(&g->r.b) ?: vd_send_some(g, true, n) ?: vd_until_parked(&g->look, n);
}

/* Well again; and so many are tried because somebody says so. */
static int mend_and_retry(struct vd_guest *g, int n)
{
	int ret = vd_backing_mend(&g->r.b) ?: vd_retry(&g->look);

	return ret < 0 ? ret : ret == n ? 0 : -ERANGE;
}

/* So many come back, and the device has nothing of all that any more. */
static int all_well(struct vd_guest *g, unsigned int n)
{
	int ret = vd_finish(g, n) ?: vd_send_some(g, true, 4) ?: vd_finish(g, 4);

	if (ret)
		return ret;
	if (vd_inflight_wait(&g->reg, 0, 0) || vd_until_parked(&g->look, 0))
		return -ENOTEMPTY;
	return vd_quiet(g) ? 0 : -EBADMSG;
}

/* ---- what an administrator says ---- */

FIXTURE(attributes) {
	struct vd_rig r;
};

FIXTURE_SETUP(attributes)
{
	ASSERT_EQ(0, vd_backing_make(&self->r.b, VD_TMPFS, VD_GUEST_DISK));
	vd_name(self->r.name, "");
	ASSERT_EQ(0, vd_mkdir(self->r.name));
	self->r.created = true;
	ASSERT_EQ(0, vd_attr_set(self->r.name, "path", "%s", self->r.b.path));
}

FIXTURE_TEARDOWN_PARENT(attributes)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

TEST_F(attributes, values)
{
	static const char *const attrs[] = { "on_read_error", "on_write_error" };
	static const char *const good[] = { "park-enospc", "park", "report" };
	static const char *const bad[] = { "stop", "Park", "park enospc", "park-enospc,park", "1" };
	const char *name = self->r.name;
	unsigned int enabled, i, j;
	char text[64];

	for (enabled = 0; enabled < 2; enabled++) {
		for (i = 0; i < ARRAY_SIZE(attrs); i++) {
			ASSERT_LT(0, vd_attr_get(name, attrs[i], text, sizeof(text)));
			EXPECT_STREQ("report", text);
			for (j = 0; j < ARRAY_SIZE(bad); j++) {
				EXPECT_EQ(-EINVAL, vd_attr_set(name, attrs[i], "%s", bad[j])) {
					TH_LOG("%s '%s'", attrs[i], bad[j]);
				}
			}
			for (j = 0; j < ARRAY_SIZE(good); j++) {
				EXPECT_EQ(0, vd_attr_set(name, attrs[i], "%s", good[j]));
				ASSERT_LT(0, vd_attr_get(name, attrs[i], text, sizeof(text)));
				EXPECT_STREQ(good[j], text);
			}
		}
		EXPECT_EQ(enabled ? 7 : 1000, vd_attr_num(name, "retry_ms"));
		EXPECT_EQ(-EINVAL, vd_attr_set(name, "retry_ms", "2147483648"));
		EXPECT_EQ(-EINVAL, vd_attr_set(name, "retry_ms", "-1"));
		EXPECT_EQ(0, vd_attr_set(name, "retry_ms", "2147483647"));
		EXPECT_EQ(0, vd_attr_set(name, "retry_ms", "0"));
		EXPECT_EQ(0, vd_attr_set(name, "retry_ms", "7"));
		EXPECT_EQ(7, vd_attr_num(name, "retry_ms"));
		EXPECT_EQ(0, vd_attr_num(name, "suspend"));
		EXPECT_EQ(enabled ? -EBUSY : -EINVAL, vd_attr_set(name, "suspend", enabled ? "1" : "2"));
		if (!enabled) {
			EXPECT_EQ(0, vd_attr_set(name, "suspend", "1") ?: vd_attr_set(name, "suspend", "0"));
			ASSERT_EQ(0, vd_attr_set(name, "enable", "1"));
		}
	}
}

TEST_F(attributes, as_the_node_tells_them)
{
	const char *name = self->r.name;
	struct vhost_inflight_info info;
	struct vd d = { 0 };

	ASSERT_EQ(0, vd_attr_set(name, "on_write_error", "park-enospc") ?: vd_attr_set(name, "enable", "1"));
	d.fd = vd_node_open(name, O_RDONLY);
	ASSERT_EQ(0, vd_info(&d, &info));
	EXPECT_EQ(VHOST_INFLIGHT_ON_ERROR_REPORT, info.on_read_error);
	EXPECT_EQ(VHOST_INFLIGHT_ON_ERROR_PARK_ENOSPC, info.on_write_error);
	EXPECT_EQ(1000, info.retry_ms);
	EXPECT_EQ(0, info.parked);
	ASSERT_EQ(0, vd_attr_set(name, "on_read_error", "park") ?: vd_attr_set(name, "on_write_error", "report") ?:
		     vd_attr_set(name, "retry_ms", "0"));
	ASSERT_EQ(0, vd_info(&d, &info));
	EXPECT_EQ(VHOST_INFLIGHT_ON_ERROR_PARK, info.on_read_error);
	EXPECT_EQ(VHOST_INFLIGHT_ON_ERROR_REPORT, info.on_write_error);
	EXPECT_EQ(0, info.retry_ms);
	close(d.fd);
}

/* ---- a disk that is full ---- */

FIXTURE(full) {
	struct vd_guest g;
};

FIXTURE_VARIANT(full) {
	bool packed;
	enum vd_backing_kind kind;
};

FIXTURE_VARIANT_ADD(full, split_file) { false, VD_TMPFS_SMALL };
FIXTURE_VARIANT_ADD(full, packed_file) { true, VD_TMPFS_SMALL };
FIXTURE_VARIANT_ADD(full, split_thin) { false, VD_THIN };
FIXTURE_VARIANT_ADD(full, packed_thin) { true, VD_THIN };

/* The places in the first half are there, and there is no room for those in the second. */
FIXTURE_SETUP(full)
{
	struct vd_config c = {
		.packed = variant->packed, .on_read_error = "park-enospc", .on_write_error = "park-enospc", .retry_ms = -1,
	};
	struct vd_guest *g = &self->g;

	ASSERT_EQ(0, vd_guest_make(g, variant->kind, &c, VD_GUEST_NUM));
	g->indirect = true;
	ASSERT_EQ(0, vd_send_some(g, false, VD_GUEST_NUM) ?: vd_finish(g, VD_GUEST_NUM));
	ASSERT_EQ(0, vd_backing_fill(&g->r.b));
}

FIXTURE_TEARDOWN_PARENT(full)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

TEST_F(full, reported)
{
	struct vhost_inflight_queue_info qinfo;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;

	ASSERT_EQ(0, vd_attr_set(g->r.name, "on_write_error", "report"));
	ASSERT_EQ(0, vd_send_some(g, true, OUT));
	ASSERT_EQ(0, vd_come(g, OUT, VD_IOERR));
	ASSERT_EQ(0, vd_qinfo(&g->look, 0, &qinfo));
	EXPECT_EQ(OUT, qinfo.ioerrs);
	EXPECT_EQ(0, qinfo.parked);
	EXPECT_EQ(0, qinfo.parks);
	EXPECT_EQ(-EAGAIN, vd_event(&g->look, &e));
	ASSERT_EQ(0, vd_send_some(g, false, 4) ?: vd_finish(g, 4));
	EXPECT_EQ(0, vd_compare(g));
}

TEST_F(full, parked_until_there_is_room)
{
	struct vhost_inflight_request r[VD_GUEST_NUM];
	struct vhost_inflight_queue_info qinfo;
	struct vhost_inflight_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct pollfd p = { .fd = g->look.fd, .events = POLLIN };
	struct timespec now;
	__u64 begin, counter;
	int head, i;

	clock_gettime(CLOCK_BOOTTIME, &now);
	begin = now.tv_sec * 1000000000ULL + now.tv_nsec;
	EXPECT_EQ(0, poll(&p, 1, 0));
	head = vd_send(g, true, VD_T_OUT);
	ASSERT_LE(0, head);
	vd_kick(g->r.d.q[0]);
	EXPECT_EQ(1, poll(&p, 1, VD_WAIT_MS));
	EXPECT_EQ(POLLIN, p.revents);
	ASSERT_EQ(0, vd_event(&g->look, &e));
	clock_gettime(CLOCK_BOOTTIME, &now);
	EXPECT_EQ(VHOST_INFLIGHT_EVENT_PARKED, e.type);
	EXPECT_EQ(sizeof(e), e.size);
	EXPECT_EQ(1, e.seq);
	EXPECT_EQ(0, e.lost);
	EXPECT_LE(begin, e.time_ns);
	EXPECT_GE(now.tv_sec * 1000000000ULL + now.tv_nsec, e.time_ns);
	counter = vd_inflight_counter(&g->reg, 0, head);
	EXPECT_EQ(counter, e.counter);
	EXPECT_EQ(vd_guest_sector(head, true), e.sector);
	EXPECT_EQ(512, e.length);
	EXPECT_EQ(VD_T_OUT, e.request_type);
	EXPECT_EQ(-ENOSPC, e.error);
	EXPECT_EQ(1, e.parked);
	EXPECT_EQ(0, e.index);
	EXPECT_EQ(head, e.id);
	EXPECT_EQ(-EAGAIN, vd_event(&g->look, &e));
	EXPECT_EQ(0, poll(&p, 1, 0));
	ASSERT_EQ(0, vd_info(&g->look, &info));
	EXPECT_EQ(1, info.parked);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_RUNNING, info.state);
	ASSERT_EQ(0, vd_qinfo(&g->look, 0, &qinfo));
	EXPECT_EQ(1, qinfo.parked);
	EXPECT_EQ(1, qinfo.parks);
	EXPECT_EQ(1, qinfo.depth);
	EXPECT_EQ(0, qinfo.kept);
	EXPECT_EQ(0, qinfo.ioerrs);
	ASSERT_EQ(1, vd_requests(&g->look, 0, r, VD_GUEST_NUM));
	EXPECT_EQ(VHOST_INFLIGHT_REQUEST_PARKED, r[0].state);
	EXPECT_EQ(-ENOSPC, r[0].error);
	EXPECT_EQ(head, r[0].id);
	EXPECT_EQ(counter, r[0].counter);
	EXPECT_EQ(VHOST_INFLIGHT_REQUEST_REWINDABLE, r[0].flags) TH_LOG("the disk does not have it");

	/* who needs no room goes on, there and elsewhere */
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, vd_send_some(g, false, 4) ?: vd_finish(g, 4));
		ASSERT_LE(0, vd_send(g, i & 1, VD_T_IN));
		vd_kick(g->r.d.q[0]);
		ASSERT_EQ(0, vd_finish(g, 1));
	}
	/* no use yet */
	EXPECT_EQ(1, vd_retry(&g->look));
	ASSERT_EQ(0, until_parks(&g->look, 2));
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_PARKED, &e));
	EXPECT_EQ(-ENOSPC, e.error);
	EXPECT_EQ(2, e.seq);
	EXPECT_EQ(1, vd_inflight_heads(&g->reg, 0, NULL));

	/* room, of which nobody knows before it is tried */
	ASSERT_EQ(0, vd_backing_unfill(&g->r.b));
	EXPECT_TRUE(vd_quiet(g));
	EXPECT_EQ(1, vd_retry(&g->look));
	ASSERT_EQ(0, vd_finish(g, 1));
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_HEALED, &e));
	EXPECT_EQ(0, e.error);
	EXPECT_EQ(0, e.parked);
	EXPECT_EQ(head, e.id);
	EXPECT_EQ(vd_guest_sector(head, true), e.sector);
	ASSERT_EQ(0, vd_until_parked(&g->look, 0));
	EXPECT_EQ(0, vd_retry(&g->look));
	ASSERT_EQ(0, all_well(g, 0));
	EXPECT_EQ(0, vd_compare(g));
}

/* Many of them, while others go on all the time; nobody has to say anything. */
TEST_F(full, heal_by_themselves)
{
	struct vd_guest *g = &self->g;
	int i;

	ASSERT_EQ(0, vd_attr_set(g->r.name, "retry_ms", "10"));
	ASSERT_EQ(0, vd_send_some(g, true, 16));
	ASSERT_EQ(0, vd_until_parked(&g->look, 16));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, vd_send_some(g, false, 16) ?: vd_finish(g, 16));
	ASSERT_EQ(0, until_parks(&g->look, 16 + 4));
	ASSERT_EQ(0, vd_backing_unfill(&g->r.b));
	ASSERT_EQ(0, vd_finish(g, 16));
	ASSERT_EQ(0, vd_until_parked(&g->look, 0));
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- a disk that is not there ---- */

FIXTURE(path) {
	struct vd_guest g;
};

FIXTURE_VARIANT(path) {
	bool packed;
};

FIXTURE_VARIANT_ADD(path, split) { false };
FIXTURE_VARIANT_ADD(path, packed) { true };

FIXTURE_SETUP(path)
{
	struct vd_config c = {
		.packed = variant->packed, .on_read_error = "park", .on_write_error = "park", .retry_ms = -1,
	};

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD, &c, VD_GUEST_NUM));
}

FIXTURE_TEARDOWN_PARENT(path)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

/* Reads and writes apart: which of the two are parked. */
TEST_F_TIMEOUT(path, policies, 60)
{
	static const struct {
		const char *read, *write;
		bool reads, writes;
	} t[] = {
		{ "report", "report", false, false },
		{ "park-enospc", "park-enospc", false, false },
		{ "park", "report", true, false },
		{ "park-enospc", "park", false, true },
		{ "park", "park", true, true },
	};
	struct vhost_inflight_request r[VD_GUEST_NUM];
	struct vd_guest *g = &self->g;
	unsigned int i, n;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		n = t[i].reads + t[i].writes;
		ASSERT_EQ(0, vd_attr_set(g->r.name, "on_read_error", "%s", t[i].read));
		ASSERT_EQ(0, vd_attr_set(g->r.name, "on_write_error", "%s", t[i].write));
		ASSERT_EQ(0, vd_backing_break(&g->r.b));
		ASSERT_LE(0, vd_send(g, true, VD_T_IN));
		ASSERT_LE(0, vd_send(g, true, VD_T_OUT));
		vd_kick(g->r.d.q[0]);
		ASSERT_EQ(0, vd_come(g, 2 - n, VD_IOERR)) TH_LOG("read %s, write %s", t[i].read, t[i].write);
		ASSERT_EQ(0, vd_until_parked(&g->look, n)) TH_LOG("read %s, write %s", t[i].read, t[i].write);
		ASSERT_EQ(n, vd_requests(&g->look, 0, r, VD_GUEST_NUM));
		if (n == 1) {
			EXPECT_EQ(t[i].reads ? VD_T_IN : VD_T_OUT, r[0].type);
			EXPECT_EQ(VHOST_INFLIGHT_REQUEST_PARKED, r[0].state);
			EXPECT_EQ(-EIO, r[0].error);
		}
		ASSERT_EQ(0, mend_and_retry(g, n));
		ASSERT_EQ(0, all_well(g, n));
		EXPECT_EQ(n, vd_count_events(&g->look, VHOST_INFLIGHT_EVENT_HEALED));
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* The policy when it is tried again is the one that counts. */
TEST_F_TIMEOUT(path, policy_is_changed, 60)
{
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;

	ASSERT_EQ(0, park(g, OUT));
	ASSERT_EQ(0, vd_attr_set(g->r.name, "on_write_error", "report"));
	EXPECT_EQ(OUT, vd_retry(&g->look));
	ASSERT_EQ(0, vd_come(g, OUT, VD_IOERR));
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_HEALED, &e));
	EXPECT_EQ(-EIO, e.error);
	ASSERT_EQ(0, vd_until_parked(&g->look, 0));
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	EXPECT_EQ(0, all_well(g, 0));
}

TEST_F_TIMEOUT(path, by_itself, 60)
{
	struct vd_guest *g = &self->g;

	/* not while nobody wants it */
	ASSERT_EQ(0, park(g, OUT));
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	EXPECT_TRUE(vd_quiet(g));
	EXPECT_EQ(-ETIMEDOUT, vd_more(g->r.d.q[0], 0));
	EXPECT_EQ(OUT, vd_retry(&g->look));
	ASSERT_EQ(0, vd_finish(g, OUT));
	/* again and again while it does not help */
	ASSERT_EQ(0, vd_attr_set(g->r.name, "retry_ms", "10"));
	ASSERT_EQ(0, vd_backing_break(&g->r.b));
	ASSERT_EQ(0, vd_send_some(g, true, OUT));
	ASSERT_EQ(0, until_parks(&g->look, 5 * OUT));
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	EXPECT_EQ(0, all_well(g, OUT));
	EXPECT_EQ(2 * OUT, vd_count_events(&g->look, VHOST_INFLIGHT_EVENT_HEALED));
	/* also what was parked when it was by command alone */
	ASSERT_EQ(0, vd_attr_set(g->r.name, "retry_ms", "0"));
	ASSERT_EQ(0, park(g, OUT));
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	ASSERT_EQ(0, vd_attr_set(g->r.name, "retry_ms", "10"));
	EXPECT_EQ(0, all_well(g, OUT));
	EXPECT_EQ(0, vd_compare(g));
}

/* A ring full of them. They fail in any order, and are tried in that in which they were taken. */
TEST_F_TIMEOUT(path, whole_ring, 60)
{
	struct vd_guest *g = &self->g;
	int round;

	g->indirect = true;
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, park(g, VD_GUEST_NUM)) TH_LOG("round %d", round);
		EXPECT_EQ(-ENOSPC, vd_send(g, true, VD_T_OUT));
		ASSERT_EQ(VD_GUEST_NUM, vd_retry(&g->look));
		ASSERT_EQ(0, until_parks(&g->look, (2 * round + 2) * VD_GUEST_NUM));
		ASSERT_EQ(0, vd_backing_mend(&g->r.b));
		ASSERT_EQ(0, vd_next_life(g));
		ASSERT_EQ(VD_GUEST_NUM, vd_retry(&g->look));
		ASSERT_EQ(0, all_well(g, VD_GUEST_NUM)) TH_LOG("round %d", round);
		EXPECT_EQ((round + 1) * VD_GUEST_NUM, g->rec.repeated);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* A path that comes and goes while requests do. */
TEST_F_TIMEOUT(path, swapped_under_load, 60)
{
	struct vd_guest *g = &self->g;
	unsigned int i, out = 0;

	ASSERT_EQ(0, vd_attr_set(g->r.name, "retry_ms", "5"));
	for (i = 0; i < vd_rounds(8); i++) {
		for (; g->r.d.q[0]->nr_free >= 3; out++)
			ASSERT_LE(0, vd_send(g, out & 1, out % 3 ? VD_T_OUT : VD_T_IN));
		vd_kick(g->r.d.q[0]);
		ASSERT_EQ(0, i & 1 ? vd_backing_mend(&g->r.b) : vd_backing_break(&g->r.b));
		if (i % 2 == 0)
			continue;
		ASSERT_EQ(0, vd_finish(g, out)) TH_LOG("round %u", i);
		out = 0;
	}
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	ASSERT_EQ(0, all_well(g, out));
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- and everything else that happens to a device ---- */

/* They count as taken, nothing is touched, and a device that goes on tries them again. */
TEST_F_TIMEOUT(path, suspend_and_resume, 60)
{
	struct vhost_inflight_queue_info qinfo;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mended;

	for (mended = 0; mended < 2; mended++) {
		ASSERT_EQ(0, park(g, OUT));
		ASSERT_EQ(0, vd_suspend(d));
		EXPECT_TRUE(vd_exact(g));
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_qinfo(&g->look, 0, &qinfo));
		EXPECT_EQ(VHOST_INFLIGHT_QUEUE_STOPPED, qinfo.state);
		EXPECT_EQ(OUT, qinfo.kept);
		EXPECT_LE(0, vd_retry(&g->look));
		EXPECT_TRUE(vd_quiet(g));
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, mended ? vd_backing_mend(&g->r.b) : 0);
		ASSERT_EQ(0, vd_resume(d));
		ASSERT_EQ(0, mended ? 0 : vd_until_parked(&g->look, OUT) ?: mend_and_retry(g, OUT));
		ASSERT_EQ(0, all_well(g, OUT)) TH_LOG("mended %d", mended);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* QEMU's: SUSPEND, the base, a reset, and later a start at that base. */
TEST_F_TIMEOUT(path, stop_and_cont, 60)
{
	struct vd_guest *g = &self->g;
	__u32 base[VD_GUEST_QUEUES];
	struct vd *d = &g->r.d;
	int round;

	for (round = 0; round < 4; round++) {
		bool mended = round & 1;

		ASSERT_EQ(0, park(g, OUT));
		ASSERT_EQ(0, vd_suspend(d));
		ASSERT_EQ(0, vd_get_bases(d, base));
		EXPECT_TRUE(vd_exact(g));
		ASSERT_EQ(0, vd_reset(d));
		EXPECT_EQ(0, vd_status(d));
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, mended ? vd_backing_mend(&g->r.b) : 0);
		ASSERT_EQ(0, vd_cont(g, base));
		ASSERT_EQ(0, mended ? 0 : vd_until_parked(&g->look, OUT) ?: mend_and_retry(g, OUT));
		ASSERT_EQ(0, all_well(g, OUT)) TH_LOG("round %d", round);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* The same up to the reset, and then another region is the device's. */
TEST_F_TIMEOUT(path, another_region, 60)
{
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vhost_inflight_fd other;
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, park(g, OUT));
	ASSERT_EQ(0, vd_suspend(d));
	ASSERT_EQ(0, vd_reset(d));
	while (!vd_event(&g->look, &e))
		;
	ASSERT_EQ(0, vd_negotiate(d));
	/* the one that it has, handed in, is not another */
	ASSERT_EQ(0, vd_inflight_set(d, &g->reg.arg));
	EXPECT_EQ(-EAGAIN, vd_event(&g->look, &e));
	ASSERT_EQ(0, vd_reset(d));
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	ASSERT_EQ(0, vd_new_driver(g, 0));
	ASSERT_EQ(0, all_well(g, 0));

	ASSERT_EQ(0, vd_backing_break(&g->r.b));
	ASSERT_EQ(0, park(g, OUT));
	ASSERT_EQ(0, vd_suspend(d));
	ASSERT_EQ(0, vd_reset(d));
	while (!vd_event(&g->look, &e))
		;
	ASSERT_EQ(0, vd_negotiate(d));
	other = g->reg.arg;
	other.fd = memfd_create("other", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_EQ(0, ftruncate(other.fd, other.mmap_size));
	ASSERT_EQ(0, vd_inflight_set(d, &other));
	ASSERT_EQ(0, vd_event(&g->look, &e));
	EXPECT_EQ(VHOST_INFLIGHT_EVENT_DROPPED, e.type);
	EXPECT_EQ(0, e.length);
	EXPECT_EQ(-EAGAIN, vd_event(&g->look, &e));
}

/* The same up to the reset, and then a guest that was booted again. */
TEST_F_TIMEOUT(path, another_driver, 60)
{
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int told;

	for (told = 0; told < 2; told++) {
		ASSERT_EQ(0, park(g, OUT));
		ASSERT_EQ(0, vd_suspend(d));
		ASSERT_EQ(0, vd_reset(d));
		ASSERT_EQ(0, vd_new_driver(g, told));
		EXPECT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_DROPPED, &e));
		EXPECT_EQ(0, vd_inflight_heads(&g->reg, 0, NULL));
		EXPECT_EQ(0, vd_until_parked(&g->look, 0));
		EXPECT_EQ(0, vd_retry(&g->look));
		ASSERT_EQ(0, vd_backing_mend(&g->r.b));
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, all_well(g, 0)) TH_LOG("told %d", told);
	}
}

/* What was kept was lost with a page of the region: who would go on with it is told, and who begins is not kept from it. */
TEST_F_TIMEOUT(path, hole_and_another_driver, 60)
{
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	__u32 base[VD_GUEST_QUEUES];
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, park(g, OUT));
	ASSERT_EQ(0, vd_suspend(d));
	ASSERT_EQ(0, vd_get_bases(d, base));
	ASSERT_EQ(0, vd_reset(d));
	ASSERT_EQ(0, fallocate(g->reg.arg.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
	EXPECT_EQ(-ESTALE, vd_cont(g, base));
	ASSERT_EQ(0, vd_reset(d));
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	ASSERT_EQ(0, vd_new_driver(g, true));
	EXPECT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_DROPPED, &e));
	EXPECT_NE(vd_ino(g->reg.arg.fd), vd_inflight_ino(&g->look));
	ASSERT_EQ(0, vd_inflight_take(&g->look, &g->reg, variant->packed));
	ASSERT_EQ(0, all_well(g, 0));
}

/* Of a running device: it does not wait for what may never heal. */
TEST_F_TIMEOUT(path, reset_gives_back, 60)
{
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int round, i;
	long begin;

	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, park(g, OUT));
		begin = vd_now_ms();
		ASSERT_EQ(0, vd_reset(d));
		EXPECT_GT(AT_ONCE, vd_now_ms() - begin);
		EXPECT_EQ(0, vd_status(d));
		/* A VMM that only pauses, and whose SUSPEND took too long, goes on where the used ring says. */
		ASSERT_EQ(0, vd_come(g, OUT, VD_IOERR));
		for (i = 0; i < OUT; i++) {
			ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_HEALED, &e)) TH_LOG("event %d", i);
			EXPECT_EQ(-EIO, e.error);
			EXPECT_EQ(VD_T_OUT, e.request_type);
			EXPECT_EQ(512, e.length);
		}
		EXPECT_EQ(0, vd_until_parked(&g->look, 0));
		ASSERT_EQ(0, vd_new_driver(g, round));
		EXPECT_EQ(0, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_backing_mend(&g->r.b));
		EXPECT_EQ(0, vd_retry(&g->look));
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, all_well(g, 0)) TH_LOG("round %d", round);
	}
}

/* A stop that is to flush waits for them, as long as it may, and says so. */
TEST_F_TIMEOUT(path, flush_stalls, 60)
{
	struct vhost_inflight_request r[VD_GUEST_NUM];
	struct vhost_inflight_stop_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int i;

	ASSERT_EQ(0, vd_backing_break(&g->r.b));
	ASSERT_LE(0, vd_send(g, true, VD_T_IN));
	ASSERT_EQ(0, vd_send_some(g, true, OUT - 1));
	ASSERT_EQ(0, vd_until_parked(&g->look, OUT));
	ASSERT_EQ(0, vd_stop(d, VD_FLUSH, DEADLINE));
	ASSERT_EQ(0, vd_stalled(d));
	ASSERT_EQ(0, vd_get_stop(&g->look, 0, &info));
	EXPECT_LE(DEADLINE - 10, info.elapsed_ms);
	EXPECT_EQ(0, info.published);
	EXPECT_EQ(0, info.kept);
	EXPECT_EQ(OUT, info.out);
	EXPECT_EQ(OUT, info.rewindable) TH_LOG("the disk has none of them");
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_STALLED, &e));
	EXPECT_EQ(0, vd_until_parked(&g->look, OUT));
	EXPECT_EQ(OUT, vd_requests(&g->look, 0, r, VD_GUEST_NUM));
	for (i = 0; i < OUT; i++)
		EXPECT_EQ(VHOST_INFLIGHT_REQUEST_PARKED, r[i].state);
	EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
	/* they heal, and it can be stopped */
	ASSERT_EQ(0, mend_and_retry(g, OUT));
	ASSERT_EQ(0, vd_finish(g, OUT));
	ASSERT_EQ(0, vd_set_stop(d, VD_FLUSH, VD_WAIT_MS) ?: vd_set_status(d, STILL));
	ASSERT_EQ(0, vd_until_status(d, STILL));
	EXPECT_TRUE(vd_exact(g));
	ASSERT_EQ(0, vd_go_on(d));
	EXPECT_EQ(0, all_well(g, 0));
	EXPECT_EQ(0, vd_compare(g));
}

/* Given up for the other mode. */
TEST_F_TIMEOUT(path, flush_then_preserve, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int stalled;

	for (stalled = 0; stalled < 2; stalled++) {
		ASSERT_EQ(0, park(g, OUT));
		ASSERT_EQ(0, vd_stop(d, VD_FLUSH, stalled ? DEADLINE : VD_WAIT_MS));
		ASSERT_EQ(0, stalled ? vd_stalled(d) : 0);
		ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, VD_WAIT_MS));
		ASSERT_EQ(0, vd_stopped(d));
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(OUT, info.kept);
		EXPECT_TRUE(vd_exact(g));
		ASSERT_EQ(0, vd_backing_mend(&g->r.b));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, all_well(g, OUT)) TH_LOG("stalled %d", stalled);
	}
}

TEST_F_TIMEOUT(path, flush_waits_until_they_heal, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int itself;

	for (itself = 0; itself < 2; itself++) {
		ASSERT_EQ(0, vd_attr_set(g->r.name, "retry_ms", itself ? "10" : "0"));
		ASSERT_EQ(0, vd_backing_break(&g->r.b));
		ASSERT_EQ(0, vd_send_some(g, true, OUT));
		ASSERT_EQ(0, vd_inflight_wait(&g->reg, 0, OUT));
		ASSERT_EQ(0, vd_stop(d, VD_FLUSH, VD_WAIT_MS));
		EXPECT_EQ(0, vd_poll_fd(d->config_fd, VD_QUIET_MS));
		ASSERT_EQ(0, itself ? vd_backing_mend(&g->r.b) : vd_until_parked(&g->look, OUT) ?: mend_and_retry(g, OUT));
		ASSERT_EQ(0, vd_stopped(d)) TH_LOG("by itself %d", itself);
		ASSERT_EQ(0, vd_get_stop(d, 0, &info));
		EXPECT_EQ(OUT, info.published);
		EXPECT_EQ(0, info.out + info.kept);
		ASSERT_EQ(0, vd_finish(g, OUT));
		EXPECT_TRUE(vd_exact(g));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, all_well(g, 0));
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* A stop that preserves keeps them, whatever somebody says to them, and they are tried when it goes on. */
TEST_F_TIMEOUT(path, preserve_keeps, 60)
{
	struct vhost_inflight_queue_info qinfo;
	struct vhost_inflight_stop_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	int mended, i;

	for (mended = 0; mended < 2; mended++) {
		ASSERT_EQ(0, park(g, OUT));
		ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, VD_WAIT_MS));
		ASSERT_EQ(0, vd_stopped(d));
		ASSERT_EQ(0, vd_get_stop(&g->look, 0, &info));
		EXPECT_EQ(OUT, info.kept);
		EXPECT_EQ(0, info.out + info.published + info.rewindable);
		ASSERT_EQ(0, vd_qinfo(&g->look, 0, &qinfo));
		EXPECT_EQ(OUT, qinfo.kept);
		EXPECT_TRUE(vd_exact(g));
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		for (i = 0; i < OUT; i++) {
			ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_KEPT, &e)) TH_LOG("event %d", i);
			EXPECT_EQ(VD_T_OUT, e.request_type);
		}
		ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_STOPPED, &e));
		ASSERT_EQ(0, mended ? vd_backing_mend(&g->r.b) : 0);
		EXPECT_LE(0, vd_retry(&g->look));
		EXPECT_TRUE(vd_quiet(g));
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_next_life(g));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_RESUMED, &e));
		ASSERT_EQ(0, mended ? 0 : vd_until_parked(&g->look, OUT) ?: mend_and_retry(g, OUT));
		ASSERT_EQ(0, all_well(g, OUT)) TH_LOG("mended %d", mended);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* An engine that comes finds them parked. */
TEST_F_TIMEOUT(path, exchange, 60)
{
	struct vhost_inflight_request r[VD_GUEST_NUM];
	struct vd_guest *g = &self->g;
	int itself, i;

	for (itself = 0; itself < 2; itself++) {
		ASSERT_EQ(0, park(g, OUT));
		ASSERT_EQ(0, vd_exchange());
		EXPECT_EQ(0, vd_until_parked(&g->look, OUT));
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		EXPECT_EQ(OUT, vd_requests(&g->look, 0, r, VD_GUEST_NUM));
		for (i = 0; i < OUT; i++)
			EXPECT_EQ(VHOST_INFLIGHT_REQUEST_PARKED, r[i].state);
		ASSERT_EQ(0, vd_send_some(g, false, 4) ?: vd_finish(g, 4));
		if (itself) {
			ASSERT_EQ(0, vd_attr_set(g->r.name, "retry_ms", "10"));
			ASSERT_EQ(0, vd_exchange());
			ASSERT_EQ(0, vd_backing_mend(&g->r.b));
		} else {
			ASSERT_EQ(0, mend_and_retry(g, OUT));
		}
		ASSERT_EQ(0, all_well(g, OUT)) TH_LOG("by itself %d", itself);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* While the owner does not run, and with it no worker: the next engine has not looked at its queues when the stop ends. */
static int exchange_and_fail(struct vd_guest *g, pid_t owner)
{
	int ret = vd_until_state(&g->look, VHOST_INFLIGHT_STATE_STOPPING);

	kill(owner, SIGSTOP);
	ret = ret ?: vd_child_stopped(owner) ?: vd_exchange() ?: vd_backing_break(&g->r.b);
	ret = ret ?: vd_until_state(&g->look, VHOST_INFLIGHT_STATE_STOPPED);
	kill(owner, SIGCONT);
	return ret;
}

/* What is parked then is kept by the stop, and who resets the device and goes on at its base has it done. */
TEST_F_TIMEOUT(path, kept_by_a_stop_before_the_next_engine_looked, 60)
{
	struct vhost_inflight_request r[VD_GUEST_NUM];
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	__u32 base[VD_GUEST_QUEUES];
	struct vd *d = &g->r.d;
	pid_t pid, owner = getpid();
	int status;

	ASSERT_EQ(0, vd_hang(g, OUT));
	ASSERT_EQ(0, vd_at_disk(g, 1, OUT - 1));
	pid = fork();
	if (!pid)
		_exit(-exchange_and_fail(g, owner));
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, 2 * VD_WAIT_MS));
	ASSERT_EQ(0, vd_child_end(pid, &status, 2 * VD_WAIT_MS));
	ASSERT_EQ(0, status) TH_LOG("%s", strerror(WEXITSTATUS(status)));
	ASSERT_EQ(0, vd_stopped(d));
	ASSERT_EQ(0, vd_get_stop(&g->look, 0, &info));
	EXPECT_EQ(OUT, info.kept);
	EXPECT_EQ(OUT, vd_requests(&g->look, 0, r, VD_GUEST_NUM));
	EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
	EXPECT_TRUE(vd_exact(g));
	ASSERT_EQ(0, vd_get_bases(d, base));
	ASSERT_EQ(0, vd_reset(d));
	EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	ASSERT_EQ(0, vd_cont(g, base));
	ASSERT_EQ(0, all_well(g, OUT));
	EXPECT_EQ(0, vd_compare(g));
}

/* A VMM in whose name it runs, at the place where the driver is. It tells when it does, and does no more. */
static pid_t vmm(const struct vd_guest *g)
{
	static struct vd_guest own;
	int fds[2];
	char c = 0;
	pid_t pid;

	if (pipe(fds))
		return -errno;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		own = *g;
		if (vd_succeed(&own, false) || write(fds[1], &c, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(fds[1]);
	if (read(fds[0], &c, 1) != 1) {
		kill(pid, SIGKILL);
		pid = -ECHILD;
	}
	close(fds[0]);
	return pid;
}

/* Another one, with requests that are parked. It starts without what was there before. */
static pid_t vmm_parks(struct vd_guest *g, bool packed)
{
	pid_t pid;
	int ret;

	close(g->r.d.fd);
	g->r.d.fd = -1;
	ret = vd_until_state(&g->look, VHOST_INFLIGHT_STATE_FREE);
	if (ret)
		return ret;
	pid = vmm(g);
	return pid < 0 ? pid : vd_inflight_take(&g->look, &g->reg, packed) ?: park(g, OUT) ?: pid;
}

/* It is reaped at once, and the device is free. */
static int vmm_dies(struct vd_guest *g, pid_t pid)
{
	int ret, status;

	kill(pid, SIGKILL);
	ret = vd_child_end(pid, &status, AT_ONCE);
	if (ret)
		return ret;
	return WIFSIGNALED(status) ? vd_until_state(&g->look, VHOST_INFLIGHT_STATE_FREE) : -ECHILD;
}

/* Its owner is killed: they are not this device's any more, and who has the region goes on with them. */
TEST_F_TIMEOUT(path, owner_is_killed, 60)
{
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	int mended, i;
	pid_t pid;

	for (mended = 0; mended < 2; mended++) {
		pid = vmm_parks(g, variant->packed);
		ASSERT_LT(0, pid);
		ASSERT_EQ(0, vmm_dies(g, pid));
		for (i = 0; i < OUT; i++)
			ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_DROPPED, &e)) TH_LOG("event %d", i);
		EXPECT_EQ(0, vd_until_parked(&g->look, 0));
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		EXPECT_EQ(0, vd_retry(&g->look));
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, mended ? vd_backing_mend(&g->r.b) : 0);
		ASSERT_EQ(0, vd_next_life(g));
		ASSERT_EQ(0, vd_succeed(g, true));
		ASSERT_EQ(0, mended ? 0 : vd_until_parked(&g->look, OUT) ?: mend_and_retry(g, OUT));
		ASSERT_EQ(0, all_well(g, OUT)) TH_LOG("mended %d", mended);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* Wherever one is between its list and the disk when the owner ends, it is told of once. */
TEST_F_TIMEOUT(path, owner_is_killed_while_they_are_tried, 90)
{
	struct vhost_inflight_info info;
	struct vhost_inflight_event e;
	struct vd_guest *g = &self->g;
	unsigned int round, dropped;
	long end;
	pid_t pid;

	for (round = 0; round < 8; round++) {
		pid = vmm_parks(g, variant->packed);
		ASSERT_LT(0, pid);
		while (!vd_event(&g->look, &e))
			;
		/* the disk is as sick as before; how far they get is chance */
		ASSERT_EQ(OUT, vd_retry(&g->look));
		usleep(random() % 4000);
		ASSERT_EQ(0, vmm_dies(g, pid));
		/* those that were at the disk come back, too */
		for (end = vd_now_ms() + VD_WAIT_MS; !vd_info(&g->look, &info) && info.orphans && vd_now_ms() < end;)
			poll(NULL, 0, 1);
		for (dropped = 0; !vd_event(&g->look, &e);) {
			ASSERT_TRUE(e.type == VHOST_INFLIGHT_EVENT_PARKED || e.type == VHOST_INFLIGHT_EVENT_DROPPED);
			dropped += e.type == VHOST_INFLIGHT_EVENT_DROPPED;
		}
		EXPECT_EQ(OUT, dropped) TH_LOG("round %u", round);
		EXPECT_EQ(OUT, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_backing_mend(&g->r.b));
		ASSERT_EQ(0, vd_next_life(g));
		ASSERT_EQ(0, vd_succeed(g, true));
		ASSERT_EQ(0, all_well(g, OUT)) TH_LOG("round %u", round);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* The memory is somewhere else when they are tried, or nowhere: that is as with any request under way. */
TEST_F_TIMEOUT(path, memory_moves, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;
	struct vd_region *mem = &d->mem[0];
	void *to = mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED, d->memfd, 0);

	ASSERT_NE(MAP_FAILED, to);
	ASSERT_EQ(0, park(g, OUT));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_INVALIDATE, mem->iova, mem->size, NULL, 0));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, mem->iova, mem->size, to, VHOST_ACCESS_RW));
	ASSERT_EQ(72, vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0));
	ASSERT_EQ(0, mend_and_retry(g, OUT));
	EXPECT_EQ(0, all_well(g, OUT));
	EXPECT_EQ(VD_S_RUNS, vd_status(d));
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- in order ---- */

FIXTURE(in_order) {
	struct vd_guest g;
};

FIXTURE_VARIANT(in_order) {
	bool packed;
};

FIXTURE_VARIANT_ADD(in_order, split) { false };
FIXTURE_VARIANT_ADD(in_order, packed) { true };

FIXTURE_SETUP(in_order)
{
	struct vd_config c = { .packed = variant->packed, .in_order = true, .on_write_error = "park", .retry_ms = -1 };

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD, &c, VD_GUEST_NUM));
}

FIXTURE_TEARDOWN_PARENT(in_order)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

#define BEHIND	3

/* One is parked, and those behind it are done and wait for it. */
static int hold_back(struct vd_guest *g)
{
	struct vhost_inflight_request r[VD_GUEST_NUM];
	long end = vd_now_ms() + VD_WAIT_MS;
	int i, n, done, parked;

	n = vd_backing_break(&g->r.b) ?: vd_send_some(g, true, 1) ?: vd_send_some(g, false, BEHIND);
	if (n)
		return n;
	do {
		n = vd_requests(&g->look, 0, r, VD_GUEST_NUM);
		for (i = 0, done = 0, parked = 0; i < n; i++) {
			done += r[i].state == VHOST_INFLIGHT_REQUEST_DONE;
			parked += r[i].state == VHOST_INFLIGHT_REQUEST_PARKED;
		}
		if (n == 1 + BEHIND && done == BEHIND && parked == 1)
			return 0;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

TEST_F_TIMEOUT(in_order, holds_back_its_queue, 60)
{
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, hold_back(g));
	EXPECT_TRUE(vd_quiet(g));
	EXPECT_EQ(1 + BEHIND, vd_inflight_heads(&g->reg, 0, NULL));
	/* but no other */
	EXPECT_EQ(VD_OK, vd_do(d->q[1], VD_T_FLUSH, 0, NULL, 0, VD_DIRECT));
	ASSERT_EQ(0, mend_and_retry(g, 1));
	EXPECT_EQ(0, all_well(g, 1 + BEHIND));
	EXPECT_EQ(0, vd_compare(g));
}

/* All of them are neither given back nor kept; and kept, those that were done as well. */
TEST_F_TIMEOUT(in_order, stops, 60)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &self->g;
	struct vd *d = &g->r.d;

	ASSERT_EQ(0, hold_back(g));
	ASSERT_EQ(0, vd_stop(d, VD_FLUSH, DEADLINE));
	ASSERT_EQ(0, vd_stalled(d));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(0, info.published);
	EXPECT_EQ(0, info.kept);
	EXPECT_EQ(1 + BEHIND, info.out);
	ASSERT_EQ(0, vd_stop(d, VD_PRESERVE, VD_WAIT_MS));
	ASSERT_EQ(0, vd_stopped(d));
	ASSERT_EQ(0, vd_get_stop(d, 0, &info));
	EXPECT_EQ(0, info.published);
	EXPECT_EQ(1 + BEHIND, info.kept);
	EXPECT_EQ(0, info.out);
	EXPECT_TRUE(vd_exact(g));
	EXPECT_EQ(1 + BEHIND, vd_inflight_heads(&g->reg, 0, NULL));
	EXPECT_TRUE(vd_quiet(g));
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	/* what was done and not given back may be done once more */
	ASSERT_EQ(0, vd_next_life(g));
	ASSERT_EQ(0, vd_go_on(d));
	EXPECT_EQ(0, all_well(g, 1 + BEHIND));
	EXPECT_EQ(0, vd_compare(g));
}

TEST_F_TIMEOUT(in_order, suspend_and_resume, 60)
{
	struct vhost_inflight_queue_info qinfo;
	struct vd_guest *g = &self->g;
	__u32 base[VD_GUEST_QUEUES];
	struct vd *d = &g->r.d;
	int reset;

	for (reset = 0; reset < 2; reset++) {
		ASSERT_EQ(0, hold_back(g));
		ASSERT_EQ(0, vd_suspend(d));
		EXPECT_TRUE(vd_exact(g));
		ASSERT_EQ(0, vd_qinfo(d, 0, &qinfo));
		EXPECT_EQ(1 + BEHIND, qinfo.kept);
		EXPECT_EQ(1 + BEHIND, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, vd_backing_mend(&g->r.b));
		ASSERT_EQ(0, reset ? vd_get_bases(d, base) ?: vd_reset(d) ?: vd_cont(g, base) :
				     vd_next_life(g) ?: vd_resume(d));
		ASSERT_EQ(0, all_well(g, 1 + BEHIND)) TH_LOG("reset %d", reset);
	}
	EXPECT_EQ(0, vd_compare(g));
}

TEST_F_TIMEOUT(in_order, exchange, 60)
{
	struct vd_guest *g = &self->g;

	ASSERT_EQ(0, hold_back(g));
	ASSERT_EQ(0, vd_exchange());
	EXPECT_EQ(0, vd_until_parked(&g->look, 1));
	EXPECT_TRUE(vd_quiet(g)) TH_LOG("what was done was done again");
	ASSERT_EQ(0, mend_and_retry(g, 1));
	EXPECT_EQ(0, all_well(g, 1 + BEHIND));
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- what trying again can't heal ---- */

FIXTURE(sealed) {
	struct vd_rig r;
	int fd;
};

/* A file that may be read, and from here on not be written. */
FIXTURE_SETUP(sealed)
{
	struct vd_config c = { .on_read_error = "park", .on_write_error = "park", .retry_ms = -1 };
	struct vd_opts o = { .iova = VD_GUEST_IOVA, .num = VD_GUEST_NUM, .mem_size = VD_GUEST_MEM };
	char path[VD_PATH_LEN];

	self->fd = memfd_create("disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ftruncate(self->fd, VD_GUEST_DISK));
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), self->fd);
	c.path = path;
	vd_name(self->r.name, "");
	ASSERT_EQ(0, vd_create(self->r.name, &c));
	self->r.created = true;
	ASSERT_EQ(0, vd_start(&self->r.d, self->r.name, &o));
	ASSERT_EQ(VD_OK, vd_rw(self->r.d.q[0], VD_T_OUT, 0, VD_GUEST_IOVA + (3 << 20), 4096));
	ASSERT_EQ(0, fcntl(self->fd, F_ADD_SEALS, F_SEAL_WRITE));
}

FIXTURE_TEARDOWN_PARENT(sealed)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

TEST_F(sealed, is_reported)
{
	struct vhost_inflight_queue_info info;
	struct vhost_inflight_event e;
	struct vd *d = &self->r.d;
	__u64 data = VD_GUEST_IOVA + (3 << 20);
	struct vd_buf b = { data, sizeof(struct vd_range), false };

	EXPECT_EQ(VD_IOERR, vd_rw(d->q[0], VD_T_OUT, 0, data, 4096));
	*(struct vd_range *)vd_ptr(d, data) = (struct vd_range){ .sector = 8, .num = 8 };
	EXPECT_EQ(VD_IOERR, vd_do(d->q[0], VD_T_WRITE_ZEROES, 0, &b, 1, VD_DIRECT));
	EXPECT_EQ(VD_OK, vd_rw(d->q[0], VD_T_IN, 0, data, 4096));
	ASSERT_EQ(0, vd_qinfo(d, 0, &info));
	EXPECT_EQ(2, info.ioerrs);
	EXPECT_EQ(0, info.parks);
	EXPECT_EQ(-EAGAIN, vd_event(d, &e));
}

/* The end came closer and nobody said so: what is beyond it can come again, and so is waited for. */
TEST_F(sealed, is_not_a_file_that_is_short)
{
	struct vd *d = &self->r.d;
	__u64 data = VD_GUEST_IOVA + (3 << 20);
	struct vd_buf b = { data, 4096, true };

	ASSERT_EQ(0, ftruncate(self->fd, VD_GUEST_DISK / 2));
	ASSERT_LE(0, vd_submit(d->q[0], VD_T_IN, VD_GUEST_DISK / 512 - 8, &b, 1, VD_DIRECT));
	vd_kick(d->q[0]);
	ASSERT_EQ(0, vd_until_parked(d, 1));
	ASSERT_EQ(0, ftruncate(self->fd, VD_GUEST_DISK));
	EXPECT_EQ(1, vd_retry(d));
	EXPECT_EQ(0, vd_wait(d->q[0], 1, VD_WAIT_MS));
}

/* ---- events ---- */

FIXTURE(events) {
	struct vd_guest g;
	struct vd each, some, late;
};

FIXTURE_SETUP(events)
{
	struct vd_config c = { .on_write_error = "park", .retry_ms = -1 };

	ASSERT_EQ(0, vd_guest_make(&self->g, VD_DM_RECORD, &c, VD_GUEST_NUM));
	self->each.fd = vd_node_open(self->g.r.name, O_RDONLY);
	self->some.fd = vd_node_open(self->g.r.name, O_RDWR);
	ASSERT_LE(0, self->each.fd);
	ASSERT_LE(0, self->some.fd);
}

FIXTURE_TEARDOWN_PARENT(events)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

/* All that there are, one behind the other, up to number @last. How many. */
static int read_all(struct vd *d, __u64 first, __u64 last)
{
	struct vhost_inflight_event e;
	__u64 seq;
	int ret;

	for (seq = first; !(ret = vd_event(d, &e)); seq++)
		if (e.seq != seq)
			return -EBADMSG;
	return ret != -EAGAIN || seq != last + 1 ? -ERANGE : (int)(seq - first);
}

/* The last ones are kept; who was slow is told how many he missed, and nobody is told twice. */
TEST_F_TIMEOUT(events, kept_and_lost, 60)
{
	const unsigned int total = EVENTS + 37, seen = 10;
	struct vd_guest *g = &self->g;
	struct pollfd p = { .fd = g->look.fd, .events = POLLIN };
	struct vhost_inflight_event e;
	__u64 first = total - EVENTS + 1;
	unsigned int i;

	ASSERT_EQ(0, park(g, 1));
	for (i = 1; i <= total; i++) {
		/* each time somebody tries, it fails once more */
		ASSERT_EQ(0, vd_until_event(&self->each, VHOST_INFLIGHT_EVENT_PARKED, &e)) TH_LOG("event %u", i);
		EXPECT_EQ(i, e.seq);
		EXPECT_EQ(0, e.lost);
		if (i <= seen) {
			ASSERT_EQ(0, vd_event(&self->some, &e));
			EXPECT_EQ(i, e.seq);
		}
		if (i < total) {
			ASSERT_EQ(1, vd_retry(&self->each));
		}
	}
	EXPECT_EQ(-EAGAIN, vd_event(&self->each, &e));
	/* one that has read nothing yet, */
	EXPECT_EQ(1, poll(&p, 1, 0));
	ASSERT_EQ(0, vd_event(&g->look, &e));
	EXPECT_EQ(first, e.seq);
	EXPECT_EQ(first - 1, e.lost);
	EXPECT_EQ(EVENTS - 1, read_all(&g->look, first + 1, total));
	EXPECT_EQ(0, poll(&p, 1, 0));
	/* one that has read some, */
	ASSERT_EQ(0, vd_event(&self->some, &e));
	EXPECT_EQ(first, e.seq);
	EXPECT_EQ(first - 1 - seen, e.lost);
	EXPECT_EQ(EVENTS - 1, read_all(&self->some, first + 1, total));
	/* and one that was not there */
	self->late.fd = vd_node_open(g->r.name, O_RDONLY);
	ASSERT_LE(0, self->late.fd);
	EXPECT_EQ(EVENTS, read_all(&self->late, first, total));
	/* the next one is everybody's */
	ASSERT_EQ(0, mend_and_retry(g, 1));
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_HEALED, &e));
	EXPECT_EQ(total + 1, e.seq);
	EXPECT_EQ(1, read_all(&self->each, total + 1, total + 1));
	EXPECT_EQ(1, read_all(&self->some, total + 1, total + 1));
	EXPECT_EQ(1, read_all(&self->late, total + 1, total + 1));
	EXPECT_EQ(0, all_well(g, 1));
}

/* They outlive who they were about. */
TEST_F_TIMEOUT(events, of_owners_before, 60)
{
	struct vd_guest *g = &self->g;
	struct vhost_inflight_event e;

	ASSERT_EQ(0, park(g, 1));
	close(g->r.d.fd);
	g->r.d.fd = -1;
	ASSERT_EQ(0, vd_until_state(&g->look, VHOST_INFLIGHT_STATE_FREE));
	ASSERT_EQ(0, vd_event(&g->look, &e));
	EXPECT_EQ(VHOST_INFLIGHT_EVENT_PARKED, e.type);
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_DROPPED, &e));
	EXPECT_EQ(2, e.seq);
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	ASSERT_EQ(0, vd_next_life(g));
	ASSERT_EQ(0, vd_succeed(g, true));
	/* the owner itself may look, too, and finds them */
	EXPECT_EQ(2, read_all(&g->r.d, 1, 2));
	EXPECT_EQ(0, all_well(g, 1));
}

/* Who waits in poll() is woken. */
TEST_F_TIMEOUT(events, wake_who_waits, 60)
{
	struct vd_guest *g = &self->g;
	int fds[2], status;
	pid_t pid;
	char c = 0;

	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		struct pollfd p = { .fd = self->each.fd, .events = POLLIN };
		struct vhost_inflight_event e;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (poll(&p, 1, 0) || write(fds[1], &c, 1) != 1)
			_exit(1);
		if (poll(&p, 1, VD_WAIT_MS) != 1 || p.revents != POLLIN)
			_exit(2);
		_exit(vd_event(&self->each, &e) || e.type != VHOST_INFLIGHT_EVENT_PARKED ? 3 : 0);
	}
	ASSERT_EQ(1, read(fds[0], &c, 1));
	ASSERT_EQ(0, park(g, 1));
	ASSERT_EQ(0, vd_child_end(pid, &status, VD_WAIT_MS));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	ASSERT_EQ(0, mend_and_retry(g, 1));
	EXPECT_EQ(0, all_well(g, 1));
}

TEST_F_TIMEOUT(events, arguments, 60)
{
	struct {
		struct vhost_inflight_event e;
		__u64 more;
	} later = { .e = { .size = sizeof(later) }, .more = ~0ULL };
	struct {
		struct vhost_inflight_retry r;
		__u64 more;
	} retry = { .r = { .size = sizeof(retry) }, .more = ~0ULL };
	struct vhost_inflight_event e = { .size = sizeof(e) - 1 };
	struct vhost_inflight_retry r = { .size = sizeof(r) - 1 };
	struct vd_guest *g = &self->g;

	EXPECT_EQ(0, vd_retry(&self->some));
	ASSERT_EQ(0, park(g, 1));
	/* no event is lost to one that can't be told */
	EXPECT_EQ(-EINVAL, vd_ioctl(&self->some, VHOST_INFLIGHT_GET_EVENT, &e));
	e.size = 1 << 20;
	EXPECT_EQ(-E2BIG, vd_ioctl(&self->some, VHOST_INFLIGHT_GET_EVENT, &e));
	EXPECT_EQ(-EFAULT, vd_ioctl(&self->some, VHOST_INFLIGHT_GET_EVENT, NULL));
	ASSERT_EQ(0, vd_ioctl(&self->some, VHOST_INFLIGHT_GET_EVENT, &later));
	EXPECT_EQ(1, later.e.seq);
	EXPECT_EQ(sizeof(e), later.e.size);
	EXPECT_EQ(0, later.more);
	EXPECT_EQ(-EAGAIN, vd_event(&self->some, &e));

	EXPECT_EQ(-EINVAL, vd_ioctl(&self->some, VHOST_INFLIGHT_RETRY, &r));
	r.size = 1 << 20;
	EXPECT_EQ(-E2BIG, vd_ioctl(&self->some, VHOST_INFLIGHT_RETRY, &r));
	EXPECT_EQ(-EFAULT, vd_ioctl(&self->some, VHOST_INFLIGHT_RETRY, NULL));
	/* one that was refused may have tried all the same */
	ASSERT_EQ(0, vd_until_parked(&g->look, 1));
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	ASSERT_EQ(0, vd_ioctl(&self->some, VHOST_INFLIGHT_RETRY, &retry));
	EXPECT_EQ(1, retry.r.count);
	EXPECT_EQ(sizeof(r), retry.r.size);
	EXPECT_EQ(0, retry.more);
	EXPECT_EQ(0, all_well(g, 1));
}

TEST_HARNESS_MAIN
