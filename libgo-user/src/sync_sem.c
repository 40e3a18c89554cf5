/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The weighted semaphore.
 *
 * Invariant, whenever the lock is free: the first waiter that still waits wants more than
 * there is. So whoever makes more, or takes a waiter away, serves the queue.
 *
 * A waiter with a context stands on two queues, the semaphore's and that of the context's
 * done channel, and one of them wins it, as with a select (waitq.h). When a release wins,
 * the units are the waiter's already; should the context be cancelled before it runs, it
 * gives them back: a cancel that came first is obeyed.
 *
 * Locks: the semaphore's, then the channel's.
 */
#include <gsched/runtime.h>
#include <gsched/sync.h>

#include "base/list.h"
#include "chan.h"
#include "sema.h"

struct sem_waiter {
	struct gs_sudog sudog; /* on the semaphore */
	struct gs_sudog done;  /* on the channel */
	struct gs_selection sel;
	int64_t n;
};

struct sem_locks {
	struct gs_lock *sem;
	gs_chan *done;
};

void gs_sem_init(gs_sem *s, int64_t n)
{
	*s = (gs_sem){.size = n};
}

/* Give what there is to those who wait, in order: the chain to be woken. Locked. */
static struct gs_sudog *serve(gs_sem *s)
{
	struct gs_sudog *chain = NULL, **tail = &chain, *w;

	while ((w = gs_waitq_peek(&s->waiters))) {
		int64_t n = gs_container_of(w, struct sem_waiter, sudog)->n;
		uint32_t zero = 0;

		if (s->size - s->held < n)
			break;
		gs_waitq_del(&s->waiters, w);
		/* as gs_waitq_pop: lost to the context */
		if (w->sel && !gs_cas_acq_rel(&w->sel->done, &zero, 1))
			continue;
		s->held += n;
		w->success = true;
		*tail = w;
		tail = &w->next;
	}
	*tail = NULL;
	return chain;
}

static bool take(gs_sem *s, int64_t n)
{
	if (s->size - s->held < n || gs_waitq_peek(&s->waiters))
		return false;
	s->held += n;
	return true;
}

static GS_RACE_UNSEEN bool commit_unlock_both(struct gs_fiber *f, void *arg)
{
	struct sem_locks l = *(struct sem_locks *)arg;

	(void)f;
	/* who is woken through the channel comes for the semaphore's lock before it returns */
	if (l.done)
		gs_chan_unlock_for(l.done);
	gs_lock_release_for(l.sem);
	return true;
}

int gs_sem_acquire(gs_sem *s, gs_context *ctx, int64_t n)
{
	struct sem_locks locks = {gs_lock_of(&s->lock), NULL};
	struct sem_waiter w = {.n = n};
	gs_chan *done = gs_context_done(ctx);
	struct gs_sudog *chain = NULL;

	gs_rt_enter();
	gs_lock_acquire(locks.sem);
	if (done && gs_chan_closed(done)) {
		gs_lock_release(locks.sem);
		gs_rt_leave();
		return gs_context_err(ctx);
	}
	if (take(s, n)) {
		gs_lock_release(locks.sem);
		gs_rt_leave();
		return 0;
	}
	if (n > s->size) {
		gs_lock_release(locks.sem);
		gs_rt_leave();
		gs_chan_recv(done, NULL);
		return gs_context_err(ctx);
	}
	w.sudog.fiber = gs_self();
	gs_waitq_push(&s->waiters, &w.sudog);
	if (done) {
		locks.done = done;
		gs_chan_lock(done, gs_worker_self());
		w.sudog.sel = &w.sel;
		w.done.fiber = w.sudog.fiber;
		w.done.sel = &w.sel;
		if (gs_chan_closed(done)) {
			/* since we looked, and it found nobody: as if it came before */
			gs_chan_unlock(done);
			gs_waitq_del(&s->waiters, &w.sudog);
			gs_lock_release(locks.sem);
			gs_rt_leave();
			return gs_context_err(ctx);
		}
		gs_chan_step_on(done, &done->recvq, &w.done);
	}
	gs_race_parks(locks.sem);
	if (done)
		gs_race_parks(&done->lock);
	gs_park(commit_unlock_both, &locks, GS_WAIT_SEMA);
	if (!done) {
		gs_rt_leave();
		return 0;
	}
	gs_chan_step_off(done, &done->recvq, &w.done);
	if (w.sudog.success) {
		gs_rt_leave();
		if (gs_likely(!gs_chan_closed(done)))
			return 0;
		gs_sem_release(s, n);
		return gs_context_err(ctx);
	}
	gs_lock_acquire(locks.sem);
	if (w.sudog.queued)
		gs_waitq_del(&s->waiters, &w.sudog);
	/* though it was off already: who found it stale need not have served those behind */
	chain = serve(s);
	gs_lock_release(locks.sem);
	gs_waitq_wake_all(chain);
	gs_rt_leave();
	return gs_context_err(ctx);
}

bool gs_sem_try_acquire(gs_sem *s, int64_t n)
{
	bool taken;

	gs_rt_enter();
	gs_lock_acquire(gs_lock_of(&s->lock));
	taken = take(s, n);
	gs_lock_release(gs_lock_of(&s->lock));
	gs_rt_leave();
	return taken;
}

void gs_sem_release(gs_sem *s, int64_t n)
{
	struct gs_sudog *chain = NULL;
	bool over;

	gs_rt_enter();
	gs_lock_acquire(gs_lock_of(&s->lock));
	s->held -= n;
	over = s->held < 0;
	if (!over)
		chain = serve(s);
	gs_lock_release(gs_lock_of(&s->lock));
	gs_waitq_wake_all(chain);
	gs_rt_leave();
	if (gs_unlikely(over))
		gs_panic("semaphore: released more than held");
}
