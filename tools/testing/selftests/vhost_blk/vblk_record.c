// SPDX-License-Identifier: GPL-2.0
/* The log of a recording disk, and what is wrong with it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk_record.h"

#define EVENTS	4096		/* read at once */

static void oops(struct vd_record *r, const char *what, long where)
{
	if (r->wrong)
		return;
	r->wrong = what;
	r->where = where;
}

int vd_record_init(struct vd_record *r, __u64 sectors)
{
	memset(r, 0, sizeof(*r));
	r->fd = -1;
	r->life = 1;
	r->sectors = sectors;
	r->at = calloc(sectors, sizeof(*r->at));
	return r->at ? 0 : -ENOMEM;
}

int vd_record_open(struct vd_record *r, __u64 sectors)
{
	int ret = vd_record_init(r, sectors);

	if (ret)
		return ret;
	r->fd = open("/dev/vblk-record", O_RDWR | O_CLOEXEC);
	if (r->fd < 0)
		return -errno;
	vd_record_drop(r);
	return 0;
}

struct vd_record_req *vd_record_submit(struct vd_record *r, const struct vd_record_req *like, __u64 ns)
{
	struct vd_record_req *req = calloc(1, sizeof(*req)), *before;
	__u32 i;

	if (!req || like->sectors > VD_RECORD_SECTORS || like->sector + like->sectors > r->sectors)
		abort();
	*req = (struct vd_record_req){
		.queue = like->queue, .sector = like->sector, .sectors = like->sectors, .write = like->write,
		.seed = like->seed, .submitted = ns,
	};
	before = r->at[like->sector];
	/* A mistake of the test's. */
	if (before && (!before->used || before->sector != like->sector || before->sectors != like->sectors))
		abort();
	req->before = before;
	for (i = 0; i < like->sectors; i++)
		r->at[like->sector + i] = req;
	return req;
}

void vd_record_used(struct vd_record *r, struct vd_record_req *req, __u64 ns)
{
	if (req->used) {
		oops(r, "used twice", req->sector);
		return;
	}
	req->used = ns;
	req->to_judge = r->used;
	r->used = req;
}

void vd_record_void(struct vd_record *r, struct vd_record_req *req, __u64 ns)
{
	if (req->again == r->life + 1)
		r->next_again[req->queue]--;
	else if (req->again == r->life && req->arrived != r->life)
		r->again[req->queue]--;
	req->again = 0;
	req->used = ns;
}

void vd_record_in_flight(struct vd_record *r, struct vd_record_req *req, __u64 counter)
{
	if (req->again != r->life + 1)
		r->next_again[req->queue]++;
	req->again = r->life + 1;
	req->counter = counter;
}

int vd_record_mark(struct vd_record *r)
{
	__u64 tag = 1;

	return write(r->fd, &tag, sizeof(tag)) == sizeof(tag) ? 0 : -errno;
}

/* Whose it is: what was under way at that place at that time, or is no more. */
static struct vd_record_req *whose(struct vd_record *r, const struct vblk_record *e)
{
	struct vd_record_req *req = e->sector < r->sectors ? r->at[e->sector] : NULL;

	while (req && req->submitted > e->ns)
		req = req->before;
	return req;
}

/* The first time in this life: those that were in flight before all others, and in their order. */
static void comes_again(struct vd_record *r, struct vd_record_req *req)
{
	unsigned int q = req->queue;

	if (req->again != r->life) {
		if (r->again[q])
			oops(r, "a new request before what was in flight", req->sector);
		return;
	}
	if (req->counter < r->counter[q])
		oops(r, "done again in another order than that of the counters", req->sector);
	r->counter[q] = req->counter;
	r->again[q]--;
	r->repeated++;
}

static void arrives(struct vd_record *r, const struct vblk_record *e)
{
	struct vd_record_req *req = whose(r, e);
	__u64 tag;

	if (!req) {
		if (e->op != VBLK_RECORD_READ)
			oops(r, "nobody asked for it", e->sector);
		return;
	}
	/* udev looks at a disk whose table was replaced, by pages. */
	if (e->op == VBLK_RECORD_READ && e->len > req->sectors * 512)
		return;
	r->bios++;
	r->out++;
	if (!r->first)
		r->first = e->of;
	if (e->of - r->first >= r->room) {
		__u64 room = (e->of - r->first) * 2 + EVENTS;

		r->bio = realloc(r->bio, room * sizeof(*r->bio));
		if (!r->bio)
			abort();
		memset(r->bio + r->room, 0, (room - r->room) * sizeof(*r->bio));
		r->room = room;
	}
	r->bio[e->of - r->first] = (struct vd_record_bio){ req, r->life };
	if (req->used && req->used < e->ns)
		oops(r, "executed after its used entry", e->sector);
	if (e->op != (req->write ? VBLK_RECORD_WRITE : VBLK_RECORD_READ))
		oops(r, "not what was asked for", e->sector);
	if (!e->len || e->len % 512 || e->sector + e->len / 512 > req->sector + req->sectors)
		oops(r, "not the sectors that were asked for", e->sector);
	vd_fill(&tag, sizeof(tag), e->sector * 512, req->seed);
	if (req->write && tag != e->tag)
		oops(r, "not the data that were to be written", e->sector);
	if (req->arrived != r->life)
		comes_again(r, req);
	req->arrived = r->life;
}

static void ends(struct vd_record *r, const struct vblk_record *e)
{
	struct vd_record_bio *b = e->of - r->first < r->room ? &r->bio[e->of - r->first] : NULL;
	struct vd_record_req *req;
	__u32 i, at;

	/* Somebody else's, or it arrived before we looked. */
	if (!b || !b->req)
		return;
	r->out--;
	req = b->req;
	if (req->used && req->used < e->ns)
		oops(r, "still at the disk after its used entry", e->sector);
	if (e->error) {
		r->refused++;
		return;
	}
	r->ended++;
	for (i = 0; i < e->len / 512; i++) {
		at = e->sector - req->sector + i;
		if (at >= req->sectors)
			break;
		if (req->done[at] == b->life)
			oops(r, "executed twice by one device", e->sector);
		req->done[at] = b->life;
	}
}

static void begins(struct vd_record *r)
{
	r->life++;
	memcpy(r->again, r->next_again, sizeof(r->again));
	memset(r->next_again, 0, sizeof(r->next_again));
	memset(r->counter, 0, sizeof(r->counter));
}

void vd_record_feed(struct vd_record *r, const struct vblk_record *e, size_t n)
{
	for (; n; n--, e++)
		switch (e->what) {
		case VBLK_RECORD_ARRIVE:
			arrives(r, e);
			break;
		case VBLK_RECORD_END:
			ends(r, e);
			break;
		default:
			begins(r);
		}
}

/* What is used by now has left all its traces in the log that was read. */
bool vd_record_judge(struct vd_record *r)
{
	struct vd_record_req *req;
	__u32 i;

	for (; r->used; r->used = req->to_judge) {
		req = r->used;
		for (i = 0; i < req->sectors; i++)
			if (!req->done[i])
				oops(r, "used and never executed", req->sector + i);
	}
	return !r->wrong;
}

static bool read_all(struct vd_record *r, bool judge)
{
	static struct vblk_record e[EVENTS];
	ssize_t n;

	while ((n = read(r->fd, e, sizeof(e))) > 0)
		if (judge)
			vd_record_feed(r, e, n / sizeof(*e));
	if (n < 0 && judge)
		oops(r, errno == EOVERFLOW ? "the log is full" : "the log can't be read", errno);
	return !n;
}

bool vd_record_read(struct vd_record *r)
{
	read_all(r, true);
	return vd_record_judge(r);
}

void vd_record_drop(struct vd_record *r)
{
	/* Twice where it was full, or more often while others use the disk. */
	for (int i = 0; i < 16 && !read_all(r, false); i++)
		;
}
