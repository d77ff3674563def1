// SPDX-License-Identifier: GPL-2.0
/* Rings, requests and the inflight region of the device in userspace. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>

#include "fake/fake.h"

/* Flags of a descriptor, and the wrap counter beside a slot. */
#define AVAIL	0x80
#define USED	0x8000
#define WRAP	0x8000

bool fake_defect(const char *name)
{
	const char *want = getenv("FAKE_DEFECT");

	return want && !strcmp(want, name);
}

uint64_t fake_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

static bool packed(const struct fake *f)
{
	return f->features & 1ULL << VIRTIO_F_RING_PACKED;
}

static void *at(const struct fake *f, uint64_t iova, uint64_t len)
{
	if (iova < f->map.iova || len > f->map.size || iova - f->map.iova > f->map.size - len) {
		fprintf(stderr, "fake: %#llx is not mapped\n", (unsigned long long)iova);
		abort();
	}
	return (void *)(f->map.uaddr + (iova - f->map.iova));
}

static void wrote(struct fake *f, uint64_t iova, uint64_t len)
{
	if (!f->log || !len || fake_defect("unlogged"))
		return;
	for (uint64_t i = (iova - f->map.iova) >> VHOST_INFLIGHT_LOG_SHIFT;
	     i <= (iova + len - 1 - f->map.iova) >> VHOST_INFLIGHT_LOG_SHIFT; i++)
		__atomic_fetch_or(&f->log[i / 64], 1ULL << i % 64, __ATOMIC_SEQ_CST);
}

/* ---- the disk ---- */

static uint8_t *disk(uint64_t *size)
{
	static uint8_t *map;
	static uint64_t len;
	struct stat st;
	int fd;

	if (!map) {
		fd = open(getenv("FAKE_DISK"), O_RDWR | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st))
			abort();
		len = st.st_size;
		map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	*size = len;
	return map;
}

uint64_t fake_capacity(void)
{
	uint64_t size;

	disk(&size);
	return size / 512;
}

/* A file of this name beside the disk: -1, or the number in it. */
static long long told(const char *what)
{
	char path[512], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "%s.%s", getenv("FAKE_DISK"), what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return atoll(text);
}

/* The disk of this device does not answer to requests of this kind. */
static bool hangs(const struct fake *f, const struct fake_request *r)
{
	char what[32];

	snprintf(what, sizeof(what), "hang-%s-%c", r->type == VIRTIO_BLK_T_IN ? "read" : "write",
		 f->name);
	return told(what) >= 0;
}

bool fake_hangs(const struct fake *f)
{
	const struct fake_request read = { .type = VIRTIO_BLK_T_IN };
	const struct fake_request write = { .type = VIRTIO_BLK_T_OUT };

	return hangs(f, &read) || hangs(f, &write);
}

unsigned int fake_hanging(const struct fake *f)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < f->queues; i++)
		for (unsigned int j = 0; j < FAKE_QUEUE_SIZE; j++)
			n += f->queue[i].req[j].state == FAKE_SUBMITTED &&
			     hangs(f, &f->queue[i].req[j]);
	return n;
}

static bool full(const struct fake_request *r)
{
	long long from = r->type == VIRTIO_BLK_T_OUT ? told("full") : -1;

	return from >= 0 && r->sector >= (uint64_t)from;
}

/* Returns how many bytes of the request were written to memory. */
static uint32_t do_it(struct fake *f, const struct fake_request *r)
{
	uint64_t size, pos = r->sector * 512;
	uint8_t *d = disk(&size), *status;
	char id[20] = "fake";
	uint32_t done = 0;

	for (unsigned int i = 1; i + 1 < r->segs; i++) {
		uint8_t *p = at(f, r->seg[i].addr, r->seg[i].len);

		if (r->type != VIRTIO_BLK_T_GET_ID && r->seg[i].len > size - pos)
			abort();
		if (r->type == VIRTIO_BLK_T_OUT)
			memcpy(d + pos, p, r->seg[i].len);
		else if (r->type == VIRTIO_BLK_T_IN)
			memcpy(p, d + pos, r->seg[i].len);
		else
			memcpy(p, id, sizeof(id));
		pos += r->seg[i].len;
		if (r->seg[i].in)
			done += r->seg[i].len;
		if (r->seg[i].in)
			wrote(f, r->seg[i].addr, r->seg[i].len);
	}
	status = at(f, r->seg[r->segs - 1].addr, 1);
	*status = VIRTIO_BLK_S_OK;
	wrote(f, r->seg[r->segs - 1].addr, 1);
	return done + 1;
}

/* ---- the region ---- */

size_t fake_stride(const struct fake *f)
{
	return packed(f) ? VHOST_INFLIGHT_STRIDE_PACKED(FAKE_QUEUE_SIZE) :
			   VHOST_INFLIGHT_STRIDE_SPLIT(FAKE_QUEUE_SIZE);
}

static struct vhost_inflight_region_split *split_region(const struct fake *f, unsigned int i)
{
	return (void *)(f->region + i * fake_stride(f));
}

static struct vhost_inflight_region_packed *packed_region(const struct fake *f, unsigned int i)
{
	return (void *)(f->region + i * fake_stride(f));
}

static void fresh_region(struct fake *f, unsigned int i)
{
	struct vhost_inflight_region_packed *p = packed_region(f, i);
	struct vhost_inflight_region_split *s = split_region(f, i);

	memset(p, 0, fake_stride(f));
	if (packed(f)) {
		p->version = VHOST_INFLIGHT_VERSION;
		p->desc_num = FAKE_QUEUE_SIZE;
		p->used_wrap_counter = 1;
		p->old_used_wrap_counter = 1;
		for (unsigned int j = 0; j < FAKE_QUEUE_SIZE; j++)
			p->desc[j].next = j + 1;
		return;
	}
	s->version = VHOST_INFLIGHT_VERSION;
	s->desc_num = FAKE_QUEUE_SIZE;
}

/* ---- chains ---- */

static void go(uint16_t *slot, bool *wrap, unsigned int n, unsigned int num)
{
	for (; n; n--)
		if (++*slot == num) {
			*slot = 0;
			*wrap = !*wrap;
		}
}

static void add_seg(struct fake_request *r, uint64_t addr, uint32_t len, uint16_t flags)
{
	if (r->segs == FAKE_MAX_SEGS)
		abort();
	r->seg[r->segs++] = (struct fake_seg){ addr, len, !!(flags & VRING_DESC_F_WRITE) };
}

static void split_table(struct fake *f, struct fake_request *r, uint64_t addr, uint32_t len)
{
	const struct vring_desc *t = at(f, addr, len);
	unsigned int i = 0;

	for (;;) {
		add_seg(r, t[i].addr, t[i].len, t[i].flags);
		if (!(t[i].flags & VRING_DESC_F_NEXT))
			return;
		i = t[i].next;
	}
}

static void split_chain(struct fake *f, struct fake_queue *q, struct fake_request *r)
{
	const struct vring_desc *d = at(f, q->addr.desc_user_addr, q->num * sizeof(*d));

	r->descs = 1;
	if (d[r->id].flags & VRING_DESC_F_INDIRECT)
		split_table(f, r, d[r->id].addr, d[r->id].len);
	else
		for (unsigned int i = r->id;; i = d[i].next) {
			add_seg(r, d[i].addr, d[i].len, d[i].flags);
			if (!(d[i].flags & VRING_DESC_F_NEXT))
				break;
		}
}

/* A descriptor of a packed ring or of the record of one. */
static void packed_one(struct fake *f, struct fake_request *r, uint64_t addr, uint32_t len,
		       uint16_t flags)
{
	const struct vring_packed_desc *t;

	if (!(flags & VRING_DESC_F_INDIRECT)) {
		add_seg(r, addr, len, flags);
		return;
	}
	t = at(f, addr, len);
	for (unsigned int i = 0; i < len / sizeof(*t); i++)
		add_seg(r, t[i].addr, t[i].len, t[i].flags);
}

static void read_header(struct fake *f, struct fake_request *r)
{
	const struct virtio_blk_outhdr *h = at(f, r->seg[0].addr, sizeof(*h));

	r->type = h->type;
	r->sector = h->sector;
}

/* ---- fetch ---- */

static struct fake_request *take(struct fake_queue *q, uint16_t id)
{
	for (unsigned int i = 0; i < FAKE_QUEUE_SIZE; i++)
		if (q->req[i].state && q->req[i].id == id) {
			fprintf(stderr, "fake: %u is in flight\n", id);
			abort();
		}
	for (unsigned int i = 0; i < FAKE_QUEUE_SIZE; i++)
		if (!q->req[i].state) {
			q->out++;
			q->req[i] = (struct fake_request){
				.state = FAKE_QUEUED, .id = id, .counter = q->counter++,
			};
			return &q->req[i];
		}
	abort();
}

static bool split_fetch(struct fake *f, unsigned int i)
{
	struct fake_queue *q = &f->queue[i];
	struct vring_avail *avail = at(f, q->addr.avail_user_addr, 6 + 2 * q->num);
	struct vring_used *used = at(f, q->addr.used_user_addr, 6 + 8 * q->num);
	struct vhost_inflight_desc_split *d;
	struct fake_request *r;

	if (__atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE) == q->avail) {
		/* To be told of the next one; and it may be there by now. */
		__atomic_store_n((uint16_t *)&used->ring[q->num], q->avail, __ATOMIC_SEQ_CST);
		wrote(f, q->addr.used_user_addr, 6 + 8 * q->num);
		if (__atomic_load_n(&avail->idx, __ATOMIC_SEQ_CST) == q->avail)
			return false;
	}
	r = take(q, avail->ring[q->avail++ % q->num]);
	d = &split_region(f, i)->desc[r->id];
	d->counter = r->counter;
	d->inflight = 1;
	split_chain(f, q, r);
	read_header(f, r);
	return true;
}

static bool packed_fetch(struct fake *f, unsigned int i)
{
	struct fake_queue *q = &f->queue[i];
	struct vring_packed_desc *ring = at(f, q->addr.desc_user_addr, 16 * q->num), *d;
	struct vhost_inflight_region_packed *p = packed_region(f, i);
	uint16_t flags = __atomic_load_n(&ring[q->avail].flags, __ATOMIC_ACQUIRE), n = 0, last;
	uint16_t slot = q->avail, first = p->free_head, entry = first;
	struct fake_request *r;
	bool wrap = q->avail_wrap;

	if ((flags & (AVAIL | USED)) != (q->avail_wrap ? AVAIL : USED))
		return false;
	do {
		d = &ring[slot];
		p->desc[entry].id = d->id;
		p->desc[entry].flags = d->flags;
		p->desc[entry].len = d->len;
		p->desc[entry].addr = d->addr;
		last = entry;
		entry = p->desc[entry].next;
		n++;
		go(&slot, &wrap, 1, q->num);
	} while (d->flags & VRING_DESC_F_NEXT);
	r = take(q, d->id);
	r->descs = n;
	r->entry = first;
	p->desc[first].counter = r->counter;
	p->desc[first].last = last;
	p->desc[first].num = n;
	p->desc[first].inflight = 1;
	p->free_head = entry;
	p->old_free_head = entry;
	for (unsigned int j = first;; j = p->desc[j].next) {
		packed_one(f, r, p->desc[j].addr, p->desc[j].len, p->desc[j].flags);
		if (j == last)
			break;
	}
	read_header(f, r);
	q->avail = slot;
	q->avail_wrap = wrap;
	return true;
}

static bool fetch(struct fake *f, unsigned int i)
{
	return packed(f) ? packed_fetch(f, i) : split_fetch(f, i);
}

/* ---- publish ---- */

static void split_publish(struct fake *f, unsigned int i, const struct fake_request *r,
			  uint32_t len)
{
	struct fake_queue *q = &f->queue[i];
	struct vring_used *used = at(f, q->addr.used_user_addr, 6 + 8 * q->num);
	struct vhost_inflight_region_split *s = split_region(f, i);

	s->desc[r->id].next = s->last_batch_head;
	s->last_batch_head = r->id;
	used->ring[q->used++ % q->num] = (struct vring_used_elem){ r->id, len };
	__atomic_store_n(&used->idx, q->used, __ATOMIC_RELEASE);
	wrote(f, q->addr.used_user_addr, 6 + 8 * q->num);
	s->desc[r->id].inflight = 0;
	s->used_idx = q->used;
}

static void packed_publish(struct fake *f, unsigned int i, const struct fake_request *r,
			   uint32_t len)
{
	struct fake_queue *q = &f->queue[i];
	struct vring_packed_desc *ring = at(f, q->addr.desc_user_addr, 16 * q->num);
	struct vring_packed_desc *d = &ring[q->used];
	struct vhost_inflight_region_packed *p = packed_region(f, i);

	p->desc[p->desc[r->entry].last].next = p->free_head;
	p->free_head = r->entry;
	d->id = r->id;
	d->len = len;
	__atomic_store_n(&d->flags, VRING_DESC_F_WRITE | (q->used_wrap ? AVAIL | USED : 0),
			 __ATOMIC_RELEASE);
	wrote(f, q->addr.desc_user_addr, 16 * q->num);
	go(&q->used, &q->used_wrap, r->descs, q->num);
	p->desc[r->entry].inflight = 0;
	p->old_free_head = p->free_head;
	p->used_idx = q->used;
	p->old_used_idx = q->used;
	p->used_wrap_counter = q->used_wrap;
	p->old_used_wrap_counter = q->used_wrap;
}

static void publish(struct fake *f, unsigned int i, struct fake_request *r)
{
	struct fake_queue *q = &f->queue[i];
	uint32_t len = do_it(f, r);
	uint64_t one = 1;

	if (packed(f))
		packed_publish(f, i, r, len);
	else
		split_publish(f, i, r, len);
	r->state = FAKE_NONE;
	q->out--;
	q->published++;
	if (q->call >= 0 && write(q->call, &one, sizeof(one)) != sizeof(one))
		abort();
}

/* ---- a turn ---- */

void fake_event(struct fake *f, uint32_t type)
{
	uint64_t one = 1;

	if (f->events == FAKE_MAX_EVENTS)
		return;
	f->event[f->events++] = type;
	if (write(f->fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

unsigned int fake_kept(const struct fake_queue *q)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < FAKE_QUEUE_SIZE; i++)
		n += q->req[i].state == FAKE_QUEUED || q->req[i].state == FAKE_PARKED;
	return n;
}

unsigned int fake_parked(const struct fake *f)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < f->queues; i++)
		for (unsigned int j = 0; j < FAKE_QUEUE_SIZE; j++)
			n += f->queue[i].req[j].state == FAKE_PARKED;
	return n;
}

static bool preserves(const struct fake *f)
{
	return f->stop_state && !f->wild && f->stop_mode == VHOST_INFLIGHT_STOP_PRESERVE;
}

static void serve(struct fake *f, unsigned int i, struct fake_request *r)
{
	/* Any of them may be first. */
	if (random() % 2)
		return;
	if (r->state != FAKE_SUBMITTED) {
		if (preserves(f))
			return;
		if (full(r)) {
			if (r->state != FAKE_PARKED)
				fake_event(f, VHOST_INFLIGHT_EVENT_PARKED);
			r->state = FAKE_PARKED;
			return;
		}
		if (r->state == FAKE_PARKED)
			fake_event(f, VHOST_INFLIGHT_EVENT_HEALED);
		r->state = FAKE_SUBMITTED;
	} else if (!hangs(f, r)) {
		if (fake_defect("lost") && !(random() % 50)) {
			r->state = FAKE_NONE;
			f->queue[i].out--;
			return;
		}
		publish(f, i, r);
		/* Its own books are wrong then, too: that is all it does. */
		f->broken = fake_defect("twice") && !(random() % 50);
		if (f->broken)
			publish(f, i, r);
	}
}

static void tell(struct fake *f, uint32_t state)
{
	uint64_t one = 1;

	f->stop_state = state;
	f->stop_end = fake_now_ms();
	fake_event(f, state == VHOST_INFLIGHT_STATE_STOPPED ? VHOST_INFLIGHT_EVENT_STOPPED :
							      VHOST_INFLIGHT_EVENT_STALLED);
	if (!fake_defect("silent") && write(f->config_call, &one, sizeof(one)) != sizeof(one))
		abort();
}

void fake_turn(struct fake *f)
{
	bool still = true;

	if (f->broken)
		return;
	if (f->stop_state == VHOST_INFLIGHT_STATE_STOPPED && !f->wild)
		return;
	for (unsigned int i = 0; i < f->queues; i++) {
		struct fake_queue *q = &f->queue[i];

		if (!q->addr.desc_user_addr)
			continue;
		/* Not all that there is: more comes while it works. */
		while (!f->stop_state && random() % 8 && fetch(f, i))
			;
		for (unsigned int j = 0; j < FAKE_QUEUE_SIZE && !f->broken; j++)
			if (q->req[j].state)
				serve(f, i, &q->req[j]);
		if (f->broken)
			return;
		/* It rests with an empty ring only, and when it has asked for a kick. */
		if (!f->stop_state && !q->out)
			fetch(f, i);
		still &= q->out == (preserves(f) ? fake_kept(q) : 0);
	}
	if (f->stop_state != VHOST_INFLIGHT_STATE_STOPPING)
		return;
	if (still) {
		tell(f, VHOST_INFLIGHT_STATE_STOPPED);
		f->wild = fake_defect("wild");
	} else if (fake_now_ms() >= f->stop_begin + f->stop_deadline) {
		tell(f, VHOST_INFLIGHT_STATE_STALLED);
	}
}

/* ---- start ---- */

static int older(const void *a, const void *b)
{
	const struct fake_request *x = a, *y = b;

	/* What is not in flight comes last. */
	if (!x->state != !y->state)
		return !x->state - !y->state;
	return (x->counter > y->counter) - (x->counter < y->counter);
}

/* What is in flight by the region: the number of descriptors, or of buffers of a split ring. */
static unsigned int recover(struct fake *f, unsigned int i)
{
	struct vhost_inflight_region_packed *p = packed_region(f, i);
	struct vhost_inflight_region_split *s = split_region(f, i);
	struct fake_queue *q = &f->queue[i];
	unsigned int n = 0;

	for (unsigned int j = 0; j < FAKE_QUEUE_SIZE; j++) {
		uint16_t id;
		uint64_t counter;
		struct fake_request *r;

		if (!(packed(f) ? p->desc[j].inflight : s->desc[j].inflight))
			continue;
		id = packed(f) ? p->desc[p->desc[j].last].id : j;
		counter = packed(f) ? p->desc[j].counter : s->desc[j].counter;
		r = take(q, id);
		r->counter = counter;
		r->entry = j;
		if (packed(f)) {
			for (unsigned int k = j;; k = p->desc[k].next) {
				packed_one(f, r, p->desc[k].addr, p->desc[k].len, p->desc[k].flags);
				r->descs++;
				if (k == p->desc[j].last)
					break;
			}
		} else {
			split_chain(f, q, r);
		}
		read_header(f, r);
		n += r->descs;
	}
	qsort(q->req, FAKE_QUEUE_SIZE, sizeof(q->req[0]), older);
	for (unsigned int j = 0; j < FAKE_QUEUE_SIZE; j++)
		if (q->req[j].state && q->req[j].counter >= q->counter)
			q->counter = q->req[j].counter + 1;
	return n;
}

static uint32_t base(uint16_t avail, bool avail_wrap, uint16_t used, bool used_wrap)
{
	return avail | (avail_wrap ? WRAP : 0) | (uint32_t)(used | (used_wrap ? WRAP : 0)) << 16;
}

uint32_t fake_get_base(const struct fake *f, unsigned int index)
{
	const struct fake_queue *q = &f->queue[index];

	if (!packed(f))
		return q->avail;
	return base(q->avail, q->avail_wrap, q->used, q->used_wrap);
}

static int start_queue(struct fake *f, unsigned int i)
{
	struct fake_queue *q = &f->queue[i];
	struct vhost_inflight_region_packed *p = packed_region(f, i);
	struct vhost_inflight_region_split *s = split_region(f, i);
	unsigned int n;

	if (!f->handed)
		fresh_region(f, i);
	q->used = packed(f) ? p->used_idx : s->used_idx;
	q->used_wrap = packed(f) && p->used_wrap_counter;
	q->avail = q->used;
	q->avail_wrap = q->used_wrap;
	n = recover(f, i);
	if (fake_defect("forgets") && f->handed && n) {
		memset(q->req, 0, sizeof(q->req));
		q->out = 0;
	}
	if (packed(f))
		go(&q->avail, &q->avail_wrap, n, q->num);
	else
		q->avail += n;
	if (!q->based)
		return 0;
	if (q->base != fake_get_base(f, i) &&
	    q->base != (packed(f) ? base(q->used, q->used_wrap, q->used, q->used_wrap) : q->used))
		return -EINVAL;
	return 0;
}

int fake_start(struct fake *f)
{
	uint64_t size = fake_stride(f) * f->queues, one = 1;
	int ret = 0;

	if (f->region_fd < 0)
		f->region_fd = memfd_create("fake", MFD_CLOEXEC);
	if (f->region_fd < 0 || ftruncate(f->region_fd, size))
		return -errno;
	f->region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->region_fd, 0);
	for (unsigned int i = 0; i < f->queues && !ret; i++) {
		if (f->queue[i].addr.desc_user_addr)
			ret = start_queue(f, i);
		if (f->handed && f->queue[i].call >= 0 &&
		    write(f->queue[i].call, &one, sizeof(one)) != sizeof(one))
			abort();
	}
	return ret;
}
