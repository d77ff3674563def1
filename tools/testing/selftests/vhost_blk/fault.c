// SPDX-License-Identifier: GPL-2.0
/*
 * The engine dies at each of its fault points (drivers/vhost_blk/fault.h), under load, and somebody goes on: another owner with
 * the inflight region, or another build of the engine. The steps are those that the engine with fault points lists.
 *
 * What a dead queue must not do is looked for while the rest of the device works: nothing of ring, region and status bytes
 * changes, and nobody is notified. Then each request ends exactly once, with the right data. Used buffers are overwritten with
 * garbage at once: a write that was executed once more would bring it to the disk, a read would overwrite it.
 *
 * There are two builds of the engine here, of which private structs differ; each takes over from the other all the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vblk_dev.h"
#include "vblk_inflight.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x200000
#define QUEUES	4
#define NUM	64
#define CELLS	128		/* sectors of each queue; the odd ones are on the late half of the disk */
#define DIES	1		/* the queue that dies, the first of those; queue 0 lives */
#define GARBAGE	0xdeadbeef

#define RING_FEATURES	(VD_F_INDIRECT | VD_F_EVENT_IDX | VD_F_PACKED | VD_F_IN_ORDER | VD_F_PARTIAL_ORDER)
#define ROOT		"/sys/kernel/config/vhost_blk/"
#define DEBUG		"/sys/kernel/debug/vhost_blk/"
#define ENGINE		"/run/vblk/vhost_blk.ko"	/* lib.sh put them there */
#define FAULTY		"/run/vblk/vhost_blk-fault.ko"

struct step {
	char name[16];
	bool packed;		/* only for such rings */
	enum { SERVE, START, RECOVER } when;
};

/* ---- a load that checks itself ---- */

struct load {
	struct vd_queue *q;
	__u64 data;		/* a sector for each head */
	unsigned int next, out;
	__u32 version[CELLS];
	bool busy[CELLS], write[NUM], used[NUM];
	__u16 at[NUM];
	unsigned long ended;
	bool dead;
	const char *wrong;	/* the first thing that was */
};

struct guest {
	struct vd_rig r;
	struct vd_inflight region;
	struct load l[QUEUES];
	unsigned int deaths, in_flight;
	char what[128];
};

static __u64 sector_of(const struct load *l, unsigned int cell)
{
	return l->q->index * CELLS + cell + (cell & 1 ? DISK / 1024 : 0);
}

static void oops(struct load *l, const char *what)
{
	if (!l->wrong)
		l->wrong = what;
}

static void submit(struct load *l, unsigned int i)
{
	int head = l->q->free[l->q->nr_free - 1];
	struct vd_buf b = { .addr = l->data + head * 512, .len = 512, .write = l->next % 3 == 0 && l->version[i] };
	void *p = vd_ptr(l->q->d, b.addr);
	__u64 sector = sector_of(l, i);

	if (l->used[head] && vd_check(p, 512, head, GARBAGE) >= 0)
		oops(l, "a buffer was written after it was used");
	l->used[head] = false;
	l->write[head] = !b.write;
	vd_fill(p, 512, b.write ? head : sector * 512, b.write ? GARBAGE : l->version[i] + 1);
	if (vd_submit(l->q, b.write ? VD_T_IN : VD_T_OUT, sector, &b, 1,
		      l->q->d->features & VD_F_INDIRECT ? VD_INDIRECT : VD_DIRECT) != head)
		oops(l, "no room in the ring");
	l->version[i] += !b.write;
	l->busy[i] = true;
	l->at[head] = i;
	l->out++;
}

/* As many requests as there is room for. */
static void fill(struct load *l)
{
	unsigned int n, need = l->q->d->features & VD_F_INDIRECT ? 1 : 3;

	for (n = 0; n < CELLS && l->q->nr_free >= need; n++) {
		unsigned int i = l->next++ % CELLS;

		if (!l->busy[i])
			submit(l, i);
	}
	vd_kick(l->q);
}

static void over(struct load *l)
{
	int head;

	while ((head = vd_reap(l->q)) >= 0) {
		void *p = vd_ptr(l->q->d, l->data + head * 512);
		unsigned int i = l->at[head];

		if (vd_slot_status(l->q, head))
			oops(l, "a request failed");
		if (!l->write[head] && vd_check(p, 512, sector_of(l, i) * 512, l->version[i]) >= 0)
			oops(l, "a read has not what was written last");
		vd_fill(p, 512, head, GARBAGE);
		l->used[head] = true;
		l->busy[i] = false;
		l->out--;
		l->ended++;
	}
	if (l->q->bad_used)
		oops(l, "a used entry for what is not there");
	if (l->q->bad_order)
		oops(l, "a used entry out of order");
	if (vd_drain_fd(l->q->err))
		oops(l, "the error eventfd");
}

static bool good(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < QUEUES && !g->what[0]; i++)
		if (g->l[i].wrong)
			snprintf(g->what, sizeof(g->what), "queue %u: %s", i, g->l[i].wrong);
	return !g->what[0];
}

static bool no(struct guest *g, const char *what, long ret)
{
	if (good(g))
		snprintf(g->what, sizeof(g->what), "%s (%ld)", what, ret);
	return false;
}

/* Full load for a moment, on all queues that are not dead. */
static bool drive(struct guest *g)
{
	struct pollfd p[QUEUES];
	int i;

	for (i = 0; i < QUEUES; i++) {
		p[i] = (struct pollfd){ .fd = g->l[i].dead ? -1 : g->l[i].q->call, .events = POLLIN };
		if (g->l[i].dead)
			continue;
		over(&g->l[i]);
		fill(&g->l[i]);
		g->l[i].q->ops->call_on(g->l[i].q);
	}
	poll(p, QUEUES, 1);
	for (i = 0; i < QUEUES; i++)
		if (!g->l[i].dead)
			vd_drain_fd(g->l[i].q->call);
	return good(g);
}

/* All that are out come back, each of them once, and the disk has what was written last. */
static bool whole(struct guest *g)
{
	static __u8 disk[QUEUES * CELLS * 512];
	unsigned int i, j, half;
	int ret = 0;

	for (i = 0; i < QUEUES; i++)
		while (g->l[i].out && !ret) {
			ret = vd_more(g->l[i].q, VD_WAIT_MS);
			over(&g->l[i]);
		}
	if (!good(g) || ret)
		return no(g, "not all that was taken comes back", ret);
	for (half = 0; half < 2; half++) {
		if (vd_backing_read(&g->r.b, half * (DISK / 2), disk, sizeof(disk)))
			return no(g, "reading the disk", half);
		for (i = 0; i < QUEUES; i++)
			for (j = half; j < CELLS; j += 2) {
				__u64 at = sector_of(&g->l[i], j) * 512;

				if (g->l[i].version[j] &&
				    vd_check(disk + at - half * (DISK / 2), 512, at, g->l[i].version[j]) >= 0)
					return no(g, "a sector has not what was written last", at / 512);
			}
	}
	return true;
}

/* ---- engines and owners ---- */

/* What was used by the one before is not known to the next. */
static void alive(struct guest *g)
{
	unsigned int i;

	for (i = 0; i < QUEUES; i++) {
		g->l[i].dead = false;
		vd_vague(g->l[i].q);
	}
}

static int exchange(const char *engine, const char *fault)
{
	return vd_write_file(ROOT "detach", "5000") ?: vd_run("rmmod vhost_blk") ?:
	       vd_run("insmod %s %s%s%s", engine, fault ? "'fault=\"" : "", fault ?: "", fault ? "\"'" : "");
}

/* The next engine goes on with the pool of requests, and the region. */
static bool engine(struct guest *g, const char *path, const char *fault)
{
	bool faulty = !strcmp(path, FAULTY);
	char name[64] = "";
	int ret = exchange(path, fault);

	if (ret)
		return no(g, "the exchange of engines", ret);
	if (vd_read_file(ROOT "engine", name, sizeof(name)) < 0 || !strstr(name, "+fault") != !faulty)
		return no(g, name, 0);
	if (!access(DEBUG, F_OK) != faulty)
		return no(g, "debugfs", faulty);
	alive(g);
	return true;
}

/* The next owner goes on with the region, and has nothing else. */
static bool successor(struct guest *g)
{
	struct vd *d = &g->r.d;
	unsigned int i;
	int ret;

	close(d->fd);
	d->fd = vd_node_open(g->r.name, O_RDWR);
	if (d->fd < 0)
		return no(g, "open", d->fd);
	ret = vd_patiently(vd_negotiate(d)) ?: vd_patiently(vd_inflight_set(d, &g->region.arg)) ?: vd_map_all(d);
	for (i = 0; i < QUEUES && !ret; i++)
		ret = vd_setup_queue(d, d->q[i], NULL);
	ret = ret ?: vd_driver_ok(d);
	alive(g);
	return !ret || no(g, "DRIVER_OK of the next owner", ret);
}

/* Nothing is out: the guest starts anew. */
static bool restart(struct guest *g)
{
	unsigned int i;
	int ret = vd_reset(&g->r.d) ?: vd_restart(&g->r.d);

	for (i = 0; i < QUEUES; i++)
		g->l[i].q->latest = g->l[i].q->added;
	return !ret || no(g, "restart", ret);
}

/* ---- death ---- */

static bool arm(struct guest *g, unsigned int queue, const char *step, unsigned int nth)
{
	char text[64], back[64];
	int ret;

	snprintf(text, sizeof(text), "%s %u %s %u", g->r.name, queue, step, nth);
	ret = vd_write_file(DEBUG "fault", text);
	if (!ret && vd_read_file(DEBUG "fault", back, sizeof(back)) > 0) {
		back[strcspn(back, "\n")] = 0;
		/* It may have happened since. */
		if (!strcmp(back, "off") || strncmp(back + 6, text, strlen(text) - 2))
			return no(g, "it is not armed", 0);
	}
	return !ret || no(g, "it cannot be armed", ret);
}

static bool has_fired(struct guest *g, unsigned int queue, const char *step)
{
	char want[64], text[64];

	snprintf(want, sizeof(want), "fired %s %u %s\n", g->r.name, queue, step);
	return vd_read_file(DEBUG "fault", text, sizeof(text)) > 0 && !strcmp(text, want);
}

/* All that a device may write, but the data of what is at the disk. */
static size_t picture(struct guest *g, const struct vd_queue *q, __u8 *to)
{
	size_t avail, used, all = vd_ring_bytes(NUM, &avail, &used);
	const struct {
		const void *p;
		size_t len;
	} areas[] = {
		{ vd_inflight_split(&g->region, q->index), vd_inflight_stride(&g->region) },
		{ vd_ptr(q->d, q->slots), NUM * VD_SLOT },
		{ q->desc, NUM * sizeof(struct vd_desc) },
		{ vd_ptr(q->d, q->used_iova), g->region.packed ? sizeof(*q->device) : all - used },
	};
	size_t n = 0, i;

	for (i = 0; i < sizeof(areas) / sizeof(*areas); i++) {
		memcpy(to + n, areas[i].p, areas[i].len);
		n += areas[i].len;
	}
	return n;
}

/* Kicked or not, and while its requests come back from the disk: a dead queue does nothing. */
static bool still(struct guest *g, struct load *l)
{
	static __u8 before[1 << 16], after[1 << 16];
	long end = vd_now_ms() + 3 * VD_MIXED_MS;
	size_t n;

	l->dead = true;
	over(l);
	l->q->ops->call_on(l->q);
	vd_drain_fd(l->q->call);
	n = picture(g, l->q, before);
	do {
		vd_kick_always(l->q);
		if (!drive(g))
			return false;
	} while (vd_now_ms() < end);
	picture(g, l->q, after);
	if (memcmp(before, after, n))
		return no(g, "it stores something after its end", l->q->index);
	if (vd_drain_fd(l->q->call))
		return no(g, "it notifies after its end", l->q->index);
	g->deaths++;
	g->in_flight += vd_inflight_heads(&g->region, l->q->index, NULL);
	return true;
}

/* It is armed: under load it dies, and that is all it does. */
static bool dies(struct guest *g, unsigned int queue, const char *step)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	while (!has_fired(g, queue, step))
		if (!drive(g) || vd_now_ms() > end)
			return no(g, "it does not die", queue);
	return still(g, &g->l[queue]);
}

/* ---- death, somebody goes on, all is well ---- */

static bool other_engine(struct guest *g)
{
	return engine(g, ENGINE, NULL);
}

static bool same_engine(struct guest *g)
{
	return engine(g, FAULTY, NULL);
}

static bool successor_dies(struct guest *g, const char *step)
{
	return arm(g, DIES, step, 1) && successor(g);
}

static bool engine_dies(struct guest *g, const char *step)
{
	char fault[64];

	snprintf(fault, sizeof(fault), "%s %u %s", g->r.name, DIES, step);
	return engine(g, FAULTY, fault);
}

struct heir {
	unsigned int queues;	/* that die before somebody goes on */
	bool (*goes_on)(struct guest *g);
	bool (*dies)(struct guest *g, const char *step);	/* while it recovers */
	bool (*recovers)(struct guest *g);			/* and the one after that */
};

/* An engine that takes over from the dead is the other build; then the first one does, from the living. */

static const struct heir an_owner = { 1, successor, successor_dies, successor };
static const struct heir an_engine = { QUEUES - DIES, other_engine, engine_dies, same_engine };

/* Somebody goes on, and tells the drivers of queues that were dead, who may have missed something. */
static bool well(struct guest *g, bool (*goes_on)(struct guest *g))
{
	bool was_dead[QUEUES];
	unsigned int i;

	for (i = 0; i < QUEUES; i++)
		was_dead[i] = g->l[i].dead;
	if (!goes_on(g))
		return false;
	for (i = 0; i < QUEUES; i++)
		if (was_dead[i] && !vd_poll_fd(g->l[i].q->call, VD_WAIT_MS))
			return no(g, "it does not notify", i);
	return drive(g) && whole(g) && (goes_on != other_engine || (drive(g) && same_engine(g)));
}

/* Each is at a step of its own; more are to come unless all that are to have died. */
static bool while_serving(struct guest *g, const struct step *s, const struct heir *heir)
{
	unsigned int queue = DIES;

	while (g->l[queue].dead)
		queue++;
	if (!arm(g, queue, s->name, 1 + random() % 8) || !dies(g, queue, s->name))
		return false;
	return queue + 1 < DIES + heir->queues || well(g, heir->goes_on);
}

static bool while_starting(struct guest *g, const struct step *s, const struct heir *heir)
{
	return whole(g) && arm(g, DIES, s->name, 1) && restart(g) && dies(g, DIES, s->name) && well(g, heir->goes_on);
}

/*
 * A batch that is not shown is still in flight, and in a packed ring there is most to do for it. Only one that is shown and not
 * committed leaves marks to settle in a split one.
 */
static bool while_recovering(struct guest *g, const struct step *s, const struct heir *heir)
{
	const char *before = !g->region.packed && !strcmp(s->name, "settle") ? "clear" : "prepared";

	return arm(g, DIES, before, 1 + random() % 8) && dies(g, DIES, before) && heir->dies(g, s->name) &&
	       dies(g, DIES, s->name) && well(g, heir->recovers);
}

static bool every_step(struct guest *g, const struct heir *heir)
{
	static bool (*const at[])(struct guest *g, const struct step *s, const struct heir *heir) = {
		[SERVE] = while_serving, [START] = while_starting, [RECOVER] = while_recovering,
	};
	static char list[8192];
	long begin = vd_now_ms();
	unsigned long ended = 0;
	unsigned int n = 0, i;
	char *line, *save;

	if (vd_read_file(DEBUG "fault_steps", list, sizeof(list)) <= 0)
		return no(g, "there is no list of steps", 0);
	for (line = strtok_r(list, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char layout[16], when[16];
		struct step s;

		if (sscanf(line, "%15s %15s %15[a-z]:", s.name, layout, when) != 3)
			return no(g, line, 0);
		s.packed = !strcmp(layout, "packed");
		s.when = !strcmp(when, "serve") ? SERVE : !strcmp(when, "start") ? START : RECOVER;
		if (s.packed && !g->region.packed)
			continue;
		/* Not all that were to die in one go have done so. */
		if (s.when != SERVE && g->l[DIES].dead && !well(g, heir->goes_on))
			return false;
		if (!at[s.when](g, &s, heir)) {
			printf("# %s: %s\n", s.name, g->what);
			return false;
		}
		n++;
	}
	for (i = 0; i < QUEUES; i++)
		ended += g->l[i].ended;
	printf("# %u steps, %u deaths, %u requests of dead queues in flight, %lu in all, %ld ms\n", n, g->deaths,
	       g->in_flight, ended, vd_now_ms() - begin);
	/* The list is not a part of itself. */
	return n > 15 || no(g, "few steps", n);
}

/* Served by the engine with fault points. NULL or what is wrong. */
static const char *begin(struct guest *g, __u64 features)
{
	struct vd_config c = {
		.num_queues = QUEUES, .packed = true, .in_order = true, .partial_order = true,
	};
	struct vd_opts o = {
		.iova = IOVA, .num = NUM, .num_queues = QUEUES, .drop_features = RING_FEATURES & ~features,
	};
	int i;

	if (access(FAULTY, R_OK))
		return "no engine with fault points: build it with CONFIG_VHOST_BLK_FAULT_POINTS=y and give FAULTDIR";
	if (exchange(FAULTY, NULL))
		return "the exchange of engines";
	if (vd_rig_make(&g->r, VD_DM_MIXED, DISK, &c, NULL))
		return "no device";
	if (vd_start(&g->r.d, g->r.name, &o) || vd_inflight_take(&g->r.d, &g->region, features & VD_F_PACKED))
		return "no start";
	for (i = 0; i < QUEUES; i++) {
		g->l[i].q = g->r.d.q[i];
		g->l[i].data = vd_alloc(&g->r.d, NUM * 512, 4096);
	}
	return NULL;
}

/* Whatever is there now, to what the other tests expect. By the parent, which knows nothing of the guest. */
static int end(struct vd_rig *r)
{
	int ret;

	vd_write_file(ROOT "detach", "5000");
	vd_run("rmmod vhost_blk");
	ret = vd_run("insmod " ENGINE);
	return ret ?: vd_rig_free(r);
}

FIXTURE(fault) {
	struct guest g;
	unsigned int seed;
};

FIXTURE_VARIANT(fault) {
	__u64 features;
};

FIXTURE_VARIANT_ADD(fault, split) { VD_F_EVENT_IDX | VD_F_INDIRECT };
FIXTURE_VARIANT_ADD(fault, split_in_order) { VD_F_IN_ORDER };
FIXTURE_VARIANT_ADD(fault, packed) { VD_F_PACKED };
FIXTURE_VARIANT_ADD(fault, packed_in_order) { VD_F_PACKED | VD_F_EVENT_IDX | VD_F_INDIRECT | VD_F_IN_ORDER };
FIXTURE_VARIANT_ADD(fault, packed_partial_order) { VD_F_PACKED | VD_F_EVENT_IDX | VD_F_PARTIAL_ORDER };

FIXTURE_SETUP(fault)
{
	const char *why;

	self->seed = vd_now_ms();
	srandom(self->seed);
	why = begin(&self->g, variant->features);
	ASSERT_EQ(NULL, why) TH_LOG("%s", why);
}

FIXTURE_TEARDOWN_PARENT(fault)
{
	EXPECT_EQ(0, end(&self->g.r));
}

TEST_F_TIMEOUT(fault, another_owner_goes_on, 290)
{
	bool ok = every_step(&self->g, &an_owner);

	ASSERT_TRUE(ok) TH_LOG("%s, seed %u", self->g.what, self->seed);
}

TEST_F_TIMEOUT(fault, another_engine_goes_on, 290)
{
	bool ok = every_step(&self->g, &an_engine);

	ASSERT_TRUE(ok) TH_LOG("%s, seed %u", self->g.what, self->seed);
}

FIXTURE(control) {
	struct guest g;
};

FIXTURE_SETUP(control)
{
	const char *why = begin(&self->g, VD_F_EVENT_IDX | VD_F_INDIRECT);

	ASSERT_EQ(NULL, why) TH_LOG("%s", why);
}

FIXTURE_TEARDOWN_PARENT(control)
{
	EXPECT_EQ(0, end(&self->g.r));
}

/* What comes to the step after the death that was wanted, lives. */
TEST_F_TIMEOUT(control, once, 60)
{
	struct guest *g = &self->g;
	bool ok = arm(g, DIES, "shown", 1) && dies(g, DIES, "shown") && successor(g);
	long until = vd_now_ms() + 10 * VD_MIXED_MS;

	while (ok && vd_now_ms() < until)
		ok = drive(g);
	ok = ok && whole(g);
	ASSERT_TRUE(ok) TH_LOG("%s", g->what);
	EXPECT_TRUE(has_fired(g, DIES, "shown"));
}

TEST_F(control, nonsense)
{
	static const struct {
		const char *text;
		int err;
	} rows[] = {
		{ "", -EINVAL }, { "on", -EINVAL }, { "disk 0", -EINVAL }, { "disk 0 shown 1 1", -EINVAL },
		{ "disk 0 nowhere", -ENOENT }, { "disk 0 Shown", -ENOENT }, { "disk 64 shown", -EINVAL },
		{ "disk -1 shown", -EINVAL }, { "disk one shown", -EINVAL }, { "disk 0 shown 0", -EINVAL },
		{ "disk 0 shown many", -EINVAL }, { "abcdefghijklmnopqrstu 0 shown", -EINVAL },
	};
	char text[64];
	unsigned int i;

	ASSERT_EQ(0, vd_write_file(DEBUG "fault", "another 1 shown 3"));
	for (i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		EXPECT_EQ(rows[i].err, vd_write_file(DEBUG "fault", rows[i].text)) TH_LOG("'%s'", rows[i].text);
	/* As it was; and it is not this device that it is for. */
	EXPECT_TRUE(drive(&self->g) && whole(&self->g)) TH_LOG("%s", self->g.what);
	ASSERT_LT(0, vd_read_file(DEBUG "fault", text, sizeof(text)));
	EXPECT_STREQ("armed another 1 shown 3\n", text);
	ASSERT_EQ(0, vd_write_file(DEBUG "fault", "off\n"));
	ASSERT_LT(0, vd_read_file(DEBUG "fault", text, sizeof(text)));
	EXPECT_STREQ("off\n", text);
	/* An engine that is to die nowhere is not inserted. */
	EXPECT_NE(0, exchange(FAULTY, "disk 0 nowhere"));
	EXPECT_EQ(0, vd_run("insmod " FAULTY));
	EXPECT_TRUE(drive(&self->g) && whole(&self->g)) TH_LOG("%s", self->g.what);
}

TEST_HARNESS_MAIN
