/* SPDX-License-Identifier: GPL-2.0 */
/* From an errno of configfs to a sentence that says what is wrong and what to do about it. */
#ifndef BLKCTL_WHY_H
#define BLKCTL_WHY_H

/**
 * struct why_ctx - what a sentence may name
 * @name: the device
 * @path: its backing, NULL when not known
 * @attr: the attribute, NULL when it was not an attribute
 * @value: what was written to it
 */
struct why_ctx {
	const char *name;
	const char *path;
	const char *attr;
	const char *value;
};

/*
 * Says why @step ("mkdir", "rmdir", "disable" or the name of an attribute) failed with @err;
 * returns BLKCTL_FAILED.
 */
int why_failed(const char *step, int err, const struct why_ctx *ctx);

#endif
