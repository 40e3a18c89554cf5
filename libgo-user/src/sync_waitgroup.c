/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * state: the count, signed, in the upper 63 bits; bit 0 WAITERS: the queue is not empty.
 * The count changes by atomic addition. WAITERS is set under the lock, by compare-and-
 * swap against a count that is not zero, and the lock is held until the waiter parked:
 * so whoever makes the count zero sees WAITERS, comes for the lock, and finds the
 * waiters on the queue. It takes them all and makes state 0, which is the last moment
 * the object is touched but for the lock's release, before any of them is readied.
 */
#include <gsched/runtime.h>
#include <gsched/sync.h>

#include "panic.h"
#include "sema.h"
#include "waitq.h"

#define WAITERS 1u

static int64_t count_of(uint64_t state)
{
	return (int64_t)state >> 1;
}

static void wake_all(gs_waitgroup *wg)
{
	struct gs_sudog *chain;
	uint64_t only = WAITERS;

	gs_rt_enter();
	gs_lock_acquire(gs_lock_of(&wg->lock));
	chain = wg->waiters.first;
	/* relaxed would do: the lock orders the queue, and the count is what it is */
	if (!gs_cas_acq_rel(&wg->state, &only, 0)) {
		gs_lock_release(gs_lock_of(&wg->lock));
		gs_rt_leave();
		gs_panic("sync: WaitGroup misuse: Add called concurrently with Wait");
	}
	wg->waiters.last = NULL;
	gs_store_relaxed(&wg->waiters.first, NULL);
	gs_lock_release(gs_lock_of(&wg->lock));
	gs_waitq_wake_all(chain);
	gs_rt_leave();
}

void gs_wg_add(gs_waitgroup *wg, int64_t n)
{
	uint64_t state, by = (uint64_t)n << 1;
	int64_t count;

	/*
	 * acq_rel: what was done before done is seen by the one that makes it zero. Who adds
	 * learns nothing of who is done: else fibers that end before the next one is started
	 * would all be in an order, by chance, and the race detector would find nothing.
	 */
	state = by + (n > 0 ? gs_fetch_add_relaxed(&wg->state, by)
			    : gs_fetch_add_acq_rel(&wg->state, by));
	count = count_of(state);

	if (gs_unlikely(count < 0))
		gs_panic("sync: negative WaitGroup counter");
	if (gs_likely(!(state & WAITERS)))
		return;
	if (gs_unlikely(n > 0 && count == n))
		gs_panic("sync: WaitGroup misuse: Add called concurrently with Wait");
	if (count == 0)
		wake_all(wg);
}

void gs_wg_done(gs_waitgroup *wg)
{
	gs_wg_add(wg, -1);
}

void gs_wg_wait(gs_waitgroup *wg)
{
	struct gs_lock *lock = gs_lock_of(&wg->lock);
	struct gs_sudog me = {0};
	uint64_t old;

	/* acquire: pairs with gs_wg_add's release */
	if (count_of(gs_load_acquire(&wg->state)) == 0)
		return;
	gs_rt_enter();
	gs_lock_acquire(lock);
	do {
		/* acquire as above, in every turn: a failed gs_cas_ has no order */
		old = gs_load_acquire(&wg->state);
		if (count_of(old) == 0) {
			gs_lock_release(lock);
			gs_rt_leave();
			return;
		}
	} while (!gs_cas_acq_rel(&wg->state, &old, old | WAITERS));
	me.fiber = gs_self();
	gs_waitq_push(&wg->waiters, &me);
	gs_park_unlock(lock, GS_WAIT_WAITGROUP);
	gs_rt_leave();
	if (gs_unlikely(gs_load_relaxed(&wg->state)))
		gs_panic("sync: WaitGroup is reused before previous Wait has returned");
}

struct call {
	gs_waitgroup *wg;
	void (*fn)(void *arg);
	void *arg;
};

static void done(void *wg)
{
	gs_wg_done(wg);
}

static void end(void *wg)
{
	gs_defer_last(done, wg);
}

static void run(void *arg)
{
	struct call *c = arg;
	struct gs_deferred d;

	gs_defer_push(&d, end, c->wg);
	c->fn(c->arg);
	/* what fn deferred comes before done, as a function's defers in Go */
	gs_defer_run(&d);
}

int gs_wg_go(gs_waitgroup *wg, void (*fn)(void *), void *arg)
{
	struct call c = {wg, fn, arg};
	int r;

	if (!fn)
		gs_panic("go of nil func value");
	gs_wg_add(wg, 1);
	r = gs_go_copy(run, &c, sizeof(c));
	if (r)
		gs_wg_add(wg, -1);
	return r;
}
