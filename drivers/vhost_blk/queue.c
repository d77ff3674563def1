// SPDX-License-Identifier: GPL-2.0
/*
 * A queue at work: buffers out of the ring, requests to the holder, answers back into the ring.
 *
 * Everything here runs with the holder's lock of the queue held, which makes fetching and
 * publishing one at a time: a buffer that is published can be made available again at once.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>
#include <uapi/linux/vhost_inflight.h>

#include "fault.h"
#include "inflight.h"
#include "queue.h"
#include "req.h"
#include "trace.h"
#include "virtq.h"
#include "virtq_mem.h"

/* Buffers taken in one turn. */
#define VBLK_BATCH	64

/*
 * Answers published at once.  Fewer than are taken: a driver that looks for itself makes new
 * buffers available while the rest of the turn's are answered, and neither waits for the other.
 * One that wants to be notified is, once, when all of them are.
 */
#define VBLK_PUBLISH	8

/* Guest memory of a queue, as the pure layers name it. */
struct virtq_mem {
	struct vinf_vq *vq;
};

/**
 * struct vblk_again - what a device before us had taken and not given back
 * @next: entry of @found that is taken next
 * @call: the driver is to be notified, because it may have missed a notification
 * @kept: the pool says what became of each request
 * @found: what was in flight
 * @snapshot: copy of the region
 */
struct vblk_again {
	unsigned int next;
	bool call, kept;
	struct inflight_found found;
	u64 snapshot[];
};

/**
 * struct vblk_queue - what an engine knows of a queue; all of it can be made again
 * @ring: the ring
 * @mem: guest memory
 * @limits: of the device; the capacity is looked up at every turn
 * @rings_gen: &vinf_vq.rings_gen of the rings that @ring uses
 * @lost: nothing is known of the ring, and nothing is served
 * @nr_done: answers waiting to be published
 * @published: something was published since the driver was last considered for a notification
 * @done: the answers
 * @ranges: of the request being parsed
 * @again: what has to be taken first, NULL once that is done
 * @track: what is recorded
 * @order: what is in flight, in order, where the order means something
 * @fault: whether it is dead, see fault.h
 * @table: copy of an indirect table
 * @segs: segments of the buffer fetched last
 */
struct vblk_queue {
	struct virtq ring;
	struct virtq_mem mem;
	struct vblk_limits limits;
	u32 rings_gen;
	bool lost;
	unsigned int nr_done;
	bool published;
	struct virtq_done done[VBLK_PUBLISH];
	struct vblk_range ranges[VBLK_MAX_RANGES];
	struct vblk_again *again;
	struct inflight track;
	struct virtq_order order;
	struct fault_queue fault;
	struct vring_desc table[VIRTQ_MAX_NUM];
	struct virtq_seg segs[VIRTQ_MAX_NUM];
};

static_assert(sizeof(struct virtq_seg) == sizeof(struct vinf_seg) &&
	      offsetof(struct virtq_seg, addr) == offsetof(struct vinf_seg, addr) &&
	      offsetof(struct virtq_seg, len) == offsetof(struct vinf_seg, len));
static_assert(sizeof(struct vblk_range) == sizeof(struct vinf_range) &&
	      offsetof(struct vblk_range, sector) == offsetof(struct vinf_range, sector) &&
	      offsetof(struct vblk_range, sectors) == offsetof(struct vinf_range, sectors));
static_assert(VBLK_MAX_RANGES >= VINF_MAX_RANGES);
static_assert(VIRTQ_MAX_NUM >= VINF_MAX_QUEUE_SIZE);

/* What each command is to the holder. */
static const u8 vblk_ops[] = {
	[VBLK_OP_READ]		= VINF_OP_READ,
	[VBLK_OP_WRITE]		= VINF_OP_WRITE,
	[VBLK_OP_FLUSH]		= VINF_OP_FLUSH,
	[VBLK_OP_DISCARD]	= VINF_OP_DISCARD,
	[VBLK_OP_ZEROES]	= VINF_OP_ZEROES,
	[VBLK_OP_ERASE]		= VINF_OP_ERASE,
};

/* Where each type is counted, whatever came of it; 0, the counter of all requests, for others. */
static const u8 vblk_type_stats[] = {
	[VIRTIO_BLK_T_IN]		= VINF_STAT_READS,
	[VIRTIO_BLK_T_OUT]		= VINF_STAT_WRITES,
	[VIRTIO_BLK_T_FLUSH]		= VINF_STAT_FLUSHES,
	[VIRTIO_BLK_T_GET_ID]		= VINF_STAT_IDS,
	[VIRTIO_BLK_T_DISCARD]		= VINF_STAT_DISCARDS,
	[VIRTIO_BLK_T_WRITE_ZEROES]	= VINF_STAT_ZEROES,
	[VIRTIO_BLK_T_SECURE_ERASE]	= VINF_STAT_ERASES,
};

static_assert(VINF_STAT_REQUESTS == 0);

int virtq_mem_read(struct virtq_mem *mem, u64 addr, void *dst, u32 len)
{
	return vinf_copy_from(mem->vq, addr, dst, len);
}

static void vblk_get_limits(struct vblk_queue *q, const struct vinf_vq *vq)
{
	const struct vinf_limits *from = vq->limits;

	q->limits = (struct vblk_limits){
		.capacity = READ_ONCE(from->capacity),
		.blk_size = from->blk_size,
		.read_only = from->read_only,
		.features = vq->features,
		.max_data = VINF_MAX_DATA,
		.max_discard_sectors = from->max_discard_sectors,
		.max_discard_seg = from->max_discard_seg,
		.max_write_zeroes_sectors = from->max_write_zeroes_sectors,
		.max_write_zeroes_seg = from->max_write_zeroes_seg,
		.max_secure_erase_sectors = from->max_secure_erase_sectors,
		.max_secure_erase_seg = from->max_secure_erase_seg,
	};
	BUILD_BUG_ON(sizeof(q->limits.id) != sizeof(from->serial));
	memcpy(q->limits.id, from->serial, sizeof(q->limits.id));
}

/* All that the engine itself writes to the driver's buffers. 0 or -EFAULT. */
static int vblk_write(struct vinf_vq *vq, u64 addr, const void *src, u32 len)
{
	return fault_dead() ? 0 : vinf_copy_to(vq, addr, src, len);
}

static void vblk_save_pos(struct vblk_queue *q, struct vinf_vq *vq)
{
	struct virtq_pos pos;

	if (q->lost || fault_dead())
		return;
	virtq_get_pos(&q->ring, &pos);
	vq->pos = (struct vinf_pos){
		.avail = pos.avail, .used = pos.used,
		.avail_wrap = pos.avail_wrap, .used_wrap = pos.used_wrap,
	};
}

static enum virtq_layout vblk_layout(const struct vinf_vq *vq)
{
	return vq->features & BIT_ULL(VIRTIO_F_RING_PACKED) ? VIRTQ_PACKED : VIRTQ_SPLIT;
}

/* Where to start, and with what. 0 or -errno, and &vblk_queue.again is left to the caller. */
static int vblk_open_region(struct vblk_queue *q, struct vinf_vq *vq)
{
	size_t len = inflight_size(vblk_layout(vq), vq->region_num);

	q->again = kvzalloc(struct_size(q->again, snapshot, len / sizeof(u64)),
			    GFP_KERNEL_ACCOUNT);
	if (!q->again)
		return -ENOMEM;
	/* Others have it mapped: looked at once. */
	memcpy(q->again->snapshot, vq->region, len);
	q->again->call = vq->handed || vq->kept;
	q->again->kept = vq->kept;
	return inflight_open(&q->track, &(struct inflight_cfg){
		.layout = vblk_layout(vq),
		.num = vq->num,
		.desc_num = vq->region_num,
		.region = vq->region,
		.snapshot = q->again->snapshot,
		.desc = vq->rings.desc,
		.device = vq->rings.device,
		.pos = {
			.avail = vq->pos.avail, .used = vq->pos.used,
			.avail_wrap = vq->pos.avail_wrap, .used_wrap = vq->pos.used_wrap,
		},
		.told = vq->told,
		.batched = vq->features & (BIT_ULL(VIRTIO_F_IN_ORDER) |
					   BIT_ULL(VIRTIO_F_PARTIAL_ORDER)),
	}, &q->again->found);
}

static void vblk_queue_free(struct vblk_queue *q)
{
	fault_forget(&q->fault);
	kvfree(q->again);
	kvfree(q);
}

static int vblk_queue_open(struct vblk_queue *q, struct vinf_vq *vq)
{
	int ret;

	q->mem.vq = vq;
	q->rings_gen = vq->rings_gen;
	vblk_get_limits(q, vq);
	ret = vblk_open_region(q, vq);
	if (ret)
		return ret;
	return virtq_init(&q->ring, &(struct virtq_cfg){
		.layout = vblk_layout(vq),
		.num = vq->num,
		.event_idx = vq->features & BIT_ULL(VIRTIO_RING_F_EVENT_IDX),
		.indirect = vq->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC),
		.in_order = vq->features & BIT_ULL(VIRTIO_F_IN_ORDER),
		.partial_order = vq->features & BIT_ULL(VIRTIO_F_PARTIAL_ORDER),
		.desc = vq->rings.desc,
		.driver = vq->rings.driver,
		.device = vq->rings.device,
		.segs = q->segs,
		.max_segs = ARRAY_SIZE(q->segs),
		.table = q->table,
		.order = &q->order,
		.track = &q->track,
		.mem = &q->mem,
	}, &q->again->found.pos);
}

/*
 * What is at the disk must be in flight by the region as well, or there is no telling where its
 * answer goes. Others can write to the region.
 */
static int vblk_check_kept(struct vblk_queue *q, struct vinf_vq *vq)
{
	struct inflight_found *found = &q->again->found;
	u16 id;

	memset(found->mark, 0, sizeof(found->mark));
	for (id = 0; id < found->nr; id++)
		found->mark[found->buf[id].id] = 1;
	for (id = 0; id < vq->num; id++)
		if (vinf_vq_req(vq, id)->busy && !found->mark[id])
			return -EUCLEAN;
	return 0;
}

/*
 * A queue of which it is not known any more what is in flight: it is broken, and what comes back
 * from the disk is dropped. It must not keep the engine from other queues.
 */
static void vblk_lose(struct vblk_queue *q, struct vinf_vq *vq, int err)
{
	u32 depth = 0;
	u16 id;

	q->lost = true;
	kvfree(q->again);
	q->again = NULL;
	for (id = 0; id < vq->num; id++)
		depth += vinf_vq_req(vq, id)->busy;
	WRITE_ONCE(vq->depth, depth);
	vq->gone = 1;
	vinf_vq_broken(vq, err, "its ring or inflight region was changed by somebody else");
}

/**
 * vblk_queue_start - &vinf_engine_ops.start
 * @vq: queue with its rings and its region mapped
 *
 * Return: 0; -ENOMEM; -EINVAL when the ring's size, alignment or position make no sense; the errnos
 * of inflight_open(). In an exchange of engines -ENOMEM alone: a queue whose ring or region makes
 * no sense is broken, and no other notices.
 */
int vblk_queue_start(struct vinf_vq *vq)
{
	struct vblk_queue *q;
	int ret;

	q = kvzalloc(sizeof(*q), GFP_KERNEL_ACCOUNT);
	if (!q)
		return -ENOMEM;
	fault_enter(&q->fault, vq);
	ret = vblk_queue_open(q, vq);
	if (!ret && vq->kept)
		ret = vblk_check_kept(q, vq);
	if (!ret) {
		vq->priv = q;
		WRITE_ONCE(vq->depth, q->again->found.nr);
		vblk_save_pos(q, vq);
	} else if (vq->kept && ret != -ENOMEM) {
		vq->priv = q;
		vblk_lose(q, vq, ret);
		ret = 0;
	}
	fault_leave(&q->fault);
	if (ret)
		vblk_queue_free(q);
	return ret;
}

/*
 * A dead engine may have had answers of which nobody can say how far they got: what it says of them
 * does not count, and they are done again.
 */
static void vblk_bury(struct vinf_vq *vq)
{
	u16 id;

	for (id = 0; id < vq->num; id++)
		vinf_vq_req(vq, id)->flags &= ~VINF_REQ_ANSWERED;
}

/**
 * vblk_queue_stop - &vinf_engine_ops.stop
 * @vq: queue
 */
void vblk_queue_stop(struct vinf_vq *vq)
{
	struct vblk_queue *q = vq->priv;

	fault_enter(&q->fault, vq);
	vblk_save_pos(q, vq);
	if (fault_dead())
		vblk_bury(vq);
	fault_leave(&q->fault);
	vq->priv = NULL;
	vblk_queue_free(q);
}

/* ---- back into the ring ---- */

/* The answers become visible to the driver, all at once. */
static void vblk_publish(struct vblk_queue *q, struct vinf_vq *vq)
{
	if (!q->nr_done)
		return;
	if (!vq->gone) {
		if (virtq_publish(&q->ring, q->done, q->nr_done)) {
			fault_here(FAULT_COMMITTED);
			vq->stat[VINF_STAT_BATCHES]++;
			q->published = true;
		}
		trace_vblk_publish(vq, q->nr_done);
	}
	q->nr_done = 0;
}

/* At most one notification for all that was published since the last one. */
static void vblk_notify(struct vblk_queue *q, struct vinf_vq *vq)
{
	if (!q->published || vq->gone || fault_dead())
		return;
	q->published = false;
	if (virtq_need_call(&q->ring))
		vinf_vq_call(vq);
	else
		vq->stat[VINF_STAT_CALLS_SUPPRESSED]++;
}

/* Not out any more; given back by the caller, or not at all when nobody is left to take it. */
static void vblk_drop(struct vinf_vq *vq, struct vinf_req *req)
{
	req->busy = 0;
	WRITE_ONCE(vq->depth, vq->depth - 1);
}

static void vblk_count(struct vinf_vq *vq, const struct vinf_req *req, u8 status)
{
	u64 *stat = vq->stat;

	stat[VINF_STAT_REQUESTS]++;
	if (req->type < ARRAY_SIZE(vblk_type_stats) && vblk_type_stats[req->type])
		stat[vblk_type_stats[req->type]]++;
	switch (status) {
	case VIRTIO_BLK_S_OK:
		if (req->op == VINF_OP_READ)
			stat[VINF_STAT_READ_BYTES] += req->len;
		else if (req->op == VINF_OP_WRITE)
			stat[VINF_STAT_WRITE_BYTES] += req->len;
		break;
	case VIRTIO_BLK_S_UNSUPP:
		stat[VINF_STAT_UNSUPPS]++;
		break;
	default:
		stat[VINF_STAT_IOERRS]++;
	}
}

/* Its used entry goes with the batch. */
static void vblk_answered(struct vblk_queue *q, struct vinf_vq *vq, struct vinf_req *req)
{
	q->done[q->nr_done++] = (struct virtq_done){
		.id = req->id, .ndesc = req->ndesc, .len = req->used_len,
	};
	vblk_drop(vq, req);
	if (q->nr_done == ARRAY_SIZE(q->done))
		vblk_publish(q, vq);
}

/* A request has its answer: the status byte now, the used entry with the batch. */
static void vblk_complete(struct vblk_queue *q, struct vinf_vq *vq, struct vinf_req *req, u8 status)
{
	if (vq->gone) {
		vblk_drop(vq, req);
		return;
	}
	fault_here(FAULT_STATUS);
	if (vblk_write(vq, req->status_addr, &status, sizeof(status))) {
		req->error = -EFAULT;
		vblk_drop(vq, req);
		vinf_vq_broken(vq, -EFAULT, "a status byte is not mapped writable");
		return;
	}
	fault_here(FAULT_ANSWERED);
	trace_vblk_complete(vq, req, status);
	vblk_count(vq, req, status);
	if (status != VIRTIO_BLK_S_OK)
		req->used_len = req->failed_len;
	req->flags |= VINF_REQ_ANSWERED;
	vblk_answered(q, vq, req);
}

static u8 vblk_status(int error)
{
	switch (error) {
	case 0:
		return VIRTIO_BLK_S_OK;
	case -EOPNOTSUPP:
		return VIRTIO_BLK_S_UNSUPP;
	default:
		return VIRTIO_BLK_S_IOERR;
	}
}

/* What came back from the disk, oldest first. */
static void vblk_reap(struct vblk_queue *q, struct vinf_vq *vq)
{
	struct llist_node *node = llist_reverse_order(llist_del_all(&vq->done));
	struct vinf_req *req, *next;

	llist_for_each_entry_safe(req, next, node, done) {
		vinf_req_finish(vq, req);
		/*
		 * Never reached the disk because the owner is being killed: nobody is left to tell.
		 */
		if (req->error == -ECANCELED)
			vblk_drop(vq, req);
		else
			vblk_complete(q, vq, req, vblk_status(req->error));
	}
}

/* ---- out of the ring ---- */

/* GET_ID: 20 bytes, padded with NUL, into whatever the driver gave. */
static int vblk_answer_id(struct vblk_queue *q, struct vinf_vq *vq, const struct vblk_cmd *cmd)
{
	u32 off = 0, n;
	int i, ret;

	for (i = 0; i < cmd->nr_data && off < sizeof(q->limits.id); i++) {
		n = min_t(u32, cmd->data[i].len, sizeof(q->limits.id) - off);
		ret = vblk_write(vq, cmd->data[i].addr, q->limits.id + off, n);
		if (ret)
			return ret;
		off += n;
	}
	return 0;
}

static int vblk_issue(struct vblk_queue *q, struct vinf_vq *vq, struct vinf_req *req,
		      const struct vblk_cmd *cmd)
{
	int ret;

	switch (cmd->op) {
	case VBLK_OP_ID:
		ret = vblk_answer_id(q, vq, cmd);
		if (!ret)
			vblk_complete(q, vq, req, VIRTIO_BLK_S_OK);
		return ret;
	case VBLK_OP_WRITE:
	case VBLK_OP_ZEROES:
		/* Write-through for a driver that cannot flush; virtio 1.4, 5.2.6.2. */
		if (!(vq->features & BIT_ULL(VIRTIO_BLK_F_FLUSH)))
			req->flags |= VINF_REQ_STABLE;
		break;
	default:
		break;
	}
	req->op = vblk_ops[cmd->op];
	/* The two types of segment and of range are the same, see the assertions above. */
	ret = vinf_req_submit(vq, req, (const struct vinf_seg *)cmd->data, cmd->nr_data,
			      (const struct vinf_range *)cmd->ranges);
	if (!ret)
		fault_here(FAULT_SUBMITTED);
	return ret;
}

/* What was taken is no request, and stays in flight: who looks on is not shown the one before. */
static int vblk_no_request(struct vinf_req *req, u64 counter, int err)
{
	req->op = VINF_OP_NONE;
	req->flags = 0;
	req->type = U32_MAX;
	req->error = err;
	req->len = 0;
	req->nr_ranges = 0;
	req->sector = 0;
	req->counter = counter;
	req->taken = jiffies;
	return err;
}

/* One buffer on its way; -errno when it shows that the driver broke the rules. */
static int vblk_begin(struct vblk_queue *q, struct vinf_vq *vq, const struct virtq_chain *chain,
		      u64 counter)
{
	struct vinf_req *req = vinf_vq_req(vq, chain->id);
	struct vblk_cmd cmd = { .ranges = q->ranges };
	int ret;

	/* The disk has it: then its id is in the ring only if somebody wrote to the region. */
	if (unlikely(req->busy))
		return -EEXIST;
	ret = vblk_parse(&q->limits, &q->mem, chain, &cmd);
	if (ret)
		return vblk_no_request(req, counter, ret);
	trace_vblk_fetch(vq, chain, &cmd);
	req->id = chain->id;
	req->ndesc = chain->ndesc;
	req->op = VINF_OP_NONE;
	req->flags = 0;
	req->busy = 1;
	req->type = cmd.type;
	req->error = 0;
	req->len = cmd.len;
	req->used_len = cmd.used_len;
	req->failed_len = cmd.failed_len;
	req->nr_ranges = cmd.nr_ranges;
	req->sector = cmd.sector;
	req->counter = counter;
	req->taken = jiffies;
	req->status_addr = cmd.status_addr;
	WRITE_ONCE(vq->depth, vq->depth + 1);
	if (vq->depth > vq->depth_max)
		WRITE_ONCE(vq->depth_max, vq->depth);

	if (cmd.op == VBLK_OP_NONE) {
		req->failed_len = cmd.used_len;
		vblk_complete(q, vq, req, cmd.status);
		return 0;
	}
	ret = vblk_issue(q, vq, req, &cmd);
	if (ret) {
		req->error = ret;
		vblk_drop(vq, req);
	}
	return ret;
}

static void vblk_broken(struct vinf_vq *vq, int err)
{
	static const struct {
		int err;
		const char *what;
	} reasons[] = {
		{ -EINVAL, "an index, a table or a request makes no sense" },
		{ -ELOOP, "descriptors form a loop" },
		{ -E2BIG, "a chain is longer than the device takes" },
		{ -EOVERFLOW, "a length wraps" },
		{ -EFAULT, "an address is not mapped as it must be" },
		{ -EEXIST, "a buffer was made available twice" },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(reasons); i++)
		if (reasons[i].err == err)
			break;
	vinf_vq_broken(vq, err,
		       i < ARRAY_SIZE(reasons) ? reasons[i].what : "a request makes no sense");
}

/*
 * A buffer that was in flight. Of those that the engine before us left to the holder some come back
 * by themselves, and some have their answer already. -errno when the ring is broken.
 */
static int vblk_again(struct vblk_queue *q, struct vinf_vq *vq, const struct inflight_buf *buf)
{
	struct vinf_req *req = vinf_vq_req(vq, buf->id);
	struct virtq_chain chain;
	int ret;

	ret = virtq_refetch(&q->ring, buf, &chain);
	if (q->again->kept && req->busy) {
		/* It can't be given back, and will come. */
		if (ret < 0)
			vq->gone = 1;
		return ret < 0 ? ret : 0;
	}
	/* Whatever becomes of it counts afresh. */
	WRITE_ONCE(vq->depth, vq->depth - 1);
	if (ret < 0 || vq->broken)
		return ret < 0 ? ret : 0;
	if (!q->again->kept || !(req->flags & VINF_REQ_ANSWERED))
		return vblk_begin(q, vq, &chain, buf->counter);
	req->busy = 1;
	WRITE_ONCE(vq->depth, vq->depth + 1);
	vblk_answered(q, vq, req);
	return 0;
}

/* Take again what was in flight, oldest first.  True when that is done. */
static bool vblk_take_again(struct vblk_queue *q, struct vinf_vq *vq)
{
	struct vblk_again *a = q->again;
	int i, ret;

	for (i = 0; i < VBLK_BATCH && a->next < a->found.nr; i++) {
		ret = vblk_again(q, vq, &a->found.buf[a->next++]);
		fault_here(FAULT_AGAIN);
		if (fault_dead())
			return false;
		if (ret < 0)
			vblk_broken(vq, ret);
	}
	if (a->next < a->found.nr)
		return false;
	fault_here(FAULT_RECALL);
	if (a->call && !vq->gone && !fault_dead())
		vinf_vq_call(vq);
	q->again = NULL;
	kvfree(a);
	return true;
}

/* Take what is new.  True when there may be more. */
static bool vblk_take(struct vblk_queue *q, struct vinf_vq *vq)
{
	struct virtq_chain chain;
	int i, ret;

	virtq_disable_kick(&q->ring);
	fault_here(FAULT_QUIET);
	for (i = 0; i < VBLK_BATCH; i++) {
		ret = virtq_fetch(&q->ring, &chain);
		if (ret > 0)
			fault_here(FAULT_RECORDED);
		if (fault_dead())
			return false;
		if (!ret) {
			if (vq->polled || !virtq_enable_kick(&q->ring))
				return false;
			/* A buffer slipped in for which nobody will kick. */
			virtq_disable_kick(&q->ring);
			continue;
		}
		if (ret > 0)
			ret = vblk_begin(q, vq, &chain, q->track.counter - 1);
		if (ret < 0) {
			vblk_broken(vq, ret);
			return false;
		}
		if (vq->broken)
			return false;
	}
	return true;
}

/* Answers go out before new requests come in: the guest may be waiting for them. */
static bool vblk_turn(struct vblk_queue *q, struct vinf_vq *vq)
{
	bool more = false;

	if (q->lost) {
		vblk_reap(q, vq);
		return false;
	}
	if (q->rings_gen != vq->rings_gen) {
		virtq_set_rings(&q->ring, vq->rings.desc, vq->rings.driver, vq->rings.device);
		q->rings_gen = vq->rings_gen;
	}
	q->limits.capacity = READ_ONCE(vq->limits->capacity);

	if (q->again && !vblk_take_again(q, vq))
		return true;
	vblk_reap(q, vq);
	vblk_publish(q, vq);
	vblk_notify(q, vq);
	if (!vq->broken && !READ_ONCE(vq->quiesce) && !fault_dead()) {
		more = vblk_take(q, vq);
		vblk_publish(q, vq);
		vblk_notify(q, vq);
	}
	return more;
}

/**
 * vblk_queue_process - &vinf_engine_ops.process
 * @vq: queue
 *
 * Return: true when there is more to do.
 */
bool vblk_queue_process(struct vinf_vq *vq)
{
	struct vblk_queue *q = vq->priv;
	bool more = false;

	fault_enter(&q->fault, vq);
	if (!fault_dead()) {
		more = vblk_turn(q, vq);
		vblk_save_pos(q, vq);
	}
	fault_leave(&q->fault);
	return more;
}

/* In flight by the region, and no turn has come to it yet. */
static bool vblk_still_to_take(const struct vblk_again *a, u16 id)
{
	u32 i;

	for (i = a->next; i < a->found.nr; i++)
		if (a->found.buf[i].id == id)
			return true;
	return false;
}

/**
 * vblk_queue_holds - &vinf_engine_ops.holds
 * @vq: queue
 * @id: buffer id
 *
 * Return: true from fetching the buffer to publishing it; also of what an engine before this one
 * fetched: a stop needs no turn to end when the holder keeps all of it.
 */
bool vblk_queue_holds(const struct vinf_vq *vq, u16 id)
{
	const struct vblk_queue *q = vq->priv;

	return virtq_in_flight(&q->ring, id) || (q->again && vblk_still_to_take(q->again, id));
}

/**
 * vblk_queue_pending - &vinf_engine_ops.pending
 * @vq: queue
 * @arm: the driver is to kick
 *
 * Return: true if a turn would find something new.
 */
bool vblk_queue_pending(struct vinf_vq *vq, bool arm)
{
	struct vblk_queue *q = vq->priv;
	bool pending = false;

	fault_enter(&q->fault, vq);
	/* Rings that are elsewhere by now are for a turn. */
	if (!q->lost && !fault_dead())
		pending = q->rings_gen != vq->rings_gen ||
			  (arm ? virtq_enable_kick(&q->ring) : !virtq_empty(&q->ring));
	fault_leave(&q->fault);
	return pending;
}
