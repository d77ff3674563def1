// SPDX-License-Identifier: GPL-2.0
/*
 * Linux' vringh, of a kernel source and built beside this file with the headers of its
 * tools/virtio: on kernel memory, which is what costs it least, as the addresses in descriptors
 * count as pointers and nothing is translated.
 */
#include <linux/kernel.h>
#include <linux/virtio_config.h>
#include <linux/vringh.h>

#include "side.h"

/* The allocator of tools/virtio wants these; and nothing here is a user's address. */
void *__kmalloc_fake, *__kfree_ignore_start, *__kfree_ignore_end;
void *__user_addr_min, *__user_addr_max;

static struct {
	struct vringh vrh;
	struct vringh_kiov in, out;
	struct kvec in_vec[16], out_vec[16];
	u16 heads[TURN_MAX];
} v;

static void *vringh_open(const struct ring *r)
{
	u64 features = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX |
		       1ULL << VIRTIO_RING_F_INDIRECT_DESC;

	if (r->depth != r->batch ||
	    vringh_init_kern(&v.vrh, features, r->num, true, r->desc, r->driver, r->device))
		return NULL;
	vringh_kiov_init(&v.in, v.in_vec, ARRAY_SIZE(v.in_vec));
	vringh_kiov_init(&v.out, v.out_vec, ARRAY_SIZE(v.out_vec));
	return &v;
}

static unsigned int vringh_turn(void *priv)
{
	unsigned int n, i;

	for (n = 0; n < TURN_MAX; n++) {
		int ret = vringh_getdesc_kern(&v.vrh, &v.out, &v.in, &v.heads[n], GFP_KERNEL);

		if (!ret)
			break;
		if (ret < 0)
			abort();
	}
	if (!n)
		return 0;
	for (i = 0; i < n; i++)
		if (vringh_complete_kern(&v.vrh, v.heads[i], USED_LEN))
			abort();
	if (vringh_need_notify_kern(&v.vrh) > 0)
		calls++;
	return n;
}

const struct side side_vringh = { "vringh", false, vringh_open, vringh_turn };
