/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How a device stands, and what may happen to it then.  Pure C: the table is tested whole.
 *
 *            DRIVER_OK                 STOP              at rest
 *     OFF ------------> RUNNING ----------------> STOPPING ----> STOPPED
 *      ^                 |  ^  ^                   |  ^  |          |
 *      |         SUSPEND |  |  |      CONT         |  |  | deadline |
 *      |                 v  |  +-------------------+  |  v          |
 *      |          SUSPENDED-+  |                STOP  | STALLED     |
 *      |              RESUME   |                      +---+ |       |
 *      |                       +----------------------------+-------+
 *      +---- RESET, from everywhere                  CONT
 */
#ifndef _VINF_STAND_H
#define _VINF_STAND_H

#include <linux/types.h>

enum vinf_stand {
	VINF_OFF,			/* no DRIVER_OK */
	VINF_RUNNING,
	VINF_SUSPENDED,			/* VHOST_VDPA_SUSPEND: no queue runs */
	VINF_STOPPING,			/* takes nothing new; a stop runs */
	VINF_STALLED,			/* takes nothing new; a stop ended at its deadline */
	VINF_STOPPED,			/* no queue runs, and the status byte says so */
	VINF_NR_STANDS,
};

/*
 * Not here, because they ask nobody how the device stands: IOTLB messages, an exchange of engines,
 * a new log and the end of an owner.  They do to each queue what it needs, which is told by whether
 * it runs.
 */
enum vinf_trigger {
	VINF_ON_DRIVER_OK,
	VINF_ON_STOP,			/* SET_STATUS with STOP, or with virtio's SUSPEND */
	VINF_ON_CONT,			/* SET_STATUS without what stopped it */
	VINF_ON_SUSPEND,		/* VHOST_VDPA_SUSPEND */
	VINF_ON_RESUME,			/* VHOST_VDPA_RESUME */
	VINF_ON_RESET,
	VINF_ON_ENABLE,			/* SET_VRING_ENABLE */
	VINF_ON_SETUP,			/* SET_VRING_NUM, _ADDR, _BASE */
	VINF_ON_CHANGE,			/* config space changed */
	VINF_ON_REST,			/* everything is back */
	VINF_ON_DEADLINE,
	VINF_NR_TRIGGERS,
};

enum vinf_act {
	VINF_DO_NOTHING,
	VINF_DO_NOTE,			/* remember it */
	VINF_DO_TELL,			/* notify */
	VINF_DO_REFUSE,			/* with @err */
	VINF_DO_START,			/* the queues */
	VINF_DO_DRAIN,			/* wait, then stop the queues */
	VINF_DO_BEGIN,			/* a stop */
	VINF_DO_GO,			/* the queues run, let them take again */
	VINF_DO_END,			/* of a stop */
	VINF_DO_FORGET,			/* no queue runs: back to the beginning */
	VINF_NR_ACTS,
};

/**
 * struct vinf_move - what a trigger does to a device
 * @act: enum vinf_act
 * @next: enum vinf_stand, once @act succeeded; it stays as it is when that fails
 * @err: -errno of VINF_DO_REFUSE
 */
struct vinf_move {
	u8 act;
	u8 next;
	s8 err;
};

/**
 * vinf_move() - what a trigger does to a device
 * @stand: how it stands
 * @trigger: what happens
 *
 * Return: the row of the table; there is one for each pair.
 */
const struct vinf_move *vinf_move(enum vinf_stand stand, enum vinf_trigger trigger);

#endif /* _VINF_STAND_H */
