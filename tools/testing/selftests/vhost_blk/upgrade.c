// SPDX-License-Identifier: GPL-2.0
/*
 * The engine is exchanged under running devices: requests at the disk, held back, not begun yet. The disk writes down what it
 * is asked to do: each request once, whoever sent it and whoever gave it back.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "vblk_inflight.h"
#include "vblk_record.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define LATE	(DISK / 1024)	/* sector where the late half of the disk begins */
#define IOVA	0x200000
#define QUEUES	4
#define NUM	64
#define SECTORS	128		/* of each queue */

#define RING_FEATURES	(VD_F_INDIRECT | VD_F_EVENT_IDX | VD_F_PACKED | VD_F_IN_ORDER | VD_F_PARTIAL_ORDER)
#define ROOT		"/sys/kernel/config/vhost_blk/"
#define ENGINE		"/run/vblk/vhost_blk.ko"	/* lib.sh inserted it from there */

static int detach(unsigned int ms)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", ms);
	return vd_write_file(ROOT "detach", text);
}

static int replace(const char *engine)
{
	return vd_run("rmmod vhost_blk") ?: vd_run("insmod %s", engine);
}

/* In milliseconds, or -errno. */
static long exchange(void)
{
	long begin = vd_now_ms();
	int ret = detach(5000) ?: replace(ENGINE);

	return ret ?: vd_now_ms() - begin;
}

/* ---- a load that checks itself ---- */

struct load {
	struct vd_queue *q;
	__u64 data;			/* a sector for each head */
	__u64 first;			/* sector of the disk */
	unsigned int next, out;
	__u32 version[SECTORS];
	bool busy[SECTORS];
	__u16 at[VD_MAX_NUM];
	const char *wrong;
	struct vd_record *rec;
	struct vd_record_req *req[SECTORS];
};

/* Up to so many writes, as there is room for, half of them to the late half of the disk. */
static void fill_some(struct load *l, unsigned int most)
{
	unsigned int n, need = l->q->d->features & VD_F_INDIRECT ? 1 : 3;

	for (n = 0; n < most && l->q->nr_free >= need; n++) {
		unsigned int i = l->next++ % SECTORS;
		int head = l->q->free[l->q->nr_free - 1];
		struct vd_buf b = { .addr = l->data + head * 512, .len = 512 };
		__u64 sector = l->first + (i & 1 ? LATE : 0) + i;

		if (l->busy[i])
			continue;
		vd_fill(vd_ptr(l->q->d, b.addr), 512, sector * 512, l->version[i] + 1);
		l->req[i] = vd_record_submit(l->rec, &(struct vd_record_req){
			.queue = l->q->index, .sector = sector, .sectors = 1, .write = true, .seed = l->version[i] + 1,
		}, vd_now_ns());
		if (vd_submit(l->q, VD_T_OUT, sector, &b, 1,
			      l->q->d->features & VD_F_INDIRECT ? VD_INDIRECT : VD_DIRECT) != head)
			break;
		l->version[i]++;
		l->busy[i] = true;
		l->at[head] = i;
		l->out++;
	}
	vd_kick(l->q);
}

static void fill(struct load *l)
{
	fill_some(l, SECTORS);
}

static void over(struct load *l)
{
	int head;

	while ((head = vd_reap(l->q)) >= 0) {
		vd_record_used(l->rec, l->req[l->at[head]], vd_now_ns());
		if (vd_slot_status(l->q, head))
			l->wrong = "a request failed";
		l->busy[l->at[head]] = false;
		l->out--;
	}
}

/* All that are out come back, each of them once. */
static int finish(struct load *l)
{
	while (l->out) {
		int ret = vd_more(l->q, VD_WAIT_MS);

		if (ret)
			return ret;
		over(l);
	}
	return l->wrong || l->q->bad_used || l->q->bad_order ? -EBADMSG : 0;
}

static int compare(struct load *l)
{
	static __u8 sector[512];
	unsigned int i;

	for (i = 0; i < SECTORS; i++) {
		__u64 at = l->first + (i & 1 ? LATE : 0) + i;

		if (!l->version[i])
			continue;
		if (vd_rw(l->q, VD_T_IN, at, l->data, 512))
			return -EIO;
		memcpy(sector, vd_ptr(l->q->d, l->data), 512);
		if (vd_check(sector, 512, at * 512, l->version[i]) != -1)
			return -EILSEQ;
	}
	return 0;
}

/* All is over: nothing is left at the disk, and each request was there once, in one piece. */
static int once(struct vd_record *r, unsigned long requests)
{
	if (!vd_record_read(r))
		printf("# %s (%ld)\n", r->wrong, r->where);
	return r->wrong || r->out || r->ended != requests ? -EBADMSG : 0;
}

/* A device of four queues with a load for each. */
struct four {
	struct vd_rig r;
	struct vd_record rec;
	struct load l[QUEUES];
};

static int four_make(struct four *f, enum vd_backing_kind kind, __u64 features)
{
	struct vd_config c = {
		.num_queues = QUEUES, .packed = true, .in_order = true, .partial_order = true,
	};
	struct vd_opts o = {
		.iova = IOVA, .num = NUM, .num_queues = QUEUES, .drop_features = RING_FEATURES & ~features,
	};
	struct vd *d = &f->r.d;
	int i, ret;

	ret = vd_rig_make(&f->r, kind, DISK, &c, NULL) ?: vd_start(d, f->r.name, &o) ?:
	      vd_record_open(&f->rec, DISK / 512);
	for (i = 0; i < QUEUES && !ret; i++) {
		f->l[i].q = d->q[i];
		f->l[i].rec = &f->rec;
		f->l[i].data = vd_alloc(d, NUM * 512, 4096);
		f->l[i].first = VD_RECORD_FROM / 512 + i * SECTORS;
	}
	return ret;
}

FIXTURE(upgrade) {
	struct four f;
};

FIXTURE_VARIANT(upgrade) {
	__u64 features;
};

FIXTURE_VARIANT_ADD(upgrade, split) { VD_F_EVENT_IDX | VD_F_INDIRECT };
FIXTURE_VARIANT_ADD(upgrade, split_in_order) { VD_F_EVENT_IDX | VD_F_IN_ORDER };
FIXTURE_VARIANT_ADD(upgrade, packed) { VD_F_PACKED };
FIXTURE_VARIANT_ADD(upgrade, packed_partial_order) { VD_F_PACKED | VD_F_EVENT_IDX | VD_F_PARTIAL_ORDER };
FIXTURE_VARIANT_ADD(upgrade, all) { RING_FEATURES };

FIXTURE_SETUP(upgrade)
{
	ASSERT_EQ(0, four_make(&self->f, VD_DM_RECORD, variant->features));
}

FIXTURE_TEARDOWN_PARENT(upgrade)
{
	EXPECT_EQ(0, vd_rig_free(&self->f.r));
}

static unsigned int out(struct vd *d)
{
	struct vhost_inflight_queue_info info;
	unsigned int i, n = 0;

	for (i = 0; i < QUEUES; i++)
		n += vd_qinfo(d, i, &info) ? 0 : info.depth;
	return n;
}

/* Until the device has taken at least @n. */
static int taken(struct vd *d, unsigned int n)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	while (out(d) < n)
		if (vd_now_ms() > end)
			return -ETIMEDOUT;
	return 0;
}

/* That were made available so far. */
static unsigned long requests(const struct load *l)
{
	unsigned long n = 0;
	unsigned int i, j;

	for (i = 0; i < QUEUES; i++)
		for (j = 0; j < SECTORS; j++)
			n += l[i].version[j];
	return n;
}

TEST_F_TIMEOUT(upgrade, under_load, 120)
{
	/* What holds at once: a request takes a third of a ring without tables. */
	unsigned int rounds = vd_rounds(5), i, n, least = variant->features & VD_F_INDIRECT ? 64 : 24;
	long ms, most = 0, sum = 0;

	for (n = 0; n < rounds; n++) {
		for (i = 0; i < QUEUES; i++) {
			over(&self->f.l[i]);
			fill(&self->f.l[i]);
		}
		ASSERT_EQ(0, vd_backing_freeze(&self->f.r.b));
		for (i = 0; i < QUEUES; i++) {
			over(&self->f.l[i]);
			fill(&self->f.l[i]);
		}
		EXPECT_EQ(0, taken(&self->f.r.d, least));
		ms = exchange();
		ASSERT_LE(0, ms);
		for (i = 0; i < QUEUES; i++)
			vd_vague(self->f.l[i].q);
		sum += ms;
		most = ms > most ? ms : most;
		/* Some come back to the engine that did not send them. */
		ASSERT_EQ(0, vd_backing_thaw(&self->f.r.b));
		if (n & 1)
			for (i = 0; i < QUEUES; i++)
				ASSERT_EQ(0, finish(&self->f.l[i])) TH_LOG("queue %u: %s", i, self->f.l[i].wrong);
	}
	for (i = 0; i < QUEUES; i++)
		EXPECT_EQ(0, finish(&self->f.l[i])) TH_LOG("queue %u: %s", i, self->f.l[i].wrong);
	EXPECT_EQ(0, once(&self->f.rec, requests(self->f.l)));
	for (i = 0; i < QUEUES; i++)
		EXPECT_EQ(0, compare(&self->f.l[i]));
	EXPECT_EQ(0xf, vd_status(&self->f.r.d));
	TH_LOG("%u exchanges, mean %ld ms, longest %ld ms", rounds, sum / rounds, most);
}

/* A worker waits for a page that userspace does not bring: the engine stays, and all runs on. */
TEST_F_TIMEOUT(upgrade, timed_out_in_a_page_fault, 60)
{
	struct vd *d = &self->f.r.d;
	struct vd_buf b = { .addr = vd_alloc(d, 4096, 4096), .len = 4096 };
	struct uffdio_zeropage zero = { .range = { (unsigned long)vd_ptr(d, b.addr), b.len } };
	int uffd = vd_hold_faults(vd_ptr(d, b.addr), b.len), i;
	long begin;

	ASSERT_LE(0, uffd);
	ASSERT_LE(0, vd_submit(d->q[0], VD_T_OUT, 0, &b, 1, VD_DIRECT));
	vd_kick(d->q[0]);
	ASSERT_EQ(1, poll(&(struct pollfd){ .fd = uffd, .events = POLLIN }, 1, VD_WAIT_MS));

	begin = vd_now_ms();
	EXPECT_EQ(-ETIMEDOUT, detach(300));
	/* but for a tick */
	EXPECT_LE(290, vd_now_ms() - begin);
	EXPECT_GT(300 + VD_WAIT_MS / 2, vd_now_ms() - begin);
	for (i = 1; i < QUEUES; i++) {
		fill(&self->f.l[i]);
		EXPECT_EQ(0, finish(&self->f.l[i])) TH_LOG("queue %u: %s", i, self->f.l[i].wrong);
	}
	EXPECT_EQ(-EIO, vd_run("rmmod vhost_blk"));

	ASSERT_EQ(0, ioctl(uffd, UFFDIO_ZEROPAGE, &zero));
	EXPECT_EQ(0, vd_wait(d->q[0], 1, VD_WAIT_MS));
	ASSERT_LE(0, exchange());
	fill(&self->f.l[0]);
	EXPECT_EQ(0, finish(&self->f.l[0])) TH_LOG("%s", self->f.l[0].wrong);
	close(uffd);
}

struct move {
	struct vd *d;
	void *to;
	int ret;
};

/* Guest memory is somewhere else now. */
static void *move(void *arg)
{
	struct move *m = arg;
	struct vd_region *mem = &m->d->mem[0];

	m->ret = vd_msg(m->d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0);
	if (m->ret >= 0)
		m->ret = vd_msg(m->d, VHOST_IOTLB_INVALIDATE, mem->iova, mem->size, NULL, 0);
	if (m->ret >= 0)
		m->ret = vd_msg(m->d, VHOST_IOTLB_UPDATE, mem->iova, mem->size, m->to, VHOST_ACCESS_RW);
	if (m->ret >= 0)
		m->ret = vd_msg(m->d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0);
	return NULL;
}

/* The owner has its rings moved into a page that does not come: that is between the two of them. */
TEST_F_TIMEOUT(upgrade, while_the_rings_move_into_a_page_fault, 60)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MINOR };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), i, parked;
	struct vd *d = &self->f.r.d;
	struct vd_region *mem = &d->mem[0];

	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_API, &api));
	for (parked = 0; parked < 2; parked++) {
		struct move m = { d, mmap(NULL, mem->size, PROT_READ | PROT_WRITE, MAP_SHARED, d->memfd, 0) };
		pthread_t thread;

		ASSERT_NE(MAP_FAILED, m.to);
		reg.range.start = (unsigned long)m.to;
		reg.range.len = mem->size;
		ASSERT_EQ(0, ioctl(uffd, UFFDIO_REGISTER, &reg));
		if (parked) {
			ASSERT_EQ(0, detach(2000));
		}
		ASSERT_EQ(0, pthread_create(&thread, NULL, move, &m));
		EXPECT_EQ(1, poll(&(struct pollfd){ .fd = uffd, .events = POLLIN }, 1, VD_WAIT_MS));
		if (!parked) {
			EXPECT_EQ(0, detach(2000));
		}
		EXPECT_EQ(0, replace(ENGINE));
		/* Which wakes nobody who waits for a minor fault. */
		EXPECT_EQ(0, ioctl(uffd, UFFDIO_UNREGISTER, &reg.range));
		EXPECT_EQ(0, ioctl(uffd, UFFDIO_WAKE, &reg.range));
		pthread_join(thread, NULL);
		EXPECT_LE(0, m.ret);
		for (i = 0; i < QUEUES; i++) {
			fill(&self->f.l[i]);
			EXPECT_EQ(0, finish(&self->f.l[i])) TH_LOG("queue %u: %s", i, self->f.l[i].wrong);
		}
	}
	close(uffd);
}

static int is_stopped(pid_t pid)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	char path[64], text[512], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	do {
		if (vd_read_file(path, text, sizeof(text)) < 0)
			return -errno;
		p = strrchr(text, ')');
		if (p && p[2] == 'T')
			return 0;
	} while (vd_now_ms() < end);
	return -ETIMEDOUT;
}

/* The VMM stands still, and with it the workers: that is no reason to wait. */
/* ---- what others can write to, and an exchange reads ---- */

static void no_marks(struct vd_queue *q, const struct vd_inflight *r)
{
	unsigned int i;

	for (i = 0; i < r->arg.queue_size; i++)
		if (r->packed)
			vd_inflight_packed(r, q->index)->desc[i].inflight = 0;
		else
			vd_inflight_split(r, q->index)->desc[i].inflight = 0;
}

static void another_version(struct vd_queue *q, const struct vd_inflight *r)
{
	vd_inflight_split(r, q->index)->version = 9;
}

/* The guest's own memory; a packed ring has no index. */
static void used_idx(struct vd_queue *q, const struct vd_inflight *r)
{
	if (r->packed)
		no_marks(q, r);
	else
		q->used->idx += 1000;
}

/* Who does that breaks its queue. No other queue goes without an engine for it, and nothing is lost in the kernel. */
TEST_F_TIMEOUT(upgrade, written_to_by_others, 120)
{
	static void (*const spoil[])(struct vd_queue *, const struct vd_inflight *) = {
		no_marks, another_version, used_idx,
	};
	struct vhost_inflight_queue_info info;
	struct vd *d = &self->f.r.d;
	struct vd_inflight reg;
	unsigned int k, i;

	ASSERT_EQ(0, vd_inflight_take(d, &reg, variant->features & VD_F_PACKED));
	for (k = 0; k < ARRAY_SIZE(spoil); k++) {
		struct vd_buf b = { .addr = vd_alloc(d, 512, 512), .len = 512 };
		struct vd_queue *q = d->q[0];

		ASSERT_EQ(0, vd_backing_freeze(&self->f.r.b));
		for (i = 0; i < 4; i++)
			ASSERT_LE(0, vd_submit(q, VD_T_OUT, LATE + i, &b, 1, VD_DIRECT));
		vd_kick(q);
		ASSERT_EQ(0, taken(d, 4));
		spoil[k](q, &reg);
		EXPECT_LE(0, exchange());
		ASSERT_EQ(0, vd_qinfo(d, 0, &info));
		EXPECT_EQ(k == 1 ? EPROTONOSUPPORT : EUCLEAN, abs(info.error)) TH_LOG("spoilt by %u", k);
		EXPECT_EQ(4, info.depth);
		EXPECT_TRUE(vd_status(d) & 0x40);
		for (i = 1; i < QUEUES; i++)
			fill(&self->f.l[i]);
		ASSERT_EQ(0, vd_backing_thaw(&self->f.r.b));
		for (i = 1; i < QUEUES; i++)
			EXPECT_EQ(0, finish(&self->f.l[i])) TH_LOG("queue %u: %s", i, self->f.l[i].wrong);
		/* waits for the four */
		ASSERT_EQ(0, vd_reset(d));
		EXPECT_EQ(0, out(d));
		ASSERT_EQ(0, vd_restart(d));
		EXPECT_EQ(0, vd_rw(d->q[0], VD_T_OUT, LATE, b.addr, 512));
	}
}

TEST_F_TIMEOUT(upgrade, owner_is_stopped, 60)
{
	pid_t pid, owner = getpid();
	int i, status;

	ASSERT_EQ(0, vd_backing_freeze(&self->f.r.b));
	for (i = 0; i < QUEUES; i++)
		fill_some(&self->f.l[i], 16);
	EXPECT_EQ(0, taken(&self->f.r.d, QUEUES));
	pid = fork();
	if (!pid) {
		long ms;

		kill(owner, SIGSTOP);
		ms = is_stopped(owner) ? -1 : exchange();
		kill(owner, SIGCONT);
		_exit(ms < 0);
	}
	ASSERT_EQ(0, vd_child_end(pid, &status, VD_WAIT_MS));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, vd_backing_thaw(&self->f.r.b));
	for (i = 0; i < QUEUES; i++) {
		vd_vague(self->f.l[i].q);
		EXPECT_EQ(0, finish(&self->f.l[i])) TH_LOG("queue %u: %s", i, self->f.l[i].wrong);
	}
	EXPECT_EQ(0, once(&self->f.rec, QUEUES * 16));
}

static void *enable_last(void *arg)
{
	struct vd *d = arg;

	return (void *)(long)vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, QUEUES - 1, 1);
}

static void *exchange_now(void *arg)
{
	(void)arg;
	return (void *)exchange();
}

/* A page of the ring that nobody has, until somebody gives it back: what is in it is at @was. */
static int take_page(void *page, void *was)
{
	memcpy(was, page, 4096);
	if (mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != page)
		return -errno;
	return vd_hold_faults(page, 4096);
}

/* Until there is no engine. */
static int until_away(const char *name)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	int fd;

	do {
		fd = vd_node_open(name, O_RDONLY | O_NONBLOCK);
		if (fd >= 0)
			close(fd);
	} while (fd >= 0 && vd_now_ms() < end);
	return fd == -EAGAIN ? 0 : fd < 0 ? fd : -ETIMEDOUT;
}

/* Who starts a queue was past the wait for an engine, on its way into the ring, when the engine went: that is no ENXIO. */
TEST_F_TIMEOUT(upgrade, goes_while_a_queue_is_started, 60)
{
	struct vd *d = &self->f.r.d;
	struct load *l = &self->f.l[QUEUES - 1];
	void *page = vd_ptr(d, l->q->used_iova), *enabled, *exchanged;
	static __u8 was[4096];
	struct uffdio_copy copy = { .dst = (unsigned long)page, .src = (unsigned long)was, .len = sizeof(was) };
	pthread_t starts, goes;
	int uffd;

	ASSERT_EQ(0, vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, QUEUES - 1, 0));
	uffd = take_page(page, was);
	ASSERT_LE(0, uffd);
	ASSERT_EQ(0, pthread_create(&starts, NULL, enable_last, d));
	ASSERT_EQ(1, poll(&(struct pollfd){ .fd = uffd, .events = POLLIN }, 1, VD_WAIT_MS));
	ASSERT_EQ(0, pthread_create(&goes, NULL, exchange_now, NULL));
	EXPECT_EQ(0, until_away(self->f.r.name));
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_COPY, &copy));
	ASSERT_EQ(0, pthread_join(starts, &enabled));
	ASSERT_EQ(0, pthread_join(goes, &exchanged));
	EXPECT_EQ(NULL, enabled) TH_LOG("%s", strerror(-(long)enabled));
	EXPECT_LE(0, (long)exchanged);
	fill(l);
	EXPECT_EQ(0, finish(l)) TH_LOG("%s", l->wrong);
	EXPECT_EQ(0, compare(l));
	close(uffd);
}

/* A queue without an engine is a device that is slow: stop, reset and close end as they do then. */
TEST_F_TIMEOUT(upgrade, stop_without_an_engine, 60)
{
	struct vd *d = &self->f.r.d;
	int i;

	ASSERT_EQ(0, detach(5000));
	/* Nothing is out: there is nothing to wait for. */
	EXPECT_EQ(0, vd_ioctl(d, VHOST_VDPA_GET_STATUS, &(__u8){ 0 }));
	ASSERT_EQ(0, replace(ENGINE));
	for (i = 0; i < QUEUES; i++)
		fill(&self->f.l[i]);
	ASSERT_EQ(0, vd_suspend(d));
	for (i = 0; i < QUEUES; i++)
		over(&self->f.l[i]);
	/* Suspended: no queue has the old engine, and the next one resumes. */
	ASSERT_LE(0, exchange());
	ASSERT_EQ(0, vd_resume(d));
	for (i = 0; i < QUEUES; i++) {
		fill(&self->f.l[i]);
		EXPECT_EQ(0, finish(&self->f.l[i]));
		EXPECT_EQ(0, compare(&self->f.l[i]));
	}
}

/* The owner is closed while nobody serves it: the device is free at once. */
TEST_F(upgrade, closed_without_an_engine)
{
	struct vd *d = &self->f.r.d;
	struct vd other = { 0 };
	struct vd_opts o = { .iova = IOVA, .num = NUM };
	int i;

	for (i = 0; i < QUEUES; i++)
		fill(&self->f.l[i]);
	ASSERT_EQ(0, detach(5000));
	vd_close(d);
	ASSERT_EQ(0, replace(ENGINE));
	ASSERT_EQ(0, vd_start(&other, self->f.r.name, &o));
	EXPECT_EQ(0, vd_rw(other.q[0], VD_T_OUT, 0, vd_alloc(&other, 512, 512), 512));
	vd_close(&other);
}

FIXTURE(held_back) {
	struct four f;
};

FIXTURE_VARIANT(held_back) {
	__u64 features;
};

FIXTURE_VARIANT_ADD(held_back, split) { VD_F_EVENT_IDX | VD_F_IN_ORDER };
FIXTURE_VARIANT_ADD(held_back, packed) { VD_F_PACKED | VD_F_IN_ORDER };

FIXTURE_SETUP(held_back)
{
	ASSERT_EQ(0, four_make(&self->f, VD_DM_RECORD_SLOW, variant->features));
}

FIXTURE_TEARDOWN_PARENT(held_back)
{
	EXPECT_EQ(0, vd_rig_free(&self->f.r));
}

/*
 * The disk has done every other request when the engine leaves. In order these wait for those before them, which are still out:
 * the next engine gives them back, and does none of them again.
 */
TEST_F_TIMEOUT(held_back, is_not_done_again, 60)
{
	unsigned int i, tries, n = 16;
	long held = 0, end;

	for (tries = 1; !held && tries <= 5; tries++) {
		/* The late ones first. */
		for (i = 0; i < QUEUES; i++) {
			self->f.l[i].next = 1;
			fill_some(&self->f.l[i], n);
			EXPECT_EQ(n, self->f.l[i].out);
		}
		end = vd_now_ms() + VD_WAIT_MS;
		while (vd_record_read(&self->f.rec) && self->f.rec.ended < QUEUES * (n * tries - n / 2))
			ASSERT_GT(end, vd_now_ms());
		ASSERT_EQ(0, detach(5000));
		/* Nobody gives anything back now. */
		vd_record_read(&self->f.rec);
		held = self->f.rec.ended;
		for (i = 0; i < QUEUES; i++) {
			over(&self->f.l[i]);
			held -= self->f.l[i].q->reaped;
		}
		ASSERT_EQ(0, replace(ENGINE));
		for (i = 0; i < QUEUES; i++) {
			vd_vague(self->f.l[i].q);
			EXPECT_EQ(0, finish(&self->f.l[i])) TH_LOG("queue %u: %s", i, self->f.l[i].wrong);
		}
		EXPECT_EQ(0, once(&self->f.rec, QUEUES * n * tries));
	}
	EXPECT_LT(0, held);
	TH_LOG("%ld were done and not given back", held);
}

struct opener {
	const char *name;
	int ret;
};

static void *start_and_write(void *arg)
{
	struct opener *o = arg;
	struct vd d = { 0 };
	struct vd_opts opts = { .iova = IOVA, .num = NUM };

	o->ret = vd_start(&d, o->name, &opts);
	if (!o->ret)
		o->ret = vd_rw(d.q[0], VD_T_OUT, 0, vd_alloc(&d, 512, 512), 512);
	vd_close(&d);
	return NULL;
}

/* Who comes while there is no engine waits for the next one. */
TEST(open_waits_for_the_engine)
{
	struct opener o = { 0 };
	struct vd_rig r = { 0 };
	pthread_t thread;
	long begin;

	ASSERT_EQ(0, vd_rig_make(&r, VD_TMPFS, DISK, NULL, NULL));
	ASSERT_EQ(0, detach(5000));
	o.name = r.name;
	begin = vd_now_ms();
	EXPECT_EQ(-EAGAIN, vd_node_open(r.name, O_RDONLY | O_NONBLOCK));
	ASSERT_EQ(0, pthread_create(&thread, NULL, start_and_write, &o));
	ASSERT_EQ(0, replace(ENGINE));
	pthread_join(thread, NULL);
	EXPECT_EQ(0, o.ret);
	EXPECT_GT(8000, vd_now_ms() - begin);
	EXPECT_EQ(0, vd_rig_free(&r));
}

TEST(attributes)
{
	char text[64];

	ASSERT_LT(0, vd_read_file(ROOT "engine", text, sizeof(text)));
	EXPECT_EQ(0, strncmp(text, "vhost_blk ", 10));
	ASSERT_LT(0, vd_read_file(ROOT "engine_abi", text, sizeof(text)));
	EXPECT_LT(0, atoi(text));
	EXPECT_EQ(-EINVAL, vd_write_file(ROOT "detach", "soon"));
	EXPECT_EQ(-EINVAL, vd_write_file(ROOT "detach", "4294967295"));
	/* There it is again, without having left. */
	ASSERT_EQ(0, detach(0));
	ASSERT_EQ(0, replace(ENGINE));
	EXPECT_EQ(-EINVAL, vd_write_file(ROOT "attach", "0"));
	/* No more than detached. */
	ASSERT_EQ(0, detach(1000));
	EXPECT_EQ(0, detach(0));
	/* It stays after all. */
	EXPECT_EQ(0, vd_write_file(ROOT "attach", "1"));
	ASSERT_EQ(0, detach(1000));
	EXPECT_EQ(0, vd_write_file(ROOT "attach", "1"));
	ASSERT_EQ(0, detach(1000));
	ASSERT_EQ(0, vd_run("rmmod vhost_blk"));
	EXPECT_EQ(-ENODEV, vd_write_file(ROOT "attach", "1"));
	ASSERT_LT(0, vd_read_file(ROOT "engine", text, sizeof(text)));
	EXPECT_EQ('\n', text[0]);
	ASSERT_EQ(0, detach(1000));
	ASSERT_EQ(0, vd_run("insmod " ENGINE));
}

TEST_HARNESS_MAIN
