// SPDX-License-Identifier: GPL-2.0
/*
 * The owner's loop around the engine, as virtq.h describes it. What happens next is chosen: whether
 * to fetch on, which buffers are done, in which order and how many at once, whether the driver is
 * considered after each batch or later.
 */
#include <linux/minmax.h>
#include <linux/string.h>

#include "driver.h"
#include "ref.h"

#include "../../../drivers/vhost_blk/virtq_mem.h"

enum { BEGIN, FETCH, FETCHED, ENABLE, IDLE, PUBLISH, PUBLISHED, CALL };

static struct virtq vq;
static struct virtq_order order;

static struct device {
	u8 next, then;			/* what to do */
	bool visible;			/* the driver is to be considered */
	u8 nr;
	struct { u8 buf, id, ndesc; } taken[MAX_NUM];
} d;

static struct virtq_seg segs[MAX_NUM];

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	ex_broken("there are no tables here");
}

/* Returns what virtq_fetch() did. */
static int fetch(void)
{
	struct virtq_chain chain = { 0 };
	int ret = virtq_fetch(&vq, &chain);
	unsigned int n;

	ex_assert(ret >= 0, "virtq_fetch() says that the ring is broken: %d", ret);
	if (!ret)
		return 0;
	n = ref_fetched(&chain);
	d.taken[d.nr].buf = n;
	d.taken[d.nr].id = chain.id;
	d.taken[d.nr].ndesc = chain.ndesc;
	d.nr++;
	return 1;
}

/* Some of what was taken is done, and its data where the driver wants it. */
static void publish(void)
{
	struct virtq_done done[MAX_NUM];
	unsigned int n = 0, i, max = d.nr;
	u8 bufs[MAX_NUM];

	do {
		i = ex_choose(d.nr + !!n);
		if (i == d.nr)
			break;
		bufs[n] = d.taken[i].buf;
		done[n] = (struct virtq_done){
			.id = d.taken[i].id, .ndesc = d.taken[i].ndesc, .len = buf_len(bufs[n]),
		};
		/* Where buffers are skipped it matters whether all of it was written. */
		if (!cf.whole &&
		    (cf.in_order || cf.partial_order ? ex_choose(2) : !(bufs[n] & 1)))
			done[n].len = 1 + bufs[n];
		memmove(&d.taken[i], &d.taken[i + 1], (d.nr - i - 1) * sizeof(d.taken[0]));
		d.nr--;
		memset(&d.taken[d.nr], 0, sizeof(d.taken[0]));
		n++;
	} while (n < max);
	ref_publish(bufs, done, n);
	for (i = 0; i < n; i++)
		mem_store(&ring->data[bufs[i]], sizeof(ring->data[0]), buf_data(bufs[i]), false);
	i = virtq_publish(&vq, done, n);
	ref_published(i);
	d.visible |= i;
}

static bool step(void)
{
	struct virtq_pos pos;
	bool call;

	switch (d.next) {
	case BEGIN:
		virtq_disable_kick(&vq);
		d.next = FETCH;
		break;
	case FETCH:
		d.next = fetch() ? FETCHED : ENABLE;
		break;
	case FETCHED:
		d.next = ex_choose(2) ? PUBLISH : FETCH;
		d.then = FETCH;
		break;
	case ENABLE:
		d.next = virtq_enable_kick(&vq) ? BEGIN : IDLE;
		break;
	case IDLE:
		if (ex_wait(!!d.nr) < 0) {
			d.next = BEGIN;
		} else {
			d.next = PUBLISH;
			d.then = IDLE;
		}
		break;
	case PUBLISH:
		publish();
		d.next = PUBLISHED;
		break;
	case PUBLISHED:
		if (d.nr && ex_choose(2))
			d.next = PUBLISH;
		else
			d.next = d.visible ? CALL : d.then;
		break;
	case CALL:
		call = virtq_need_call(&vq);
		ref_need_call(call);
		if (call)
			ex_signal();
		ref_called();
		d.visible = false;
		d.next = d.then;
		break;
	}
	virtq_get_pos(&vq, &pos);
	ref_pos(&pos);
	return true;
}

static bool is_zero(const void *p, const void *end)
{
	const u8 *b;

	for (b = p; b < (const u8 *)end; b++)
		if (*b)
			return false;
	return true;
}

void device_end(void)
{
	ex_assert(is_zero(vq.inflight + cf.num, vq.inflight + VIRTQ_MAX_NUM) &&
		  is_zero(order.buf + cf.num, order.buf + VIRTQ_MAX_NUM),
		  "the engine remembers something of an id that the ring does not have");
	ref_end();
}

struct ex_program device_program(void)
{
	const struct virtq_cfg cfg = {
		.layout = cf.layout, .num = cf.num, .event_idx = cf.event_idx,
		.in_order = cf.in_order, .partial_order = cf.partial_order,
		.desc = &ring->desc, .driver = &ring->driver, .device = &ring->device,
		.segs = segs, .max_segs = MAX_NUM, .order = &order,
	};
	const struct virtq_pos pos = {
		.avail = cf.start, .used = cf.start, .avail_wrap = cf.wrap, .used_wrap = cf.wrap,
	};

	memset(&d, 0, sizeof(d));
	memset(&order, 0, sizeof(order));
	if (virtq_init(&vq, &cfg, &pos))
		ex_broken("virtq_init() refuses");
	/* All but what belongs to ids beyond the ring size, see device_end(). */
	return (struct ex_program){ "device", step, {
		{ &d, sizeof(d) },
		{ &vq, offsetof(struct virtq, inflight[cf.num]) },
		{ vq.inflight + VIRTQ_MAX_NUM,
		  sizeof(vq) - offsetof(struct virtq, inflight[VIRTQ_MAX_NUM]) },
		{ &order, offsetof(struct virtq_order, buf[cf.num]) },
		{ order.buf + VIRTQ_MAX_NUM,
		  sizeof(order) - offsetof(struct virtq_order, buf[VIRTQ_MAX_NUM]) },
	} };
}
