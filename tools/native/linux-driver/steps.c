// SPDX-License-Identifier: GPL-2.0
/*
 * Both sides in one thread, one random step at a time: the same seed, the same run. Each side may
 * be caught between any two of its calls, and what a call has to say is known.
 */
#include <linux/types.h>

#include "pair.h"

static bool signalled[2];

void run_signal(struct pair *p, enum side side)
{
	signalled[side] = true;
	if (side == DRIVER)
		p->d.asleep = false;
}

bool run_take_signal(struct pair *p, enum side side)
{
	bool was = signalled[side];

	signalled[side] = false;
	return was;
}

void run_pair(struct pair *p)
{
	bool sleeps[2] = { }, ended = false;
	/* A side that is woken for nothing again and again must come to an end, too. */
	u64 rng = p->seed << 1, steps = 1000000 + 1000 * p->count;
	u32 more = 0;
	enum side side = DRIVER;

	signalled[DRIVER] = false;
	signalled[DEVICE] = false;
	while (!p->failed) {
		enum step step;
		bool ready[2] = {
			!ended && (!sleeps[DRIVER] || signalled[DRIVER]),
			!sleeps[DEVICE] || signalled[DEVICE],
		};

		if (!more--) {
			u64 r = rnd(&rng);

			/* Turns of one step mostly, long ones now and then. */
			more = below(r, r & 7 ? 3 : 100);
			side = r >> 8 & 1;
		}
		if (!ready[side])
			side = side == DRIVER ? DEVICE : DRIVER;
		if (!ready[side]) {
			if (!ended)
				pair_fail(p, "both sides sleep: a wake-up was lost");
			return;
		}
		step = side == DRIVER ? driver_step(p->driver) : device_step(p->device);
		sleeps[side] = step == STEP_SLEEP;
		if (side == DRIVER)
			ended = step == STEP_END;
		if (!steps--)
			pair_fail(p, "no end");
	}
}

int main(int argc, char **argv)
{
	static const struct mode mode = {
		.how = "one step at a time", .exact = true, .count = 10000,
	};

	return pair_main(argc, argv, &mode, 1);
}
