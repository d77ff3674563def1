// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "side.h"
#include "stream.h"

#define BIT(nr)		(1ULL << (nr))
#define NEEDED		(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM))
#define TAKEN		(NEEDED | BIT(VIRTIO_RING_F_EVENT_IDX) | \
			 BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_BLK_F_SIZE_MAX) | \
			 BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) | \
			 BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_FLUSH) | \
			 BIT(VIRTIO_BLK_F_MQ))

static int tell(const struct side *s, const struct report *r)
{
	if (write(s->report, r, sizeof(*r)) == sizeof(*r))
		return 0;
	return failed("nobody listens to what became of the guest: %s", strerror(errno));
}

/* What the guest's driver takes of what the device offers. */
static int machine_of(struct machine *m, const struct vdpa *d, const struct options *o)
{
	unsigned int most = d->features & BIT(VIRTIO_BLK_F_MQ) ? d->info.num_queues : 1;

	if (o->packed && !(d->features & BIT(VIRTIO_F_RING_PACKED)))
		return failed("%s does not offer packed rings: make it with --packed", d->node);
	if (d->info.read_only)
		return failed("%s is read-only, and the guest wants to write", d->node);
	if (o->queues > most)
		return failed("%s has %u queues, not %u", d->node, most, o->queues);
	*m = (struct machine){
		.features = d->features & (TAKEN | (o->packed ? BIT(VIRTIO_F_RING_PACKED) : 0)),
		.queues = o->queues ?: most,
		.num_queues = d->info.num_queues, .queue_size = d->info.queue_size,
		.config_len = d->config_len,
	};
	memcpy(m->serial, d->info.serial, sizeof(d->info.serial));
	memcpy(m->config, d->config, d->config_len);
	return 0;
}

/* The guest begins. */
static int boot(struct side *s)
{
	const struct guest_plan plan = {
		.memory = (uint64_t)s->o->memory << 20, .depth = s->o->depth,
	};

	return vdpa_open(&s->dev, s->o->node[s->nr]) ?:
	       machine_of(&s->m, &s->dev, s->o) ?:
	       guest_boot(&s->g, &plan, &s->m) ?:
	       vdpa_own(&s->dev, &s->m, s->g.ram) ?:
	       vdpa_queues(&s->dev, &s->m, &s->g, NULL, NULL) ?:
	       side_start(s, NULL);
}

int side_start(struct side *s, const struct stand *st)
{
	uint64_t one = 1;

	if (vdpa_run(&s->dev))
		return -1;
	for (unsigned int i = 0; i < s->m.queues; i++) {
		/* What was put in and not kicked before: a kick too many does no harm. */
		if (write(s->g.kick[i], &one, sizeof(one)) != sizeof(one))
			return failed("a kick: %s", strerror(errno));
		if (st && st->irq[i] && write(s->g.call[i], &one, sizeof(one)) != sizeof(one))
			return failed("an interrupt: %s", strerror(errno));
	}
	if (vcpu_start(&s->cpu, &s->g, st && st->halted))
		return -1;
	s->here = true;
	return 0;
}

int side_wait(struct side *s, uint64_t goal)
{
	bool said = false;
	int ret, parked;

	while ((ret = vcpu_wait(&s->cpu, goal, s->o->patience * 1000)) > 0) {
		parked = vdpa_parked(&s->dev);
		if (parked < 0)
			return -1;
		if (!parked)
			return failed("%s: no request came back for %u s, and %u are out",
				      s->dev.node, s->o->patience, guest_out(&s->g));
		if (!said)
			say("%s: %d requests are parked, and the guest waits", s->dev.node, parked);
		said = true;
	}
	return ret;
}

void side_forget(struct side *s)
{
	vcpu_end(&s->cpu);
	vdpa_close(&s->dev);
	guest_free(&s->g);
	s->here = false;
}

/* Until it is time to go; a guest that is over is not. */
static int before(struct side *s)
{
	int parked = 0;

	if (side_wait(s, s->g.done + s->o->requests))
		return -1;
	while (s->o->parked && (parked = vdpa_parked(&s->dev)) < (int)s->o->parked) {
		if (parked < 0 || vcpu_wait(&s->cpu, 0, 1) < 0)
			return -1;
		vdpa_event(&s->dev, VHOST_INFLIGHT_EVENT_PARKED, 1000);
	}
	return 0;
}

/* The guest reads all that it wrote, and is asked how it was. */
static int end(struct side *s)
{
	struct report r = { .type = REPORT_GUEST, .at = s->nr };
	int ret = side_wait(s, s->g.done + s->o->requests);

	if (!ret) {
		__atomic_store_n(&s->g.finish, true, __ATOMIC_RELAXED);
		vcpu_pause(&s->cpu);
		/* It may be halted for want of something to do. */
		s->cpu.halted = false;
		vcpu_go_on(&s->cpu);
		ret = side_wait(s, UINT64_MAX);
	}
	if (ret)
		return -1;
	vcpu_end(&s->cpu);
	r.guest = s->g.mem->count;
	return tell(s, &r);
}

static enum side_result leave(struct side *s, unsigned int round)
{
	struct report r = { .type = REPORT_MOVE, .at = s->nr };
	enum side_result ret;

	r.move = (struct move){ .round = round, .from = s->nr };
	if (before(s))
		return SIDE_LOST;
	ret = side_leave(s, &r.move);
	if (ret == SIDE_LOST)
		return ret;
	r.move.moved = ret == SIDE_GOES_ON;
	return tell(s, &r) ? SIDE_LOST : ret;
}

int side_run(const struct options *o, unsigned int nr, int stream, int report)
{
	struct side s = {
		.o = o, .nr = nr, .stream = stream, .report = report,
		.dev = { .fd = -1, .region = -1, .config_call = -1 },
	};
	enum side_result ret = SIDE_GOES_ON;

	if (!nr && boot(&s))
		ret = SIDE_LOST;
	for (unsigned int round = 0; round < o->rounds && ret == SIDE_GOES_ON; round++)
		ret = s.here ? leave(&s, round) : side_arrive(&s, round ? FAIL_NOWHERE : o->fail);
	/* The destination has told the source. */
	if (ret == SIDE_NOT_MOVED && s.here)
		say("%s", why());
	if (s.here && ret != SIDE_LOST && end(&s))
		ret = SIDE_LOST;
	if (ret == SIDE_LOST)
		say("%s", why());
	side_forget(&s);
	return ret == SIDE_LOST ? EXIT_LOST : ret == SIDE_NOT_MOVED ? EXIT_NOT_MOVED : EXIT_MOVED;
}
