/* SPDX-License-Identifier: GPL-2.0 */
/* What the library's files share; not for its users. */
#ifndef VSUP_KEEPER_H
#define VSUP_KEEPER_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>
#include <json-c/json.h>

#include "vsup.h"

#define MAX_DEVICES	1024
#define MAX_CLIENTS	32
#define MAX_REQUEST	4096		/* bytes of a request */
#define MAX_REPLY	(128 << 10)	/* and of a reply */
#define MAX_LIST	256		/* devices in one reply, of 440 bytes at most */
#define MAX_STATE	(64 << 10)	/* and of a state file */
#define FILE_LEN	(VSUP_NAME_LEN + 16)	/* names of files, with their NUL */

/* ---- events: events.c ---- */

/**
 * struct source - something that epoll watches
 * @fn: called when it is readable, or hung up
 * @fd: the descriptor, -1 for none
 */
struct source {
	void (*fn)(struct vsup *s, struct source *src);
	int fd;
};

int source_add(struct vsup *s, struct source *src, int fd);	/* -errno, and @fd is closed */
void source_del(struct source *src);

/* ---- who owns a device: owner.c ---- */

/**
 * struct owner - a process, for all times
 * @pid: process id, 0 for nobody
 * @start: when it began, as /proc says; 0 when it was gone by then
 *
 * Numbers of processes are used again; with the time they are not.
 */
struct owner {
	pid_t pid;
	uint64_t start;
};

struct owner owner_of(pid_t pid);
bool owner_same(const struct owner *a, const struct owner *b);
int owner_open(const struct owner *owner);	/* a pidfd, or -errno */

/* ---- the node: node.c ---- */

/* Opened to look and closed again, as nobody can delete a device whose node is open. */
struct node_look {
	struct vhost_inflight_info info;
	struct vhost_inflight_fd region;	/* fd is -1 when there is none */
	uint16_t num[VSUP_MAX_QUEUES];		/* sizes of the rings */
	bool lost;				/* a hole was punched into the region */
};

int node_look(const char *dir, const char *name, struct node_look *look);

/* ---- regions and pieces: shm.c ---- */

/**
 * struct shm - a file of shared memory that is held
 * @fd: descriptor, -1 for none
 * @dev: which file it is
 * @ino: likewise
 * @path: its name, empty when it has none
 */
struct shm {
	int fd;
	dev_t dev;
	ino_t ino;
	char path[PATH_MAX];
};

int shm_hold(struct shm *shm, int fd);		/* takes over @fd, also when it fails */
bool shm_same(const struct shm *a, const struct shm *b);
int shm_copy(int fd);				/* of it, with a position of its own, or -errno */
int shm_reopen(struct shm *shm);		/* by its name */
void shm_drop(struct shm *shm);
int shm_make(int dir, const char *name, uint64_t size);	/* a file of zeroes in the place of @name */
bool region_packed(const struct vhost_inflight_fd *arg);
uint64_t region_size(const struct vhost_inflight_info *info);	/* by what was negotiated */
void region_read(const struct vhost_inflight_fd *arg, struct vsup_queue *queue);

/* ---- a device: device.c ---- */

/**
 * struct piece - a deposit
 * @label: empty for a free place
 * @shm: what it is
 * @by: whose it is, or whose predecessor's
 * @stored: the service manager has it
 */
struct piece {
	char label[VSUP_LABEL_LEN];
	struct shm shm;
	struct owner by;
	bool stored;
};

/**
 * struct device - what is kept of one
 * @name: of the device
 * @present: its node is there
 * @live: alarm for the end of @owner, the pidfd
 * @owner: the one there is, or the last one that was seen
 * @owned: @owner owns it still, as far as is known
 * @over: the end of @owner was seen, also if the device does not know of it yet
 * @blind: it could not be looked at the last time
 * @running: it had DRIVER_OK when it was looked at last
 * @region: the inflight region
 * @stored: the service manager has it
 * @arg: its numbers, and what was negotiated for it; its fd is @region's
 * @queue: where they stand; at the end of the owner if that was seen
 * @piece: deposits
 * @wd: of inotify, for the node; 0 for none
 * @due: when to look at it again, in ms of CLOCK_MONOTONIC; 0 for not before something happens
 * @pause: before the look behind that one
 * @state: what is in its state file
 */
struct device {
	char name[VSUP_NAME_LEN];
	bool present;
	struct source live;
	struct owner owner;
	bool owned, over, blind, running;
	struct shm region;
	bool stored;
	struct vhost_inflight_fd arg;
	struct vsup_queue queue[VSUP_MAX_QUEUES];
	struct piece piece[VSUP_MAX_PIECES];
	int wd;
	int64_t due, pause;
	char *state;
};

bool name_ok(const char *name);
struct device *device_find(struct vsup *s, const char *name);
/* The one behind it, by name, or NULL */
struct device *device_next(struct vsup *s, const char *name);
/* These two make it if need be; NULL: no room, or no name */
struct device *device_get(struct vsup *s, const char *name);
struct piece *device_piece(struct device *d, const char *label);
void piece_drop(struct vsup *s, struct device *d, struct piece *p);
void device_found(struct vsup *s, const char *name);	/* its node is there */
void device_lost(struct vsup *s, struct device *d);	/* and is gone */
void device_look(struct vsup *s, struct device *d);
void device_soon(struct vsup *s, struct device *d);	/* to be looked at, and again for a while */
void device_free(struct device *d);			/* the memory; the stores keep theirs */

/* ---- what outlives us: store.c, state.c ---- */

void store_init(struct vsup *s);
bool store_put(struct vsup *s, const char *device, const char *label, int fd);
void store_remove(struct vsup *s, const char *device, const char *label);
bool store_sync(struct vsup *s);	/* until the service manager has dealt with all */
void store_find(struct vsup *s);	/* what it has */

void state_write(struct vsup *s, struct device *d);
void state_remove(struct vsup *s, const struct device *d);
void state_find(struct vsup *s);

/* ---- requests: request.c ---- */

struct client {
	struct source src;	/* must be the first */
	struct client *next;
	pid_t pid;
};

int request_listen(struct vsup *s);
void client_free(struct vsup *s, struct client *c);

/* ---- all of it ---- */

/**
 * struct vsup - a keeper
 * @say: for sentences, or NULL
 * @dev_dir: where the nodes are
 * @run_dir: where the files are
 * @run: the same, open; locked, so that there is one keeper
 * @epoll: everything below
 * @inotify: nodes
 * @timer: next look
 * @listener: socket
 * @dev_wd: of @dev_dir
 * @stored: there is a service manager's store
 * @room: descriptors that still fit, as far as it says; -1 if it does not
 * @nr_devices: entries of @device
 * @device: devices, each for itself
 * @nr_clients: entries of @clients
 * @clients: connections
 */
struct vsup {
	void (*say)(const char *sentence);
	char *dev_dir, *run_dir;
	int run, epoll;
	struct source inotify, timer, listener;
	int dev_wd;
	bool stored;
	int room;
	unsigned int nr_devices;
	struct device *device[MAX_DEVICES];
	unsigned int nr_clients;
	struct client *clients;
};

int64_t now_ms(void);
__printf(2, 3) void say(struct vsup *s, const char *fmt, ...);
void node_watch(struct vsup *s, struct device *d, bool messages);
void timer_set(struct vsup *s);

#endif
