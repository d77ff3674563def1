// SPDX-License-Identifier: GPL-2.0
/* Guest memory: a memfd, as VDUSE and vhost-user want it shared. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/virtio_ring.h>

#include "vbench.h"

#define PAGE	4096ull

struct memory mem = { .fd = -1, .iova = GUEST_IOVA };

/* The first mapping has the rings and all of @meta, the others are pieces of @data. */
void memory_make(uint64_t meta, uint64_t data)
{
	uint64_t pieces = opt.maps > 1 ? opt.maps - 1 : 1, pages = data / PAGE;

	mem.size = meta + data;
	mem.fd = memfd_create("guest", MFD_CLOEXEC);
	if (mem.fd < 0 || ftruncate(mem.fd, mem.size))
		die("no guest memory: %s", strerror(errno));
	mem.base = mmap(NULL, mem.size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			mem.fd, 0);
	if (mem.base == MAP_FAILED)
		die("no guest memory: %s", strerror(errno));
	mem.map = calloc(opt.maps, sizeof(*mem.map));
	if (!mem.map)
		die("no memory");
	if (opt.maps > 1)
		mem.map[0] = meta;
	for (unsigned int i = 0; i < pieces; i++)
		mem.map[opt.maps - pieces + i] = meta + pages * (i + 1) / pieces * PAGE;
	mem.map[opt.maps - 1] = mem.size;
	if (!opt.sparse)
		return;
	mem.sparse = mmap(NULL, opt.sparse, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem.sparse == MAP_FAILED)
		die("no sparse memory: %s", strerror(errno));
}

static uint64_t pages(uint64_t size)
{
	return (size + PAGE - 1) & -PAGE;
}

/* Bytes of the three areas of a ring, of the headers, of the status bytes and of the tables. */
static const uint64_t *parts(void)
{
	static uint64_t size[6];

	size[0] = pages(opt.ring * sizeof(struct vring_desc));
	size[1] = pages(6 + 2ull * opt.ring);
	size[2] = pages(6 + 8ull * opt.ring);
	size[3] = pages(16ull * opt.depth);
	size[4] = pages(opt.depth);
	size[5] = pages(64ull * opt.depth);
	return size;
}

uint64_t queue_meta_size(void)
{
	const uint64_t *size = parts();

	return size[0] + size[1] + size[2] + size[3] + size[4] + size[5];
}

void queue_make(struct queue *q, uint8_t *meta, uint8_t *data, uint64_t data_stride)
{
	const uint64_t *size = parts();
	uint8_t *header = meta + size[0] + size[1] + size[2], *status = header + size[3];

	q->num = opt.ring;
	q->mask = opt.ring - 1;
	q->desc = meta;
	q->driver = meta + size[0];
	q->device = meta + size[0] + size[1];
	q->put_wrap = 1;
	q->kicked_wrap = 1;
	q->got_wrap = 1;
	q->descs = q->indirect ? 1 : 3;
	q->slot = aligned_alloc(64, opt.depth * sizeof(*q->slot));
	if (!q->slot)
		die("no memory");
	for (unsigned int i = 0; i < opt.depth; i++) {
		struct slot *s = &q->slot[i];

		s->header = header + 16 * i;
		s->status = status + i;
		s->table = status + size[4] + 64 * i;
		s->header_iova = iova_of(s->header);
		s->status_iova = iova_of(s->status);
		s->table_iova = iova_of(s->table);
		s->data_iova = iova_of(data + i * data_stride);
		q->free[q->nr_free++] = opt.depth - 1 - i;
	}
}
