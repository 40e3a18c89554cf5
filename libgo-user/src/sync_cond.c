/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Condition variables. A waiter queues before it unlocks the mutex, so every signal
 * after that finds it; it may find it before it has parked, and then only takes it off
 * the queue, which the waiter sees under the lock before it parks.
 *
 * A sudog's tag says whether it has parked (lock).
 */
#include <gsched/sync.h>

#include "sema.h"
#include "waitq.h"

void gs_cond_init(gs_cond *c, gs_mutex *m)
{
	*c = (gs_cond){.mutex = m};
}

void gs_cond_wait(gs_cond *c)
{
	struct gs_lock *lock = gs_lock_of(&c->lock);
	struct gs_sudog me = {0};
	gs_mutex *m = c->mutex;

	gs_rt_enter();
	gs_lock_acquire(lock);
	gs_waitq_push(&c->waiters, &me);
	gs_lock_release(lock);
	gs_rt_leave();

	gs_mutex_unlock(m);

	gs_rt_enter();
	gs_lock_acquire(lock);
	if (me.queued) {
		me.fiber = gs_self();
		me.tag = 1;
		gs_park_unlock(lock, GS_WAIT_COND);
	} else {
		gs_lock_release(lock);
	}
	gs_rt_leave();

	gs_mutex_lock(m);
}

/* Take the first off; true if there was one. *wake: to be readied, if it has parked. */
static bool take(gs_cond *c, struct gs_sudog **wake)
{
	struct gs_sudog *s = gs_waitq_pop(&c->waiters);

	*wake = s && s->tag ? s : NULL;
	return s != NULL;
}

void gs_cond_signal(gs_cond *c)
{
	struct gs_sudog *wake;

	/* whoever waits has queued before the caller's condition became true */
	if (!gs_load_acquire(&c->waiters.first))
		return;
	gs_rt_enter();
	gs_lock_acquire(gs_lock_of(&c->lock));
	take(c, &wake);
	gs_lock_release(gs_lock_of(&c->lock));
	if (wake)
		gs_ready(wake->fiber);
	gs_rt_leave();
}

void gs_cond_broadcast(gs_cond *c)
{
	struct gs_sudog *chain = NULL, **tail = &chain, *wake;

	if (!gs_load_acquire(&c->waiters.first))
		return;
	gs_rt_enter();
	gs_lock_acquire(gs_lock_of(&c->lock));
	while (take(c, &wake))
		if (wake) {
			*tail = wake;
			tail = &wake->next;
		}
	*tail = NULL;
	gs_lock_release(gs_lock_of(&c->lock));
	gs_waitq_wake_all(chain);
	gs_rt_leave();
}
