// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's side: the kernel's virtio_ring.c, called as a driver, a transport and an interrupt
 * would, in random order.
 */
#include <linux/kernel.h>
#include <linux/list.h>
#include <linux/virtio_config.h>
#include <linux/virtio.h>

#include "virtqueue.h"
#include "pair.h"

/* The allocator of tools/virtio wants these; all it allocates is malloc()'s. */
void *__kmalloc_fake, *__kfree_ignore_start, *__kfree_ignore_end;

/* Buffers that were added and not considered for a kick: the driver counts them in 16 bits. */
#define MOST_UNKICKED	1000

enum where { RUN, NOTIFY, ENABLE, POLL, ASLEEP };

static const char *const where_names[] = { "runs", "notifies", "enables", "polls", "sleeps" };

struct driver {
	struct pair *p;
	struct virtio_device vdev;
	struct virtqueue *vq;
	void *pages;			/* of a split ring */
	u64 rng;

	enum where at, then;		/* then: behind NOTIFY */
	u64 burst;			/* buffers to add until all have to come back */
	struct buf *next;		/* the one to add next, filled */
	struct buf **idle;		/* stack of tokens */
	unsigned int nr_idle;
	unsigned int unkicked;
	unsigned int opaque;		/* of virtqueue_enable_cb_prepare() */
	bool full, dry, adding;

	struct scatterlist *sg;
	struct scatterlist **sgs;
};

static bool notify(struct virtqueue *vq)
{
	struct driver *d = vq->priv;

	if (d->adding)
		d->p->d.forced++;
	else
		d->p->d.kicks++;
	run_signal(d->p, DEVICE);
	return true;
}

static void callback(struct virtqueue *vq)
{
	struct driver *d = vq->priv;

	if (d->p->inline_irq)
		run_signal(d->p, DRIVER);
}

void driver_interrupt(struct driver *d)
{
	vring_interrupt(0, d->vq);
}

/* A random buffer for the token, its segments mostly few, short and at odd addresses. */
static void fill(struct driver *d, struct buf *b)
{
	struct pair *p = d->p;
	u32 most = p->max_segs, i;
	u64 r = rnd(&d->rng);

	if (r & 7)
		most = min(most, r & 8 ? 3U : 8U);
	b->nr_segs = 1 + below(r, most);
	r = rnd(&d->rng);
	b->nr_out = below(r, b->nr_segs + 1);
	b->in_len = 0;
	for (i = 0; i < b->nr_segs; i++) {
		unsigned char *cell = p->cells + ((b - p->bufs) * p->max_segs + i) * CELL;
		struct seg *s = &b->segs[i];

		r = rnd(&d->rng);
		s->addr = (unsigned long)cell + (r & 7);
		s->len = STAMP + (r >> 3 & 31);
		if (!(r >> 8 & 31))
			s->len = r >> 16 & 0xfffff;
		if (!(r >> 40 & 15))
			s->len = 0;
		if (i >= b->nr_out)
			b->in_len += s->len;
	}
}

/* Lists of scatterlists, cut anywhere; one that is cut between readable and writable, at least. */
static void make_lists(struct driver *d, struct buf *b, unsigned int *out, unsigned int *in)
{
	unsigned int n = 0, i;

	*out = 0;
	sg_init_table(d->sg, b->nr_segs);
	for (i = 0; i < b->nr_segs; i++) {
		bool first = !i || i == b->nr_out;

		if (first || !(rnd(&d->rng) & 3)) {
			if (i)
				sg_mark_end(&d->sg[i - 1]);
			d->sgs[n++] = &d->sg[i];
			*out += i < b->nr_out;
		}
		sg_set_buf(&d->sg[i], (void *)(unsigned long)b->segs[i].addr, b->segs[i].len);
	}
	*in = n - *out;
}

static void add(struct driver *d)
{
	struct pair *p = d->p;
	struct buf *b = d->next;
	unsigned int out, in, free = d->vq->num_free, i;
	int ret;

	if (!b) {
		b = d->idle[--d->nr_idle];
		if (b->state != BUF_IDLE)
			return pair_fail(p, "token %td is not idle", b - p->bufs);
		fill(d, b);
		d->next = b;
	}
	b->added = p->d.added;
	for (i = 0; i < b->nr_out; i++) {
		u64 v = stamp(b, i, false);

		if (b->segs[i].len >= STAMP)
			memcpy((void *)(unsigned long)b->segs[i].addr, &v, STAMP);
	}
	make_lists(d, b, &out, &in);
	b->state = BUF_ADDED;
	d->adding = true;
	ret = virtqueue_add_sgs(d->vq, d->sgs, out, in, b, GFP_ATOMIC);
	d->adding = false;
	if (ret == -ENOSPC) {
		b->state = BUF_IDLE;
		d->full = true;
		if (free >= b->nr_segs || p->d.added == p->d.got)
			pair_fail(p, "no space for %u segments with %u free", b->nr_segs, free);
		return;
	}
	if (ret)
		return pair_fail(p, "virtqueue_add_sgs: %d", ret);
	d->next = NULL;
	d->burst--;
	d->unkicked++;
	p->d.added++;
	p->d.slots += p->packed ? free - d->vq->num_free : 1;
}

/* Both sides stand still, so what the kick has to be follows from what the device asked for. */
static void check_kick(struct pair *p, bool kick)
{
	u64 at = p->v.armed_at;
	bool want = at >= p->d.considered && at < p->d.slots && (!p->packed || p->v.armed);

	/* So long ago that it looks like another lap. */
	if (p->event_idx && p->d.slots - at > (p->packed ? p->num : 0xffff))
		return;
	if (!p->event_idx || (p->packed && !p->v.touched))
		want = p->v.armed;
	if (kick != want)
		pair_fail(p, "%s: slots %llu to %llu are new, kicks are %s, for slot %llu",
			  kick ? "kicked for nothing" : "did not kick",
			  (unsigned long long)p->d.considered, (unsigned long long)p->d.slots,
			  p->v.armed ? "on" : "off", (unsigned long long)at);
}

static void kick(struct driver *d, enum where then)
{
	struct pair *p = d->p;
	u64 before = p->d.kicks;
	bool need;

	d->unkicked = 0;
	d->at = then;
	if (rnd(&d->rng) & 3) {
		need = virtqueue_kick_prepare(d->vq);
		if (need) {
			d->then = then;
			d->at = NOTIFY;
		}
	} else {
		virtqueue_kick(d->vq);
		need = p->d.kicks != before;
	}
	if (p->exact)
		check_kick(p, need);
	p->d.quiet += !need;
	p->d.considered = p->d.slots;
}

static void get(struct driver *d)
{
	struct pair *p = d->p;
	unsigned int len, i;
	struct buf *b;

	b = virtqueue_get_buf(d->vq, &len);
	if (!b) {
		d->dry = true;
		if (virtqueue_is_broken(d->vq))
			pair_fail(p, "the driver says that the device broke the ring");
		return;
	}
	if (b->state != BUF_USED)
		return pair_fail(p, "buffer %llu came back in state %d",
				 (unsigned long long)b->added, b->state);
	if (b->used != p->d.got)
		return pair_fail(p, "came back as number %llu, was published as number %llu",
				 (unsigned long long)p->d.got, (unsigned long long)b->used);
	if (b->used_len != len)
		return pair_fail(p, "used length %u, device said %u", len, b->used_len);
	for (i = b->nr_out; i < b->nr_segs; i++) {
		u64 v = stamp(b, i, true);

		if (b->segs[i].len >= STAMP &&
		    memcmp((void *)(unsigned long)b->segs[i].addr, &v, STAMP))
			return pair_fail(p, "what the device wrote to segment %u is not there", i);
	}
	b->state = BUF_IDLE;
	d->idle[d->nr_idle++] = b;
	d->full = false;
	p->d.got++;
}

static enum step start_burst(struct driver *d)
{
	struct pair *p = d->p;
	u64 r = rnd(&d->rng), left = p->count - p->d.added;

	if (!left || READ_ONCE(p->enough))
		return STEP_END;
	/* Mostly so few that a wake-up that is lost has no other to hide behind. */
	switch (r & 3) {
	case 0:
		d->burst = 1;
		break;
	case 1:
		d->burst = 1 + below(r, 4);
		break;
	case 2:
		d->burst = 1 + below(r, 2 * p->num);
		break;
	default:
		d->burst = 1 + below(r, r & 0xf0 ? p->num : 20 * p->num);
	}
	d->burst = min(d->burst, left);
	return STEP_ON;
}

static enum step run(struct driver *d)
{
	struct pair *p = d->p;
	bool out = p->d.added != p->d.got;
	u64 r;

	if (!p->inline_irq && run_take_signal(p, DRIVER))
		driver_interrupt(d);
	if (!d->burst && !out)
		return start_burst(d);

	r = rnd(&d->rng);
	if (d->unkicked >= MOST_UNKICKED || (d->unkicked && !(r & 7)))
		kick(d, RUN);
	else if (d->burst && !d->full && (!out || r & 0x30))
		add(d);
	else if (!d->dry && r & 0x300)
		get(d);
	else if (!(r & 0x7000))
		virtqueue_disable_cb(d->vq);
	else if (!(r & 0x70000))
		d->dry = false;
	else if (out && d->unkicked)
		kick(d, ENABLE);
	else if (out)
		d->at = ENABLE;
	return STEP_ON;
}

/* Callbacks are on; more: there is something that none will come for. */
static enum step enabled(struct driver *d, bool more, bool any)
{
	if (more) {
		d->dry = false;
		d->at = RUN;
		return STEP_ON;
	}
	d->at = ASLEEP;
	d->p->d.asleep = any;
	return STEP_SLEEP;
}

enum step driver_step(struct driver *d)
{
	struct pair *p = d->p;

	if (p->failed)
		return STEP_END;
	switch (d->at) {
	case RUN:
		return run(d);
	case NOTIFY:
		virtqueue_notify(d->vq);
		d->at = d->then;
		return STEP_ON;
	case ENABLE:
		/* It looks once more, so this is not forgetting anything. */
		if (run_take_signal(p, DRIVER) && !p->inline_irq)
			driver_interrupt(d);
		switch (rnd(&d->rng) & 3) {
		case 0:
			return enabled(d, !virtqueue_enable_cb_delayed(d->vq), false);
		case 1:
			d->opaque = virtqueue_enable_cb_prepare(d->vq);
			d->at = POLL;
			return STEP_ON;
		}
		return enabled(d, !virtqueue_enable_cb(d->vq), true);
	case POLL:
		return enabled(d, virtqueue_poll(d->vq, d->opaque), true);
	case ASLEEP:
		if (!run_take_signal(p, DRIVER))
			return STEP_SLEEP;
		p->d.asleep = false;
		if (!p->inline_irq)
			driver_interrupt(d);
		if (rnd(&d->rng) & 3)
			virtqueue_disable_cb(d->vq);
		d->dry = false;
		d->at = RUN;
	}
	return STEP_ON;
}

void driver_pos(struct driver *d, u16 *avail, u16 *used)
{
	*avail = vring_notification_data(d->vq) >> 16;
	*used = virtqueue_enable_cb_prepare(d->vq);
}

bool driver_is_idle(struct driver *d)
{
	return d->vq->num_free == d->p->num && d->nr_idle == d->p->nr_bufs &&
	       !virtqueue_detach_unused_buf(d->vq);
}

void driver_dump(struct driver *d)
{
	struct pair *p = d->p;
	u16 avail, used;

	driver_pos(d, &avail, &used);
	printf("# driver %s: added %llu, got %llu, burst %llu, unkicked %u, free %u, %s%s%s\n",
	       where_names[d->at], (unsigned long long)p->d.added, (unsigned long long)p->d.got,
	       (unsigned long long)d->burst, d->unkicked, d->vq->num_free,
	       d->full ? "full, " : "", d->dry ? "dry, " : "",
	       virtqueue_is_broken(d->vq) ? "broken" : "not broken");
	printf("#   avail %#x used %#x\n", avail, used);
}

static bool make_ring(struct driver *d)
{
	struct pair *p = d->p;
	const unsigned int align = 64;

	if (p->packed) {
		d->vq = vring_create_virtqueue(0, p->num, align, &d->vdev, true, false, false,
					       notify, callback, "driver");
		if (!d->vq)
			return false;
		p->desc = phys_to_virt(virtqueue_get_desc_addr(d->vq));
		p->driver_area = phys_to_virt(virtqueue_get_avail_addr(d->vq));
		p->device_area = phys_to_virt(virtqueue_get_used_addr(d->vq));
		/* __GFP_ZERO means nothing in tools/virtio. */
		memset(p->desc, 0, p->num * sizeof(struct vring_packed_desc));
		memset(p->driver_area, 0, sizeof(struct vring_packed_desc_event));
		memset(p->device_area, 0, sizeof(struct vring_packed_desc_event));
	} else {
		/* No byte more, for the sanitizers. */
		size_t size = vring_size(p->num, align);

		if (posix_memalign(&d->pages, align, size))
			return false;
		memset(d->pages, 0, size);
		d->vq = vring_new_virtqueue(0, p->num, align, &d->vdev, true, false, d->pages,
					    notify, callback, "driver");
		if (!d->vq)
			return false;
		p->desc = virtqueue_get_vring(d->vq)->desc;
		p->driver_area = virtqueue_get_vring(d->vq)->avail;
		p->device_area = virtqueue_get_vring(d->vq)->used;
	}
	d->vq->priv = d;
	return true;
}

struct driver *driver_new(struct pair *p)
{
	struct driver *d = calloc(1, sizeof(*d));
	u64 features;
	u32 i;

	if (!d)
		return NULL;
	d->p = p;
	d->rng = p->seed;
	features = 1ULL << VIRTIO_F_VERSION_1 | (u64)p->packed << VIRTIO_F_RING_PACKED |
		   (u64)p->event_idx << VIRTIO_RING_F_EVENT_IDX |
		   (u64)p->indirect << VIRTIO_RING_F_INDIRECT_DESC;
	d->vdev.features = features;
	INIT_LIST_HEAD(&d->vdev.vqs);
	spin_lock_init(&d->vdev.vqs_list_lock);
	vring_transport_features(&d->vdev);
	d->idle = calloc(p->nr_bufs, sizeof(*d->idle));
	d->sg = calloc(p->max_segs, sizeof(*d->sg));
	d->sgs = calloc(p->max_segs, sizeof(*d->sgs));
	if (d->vdev.features != features || !d->idle || !d->sg || !d->sgs || !make_ring(d)) {
		driver_free(d);
		return NULL;
	}
	for (i = 0; i < p->nr_bufs; i++)
		d->idle[d->nr_idle++] = &p->bufs[i];
	return d;
}

void driver_free(struct driver *d)
{
	if (!d)
		return;
	/* A run that failed leaves buffers behind, and their tables. */
	while (d->vq && virtqueue_detach_unused_buf(d->vq))
		;
	if (d->vq)
		vring_del_virtqueue(d->vq);
	free(d->pages);
	free(d->idle);
	free(d->sg);
	free(d->sgs);
	free(d);
}
