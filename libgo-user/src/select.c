/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * select. The steps (Go, runtime/select.go, has the last three):
 *
 *  1. Look at every case without locks, pick one that seems ready, each with equal
 *     chance, lock its channel alone and try. Most selects end here, at the price of
 *     one operation, whatever the number of cases.
 *  2. Lock all channels, in the order of their addresses, each once. Now readiness is
 *     a fact for all at the same moment: pick again; nothing ready is default's case.
 *  3. Still nothing: a sudog on every channel's queue, then park; the commit function
 *     releases the locks, last the first.
 *  4. Woken by the one who swapped `done`; take the losing sudogs off their queues,
 *     each in O(1), each under its channel's lock.
 *
 * Why the selection may live on the stack: after step 3 others reach it through the
 * sudogs on the queues, under a channel's lock; through the timer; and in the commit
 * function. Step 4 takes every channel's lock once and takes the sudog off, so nobody
 * is left inside; it stops the timer, and waits for its function when it is too late
 * for that; and the commit function touches the selection for the last time before it
 * releases the lowest channel's lock, which step 4 must take (without any channel:
 * before it arms the timer).
 *
 * Rejected: Go's shuffled poll order. Counting the ready ones and replacing the pick
 * with chance 1/k draws the same distribution with one random number for each case
 * that is ready, not for each case.
 */
#include <errno.h>
#include <gsched/select.h>
#include <gsched/time.h>
#include <limits.h>
#include <stdlib.h>

#include "base/list.h"
#include "chan.h"
#include "enter.h"
#include "poller.h"
#include "timer.h"

#define STACK_CASES 8

struct select {
	struct gs_selection sel;
	struct gs_case *cases;
	struct gs_sudog *sudogs; /* one a case; those of channels are used */
	struct gs_chan **order;	 /* channels of the cases, ascending, duplicates stay */
	size_t n, norder;
	struct gs_fiber *fiber;
	struct gs_rtimer timer;
	bool poke;    /* a timer was armed: wake the poller */
	bool twice;   /* a channel stands in two cases: set when all are locked */
	int64_t when; /* the earliest AFTER's deadline; 0 none */
	int after;    /* and its index; -1 none */
	int dflt;     /* index of the first DEFAULT; -1 none */
};

/* ------------------------------------------------------------------------- */
/* Order                                                                       */

static void sift_down(struct gs_chan **v, size_t i, size_t n)
{
	struct gs_chan *c = v[i];

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= n)
			break;
		if (child + 1 < n && (uintptr_t)v[child] < (uintptr_t)v[child + 1])
			child++;
		if ((uintptr_t)c >= (uintptr_t)v[child])
			break;
		v[i] = v[child];
		i = child;
	}
	v[i] = c;
}

/* No qsort: it may call malloc. */
static void sort(struct gs_chan **v, size_t n)
{
	if (n <= STACK_CASES) {
		for (size_t i = 1; i < n; i++) {
			struct gs_chan *c = v[i];
			size_t j = i;

			for (; j && (uintptr_t)v[j - 1] > (uintptr_t)c; j--)
				v[j] = v[j - 1];
			v[j] = c;
		}
		return;
	}
	for (size_t i = n / 2; i-- > 0;)
		sift_down(v, i, n);
	for (size_t i = n - 1; i > 0; i--) {
		struct gs_chan *c = v[0];

		v[0] = v[i];
		v[i] = c;
		sift_down(v, 0, i);
	}
}

static void lock_all(struct select *s, const struct gs_worker *w)
{
	struct gs_chan *last = NULL;

	for (size_t i = 0; i < s->norder; i++)
		if (s->order[i] != last) {
			last = s->order[i];
			gs_chan_lock(last, w);
		} else {
			s->twice = true;
		}
}

/* Descending: after the lowest is released nothing of *s is touched. */
static GS_RACE_UNSEEN void unlock_all_for(struct select *s)
{
	struct gs_chan **order = s->order;

	for (size_t i = s->norder; i-- > 0;) {
		struct gs_chan *c = order[i];

		if (i && order[i - 1] == c)
			continue;
		gs_chan_unlock_for(c);
	}
}

static inline void race_parks_all(const struct select *s)
{
	for (size_t i = 0; i < s->norder; i++)
		gs_race_parks(&s->order[i]->lock);
}

static void unlock_all(struct select *s)
{
	race_parks_all(s);
	unlock_all_for(s);
}

/* ------------------------------------------------------------------------- */
/* Choosing                                                                    */

/* Of the first k candidates the newest is the pick with chance 1/k. */
static inline bool draw(uint32_t k)
{
	return k == 1 || ((uint64_t)gs_rt_random() * k) >> 32 == 0;
}

static bool ready_hint(const struct gs_case *c)
{
	switch (c->op) {
	case GS_OP_RECV:
		return c->chan && gs_chan_recv_hint(c->chan);
	case GS_OP_SEND:
		return c->chan && gs_chan_send_hint(c->chan);
	case GS_OP_AFTER:
		return c->ns <= 0;
	}
	return false;
}

/* The channel is locked. Others may win a waiting select, so this too is a hint. */
static bool ready_locked(const struct gs_case *c)
{
	struct gs_chan *ch = c->chan;

	switch (c->op) {
	case GS_OP_RECV:
		return ch && (ch->count || gs_waitq_peek(&ch->sendq) ||
			      (gs_unlikely(ch->flags) &&
			       (ch->flags & GS_CHAN_F_CLOSED || gs_chan_timer_ready(ch))));
	case GS_OP_SEND:
		return ch && (ch->flags & GS_CHAN_F_CLOSED || ch->count < ch->cap ||
			      gs_waitq_peek(&ch->recvq));
	case GS_OP_AFTER:
		return c->ns <= 0;
	}
	return false;
}

static int pick(const struct select *s, bool (*ready)(const struct gs_case *))
{
	uint32_t k = 0;
	int chosen = -1;

	for (size_t i = 0; i < s->n; i++)
		if (ready(&s->cases[i]) && draw(++k))
			chosen = (int)i;
	return chosen;
}

/* The case's operation, its channel locked. */
static enum gs_chan_result attempt(const struct gs_case *c, struct gs_sudog **wake)
{
	enum gs_chan_result r;

	if (c->op == GS_OP_SEND)
		return gs_chan_send_locked(c->chan, c->elem, wake);
	r = gs_chan_recv_locked(c->chan, c->elem, wake);
	if (r != GS_CHAN_BLOCK && c->ok)
		*c->ok = r == GS_CHAN_DONE;
	return r;
}

/* ------------------------------------------------------------------------- */
/* Waiting                                                                     */

static void timer_fire(struct gs_rtimer *t)
{
	struct select *s = gs_container_of(t, struct select, timer);
	uint32_t zero = 0;

	if (!gs_cas_acq_rel(&s->sel.done, &zero, 1))
		return;
	gs_fiber_set_wake(s->fiber, s);
	gs_ready(s->fiber);
}

static GS_RACE_UNSEEN bool commit(struct gs_fiber *f, void *arg)
{
	struct select *s = arg;
	bool locked = s->norder, poke = s->poke;

	(void)f;
	/* first the timer: once the locks, if any, are released s may be gone */
	if (s->when && gs_rtimer_set(&s->timer, s->when))
		poke = true;
	if (locked)
		unlock_all_for(s);
	if (poke)
		gs_poller_wake();
	return true;
}

static struct gs_waitq *case_queue(const struct gs_case *c)
{
	return c->op == GS_OP_SEND ? &c->chan->sendq : &c->chan->recvq;
}

/*
 * Of two cases on one queue the first there is served. From a random case on, in a random
 * direction: each of two comes before the other with equal chance.
 */
static void enqueue(struct select *s)
{
	uint32_t r = s->twice ? gs_rt_random() : 0;
	size_t i = ((uint64_t)r * s->n) >> 32, step = r & 1 ? s->n - 1 : 1;

	for (size_t left = s->n; left; left--, i += i + step < s->n ? step : step - s->n) {
		struct gs_case *c = &s->cases[i];
		struct gs_sudog *d = &s->sudogs[i];

		if (!c->chan || c->op > GS_OP_SEND)
			continue;
		d->fiber = s->fiber;
		d->elem = c->elem;
		d->sel = &s->sel;
		d->tag = (uint32_t)i;
		d->success = false;
		if (gs_chan_step_on(c->chan, case_queue(c), d))
			s->poke = true;
	}
}

/* Step 4. Entered; leaves and enters where it must free an orphan. */
static void dequeue(struct select *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct gs_case *c = &s->cases[i];

		if (c->chan && c->op <= GS_OP_SEND)
			gs_chan_step_off(c->chan, case_queue(c), &s->sudogs[i]);
	}
}

/* ------------------------------------------------------------------------- */

/* All but the memory. Returns an index, or ~index when it was a send on closed. */
static int select_run(struct select *s)
{
	struct gs_sudog *wake = NULL, *won;
	enum gs_chan_result r;
	size_t size = 0;
	struct gs_worker *w;
	int i;

	w = gs_enter();
	i = pick(s, ready_hint);
	if (i >= 0) {
		struct gs_case *c = &s->cases[i];

		if (c->op == GS_OP_AFTER) {
			gs_leave();
			return i;
		}
		gs_chan_lock(c->chan, w);
		r = attempt(c, &wake);
		gs_chan_unlock(c->chan);
		if (r != GS_CHAN_BLOCK)
			goto done;
	}

	sort(s->order, s->norder);
	lock_all(s, w);
	while ((i = pick(s, ready_locked)) >= 0) {
		if (s->cases[i].op == GS_OP_AFTER) {
			r = GS_CHAN_DONE;
			break;
		}
		r = attempt(&s->cases[i], &wake);
		if (r != GS_CHAN_BLOCK)
			break;
		/* another won the waiting select we saw; it is off the queue now */
	}
	if (i < 0 && s->dflt >= 0) {
		i = s->dflt;
		r = GS_CHAN_DONE;
	}
	if (i >= 0) {
		unlock_all(s);
		goto done;
	}

	s->fiber = gs_self();
	enqueue(s);
	race_parks_all(s);
	gs_park(commit, s, s->norder || s->when ? GS_WAIT_SELECT : GS_WAIT_SELECT_NONE);
	won = gs_fiber_wake(s->fiber);
	if (s->when && won != (void *)s && !gs_rtimer_stop(&s->timer))
		gs_rtimer_sync(&s->timer);
	i = won == (void *)s ? s->after : (int)won->tag;
	if (won != (void *)s)
		size = s->cases[i].chan->elem_size; /* after dequeue it may be gone */
	dequeue(s);
	gs_leave();
	if (won == (void *)s)
		return i;
	if (s->cases[i].op == GS_OP_SEND)
		return won->success ? i : ~i;
	if (s->cases[i].ok)
		*s->cases[i].ok = won->success;
	if (!won->success && s->cases[i].elem)
		memset(s->cases[i].elem, 0, size);
	return i;

done:
	if (wake)
		gs_ready(wake->fiber);
	gs_leave();
	return r == GS_CHAN_CLOSED && s->cases[i].op == GS_OP_SEND ? ~i : i;
}

/* One channel's case, perhaps with a default: the plain operation. */
static int select_one(struct gs_case *c, bool block)
{
	bool ok = true;
	int r;

	if (c->op == GS_OP_SEND) {
		if (!block)
			return gs_chan_try_send(c->chan, c->elem);
		gs_chan_send(c->chan, c->elem);
		return 0;
	}
	if (block) {
		ok = gs_chan_recv(c->chan, c->elem);
	} else {
		r = gs_chan_try_recv(c->chan, c->elem);
		if (r < 0)
			return r;
		ok = r;
	}
	if (c->ok)
		*c->ok = ok;
	return 0;
}

/* What can be said of the cases alone. Depth 0: it may panic. 0 or -errno. */
static int prepare(struct select *s)
{
	int64_t least = INT64_MAX;

	for (size_t i = 0; i < s->n; i++) {
		struct gs_case *c = &s->cases[i];

		switch (c->op) {
		case GS_OP_RECV:
		case GS_OP_SEND:
			if (!c->chan)
				break;
			if (gs_unlikely(c->size && c->size != c->chan->elem_size))
				gs_panic(
					"gsched: select case %zu: element of %u bytes, channel of %zu",
					i, c->size, c->chan->elem_size);
			s->norder++;
			break;
		case GS_OP_AFTER:
			if (s->after < 0 || c->ns < least) {
				s->after = (int)i;
				least = c->ns;
			}
			break;
		case GS_OP_DEFAULT:
			if (s->dflt < 0)
				s->dflt = (int)i;
			break;
		default:
			gs_panic("gsched: select case %zu: unknown operation %u", i, c->op);
		}
	}
	if (s->after < 0 || s->dflt >= 0 || least <= 0)
		return 0;
	if (__builtin_add_overflow(gs_now(), least, &s->when))
		s->when = INT64_MAX;
	/* timers need the poller; on a fiber it is there */
	return gs_on_fiber() ? 0 : gs_rt_start();
}

static int select_with(struct select *s, struct gs_sudog *sudogs, struct gs_chan **order)
{
	s->sudogs = sudogs;
	s->order = order;
	for (size_t i = 0, k = 0; k < s->norder; i++)
		if (s->cases[i].chan && s->cases[i].op <= GS_OP_SEND)
			order[k++] = s->cases[i].chan;
	return select_run(s);
}

static int __attribute__((noinline)) select_any(struct gs_case *cases, size_t n)
{
	struct select s;
	int i;

	if (gs_unlikely(n > INT_MAX))
		return -EINVAL;
	s.sel.done = 0;
	s.cases = cases;
	s.n = n;
	s.norder = 0;
	s.when = 0;
	s.poke = false;
	s.twice = false;
	s.after = -1;
	s.dflt = -1;
	i = prepare(&s);
	if (i)
		return i;

	if (s.norder == 1 && s.after < 0) {
		for (i = 0; !cases[i].chan || cases[i].op > GS_OP_SEND; i++)
			;
		return select_one(&cases[i], s.dflt < 0) < 0 ? s.dflt : i;
	}
	if (s.when) {
		memset(&s.timer, 0, sizeof(s.timer));
		s.timer.fn = timer_fire;
	}
	if (n <= STACK_CASES) {
		struct gs_sudog sudogs[STACK_CASES];
		struct gs_chan *order[STACK_CASES];

		i = select_with(&s, sudogs, order);
	} else {
		struct gs_sudog *sudogs = malloc(n * (sizeof(*sudogs) + sizeof(*s.order)));

		if (!sudogs)
			return -ENOMEM;
		i = select_with(&s, sudogs, (struct gs_chan **)(sudogs + n));
		free(sudogs);
	}
	if (gs_unlikely(i < 0))
		gs_panic("send on closed channel");
	return i;
}

int gs_select_cases(struct gs_case *cases, size_t n)
{
	struct gs_case *c = cases;

	/* one channel, or go on: loops look like that, and want to go on at once */
	if (n == 2 && c[1].op == GS_OP_DEFAULT && (c->op == GS_OP_RECV || c->op == GS_OP_SEND) &&
	    c->chan && (!c->size || c->size == c->chan->elem_size)) {
		if (!(c->op == GS_OP_RECV ? gs_chan_recv_hint(c->chan)
					  : gs_chan_send_hint(c->chan)))
			return 1;
		return select_one(c, false) < 0;
	}
	return select_any(cases, n);
}
