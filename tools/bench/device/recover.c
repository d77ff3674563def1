// SPDX-License-Identifier: GPL-2.0
/* A stop that preserves what is in flight, and the next owner, who goes on from the region. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/vhost.h>
#include <linux/vhost_inflight.h>

#include "vbench.h"

/* Parked requests are neither at the disk nor back: a stop has nobody to wait for. */
static void await_parked(const struct target *t, unsigned int n)
{
	uint64_t begin = now_ns();

	for (;;) {
		struct vhost_inflight_info info = { .size = sizeof(info) };

		VDPA_CALL(t, VHOST_INFLIGHT_GET_INFO, &info);
		if (info.parked == n)
			return;
		if (!rest(begin))
			die("%u of %u requests were parked", info.parked, n);
	}
}

static uint64_t preserve(const struct target *t)
{
	struct vhost_inflight_stop how = {
		.size = sizeof(how), .mode = VHOST_INFLIGHT_STOP_PRESERVE,
	};
	struct pollfd changed = { .fd = eventfd(0, EFD_CLOEXEC), .events = POLLIN };
	uint64_t begin, end;
	uint8_t status;

	if (changed.fd < 0)
		die("no eventfd: %s", strerror(errno));
	VDPA_CALL(t, VHOST_VDPA_SET_CONFIG_CALL, &changed.fd);
	VDPA_CALL(t, VHOST_INFLIGHT_SET_STOP, &how);
	VDPA_CALL(t, VHOST_VDPA_GET_STATUS, &status);
	status |= VHOST_INFLIGHT_S_STOP;
	begin = now_ns();
	VDPA_CALL(t, VHOST_VDPA_SET_STATUS, &status);
	if (poll(&changed, 1, PATIENCE_MS) != 1)
		die("%s does not stop", t->path);
	end = now_ns();
	VDPA_CALL(t, VHOST_VDPA_GET_STATUS, &status);
	if (!(status & VHOST_INFLIGHT_S_STOP))
		die("%s did not stop", t->path);
	close(changed.fd);
	return end - begin;
}

static uint64_t kept(const struct target *t)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < opt.queues; i++) {
		struct vhost_inflight_stop_info info = { .size = sizeof(info), .index = i };

		VDPA_CALL(t, VHOST_INFLIGHT_GET_STOP, &info);
		sum += info.kept;
	}
	return sum;
}

/* When the first is back, or all are. */
static uint64_t await_first(void)
{
	if (!drive_wait())
		die("nothing comes back");
	return now_ns();
}

static uint64_t await_all(unsigned int n)
{
	for (unsigned int back = 0; back < n; back += drive_reap())
		if (!drive_wait())
			die("%u of %u requests came back", back, n);
	return now_ns();
}

struct recovery recover(struct target *t)
{
	unsigned int n = opt.queues * opt.depth;
	struct recovery r;

	drive_fill();
	await_parked(t, n);
	r.stop_ns = preserve(t);
	r.kept = kept(t);
	if (r.kept != n)
		die("%llu of %u requests were kept", (unsigned long long)r.kept, n);
	close(t->fd);
	if (system(opt.recover))
		die("that failed: %s", opt.recover);

	r.begun_ns = now_ns();
	vdpa_open(t);
	vdpa_start(t);
	r.start_ns = now_ns() - r.begun_ns;
	r.first_ns = await_first() - r.begun_ns;
	r.all_ns = await_all(n) - r.begun_ns;
	if (res.errors)
		die("%llu requests failed", (unsigned long long)res.errors);
	vdpa_stop(t);
	return r;
}
