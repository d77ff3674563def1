/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libvinf-supervisor: keeps what is needed to go on with a running /dev/vhost-blk-NAME when its VMM
 * has died: the inflight region, where its queues stand, and the guest's memory if the VMM deposits
 * it.  Two halves: a keeper, which is what vhost-inflightd is made of, and the calls with which a
 * VMM talks to one over its socket.  See Documentation/supervisor.rst.
 *
 * Functions return 0 or what they are said to return, or a negative errno.
 */
#ifndef VSUP_H
#define VSUP_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/vhost_inflight.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VSUP_DIR		"/run/vhost-inflight"
#define VSUP_SOCKET		VSUP_DIR "/socket"

#define VSUP_NAME_LEN		32	/* of a device, with its NUL */
#define VSUP_LABEL_LEN		32	/* of a piece of memory, likewise */
#define VSUP_MAX_PIECES		8	/* pieces of memory of a device */
#define VSUP_MAX_QUEUES		64
#define VSUP_SENTENCE_LEN	256	/* why something was refused, with its NUL */

/**
 * struct vsup_queue - where a queue stands
 * @num: size of its ring; 0 when nobody looked while the device ran
 * @used: what was given back last, as VHOST_SET_VRING_BASE takes it (packed: bit 15 is the wrap
 *	counter): exact, unless the device ended while it was giving back a batch
 * @in_flight: buffers that were taken and not given back
 */
struct vsup_queue {
	uint16_t num;
	uint16_t used;
	uint16_t in_flight;
};

/**
 * struct vsup_piece - a file with guest memory, or whatever else a VMM wants its successor to have
 * @label: what the VMM called it
 * @fd: memfd, or file on tmpfs or hugetlbfs
 */
struct vsup_piece {
	char label[VSUP_LABEL_LEN];
	int fd;
};

/**
 * struct vsup_estate - what is left of a VMM
 * @region: for VHOST_INFLIGHT_SET_FD as it is
 * @features: virtio features to negotiate again
 * @nr_queues: entries of @queue
 * @queue: where each stands
 * @nr_pieces: entries of @piece
 * @piece: memory
 *
 * The descriptors are close-on-exec and the caller's to close.
 */
struct vsup_estate {
	struct vhost_inflight_fd region;
	uint64_t features;
	unsigned int nr_queues;
	struct vsup_queue queue[VSUP_MAX_QUEUES];
	unsigned int nr_pieces;
	struct vsup_piece piece[VSUP_MAX_PIECES];
};

/* ---- the keeper ---- */

struct vsup;

/**
 * struct vsup_options - how a keeper is made
 * @dev_dir: where the nodes are, NULL for /dev
 * @run_dir: tmpfs directory for socket, states and named regions, made if need be; NULL for
 *	VSUP_DIR
 * @say: is given a sentence about what happened to a device; may be NULL
 */
struct vsup_options {
	const char *dev_dir;
	const char *run_dir;
	void (*say)(const char *sentence);
};

/**
 * vsup_new - find again what was kept, and begin to watch the devices
 * @keeper: the new keeper
 * @options: how
 *
 * One keeper at a time has a directory.  With $NOTIFY_SOCKET in the environment descriptors are
 * kept in the service manager's store as well, and are taken from $LISTEN_FDS.
 *
 * Return: 0; -EBUSY when another keeper has the directory; -EMEDIUMTYPE when it is not on tmpfs;
 * any errno of making directory, socket and watches.
 */
int vsup_new(struct vsup **keeper, const struct vsup_options *options);

/**
 * vsup_fd - what to poll
 * @keeper: keeper
 *
 * Return: a descriptor that is readable when vsup_work() has something to do.
 */
int vsup_fd(const struct vsup *keeper);

/**
 * vsup_work - do what there is to do, without waiting
 * @keeper: keeper
 *
 * Return: 0, or the errno with which waiting itself fails.
 */
int vsup_work(struct vsup *keeper);

/**
 * vsup_free - let go of everything; what is in store, directory and devices stays there
 * @keeper: keeper, or NULL
 */
void vsup_free(struct vsup *keeper);

/**
 * vsup_take - what the VMM of a device left
 * @keeper: keeper
 * @device: name of the device
 * @pid: process that wants it, which may own the device already; 0 for none
 * @estate: filled; its descriptors belong to the keeper
 * @why: a sentence when it fails
 *
 * Return: 0; -ENOENT: nothing is kept; -EBUSY: the device has an owner that lives, or runs;
 * -EAGAIN: its engine is being exchanged, as for all that follow.
 */
int vsup_take(struct vsup *keeper, const char *device, int pid, struct vsup_estate *estate,
	      char why[VSUP_SENTENCE_LEN]);

/**
 * vsup_deposit - keep a piece of memory for the successor of a device's owner
 * @keeper: keeper
 * @device: name of the device
 * @pid: the owner
 * @piece: the piece; its descriptor is duplicated.  One of the same label is replaced
 * @why: a sentence when it fails
 *
 * Return: whether the piece survives the keeper (1) or not (0: there is no store, and the file has
 * no name); -ENOENT: no such device; -EPERM: @pid is not its owner; -EINVAL: a label that is none;
 * -EMEDIUMTYPE: not shared memory; -ENOSPC: too many pieces.
 */
int vsup_deposit(struct vsup *keeper, const char *device, int pid, const struct vsup_piece *piece,
		 char why[VSUP_SENTENCE_LEN]);

/**
 * vsup_region - a fresh region in a file with a name, for VHOST_INFLIGHT_SET_FD
 * @keeper: keeper
 * @device: name of the device, FEATURES_OK set and not DRIVER_OK
 * @pid: its owner
 * @region: filled; the descriptor is the caller's
 * @why: a sentence when it fails
 *
 * Return: 0; -ENOENT; -EPERM: @pid is not its owner; -EBUSY: not the time for it; errnos of making
 * a file.
 */
int vsup_region(struct vsup *keeper, const char *device, int pid, struct vhost_inflight_fd *region,
		char why[VSUP_SENTENCE_LEN]);

/**
 * vsup_forget - let go of the memory, and of a region that the device itself does not have any more
 * @keeper: keeper
 * @device: name of the device
 * @pid: process that asks
 * @why: a sentence when it fails
 *
 * Return: 0; -ENOENT; -EBUSY: the device has an owner, and it is not @pid.
 */
int vsup_forget(struct vsup *keeper, const char *device, int pid, char why[VSUP_SENTENCE_LEN]);

/* ---- asking one, over its socket ---- */

/**
 * vsup_connect - a connection to a keeper
 * @path: of its socket, NULL for VSUP_SOCKET
 *
 * Return: the descriptor, which is all there is to close, or a negative errno.
 */
int vsup_connect(const char *path);

/**
 * vsup_ask_keep - deposit a piece of memory, see vsup_deposit()
 * @sock: connection
 * @device: name of the device, which the caller owns
 * @piece: the piece
 * @why: a sentence when it is refused
 *
 * Return: as vsup_deposit(); or an errno of the connection.
 */
int vsup_ask_keep(int sock, const char *device, const struct vsup_piece *piece,
		  char why[VSUP_SENTENCE_LEN]);

/**
 * vsup_ask_region - a fresh named region, see vsup_region()
 * @sock: connection
 * @device: name of the device, which the caller owns
 * @region: filled
 * @why: a sentence when it is refused
 *
 * Return: as vsup_region(); or an errno of the connection.
 */
int vsup_ask_region(int sock, const char *device, struct vhost_inflight_fd *region,
		    char why[VSUP_SENTENCE_LEN]);

/**
 * vsup_ask_take - what a dead VMM left, see vsup_take()
 * @sock: connection
 * @device: name of the device
 * @estate: filled; its descriptors are the caller's
 * @why: a sentence when it is refused
 *
 * Return: as vsup_take(); or an errno of the connection.
 */
int vsup_ask_take(int sock, const char *device, struct vsup_estate *estate,
		  char why[VSUP_SENTENCE_LEN]);

/**
 * vsup_ask_forget - let go, see vsup_forget(): for a VMM that ends because its guest did
 * @sock: connection
 * @device: name of the device
 * @why: a sentence when it is refused
 *
 * Return: as vsup_forget(); or an errno of the connection.
 */
int vsup_ask_forget(int sock, const char *device, char why[VSUP_SENTENCE_LEN]);

#ifdef __cplusplus
}
#endif
#endif
