// SPDX-License-Identifier: GPL-2.0
/* What the host's administrator does: backings, configfs, the kernel log. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "vblk_dm.h"

#define CONFIGFS	"/sys/kernel/config/vhost_blk"
#define NULLB		"/sys/kernel/config/nullb"
#define ENGINE		"/run/vblk/vhost_blk.ko"	/* lib.sh inserted it from there */

long vd_pins(void)
{
	static char text[65536];
	long n = 0;
	char *p;
	int ret;

	/* each processor adds up for itself */
	ret = vd_write_file("/proc/sys/vm/stat_refresh", "1") ?: vd_read_file("/proc/vmstat", text, sizeof(text));
	if (ret < 0)
		return ret;
	p = strstr(text, "nr_foll_pin_acquired ");
	n = p ? atol(p + strlen("nr_foll_pin_acquired ")) : -ENOENT;
	p = strstr(text, "nr_foll_pin_released ");
	return p && n >= 0 ? n - atol(p + strlen("nr_foll_pin_released ")) : -ENOENT;
}

int vd_until_pins(long n)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	while (vd_pins() != n) {
		if (vd_now_ms() > end)
			return -ETIMEDOUT;
		poll(NULL, 0, 1);
	}
	return 0;
}

long vd_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

__u64 vd_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

unsigned int vd_rounds(unsigned int n)
{
	return getenv("VBLK_QUICK") ? (n + 7) / 8 : n;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

int vd_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text));
	ret = ret < 0 ? -errno : 0;
	close(fd);
	return ret;
}

int vd_read_file(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t ret;

	if (fd < 0)
		return -errno;
	ret = read(fd, buf, len - 1);
	ret = ret < 0 ? -errno : ret;
	close(fd);
	if (ret >= 0)
		buf[ret] = 0;
	return ret;
}

int vd_run(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;
	int n, ret;

	va_start(ap, fmt);
	n = vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	snprintf(cmd + n, sizeof(cmd) - n, " >/dev/null 2>&1");
	ret = system(cmd);
	return ret ? -EIO : 0;
}

int vd_hold_faults(void *p, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (unsigned long)p, .len = len }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), ret;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

int vd_child_end(pid_t pid, int *status, int ms)
{
	long end = vd_now_ms() + ms;

	while (!waitpid(pid, status, WNOHANG)) {
		if (vd_now_ms() > end)
			return -ETIMEDOUT;
		nap();
	}
	return 0;
}

int vd_child_blocks(pid_t pid, long syscall_nr)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
	while (vd_now_ms() < end) {
		/* "running" while it runs */
		if (vd_read_file(path, text, sizeof(text)) > 0 && text[0] != 'r' &&
		    strtol(text, NULL, 10) == syscall_nr)
			return 0;
		nap();
	}
	return -ETIMEDOUT;
}

int vd_child_stopped(pid_t pid)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	char path[64], text[512], *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	while (vd_now_ms() < end) {
		p = vd_read_file(path, text, sizeof(text)) > 0 ? strrchr(text, ')') : NULL;
		if (p && p[2] == 'T')
			return 0;
		nap();
	}
	return -ETIMEDOUT;
}

int vd_exchange(void)
{
	return vd_write_file(CONFIGFS "/detach", "5000") ?: vd_run("rmmod vhost_blk") ?: vd_run("insmod " ENGINE);
}

/* Names are by process, so that what a dead test left behind is in nobody's way. */
void vd_name(char name[VD_NAME_LEN], const char *suffix)
{
	snprintf(name, VD_NAME_LEN, "t%d%s", getpid(), suffix);
}

/* configfs */

int vd_attr_set(const char *dev, const char *attr, const char *fmt, ...)
{
	char path[VD_PATH_LEN], text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), CONFIGFS "/%s/%s", dev, attr);
	return vd_write_file(path, text);
}

int vd_attr_get(const char *dev, const char *attr, char *buf, size_t len)
{
	char path[VD_PATH_LEN];
	int ret;

	snprintf(path, sizeof(path), CONFIGFS "/%s/%s", dev, attr);
	ret = vd_read_file(path, buf, len);
	if (ret > 0 && buf[ret - 1] == '\n')
		buf[--ret] = 0;
	return ret;
}

long long vd_attr_num(const char *dev, const char *attr)
{
	char text[64];
	int ret = vd_attr_get(dev, attr, text, sizeof(text));

	return ret < 0 ? ret : strtoll(text, NULL, 10);
}

int vd_mkdir(const char *name)
{
	char path[VD_PATH_LEN];

	snprintf(path, sizeof(path), CONFIGFS "/%s", name);
	return mkdir(path, 0755) ? -errno : 0;
}

static int vd_rmdir(const char *name)
{
	char path[VD_PATH_LEN];

	snprintf(path, sizeof(path), CONFIGFS "/%s", name);
	return rmdir(path) ? -errno : 0;
}

int vd_create(const char *name, const struct vd_config *c)
{
	int ret = vd_mkdir(name);

	if (ret)
		return ret;
	ret = vd_attr_set(name, "path", "%s", c->path);
	if (!ret && c->serial)
		ret = vd_attr_set(name, "serial", "%s", c->serial);
	if (!ret && c->num_queues)
		ret = vd_attr_set(name, "num_queues", "%d", c->num_queues);
	if (!ret && c->queue_size)
		ret = vd_attr_set(name, "queue_size", "%d", c->queue_size);
	if (!ret && c->lbs)
		ret = vd_attr_set(name, "logical_block_size", "%d", c->lbs);
	if (!ret && c->drain_timeout_ms)
		ret = vd_attr_set(name, "drain_timeout_ms", "%d", c->drain_timeout_ms);
	if (!ret && c->read_only)
		ret = vd_attr_set(name, "read_only", "1");
	if (!ret && c->no_indirect)
		ret = vd_attr_set(name, "indirect_desc", "0");
	if (!ret && c->no_event_idx)
		ret = vd_attr_set(name, "event_idx", "0");
	if (!ret && c->packed)
		ret = vd_attr_set(name, "packed", "1");
	if (!ret && c->in_order)
		ret = vd_attr_set(name, "in_order", "1");
	if (!ret && c->partial_order)
		ret = vd_attr_set(name, "partial_order", "1");
	if (!ret && c->suspend)
		ret = vd_attr_set(name, "suspend", "1");
	if (!ret && c->on_read_error)
		ret = vd_attr_set(name, "on_read_error", "%s", c->on_read_error);
	if (!ret && c->on_write_error)
		ret = vd_attr_set(name, "on_write_error", "%s", c->on_write_error);
	if (!ret && c->retry_ms)
		ret = vd_attr_set(name, "retry_ms", "%d", c->retry_ms < 0 ? 0 : c->retry_ms);
	if (!ret && c->poll_us)
		ret = vd_attr_set(name, "poll_us", "%d", c->poll_us);
	if (!ret && c->pin_memory)
		ret = vd_attr_set(name, "pin_memory", "1");
	if (!ret && c->no_discard)
		ret = vd_attr_set(name, "discard", "0");
	if (!ret)
		ret = vd_attr_set(name, "enable", "1");
	if (ret)
		vd_rmdir(name);
	return ret;
}

int vd_delete(const char *name)
{
	return vd_attr_set(name, "enable", "0") ?: vd_rmdir(name);
}

int vd_remove(const char *name)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	int ret;

	do {
		ret = vd_delete(name);
		if (ret == -EBUSY)
			nap();
	} while (ret == -EBUSY && vd_now_ms() < end);
	return ret;
}

int vd_node_open(const char *name, int flags)
{
	char path[VD_PATH_LEN];
	int fd;

	snprintf(path, sizeof(path), "/dev/vhost-blk-%s", name);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Backings */

static bool low(const struct vd_backing *b)
{
	return b->kind == VD_DM_LOW || b->kind == VD_DM_LOW_WAIT;
}

static bool nbd(const struct vd_backing *b)
{
	return b->kind >= VD_NBD_LOST && b->kind <= VD_DM_NBD;
}

static bool mixed(const struct vd_backing *b)
{
	return b->kind >= VD_DM_MIXED && b->kind <= VD_NBD_STUCK;
}

bool vd_backing_records(const struct vd_backing *b)
{
	return (mixed(b) && b->kind != VD_DM_MIXED) || b->kind == VD_THIN_RECORD;
}

bool vd_backing_freezes(const struct vd_backing *b)
{
	return nbd(b) || b->kind == VD_DM || b->kind == VD_DM_WAIT || b->kind == VD_EXT4_DM || mixed(b);
}

static int nullb_set(const char *id, const char *attr, unsigned long long v)
{
	char path[VD_PATH_LEN], text[32];

	snprintf(path, sizeof(path), NULLB "/%s/%s", id, attr);
	snprintf(text, sizeof(text), "%llu", v);
	return vd_write_file(path, text);
}

static int nullb_make(const char *id, enum vd_backing_kind kind, __u64 bytes)
{
	static const unsigned int late_ms[] = {
		[VD_NULLB_SLOW] = VD_SLOW_MS, [VD_NULLB_SLOWER] = VD_SLOWER_MS, [VD_DM_MIXED] = VD_MIXED_MS,
		[VD_DM_RECORD] = VD_MIXED_MS, [VD_DM_RECORD_SLOW] = VD_SLOW_MS,
		[VD_DM_RECORD_NARROW] = VD_SLOW_MS, [VD_DM_RECORD_WAIT] = VD_MIXED_MS,
		[VD_DM_LOW] = VD_MIXED_MS, [VD_DM_LOW_WAIT] = VD_MIXED_MS,
	};
	unsigned int ms = kind < sizeof(late_ms) / sizeof(*late_ms) ? late_ms[kind] : 0;
	char path[VD_PATH_LEN];
	int ret;

	snprintf(path, sizeof(path), NULLB "/%s", id);
	if (mkdir(path, 0755))
		return -errno;
	ret = nullb_set(id, "memory_backed", 1) ?:
	      nullb_set(id, "size", (bytes + (1 << 20) - 1) >> 20) ?:
	      nullb_set(id, "blocksize", kind == VD_NULLB4096 ? 4096 : 512);
	if (!ret && ms)
		ret = nullb_set(id, "irqmode", 2) ?: nullb_set(id, "completion_nsec", 1000000ULL * ms);
	/* What is longer comes in pieces. */
	if (!ret && kind >= VD_DM_RECORD && kind <= VD_DM_LOW_WAIT)
		ret = nullb_set(id, "max_sectors", 8);
	if (!ret && (kind == VD_DM_RECORD_NARROW || kind == VD_DM_LOW || kind == VD_DM_LOW_WAIT))
		ret = nullb_set(id, "hw_queue_depth", VD_NARROW);
	if (!ret && kind == VD_NULLB_DISCARD)
		ret = nullb_set(id, "discard", 1);
	if (!ret && kind == VD_NULLB_CACHE)
		ret = nullb_set(id, "cache_size", 8) ?: nullb_set(id, "fua", 0);
	return ret ?: nullb_set(id, "power", 1);
}

static void nullb_free(const char *id)
{
	char path[VD_PATH_LEN];

	nullb_set(id, "power", 0);
	snprintf(path, sizeof(path), NULLB "/%s", id);
	rmdir(path);
}

/* Of one of the dm devices that a backing consists of, to be used at once. */
static const char *part(const struct vd_backing *b, const char *suffix)
{
	static char name[4][VD_NAME_LEN + 8];
	static unsigned int next;
	char *p = name[next++ % 4];

	snprintf(p, sizeof(*name), "%s%s", b->id, suffix);
	return p;
}

/* The node that devtmpfs made: /dev/mapper is up to udev, which need not run here. */
static int dm_node(const char *name, char *path)
{
	return vd_dm_path(name, path, VD_PATH_LEN);
}

static int file_make(struct vd_backing *b, const char *env, const char *dir)
{
	int fd, ret;

	if (getenv(env))
		dir = getenv(env);
	snprintf(b->path, sizeof(b->path), "%s/%s.img", dir, b->id);
	fd = open(b->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = ftruncate(fd, b->bytes) ? -errno : 0;
	close(fd);
	return ret;
}

static int loop_make(struct vd_backing *b)
{
	FILE *out;
	int ret = file_make(b, "VBLK_TMPFS", "/run/vblk/tmpfs");
	char cmd[VD_PATH_LEN + 64];

	if (ret)
		return ret;
	snprintf(cmd, sizeof(cmd), "losetup --find --show --sector-size 4096 %s", b->path);
	snprintf(b->mnt, sizeof(b->mnt), "%s", b->path);
	out = popen(cmd, "r");
	if (!out || !fgets(b->path, sizeof(b->path), out))
		ret = -EIO;
	b->path[strcspn(b->path, "\n")] = 0;
	if (out)
		pclose(out);
	return ret;
}

static int dm_make(struct vd_backing *b)
{
	/* twice the size below, so that it can grow */
	return nullb_make(b->id, b->kind, b->bytes * 2) ?:
	       vd_dm_create(b->id, "0 %llu %s /dev/%s 0%s", b->bytes / 512, b->kind == VD_DM_WAIT ? "delay" : "linear",
			    b->id, b->kind == VD_DM_WAIT ? " 0" : "") ?:
	       dm_node(b->id, b->path);
}

/* The table of a mixed one's second half, as it is when that works. */
static int late_table(const struct vd_backing *b, char *text, size_t len)
{
	bool wait = b->kind == VD_DM_RECORD_WAIT || b->kind == VD_DM_LOW_WAIT;
	char below[VD_PATH_LEN];
	int ret = 0;

	snprintf(below, sizeof(below), "/dev/%ss", b->id);
	if (low(b))
		ret = dm_node(part(b, "r"), below);
	snprintf(text, len, "0 %llu %s %s %llu%s", b->bytes / 1024, wait ? "delay" : "linear", below,
		 low(b) ? b->bytes / 1024 : 0, wait ? " 0" : "");
	return ret;
}

/*
 * One null_blk; above it @id with an r, which records; above the second half of that, @id with an s, what freezes and breaks;
 * and @id, which is both halves.
 */
static int low_make(struct vd_backing *b)
{
	__u64 half = b->bytes / 1024;
	char record[VD_PATH_LEN], late[VD_PATH_LEN], table[2 * VD_PATH_LEN];

	return nullb_make(b->id, b->kind, b->bytes) ?:
	       vd_dm_create(part(b, "r"), "0 %llu vblk-record /dev/%s 0", half * 2, b->id) ?:
	       late_table(b, table, sizeof(table)) ?: vd_dm_create(part(b, "s"), "%s", table) ?:
	       dm_node(part(b, "r"), record) ?: dm_node(part(b, "s"), late) ?:
	       vd_dm_create(b->id, "0 %llu linear %s 0\n%llu %llu linear %s 0", half, record, half, half, late) ?:
	       dm_node(b->id, b->path);
}

/* The second half, or all of it, is on a server whose data are in a file. */
static int nbd_make(struct vd_backing *b)
{
	__u64 half = b->bytes / 1024;
	char file[VD_PATH_LEN];
	int ret;

	snprintf(file, sizeof(file), "%s/%s.nbd", getenv("VBLK_TMPFS") ?: "/run/vblk/tmpfs", b->id);
	if (!mixed(b)) {
		ret = vd_nbd_make(&b->nbd, file, b->bytes, b->kind == VD_NBD ? 1 : VD_NBD_S);
		snprintf(b->path, sizeof(b->path), "/dev/nbd%d", b->nbd.index);
		if (ret || b->kind != VD_DM_NBD)
			return ret;
		return vd_dm_create(b->id, "0 %llu linear %s 0", half * 2, b->path) ?: dm_node(b->id, b->path);
	}
	return nullb_make(b->id, VD_NULLB512, b->bytes / 2) ?:
	       vd_nbd_make(&b->nbd, file, b->bytes / 2, b->kind == VD_NBD_LOST) ?:
	       vd_dm_create(b->id, "0 %llu vblk-record /dev/%s 0\n%llu %llu vblk-record /dev/nbd%d 0", half, b->id, half, half,
			    b->nbd.index) ?:
	       dm_node(b->id, b->path);
}

/* The second half is on a disk of its own, a dm-linear over a null_blk, both @id with an s. */
static int mixed_make(struct vd_backing *b)
{
	const char *top = vd_backing_records(b) ? "vblk-record" : "linear";
	__u64 half = b->bytes / 1024;
	char path[VD_PATH_LEN], table[2 * VD_PATH_LEN];

	return nullb_make(b->id, VD_NULLB512, b->bytes / 2) ?: nullb_make(part(b, "s"), b->kind, b->bytes / 2) ?:
	       late_table(b, table, sizeof(table)) ?: vd_dm_create(part(b, "s"), "%s", table) ?:
	       dm_node(part(b, "s"), path) ?:
	       vd_dm_create(b->id, "0 %llu %s /dev/%s 0\n%llu %llu %s %s 0", half, top, b->id, half, half, top, path) ?:
	       dm_node(b->id, b->path);
}

/* A tmpfs of so much, and a file on it that is larger. */
static int small_make(struct vd_backing *b)
{
	snprintf(b->mnt, sizeof(b->mnt), "/run/vblk/%s", b->id);
	return vd_run("mkdir -p %s && mount -t tmpfs -o size=%u none %s", b->mnt, VD_SMALL, b->mnt) ?:
	       file_make(b, "VBLK_NONE", b->mnt);
}

/*
 * The data, the pool and the volume are dm devices, the first two @id with d and p; metadata on a null_blk with m. The volume is
 * @id, or with a v when what records is above it.
 */
static int thin_table(const struct vd_backing *b, int (*how)(const char *name, const char *fmt, ...), __u64 bytes)
{
	char data[VD_PATH_LEN];

	return how(part(b, "d"), "0 %llu linear /dev/%s 0", bytes / 512, b->id) ?: vd_dm_resume(part(b, "d")) ?:
	       dm_node(part(b, "d"), data) ?:
	       how(part(b, "p"), "0 %llu thin-pool /dev/%sm %s %u 0 1 error_if_no_space", bytes / 512, b->id, data,
		   VD_THIN_BLOCK / 512) ?:
	       vd_dm_resume(part(b, "p"));
}

static const char *thin_volume(const struct vd_backing *b)
{
	return part(b, b->kind == VD_THIN ? "" : "v");
}

static int thin_make(struct vd_backing *b)
{
	char pool[VD_PATH_LEN];
	int ret;

	ret = nullb_make(part(b, "m"), VD_NULLB512, 4 << 20) ?: nullb_make(b->id, VD_NULLB512, b->bytes) ?:
	      thin_table(b, vd_dm_create, VD_SMALL) ?: dm_node(part(b, "p"), pool) ?:
	      vd_dm_message(part(b, "p"), "create_thin 0") ?:
	      vd_dm_create(thin_volume(b), "0 %llu thin %s 0", b->bytes / 512, pool) ?: dm_node(thin_volume(b), b->path);
	if (ret || b->kind == VD_THIN)
		return ret;
	return vd_dm_create(b->id, "0 %llu vblk-record %s 0", b->bytes / 512, b->path) ?: dm_node(b->id, b->path);
}

static void thin_free(struct vd_backing *b)
{
	vd_dm_remove(b->id);
	if (b->kind != VD_THIN)
		vd_dm_remove(thin_volume(b));
	vd_dm_remove(part(b, "p"));
	vd_dm_remove(part(b, "d"));
	nullb_free(b->id);
	nullb_free(part(b, "m"));
}

int vd_backing_twin(struct vd_backing *twin, const struct vd_backing *b)
{
	char table[512];

	*twin = *b;
	twin->kind = VD_TWIN;
	snprintf(twin->id, sizeof(twin->id), "%.*st", VD_NAME_LEN - 2, b->id);
	return vd_dm_table(b->id, table, sizeof(table)) ?: vd_dm_create(twin->id, "%s", table) ?:
	       dm_node(twin->id, twin->path);
}

int vd_backing_make(struct vd_backing *b, enum vd_backing_kind kind, __u64 bytes)
{
	static int serial;
	int ret;

	memset(b, 0, sizeof(*b));
	b->kind = kind;
	b->bytes = bytes;
	b->lbs = kind == VD_NULLB4096 || kind == VD_LOOP4096 ? 4096 : 512;
	b->block = kind != VD_EXT4 && kind != VD_TMPFS && kind != VD_EXT4_DM && kind != VD_TMPFS_SMALL;
	snprintf(b->id, sizeof(b->id), "b%d_%d", getpid(), serial++);
	switch (kind) {
	case VD_EXT4:
		return file_make(b, "VBLK_EXT4", "/run/vblk/ext4");
	case VD_TMPFS:
		return file_make(b, "VBLK_TMPFS", "/run/vblk/tmpfs");
	case VD_DM:
	case VD_DM_WAIT:
		return dm_make(b);
	case VD_DM_MIXED:
	case VD_DM_RECORD:
	case VD_DM_RECORD_SLOW:
	case VD_DM_RECORD_NARROW:
	case VD_DM_RECORD_WAIT:
		return mixed_make(b);
	case VD_DM_LOW:
	case VD_DM_LOW_WAIT:
		return low_make(b);
	case VD_NBD_LOST:
	case VD_NBD_STUCK:
	case VD_NBD:
	case VD_NBD_LATE:
	case VD_DM_NBD:
		return nbd_make(b);
	case VD_TMPFS_SMALL:
		return small_make(b);
	case VD_THIN:
	case VD_THIN_RECORD:
		return thin_make(b);
	case VD_TWIN:
		return -EINVAL;
	case VD_LOOP4096:
		return loop_make(b);
	case VD_EXT4_DM:
		/* room for the filesystem's own blocks */
		b->bytes = bytes * 2 + (16 << 20);
		ret = dm_make(b);
		b->bytes = bytes;
		snprintf(b->mnt, sizeof(b->mnt), "/run/vblk/%s", b->id);
		ret = ret ?: vd_run("mkfs.ext4 -q -F %s && mkdir -p %s && mount %s %s", b->path, b->mnt,
				    b->path, b->mnt);
		return ret ?: file_make(b, "VBLK_NONE", b->mnt);
	default:
		snprintf(b->path, sizeof(b->path), "/dev/%s", b->id);
		return nullb_make(b->id, kind, bytes);
	}
}

void vd_backing_free(struct vd_backing *b)
{
	bool dm = vd_backing_freezes(b) && b->kind != VD_NBD && b->kind != VD_NBD_LATE;

	if (!b->id[0])
		return;
	switch (b->kind) {
	case VD_LOOP4096:
		vd_run("losetup --detach %s", b->path);
		unlink(b->mnt);
		b->id[0] = 0;
		return;
	case VD_TMPFS_SMALL:
		vd_run("umount %s && rmdir %s", b->mnt, b->mnt);
		b->id[0] = 0;
		return;
	case VD_THIN:
	case VD_THIN_RECORD:
		thin_free(b);
		b->id[0] = 0;
		return;
	case VD_TWIN:
		vd_dm_remove(b->id);
		b->id[0] = 0;
		return;
	default:
		break;
	}
	if (b->mnt[0]) {
		vd_backing_thaw(b);
		vd_run("umount %s && rmdir %s", b->mnt, b->mnt);
	} else if (!b->block) {
		unlink(b->path);
	}
	if (dm) {
		vd_backing_thaw(b);
		vd_dm_remove(b->id);
	}
	if (low(b)) {
		vd_dm_remove(part(b, "s"));
		vd_dm_remove(part(b, "r"));
	}
	if (nbd(b))
		vd_nbd_free(&b->nbd);
	if ((b->block && (!nbd(b) || mixed(b))) || b->mnt[0])
		nullb_free(b->id);
	if (mixed(b) && !low(b) && !nbd(b)) {
		vd_dm_remove(part(b, "s"));
		nullb_free(part(b, "s"));
	}
	b->id[0] = 0;
}

static int backing_rw(const struct vd_backing *b, __u64 off, void *buf, size_t len, bool write)
{
	__u64 first = off & ~4095ULL, end = (off + len + 4095) & ~4095ULL;
	int fd = open(b->path, (write ? O_RDWR : O_RDONLY) | (b->block ? O_DIRECT : 0) | O_CLOEXEC);
	void *bounce;
	int ret = -EIO;

	if (fd < 0)
		return -errno;
	if (end > b->bytes && !b->block)
		end = b->bytes;
	bounce = aligned_alloc(4096, (end - first + 4095) & ~4095ULL);
	if (pread(fd, bounce, end - first, first) == (ssize_t)(end - first))
		ret = 0;
	if (!ret && !write)
		memcpy(buf, bounce + (off - first), len);
	if (!ret && write) {
		memcpy(bounce + (off - first), buf, len);
		if (pwrite(fd, bounce, end - first, first) != (ssize_t)(end - first))
			ret = -EIO;
	}
	free(bounce);
	close(fd);
	return ret;
}

int vd_backing_read(const struct vd_backing *b, __u64 off, void *buf, size_t len)
{
	return backing_rw(b, off, buf, len, false);
}

int vd_backing_write(const struct vd_backing *b, __u64 off, const void *buf, size_t len)
{
	return backing_rw(b, off, (void *)buf, len, true);
}

int vd_backing_resize(struct vd_backing *b, __u64 bytes)
{
	int ret;

	if (!b->block) {
		ret = truncate(b->path, bytes) ? -errno : 0;
	} else if (b->kind == VD_DM) {
		ret = vd_dm_load(b->id, "0 %llu linear /dev/%s 0", bytes / 512, b->id) ?: vd_dm_resume(b->id);
	} else {
		ret = -EOPNOTSUPP;
	}
	if (!ret)
		b->bytes = bytes;
	return ret;
}

/* The 16th number of a disk's stat. */
long vd_backing_flushes(const struct vd_backing *b)
{
	char path[VD_PATH_LEN], text[512], *p = text;
	long v = -ENOENT;
	int i;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", b->id);
	if (vd_read_file(path, text, sizeof(text)) < 0)
		return v;
	for (i = 0; i < 16; i++)
		v = strtol(p, &p, 10);
	return v;
}

int vd_backing_inflight(const struct vd_backing *b, unsigned int n)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	char path[VD_PATH_LEN], text[64];
	unsigned int reads, writes;

	snprintf(path, sizeof(path), "/sys/block/%s/inflight", b->id);
	while (vd_now_ms() < end) {
		if (vd_read_file(path, text, sizeof(text)) > 0 &&
		    sscanf(text, "%u %u", &reads, &writes) == 2 && reads + writes >= n)
			return 0;
		nap();
	}
	return -ETIMEDOUT;
}

static const char *late_half(const struct vd_backing *b)
{
	return mixed(b) ? "s" : "";
}

int vd_backing_freeze(const struct vd_backing *b)
{
	if (nbd(b))
		return vd_nbd_stop(&b->nbd);
	return vd_dm_suspend(part(b, late_half(b)));
}

int vd_backing_thaw(const struct vd_backing *b)
{
	if (nbd(b))
		return vd_nbd_cont(&b->nbd);
	return vd_dm_resume(part(b, late_half(b)));
}

/* A table that is replaced takes what waits for it with it, so this is a thaw as well. */
static int late_replace(const struct vd_backing *b, const char *table)
{
	return vd_dm_load(part(b, "s"), "%s", table) ?: vd_backing_thaw(b);
}

int vd_backing_break(struct vd_backing *b)
{
	char table[VD_PATH_LEN];

	if (nbd(b))
		return vd_nbd_kill(&b->nbd);
	snprintf(table, sizeof(table), "0 %llu error", b->bytes / 1024);
	return mixed(b) ? late_replace(b, table) : -EOPNOTSUPP;
}

int vd_backing_mend(struct vd_backing *b)
{
	char table[2 * VD_PATH_LEN];

	if (nbd(b))
		return vd_nbd_restart(&b->nbd);
	return mixed(b) ? late_table(b, table, sizeof(table)) ?: late_replace(b, table) : -EOPNOTSUPP;
}

/* 0 and what was written, or -errno. */
static int write_all(const char *path, int flags, __u64 step)
{
	void *zero = aligned_alloc(4096, 4096);
	int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0600), ret = 0;
	__u64 off;

	if (fd < 0) {
		free(zero);
		return -errno;
	}
	memset(zero, 0, 4096);
	for (off = 0; !ret; off += step)
		if (pwrite(fd, zero, 4096, off) != 4096)
			ret = -errno;
	close(fd);
	free(zero);
	return ret;
}

/* A thin volume is filled from its first block on. */
int vd_backing_fill(const struct vd_backing *b)
{
	char path[VD_PATH_LEN + 8];
	int ret = 0;

	snprintf(path, sizeof(path), "%s/filler", b->mnt);
	if (b->kind == VD_TMPFS_SMALL)
		ret = write_all(path, O_CREAT, 4096);
	else if (b->kind == VD_THIN || b->kind == VD_THIN_RECORD)
		ret = dm_node(thin_volume(b), path) ?: write_all(path, O_DIRECT, VD_THIN_BLOCK);
	else
		return -EOPNOTSUPP;
	return ret == -ENOSPC ? 0 : ret;
}

int vd_backing_unfill(const struct vd_backing *b)
{
	char path[VD_PATH_LEN + 8];

	if (b->kind == VD_THIN || b->kind == VD_THIN_RECORD)
		return thin_table(b, vd_dm_load, b->bytes);
	snprintf(path, sizeof(path), "%s/filler", b->mnt);
	return unlink(path) ? -errno : 0;
}

/* The kernel log */

int vd_kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

int vd_kmsg_count(int fd, const char *needle)
{
	char line[8192];
	int n = 0;

	for (;;) {
		ssize_t len = read(fd, line, sizeof(line) - 1);

		if (len < 0 && errno == EPIPE)
			continue;
		if (len <= 0)
			return n;
		line[len] = 0;
		n += !!strstr(line, needle);
	}
}
