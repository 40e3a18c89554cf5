/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Anonymous memory from the kernel, in pages.
 *
 * Raw system calls, as all of the scheduler's: no errno. SAN=thread must see them, or it
 * takes memory that is used again for shared: what it saw a thread do with a page would stand
 * against whoever the kernel gives that page next. To SAN=race a mapping is a write, and how
 * the scheduler passes it on is no order there: it does not see them, and for a fiber's stack
 * there is gs_race_new_stack().
 */
#ifndef GS_BASE_MMAP_H
#define GS_BASE_MMAP_H

#include <stddef.h>
#include <sys/mman.h>

#include "base/syscall.h"

/* Zeroes, to be read and written; flags: MAP_*, besides private and anonymous. NULL: none. */
static inline void *gs_mmap(size_t size, int flags)
{
#if defined(GS_TSAN) && !defined(GS_RACE)
	int saved = errno;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1,
		       0);

	errno = saved;
	return p == MAP_FAILED ? NULL : p;
#else
	long p = gs_syscall6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	return p < 0 && p > -4096 ? NULL : (void *)p;
#endif
}

/* Any pages of it: whole mappings, or parts. */
static inline void gs_munmap(void *p, size_t size)
{
#if defined(GS_TSAN) && !defined(GS_RACE)
	int saved = errno;

	/* it forgets whole pages only, of what size says */
	munmap(p, (size + 4095) & ~(size_t)4095);
	errno = saved;
#else
	gs_syscall3(SYS_munmap, p, size, 0);
#endif
}

#endif /* GS_BASE_MMAP_H */
