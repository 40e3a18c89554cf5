/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sema.h"

#include "waitq.h"

void gs_sema_acquire(struct gs_sema *s, enum gs_wait reason)
{
	struct gs_lock *lock = gs_lock_of(&s->lock);
	struct gs_sudog me = {0};

	gs_rt_enter();
	gs_lock_acquire(lock);
	if (s->count) {
		s->count--;
		gs_lock_release(lock);
	} else {
		me.fiber = gs_self();
		gs_waitq_push(&s->waiters, &me);
		gs_park_unlock(lock, reason);
	}
	gs_rt_leave();
}

void gs_sema_release(struct gs_sema *s)
{
	struct gs_sudog *w;

	gs_rt_enter();
	gs_lock_acquire(gs_lock_of(&s->lock));
	w = gs_waitq_pop(&s->waiters);
	if (!w)
		s->count++;
	gs_lock_release(gs_lock_of(&s->lock));
	if (w)
		gs_ready(w->fiber);
	gs_rt_leave();
}
