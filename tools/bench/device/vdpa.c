// SPDX-License-Identifier: GPL-2.0
/* A vhost-vdpa node: ours, vdpa_sim_blk's, VDUSE's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/vhost.h>
#include <linux/vhost_inflight.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>

#include "vbench.h"

#define S_READY	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

void vdpa_call(const struct target *t, const char *what, unsigned long cmd, void *arg)
{
	if (ioctl(t->fd, cmd, arg) < 0)
		die("%s: %s: %s", t->path, what, strerror(errno));
}

static void set_status(const struct target *t, uint8_t status)
{
	VDPA_CALL(t, VHOST_VDPA_SET_STATUS, &status);
}

static void message(const struct target *t, const struct vhost_iotlb_msg *iotlb)
{
	struct vhost_msg_v2 msg = { .type = VHOST_IOTLB_MSG_V2, .iotlb = *iotlb };

	if (write(t->fd, &msg, sizeof(msg)) != sizeof(msg))
		die("%s: guest memory can't be mapped: %s", t->path, strerror(errno));
}

static void map(const struct target *t, uint64_t iova, uint64_t size, const void *at)
{
	message(t, &(struct vhost_iotlb_msg){
		.iova = iova, .size = size, .uaddr = (unsigned long)at,
		.perm = VHOST_ACCESS_RW, .type = VHOST_IOTLB_UPDATE,
	});
}

static void map_all(const struct target *t, bool batch)
{
	uint64_t from = 0;

	if (batch)
		message(t, &(struct vhost_iotlb_msg){ .type = VHOST_IOTLB_BATCH_BEGIN });
	for (unsigned int i = 0; i < opt.maps; i++) {
		map(t, mem.iova + from, mem.map[i] - from, mem.base + from);
		from = mem.map[i];
	}
	if (mem.sparse)
		map(t, mem.iova + (1ULL << 40), opt.sparse, mem.sparse);
	if (batch)
		message(t, &(struct vhost_iotlb_msg){ .type = VHOST_IOTLB_BATCH_END });
}

static uint64_t capacity(const struct target *t)
{
	uint64_t buf[2] = { 0 };
	struct vhost_vdpa_config *config = calloc(1, sizeof(*config) + sizeof(buf[0]));

	if (!config)
		die("no memory");
	config->len = sizeof(buf[0]);
	VDPA_CALL(t, VHOST_VDPA_GET_CONFIG, config);
	memcpy(buf, config->buf, sizeof(buf[0]));
	free(config);
	return buf[0];
}

void vdpa_open(struct target *t)
{
	uint64_t offered, must = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM);

	t->fd = open(t->path, O_RDWR | O_CLOEXEC);
	if (t->fd < 0)
		die("%s can't be opened: %s", t->path, strerror(errno));
	VDPA_CALL(t, VHOST_GET_FEATURES, &offered);
	t->features = choose_features(t, offered, must);
	t->blocks = capacity(t) * SECTOR / opt.block;
}

static void start_queue(const struct target *t, unsigned int i)
{
	const struct queue *q = &t->queue[i];
	struct vhost_vring_state num = { i, q->num }, on = { i, 1 };
	/* Both wrap counters of a packed ring begin at 1. */
	struct vhost_vring_state base = { i, opt.packed ? 0x80008000 : 0 };
	struct vhost_vring_file kick = { i, q->kick }, irq = { i, call_fd };
	struct vhost_vring_addr addr = {
		.index = i, .desc_user_addr = iova_of(q->desc),
		.avail_user_addr = iova_of(q->driver), .used_user_addr = iova_of(q->device),
	};

	VDPA_CALL(t, VHOST_SET_VRING_NUM, &num);
	VDPA_CALL(t, VHOST_SET_VRING_BASE, &base);
	VDPA_CALL(t, VHOST_SET_VRING_ADDR, &addr);
	VDPA_CALL(t, VHOST_SET_VRING_KICK, &kick);
	VDPA_CALL(t, VHOST_SET_VRING_CALL, &irq);
	VDPA_CALL(t, VHOST_VDPA_SET_VRING_ENABLE, &on);
}

/*
 * Ours always tracks: with this it does so in a file that came from somebody else, or goes on with
 * what is in the one that it had.
 */
static void give_region(struct target *t)
{
	struct vhost_inflight_info info = { .size = sizeof(info) };
	struct vhost_inflight_fd arg = { .size = sizeof(arg) };
	uint64_t stride;

	VDPA_CALL(t, VHOST_INFLIGHT_GET_INFO, &info);
	stride = opt.packed ? VHOST_INFLIGHT_STRIDE_PACKED(info.queue_size) :
			      VHOST_INFLIGHT_STRIDE_SPLIT(info.queue_size);
	arg.num_queues = info.num_queues;
	arg.queue_size = info.queue_size;
	arg.mmap_size = stride * info.num_queues;
	if (t->inflight_fd < 0) {
		t->inflight_fd = memfd_create("inflight", MFD_CLOEXEC);
		if (t->inflight_fd < 0 || ftruncate(t->inflight_fd, arg.mmap_size))
			die("no memory for the inflight region: %s", strerror(errno));
	}
	arg.fd = t->inflight_fd;
	VDPA_CALL(t, VHOST_INFLIGHT_SET_FD, &arg);
}

/* The owner before may be on its way out still. */
static void own(const struct target *t)
{
	uint64_t begin = now_ns();

	while (ioctl(t->fd, VHOST_SET_OWNER, NULL) < 0)
		if (errno != EBUSY || !rest(begin))
			die("%s: VHOST_SET_OWNER: %s", t->path, strerror(errno));
}

void vdpa_start(struct target *t)
{
	uint64_t begin = now_ns(), backend = 0, mapped;
	bool batch;

	own(t);
	set_status(t, 0);
	VDPA_CALL(t, VHOST_GET_BACKEND_FEATURES, &backend);
	backend &= BIT(VHOST_BACKEND_F_IOTLB_MSG_V2) | BIT(VHOST_BACKEND_F_IOTLB_BATCH) |
		   (opt.recover ? BIT(VHOST_INFLIGHT_BACKEND_F_STOP) : 0);
	VDPA_CALL(t, VHOST_SET_BACKEND_FEATURES, &backend);
	batch = backend & BIT(VHOST_BACKEND_F_IOTLB_BATCH);
	set_status(t, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(t, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	VDPA_CALL(t, VHOST_SET_FEATURES, &t->features);
	set_status(t, S_READY);
	mapped = now_ns();
	map_all(t, batch);
	t->map_ns = now_ns() - mapped;
	for (unsigned int i = 0; i < opt.queues; i++)
		start_queue(t, i);
	if (opt.inflight)
		give_region(t);
	set_status(t, S_READY | VIRTIO_CONFIG_S_DRIVER_OK);
	t->start_ns = now_ns() - begin;
}

void vdpa_stop(struct target *t)
{
	uint64_t begin = now_ns();

	set_status(t, 0);
	t->stop_ns = now_ns() - begin;
	close(t->fd);
}
