// SPDX-License-Identifier: GPL-2.0
/*
 * Litmus tests: small programs of two sides, and an outcome that the barriers in them allow or
 * forbid. Names as in the literature: MP message passing, SB store buffering, LB load buffering,
 * CoRR coherence of two reads.
 */
#include <linux/string.h>
#include <stdio.h>

#include "explore.h"
#include "litmus.h"
#include "ref.h"

/* What each side loaded. */
static u32 r[SIDES][2];
static bool seen;
static bool (*outcome)(void);

static void x(u32 v)
{
	mem_store(&ring->data[0], 4, v, false);
}

static void x_release(u32 v)
{
	mem_store(&ring->data[0], 4, v, true);
}

static void y(u32 v)
{
	mem_store(&ring->data[1], 4, v, false);
}

static void y_release(u32 v)
{
	mem_store(&ring->data[1], 4, v, true);
}

static u32 load_x(bool acquire)
{
	return mem_load(&ring->data[0], 4, acquire);
}

static u32 load_y(bool acquire)
{
	return mem_load(&ring->data[1], 4, acquire);
}

static bool xy(void)
{
	x(1);
	y(1);
	return false;
}

static bool x_y_release(void)
{
	x(1);
	y_release(1);
	return false;
}

static bool x_mb_y(void)
{
	x(1);
	mem_mb();
	y(1);
	return false;
}

static bool x_release_y(void)
{
	x_release(1);
	y(1);
	return false;
}

static bool x_twice(void)
{
	x(1);
	x(2);
	return false;
}

static bool x_signal(void)
{
	x(1);
	ex_signal();
	return false;
}

static bool read_yx(void)
{
	r[DEVICE][0] = load_y(false);
	r[DEVICE][1] = load_x(false);
	return false;
}

static bool read_y_acquire_x(void)
{
	r[DEVICE][0] = load_y(true);
	r[DEVICE][1] = load_x(false);
	return false;
}

static bool read_y_x_acquire(void)
{
	r[DEVICE][0] = load_y(false);
	r[DEVICE][1] = load_x(true);
	return false;
}

static bool read_y_mb_x(void)
{
	r[DEVICE][0] = load_y(false);
	mem_mb();
	r[DEVICE][1] = load_x(false);
	return false;
}

static bool read_xx(void)
{
	r[DEVICE][0] = load_x(false);
	r[DEVICE][1] = load_x(false);
	return false;
}

static bool wait_x(void)
{
	ex_wait(0);
	r[DEVICE][0] = 1;
	r[DEVICE][1] = load_x(false);
	return false;
}

static bool x_read_y(void)
{
	x(1);
	r[DRIVER][0] = load_y(false);
	return false;
}

static bool x_mb_read_y(void)
{
	x(1);
	mem_mb();
	r[DRIVER][0] = load_y(false);
	return false;
}

static bool x_release_read_y_acquire(void)
{
	x_release(1);
	r[DRIVER][0] = load_y(true);
	return false;
}

static bool y_read_x(void)
{
	y(1);
	r[DEVICE][0] = load_x(false);
	return false;
}

static bool y_mb_read_x(void)
{
	y(1);
	mem_mb();
	r[DEVICE][0] = load_x(false);
	return false;
}

static bool y_release_read_x_acquire(void)
{
	y_release(1);
	r[DEVICE][0] = load_x(true);
	return false;
}

static bool x_read_x(void)
{
	x(1);
	r[DRIVER][0] = load_x(false);
	r[DRIVER][1] = 1;
	return false;
}

static bool nothing(void)
{
	return false;
}

static bool read_x_then_y(void)
{
	r[DRIVER][0] = load_x(false);
	y(1);
	return false;
}

static bool read_y_then_x(void)
{
	r[DEVICE][0] = load_y(false);
	x(1);
	return false;
}

/* The second store was seen, the first was not. */
static bool mp(void)
{
	return r[DEVICE][0] == 1 && r[DEVICE][1] == 0;
}

/* Neither side saw the other's store. */
static bool sb(void)
{
	return r[DRIVER][0] == 0 && r[DEVICE][0] == 0;
}

static bool corr(void)
{
	return r[DEVICE][0] == 2 && r[DEVICE][1] == 1;
}

static bool own(void)
{
	return r[DRIVER][1] == 1 && r[DRIVER][0] == 0;
}

static bool lb(void)
{
	return r[DRIVER][0] == 1 && r[DEVICE][0] == 1;
}

static const struct {
	const char *name;
	bool (*one)(void);
	bool (*other)(void);
	bool (*outcome)(void);
	bool allowed;
} tests[] = {
	{ "MP", xy, read_yx, mp, true },
	{ "MP, acquire alone", xy, read_y_acquire_x, mp, true },
	{ "MP, release alone", x_y_release, read_yx, mp, true },
	{ "MP, barrier alone on one side", x_mb_y, read_yx, mp, true },
	{ "MP, barrier alone on the other", xy, read_y_mb_x, mp, true },
	{ "MP, release of what comes first", x_release_y, read_y_acquire_x, mp, true },
	{ "MP, acquire of what comes last", x_y_release, read_y_x_acquire, mp, true },
	{ "MP, release and acquire", x_y_release, read_y_acquire_x, mp, false },
	{ "MP, barrier and acquire", x_mb_y, read_y_acquire_x, mp, false },
	{ "MP, release and barrier", x_y_release, read_y_mb_x, mp, false },
	{ "MP, two barriers", x_mb_y, read_y_mb_x, mp, false },
	{ "MP, signal and wait", x_signal, wait_x, mp, false },
	{ "SB", x_read_y, y_read_x, sb, true },
	{ "SB, one barrier", x_mb_read_y, y_read_x, sb, true },
	{ "SB, release and acquire", x_release_read_y_acquire, y_release_read_x_acquire, sb,
	  true },
	{ "SB, two barriers", x_mb_read_y, y_mb_read_x, sb, false },
	{ "CoRR", x_twice, read_xx, corr, false },
	{ "a side's own store", x_read_x, nothing, own, false },
	/* Real machines may; this one does not. */
	{ "LB", read_x_then_y, read_y_then_x, lb, false },
};

static void end(void)
{
	seen |= outcome();
}

static bool try(unsigned int i, bool full)
{
	struct ex_program programs[SIDES] = {
		{ "one", tests[i].one, { { r[DRIVER], sizeof(r[DRIVER]) } } },
		{ "other", tests[i].other, { { r[DEVICE], sizeof(r[DEVICE]) } } },
	};
	struct ex_result result;

	ex_options.full = full;
	cf = (struct config){ .layout = VIRTQ_SPLIT };
	memset(r, 0, sizeof(r));
	seen = false;
	outcome = tests[i].outcome;
	ex_reset();
	ex_place(&ring->data[0], 4, SIDES, 0, "x");
	ex_place(&ring->data[1], 4, SIDES, 0, "y");
	result = ex_explore(programs, end);
	return !result.failed && seen == tests[i].allowed;
}

unsigned int litmus(unsigned int at, unsigned int *failed)
{
	const struct ex_options options = ex_options;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		/* With all steps, and with those that make a difference. */
		bool good = try(i, true) && try(i, false);

		printf("%sok %u - memory: %s: %s\n", good ? "" : "not ", at + i, tests[i].name,
		       tests[i].allowed ? "may happen" : "can't happen");
		*failed += !good;
	}
	ex_options = options;
	return ARRAY_SIZE(tests);
}
