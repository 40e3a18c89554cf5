/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Timers and tickers.
 *
 * One with a channel is part of the channel: the state stands in gs_chan's buf, the lock
 * is the channel's, a gs_timer or gs_ticker is one reference to it, and gs_after returns
 * just that. chan.h tells how receivers and timer meet. `when` is all there is to it:
 *
 *	0		stopped, or its value was received
 *	in the future	armed
 *	in the past	a value is there: of this very time, whenever it is received
 *
 * For a ticker the value's time moves on by whole periods to the first in the future when
 * it is received, so what nobody received in between is lost, but for the first.
 *
 * Invariants, whenever the lock is free:
 *  - when != 0 and a receiver waits: the timer is in a heap for that time, or the poller
 *    has taken it out and wants the lock;
 *  - nobody waits: it is in no heap. (It may still be there for a waiting select that has
 *    been won by another case, until that comes back.)
 * So a timer nobody looks at costs its memory only, whatever it does or misses, and a
 * deadlock is found though it may still be armed.
 *
 * gs_after_func's timers are in a heap while they are armed. One that is due is put onto
 * a list, and a fiber is started which takes the first of it, starts a fiber for the
 * next, if there is one, and then is the one its function runs in. So the poller starts a
 * single fiber whatever the number of timers, thousands that are due at once need no
 * more fibers than there are functions that block, and each fiber is started by one,
 * where that is cheap. If a fiber cannot be started for lack of memory the poller tries
 * again until it can: no timer is ever lost.
 */
#include <errno.h>
#include <gsched/time.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/sanitizer.h"
#include "chan.h"
#include "leak.h"
#include "poller.h"
#include "timer.h"

/* What a gs_timer points to, and (as a cast) a gs_ticker. */
struct gs_timer {
	struct gs_rtimer rt;
	gs_chan *chan; /* I: NULL for gs_after_func's */
};

/* In a channel's buf. L, LR as in chan.h. */
struct chan_timer {
	struct gs_timer base;
	int64_t when;	/* LR */
	int64_t period; /* L: 0 for a timer */
};

struct func_timer {
	struct gs_timer base;
	struct gs_lock lock;	 /* one stop or reset at a time; guards base.rt */
	uint32_t refs;		 /* atomic: the caller's, 1 while armed, 1 for each of runs */
	uint32_t runs;		 /* expired.lock: times it was due and has not run yet */
	struct func_timer *next; /* expired.lock */
	void (*fn)(void *arg);	 /* I */
	void *arg;		 /* I */
};

/* ns from now on, at least now. */
static int64_t deadline(int64_t ns)
{
	int64_t now = gs_now(), when;

	if (ns <= 0)
		return now;
	return __builtin_add_overflow(now, ns, &when) ? INT64_MAX : when;
}

/* ------------------------------------------------------------------------- */
/* With a channel                                                              */

static struct chan_timer *of_chan(gs_chan *c)
{
	return (struct chan_timer *)(void *)c->buf;
}

bool gs_chan_timer_hint(gs_chan *c)
{
	int64_t when = gs_load_relaxed(&of_chan(c)->when);

	/* whether somebody waits is seen under the lock: a select that is won may stand there */
	return when && when <= gs_now();
}

bool gs_chan_timer_ready(gs_chan *c)
{
	int64_t when = of_chan(c)->when;

	/* those who wait were first: the poller will serve them */
	return when && when <= gs_now() && !gs_waitq_peek(&c->recvq);
}

/* The value is received: the next one's time. */
static int64_t consume(struct chan_timer *t)
{
	int64_t when = t->when, next = 0;

	if (t->period &&
	    (__builtin_mul_overflow((gs_now() - when) / t->period + 1, t->period, &next) ||
	     __builtin_add_overflow(when, next, &next)))
		next = INT64_MAX;
	gs_store_relaxed(&t->when, next);
	return when;
}

bool gs_chan_timer_take(gs_chan *c, void *elem)
{
	int64_t value;

	if (!gs_chan_timer_ready(c))
		return false;
	value = consume(of_chan(c));
	if (elem)
		memcpy(elem, &value, sizeof(value));
	return true;
}

bool gs_chan_timer_wait(gs_chan *c)
{
	struct chan_timer *t = of_chan(c);

	return t->when && gs_rtimer_set(&t->base.rt, t->when);
}

void gs_chan_timer_leave(gs_chan *c)
{
	if (!c->recvq.first)
		gs_rtimer_stop(&of_chan(c)->base.rt);
}

void gs_chan_timer_end(gs_chan *c)
{
	struct gs_rtimer *rt = &of_chan(c)->base.rt;

	if (!rt->heap)
		return; /* was never armed */
	gs_rt_enter();
	gs_rtimer_stop(rt);
	gs_rt_leave();
	gs_rtimer_sync(rt);
}

/* The poller. What was due when it left the heap need not be so any more. */
static void chan_fire(struct gs_rtimer *rt)
{
	struct chan_timer *t = gs_container_of(rt, struct chan_timer, base.rt);
	gs_chan *c = t->base.chan;
	struct gs_sudog *s = NULL;

	gs_chan_lock(c, gs_worker_self());
	if (t->when && t->when <= gs_now()) {
		s = gs_waitq_pop(&c->recvq);
		if (s) {
			int64_t value = consume(t);

			if (s->elem)
				memcpy(s->elem, &value, sizeof(value));
			s->success = true;
		}
	}
	/* the poller, awake, need not be woken */
	if (t->when && c->recvq.first)
		gs_rtimer_set(rt, t->when);
	gs_chan_unlock(c);
	/* who gets the value may free the channel at once */
	gs_rtimer_done();
	if (s)
		gs_ready(s->fiber);
}

/* Either stop (when 0) or reset; was it active? */
static bool chan_change(struct gs_timer *base, int64_t when, int64_t period)
{
	gs_chan *c = base->chan;
	struct chan_timer *t = of_chan(c);
	bool active, poke = false;

	gs_rt_enter();
	gs_chan_lock(c, gs_worker_self());
	active = t->when;
	gs_store_relaxed(&t->when, when);
	t->period = period;
	if (when && c->recvq.first)
		poke = gs_rtimer_set(&base->rt, when);
	else
		gs_rtimer_stop(&base->rt);
	gs_chan_unlock(c);
	if (poke)
		gs_poller_wake();
	gs_rt_leave();
	return active;
}

static struct gs_timer *chan_new(int64_t ns, int64_t period)
{
	struct chan_timer *t;
	gs_chan *c;
	int r;

	/* the poller will be needed */
	r = gs_rt_start();
	if (r) {
		errno = -r;
		return NULL;
	}
	c = malloc(sizeof(*c) + sizeof(*t));
	if (!c)
		return NULL;
	memset(c, 0, sizeof(*c) + sizeof(*t));
	c->flags = GS_CHAN_F_TIMER;
	c->elem_size = sizeof(int64_t);
	c->refs = 1;
	t = of_chan(c);
	t->base.rt.fn = chan_fire;
	t->base.chan = c;
	t->when = deadline(ns);
	t->period = period;
	gs_leak_made(GS_LEAK_TIMER, c);
	return &t->base;
}

/* ------------------------------------------------------------------------- */
/* With a function                                                             */

#define RETRY_NS 1000000

static void retry_fire(struct gs_rtimer *t);

static struct {
	struct gs_lock lock;
	struct func_timer *first, *last; /* lock: first due, first run */
	/*
	 * lock: a fiber that will take the first is started or about to be, or retry
	 * is armed. Not empty: set.
	 */
	bool served;
	struct gs_rtimer retry; /* whoever set served, or inherited it */
} expired = {.retry.fn = retry_fire};
GS_LOCK_FORKS(expired_lock, expired.lock);

static void run_first(void *arg);

static void func_unref(struct func_timer *t)
{
	/* acq_rel: what others did with it is over */
	if (gs_fetch_sub_acq_rel(&t->refs, 1) == 1) {
		gs_leak_freed(t);
		free(t);
	}
}

/* Start the fiber for the first on the list. The poller, or a fiber at depth 0. */
static void serve(void)
{
	if (gs_likely(gs_go(run_first, NULL) == 0))
		return;
	gs_rt_enter();
	gs_rtimer_arm(&expired.retry, gs_now() + RETRY_NS);
	gs_rt_leave();
}

static void retry_fire(struct gs_rtimer *t)
{
	(void)t;
	serve();
}

/* Entered or on the poller; true: the caller must serve. */
static bool put_expired(struct func_timer *t)
{
	bool first;

	gs_lock_acquire(&expired.lock);
	if (t->runs++ == 0) {
		t->next = NULL;
		if (expired.first)
			expired.last->next = t;
		else
			expired.first = t;
		expired.last = t;
	}
	first = !expired.served;
	expired.served = true;
	gs_lock_release(&expired.lock);
	return first;
}

/* Its reference goes with it. One that is due several times runs that often, at once. */
static struct func_timer *take_expired(bool *more)
{
	struct func_timer *t;

	gs_lock_acquire(&expired.lock);
	t = expired.first;
	gs_race_acquire(t); /* of who armed it */
	if (--t->runs == 0)
		expired.first = t->next;
	*more = expired.served = expired.first;
	gs_lock_release(&expired.lock);
	return t;
}

/* A new fiber. */
static void run_first(void *arg)
{
	struct func_timer *t;
	void (*fn)(void *);
	bool more;

	gs_rt_enter();
	t = take_expired(&more);
	gs_rt_leave();
	if (more)
		serve();
	fn = t->fn;
	arg = t->arg;
	func_unref(t);
	if (gs_unlikely(!fn))
		gs_panic("go of nil func value");
	fn(arg);
}

/* The poller. The reference for being armed becomes that for a run. */
static void func_fire(struct gs_rtimer *rt)
{
	if (put_expired(gs_container_of(rt, struct func_timer, base.rt)))
		serve();
}

static bool func_change(struct gs_timer *base, int64_t when)
{
	struct func_timer *t = gs_container_of(base, struct func_timer, base);
	bool active, poke = false;

	gs_rt_enter();
	gs_race_release(t); /* to take_expired: the poller is in between */
	gs_lock_acquire(&t->lock);
	active = when && gs_rtimer_put_off(&base->rt, when);
	if (active) {
		gs_lock_release(&t->lock);
		gs_rt_leave();
		return true;
	}
	active = gs_rtimer_stop(&base->rt);
	if (when) {
		if (!active)
			gs_fetch_add_relaxed(&t->refs, 1);
		poke = gs_rtimer_set(&base->rt, when);
	}
	gs_lock_release(&t->lock);
	if (poke)
		gs_poller_wake();
	gs_rt_leave();
	if (active && !when)
		func_unref(t);
	return active;
}

gs_timer *gs_after_func(int64_t ns, void (*fn)(void *), void *arg)
{
	struct func_timer *t;
	int r;

	r = gs_rt_start();
	if (r) {
		errno = -r;
		return NULL;
	}
	t = malloc(sizeof(*t));
	if (!t)
		return NULL;
	memset(t, 0, sizeof(*t));
	t->base.rt.fn = func_fire;
	t->refs = 2;
	t->fn = fn;
	t->arg = arg;
	gs_race_release(t); /* to take_expired */
	gs_leak_made(GS_LEAK_TIMER, t);
	gs_rt_enter();
	gs_rtimer_arm(&t->base.rt, deadline(ns));
	gs_rt_leave();
	return &t->base;
}

/* ------------------------------------------------------------------------- */

gs_timer *gs_timer_new(int64_t ns)
{
	return chan_new(ns, 0);
}

gs_recv_only(int64_t) gs_timer_chan(gs_timer *t)
{
	return t ? (void *)t->chan : NULL;
}

gs_recv_only(int64_t) gs_after(int64_t ns)
{
	return gs_timer_chan(chan_new(ns, 0));
}

bool gs_timer_stop(gs_timer *t)
{
	if (gs_unlikely(!t))
		gs_panic("time: Stop called on uninitialized Timer");
	return t->chan ? chan_change(t, 0, 0) : func_change(t, 0);
}

bool gs_timer_reset(gs_timer *t, int64_t ns)
{
	if (gs_unlikely(!t))
		gs_panic("time: Reset called on uninitialized Timer");
	return t->chan ? chan_change(t, deadline(ns), 0) : func_change(t, deadline(ns));
}

void gs_timer_free(gs_timer *t)
{
	if (!t)
		return;
	if (t->chan)
		gs_chan_unref(t->chan);
	else
		func_unref(gs_container_of(t, struct func_timer, base));
}

gs_ticker *gs_ticker_new(int64_t ns)
{
	if (ns <= 0)
		gs_panic("non-positive interval for NewTicker");
	return (gs_ticker *)chan_new(ns, ns);
}

gs_recv_only(int64_t) gs_ticker_chan(gs_ticker *t)
{
	return gs_timer_chan((gs_timer *)t);
}

void gs_ticker_stop(gs_ticker *t)
{
	/* Go's does not panic */
	if (t)
		chan_change((gs_timer *)t, 0, 0);
}

void gs_ticker_reset(gs_ticker *t, int64_t ns)
{
	if (ns <= 0)
		gs_panic("non-positive interval for Ticker.Reset");
	if (gs_unlikely(!t))
		gs_panic("time: Reset called on uninitialized Ticker");
	chan_change((gs_timer *)t, deadline(ns), ns);
}

void gs_ticker_free(gs_ticker *t)
{
	gs_timer_free((gs_timer *)t);
}
