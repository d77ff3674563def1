// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "say.h"

int say_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("vhost-blkctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return BLKCTL_FAILED;
}

int say_usage(const struct cmd *cmd, const char *fmt, ...)
{
	va_list ap;

	fputs("vhost-blkctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (see vhost-blkctl %s%s--help)\n", cmd ? cmd->name : "", cmd ? " " : "");
	return BLKCTL_USAGE;
}

const char *say_size(char buf[SAY_SIZE_LEN], uint64_t bytes)
{
	static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double n = (double)bytes;
	int i = 0;

	while (n >= 1024 && i < 6) {
		n /= 1024;
		i++;
	}
	snprintf(buf, SAY_SIZE_LEN, n == (uint64_t)n ? "%.0f %s" : "%.1f %s", n, unit[i]);
	return buf;
}

static int put_json(struct json_object *obj, int flags)
{
	puts(json_object_to_json_string_ext(obj, flags | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(obj);
	return say_flush(BLKCTL_OK);
}

int say_json(struct json_object *obj)
{
	return put_json(obj, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED);
}

int say_json_line(struct json_object *obj)
{
	return put_json(obj, JSON_C_TO_STRING_PLAIN);
}

int say_flush(int ret)
{
	if (fflush(stdout) || ferror(stdout)) {
		clearerr(stdout);
		return say_fail("can't write the output: %s", strerror(errno));
	}
	return ret;
}
