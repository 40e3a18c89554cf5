/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The page below a stack that nobody can touch. */
#ifndef GS_GUARD_H
#define GS_GUARD_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

#define GS_GUARD_SIZE ((size_t)4096)

/* In the order of preference. */
enum gs_guard {
	GS_GUARD_AUTO,
	GS_GUARD_INSTALL,
	GS_GUARD_POISON,
	GS_GUARD_MPROTECT,
	GS_GUARD_NONE
};

/* This kind only, or which the kernel offers. Before the first stack. */
void gs_guard_init(enum gs_guard kind);

/* New memory in which there will be guards. Depth 0: may sleep. */
void gs_guard_region(void *map, size_t size);

/*
 * Make a guard of this page, which nobody has touched yet. Depth 0: may sleep. How it was
 * done; GS_GUARD_NONE: it is none.
 */
enum gs_guard gs_guard_page(void *page);

/* The memory of a page that was guarded so is no longer mapped. */
void gs_guard_gone(enum gs_guard how);

/* How guards are made here: "guard-install", "poison", "mprotect", "none". */
const char *gs_guard_name(void);

#pragma GCC visibility pop

#endif /* GS_GUARD_H */
