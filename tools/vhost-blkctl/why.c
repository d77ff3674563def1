// SPDX-License-Identifier: GPL-2.0
/*
 * One row per step and errno.  {name}, {path}, {attr}, {value} and {takes} are filled in; the first
 * row that fits is taken, so the rows for any step come last.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cfs.h"
#include "cli.h"
#include "say.h"
#include "why.h"

static const struct why {
	const char *step;	/* NULL: any */
	int err;
	const char *text;
} whys[] = {
	{ "enable", ENOENT,
	  "there is no {path}: check --path" },
	{ "enable", ENOTDIR,
	  "there is no {path}, something on the way to it is not a directory: check --path" },
	{ "enable", ENOMEDIUM,
	  "there is no medium in {path}: insert one" },
	{ "enable", EOPNOTSUPP,
	  "{path} can't be served: zoned disks and files without read and write are not" },
	{ "enable", ENXIO,
	  "{path} has no device behind it: check that its driver is loaded and the disk is there" },
	{ "enable", EISDIR,
	  "{path} is a directory: give a block device or a regular file as --path" },
	{ "enable", ENOTBLK,
	  "{path} is neither a block device nor a regular file: give one of these as --path" },
	{ "enable", EINVAL,
	  "the settings of {name} don't fit {path}: --logical-block-size is below its block size" },
	{ "enable", ENOSPC,
	  "{path} is smaller than one block: make it larger, e.g. \"truncate -s 1G FILE\"" },
	{ "enable", EBUSY,
	  "{path} is in use by something else (a mount, RAID, LVM, another device): release it" },
	{ "enable", EROFS,
	  "{path} can't be written to: serve it with --read-only, or make it writable" },
	{ "enable", EACCES,
	  "{path} can't be written to: serve it with --read-only, or make it writable" },
	{ "enable", ENODEV,
	  "no engine is loaded that could serve {name}: run \"modprobe vhost_blk\"" },
	{ "mkdir", EEXIST,
	  "{name} exists already: choose another name, or \"vhost-blkctl delete {name}\" first" },
	{ "mkdir", EINVAL,
	  "the driver refuses the name {name}: use 1 to 31 of A-Z a-z 0-9 _ . -" },
	{ "resize", EINVAL,
	  "{name} is disabled, so it has no size to look at again" },
	{ "resize", ENODEV,
	  "{name} is disabled, so it has no size to look at again" },
	{ "resize", ENOSPC,
	  "the backing of {name} has shrunk to less than one block: {name} keeps its old size" },
	{ NULL, EPERM,
	  "this needs root: run it with sudo" },
	{ NULL, EACCES,
	  "this needs root: run it with sudo" },
	{ NULL, EBUSY,
	  "{attr} can't be changed while {name} is enabled: delete it and create it again" },
	{ NULL, EINVAL,
	  "{attr} takes {takes}, not \"{value}\"" },
	{ NULL, ERANGE,
	  "{attr} takes {takes}, not \"{value}\"" },
	{ NULL, ENAMETOOLONG,
	  "\"{value}\" is too long for {attr}" },
	{ NULL, ENOENT,
	  "the loaded driver has no {attr}: it is of another version than this tool" },
};

static const char *takes(const char *attr)
{
	int nr = attr ? cfs_find(attr, strlen(attr)) : -1;

	return nr >= 0 && cfs_attrs[nr].takes ? cfs_attrs[nr].takes : "something else";
}

/* What stands for the {key} at @text; NULL when it is none. */
static const char *lookup(const char *text, const struct why_ctx *ctx, size_t *len)
{
	const struct { const char *key, *val; } keys[] = {
		{ "{name}", ctx->name },
		{ "{path}", ctx->path && *ctx->path ? ctx->path : "the backing" },
		{ "{attr}", ctx->attr },
		{ "{value}", ctx->value },
		{ "{takes}", takes(ctx->attr) },
	};

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		*len = strlen(keys[i].key);
		if (!strncmp(text, keys[i].key, *len))
			return keys[i].val ? keys[i].val : "?";
	}
	return NULL;
}

static int say_filled(const char *text, const struct why_ctx *ctx)
{
	char buf[2 * CFS_VALUE_MAX + 512];
	size_t n = 0, len;

	while (*text && n < sizeof(buf) - 1) {
		const char *val = *text == '{' ? lookup(text, ctx, &len) : NULL;

		if (!val) {
			buf[n++] = *text++;
			continue;
		}
		text += len;
		while (*val && n < sizeof(buf) - 1)
			buf[n++] = *val++;
	}
	buf[n] = 0;
	return say_fail("%s", buf);
}

int why_failed(const char *step, int err, const struct why_ctx *ctx)
{
	if (err < 0)
		err = -err;
	for (size_t i = 0; i < sizeof(whys) / sizeof(*whys); i++)
		if (whys[i].err == err && (!whys[i].step || !strcmp(whys[i].step, step)))
			return say_filled(whys[i].text, ctx);
	return say_fail("%s of %s failed: %s", step, ctx->name, strerror(err));
}
