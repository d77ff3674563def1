// SPDX-License-Identifier: GPL-2.0
/*
 * The service manager's store of descriptors (sd_notify(3), FDSTORE=1): "NAME/region" and
 * "NAME/memory/LABEL".  They come back through $LISTEN_FDS when the service is started again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "keeper.h"

#define SYNC_US		5000000

#define STORED_LEN	(VSUP_NAME_LEN + VSUP_LABEL_LEN + 16)

void store_init(struct vsup *s)
{
	const char *room = getenv("FDSTORE");	/* newer systemd says how much there is */

	s->room = room ? atoi(room) : -1;
	s->stored = getenv("NOTIFY_SOCKET") && s->room;
}

static void stored_name(char name[STORED_LEN], const char *device, const char *label)
{
	snprintf(name, STORED_LEN, label ? "%s/memory/%s" : "%s/region", device, label);
}

/*
 * A @label of NULL is the region.  Whether it is on its way; store_sync() makes sure that it
 * arrived.
 */
bool store_put(struct vsup *s, const char *device, const char *label, int fd)
{
	char name[STORED_LEN], text[STORED_LEN + 32];

	if (!s->stored)
		return false;
	stored_name(name, device, label);
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
	/* One that is full says so to nobody. */
	if (!s->room || sd_pid_notify_with_fds(0, 0, text, &fd, 1) <= 0) {
		say(s, "%s: the service manager has no room for %s: see FileDescriptorStoreMax=",
		    device, name);
		return false;
	}
	if (s->room > 0)
		s->room--;
	return true;
}

void store_remove(struct vsup *s, const char *device, const char *label)
{
	char name[STORED_LEN];

	if (!s->stored)
		return;
	stored_name(name, device, label);
	if (s->room >= 0)
		s->room++;
	sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

bool store_sync(struct vsup *s)
{
	if (!s->stored || sd_notify_barrier(0, SYNC_US) > 0)
		return true;
	say(s, "the service manager does not answer: descriptors may not be in its store");
	return false;
}

/* Takes over @fd. */
static void found(struct vsup *s, const char *name, int fd)
{
	char device[VSUP_NAME_LEN];
	const char *slash = strchr(name, '/');
	struct device *d = NULL;
	struct piece *p;
	struct shm shm;

	if (slash && slash - name < VSUP_NAME_LEN) {
		snprintf(device, sizeof(device), "%.*s", (int)(slash - name), name);
		d = device_get(s, device);
	}
	if (!d || shm_hold(&shm, fd))
		goto bad;
	if (!strcmp(slash, "/region") && d->region.fd < 0) {
		d->region = shm;
		d->stored = true;
		return;
	}
	p = NULL;
	if (!strncmp(slash, "/memory/", 8) && name_ok(slash + 8))
		p = device_piece(d, slash + 8);
	if (p && p->shm.fd < 0) {
		p->shm = shm;
		p->stored = true;
		return;
	}
	close(shm.fd);
	return;

bad:
	if (!d)
		close(fd);
	say(s, "the service manager has stored \"%s\", which is not ours", name);
}

void store_find(struct vsup *s)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(1, &names);

	if (s->room > 0 && n > 0)
		s->room = s->room > n ? s->room - n : 0;
	for (int i = 0; i < n; i++) {
		found(s, names[i], SD_LISTEN_FDS_START + i);
		free(names[i]);
	}
	if (n > 0)
		free(names);
}
