/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What stop.c, park.c and sick.c share: the ioctls about STOP, parked requests and events, and a guest whose requests can be hung, be
 * failed and be counted.
 */
#ifndef VBLK_STOP_H
#define VBLK_STOP_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "vblk_inflight.h"
#include "vblk_record.h"

#define VD_F_SUSPEND	VD_BIT(43)
#define VD_S_STOP	VHOST_INFLIGHT_S_STOP
#define VD_S_SUSPEND	0x10
#define VD_S_RUNS	(VD_S_ACK | VD_S_DRIVER | VD_S_FEATURES_OK | VD_S_DRIVER_OK)

#define VD_FLUSH	VHOST_INFLIGHT_STOP_FLUSH
#define VD_PRESERVE	VHOST_INFLIGHT_STOP_PRESERVE

/* ---- the ioctls ---- */

static inline int vd_set_stop(struct vd *d, __u32 mode, __u32 ms)
{
	return vd_ioctl(d, VHOST_INFLIGHT_SET_STOP, &(struct vhost_inflight_stop){
		.size = sizeof(struct vhost_inflight_stop), .mode = mode, .deadline_ms = ms,
	});
}

/* Begins one. */
static inline int vd_stop(struct vd *d, __u32 mode, __u32 ms)
{
	vd_drain_fd(d->config_fd);
	return vd_set_stop(d, mode, ms) ?: vd_set_status(d, VD_S_RUNS | VD_S_STOP);
}

/* Whether or not it stands still; everything used must have been reaped. */
static inline int vd_go_on(struct vd *d)
{
	return vd_renew(d) ?: vd_set_status(d, VD_S_RUNS);
}

static inline int vd_get_stop(struct vd *d, unsigned int index, struct vhost_inflight_stop_info *info)
{
	*info = (struct vhost_inflight_stop_info){ .size = sizeof(*info), .index = index };
	return vd_ioctl(d, VHOST_INFLIGHT_GET_STOP, info);
}

/* Until it stands so. */
static inline int vd_until_state(struct vd *d, __u32 state)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	struct vhost_inflight_info info;
	int ret;

	do {
		ret = vd_info(d, &info);
		if (ret || info.state == state)
			return ret;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

static inline int vd_until_status(struct vd *d, int status)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	do {
		if (vd_status(d) == status)
			return 0;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

/* The owner is told that a stop ended, and how. */
static inline int vd_stopped(struct vd *d)
{
	if (vd_poll_fd(d->config_fd, VD_WAIT_MS) != 1)
		return -ETIMEDOUT;
	return vd_status(d) == (VD_S_RUNS | VD_S_STOP) ? vd_until_state(d, VHOST_INFLIGHT_STATE_STOPPED) : -EPROTO;
}

static inline int vd_stalled(struct vd *d)
{
	if (vd_poll_fd(d->config_fd, VD_WAIT_MS) != 1)
		return -ETIMEDOUT;
	return vd_status(d) == VD_S_RUNS ? vd_until_state(d, VHOST_INFLIGHT_STATE_STALLED) : -EPROTO;
}

/* How many there were, or -errno. */
static inline int vd_retry(struct vd *d)
{
	struct vhost_inflight_retry arg = { .size = sizeof(arg) };
	int ret = vd_ioctl(d, VHOST_INFLIGHT_RETRY, &arg);

	return ret ?: (int)arg.count;
}

static inline int vd_event(struct vd *d, struct vhost_inflight_event *e)
{
	memset(e, 0, sizeof(*e));
	e->size = sizeof(*e);
	return vd_ioctl(d, VHOST_INFLIGHT_GET_EVENT, e);
}

/* The next one of that type; others are passed over. */
static inline int vd_until_event(struct vd *d, __u32 type, struct vhost_inflight_event *e)
{
	struct pollfd p = { .fd = d->fd, .events = POLLIN };
	long end = vd_now_ms() + VD_WAIT_MS;
	int ret;

	do {
		ret = vd_event(d, e);
		if (!ret && e->type == type)
			return 0;
		if (ret == -EAGAIN && poll(&p, 1, end > vd_now_ms() ? end - vd_now_ms() : 0) == 1 && p.revents != POLLIN)
			return -EPROTO;
	} while ((!ret || ret == -EAGAIN) && vd_now_ms() < end);
	return ret ?: -ETIMEDOUT;
}

/* How many of that type there are; the file has seen all then. */
static inline int vd_count_events(struct vd *d, __u32 type)
{
	struct vhost_inflight_event e;
	int n = 0, ret;

	while (!(ret = vd_event(d, &e)))
		n += e.type == type;
	return ret == -EAGAIN ? n : ret;
}

/* Until the device has @n parked. */
static inline int vd_until_parked(struct vd *d, __u32 n)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	struct vhost_inflight_info info;
	int ret;

	do {
		ret = vd_info(d, &info);
		if (ret || info.parked == n)
			return ret;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -ETIMEDOUT;
}

/* ---- a guest ---- */

#define VD_GUEST_DISK	(16 << 20)
#define VD_GUEST_LATE	(VD_GUEST_DISK / 1024)	/* sector where the half begins that freezes and breaks */
#define VD_GUEST_STEP	(VD_THIN_BLOCK / 512)	/* from one head's place to the next one's */
#define VD_GUEST_IOVA	0x100000
#define VD_GUEST_MEM	(4 << 20)
#define VD_GUEST_NUM	64
#define VD_GUEST_QUEUES	2

/* A device, and the driver of its first queue. Each head has a sector of its own on either half of the disk. */
struct vd_guest {
	struct vd_rig r;
	struct vd look;			/* somebody else who has the node open */
	struct vd_inflight reg;
	bool recorded, indirect;
	struct vd_record rec;
	struct vd_record_req *req[VD_GUEST_NUM];
	__u64 data;			/* a sector for each head */
	__u32 seed;
	struct vd_guest_place {
		bool write;		/* what is under way */
		__u32 seed, written;	/* of that, and of what was written last */
	} place[2][VD_GUEST_NUM];
	bool late[VD_GUEST_NUM];	/* where that of a head is */
};

static inline __u64 vd_guest_sector(int head, bool late)
{
	return VD_RECORD_FROM / 512 + (late ? VD_GUEST_LATE : 0) + head * VD_GUEST_STEP;
}

static inline int vd_guest_make(struct vd_guest *g, enum vd_backing_kind kind, const struct vd_config *cfg, unsigned int num)
{
	struct vd_opts o = {
		.iova = VD_GUEST_IOVA, .mem_size = VD_GUEST_MEM, .num = num, .num_queues = VD_GUEST_QUEUES,
	};
	struct vd_config c = *cfg;
	int ret;

	c.num_queues = VD_GUEST_QUEUES;
	c.queue_size = VD_GUEST_NUM;
	ret = vd_rig_make(&g->r, kind, VD_GUEST_DISK, &c, &o) ?: vd_inflight_take(&g->r.d, &g->reg, cfg->packed);
	if (ret)
		return ret;
	g->look.fd = vd_node_open(g->r.name, O_RDONLY);
	g->data = vd_alloc(&g->r.d, VD_GUEST_NUM * 512, 4096);
	g->recorded = vd_backing_records(&g->r.b);
	if (g->recorded)
		ret = vd_record_open(&g->rec, VD_GUEST_DISK / 512);
	return ret ?: g->look.fd < 0 ? g->look.fd : 0;
}

/* Of the first queue; vd_kick() is the caller's. The head, or -errno. */
static inline int vd_send(struct vd_guest *g, bool late, __u32 type)
{
	struct vd_queue *q = g->r.d.q[0];
	__u16 head = q->nr_free ? q->free[q->nr_free - 1] : 0;
	struct vd_buf b = { .addr = g->data + head * 512, .len = 512, .write = type == VD_T_IN };
	struct vd_guest_place *p = &g->place[late][head];
	__u64 sector = vd_guest_sector(head, late);
	bool direct = !g->indirect && head & 1 && q->nr_free >= 3;

	if (!q->nr_free)
		return -ENOSPC;
	p->write = type == VD_T_OUT;
	p->seed = ++g->seed;
	g->late[head] = late;
	vd_fill(vd_ptr(q->d, b.addr), 512, p->write ? sector * 512 : 0, p->write ? p->seed : ~0);
	if (g->recorded)
		g->req[head] = vd_record_submit(&g->rec, &(struct vd_record_req){
			.sector = sector, .sectors = 1, .write = p->write, .seed = p->seed }, vd_now_ns());
	return vd_submit(q, type, sector, &b, 1, direct ? VD_DIRECT : VD_INDIRECT) == head ? head : -ENOSPC;
}

/* So many writes, made known to the device. */
static inline int vd_send_some(struct vd_guest *g, bool late, unsigned int n)
{
	int ret = 0;

	for (; n && ret >= 0; n--)
		ret = vd_send(g, late, VD_T_OUT);
	vd_kick(g->r.d.q[0]);
	return ret < 0 ? ret : 0;
}

/* One came back, as it should. */
static inline int vd_came(struct vd_guest *g, int head, int status)
{
	struct vd_queue *q = g->r.d.q[0];
	struct vd_guest_place *p = &g->place[g->late[head]][head];
	__u64 at = vd_guest_sector(head, g->late[head]) * 512;
	void *data = vd_ptr(q->d, g->data + head * 512);

	/* A request that failed need not have been at the disk. */
	if (g->recorded && status == VD_OK)
		vd_record_used(&g->rec, g->req[head], vd_now_ns());
	else if (g->recorded)
		vd_record_void(&g->rec, g->req[head], vd_now_ns());
	if (vd_slot_status(q, head) != status)
		return -EIO;
	if (status == VD_OK && p->write)
		p->written = p->seed;
	else if (status == VD_OK && p->written && vd_check(data, 512, at, p->written) >= 0)
		return -EILSEQ;
	/* What is done once more shows. */
	vd_fill(data, 512, 0, ~0);
	return 0;
}

/* So many come back, with that status. */
static inline int vd_come(struct vd_guest *g, unsigned int n, int status)
{
	struct vd_queue *q = g->r.d.q[0];
	int head, ret;

	while (n) {
		ret = vd_more(q, VD_WAIT_MS);
		for (; !ret && n && (head = vd_reap(q)) >= 0; n--)
			ret = vd_came(g, head, status);
		if (ret)
			return ret;
	}
	return q->bad_used || q->bad_order ? -EBADMSG : 0;
}

static inline int vd_finish(struct vd_guest *g, unsigned int n)
{
	return vd_come(g, n, VD_OK);
}

/* All in order, and nothing else happens. */
static inline bool vd_quiet(struct vd_guest *g)
{
	struct vd_queue *q = g->r.d.q[0];
	unsigned long bios = 0;

	if (g->recorded) {
		vd_record_read(&g->rec);
		bios = g->rec.bios;
	}
	poll(NULL, 0, VD_QUIET_MS);
	if (g->recorded)
		vd_record_read(&g->rec);
	if (g->recorded && g->rec.wrong)
		printf("# %s (%ld)\n", g->rec.wrong, g->rec.where);
	return (!g->recorded || (!g->rec.wrong && g->rec.bios == bios && !g->rec.out)) && vd_reap(q) == -EAGAIN &&
	       !q->bad_used;
}

/* What was written is on the disk; which is read for that behind the device's back, so nothing may be under way. */
static inline int vd_compare(struct vd_guest *g)
{
	__u8 sector[512];
	int i, ret = 0;

	if (g->recorded && !vd_record_read(&g->rec))
		return -EBADMSG;
	for (i = 0; i < 2 * VD_GUEST_NUM && !ret; i++) {
		__u64 at = vd_guest_sector(i / 2, i & 1) * 512;
		__u32 seed = g->place[i & 1][i / 2].written;

		if (!seed)
			continue;
		ret = vd_backing_read(&g->r.b, at, sector, 512);
		if (!ret && vd_check(sector, 512, at, seed) >= 0)
			ret = -EILSEQ;
	}
	if (g->recorded)
		vd_record_drop(&g->rec);
	return ret;
}

/* So many writes are in flight, on a half that is frozen. */
static inline int vd_hang(struct vd_guest *g, unsigned int n)
{
	return vd_backing_freeze(&g->r.b) ?: vd_send_some(g, true, n) ?: vd_inflight_wait(&g->reg, 0, n);
}

static inline int vd_at_disk(struct vd_guest *g, int submitted, int refused)
{
	struct vhost_inflight_request r[VD_GUEST_NUM];

	return vd_until_at_disk(&g->r.d, r, VD_GUEST_NUM, submitted, refused);
}

/* On a disk that is frozen and does not block: it has the first, and refused the others. */
static inline int vd_hang_one(struct vd_guest *g, unsigned int n)
{
	return vd_hang(g, n) ?: vd_at_disk(g, 1, n - 1);
}

/* What is in flight by the region is done again by whoever is next, before all others and in order. */
static inline int vd_next_life(struct vd_guest *g)
{
	__u16 heads[VD_GUEST_NUM];
	int n;

	if (!g->recorded)
		return 0;
	vd_record_read(&g->rec);
	n = vd_inflight_heads(&g->reg, 0, heads);
	while (n--)
		vd_record_in_flight(&g->rec, g->req[heads[n]], vd_inflight_counter(&g->reg, 0, heads[n]));
	return vd_record_mark(&g->rec);
}

/* A new driver, which knows nothing of all that; the device was reset. @base: NULL for none. */
static inline int vd_new_driver(struct vd_guest *g, bool base)
{
	struct vd *d = &g->r.d;
	unsigned int i;
	int ret;

	for (i = 0; g->recorded && i < VD_GUEST_NUM; i++)
		if (d->q[0]->busy[i])
			vd_record_void(&g->rec, g->req[i], vd_now_ns());
	if (g->recorded) {
		vd_record_read(&g->rec);
		ret = vd_record_mark(&g->rec);
		if (ret)
			return ret;
	}
	if (base)
		return vd_restart(d);
	vd_msg(d, VHOST_IOTLB_INVALIDATE, d->mem[0].iova, d->mem[0].size, NULL, 0);
	ret = vd_negotiate(d) ?: vd_map_all(d);
	for (i = 0; i < d->nq; i++) {
		vd_queue_fresh(d->q[i]);
		vd_drain_fd(d->q[i]->call);
		ret = ret ?: vd_setup_queue(d, d->q[i], NULL);
	}
	return ret ?: vd_driver_ok(d);
}

/* The same driver, after a reset that it knows nothing of: QEMU's cont. */
static inline int vd_cont(struct vd_guest *g, const __u32 *base)
{
	struct vd *d = &g->r.d;
	unsigned int i;
	int ret;

	vd_msg(d, VHOST_IOTLB_INVALIDATE, d->mem[0].iova, d->mem[0].size, NULL, 0);
	ret = vd_negotiate(d);
	for (i = 0; i < d->nq; i++)
		ret = ret ?: vd_setup_queue(d, d->q[i], &base[i]);
	return ret ?: vd_map_all(d) ?: vd_next_life(g) ?: vd_driver_ok(d);
}

/* Of all queues. */
static inline int vd_get_bases(struct vd *d, __u32 *base)
{
	unsigned int i;

	for (i = 0; i < d->nq; i++) {
		__s64 ret = vd_get_base(d, i);

		if (ret < 0)
			return ret;
		base[i] = ret;
	}
	return 0;
}

/* It is where the driver is, with all that was made available taken and all that is used reaped. */
static inline bool vd_exact(struct vd_guest *g)
{
	struct vd_queue *q = g->r.d.q[0];

	return vd_get_base(&g->r.d, 0) == (__s64)q->ops->base(q);
}

/* The owner ends, and another one goes on: with the region, or without it where the driver is. */
static inline int vd_succeed(struct vd_guest *g, bool region)
{
	struct vd *d = &g->r.d;
	unsigned int i;
	__u32 base;
	int ret;

	if (d->fd >= 0)
		close(d->fd);
	d->fd = vd_node_open(g->r.name, O_RDWR);
	ret = d->fd < 0 ? d->fd : vd_patiently(vd_negotiate(d));
	if (region)
		ret = ret ?: vd_patiently(vd_inflight_set(d, &g->reg.arg));
	ret = ret ?: vd_map_all(d);
	for (i = 0; i < d->nq; i++) {
		base = d->q[i]->ops->base(d->q[i]);
		ret = ret ?: vd_setup_queue(d, d->q[i], region ? NULL : &base);
	}
	return ret ?: vd_patiently(vd_driver_ok(d));
}

/*
 * The source stands still until the destination, a device of that name, runs, and knows nothing of it afterwards. @base: of the
 * first queue; NULL for none of any. @ordered: what it has to do arrives at the disk in order; it need not where many threads
 * send it.
 */
static inline int vd_move(struct vd_guest *g, const char *name, const __u32 *base, bool ordered)
{
	struct vd *d = &g->r.d;
	int source = d->fd, ret;
	unsigned int i;
	__u32 at;

	d->fd = vd_node_open(name, O_RDWR);
	ret = d->fd < 0 ? d->fd : vd_patiently(vd_negotiate(d));
	ret = ret ?: vd_patiently(vd_inflight_set(d, &g->reg.arg)) ?: vd_map_all(d);
	for (i = 0; i < d->nq; i++) {
		at = i || !base ? d->q[i]->ops->base(d->q[i]) : *base;
		ret = ret ?: vd_setup_queue(d, d->q[i], base ? &at : NULL);
	}
	if (g->recorded && !ordered) {
		vd_record_read(&g->rec);
		ret = ret ?: vd_record_mark(&g->rec);
	} else {
		ret = ret ?: vd_next_life(g);
	}
	ret = ret ?: vd_patiently(vd_driver_ok(d));
	close(source);
	return ret;
}

#endif /* VBLK_STOP_H */
