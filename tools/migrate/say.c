// SPDX-License-Identifier: GPL-2.0
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "say.h"

static char sentence[WHY_LEN];

void say(const char *fmt, ...)
{
	char line[2 * WHY_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	/* One write: there are two processes. */
	dprintf(2, "vhost-blk-migrate: %s\n", line);
}

int failed(const char *fmt, ...)
{
	char text[WHY_LEN];
	va_list ap;

	/* The sentence before may be an argument. */
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(sentence, sizeof(sentence), "%s", text);
	return -1;
}

const char *why(void)
{
	return sentence;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}
