/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sync_tables.h"

#include <stdlib.h>
#include <string.h>

#include "sched.h"

struct gs_table *gs_tables_get(struct gs_tables *kind, bool *fresh)
{
	struct gs_table *t;

	gs_rt_enter();
	gs_lock_acquire(&kind->lock);
	t = kind->free;
	if (t)
		kind->free = t->next;
	gs_lock_release(&kind->lock);
	gs_rt_leave();
	*fresh = !t;
	if (!t) {
		t = aligned_alloc(kind->align, kind->size);
		if (t)
			memset(t, 0, kind->size);
	}
	return t;
}

void gs_tables_put(struct gs_tables *kind, struct gs_table *t)
{
	gs_rt_enter();
	gs_lock_acquire(&kind->lock);
	t->next = kind->free;
	kind->free = t;
	gs_lock_release(&kind->lock);
	gs_rt_leave();
}
