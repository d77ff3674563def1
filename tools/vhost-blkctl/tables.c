// SPDX-License-Identifier: GPL-2.0
#include <linux/vhost_inflight.h>
#include <linux/virtio_blk.h>

#include "tables.h"

#define COUNTER(field, head)	{ #field, offsetof(struct vhost_inflight_queue_info, field), head }

const struct counter counters[] = {
	COUNTER(requests,		"REQUESTS"),
	COUNTER(reads,			"READS"),
	COUNTER(writes,			"WRITES"),
	COUNTER(flushes,		"FLUSHES"),
	COUNTER(ioerrs,			"IOERRS"),
	COUNTER(kicks,			"KICKS"),
	COUNTER(calls,			"CALLS"),
	COUNTER(calls_suppressed,	"SUPPRESSED"),
	COUNTER(read_bytes,		NULL),
	COUNTER(write_bytes,		NULL),
	COUNTER(discards,		NULL),
	COUNTER(zeroes,			NULL),
	COUNTER(erases,			NULL),
	COUNTER(ids,			NULL),
	COUNTER(unsupps,		NULL),
	COUNTER(bounced,		NULL),
	COUNTER(deferred,		NULL),
	COUNTER(retried,		NULL),
	COUNTER(batches,		NULL),
	COUNTER(broken,			NULL),
	COUNTER(parks,			NULL),
	COUNTER(poll_hits,		NULL),
	COUNTER(poll_misses,		NULL),
	{ }
};

/* Numbers of the virtio specification: the tool knows more names than the driver offers bits. */
const struct bit_name feature_bits[] = {
	{  1, "size_max" },
	{  2, "seg_max" },
	{  4, "geometry" },
	{  5, "ro" },
	{  6, "blk_size" },
	{  9, "flush" },
	{ 10, "topology" },
	{ 11, "config_wce" },
	{ 12, "mq" },
	{ 13, "discard" },
	{ 14, "write_zeroes" },
	{ 15, "lifetime" },
	{ 16, "secure_erase" },
	{ 17, "zoned" },
	{ 28, "indirect_desc" },
	{ 29, "event_idx" },
	{ 32, "version_1" },
	{ 33, "access_platform" },
	{ 34, "ring_packed" },
	{ 35, "in_order" },
	{ 36, "order_platform" },
	{ 39, "partial_order" },
	{ 43, "suspend" },
	{ }
};

const struct bit_name backend_bits[] = {
	{ 1, "iotlb_msg_v2" },
	{ 2, "iotlb_batch" },
	{ 3, "iotlb_asid" },
	{ 4, "suspend" },
	{ 5, "resume" },
	{ 6, "enable_after_driver_ok" },
	{ 7, "desc_asid" },
	{ 8, "iotlb_persist" },
	{ 48, "log" },
	{ 49, "stop" },
	{ }
};

const struct bit_name status_bits[] = {
	{ 0, "acknowledge" },
	{ 1, "driver" },
	{ 2, "driver_ok" },
	{ 3, "features_ok" },
	{ 4, "suspend" },
	{ 5, "stop" },
	{ 6, "needs_reset" },
	{ 7, "failed" },
	{ }
};

static const struct event_kind event_kinds[] = {
	{ VHOST_INFLIGHT_EVENT_PARKED,	"parked",	true,	true },
	{ VHOST_INFLIGHT_EVENT_HEALED,	"healed",	true,	true },
	{ VHOST_INFLIGHT_EVENT_DROPPED,	"dropped",	true,	true },
	{ VHOST_INFLIGHT_EVENT_KEPT,	"kept",		true,	true },
	{ VHOST_INFLIGHT_EVENT_STOPPED,	"stopped" },
	{ VHOST_INFLIGHT_EVENT_STALLED,	"stalled" },
	{ VHOST_INFLIGHT_EVENT_RESUMED,	"resumed" },
	{ VHOST_INFLIGHT_EVENT_BROKEN,	"broken",	true },
	{ 0, NULL, true, true }
};

const struct event_kind *event_kind(__u32 type)
{
	const struct event_kind *kind = event_kinds;

	while (kind->name && kind->type != type)
		kind++;
	return kind;
}

const char *device_state_name(__u32 state)
{
	static const char *const name[] = {
		[VHOST_INFLIGHT_STATE_FREE]		= "free",
		[VHOST_INFLIGHT_STATE_OWNED]		= "owned",
		[VHOST_INFLIGHT_STATE_RUNNING]		= "running",
		[VHOST_INFLIGHT_STATE_SUSPENDED]	= "suspended",
		[VHOST_INFLIGHT_STATE_ERROR]		= "error",
		[VHOST_INFLIGHT_STATE_STOPPING]		= "stopping",
		[VHOST_INFLIGHT_STATE_STALLED]		= "stalled",
		[VHOST_INFLIGHT_STATE_STOPPED]		= "stopped",
	};

	return state < sizeof(name) / sizeof(*name) && name[state] ? name[state] : "unknown";
}

const char *queue_state_name(__u32 state)
{
	static const char *const name[] = {
		[VHOST_INFLIGHT_QUEUE_OFF]		= "off",
		[VHOST_INFLIGHT_QUEUE_RUNNING]		= "running",
		[VHOST_INFLIGHT_QUEUE_DRAINING]		= "draining",
		[VHOST_INFLIGHT_QUEUE_STOPPED]		= "stopped",
		[VHOST_INFLIGHT_QUEUE_ERROR]		= "error",
	};

	return state < sizeof(name) / sizeof(*name) && name[state] ? name[state] : "unknown";
}

const char *request_state_name(__u32 state)
{
	static const char *const name[] = {
		[VHOST_INFLIGHT_REQUEST_QUEUED]		= "queued",
		[VHOST_INFLIGHT_REQUEST_REFUSED]	= "refused",
		[VHOST_INFLIGHT_REQUEST_SUBMITTED]	= "submitted",
		[VHOST_INFLIGHT_REQUEST_DONE]		= "done",
		[VHOST_INFLIGHT_REQUEST_PARKED]		= "parked",
	};

	return state < sizeof(name) / sizeof(*name) && name[state] ? name[state] : "unknown";
}

const char *request_type_name(__u32 type)
{
	static const char *const name[] = {
		[VIRTIO_BLK_T_IN]		= "in",
		[VIRTIO_BLK_T_OUT]		= "out",
		[VIRTIO_BLK_T_FLUSH]		= "flush",
		[VIRTIO_BLK_T_GET_ID]		= "get_id",
		[VIRTIO_BLK_T_DISCARD]		= "discard",
		[VIRTIO_BLK_T_WRITE_ZEROES]	= "write_zeroes",
		[VIRTIO_BLK_T_SECURE_ERASE]	= "secure_erase",
	};

	return type < sizeof(name) / sizeof(*name) && name[type] ? name[type] : "unknown";
}
