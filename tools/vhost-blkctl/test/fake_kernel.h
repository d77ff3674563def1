/* SPDX-License-Identifier: GPL-2.0 */
/* The system calls the linker redirects (-Wl,--wrap), and the way to the real ones. */
#ifndef BLKCTL_FAKE_KERNEL_H
#define BLKCTL_FAKE_KERNEL_H

#include <poll.h>
#include <sys/types.h>

struct stat;
struct statfs;

int __real_mkdirat(int dir, const char *path, mode_t mode);
int __real_unlinkat(int dir, const char *path, int flags);
ssize_t __real_write(int fd, const void *buf, size_t len);
int __real_poll(struct pollfd *fds, nfds_t nr, int timeout);
int __real_statfs(const char *path, struct statfs *fs);
int __real_stat(const char *path, struct stat *st);
int __wrap_mkdirat(int dir, const char *path, mode_t mode);
int __wrap_unlinkat(int dir, const char *path, int flags);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
int __wrap_ioctl(int fd, unsigned long cmd, ...);
int __wrap_poll(struct pollfd *fds, nfds_t nr, int timeout);
int __wrap_statfs(const char *path, struct statfs *fs);
int __wrap_stat(const char *path, struct stat *st);

#endif
