/* SPDX-License-Identifier: GPL-2.0 */
/* What the fuzz targets share: the input, and how a finding is told. */
#ifndef _FUZZ_FUZZ_H
#define _FUZZ_FUZZ_H

#include <linux/types.h>
#include <linux/bits.h>
#include <linux/compiler.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <stdio.h>
#include <stdlib.h>

/* A finding: libFuzzer keeps the input. */
#define CHECK(cond, fmt, ...) do {						\
	if (!(cond)) {								\
		fprintf(stderr, "%s:%d: %s is not so: " fmt "\n", __FILE__,	\
			__LINE__, #cond, ##__VA_ARGS__);			\
		abort();							\
	}									\
} while (0)

/* The bytes that are left. Behind the end there are zeros. */
struct fuzz_in {
	const u8 *at, *end;
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static inline size_t in_left(const struct fuzz_in *in)
{
	return in->end - in->at;
}

static inline u64 in_bytes(struct fuzz_in *in, unsigned int n)
{
	u64 v = 0;
	unsigned int i;

	for (i = 0; i < n && in->at < in->end; i++)
		v |= (u64)*in->at++ << (8 * i);
	return v;
}

static inline u8 in8(struct fuzz_in *in)
{
	return in_bytes(in, 1);
}

static inline u16 in16(struct fuzz_in *in)
{
	return in_bytes(in, 2);
}

static inline u32 in32(struct fuzz_in *in)
{
	return in_bytes(in, 4);
}

static inline u64 in64(struct fuzz_in *in)
{
	return in_bytes(in, 8);
}

/* Fills memory with the next @n bytes, over and over. */
static inline void in_fill(struct fuzz_in *in, void *to, size_t len, size_t n)
{
	size_t i;

	n = min(n, in_left(in));
	for (i = 0; i < len; i++)
		((u8 *)to)[i] = n ? in->at[i % n] : 0;
	in->at += n;
}

/* Memory of just that size, for the sanitizer to guard. */
static inline void *fuzz_alloc(size_t len)
{
	void *p = calloc(1, len);

	CHECK(p, "no memory");
	return p;
}

#endif
