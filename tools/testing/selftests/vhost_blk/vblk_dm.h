/* SPDX-License-Identifier: GPL-2.0 */
/* Device-mapper devices, by name, as dmsetup has them: which takes many times as long where the machine is emulated. */
#ifndef VBLK_DM_H
#define VBLK_DM_H

#include <stddef.h>

/* A table is one line for each target: FIRST SECTORS TARGET PARAMETERS */
int vd_dm_create(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int vd_dm_load(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));	/* for vd_dm_resume() */
int vd_dm_table(const char *name, char *text, size_t len);
int vd_dm_suspend(const char *name);	/* what is under way is not awaited */
int vd_dm_resume(const char *name);
int vd_dm_message(const char *name, const char *message);
int vd_dm_remove(const char *name);	/* again and again while it is busy */
int vd_dm_path(const char *name, char *path, size_t len);	/* of its node */

#endif /* VBLK_DM_H */
