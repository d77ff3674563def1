// SPDX-License-Identifier: GPL-2.0
/* The guest goes: the left side of stream.h. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "precopy.h"
#include "side.h"
#include "stream.h"

#define MAX_PASSES	10	/* over the memory while the guest runs */
#define FEW_PAGES	64	/* that are copied while it stands still */

/**
 * struct leave - a move on its way
 * @copy: of the memory
 * @st: where the guest stands
 * @region: the bytes of the inflight region
 * @still: its processor stands still
 * @paused: when that began
 * @stopped: when the device stood still, too
 * @sent: when all was sent
 * @started: when the destination said that the guest runs
 */
struct leave {
	struct precopy copy;
	struct stand st;
	void *region;
	bool still;
	uint64_t paused, stopped, sent, started;
};

/* ---- while it runs ---- */

/* Passes until there is little left, or as much as before. */
static int copy_running(struct leave *l)
{
	uint64_t sent = UINT64_MAX, before;
	int ret, passes = 0;

	do {
		before = sent;
		ret = precopy_pass(&l->copy, &sent);
	} while (!ret && sent > FEW_PAGES && sent < before - before / 8 && ++passes < MAX_PASSES);
	return ret;
}

/* ---- when it stands still ---- */

static void pause_guest(struct side *s, struct leave *l)
{
	l->paused = now_ns();
	vcpu_pause(&s->cpu);
	l->still = true;
}

static int unpause_guest(struct side *s, struct leave *l)
{
	if (vdpa_go_on(&s->dev))
		return -1;
	vcpu_go_on(&s->cpu);
	l->still = false;
	return 0;
}

/*
 * The stop stalled, and what is out may be left behind.  The node is closed, after which the device
 * touches neither rings nor region and sends nothing more to the disk, and what late reads put into
 * this memory nobody looks at.  The log ends with the owner; what its last turns wrote of the rings
 * is not asked of it.
 */
static int leave_behind(struct side *s, struct move *mv, unsigned int out)
{
	int landing;

	mv->left = out;
	close(s->dev.fd);
	s->dev.fd = -1;
	guest_wrote_rings(&s->g);
	/* What was at the disk by then: between the count and the end it had time to get there. */
	landing = vdpa_landing(s->o->node[s->nr], s->m.queues);
	if (landing > 0)
		failed("%d requests that were to be left behind are at the disk", landing);
	return landing ? -1 : 0;
}

/* Processor and device stand still: 0.  1 when the disk keeps the device from it; both go on. */
static int hold(struct side *s, struct leave *l, struct move *mv)
{
	struct stop stop = { .mode = s->o->mode, .deadline_ms = s->o->deadline_ms };
	int ret;

	mv->attempts++;
	pause_guest(s, l);
	ret = vdpa_stop(&s->dev, &stop, s->m.queues);
	if (ret < 0)
		return -1;
	l->stopped = now_ns();
	mv->stop_ms = stop.elapsed_ms;
	mv->published = stop.published;
	mv->kept = stop.kept;
	if (ret == STOPPED)
		return vdpa_bases(&s->dev, s->m.queues, &l->st);
	if (ret == STOPPED_REWINDABLE)
		return leave_behind(s, mv, stop.out);
	say("%s: the stop stalled after %u ms: %u requests are out, %u of them rewindable",
	    s->dev.node, stop.elapsed_ms, stop.out, stop.rewindable);
	vdpa_say_out(&s->dev, s->m.queues);
	return unpause_guest(s, l) ?: 1;
}

/* Copies and stops until it stands still. */
static int bring_down(struct side *s, struct leave *l, struct move *mv)
{
	int ret;

	while ((ret = copy_running(l) ?: hold(s, l, mv)) > 0) {
		if (mv->attempts > s->o->retries)
			return failed("%u of %u stops stalled", mv->attempts, mv->attempts);
		/* Sooner if the disk got well, which is an event; otherwise it is just later. */
		vdpa_event(&s->dev, VHOST_INFLIGHT_EVENT_HEALED, s->o->retry_ms);
	}
	return ret;
}

/* An interrupt that the guest has not taken moves with it. */
static void collect_irqs(struct side *s, struct leave *l)
{
	uint64_t n;

	for (unsigned int i = 0; i < s->m.queues; i++)
		l->st.irq[i] = read(s->g.call[i], &n, sizeof(n)) == sizeof(n);
	l->st.halted = s->cpu.halted;
}

static int send_sums(struct side *s)
{
	uint64_t *sums = precopy_sums(&s->g);
	int ret;

	if (!sums)
		return failed("no memory");
	ret = stream_send(s->stream, MSG_SUMS, 0, sums, s->g.size / PAGE * sizeof(*sums));
	free(sums);
	return ret;
}

/* The last pages, and where it stands. */
static int hand_over(struct side *s, struct leave *l, struct move *mv)
{
	collect_irqs(s, l);
	if (precopy_pass(&l->copy, &mv->last_pages))
		return -1;
	mv->passes = l->copy.passes;
	mv->early_pages = l->copy.pages - mv->last_pages;
	mv->by_device = l->copy.by_device;
	mv->by_driver = l->copy.by_driver;
	l->region = vdpa_region_bytes(&s->dev, &s->m, &l->st);
	if (!l->region)
		return -1;
	/* A read that was left behind may still write there: nothing to compare with. */
	if (s->o->check && !mv->left && send_sums(s))
		return -1;
	if (stream_two(s->stream, MSG_STATE, 0, &l->st, sizeof(l->st), l->region,
		       l->st.region_size))
		return -1;
	l->sent = now_ns();
	return stream_expect(s->stream, MSG_READY, STREAM_BOUND_MS) ? -1 : 0;
}

/* ---- ends ---- */

/*
 * Until the disk has answered all that was left behind: until then SET_FD and DRIVER_OK are
 * refused. That may take as long as the disk hangs, and nobody else has the guest.
 */
static int await_disk(const struct side *s)
{
	bool said = false;
	int n;

	while ((n = vdpa_orphans(&s->dev)) > 0) {
		if (!said)
			say("%s: the disk still has %d requests, and the guest waits for it",
			    s->dev.node, n);
		said = true;
		poll(NULL, 0, 10);
	}
	return n;
}

/* The device is closed, and nobody else has the guest: by the steps of a destination. */
static int take_back(struct side *s, const struct leave *l)
{
	vcpu_end(&s->cpu);
	vdpa_close(&s->dev);
	return vdpa_open(&s->dev, s->o->node[s->nr]) ?:
	       vdpa_own(&s->dev, &s->m, s->g.ram) ?:
	       await_disk(s) ?:
	       vdpa_queues(&s->dev, &s->m, &s->g, &l->st, l->region) ?:
	       side_start(s, &l->st);
}

/* It could not go, for why(). */
static enum side_result stay(struct side *s, struct leave *l)
{
	char text[WHY_LEN];

	snprintf(text, sizeof(text), "%s", why());
	stream_send(s->stream, MSG_BYE, 0, NULL, 0);
	if (s->g.error[0]) {
		failed("%s: the guest found: %s", s->o->node[s->nr], s->g.error);
		return SIDE_LOST;
	}
	if (s->dev.fd < 0 && !l->region)
		l->region = vdpa_region_bytes(&s->dev, &s->m, &l->st);
	if (s->dev.fd < 0 ? !l->region || take_back(s, l) : l->still && unpause_guest(s, l))
		return SIDE_LOST;
	failed("%s: the guest stays there: %s", s->o->node[s->nr], text);
	return SIDE_NOT_MOVED;
}

/* From GO on it is the destination's, unless that says no. */
static enum side_result let_go(struct side *s, struct leave *l, struct move *mv)
{
	int ret;

	vdpa_close(&s->dev);
	ret = stream_send(s->stream, MSG_GO, 0, NULL, 0) ?:
	      stream_expect(s->stream, MSG_RUNNING, STREAM_BOUND_MS);
	if (ret > 0)
		return stay(s, l);
	if (ret < 0) {
		failed("nobody knows whether the guest runs at %s: %s", s->o->node[!s->nr], why());
		return SIDE_LOST;
	}
	l->started = now_ns();
	side_forget(s);
	if (stream_expect(s->stream, MSG_FIRST, -1)) {
		failed("%s: after the move: %s", s->o->node[!s->nr], why());
		return SIDE_LOST;
	}
	mv->stop_ns = l->stopped - l->paused;
	mv->copy_ns = l->sent - l->stopped;
	mv->start_ns = l->started - l->sent;
	mv->first_ns = now_ns() - l->started;
	return SIDE_GOES_ON;
}

enum side_result side_leave(struct side *s, struct move *mv)
{
	struct leave l = { .copy.fd = -1 };
	enum side_result ret;

	if (vdpa_region(&s->dev) ||
	    stream_send(s->stream, MSG_OFFER, STREAM_VERSION, &s->m, sizeof(s->m)) ||
	    stream_expect(s->stream, MSG_ACCEPT, STREAM_BOUND_MS) ||
	    precopy_begin(&l.copy, &s->g, &s->dev, s->stream) ||
	    bring_down(s, &l, mv) || hand_over(s, &l, mv))
		ret = stay(s, &l);
	else
		ret = let_go(s, &l, mv);
	precopy_end(&l.copy);
	free(l.region);
	return ret;
}
