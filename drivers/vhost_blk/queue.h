/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _VBLK_QUEUE_H
#define _VBLK_QUEUE_H

#include <linux/vhost_inflight.h>

int vblk_queue_start(struct vinf_vq *vq);
void vblk_queue_stop(struct vinf_vq *vq);
bool vblk_queue_process(struct vinf_vq *vq);
bool vblk_queue_holds(const struct vinf_vq *vq, u16 id);
bool vblk_queue_pending(struct vinf_vq *vq, bool arm);

#endif /* _VBLK_QUEUE_H */
