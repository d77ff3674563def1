// SPDX-License-Identifier: GPL-2.0
/* A VMM that dies, at full load, on a disk that works or one that does not; and two that live side by side. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "vblk_inflight.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x100000
#define DATA	(IOVA + (4 << 20))
#define QUEUES	4
#define REAP_MS	8000	/* "at once", on an emulated machine with a debug kernel */

static const struct vd_opts opts = { .iova = IOVA, .num = 64, .num_queues = QUEUES, .mem_size = 8 << 20 };

FIXTURE(death) {
	struct vd_rig r;
};

FIXTURE_VARIANT(death) {
	enum vd_backing_kind kind;
	bool pin_memory;
};

FIXTURE_VARIANT_ADD(death, block) { VD_DM };
FIXTURE_VARIANT_ADD(death, block_pinned) { VD_DM, true };
FIXTURE_VARIANT_ADD(death, block_waits) { VD_DM_WAIT };
FIXTURE_VARIANT_ADD(death, file) { VD_EXT4_DM };

FIXTURE_SETUP(death)
{
	struct vd_config c = { .num_queues = QUEUES, .pin_memory = variant->pin_memory };
	__u8 *zero = calloc(1, 1 << 20);

	ASSERT_EQ(0, vd_rig_make(&self->r, variant->kind, DISK, &c, NULL));
	/* the blocks of a file are there before it freezes */
	ASSERT_EQ(0, vd_backing_write(&self->r.b, 0, zero, 1 << 20));
	ASSERT_EQ(0, vd_run("sync"));
	free(zero);
}

FIXTURE_TEARDOWN_PARENT(death)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* Fill all rings again and again with reads and writes; says so in @fd once everything is under way. */
static void vmm(const char *name, int fd)
{
	struct vd v;
	unsigned int i, round;
	char c = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (vd_start(&v, name, &opts))
		_exit(1);
	for (round = 0; ; round++) {
		for (i = 0; i < QUEUES; i++) {
			struct vd_buf b = { DATA + i * 65536, 4096, round % 2 };

			while (vd_submit(v.q[i], round % 2 ? VD_T_IN : VD_T_OUT, i * 8, &b, 1, VD_DIRECT) >= 0)
				;
			vd_kick(v.q[i]);
		}
		if (round == vd_rounds(20) && write(fd, &c, 1) != 1)
			_exit(2);
		for (i = 0; i < QUEUES; i++)
			vd_wait(v.q[i], 1, 10);
	}
}

static pid_t start_vmm(const char *name)
{
	int fds[2];
	pid_t pid;
	char c;

	if (pipe(fds))
		return -errno;
	pid = fork();
	if (!pid)
		vmm(name, fds[1]);
	close(fds[1]);
	if (read(fds[0], &c, 1) != 1) {
		kill(pid, SIGKILL);
		pid = -1;
	}
	close(fds[0]);
	return pid;
}

static __u32 orphans(const char *name, __u32 *state)
{
	struct vhost_inflight_info info;
	struct vd sup;
	__u32 n = ~0U;

	if (!vd_open(&sup, name, &opts) && !vd_info(&sup, &info)) {
		n = info.orphans;
		*state = info.state;
	}
	vd_close(&sup);
	return n;
}

/* How many of the first queue's requests the disk has, or -errno. */
static int at_the_disk(struct vd *d)
{
	struct vhost_inflight_request r[64];
	int n = vd_requests(d, 0, r, ARRAY_SIZE(r));

	return n < 0 ? n : vd_in_state(r, n, VHOST_INFLIGHT_REQUEST_SUBMITTED);
}

static int succeed(struct vd *d, const char *name)
{
	unsigned int i;
	int ret = vd_start_after(d, name, &opts);

	for (i = 0; i < QUEUES && !ret; i++)
		ret = vd_rw(d->q[i], VD_T_IN, 0, DATA, 4096);
	return ret;
}

/* Killed wherever it happens to be. */
TEST_F_TIMEOUT(death, killed_at_full_load, 60)
{
	int i, status;
	struct vd d;
	pid_t pid;

	for (i = 0; i < vd_rounds(8); i++) {
		pid = start_vmm(self->r.name);
		ASSERT_LT(0, pid);
		kill(pid, SIGKILL);
		ASSERT_EQ(0, vd_child_end(pid, &status, REAP_MS)) TH_LOG("round %d: not reaped", i);
		ASSERT_EQ(0, succeed(&d, self->r.name)) TH_LOG("round %d", i);
		vd_close(&d);
	}
}

/* The other way to die, through the core dump's code. */
TEST_F(death, crashed_at_full_load)
{
	struct rlimit none = { 0, 0 };
	int status;
	struct vd d;
	pid_t pid;

	setrlimit(RLIMIT_CORE, &none);
	pid = start_vmm(self->r.name);
	ASSERT_LT(0, pid);
	kill(pid, SIGSEGV);
	ASSERT_EQ(0, vd_child_end(pid, &status, REAP_MS));
	ASSERT_EQ(0, succeed(&d, self->r.name));
	vd_close(&d);
}

TEST_F(death, killed_while_stopped)
{
	int status;
	struct vd d;
	pid_t pid = start_vmm(self->r.name);

	ASSERT_LT(0, pid);
	kill(pid, SIGSTOP);
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	kill(pid, SIGKILL);
	ASSERT_EQ(0, vd_child_end(pid, &status, REAP_MS));
	ASSERT_EQ(0, succeed(&d, self->r.name));
	vd_close(&d);
}

/* The disk is frozen: gone at once, and what is out is the device's to wait for, not the VMM's. */
TEST_F_TIMEOUT(death, killed_on_a_frozen_disk, 60)
{
	/* it may refuse what would wait, and has none of them then */
	bool has = variant->kind != VD_DM;
	__u32 n, state = 0;
	int status, theirs;
	long end;
	struct vd d;
	pid_t pid;

	pid = start_vmm(self->r.name);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, vd_backing_freeze(&self->r.b));
	/* until nothing moves any more, and the disk has what it took before it froze */
	ASSERT_EQ(0, vd_open(&d, self->r.name, &opts));
	end = vd_now_ms() + VD_WAIT_MS;
	do {
		struct vhost_inflight_queue_info q;

		ASSERT_EQ(0, vd_qinfo(&d, 0, &q));
		n = q.depth;
		theirs = at_the_disk(&d);
	} while ((n < 16 || (has && theirs <= 0)) && vd_now_ms() < end && !poll(NULL, 0, 1));
	EXPECT_LE(16, n);
	EXPECT_LE(has, theirs);
	vd_close(&d);

	kill(pid, SIGKILL);
	ASSERT_EQ(0, vd_child_end(pid, &status, REAP_MS)) TH_LOG("not reaped");
	EXPECT_TRUE(WIFSIGNALED(status));
	n = orphans(self->r.name, &state);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_FREE, state);
	/* what the disk did not have was taken back */
	if (has) {
		EXPECT_LT(0, n);
	}
	if (n) {
		EXPECT_EQ(-EBUSY, vd_attr_set(self->r.name, "enable", "0"));
	}

	/* a successor gets everything ready and is told to wait */
	ASSERT_EQ(0, vd_open(&d, self->r.name, &opts));
	ASSERT_EQ(0, vd_negotiate(&d) ?: vd_map_all(&d) ?: vd_setup_queues(&d));
	if (n) {
		EXPECT_EQ(-EBUSY, vd_driver_ok(&d));
		EXPECT_EQ(0xb, vd_status(&d));
	}
	ASSERT_EQ(0, vd_backing_thaw(&self->r.b));
	end = vd_now_ms() + VD_WAIT_MS;
	do {
		n = orphans(self->r.name, &state);
	} while (n && vd_now_ms() < end);
	EXPECT_EQ(0, n);
	EXPECT_EQ(0, vd_driver_ok(&d));
	EXPECT_EQ(VD_OK, vd_rw(d.q[0], VD_T_OUT, 0, DATA, 4096));
	EXPECT_EQ(VD_OK, vd_rw(d.q[QUEUES - 1], VD_T_IN, 0, DATA, 4096));
	vd_close(&d);
}

/* The worker waits for a page that a userfaultfd never brings: that, too, ends with SIGKILL. */
TEST_F_TIMEOUT(death, killed_in_a_page_fault, 60)
{
	struct vhost_inflight_requests all = {
		.size = sizeof(all), .request_size = sizeof(struct vhost_inflight_request),
	};
	int fds[2], status;
	struct vd d;
	pid_t pid;
	char c = 0;

	if (variant->pin_memory)
		return;		/* requests find all pages there */
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		struct vd_opts o = opts;
		int uffd;

		o.anon = true;
		if (vd_start(&d, self->r.name, &o))
			_exit(1);
		uffd = vd_hold_faults(vd_ptr(&d, DATA), 1 << 20);
		if (uffd < 0)
			_exit(2);
		vd_submit(d.q[0], VD_T_OUT, 0, &(struct vd_buf){ DATA, 4096, false }, 1, VD_DIRECT);
		vd_kick(d.q[0]);
		/* the fault is ours to answer: once it is here, the worker waits */
		if (poll(&(struct pollfd){ .fd = uffd, .events = POLLIN }, 1, VD_WAIT_MS) != 1)
			_exit(5);
		if (write(fds[1], &c, 1) != 1)
			_exit(3);
		/* while it does, other queues are served */
		if (vd_do(d.q[1], VD_T_FLUSH, 0, NULL, 0, VD_DIRECT))
			_exit(4);
		if (write(fds[1], &c, 1) != 1)
			_exit(3);
		for (;;)
			pause();
	}
	close(fds[1]);
	EXPECT_EQ(1, read(fds[0], &c, 1)) TH_LOG("no page fault");
	EXPECT_EQ(1, read(fds[0], &c, 1)) TH_LOG("other queues stand still");
	/* who looks on is told so in time */
	d.fd = vd_node_open(self->r.name, O_RDWR);
	EXPECT_EQ(-ETIMEDOUT, vd_ioctl(&d, VHOST_INFLIGHT_GET_REQUESTS, &all));
	all.index = 1;
	EXPECT_EQ(0, vd_ioctl(&d, VHOST_INFLIGHT_GET_REQUESTS, &all));
	close(d.fd);
	kill(pid, SIGKILL);
	ASSERT_EQ(0, vd_child_end(pid, &status, REAP_MS)) TH_LOG("not reaped");
	EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("exit %d", WEXITSTATUS(status));
	ASSERT_EQ(0, succeed(&d, self->r.name));
	vd_close(&d);
}

/* Says so in @fd once a page fault waits for us. */
struct fault_watch {
	int uffd, fd;
};

static void *fault_watch(void *arg)
{
	struct fault_watch *w = arg;
	char c = 0;

	if (poll(&(struct pollfd){ .fd = w->uffd, .events = POLLIN }, 1, VD_WAIT_MS) != 1 || write(w->fd, &c, 1) != 1)
		_exit(5);
	return NULL;
}

/* With pin_memory it is the message that waits for it. */
TEST_F_TIMEOUT(death, killed_while_memory_is_pinned, 60)
{
	long pins = vd_pins();
	int fds[2], status;
	struct vd d;
	pid_t pid;
	char c = 0;

	if (!variant->pin_memory)
		return;
	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		__u8 *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct fault_watch w = { .fd = fds[1] };
		pthread_t t;

		if (p == MAP_FAILED || vd_start(&d, self->r.name, &opts))
			_exit(1);
		/* what is pinned before the page that never comes is let go of */
		memset(p, 1, 1 << 19);
		w.uffd = vd_hold_faults(p + (1 << 19), 1 << 19);
		if (w.uffd < 0 || pthread_create(&t, NULL, fault_watch, &w))
			_exit(2);
		_exit(vd_msg(&d, VHOST_IOTLB_UPDATE, 0x40000000, 1 << 20, p, VHOST_ACCESS_RW) < 0 ? 3 : 4);
	}
	close(fds[1]);
	EXPECT_EQ(1, read(fds[0], &c, 1)) TH_LOG("no page fault");
	kill(pid, SIGKILL);
	ASSERT_EQ(0, vd_child_end(pid, &status, REAP_MS)) TH_LOG("not reaped");
	EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("exit %d", WEXITSTATUS(status));
	ASSERT_EQ(0, succeed(&d, self->r.name));
	vd_close(&d);
	EXPECT_EQ(0, vd_until_pins(pins));
}

/* ---- alone ---- */

/* One queue, and a file that outlives the VMM: nobody but the worker knows of the death, and only at the end of its turn. */
FIXTURE(alone) {
	struct vd_rig r;
	struct vd d;
};

FIXTURE_SETUP(alone)
{
	struct vd_opts o = { .iova = IOVA, .num = 64, .num_queues = 1, .mem_size = 8 << 20, .anon = true };

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_DM, DISK, NULL, NULL));
	ASSERT_EQ(0, vd_open(&self->d, self->r.name, &o));
}

FIXTURE_TEARDOWN_PARENT(alone)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/*
 * What it was about to take when it was killed never gets to the disk, and so nothing behind it may: a successor begins with
 * what was in flight, in its order.
 */
TEST_F_TIMEOUT(alone, killed_in_a_page_fault_before_others, 60)
{
	struct vhost_inflight_info info;
	struct vd *d = &self->d;
	int fds[2], status, i;
	__u8 data[4096];
	long end;
	pid_t pid;
	char c = 0;

	ASSERT_EQ(0, pipe(fds));
	pid = fork();
	if (!pid) {
		struct vd own = *d;
		int uffd;

		d = &own;
		if (vd_negotiate(d) || vd_map_all(d) || vd_setup_queues(d) || vd_driver_ok(d))
			_exit(1);
		uffd = vd_hold_faults(vd_ptr(d, DATA), 4096);
		if (uffd < 0)
			_exit(2);
		memset(vd_ptr(d, DATA + 4096), 1, 4096);
		for (i = 0; i < 8; i++)
			vd_submit(d->q[0], VD_T_OUT, i * 8,
				  &(struct vd_buf){ i == 1 ? DATA : DATA + 4096, 4096, false }, 1, VD_DIRECT);
		vd_kick(d->q[0]);
		if (poll(&(struct pollfd){ .fd = uffd, .events = POLLIN }, 1, VD_WAIT_MS) != 1)
			_exit(5);
		if (write(fds[1], &c, 1) != 1)
			_exit(3);
		for (;;)
			pause();
	}
	close(fds[1]);
	EXPECT_EQ(1, read(fds[0], &c, 1)) TH_LOG("no page fault");
	kill(pid, SIGKILL);
	ASSERT_EQ(0, vd_child_end(pid, &status, REAP_MS)) TH_LOG("not reaped");
	EXPECT_TRUE(WIFSIGNALED(status)) TH_LOG("exit %d", WEXITSTATUS(status));
	end = vd_now_ms() + REAP_MS;
	do {
		ASSERT_EQ(0, vd_info(d, &info));
	} while ((info.orphans || info.state != VHOST_INFLIGHT_STATE_FREE) && vd_now_ms() < end);
	EXPECT_EQ(0, info.orphans);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_FREE, info.state);
	close(d->fd);
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, vd_backing_read(&self->r.b, i * 4096, data, 4096));
		EXPECT_EQ(i == 0, data[0]) TH_LOG("request %d", i);
	}
}

/* ---- side by side ---- */

FIXTURE(two) {
	struct vd_rig a, b;
};

FIXTURE_SETUP(two)
{
	ASSERT_EQ(0, vd_rig_make(&self->a, VD_NULLB512, DISK, NULL, NULL));
	ASSERT_EQ(0, vd_rig_make(&self->b, VD_EXT4, DISK, NULL, NULL));
}

FIXTURE_TEARDOWN_PARENT(two)
{
	EXPECT_EQ(0, vd_rig_free(&self->a));
	EXPECT_EQ(0, vd_rig_free(&self->b));
}

/* The same addresses in both guests, other data on each disk. */
static int guest(const struct vd_rig *r, __u32 seed)
{
	struct vd_opts o = { .iova = 0, .num = 64, .mem_size = 4 << 20 };
	unsigned int i;
	struct vd d;
	__u64 buf;
	__u8 *p;

	if (vd_start(&d, r->name, &o))
		return 1;
	buf = vd_alloc(&d, 65536, 4096);
	p = vd_ptr(&d, buf);
	for (i = 0; i < 60; i++) {
		__u64 off = i * 65536;

		vd_fill(p, 65536, off, seed + i);
		if (vd_rw(d.q[0], VD_T_OUT, off / 512, buf, 65536))
			return 2;
		memset(p, 0, 65536);
		if (vd_rw(d.q[0], VD_T_IN, off / 512, buf, 65536))
			return 3;
		if (vd_check(p, 65536, off, seed + i) >= 0)
			return 4;
	}
	vd_close(&d);
	return 0;
}

TEST_F_TIMEOUT(two, vmms_on_two_devices, 60)
{
	__u8 *seen = malloc(65536);
	int status, i;
	pid_t a, b;

	a = fork();
	if (!a)
		_exit(guest(&self->a, 1000));
	b = fork();
	if (!b)
		_exit(guest(&self->b, 2000));
	ASSERT_EQ(a, waitpid(a, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("first: %d", WEXITSTATUS(status));
	ASSERT_EQ(b, waitpid(b, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("second: %d", WEXITSTATUS(status));
	for (i = 0; i < 60; i += 7) {
		ASSERT_EQ(0, vd_backing_read(&self->a.b, i * 65536, seen, 65536));
		EXPECT_EQ(-1, vd_check(seen, 65536, i * 65536, 1000 + i));
		ASSERT_EQ(0, vd_backing_read(&self->b.b, i * 65536, seen, 65536));
		EXPECT_EQ(-1, vd_check(seen, 65536, i * 65536, 2000 + i));
	}
}

/* One VMM with two devices, one of which goes. */
TEST_F(two, one_vmm_with_both)
{
	struct vd_opts o = { .iova = 0, .num = 64, .mem_size = 4 << 20 };
	struct vd a, b;
	int i;

	ASSERT_EQ(0, vd_start(&a, self->a.name, &o));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, vd_start(&b, self->b.name, &o));
		EXPECT_EQ(VD_OK, vd_rw(a.q[0], VD_T_IN, 0, 2 << 20, 4096));
		EXPECT_EQ(VD_OK, vd_rw(b.q[0], VD_T_IN, 0, 2 << 20, 4096));
		vd_close(&b);
		EXPECT_EQ(VD_OK, vd_rw(a.q[0], VD_T_IN, 0, 2 << 20, 4096));
	}
	vd_close(&a);
}

/* Nobody takes from under its user what is in use. */
TEST_F(two, in_use_is_not_removed)
{
	struct vd_opts o = { .iova = 0, .num = 64, .mem_size = 4 << 20 };
	struct vd d;

	ASSERT_EQ(0, vd_start(&d, self->a.name, &o));
	EXPECT_EQ(-EBUSY, vd_attr_set(self->a.name, "enable", "0"));
	EXPECT_EQ(-EBUSY, vd_delete(self->a.name));
	EXPECT_EQ(-1, syscall(SYS_delete_module, "vhost_blk", O_NONBLOCK));
	EXPECT_EQ(-1, syscall(SYS_delete_module, "vhost_inflight", O_NONBLOCK));
	EXPECT_EQ(0xf, vd_status(&d));
	EXPECT_EQ(VD_OK, vd_rw(d.q[0], VD_T_IN, 0, 2 << 20, 4096));
	vd_close(&d);
	EXPECT_EQ(0, vd_attr_set(self->a.name, "enable", "0"));
	EXPECT_EQ(-ENOENT, vd_node_open(self->a.name, O_RDWR));
	EXPECT_EQ(0, vd_attr_set(self->a.name, "enable", "1"));
	ASSERT_EQ(0, vd_start(&d, self->a.name, &o));
	EXPECT_EQ(VD_OK, vd_rw(d.q[0], VD_T_IN, 0, 2 << 20, 4096));
	vd_close(&d);
}

TEST_HARNESS_MAIN
