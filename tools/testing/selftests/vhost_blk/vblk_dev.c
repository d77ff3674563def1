// SPDX-License-Identifier: GPL-2.0
/* The node: open, own, negotiate, memory, messages. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vblk_dev.h"

int vd_ioctl(struct vd *d, unsigned long cmd, void *arg)
{
	int ret = ioctl(d->fd, cmd, arg);

	return ret < 0 ? -errno : ret;
}

int vd_status(struct vd *d)
{
	__u8 status = 0;
	int ret = vd_ioctl(d, VHOST_VDPA_GET_STATUS, &status);

	return ret < 0 ? ret : status;
}

int vd_set_status(struct vd *d, __u8 status)
{
	return vd_ioctl(d, VHOST_VDPA_SET_STATUS, &status);
}

int vd_info(struct vd *d, struct vhost_inflight_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	return vd_ioctl(d, VHOST_INFLIGHT_GET_INFO, info);
}

int vd_qinfo(struct vd *d, unsigned int index, struct vhost_inflight_queue_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	info->index = index;
	return vd_ioctl(d, VHOST_INFLIGHT_GET_QUEUE, info);
}

int vd_get_config(struct vd *d, unsigned int off, void *buf, unsigned int len)
{
	struct vhost_vdpa_config *c = calloc(1, sizeof(*c) + len);
	int ret;

	c->off = off;
	c->len = len;
	ret = vd_ioctl(d, VHOST_VDPA_GET_CONFIG, c);
	if (!ret)
		memcpy(buf, c->buf, len);
	free(c);
	return ret;
}

int vd_vring_state(struct vd *d, unsigned long cmd, unsigned int index, unsigned int num)
{
	struct vhost_vring_state s = { .index = index, .num = num };

	return vd_ioctl(d, cmd, &s);
}

int vd_vring_file(struct vd *d, unsigned long cmd, unsigned int index, int fd)
{
	struct vhost_vring_file f = { .index = index, .fd = fd };

	return vd_ioctl(d, cmd, &f);
}

__s64 vd_get_base(struct vd *d, unsigned int index)
{
	struct vhost_vring_state s = { .index = index };
	int ret = vd_ioctl(d, VHOST_GET_VRING_BASE, &s);

	return ret < 0 ? ret : (__s64)s.num;
}

int vd_suspend(struct vd *d)
{
	return vd_ioctl(d, VHOST_VDPA_SUSPEND, NULL);
}

int vd_renew(struct vd *d)
{
	struct vd_entry e;
	unsigned int i;

	for (i = 0; i < d->nq; i++) {
		if (d->q[i]->handing || d->q[i]->ops->used(d->q[i], &e))
			return -EBUSY;
		vd_queue_features(d->q[i]);
	}
	return 0;
}

int vd_resume(struct vd *d)
{
	return vd_renew(d) ?: vd_ioctl(d, VHOST_VDPA_RESUME, NULL);
}

int vd_msg(struct vd *d, __u8 type, __u64 iova, __u64 size, void *va, __u8 perm)
{
	struct vhost_iotlb_msg m = { .iova = iova, .size = size, .uaddr = (unsigned long)va, .perm = perm, .type = type };
	struct vhost_msg_v2 v2 = { .type = VHOST_IOTLB_MSG_V2, .iotlb = m };
	struct vhost_msg v1 = { .type = VHOST_IOTLB_MSG, .iotlb = m };
	ssize_t ret;

	_Static_assert(sizeof(v1) == 72 && sizeof(v2) == 72, "both messages are 72 bytes");
	ret = d->msg_v1 ? write(d->fd, &v1, sizeof(v1)) : write(d->fd, &v2, sizeof(v2));
	return ret < 0 ? -errno : (int)ret;
}

/* Guest memory */

__u64 vd_alloc(struct vd *d, __u64 size, __u64 align)
{
	__u64 at = (d->brk + align - 1) & ~(align - 1);

	if (at + size > d->mem[0].iova + d->mem[0].size)
		return VD_NOADDR;
	d->brk = at + size;
	return at;
}

void *vd_ptr(struct vd *d, __u64 iova)
{
	unsigned int i;

	for (i = 0; i < d->nr_mem; i++)
		if (iova - d->mem[i].iova < d->mem[i].size)
			return d->mem[i].va + (iova - d->mem[i].iova);
	return NULL;
}

int vd_open(struct vd *d, const char *name, const struct vd_opts *opts)
{
	static const struct vd_opts defaults;
	struct vd_opts *o = &d->opts;

	memset(d, 0, sizeof(*d));
	d->opts = opts ? *opts : defaults;
	if (!o->mem_size)
		o->mem_size = 16 << 20;
	if (!o->num)
		o->num = 256;
	if (!o->num_queues)
		o->num_queues = 1;
	d->msg_v1 = o->msg_v1;
	d->no_batch = o->no_batch;
	d->memfd = -1;
	d->config_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	d->mem[0].iova = o->iova;
	d->mem[0].size = o->mem_size;
	if (!o->anon) {
		d->memfd = memfd_create("guest", MFD_CLOEXEC);
		if (d->memfd < 0 || ftruncate(d->memfd, o->mem_size))
			return -errno;
	}
	d->mem[0].va = mmap(NULL, o->mem_size, PROT_READ | PROT_WRITE,
			    o->anon ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, d->memfd, 0);
	if (d->mem[0].va == MAP_FAILED)
		return -errno;
	d->nr_mem = 1;
	d->brk = o->iova;
	d->fd = vd_node_open(name, o->open_flags ? o->open_flags : O_RDWR);
	return d->fd < 0 ? d->fd : 0;
}

int vd_negotiate(struct vd *d)
{
	__u64 backend, features;
	int ret;

	ret = vd_ioctl(d, VHOST_SET_OWNER, NULL);
	if (ret && ret != -EBUSY)
		return ret;
	ret = vd_set_status(d, VD_S_ACK) ?: vd_set_status(d, VD_S_ACK | VD_S_DRIVER);
	if (ret)
		return ret;
	ret = vd_ioctl(d, VHOST_GET_FEATURES, &d->offered);
	if (ret)
		return ret;
	features = d->offered & ~d->opts.drop_features;
	ret = vd_ioctl(d, VHOST_SET_FEATURES, &features);
	if (ret)
		return ret;
	d->features = features;
	ret = vd_set_status(d, VD_S_ACK | VD_S_DRIVER | VD_S_FEATURES_OK);
	if (ret)
		return ret;
	ret = vd_ioctl(d, VHOST_GET_BACKEND_FEATURES, &backend);
	if (ret)
		return ret;
	if (d->msg_v1)
		backend &= ~(VD_BE_MSG_V2 | VD_BE_BATCH);
	return vd_ioctl(d, VHOST_SET_BACKEND_FEATURES, &backend);
}

int vd_setup_queue(struct vd *d, struct vd_queue *q, const __u32 *base)
{
	struct vhost_vring_addr addr = {
		.index = q->index,
		.desc_user_addr = q->desc_iova,
		.avail_user_addr = q->avail_iova,
		.used_user_addr = q->used_iova,
	};

	vd_queue_features(q);
	return vd_vring_state(d, VHOST_SET_VRING_NUM, q->index, q->num) ?:
	       (base ? vd_vring_state(d, VHOST_SET_VRING_BASE, q->index, *base) : 0) ?:
	       vd_ioctl(d, VHOST_SET_VRING_ADDR, &addr) ?:
	       vd_vring_file(d, VHOST_SET_VRING_KICK, q->index, d->opts.no_kickfd ? -1 : q->kick) ?:
	       vd_vring_file(d, VHOST_SET_VRING_CALL, q->index, q->polled ? -1 : q->call) ?:
	       vd_vring_file(d, VHOST_SET_VRING_ERR, q->index, q->err) ?:
	       vd_vring_state(d, VHOST_VDPA_SET_VRING_ENABLE, q->index, 1);
}

int vd_setup_queues(struct vd *d)
{
	unsigned int i;
	__u32 base;
	int ret = 0;

	for (i = 0; i < d->opts.num_queues && !ret; i++) {
		if (!d->q[i]) {
			d->q[i] = vd_queue_new(d, i, d->opts.num);
			if (!d->q[i])
				return -ENOMEM;
			d->nq = i + 1;
		}
		base = d->q[i]->ops->base(d->q[i]);
		ret = vd_setup_queue(d, d->q[i], &base);
	}
	return ret;
}

int vd_map_all(struct vd *d)
{
	bool batch = !d->msg_v1 && !d->no_batch;
	unsigned int i;
	int ret = 72;

	if (batch)
		ret = vd_msg(d, VHOST_IOTLB_BATCH_BEGIN, 0, 0, NULL, 0);
	for (i = 0; i < d->nr_mem && ret == 72; i++)
		ret = vd_msg(d, VHOST_IOTLB_UPDATE, d->mem[i].iova, d->mem[i].size, d->mem[i].va, VHOST_ACCESS_RW);
	if (batch && ret == 72)
		ret = vd_msg(d, VHOST_IOTLB_BATCH_END, 0, 0, NULL, 0);
	return ret == 72 ? 0 : ret < 0 ? ret : -EIO;
}

int vd_driver_ok(struct vd *d)
{
	int ret = vd_ioctl(d, VHOST_VDPA_SET_CONFIG_CALL, &d->config_fd);

	return ret ?: vd_set_status(d, VD_S_ACK | VD_S_DRIVER | VD_S_FEATURES_OK | VD_S_DRIVER_OK);
}

int vd_start(struct vd *d, const char *name, const struct vd_opts *opts)
{
	int ret = vd_open(d, name, opts);

	return ret ?: vd_negotiate(d) ?: vd_map_all(d) ?: vd_setup_queues(d) ?: vd_driver_ok(d);
}

int vd_start_after(struct vd *d, const char *name, const struct vd_opts *opts)
{
	int ret = vd_open(d, name, opts);

	return ret ?: vd_negotiate(d) ?: vd_map_all(d) ?: vd_setup_queues(d) ?: vd_patiently(vd_driver_ok(d));
}

int vd_reset(struct vd *d)
{
	return vd_set_status(d, 0);
}

/* The mappings were the device's to forget; what it kept would make the UPDATE fail. */
int vd_restart(struct vd *d)
{
	unsigned int i;
	int ret;

	for (i = 0; i < d->nr_mem; i++)
		vd_msg(d, VHOST_IOTLB_INVALIDATE, d->mem[i].iova, d->mem[i].size, NULL, 0);
	for (i = 0; i < d->nq; i++) {
		vd_queue_fresh(d->q[i]);
		vd_drain_fd(d->q[i]->call);
		vd_drain_fd(d->q[i]->err);
		vd_drain_fd(d->q[i]->kick);
	}
	vd_drain_fd(d->config_fd);
	ret = vd_negotiate(d);
	return ret ?: vd_map_all(d) ?: vd_setup_queues(d) ?: vd_driver_ok(d);
}

void vd_close(struct vd *d)
{
	unsigned int i;

	if (d->fd > 0)
		close(d->fd);
	for (i = 0; i < d->nq; i++)
		vd_queue_free(d->q[i]);
	if (d->nr_mem)
		munmap(d->mem[0].va, d->mem[0].size);
	if (d->memfd > 0)
		close(d->memfd);
	if (d->config_fd > 0)
		close(d->config_fd);
	memset(d, 0, sizeof(*d));
}

int vd_rig_make(struct vd_rig *r, enum vd_backing_kind kind, __u64 bytes, const struct vd_config *cfg,
		const struct vd_opts *opts)
{
	struct vd_config c = { 0 };
	static int serial;
	char suffix[16];
	int ret;

	if (cfg)
		c = *cfg;
	if (opts && opts->num_queues > 1 && !c.num_queues)
		c.num_queues = opts->num_queues;
	if (opts && opts->num > 256 && !c.queue_size)
		c.queue_size = opts->num;
	snprintf(suffix, sizeof(suffix), "_%d", serial++);
	vd_name(r->name, suffix);
	ret = vd_backing_make(&r->b, kind, bytes);
	if (ret)
		return ret;
	c.path = r->b.path;
	ret = vd_create(r->name, &c);
	if (ret)
		return ret;
	r->created = true;
	return opts ? vd_start(&r->d, r->name, opts) : 0;
}

int vd_rig_free(struct vd_rig *r)
{
	int ret = 0;

	if (vd_backing_freezes(&r->b))
		vd_backing_thaw(&r->b);
	if (r->created)
		ret = vd_remove(r->name);
	/* no disk is taken away from under a device */
	if (!ret)
		vd_backing_free(&r->b);
	return ret;
}
