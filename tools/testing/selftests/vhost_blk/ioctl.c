// SPDX-License-Identifier: GPL-2.0
/* Every ioctl of the node in every state, with good and bad arguments. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

enum state { FRESH, OWNED, FEATURES, RUNNING, SUSPENDED, BROKEN, NR_STATES };

static const char * const state_name[] = { "fresh", "owned", "features_ok", "running", "suspended", "broken" };

static const struct vd_opts small = { .mem_size = 1 << 20, .num = 64, .iova = 0x100000 };

static int break_ring(struct vd *d)
{
	vd_push_head(d->q[0], d->q[0]->num + 7);
	vd_kick_always(d->q[0]);
	return vd_poll_fd(d->q[0]->err, VD_WAIT_MS) ? 0 : -ETIMEDOUT;
}

static int enter(struct vd *d, const char *name, enum state st)
{
	int ret;

	if (st >= RUNNING) {
		ret = vd_start(d, name, &small);
		if (!ret && st == SUSPENDED)
			ret = vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL);
		if (!ret && st == BROKEN)
			ret = break_ring(d);
		return ret;
	}
	ret = vd_open(d, name, &small);
	if (!ret && st == OWNED)
		ret = vd_ioctl(d, VHOST_SET_OWNER, NULL);
	if (!ret && st == FEATURES)
		ret = vd_negotiate(d) ?: vd_map_all(d) ?: vd_setup_queues(d);
	return ret;
}

FIXTURE(ioctl) {
	struct vd_rig r;
	int event;
};

FIXTURE_SETUP(ioctl)
{
	struct vd_config c = { .num_queues = 2, .queue_size = 256, .serial = "ioctl" };

	ASSERT_EQ(0, vd_rig_make(&self->r, VD_NULLB512, 8 << 20, &c, NULL));
	self->event = eventfd(0, EFD_CLOEXEC);
}

FIXTURE_TEARDOWN_PARENT(ioctl)
{
	EXPECT_EQ(0, vd_rig_free(&self->r));
}

/* ---- the matrix ---- */

enum arg { A_NONE, A_BUF, A_U64, A_OFFERED, A_STATE, A_EVENT, A_NOFD, A_BADFD, A_NOTEVENT, A_ADDR, A_U8, A_INT,
	   A_GETCONF, A_INFO, A_QUEUE };

#define ALL(e)	{ e, e, e, e, e, e }

struct row {
	const char *name;
	unsigned long cmd;
	enum arg arg;
	__u64 v;
	int want[NR_STATES];
};

#define R(cmd, arg, v, ...)	{ #cmd, cmd, arg, v, __VA_ARGS__ }
#define VRING(cmd, arg, v)	R(cmd, arg, v, { EPERM, 0, 0, 0, 0, 0 })
#define DEV(cmd, arg, v)	R(cmd, arg, v, ALL(0))

static const struct row rows[] = {
	/* what anybody may ask at any time */
	DEV(VHOST_GET_FEATURES, A_BUF, 0),
	DEV(VHOST_GET_BACKEND_FEATURES, A_BUF, 0),
	DEV(VHOST_VDPA_GET_DEVICE_ID, A_BUF, 0),
	DEV(VHOST_VDPA_GET_STATUS, A_BUF, 0),
	DEV(VHOST_VDPA_GET_VRING_NUM, A_BUF, 0),
	DEV(VHOST_VDPA_GET_IOVA_RANGE, A_BUF, 0),
	DEV(VHOST_VDPA_GET_CONFIG_SIZE, A_BUF, 0),
	DEV(VHOST_VDPA_GET_VQS_COUNT, A_BUF, 0),
	DEV(VHOST_VDPA_GET_GROUP_NUM, A_BUF, 0),
	DEV(VHOST_VDPA_GET_AS_NUM, A_BUF, 0),
	DEV(VHOST_VDPA_GET_CONFIG, A_GETCONF, 8),
	DEV(VHOST_INFLIGHT_GET_INFO, A_INFO, 0),
	DEV(VHOST_INFLIGHT_GET_QUEUE, A_QUEUE, 0),
	/* the owner, once */
	R(VHOST_SET_OWNER, A_NONE, 0, { 0, EBUSY, EBUSY, EBUSY, EBUSY, EBUSY }),
	/* negotiation */
	R(VHOST_SET_FEATURES, A_OFFERED, 0, { 0, 0, EBUSY, EBUSY, EBUSY, EBUSY }),
	R(VHOST_SET_FEATURES, A_OFFERED, VD_BIT(50), { EINVAL, EINVAL, EBUSY, EBUSY, EBUSY, EBUSY }),
	R(VHOST_SET_FEATURES, A_U64, 0, { EINVAL, EINVAL, EBUSY, EBUSY, EBUSY, EBUSY }),
	R(VHOST_SET_FEATURES, A_U64, VD_F_VERSION_1, { EINVAL, EINVAL, EBUSY, EBUSY, EBUSY, EBUSY }),
	R(VHOST_SET_FEATURES, A_U64, VD_F_ACCESS_PLATFORM, { EINVAL, EINVAL, EBUSY, EBUSY, EBUSY, EBUSY }),
	DEV(VHOST_SET_BACKEND_FEATURES, A_U64, 0),
	DEV(VHOST_SET_BACKEND_FEATURES, A_U64, VD_BE_ALL),
	R(VHOST_SET_BACKEND_FEATURES, A_U64, VD_BIT(3), ALL(EOPNOTSUPP)),
	R(VHOST_SET_BACKEND_FEATURES, A_U64, VD_BIT(7), ALL(EOPNOTSUPP)),
	R(VHOST_SET_BACKEND_FEATURES, A_U64, VD_BIT(63), ALL(EOPNOTSUPP)),
	/* status */
	DEV(VHOST_VDPA_SET_STATUS, A_U8, 0),
	R(VHOST_VDPA_SET_STATUS, A_U8, VD_S_ACK | VD_S_DRIVER, { 0, 0, EINVAL, EINVAL, EINVAL, EINVAL }),
	R(VHOST_VDPA_SET_STATUS, A_U8, VD_S_ACK, { 0, 0, EINVAL, EINVAL, EINVAL, EINVAL }),
	R(VHOST_VDPA_SET_STATUS, A_U8, 0xf | 0x10, ALL(EINVAL)),
	R(VHOST_VDPA_SET_STATUS, A_U8, 0xf | 0x20, { EINVAL, EINVAL, EINVAL, 0, EBUSY, 0 }),
	R(VHOST_VDPA_SET_STATUS, A_U8, VD_S_ACK | VD_S_DRIVER | VD_S_DRIVER_OK,
	  { EINVAL, EINVAL, EINVAL, EINVAL, EINVAL, EINVAL }),
	/* queues: the owner's */
	R(VHOST_SET_VRING_NUM, A_STATE, 128, { EPERM, 0, 0, EBUSY, 0, EBUSY }),
	R(VHOST_SET_VRING_NUM, A_STATE, 256, { EPERM, 0, 0, EBUSY, 0, EBUSY }),
	R(VHOST_SET_VRING_NUM, A_STATE, 1, { EPERM, 0, 0, EBUSY, 0, EBUSY }),
	R(VHOST_SET_VRING_BASE, A_STATE, 0, { EPERM, 0, 0, EINVAL, 0, EINVAL }),
	R(VHOST_SET_VRING_BASE, A_STATE, 0xffff, { EPERM, 0, 0, EINVAL, EINVAL, EINVAL }),
	R(VHOST_SET_VRING_ADDR, A_ADDR, 0x100000, { EPERM, 0, 0, EINVAL, 0, EINVAL }),
	VRING(VHOST_GET_VRING_BASE, A_STATE, 0),
	VRING(VHOST_SET_VRING_KICK, A_EVENT, 0),
	VRING(VHOST_SET_VRING_CALL, A_EVENT, 0),
	VRING(VHOST_SET_VRING_ERR, A_EVENT, 0),
	VRING(VHOST_SET_VRING_KICK, A_NOFD, 0),
	VRING(VHOST_SET_VRING_CALL, A_NOFD, 0),
	VRING(VHOST_SET_VRING_ERR, A_NOFD, 0),
	R(VHOST_SET_VRING_KICK, A_BADFD, 0, { EPERM, EBADF, EBADF, EBADF, EBADF, EBADF }),
	R(VHOST_SET_VRING_CALL, A_BADFD, 0, { EPERM, EBADF, EBADF, EBADF, EBADF, EBADF }),
	R(VHOST_SET_VRING_ERR, A_BADFD, 0, { EPERM, EBADF, EBADF, EBADF, EBADF, EBADF }),
	R(VHOST_SET_VRING_KICK, A_NOTEVENT, 0, { EPERM, EINVAL, EINVAL, EINVAL, EINVAL, EINVAL }),
	R(VHOST_SET_VRING_CALL, A_NOTEVENT, 0, { EPERM, EINVAL, EINVAL, EINVAL, EINVAL, EINVAL }),
	R(VHOST_SET_VRING_ERR, A_NOTEVENT, 0, { EPERM, EINVAL, EINVAL, EINVAL, EINVAL, EINVAL }),
	VRING(VHOST_VDPA_SET_VRING_ENABLE, A_STATE, 1),
	VRING(VHOST_VDPA_SET_VRING_ENABLE, A_STATE, 0),
	/* the rest of the device */
	DEV(VHOST_VDPA_SET_CONFIG_CALL, A_INT, 0),
	R(VHOST_VDPA_SET_CONFIG_CALL, A_BADFD, 0, ALL(EBADF)),
	DEV(VHOST_VDPA_SUSPEND, A_NONE, 0),
	DEV(VHOST_VDPA_RESUME, A_NONE, 0),
	/* one address space, one group: 0 */
	VRING(VHOST_VDPA_GET_VRING_SIZE, A_STATE, 0),
	VRING(VHOST_VDPA_GET_VRING_GROUP, A_STATE, 0),
	R(VHOST_VDPA_SET_GROUP_ASID, A_STATE, 0, { EPERM, 0, 0, EBUSY, 0, EBUSY }),
	R(VHOST_VDPA_SET_GROUP_ASID, A_STATE, 1, { EPERM, EINVAL, EINVAL, EBUSY, EINVAL, EBUSY }),
	/* not there */
	R(VHOST_VDPA_GET_VRING_DESC_GROUP, A_STATE, 0, ALL(ENOTTY)),
	R(VHOST_SET_LOG_BASE, A_U64, 0, ALL(ENOTTY)),
	R(VHOST_SET_LOG_FD, A_INT, 0, ALL(ENOTTY)),
	R(VHOST_NET_SET_BACKEND, A_EVENT, 0, ALL(ENOTTY)),
	R(_IO(VHOST_VIRTIO, 0xd7), A_NONE, 0, ALL(ENOTTY)),
	R(_IOW('x', 0x10, __u64), A_U64, 0, ALL(ENOTTY)),
};

static int call(struct vd *d, const struct row *row, int event)
{
	union {
		__u8 buf[256];
		__u8 u8;
		__u64 u64;
		int i;
		struct vhost_vring_state state;
		struct vhost_vring_file file;
		struct vhost_vring_addr addr;
		struct vhost_vdpa_config conf;
		struct vhost_inflight_info info;
		struct vhost_inflight_queue_info queue;
	} a;
	int fd;

	memset(&a, 0, sizeof(a));
	switch (row->arg) {
	case A_NONE:
		return vd_ioctl(d, row->cmd, NULL);
	case A_BUF:
		break;
	case A_U64:
		a.u64 = row->v;
		break;
	case A_OFFERED:
		vd_ioctl(d, VHOST_GET_FEATURES, &a.u64);
		a.u64 |= row->v;
		break;
	case A_STATE:
		a.state.num = row->v;
		break;
	case A_EVENT:
	case A_INT:
		a.file.fd = event;
		if (row->cmd == VHOST_VDPA_SET_CONFIG_CALL || row->arg == A_INT)
			a.i = event;
		break;
	case A_NOFD:
		a.file.fd = -1;
		break;
	case A_BADFD:
		a.file.fd = 999;
		if (row->cmd == VHOST_VDPA_SET_CONFIG_CALL)
			a.i = 999;
		break;
	case A_NOTEVENT:
		fd = open("/dev/null", O_RDWR);
		a.file.fd = fd;
		fd = vd_ioctl(d, row->cmd, &a);
		close(a.file.fd);
		return fd;
	case A_ADDR:
		a.addr.desc_user_addr = row->v;
		a.addr.avail_user_addr = row->v + 0x1000;
		a.addr.used_user_addr = row->v + 0x2000;
		break;
	case A_U8:
		a.u8 = row->v;
		break;
	case A_GETCONF:
		a.conf.len = row->v;
		break;
	case A_INFO:
		a.info.size = sizeof(a.info);
		break;
	case A_QUEUE:
		a.queue.size = sizeof(a.queue);
		break;
	}
	return vd_ioctl(d, row->cmd, &a);
}

FIXTURE_VARIANT(ioctl) {
	enum state st;
};

FIXTURE_VARIANT_ADD(ioctl, fresh) { FRESH };
FIXTURE_VARIANT_ADD(ioctl, owned) { OWNED };
FIXTURE_VARIANT_ADD(ioctl, features_ok) { FEATURES };
FIXTURE_VARIANT_ADD(ioctl, running) { RUNNING };
FIXTURE_VARIANT_ADD(ioctl, suspended) { SUSPENDED };
FIXTURE_VARIANT_ADD(ioctl, broken) { BROKEN };

/* Each row on a device of its own, brought to the state afresh; then the node must still work for the next one. */
TEST_F_TIMEOUT(ioctl, matrix, 120)
{
	struct vd *d = &self->r.d;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		int want = rows[i].want[variant->st], ret;

		ASSERT_EQ(0, enter(d, self->r.name, variant->st)) {
			TH_LOG("cannot reach %s", state_name[variant->st]);
		}
		ret = call(d, &rows[i], self->event);
		EXPECT_EQ(-want, ret) {
			TH_LOG("%s(%#llx) when %s: %s", rows[i].name, (unsigned long long)rows[i].v,
			       state_name[variant->st], strerror(-ret));
		}
		vd_close(d);
	}
}

/* A NULL argument, one that ends in a hole, and one that can't be written. */
TEST_F_TIMEOUT(ioctl, bad_pointers, 60)
{
	struct vd *d = &self->r.d;
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int i;

	ASSERT_NE(MAP_FAILED, page);
	munmap(page + 4096, 4096);
	ASSERT_EQ(0, enter(d, self->r.name, variant->st));
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t size = _IOC_SIZE(rows[i].cmd);
		int err = rows[i].want[variant->st];

		if (rows[i].arg == A_NONE || err == ENOTTY || err == EPERM)
			continue;
		EXPECT_EQ(-EFAULT, vd_ioctl(d, rows[i].cmd, NULL)) {
			TH_LOG("%s(NULL) when %s", rows[i].name, state_name[variant->st]);
		}
		if (size < 2)
			continue;
		/* all but the last byte is there */
		memset(page + 4096 - size, 0, size - 1);
		if (rows[i].arg == A_INFO || rows[i].arg == A_QUEUE)
			*(__u32 *)(page + 4096 - size + 1) = size;
		EXPECT_EQ(-EFAULT, vd_ioctl(d, rows[i].cmd, page + 4096 - size + 1)) {
			TH_LOG("%s(hole) when %s", rows[i].name, state_name[variant->st]);
		}
	}
	munmap(page, 4096);
	vd_close(d);
}

/* Every queue ioctl knows the queues there are. */
TEST_F(ioctl, no_such_queue)
{
	static const unsigned long cmds[] = {
		VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_GET_VRING_BASE, VHOST_SET_VRING_ADDR,
		VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR, VHOST_VDPA_SET_VRING_ENABLE,
	};
	static const unsigned int bad[] = { 2, 3, 64, 0xffff, 0x7fffffff, 0xffffffff };
	struct vhost_vring_addr a = { 0 };
	struct vhost_inflight_queue_info q;
	struct vd *d = &self->r.d;
	unsigned int i, j;

	ASSERT_EQ(0, enter(d, self->r.name, variant->st));
	for (j = 0; j < ARRAY_SIZE(bad); j++) {
		for (i = 0; i < ARRAY_SIZE(cmds) && variant->st != FRESH; i++) {
			a.index = bad[j];
			EXPECT_EQ(-ENOBUFS, vd_ioctl(d, cmds[i], &a)) {
				TH_LOG("nr %#lx index %u", _IOC_NR(cmds[i]), bad[j]);
			}
		}
		if (bad[j] <= 0xffff) {
			EXPECT_EQ(-ENOBUFS, vd_qinfo(d, bad[j], &q));
		}
	}
	vd_close(d);
}

TEST_HARNESS_MAIN
