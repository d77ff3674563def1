// SPDX-License-Identifier: GPL-2.0
/*
 * Workers that poll before they sleep: what they find without a kick, that they ask for kicks again, what ends it, and that
 * a device with nothing to do costs nothing.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "vblk_stop.h"
#include "vblk_worker.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x100000
#define NUM	64
#define MOST_US	100000
#define MOST_MS	(MOST_US / 1000)
/* What ends a worker's polling, and not its time being over, takes less at least once in some rounds. */
#define AT_ONCE_MS	(MOST_MS / 2)
#define ROUNDS	6

FIXTURE(polling) {
	struct vd_rig r;
	struct vd_queue *q;
	__u64 buf;
	pid_t worker;
};

FIXTURE_VARIANT(polling) {
	bool packed, no_event_idx;
};

FIXTURE_VARIANT_ADD(polling, split) { false, false };
FIXTURE_VARIANT_ADD(polling, split_flags) { false, true };
FIXTURE_VARIANT_ADD(polling, packed) { true, false };
FIXTURE_VARIANT_ADD(polling, packed_flags) { true, true };

/* A worker polls only while nobody else wants its processor: the test has another one. */
static int apart(pid_t worker)
{
	cpu_set_t us, it;

	CPU_ZERO(&us);
	CPU_ZERO(&it);
	CPU_SET(0, &us);
	CPU_SET(1, &it);
	return sched_setaffinity(0, sizeof(us), &us) || sched_setaffinity(worker, sizeof(it), &it) ? -errno : 0;
}

static int begin(struct vd *d, const char *name, bool packed, bool no_event_idx)
{
	struct vd_opts o = {
		.iova = IOVA, .num = NUM, .drop_features = no_event_idx ? VD_F_EVENT_IDX : 0,
	};
	int ret = vd_start(d, name, &o);
	pid_t worker;

	if (ret)
		return ret;
	worker = vd_worker(0);
	return worker < 0 ? worker : apart(worker) ?: worker;
}

FIXTURE_SETUP(polling)
{
	struct vd_config c = { .packed = variant->packed, .poll_us = MOST_US };

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, &c, NULL));
	self->worker = begin(&self->r.d, self->r.name, variant->packed, variant->no_event_idx);
	ASSERT_LT(0, self->worker);
	self->q = self->r.d.q[0];
	self->buf = vd_alloc(&self->r.d, 1 << 20, 4096);
}

FIXTURE_TEARDOWN_PARENT(polling)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* Would the device have a kick for the next buffer? */
static bool armed(const struct vd_queue *q)
{
	__u16 flags;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (q->ops == &vd_packed_ops) {
		flags = __atomic_load_n(&q->device->flags, __ATOMIC_ACQUIRE);
		if (flags != VRING_PACKED_EVENT_FLAG_DESC)
			return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
		return __atomic_load_n(&q->device->off_wrap, __ATOMIC_RELAXED) == (q->put.slot | q->put.wrap << 15);
	}
	if (!q->event_idx)
		return !(__atomic_load_n(&q->used->flags, __ATOMIC_ACQUIRE) & VD_USED_NO_NOTIFY);
	return __atomic_load_n(vd_avail_event(q), __ATOMIC_ACQUIRE) == q->avail_idx;
}

static int until_armed(const struct vd_queue *q)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	while (!armed(q)) {
		if (vd_now_ms() > end)
			return -ETIMEDOUT;
		sched_yield();
	}
	return 0;
}

static int read_one(struct vd_queue *q, __u64 buf)
{
	int ret = vd_rw(q, VD_T_IN, 0, buf, 512);

	return ret == VD_OK ? 0 : ret < 0 ? ret : -EIO;
}

/*
 * Until the worker polls, and has nearly all of the time before it that it may. It learns that from a pause of more than half as
 * long, and again where the machine made one of the others too long.
 */
static int until_polls(struct vd_queue *q, __u64 buf)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	int ret;

	do {
		ret = read_one(q, buf);
		poll(NULL, 0, MOST_MS * 6 / 10);
		ret = ret ?: read_one(q, buf);
		if (ret)
			return ret;
		/* it ends its turn */
		poll(NULL, 0, MOST_MS / 20);
		if (!armed(q))
			return 0;
	} while (vd_now_ms() < end);
	return -ETIMEDOUT;
}

/* ---- what it is for ---- */

TEST_F_TIMEOUT(polling, reads_what_was_written, 90)
{
	struct vhost_inflight_queue_info info;
	unsigned int i, n, round, rnd = 4711;
	__u32 seed[NUM] = { 0 };
	int head;

	for (round = 0; round < vd_rounds(600); round++) {
		bool write = round % 3 != 2;

		rnd = rnd * 1103515245 + 12345;
		n = 1 + (rnd >> 16) % 8;
		for (i = 0; i < n; i++) {
			struct vd_buf b = { self->buf + i * 4096, 4096, !write };

			if (write) {
				seed[i] = round + 1;
				vd_fill(vd_ptr(&self->r.d, b.addr), b.len, i * 4096, seed[i]);
			} else {
				memset(vd_ptr(&self->r.d, b.addr), 0, b.len);
			}
			head = vd_submit(self->q, write ? VD_T_OUT : VD_T_IN, i * 8, &b, 1,
					 i % 2 ? VD_INDIRECT : VD_DIRECT);
			ASSERT_LE(0, head);
			if (rnd >> 20 & 1)
				vd_kick(self->q);
		}
		vd_kick(self->q);
		if (rnd >> 21 & 1) {
			ASSERT_EQ(0, vd_spin(self->q, n, VD_WAIT_MS)) TH_LOG("round %u", round);
		} else {
			ASSERT_EQ(0, vd_wait(self->q, n, VD_WAIT_MS)) TH_LOG("round %u", round);
		}
		for (i = 0; i < n && !write; i++) {
			void *data = vd_ptr(&self->r.d, self->buf + i * 4096);

			ASSERT_EQ(-1, seed[i] ? vd_check(data, 4096, i * 4096, seed[i]) : -1) {
				TH_LOG("round %u", round);
			}
		}
		if (!(rnd >> 22 & 7))
			usleep((rnd >> 8) % 3000);
	}
	ASSERT_EQ(0, self->q->bad_used);
	ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &info));
	EXPECT_LT(0, info.poll_hits);
}

/* The device wants no kick, none is sent, and the request is served. */
TEST_F_TIMEOUT(polling, without_a_kick, 120)
{
	struct vhost_inflight_queue_info begin, before, after;
	struct vd_buf b = { self->buf, 512, true };
	long end = vd_now_ms() + 3 * VD_WAIT_MS, best = VD_WAIT_MS, ms;
	unsigned int served = 0;
	bool kicked;

	ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &begin));
	while (served < ROUNDS) {
		ASSERT_GT(end, vd_now_ms()) TH_LOG("%u rounds", served);
		ASSERT_EQ(0, until_polls(self->q, self->buf));
		ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &before));
		ms = vd_now_ms();
		ASSERT_LE(0, vd_submit(self->q, VD_T_IN, 0, &b, 1, VD_DIRECT));
		/* It is, where the worker gave up just before. */
		kicked = vd_kick(self->q);
		ASSERT_EQ(0, vd_spin(self->q, 1, VD_WAIT_MS)) TH_LOG("lost, kicked %d", kicked);
		ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &after));
		if (kicked)
			continue;
		ms = vd_now_ms() - ms;
		best = ms < best ? ms : best;
		served++;
		EXPECT_EQ(before.kicks, after.kicks);
	}
	EXPECT_LT(begin.poll_hits, after.poll_hits);
	/* Else it was found only when the worker gave up. */
	EXPECT_GT(AT_ONCE_MS, best);
}

/* After that it sees nothing but kicks, which it asks for. */
TEST_F_TIMEOUT(polling, gives_up, 60)
{
	struct vhost_inflight_queue_info before, after;
	struct vd_buf b = { self->buf, 512, true };
	struct vd_used_up u;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &before));
		ASSERT_EQ(0, until_polls(self->q, self->buf));
		ASSERT_EQ(0, until_armed(self->q));
		ASSERT_EQ(0, vd_until_asleep(self->worker, &u));
		ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &after));
		EXPECT_LT(before.poll_misses, after.poll_misses);
		ASSERT_LE(0, vd_submit(self->q, VD_T_IN, 0, &b, 1, VD_DIRECT));
		poll(NULL, 0, VD_QUIET_MS);
		EXPECT_EQ(-EAGAIN, vd_reap(self->q));
		EXPECT_TRUE(vd_kick(self->q));
		ASSERT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	}
}

/* Where what comes is never soon enough it does not try. */
TEST_F_TIMEOUT(polling, learns, 60)
{
	struct vhost_inflight_queue_info before, after;
	int i;

	ASSERT_EQ(0, vd_attr_set(self->r.name, "poll_us", "1000"));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, read_one(self->q, self->buf));
		if (!i) {
			ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &before));
		}
		poll(NULL, 0, 20);
		EXPECT_EQ(0, until_armed(self->q));
	}
	ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &after));
	/* not each time: what the disk makes of it is learned apart, and may not be as it was the last time */
	EXPECT_GT(before.poll_misses + 15, after.poll_misses);
	/* and then does, where it is */
	ASSERT_EQ(0, vd_attr_set(self->r.name, "poll_us", "%d", MOST_US));
	ASSERT_EQ(0, until_polls(self->q, self->buf));
}

/* ---- what it costs ---- */

TEST_F_TIMEOUT(polling, idle_costs_nothing, 60)
{
	struct vd_used_up before, after;
	char state;
	int on;

	for (on = 1; on >= 0; on--) {
		ASSERT_EQ(0, vd_attr_set(self->r.name, "poll_us", "%d", on ? MOST_US : 0));
		ASSERT_EQ(0, on ? until_polls(self->q, self->buf) : read_one(self->q, self->buf));
		ASSERT_EQ(0, until_armed(self->q));
		ASSERT_EQ(0, vd_until_asleep(self->worker, &before));
		poll(NULL, 0, 10 * MOST_MS);
		ASSERT_EQ(0, vd_used_up(self->worker, &after, &state));
		EXPECT_EQ(before.switches, after.switches);
		EXPECT_EQ(before.forced, after.forced);
		EXPECT_EQ(before.ns, after.ns);
		/* what is looked at is what a request costs */
		ASSERT_EQ(0, read_one(self->q, self->buf));
		ASSERT_EQ(0, vd_until_asleep(self->worker, &after));
		EXPECT_LT(before.switches, after.switches);
		EXPECT_LT(before.ns, after.ns);
	}
}

/* ---- what ends it ---- */

static int flush(struct vd *d)
{
	return vd_stop(d, VD_FLUSH, VD_WAIT_MS) ?: vd_stopped(d);
}

static int preserve(struct vd *d)
{
	return vd_stop(d, VD_PRESERVE, VD_WAIT_MS) ?: vd_stopped(d);
}

static int go_on(struct vd *d)
{
	return vd_renew(d) ?: vd_set_status(d, VD_S_RUNS);
}

static int disable(struct vd *d)
{
	return vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, 0, 0);
}

static int enable(struct vd *d)
{
	return vd_renew(d) ?: vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, 0, 1);
}

/* At once, and not when the time it polls for is over; it polls again afterwards. */
TEST_F_TIMEOUT(polling, stands_still, 120)
{
	static const struct {
		const char *what;
		int (*stop)(struct vd *d);
		int (*go_on)(struct vd *d);
	} t[] = {
		{ "SUSPEND", vd_suspend, vd_resume },
		{ "STOP, flush", flush, go_on },
		{ "STOP, preserve", preserve, go_on },
		{ "the queue is disabled", disable, enable },
		{ "reset", vd_reset, vd_restart },
	};
	struct vd_used_up u, later;
	struct vd *d = &self->r.d;
	unsigned int i, round;
	long best, ms;
	char state;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		for (round = 0, best = VD_WAIT_MS; round < ROUNDS && best >= AT_ONCE_MS; round++) {
			ASSERT_EQ(0, until_polls(self->q, self->buf)) TH_LOG("%s", t[i].what);
			ms = vd_now_ms();
			ASSERT_EQ(0, t[i].stop(d)) TH_LOG("%s", t[i].what);
			ASSERT_EQ(0, vd_until_asleep(self->worker, &u)) TH_LOG("%s", t[i].what);
			ms = vd_now_ms() - ms;
			best = ms < best ? ms : best;
			poll(NULL, 0, MOST_MS / 2);
			ASSERT_EQ(0, vd_used_up(self->worker, &later, &state));
			EXPECT_TRUE(vd_used_same(&u, &later)) TH_LOG("%s", t[i].what);
			ASSERT_EQ(0, t[i].go_on(d)) TH_LOG("%s", t[i].what);
			self->q = d->q[0];
			ASSERT_EQ(0, read_one(self->q, self->buf)) TH_LOG("%s", t[i].what);
		}
		EXPECT_GT(AT_ONCE_MS, best) TH_LOG("%s", t[i].what);
	}
}

TEST_F_TIMEOUT(polling, turned_off, 60)
{
	struct vhost_inflight_queue_info before, after;
	struct vd_buf b = { self->buf, 512, true };
	long best = VD_WAIT_MS, ms;
	struct vd_used_up u;
	int round;

	for (round = 0; round < ROUNDS && best >= AT_ONCE_MS; round++) {
		ASSERT_EQ(0, vd_attr_set(self->r.name, "poll_us", "%d", MOST_US));
		ASSERT_EQ(0, until_polls(self->q, self->buf));
		ms = vd_now_ms();
		ASSERT_EQ(0, vd_attr_set(self->r.name, "poll_us", "0"));
		ASSERT_EQ(0, until_armed(self->q));
		ms = vd_now_ms() - ms;
		best = ms < best ? ms : best;
		ASSERT_EQ(0, vd_until_asleep(self->worker, &u));
		ASSERT_LE(0, vd_submit(self->q, VD_T_IN, 0, &b, 1, VD_DIRECT));
		poll(NULL, 0, VD_QUIET_MS);
		EXPECT_EQ(-EAGAIN, vd_reap(self->q));
		EXPECT_TRUE(vd_kick(self->q));
		ASSERT_EQ(0, vd_wait(self->q, 1, VD_WAIT_MS));
	}
	EXPECT_GT(AT_ONCE_MS, best);
	ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &before));
	for (round = 0; round < 20; round++)
		ASSERT_EQ(0, read_one(self->q, self->buf));
	ASSERT_EQ(0, vd_until_asleep(self->worker, &u));
	ASSERT_EQ(0, vd_qinfo(&self->r.d, 0, &after));
	EXPECT_EQ(before.poll_hits, after.poll_hits);
	EXPECT_EQ(before.poll_misses, after.poll_misses);
}

TEST_F_TIMEOUT(polling, engine_is_exchanged, 90)
{
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, until_polls(self->q, self->buf));
		ASSERT_EQ(0, vd_exchange());
		ASSERT_EQ(0, read_one(self->q, self->buf));
		ASSERT_EQ(0, until_polls(self->q, self->buf));
		ASSERT_EQ(0, until_armed(self->q));
		ASSERT_EQ(0, read_one(self->q, self->buf));
	}
}

/* The memory that the rings are in is exchanged for itself, as QEMU does: nothing is lost. */
TEST_F_TIMEOUT(polling, mapped_anew, 60)
{
	struct vd *d = &self->r.d;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, until_polls(self->q, self->buf));
		ASSERT_LT(0, vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0));
		ASSERT_LT(0, vd_msg(d, VHOST_IOTLB_INVALIDATE, d->mem[0].iova, d->mem[0].size, NULL, 0));
		ASSERT_LT(0, vd_msg(d, VHOST_IOTLB_UPDATE, d->mem[0].iova, d->mem[0].size, d->mem[0].va, VHOST_ACCESS_RW));
		ASSERT_LT(0, vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0));
		ASSERT_EQ(0, read_one(self->q, self->buf));
	}
}

/* ---- the end of an owner ---- */

FIXTURE(owner) {
	struct vd_rig r;
};

FIXTURE_SETUP(owner)
{
	struct vd_config c = { .poll_us = MOST_US };

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, &c, NULL));
}

FIXTURE_TEARDOWN_PARENT(owner)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* Says so in @fd whenever its worker begins to poll, and goes on when it is told to. */
static void vmm(const char *name, int fd, int go)
{
	char c = 0;
	struct vd d;
	__u64 buf;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (begin(&d, name, false, false) < 0)
		_exit(1);
	buf = vd_alloc(&d, 4096, 4096);
	do {
		if (until_polls(d.q[0], buf) || write(fd, &c, 1) != 1)
			_exit(2);
	} while (read(go, &c, 1) == 1);
	_exit(3);
}

static pid_t start_vmm(const char *name, int *fd, int *go)
{
	int a[2], b[2];
	pid_t pid;
	char c;

	if (pipe(a) || pipe(b))
		return -errno;
	pid = fork();
	if (!pid)
		vmm(name, a[1], b[0]);
	close(a[1]);
	close(b[0]);
	*fd = a[0];
	*go = b[1];
	return read(*fd, &c, 1) == 1 ? pid : -ECHILD;
}

TEST_F_TIMEOUT(owner, killed, 90)
{
	static const struct vd_opts opts = { .iova = IOVA, .num = NUM };
	long best = VD_WAIT_MS, ms;
	int round, status, fd, go;
	struct vd d;
	pid_t pid;

	for (round = 0; round < ROUNDS && best >= MOST_MS * 8 / 10; round++) {
		pid = start_vmm(self->r.name, &fd, &go);
		ASSERT_LT(0, pid);
		ms = vd_now_ms();
		kill(pid, SIGKILL);
		ASSERT_EQ(0, vd_child_end(pid, &status, VD_WAIT_MS));
		ms = vd_now_ms() - ms;
		best = ms < best ? ms : best;
		EXPECT_TRUE(WIFSIGNALED(status));
		close(fd);
		close(go);
		ASSERT_EQ(0, vd_open(&d, self->r.name, &opts) ?: vd_patiently(vd_negotiate(&d)));
		ASSERT_EQ(0, vd_map_all(&d) ?: vd_setup_queues(&d) ?: vd_patiently(vd_driver_ok(&d)));
		ASSERT_EQ(0, read_one(d.q[0], vd_alloc(&d, 4096, 4096)));
		vd_close(&d);
	}
	EXPECT_GT(MOST_MS * 8 / 10, best);
}

TEST_F_TIMEOUT(owner, stopped_by_a_signal, 90)
{
	int round, status, fd, go;
	char c = 0;
	pid_t pid = start_vmm(self->r.name, &fd, &go);

	ASSERT_LT(0, pid);
	for (round = 0; round < 3; round++) {
		kill(pid, SIGSTOP);
		ASSERT_EQ(0, vd_child_stopped(pid));
		kill(pid, SIGCONT);
		ASSERT_EQ(1, write(go, &c, 1));
		/* its requests go on */
		ASSERT_EQ(1, read(fd, &c, 1));
	}
	kill(pid, SIGSTOP);
	ASSERT_EQ(0, vd_child_stopped(pid));
	kill(pid, SIGKILL);
	ASSERT_EQ(0, vd_child_end(pid, &status, VD_WAIT_MS));
	close(fd);
	close(go);
}

/* ---- what an administrator says ---- */

TEST(attribute)
{
	static const char *const bad[] = { "100001", "-1", "4294967296", "x", "1ms" };
	struct vd_rig r = { 0 };
	unsigned int enabled, i;

	ASSERT_EQ(0, vd_backing_make(&r.b, VD_TMPFS, DISK));
	vd_name(r.name, "");
	ASSERT_EQ(0, vd_mkdir(r.name));
	r.created = true;
	EXPECT_EQ(0, vd_attr_num(r.name, "poll_us"));
	ASSERT_EQ(0, vd_attr_set(r.name, "path", "%s", r.b.path));
	for (enabled = 0; enabled < 2; enabled++) {
		EXPECT_EQ(0, vd_attr_set(r.name, "poll_us", "7"));
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			EXPECT_EQ(-EINVAL, vd_attr_set(r.name, "poll_us", "%s", bad[i])) {
				TH_LOG("'%s'", bad[i]);
			}
		}
		EXPECT_EQ(7, vd_attr_num(r.name, "poll_us"));
		EXPECT_EQ(0, vd_attr_set(r.name, "poll_us", "%d", MOST_US));
		EXPECT_EQ(MOST_US, vd_attr_num(r.name, "poll_us"));
		EXPECT_EQ(0, vd_attr_set(r.name, "poll_us", "0"));
		ASSERT_EQ(0, vd_attr_set(r.name, "enable", "1"));
	}
	EXPECT_EQ(0, vd_rig_free(&r));
}

TEST_HARNESS_MAIN
