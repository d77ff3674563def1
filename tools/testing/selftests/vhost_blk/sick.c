// SPDX-License-Identifier: GPL-2.0
/*
 * Disks that are sick, and what is done to a device meanwhile: each disk, with each policy for what it fails, with a stop that
 * flushes, one that preserves, an exchange of the engine and a move to another device in the middle of more requests than the
 * disk has tags.
 *
 * The driver gets each buffer back once. Under 'report' it sees the error of those that failed, and of no other; when they are
 * parked it sees none. Those that are said to be done are on the disk. What the disk was asked for is written down where there is
 * something to do it with: vblk_record.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "vblk_stop.h"
#include "kselftest_harness.h"

#define OUT		24		/* requests under way */
#define AT_ONCE		5000		/* what does not wait for the disk takes no longer, ms */
#define DEADLINE	300		/* of a stop that is to end at it, ms */
#define LONGER		1000

/* What a disk has. */
enum ill {
	HANGS,				/* it answers nothing */
	FULL,				/* no room for what was never written */
	LOST,				/* it fails all it is asked for */
};

enum patient { DEAD, DELAY, STUCK, NBD, PLAIN, THE_FILE, THIN, PATH };

static const struct disease {
	enum vd_backing_kind kind;
	enum ill ill;
	bool once;			/* it can't be ill again */
	bool ordered;			/* what is sent to it arrives in that order */
	bool whole;			/* not its second half alone */
} diseases[] = {
	/* suspended; and what is below takes all it is given */
	[DEAD] = { VD_DM_LOW, HANGS, .ordered = true },
	[DELAY] = { VD_DM_LOW_WAIT, HANGS },
	/* an NBD server that stands still, and one that is killed; and without anything between it and the device */
	[STUCK] = { VD_NBD_STUCK, HANGS },
	[NBD] = { VD_NBD_LOST, LOST, .ordered = true },
	[PLAIN] = { VD_NBD, LOST, .whole = true },
	/* on a small filesystem, and a volume */
	[THE_FILE] = { VD_TMPFS_SMALL, FULL, .once = true },
	[THIN] = { VD_THIN_RECORD, FULL, .once = true },
	/* dm's error target */
	[PATH] = { VD_DM_LOW, LOST, .ordered = true },
};

struct sick {
	struct vd_guest g;
	struct vd_backing twin;
	char other[VD_NAME_LEN];
	struct vd_config c;
	bool moved;			/* to the other one */
	const struct disease *of;
	enum ill ill;
	bool parks;			/* what the disk fails; else it is reported */
	bool now;			/* it is ill */
	bool loose[VD_GUEST_NUM];	/* it was on its way when that began: it fails or not */
	unsigned int out;		/* buffers that the device has */
};

static int sick_make(struct sick *s, enum patient who, const char *policy, bool packed)
{
	struct vd_guest *g = &s->g;
	int ret;

	s->c = (struct vd_config){
		.packed = packed, .on_read_error = policy, .on_write_error = policy, .retry_ms = -1,
		.num_queues = VD_GUEST_QUEUES, .queue_size = VD_GUEST_NUM,
	};
	s->of = &diseases[who];
	s->ill = s->of->ill;
	s->parks = s->ill == LOST ? !strcmp(policy, "park") : s->ill == FULL && strcmp(policy, "report");
	ret = vd_guest_make(g, s->of->kind, &s->c, VD_GUEST_NUM);
	if (ret)
		return ret;
	vd_name(s->other, "_other");
	/* What has no dm in it may be below one device at a time. */
	if (who != THE_FILE && who != PLAIN) {
		ret = vd_backing_twin(&s->twin, &g->r.b);
		s->c.path = s->twin.path;
		ret = ret ?: vd_create(s->other, &s->c);
	}
	g->indirect = s->ill == FULL;
	/* so that there is something to read */
	if (s->ill == FULL)
		return ret ?: vd_send_some(g, false, VD_GUEST_NUM) ?: vd_finish(g, VD_GUEST_NUM);
	return ret ?: vd_send_some(g, false, OUT) ?: vd_finish(g, OUT) ?: vd_send_some(g, true, OUT) ?: vd_finish(g, OUT);
}

static int sick_free(struct sick *s)
{
	int ret = 0;

	if (vd_backing_freezes(&s->g.r.b))
		vd_backing_thaw(&s->g.r.b);
	/* A test that failed took its server along, and nothing else makes an end to what it had. */
	if (s->g.r.b.kind == VD_NBD_STUCK)
		vd_nbd_free(&s->g.r.b.nbd);
	if (s->other[0])
		ret = vd_remove(s->other);
	if (ret == -ENOENT)
		ret = 0;
	vd_backing_free(&s->twin);
	return vd_rig_free(&s->g.r) ?: ret;
}

/* Reads and writes on both halves of the disk. */
static int send_mixed(struct sick *s, unsigned int n, bool loose)
{
	struct vd_guest *g = &s->g;
	unsigned int i;
	int head;

	for (i = 0; i < n; i++, s->out++) {
		head = vd_send(g, i % 4 != 3, i % 3 == 2 ? VD_T_IN : VD_T_OUT);
		if (head < 0)
			return head;
		s->loose[head] = loose;
	}
	vd_kick(g->r.d.q[0]);
	return 0;
}

static bool fails(const struct sick *s, int head)
{
	const struct vd_guest *g = &s->g;

	if (!s->now || s->ill == HANGS || s->parks || (!g->late[head] && !s->of->whole))
		return false;
	return s->ill == LOST || g->place[g->late[head]][head].write;
}

/* What is used by now: as it has to be. */
static int reap(struct sick *s)
{
	struct vd_guest *g = &s->g;
	struct vd_queue *q = g->r.d.q[0];
	int head, status, ret;

	while ((head = vd_reap(q)) >= 0) {
		status = fails(s, head) ? VD_IOERR : VD_OK;
		if (s->loose[head] && !s->parks && s->ill != HANGS)
			status = vd_slot_status(q, head) == VD_IOERR ? VD_IOERR : VD_OK;
		/* Whose life it was done in is known before it is forgotten. */
		if (status == VD_IOERR && g->recorded)
			vd_record_read(&g->rec);
		ret = vd_came(g, head, status);
		if (ret)
			return ret;
		s->out--;
		/* An error is the truth, too: nothing of it was done. */
		if (status == VD_IOERR && g->recorded && (!vd_record_judge(&g->rec) || g->req[head]->done[0])) {
			printf("# %s (%ld)\n", g->rec.wrong ?: "failed, and done", g->rec.wrong ? g->rec.where : head);
			return -EILSEQ;
		}
	}
	return q->bad_used || q->bad_order ? -EBADMSG : 0;
}

/* Until so many of them are left with the device. */
static int reap_until(struct sick *s, unsigned int left)
{
	int ret = reap(s);

	while (!ret && s->out > left)
		ret = vd_more(s->g.r.d.q[0], VD_WAIT_MS) ?: reap(s);
	return ret ?: s->out == left ? 0 : -ERANGE;
}

/* Until each is back, or as far as it gets: parked; or if @taken, in flight. */
static int settle(struct sick *s, bool taken)
{
	struct vd_guest *g = &s->g;
	long end = vd_now_ms() + VD_WAIT_MS;
	struct vhost_inflight_info info;
	int ret;

	do {
		ret = reap(s) ?: vd_info(&g->look, &info);
		if (ret || s->out == (taken ? vd_inflight_heads(&g->reg, 0, NULL) : info.parked))
			return ret;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

/* It falls ill while a few are on their way, and gets more of them. */
static int fall_ill(struct sick *s)
{
	struct vd_guest *g = &s->g;
	int ret = 0;

	if (s->ill == FULL)
		ret = vd_backing_fill(&g->r.b);
	else
		ret = send_mixed(s, OUT / 4, true) ?:
		      (s->ill == HANGS ? vd_backing_freeze(&g->r.b) : vd_backing_break(&g->r.b));
	s->now = true;
	return ret ?: send_mixed(s, OUT - s->out, false) ?: settle(s, true);
}

static int heal(struct sick *s)
{
	struct vd_backing *b = &s->g.r.b;
	int ret = s->ill == HANGS ? vd_backing_thaw(b) : s->ill == FULL ? vd_backing_unfill(b) : vd_backing_mend(b);

	s->now = false;
	return ret;
}

/* Well again, and those that are parked are tried again, if anybody has to say so. */
static int heal_and_retry(struct sick *s)
{
	int ret = heal(s);

	if (!ret && s->parks)
		ret = vd_retry(&s->g.look);
	return ret < 0 ? ret : 0;
}

/* All come back; and the device is as it was. */
static int all_well(struct sick *s)
{
	struct vd_guest *g = &s->g;
	int ret = reap_until(s, 0) ?: vd_send_some(g, false, 4) ?: vd_finish(g, 4);

	if (ret)
		return ret;
	if (vd_inflight_wait(&g->reg, 0, 0) || vd_until_parked(&g->look, 0))
		return -ENOTEMPTY;
	return vd_quiet(g) ? 0 : -EBADMSG;
}

/* Does something wait until the disk is well? */
static bool waits(const struct sick *s)
{
	return s->ill == HANGS || s->parks;
}

/* How often, so that it is come upon with all that fails parked, and with some of it not tried yet. */
static int rounds(const struct sick *s)
{
	return s->of->once ? 1 : 2;
}

static int fall_ill_and_settle(struct sick *s, int round)
{
	return fall_ill(s) ?: round == 0 && s->parks ? settle(s, false) : 0;
}

/* ---- the disks, with each policy ---- */

FIXTURE(sick) {
	struct sick s;
};

FIXTURE_VARIANT(sick) {
	enum patient who;
	const char *policy;
	bool packed;
};

FIXTURE_VARIANT_ADD(sick, dead_report_split) { DEAD, "report", false };
FIXTURE_VARIANT_ADD(sick, dead_report_packed) { DEAD, "report", true };
FIXTURE_VARIANT_ADD(sick, dead_enospc_split) { DEAD, "park-enospc", false };
FIXTURE_VARIANT_ADD(sick, dead_enospc_packed) { DEAD, "park-enospc", true };
FIXTURE_VARIANT_ADD(sick, dead_park_split) { DEAD, "park", false };
FIXTURE_VARIANT_ADD(sick, dead_park_packed) { DEAD, "park", true };
FIXTURE_VARIANT_ADD(sick, delay_report_split) { DELAY, "report", false };
FIXTURE_VARIANT_ADD(sick, delay_report_packed) { DELAY, "report", true };
FIXTURE_VARIANT_ADD(sick, delay_enospc_split) { DELAY, "park-enospc", false };
FIXTURE_VARIANT_ADD(sick, delay_enospc_packed) { DELAY, "park-enospc", true };
FIXTURE_VARIANT_ADD(sick, delay_park_split) { DELAY, "park", false };
FIXTURE_VARIANT_ADD(sick, delay_park_packed) { DELAY, "park", true };
FIXTURE_VARIANT_ADD(sick, stuck_report_split) { STUCK, "report", false };
FIXTURE_VARIANT_ADD(sick, stuck_report_packed) { STUCK, "report", true };
FIXTURE_VARIANT_ADD(sick, stuck_enospc_split) { STUCK, "park-enospc", false };
FIXTURE_VARIANT_ADD(sick, stuck_enospc_packed) { STUCK, "park-enospc", true };
FIXTURE_VARIANT_ADD(sick, stuck_park_split) { STUCK, "park", false };
FIXTURE_VARIANT_ADD(sick, stuck_park_packed) { STUCK, "park", true };
FIXTURE_VARIANT_ADD(sick, nbd_report_split) { NBD, "report", false };
FIXTURE_VARIANT_ADD(sick, nbd_report_packed) { NBD, "report", true };
FIXTURE_VARIANT_ADD(sick, nbd_enospc_split) { NBD, "park-enospc", false };
FIXTURE_VARIANT_ADD(sick, nbd_enospc_packed) { NBD, "park-enospc", true };
FIXTURE_VARIANT_ADD(sick, nbd_park_split) { NBD, "park", false };
FIXTURE_VARIANT_ADD(sick, nbd_park_packed) { NBD, "park", true };
FIXTURE_VARIANT_ADD(sick, plain_report_split) { PLAIN, "report", false };
FIXTURE_VARIANT_ADD(sick, plain_report_packed) { PLAIN, "report", true };
FIXTURE_VARIANT_ADD(sick, plain_enospc_split) { PLAIN, "park-enospc", false };
FIXTURE_VARIANT_ADD(sick, plain_enospc_packed) { PLAIN, "park-enospc", true };
FIXTURE_VARIANT_ADD(sick, plain_park_split) { PLAIN, "park", false };
FIXTURE_VARIANT_ADD(sick, plain_park_packed) { PLAIN, "park", true };
FIXTURE_VARIANT_ADD(sick, file_report_split) { THE_FILE, "report", false };
FIXTURE_VARIANT_ADD(sick, file_report_packed) { THE_FILE, "report", true };
FIXTURE_VARIANT_ADD(sick, file_enospc_split) { THE_FILE, "park-enospc", false };
FIXTURE_VARIANT_ADD(sick, file_enospc_packed) { THE_FILE, "park-enospc", true };
FIXTURE_VARIANT_ADD(sick, file_park_split) { THE_FILE, "park", false };
FIXTURE_VARIANT_ADD(sick, file_park_packed) { THE_FILE, "park", true };
FIXTURE_VARIANT_ADD(sick, thin_report_split) { THIN, "report", false };
FIXTURE_VARIANT_ADD(sick, thin_report_packed) { THIN, "report", true };
FIXTURE_VARIANT_ADD(sick, thin_enospc_split) { THIN, "park-enospc", false };
FIXTURE_VARIANT_ADD(sick, thin_enospc_packed) { THIN, "park-enospc", true };
FIXTURE_VARIANT_ADD(sick, thin_park_split) { THIN, "park", false };
FIXTURE_VARIANT_ADD(sick, thin_park_packed) { THIN, "park", true };
FIXTURE_VARIANT_ADD(sick, path_report_split) { PATH, "report", false };
FIXTURE_VARIANT_ADD(sick, path_report_packed) { PATH, "report", true };
FIXTURE_VARIANT_ADD(sick, path_enospc_split) { PATH, "park-enospc", false };
FIXTURE_VARIANT_ADD(sick, path_enospc_packed) { PATH, "park-enospc", true };
FIXTURE_VARIANT_ADD(sick, path_park_split) { PATH, "park", false };
FIXTURE_VARIANT_ADD(sick, path_park_packed) { PATH, "park", true };

FIXTURE_SETUP(sick)
{
	ASSERT_EQ(0, sick_make(&self->s, variant->who, variant->policy, variant->packed));
}

FIXTURE_TEARDOWN_PARENT(sick)
{
	EXPECT_EQ(0, sick_free(&self->s));
}

TEST_F_TIMEOUT(sick, flush, 90)
{
	struct vhost_inflight_stop_info info;
	struct vhost_inflight_event e;
	struct sick *s = &self->s;
	struct vd_guest *g = &s->g;
	struct vd *d = &g->r.d;
	unsigned int had;
	int round;

	for (round = 0; round < rounds(s); round++) {
		ASSERT_EQ(0, fall_ill_and_settle(s, round)) TH_LOG("round %d", round);
		had = s->out;
		ASSERT_EQ(0, vd_stop(d, VD_FLUSH, waits(s) ? DEADLINE : VD_WAIT_MS));
		if (waits(s)) {
			ASSERT_EQ(0, vd_stalled(d)) TH_LOG("round %d", round);
			ASSERT_EQ(0, vd_get_stop(&g->look, 0, &info));
			EXPECT_EQ(0, info.kept);
			EXPECT_LT(0, info.out);
			EXPECT_GE(had, info.out + info.published);
			EXPECT_LE(info.rewindable, info.out);
			ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_STALLED, &e));
			ASSERT_EQ(0, reap(s));
			EXPECT_GE(info.out, s->out);
			EXPECT_LT(0, s->out);
			ASSERT_EQ(0, heal(s));
			/* which tries what is parked */
			ASSERT_EQ(0, vd_stop(d, VD_FLUSH, VD_WAIT_MS));
		}
		ASSERT_EQ(0, vd_stopped(d)) TH_LOG("round %d", round);
		ASSERT_EQ(0, vd_get_stop(&g->look, 0, &info));
		EXPECT_EQ(0, info.kept + info.out + info.rewindable);
		ASSERT_EQ(0, reap_until(s, 0)) TH_LOG("round %d", round);
		EXPECT_TRUE(vd_exact(g));
		EXPECT_EQ(0, vd_inflight_heads(&g->reg, 0, NULL));
		ASSERT_EQ(0, s->now ? heal(s) : 0);
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, all_well(s)) TH_LOG("round %d", round);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* It stands still, with all that is not back kept. */
static int preserve(struct sick *s)
{
	struct vhost_inflight_stop_info info;
	struct vd_guest *g = &s->g;
	struct vd *d = &g->r.d;
	int ret = vd_stop(d, VD_PRESERVE, s->ill == HANGS ? DEADLINE : VD_WAIT_MS);

	if (!ret && vd_poll_fd(d->config_fd, VD_WAIT_MS) != 1)
		ret = -ETIMEDOUT;
	ret = ret ?: vd_get_stop(&g->look, 0, &info);
	/* What the disk has is named, and comes back when it is well. It may have got nothing yet. */
	if (!ret && s->ill == HANGS && info.state == VHOST_INFLIGHT_STATE_STALLED) {
		if (!info.out || info.out + info.kept != vd_inflight_heads(&g->reg, 0, NULL))
			return -ERANGE;
		ret = heal(s) ?: vd_stop(d, VD_PRESERVE, VD_WAIT_MS) ?: vd_stopped(d) ?: vd_get_stop(&g->look, 0, &info);
	}
	if (ret)
		return ret;
	if (info.state != VHOST_INFLIGHT_STATE_STOPPED || info.out || info.kept != vd_inflight_heads(&g->reg, 0, NULL))
		return -EPROTO;
	return reap_until(s, info.kept) ?: vd_exact(g) ? 0 : -ESPIPE;
}

/* Gone on with, it fails once more, or it is well by then. */
static int kept_end(struct sick *s)
{
	if (s->now && s->ill == HANGS)
		return heal(s) ?: reap_until(s, 0);
	if (!s->now)
		return reap_until(s, 0);
	return (s->parks ? settle(s, false) : reap_until(s, 0)) ?: heal_and_retry(s) ?: reap_until(s, 0);
}

TEST_F_TIMEOUT(sick, preserve, 90)
{
	struct sick *s = &self->s;
	struct vd_guest *g = &s->g;
	int round;

	for (round = 0; round < rounds(s); round++) {
		ASSERT_EQ(0, fall_ill_and_settle(s, round)) TH_LOG("round %d", round);
		ASSERT_EQ(0, preserve(s)) TH_LOG("round %d", round);
		EXPECT_TRUE(vd_quiet(g));
		ASSERT_EQ(0, round && s->now ? heal(s) : 0);
		ASSERT_EQ(0, vd_go_on(&g->r.d));
		ASSERT_EQ(0, kept_end(s)) TH_LOG("round %d", round);
		ASSERT_EQ(0, all_well(s)) TH_LOG("round %d", round);
	}
	EXPECT_EQ(0, vd_compare(g));
}

TEST_F_TIMEOUT(sick, exchange, 90)
{
	struct sick *s = &self->s;
	struct vd_guest *g = &s->g;
	int round;

	for (round = 0; round < rounds(s); round++) {
		ASSERT_EQ(0, fall_ill_and_settle(s, round)) TH_LOG("round %d", round);
		ASSERT_EQ(0, vd_exchange());
		ASSERT_EQ(0, kept_end(s)) TH_LOG("round %d", round);
		ASSERT_EQ(0, all_well(s)) TH_LOG("round %d", round);
	}
	EXPECT_EQ(0, vd_compare(g));
}

static int move(struct sick *s)
{
	struct vd_guest *g = &s->g;
	struct vd *d = &g->r.d;
	const char *to = s->moved ? g->r.name : s->other;
	__u32 base = d->q[0]->ops->base(d->q[0]);
	int ret = 0;

	close(g->look.fd);
	if (!s->twin.path[0]) {
		close(d->fd);
		d->fd = -1;
		s->c.path = g->r.b.path;
		ret = vd_patiently(vd_attr_set(s->moved ? s->other : g->r.name, "enable", "0"));
		ret = ret ?: (s->moved ? vd_attr_set(g->r.name, "enable", "1") : vd_create(s->other, &s->c));
	}
	s->moved = !s->moved;
	g->look.fd = vd_node_open(to, O_RDONLY);
	return ret ?: g->look.fd < 0 ? g->look.fd : vd_move(g, to, &base, s->of->ordered);
}

/* To the other device, and back in the second round. */
TEST_F_TIMEOUT(sick, move, 90)
{
	struct sick *s = &self->s;
	struct vd_guest *g = &s->g;
	int round;

	for (round = 0; round < rounds(s); round++) {
		ASSERT_EQ(0, fall_ill_and_settle(s, round)) TH_LOG("round %d", round);
		ASSERT_EQ(0, preserve(s)) TH_LOG("round %d", round);
		ASSERT_EQ(0, round && s->now ? heal(s) : 0);
		ASSERT_EQ(0, move(s)) TH_LOG("round %d", round);
		ASSERT_EQ(0, kept_end(s)) TH_LOG("round %d", round);
		ASSERT_EQ(0, all_well(s)) TH_LOG("round %d", round);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- and a worker that can't run ---- */

FIXTURE(worker) {
	struct sick s;
};

FIXTURE_VARIANT(worker) {
	enum patient who;
	const char *policy;
	bool packed;
};

FIXTURE_VARIANT_ADD(worker, dead) { DEAD, "report", true };
FIXTURE_VARIANT_ADD(worker, delay) { DELAY, "park", false };
FIXTURE_VARIANT_ADD(worker, stuck) { STUCK, "park", true };
FIXTURE_VARIANT_ADD(worker, nbd) { NBD, "park", false };
FIXTURE_VARIANT_ADD(worker, file) { THE_FILE, "park-enospc", true };
FIXTURE_VARIANT_ADD(worker, thin) { THIN, "park-enospc", false };
FIXTURE_VARIANT_ADD(worker, path) { PATH, "park", true };
FIXTURE_VARIANT_ADD(worker, path_report) { PATH, "report", false };

FIXTURE_SETUP(worker)
{
	ASSERT_EQ(0, sick_make(&self->s, variant->who, variant->policy, variant->packed));
}

FIXTURE_TEARDOWN_PARENT(worker)
{
	EXPECT_EQ(0, sick_free(&self->s));
}

/* Ill, and whether what it has by now fails or is done when it is well is not known. */
static int fall_ill_somehow(struct sick *s, int round)
{
	int ret = fall_ill_and_settle(s, round);

	memset(s->loose, 1, sizeof(s->loose));
	return ret;
}

/* Stopped once more, if it is not yet, now that all can run; and on. */
static int stop_again(struct sick *s, int mode)
{
	struct vhost_inflight_info info;
	struct vd_guest *g = &s->g;
	struct vd *d = &g->r.d;
	int ret = vd_info(d, &info) ?: heal(s);

	if (info.state != VHOST_INFLIGHT_STATE_STOPPED)
		ret = ret ?: vd_stop(d, mode, VD_WAIT_MS) ?: vd_stopped(d);
	return ret ?: reap_until(s, vd_inflight_heads(&g->reg, 0, NULL)) ?: (vd_exact(g) ? 0 : -ESPIPE) ?: vd_go_on(d) ?:
	       all_well(s);
}

/* A stop of a device whose owner is stopped itself by SIGSTOP ends in time, one way or the other. */
static int stop_while_stopped(struct sick *s, int mode)
{
	pid_t owner = getpid(), pid = fork();
	int status, ret;

	if (!pid) {
		struct vd look = { .fd = vd_node_open(s->g.r.name, O_RDONLY) };
		struct vhost_inflight_stop_info info = { 0 };
		long end = vd_now_ms() + VD_WAIT_MS;
		int bad = 0;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!bad && info.state < VHOST_INFLIGHT_STATE_STOPPING)
			bad = vd_get_stop(&look, 0, &info) || vd_now_ms() > end;
		kill(owner, SIGSTOP);
		if (!bad && vd_child_stopped(owner))
			bad = 2;
		do {
			if (!bad && vd_get_stop(&look, 0, &info))
				bad = 3;
		} while (!bad && info.state == VHOST_INFLIGHT_STATE_STOPPING && vd_now_ms() < end && !poll(NULL, 0, 1));
		if (!bad && info.state == VHOST_INFLIGHT_STATE_STALLED)
			bad = info.elapsed_ms >= LONGER - 10 && info.out ? 0 : 4;
		else if (!bad)
			bad = info.state == VHOST_INFLIGHT_STATE_STOPPED && !info.out ? 0 : 5;
		kill(owner, SIGCONT);
		_exit(bad);
	}
	/* time enough to be stopped in */
	ret = vd_stop(&s->g.r.d, mode, LONGER) ?: vd_child_end(pid, &status, 2 * VD_WAIT_MS);
	return ret ?: WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}

TEST_F_TIMEOUT(worker, owner_is_stopped, 90)
{
	struct sick *s = &self->s;
	int round;

	for (round = 0; round < rounds(s); round++) {
		ASSERT_EQ(0, fall_ill_somehow(s, round)) TH_LOG("round %d", round);
		ASSERT_EQ(0, stop_while_stopped(s, round ? VD_FLUSH : VD_PRESERVE)) TH_LOG("round %d", round);
		ASSERT_EQ(0, stop_again(s, round ? VD_PRESERVE : VD_FLUSH)) TH_LOG("round %d", round);
	}
	EXPECT_EQ(0, vd_compare(&s->g));
}

/* The other queue's, in a page fault that nobody answers. */
TEST_F_TIMEOUT(worker, in_a_page_fault, 90)
{
	struct vhost_inflight_stop_info info;
	struct sick *s = &self->s;
	struct vd_guest *g = &s->g;
	struct vd *d = &g->r.d;
	struct vd_buf b = { .len = 512, .write = true };
	struct uffdio_zeropage zero = { .range.len = 4096 };
	int uffd, head, mode;

	for (mode = VD_FLUSH; mode < VD_FLUSH + rounds(s); mode++) {
		b.addr = vd_alloc(d, 4096, 4096);
		zero.range.start = (unsigned long)vd_ptr(d, b.addr);
		uffd = vd_hold_faults(vd_ptr(d, b.addr), 4096);
		ASSERT_LE(0, uffd);
		ASSERT_EQ(0, fall_ill_somehow(s, mode));
		head = vd_submit(d->q[1], VD_T_IN, 0, &b, 1, VD_DIRECT);
		ASSERT_LE(0, head);
		vd_kick(d->q[1]);
		ASSERT_EQ(1, poll(&(struct pollfd){ .fd = uffd, .events = POLLIN }, 1, VD_WAIT_MS));
		ASSERT_EQ(0, vd_stop(d, mode, DEADLINE));
		ASSERT_EQ(0, vd_stalled(d));
		ASSERT_EQ(0, vd_get_stop(d, 1, &info));
		EXPECT_EQ(1, info.out + info.kept);
		ASSERT_EQ(0, reap(s));
		ASSERT_EQ(0, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
		ASSERT_EQ(0, heal(s));
		ASSERT_EQ(0, vd_stop(d, VD_FLUSH, VD_WAIT_MS));
		ASSERT_EQ(0, vd_stopped(d));
		ASSERT_EQ(0, vd_spin(d->q[1], 1, 0));
		EXPECT_EQ(VD_OK, vd_slot_status(d->q[1], head));
		ASSERT_EQ(0, reap_until(s, 0));
		EXPECT_TRUE(vd_exact(g));
		ASSERT_EQ(0, vd_go_on(d));
		ASSERT_EQ(0, all_well(s)) TH_LOG("mode %d", mode);
		close(uffd);
	}
	EXPECT_EQ(0, vd_compare(g));
}

/* ---- NBD alone ---- */

FIXTURE(nbd) {
	struct vd_guest g;
};

FIXTURE_VARIANT(nbd) {
	enum vd_backing_kind kind;
	const char *scheduler;
};

FIXTURE_VARIANT_ADD(nbd, deadline) { VD_NBD_LATE, "mq-deadline" };
FIXTURE_VARIANT_ADD(nbd, none) { VD_NBD_LATE, "none" };
FIXTURE_VARIANT_ADD(nbd, below_dm) { VD_DM_NBD, "mq-deadline" };

FIXTURE_SETUP(nbd)
{
	struct vd_config c = { .on_read_error = "park", .on_write_error = "park", .retry_ms = -1 };
	char path[VD_PATH_LEN];

	ASSERT_EQ(0, vd_guest_make(&self->g, variant->kind, &c, VD_GUEST_NUM));
	snprintf(path, sizeof(path), "/sys/block/nbd%d/queue/scheduler", self->g.r.b.nbd.index);
	ASSERT_EQ(0, vd_write_file(path, variant->scheduler));
}

FIXTURE_TEARDOWN_PARENT(nbd)
{
	EXPECT_EQ(0, vd_rig_free(&self->g.r));
}

/* A server that is back in time is nothing that anybody notices. */
TEST_F_TIMEOUT(nbd, back_in_time, 60)
{
	struct vd_guest *g = &self->g;
	struct vd_backing *b = &g->r.b;
	struct vhost_inflight_event e;
	int round;

	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, vd_send_some(g, false, 4) ?: vd_finish(g, 4));
		ASSERT_EQ(0, vd_backing_break(b));
		ASSERT_EQ(0, vd_backing_mend(b));
		ASSERT_EQ(0, vd_send_some(g, false, OUT) ?: vd_finish(g, OUT)) TH_LOG("round %d", round);
	}
	EXPECT_EQ(-EAGAIN, vd_event(&g->look, &e));
	EXPECT_EQ(0, vd_compare(g));
}

/* One that is not: they are parked, with EIO, and done when there is another one. */
TEST_F_TIMEOUT(nbd, parked, 60)
{
	struct vd_guest *g = &self->g;
	struct vhost_inflight_event e;

	ASSERT_EQ(0, vd_send_some(g, false, OUT) ?: vd_finish(g, OUT));
	ASSERT_EQ(0, vd_backing_break(&g->r.b));
	ASSERT_EQ(0, vd_send_some(g, false, OUT));
	ASSERT_EQ(0, vd_until_parked(&g->look, OUT));
	ASSERT_EQ(0, vd_until_event(&g->look, VHOST_INFLIGHT_EVENT_PARKED, &e));
	EXPECT_EQ(-EIO, e.error);
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
	ASSERT_EQ(OUT, vd_retry(&g->look));
	ASSERT_EQ(0, vd_finish(g, OUT));
	EXPECT_EQ(0, vd_compare(g));
}

/* Its client waits for another server, and no signal ends that: somebody else's thread has to be the one that waits. */
TEST_F_TIMEOUT(nbd, owner_is_killed, 60)
{
	struct vd_guest *g = &self->g;
	int status, fds[2];
	long begin;
	char c = 0;
	pid_t pid;

	close(g->r.d.fd);
	g->r.d.fd = -1;
	ASSERT_EQ(0, vd_until_state(&g->look, VHOST_INFLIGHT_STATE_FREE));
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		static struct vd_guest own;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		own = *g;
		if (vd_succeed(&own, false) || write(fds[1], &c, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(fds[1]);
	ASSERT_EQ(1, read(fds[0], &c, 1));
	/* this one started without what was there before */
	ASSERT_EQ(0, vd_inflight_take(&g->look, &g->reg, false));
	ASSERT_EQ(0, vd_send_some(g, false, 4) ?: vd_finish(g, 4));
	ASSERT_EQ(0, vd_backing_break(&g->r.b));
	ASSERT_EQ(0, vd_send_some(g, false, 4) ?: vd_inflight_wait(&g->reg, 0, 4));
	/* until somebody waits: it is less than what it takes to say that nobody does */
	poll(NULL, 0, VD_QUIET_MS);
	begin = vd_now_ms();
	kill(pid, SIGKILL);
	EXPECT_EQ(0, vd_child_end(pid, &status, VD_WAIT_MS));
	/* Below dm nobody sees it coming; but it ends when that wait does. */
	EXPECT_GT(AT_ONCE + (variant->kind == VD_DM_NBD ? VD_NBD_S * 1000 : 0), vd_now_ms() - begin);
	ASSERT_EQ(0, vd_backing_mend(&g->r.b));
}

TEST_HARNESS_MAIN
