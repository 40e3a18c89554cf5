/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "life.h"

#include <stdlib.h>

#include "sched.h"

#define KEPT 256 /* over, and waiting for their next use */

void *gs_life_alloc(struct gs_life_list *list, size_t size)
{
	struct gs_life *life = NULL;

	gs_rt_enter();
	gs_lock_acquire(&list->lock);
	/* in the child of a fork one that was on its way may be missing */
	if (list->n > KEPT && list->first) {
		life = list->first;
		list->first = life->next;
		list->n--;
	}
	gs_lock_release(&list->lock);
	gs_rt_leave();
	if (life)
		return life;
	life = calloc(1, size);
	if (life)
		gs_store_relaxed(&life->state, GS_LIFE_OVER);
	return life;
}

void gs_life_free(struct gs_life_list *list, struct gs_life *life)
{
	gs_rt_enter();
	gs_lock_acquire(&list->lock);
	life->next = NULL;
	if (list->last)
		list->last->next = life;
	else
		list->first = life;
	list->last = life;
	list->n++;
	gs_lock_release(&list->lock);
	gs_rt_leave();
}
