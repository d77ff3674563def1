/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between kernel versions, and nothing else tests a version.  The sources are written
 * for the newest kernel; each block is dated, names the change it hides, and may go when the floor
 * passes it.
 */
#ifndef _VINF_COMPAT_H
#define _VINF_COMPAT_H

#include <linux/cgroup.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#error "vhost-inflight needs Linux 6.12 or newer"
#endif

/*
 * January 2026, for 7.0: shmem_file_setup() takes vma_flags_t, 590d356aa433 ("mm: update
 * shmem_[kernel]_file_*() functions to use vma_flags_t").
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
#define VINF_NORESERVE	VM_NORESERVE
#else
#define VINF_NORESERVE	mk_vma_flags(VMA_NORESERVE_BIT)
#endif

/* A kernel without block cgroups has no name for them, in any version. */
#ifdef CONFIG_BLK_CGROUP
static inline struct cgroup_subsys_state *vinf_blkcg_get(void)
{
	return task_get_css(current, io_cgrp_id);
}

static inline void vinf_blkcg_put(struct cgroup_subsys_state *css)
{
	if (css)
		css_put(css);
}
#else
static inline struct cgroup_subsys_state *vinf_blkcg_get(void)
{
	return NULL;
}

static inline void vinf_blkcg_put(struct cgroup_subsys_state *css)
{
}
#endif

#endif /* _VINF_COMPAT_H */
