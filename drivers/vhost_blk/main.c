// SPDX-License-Identifier: GPL-2.0
/*
 * vhost_blk.ko: the engine.  Module init and exit.
 */
#include <linux/bits.h>
#include <linux/init.h>
#include <linux/module.h>
#include <uapi/linux/vhost_inflight.h>
#include <uapi/linux/virtio_config.h>
#include <uapi/linux/virtio_ring.h>

#include "fault.h"
#include "queue.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

#define VBLK_VERSION	"0.1.0" FAULT_VERSION

static const struct vinf_engine_ops vblk_engine = {
	.abi_version = VINF_ABI_VERSION,
	.size = sizeof(vblk_engine),
	.owner = THIS_MODULE,
	.name = "vhost_blk " VBLK_VERSION,
	.features = BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
		    BIT_ULL(VIRTIO_F_RING_PACKED) | BIT_ULL(VIRTIO_F_IN_ORDER) |
		    BIT_ULL(VIRTIO_F_PARTIAL_ORDER),
	.start = vblk_queue_start,
	.stop = vblk_queue_stop,
	.process = vblk_queue_process,
	.holds = vblk_queue_holds,
	.pending = vblk_queue_pending,
};

static int __init vblk_init(void)
{
	int ret;

	ret = fault_init();
	if (ret)
		return ret;
	ret = vinf_engine_register(&vblk_engine);
	if (ret)
		fault_exit();
	return ret;
}

static void __exit vblk_exit(void)
{
	vinf_engine_unregister(&vblk_engine);
	fault_exit();
}

module_init(vblk_init);
module_exit(vblk_exit);

MODULE_DESCRIPTION("In-kernel virtio-blk device for vhost_inflight");
MODULE_AUTHOR("The vhost-inflight developers");
MODULE_VERSION(VBLK_VERSION);
/* For whoever wants to know before it is inserted. */
MODULE_INFO(vinf_abi, __stringify(VINF_ABI_VERSION));
MODULE_LICENSE("GPL");
