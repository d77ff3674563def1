// SPDX-License-Identifier: GPL-2.0
/*
 * How a device stands: every pair of a state and a trigger, by what must hold of all of them.
 */
#include <kunit/test.h>
#include <linux/errno.h>

#include "../drivers/vhost_inflight/stand.h"

static const char *const stands[VINF_NR_STANDS] = {
	[VINF_OFF] = "off", [VINF_RUNNING] = "running", [VINF_SUSPENDED] = "suspended",
	[VINF_STOPPING] = "stopping", [VINF_STALLED] = "stalled", [VINF_STOPPED] = "stopped",
};

static const char *const triggers[VINF_NR_TRIGGERS] = {
	[VINF_ON_DRIVER_OK] = "driver_ok", [VINF_ON_STOP] = "stop", [VINF_ON_CONT] = "cont",
	[VINF_ON_SUSPEND] = "suspend", [VINF_ON_RESUME] = "resume", [VINF_ON_RESET] = "reset",
	[VINF_ON_ENABLE] = "enable", [VINF_ON_SETUP] = "setup", [VINF_ON_CHANGE] = "change",
	[VINF_ON_REST] = "rest", [VINF_ON_DEADLINE] = "deadline",
};

/* Is there a queue that the engine has? */
static bool runs(enum vinf_stand stand)
{
	return stand == VINF_RUNNING || stand == VINF_STOPPING || stand == VINF_STALLED;
}

struct pair {
	enum vinf_stand stand;
	enum vinf_trigger trigger;
};

static const void *next_pair(const void *prev, char *desc)
{
	static struct pair pairs[VINF_NR_STANDS * VINF_NR_TRIGGERS];
	const struct pair *p = prev;
	size_t i = p ? p - pairs + 1 : 0;

	if (i == ARRAY_SIZE(pairs))
		return NULL;
	pairs[i].stand = i / VINF_NR_TRIGGERS;
	pairs[i].trigger = i % VINF_NR_TRIGGERS;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s, %s", stands[pairs[i].stand],
		 triggers[pairs[i].trigger]);
	return &pairs[i];
}

/* What an act needs of a device, and leaves behind. */
static void every_pair(struct kunit *test)
{
	const struct pair *p = test->param_value;
	const struct vinf_move *m = vinf_move(p->stand, p->trigger);
	bool before = runs(p->stand), after = runs(m->next);

	KUNIT_ASSERT_LT(test, (int)m->act, (int)VINF_NR_ACTS);
	KUNIT_ASSERT_LT(test, (int)m->next, (int)VINF_NR_STANDS);
	KUNIT_EXPECT_EQ(test, m->act == VINF_DO_REFUSE, m->err < 0);
	KUNIT_EXPECT_LE(test, (int)m->err, 0);
	switch (m->act) {
	case VINF_DO_NOTHING:
	case VINF_DO_NOTE:
	case VINF_DO_REFUSE:
		KUNIT_EXPECT_EQ(test, (int)m->next, (int)p->stand);
		break;
	case VINF_DO_TELL:
		KUNIT_EXPECT_EQ(test, before, after);
		break;
	case VINF_DO_START:
		/* All queues, or one more of a device that runs. */
		KUNIT_EXPECT_TRUE(test, !before || p->trigger == VINF_ON_ENABLE);
		KUNIT_EXPECT_EQ(test, (int)m->next, (int)VINF_RUNNING);
		break;
	case VINF_DO_DRAIN:
	case VINF_DO_END:
		KUNIT_EXPECT_TRUE(test, before);
		KUNIT_EXPECT_FALSE(test, after);
		break;
	case VINF_DO_BEGIN:
		KUNIT_EXPECT_TRUE(test, before);
		KUNIT_EXPECT_EQ(test, (int)m->next, (int)VINF_STOPPING);
		break;
	case VINF_DO_GO:
		KUNIT_EXPECT_TRUE(test, before);
		KUNIT_EXPECT_EQ(test, (int)m->next, (int)VINF_RUNNING);
		break;
	case VINF_DO_FORGET:
		KUNIT_EXPECT_FALSE(test, before);
		KUNIT_EXPECT_EQ(test, (int)m->next, (int)VINF_OFF);
		break;
	}
}

/* What each trigger promises, whatever the device does. */
static void every_promise(struct kunit *test)
{
	const struct pair *p = test->param_value;
	const struct vinf_move *m = vinf_move(p->stand, p->trigger);

	switch (p->trigger) {
	case VINF_ON_RESET:
		/* The way out that is always there. */
		KUNIT_EXPECT_EQ(test, (int)m->next, (int)VINF_OFF);
		break;
	case VINF_ON_SETUP:
		/* Nobody changes a ring under the engine. */
		KUNIT_EXPECT_EQ(test, m->act == VINF_DO_REFUSE, runs(p->stand));
		break;
	case VINF_ON_CHANGE:
		KUNIT_EXPECT_EQ(test, m->act == VINF_DO_NOTE, p->stand == VINF_STOPPED);
		break;
	case VINF_ON_STOP:
		/* Where there is something to stop: it is stopped, or will be. */
		if (p->stand == VINF_OFF)
			KUNIT_EXPECT_EQ(test, (int)m->err, -EINVAL);
		else if (p->stand == VINF_SUSPENDED)
			KUNIT_EXPECT_EQ(test, (int)m->err, -EBUSY);
		else
			KUNIT_EXPECT_GE(test, (int)m->next, (int)VINF_STOPPING);
		break;
	case VINF_ON_CONT:
		/* Undoes a stop, however far it came, and nothing else. */
		if (p->stand >= VINF_STOPPING)
			KUNIT_EXPECT_EQ(test, (int)m->next, (int)VINF_RUNNING);
		else
			KUNIT_EXPECT_EQ(test, (int)m->next, (int)p->stand);
		break;
	case VINF_ON_SUSPEND:
	case VINF_ON_RESUME:
		/* Do not get in between a stop; one that stands still is suspended enough. */
		if (runs(p->stand) && p->stand != VINF_RUNNING)
			KUNIT_EXPECT_EQ(test, (int)m->err, -EBUSY);
		else if (p->stand == VINF_STOPPED)
			KUNIT_EXPECT_EQ(test, (int)m->err,
					p->trigger == VINF_ON_RESUME ? -EBUSY : 0);
		else
			KUNIT_EXPECT_EQ(test, (int)m->err, 0);
		break;
	case VINF_ON_ENABLE:
		if (runs(p->stand) && p->stand != VINF_RUNNING)
			KUNIT_EXPECT_EQ(test, (int)m->err, -EBUSY);
		else
			KUNIT_EXPECT_EQ(test, (int)m->err, 0);
		break;
	case VINF_ON_REST:
		KUNIT_EXPECT_EQ(test, m->next == VINF_STOPPED && p->stand != VINF_STOPPED,
				p->stand == VINF_STOPPING);
		break;
	case VINF_ON_DEADLINE:
		KUNIT_EXPECT_EQ(test, m->next == VINF_STALLED && p->stand != VINF_STALLED,
				p->stand == VINF_STOPPING);
		break;
	default:
		break;
	}
}

/*
 * Long walks: the queues are started when they do not run, stopped when they do, and every state is
 * come by.
 */
static void walks(struct kunit *test)
{
	unsigned int seen[VINF_NR_STANDS] = {};
	enum vinf_stand stand = VINF_OFF;
	u32 rnd = 1;
	bool running = false;
	int i;

	for (i = 0; i < 100000; i++) {
		enum vinf_trigger t = (rnd >> 16) % VINF_NR_TRIGGERS;
		const struct vinf_move *m = vinf_move(stand, t);

		/* Any generator will do. */
		rnd = rnd * 1664525 + 1013904223;
		switch (m->act) {
		case VINF_DO_START:
			if (t == VINF_ON_ENABLE)
				break;
			KUNIT_ASSERT_FALSE(test, running);
			running = true;
			break;
		case VINF_DO_DRAIN:
		case VINF_DO_END:
			KUNIT_ASSERT_TRUE(test, running);
			running = false;
			break;
		case VINF_DO_GO:
		case VINF_DO_BEGIN:
			KUNIT_ASSERT_TRUE(test, running);
			break;
		case VINF_DO_FORGET:
			KUNIT_ASSERT_FALSE(test, running);
			break;
		default:
			break;
		}
		stand = m->next;
		KUNIT_ASSERT_EQ(test, running, runs(stand));
		seen[stand]++;
	}
	for (i = 0; i < VINF_NR_STANDS; i++)
		KUNIT_EXPECT_GT(test, seen[i], 100u);
}

static struct kunit_case stand_cases[] = {
	KUNIT_CASE_PARAM(every_pair, next_pair),
	KUNIT_CASE_PARAM(every_promise, next_pair),
	KUNIT_CASE(walks),
	{ }
};

static struct kunit_suite stand_suite = {
	.name = "stand",
	.test_cases = stand_cases,
};

kunit_test_suite(stand_suite);
