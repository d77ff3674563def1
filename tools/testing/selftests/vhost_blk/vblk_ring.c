// SPDX-License-Identifier: GPL-2.0
/* Driver side of a virtqueue, either layout: buffers in, in order or not out again, notifications both ways. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>

#include "vblk_ring_ops.h"

void vd_queue_move(struct vd_queue *q, __u64 desc, __u64 avail, __u64 used)
{
	q->desc_iova = desc;
	q->avail_iova = avail;
	q->used_iova = used;
	q->desc = vd_ptr(q->d, desc);
	q->avail = vd_ptr(q->d, avail);
	q->used = vd_ptr(q->d, used);
	q->ring = (void *)q->desc;
	q->driver = (void *)q->avail;
	q->device = (void *)q->used;
}

/* The first entry after a start is for one buffer, whatever was before: unless it is one that was not read yet. */
void vd_queue_features(struct vd_queue *q)
{
	struct vd_entry e;

	q->event_idx = q->d->features & VD_F_EVENT_IDX;
	q->in_order = q->d->features & VD_F_IN_ORDER;
	q->partial = q->d->features & VD_F_PARTIAL_ORDER;
	q->flushed = q->flushed && (q->handing || q->ops->used(q, &e));
	memset(&q->stat, 0, sizeof(q->stat));
}

void vd_queue_start_at(struct vd_queue *q, __u16 at)
{
	unsigned int i;

	q->ops->fresh(q, at);
	memset(q->busy, 0, sizeof(q->busy));
	q->nr_free = q->num;
	for (i = 0; i < q->num; i++)
		q->free[i] = q->num - 1 - i;
	q->oldest = VD_NONE;
	q->newest = VD_NONE;
	q->handing = false;
	if (q->polled)
		q->ops->call_off(q);
}

void vd_queue_fresh(struct vd_queue *q)
{
	vd_queue_start_at(q, q->ops == &vd_packed_ops ? 0x8000 : 0);
}

struct vd_queue *vd_queue_new(struct vd *d, unsigned int index, unsigned int num)
{
	struct vd_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->d = d;
	q->ops = d->features & VD_F_PACKED ? &vd_packed_ops : &vd_split_ops;
	q->index = index;
	q->num = num;
	q->polled = d->opts.polled;
	q->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->err = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	q->ops->place(q);
	q->slots = vd_alloc(d, (__u64)num * VD_SLOT, 4096);
	if (!q->desc || !q->avail || !q->used || q->slots == VD_NOADDR) {
		vd_queue_free(q);
		return NULL;
	}
	vd_queue_features(q);
	vd_queue_fresh(q);
	return q;
}

void vd_queue_free(struct vd_queue *q)
{
	if (!q)
		return;
	close(q->kick);
	close(q->call);
	close(q->err);
	free(q);
}

void vd_book(struct vd_queue *q, __u16 head)
{
	q->busy[head] = true;
	q->chain[head] = 0;
	q->in_len[head] = 0;
	q->seq[head] = ++q->added;
	q->before[head] = q->newest;
	q->after[head] = VD_NONE;
	if (q->newest == VD_NONE)
		q->oldest = head;
	else
		q->after[q->newest] = head;
	q->newest = head;
}

int vd_add(struct vd_queue *q, const struct vd_buf *b, unsigned int n, enum vd_chain how)
{
	unsigned int need, in_table, i;
	__u16 head, at;

	if (how == VD_MIXED && q->ops == &vd_packed_ops)
		how = VD_INDIRECT;	/* never both in one list; virtio 1.4, 2.8.7 */
	if (how == VD_MIXED && n < 2)
		how = VD_DIRECT;
	need = how == VD_DIRECT ? n : how == VD_MIXED ? 2 : 1;
	in_table = how == VD_DIRECT ? 0 : n - (need - 1);
	if (!n || need > q->nr_free)
		return -ENOSPC;
	head = q->free[--q->nr_free];
	at = head;
	for (i = 1; i < need; i++) {
		q->link[at] = q->free[--q->nr_free];
		at = q->link[at];
	}
	q->link[at] = 0;
	if (in_table > q->table_len[head]) {
		__u16 len = in_table < 16 ? 16 : in_table;

		q->table[head] = vd_alloc(q->d, len * sizeof(struct vd_desc), 16);
		if (q->table[head] == VD_NOADDR)
			return -ENOMEM;
		q->table_len[head] = len;
	}
	vd_book(q, head);
	q->chain[head] = need;
	for (i = 0; i < n; i++)
		q->in_len[head] += b[i].write ? b[i].len : 0;
	q->ops->add(q, head, b, n, how);
	return head;
}

void vd_kick_always(struct vd_queue *q)
{
	__u64 one = 1;

	q->kicked_idx = q->avail_idx;
	if (write(q->kick, &one, sizeof(one)) != sizeof(one))
		abort();
}

bool vd_kick(struct vd_queue *q)
{
	bool need = q->ops->need_kick(q);

	if (need)
		vd_kick_always(q);
	q->kicked_idx = q->avail_idx;
	return need;
}

/* A buffer is used: no longer in flight, its descriptors are free. */
static void give_back(struct vd_queue *q, __u16 head)
{
	unsigned int i;
	__u16 at = head;

	if (q->before[head] == VD_NONE)
		q->oldest = q->after[head];
	else
		q->after[q->before[head]] = q->after[head];
	if (q->after[head] == VD_NONE)
		q->newest = q->before[head];
	else
		q->before[q->after[head]] = q->before[head];
	q->busy[head] = false;
	for (i = 0; i < q->chain[head]; i++) {
		q->free[q->nr_free++] = at;
		at = q->link[at];
	}
}

/*
 * What an entry for @bufs buffers says about order must be true, and all of it be said: FLUSH exactly where all that was made
 * available up to its buffer is used with it, and nothing behind. See VIRTIO_F_PARTIAL_ORDER in linux/vhost_inflight.h.
 */
static void check_order(struct vd_queue *q, const struct vd_entry *e, unsigned int bufs)
{
	bool turn = q->batch || q->oldest == e->id;

	if (q->partial && e->flush != (turn && q->seq[e->id] > q->latest) &&
	    (e->flush || q->in_order || q->seq[e->id] > q->vague))
		q->bad_order++;
	if (q->in_order && (!turn || (q->partial && !e->flush)))
		q->bad_order++;
	if (q->seq[e->id] > q->latest)
		q->latest = q->seq[e->id];
	q->stat.entries++;
	q->stat.flushes += e->flush;
	q->stat.early += !turn;
	if (bufs > 1) {
		q->stat.batches++;
		q->stat.in_batches += bufs;
	}
	if (bufs > q->stat.longest)
		q->stat.longest = bufs;
}

/* The next entry, and which buffers it is for; false if there is none. */
static bool next_entry(struct vd_queue *q)
{
	struct vd_entry *e = &q->now;
	unsigned int bufs = 1, descs;
	__u16 head;

	if (!q->ops->used(q, e))
		return false;
	q->handing = true;
	q->batch = false;
	if (e->id >= q->num || !q->busy[e->id]) {
		e->id = VD_BAD_ID;
		q->ops->skip(q, 1, 1);
		return true;
	}
	q->batch = q->partial ? e->flush && q->flushed : q->in_order;
	q->flushed = e->flush;
	descs = q->chain[e->id];
	for (head = q->oldest; q->batch && head != e->id; head = q->after[head]) {
		bufs++;
		descs += q->chain[head];
	}
	check_order(q, e, bufs);
	if (!q->ops->skip(q, bufs, descs))
		q->bad_used++;
	return true;
}

void vd_vague(struct vd_queue *q)
{
	q->vague = q->added;
}

int vd_reap(struct vd_queue *q)
{
	__u16 head;

	if (!q->handing && !next_entry(q))
		return -EAGAIN;
	q->reaped++;
	if (q->now.id == VD_BAD_ID) {
		q->handing = false;
		q->bad_used++;
		return -EBADMSG;
	}
	head = q->batch ? q->oldest : q->now.id;
	if (head == q->now.id) {
		q->handing = false;
		q->used_len[head] = q->now.len;
	} else {
		q->used_len[head] = q->in_len[head];
	}
	give_back(q, head);
	return head;
}

__u64 vd_drain_fd(int fd)
{
	__u64 v;

	return read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

int vd_poll_fd(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, ms) <= 0)
		return 0;
	return vd_drain_fd(fd) ? 1 : 0;
}

int vd_spin(struct vd_queue *q, unsigned int n, int ms)
{
	bool polled = q->polled;
	int ret;

	q->polled = true;
	ret = vd_wait(q, n, ms);
	q->polled = polled;
	return ret;
}

int vd_more(struct vd_queue *q, int ms)
{
	long end = vd_now_ms() + ms;
	struct vd_entry e;

	while (!q->handing && !q->ops->used(q, &e)) {
		if (vd_now_ms() >= end)
			return -ETIMEDOUT;
		if (q->polled) {
			sched_yield();
			continue;
		}
		q->ops->call_on(q);
		if (q->ops->used(q, &e))
			break;
		/* What is there by then came without the call that was asked for. */
		if (!vd_poll_fd(q->call, end - vd_now_ms()))
			return -ETIMEDOUT;
	}
	return 0;
}

int vd_wait(struct vd_queue *q, unsigned int n, int ms)
{
	long end = vd_now_ms() + ms;
	unsigned long goal = q->reaped + n;
	int ret;

	for (;;) {
		while (vd_reap(q) != -EAGAIN)
			if (q->reaped == goal)
				return 0;
		ret = vd_more(q, end - vd_now_ms());
		if (ret)
			return ret;
	}
}

int vd_submit(struct vd_queue *q, __u32 type, __u64 sector, const struct vd_buf *data, unsigned int n,
	      enum vd_chain how)
{
	struct vd_buf b[VD_MAX_NUM];
	struct vd_hdr *hdr;
	__u64 slot;

	if (n + 2 > VD_MAX_NUM || !q->nr_free)
		return -ENOSPC;
	slot = q->slots + (__u64)q->free[q->nr_free - 1] * VD_SLOT;
	hdr = vd_ptr(q->d, slot);
	*hdr = (struct vd_hdr){ .type = type, .sector = sector };
	*(__u8 *)(hdr + 1) = VD_NO_STATUS;
	b[0] = (struct vd_buf){ slot, sizeof(*hdr), false };
	if (n)
		memcpy(&b[1], data, n * sizeof(*b));
	b[n + 1] = (struct vd_buf){ slot + sizeof(*hdr), 1, true };
	return vd_add(q, b, n + 2, how);
}

int vd_slot_status(struct vd_queue *q, int head)
{
	return *(volatile __u8 *)vd_ptr(q->d, q->slots + (__u64)head * VD_SLOT + sizeof(struct vd_hdr));
}

int vd_do(struct vd_queue *q, __u32 type, __u64 sector, const struct vd_buf *data, unsigned int n, enum vd_chain how)
{
	int head = vd_submit(q, type, sector, data, n, how);
	int ret;

	if (head < 0)
		return head;
	vd_kick(q);
	ret = vd_wait(q, 1, VD_WAIT_MS);
	return ret ? ret : vd_slot_status(q, head);
}

int vd_rw(struct vd_queue *q, __u32 type, __u64 sector, __u64 iova, __u32 len)
{
	struct vd_buf b = { iova, len, type == VD_T_IN };

	return vd_do(q, type, sector, &b, 1, VD_DIRECT);
}

/* Every 8 bytes say their own offset, mixed with the seed: a byte out of place shows. */
static __u64 pattern(__u64 pos, __u32 seed)
{
	__u64 w = (pos / 8 + 1) * 0x9e3779b97f4a7c15ULL ^ (__u64)seed * 0xff51afd7ed558ccdULL;

	return w ^ w >> 29;
}

void vd_fill(void *buf, size_t len, __u64 off, __u32 seed)
{
	size_t i, n;
	__u64 w;

	for (i = 0; i < len; i += n) {
		n = 8 - (off + i) % 8;
		n = n < len - i ? n : len - i;
		w = pattern(off + i, seed) >> (off + i) % 8 * 8;
		memcpy(buf + i, &w, n);
	}
}

long vd_check(const void *buf, size_t len, __u64 off, __u32 seed)
{
	size_t i, n;
	__u64 w;

	for (i = 0; i < len; i += n) {
		n = 8 - (off + i) % 8;
		n = n < len - i ? n : len - i;
		w = pattern(off + i, seed) >> (off + i) % 8 * 8;
		if (!memcmp(buf + i, &w, n))
			continue;
		while (*(__u8 *)(buf + i) == (__u8)w) {
			w >>= 8;
			i++;
		}
		return i;
	}
	return -1;
}
