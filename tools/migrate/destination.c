// SPDX-License-Identifier: GPL-2.0
/* The guest comes: the right side of stream.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "precopy.h"
#include "side.h"
#include "stream.h"

/**
 * struct arrive - a move on its way
 * @st: where the guest stands
 * @region: the bytes of the inflight region
 */
struct arrive {
	struct stand st;
	void *region;
};

static int say_no(struct side *s, enum message_type type)
{
	char text[WHY_LEN];

	snprintf(text, sizeof(text), "%s", why());
	stream_send(s->stream, type, 0, text, strlen(text));
	return failed("%s", text);
}

/* ---- whether its device is like the source's ---- */

static int compare(const struct vdpa *d, const struct machine *m)
{
	uint64_t capacity[2];

	memcpy(&capacity[0], m->config, sizeof(*capacity));
	memcpy(&capacity[1], d->config, sizeof(*capacity));
	if (m->features & ~d->features)
		return failed("%s does not offer the features %#llx that the guest has", d->node,
			      (unsigned long long)(m->features & ~d->features));
	if (m->num_queues != d->info.num_queues || m->queue_size != d->info.queue_size)
		return failed("%s has %u queues of %u, the source %u of %u: make them alike",
			      d->node, d->info.num_queues, d->info.queue_size, m->num_queues,
			      m->queue_size);
	if (capacity[0] != capacity[1])
		return failed("%s has %llu sectors, and the source has %llu", d->node,
			      (unsigned long long)capacity[1], (unsigned long long)capacity[0]);
	if (m->config_len != d->config_len || memcmp(m->config, d->config, m->config_len))
		return failed("%s does not have the source's configuration", d->node);
	if (memcmp(m->serial, d->info.serial, sizeof(d->info.serial)))
		return failed("%s calls its disk %.20s, the source %.20s: give both one serial",
			      d->node, (const char *)d->info.serial, (const char *)m->serial);
	if (d->info.read_only)
		return failed("%s is read-only", d->node);
	return 0;
}

/* All that can be done before the guest stands still. */
static int accept_offer(struct side *s, const struct message *msg)
{
	if (msg->arg != STREAM_VERSION || msg->len != sizeof(s->m))
		return failed("the source speaks version %llu, and this is %d",
			      (unsigned long long)msg->arg, STREAM_VERSION);
	if (stream_body(s->stream, &s->m, sizeof(s->m)))
		return -1;
	if (s->m.queues > MAX_QUEUES || s->m.config_len > MAX_CONFIG || s->m.iova != GUEST_IOVA ||
	    !s->m.size || s->m.size % PAGE)
		return failed("the source offers a machine that makes no sense");
	return vdpa_open(&s->dev, s->o->node[s->nr]) ?:
	       compare(&s->dev, &s->m) ?:
	       guest_make(&s->g, s->m.size) ?:
	       vdpa_own(&s->dev, &s->m, s->g.ram);
}

/* ---- what comes ---- */

static int take_pages(struct side *s, const struct message *msg)
{
	uint64_t pages = msg->type == MSG_ZEROES ? 1 : msg->len / PAGE;
	void *to = s->g.ram + msg->arg * PAGE;

	if (msg->arg >= s->g.size / PAGE || pages > s->g.size / PAGE - msg->arg ||
	    msg->len % PAGE || (msg->type == MSG_ZEROES && msg->len))
		return failed("the source sends pages that there are not: %llu from %llu on",
			      (unsigned long long)pages, (unsigned long long)msg->arg);
	if (msg->type == MSG_PAGES)
		return stream_body(s->stream, to, msg->len);
	memset(to, 0, PAGE);
	return 0;
}

/* What is not as it was at the source, no log had. */
static int check_pages(struct side *s, const struct message *msg)
{
	uint64_t nr = s->g.size / PAGE, *ours = precopy_sums(&s->g), *theirs = malloc(msg->len);
	char place[WHY_LEN];
	int ret = 0;

	if (!ours || !theirs || msg->len != nr * sizeof(*theirs))
		ret = failed("no memory, or the checksums are not of %llu pages",
			     (unsigned long long)nr);
	if (!ret)
		ret = stream_body(s->stream, theirs, msg->len);
	for (uint64_t i = 0; i < nr && !ret; i++) {
		if (ours[i] == theirs[i])
			continue;
		guest_place(&s->g, i, place);
		ret = failed("page %llu is not as it was at the source: %.80s: no log had it",
			     (unsigned long long)i, place);
	}
	free(ours);
	free(theirs);
	return ret;
}

static int take_state(struct side *s, struct arrive *a, const struct message *msg)
{
	uint32_t size = msg->len - sizeof(a->st);

	if (msg->len <= sizeof(a->st))
		return failed("the source sends a state of %u bytes", msg->len);
	a->region = malloc(size);
	if (!a->region)
		return failed("no memory");
	if (stream_body(s->stream, &a->st, sizeof(a->st)) ||
	    stream_body(s->stream, a->region, size))
		return -1;
	if (a->st.region_size != size)
		return failed("the source sends %u bytes of a region of %llu", size,
			      (unsigned long long)a->st.region_size);
	return guest_arrived(&s->g, &s->m) ?:
	       vdpa_queues(&s->dev, &s->m, &s->g, &a->st, a->region);
}

/* Until all is there: SIDE_GOES_ON.  SIDE_OVER: the source has thought better of it. */
static enum side_result take_all(struct side *s, struct arrive *a)
{
	struct message msg = {};
	int ret = 0;

	while (!ret && msg.type != MSG_STATE) {
		ret = stream_next(s->stream, &msg, -1);
		if (ret)
			break;
		switch (msg.type) {
		case MSG_PAGES:
		case MSG_ZEROES:
			ret = take_pages(s, &msg);
			break;
		case MSG_SUMS:
			ret = check_pages(s, &msg);
			break;
		case MSG_STATE:
			ret = take_state(s, a, &msg);
			break;
		case MSG_BYE:
			return SIDE_OVER;
		default:
			ret = failed("the source says message %u among the pages", msg.type);
		}
	}
	return ret ? SIDE_NOT_MOVED : SIDE_GOES_ON;
}

/* ---- the guest goes on ---- */

static enum side_result take_over(struct side *s, struct arrive *a, enum fail_at fail)
{
	uint64_t first = s->g.done + 1;

	if (fail == FAIL_READY) {
		failed("%s: told to fail", s->dev.node);
		return SIDE_NOT_MOVED;
	}
	if (stream_send(s->stream, MSG_READY, 0, NULL, 0))
		return SIDE_NOT_MOVED;
	if (stream_expect(s->stream, MSG_GO, STREAM_BOUND_MS))
		return SIDE_NOT_MOVED;
	if (fail == FAIL_START) {
		failed("%s: told to fail", s->dev.node);
		return SIDE_NOT_MOVED;
	}
	if (side_start(s, &a->st))
		return SIDE_NOT_MOVED;
	/* From here on it is here. */
	if (stream_send(s->stream, MSG_RUNNING, 0, NULL, 0) ||
	    side_wait(s, first) || stream_send(s->stream, MSG_FIRST, 0, NULL, 0))
		return SIDE_LOST;
	return SIDE_GOES_ON;
}

enum side_result side_arrive(struct side *s, enum fail_at fail)
{
	struct arrive a = {};
	struct message msg;
	enum side_result ret;

	if (stream_next(s->stream, &msg, -1) || msg.type == MSG_BYE)
		return SIDE_OVER;
	if (msg.type != MSG_OFFER) {
		failed("the source begins with message %u", msg.type);
		return SIDE_LOST;
	}
	if (accept_offer(s, &msg)) {
		say_no(s, MSG_REFUSE);
		return SIDE_OVER;
	}
	if (stream_send(s->stream, MSG_ACCEPT, 0, NULL, 0))
		return SIDE_OVER;
	ret = take_all(s, &a);
	if (ret == SIDE_GOES_ON)
		ret = take_over(s, &a, fail);
	if (ret == SIDE_NOT_MOVED) {
		/* Let go of first: the source may take it back. */
		vdpa_close(&s->dev);
		say_no(s, MSG_FAILED);
	}
	free(a.region);
	return ret;
}
