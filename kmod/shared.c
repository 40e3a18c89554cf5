// SPDX-License-Identifier: GPL-2.0
/*
 * The shared area: pages of our own, charged to the memory cgroup, seen by the
 * kernel through a vmalloc mapping and by user space through mmap. No user
 * page is ever touched from the scheduler, and none of ours can be unmapped
 * there: a mapping holds the pages and the file, the file holds the context.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "compat.h"
#include "gsched.h"

static_assert(GSCHED_HEAD_SIZE % PAGE_SIZE == 0);
static_assert(GSCHED_CHUNK_SIZE % PAGE_SIZE == 0);

/**
 * gsched_shared_alloc() - zeroed pages that can be mapped
 * @size: in bytes, whole pages
 *
 * Return: the pages, or NULL.
 */
struct gsched_pages *gsched_shared_alloc(size_t size)
{
	unsigned int nr = size / PAGE_SIZE;
	struct gsched_pages *pages;

	pages = kzalloc(struct_size(pages, page, nr), GFP_KERNEL_ACCOUNT);
	if (!pages)
		return NULL;
	while (pages->nr < nr) {
		struct page *page = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);

		if (!page)
			goto fail;
		pages->page[pages->nr++] = page;
	}
	pages->addr = vmap(pages->page, nr, VM_MAP, PAGE_KERNEL);
	if (!pages->addr)
		goto fail;
	return pages;

fail:
	gsched_shared_free(pages);
	return NULL;
}

void gsched_shared_free(struct gsched_pages *pages)
{
	if (!pages)
		return;
	vunmap(pages->addr);
	while (pages->nr)
		__free_page(pages->page[--pages->nr]);
	kfree(pages);
}

/**
 * gsched_shared_mmap() - map the head or one chunk of slots
 * @context: of the caller
 * @vma: offset and size say which
 *
 * All pages are mapped at once, so that the runtime never faults on them.
 *
 * Return: 0 or an errno; -ENXIO when the chunk does not exist yet.
 */
int gsched_shared_mmap(struct gsched_context *context, struct vm_area_struct *vma)
{
	unsigned long size = vma->vm_end - vma->vm_start;
	unsigned long chunk = vma->vm_pgoff - (GSCHED_OFF_CHUNK(0) >> PAGE_SHIFT);
	struct gsched_pages *pages;

	if (!(vma->vm_flags & VM_SHARED) || (vma->vm_flags & VM_EXEC))
		return -EINVAL;
	if (vma->vm_pgoff == GSCHED_OFF_HEAD >> PAGE_SHIFT) {
		if (size != GSCHED_HEAD_SIZE)
			return -EINVAL;
		pages = context->head;
	} else {
		struct gsched_chunk *c;

		if (size != GSCHED_CHUNK_SIZE || chunk % (GSCHED_CHUNK_SIZE / PAGE_SIZE))
			return -EINVAL;
		chunk /= GSCHED_CHUNK_SIZE / PAGE_SIZE;
		if (chunk >= GSCHED_MAXCHUNKS)
			return -EINVAL;
		/* Pairs with the release in worker.c:slot_get(). */
		c = smp_load_acquire(&context->chunk[array_index_nospec(chunk, GSCHED_MAXCHUNKS)]);
		if (!c)
			return -ENXIO;
		pages = c->slots;
	}
	gsched_vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	return vm_map_pages_zero(vma, pages->page, pages->nr);
}
