// SPDX-License-Identifier: GPL-2.0
/*
 * The table of how a device stands.
 */
#include <linux/errno.h>

#include "stand.h"

#define DO(_act, _next)	{ .act = VINF_DO_##_act, .next = VINF_##_next }
#define NO(_err, _next)	{ .act = VINF_DO_REFUSE, .next = VINF_##_next, .err = -(_err) }

static const struct vinf_move vinf_moves[VINF_NR_STANDS][VINF_NR_TRIGGERS] = {
	[VINF_OFF] = {
		[VINF_ON_DRIVER_OK]	= DO(START, RUNNING),
		[VINF_ON_STOP]		= NO(EINVAL, OFF),
		[VINF_ON_CONT]		= DO(NOTHING, OFF),
		/* As upstream: there is nothing to suspend. */
		[VINF_ON_SUSPEND]	= DO(NOTHING, OFF),
		[VINF_ON_RESUME]	= DO(NOTHING, OFF),
		[VINF_ON_RESET]		= DO(FORGET, OFF),
		[VINF_ON_ENABLE]	= DO(NOTE, OFF),
		[VINF_ON_SETUP]		= DO(NOTE, OFF),
		[VINF_ON_CHANGE]	= DO(TELL, OFF),
		[VINF_ON_REST]		= DO(NOTHING, OFF),
		[VINF_ON_DEADLINE]	= DO(NOTHING, OFF),
	},
	[VINF_RUNNING] = {
		[VINF_ON_DRIVER_OK]	= DO(NOTHING, RUNNING),
		[VINF_ON_STOP]		= DO(BEGIN, STOPPING),
		[VINF_ON_CONT]		= DO(NOTHING, RUNNING),
		[VINF_ON_SUSPEND]	= DO(DRAIN, SUSPENDED),
		[VINF_ON_RESUME]	= DO(NOTHING, RUNNING),
		[VINF_ON_RESET]		= DO(DRAIN, OFF),
		/* One queue alone: the device goes on. */
		[VINF_ON_ENABLE]	= DO(START, RUNNING),
		[VINF_ON_SETUP]		= NO(EINVAL, RUNNING),
		[VINF_ON_CHANGE]	= DO(TELL, RUNNING),
		[VINF_ON_REST]		= DO(NOTHING, RUNNING),
		[VINF_ON_DEADLINE]	= DO(NOTHING, RUNNING),
	},
	[VINF_SUSPENDED] = {
		[VINF_ON_DRIVER_OK]	= DO(NOTHING, SUSPENDED),
		/* Who suspended it resumes it; two ways to go on would be one too many. */
		[VINF_ON_STOP]		= NO(EBUSY, SUSPENDED),
		[VINF_ON_CONT]		= DO(NOTHING, SUSPENDED),
		[VINF_ON_SUSPEND]	= DO(NOTHING, SUSPENDED),
		[VINF_ON_RESUME]	= DO(START, RUNNING),
		[VINF_ON_RESET]		= DO(FORGET, OFF),
		[VINF_ON_ENABLE]	= DO(NOTE, SUSPENDED),
		[VINF_ON_SETUP]		= DO(NOTE, SUSPENDED),
		[VINF_ON_CHANGE]	= DO(TELL, SUSPENDED),
		[VINF_ON_REST]		= DO(NOTHING, SUSPENDED),
		[VINF_ON_DEADLINE]	= DO(NOTHING, SUSPENDED),
	},
	[VINF_STOPPING] = {
		[VINF_ON_DRIVER_OK]	= DO(NOTHING, STOPPING),
		/* Anew: another mode, another deadline. */
		[VINF_ON_STOP]		= DO(BEGIN, STOPPING),
		[VINF_ON_CONT]		= DO(GO, RUNNING),
		[VINF_ON_SUSPEND]	= NO(EBUSY, STOPPING),
		[VINF_ON_RESUME]	= NO(EBUSY, STOPPING),
		[VINF_ON_RESET]		= DO(DRAIN, OFF),
		[VINF_ON_ENABLE]	= NO(EBUSY, STOPPING),
		[VINF_ON_SETUP]		= NO(EINVAL, STOPPING),
		[VINF_ON_CHANGE]	= DO(TELL, STOPPING),
		[VINF_ON_REST]		= DO(END, STOPPED),
		[VINF_ON_DEADLINE]	= DO(TELL, STALLED),
	},
	[VINF_STALLED] = {
		[VINF_ON_DRIVER_OK]	= DO(NOTHING, STALLED),
		[VINF_ON_STOP]		= DO(BEGIN, STOPPING),
		[VINF_ON_CONT]		= DO(GO, RUNNING),
		[VINF_ON_SUSPEND]	= NO(EBUSY, STALLED),
		[VINF_ON_RESUME]	= NO(EBUSY, STALLED),
		[VINF_ON_RESET]		= DO(DRAIN, OFF),
		[VINF_ON_ENABLE]	= NO(EBUSY, STALLED),
		[VINF_ON_SETUP]		= NO(EINVAL, STALLED),
		[VINF_ON_CHANGE]	= DO(TELL, STALLED),
		/* The stop ended, and said so: what comes back late changes nothing of that. */
		[VINF_ON_REST]		= DO(NOTHING, STALLED),
		[VINF_ON_DEADLINE]	= DO(NOTHING, STALLED),
	},
	[VINF_STOPPED] = {
		[VINF_ON_DRIVER_OK]	= DO(NOTHING, STOPPED),
		[VINF_ON_STOP]		= DO(NOTHING, STOPPED),
		[VINF_ON_CONT]		= DO(START, RUNNING),
		[VINF_ON_SUSPEND]	= DO(NOTHING, STOPPED),
		[VINF_ON_RESUME]	= NO(EBUSY, STOPPED),
		[VINF_ON_RESET]		= DO(FORGET, OFF),
		[VINF_ON_ENABLE]	= DO(NOTE, STOPPED),
		[VINF_ON_SETUP]		= DO(NOTE, STOPPED),
		/* Told when it goes on: virtio 1.4, 2.1.1. */
		[VINF_ON_CHANGE]	= DO(NOTE, STOPPED),
		[VINF_ON_REST]		= DO(NOTHING, STOPPED),
		[VINF_ON_DEADLINE]	= DO(NOTHING, STOPPED),
	},
};

const struct vinf_move *vinf_move(enum vinf_stand stand, enum vinf_trigger trigger)
{
	return &vinf_moves[stand][trigger];
}
