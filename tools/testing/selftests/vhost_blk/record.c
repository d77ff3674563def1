// SPDX-License-Identifier: GPL-2.0
/*
 * The recording disk, and who judges its log: first with logs that are made up, one for each thing that may be wrong,
 * then with what the disk writes down.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "vblk_record.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define OURS	VD_RECORD_FROM

/* ---- logs that are made up ---- */

enum { NOTHING, ASK, USED, IN_FLIGHT, VOID, ARRIVE, END, MARK, READ };

/* The time of a step is its number. */
struct step {
	__u8 what;
	__u8 req;		/* USED, IN_FLIGHT, VOID: which one, in the order in which they were asked for */
	__u8 bio;		/* END: which one, in the order in which they arrived */
	__u8 queue;
	__u8 counter;
	__u8 op;
	__u8 error;
	__u8 seed;
	__u32 sector, sectors;
};

#define ask(at, n, s)		{ ASK, .op = VBLK_RECORD_WRITE, .sector = at, .sectors = n, .seed = s }
#define ask_read(at, n)		{ ASK, .op = VBLK_RECORD_READ, .sector = at, .sectors = n }
#define used(nr)		{ USED, .req = nr }
#define in_flight(nr, c)	{ IN_FLIGHT, .req = nr, .counter = c }
#define forget(nr)		{ VOID, .req = nr }
#define arrive(at, n, s)	{ ARRIVE, .op = VBLK_RECORD_WRITE, .sector = at, .sectors = n, .seed = s }
#define arrive_read(at, n)	{ ARRIVE, .op = VBLK_RECORD_READ, .sector = at, .sectors = n }
#define end(nr)			{ END, .bio = nr }
#define refuse(nr)		{ END, .bio = nr, .error = 1 }
#define mark			{ MARK }
#define read_log		{ READ }

static const struct {
	const char *name;
	const char *wrong;	/* NULL: nothing is */
	struct step step[24];
} logs[] = {
	/* what may be */
	{ "one request", NULL, { ask(0, 8, 1), arrive(0, 8, 1), end(0), used(0) } },
	{ "a read", NULL, { ask_read(0, 8), arrive_read(0, 8), end(0), used(0) } },
	{ "somebody else reads", NULL, { ask(0, 8, 1), arrive_read(8, 8), arrive(0, 8, 1), end(0), end(1), used(0) } },
	{ "nothing yet", NULL, { ask(0, 8, 1), arrive(0, 8, 1) } },
	{ "one behind the other at one place", NULL,
	  { ask(0, 8, 1), arrive(0, 8, 1), end(0), used(0), ask(0, 8, 2), arrive(0, 8, 2), end(1), used(1) } },
	{ "in pieces, in any order", NULL,
	  { ask(0, 8, 1), arrive(0, 3, 1), arrive(3, 5, 1), end(1), end(0), used(0) } },
	{ "refused and sent again", NULL,
	  { ask(0, 8, 1), arrive(0, 8, 1), refuse(0), arrive(0, 8, 1), end(1), used(0) } },
	{ "a piece refused and sent again", NULL,
	  { ask(0, 8, 1), arrive(0, 4, 1), end(0), arrive(4, 4, 1), refuse(1), arrive(4, 4, 1), end(2), used(0) } },
	{ "done again by a successor", NULL,
	  { ask(0, 8, 1), arrive(0, 8, 1), end(0), read_log, in_flight(0, 5), mark, arrive(0, 8, 1), end(1),
	    used(0) } },
	{ "an orphan ends, then the successor begins", NULL,
	  { ask(0, 8, 1), arrive(0, 8, 1), read_log, in_flight(0, 5), end(0), mark, arrive(0, 8, 1), end(1),
	    used(0) } },
	{ "two in the order of their counters, then a new one", NULL,
	  { ask(0, 8, 1), ask(8, 8, 1), ask(16, 8, 1), read_log, in_flight(0, 7), in_flight(1, 6), mark,
	    arrive(8, 8, 1), end(0), arrive(0, 8, 1), end(1), arrive(16, 8, 1), end(2), used(2), used(0), used(1) } },
	{ "killed twice before it did anything", NULL,
	  { ask(0, 8, 1), read_log, in_flight(0, 1), mark, read_log, in_flight(0, 1), read_log, in_flight(0, 1), mark,
	    arrive(0, 8, 1), end(0), used(0) } },
	{ "forgotten by a guest that starts anew", NULL,
	  { ask(0, 8, 1), forget(0), mark, ask(0, 8, 1), arrive(0, 8, 1), end(0), used(1) } },

	{ "forgotten while it was in flight", NULL,
	  { ask(0, 8, 1), read_log, in_flight(0, 7), forget(0), mark, ask(8, 8, 1), arrive(8, 8, 1), end(0), used(1) } },
	{ "forgotten before it came again", NULL,
	  { ask(0, 8, 1), read_log, in_flight(0, 7), mark, read_log, forget(0), ask(8, 8, 1), arrive(8, 8, 1), end(0),
	    used(1) } },

	/* what must not be */
	{ "never executed", "used and never executed", { ask(0, 8, 1), used(0) } },
	{ "executed in part", "used and never executed", { ask(0, 8, 1), arrive(0, 4, 1), end(0), used(0) } },
	{ "refused and forgotten", "used and never executed", { ask(0, 8, 1), arrive(0, 8, 1), refuse(0), used(0) } },
	{ "late", "executed after its used entry",
	  { ask(0, 8, 1), arrive(0, 8, 1), end(0), used(0), arrive(0, 8, 1) } },
	{ "late, by a successor", "executed after its used entry",
	  { ask(0, 8, 1), arrive(0, 8, 1), end(0), used(0), mark, arrive(0, 8, 1) } },
	{ "late by a piece", "executed after its used entry",
	  { ask(0, 8, 1), arrive(0, 8, 1), end(0), used(0), arrive(4, 4, 1) } },
	{ "late, and the place is taken", "not the data that were to be written",
	  { ask(0, 8, 1), arrive(0, 8, 1), end(0), used(0), ask(0, 8, 2), arrive(0, 8, 1), end(1),
	    arrive(0, 8, 2), end(2), used(1) } },
	{ "used too early", "still at the disk after its used entry",
	  { ask(0, 8, 1), arrive(0, 8, 1), end(0), mark, arrive(0, 8, 1), used(0), end(1) } },
	{ "a forgotten one comes back", "still at the disk after its used entry",
	  { ask(0, 8, 1), arrive(0, 8, 1), forget(0), end(0) } },
	{ "twice", "executed twice by one device",
	  { ask(0, 8, 1), arrive(0, 8, 1), end(0), arrive(0, 8, 1), end(1), used(0) } },
	{ "twice at once", "executed twice by one device",
	  { ask(0, 8, 1), arrive(0, 8, 1), arrive(0, 8, 1), end(0), end(1), used(0) } },
	{ "one sector twice", "executed twice by one device",
	  { ask(0, 8, 1), arrive(0, 5, 1), end(0), arrive(4, 4, 1), end(1), used(0) } },
	{ "out of order", "done again in another order than that of the counters",
	  { ask(0, 8, 1), ask(8, 8, 1), read_log, in_flight(0, 7), in_flight(1, 6), mark, arrive(0, 8, 1),
	    arrive(8, 8, 1) } },
	{ "a new one first", "a new request before what was in flight",
	  { ask(0, 8, 1), ask(8, 8, 1), read_log, in_flight(0, 7), mark, arrive(8, 8, 1), arrive(0, 8, 1) } },
	{ "out of the blue", "nobody asked for it", { arrive(0, 8, 1), end(0) } },
	{ "before it was asked for", "nobody asked for it", { arrive(0, 8, 1), end(0), ask(0, 8, 1) } },
	{ "beyond the disk", "nobody asked for it", { arrive(1 << 20, 8, 1) } },
	{ "a read for a write", "not what was asked for", { ask(0, 8, 1), arrive_read(0, 8) } },
	{ "a write for a read", "not what was asked for", { ask_read(0, 8), arrive(0, 8, 0) } },
	{ "too long", "not the sectors that were asked for", { ask(0, 8, 1), arrive(4, 8, 1) } },
	{ "other data", "not the data that were to be written", { ask(0, 8, 1), arrive(0, 8, 2) } },
	{ "data of another place", "not the data that were to be written",
	  { ask(0, 8, 1), ask(8, 8, 2), arrive(8, 8, 1) } },
	{ "used twice", "used twice", { ask(0, 8, 1), arrive(0, 8, 1), end(0), used(0), used(0) } },
};

/* As far as it goes before anything is wrong. */
static const char *play(const struct step *s, unsigned int steps)
{
	struct vblk_record log[ARRAY_SIZE(logs[0].step)] = { 0 }, *e = log, *from = log, *bio[24];
	struct vd_record_req *req[24];
	unsigned int i, reqs = 0, bios = 0;
	struct vd_record r;

	if (vd_record_init(&r, 1024))
		return "no memory";
	for (i = 0; i < steps; i++, s++)
		switch (s->what) {
		case ASK:
			req[reqs++] = vd_record_submit(&r, &(struct vd_record_req){
				.queue = s->queue, .sector = s->sector, .sectors = s->sectors,
				.write = s->op == VBLK_RECORD_WRITE, .seed = s->seed }, i + 1);
			break;
		case USED:
			vd_record_used(&r, req[s->req], i + 1);
			break;
		case VOID:
			vd_record_void(&r, req[s->req], i + 1);
			break;
		case IN_FLIGHT:
			vd_record_in_flight(&r, req[s->req], s->counter);
			break;
		case ARRIVE:
			*e = (struct vblk_record){ .ns = i + 1, .of = bios + 1, .sector = s->sector, .len = s->sectors * 512,
						   .what = VBLK_RECORD_ARRIVE, .op = s->op };
			vd_fill(&e->tag, sizeof(e->tag), s->sector * 512, s->seed);
			bio[bios++] = e++;
			break;
		case END:
			*e = *bio[s->bio];
			e->what = VBLK_RECORD_END;
			e->error = s->error;
			e++->ns = i + 1;
			break;
		case MARK:
			e->ns = i + 1;
			e++->what = VBLK_RECORD_MARK;
			break;
		case READ:
			vd_record_feed(&r, from, e - from);
			from = e;
			vd_record_judge(&r);
			break;
		}
	vd_record_feed(&r, from, e - from);
	vd_record_judge(&r);
	return r.wrong;
}

TEST(made_up)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(logs); i++) {
		const char *wrong = play(logs[i].step, ARRAY_SIZE(logs[i].step));

		EXPECT_EQ(!logs[i].wrong, !wrong) {
			TH_LOG("%s: %s", logs[i].name, wrong ?: "nothing wrong");
		}
		if (wrong && logs[i].wrong) {
			EXPECT_STREQ(logs[i].wrong, wrong) {
				TH_LOG("%s", logs[i].name);
			}
		}
	}
}

/* ---- what the disk writes down ---- */

FIXTURE(record) {
	struct vd_backing b;
	struct vd_record r;
	int fd;
	void *buf;
};

FIXTURE_SETUP(record)
{
	ASSERT_EQ(0, vd_backing_make(&self->b, VD_DM_RECORD, DISK));
	ASSERT_EQ(0, vd_record_open(&self->r, DISK / 512));
	self->fd = open(self->b.path, O_RDWR | O_DIRECT);
	ASSERT_LE(0, self->fd);
	self->buf = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->buf);
}

FIXTURE_TEARDOWN_PARENT(record)
{
	vd_backing_free(&self->b);
}

/* The next event that is ours. */
static int next(struct vd_record *r, struct vblk_record *e)
{
	do {
		if (read(r->fd, e, sizeof(*e)) != sizeof(*e))
			return -1;
	} while (e->op == VBLK_RECORD_READ && e->what != VBLK_RECORD_MARK && e->sector % (DISK / 1024) != OURS / 512);
	return 0;
}

TEST_F(record, write_and_read)
{
	struct vblk_record e, f;
	__u64 before = vd_now_ns(), tag;
	int late;

	for (late = 0; late < 2; late++) {
		__u64 off = late * (DISK / 2) + OURS;

		vd_fill(self->buf, 4096, off, 7);
		memcpy(&tag, self->buf, sizeof(tag));
		ASSERT_EQ(4096, pwrite(self->fd, self->buf, 4096, off));
		ASSERT_EQ(0, next(&self->r, &e));
		EXPECT_EQ(VBLK_RECORD_ARRIVE, e.what);
		EXPECT_EQ(VBLK_RECORD_WRITE, e.op);
		EXPECT_EQ(off / 512, e.sector);
		EXPECT_EQ(4096, e.len);
		EXPECT_EQ(tag, e.tag);
		ASSERT_EQ(0, next(&self->r, &f));
		EXPECT_EQ(VBLK_RECORD_END, f.what);
		EXPECT_EQ(e.of, f.of);
		EXPECT_EQ(off / 512, f.sector);
		EXPECT_EQ(0, f.error);
		EXPECT_LT(before, e.ns);
		EXPECT_LT(e.ns + late * VD_MIXED_MS * 900000ULL, f.ns);
		EXPECT_GT(vd_now_ns(), f.ns);

		memset(self->buf, 0, 4096);
		ASSERT_EQ(4096, pread(self->fd, self->buf, 4096, off));
		EXPECT_EQ(-1, vd_check(self->buf, 4096, off, 7));
		ASSERT_EQ(0, next(&self->r, &e));
		EXPECT_EQ(VBLK_RECORD_READ, e.op);
		ASSERT_EQ(0, next(&self->r, &f));
		EXPECT_EQ(VBLK_RECORD_END, f.what);
	}
	EXPECT_EQ(-1, next(&self->r, &e));
}

/* One over both halves is two bios here, and one request. */
TEST_F(record, in_two)
{
	struct vd_record_req *req, like = {
		.sector = (DISK / 2 - 4096) / 512, .sectors = 16, .write = true, .seed = 3,
	};

	vd_fill(self->buf, 8192, DISK / 2 - 4096, 3);
	req = vd_record_submit(&self->r, &like, vd_now_ns());
	ASSERT_EQ(8192, pwrite(self->fd, self->buf, 8192, DISK / 2 - 4096));
	vd_record_used(&self->r, req, vd_now_ns());
	EXPECT_EQ(true, vd_record_read(&self->r)) {
		TH_LOG("%s (%ld)", self->r.wrong, self->r.where);
	}
	EXPECT_EQ(2, self->r.bios);
	EXPECT_EQ(0, self->r.out);
}

/* Refused, and written down as such. */
TEST_F(record, nowait_on_a_frozen_disk)
{
	struct iovec v = { self->buf, 4096 };
	struct vblk_record e, f;
	ssize_t n;
	int err;

	ASSERT_EQ(0, vd_backing_freeze(&self->b));
	n = pwritev2(self->fd, &v, 1, DISK / 2 + OURS, RWF_NOWAIT);
	err = errno;
	ASSERT_EQ(0, vd_backing_thaw(&self->b));
	EXPECT_EQ(-1, n);
	EXPECT_EQ(EAGAIN, err);
	ASSERT_EQ(0, next(&self->r, &e));
	EXPECT_EQ(VBLK_RECORD_NOWAIT, e.flags);
	ASSERT_EQ(0, next(&self->r, &f));
	EXPECT_EQ(VBLK_RECORD_END, f.what);
	EXPECT_NE(0, f.error);
}

TEST_F(record, marks)
{
	struct vblk_record e;
	__u64 tag = 0x1234567890abcdef;

	ASSERT_EQ(8, write(self->r.fd, &tag, sizeof(tag)));
	EXPECT_EQ(-1, write(self->r.fd, &tag, 4));
	ASSERT_EQ(0, next(&self->r, &e));
	EXPECT_EQ(VBLK_RECORD_MARK, e.what);
	EXPECT_EQ(tag, e.tag);
	EXPECT_EQ(-1, next(&self->r, &e));
}

/* Told, once; what was there before it is not lost. */
TEST_F(record, full)
{
	static struct vblk_record e[4096];
	char text[32];
	unsigned int i, entries;
	__u64 tag, seen = 0;
	ssize_t n;

	ASSERT_LT(0, vd_read_file("/sys/module/dm_vblk_record/parameters/entries", text, sizeof(text)));
	entries = atoi(text);
	for (tag = 0; tag <= entries; tag++)
		ASSERT_EQ(8, write(self->r.fd, &tag, sizeof(tag)));
	EXPECT_EQ(-1, read(self->r.fd, e, sizeof(e)));
	EXPECT_EQ(EOVERFLOW, errno);
	/* Others may read from the disk meanwhile, and there is still no room. */
	while ((n = read(self->r.fd, e, sizeof(e))) > 0 || (n < 0 && errno == EOVERFLOW))
		for (i = 0; n > 0 && i < n / sizeof(*e); i++)
			if (e[i].what == VBLK_RECORD_MARK)
				ASSERT_EQ(seen++, e[i].tag);
	EXPECT_EQ(0, n);
	/* which they had instead */
	EXPECT_LT(entries - 100, seen);
	for (tag = 0; tag <= entries; tag++)
		ASSERT_EQ(8, write(self->r.fd, &tag, sizeof(tag)));
	EXPECT_EQ(false, vd_record_read(&self->r));
	EXPECT_STREQ("the log is full", self->r.wrong);
}

TEST_HARNESS_MAIN
