// SPDX-License-Identifier: GPL-2.0
/*
 * vhost_inflight.ko: the holder.  Module init and exit.
 */
#include <linux/init.h>
#include <linux/module.h>

#include "vinf.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

static int __init vinf_init(void)
{
	int ret;

	vinf_wq = alloc_workqueue("vhost_inflight", WQ_UNBOUND, 0);
	vinf_unpin_wq = alloc_workqueue("vhost_inflight_unpin", WQ_UNBOUND, 0);
	ret = -ENOMEM;
	if (!vinf_wq || !vinf_unpin_wq)
		goto err_wq;
	ret = vinf_io_module_init();
	if (ret)
		goto err_wq;
	ret = vinf_dev_module_init();
	if (ret)
		goto err_io;
	ret = vinf_configfs_init();
	if (ret)
		goto err_dev;
	return 0;

err_dev:
	vinf_dev_module_exit();
err_io:
	vinf_io_module_exit();
err_wq:
	if (vinf_unpin_wq)
		destroy_workqueue(vinf_unpin_wq);
	if (vinf_wq)
		destroy_workqueue(vinf_wq);
	return ret;
}

/*
 * Not reached while a configfs item, an open node, a worker or an engine exists: each of them holds
 * the module.  What may still be running is the tail of a work item that dropped such a reference,
 * and destroy_workqueue() waits for it.
 */
static void __exit vinf_exit(void)
{
	vinf_configfs_exit();
	vinf_dev_module_exit();
	destroy_workqueue(vinf_wq);
	destroy_workqueue(vinf_unpin_wq);
	vinf_io_module_exit();
}

module_init(vinf_init);
module_exit(vinf_exit);

MODULE_DESCRIPTION("Holder of in-kernel vhost block devices that lose nothing in flight");
MODULE_AUTHOR("The vhost-inflight developers");
MODULE_LICENSE("GPL");
