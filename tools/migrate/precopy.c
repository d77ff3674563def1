// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "precopy.h"
#include "stream.h"

#define RUN	64	/* pages in a message, at most */

static const uint8_t zeroes[PAGE];

/*
 * The guest may write to these pages while they are sent: what arrives is torn then, and the page
 * is in a log again.
 */
static int send_page(struct precopy *p, uint64_t page, unsigned int run)
{
	return stream_send(p->stream, MSG_PAGES, page, p->g->ram + page * PAGE, run * PAGE);
}

static int send_pages(struct precopy *p, const uint64_t *bits, uint64_t *sent)
{
	uint64_t nr = p->g->size / PAGE, first = 0;
	unsigned int run = 0;

	*sent = 0;
	for (uint64_t i = 0; i <= nr; i++) {
		bool due = i < nr && bits[i / 64] >> i % 64 & 1;
		bool zero = due && !memcmp(p->g->ram + i * PAGE, zeroes, PAGE);

		*sent += due;
		if (run && (!due || zero || run == RUN)) {
			if (send_page(p, first, run))
				return -1;
			run = 0;
		}
		if (zero && stream_send(p->stream, MSG_ZEROES, i, NULL, 0))
			return -1;
		if (!due || zero)
			continue;
		if (!run++)
			first = i;
	}
	return 0;
}

int precopy_pass(struct precopy *p, uint64_t *sent)
{
	uint64_t *bits = malloc(p->words * sizeof(*bits));
	int ret;

	if (!bits)
		return failed("no memory");
	/* Cleared before the pages are read: what is written then is found by the next pass. */
	for (size_t i = 0; i < p->words; i++) {
		uint64_t device = __atomic_exchange_n(&p->log[i], 0, __ATOMIC_SEQ_CST);
		uint64_t driver = __atomic_exchange_n(&p->g->written[i], 0, __ATOMIC_SEQ_CST);

		p->by_device += __builtin_popcountll(device);
		p->by_driver += __builtin_popcountll(driver);
		bits[i] = p->passes ? device | driver : UINT64_MAX;
	}
	p->passes++;
	ret = send_pages(p, bits, sent);
	p->pages += *sent;
	free(bits);
	return ret;
}

int precopy_begin(struct precopy *p, struct guest *g, struct vdpa *dev, int stream)
{
	size_t words = (g->size / PAGE + 63) / 64;
	uint64_t sent;

	*p = (struct precopy){
		.g = g, .dev = dev, .stream = stream, .words = words,
		.fd = memfd_create("log", MFD_CLOEXEC),
	};
	if (p->fd < 0 || ftruncate(p->fd, words * sizeof(*p->log)))
		return failed("no memory for a log: %s", strerror(errno));
	p->log = mmap(NULL, words * sizeof(*p->log), PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
	if (p->log == MAP_FAILED) {
		p->log = NULL;
		return failed("no memory for a log: %s", strerror(errno));
	}
	/* A VMM switches KVM's log on here; the driver's is always on. */
	return vdpa_log(dev, p->fd, words * sizeof(*p->log)) ?: precopy_pass(p, &sent);
}

void precopy_end(struct precopy *p)
{
	if (p->dev && p->dev->fd >= 0)
		vdpa_log(p->dev, -1, 0);
	if (p->log)
		munmap(p->log, p->words * sizeof(*p->log));
	if (p->fd >= 0)
		close(p->fd);
	*p = (struct precopy){ .fd = -1 };
}

uint64_t *precopy_sums(const struct guest *g)
{
	uint64_t *sums = calloc(g->size / PAGE, sizeof(*sums));

	for (uint64_t i = 0; sums && i < g->size / PAGE; i++) {
		const uint64_t *w = (const uint64_t *)(g->ram + i * PAGE);

		for (unsigned int j = 0; j < PAGE / sizeof(*w); j++)
			sums[i] = (sums[i] ^ w[j]) * 0x9e3779b97f4a7c15ULL + (sums[i] >> 31);
	}
	return sums;
}
