/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vhost_inflight

#if !defined(_VINF_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _VINF_TRACE_H

#include <linux/tracepoint.h>

#include "vinf.h"

DECLARE_EVENT_CLASS(vinf_queue_event,
	TP_PROTO(struct vinf_queue *q),
	TP_ARGS(q),
	TP_STRUCT__entry(
		__string(name, q->dev->name)
		__field(u16, index)
		__field(u16, avail)
		__field(u16, used)
		__field(u32, depth)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->index = q->vq.index;
		__entry->avail = q->vq.pos.avail;
		__entry->used = q->vq.pos.used;
		__entry->depth = q->vq.depth;
	),
	TP_printk("%s queue %u avail %u used %u depth %u", __get_str(name), __entry->index,
		  __entry->avail, __entry->used, __entry->depth)
);

/**
 * vinf_kick - the driver notified a queue
 *
 * The first step of a request.  Kicks without a turn of the worker after them are a worker that
 * cannot run.
 */
DEFINE_EVENT(vinf_queue_event, vinf_kick, TP_PROTO(struct vinf_queue *q), TP_ARGS(q));

/**
 * vinf_call - a queue notified the driver
 *
 * The last step of a batch.  Batches without it are normal: a driver may ask for silence.
 */
DEFINE_EVENT(vinf_queue_event, vinf_call, TP_PROTO(struct vinf_queue *q), TP_ARGS(q));

/**
 * vinf_queue_start - a queue was handed to the engine
 */
DEFINE_EVENT(vinf_queue_event, vinf_queue_start, TP_PROTO(struct vinf_queue *q), TP_ARGS(q));

/**
 * vinf_queue_stop - a queue was taken back from the engine; its position is what GET_VRING_BASE
 * tells
 */
DEFINE_EVENT(vinf_queue_event, vinf_queue_stop, TP_PROTO(struct vinf_queue *q), TP_ARGS(q));

/**
 * vinf_ring_moved - the IOTLB put a running queue's rings elsewhere
 */
DEFINE_EVENT(vinf_queue_event, vinf_ring_moved, TP_PROTO(struct vinf_queue *q), TP_ARGS(q));

DECLARE_EVENT_CLASS(
	vinf_req_event, TP_PROTO(struct vinf_queue *q, const struct vinf_req *req), TP_ARGS(q, req),
	TP_STRUCT__entry(__string(name, q->dev->name) __field(u16, index) __field(u16, id)
				 __field(u8, op) __field(int, error) __field(u64, sector)
					 __field(u32, len)),
	TP_fast_assign(__assign_str(name); __entry->index = q->vq.index; __entry->id = req->id;
		       __entry->op = req->op; __entry->error = req->error;
		       __entry->sector = req->sector; __entry->len = req->len;),
	TP_printk("%s queue %u id %u op %s sector %llu len %u error %d", __get_str(name),
		  __entry->index, __entry->id,
		  __print_symbolic(__entry->op, { VINF_OP_NONE, "none" }, { VINF_OP_READ, "read" },
				   { VINF_OP_WRITE, "write" }, { VINF_OP_FLUSH, "flush" },
				   { VINF_OP_DISCARD, "discard" }, { VINF_OP_ZEROES, "zeroes" },
				   { VINF_OP_ERASE, "erase" }),
		  __entry->sector, __entry->len, __entry->error));

/**
 * vinf_submit - a request is on its way to the disk
 *
 * @error is left over from the last use of the request.
 */
DEFINE_EVENT(vinf_req_event, vinf_submit,
	     TP_PROTO(struct vinf_queue *q, const struct vinf_req *req), TP_ARGS(q, req));

/**
 * vinf_done - a request came back from the disk
 *
 * The time since its vinf_submit is the disk's; the time to its vblk_complete is ours.
 */
DEFINE_EVENT(vinf_req_event, vinf_done, TP_PROTO(struct vinf_queue *q, const struct vinf_req *req),
	     TP_ARGS(q, req));

/**
 * vinf_req_park - the disk failed a request, which waits to be tried again
 */
DEFINE_EVENT(vinf_req_event, vinf_req_park,
	     TP_PROTO(struct vinf_queue *q, const struct vinf_req *req), TP_ARGS(q, req));

/**
 * vinf_stand - a device stands otherwise than before
 */
TRACE_EVENT(vinf_stand,
	TP_PROTO(struct vinf_dev *dev, u8 stand),
	TP_ARGS(dev, stand),
	TP_STRUCT__entry(
		__string(name, dev->name)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->from = dev->stand;
		__entry->to = stand;
	),
	TP_printk("%s from %u to %u", __get_str(name), __entry->from, __entry->to)
);

/**
 * vinf_queue_broken - the driver broke a ring, and the queue is not served until the device is
 * reset
 */
TRACE_EVENT(vinf_queue_broken,
	TP_PROTO(struct vinf_queue *q, int error),
	TP_ARGS(q, error),
	TP_STRUCT__entry(
		__string(name, q->dev->name)
		__field(u16, index)
		__field(int, error)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->index = q->vq.index;
		__entry->error = error;
	),
	TP_printk("%s queue %u error %d", __get_str(name), __entry->index, __entry->error)
);

DECLARE_EVENT_CLASS(vinf_engine,
	TP_PROTO(int ret),
	TP_ARGS(ret),
	TP_STRUCT__entry(
		__field(int, ret)
	),
	TP_fast_assign(
		__entry->ret = ret;
	),
	TP_printk("ret %d", __entry->ret)
);

/**
 * vinf_park - a running queue has no engine, until the vinf_attach of the next one
 *
 * @depth requests are taken from the ring and not returned.  For @unsent of these the disk had no
 * room yet: they are recorded and wait for the holder's next attempt.
 */
TRACE_EVENT(vinf_park,
	TP_PROTO(struct vinf_queue *q, unsigned int unsent),
	TP_ARGS(q, unsent),
	TP_STRUCT__entry(
		__string(name, q->dev->name)
		__field(u16, index)
		__field(u32, depth)
		__field(u32, unsent)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->index = q->vq.index;
		__entry->depth = q->vq.depth;
		__entry->unsent = unsent;
	),
	TP_printk("%s queue %u depth %u unsent %u", __get_str(name), __entry->index, __entry->depth,
		  __entry->unsent)
);

/**
 * vinf_detach - all queues were taken from the engine, or none
 */
DEFINE_EVENT(vinf_engine, vinf_detach, TP_PROTO(int ret), TP_ARGS(ret));

/**
 * vinf_attach - an engine registered and has the queues that were without one, or did not
 */
DEFINE_EVENT(vinf_engine, vinf_attach, TP_PROTO(int ret), TP_ARGS(ret));

/**
 * vinf_ioctl - an ioctl of the node came to its end (those of a supervisor are not traced)
 */
TRACE_EVENT(vinf_ioctl,
	TP_PROTO(struct vinf_dev *dev, unsigned int cmd, long ret),
	TP_ARGS(dev, cmd, ret),
	TP_STRUCT__entry(
		__string(name, dev->name)
		__field(unsigned int, cmd)
		__field(long, ret)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->cmd = cmd;
		__entry->ret = ret;
	),
	TP_printk("%s cmd 0x%08x ret %ld", __get_str(name), __entry->cmd, __entry->ret)
);

/**
 * vinf_iotlb_msg - the owner wrote an IOTLB message
 */
TRACE_EVENT(vinf_iotlb_msg, TP_PROTO(struct vinf_dev *dev, const struct vhost_iotlb_msg *msg),
	    TP_ARGS(dev, msg),
	    TP_STRUCT__entry(__string(name, dev->name) __field(u8, type) __field(u8, perm)
				     __field(u64, iova) __field(u64, size) __field(u64, uaddr)),
	    TP_fast_assign(__assign_str(name); __entry->type = msg->type; __entry->perm = msg->perm;
			   __entry->iova = msg->iova; __entry->size = msg->size;
			   __entry->uaddr = msg->uaddr;),
	    TP_printk("%s type %u iova 0x%llx size 0x%llx uaddr 0x%llx perm %u", __get_str(name),
		      __entry->type, __entry->iova, __entry->size, __entry->uaddr, __entry->perm));

DECLARE_EVENT_CLASS(vinf_dev_event,
	TP_PROTO(struct vinf_dev *dev, u64 value),
	TP_ARGS(dev, value),
	TP_STRUCT__entry(
		__string(name, dev->name)
		__field(u64, value)
	),
	TP_fast_assign(
		__assign_str(name);
		__entry->value = value;
	),
	TP_printk("%s %lld", __get_str(name), __entry->value)
);

/**
 * vinf_iotlb_apply - what the owner said about its memory counts from here on; the number of ranges
 */
DEFINE_EVENT(vinf_dev_event, vinf_iotlb_apply, TP_PROTO(struct vinf_dev *dev, u64 value),
	     TP_ARGS(dev, value));

/**
 * vinf_set_status - a client asks for a device status
 */
DEFINE_EVENT(vinf_dev_event, vinf_set_status, TP_PROTO(struct vinf_dev *dev, u64 value),
	     TP_ARGS(dev, value));

/**
 * vinf_drain - a device came to rest, or did not: 0 or -errno
 */
DEFINE_EVENT(vinf_dev_event, vinf_drain, TP_PROTO(struct vinf_dev *dev, u64 value),
	     TP_ARGS(dev, value));

/**
 * vinf_disown - an owner is buried; the number of requests it left at the disk
 */
DEFINE_EVENT(vinf_dev_event, vinf_disown, TP_PROTO(struct vinf_dev *dev, u64 value),
	     TP_ARGS(dev, value));

/**
 * vinf_own - a device has an owner; its process
 */
DEFINE_EVENT(vinf_dev_event, vinf_own, TP_PROTO(struct vinf_dev *dev, u64 value),
	     TP_ARGS(dev, value));

/**
 * vinf_resize - the capacity changed, in units of 512 bytes
 */
DEFINE_EVENT(vinf_dev_event, vinf_resize, TP_PROTO(struct vinf_dev *dev, u64 value),
	     TP_ARGS(dev, value));

#endif /* _VINF_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
