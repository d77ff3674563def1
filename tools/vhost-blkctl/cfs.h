/* SPDX-License-Identifier: GPL-2.0 */
/* configfs: the directory vhost_blk/ and the attributes of the devices in it. */
#ifndef BLKCTL_CFS_H
#define BLKCTL_CFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CFS_NAME_MAX	31
#define CFS_VALUE_MAX	4096	/* configfs hands out a page at most */
#define CFS_MAX_ATTRS	24

enum cfs_kind { CFS_STR, CFS_BOOL, CFS_UINT };

/**
 * struct cfs_attr - an attribute that show prints
 * @name: file name, and key in JSON
 * @kind: type of its value in JSON
 * @takes: for the sentence when the kernel refuses a value; NULL when it can't be written
 * @live: whether it can be written while the device is enabled
 * @words: the values it takes, with spaces between; NULL when they are too many
 */
struct cfs_attr {
	const char *name;
	enum cfs_kind kind;
	const char *takes;
	bool live;
	const char *words;
};

/* Ends with a row without name. */
extern const struct cfs_attr cfs_attrs[];

/* Row of the attribute whose name is the @len characters at @name, -1 when there is none. */
int cfs_find(const char *name, size_t len);

struct cfs_names {
	char **name;
	size_t nr;
};

bool cfs_name_ok(const char *name);

/* Descriptor of vhost_blk/, or -errno. */
int cfs_open_root(void);

/* Says why cfs_open_root() failed and what to do; returns BLKCTL_FAILED. */
int cfs_say_root(int err);

/* Descriptor of a device's directory, or -1 after having said why not. */
int cfs_open_device(const char *name);

/* The same without a word; or -errno. */
int cfs_open_quiet(const char *name);

/* BLKCTL_OK when the device has a node, or BLKCTL_FAILED after having said why not. */
int cfs_need_enabled(const char *name);

/* All return 0 or -errno. */
int cfs_make(const char *name);
int cfs_remove(const char *name);
int cfs_read(int dir, const char *attr, char *buf, size_t len);
int cfs_read_u64(int dir, const char *attr, uint64_t *val);
int cfs_write(int dir, const char *attr, const char *val);

/* Names of all devices, sorted; 0 or -errno. */
int cfs_list(struct cfs_names *names);
void cfs_list_free(struct cfs_names *names);

#endif
