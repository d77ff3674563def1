/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM vhost_blk

#if !defined(_VBLK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _VBLK_TRACE_H

#include <linux/tracepoint.h>
#include <linux/vhost_inflight.h>

#include "req.h"

/**
 * vblk_fetch - a buffer was taken from the ring and understood
 *
 * Between vinf_kick and this is the time a worker took to wake up.
 */
TRACE_EVENT(vblk_fetch,
	    TP_PROTO(const struct vinf_vq *vq, const struct virtq_chain *chain,
		     const struct vblk_cmd *cmd),
	    TP_ARGS(vq, chain, cmd),
	    TP_STRUCT__entry(__field(const void *, vq) __field(u16, index) __field(u16, id)
				     __field(u16, nr_segs) __field(u32, type) __field(u64, sector)
					     __field(u32, len)),
	    TP_fast_assign(__entry->vq = vq; __entry->index = vq->index; __entry->id = chain->id;
			   __entry->nr_segs = chain->nr_segs; __entry->type = cmd->type;
			   __entry->sector = cmd->sector; __entry->len = cmd->len;),
	    TP_printk("%p queue %u id %u segments %u type %u sector %llu len %u", __entry->vq,
		      __entry->index, __entry->id, __entry->nr_segs, __entry->type, __entry->sector,
		      __entry->len));

/**
 * vblk_complete - a request has its status in guest memory and waits to be published
 */
TRACE_EVENT(vblk_complete,
	    TP_PROTO(const struct vinf_vq *vq, const struct vinf_req *req, u8 status),
	    TP_ARGS(vq, req, status),
	    TP_STRUCT__entry(__field(const void *, vq) __field(u16, index) __field(u16, id)
				     __field(u8, status)),
	    TP_fast_assign(__entry->vq = vq; __entry->index = vq->index; __entry->id = req->id;
			   __entry->status = status;),
	    TP_printk("%p queue %u id %u status %u", __entry->vq, __entry->index, __entry->id,
		      __entry->status));

/**
 * vblk_publish - a batch of used entries became visible to the driver
 */
TRACE_EVENT(vblk_publish,
	TP_PROTO(const struct vinf_vq *vq, unsigned int n),
	TP_ARGS(vq, n),
	TP_STRUCT__entry(
		__field(const void *, vq)
		__field(u16, index)
		__field(unsigned int, n)
	),
	TP_fast_assign(
		__entry->vq = vq;
		__entry->index = vq->index;
		__entry->n = n;
	),
	TP_printk("%p queue %u buffers %u", __entry->vq, __entry->index, __entry->n)
);

#endif /* _VBLK_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
