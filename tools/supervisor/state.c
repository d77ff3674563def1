// SPDX-License-Identifier: GPL-2.0
/*
 * The state files, DIR/NAME.json: what there is to know beside the descriptors.  Written whole and
 * renamed, so that there is the old one or the new one.  The directory is ours alone; what is read
 * is checked all the same, as a file from another version may be there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <unistd.h>

#include "keeper.h"

#define SUFFIX	".json"

static void state_name(char name[FILE_LEN], const char *device)
{
	snprintf(name, FILE_LEN, "%s" SUFFIX, device);
}

/* ---- writing ---- */

static void put_uint(struct json_object *o, const char *key, uint64_t val)
{
	json_object_object_add(o, key, json_object_new_uint64(val));
}

static struct json_object *owner_json(const struct owner *owner)
{
	struct json_object *o = json_object_new_object();

	put_uint(o, "pid", owner->pid);
	put_uint(o, "start", owner->start);
	return o;
}

static struct json_object *shm_json(const struct shm *shm)
{
	struct json_object *o = json_object_new_object();

	put_uint(o, "dev", shm->dev);
	put_uint(o, "ino", shm->ino);
	if (shm->path[0])
		json_object_object_add(o, "path", json_object_new_string(shm->path));
	return o;
}

static struct json_object *region_json(const struct device *d)
{
	struct json_object *o = shm_json(&d->region), *queues = json_object_new_array();

	put_uint(o, "mmap_size", d->arg.mmap_size);
	put_uint(o, "mmap_offset", d->arg.mmap_offset);
	put_uint(o, "num_queues", d->arg.num_queues);
	put_uint(o, "queue_size", d->arg.queue_size);
	put_uint(o, "features", d->arg.features);
	for (unsigned int i = 0; i < d->arg.num_queues; i++) {
		struct json_object *q = json_object_new_object();

		put_uint(q, "num", d->queue[i].num);
		put_uint(q, "used", d->queue[i].used);
		put_uint(q, "in_flight", d->queue[i].in_flight);
		json_object_array_add(queues, q);
	}
	json_object_object_add(o, "queues", queues);
	return o;
}

static struct json_object *state_json(const struct device *d)
{
	struct json_object *o = json_object_new_object(), *memory = json_object_new_array();

	json_object_object_add(o, "device", json_object_new_string(d->name));
	json_object_object_add(o, "owner", owner_json(&d->owner));
	json_object_object_add(o, "owned", json_object_new_boolean(d->owned));
	if (d->region.ino)
		json_object_object_add(o, "region", region_json(d));
	for (const struct piece *p = d->piece; p < d->piece + VSUP_MAX_PIECES; p++) {
		struct json_object *m;

		if (!p->label[0])
			continue;
		m = shm_json(&p->shm);
		json_object_object_add(m, "label", json_object_new_string(p->label));
		json_object_object_add(m, "by", owner_json(&p->by));
		json_object_array_add(memory, m);
	}
	json_object_object_add(o, "memory", memory);
	return o;
}

static int write_file(struct vsup *s, const char *name, const char *text)
{
	char tmp[FILE_LEN + 8];
	size_t len = strlen(text);
	ssize_t n;
	int fd;

	snprintf(tmp, sizeof(tmp), ".%s.new", name);
	fd = openat(s->run, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	close(fd);
	if (n != (ssize_t)len)
		return -ENOSPC;
	return renameat(s->run, tmp, s->run, name) ? -errno : 0;
}

void state_write(struct vsup *s, struct device *d)
{
	struct json_object *o = state_json(d);
	const char *text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
							     JSON_C_TO_STRING_NOSLASHESCAPE);
	char name[FILE_LEN];
	int ret;

	if (!d->state || strcmp(d->state, text)) {
		state_name(name, d->name);
		ret = write_file(s, name, text);
		if (ret)
			say(s, "%s: its state can't be written: %s", d->name, strerror(-ret));
		free(d->state);
		d->state = ret ? NULL : strdup(text);
	}
	json_object_put(o);
}

void state_remove(struct vsup *s, const struct device *d)
{
	char name[FILE_LEN];

	state_name(name, d->name);
	unlinkat(s->run, name, 0);
}

/* ---- reading ---- */

/* A member that is missing or of another type is an empty one. */
static struct json_object *member(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *m;

	return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &m) &&
	       json_object_is_type(m, type) ? m : NULL;
}

static uint64_t get_uint(struct json_object *o, const char *key, uint64_t max)
{
	struct json_object *m = member(o, key, json_type_int);
	uint64_t val = m ? json_object_get_uint64(m) : 0;

	return val <= max ? val : 0;
}

static struct owner get_owner(struct json_object *o, const char *key)
{
	o = member(o, key, json_type_object);
	return (struct owner){
		.pid = get_uint(o, "pid", INT_MAX),
		.start = get_uint(o, "start", UINT64_MAX),
	};
}

/* Which file it was; from the store it may be there already. */
static void get_shm(struct json_object *o, struct shm *shm)
{
	struct json_object *path = member(o, "path", json_type_string);

	if (shm->fd >= 0)
		return;
	shm->dev = get_uint(o, "dev", UINT64_MAX);
	shm->ino = get_uint(o, "ino", UINT64_MAX);
	if (path && json_object_get_string_len(path) < PATH_MAX)
		snprintf(shm->path, sizeof(shm->path), "%s", json_object_get_string(path));
	shm_reopen(shm);
}

static void get_region(struct device *d, struct json_object *o)
{
	struct json_object *queues = member(o, "queues", json_type_array);

	if (!o)
		return;
	get_shm(o, &d->region);
	d->arg = (struct vhost_inflight_fd){
		.size = sizeof(d->arg),
		.fd = d->region.fd,
		.mmap_size = get_uint(o, "mmap_size", UINT32_MAX),
		.mmap_offset = get_uint(o, "mmap_offset", INT64_MAX),
		.num_queues = get_uint(o, "num_queues", VSUP_MAX_QUEUES),
		.queue_size = get_uint(o, "queue_size", 32768),
		.features = get_uint(o, "features", UINT64_MAX),
	};
	for (unsigned int i = 0; queues && i < d->arg.num_queues; i++) {
		struct json_object *q = json_object_array_get_idx(queues, i);

		d->queue[i].num = get_uint(q, "num", UINT16_MAX);
		d->queue[i].used = get_uint(q, "used", UINT16_MAX);
		d->queue[i].in_flight = get_uint(q, "in_flight", UINT16_MAX);
	}
}

static void get_piece(struct vsup *s, struct device *d, struct json_object *o)
{
	struct json_object *label = member(o, "label", json_type_string);
	struct piece *p = NULL;

	if (label && name_ok(json_object_get_string(label)))
		p = device_piece(d, json_object_get_string(label));
	if (!p)
		return;
	p->by = get_owner(o, "by");
	get_shm(o, &p->shm);
	if (p->shm.fd >= 0)
		return;
	say(s, "%s: its memory \"%s\" is lost: there was no store for it, and it has no name",
	    d->name, p->label);
	shm_drop(&p->shm);
	p->label[0] = 0;
}

static void get_state(struct vsup *s, struct device *d, struct json_object *o)
{
	struct json_object *memory = member(o, "memory", json_type_array);

	d->owner = get_owner(o, "owner");
	d->owned = json_object_get_boolean(member(o, "owned", json_type_boolean));
	get_region(d, member(o, "region", json_type_object));
	for (size_t i = 0; memory && i < json_object_array_length(memory); i++)
		get_piece(s, d, json_object_array_get_idx(memory, i));
	/* Stored and not in here: we let go of it, and ended before anybody heard of that. */
	for (struct piece *p = d->piece; p < d->piece + VSUP_MAX_PIECES; p++)
		if (p->label[0] && !p->by.pid)
			piece_drop(s, d, p);
}

static struct json_object *read_file(struct vsup *s, const char *name)
{
	struct json_object *o = NULL;
	char *text = malloc(MAX_STATE);
	ssize_t n;
	int fd;

	fd = openat(s->run, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	n = fd < 0 || !text ? -1 : read(fd, text, MAX_STATE - 1);
	if (fd >= 0)
		close(fd);
	if (n > 0) {
		text[n] = 0;
		o = json_tokener_parse(text);
	}
	free(text);
	return o;
}

static void find_one(struct vsup *s, const char *file)
{
	size_t len = strlen(file) - strlen(SUFFIX);
	struct json_object *o = read_file(s, file);
	char name[VSUP_NAME_LEN];
	struct device *d = NULL;

	if (len < sizeof(name)) {
		snprintf(name, sizeof(name), "%.*s", (int)len, file);
		d = device_get(s, name);
	}
	if (d && o)
		get_state(s, d, o);
	else
		say(s, "%s/%s is not a state of ours", s->run_dir, file);
	json_object_put(o);
}

void state_find(struct vsup *s)
{
	DIR *dir = opendir(s->run_dir);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		size_t len = strlen(e->d_name);

		if (e->d_name[0] != '.' && len > strlen(SUFFIX) &&
		    !strcmp(e->d_name + len - strlen(SUFFIX), SUFFIX))
			find_one(s, e->d_name);
	}
	if (dir)
		closedir(dir);
}
