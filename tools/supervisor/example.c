// SPDX-License-Identifier: GPL-2.0
/*
 * usage: example first|named|next DEVICE SOCKET
 *
 * The part of a VMM that outlives the VMM: it owns /dev/vhost-blk-DEVICE, and the supervisor has
 * what its successor needs.  Descriptors from its parent: 3 the guest's memory, 4 a struct machine,
 * then an eventfd to kick and one to call for each queue.  "next" is the successor: it has 3 and 4
 * from the supervisor instead.  "named" takes the inflight region from there, too, which then
 * survives the supervisor without a service manager's store.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <linux/vhost.h>

#include "example.h"
#include "vsup.h"

static int node;

static void die(const char *what, const char *why)
{
	fprintf(stderr, "example: %s: %s\n", what, why);
	exit(1);
}

/* For EBUSY: of the owner before something is not over yet, itself or its requests at the disk. */
static bool patient(void)
{
	static time_t end;

	if (!end)
		end = time(NULL) + 10;
	return time(NULL) < end && !poll(NULL, 0, 1);
}

static void call(const char *what, unsigned long cmd, const void *arg)
{
	while (ioctl(node, cmd, arg))
		if (errno != EBUSY || !patient())
			die(what, strerror(errno));
}

#define CALL(cmd, arg)	call(#cmd, cmd, arg)

static void status(__u8 bits)
{
	CALL(VHOST_VDPA_SET_STATUS, &bits);
}

static void negotiate(const struct vsup_estate *left)
{
	__u64 features, backend = 1ULL << VHOST_BACKEND_F_IOTLB_MSG_V2;

	CALL(VHOST_GET_FEATURES, &features);
	if (left)
		features = left->features;	/* the guest knows no others */
	status(1);				/* ACKNOWLEDGE */
	status(3);				/* DRIVER */
	CALL(VHOST_SET_FEATURES, &features);
	status(11);				/* FEATURES_OK */
	CALL(VHOST_SET_BACKEND_FEATURES, &backend);
}

static void *map(int fd, size_t size)
{
	void *va = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return va == MAP_FAILED ? die("mmap", strerror(errno)), NULL : va;
}

static void set_up(const struct machine *m, void *ram)
{
	struct vhost_msg_v2 msg = {
		.type = VHOST_IOTLB_MSG_V2,
		.iotlb = { .iova = m->iova, .size = m->size, .uaddr = (unsigned long)ram,
			   .perm = VHOST_ACCESS_RW, .type = VHOST_IOTLB_UPDATE },
	};

	if (write(node, &msg, sizeof(msg)) != sizeof(msg))
		die("IOTLB", strerror(errno));
	for (unsigned int i = 0; i < m->queues; i++) {
		struct vhost_vring_addr addr = {
			.index = i, .desc_user_addr = m->ring[i].desc,
			.avail_user_addr = m->ring[i].driver, .used_user_addr = m->ring[i].device,
		};

		/* No VHOST_SET_VRING_BASE: a successor's is in the region, the first's is 0. */
		CALL(VHOST_SET_VRING_NUM, (&(struct vhost_vring_state){ i, m->num }));
		CALL(VHOST_SET_VRING_ADDR, &addr);
		CALL(VHOST_SET_VRING_KICK, (&(struct vhost_vring_file){ i, 5 + 2 * i }));
		CALL(VHOST_SET_VRING_CALL, (&(struct vhost_vring_file){ i, 6 + 2 * i }));
		CALL(VHOST_VDPA_SET_VRING_ENABLE, (&(struct vhost_vring_state){ i, 1 }));
	}
}

int main(int argc, char **argv)
{
	struct vsup_piece ram = { "ram", 3 }, machine = { "machine", 4 };
	struct vhost_inflight_fd region = {};
	struct vsup_estate left = {};
	char why[VSUP_SENTENCE_LEN], path[64];
	unsigned int in_flight = 0;
	struct machine *m;
	int sock, ret;
	bool next;

	if (argc != 4)
		die("usage", "example first|named|next DEVICE SOCKET");
	next = !strcmp(argv[1], "next");
	sock = vsup_connect(argv[3]);
	snprintf(path, sizeof(path), "/dev/vhost-blk-%s", argv[2]);
	node = open(path, O_RDWR | O_CLOEXEC);
	if (sock < 0 || node < 0)
		die(argv[2], strerror(sock < 0 ? -sock : errno));
	CALL(VHOST_SET_OWNER, NULL);
	while (next && (ret = vsup_ask_take(sock, argv[2], &left, why)))
		if (ret != -EBUSY || !patient())
			die("take", why);
	for (unsigned int i = 0; i < left.nr_pieces; i++)
		*(strcmp(left.piece[i].label, "ram") ? &machine : &ram) = left.piece[i];
	for (unsigned int i = 0; i < left.nr_queues; i++)
		in_flight += left.queue[i].in_flight;
	if (!next && (vsup_ask_keep(sock, argv[2], &ram, why) < 0 ||
		      vsup_ask_keep(sock, argv[2], &machine, why) < 0))
		die("keep", why);
	negotiate(next ? &left : NULL);
	region = left.region;
	if (!strcmp(argv[1], "named") && vsup_ask_region(sock, argv[2], &region, why))
		die("region", why);
	if (region.size)
		CALL(VHOST_INFLIGHT_SET_FD, &region);
	m = map(machine.fd, sizeof(*m));
	set_up(m, map(ram.fd, m->size));
	status(15);				/* DRIVER_OK: from here on the device works */
	printf("running, %u requests to be done again\n", in_flight);
	fflush(stdout);
	for (;;)
		pause();
}
