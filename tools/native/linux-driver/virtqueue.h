/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel's virtio_ring.c has and tools/virtio/linux/virtio.h does not declare: the calls
 * of a driver and of a transport, to be included behind that.
 */
#ifndef _LINUX_DRIVER_VIRTQUEUE_H
#define _LINUX_DRIVER_VIRTQUEUE_H

#include <linux/virtio_config.h>
#include <linux/virtio.h>
#include <linux/virtio_ring.h>

bool virtqueue_kick_prepare(struct virtqueue *vq);
bool virtqueue_notify(struct virtqueue *vq);
unsigned int virtqueue_enable_cb_prepare(struct virtqueue *vq);
bool virtqueue_poll(struct virtqueue *vq, unsigned int last_used_idx);
bool virtqueue_is_broken(const struct virtqueue *vq);
const struct vring *virtqueue_get_vring(const struct virtqueue *vq);
dma_addr_t virtqueue_get_desc_addr(const struct virtqueue *vq);
dma_addr_t virtqueue_get_avail_addr(const struct virtqueue *vq);
dma_addr_t virtqueue_get_used_addr(const struct virtqueue *vq);

#endif
