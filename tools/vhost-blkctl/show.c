// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl show */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "device.h"
#include "say.h"
#include "tables.h"

static __u64 counter(const struct vhost_inflight_queue_info *q, const struct counter *c)
{
	return *(const __u64 *)((const char *)q + c->offset);
}

/* ---- text ---- */

static void print_bits(const char *label, __u64 bits, const struct bit_name *names)
{
	printf("  %-20s%s", label, bits ? "" : " -");
	for (const struct bit_name *b = names; b->name; b++) {
		if (bits >> b->bit & 1)
			printf(" %s", b->name);
		bits &= ~(1ULL << b->bit);
	}
	for (unsigned int i = 0; bits; i++, bits >>= 1)
		if (bits & 1)
			printf(" bit-%u", i);
	putchar('\n');
}

static void print_info(const struct vhost_inflight_info *info)
{
	printf("  %-20s %.*s\n", "engine", (int)sizeof(info->engine),
	       info->engine[0] ? (char *)info->engine : "none");
	if (info->owner_pid)
		printf("  %-20s %u\n", "owner (process)", info->owner_pid);
	print_bits("status", info->status, status_bits);
	print_bits("features", info->features, feature_bits);
	print_bits("acked features", info->acked_features, feature_bits);
	print_bits("backend features", info->backend_features, backend_bits);
	printf("  %-20s %u\n", "iotlb entries", info->iotlb_maps);
	printf("  %-20s %u of %u\n", "bounce buffers used", info->bounce_busy, info->bounce_total);
	if (info->orphans)
		printf("  %-20s %u requests of a VM that is gone\n", "waits for the disk",
		       info->orphans);
	if (info->parked)
		printf("  %-20s %u\n", "parked requests", info->parked);
}

static int width(const struct counter *c)
{
	return strlen(c->head) < 9 ? 9 : (int)strlen(c->head);
}

static void print_queues(const struct node_stat *st)
{
	printf("\n%5s %-8s %5s %6s %6s", "QUEUE", "STATE", "SIZE", "DEPTH", "MAX");
	for (const struct counter *c = counters; c->name; c++)
		if (c->head)
			printf(" %*s", width(c), c->head);
	putchar('\n');
	for (unsigned int i = 0; i < st->info.num_queues; i++) {
		const struct vhost_inflight_queue_info *q = &st->queue[i];

		printf("%5u %-8s %5u %6u %6u", i, queue_state_name(q->state), q->num, q->depth,
		       q->depth_max);
		for (const struct counter *c = counters; c->name; c++)
			if (c->head)
				printf(" %*llu", width(c), counter(q, c));
		if (q->error)
			printf("  %s", strerror(abs(q->error)));
		if (q->parked)
			printf("  %u parked", q->parked);
		if (q->kept)
			printf("  %u kept", q->kept);
		putchar('\n');
	}
	printf("\nAll queues:\n");
	for (const struct counter *c = counters; c->name; c++)
		if (!c->head)
			printf("  %-20s %llu\n", c->name, node_sum(st, c->offset));
}

static void print_text(const struct device *dev)
{
	char size[SAY_SIZE_LEN], node[PATH_MAX];

	node_path(dev->name, node, sizeof(node));
	printf("%s: %s\n", dev->name, dev->state);
	if (strcmp(dev->state, "disabled"))
		printf("  %-20s %s\n", "node", node);
	printf("  %-20s %s\n", "size", dev->capacity ? say_size(size, dev->capacity * 512) : "-");
	for (int i = 0; cfs_attrs[i].name; i++)
		if (dev->value[i])
			printf("  %-20s %s\n", cfs_attrs[i].name, dev->value[i]);
	if (!dev->has_stat)
		return;
	print_info(&dev->stat.info);
	print_queues(&dev->stat);
}

/* ---- JSON ---- */

static struct json_object *hex_json(__u64 bits)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "0x%llx", bits);
	return json_object_new_string(buf);
}

static struct json_object *bits_json(__u64 bits, const struct bit_name *names)
{
	struct json_object *array = json_object_new_array();
	char buf[16];

	for (const struct bit_name *b = names; b->name; b++) {
		if (bits >> b->bit & 1)
			json_object_array_add(array, json_object_new_string(b->name));
		bits &= ~(1ULL << b->bit);
	}
	for (unsigned int i = 0; bits; i++, bits >>= 1) {
		if (!(bits & 1))
			continue;
		snprintf(buf, sizeof(buf), "bit-%u", i);
		json_object_array_add(array, json_object_new_string(buf));
	}
	return array;
}

static void add_bits(struct json_object *obj, const char *key, __u64 bits,
		     const struct bit_name *names)
{
	char list[40];

	snprintf(list, sizeof(list), "%s_names", key);
	json_object_object_add(obj, key, hex_json(bits));
	json_object_object_add(obj, list, bits_json(bits, names));
}

static struct json_object *text_json(const __u8 *text, size_t len)
{
	return json_object_new_string_len((const char *)text, strnlen((const char *)text, len));
}

static struct json_object *info_json(const struct vhost_inflight_info *info)
{
	struct json_object *obj = json_object_new_object();
	const struct { const char *key; __u64 val; } nums[] = {
		{ "logical_block_size",	info->logical_block_size },
		{ "orphans",		info->orphans },
		{ "iotlb_maps",		info->iotlb_maps },
		{ "bounce_busy",	info->bounce_busy },
		{ "bounce_total",	info->bounce_total },
		{ "parked",		info->parked },
	};

	json_object_object_add(obj, "engine", text_json(info->engine, sizeof(info->engine)));
	json_object_object_add(obj, "owner_pid",
			       info->owner_pid ? json_object_new_uint64(info->owner_pid) : NULL);
	add_bits(obj, "status", info->status, status_bits);
	add_bits(obj, "features", info->features, feature_bits);
	add_bits(obj, "acked_features", info->acked_features, feature_bits);
	add_bits(obj, "backend_features", info->backend_features, backend_bits);
	for (size_t i = 0; i < sizeof(nums) / sizeof(*nums); i++)
		json_object_object_add(obj, nums[i].key, json_object_new_uint64(nums[i].val));
	return obj;
}

static struct json_object *queue_json(const struct vhost_inflight_queue_info *q)
{
	struct json_object *obj = json_object_new_object();
	const struct { const char *key; __u64 val; } nums[] = {
		{ "num",	q->num },
		{ "depth",	q->depth },
		{ "depth_max",	q->depth_max },
		{ "avail_idx",	q->avail_idx },
		{ "used_idx",	q->used_idx },
		{ "parked",	q->parked },
		{ "kept",	q->kept },
	};

	json_object_object_add(obj, "index", json_object_new_int(q->index));
	json_object_object_add(obj, "state", json_object_new_string(queue_state_name(q->state)));
	json_object_object_add(obj, "error", json_object_new_int(abs(q->error)));
	for (size_t i = 0; i < sizeof(nums) / sizeof(*nums); i++)
		json_object_object_add(obj, nums[i].key, json_object_new_uint64(nums[i].val));
	for (const struct counter *c = counters; c->name; c++)
		json_object_object_add(obj, c->name, json_object_new_uint64(counter(q, c)));
	return obj;
}

static int print_json(const struct device *dev)
{
	struct json_object *obj = device_json(dev), *queues = NULL;

	json_object_object_add(obj, "info", dev->has_stat ? info_json(&dev->stat.info) : NULL);
	if (dev->has_stat) {
		queues = json_object_new_array();
		for (unsigned int i = 0; i < dev->stat.info.num_queues; i++)
			json_object_array_add(queues, queue_json(&dev->stat.queue[i]));
	}
	json_object_object_add(obj, "queues", queues);
	return say_json(obj);
}

int cmd_show(const struct args *args)
{
	int dir = cfs_open_device(args->name), ret, node = 0;
	struct device dev;

	if (dir < 0)
		return BLKCTL_FAILED;
	ret = device_read(args->name, dir, &dev);
	close(dir);
	if (ret)
		return say_fail("the configuration of %s can't be read: %s", args->name,
				strerror(-ret));
	if (strcmp(dev.state, "disabled")) {
		node = node_read(args->name, &dev.stat);
		dev.has_stat = !node;
	}
	if (dev.has_stat)	/* of the same moment as the counters */
		snprintf(dev.state, sizeof(dev.state), "%s",
			 device_state_name(dev.stat.info.state));

	ret = BLKCTL_OK;
	if (args->json)
		ret = print_json(&dev);
	else
		print_text(&dev);
	if (node)
		ret = node_say(args->name, node);
	device_free(&dev);
	return ret;
}
