/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stream from a source to a destination: how a guest gets from one device to another.  It is
 * all that the two say to each other; they could be on two hosts of the same byte order, and with
 * the same disk.
 *
 * A message is a struct message and @len bytes.
 *
 *	source					destination
 *
 *	the guest runs
 *	OFFER the machine		---->	looks whether its device is like the source's:
 *						features, queues, configuration space, serial;
 *						VHOST_SET_OWNER, VHOST_SET_FEATURES,
 *						FEATURES_OK, memory of its own, IOTLB
 *					<----	ACCEPT, or REFUSE why: nothing has happened
 *	VHOST_INFLIGHT_SET_LOG, and KVM's log
 *	PAGES, ZEROES: all of it	---->
 *	until little is left:
 *	 both logs read and cleared;
 *	 PAGES, ZEROES			---->
 *
 *	the guest's processors stand still
 *	VHOST_INFLIGHT_SET_STOP, STOP by VHOST_VDPA_SET_STATUS,
 *	the eventfd of VHOST_VDPA_SET_CONFIG_CALL, VHOST_INFLIGHT_GET_STOP
 *	(stalled: STOP taken back, the processors go on, and later once more)
 *	both logs for the last time;
 *	PAGES, ZEROES			---->
 *	VHOST_GET_VRING_BASE of each queue, the region's bytes from
 *	VHOST_INFLIGHT_GET_FD
 *	STATE				---->	VHOST_SET_VRING_NUM, _ADDR, _BASE, _KICK, _CALL,
 *						VHOST_VDPA_SET_VRING_ENABLE of each queue,
 *						VHOST_INFLIGHT_SET_FD with the bytes in a new memfd
 *					<----	READY, or FAILED why: the guest goes on at
 *						the source
 *	closes the device
 *	GO				---->	DRIVER_OK, kicks, processors
 *					<----	RUNNING, or FAILED why: the source takes it
 *						back, by the steps of the destination
 *	frees the guest's memory
 *					<----	FIRST: the first request came back
 *
 * From GO to RUNNING the source does not know who has the guest.  When the stream ends in there it
 * must not go on: somebody who knows has to say whether the destination runs.
 *
 * BYE instead of an OFFER or STATE says that there is nothing more to come.
 */
#ifndef MIGRATE_STREAM_H
#define MIGRATE_STREAM_H

#include <stdint.h>

#define STREAM_VERSION	1

enum message_type {
	MSG_OFFER	= 1,	/* @arg: STREAM_VERSION; struct machine */
	MSG_ACCEPT	= 2,
	MSG_REFUSE	= 3,	/* a sentence */
	MSG_PAGES	= 4,	/* @arg: first page; as many as @len says */
	MSG_ZEROES	= 5,	/* @arg: a page of zeroes */
	MSG_SUMS	= 6,	/* a checksum of each page, to find what no log had; for tests */
	MSG_STATE	= 7,	/* struct stand, and the inflight region */
	MSG_READY	= 8,
	MSG_GO		= 9,
	MSG_RUNNING	= 10,
	MSG_FAILED	= 11,	/* a sentence */
	MSG_FIRST	= 12,
	MSG_BYE		= 13,
};

struct message {
	uint32_t type, len;
	uint64_t arg;
};

#define STREAM_BOUND_MS	60000	/* how long the other side may think about an answer */

/* All of these: 0, or -1 and why(). */
int stream_send(int fd, enum message_type type, uint64_t arg, const void *data, uint32_t len);
int stream_two(int fd, enum message_type type, uint64_t arg, const void *data, uint32_t len,
	       const void *more, uint32_t more_len);
int stream_next(int fd, struct message *msg, int bound_ms);	/* bound -1: none */
int stream_body(int fd, void *data, uint32_t len);

/* The next message has to be of this type: 0.  1 when the other side says no, and why(). */
int stream_expect(int fd, enum message_type type, int bound_ms);

#endif
