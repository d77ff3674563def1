// SPDX-License-Identifier: GPL-2.0
/* What is kept of one device. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keeper.h"

#define SETTLED_MS	1024	/* looks go on for twice that after something happened */
#define MAX_PAUSE_MS	4096	/* between looks at a device for whose change there is no event */

bool name_ok(const char *name)
{
	static const char ok[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t len = strspn(name, ok);

	return len && len < VSUP_NAME_LEN && !name[len] && name[0] != '.';
}

struct device *device_find(struct vsup *s, const char *name)
{
	for (unsigned int i = 0; i < s->nr_devices; i++)
		if (!strcmp(s->device[i]->name, name))
			return s->device[i];
	return NULL;
}

struct device *device_next(struct vsup *s, const char *name)
{
	struct device *next = NULL;

	for (unsigned int i = 0; i < s->nr_devices; i++) {
		struct device *d = s->device[i];

		if (strcmp(d->name, name) > 0 && (!next || strcmp(d->name, next->name) < 0))
			next = d;
	}
	return next;
}

/* ---- pieces ---- */

struct piece *device_piece(struct device *d, const char *label)
{
	struct piece *room = NULL;

	for (struct piece *p = d->piece; p < d->piece + VSUP_MAX_PIECES; p++) {
		if (!strcmp(p->label, label))
			return p;
		if (!p->label[0] && !room)
			room = p;
	}
	if (room)
		snprintf(room->label, sizeof(room->label), "%s", label);
	return room;
}

void piece_drop(struct vsup *s, struct device *d, struct piece *p)
{
	if (p->stored)
		store_remove(s, d->name, p->label);
	p->stored = false;
	shm_drop(&p->shm);
	p->label[0] = 0;
	p->by = (struct owner){};
}

/* ---- the region ---- */

static void region_name(const struct device *d, char name[FILE_LEN])
{
	snprintf(name, FILE_LEN, "%s.region", d->name);
}

/* A named one goes with its name, unless that is another's by now. */
static void region_drop(struct vsup *s, struct device *d)
{
	char name[FILE_LEN];
	struct stat st;

	region_name(d, name);
	if (!fstatat(s->run, name, &st, AT_SYMLINK_NOFOLLOW) && st.st_dev == d->region.dev &&
	    st.st_ino == d->region.ino)
		unlinkat(s->run, name, 0);
	if (d->stored)
		store_remove(s, d->name, NULL);
	d->stored = false;
	shm_drop(&d->region);
	d->arg.features = 0;
	memset(d->queue, 0, sizeof(d->queue));
}

/*
 * The device's region is another than before: whoever owns it started afresh, or was reset and
 * negotiated anew.  Memory of those before is of no use to anybody then.
 */
static void region_take(struct vsup *s, struct device *d, struct node_look *l,
			const struct owner *by)
{
	struct shm shm;
	bool same;

	if (l->lost)
		say(s, "%s: a hole was punched into its inflight region, nobody can go on with it",
		    d->name);
	if (l->region.fd < 0 || shm_hold(&shm, l->region.fd))
		return;
	same = shm.dev == d->region.dev && shm.ino == d->region.ino;
	for (struct piece *p = d->piece; !same && p < d->piece + VSUP_MAX_PIECES; p++)
		if (d->region.ino && !owner_same(&p->by, by))
			piece_drop(s, d, p);
	if (!same)
		region_drop(s, d);
	if (d->region.fd < 0) {
		d->region = shm;
		d->stored = store_put(s, d->name, NULL, shm.fd);
	} else {
		close(shm.fd);
	}
	/* With its features: the device's go with its owner, maybe before anybody saw it run. */
	d->arg = l->region;
	d->arg.fd = d->region.fd;
}

/* ---- the owner ---- */

static void ended(struct vsup *s, struct device *d)
{
	unsigned int in_flight = 0, pieces = 0;

	d->owned = false;
	source_del(&d->live);
	if (d->region.fd < 0)
		return;
	region_read(&d->arg, d->queue);
	for (unsigned int i = 0; i < d->arg.num_queues; i++)
		in_flight += d->queue[i].in_flight;
	for (unsigned int i = 0; i < VSUP_MAX_PIECES; i++)
		pieces += d->piece[i].shm.fd >= 0;
	say(s, "%s: process %d, its owner, is gone and left %u requests in flight", d->name,
	    d->owner.pid, in_flight);
	say(s, "%s: kept for a successor: the region, and %u pieces of memory", d->name, pieces);
}

static void live_work(struct vsup *s, struct source *src)
{
	struct device *d = (void *)((char *)src - offsetof(struct device, live));

	source_del(src);
	d->over = true;
	device_soon(s, d);
}

static void begun(struct vsup *s, struct device *d, const struct owner *owner)
{
	int fd;

	source_del(&d->live);
	d->owner = *owner;
	d->owned = true;
	d->over = false;
	fd = owner_open(owner);
	/* Without an alarm it is looked at now and then. */
	if (fd >= 0)
		source_add(s, &d->live, fd);
}

/* ---- looking ---- */

static void learn(struct vsup *s, struct device *d, struct node_look *l)
{
	bool owned = l->info.state != VHOST_INFLIGHT_STATE_FREE;
	struct owner now = owner_of(l->info.owner_pid);
	bool other;

	/* It has ended, and the device is about to notice. */
	if (!now.start && now.pid == d->owner.pid)
		now = d->owner;
	other = owned && (!d->owned || !owner_same(&now, &d->owner));
	d->running = owned && l->info.state != VHOST_INFLIGHT_STATE_OWNED;
	if (d->owned && other)
		ended(s, d);
	region_take(s, d, l, other ? &now : &d->owner);
	if (d->owned && !owned)
		ended(s, d);
	/* Also one that we know from before we were started again. */
	if (other || (owned && d->live.fd < 0 && !d->over))
		begun(s, d, &now);
	if (!d->running)
		return;
	for (unsigned int i = 0; i < l->info.num_queues; i++)
		d->queue[i].num = l->num[i];
	/* Who goes on with the region has the memory too. */
	for (struct piece *p = d->piece; p < d->piece + VSUP_MAX_PIECES; p++)
		if (p->label[0])
			p->by = d->owner;
}

/* Its next change will be an event. */
static bool quiet(const struct device *d)
{
	return !d->blind && (!d->owned || (d->running && d->live.fd >= 0));
}

/* When to look again: soon while it changes, seldom while its change would not be an event. */
static void rest(struct device *d)
{
	d->pause = d->pause < MAX_PAUSE_MS ? d->pause * 2 : MAX_PAUSE_MS;
	if (d->pause <= SETTLED_MS || !quiet(d))
		d->due = now_ms() + d->pause;
	else
		d->due = 0;
}

static void look(struct vsup *s, struct device *d)
{
	struct node_look l;

	d->blind = node_look(s->dev_dir, d->name, &l);
	if (d->blind)
		return;
	learn(s, d, &l);
	state_write(s, d);
}

void device_look(struct vsup *s, struct device *d)
{
	if (!d->pause)
		d->pause = 1;
	look(s, d);
	rest(d);
	if (d->due)
		return;
	/* Whatever comes from now on is an event; once more for what came just before. */
	node_watch(s, d, true);
	look(s, d);
	if (quiet(d))
		d->pause = 0;
	else
		device_soon(s, d);
}

void device_soon(struct vsup *s, struct device *d)
{
	d->pause = 1;
	d->due = now_ms();
	timer_set(s);
}

/* ---- coming and going ---- */

struct device *device_get(struct vsup *s, const char *name)
{
	struct device *d = device_find(s, name);

	if (d || !name_ok(name) || s->nr_devices == MAX_DEVICES)
		return d;
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->live = (struct source){ live_work, -1 };
	d->region.fd = -1;
	for (unsigned int i = 0; i < VSUP_MAX_PIECES; i++)
		d->piece[i].shm.fd = -1;
	s->device[s->nr_devices++] = d;
	return d;
}

void device_found(struct vsup *s, const char *name)
{
	struct device *d = device_get(s, name);

	if (!d)
		return;
	d->present = true;
	node_watch(s, d, true);
	device_soon(s, d);
}

void device_free(struct device *d)
{
	source_del(&d->live);
	shm_drop(&d->region);
	for (unsigned int i = 0; i < VSUP_MAX_PIECES; i++)
		shm_drop(&d->piece[i].shm);
	free(d->state);
	free(d);
}

void device_lost(struct vsup *s, struct device *d)
{
	for (struct piece *p = d->piece; p < d->piece + VSUP_MAX_PIECES; p++)
		piece_drop(s, d, p);
	region_drop(s, d);
	state_remove(s, d);
	for (unsigned int i = 0; i < s->nr_devices; i++)
		if (s->device[i] == d)
			s->device[i] = s->device[--s->nr_devices];
	device_free(d);
	timer_set(s);
}

/* ---- what is asked of it ---- */

static __printf(3, 4) int no(char why[VSUP_SENTENCE_LEN], int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, VSUP_SENTENCE_LEN, fmt, ap);
	va_end(ap);
	return err;
}

/* The device, as it is now. */
static int ask(struct vsup *s, const char *name, struct device **device,
	       char why[VSUP_SENTENCE_LEN])
{
	struct device *d = device_find(s, name);

	if (!d)
		return no(why, -ENOENT, "there is no device of that name");
	device_soon(s, d);
	look(s, d);
	if (d->blind)
		return no(why, -EAGAIN, "%s has no engine at the moment: try again", name);
	*device = d;
	return 0;
}

static int owns(const struct device *d, int pid, char why[VSUP_SENTENCE_LEN])
{
	/* 0 is somebody who can't be seen from here, and there are many of these. */
	if (d->owned && d->owner.pid == pid && pid)
		return 0;
	return no(why, -EPERM, "process %d does not own %s: call VHOST_SET_OWNER first", pid,
		  d->name);
}

int vsup_take(struct vsup *s, const char *name, int pid, struct vsup_estate *e,
	      char why[VSUP_SENTENCE_LEN])
{
	struct device *d;
	int ret = ask(s, name, &d, why);

	if (ret)
		return ret;
	if (d->owned && (!pid || d->owner.pid != pid))
		return no(why, -EBUSY, "%s has an owner that lives, process %d: end it first",
			  name, d->owner.pid);
	if (d->owned && d->running)
		return no(why, -EBUSY, "%s runs already: nothing is left to go on with", name);
	if (d->region.fd < 0)
		return no(why, -ENOENT, "nothing is kept of %s: it did not run so far", name);
	memset(e, 0, sizeof(*e));
	region_read(&d->arg, d->queue);
	e->region = d->arg;
	e->region.flags = 0;
	e->features = d->arg.features;
	e->nr_queues = d->arg.num_queues;
	memcpy(e->queue, d->queue, sizeof(e->queue));
	for (unsigned int i = 0; i < VSUP_MAX_PIECES; i++) {
		struct vsup_piece *p = &e->piece[e->nr_pieces];

		if (d->piece[i].shm.fd < 0)
			continue;
		memcpy(p->label, d->piece[i].label, sizeof(p->label));
		p->fd = d->piece[i].shm.fd;
		e->nr_pieces++;
	}
	return 0;
}

int vsup_deposit(struct vsup *s, const char *name, int pid, const struct vsup_piece *piece,
		 char why[VSUP_SENTENCE_LEN])
{
	struct device *d;
	struct piece *p;
	struct shm shm;
	bool safe;
	int ret;

	ret = ask(s, name, &d, why) ?: owns(d, pid, why);
	if (ret)
		return ret;
	if (!name_ok(piece->label))
		return no(why, -EINVAL, "a label has 1 to 31 of the characters A-Z a-z 0-9 _ . -");
	/* Opened anew: a service manager stores what is one open file only once, under one name. */
	ret = shm_copy(piece->fd);
	if (ret >= 0)
		ret = shm_hold(&shm, ret);
	if (ret)
		return no(why, ret, "%s is no memfd and no file on tmpfs or hugetlbfs",
			  piece->label);
	p = device_piece(d, piece->label);
	if (!p) {
		shm_drop(&shm);
		return no(why, -ENOSPC, "%s has %u pieces of memory already", name,
			  VSUP_MAX_PIECES);
	}
	piece_drop(s, d, p);
	p = device_piece(d, piece->label);
	p->shm = shm;
	p->by = d->owner;
	p->stored = store_put(s, name, p->label, shm.fd);
	safe = p->stored || shm.path[0];
	state_write(s, d);
	if (p->stored && !store_sync(s))
		safe = shm.path[0];
	return safe;
}

int vsup_region(struct vsup *s, const char *name, int pid, struct vhost_inflight_fd *arg,
		char why[VSUP_SENTENCE_LEN])
{
	struct node_look l;
	struct device *d;
	char file[FILE_LEN];
	int ret;

	ret = ask(s, name, &d, why) ?: owns(d, pid, why);
	if (ret)
		return ret;
	ret = node_look(s->dev_dir, name, &l);
	if (l.region.fd >= 0)
		close(l.region.fd);
	if (ret)
		return no(why, ret, "%s can't be asked: %s", name, strerror(-ret));
	/* FEATURES_OK is 8: what was negotiated says which layout it is. */
	if (l.info.state != VHOST_INFLIGHT_STATE_OWNED || !(l.info.status & 8))
		return no(why, -EBUSY, "%s is not between FEATURES_OK and DRIVER_OK", name);
	region_name(d, file);
	*arg = (struct vhost_inflight_fd){
		.size = sizeof(*arg),
		.mmap_size = region_size(&l.info),
		.num_queues = l.info.num_queues,
		.queue_size = l.info.queue_size,
	};
	arg->fd = shm_make(s->run, file, arg->mmap_size);
	if (arg->fd < 0)
		return no(why, arg->fd, "%s/%s can't be made: %s", s->run_dir, file,
			  strerror(-arg->fd));
	return 0;
}

int vsup_forget(struct vsup *s, const char *name, int pid, char why[VSUP_SENTENCE_LEN])
{
	struct device *d;
	int ret = ask(s, name, &d, why);

	if (ret)
		return ret;
	if (d->owned && (!pid || d->owner.pid != pid))
		return no(why, -EBUSY, "%s has an owner that lives, process %d", name,
			  d->owner.pid);
	for (struct piece *p = d->piece; p < d->piece + VSUP_MAX_PIECES; p++)
		piece_drop(s, d, p);
	region_drop(s, d);
	look(s, d);
	state_write(s, d);
	store_sync(s);
	return 0;
}
