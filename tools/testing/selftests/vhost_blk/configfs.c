// SPDX-License-Identifier: GPL-2.0
/* The administrator's side: attributes, what enabling can say, what is refused while in use. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "kselftest_harness.h"

#define DISK	(8 << 20)

FIXTURE(configfs) {
	struct vd_backing b;
	char name[VD_NAME_LEN];
	char dir[VD_PATH_LEN];
};

/* A directory in configfs, and a disk it does not know of yet. */
FIXTURE_SETUP(configfs)
{
	vd_name(self->name, "_c");
	ASSERT_EQ(0, vd_backing_make(&self->b, VD_NULLB512, DISK));
	ASSERT_EQ(0, vd_mkdir(self->name));
	snprintf(self->dir, sizeof(self->dir), "/sys/kernel/config/vhost_blk/%s", self->name);
}

FIXTURE_TEARDOWN_PARENT(configfs)
{
	EXPECT_EQ(0, vd_remove(self->name));
	vd_backing_free(&self->b);
}

TEST_F(configfs, defaults)
{
	static const struct {
		const char *attr, *want;
	} t[] = {
		{ "path", "" }, { "read_only", "0" }, { "num_queues", "1" }, { "queue_size", "256" },
		{ "logical_block_size", "0" }, { "drain_timeout_ms", "0" }, { "poll_us", "0" }, { "indirect_desc", "1" },
		{ "event_idx", "1" }, { "packed", "0" }, { "in_order", "0" }, { "partial_order", "0" }, { "discard", "1" }, { "enable", "0" }, { "capacity", "0" },
		{ "state", "disabled" }, { "pin_memory", "0" }, { "suspend", "0" }, { "sched_batch", "0" },
		{ "on_read_error", "report" }, { "on_write_error", "report" }, { "retry_ms", "1000" },
	};
	char text[256], serial[21] = "";
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		EXPECT_LE(0, vd_attr_get(self->name, t[i].attr, text, sizeof(text)));
		EXPECT_STREQ(t[i].want, text) TH_LOG("%s", t[i].attr);
	}
	memcpy(serial, self->name, strnlen(self->name, 20));
	EXPECT_LE(0, vd_attr_get(self->name, "serial", text, sizeof(text)));
	EXPECT_STREQ(serial, text);
}

TEST_F(configfs, bad_values)
{
	static const struct {
		const char *attr, *bad;
	} t[] = {
		{ "read_only", "2" }, { "read_only", "x" }, { "read_only", "-1" },
		{ "serial", "123456789012345678901" }, { "serial", "a\001b" }, { "serial", "\xc3\xa4" },
		{ "num_queues", "0" }, { "num_queues", "65" }, { "num_queues", "-1" }, { "num_queues", "x" },
		{ "num_queues", "4294967297" }, { "num_queues", "99999999999999999999" }, { "num_queues", "1 2" },
		{ "queue_size", "0" }, { "queue_size", "1" }, { "queue_size", "3" }, { "queue_size", "2048" },
		{ "queue_size", "100" }, { "queue_size", "-256" }, { "queue_size", "65536" },
		{ "logical_block_size", "1" }, { "logical_block_size", "256" }, { "logical_block_size", "513" },
		{ "logical_block_size", "8192" }, { "logical_block_size", "-512" },
		{ "drain_timeout_ms", "-1" }, { "drain_timeout_ms", "x" }, { "drain_timeout_ms", "4294967296" },
		{ "pin_memory", "2" }, { "pin_memory", "x" }, { "indirect_desc", "2" }, { "event_idx", "x" }, { "discard", "3" },
		{ "packed", "2" }, { "in_order", "x" }, { "partial_order", "2" }, { "suspend", "2" },
		{ "sched_batch", "2" }, { "sched_batch", "x" }, { "sched_batch", "-1" },
		{ "enable", "2" }, { "enable", "x" }, { "enable", "-1" },
	};
	char before[256], after[256];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		vd_attr_get(self->name, t[i].attr, before, sizeof(before));
		EXPECT_EQ(-EINVAL, vd_attr_set(self->name, t[i].attr, "%s", t[i].bad)) {
			TH_LOG("%s = '%s'", t[i].attr, t[i].bad);
		}
		vd_attr_get(self->name, t[i].attr, after, sizeof(after));
		EXPECT_STREQ(before, after) TH_LOG("%s after '%s'", t[i].attr, t[i].bad);
	}
}

TEST_F(configfs, good_values)
{
	static const struct {
		const char *attr, *good;
	} t[] = {
		{ "read_only", "1" }, { "serial", "12345678901234567890" }, { "serial", "a b/c~" },
		{ "num_queues", "64" }, { "num_queues", "1" }, { "queue_size", "2" }, { "queue_size", "1024" },
		{ "logical_block_size", "512" }, { "logical_block_size", "4096" }, { "logical_block_size", "0" },
		{ "drain_timeout_ms", "5000" }, { "indirect_desc", "0" }, { "event_idx", "0" }, { "discard", "0" },
		{ "pin_memory", "1" }, { "packed", "1" }, { "in_order", "1" }, { "partial_order", "1" },
		{ "suspend", "1" }, { "sched_batch", "1" }, { "path", "/no/such/file" },
	};
	char text[256];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		EXPECT_EQ(0, vd_attr_set(self->name, t[i].attr, "%s\n", t[i].good)) {
			TH_LOG("%s = %s", t[i].attr, t[i].good);
		}
		EXPECT_LE(0, vd_attr_get(self->name, t[i].attr, text, sizeof(text)));
		EXPECT_STREQ(t[i].good, text);
	}
}

TEST_F(configfs, access_modes)
{
	char text[64];

	EXPECT_EQ(-EACCES, vd_attr_set(self->name, "capacity", "1"));
	EXPECT_EQ(-EACCES, vd_attr_set(self->name, "state", "1"));
	EXPECT_EQ(-EACCES, vd_attr_get(self->name, "resize", text, sizeof(text)));
}

TEST_F(configfs, names)
{
	static const char * const bad[] = {
		"a b", "a:b", "ae\xcc\x88", "a\nb", "a*", "12345678901234567890123456789012", "$x",
		"...", ".a",
	};
	static const char * const good[] = { "a", "A.b-c_9", "1234567890123456789012345678901", "-", "a..." };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		int ret = vd_mkdir(bad[i]);

		EXPECT_TRUE(ret == -EINVAL || ret == -ENAMETOOLONG) TH_LOG("'%s': %d", bad[i], ret);
		if (!ret)
			vd_delete(bad[i]);
	}
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(0, vd_mkdir(good[i])) TH_LOG("'%s'", good[i]);
		EXPECT_EQ(0, vd_delete(good[i])) TH_LOG("'%s'", good[i]);
	}
	EXPECT_EQ(-EEXIST, vd_mkdir(self->name));
}

static int enable_on(const char *name, const char *path)
{
	return vd_attr_set(name, "path", "%s", path) ?: vd_attr_set(name, "enable", "1");
}

TEST_F(configfs, enable_errors)
{
	char path[VD_PATH_LEN], link[VD_PATH_LEN + 8];
	int fd;

	EXPECT_EQ(-EINVAL, vd_attr_set(self->name, "enable", "1")) TH_LOG("no path");
	EXPECT_EQ(-ENOENT, enable_on(self->name, "/no/such/file"));
	EXPECT_EQ(-ENOENT, enable_on(self->name, "/dev/no-such-disk"));
	EXPECT_EQ(-EISDIR, enable_on(self->name, "/tmp"));
	EXPECT_EQ(-EISDIR, enable_on(self->name, "/"));
	EXPECT_EQ(-ENOTBLK, enable_on(self->name, "/dev/null"));
	EXPECT_EQ(-EINVAL, enable_on(self->name, "relative/path"));

	snprintf(path, sizeof(path), "/run/vblk/tmpfs/%s", self->name);
	ASSERT_EQ(0, mkfifo(path, 0600));
	EXPECT_EQ(-ENOTBLK, enable_on(self->name, path)) TH_LOG("a fifo");
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-ENOSPC, enable_on(self->name, path)) TH_LOG("an empty file");
	ASSERT_EQ(0, ftruncate(fd, 511));
	EXPECT_EQ(-ENOSPC, enable_on(self->name, path)) TH_LOG("511 bytes");
	ASSERT_EQ(0, ftruncate(fd, 2048));
	ASSERT_EQ(0, vd_attr_set(self->name, "logical_block_size", "4096"));
	EXPECT_EQ(-ENOSPC, enable_on(self->name, path)) TH_LOG("half a block");
	ASSERT_EQ(0, vd_attr_set(self->name, "logical_block_size", "0"));
	/* odd sizes count in whole blocks */
	ASSERT_EQ(0, ftruncate(fd, 65536 + 511));
	EXPECT_EQ(0, enable_on(self->name, path));
	EXPECT_EQ(128, vd_attr_num(self->name, "capacity"));
	EXPECT_EQ(0, vd_attr_set(self->name, "enable", "0"));
	/* through a symbolic link */
	snprintf(link, sizeof(link), "%s.lnk", path);
	ASSERT_EQ(0, symlink(path, link));
	EXPECT_EQ(0, enable_on(self->name, link));
	EXPECT_EQ(0, vd_attr_set(self->name, "enable", "0"));
	unlink(link);
	unlink(path);
	close(fd);
	EXPECT_EQ(-ENOENT, vd_node_open(self->name, O_RDWR));
	EXPECT_EQ(0, vd_attr_num(self->name, "enable"));
	EXPECT_EQ(0, enable_on(self->name, self->b.path));
}

TEST_F(configfs, block_size_below_the_disks)
{
	struct vd_backing big;

	ASSERT_EQ(0, vd_backing_make(&big, VD_NULLB4096, DISK));
	ASSERT_EQ(0, vd_attr_set(self->name, "logical_block_size", "512"));
	EXPECT_EQ(-EINVAL, enable_on(self->name, big.path));
	ASSERT_EQ(0, vd_attr_set(self->name, "logical_block_size", "0"));
	EXPECT_EQ(0, enable_on(self->name, big.path));
	EXPECT_EQ(0, vd_attr_set(self->name, "enable", "0"));
	vd_backing_free(&big);
}

TEST_F(configfs, backing_in_use)
{
	struct vd_backing file;
	char other[VD_NAME_LEN];
	int fd = open(self->b.path, O_RDWR | O_EXCL | O_CLOEXEC);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBUSY, enable_on(self->name, self->b.path)) TH_LOG("opened exclusively");
	close(fd);
	vd_name(other, "_o");
	ASSERT_EQ(0, vd_mkdir(other));
	EXPECT_EQ(0, enable_on(self->name, self->b.path));
	EXPECT_EQ(-EBUSY, enable_on(other, self->b.path)) TH_LOG("the disk of another device");
	EXPECT_EQ(-1, open(self->b.path, O_RDWR | O_EXCL | O_CLOEXEC)) TH_LOG("ours, exclusively");
	EXPECT_EQ(0, vd_attr_set(self->name, "enable", "0"));
	EXPECT_EQ(0, enable_on(other, self->b.path));
	EXPECT_EQ(0, vd_attr_set(other, "enable", "0"));

	ASSERT_EQ(0, vd_backing_make(&file, VD_TMPFS, DISK));
	EXPECT_EQ(0, enable_on(self->name, file.path));
	EXPECT_EQ(-EBUSY, enable_on(other, file.path)) TH_LOG("the file of another device");
	EXPECT_EQ(0, vd_attr_set(self->name, "enable", "0"));
	EXPECT_EQ(0, enable_on(other, file.path));
	EXPECT_EQ(0, vd_delete(other));
	vd_backing_free(&file);
}

TEST_F(configfs, backing_read_only)
{
	struct vd_backing file;
	int ret;

	ASSERT_EQ(0, vd_run("blockdev --setro %s", self->b.path));
	ret = enable_on(self->name, self->b.path);
	EXPECT_TRUE(ret == -EROFS || ret == -EACCES) TH_LOG("%d", ret);
	ASSERT_EQ(0, vd_attr_set(self->name, "read_only", "1"));
	EXPECT_EQ(0, enable_on(self->name, self->b.path));
	EXPECT_EQ(0, vd_attr_set(self->name, "enable", "0"));

	ASSERT_EQ(0, vd_backing_make(&file, VD_TMPFS, DISK));
	ASSERT_EQ(0, vd_run("mount --bind %s %s && mount -o remount,bind,ro %s", file.path, file.path, file.path));
	ASSERT_EQ(0, vd_attr_set(self->name, "read_only", "0"));
	ret = enable_on(self->name, file.path);
	EXPECT_TRUE(ret == -EROFS || ret == -EACCES) TH_LOG("%d", ret);
	ASSERT_EQ(0, vd_attr_set(self->name, "read_only", "1"));
	EXPECT_EQ(0, enable_on(self->name, file.path));
	EXPECT_EQ(0, vd_attr_set(self->name, "enable", "0"));
	EXPECT_EQ(0, vd_run("umount %s", file.path));
	vd_backing_free(&file);
}

TEST_F(configfs, fixed_while_enabled)
{
	static const struct {
		const char *attr, *value;
	} t[] = {
		{ "path", "/dev/null" }, { "read_only", "1" }, { "serial", "x" }, { "num_queues", "2" },
		{ "queue_size", "128" }, { "logical_block_size", "4096" }, { "indirect_desc", "0" },
		{ "event_idx", "0" }, { "packed", "1" }, { "in_order", "1" }, { "partial_order", "1" }, { "discard", "0" },
		{ "pin_memory", "1" }, { "suspend", "1" },
	};
	char before[256], after[256];
	unsigned int i;

	ASSERT_EQ(0, enable_on(self->name, self->b.path));
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		vd_attr_get(self->name, t[i].attr, before, sizeof(before));
		EXPECT_EQ(-EBUSY, vd_attr_set(self->name, t[i].attr, "%s", t[i].value)) TH_LOG("%s", t[i].attr);
		vd_attr_get(self->name, t[i].attr, after, sizeof(after));
		EXPECT_STREQ(before, after) TH_LOG("%s", t[i].attr);
	}
	EXPECT_EQ(0, vd_attr_set(self->name, "drain_timeout_ms", "77"));
	EXPECT_EQ(77, vd_attr_num(self->name, "drain_timeout_ms"));
	EXPECT_EQ(0, vd_attr_set(self->name, "sched_batch", "1"));
	EXPECT_EQ(-EINVAL, vd_attr_set(self->name, "sched_batch", "2"));
	EXPECT_EQ(1, vd_attr_num(self->name, "sched_batch"));
	EXPECT_EQ(0, vd_attr_set(self->name, "resize", "1"));
	EXPECT_EQ(-1, rmdir(self->dir));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(0, vd_attr_set(self->name, "enable", "0"));
	EXPECT_EQ(0, vd_attr_set(self->name, "num_queues", "2"));
}

static int is_state(const char *name, const char *want)
{
	char text[64] = "";

	vd_attr_get(name, "state", text, sizeof(text));
	return strcmp(text, want);
}

TEST_F(configfs, state_follows)
{
	struct vd_opts o = { .iova = 0x100000, .num = 64, .mem_size = 4 << 20 };
	char path[VD_PATH_LEN];
	struct vd d;

	EXPECT_EQ(0, is_state(self->name, "disabled"));
	EXPECT_EQ(0, vd_attr_num(self->name, "capacity"));
	ASSERT_EQ(0, enable_on(self->name, self->b.path));
	EXPECT_EQ(1, vd_attr_num(self->name, "enable"));
	EXPECT_EQ(DISK / 512, vd_attr_num(self->name, "capacity"));
	EXPECT_EQ(0, is_state(self->name, "free"));
	snprintf(path, sizeof(path), "/sys/class/vhost-blk/vhost-blk-%s", self->name);
	EXPECT_EQ(0, access(path, F_OK));
	ASSERT_EQ(0, vd_open(&d, self->name, &o));
	EXPECT_EQ(0, is_state(self->name, "free"));
	EXPECT_EQ(-EBUSY, vd_attr_set(self->name, "enable", "0")) TH_LOG("open and not owned");
	ASSERT_EQ(0, vd_negotiate(&d) ?: vd_map_all(&d) ?: vd_setup_queues(&d));
	EXPECT_EQ(0, is_state(self->name, "owned"));
	ASSERT_EQ(0, vd_driver_ok(&d));
	EXPECT_EQ(0, is_state(self->name, "running"));
	ASSERT_EQ(0, vd_ioctl(&d, VHOST_VDPA_SUSPEND, NULL));
	EXPECT_EQ(0, is_state(self->name, "suspended"));
	ASSERT_EQ(0, vd_ioctl(&d, VHOST_VDPA_RESUME, NULL));
	EXPECT_EQ(0, is_state(self->name, "running"));
	vd_push_head(d.q[0], 1000);
	vd_kick_always(d.q[0]);
	ASSERT_EQ(1, vd_poll_fd(d.q[0]->err, VD_WAIT_MS));
	EXPECT_EQ(0, is_state(self->name, "error"));
	ASSERT_EQ(0, vd_reset(&d));
	EXPECT_EQ(0, is_state(self->name, "owned"));
	vd_close(&d);
	EXPECT_EQ(0, is_state(self->name, "free"));
	EXPECT_EQ(0, vd_attr_set(self->name, "enable", "0"));
	EXPECT_EQ(0, is_state(self->name, "disabled"));
	EXPECT_EQ(-1, access(path, F_OK));
}

TEST_F(configfs, many_devices)
{
	struct vd_backing b[12];
	char name[12][VD_NAME_LEN];
	int i;

	for (i = 0; i < 12; i++) {
		struct vd_config c = { 0 };

		ASSERT_EQ(0, vd_backing_make(&b[i], VD_TMPFS, DISK));
		vd_name(name[i], (char[]){ '.', 'a' + i, 0 });
		c.path = b[i].path;
		ASSERT_EQ(0, vd_create(name[i], &c)) TH_LOG("device %d", i);
	}
	for (i = 0; i < 12; i++) {
		EXPECT_EQ(0, vd_delete(name[i])) TH_LOG("device %d", i);
		vd_backing_free(&b[i]);
	}
}

/* Opened, owned and closed by some while others enable and disable it: refusals, and nothing worse. */
TEST_F_TIMEOUT(configfs, enable_races_open, 60)
{
	pid_t pid[2];
	int i, ret, ok = 0, status;

	ASSERT_EQ(0, vd_attr_set(self->name, "path", "%s", self->b.path));
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		for (;;) {
			struct vd_opts o = { .num = 64, .mem_size = 1 << 20 };
			struct vd d;

			vd_start(&d, self->name, &o);
			vd_close(&d);
		}
	}
	for (i = 0; i < vd_rounds(200); i++) {
		ret = vd_attr_set(self->name, "enable", i % 2 ? "0" : "1");
		EXPECT_TRUE(!ret || ret == -EBUSY) TH_LOG("round %d: %d", i, ret);
		ok += !ret;
	}
	EXPECT_LT(0, ok);
	for (i = 0; i < 2; i++) {
		kill(pid[i], SIGKILL);
		EXPECT_EQ(0, vd_child_end(pid[i], &status, VD_WAIT_MS));
	}
}

TEST_HARNESS_MAIN
