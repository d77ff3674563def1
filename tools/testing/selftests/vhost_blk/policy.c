// SPDX-License-Identifier: GPL-2.0
/*
 * sched_batch: workers that take the processor from nobody when they are woken, from when on, and for whom it is not to decide.
 */
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "vblk_dev.h"
#include "vblk_worker.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x100000
#define NUM	64
#define QUEUES	2
#define NICE	5

static const struct vd_opts opts = { .iova = IOVA, .num = NUM, .num_queues = QUEUES };

FIXTURE(policy) {
	struct vd_rig r;
	pid_t worker[QUEUES];
	__u64 buf;
};

FIXTURE_VARIANT(policy) {
	int poll_us;
};

FIXTURE_VARIANT_ADD(policy, sleeps) { 0 };
FIXTURE_VARIANT_ADD(policy, polls) { 200 };

FIXTURE_SETUP(policy)
{
	struct vd_config c = { .num_queues = QUEUES, .poll_us = variant->poll_us };

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, DISK, &c, NULL));
}

FIXTURE_TEARDOWN_PARENT(policy)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static int set(FIXTURE_DATA(policy) *self, int on)
{
	return vd_attr_set(self->r.name, "sched_batch", "%d", on);
}

static int start(FIXTURE_DATA(policy) *self)
{
	int ret = vd_start(&self->r.d, self->r.name, &opts);
	unsigned int i;

	self->buf = vd_alloc(&self->r.d, 4096, 4096);
	for (i = 0; !ret && i < QUEUES; i++) {
		self->worker[i] = vd_worker(i);
		ret = self->worker[i] < 0 ? self->worker[i] : 0;
	}
	return ret;
}

/* The policy of a queue's worker once it sleeps after a request, or -errno. */
static int policy_of(FIXTURE_DATA(policy) *self, unsigned int nr)
{
	int ret = vd_rw(self->r.d.q[nr], VD_T_IN, 0, self->buf, 512);
	struct vd_used_up u;

	if (ret != VD_OK)
		return ret < 0 ? ret : -EIO;
	ret = vd_until_asleep(self->worker[nr], &u);
	if (ret)
		return ret;
	ret = sched_getscheduler(self->worker[nr]);
	return ret < 0 ? -errno : ret;
}

static int give(pid_t thread, int policy)
{
	return sched_setscheduler(thread, policy, &(struct sched_param){ .sched_priority = policy == SCHED_FIFO });
}

TEST_F(policy, from_the_start_and_the_next)
{
	unsigned int i, round;

	ASSERT_EQ(0, setpriority(PRIO_PROCESS, 0, NICE));
	ASSERT_EQ(0, vd_attr_set(self->r.name, "enable", "0"));
	ASSERT_EQ(0, set(self, 1));
	ASSERT_EQ(0, vd_attr_set(self->r.name, "enable", "1"));
	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, start(self));
		for (i = 0; i < QUEUES; i++) {
			EXPECT_EQ(SCHED_BATCH, policy_of(self, i));
			EXPECT_EQ(NICE, getpriority(PRIO_PROCESS, self->worker[i]));
		}
		vd_close(&self->r.d);
	}
	ASSERT_EQ(0, set(self, 0));
	ASSERT_EQ(0, start(self));
	for (i = 0; i < QUEUES; i++)
		EXPECT_EQ(SCHED_OTHER, policy_of(self, i));
}

TEST_F(policy, while_it_runs)
{
	unsigned int i, round;

	ASSERT_EQ(0, start(self));
	for (i = 0; i < QUEUES; i++)
		ASSERT_EQ(0, setpriority(PRIO_PROCESS, self->worker[i], NICE));
	for (round = 0; round < 6; round++) {
		/* the second time it is what it was */
		ASSERT_EQ(0, set(self, round / 2 % 2));
		for (i = 0; i < QUEUES; i++) {
			EXPECT_EQ(round / 2 % 2 ? SCHED_BATCH : SCHED_OTHER, policy_of(self, i)) {
				TH_LOG("round %u", round);
			}
			EXPECT_EQ(NICE, getpriority(PRIO_PROCESS, self->worker[i]));
		}
	}
}

/* A VMM with real-time threads, or one that gives way to all others, means its workers as well. */
TEST_F(policy, of_the_owner_stays)
{
	static const int other[] = { SCHED_BATCH, SCHED_IDLE, SCHED_FIFO };
	unsigned int i, k, round;

	for (k = 0; k < ARRAY_SIZE(other); k++) {
		ASSERT_EQ(0, give(0, other[k]));
		ASSERT_EQ(0, start(self));
		ASSERT_EQ(0, give(0, SCHED_OTHER));
		for (round = 0; round < 4; round++) {
			ASSERT_EQ(0, set(self, round % 2));
			for (i = 0; i < QUEUES; i++) {
				EXPECT_EQ(other[k], policy_of(self, i)) {
					TH_LOG("round %u", round);
				}
			}
		}
		ASSERT_EQ(0, set(self, 0));
		vd_close(&self->r.d);
	}
}

TEST_F(policy, of_chrt_stays)
{
	static const int other[] = { SCHED_OTHER, SCHED_IDLE, SCHED_FIFO };
	unsigned int i, k;

	ASSERT_EQ(0, start(self));
	for (k = 0; k < ARRAY_SIZE(other); k++) {
		ASSERT_EQ(0, set(self, 1));
		for (i = 0; i < QUEUES; i++) {
			ASSERT_EQ(SCHED_BATCH, policy_of(self, i));
			ASSERT_EQ(0, give(self->worker[i], other[k]));
			EXPECT_EQ(other[k], policy_of(self, i));
		}
		ASSERT_EQ(0, set(self, 0));
		for (i = 0; i < QUEUES; i++) {
			EXPECT_EQ(other[k], policy_of(self, i));
			ASSERT_EQ(0, give(self->worker[i], SCHED_OTHER));
		}
	}
}

TEST_F(policy, of_chrt_stays_whichever_was_first)
{
	unsigned int i;

	ASSERT_EQ(0, start(self));
	for (i = 0; i < QUEUES; i++) {
		ASSERT_EQ(SCHED_OTHER, policy_of(self, i));
		ASSERT_EQ(0, give(self->worker[i], SCHED_FIFO));
	}
	ASSERT_EQ(0, set(self, 1));
	for (i = 0; i < QUEUES; i++) {
		EXPECT_EQ(SCHED_FIFO, policy_of(self, i));
		ASSERT_EQ(0, give(self->worker[i], SCHED_OTHER));
		EXPECT_EQ(SCHED_OTHER, policy_of(self, i));
	}
}

/* struct sched_attr, which not every C library has. */
struct attr {
	__u32 size, policy;
	__u64 flags;
	__s32 nice;
	__u32 priority;
	__u64 runtime, deadline, period;
};

TEST_F(policy, slice_stays)
{
	struct attr a = { .size = sizeof(a), .policy = SCHED_OTHER, .runtime = 700000 };
	unsigned int round;

	ASSERT_EQ(0, start(self));
	ASSERT_EQ(SCHED_OTHER, policy_of(self, 0));
	ASSERT_EQ(0, syscall(SYS_sched_setattr, self->worker[0], &a, 0));
	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, set(self, !round));
		ASSERT_EQ(round ? SCHED_OTHER : SCHED_BATCH, policy_of(self, 0));
		ASSERT_EQ(0, syscall(SYS_sched_getattr, self->worker[0], &a, sizeof(a), 0));
		EXPECT_EQ(700000, a.runtime) TH_LOG("round %u", round);
	}
}

/* ---- while requests come ---- */

struct toggle {
	const char *name;
	unsigned int n;
	bool over;
	int ret;
};

static void *toggle(void *arg)
{
	struct toggle *t = arg;

	for (; !t->ret && !__atomic_load_n(&t->over, __ATOMIC_ACQUIRE); t->n++)
		t->ret = vd_attr_set(t->name, "sched_batch", "%u", t->n % 2);
	return NULL;
}

TEST_F_TIMEOUT(policy, under_load, 90)
{
	struct toggle t = { .name = self->r.name };
	struct vd_buf b = { .len = 4096 };
	unsigned int i, round;
	pthread_t thread;
	__u64 data;

	ASSERT_EQ(0, start(self));
	data = vd_alloc(&self->r.d, NUM * 4096, 4096);
	ASSERT_EQ(0, pthread_create(&thread, NULL, toggle, &t));
	for (round = 0; round < vd_rounds(300); round++) {
		struct vd_queue *q = self->r.d.q[round % QUEUES];
		bool write = round % 2;

		/* an odd round writes what the even one after it, of another queue, reads */
		b.write = !write;
		for (i = 0; i < 8; i++) {
			b.addr = data + i * 4096;
			if (write)
				vd_fill(vd_ptr(&self->r.d, b.addr), b.len, i * 4096, round);
			else
				memset(vd_ptr(&self->r.d, b.addr), 0, b.len);
			EXPECT_LE(0, vd_submit(q, write ? VD_T_OUT : VD_T_IN, i * 8, &b, 1, VD_DIRECT));
		}
		vd_kick(q);
		/* here for certain while they are out, or just back */
		EXPECT_EQ(0, set(self, round / QUEUES % 2));
		EXPECT_EQ(0, vd_wait(q, 8, VD_WAIT_MS)) TH_LOG("round %u", round);
		for (i = 0; i < 8 && !write && round; i++)
			EXPECT_EQ(-1, vd_check(vd_ptr(&self->r.d, data + i * 4096), 4096, i * 4096, round - 1));
	}
	__atomic_store_n(&t.over, true, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, t.ret);
	EXPECT_LT(0, t.n);
	ASSERT_EQ(0, set(self, 1));
	for (i = 0; i < QUEUES; i++) {
		EXPECT_EQ(0, self->r.d.q[i]->bad_used);
		EXPECT_EQ(SCHED_BATCH, policy_of(self, i));
	}
}

TEST_HARNESS_MAIN
