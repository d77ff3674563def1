/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An NBD server on loopback, and the kernel's client of it: a disk whose other end can be stopped, killed and started again.
 *
 * The server is a process that keeps its data in a file, so that the next one has them too. There is nothing in it of how two
 * sides agree on an export: the kernel is given a connection that is ready, and is told the size.
 */
#ifndef VBLK_NBD_H
#define VBLK_NBD_H

#include <sys/types.h>
#include <linux/types.h>

struct vd_nbd {
	int index;		/* of /dev/nbdN */
	pid_t server;
	char file[96];
};

/* A client that has VD_NARROW requests out. @s: it gives up an unanswered one, or a lost connection, after this; 0: never. */
int vd_nbd_make(struct vd_nbd *n, const char *file, __u64 bytes, unsigned int s);
void vd_nbd_free(struct vd_nbd *n);	/* also by the parent of the process that made it */
int vd_nbd_stop(const struct vd_nbd *n);	/* it answers nothing, */
int vd_nbd_cont(const struct vd_nbd *n);	/* and goes on */
int vd_nbd_kill(struct vd_nbd *n);	/* the connection is lost, */
int vd_nbd_restart(struct vd_nbd *n);	/* and there is another one */

#endif /* VBLK_NBD_H */
