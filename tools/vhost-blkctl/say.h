/* SPDX-License-Identifier: GPL-2.0 */
/* What goes to people: sentences on stderr, sizes, JSON on stdout. */
#ifndef BLKCTL_SAY_H
#define BLKCTL_SAY_H

#include <stdint.h>
#include <json-c/json.h>

struct cmd;

/* "vhost-blkctl: SENTENCE" on stderr; returns BLKCTL_FAILED. */
__printf(1, 2) int say_fail(const char *fmt, ...);

/* The same, pointing to the help of the command (of the tool: NULL); returns BLKCTL_USAGE. */
__printf(2, 3) int say_usage(const struct cmd *cmd, const char *fmt, ...);

/* "1.5 GiB" for a number of bytes. */
#define SAY_SIZE_LEN	24
const char *say_size(char buf[SAY_SIZE_LEN], uint64_t bytes);

/* Prints @obj indented and frees it; BLKCTL_OK, or BLKCTL_FAILED when stdout does not take it. */
int say_json(struct json_object *obj);

/* The same on one line, for streams of objects. */
int say_json_line(struct json_object *obj);

/* To be called last: BLKCTL_FAILED when something that was printed did not get out. */
int say_flush(int ret);

#endif
