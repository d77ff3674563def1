// SPDX-License-Identifier: GPL-2.0
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "ring.h"

#define SECTOR		512
#define SECTOR_WORDS	(SECTOR / sizeof(uint64_t))
#define BLOCK_WORDS	(BLOCK / sizeof(uint64_t))
#define USED_BLOCKS	4096	/* of the disk, at most */
#define UNIT		(MAX_BLOCKS * BLOCK)
#define NO_UNIT		UINT32_MAX
#define NO_STATUS	0xee	/* what is in a status byte before the device writes it */
#define ID_LEN		20
#define MIN_UNITS	16

static_assert(sizeof(struct slot) == 128, "a slot does not cross a page");

static const struct ring_ops *ops_of(const struct guest *g)
{
	return g->mem->packed ? &packed_ops : &split_ops;
}

void guest_wrote(struct guest *g, const void *p, size_t len)
{
	size_t at = (const uint8_t *)p - g->ram;

	for (size_t i = at / PAGE; i <= (at + len - 1) / PAGE; i++)
		__atomic_fetch_or(&g->written[i / 64], 1ULL << i % 64, __ATOMIC_SEQ_CST);
}

void guest_wrote_rings(struct guest *g)
{
	const struct ring_ops *ops = ops_of(g);
	unsigned int num = g->mem->num;

	for (unsigned int i = 0; i < g->mem->queues; i++) {
		const struct queue *q = &g->mem->queue[i];

		guest_wrote(g, guest_at(g, q->desc), ops->desc_size(num));
		guest_wrote(g, guest_at(g, q->driver), ops->driver_size(num));
		guest_wrote(g, guest_at(g, q->device), ops->device_size(num));
	}
}

/* ---- making one ---- */

int guest_make(struct guest *g, uint64_t size)
{
	*g = (struct guest){ .size = size, .fd = memfd_create("guest", MFD_CLOEXEC) };
	for (unsigned int i = 0; i < MAX_QUEUES; i++) {
		g->kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		g->call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (g->kick[i] < 0 || g->call[i] < 0)
			return failed("no eventfd for the guest: %s", strerror(errno));
	}
	if (g->fd < 0 || ftruncate(g->fd, size))
		return failed("no memory for the guest: %s", strerror(errno));
	g->ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, g->fd, 0);
	g->written = calloc((size / PAGE + 63) / 64, sizeof(*g->written));
	if (g->ram == MAP_FAILED || !g->written)
		return failed("no memory for the guest: %s", strerror(errno));
	g->mem = (struct memory *)g->ram;
	return 0;
}

void guest_free(struct guest *g)
{
	if (!g->ram)
		return;
	munmap(g->ram, g->size);
	close(g->fd);
	free(g->written);
	for (unsigned int i = 0; i < MAX_QUEUES; i++) {
		close(g->kick[i]);
		close(g->call[i]);
	}
	*g = (struct guest){};
}

/* The next piece of memory, on pages of its own; an address of the device's. */
static uint64_t take(uint64_t *brk, uint64_t size)
{
	uint64_t at = *brk;

	*brk += (size + PAGE - 1) / PAGE * PAGE;
	return GUEST_IOVA + at;
}

static unsigned int ring_size(unsigned int depth)
{
	unsigned int num = 2;

	while (num < depth * SLOT_DESCS)
		num *= 2;
	return num;
}

static void place_queues(struct guest *g, struct machine *m, uint64_t *brk)
{
	const struct ring_ops *ops = ops_of(g);

	for (unsigned int i = 0; i < m->queues; i++) {
		struct queue *q = &g->mem->queue[i];

		q->desc = take(brk, ops->desc_size(m->num));
		q->driver = take(brk, ops->driver_size(m->num));
		q->device = take(brk, ops->device_size(m->num));
		q->slots = take(brk, g->mem->depth * sizeof(struct slot));
		m->ring[i].desc = q->desc;
		m->ring[i].driver = q->driver;
		m->ring[i].device = q->device;
	}
}

static int place_units(struct guest *g, uint64_t brk)
{
	struct memory *mem = g->mem;
	uint32_t *stack;

	mem->table = take(&brk, mem->blocks * sizeof(struct block));
	mem->stack = take(&brk, g->size / UNIT * sizeof(uint32_t));
	if (brk + MIN_UNITS * UNIT > g->size)
		return failed("%llu MiB of memory are too little for so many requests at a time",
			      (unsigned long long)g->size >> 20);
	mem->data = GUEST_IOVA + brk;
	mem->units = (g->size - brk) / UNIT;
	mem->free_units = mem->units;
	stack = guest_at(g, mem->stack);
	for (unsigned int i = 0; i < mem->units; i++)
		stack[i] = i;
	return 0;
}

int guest_boot(struct guest *g, const struct guest_plan *plan, struct machine *m)
{
	uint64_t brk = 0, seed;
	uint64_t capacity;

	m->num = ring_size(plan->depth);
	if (m->num > m->queue_size)
		return failed("%u requests at a time need rings of %u, the device has rings of %u",
			      plan->depth, m->num, m->queue_size);
	if (guest_make(g, plan->memory))
		return -1;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return failed("no random numbers: %s", strerror(errno));
	memcpy(&capacity, m->config, sizeof(capacity));
	m->iova = GUEST_IOVA;
	m->size = g->size;
	*g->mem = (struct memory){
		.magic = GUEST_MAGIC, .size = g->size, .rng = seed | 1, .seed = seed >> 32,
		.queues = m->queues, .num = m->num, .depth = plan->depth,
		.packed = !!(m->features & 1ULL << VIRTIO_F_RING_PACKED),
		.event_idx = !!(m->features & 1ULL << VIRTIO_RING_F_EVENT_IDX),
		.indirect = !!(m->features & 1ULL << VIRTIO_RING_F_INDIRECT_DESC),
		.flush = !!(m->features & 1ULL << VIRTIO_BLK_F_FLUSH),
		.blocks = capacity / (BLOCK / SECTOR) < USED_BLOCKS ?
			  capacity / (BLOCK / SECTOR) : USED_BLOCKS,
	};
	if (g->mem->blocks < MAX_BLOCKS)
		return failed("a disk of %llu sectors is too small", (unsigned long long)capacity);
	take(&brk, sizeof(*g->mem));
	place_queues(g, m, &brk);
	if (place_units(g, brk))
		return -1;
	for (unsigned int i = 0; i < m->queues; i++) {
		ops_of(g)->fresh(g, &g->mem->queue[i]);
		ops_of(g)->calls(g, &g->mem->queue[i], false);
	}
	return 0;
}

int guest_arrived(struct guest *g, const struct machine *m)
{
	const struct memory *mem = g->mem;

	if (mem->magic != GUEST_MAGIC || mem->size != g->size || mem->queues != m->queues ||
	    mem->num != m->num)
		return failed("what arrived is not the memory of the guest that was announced");
	g->done = mem->done;
	return 0;
}

unsigned int guest_out(const struct guest *g)
{
	unsigned int out = 0;

	for (unsigned int i = 0; i < g->mem->queues; i++)
		out += g->mem->queue[i].out;
	return out;
}

void guest_place(const struct guest *g, uint64_t page, char buf[WHY_LEN])
{
	const struct memory *mem = g->mem;
	uint64_t at = GUEST_IOVA + page * PAGE;

	if (at >= mem->data)
		snprintf(buf, WHY_LEN, "data buffer %llu",
			 (unsigned long long)(at - mem->data) / UNIT);
	else if (at >= mem->stack)
		snprintf(buf, WHY_LEN, "the list of free data buffers");
	else if (at >= mem->table)
		snprintf(buf, WHY_LEN, "the table of blocks");
	else
		snprintf(buf, WHY_LEN, "the driver's state");
	for (unsigned int i = 0; i < mem->queues && at < mem->table; i++) {
		const struct queue *q = &mem->queue[i];

		if (at >= q->desc)
			snprintf(buf, WHY_LEN, "the %s of queue %u", at >= q->slots ? "requests" :
				 at >= q->device ? "device area" :
				 at >= q->driver ? "driver area" : "descriptors", i);
	}
}

/* ---- what is on the disk ---- */

static uint32_t some(struct memory *mem, uint32_t below)
{
	/* xorshift64* */
	mem->rng ^= mem->rng >> 12;
	mem->rng ^= mem->rng << 25;
	mem->rng ^= mem->rng >> 27;
	return (uint32_t)((mem->rng * 0x2545f4914f6cdd1dULL) >> 32) % below;
}

/* Each sector says which one it is, and which write it is from; the rest follows from that. */
static void fill_sector(uint64_t *w, uint64_t sector, uint64_t from)
{
	uint64_t mix = sector * 0x9e3779b97f4a7c15ULL ^ from * 0xff51afd7ed558ccdULL;

	w[0] = sector;
	w[1] = from;
	for (unsigned int i = 2; i < SECTOR_WORDS; i++)
		w[i] = mix += 0xd1342543de82ef95ULL;
}

static uint64_t from(const struct memory *mem, uint32_t gen)
{
	return (uint64_t)mem->seed << 32 | gen;
}

static void fill_block(const struct memory *mem, uint64_t *data, uint32_t block, uint32_t gen)
{
	uint64_t first = (uint64_t)block * (BLOCK / SECTOR);

	for (unsigned int i = 0; i < BLOCK / SECTOR; i++)
		fill_sector(data + i * SECTOR_WORDS, first + i, from(mem, gen));
}

static int check_block(struct guest *g, const uint64_t *data, uint32_t block, uint32_t gen)
{
	uint64_t first = (uint64_t)block * (BLOCK / SECTOR), right[SECTOR_WORDS];

	for (unsigned int i = 0; i < BLOCK / SECTOR; i++) {
		const uint64_t *w = data + i * SECTOR_WORDS;

		fill_sector(right, first + i, from(g->mem, gen));
		if (!memcmp(w, right, SECTOR))
			continue;
		snprintf(g->error, sizeof(g->error),
			 "sector %llu does not have what write %u wrote: it %s %llu, write %llu",
			 (unsigned long long)first + i, gen,
			 w[1] >> 32 == g->mem->seed ? "has that of sector" : "was not written: has",
			 (unsigned long long)w[0], (unsigned long long)w[1] & UINT32_MAX);
		return -1;
	}
	g->mem->count.checked++;
	return 0;
}

/* ---- requests ---- */

static uint64_t *unit_at(const struct guest *g, uint32_t unit)
{
	return guest_at(g, g->mem->data + (uint64_t)unit * UNIT);
}

static uint32_t unit_take(struct guest *g)
{
	struct memory *mem = g->mem;
	uint32_t *stack = guest_at(g, mem->stack), i, unit;

	i = some(mem, mem->free_units);
	unit = stack[i];
	stack[i] = stack[--mem->free_units];
	guest_wrote(g, &stack[i], sizeof(*stack));
	return unit;
}

static void unit_give(struct guest *g, uint32_t unit)
{
	uint32_t *stack = guest_at(g, g->mem->stack);

	if (unit == NO_UNIT)
		return;
	stack[g->mem->free_units] = unit;
	guest_wrote(g, &stack[g->mem->free_units++], sizeof(*stack));
}

static struct block *block_at(const struct guest *g, uint32_t block)
{
	return (struct block *)guest_at(g, g->mem->table) + block;
}

/* Who is at the blocks of a request, from here on or no more. */
static void engage(struct guest *g, const struct slot *s, int by)
{
	for (unsigned int i = 0; i < s->blocks; i++) {
		struct block *b = block_at(g, s->block + i);

		if (s->type == VIRTIO_BLK_T_OUT)
			b->writing += by;
		else
			b->readers += by;
		guest_wrote(g, b, sizeof(*b));
	}
}

/* What a read sees while a write is out is not known. */
static bool conflicts(struct guest *g, const struct slot *s)
{
	for (unsigned int i = 0; i < s->blocks; i++) {
		const struct block *b = block_at(g, s->block + i);

		if (b->writing || (s->type == VIRTIO_BLK_T_OUT && b->readers))
			return true;
	}
	return false;
}

/* Blocks for a read at the end, when all that was written is read; false when there are no more. */
static bool choose_last(struct guest *g, struct slot *s)
{
	struct memory *mem = g->mem;

	s->type = VIRTIO_BLK_T_IN;
	while (mem->sweep < mem->blocks && !block_at(g, mem->sweep)->gen &&
	       !block_at(g, mem->sweep)->writing)
		mem->sweep++;
	s->block = mem->sweep;
	s->blocks = mem->blocks - mem->sweep < MAX_BLOCKS ? mem->blocks - mem->sweep : MAX_BLOCKS;
	if (!s->blocks || conflicts(g, s))
		return false;
	mem->sweep += s->blocks;
	return true;
}

/* What to do and where; false when that can't be done now. */
static bool choose(struct guest *g, struct slot *s)
{
	struct memory *mem = g->mem;
	unsigned int r;

	s->blocks = 0;
	s->block = 0;
	if (__atomic_load_n(&g->finish, __ATOMIC_RELAXED))
		return choose_last(g, s);
	r = some(mem, 100);
	if (r < 4 && mem->flush) {
		s->type = VIRTIO_BLK_T_FLUSH;
		return true;
	}
	if (r < 6) {
		s->type = VIRTIO_BLK_T_GET_ID;
		return true;
	}
	s->type = r < 53 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT;
	for (int tries = 0; tries < 4; tries++) {
		s->blocks = 1 + some(mem, MAX_BLOCKS);
		s->block = some(mem, mem->blocks - s->blocks + 1);
		if (!conflicts(g, s))
			return true;
	}
	return false;
}

static unsigned int data_len(const struct slot *s)
{
	return s->type == VIRTIO_BLK_T_GET_ID ? ID_LEN : s->blocks * BLOCK;
}

/* The descriptors of a slot: the data in one piece or two. */
static unsigned int describe(struct guest *g, const struct queue *q, unsigned int nr,
			     struct desc d[SLOT_DESCS])
{
	const struct slot *s = (struct slot *)guest_at(g, q->slots) + nr;
	uint64_t at = q->slots + nr * sizeof(*s), data;
	uint32_t len = data_len(s), first = len;
	uint16_t flags = s->type == VIRTIO_BLK_T_OUT ? 0 : VRING_DESC_F_WRITE;
	unsigned int n = 0;

	d[n++] = (struct desc){ at + offsetof(struct slot, type), 16, 0, 0 };
	if (len > SECTOR && some(g->mem, 2))
		first = (1 + some(g->mem, len / SECTOR - 1)) * SECTOR;
	if (len) {
		data = g->mem->data + (uint64_t)s->unit * UNIT;
		d[n++] = (struct desc){ data, first, flags, 0 };
		if (first < len)
			d[n++] = (struct desc){ data + first, len - first, flags, 0 };
	}
	d[n++] = (struct desc){ at + offsetof(struct slot, status), 1, VRING_DESC_F_WRITE, 0 };
	return n;
}

/* Any of those that there are: the device has less than all of them. */
static unsigned int free_slot(struct guest *g, const struct queue *q)
{
	const struct slot *slots = guest_at(g, q->slots);
	unsigned int at = some(g->mem, g->mem->depth);

	while (slots[at].state != SLOT_FREE)
		at = (at + 1) % g->mem->depth;
	return at;
}

/* What the device may write to, and what it reads. */
static void prepare(struct guest *g, struct slot *s)
{
	struct memory *mem = g->mem;

	s->ioprio = 0;
	s->sector = (uint64_t)s->block * (BLOCK / SECTOR);
	s->status = NO_STATUS;
	s->in_len = 1;
	if (s->type == VIRTIO_BLK_T_OUT) {
		s->gen = ++mem->gen;
		for (unsigned int i = 0; i < s->blocks; i++)
			fill_block(mem, unit_at(g, s->unit) + i * BLOCK_WORDS, s->block + i,
				   s->gen);
		guest_wrote(g, unit_at(g, s->unit), data_len(s));
	} else {
		s->in_len += data_len(s);
	}
	engage(g, s, 1);
}

static bool submit(struct guest *g, struct queue *q)
{
	struct memory *mem = g->mem;
	struct slot *s, want;
	struct desc d[SLOT_DESCS];
	unsigned int nr, n;
	bool indirect;

	if (q->out == mem->depth || !mem->free_units || !choose(g, &want))
		return false;
	nr = free_slot(g, q);
	s = (struct slot *)guest_at(g, q->slots) + nr;
	s->type = want.type;
	s->block = want.block;
	s->blocks = want.blocks;
	s->unit = data_len(s) ? unit_take(g) : NO_UNIT;
	prepare(g, s);
	n = describe(g, q, nr, d);
	indirect = mem->indirect && some(mem, 2);
	s->descs = indirect ? 1 : n;
	s->state = SLOT_OUT;
	guest_wrote(g, s, sizeof(*s));
	ops_of(g)->put(g, q, nr, d, n, indirect);
	q->out++;
	q->unkicked++;
	return true;
}

static bool notify(struct guest *g, struct queue *q, unsigned int index)
{
	uint64_t one = 1;

	q->unkicked = 0;
	if (ops_of(g)->need_kick(g, q)) {
		g->mem->count.kicks++;
		if (write(g->kick[index], &one, sizeof(one)) != sizeof(one))
			snprintf(g->error, sizeof(g->error), "a kick of queue %u: %s", index,
				 strerror(errno));
	}
	return true;
}

/* ---- what comes back ---- */

static int completed(struct guest *g, struct slot *s)
{
	struct memory *mem = g->mem;
	const uint64_t *data = s->unit == NO_UNIT ? NULL : unit_at(g, s->unit);
	struct block *b;

	switch (s->type) {
	case VIRTIO_BLK_T_IN:
		mem->count.reads++;
		for (unsigned int i = 0; i < s->blocks; i++) {
			b = block_at(g, s->block + i);
			if (b->gen && check_block(g, data + i * BLOCK_WORDS, s->block + i, b->gen))
				return -1;
		}
		break;
	case VIRTIO_BLK_T_OUT:
		mem->count.writes++;
		for (unsigned int i = 0; i < s->blocks; i++)
			block_at(g, s->block + i)->gen = s->gen;
		break;
	case VIRTIO_BLK_T_FLUSH:
		mem->count.flushes++;
		break;
	default:
		mem->count.ids++;
		if (mem->named && memcmp(mem->name, data, ID_LEN)) {
			snprintf(g->error, sizeof(g->error),
				 "the disk that was called %.20s is called %.20s now",
				 (const char *)mem->name, (const char *)data);
			return -1;
		}
		memcpy(mem->name, data, ID_LEN);
		mem->named = 1;
	}
	return 0;
}

/* The slot that a used entry is about; NULL if there can't be such an entry. */
static struct slot *slot_of(struct guest *g, const struct queue *q, unsigned int index,
			    const struct entry *e)
{
	struct slot *slots = guest_at(g, q->slots);
	const struct slot *s;

	for (unsigned int i = 0; i < g->mem->depth; i++) {
		if (e->id != ops_of(g)->head(i))
			continue;
		s = &slots[i];
		if (s->state == SLOT_OUT && e->len == s->in_len)
			return &slots[i];
		if (s->state == SLOT_OUT)
			snprintf(g->error, sizeof(g->error),
				 "queue %u: buffer %u was used with a length of %u, not %u", index,
				 e->id, e->len, s->in_len);
		else
			snprintf(g->error, sizeof(g->error),
				 "queue %u: buffer %u was used, and the device did not have it",
				 index, e->id);
		return NULL;
	}
	snprintf(g->error, sizeof(g->error), "queue %u: a used entry for no buffer, %#x", index,
		 e->id);
	return NULL;
}

/* One used entry: 1, 0 for none, -1 when there is something wrong. */
static int reap(struct guest *g, struct queue *q, unsigned int index)
{
	struct memory *mem = g->mem;
	struct slot *s;
	struct entry e;

	if (!ops_of(g)->used(g, q, &e))
		return 0;
	if (q->calls) {
		q->calls = 0;
		ops_of(g)->calls(g, q, false);
	}
	s = slot_of(g, q, index, &e);
	if (!s)
		return -1;
	if (s->status != VIRTIO_BLK_S_OK) {
		snprintf(g->error, sizeof(g->error),
			 "queue %u: a request of type %u at sector %llu ended with status %u",
			 index, s->type, (unsigned long long)s->sector, s->status);
		return -1;
	}
	ops_of(g)->skip(g, q, s->descs);
	if (completed(g, s))
		return -1;
	engage(g, s, -1);
	unit_give(g, s->unit);
	s->state = SLOT_FREE;
	guest_wrote(g, s, sizeof(*s));
	q->out--;
	mem->done++;
	__atomic_store_n(&g->done, mem->done, __ATOMIC_RELEASE);
	return 1;
}

/* Nothing to do: asks for interrupts, and looks once more. */
static enum guest_step rest(struct guest *g)
{
	struct memory *mem = g->mem;
	enum guest_step ret = GUEST_IDLE;
	struct entry e;

	for (unsigned int i = 0; i < mem->queues; i++) {
		struct queue *q = &mem->queue[i];

		if (!q->calls) {
			q->calls = 1;
			ops_of(g)->calls(g, q, true);
		}
		if (ops_of(g)->used(g, q, &e))
			ret = GUEST_BUSY;
	}
	return ret;
}

static enum guest_step step(struct guest *g)
{
	struct memory *mem = g->mem;
	struct queue *q = &mem->queue[mem->turn];
	bool now = q->unkicked && (q->unkicked >= mem->depth || !some(mem, 4));
	int did = reap(g, q, mem->turn);

	if (!did)
		did = (!now && submit(g, q)) ||
		      (q->unkicked && notify(g, q, mem->turn));
	if (did < 0 || g->error[0])
		return GUEST_WRONG;
	mem->turn = (mem->turn + 1) % mem->queues;
	mem->idle = did ? 0 : mem->idle + 1;
	if (mem->idle < mem->queues)
		return GUEST_BUSY;
	mem->idle = 0;
	if (__atomic_load_n(&g->finish, __ATOMIC_RELAXED) && mem->sweep == mem->blocks &&
	    !guest_out(g))
		return GUEST_DONE;
	return rest(g);
}

enum guest_step guest_step(struct guest *g)
{
	enum guest_step ret = g->error[0] ? GUEST_WRONG : step(g);

	guest_wrote(g, g->mem, sizeof(*g->mem));
	return ret;
}
