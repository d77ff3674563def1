// SPDX-License-Identifier: GPL-2.0
/*
 * A part of a file in shared memory, mapped into the kernel: what userspace is to find again, or to
 * look at while it changes.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "vinf.h"

/**
 * vinf_shm_put - let go of it
 * @shm: opened or zeroed; zeroed by this
 *
 * Context: process, may sleep.
 */
void vinf_shm_put(struct vinf_shm *shm)
{
	unsigned int i;

	if (shm->vaddr)
		vunmap(shm->vaddr);
	for (i = 0; i < shm->nr; i++) {
		set_page_dirty_lock(shm->pages[i]);
		put_page(shm->pages[i]);
	}
	kvfree(shm->pages);
	if (shm->file)
		fput(shm->file);
	memset(shm, 0, sizeof(*shm));
}

/*
 * Pages of the file, in the kernel's address space. They must stay the file's: unevictable, or
 * swapping would take them out of it although we hold them.
 */
static int vinf_shm_map(struct vinf_shm *shm)
{
	struct address_space *mapping = shm->file->f_mapping;
	unsigned int nr = DIV_ROUND_UP_ULL(shm->size, PAGE_SIZE);

	mapping_set_unevictable(mapping);
	shm->pages = kvcalloc(nr, sizeof(*shm->pages), GFP_KERNEL_ACCOUNT);
	if (!shm->pages)
		return -ENOMEM;
	for (; shm->nr < nr; shm->nr++) {
		struct page *page;

		page = shmem_read_mapping_page(mapping, (shm->offset >> PAGE_SHIFT) + shm->nr);
		if (IS_ERR(page))
			return PTR_ERR(page);
		shm->pages[shm->nr] = page;
		if (fatal_signal_pending(current))
			return -EINTR;
	}
	shm->vaddr = vmap(shm->pages, shm->nr, VM_MAP, PAGE_KERNEL);
	return shm->vaddr ? 0 : -ENOMEM;
}

/**
 * vinf_shm_open - map a part of a file
 * @shm: filled
 * @file: of shared memory; the reference is taken over, also on failure
 * @offset: where the part starts, a multiple of the page size
 * @size: its bytes, not 0
 *
 * Context: process, may sleep.
 *
 * Return: 0; -ENOMEM; -EINTR when the caller is being killed.
 */
int vinf_shm_open(struct vinf_shm *shm, struct file *file, u64 offset, u64 size)
{
	int ret;

	*shm = (struct vinf_shm){ .file = file, .offset = offset, .size = size };
	ret = vinf_shm_map(shm);
	if (ret)
		vinf_shm_put(shm);
	return ret;
}

/**
 * vinf_shm_fget - a file that userspace wants a part of mapped
 * @fd: its descriptor
 * @offset: where the part starts
 * @size: its bytes
 *
 * Return: the file, with a reference; -EBADF; -EMEDIUMTYPE when it is neither a memfd nor on tmpfs;
 * -EACCES when the descriptor can't be read and written; -EPERM when it is sealed against writing;
 * -EMSGSIZE when it is shorter.
 */
struct file *vinf_shm_fget(int fd, u64 offset, u64 size)
{
	unsigned int seals;
	struct file *file;
	u64 len;
	int ret;

	file = fget(fd);
	if (!file)
		return ERR_PTR(-EBADF);
	ret = -EMEDIUMTYPE;
	if (!shmem_mapping(file->f_mapping) || !S_ISREG(file_inode(file)->i_mode))
		goto err;
	ret = -EACCES;
	if ((file->f_mode & (FMODE_READ | FMODE_WRITE)) != (FMODE_READ | FMODE_WRITE))
		goto err;
	ret = -EPERM;
	seals = READ_ONCE(SHMEM_I(file_inode(file))->seals);
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		goto err;
	ret = -EMSGSIZE;
	len = i_size_read(file_inode(file));
	if (offset > len || len - offset < size)
		goto err;
	return file;

err:
	fput(file);
	return ERR_PTR(ret);
}

/**
 * vinf_shm_whole - are all the pages still the file's?
 * @shm: opened
 *
 * A hole that was punched takes them out of it.
 */
bool vinf_shm_whole(const struct vinf_shm *shm)
{
	unsigned int i;

	for (i = 0; i < shm->nr; i++)
		if (READ_ONCE(page_folio(shm->pages[i])->mapping) != shm->file->f_mapping)
			return false;
	return true;
}
