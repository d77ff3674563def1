// SPDX-License-Identifier: GPL-2.0
/* Driver side of a virtqueue: chains in, used entries out, notifications both ways. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>

#include "vblk_dev.h"

#define load_acquire(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)
#define full_barrier()		__atomic_thread_fence(__ATOMIC_SEQ_CST)

size_t vd_ring_bytes(unsigned int num, size_t *avail, size_t *used)
{
	size_t a = num * sizeof(struct vd_desc);
	size_t u = a + sizeof(struct vd_avail) + (num + 1) * sizeof(__u16);

	u = (u + 3) & ~3UL;
	if (avail)
		*avail = a;
	if (used)
		*used = u;
	return u + sizeof(struct vd_used) + num * sizeof(struct vd_used_elem) + sizeof(__u16);
}

/* Each part of the ring on pages of its own: tests move and unmap them one by one. */
static void split_place(struct vd_queue *q)
{
	size_t avail, used, bytes = vd_ring_bytes(q->num, &avail, &used);
	__u64 desc_iova = vd_alloc(q->d, avail, 4096);
	__u64 avail_iova = vd_alloc(q->d, used - avail, 4096);

	vd_queue_move(q, desc_iova, avail_iova, vd_alloc(q->d, bytes - used, 4096));
}

void vd_queue_move(struct vd_queue *q, __u64 desc, __u64 avail, __u64 used)
{
	q->desc_iova = desc;
	q->avail_iova = avail;
	q->used_iova = used;
	q->desc = vd_ptr(q->d, desc);
	q->avail = vd_ptr(q->d, avail);
	q->used = vd_ptr(q->d, used);
}

static void split_desc(struct vd_desc *desc, const struct vd_buf *b, bool next, __u16 to)
{
	desc->addr = b->addr;
	desc->len = b->len;
	desc->flags = (b->write ? VD_DESC_WRITE : 0) | (next ? VD_DESC_NEXT : 0);
	desc->next = next ? to : 0;
}

static void split_add(struct vd_queue *q, __u16 head, const struct vd_buf *b, unsigned int n, enum vd_chain how)
{
	unsigned int direct = how == VD_DIRECT ? n : how == VD_MIXED ? 1 : 0;
	struct vd_desc *table;
	__u16 at = head;
	unsigned int i;

	for (i = 0; i < direct; i++) {
		split_desc(&q->desc[at], &b[i], i + 1 < n, q->link[at]);
		at = q->link[at];
	}
	if (i == n)
		return;
	q->desc[at].addr = q->table[head];
	q->desc[at].len = (n - i) * sizeof(*table);
	q->desc[at].flags = VD_DESC_INDIRECT;
	q->desc[at].next = 0;
	table = vd_ptr(q->d, q->table[head]);
	for (at = 0; i < n; i++, at++)
		split_desc(&table[at], &b[i], i + 1 < n, at + 1);
}

static bool split_used(struct vd_queue *q, __u32 *id, __u32 *len)
{
	struct vd_used_elem *e;

	if (load_acquire(&q->used->idx) == q->last_used)
		return false;
	e = &q->used->ring[q->last_used % q->num];
	*id = e->id;
	*len = e->len;
	q->last_used++;
	return true;
}

static bool split_need_kick(struct vd_queue *q)
{
	__u16 event;

	full_barrier();
	if (!q->event_idx)
		return !(load_acquire(&q->used->flags) & VD_USED_NO_NOTIFY);
	event = load_acquire(vd_avail_event(q));
	return (__u16)(q->avail_idx - event - 1) < (__u16)(q->avail_idx - q->kicked_idx);
}

/* Ask for a call once @after more entries (at least one) were used. */
static void split_call_on(struct vd_queue *q, unsigned int after)
{
	if (q->event_idx)
		store_release(vd_used_event(q), (__u16)(q->last_used + (after ? after - 1 : 0)));
	else
		store_release(&q->avail->flags, 0);
	full_barrier();
}

/* As far away as can be: the device may not have looked yet for what was used last. */
static void split_call_off(struct vd_queue *q)
{
	if (q->event_idx)
		store_release(vd_used_event(q), (__u16)(q->last_used + 0x8000));
	else
		store_release(&q->avail->flags, VD_AVAIL_NO_INTERRUPT);
	full_barrier();
}

const struct vd_ring_ops vd_split_ops = {
	.place = split_place,
	.add = split_add,
	.used = split_used,
	.need_kick = split_need_kick,
	.call_on = split_call_on,
	.call_off = split_call_off,
};

void vd_queue_fresh(struct vd_queue *q)
{
	size_t avail, used, bytes = vd_ring_bytes(q->num, &avail, &used);
	unsigned int i;

	memset(q->desc, 0, avail);
	memset(q->avail, 0, used - avail);
	memset(q->used, 0, bytes - used);
	memset(q->busy, 0, sizeof(q->busy));
	q->avail_idx = 0;
	q->kicked_idx = 0;
	q->last_used = 0;
	q->nr_free = q->num;
	for (i = 0; i < q->num; i++)
		q->free[i] = q->num - 1 - i;
	if (q->polled)
		q->ops->call_off(q);
}

void vd_queue_start_at(struct vd_queue *q, __u16 idx)
{
	vd_queue_fresh(q);
	q->avail_idx = idx;
	q->kicked_idx = idx;
	q->last_used = idx;
	q->avail->idx = idx;
	q->used->idx = idx;
	if (q->polled)
		q->ops->call_off(q);
}

struct vd_queue *vd_queue_new(struct vd *d, unsigned int index, unsigned int num)
{
	struct vd_queue *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->d = d;
	q->ops = &vd_split_ops;
	q->index = index;
	q->num = num;
	q->event_idx = d->features & VD_F_EVENT_IDX;
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

void vd_push_head(struct vd_queue *q, __u16 head)
{
	q->avail->ring[q->avail_idx % q->num] = head;
	q->avail_idx++;
	store_release(&q->avail->idx, q->avail_idx);
}

int vd_add(struct vd_queue *q, const struct vd_buf *b, unsigned int n, enum vd_chain how)
{
	unsigned int need, in_table, i;
	__u16 head, at;

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
	q->chain[head] = need;
	q->busy[head] = true;
	q->ops->add(q, head, b, n, how);
	vd_push_head(q, head);
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

int vd_reap(struct vd_queue *q)
{
	__u32 id, len;
	unsigned int i;
	__u16 at;

	if (!q->ops->used(q, &id, &len))
		return -EAGAIN;
	q->reaped++;
	if (id >= q->num || !q->busy[id]) {
		q->bad_used++;
		return -EBADMSG;
	}
	q->busy[id] = false;
	q->used_len[id] = len;
	at = id;
	for (i = 0; i < q->chain[id]; i++) {
		q->free[q->nr_free++] = at;
		at = q->link[at];
	}
	return id;
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

int vd_wait(struct vd_queue *q, unsigned int n, int ms)
{
	long end = vd_now_ms() + ms;
	unsigned long goal = q->reaped + n;

	for (;;) {
		while (vd_reap(q) != -EAGAIN)
			if (q->reaped == goal)
				return 0;
		if (vd_now_ms() >= end)
			return -ETIMEDOUT;
		if (q->polled) {
			sched_yield();
			continue;
		}
		q->ops->call_on(q, 1);
		if (load_acquire(&q->used->idx) != q->last_used)
			continue;
		vd_poll_fd(q->call, end - vd_now_ms());
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
static __u8 pattern(__u64 pos, __u32 seed)
{
	__u64 w = (pos / 8 + 1) * 0x9e3779b97f4a7c15ULL ^ (__u64)seed * 0xff51afd7ed558ccdULL;

	w ^= w >> 29;
	return w >> (pos % 8 * 8);
}

void vd_fill(void *buf, size_t len, __u64 off, __u32 seed)
{
	__u8 *p = buf;
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = pattern(off + i, seed);
}

long vd_check(const void *buf, size_t len, __u64 off, __u32 seed)
{
	const __u8 *p = buf;
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != pattern(off + i, seed))
			return i;
	return -1;
}
