// SPDX-License-Identifier: GPL-2.0
/* The ioctls of device-mapper. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>

#include "vblk_dev.h"
#include "vblk_dm.h"

#define ROOM	4096

union arg {
	struct dm_ioctl io;
	char room[ROOM];
};

static int dm(unsigned long cmd, union arg *a, const char *name, __u32 flags)
{
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	a->io.version[0] = DM_VERSION_MAJOR;
	a->io.data_size = sizeof(*a);
	a->io.data_start = sizeof(a->io);
	a->io.flags = flags;
	snprintf(a->io.name, sizeof(a->io.name), "%s", name);
	ret = ioctl(fd, cmd, a) ? -errno : 0;
	close(fd);
	return ret;
}

static int simple(unsigned long cmd, const char *name, __u32 flags)
{
	union arg a = { .room = "" };

	return dm(cmd, &a, name, flags);
}

static int load(const char *name, char *text)
{
	union arg a = { .room = "" };
	char *at = a.room + sizeof(a.io), *line, *rest;
	struct dm_target_spec *spec;
	int used;

	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		spec = (void *)at;
		if (at + sizeof(*spec) + strlen(line) + 8 > a.room + ROOM ||
		    sscanf(line, "%llu %llu %15s %n", &spec->sector_start, &spec->length, spec->target_type, &used) != 3)
			return -EINVAL;
		strcpy(at + sizeof(*spec), line + used);
		spec->next = (sizeof(*spec) + strlen(line + used) + 1 + 7) & ~7;
		at += spec->next;
		a.io.target_count++;
	}
	return dm(DM_TABLE_LOAD, &a, name, 0);
}

static int vload(const char *name, const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	return load(name, text);
}

int vd_dm_load(const char *name, const char *fmt, ...)
{
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = vload(name, fmt, ap);
	va_end(ap);
	return ret;
}

int vd_dm_create(const char *name, const char *fmt, ...)
{
	va_list ap;
	int ret = simple(DM_DEV_CREATE, name, 0);

	if (ret)
		return ret;
	va_start(ap, fmt);
	ret = vload(name, fmt, ap);
	va_end(ap);
	ret = ret ?: vd_dm_resume(name);
	if (ret)
		simple(DM_DEV_REMOVE, name, 0);
	return ret;
}

int vd_dm_table(const char *name, char *text, size_t len)
{
	union arg a = { .room = "" };
	int ret = dm(DM_TABLE_STATUS, &a, name, DM_STATUS_TABLE_FLAG);
	struct dm_target_spec *spec = (void *)a.room + a.io.data_start;
	__u32 i;

	for (i = 0, *text = 0; !ret && i < a.io.target_count; i++) {
		size_t n = strlen(text);

		snprintf(text + n, len - n, "%llu %llu %s %s\n", spec->sector_start, spec->length, spec->target_type,
			 (char *)(spec + 1));
		spec = (void *)a.room + a.io.data_start + spec->next;
	}
	return ret;
}

int vd_dm_suspend(const char *name)
{
	return simple(DM_DEV_SUSPEND, name, DM_SUSPEND_FLAG | DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG);
}

int vd_dm_resume(const char *name)
{
	return simple(DM_DEV_SUSPEND, name, 0);
}

int vd_dm_message(const char *name, const char *message)
{
	union arg a = { .room = "" };
	struct dm_target_msg *msg = (void *)a.room + sizeof(a.io);

	snprintf(msg->message, ROOM - sizeof(a.io) - sizeof(*msg), "%s", message);
	return dm(DM_TARGET_MSG, &a, name, 0);
}

int vd_dm_remove(const char *name)
{
	long end = vd_now_ms() + VD_WAIT_MS / 4;
	int ret;

	do {
		ret = simple(DM_DEV_REMOVE, name, 0);
	} while (ret == -EBUSY && vd_now_ms() < end && !poll(NULL, 0, 5));
	return ret;
}

int vd_dm_path(const char *name, char *path, size_t len)
{
	union arg a = { .room = "" };
	int ret = dm(DM_DEV_STATUS, &a, name, 0);

	if (!ret)
		snprintf(path, len, "/dev/dm-%llu", (a.io.dev & 0xff) | (a.io.dev >> 12 & 0xfff00));
	return ret;
}
