/* SPDX-License-Identifier: GPL-2.0 */
/* The driver's side of a virtqueue: what differs between the layouts. */
#ifndef MIGRATE_RING_H
#define MIGRATE_RING_H

#include "guest.h"

#define load_acquire(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define full_barrier()		__atomic_thread_fence(__ATOMIC_SEQ_CST)

struct entry {
	uint32_t id, len;
};

#define BAD_ID	UINT32_MAX

/**
 * struct ring_ops - a layout
 * @desc_size: bytes of the three areas of a ring
 * @driver_size: likewise
 * @device_size: likewise
 * @fresh: as before the first start; the memory is all zeroes
 * @head: what a used entry says of a slot
 * @put: make the first @n descriptors of @d available, as the buffer of a slot; all in its table if
 *	@indirect
 * @used: the next used entry; false when there is none
 * @skip: that entry was for a buffer of @descs descriptors
 * @need_kick: whether the device wants to be told of what was put in since the last kick
 * @calls: the device is to call, or not
 */
struct ring_ops {
	size_t (*desc_size)(unsigned int num);
	size_t (*driver_size)(unsigned int num);
	size_t (*device_size)(unsigned int num);
	void (*fresh)(struct guest *g, struct queue *q);
	uint32_t (*head)(unsigned int slot);
	void (*put)(struct guest *g, struct queue *q, unsigned int slot, const struct desc *d,
		    unsigned int n, bool indirect);
	bool (*used)(struct guest *g, struct queue *q, struct entry *e);
	void (*skip)(struct guest *g, struct queue *q, unsigned int descs);
	bool (*need_kick)(struct guest *g, struct queue *q);
	void (*calls)(struct guest *g, struct queue *q, bool on);
};

extern const struct ring_ops split_ops, packed_ops;

/* Guest memory at an address of the device's. */
static inline void *guest_at(const struct guest *g, uint64_t iova)
{
	return g->ram + (iova - GUEST_IOVA);
}

/* The driver has written there. */
void guest_wrote(struct guest *g, const void *p, size_t len);

/* The slot's own table for indirect descriptors, as the device sees it. */
static inline uint64_t slot_table(const struct queue *q, unsigned int slot)
{
	return q->slots + slot * sizeof(struct slot) + offsetof(struct slot, table);
}

#endif
