// SPDX-License-Identifier: GPL-2.0
/*
 * The node: /dev/vhost-blk-NAME.  Anybody who may open it may look; who owns it drives it.
 */
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vinf.h"

/* One more, which holds the engine. */
static int vinf_node_count(struct vinf_dev *dev, bool nonblock)
{
	int ret = vinf_engine_wait(nonblock);

	if (ret)
		return ret;
	mutex_lock(&dev->open_lock);
	/* There is an engine while the node is open, but for an exchange that takes very long. */
	if (!dev->gone && !dev->engine)
		WRITE_ONCE(dev->engine, vinf_engine_get());
	if (dev->gone)
		ret = -ENODEV;
	else if (!dev->engine)
		ret = -ENXIO;
	else
		dev->opens++;
	mutex_unlock(&dev->open_lock);
	return ret;
}

/**
 * vinf_node_open - open() of a node
 * @inode: the node
 * @file: the new file
 *
 * Does not touch the device: a supervisor may look at one that is in use.  No access mode is needed
 * for anything.  Waits while the engine is being exchanged, but with O_NONBLOCK.
 *
 * Return: 0; -ENODEV when the device is being removed; -ENXIO when no engine is loaded; -EAGAIN
 * with O_NONBLOCK while the engine is being exchanged; -ENOMEM; -EINTR.
 */
static int vinf_node_open(struct inode *inode, struct file *file)
{
	struct vinf_dev *dev = container_of(inode->i_cdev, struct vinf_dev, cdev);
	bool nonblock = file->f_flags & O_NONBLOCK, away = vinf_engine_away();
	struct vinf_file *vf;
	int ret;

	vf = kzalloc(sizeof(*vf), GFP_KERNEL_ACCOUNT);
	if (!vf)
		return -ENOMEM;
	ret = vinf_node_count(dev, nonblock);
	/* It went after the wait. */
	if (ret == -ENXIO && !away)
		ret = vinf_node_count(dev, nonblock);
	if (ret) {
		kfree(vf);
		return ret;
	}
	/* cdev holds the device for as long as an inode refers to it; a file may outlive that. */
	get_device(&dev->device);
	vf->dev = dev;
	vinf_event_open(vf);
	file->private_data = vf;
	return stream_open(inode, file);
}

static int vinf_node_release(struct inode *inode, struct file *file)
{
	struct vinf_file *vf = file->private_data;
	struct vinf_dev *dev = vf->dev;

	vinf_release(dev, vf);
	kfree(vf);
	put_device(&dev->device);
	return 0;
}

static long vinf_node_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return vinf_ioctl(file->private_data, cmd, (void __user *)arg);
}

/* POLLIN: there is an event that this file has not seen. */
static __poll_t vinf_node_poll(struct file *file, poll_table *wait)
{
	struct vinf_file *vf = file->private_data;

	poll_wait(file, &vf->dev->events.wait, wait);
	return vinf_event_pending(vf) ? EPOLLIN | EPOLLRDNORM : 0;
}

/**
 * vinf_node_write_iter - write() on a node: one IOTLB message
 * @iocb: the file
 * @from: the message
 *
 * Return: sizeof(struct vhost_msg_v2), as vhost does; -EINVAL for something that is no message;
 * -EPERM for anybody but the owner, in the owner's memory; -ENOMEM; -EFAULT for everything that the
 * message asks wrongly (vhost's rule; see vinf_iotlb_msg()); -EINTR.
 */
static ssize_t vinf_node_write_iter(struct kiocb *iocb, struct iov_iter *from)
{
	struct vinf_file *vf = iocb->ki_filp->private_data;
	struct vinf_dev *dev = vf->dev;
	struct vhost_iotlb_msg msg;
	ssize_t ret;

	ret = vinf_iotlb_read(from, &msg);
	if (ret)
		return ret;
	if (mutex_lock_killable(&dev->lock))
		return -EINTR;
	if (!vinf_owns(dev, vf)) {
		ret = -EPERM;
	} else {
		ret = vinf_iotlb_msg(dev, &msg);
		/* Vhost's rule; but no memory, or no room to lock it, is not wrongly asked. */
		if (!ret)
			ret = sizeof(struct vhost_msg_v2);
		else if (ret != -ENOMEM)
			ret = -EFAULT;
	}
	mutex_unlock(&dev->lock);
	return ret;
}

const struct file_operations vinf_node_fops = {
	.owner = THIS_MODULE,
	.open = vinf_node_open,
	.release = vinf_node_release,
	.poll = vinf_node_poll,
	.unlocked_ioctl = vinf_node_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.write_iter = vinf_node_write_iter,
};
