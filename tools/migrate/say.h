/* SPDX-License-Identifier: GPL-2.0 */
/* What goes to people, and why something failed. */
#ifndef MIGRATE_SAY_H
#define MIGRATE_SAY_H

#include <stdint.h>

#define WHY_LEN	256

/* "vhost-blk-migrate: SENTENCE" on stderr. */
__printf(1, 2) void say(const char *fmt, ...);

/* Remembers a sentence for why(), one for the process; -1. */
__printf(1, 2) int failed(const char *fmt, ...);
const char *why(void);

uint64_t now_ns(void);

#endif
