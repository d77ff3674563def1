// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory that is pinned for as long as it is mapped, for devices with pin_memory.
 *
 * Without it a request pins its own pages (pin.c) and guest memory may be of any kind, swapped out,
 * taken away and merged at any time.  With it the owner gives all that up, as for every device that
 * does DMA by itself, and a request only looks up where its pages are.
 *
 * What was pinned belongs to a range of the IOTLB, to each picture that has the range, and with the
 * picture to the requests that are out when it is replaced, see vinf_pin_keep().
 */
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "vinf.h"

/* At a time: a signal, and whoever wants the processor, need not wait for longer. */
#define VINF_PIN_PAGES		512

/**
 * vinf_memory_charge - count pages as pinned by a process
 * @mm: the caller's
 * @nr: how many
 *
 * Return: 0; -ENOMEM when RLIMIT_MEMLOCK has no room for them and the caller no CAP_IPC_LOCK.
 */
int vinf_memory_charge(struct mm_struct *mm, unsigned long nr)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;

	if (atomic64_add_return(nr, &mm->pinned_vm) > limit && !capable(CAP_IPC_LOCK)) {
		atomic64_sub(nr, &mm->pinned_vm);
		return -ENOMEM;
	}
	return 0;
}

/*
 * Memory that is written back anywhere cannot be pinned for long and for writing.  For the rest to
 * be dirty is nothing but the flag.  Not by folio_mark_dirty(): the file may be just going away,
 * and who has the folio locked may wait for the very disk that the VMM is to be killable on.
 */
static void vinf_memory_unpin(struct vinf_memory *m)
{
	unsigned long i, at, n;

	for (at = 0; at < m->nr; at += n) {
		n = min(m->nr - at, VINF_PIN_PAGES);
		for (i = at; m->written && i < at + n; i++)
			if (!folio_test_dirty(page_folio(m->page[i])))
				folio_set_dirty(page_folio(m->page[i]));
		unpin_user_pages(m->page + at, n);
		cond_resched();
	}
}

static void vinf_memory_free(struct vinf_memory *m)
{
	vinf_memory_unpin(m);
	atomic64_sub(m->charged, &m->mm->pinned_vm);
	mmdrop(m->mm);
	kvfree(m);
}

/**
 * vinf_memory_pin - pin a range of the caller's memory
 * @uaddr: where it starts
 * @size: bytes, all of them in userspace's half
 * @perm: VHOST_ACCESS_* that the device has to it
 *
 * Context: process, in the owner's memory, vinf_dev.lock held.  Sleeps killably, also in page
 * faults that userspace has to answer.
 *
 * Return: the memory, with a reference for the caller; -ENOMEM, also when RLIMIT_MEMLOCK has no
 * room for it, and when it cannot be moved to where it may stay; -EFAULT when there is no memory,
 * or none that can be pinned for long: what the device may write to must be anonymous, memfd, tmpfs
 * or hugetlbfs; -EINTR when the caller is being killed.
 */
struct vinf_memory *vinf_memory_pin(u64 uaddr, u64 size, u32 perm)
{
	unsigned int gup = FOLL_LONGTERM | (perm & VHOST_ACCESS_WO ? FOLL_WRITE : 0);
	unsigned long at = uaddr & PAGE_MASK;
	unsigned long nr = DIV_ROUND_UP(uaddr - at + size, PAGE_SIZE);
	struct vinf_memory *m;
	int ret;

	ret = vinf_memory_charge(current->mm, nr);
	if (ret)
		return ERR_PTR(ret);
	m = kvzalloc(struct_size(m, page, nr), GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!m) {
		atomic64_sub(nr, &current->mm->pinned_vm);
		return ERR_PTR(-ENOMEM);
	}
	refcount_set(&m->ref, 1);
	m->charged = nr;
	m->written = perm & VHOST_ACCESS_WO;
	m->first = at >> PAGE_SHIFT;
	m->mm = current->mm;
	mmgrab(m->mm);
	while (m->nr < nr) {
		ret = fatal_signal_pending(current) ? -EINTR :
		      pin_user_pages_fast(at + m->nr * PAGE_SIZE,
					  min(nr - m->nr, VINF_PIN_PAGES), gup, m->page + m->nr);
		if (ret <= 0)
			goto err_free;
		m->nr += ret;
		cond_resched();
	}
	return m;

err_free:
	vinf_memory_free(m);
	return ERR_PTR(ret ?: -EFAULT);
}

/**
 * vinf_memory_get - one more reference
 * @m: memory, or NULL
 *
 * Return: @m.
 */
struct vinf_memory *vinf_memory_get(struct vinf_memory *m)
{
	if (m)
		refcount_inc(&m->ref);
	return m;
}

/**
 * vinf_memory_put - one reference less; with the last one the pages are let go of
 * @m: memory, or NULL
 *
 * Context: process.  Waits for nobody, but takes a while for much memory.
 */
void vinf_memory_put(struct vinf_memory *m)
{
	if (m && refcount_dec_and_test(&m->ref))
		vinf_memory_free(m);
}
