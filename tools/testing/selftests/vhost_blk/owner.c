// SPDX-License-Identifier: GPL-2.0
/* Who may drive the device: owner, second file, child, dup, exec. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

FIXTURE(owner) {
	struct vd_rig r;
};

static const struct vd_opts opts = { .mem_size = 1 << 20, .num = 64, .iova = 0x100000 };

FIXTURE_SETUP(owner)
{
	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, 8 << 20, NULL, &opts));
}

FIXTURE_TEARDOWN_PARENT(owner)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

static int works(struct vd *d)
{
	return vd_rw(d->q[0], VD_T_IN, 0, 0x1c0000, 4096);
}

/* The calls that only the owner may make, through @d; how many did not fail with what is documented. */
static int refused(struct vd *d, int device_err)
{
	struct vhost_vring_addr addr = { .desc_user_addr = 0x100000, .avail_user_addr = 0x101000,
					 .used_user_addr = 0x102000 };
	__u64 features = VD_F_VERSION_1 | VD_F_ACCESS_PLATFORM, backend = VD_BE_ALL;
	int ev = eventfd(0, EFD_CLOEXEC), bad = 0;
	struct {
		struct vhost_vdpa_config c;
		__u8 b[8];
	} conf = { .c = { .off = 32, .len = 1 } };

	bad += vd_vring_state(d, VHOST_SET_VRING_NUM, 0, 64) != -EPERM;
	bad += vd_vring_state(d, VHOST_SET_VRING_BASE, 0, 0) != -EPERM;
	bad += vd_get_base(d, 0) != -EPERM;
	bad += vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr) != -EPERM;
	bad += vd_vring_file(d, VHOST_SET_VRING_KICK, 0, ev) != -EPERM;
	bad += vd_vring_file(d, VHOST_SET_VRING_CALL, 0, ev) != -EPERM;
	bad += vd_vring_file(d, VHOST_SET_VRING_ERR, 0, ev) != -EPERM;
	bad += vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, 0, 1) != -EPERM;
	bad += vd_msg(d, VHOST_IOTLB_UPDATE, 0x40000000, 4096, d->mem[0].va, VHOST_ACCESS_RW) != -EPERM;
	bad += vd_msg(d, VHOST_IOTLB_INVALIDATE, 0, ~0ULL, NULL, 0) != -EPERM;
	bad += vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0) != -EPERM;
	bad += vd_ioctl(d, VHOST_SET_OWNER, NULL) != -EBUSY;
	if (device_err) {
		bad += vd_set_status(d, 0) != -device_err;
		bad += vd_set_status(d, 0xf) != -device_err;
		bad += vd_ioctl(d, VHOST_SET_FEATURES, &features) != -device_err;
		bad += vd_ioctl(d, VHOST_SET_BACKEND_FEATURES, &backend) != -device_err;
		bad += vd_ioctl(d, VHOST_VDPA_SET_CONFIG, &conf) != -device_err;
		bad += vd_ioctl(d, VHOST_VDPA_SET_CONFIG_CALL, &ev) != -device_err;
		bad += vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL) != -device_err;
		bad += vd_ioctl(d, VHOST_VDPA_RESUME, NULL) != -device_err;
	}
	close(ev);
	return bad;
}

/* A supervisor beside the VMM sees everything and changes nothing. */
TEST_F(owner, second_file)
{
	struct vhost_inflight_info info;
	struct vd *d = &self->r.d, other;

	ASSERT_EQ(0, vd_open(&other, self->r.name, &opts));
	EXPECT_EQ(0, refused(&other, EBUSY));
	EXPECT_EQ(0xf, vd_status(&other));
	EXPECT_EQ(0, vd_info(&other, &info));
	EXPECT_EQ(getpid(), info.owner_pid);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_RUNNING, info.state);
	EXPECT_EQ(VD_OK, works(d));
	vd_close(&other);
	EXPECT_EQ(VD_OK, works(d));
	EXPECT_EQ(0xf, vd_status(d));
}

/* Until somebody owns the device, whoever changes its state has a claim; a second one starts from a reset. */
TEST_F(owner, claim_before_owner)
{
	struct vd *d = &self->r.d, a, b;

	vd_close(d);
	ASSERT_EQ(0, vd_open(&a, self->r.name, &opts));
	ASSERT_EQ(0, vd_open(&b, self->r.name, &opts));
	EXPECT_EQ(0, vd_set_status(&a, VD_S_ACK | VD_S_DRIVER));
	EXPECT_EQ(3, vd_status(&b));
	EXPECT_EQ(0, vd_set_status(&b, VD_S_ACK));
	EXPECT_EQ(1, vd_status(&b));
	EXPECT_EQ(0, vd_ioctl(&b, VHOST_SET_OWNER, NULL));
	EXPECT_EQ(-EBUSY, vd_set_status(&a, 0));
	EXPECT_EQ(-EBUSY, vd_ioctl(&a, VHOST_SET_OWNER, NULL));
	vd_close(&b);
	EXPECT_EQ(0, vd_status(&a));
	EXPECT_EQ(0, vd_ioctl(&a, VHOST_SET_OWNER, NULL));
	vd_close(&a);
}

TEST_F(owner, survives_reset)
{
	struct vd *d = &self->r.d, other;
	int i;

	ASSERT_EQ(0, vd_open(&other, self->r.name, &opts));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, vd_reset(d));
		EXPECT_EQ(0, vd_status(d));
		EXPECT_EQ(-EBUSY, vd_ioctl(d, VHOST_SET_OWNER, NULL));
		EXPECT_EQ(-EBUSY, vd_ioctl(&other, VHOST_SET_OWNER, NULL));
		ASSERT_EQ(0, vd_restart(d));
		EXPECT_EQ(VD_OK, works(d));
	}
	vd_close(&other);
}

TEST_F(owner, forked_child)
{
	struct vd *d = &self->r.d;
	int status;
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(refused(d, 0) ? 1 : 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("the child was let in");
	/* its death and its closing of the file are nothing to us */
	EXPECT_EQ(0xf, vd_status(d));
	EXPECT_EQ(VD_OK, works(d));
}

/* The child lives on with the file; the owner's death ends ownership all the same. */
TEST_F(owner, child_outlives_owner)
{
	struct vhost_inflight_info info;
	int up[2], down[2], status;
	struct vd sup, vmm;
	long end;
	pid_t pid;
	char c = 0;

	vd_close(&self->r.d);
	ASSERT_EQ(0, pipe(up));
	ASSERT_EQ(0, pipe(down));
	pid = fork();
	if (!pid) {
		close(down[1]);
		if (vd_start(&vmm, self->r.name, &opts))
			_exit(1);
		if (works(&vmm))
			_exit(2);
		if (!fork()) {
			/* the grandchild keeps the file until it is told */
			if (write(up[1], &c, 1) != 1 || read(down[0], &c, 1) < 0)
				_exit(1);
			_exit(0);
		}
		raise(SIGKILL);
	}
	close(down[0]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status)) TH_LOG("vmm said %d", WEXITSTATUS(status));
	ASSERT_EQ(1, read(up[0], &c, 1));
	ASSERT_EQ(0, vd_open(&sup, self->r.name, &opts));
	end = vd_now_ms() + VD_WAIT_MS;
	do {
		ASSERT_EQ(0, vd_info(&sup, &info));
	} while (info.state != VHOST_INFLIGHT_STATE_FREE && vd_now_ms() < end);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_FREE, info.state);
	EXPECT_EQ(0, info.owner_pid);
	EXPECT_EQ(0, vd_negotiate(&sup) ?: vd_map_all(&sup) ?: vd_setup_queues(&sup) ?: vd_driver_ok(&sup));
	EXPECT_EQ(VD_OK, works(&sup));
	close(down[1]);
	vd_close(&sup);
}

/* Closing one of two descriptors of the same file is no release. */
TEST_F(owner, dup_keeps)
{
	struct vd *d = &self->r.d;
	int fd = dup(d->fd);

	ASSERT_LE(0, fd);
	close(d->fd);
	d->fd = fd;
	EXPECT_EQ(0xf, vd_status(d));
	EXPECT_EQ(VD_OK, works(d));
	EXPECT_EQ(72, vd_msg(d, VHOST_IOTLB_UPDATE, 0x40000000, 4096, d->mem[0].va, VHOST_ACCESS_RW));
}

/* A dup that a child holds keeps the file: after our close the ring is served on, then the child's exit ends it. */
TEST_F(owner, dup_in_child)
{
	struct vd *d = &self->r.d, other;
	struct vhost_inflight_info info;
	int hold[2], status;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(hold));
	pid = fork();
	if (!pid) {
		close(hold[1]);
		_exit(read(hold[0], &c, 1) < 0);
	}
	close(hold[0]);
	close(d->fd);
	d->fd = -1;
	EXPECT_EQ(VD_OK, works(d));
	ASSERT_EQ(0, vd_open(&other, self->r.name, &opts));
	EXPECT_EQ(-EBUSY, vd_ioctl(&other, VHOST_SET_OWNER, NULL));
	close(hold[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, vd_info(&other, &info));
	EXPECT_EQ(VHOST_INFLIGHT_STATE_FREE, info.state);
	EXPECT_EQ(0, vd_ioctl(&other, VHOST_SET_OWNER, NULL));
	vd_close(&other);
}

/* exec is the end of the owner's memory: what is inherited drives nothing. */
TEST_F(owner, exec_ends_it)
{
	struct vhost_inflight_info info;
	struct vd other, vmm;
	int hold[2], status, ready;
	char cmd[64];
	long end;
	pid_t pid;

	vd_close(&self->r.d);
	ASSERT_EQ(0, pipe(hold));
	pid = fork();
	if (!pid) {
		close(hold[1]);
		dup2(hold[0], 0);
		if (vd_start(&vmm, self->r.name, &opts) || works(&vmm))
			_exit(1);
		fcntl(vmm.fd, F_SETFD, 0);
		execl("/bin/sh", "sh", "-c", "read x; exit 0", NULL);
		_exit(2);
	}
	close(hold[0]);
	ASSERT_EQ(0, vd_open(&other, self->r.name, &opts));
	/* once it is another program, the owner is gone though the file is open */
	snprintf(cmd, sizeof(cmd), "/proc/%d/comm", pid);
	end = vd_now_ms() + VD_WAIT_MS;
	do {
		char comm[32] = "";

		vd_read_file(cmd, comm, sizeof(comm));
		ready = !strcmp(comm, "sh\n");
	} while (!ready && vd_now_ms() < end);
	ASSERT_TRUE(ready);
	do {
		ASSERT_EQ(0, vd_info(&other, &info));
	} while (info.state != VHOST_INFLIGHT_STATE_FREE && vd_now_ms() < end);
	EXPECT_EQ(VHOST_INFLIGHT_STATE_FREE, info.state);
	EXPECT_EQ(0, vd_ioctl(&other, VHOST_SET_OWNER, NULL));
	close(hold[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	vd_close(&other);
}

/* Close and start again, at once. */
TEST_F(owner, close_then_successor)
{
	struct vd *d = &self->r.d, next;
	int i;

	for (i = 0; i < 5; i++) {
		EXPECT_EQ(VD_OK, works(d));
		vd_close(d);
		ASSERT_EQ(0, vd_start(&next, self->r.name, &opts)) TH_LOG("round %d", i);
		*d = next;
		/* the copy's queues point at the original */
		d->q[0]->d = d;
	}
}

TEST_HARNESS_MAIN
