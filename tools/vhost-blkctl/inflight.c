// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl inflight */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cfs.h"
#include "cli.h"
#include "node.h"
#include "say.h"
#include "tables.h"

static int by_counter(const void *a, const void *b)
{
	const struct vhost_inflight_request *x = a, *y = b;

	return (x->counter > y->counter) - (x->counter < y->counter);
}

/* ---- text ---- */

static void print_request(unsigned int queue, const struct vhost_inflight_request *r)
{
	printf("%5u %5u %10llu %-12s %12llu %10llu %-9s %8.3f s", queue, r->id, r->counter,
	       request_type_name(r->type), r->sector, r->length, request_state_name(r->state),
	       r->age_ms / 1000.0);
	if (r->flags & VHOST_INFLIGHT_REQUEST_ORPHAN)
		printf("  of a VM that is gone");
	if (r->error)
		printf("  %s", strerror(abs(r->error)));
	putchar('\n');
}

static void print_text(const struct node_requests *req)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < req->nr_queues; i++)
		n += req->queue[i].nr;
	if (!n)
		return;
	printf("%5s %5s %10s %-12s %12s %10s %-9s %10s\n", "QUEUE", "ID", "COUNTER", "TYPE",
	       "SECTOR", "LENGTH", "STATE", "AGE");
	for (unsigned int i = 0; i < req->nr_queues; i++)
		for (unsigned int j = 0; j < req->queue[i].nr; j++)
			print_request(i, &req->queue[i].req[j]);
}

/* ---- JSON ---- */

static void add_flag(struct json_object *obj, const char *key,
		     const struct vhost_inflight_request *r, __u8 flag)
{
	json_object_object_add(obj, key, json_object_new_boolean(r->flags & flag));
}

static struct json_object *request_json(unsigned int queue, const struct vhost_inflight_request *r)
{
	struct json_object *obj = json_object_new_object();
	const struct { const char *key; __u64 val; } nums[] = {
		{ "queue",	queue },
		{ "id",		r->id },
		{ "counter",	r->counter },
		{ "type",	r->type },
		{ "sector",	r->sector },
		{ "length",	r->length },
		{ "age_ms",	r->age_ms },
	};

	for (size_t i = 0; i < sizeof(nums) / sizeof(*nums); i++)
		json_object_object_add(obj, nums[i].key, json_object_new_uint64(nums[i].val));
	json_object_object_add(obj, "type_name",
			       json_object_new_string(request_type_name(r->type)));
	json_object_object_add(obj, "state", json_object_new_string(request_state_name(r->state)));
	json_object_object_add(obj, "error", json_object_new_int(abs(r->error)));
	add_flag(obj, "rewindable", r, VHOST_INFLIGHT_REQUEST_REWINDABLE);
	add_flag(obj, "orphan", r, VHOST_INFLIGHT_REQUEST_ORPHAN);
	return obj;
}

static int print_json(const char *name, const struct node_requests *req)
{
	struct json_object *obj = json_object_new_object();
	struct json_object *list = json_object_new_array(), *busy = json_object_new_array();

	for (unsigned int i = 0; i < req->nr_queues; i++) {
		for (unsigned int j = 0; j < req->queue[i].nr; j++)
			json_object_array_add(list, request_json(i, &req->queue[i].req[j]));
		if (req->queue[i].busy)
			json_object_array_add(busy, json_object_new_int(i));
	}
	json_object_object_add(obj, "name", json_object_new_string(name));
	json_object_object_add(obj, "requests", list);
	json_object_object_add(obj, "busy_queues", busy);
	return say_json(obj);
}

int cmd_inflight(const struct args *args)
{
	int ret = cfs_need_enabled(args->name);
	struct node_requests req;

	if (ret)
		return ret;
	ret = node_read_requests(args->name, &req);
	if (ret)
		return node_say(args->name, ret);
	for (unsigned int i = 0; i < req.nr_queues; i++)
		if (req.queue[i].nr)
			qsort(req.queue[i].req, req.queue[i].nr, sizeof(*req.queue[i].req),
			      by_counter);
	ret = BLKCTL_OK;
	if (args->json)
		ret = print_json(args->name, &req);
	else
		print_text(&req);
	for (unsigned int i = 0; i < req.nr_queues; i++)
		if (req.queue[i].busy)
			ret = say_fail(
			"queue %u of %s does not come to the end of a turn, perhaps because its VMM does not answer a page fault",
			i, args->name);
	node_free_requests(&req);
	return ret;
}
