// SPDX-License-Identifier: GPL-2.0
/* VHOST_INFLIGHT_GET_REQUESTS: what is in flight, request by request, is what was put there. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "vblk_inflight.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define LATE	(DISK / 1024)	/* sector where the late half of VD_DM_MIXED begins */
#define IOVA	0x100000
#define QUEUES	2
#define NUM	64
#define ROOM	1024

static const struct vd_opts opts = { .iova = IOVA, .num = NUM, .num_queues = QUEUES, .mem_size = 4 << 20 };

FIXTURE(requests) {
	struct vd_rig r;
	struct vhost_inflight_request got[ROOM];
};

FIXTURE_VARIANT(requests) {
	bool packed, in_order;
};

FIXTURE_VARIANT_ADD(requests, split) { false, false };
FIXTURE_VARIANT_ADD(requests, packed) { true, false };
FIXTURE_VARIANT_ADD(requests, split_in_order) { false, true };
FIXTURE_VARIANT_ADD(requests, packed_in_order) { true, true };

static int make(struct vd_rig *r, enum vd_backing_kind kind, bool packed, bool in_order)
{
	struct vd_config c = { .num_queues = QUEUES, .queue_size = NUM, .packed = packed, .in_order = in_order };

	return vd_rig_make(r, kind, DISK, &c, &opts);
}

FIXTURE_SETUP(requests)
{
}

FIXTURE_TEARDOWN_PARENT(requests)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static const struct vhost_inflight_request *find(const struct vhost_inflight_request *r, int n, int id)
{
	for (; n; n--, r++)
		if (r->id == id)
			return r;
	return NULL;
}

/* What waits for a disk that stands still. A FLUSH does not, where there is no cache. */
static const struct {
	__u32 type;
	__u64 sector, length;
	bool rewindable;
} reqs[] = {
	{ VD_T_OUT, 8, 4608, false },
	{ VD_T_IN, 1024, 4608, true },
	{ VD_T_OUT, 64, 4608, false },
	{ VD_T_WRITE_ZEROES, 2048, 64 * 512, false },
	{ VD_T_IN, 0, 4608, true },
};

#define NR_REQS	((int)ARRAY_SIZE(reqs))

static int put(struct vd_queue *q, int i)
{
	__u64 data = q->d->mem[0].iova + q->d->mem[0].size - 65536 + i * 8192;
	struct vd_buf rw[2] = { { data, 4096, reqs[i].type == VD_T_IN }, { data + 4096, 512, reqs[i].type == VD_T_IN } };
	struct vd_range *range = vd_ptr(q->d, data);
	struct vd_buf ranges = { data, sizeof(*range), false };

	switch (reqs[i].type) {
	case VD_T_WRITE_ZEROES:
		*range = (struct vd_range){ .sector = reqs[i].sector, .num = reqs[i].length / 512 };
		return vd_submit(q, VD_T_WRITE_ZEROES, 0, &ranges, 1, VD_DIRECT);
	default:
		return vd_submit(q, reqs[i].type, reqs[i].sector, rw, 2, i % 2 ? VD_INDIRECT : VD_DIRECT);
	}
}

TEST_F(requests, on_a_disk_that_stands_still)
{
	const struct vhost_inflight_request *r, *before;
	struct vhost_inflight_request *again = calloc(ROOM, sizeof(*again));
	struct vd *d = &self->r.d;
	struct vd_queue *q;
	int i, head[NR_REQS];
	__u64 first = 0;
	long begin;

	ASSERT_EQ(0, make(&self->r, VD_DM_WAIT, variant->packed, variant->in_order));
	q = d->q[1];
	EXPECT_EQ(0, vd_requests(d, 1, self->got, ROOM));
	ASSERT_EQ(0, vd_rw(q, VD_T_OUT, 0, d->mem[0].iova + d->mem[0].size - 4096, 512));
	EXPECT_EQ(0, vd_requests(d, 1, self->got, ROOM));
	begin = vd_now_ms();
	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	for (i = 0; i < NR_REQS; i++) {
		head[i] = put(q, i);
		ASSERT_LE(0, head[i]);
	}
	vd_kick(q);
	ASSERT_EQ(0, vd_settled(d, 1, self->got, NR_REQS, VHOST_INFLIGHT_REQUEST_SUBMITTED));
	EXPECT_EQ(0, vd_requests(d, 0, again, ROOM));
	for (i = 0; i < NR_REQS; i++) {
		r = find(self->got, NR_REQS, head[i]);
		ASSERT_NE(NULL, r);
		EXPECT_EQ(reqs[i].type, r->type);
		EXPECT_EQ(reqs[i].sector, r->sector) TH_LOG("request %d", i);
		EXPECT_EQ(reqs[i].length, r->length) TH_LOG("request %d", i);
		EXPECT_EQ(reqs[i].rewindable ? VHOST_INFLIGHT_REQUEST_REWINDABLE : 0, r->flags);
		EXPECT_EQ(0, r->error);
		EXPECT_EQ(0, r->reserved);
		EXPECT_GE(vd_now_ms() - begin + 20, r->age_ms);
		first = i ? first : r->counter;
		EXPECT_EQ(first + i, r->counter);
	}
	/* they age */
	begin = vd_now_ms() + VD_WAIT_MS;
	do {
		ASSERT_EQ(NR_REQS, vd_requests(d, 1, again, ROOM));
		r = find(again, NR_REQS, head[0]);
		before = find(self->got, NR_REQS, head[0]);
	} while (r->age_ms < before->age_ms + 100 && vd_now_ms() < begin);
	EXPECT_LE(before->age_ms + 100, r->age_ms);
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, vd_wait(q, NR_REQS, VD_WAIT_MS));
	EXPECT_EQ(0, vd_settled(d, 1, self->got, 0, 0));
	free(again);
}

/* The region and the list are of one mind. */
TEST_F(requests, counters_are_those_of_the_region)
{
	struct vd *d = &self->r.d;
	struct vd_inflight reg;
	int i, j, n = 7;

	ASSERT_EQ(0, make(&self->r, VD_DM_WAIT, variant->packed, variant->in_order));
	ASSERT_EQ(0, vd_inflight_take(d, &reg, variant->packed));
	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	for (i = 0; i < n; i++)
		ASSERT_LE(0, put(d->q[0], i % NR_REQS));
	vd_kick(d->q[0]);
	ASSERT_EQ(0, vd_settled(d, 0, self->got, n, VHOST_INFLIGHT_REQUEST_SUBMITTED));
	for (i = 0; i < n; i++) {
		const struct vhost_inflight_request *r = &self->got[i];

		if (!variant->packed) {
			EXPECT_EQ(1, vd_inflight_split(&reg, 0)->desc[r->id].inflight);
			EXPECT_EQ(vd_inflight_split(&reg, 0)->desc[r->id].counter, r->counter);
			continue;
		}
		for (j = 0; j < NUM; j++) {
			const struct vhost_inflight_desc_packed *e = &vd_inflight_packed(&reg, 0)->desc[j];

			if (e->inflight && vd_inflight_packed(&reg, 0)->desc[e->last % NUM].id == r->id)
				break;
		}
		ASSERT_GT(NUM, j);
		EXPECT_EQ(vd_inflight_packed(&reg, 0)->desc[j].counter, r->counter);
	}
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, vd_wait(d->q[0], n, VD_WAIT_MS));
}

/* A disk that is asked not to block, and refuses. */
TEST_F(requests, refused)
{
	struct vd *d = &self->r.d;
	int i;

	ASSERT_EQ(0, make(&self->r, VD_DM, variant->packed, variant->in_order));
	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	for (i = 0; i < 3; i++)
		ASSERT_LE(0, put(d->q[0], i));
	vd_kick(d->q[0]);
	/* all of them at first, and that may be over; in the end it has the first */
	EXPECT_EQ(0, vd_until_at_disk(d, self->got, ROOM, 1, 2));
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, vd_wait(d->q[0], 3, VD_WAIT_MS));
}

/* Those behind a late one have their answer. With IN_ORDER they wait for their turn, else they are gone. */
TEST_F(requests, done_before_their_turn)
{
	struct vd *d = &self->r.d;
	struct vd_queue *q;
	__u64 data;
	long end;
	int i, got, n = variant->in_order ? 4 : 1;
	int late, head[4];

	ASSERT_EQ(0, make(&self->r, VD_DM_MIXED, variant->packed, variant->in_order));
	q = d->q[0];
	data = vd_alloc(d, 4096, 4096);
	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	late = vd_submit(q, VD_T_OUT, LATE, &(struct vd_buf){ data, 512, false }, 1, VD_DIRECT);
	ASSERT_LE(0, late);
	for (i = 0; i < 2; i++)
		head[i] = vd_submit(q, VD_T_IN, 8 * i, &(struct vd_buf){ data + 512 + 512 * i, 512, true }, 1, VD_DIRECT);
	/* this one the disk never sees */
	head[2] = vd_submit(q, VD_T_GET_ID, 0, &(struct vd_buf){ data + 2048, 20, true }, 1, VD_DIRECT);
	vd_kick(q);
	end = vd_now_ms() + VD_WAIT_MS;
	do {
		got = vd_requests(d, 0, self->got, ROOM);
		for (i = 0; i < 3 && got == n; i++) {
			const struct vhost_inflight_request *r = find(self->got, n, head[i]);

			if (n > 1 && (!r || r->state != VHOST_INFLIGHT_REQUEST_DONE))
				break;
		}
	} while ((got != n || i < 3) && vd_now_ms() < end);
	ASSERT_EQ(n, got);
	EXPECT_EQ(3, i);
	ASSERT_NE(NULL, find(self->got, n, late));
	EXPECT_NE(VHOST_INFLIGHT_REQUEST_DONE, find(self->got, n, late)->state);
	if (n > 1) {
		EXPECT_EQ(VD_T_GET_ID, find(self->got, n, head[2])->type);
		EXPECT_EQ(VHOST_INFLIGHT_REQUEST_REWINDABLE, find(self->got, n, head[2])->flags);
		EXPECT_EQ(find(self->got, n, late)->counter + 3, find(self->got, n, head[2])->counter);
	}
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, vd_wait(q, 4, VD_WAIT_MS));
}

/* What a driver made available that is no request is not shown as the one that had its place before. */
TEST_F(requests, what_is_no_request)
{
	struct vd *d = &self->r.d;
	struct vd_buf only;
	int head;

	ASSERT_EQ(0, make(&self->r, VD_NULLB512, variant->packed, variant->in_order));
	ASSERT_EQ(VD_OK, vd_rw(d->q[0], VD_T_OUT, 4096, IOVA + (2 << 20), 4096));
	only = (struct vd_buf){ d->q[0]->slots, 16, false };
	head = vd_add(d->q[0], &only, 1, VD_DIRECT);
	ASSERT_LE(0, head);
	vd_kick(d->q[0]);
	ASSERT_EQ(1, vd_poll_fd(d->q[0]->err, VD_WAIT_MS));
	ASSERT_EQ(1, vd_requests(d, 0, self->got, ROOM));
	EXPECT_EQ(head, self->got[0].id);
	EXPECT_EQ(~0U, self->got[0].type);
	EXPECT_EQ(VHOST_INFLIGHT_REQUEST_DONE, self->got[0].state);
	EXPECT_EQ(-EINVAL, self->got[0].error);
	EXPECT_EQ(0, self->got[0].sector);
	EXPECT_EQ(0, self->got[0].length);
}

struct busy {
	struct vd *d;
	int stop, ended;
};

static void *never_rests(void *arg)
{
	struct busy *b = arg;
	struct vd_queue *q = b->d->q[0];
	struct vd_buf data = { IOVA + (2 << 20), 512, true };

	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
		while (vd_submit(q, VD_T_IN, 0, &data, 1, VD_DIRECT) >= 0)
			;
		vd_kick_always(q);
		while (vd_reap(q) >= 0)
			__atomic_store_n(&b->ended, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* One turn follows the other, and who looks on gets a look all the same. */
TEST_F(requests, of_a_queue_that_never_rests)
{
	struct busy b = { .d = &self->r.d };
	long end = vd_now_ms() + VD_WAIT_MS;
	pthread_t thread;
	int i;

	ASSERT_EQ(0, make(&self->r, VD_NULLB512, variant->packed, variant->in_order));
	ASSERT_EQ(0, pthread_create(&thread, NULL, never_rests, &b));
	while (!__atomic_load_n(&b.ended, __ATOMIC_RELAXED) && vd_now_ms() < end)
		;
	for (i = 0; i < vd_rounds(40); i++)
		EXPECT_LE(0, vd_requests(b.d, 0, self->got, ROOM)) TH_LOG("look %d", i);
	b.stop = 1;
	pthread_join(thread, NULL);
	EXPECT_TRUE(b.ended);
	while (b.d->q[0]->oldest != VD_NONE)
		ASSERT_EQ(0, vd_wait(b.d->q[0], 1, VD_WAIT_MS));
}

struct looker {
	int fd, stop;
};

static void *looks_all_the_time(void *arg)
{
	struct vhost_inflight_requests all = {
		.size = sizeof(all), .request_size = sizeof(struct vhost_inflight_request),
	};
	struct looker *l = arg;

	while (!__atomic_load_n(&l->stop, __ATOMIC_RELAXED))
		ioctl(l->fd, VHOST_INFLIGHT_GET_REQUESTS, &all);
	return NULL;
}

/* An owner that finds its own data, has everything out, closes the device and lives on. Its exit status. */
static int owner_for_a_while(const char *name, unsigned int round, int fd)
{
	__u64 at = IOVA + (2 << 20);
	struct vd_buf b = { at + 65536, 4096, false };
	char c = 0;
	struct vd v;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (vd_start_after(&v, name, &opts))
		return 1;
	for (i = 0; i < 4; i++) {
		vd_fill(vd_ptr(&v, at), 4096, 0, round * 4 + i);
		if (vd_rw(v.q[0], VD_T_OUT, 0, at, 4096))
			return 2;
		memset(vd_ptr(&v, at), 0, 4096);
		if (vd_rw(v.q[0], VD_T_IN, 0, at, 4096) || vd_check(vd_ptr(&v, at), 4096, 0, round * 4 + i) >= 0)
			return 3;
	}
	for (i = 1; vd_submit(v.q[0], VD_T_OUT, i * 8, &b, 1, VD_DIRECT) >= 0; i++)
		;
	vd_kick_always(v.q[0]);
	close(v.fd);
	if (write(fd, &c, 1) != 1)
		return 4;
	for (;;)
		pause();
}

/* A worker that lets others look first may find that its owner is no more, and another one there. */
TEST_F_TIMEOUT(requests, while_owners_come_and_go, 60)
{
	struct looker l = { 0 };
	pthread_t thread[3];
	int fds[2], i, n, status;
	pid_t pid[8];
	char c;

	ASSERT_EQ(0, make(&self->r, VD_DM, variant->packed, variant->in_order));
	vd_close(&self->r.d);
	l.fd = vd_node_open(self->r.name, O_RDONLY);
	ASSERT_LE(0, l.fd);
	ASSERT_EQ(0, pipe(fds));
	for (i = 0; i < ARRAY_SIZE(thread); i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, looks_all_the_time, &l));
	for (n = 0; n < vd_rounds(ARRAY_SIZE(pid)); n++) {
		pid[n] = fork();
		if (!pid[n]) {
			close(fds[0]);
			_exit(owner_for_a_while(self->r.name, n, fds[1]));
		}
		if (poll(&(struct pollfd){ .fd = fds[0], .events = POLLIN }, 1, VD_WAIT_MS) != 1 ||
		    read(fds[0], &c, 1) != 1)
			break;
	}
	EXPECT_EQ(vd_rounds(ARRAY_SIZE(pid)), n) {
		kill(pid[n], SIGTERM);
		waitpid(pid[n], &status, 0);
		TH_LOG("owner %d: status %#x", n, status);
	}
	__atomic_store_n(&l.stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY_SIZE(thread); i++)
		pthread_join(thread[i], NULL);
	for (i = 0; i < n; i++) {
		kill(pid[i], SIGKILL);
		EXPECT_EQ(0, vd_child_end(pid[i], &status, VD_WAIT_MS));
	}
	close(l.fd);
}

/* Nobody is left to take the answers. */
TEST_F(requests, orphans)
{
	struct vhost_inflight_info info;
	struct vd *d = &self->r.d;
	long end = vd_now_ms() + VD_WAIT_MS;
	int i, status, got;
	pid_t pid;

	ASSERT_EQ(0, make(&self->r, VD_DM_WAIT, variant->packed, variant->in_order));
	vd_close(d);
	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	pid = fork();
	if (!pid) {
		struct vd v;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (vd_start(&v, self->r.name, &opts))
			_exit(1);
		for (i = 0; i < 3; i++)
			put(v.q[0], i);
		vd_kick(v.q[0]);
		for (;;)
			pause();
	}
	d->fd = vd_node_open(self->r.name, O_RDWR);
	ASSERT_LE(0, d->fd);
	ASSERT_EQ(0, vd_settled(d, 0, self->got, 3, VHOST_INFLIGHT_REQUEST_SUBMITTED));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, self->got[i].flags & VHOST_INFLIGHT_REQUEST_ORPHAN);
	kill(pid, SIGKILL);
	ASSERT_EQ(0, vd_child_end(pid, &status, VD_WAIT_MS));
	EXPECT_TRUE(WIFSIGNALED(status));
	do {
		ASSERT_EQ(0, vd_info(d, &info));
	} while (info.owner_pid && vd_now_ms() < end);
	/* what had not reached the disk was taken back */
	got = vd_requests(d, 0, self->got, ROOM);
	EXPECT_EQ(info.orphans, got);
	for (i = 0; i < got; i++)
		EXPECT_TRUE(self->got[i].flags & VHOST_INFLIGHT_REQUEST_ORPHAN);
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	EXPECT_EQ(0, vd_settled(d, 0, self->got, 0, 0));
	close(d->fd);
}

TEST_F(requests, arguments)
{
	struct vhost_inflight_requests arg, good = {
		.size = sizeof(good), .request_size = sizeof(self->got[0]), .room = ROOM,
		.requests = (unsigned long)self->got,
	};
	struct {
		struct vhost_inflight_request r;
		__u64 more;
	} big[4];
	struct {
		struct vhost_inflight_requests arg;
		__u64 more;
	} later = { .arg = good };
	struct vd *d = &self->r.d;
	unsigned int i;

	ASSERT_EQ(0, make(&self->r, VD_DM_WAIT, variant->packed, variant->in_order));
	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	for (i = 0; i < 3; i++)
		ASSERT_LE(0, put(d->q[0], i));
	vd_kick(d->q[0]);
	ASSERT_EQ(0, vd_settled(d, 0, self->got, 3, VHOST_INFLIGHT_REQUEST_SUBMITTED));

	arg = good;
	arg.index = QUEUES;
	EXPECT_EQ(-ENOBUFS, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	arg = good;
	arg.size = sizeof(arg) - 1;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	arg = good;
	arg.size = 1 << 20;
	EXPECT_EQ(-E2BIG, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	arg = good;
	arg.request_size--;
	EXPECT_EQ(-EINVAL, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	arg = good;
	arg.requests = 8;
	EXPECT_EQ(-EFAULT, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	arg = good;
	arg.requests = ~0ULL - 8;
	EXPECT_EQ(-EFAULT, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	later.arg.size = sizeof(later);
	later.more = 1;
	EXPECT_EQ(-E2BIG, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &later));
	later.more = 0;
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &later));
	EXPECT_EQ(sizeof(arg), later.arg.size);
	/* only counted */
	arg = good;
	arg.room = 0;
	arg.requests = 0;
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	EXPECT_EQ(3, arg.count);
	/* room for some */
	memset(self->got, 0xaa, sizeof(self->got));
	arg = good;
	arg.room = 2;
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	EXPECT_EQ(3, arg.count);
	EXPECT_EQ(0, self->got[1].reserved);
	EXPECT_EQ(0xaaaaaaaaaaaaaaaaULL, self->got[2].counter);
	/* as much as can be said */
	arg = good;
	arg.room = ~0U;
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	/* a caller that knows of more */
	memset(big, 0xaa, sizeof(big));
	arg = good;
	arg.request_size = sizeof(big[0]);
	arg.room = 4;
	arg.requests = (unsigned long)big;
	EXPECT_EQ(0, vd_ioctl(d, VHOST_INFLIGHT_GET_REQUESTS, &arg));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, big[i].more);
		EXPECT_EQ(0, memcmp(&big[i].r.counter, &self->got[i].counter, sizeof(__u64)));
	}
	EXPECT_EQ(0xaaaaaaaaaaaaaaaaULL, big[3].more);
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	ASSERT_EQ(0, vd_wait(d->q[0], 3, VD_WAIT_MS));
}

TEST_HARNESS_MAIN
