// SPDX-License-Identifier: GPL-2.0
/*
 * A VMM that is killed with everything in flight, and its successor, which goes on with the inflight region.
 *
 * The guest outlives its VMM, as one whose memory is in a memfd does: this process is its driver, and looks after the device
 * through an open of its own, which never owns it. The VMMs are children that own the device and do nothing else.
 *
 * The disk is in cells, of which each has at most one request under way. A write has the next number of its cell in every
 * byte, and a read must find the last one that was used. What is used is overwritten with garbage at once: a write that was
 * executed once more would bring it to the disk, a read would overwrite it. The disk records what it is asked to do, and
 * what it was is held against what this driver saw: vblk_record.h.
 *
 *	kill [-n KILLS] [OPTION of kselftest_harness.h]
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "vblk_inflight.h"
#include "vblk_record.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x100000
#define QUEUES	4
#define NUM	128
#define CELLS	32		/* per queue; the odd ones are on the late half of the disk */
#define CELL	8192		/* at most: two pieces for the disk */
#define GARBAGE	0xdeadbeef
#define REAP_MS	8000

#define KILLS	10

static unsigned int kills = KILLS;

struct cell {
	__u64 off, buf[2];
	__u32 len;
	__u32 seq;		/* of the last write that was used */
	bool busy, write, at, used[2];
	struct vd_record_req *rec;
};

/* What a VMM is to do. */
struct how {
	bool fresh;		/* without the region */
	const __u32 *base;	/* SET_VRING_BASE; NULL: only if fresh, where the rings are */
	bool reset;		/* once it runs, and start again */
};

enum phase { STARTED, READY, RUNNING, RESET, AGAIN };

struct guest {
	struct vd_rig r;
	struct vd_inflight region;
	struct vd_record rec;
	ino_t ino;
	struct cell cell[QUEUES][CELLS];
	struct cell *of[QUEUES][NUM];	/* by head */
	unsigned int busy;
	unsigned long submitted, ended;
	unsigned long taken;		/* by VMMs, at their ends */
	unsigned int most;
	const char *wrong;		/* the first thing that was */
	long where;
	pid_t vmm;
	int from, to;			/* pipes */
};

static bool oops(struct guest *g, const char *what, long where)
{
	if (!g->wrong) {
		g->wrong = what;
		g->where = where;
	}
	return false;
}

/* ---- the VMM ---- */

static void tell(int fd, int what)
{
	if (write(fd, &what, sizeof(what)) != sizeof(what))
		_exit(1);
}

static int rings(struct vd *d, const struct how *how)
{
	unsigned int i;
	__u32 base;
	int ret = 0;

	for (i = 0; i < QUEUES && !ret; i++) {
		base = how->base ? how->base[i] : d->q[i]->ops->base(d->q[i]);
		ret = vd_setup_queue(d, d->q[i], how->fresh || how->base ? &base : NULL);
	}
	return ret;
}

static int vmm_run(struct guest *g, const struct how *how, int fd, int cmd)
{
	struct vd *d = &g->r.d;
	int ret, again;

	close(d->fd);
	d->fd = vd_node_open(g->r.name, O_RDWR);
	ret = d->fd < 0 ? d->fd : vd_patiently(vd_negotiate(d));
	if (!ret && !how->fresh)
		ret = vd_patiently(vd_inflight_set(d, &g->region.arg));
	ret = ret ?: vd_map_all(d) ?: rings(d, how);
	if (ret)
		return ret;
	tell(fd, READY);
	/* Nothing of the one before is out any more, or it is waited for in DRIVER_OK. */
	ret = vd_record_mark(&g->rec) ?: vd_patiently(vd_driver_ok(d));
	if (ret)
		return ret;
	tell(fd, RUNNING);
	if (!how->reset)
		return 0;
	ret = vd_reset(d);
	if (ret)
		return ret;
	tell(fd, RESET);
	if (read(cmd, &again, sizeof(again)) != sizeof(again))
		_exit(1);
	for (unsigned int i = 0; i < QUEUES; i++)
		vd_queue_fresh(d->q[i]);
	ret = vd_negotiate(d) ?: rings(d, &(struct how){ .fresh = true }) ?: vd_driver_ok(d);
	if (!ret)
		tell(fd, AGAIN);
	return ret;
}

static bool vmm_start(struct guest *g, const struct how *how)
{
	int from[2], to[2], ret;

	if (pipe(from) || pipe(to))
		return oops(g, "pipe", errno);
	g->vmm = fork();
	if (!g->vmm) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(from[0]);
		close(to[1]);
		ret = vmm_run(g, how, from[1], to[0]);
		if (ret)
			tell(from[1], ret);
		for (;;)
			pause();
	}
	close(from[1]);
	close(to[0]);
	g->from = from[0];
	g->to = to[1];
	return g->vmm > 0 || oops(g, "fork", errno);
}

/* What the VMM says: @phase, or -errno. */
static int vmm_says(struct guest *g, enum phase phase)
{
	int what = -ETIMEDOUT;

	do {
		if (poll(&(struct pollfd){ .fd = g->from, .events = POLLIN }, 1, VD_WAIT_MS) != 1 ||
		    read(g->from, &what, sizeof(what)) != sizeof(what))
			return -ETIMEDOUT;
	} while (what >= 0 && what < phase);
	return what;
}

static bool vmm_go(struct guest *g, const struct how *how)
{
	int ret;

	if (!vmm_start(g, how))
		return false;
	ret = vmm_says(g, RUNNING);
	return ret == RUNNING || oops(g, "DRIVER_OK", ret);
}

/* ---- the guest's driver ---- */

static void *cell_ptr(struct guest *g, struct cell *c)
{
	return vd_ptr(&g->r.d, c->buf[c->at]);
}

static bool submit(struct guest *g, unsigned int qi, struct cell *c)
{
	unsigned int first = 512 * (1 + random() % (c->len / 512 - 1));
	bool indirect = random() % 2;
	struct vd_buf b[2];
	void *p;
	int head;

	c->at = !c->at;
	c->write = random() % 3;
	p = cell_ptr(g, c);
	if (c->used[c->at] && vd_check(p, c->len, c->off, GARBAGE) >= 0)
		return oops(g, "memory was written after its used entry", c->off);
	c->used[c->at] = false;
	vd_fill(p, c->len, c->off, c->write ? c->seq + 1 : GARBAGE);
	b[0] = (struct vd_buf){ c->buf[c->at], first, !c->write };
	b[1] = (struct vd_buf){ c->buf[c->at] + first, c->len - first, !c->write };
	if (!indirect)
		b[0].len = c->len;
	c->rec = vd_record_submit(&g->rec, &(struct vd_record_req){
		.queue = qi, .sector = c->off / 512, .sectors = c->len / 512, .write = c->write, .seed = c->seq + 1,
	}, vd_now_ns());
	head = vd_submit(g->r.d.q[qi], c->write ? VD_T_OUT : VD_T_IN, c->off / 512, b, indirect ? 2 : 1,
			 indirect ? VD_INDIRECT : VD_DIRECT);
	if (head < 0)
		return oops(g, "no room in the ring", head);
	g->of[qi][head] = c;
	c->busy = true;
	g->busy++;
	g->submitted++;
	return true;
}

static bool ended(struct guest *g, unsigned int qi, int head)
{
	struct vd_queue *q = g->r.d.q[qi];
	struct cell *c = g->of[qi][head];
	int status = vd_slot_status(q, head);
	void *p = cell_ptr(g, c);

	vd_record_used(&g->rec, c->rec, vd_now_ns());
	g->of[qi][head] = NULL;
	c->busy = false;
	g->busy--;
	g->ended++;
	if (status != VD_OK)
		return oops(g, status == VD_NO_STATUS ? "no status" : "status", status);
	if (q->used_len[head] != (c->write ? 1 : c->len + 1))
		return oops(g, "used length", q->used_len[head]);
	if (c->write)
		c->seq++;
	else if (vd_check(p, c->len, c->off, c->seq) >= 0)
		return oops(g, "a read has not what was written last", c->off);
	vd_fill(p, c->len, c->off, GARBAGE);
	c->used[c->at] = true;
	return true;
}

/* False as soon as anything is wrong. */
static bool reap(struct guest *g)
{
	unsigned int i;
	int head;

	for (i = 0; i < QUEUES; i++) {
		struct vd_queue *q = g->r.d.q[i];

		while ((head = vd_reap(q)) >= 0)
			if (!ended(g, i, head))
				return false;
		if (q->bad_used)
			return oops(g, "a used entry for what is not there", i);
		if (q->bad_order)
			return oops(g, "a used entry out of order", i);
		if (vd_drain_fd(q->err))
			return oops(g, "the error eventfd", i);
	}
	return !g->wrong;
}

/* Until a notification; what came before it was asked for is looked at instead. */
static int rest(struct guest *g, int ms)
{
	struct pollfd p[QUEUES];
	struct vd_entry e;
	unsigned int i;
	int n;

	for (i = 0; i < QUEUES; i++) {
		struct vd_queue *q = g->r.d.q[i];

		q->ops->call_on(q);
		if (q->ops->used(q, &e))
			return 1;
		p[i] = (struct pollfd){ .fd = q->call, .events = POLLIN };
	}
	n = poll(p, QUEUES, ms);
	for (i = 0; i < QUEUES; i++)
		vd_drain_fd(p[i].fd);
	return n;
}

/* Full load, for so many milliseconds. */
static bool drive(struct guest *g, int ms)
{
	long end = vd_now_ms() + ms;
	unsigned int i, j;

	do {
		if (!reap(g))
			return false;
		for (i = 0; i < QUEUES; i++) {
			for (j = 0; j < CELLS; j++)
				if (!g->cell[i][j].busy && random() % 8 && !submit(g, i, &g->cell[i][j]))
					return false;
			vd_kick(g->r.d.q[i]);
		}
		rest(g, 1);
	} while (vd_now_ms() < end);
	return true;
}

/* Everything ends, and the notifications are enough to see it. */
static bool drain(struct guest *g)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	while (reap(g) && g->busy)
		if (rest(g, VD_WAIT_MS) <= 0 || vd_now_ms() > end)
			return oops(g, "never ended", g->busy);
	if (!g->wrong && g->submitted != g->ended)
		return oops(g, "not as many ended as there were", g->submitted - g->ended);
	return !g->wrong;
}

/* What the disk was asked to do so far. */
static bool recorded(struct guest *g)
{
	return vd_record_read(&g->rec) || oops(g, g->rec.wrong, g->rec.where);
}

/* The disk itself, nothing being under way. */
static bool verify(struct guest *g)
{
	unsigned int i, j, half;
	__u8 *disk = malloc(QUEUES * CELLS / 2 * CELL);

	if (recorded(g) && g->rec.out)
		oops(g, "still at the disk", g->rec.out);

	for (half = 0; half < 2 && !g->wrong; half++) {
		__u64 from = half * (DISK / 2) + VD_RECORD_FROM;

		if (vd_backing_read(&g->r.b, from, disk, QUEUES * CELLS / 2 * CELL))
			oops(g, "reading the disk", half);
		for (i = 0; i < QUEUES; i++)
			for (j = half; j < CELLS; j += 2) {
				struct cell *c = &g->cell[i][j];

				if (vd_check(disk + c->off - from, c->len, c->off, c->seq) >= 0)
					oops(g, "a cell of the disk has not what was written last", c->off);
			}
	}
	free(disk);
	vd_record_drop(&g->rec);
	return !g->wrong;
}

/* ---- the supervisor ---- */

/* Killed; then what it gave back is the guest's, and the rest is in the region. */
static bool vmm_kill(struct guest *g)
{
	unsigned int i, j, n, all = 0;
	__u16 heads[NUM * 2];
	int status;

	kill(g->vmm, SIGKILL);
	if (vd_child_end(g->vmm, &status, REAP_MS))
		return oops(g, "the VMM does not end", 0);
	close(g->from);
	close(g->to);
	if (!reap(g) || !recorded(g))
		return false;
	for (i = 0; i < QUEUES && g->region.map; i++) {
		struct vd_queue *q = g->r.d.q[i];

		n = vd_inflight_heads(&g->region, i, heads);
		for (j = 0; j < n; j++) {
			if (heads[j] >= NUM || !q->busy[heads[j]])
				return oops(g, "in flight in the region, and not for the driver", heads[j]);
			vd_record_in_flight(&g->rec, g->of[i][heads[j]]->rec,
					    vd_inflight_counter(&g->region, i, heads[j]));
			/* The successor does not know which behind them were used before. */
			if (q->seq[heads[j]] > q->latest)
				q->latest = q->seq[heads[j]];
		}
		all += n;
	}
	g->taken += all;
	if (all > g->most)
		g->most = all;
	return true;
}

static bool same_region(struct guest *g)
{
	return vd_inflight_ino(&g->r.d) == g->ino || oops(g, "another region", 0);
}

static struct guest *guest_new(struct vd_rig *r, bool packed)
{
	struct vd_opts o = { .iova = IOVA, .num = NUM, .num_queues = QUEUES };
	struct guest *g = calloc(1, sizeof(*g));
	__u8 *disk = malloc(DISK / 2);
	unsigned int i, j;
	struct vd *d = &g->r.d;

	g->r = *r;
	if (vd_open(d, r->name, &o) || vd_ioctl(d, VHOST_GET_FEATURES, &d->offered))
		return NULL;
	d->features = d->offered;
	for (i = 0; i < QUEUES; i++) {
		d->q[i] = vd_queue_new(d, i, NUM);
		if (!d->q[i])
			return NULL;
		d->nq = i + 1;
		/* A few before the end of the index, or of the ring. */
		vd_queue_start_at(d->q[i], packed ? 0x8000 | (NUM - 3) : 65533);
		for (j = 0; j < CELLS; j++) {
			struct cell *c = &g->cell[i][j];

			c->off = (j % 2) * (DISK / 2) + VD_RECORD_FROM + (i * CELLS + j) / 2 * CELL;
			c->len = j % 8 < 2 ? CELL : CELL / 2;
			c->buf[0] = vd_alloc(d, CELL, CELL);
			c->buf[1] = vd_alloc(d, CELL, CELL);
		}
	}
	for (j = 0; j < 2; j++) {
		__u64 from = j * (DISK / 2) + VD_RECORD_FROM;

		for (i = 0; i < QUEUES * CELLS / 2; i++)
			vd_fill(disk + i * CELL, CELL, from + i * CELL, 0);
		if (vd_backing_write(&r->b, from, disk, QUEUES * CELLS / 2 * CELL))
			return NULL;
	}
	free(disk);
	if (vd_record_open(&g->rec, DISK / 512))
		return NULL;
	/* the first of the VMMs, without a region, and what it makes for itself */
	if (!vmm_go(g, &(struct how){ .fresh = true }) || vd_inflight_take(d, &g->region, packed))
		return NULL;
	g->ino = vd_ino(g->region.arg.fd);
	return g;
}

FIXTURE(kill) {
	struct vd_rig r;
	struct guest *g;
	unsigned int seed;
};

FIXTURE_VARIANT(kill) {
	bool packed;
};

FIXTURE_VARIANT_ADD(kill, split) { false };
FIXTURE_VARIANT_ADD(kill, packed) { true };

FIXTURE_SETUP(kill)
{
	struct vd_config c = { .num_queues = QUEUES, .packed = variant->packed };

	self->seed = vd_now_ms();
	srandom(self->seed);
	ASSERT_EQ(0, vd_rig_make(&self->r, VD_DM_RECORD, DISK, &c, NULL));
	self->g = guest_new(&self->r, variant->packed);
	ASSERT_NE(NULL, self->g);
}

FIXTURE_TEARDOWN_PARENT(kill)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

#define OK(e) do {										\
	bool ok = (e);										\
												\
	ASSERT_TRUE(ok) TH_LOG("%s (%ld), seed %u", g->wrong, g->where, self->seed);		\
} while (0)

static const struct how go_on;

static unsigned int rounds(void)
{
	return kills == KILLS ? vd_rounds(kills) : kills;
}

/* So many, whenever: also one by one before they did anything. */
static bool killed_anywhere(struct guest *g)
{
	unsigned int i, n = rounds();
	bool ok = true;

	for (i = 0; i < n && ok; i++) {
		ok = drive(g, 1 + random() % 25) && vmm_kill(g) && same_region(g) && vmm_go(g, &go_on) &&
		     same_region(g);
		if (ok && !(random() % 3))
			ok = drain(g) && verify(g);
	}
	ok = ok && drain(g) && verify(g);
	printf("# %u kills, %lu requests ended, %lu in flight at the kills, %u at most, %lu done again\n", i, g->ended,
	       g->taken, g->most, g->rec.repeated);
	printf("# %lu bios, %lu of them refused or failed\n", g->rec.bios, g->rec.refused);
	if (ok && g->most < CELLS)
		return oops(g, "too few in flight", g->most);
	if (ok && g->taken < n * CELLS / 2)
		return oops(g, "too few in flight in all", g->taken);
	return ok;
}

TEST_F_TIMEOUT(kill, anywhere, 3400)
{
	struct guest *g = self->g;

	OK(killed_anywhere(g));
}

/* While it takes over, again and again: none of them gets further than a part of it. */
TEST_F_TIMEOUT(kill, in_recovery, 3400)
{
	unsigned int i, n = rounds();
	struct guest *g = self->g;
	struct timespec t = { 0 };

	OK(drive(g, 15));
	OK(vmm_kill(g));
	for (i = 0; i < n; i++) {
		OK(vmm_start(g, &go_on));
		if (i % 2) {
			ASSERT_EQ(READY, vmm_says(g, READY));
			t.tv_nsec = random() % 1500000;
		} else {
			t.tv_nsec = random() % 5000000;
		}
		nanosleep(&t, NULL);
		OK(vmm_kill(g));
		OK(same_region(g));
	}
	OK(vmm_go(g, &go_on));
	OK(drain(g));
	OK(drive(g, 5));
	OK(drain(g));
	OK(verify(g));
}

/* ---- on a disk that stands still ---- */

/* Half of the cells, all on the half of the disk that does not answer; then the VMM ends. */
static bool stuck(struct guest *g)
{
	unsigned int i, j;

	if (vd_backing_freeze(&g->r.b))
		return oops(g, "dmsetup suspend", 0);
	for (i = 0; i < QUEUES; i++) {
		for (j = 1; j < CELLS; j += 2)
			if (!submit(g, i, &g->cell[i][j]))
				return false;
		vd_kick(g->r.d.q[i]);
		if (vd_inflight_wait(&g->region, i, CELLS / 2))
			return oops(g, "not all that is available is taken", i);
	}
	return vmm_kill(g);
}

static bool thaw(struct guest *g)
{
	return !vd_backing_thaw(&g->r.b) || oops(g, "dmsetup resume", 0);
}

/* Until nothing that a dead VMM left is at the disk; then that stands still again. */
static bool settle(struct guest *g)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	struct vhost_inflight_info info;

	if (!thaw(g))
		return false;
	do {
		if (vd_info(&g->r.d, &info))
			return oops(g, "GET_INFO", 0);
	} while (info.orphans && vd_now_ms() < end);
	return !vd_backing_freeze(&g->r.b) || oops(g, "dmsetup suspend", 0);
}

static void at_used(struct guest *g, __u32 *base, bool and_in_flight)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++) {
		struct vd_queue *q = g->r.d.q[i];
		__u32 b = q->ops->base(q);

		if (and_in_flight)
			base[i] = b;
		else
			base[i] = g->region.packed ? b >> 16 | (b & 0xffff0000) : q->last_used;
	}
}

/* The position need not be told, but if it is, it has to be one of two. */
TEST_F_TIMEOUT(kill, positions, 60)
{
	struct guest *g = self->g;
	__u32 base[QUEUES];
	int i, ret;

	OK(drive(g, 10));
	OK(drain(g));
	OK(stuck(g));
	for (i = 0; i < 4; i++) {
		OK(settle(g));
		at_used(g, base, i % 2);
		/* only the last queue's is wrong: the others have been looked at by then */
		base[QUEUES - 1] += i > 1 ? 1 : 0;
		OK(vmm_start(g, &(struct how){ .base = base }));
		ret = vmm_says(g, RUNNING);
		EXPECT_EQ(i > 1 ? -EINVAL : RUNNING, ret) TH_LOG("base %d", i);
		OK(vmm_kill(g));
	}
	OK(thaw(g));
	OK(vmm_go(g, &go_on));
	OK(drain(g));
	OK(verify(g));
}

/* The notification that the one before may have owed, and no other. */
TEST_F_TIMEOUT(kill, one_notification, 60)
{
	struct guest *g = self->g;
	unsigned int i;

	OK(drive(g, 10));
	OK(drain(g));
	OK(stuck(g));
	OK(settle(g));
	for (i = 0; i < QUEUES; i++) {
		g->r.d.q[i]->ops->call_off(g->r.d.q[i]);
		vd_drain_fd(g->r.d.q[i]->call);
	}
	OK(vmm_go(g, &go_on));
	for (i = 0; i < QUEUES; i++) {
		EXPECT_EQ(1, poll(&(struct pollfd){ .fd = g->r.d.q[i]->call, .events = POLLIN }, 1, VD_WAIT_MS));
		EXPECT_EQ(0, vd_inflight_wait(&g->region, i, CELLS / 2));
	}
	poll(NULL, 0, VD_QUIET_MS);
	for (i = 0; i < QUEUES; i++)
		EXPECT_EQ(1, vd_drain_fd(g->r.d.q[i]->call)) TH_LOG("queue %u", i);
	OK(thaw(g));
	OK(drain(g));
	OK(verify(g));
}

/* ---- what is not gone on with ---- */

/* The guest starts again too: what it had made available is no more. */
static void forget(struct guest *g)
{
	unsigned int i, j;

	for (i = 0; i < QUEUES; i++) {
		vd_queue_fresh(g->r.d.q[i]);
		vd_queue_features(g->r.d.q[i]);
		g->r.d.q[i]->latest = g->r.d.q[i]->added;
		vd_drain_fd(g->r.d.q[i]->call);
		vd_drain_fd(g->r.d.q[i]->kick);
		for (j = 0; j < CELLS; j++) {
			struct cell *c = &g->cell[i][j];

			if (c->busy)
				vd_record_void(&g->rec, c->rec, vd_now_ns());
			c->busy = false;
		}
	}
	memset(g->of, 0, sizeof(g->of));
	g->submitted -= g->busy;
	g->busy = 0;
}

/* The VMM starts anew, and so does the guest. */
TEST_F_TIMEOUT(kill, successor_without_the_region, 60)
{
	struct guest *g = self->g;
	__u8 *was = malloc(g->region.arg.mmap_size), data[CELL];
	struct vd_inflight next;
	unsigned int i, j;

	OK(drive(g, 10));
	OK(drain(g));
	OK(stuck(g));
	OK(same_region(g));
	memcpy(was, g->region.map, g->region.arg.mmap_size);
	OK(settle(g));
	OK(thaw(g));
	OK(recorded(g));
	for (i = 0; i < QUEUES; i++)
		for (j = 1; j < CELLS; j += 2) {
			struct cell *c = &g->cell[i][j];

			/* executed or not, nobody knows */
			ASSERT_EQ(0, vd_backing_read(&self->r.b, c->off, data, c->len));
			if (vd_check(data, c->len, c->off, c->seq + 1) < 0)
				c->seq++;
		}
	vd_record_drop(&g->rec);
	forget(g);
	OK(vmm_go(g, &(struct how){ .fresh = true }));
	ASSERT_EQ(0, vd_inflight_take(&g->r.d, &next, variant->packed));
	EXPECT_NE(g->ino, vd_ino(next.arg.fd));
	for (i = 0; i < QUEUES; i++)
		EXPECT_EQ(0, vd_inflight_heads(&next, i, NULL));
	OK(verify(g));
	OK(drive(g, 10));
	OK(drain(g));
	OK(verify(g));
	EXPECT_EQ(0, memcmp(was, g->region.map, g->region.arg.mmap_size));
	free(was);
}

/* The guest reboots after a recovery: nothing of the time before comes back, whoever is killed then. */
TEST_F_TIMEOUT(kill, guest_reset_after_recovery, 60)
{
	struct guest *g = self->g;
	unsigned int i;
	int go = 1;

	OK(drive(g, 10));
	OK(vmm_kill(g));
	OK(vmm_start(g, &(struct how){ .reset = true }));
	ASSERT_EQ(RESET, vmm_says(g, RESET));
	/* what was taken has been given back, the rest was never taken */
	OK(reap(g));
	for (i = 0; i < QUEUES; i++)
		EXPECT_EQ(0, vd_inflight_split(&g->region, i)->version);
	OK(verify(g));
	forget(g);
	tell(g->to, go);
	ASSERT_EQ(AGAIN, vmm_says(g, AGAIN));
	OK(same_region(g));
	for (i = 0; i < QUEUES; i++)
		EXPECT_EQ(0, vd_inflight_heads(&g->region, i, NULL));
	OK(drive(g, 10));
	OK(vmm_kill(g));
	OK(vmm_go(g, &go_on));
	OK(drain(g));
	OK(verify(g));
}

/* Killed between a reset and the next DRIVER_OK: the region is fresh, and the successor's guest starts anew. */
TEST_F_TIMEOUT(kill, killed_after_a_reset, 60)
{
	struct guest *g = self->g;
	__u32 base[QUEUES];

	OK(drive(g, 10));
	OK(vmm_kill(g));
	OK(vmm_start(g, &(struct how){ .reset = true }));
	ASSERT_EQ(RESET, vmm_says(g, RESET));
	OK(vmm_kill(g));
	forget(g);
	at_used(g, base, false);
	OK(vmm_go(g, &(struct how){ .base = base }));
	OK(same_region(g));
	OK(drive(g, 10));
	OK(drain(g));
	OK(verify(g));
}

/* ---- in order, or saying where not ---- */

FIXTURE(order) {
	struct vd_rig r;
	struct guest *g;
	unsigned int seed;
};

FIXTURE_VARIANT(order) {
	bool packed, in_order, partial, no_event_idx;
};

FIXTURE_VARIANT_ADD(order, split_in_order) { .in_order = true, .no_event_idx = true };
FIXTURE_VARIANT_ADD(order, packed_in_order) { .packed = true, .in_order = true };
FIXTURE_VARIANT_ADD(order, split_partial) { .partial = true };
FIXTURE_VARIANT_ADD(order, packed_partial) { .packed = true, .partial = true, .no_event_idx = true };

FIXTURE_SETUP(order)
{
	struct vd_config c = {
		.num_queues = QUEUES, .packed = variant->packed, .in_order = variant->in_order,
		.partial_order = variant->partial, .no_event_idx = variant->no_event_idx,
	};

	self->seed = vd_now_ms();
	srandom(self->seed);
	ASSERT_EQ(0, vd_rig_make(&self->r, VD_DM_RECORD, DISK, &c, NULL));
	self->g = guest_new(&self->r, variant->packed);
	ASSERT_NE(NULL, self->g);
}

FIXTURE_TEARDOWN_PARENT(order)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

TEST_F_TIMEOUT(order, anywhere, 3400)
{
	struct guest *g = self->g;

	OK(killed_anywhere(g));
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "-n")) {
		kills = atoi(argv[2]);
		argv[2] = argv[0];
		argc -= 2;
		argv += 2;
	}
	return test_harness_run(argc, argv);
}
