// SPDX-License-Identifier: GPL-2.0
/*
 * Devices: made when configfs enables one, with a node /dev/vhost-blk-NAME, until it is disabled.
 */
#include <linux/idr.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <uapi/linux/virtio_ring.h>

#include "vinf.h"
#include "trace.h"

#define VINF_MINORS	BIT(MINORBITS)
/* Work items of one device that may block at the same time. */
#define VINF_MAX_BLOCKED	16

LIST_HEAD(vinf_devs);
DEFINE_MUTEX(vinf_devs_lock);	/* protects vinf_devs */
static dev_t vinf_devt;
static DEFINE_IDA(vinf_minors);

static struct class vinf_class = {
	.name = "vhost-blk",
};

/* The last reference is gone: no file, no worker, no configfs item. */
static void vinf_dev_release(struct device *device)
{
	struct vinf_dev *dev = container_of(device, struct vinf_dev, device);
	int i;

	/* A worker that was overtaken by its device's end may have armed the one, late. */
	cancel_delayed_work_sync(&dev->stop_work);
	cancel_delayed_work_sync(&dev->heal_work);
	for (i = 0; i < dev->nr_queues; i++)
		vinf_queue_destroy(&dev->queue[i]);
	kvfree(dev->queue);
	if (dev->wq)
		destroy_workqueue(dev->wq);
	if (dev->iotlb.tree) {
		vinf_iotlb_clear(dev);
		vhost_iotlb_free(dev->iotlb.tree);
	}
	vinf_bounce_destroy(&dev->bounce);
	vinf_region_put(dev->region);
	vinf_backing_close(&dev->backing);
	ida_free(&vinf_minors, MINOR(device->devt));
	mutex_destroy(&dev->lock);
	mutex_destroy(&dev->open_lock);
	kfree(dev);
}

/*
 * The parts of a device that can be made before anybody sees it; vinf_dev_release() takes back what
 * there is.
 */
static int vinf_dev_setup(struct vinf_dev *dev, const struct vinf_params *p)
{
	const struct vinf_engine_ops *engine;
	int i, ret;

	ret = vinf_backing_open(&dev->backing, p->path, p->read_only, dev);
	if (ret)
		return ret;
	ret = vinf_config_init(dev, p);
	if (ret)
		return ret;
	/* An engine is held only while a node is open; here it says what a device may offer. */
	engine = vinf_engine_await();
	if (IS_ERR_OR_NULL(engine))
		return engine ? PTR_ERR(engine) : -ENODEV;
	dev->features &= engine->features | ~VINF_RING_FEATURES;
	vinf_engine_put(engine);
	ret = vinf_iotlb_init(dev);
	if (ret)
		return ret;
	/*
	 * Not WQ_MEM_RECLAIM: filesystems flush workqueues that are not, and the kernel warns of
	 * that.
	 */
	dev->wq = alloc_workqueue("vhost-blk-%s", WQ_UNBOUND, VINF_MAX_BLOCKED, dev->name);
	if (!dev->wq)
		return -ENOMEM;
	dev->queue = kvcalloc(p->num_queues, sizeof(*dev->queue), GFP_KERNEL_ACCOUNT);
	if (!dev->queue)
		return -ENOMEM;
	for (i = 0; i < p->num_queues; i++) {
		vinf_queue_init(&dev->queue[i], dev, i);
		dev->nr_queues++;
	}
	return 0;
}

static void vinf_dev_unlink(struct vinf_dev *dev)
{
	mutex_lock(&vinf_devs_lock);
	list_del_init(&dev->link);
	mutex_unlock(&vinf_devs_lock);
}

/**
 * vinf_dev_create - make a device and its node
 * @p: what configfs says
 * @out: the device; the caller has a reference until vinf_dev_destroy()
 *
 * Context: process, may sleep.
 *
 * Return: 0; -ENODEV without an engine; the errnos of vinf_backing_open(); -EINVAL when the logical
 * block size asked for is smaller than the backing's; -ENOSPC when the backing has not one block;
 * -ENOMEM.
 */
int vinf_dev_create(const struct vinf_params *p, struct vinf_dev **out)
{
	struct vinf_dev *dev;
	int ret, minor;

	dev = kzalloc(sizeof(*dev), GFP_KERNEL_ACCOUNT);
	if (!dev)
		return -ENOMEM;
	minor = ida_alloc_max(&vinf_minors, VINF_MINORS - 1, GFP_KERNEL);
	if (minor < 0) {
		kfree(dev);
		return minor;
	}
	strscpy(dev->name, p->name);
	dev->queue_size = p->queue_size;
	dev->drain_timeout_ms = p->drain_timeout_ms;
	dev->pin_memory = p->pin_memory;
	dev->poll_us = p->poll_us;
	dev->sched_batch = p->sched_batch;
	vinf_events_init(&dev->events);
	INIT_DELAYED_WORK(&dev->stop_work, vinf_stop_work);
	INIT_DELAYED_WORK(&dev->heal_work, vinf_heal_work);
	vinf_park_set(dev, p);
	mutex_init(&dev->open_lock);
	mutex_init(&dev->lock);
	spin_lock_init(&dev->config_lock);
	spin_lock_init(&dev->bounce.lock);
	INIT_LIST_HEAD(&dev->bounce.waiting);
	init_waitqueue_head(&dev->idle_wait);
	INIT_DELAYED_WORK(&dev->reap_work, vinf_reap_work);
	INIT_LIST_HEAD(&dev->link);

	device_initialize(&dev->device);
	dev->device.class = &vinf_class;
	dev->device.devt = MKDEV(MAJOR(vinf_devt), minor);
	dev->device.release = vinf_dev_release;
	ret = dev_set_name(&dev->device, "vhost-blk-%s", dev->name);
	if (ret)
		goto err_put;
	ret = vinf_dev_setup(dev, p);
	if (ret)
		goto err_put;
	cdev_init(&dev->cdev, &vinf_node_fops);
	dev->cdev.owner = THIS_MODULE;
	mutex_lock(&vinf_devs_lock);
	list_add_tail(&dev->link, &vinf_devs);
	mutex_unlock(&vinf_devs_lock);
	ret = cdev_device_add(&dev->cdev, &dev->device);
	if (ret)
		goto err_unlink;
	*out = dev;
	return 0;

err_unlink:
	vinf_dev_unlink(dev);
err_put:
	put_device(&dev->device);
	return ret;
}

/**
 * vinf_dev_destroy - remove a device and its node
 * @dev: device
 *
 * Context: process, may sleep.
 *
 * Return: 0; -EBUSY while the node is open or requests of a dead owner are out.
 */
int vinf_dev_destroy(struct vinf_dev *dev)
{
	/* An owner that just died may still be on its way out. */
	wait_event_killable_timeout(dev->idle_wait, !READ_ONCE(dev->dying), HZ);
	mutex_lock(&dev->open_lock);
	if (dev->opens || READ_ONCE(dev->dying) || vinf_dev_orphans(dev)) {
		mutex_unlock(&dev->open_lock);
		return -EBUSY;
	}
	/* An open that is on its way finds it gone. */
	dev->gone = true;
	mutex_unlock(&dev->open_lock);
	vinf_dev_unlink(dev);
	cdev_device_del(&dev->cdev, &dev->device);
	cancel_delayed_work_sync(&dev->reap_work);
	cancel_delayed_work_sync(&dev->stop_work);
	cancel_delayed_work_sync(&dev->heal_work);
	/* The tail of vinf_queue_done(). */
	synchronize_rcu();
	/* A worker that cannot run keeps the device, but must not keep what is below it. */
	drain_workqueue(dev->wq);
	vinf_backing_close(&dev->backing);
	put_device(&dev->device);
	return 0;
}

/*
 * Requests that a dead owner left at the disk: a queue that is stopped in any other way has none.
 */
unsigned int vinf_dev_orphans(struct vinf_dev *dev)
{
	unsigned int n = 0;
	int i;

	for (i = 0; i < dev->nr_queues; i++)
		if (READ_ONCE(dev->queue[i].dead) || !READ_ONCE(dev->queue[i].running))
			n += atomic_read(&dev->queue[i].out);
	return n;
}

static void vinf_dev_config_tell(struct vinf_dev *dev)
{
	lockdep_assert_held(&dev->config_lock);
	vinf_config_refresh(dev);
	dev->config_called = true;
	if (dev->config_call)
		eventfd_signal(dev->config_call);
}

/**
 * vinf_dev_config_changed - tell the driver that config space or the status changed
 * @dev: device
 *
 * One that stands still tells it when it goes on.
 *
 * Context: any.
 */
void vinf_dev_config_changed(struct vinf_dev *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->config_lock, flags);
	if (dev->config_quiet)
		dev->config_late = true;
	else
		vinf_dev_config_tell(dev);
	spin_unlock_irqrestore(&dev->config_lock, flags);
}

/**
 * vinf_dev_config_quiet - a device stands still, or goes on
 * @dev: device
 * @quiet: stands still
 *
 * Context: any.
 */
void vinf_dev_config_quiet(struct vinf_dev *dev, bool quiet)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->config_lock, flags);
	dev->config_quiet = quiet;
	if (!quiet && dev->config_late) {
		dev->config_late = false;
		vinf_dev_config_tell(dev);
	}
	spin_unlock_irqrestore(&dev->config_lock, flags);
}

/**
 * vinf_dev_resize - look at the size of the backing again
 * @dev: device
 *
 * From here on requests are checked against the new size, and a driver is told by a config
 * interrupt.
 *
 * Context: process, may sleep.
 *
 * Return: 0, also when nothing changed; -ENOSPC when the backing has not one block any more: the
 * device then stays as it was, and what is beyond the end fails.
 */
int vinf_dev_resize(struct vinf_dev *dev)
{
	u64 sectors = vinf_backing_sectors(&dev->backing);
	u32 block = dev->limits.blk_size >> SECTOR_SHIFT;

	sectors -= sectors % block;
	if (!sectors)
		return -ENOSPC;
	if (sectors == READ_ONCE(dev->limits.capacity))
		return 0;
	vinf_config_set_capacity(dev, sectors);
	trace_vinf_resize(dev, sectors);
	vinf_dev_config_changed(dev);
	return 0;
}

/* How it stands, broken or not; takes no lock. */
enum vhost_inflight_state vinf_dev_stands(const struct vinf_dev *dev)
{
	static const u8 states[] = {
		[VINF_RUNNING] = VHOST_INFLIGHT_STATE_RUNNING,
		[VINF_SUSPENDED] = VHOST_INFLIGHT_STATE_SUSPENDED,
		[VINF_STOPPING] = VHOST_INFLIGHT_STATE_STOPPING,
		[VINF_STALLED] = VHOST_INFLIGHT_STATE_STALLED,
		[VINF_STOPPED] = VHOST_INFLIGHT_STATE_STOPPED,
	};
	u8 stand = READ_ONCE(dev->stand);

	if (stand != VINF_OFF)
		return states[stand];
	return READ_ONCE(dev->owned) ? VHOST_INFLIGHT_STATE_OWNED : VHOST_INFLIGHT_STATE_FREE;
}

enum vhost_inflight_state vinf_dev_state(struct vinf_dev *dev)
{
	return atomic_read(&dev->needs_reset) ? VHOST_INFLIGHT_STATE_ERROR : vinf_dev_stands(dev);
}

const char *vinf_dev_state_name(struct vinf_dev *dev)
{
	static const char * const names[] = {
		[VHOST_INFLIGHT_STATE_FREE] = "free",
		[VHOST_INFLIGHT_STATE_OWNED] = "owned",
		[VHOST_INFLIGHT_STATE_RUNNING] = "running",
		[VHOST_INFLIGHT_STATE_SUSPENDED] = "suspended",
		[VHOST_INFLIGHT_STATE_ERROR] = "error",
		[VHOST_INFLIGHT_STATE_STOPPING] = "stopping",
		[VHOST_INFLIGHT_STATE_STALLED] = "stalled",
		[VHOST_INFLIGHT_STATE_STOPPED] = "stopped",
	};

	return names[vinf_dev_state(dev)];
}

int __init vinf_dev_module_init(void)
{
	int ret;

	ret = class_register(&vinf_class);
	if (ret)
		return ret;
	ret = alloc_chrdev_region(&vinf_devt, 0, VINF_MINORS, "vhost-blk");
	if (ret)
		class_unregister(&vinf_class);
	return ret;
}

void vinf_dev_module_exit(void)
{
	unregister_chrdev_region(vinf_devt, VINF_MINORS);
	class_unregister(&vinf_class);
	ida_destroy(&vinf_minors);
}
