/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables of objects that may be cleared while others use them: pools and maps. An object gets
 * its table with its first store and gives it up in clear. Others may still be about to lock a
 * part of it, so tables are never freed but used again, by any object of the kind, and each
 * part says under its lock whose it is: who finds it is not his any more looks again.
 */
#ifndef GS_SYNC_TABLES_H
#define GS_SYNC_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/lock.h"

#pragma GCC visibility push(hidden)

/* The first member of a table. */
struct gs_table {
	struct gs_table *next; /* the kind's lock, while it is nobody's */
};

/* A kind of table. */
struct gs_tables {
	struct gs_lock lock;
	struct gs_table *free; /* lock */
	size_t align, size;    /* I */
};

/* A table that is nobody's; *fresh: all else in it is zero. NULL: no memory. Depth 0. */
struct gs_table *gs_tables_get(struct gs_tables *kind, bool *fresh);

/* No part of it is anybody's now. */
void gs_tables_put(struct gs_tables *kind, struct gs_table *t);

#pragma GCC visibility pop

#endif /* GS_SYNC_TABLES_H */
