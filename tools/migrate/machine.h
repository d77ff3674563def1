/* SPDX-License-Identifier: GPL-2.0 */
/* What both ends of a migration have to know of a machine; goes over the stream as it is. */
#ifndef MIGRATE_MACHINE_H
#define MIGRATE_MACHINE_H

#include <stdint.h>
#include <linux/vhost_inflight.h>

#define MAX_QUEUES	64	/* what num_queues in configfs may be */
#define MAX_CONFIG	256	/* bytes of configuration space */
#define PAGE		4096	/* what a bit of a log stands for */
#define GUEST_IOVA	0x40000000ULL

/**
 * struct machine - what does not change while a guest lives
 * @features: that its driver took
 * @iova: where its memory begins for the device
 * @size: bytes of its memory
 * @queues: queues that its driver uses
 * @num: size of their rings
 * @num_queues: queues of the device, for which the inflight region is made
 * @queue_size: largest size of a ring, likewise
 * @config_len: bytes of @config
 * @reserved: 0
 * @serial: what the device answers to GET_ID
 * @config: configuration space
 * @ring: where the rings are, as the device sees them
 */
struct machine {
	uint64_t features;
	uint64_t iova, size;
	uint16_t queues, num;
	uint16_t num_queues, queue_size;
	uint32_t config_len;
	uint32_t reserved;
	uint8_t serial[VHOST_INFLIGHT_SERIAL_LEN + 4];
	uint8_t config[MAX_CONFIG];
	struct {
		uint64_t desc, driver, device;
	} ring[MAX_QUEUES];
};

/**
 * struct stand - where a guest stands that was stopped
 * @base: of each queue, from VHOST_GET_VRING_BASE
 * @irq: of each queue: an interrupt that the guest has not taken yet
 * @halted: its processor waits for one
 * @based: @base is there; without it the region alone says where the rings stand
 * @reserved: 0
 * @region_size: bytes of the inflight region that follow
 */
struct stand {
	uint32_t base[MAX_QUEUES];
	uint8_t irq[MAX_QUEUES];
	uint8_t halted, based;
	uint8_t reserved[6];
	uint64_t region_size;
};

#endif
