/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiters: what a fiber (or thread) leaves behind on a queue before it parks.
 *
 * A struct gs_sudog lives on the waiting fiber's stack. It is valid as long as the
 * fiber waits, that is from its enqueueing until
 *   - a plain waiter: gs_ready is called on its fiber;
 *   - a select's: the select has taken the queue's lock once more after it woke.
 * So whoever holds the queue's lock may look at every sudog on the queue, and whoever
 * took one off may look at it until it calls gs_ready.
 *
 * A select stands on several queues, and one of them wins: the first to swap
 * sel->done from 0 to 1. Whoever takes a select's sudog off a queue without winning
 * has lost nothing but a stale entry. (Go: selectDone.)
 *
 * Queues are doubly linked, so that a losing case leaves in O(1) whatever the queue's
 * length. All fields of the queue are protected by the lock of its owner; `first` is
 * stored atomically, for an unlocked look whether anybody waits.
 */
#ifndef GS_WAITQ_H
#define GS_WAITQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <gsched/sync.h>

#include "base/atomic.h"
#include "base/sanitizer.h"
#include "sched.h"

/* The once-only commit of one select. */
struct gs_selection {
	uint32_t done; /* atomic: 0 -> 1 once, by the winner */
};

/*
 * Protection: [L] the queue's lock; [I] set before it is enqueued; [W] the waker,
 * after it took it off and before gs_ready; then the waiter.
 */
struct gs_sudog {
	struct gs_sudog *next;	  /* L, then W */
	struct gs_sudog *prev;	  /* L */
	struct gs_fiber *fiber;	  /* I */
	void *elem;		  /* I: the waiter's buffer; what it points to is W's */
	struct gs_selection *sel; /* I: NULL for a plain waiter */
	uint32_t tag;		  /* I: free for the queue's owner */
	bool queued;		  /* L */
	bool success;		  /* W: woken by an operation, not by close */
};

static inline void gs_waitq_push(struct gs_waitq *q, struct gs_sudog *s)
{
	s->next = NULL;
	s->prev = q->last;
	s->queued = true;
	if (s->prev)
		s->prev->next = s;
	else
		gs_store_relaxed(&q->first, s);
	q->last = s;
}

static inline void gs_waitq_push_front(struct gs_waitq *q, struct gs_sudog *s)
{
	s->prev = NULL;
	s->next = q->first;
	s->queued = true;
	if (s->next)
		s->next->prev = s;
	else
		q->last = s;
	gs_store_relaxed(&q->first, s);
}

static inline void gs_waitq_del(struct gs_waitq *q, struct gs_sudog *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		gs_store_relaxed(&q->first, s->next);
	if (s->next)
		s->next->prev = s->prev;
	else
		q->last = s->prev;
	s->queued = false;
}

/* The first waiter that still waits, left on the queue; stale ones before it go. */
static inline struct gs_sudog *gs_waitq_peek(struct gs_waitq *q)
{
	struct gs_sudog *s;

	while ((s = q->first) && s->sel && gs_load_relaxed(&s->sel->done))
		gs_waitq_del(q, s);
	return s;
}

/*
 * Take the first waiter that still waits and win it: the caller must wake it. Its
 * wake value is the sudog, so that a select knows which case it was.
 */
static inline struct gs_sudog *gs_waitq_pop(struct gs_waitq *q)
{
	struct gs_sudog *s;

	while ((s = q->first)) {
		uint32_t zero = 0;

		gs_waitq_del(q, s);
		if (!s->sel)
			return s;
		/* acq_rel for form's sake: the queue's lock and gs_ready order the rest */
		if (gs_cas_acq_rel(&s->sel->done, &zero, 1)) {
			gs_fiber_set_wake(s->fiber, s);
			return s;
		}
	}
	return NULL;
}

/* Wake a chain of waiters popped from queues and linked by next. Entered, no locks. */
static inline void gs_waitq_wake_all(struct gs_sudog *chain)
{
	for (unsigned n = 1; chain; n++) {
		struct gs_sudog *s = chain;

		chain = s->next;
		gs_ready(s->fiber);
		/* s may be gone. A long chain is no reason to run unpreempted for long. */
		if (n % 64 == 0) {
			gs_rt_leave();
			gs_rt_enter();
		}
	}
}

static inline GS_RACE_UNSEEN bool gs_commit_unlock(struct gs_fiber *f, void *lock)
{
	(void)f;
	gs_lock_release_for(lock);
	return true;
}

/* The park of a plain waiter, which stands on a queue under the lock. */
static inline void gs_park_unlock(struct gs_lock *lock, enum gs_wait reason)
{
	gs_race_parks(lock);
	gs_park(gs_commit_unlock, lock, reason);
}

#endif /* GS_WAITQ_H */
