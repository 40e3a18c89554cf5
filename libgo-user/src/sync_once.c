/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <gsched/sync.h>

#include "base/atomic.h"
#include "panic.h"

/* However fn ended: done first, then the mutex, so that waiters see it done. */
static void finish(void *arg)
{
	gs_once *o = arg;

	/* release: pairs with the acquire in gs_once_do */
	gs_store_release(&o->done, 1);
	gs_mutex_unlock(&o->mutex);
}

void gs_once_do(gs_once *o, void (*fn)(void *), void *arg)
{
	struct gs_deferred d;

	/* acquire: pairs with the release in finish */
	if (gs_likely(gs_load_acquire(&o->done)))
		return;
	gs_mutex_lock(&o->mutex);
	/* relaxed: the mutex orders it */
	if (gs_load_relaxed(&o->done)) {
		gs_mutex_unlock(&o->mutex);
		return;
	}
	gs_defer_push(&d, finish, o);
	fn(arg);
	gs_defer_pop(&d);
}
